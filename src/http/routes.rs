//! Every route, in one list.

use actix_web::{
    HttpResponse, Resource,
    web::{self, ServiceConfig, get, post, put},
};

use super::{
    ApiError, audit, batch, contract_check, contracts, credentials, egress, erasures, explain, grants,
    health, ingest, openapi, policies, principals, problem_page, projects, purposes, schemas, streams,
    subjects, token, usage, whoami,
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
        .service(at("/problems/{code}").route(get().to(problem_page::problem)))
        // The control plane.
        .service(at("/api/v1/openapi.json").route(get().to(openapi::openapi)))
        .service(at("/api/v1/streams").route(get().to(streams::list)).route(post().to(streams::create)))
        .service(
            at("/api/v1/streams/{name}")
                .route(get().to(streams::get))
                .route(web::patch().to(streams::change))
                .route(web::delete().to(streams::delete)),
        )
        .service(
            at("/api/v1/streams/{name}/credentials")
                .route(get().to(credentials::list))
                .route(post().to(credentials::issue)),
        )
        .service(
            at("/api/v1/streams/{name}/credentials/{client_id}").route(web::delete().to(credentials::revoke)),
        )
        .service(at("/api/v1/streams/{name}/usage").route(get().to(usage::get)))
        .service(at("/api/v1/purposes").route(get().to(purposes::list)).route(post().to(purposes::create)))
        .service(at("/api/v1/purposes/{named}").route(web::delete().to(purposes::delete)))
        .service(at("/api/v1/policies").route(get().to(policies::list)).route(post().to(policies::create)))
        .service(
            at("/api/v1/policies/{named}")
                .route(get().to(policies::get))
                .route(web::delete().to(policies::delete)),
        )
        .service(at("/api/v1/policies/{named}/activate").route(post().to(policies::activate)))
        .service(at("/api/v1/policies/{named}/archive").route(post().to(policies::archive)))
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
        .configure(people)
        .configure(audited)
        .default_service(web::to(unknown));
}

/// Who may work with the control plane, and on what.
fn people(app: &mut ServiceConfig) {
    app.service(at("/api/v1/whoami").route(get().to(whoami::get)))
        .service(
            at("/api/v1/principals").route(get().to(principals::list)).route(post().to(principals::create)),
        )
        .service(
            at("/api/v1/principals/{id}")
                .route(get().to(principals::get))
                .route(web::patch().to(principals::change))
                .route(web::delete().to(principals::delete)),
        )
        .service(
            at("/api/v1/principals/{id}/tokens")
                .route(get().to(principals::list_tokens))
                .route(post().to(principals::create_token))
                .route(web::delete().to(principals::revoke_all_tokens)),
        )
        .service(
            at("/api/v1/principals/{id}/tokens/{token}").route(web::delete().to(principals::revoke_token)),
        )
        .service(at("/api/v1/projects").route(get().to(projects::list)).route(post().to(projects::create)))
        .service(
            at("/api/v1/projects/{name}")
                .route(get().to(projects::get))
                .route(web::patch().to(projects::change))
                .route(web::delete().to(projects::delete)),
        )
        .service(at("/api/v1/projects/{name}/members").route(get().to(projects::list_members)))
        .service(
            at("/api/v1/projects/{name}/members/{principal}")
                .route(web::put().to(projects::set_member))
                .route(web::delete().to(projects::remove_member)),
        )
        .service(
            at("/api/v1/streams/{name}/grants")
                .route(get().to(grants::list))
                .route(post().to(grants::create)),
        )
        .service(at("/api/v1/streams/{name}/grants/{principal}").route(web::delete().to(grants::delete)));
}

fn audited(app: &mut ServiceConfig) {
    app.service(at("/api/v1/audit/entries").route(get().to(audit::entries)))
        .service(at("/api/v1/audit/checkpoint").route(get().to(audit::checkpoint)))
        .service(at("/api/v1/audit/proof/{index}").route(get().to(audit::proof)))
        .service(at("/api/v1/audit/consistency").route(get().to(audit::consistency)))
        .service(at("/api/v1/audit/exposure").route(get().to(audit::exposure)))
        .service(at("/api/v1/subjects").route(get().to(subjects::list)))
        .service(at("/api/v1/subjects/keylinks").route(post().to(subjects::key_links)))
        .service(at("/api/v1/erasures").route(get().to(erasures::list)).route(post().to(erasures::create)))
        .service(at("/api/v1/erasures/{id}/receipt").route(get().to(erasures::receipt)));
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
