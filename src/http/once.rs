//! `Idempotency-Key` of the creates: the same request again gets the first answer again and does nothing.

use actix_web::{
    HttpRequest, HttpResponse,
    body::MessageBody,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG},
    },
    web::{Data, Payload},
};
use serde::de::DeserializeOwned;

use super::{
    ApiError, Doors,
    body::Body,
    document::{DOCUMENT_BYTES_MAX, parse},
    gate::{demand_unchanged, say},
    ingest::idempotency_key,
};
use crate::gateway::{FirstAnswer, Identity, Permit, Turn};

/// Answers a create out of the document in the body; an empty body is an empty document.
///
/// With a key the work goes on when its client leaves, so that the client finds the answer when it comes back.
///
/// # Errors
///
/// [`ApiError`]: of the body, of the key, or of `create`.
pub(super) async fn once<T: DeserializeOwned + 'static>(
    request: &HttpRequest,
    payload: Payload,
    doors: &Data<Doors>,
    identity: &Identity,
    create: impl AsyncFnOnce(T) -> Result<HttpResponse, ApiError> + 'static,
) -> Result<HttpResponse, ApiError> {
    let key = idempotency_key(request.headers())?;
    if key.is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(ApiError::IdempotencyKey);
    }
    let body = Body::open(request, payload, doors, DOCUMENT_BYTES_MAX)?.whole().await?;
    demand_unchanged(request, doors, identity).await?;
    let bytes: &[u8] = if body.bytes.is_empty() { b"{}" } else { &body.bytes };
    let Some(key) = key else { return create(parse(bytes)?).await };
    // With other roles it is another request: an answer is repeated to nobody who could not ask for it any more.
    let say = say(identity);
    let parts = [request.method().as_str().as_bytes(), request.path().as_bytes(), bytes, say.as_bytes()];
    let permit = match doors.repeats.begin(identity.id(), key, &parts).await? {
        Turn::Again(first) => return Ok(shown(first)),
        Turn::First(permit) => permit,
    };
    let document = match parse(bytes) {
        Ok(document) => document,
        Err(error) => {
            permit.free().await;
            return Err(error);
        }
    };
    let work = async move {
        let answer = create(document).await;
        settle(permit, answer).await
    };
    actix_web::rt::spawn(work).await.map_err(|_| ApiError::Interrupted)?
}

/// Keeps what was made and frees the key of what was refused. What may or may not have been done holds its key.
async fn settle(permit: Permit, answer: Result<HttpResponse, ApiError>) -> Result<HttpResponse, ApiError> {
    match answer {
        Ok(response) => {
            let first = taken_down(response)?;
            permit.keep(&first).await;
            Ok(shown(first))
        }
        Err(error) => {
            if error.status() < 500 {
                permit.free().await;
            }
            Err(error)
        }
    }
}

fn taken_down(response: HttpResponse) -> Result<FirstAnswer, ApiError> {
    let status = response.status().as_u16();
    let kept = [CONTENT_TYPE, CACHE_CONTROL, ETAG];
    let text = |name: &_| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let headers = kept.iter().filter_map(|name| Some((name.as_str().to_owned(), text(name)?))).collect();
    let body = response.into_body().try_into_bytes().map_err(|_| ApiError::Interrupted)?;
    let body = String::from_utf8(body.to_vec()).map_err(|_| ApiError::Interrupted)?;
    Ok(FirstAnswer { status, headers, body })
}

fn shown(FirstAnswer { status, headers, body }: FirstAnswer) -> HttpResponse {
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED));
    for header in headers {
        response.insert_header(header);
    }
    response.body(body)
}
