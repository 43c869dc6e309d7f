//! `POST /event`: one event, 204 when it is durable. The original's wire form, exactly.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AUTHORIZATION, HeaderMap},
    web::{Data, Payload},
};

use super::{
    ApiError, Doors,
    body::Body,
    openapi::{
        answers::{OfStream, Taken},
        names::{Binary, OnceHeader, SchemaHeader, SerializationHeader},
    },
    problem::Problem,
};
use crate::{
    gateway::{Caller, Refusal},
    telemetry::Disposition,
};

/// Takes one event.
#[utoipa::path(post, path = "/event", operation_id = "send_event", tag = "events",
    request_body(content((Object = "application/json"), (Binary = "application/octet-stream"))), security(("stream_token" = [])),
    params(SchemaHeader, SerializationHeader, OnceHeader),
    responses((status = 204), OfStream, Taken, (status = 400, content((Problem = "application/problem+json"), (String = "text/plain")))))]
pub(super) async fn event(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    let caller = doors.access.caller(text(headers, AUTHORIZATION.as_str())?)?;
    let schema = schema_ref(headers)?;
    let declared = text(headers, "strm-serialization-type")?;
    let once = idempotency_key(headers)?;
    let body = Body::open(&request, payload, &doors, doors.limits.event_bytes_max)?.whole().await?;
    let begun = std::time::Instant::now();
    let accepted = doors.intake.accept(&caller.stream, schema, declared, &body.bytes, once).await;
    let meters = doors.meters.stream(&caller.stream.definition.name);
    match accepted {
        Ok(()) => {
            doors.meters.ingest_seconds.record(begun.elapsed());
            meters.accepted.increment(1);
            meters.bytes.increment(body.bytes.len() as u64);
            Ok(HttpResponse::NoContent().finish())
        }
        Err(refusal) => Err(refused(&doors, &caller, refusal)),
    }
}

/// Counts a refusal and makes it an answer.
pub(super) fn refused(doors: &Doors, caller: &Caller, refusal: Refusal) -> ApiError {
    let error = ApiError::from(refusal);
    doors.meters.refused(&caller.stream.definition.name, Disposition(error.code()), 1);
    error
}

/// The schema that the request names.
pub(super) fn schema_ref(headers: &HeaderMap) -> Result<&str, ApiError> {
    let named = text(headers, "strm-schema-ref")?.filter(|named| !named.is_empty());
    named
        .or(text(headers, "strm-schema-id")?)
        .filter(|named| !named.is_empty())
        .ok_or(ApiError::SchemaHeaderMissing)
}

/// The client's idempotency key, if it sent one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    match text(headers, "idempotency-key")? {
        Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX => Err(ApiError::IdempotencyKey),
        key => Ok(key),
    }
}

/// A header as text. One that is given twice has no one meaning and is refused.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    if headers.get_all(name).nth(1).is_some() {
        return Err(ApiError::HeaderInvalid);
    }
    value.to_str().map(Some).map_err(|_| ApiError::HeaderInvalid)
}

const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
