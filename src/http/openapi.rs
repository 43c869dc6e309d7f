//! The OpenAPI document of the API, made from the annotations beside the handlers.
//!
//! `names` describes what the domain reads from text, `answers` what a handler may refuse with. The list of routes is
//! `routes`; `tests/it/openapi.rs` sees to it that each of them is described and nothing else is.

pub(super) mod answers;
pub(super) mod names;

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web::Data};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        RefOr,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use self::answers::Asked;
use super::{
    ApiError, Doors, audit, batch, contract_check, contracts, credentials, egress, erasures, explain,
    gate::identify, grants, health, ingest, policies, principals, problem, problem_page, projects, purposes,
    schemas, streams, subjects, token, usage, whoami,
};

use crate::{
    domain::{ContractState, PrincipalId, PrincipalKind, ProjectName, StreamName},
    gateway::Seen,
    schema_code::Language,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Sluice", description = "Privacy event gateway: data in and out, and the control plane."),
    paths(
        ingest::event, batch::events, egress::events, egress::web_socket, token::token, token::certs,
        health::is_alive, health::ready, health::metrics, problem_page::problem,
        streams::list, streams::create, streams::get, streams::change, streams::delete,
        credentials::list, credentials::issue, credentials::revoke,
        usage::get, explain::explain, grants::list, grants::create, grants::delete,
        contracts::list, contracts::create, contracts::get, contracts::replace, contracts::delete,
        contracts::changes, contracts::step, contract_check::check,
        schemas::list, schemas::get, schemas::code,
        purposes::list, purposes::create, purposes::delete,
        policies::list, policies::create, policies::get, policies::delete, policies::activate, policies::archive,
        whoami::get,
        principals::list, principals::create, principals::get, principals::change, principals::delete,
        principals::list_tokens, principals::create_token, principals::revoke_token, principals::revoke_all_tokens,
        projects::list, projects::create, projects::get, projects::change, projects::delete,
        projects::list_members, projects::set_member, projects::remove_member,
        audit::entries, audit::checkpoint, audit::proof, audit::consistency, audit::exposure,
        subjects::list, subjects::key_links, erasures::list, erasures::create, erasures::receipt,
        openapi,
    ),
    components(schemas(
        problem::Problem, Seen, StreamName, ProjectName, PrincipalId, PrincipalKind, ContractState, Language,
        names::Handle, names::RefName, names::RefVersion, names::Step, names::ETag,
    )),
    modifiers(&Finish),
    security(("api_token" = [])),
)]
struct Description;

/// What no annotation can say.
struct Finish;

impl Modify for Finish {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |about: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about));
            SecurityScheme::Http(scheme.build())
        };
        let components = document.components.get_or_insert_default();
        let api = "An API token, or a token of the OpenID Connect issuer.";
        components.add_security_scheme("api_token", bearer(api));
        components.add_security_scheme("stream_token", bearer("An access token of the stream."));
        let basic =
            HttpBuilder::new().scheme(HttpAuthScheme::Basic).description(Some("Client id and secret."));
        components.add_security_scheme("client", SecurityScheme::Http(basic.build()));
        components.responses.extend(answers::refusals().map(|(name, refusal)| (name, refusal.into())));
        // The original's drivers know the first path, everybody else the second.
        if let Some(mut item) = document.paths.paths.get(token::PATH).cloned() {
            item.post
                .iter_mut()
                .for_each(|operation| operation.operation_id = Some("create_token_oauth".into()));
            document.paths.paths.insert("/oauth/token".to_owned(), item);
        }
        for item in document.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            operations.into_iter().flatten().for_each(name_answers);
        }
    }
}

/// Says of each answer without a description what its status says.
fn name_answers(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let (RefOr::T(response), Ok(status)) = (response, status.parse())
            && response.description.is_empty()
        {
            response.description = answers::name(status).to_owned();
        }
    }
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let text = Description::openapi().to_pretty_json().expect("the document has string keys");
    format!("{text}\n")
});

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "get_openapi", tag = "api",
    responses((status = 200, body = Object), Asked))]
pub(super) async fn openapi(request: HttpRequest, doors: Data<Doors>) -> Result<HttpResponse, ApiError> {
    identify(&request, &doors).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str()))
}
