//! Every route, in one list.

use actix_web::{
    HttpResponse, Resource,
    web::{self, ServiceConfig, get, post, put},
};

use super::{
    ApiError, batch, contract_check, contracts, egress, explain, health, ingest, schemas, streams, token,
};

/// Adds all routes to an app whose data holds the doors.
pub fn routes(app: &mut ServiceConfig) {
    let realm = "/auth/realms/streams/protocol/openid-connect";
    let query = web::QueryConfig::default()
        .error_handler(|_, _| ApiError::Parameter("of the query: unknown, or of the wrong type").into());
    app.app_data(query)
        // The original's.
        .service(at("/event").route(post().to(ingest::event)))
        .service(at(&format!("{realm}/token")).route(post().to(token::token)))
        .service(at("/oauth/token").route(post().to(token::token)))
        .service(at(&format!("{realm}/certs")).route(get().to(token::certs)))
        .service(at("/ws").route(get().to(egress::web_socket)))
        .service(at("/is-alive").route(get().to(health::is_alive)))
        .service(at("/ready").route(get().to(health::ready)))
        // Sluice's own.
        .service(at("/events").route(post().to(batch::events)))
        .service(at("/streams/{name}/events").route(get().to(egress::events)))
        .service(at("/metrics").route(get().to(health::metrics)))
        // The control plane.
        .service(at("/api/v1/streams").route(get().to(streams::list)).route(post().to(streams::create)))
        .service(
            at("/api/v1/streams/{name}")
                .route(get().to(streams::get))
                .route(web::delete().to(streams::delete)),
        )
        .service(at("/api/v1/streams/{name}/explain").route(post().to(explain::explain)))
        .service(at("/api/v1/contracts").route(get().to(contracts::list)).route(post().to(contracts::create)))
        .service(at("/api/v1/contracts/check").route(post().to(contract_check::check)))
        .service(
            at("/api/v1/contracts/{handle}/{name}/{version}")
                .route(get().to(contracts::get))
                .route(put().to(contracts::replace))
                .route(web::delete().to(contracts::delete)),
        )
        .service(
            at("/api/v1/contracts/{handle}/{name}/{version}/changes").route(get().to(contracts::changes)),
        )
        .service(at("/api/v1/contracts/{handle}/{name}/{version}/{step}").route(post().to(contracts::step)))
        .service(at("/api/v1/schemas").route(get().to(schemas::list)))
        .service(at("/api/v1/schemas/{handle}/{name}/{version}/code").route(get().to(schemas::code)))
        .service(at("/api/v1/schemas/{handle}/{name}/{version}").route(get().to(schemas::get)))
        .default_service(web::to(unknown));
}

/// A route that answers other methods with a problem document.
fn at(path: &str) -> Resource {
    web::resource(path).default_service(web::to(method))
}

async fn unknown() -> Result<HttpResponse, ApiError> {
    Err(ApiError::RouteUnknown)
}

async fn method() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodUnknown)
}
