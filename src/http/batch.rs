//! `POST /events`: many events in one request, one verdict for each that was refused.

use std::time::Instant;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AUTHORIZATION, RETRY_AFTER},
    web::{Bytes, Data, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, Doors,
    body::Body,
    ingest::{idempotency_key, schema_ref, text},
    openapi::{
        answers::{OfStream, Taken},
        names::{Binary, OnceHeader, SchemaHeader},
    },
};
use crate::{
    gateway::{AccessError, BLOCK_BYTES_MAX, BatchFormat, BatchReport, BatchStop, Caller, RefusedEvent},
    telemetry::Disposition,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BatchQuery {
    /// All events or none.
    #[serde(default)]
    atomic: bool,
}

/// The answer to a batch that was read to its end.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdicts {
    pub accepted: u64,
    pub refused: Vec<Verdict>,
    /// The last refusal was over a limit: when to come again.
    #[serde(skip)]
    pub retry_after_s: Option<u32>,
}

/// Why one event was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdict {
    pub index: u64,
    pub code: &'static str,
    pub detail: String,
}

/// Takes many events.
#[utoipa::path(post, path = "/events", operation_id = "send_events", tag = "events",
    request_body(content((String = "application/x-ndjson"), (Binary = "application/octet-stream"))), security(("stream_token" = [])),
    params(BatchQuery, SchemaHeader, OnceHeader),
    responses((status = 200, body = Verdicts), OfStream, Taken))]
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
    let Some(first) = first_bytes(&mut body).await? else { return Err(ApiError::BatchEmpty) };
    let format = if first.starts_with(b"Obj\x01") { BatchFormat::Container } else { BatchFormat::Ndjson };
    if format == BatchFormat::Container {
        // A block is unpacked in one piece.
        body.reserve(BLOCK_BYTES_MAX)?;
    }
    let stream = std::sync::Arc::clone(&caller.stream);
    let mut batch = doors.intake.batch(stream, schema, format, query.atomic, once);
    let mut next = Some(first);
    let mut bytes = 0;
    while let Some(chunk) = next {
        bytes += chunk.len() as u64;
        let begun = Instant::now();
        if !doors.access.still_admits(&caller) {
            return Err(stopped_by(&doors, &caller, batch.accepted(), AccessError::TokenInvalid.into()));
        }
        batch.push(&chunk).await.map_err(|stop| stopped(&doors, &caller, stop))?;
        let accepted = batch.accepted();
        let cut = |cause| stopped_by(&doors, &caller, accepted, cause);
        body.worked_off(batch.held_bytes(), begun.elapsed()).map_err(cut)?;
        // A body that is all there must not keep the worker from its other connections.
        tokio::task::yield_now().await;
        next = body.next().await.map_err(cut)?;
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
    let mut response = HttpResponse::Ok();
    if let Some(seconds) = verdicts.retry_after_s {
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    Ok(response.json(verdicts))
}

/// Enough of the body to tell its format, however the network cut it.
async fn first_bytes(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    let Some(mut first) = body.next().await? else { return Ok(None) };
    while first.len() < CONTAINER_MAGIC_BYTES {
        let Some(more) = body.next().await? else { break };
        first = [first, more].concat().into();
    }
    Ok(Some(first))
}

fn stopped(doors: &Doors, caller: &Caller, stop: BatchStop) -> ApiError {
    match stop {
        BatchStop::TooManyRefused(report) => {
            count_accepted(doors, caller, report.accepted);
            ApiError::BatchRefused { verdicts: Box::new(verdicts(doors, caller, report)) }
        }
        BatchStop::Refused { accepted, refusal } => stopped_by(doors, caller, accepted, refusal.into()),
        BatchStop::Container { accepted, source } => {
            stopped_by(doors, caller, accepted, ApiError::Container(source))
        }
        BatchStop::OtherSchema { accepted } => stopped_by(doors, caller, accepted, ApiError::ContainerSchema),
    }
}

/// What ended a batch before its body did. Where events were stored before, the answer says how many.
fn stopped_by(doors: &Doors, caller: &Caller, accepted: u64, cause: ApiError) -> ApiError {
    count_accepted(doors, caller, accepted);
    if accepted == 0 { cause } else { ApiError::BatchStopped { accepted, cause: Box::new(cause) } }
}

fn count_accepted(doors: &Doors, caller: &Caller, accepted: u64) {
    doors.meters.stream(&caller.stream.definition.name).accepted.increment(accepted);
}

fn verdicts(doors: &Doors, caller: &Caller, report: BatchReport) -> Verdicts {
    let mut retry_after_s = None;
    let verdict = |RefusedEvent { index, refusal }| {
        let error = ApiError::from(refusal);
        retry_after_s = error.retry_after_s();
        doors.meters.refused(&caller.stream.definition.name, Disposition(error.code()), 1);
        Verdict { index, code: error.code(), detail: error.to_string() }
    };
    let refused = report.refused.into_iter().map(verdict).collect();
    Verdicts { accepted: report.accepted, refused, retry_after_s }
}

const CONTAINER_MAGIC_BYTES: usize = 4;
