//! `POST /events`: many events in one request, one verdict for each that was refused.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::AUTHORIZATION,
    web::{Data, Payload, Query},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiError, Doors,
    body::Body,
    ingest::{idempotency_key, schema_ref, text},
};
use crate::{
    gateway::{BatchFormat, BatchReport, BatchStop, Caller, RefusedEvent},
    telemetry::Disposition,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchQuery {
    /// All events or none.
    #[serde(default)]
    atomic: bool,
}

/// The answer to a batch that was read to its end.
#[derive(Debug, Serialize)]
pub struct Verdicts {
    pub accepted: u64,
    pub refused: Vec<Verdict>,
}

/// Why one event was refused.
#[derive(Debug, Serialize)]
pub struct Verdict {
    pub index: u64,
    pub code: &'static str,
    pub detail: String,
}

/// Takes many events.
pub(super) async fn events(
    request: HttpRequest,
    payload: Payload,
    query: Query<BatchQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    let caller = doors.access.caller(text(headers, AUTHORIZATION.as_str())?)?;
    let schema = schema_ref(headers)?.to_owned();
    let once = idempotency_key(headers)?.map(str::to_owned);
    let mut body = Body::open(&request, payload, &doors, doors.limits.batch_bytes_max)?;
    let Some(first) = body.next().await? else { return Err(ApiError::BatchEmpty) };
    let format = if first.starts_with(b"Obj") { BatchFormat::Container } else { BatchFormat::Ndjson };
    let stream = std::sync::Arc::clone(&caller.stream);
    let mut batch = doors.intake.batch(stream, schema, format, query.atomic, once);
    let mut next = Some(first);
    let mut bytes = 0;
    while let Some(chunk) = next {
        bytes += chunk.len() as u64;
        batch.push(&chunk).await.map_err(|stop| stopped(&doors, &caller, stop))?;
        // An atomic batch keeps its events until the end, and keeps their admission too.
        if !query.atomic {
            body.worked_off();
        }
        next = body.next().await?;
    }
    let report = batch.finish().await.map_err(|stop| stopped(&doors, &caller, stop))?;
    let meters = doors.meters.stream(&caller.stream.definition.name);
    meters.accepted.increment(report.accepted);
    meters.bytes.increment(bytes);
    let undone = report.undone;
    let verdicts = verdicts(&doors, &caller, report);
    if undone {
        return Err(ApiError::BatchRefused { verdicts: Box::new(verdicts) });
    }
    Ok(HttpResponse::Ok().json(verdicts))
}

fn stopped(doors: &Doors, caller: &Caller, stop: BatchStop) -> ApiError {
    if let BatchStop::Refused { accepted, .. } | BatchStop::Container { accepted, .. } = &stop {
        doors.meters.stream(&caller.stream.definition.name).accepted.increment(*accepted);
    }
    match stop {
        BatchStop::TooManyRefused(report) => {
            ApiError::BatchRefused { verdicts: Box::new(verdicts(doors, caller, report)) }
        }
        BatchStop::Refused { accepted, refusal } => {
            ApiError::BatchStopped { accepted, cause: Box::new(ApiError::from(refusal)) }
        }
        BatchStop::Container { accepted, source } => {
            ApiError::BatchStopped { accepted, cause: Box::new(ApiError::Container(source)) }
        }
        BatchStop::OtherSchema { accepted } => {
            ApiError::BatchStopped { accepted, cause: Box::new(ApiError::ContainerSchema) }
        }
    }
}

fn verdicts(doors: &Doors, caller: &Caller, report: BatchReport) -> Verdicts {
    let verdict = |RefusedEvent { index, refusal }| {
        let error = ApiError::from(refusal);
        doors.meters.refused(&caller.stream.definition.name, Disposition(error.code()), 1);
        Verdict { index, code: error.code(), detail: error.to_string() }
    };
    Verdicts { accepted: report.accepted, refused: report.refused.into_iter().map(verdict).collect() }
}
