//! `/api/v1/streams/{name}/usage`: what a stream took, gave on and refused, by windows of time.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, Doors,
    gate::demand_stream,
    openapi::answers::{Asked, Looked},
};
use crate::{
    clock::{DAY_MS, Timestamp},
    domain::{Permission, StreamName, UsageCounts},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageQuery {
    from: Option<String>,
    until: Option<String>,
    by: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Usage)]
struct UsageAnswer {
    stream: StreamName,
    from: String,
    until: String,
    by_seconds: i64,
    windows: Vec<WindowAnswer>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsageWindow)]
struct WindowAnswer {
    from: String,
    until: String,
    events_in: u64,
    bytes_in: u64,
    events_refused: u64,
    refused: BTreeMap<String, u64>,
    derived: Vec<DerivedAnswer>,
}

/// What one derived stream got of the events its filter saw in the window, which may have come before it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DerivedUsage)]
struct DerivedAnswer {
    stream: StreamName,
    events: u64,
    dropped_by_consent: u64,
    unreadable: u64,
}

/// Usage of a stream, and of the streams derived from it.
#[utoipa::path(get, path = "/api/v1/streams/{name}/usage", operation_id = "usage", tag = "streams",
    params(UsageQuery, ("name" = StreamName, Path)),
    responses((status = 200, body = UsageAnswer), Asked, Looked))]
pub(super) async fn get(
    request: HttpRequest,
    name: Path<String>,
    query: Query<UsageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_stream(&request, &doors, Permission::ViewResources, &name).await?;
    let stream = known.definition.name.clone();
    let now = doors.access.now();
    let wrong = ApiError::Parameter;
    let by_ms = query.by.as_deref().map_or(Some(15 * MINUTE_MS), duration_ms);
    let by_ms = by_ms.filter(|by| (MINUTE_MS..=31 * DAY_MS).contains(by));
    let by_ms = by_ms.ok_or(wrong("by: a duration such as 15m, 1h or 1d, from 1m to 31d"))?;
    let moment = |text: &Option<String>, default: Timestamp, name: &'static str| match text {
        None => Ok(default),
        Some(text) => instant(text, now).ok_or(ApiError::Parameter(name)),
    };
    let until =
        moment(&query.until, now.plus_ms(1), "until: now, an RFC 3339 instant, or -1h for an hour ago")?;
    let from =
        moment(&query.from, until.plus_ms(-DAY_MS), "from: an RFC 3339 instant, or -1h for an hour ago")?;
    // Whole windows, so that two requests show the same ones.
    let (first, end) = (from.0.div_euclid(by_ms), until.0.saturating_sub(1).div_euclid(by_ms) + 1);
    if from >= until || end - first > WINDOWS_MAX {
        return Err(wrong("from: before until, and at most 10000 windows before it"));
    }
    let derived = identity.inventory().derived_from(&stream).map(|known| &known.definition);
    let mut streams: Vec<_> = derived.filter(|derived| identity.sees(&derived.project)).collect();
    streams.push(&known.definition);
    let names: Vec<StreamName> = streams.iter().map(|definition| definition.name.clone()).collect();
    let (from, until) = (Timestamp(first * by_ms), Timestamp(end * by_ms));
    // What an earlier stream of the same name used is not this one's.
    let since = Timestamp(known.definition.created.0 - doors.usage_period_ms).max(from);
    let windows = doors.usage.of(&names, since, until, by_ms).await?;
    let none = BTreeMap::new();
    let windows = (first..end).map(|number| {
        let counts = windows.get(&number).unwrap_or(&none);
        window(&stream, counts, Timestamp(number * by_ms), Timestamp((number + 1) * by_ms))
    });
    Ok(HttpResponse::Ok().json(UsageAnswer {
        from: rfc3339(from),
        until: rfc3339(until),
        by_seconds: by_ms / 1000,
        windows: windows.collect(),
        stream,
    }))
}

fn window(
    stream: &StreamName,
    counts: &BTreeMap<StreamName, UsageCounts>,
    from: Timestamp,
    until: Timestamp,
) -> WindowAnswer {
    let own = counts.get(stream).cloned().unwrap_or_default();
    let seen = |counts: &UsageCounts| counts.derived + counts.dropped + counts.unreadable > 0;
    let derived = counts.iter().filter(|(_, counts)| seen(counts)).map(|(name, counts)| DerivedAnswer {
        stream: name.clone(),
        events: counts.derived,
        dropped_by_consent: counts.dropped,
        unreadable: counts.unreadable,
    });
    WindowAnswer {
        from: rfc3339(from),
        until: rfc3339(until),
        events_in: own.accepted,
        bytes_in: own.bytes,
        events_refused: own.refused.values().sum(),
        derived: derived.collect(),
        refused: own.refused,
    }
}

/// `now`, an RFC 3339 instant, or a duration before now such as `-1h`.
fn instant(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text == "now" {
        return Some(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        return duration_ms(ago).map(|ago| now.plus_ms(-ago));
    }
    // A `+` of the offset arrives as a space from clients that do not escape it.
    let parsed: jiff::Timestamp = text.replace(' ', "+").parse().ok()?;
    Some(Timestamp(parsed.as_millisecond()))
}

/// A whole number and one of `s`, `m`, `h`, `d`.
fn duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "s" => 1000,
        "m" => MINUTE_MS,
        "h" => 60 * MINUTE_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    i64::from(number).checked_mul(unit_ms)
}

fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map(|at| at.to_string()).unwrap_or_default()
}

const MINUTE_MS: i64 = 60_000;
const WINDOWS_MAX: i64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_absolute_or_before_now() {
        let now = Timestamp(1_700_000_000_000);
        assert_eq!(instant("-15m", now), Some(now.plus_ms(-15 * MINUTE_MS)));
        assert_eq!(instant("2023-11-14T22:13:20Z", now), Some(now));
        assert_eq!(instant("2023-11-14T23:13:20 01:00", now), Some(now));
        for wrong in ["", "-", "-h", "--1h", "1h", "-1w", "yesterday", "-99999999999d", "-é"] {
            assert_eq!(instant(wrong, now), None, "{wrong}");
        }
    }
}
