//! `/api/v1/streams/{name}/grants`: which principals may read a stream's events.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, Doors,
    gate::demand_stream,
    once::once,
    openapi::{
        answers::{Asked, Changed, Demanded, Looked, Read},
        names::CreateHeader,
    },
    paging::PageQuery,
};
use crate::{
    actors::{ControlError, PrincipalOrderError},
    clock::Timestamp,
    domain::{Permission, PrincipalId, ReadGrant, StreamName},
};

/// What a client sends to let a principal read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewGrant)]
struct GrantRequest {
    principal: PrincipalId,
    /// None: until it is revoked.
    #[serde(default)]
    expires: Option<Timestamp>,
}

/// A grant as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Grant)]
struct GrantAnswer<'a> {
    stream: &'a StreamName,
    principal: &'a PrincipalId,
    created: Timestamp,
    expires: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Grants)]
struct GrantsAnswer<'a> {
    grants: Vec<GrantAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Lets a principal read the events of a stream.
#[utoipa::path(post, path = "/api/v1/streams/{name}/grants", operation_id = "grant_read", tag = "grants",
    request_body = GrantRequest,
    params(CreateHeader, ("name" = StreamName, Path)),
    responses((status = 201, body = GrantAnswer), Asked, Demanded, Looked, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    name: Path<String>,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_stream(&request, &doors, Permission::GrantReads, &name).await?;
    let (by, registry) = (identity.who(), doors.registry.clone());
    once(&request, payload, &doors, &identity, async move |wanted: GrantRequest| {
        let stream = known.definition.name.clone();
        let GrantRequest { principal, expires } = wanted;
        let grant = ReadGrant { stream, principal, created: Timestamp(0), expires };
        Ok(HttpResponse::Created().json(answer(&registry.grant_read(by, grant).await?.grant)))
    })
    .await
}

/// The grants on a stream, by principal, in pages.
#[utoipa::path(get, path = "/api/v1/streams/{name}/grants", operation_id = "list_grants", tag = "grants",
    params(PageQuery, ("name" = StreamName, Path)),
    responses((status = 200, body = GrantsAnswer), Asked, Looked))]
pub(super) async fn list(
    request: HttpRequest,
    name: Path<String>,
    query: Query<PageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_stream(&request, &doors, Permission::ViewResources, &name).await?;
    let stream = &known.definition.name;
    let mut grants: Vec<_> = identity.inventory().read_grants(stream).map(|known| &known.grant).collect();
    grants.sort_by(|a, b| a.principal.cmp(&b.principal));
    let (grants, next_page_token) = query.of(grants, |grant| grant.principal.as_str().to_owned())?;
    let grants = grants.into_iter().map(answer).collect();
    Ok(HttpResponse::Ok().json(GrantsAnswer { grants, next_page_token }))
}

/// Ends a grant, and the readers that read by it.
#[utoipa::path(delete, path = "/api/v1/streams/{name}/grants/{principal}", operation_id = "revoke_read", tag = "grants",
    params(("name" = StreamName, Path), ("principal" = PrincipalId, Path)),
    responses((status = 204), Asked, Demanded, Looked, Changed))]
pub(super) async fn delete(
    request: HttpRequest,
    path: Path<(String, String)>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (name, principal) = path.into_inner();
    let (identity, known) = demand_stream(&request, &doors, Permission::GrantReads, &name).await?;
    let unknown = ControlError::Principal(PrincipalOrderError::GrantUnknown);
    let principal: PrincipalId = principal.parse().map_err(|_| unknown)?;
    doors.registry.revoke_read(identity.who(), known.definition.name.clone(), principal).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn answer(grant: &ReadGrant) -> GrantAnswer<'_> {
    let ReadGrant { stream, principal, created, expires } = grant;
    GrantAnswer { stream, principal, created: *created, expires: *expires }
}
