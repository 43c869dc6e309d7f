//! Reading a stream live or from the past: web socket, SSE and NDJSON. A stream's own token only.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL},
    web::{Data, Path, Payload, Query},
};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{
    ApiError, Doors,
    ingest::text,
    subscription::{Framing, Order, Subscription},
};
use crate::{
    actors::ReaderSeat,
    gateway::{AccessError, Caller, Start},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    from: Option<String>,
    limit: Option<u64>,
    follow: Option<bool>,
}

/// `GET /ws`: the stream of the token, live, one JSON text frame an event. The original's.
pub(super) async fn web_socket(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let caller = doors.access.caller(text(request.headers(), AUTHORIZATION.as_str())?)?;
    let place = doors.admission.reader()?;
    let name = caller.stream.definition.name.clone();
    let reader = doors.library.open(name, Start::Latest).await?;
    let seat = doors.auditor.attached(&caller.client_id, &caller.stream).await?;
    let (response, session, messages) =
        actix_ws::handle(&request, payload).map_err(|_| ApiError::NotAWebSocket)?;
    let messages = messages
        .max_frame_size(INBOUND_BYTES_MAX)
        .aggregate_continuations()
        .max_continuation_size(INBOUND_BYTES_MAX);
    let admits = seated(seat, doors, caller);
    Subscription::start_web_socket(reader, session, messages, place, Box::new(admits));
    Ok(response)
}

/// `GET /streams/{name}/events`: SSE, or NDJSON where `Accept` asks for it.
pub(super) async fn events(
    request: HttpRequest,
    name: Path<String>,
    query: Query<EventsQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    let caller = doors.access.caller(text(headers, AUTHORIZATION.as_str())?)?;
    if caller.stream.definition.name.as_str() != *name {
        return Err(AccessError::OtherStream.into());
    }
    let lines = text(headers, ACCEPT.as_str())?.is_some_and(|accept| accept.contains("application/x-ndjson"));
    let resume = text(headers, "last-event-id")?;
    let start = start(query.from.as_deref(), resume)?;
    let place = doors.admission.reader()?;
    let reader = doors.library.open(caller.stream.definition.name.clone(), start).await?;
    let seat = doors.auditor.attached(&caller.client_id, &caller.stream).await?;
    let framing = if lines { Framing::Lines } else { Framing::ServerSent };
    let order = Order { framing, limit: query.limit, follow: query.follow.unwrap_or(true) };
    let (sender, receiver) = mpsc::channel::<Result<Bytes, actix_web::Error>>(PAGES_WAITING);
    let admits = seated(seat, doors, caller);
    Subscription::start_body(reader, sender, order, place, Box::new(admits));
    let body = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|page| (page, receiver))
    });
    let kind = if lines { "application/x-ndjson" } else { "text/event-stream" };
    Ok(HttpResponse::Ok().content_type(kind).insert_header((CACHE_CONTROL, "no-store")).streaming(body))
}

/// Asks whether the caller is still let in; the reader's seat goes with the question when the reader ends.
fn seated(seat: ReaderSeat, doors: Data<Doors>, caller: Caller) -> impl Fn() -> bool {
    move || {
        let _seat = &seat;
        doors.access.still_admits(&caller)
    }
}

fn start(from: Option<&str>, resume: Option<&str>) -> Result<Start, ApiError> {
    let sequence = |text: &str| text.parse::<u64>().ok();
    if let Some(last) = resume {
        let last = sequence(last).ok_or(ApiError::Parameter("Last-Event-ID: a sequence number"))?;
        return Ok(Start::Sequence(last.saturating_add(1)));
    }
    match from {
        None | Some("latest") => Ok(Start::Latest),
        Some("earliest") => Ok(Start::Earliest),
        Some(text) => sequence(text)
            .map(Start::Sequence)
            .ok_or(ApiError::Parameter("from: earliest, latest or a sequence")),
    }
}

/// A consumer of a web socket has nothing to say but pings.
const INBOUND_BYTES_MAX: usize = 4 << 10;
/// Pages between reader and connection.
const PAGES_WAITING: usize = 1;
