//! Health and metrics: whether the process lives, whether it takes events, and what it counted.

use actix_web::{HttpResponse, http::header::ContentType, web::Data};

use super::Doors;

/// `GET /is-alive`: 200 as long as the process answers.
pub(super) async fn is_alive() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body("alive\n")
}

/// `GET /ready`: 200 when events would be taken, 503 when the node is stopping for a reason.
pub(super) async fn ready(doors: Data<Doors>) -> HttpResponse {
    match doors.fatal.reason() {
        None => HttpResponse::Ok().content_type(ContentType::plaintext()).body("ready\n"),
        Some(_) => {
            HttpResponse::ServiceUnavailable().content_type(ContentType::plaintext()).body("stopping\n")
        }
    }
}

/// `GET /metrics`: Prometheus' text format.
pub(super) async fn metrics(doors: Data<Doors>) -> HttpResponse {
    let (bytes, readers) = doors.admission.load();
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    doors.meters.in_flight_bytes.set(bytes as f64);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    doors.meters.readers.set(readers as f64);
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(doors.meters.render())
}
