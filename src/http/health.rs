//! Health and metrics: whether the process lives, whether it takes events, and what it counted.

use actix_web::{HttpResponse, http::header::ContentType, web::Data};

use super::Doors;
use crate::gateway::NotReady;

/// `GET /is-alive`: 200 as long as the process answers.
#[utoipa::path(get, path = "/is-alive", operation_id = "is_alive", tag = "health",
    security(()),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn is_alive() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body("alive\n")
}

/// `GET /ready`: 200 when an event would be taken, 503 with a word that says why not.
#[utoipa::path(get, path = "/ready", operation_id = "ready", tag = "health",
    security(()),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 503, body = String, content_type = "text/plain")))]
pub(super) async fn ready(doors: Data<Doors>) -> HttpResponse {
    let (mut answer, word) = match doors.readiness.obstacle() {
        None => (HttpResponse::Ok(), "ready\n"),
        Some(NotReady::Stopping) => (HttpResponse::ServiceUnavailable(), "stopping\n"),
        Some(NotReady::DiskFull) => (HttpResponse::ServiceUnavailable(), "disk full\n"),
    };
    answer.content_type(ContentType::plaintext()).body(word)
}

/// `GET /metrics`: Prometheus' text format.
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "health",
    security(()),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(doors: Data<Doors>) -> HttpResponse {
    let (bytes, readers) = doors.admission.load();
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    doors.meters.in_flight_bytes.set(bytes as f64);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    doors.meters.readers.set(readers as f64);
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(doors.meters.render())
}
