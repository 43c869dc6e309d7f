//! `/api/v1/whoami`: what the caller's token makes of it.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, Doors, gate::identify, openapi::answers::Asked};
use crate::{
    clock::Timestamp,
    domain::{PrincipalId, PrincipalKind, ProjectName, Role},
};

#[derive(Serialize, ToSchema)]
#[schema(as = Whoami)]
struct WhoamiAnswer<'a> {
    id: &'a PrincipalId,
    kind: PrincipalKind,
    roles: &'a [Role],
    projects: Vec<ProjectAnswer<'a>>,
    token: Option<TokenAnswer<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OwnProject)]
struct ProjectAnswer<'a> {
    name: &'a ProjectName,
    roles: Vec<Role>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OwnToken)]
struct TokenAnswer<'a> {
    id: &'a str,
    expires: Timestamp,
}

/// Who asks.
#[utoipa::path(get, path = "/api/v1/whoami", operation_id = "whoami", tag = "principals",
    responses((status = 200, body = WhoamiAnswer), Asked))]
pub(super) async fn get(request: HttpRequest, doors: Data<Doors>) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let roles = |name| {
        let mut roles: Vec<_> = identity.roles_in(name).collect();
        roles.sort();
        roles.dedup();
        roles
    };
    let projects = identity.projects().map(|p| ProjectAnswer { name: &p.name, roles: roles(&p.name) });
    Ok(HttpResponse::Ok().json(WhoamiAnswer {
        id: identity.id(),
        kind: identity.kind(),
        roles: identity.roles(),
        projects: projects.collect(),
        token: identity.token().map(|token| TokenAnswer { id: &token.id, expires: token.expires }),
    }))
}
