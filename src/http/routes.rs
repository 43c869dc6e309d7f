//! Every route, in one list.

use actix_web::{
    HttpResponse,
    web::{self, ServiceConfig, get, post, resource},
};

use super::{ApiError, batch, contracts, egress, health, ingest, streams, token};

/// Adds all routes to an app whose data holds the doors.
pub fn routes(app: &mut ServiceConfig) {
    let realm = "/auth/realms/streams/protocol/openid-connect";
    let query = web::QueryConfig::default()
        .error_handler(|_, _| ApiError::Parameter("of the query: unknown, or of the wrong type").into());
    app.app_data(query)
        // The original's.
        .service(resource("/event").route(post().to(ingest::event)).default_service(web::to(method)))
        .service(
            resource(format!("{realm}/token"))
                .route(post().to(token::token))
                .default_service(web::to(method)),
        )
        .service(resource("/oauth/token").route(post().to(token::token)).default_service(web::to(method)))
        .service(resource(format!("{realm}/certs")).route(get().to(token::certs)))
        .service(resource("/ws").route(get().to(egress::web_socket)).default_service(web::to(method)))
        .service(resource("/is-alive").route(get().to(health::is_alive)))
        .service(resource("/ready").route(get().to(health::ready)))
        // Sluice's own.
        .service(resource("/events").route(post().to(batch::events)).default_service(web::to(method)))
        .service(resource("/streams/{name}/events").route(get().to(egress::events)))
        .service(resource("/metrics").route(get().to(health::metrics)))
        // The control plane.
        .service(resource("/api/v1/streams").route(get().to(streams::list)).route(post().to(streams::create)))
        .service(
            resource("/api/v1/streams/{name}")
                .route(get().to(streams::get))
                .route(web::delete().to(streams::delete)),
        )
        .service(
            resource("/api/v1/contracts")
                .route(get().to(contracts::list))
                .route(post().to(contracts::create)),
        )
        .service(
            resource("/api/v1/contracts/{handle}/{name}/{version}")
                .route(get().to(contracts::get))
                .route(web::delete().to(contracts::delete)),
        )
        .service(
            resource("/api/v1/contracts/{handle}/{name}/{version}/activate")
                .route(post().to(contracts::activate)),
        )
        .service(
            resource("/api/v1/contracts/{handle}/{name}/{version}/archive")
                .route(post().to(contracts::archive)),
        )
        .default_service(web::to(unknown));
}

async fn unknown() -> Result<HttpResponse, ApiError> {
    Err(ApiError::RouteUnknown)
}

async fn method() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodUnknown)
}
