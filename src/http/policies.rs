//! `/api/v1/policies`: how long keys live, and on what legal ground.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::ETAG,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, Doors,
    gate::{demand, identify},
    once::once,
    openapi::{
        answers::{Asked, Changed, Demanded, Looked, Matched, Read},
        names::{CreateHeader, ETag, IfMatch},
    },
    paging::PageQuery,
    precondition::{etag, if_match},
};
use crate::{
    actors::{ControlError, KnownPolicy, NewPolicy, OrderError},
    domain::{AfterErasure, Permission, Policy, PolicyState},
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewPolicy)]
struct PolicyRequest {
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: String,
    #[schema(minimum = 1, maximum = 36500)]
    retention_days: u32,
    #[serde(default)]
    #[schema(max_length = 1000)]
    legal_ground: String,
    #[serde(default)]
    after_erasure: AfterErasure,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Policies)]
struct PoliciesAnswer<'a> {
    policies: Vec<&'a Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Makes a policy in state DRAFT.
#[utoipa::path(post, path = "/api/v1/policies", operation_id = "create_policy", tag = "policies",
    request_body = PolicyRequest,
    params(CreateHeader),
    responses((status = 201, body = Policy, headers(("ETag" = ETag))), Asked, Demanded, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::ManagePolicies).await?;
    let (by, registry) = (identity.who(), doors.registry.clone());
    once(&request, payload, &doors, &identity, async move |wanted: PolicyRequest| {
        let PolicyRequest { name, description, retention_days, legal_ground, after_erasure } = wanted;
        let new = NewPolicy { name, description, retention_days, legal_ground, after_erasure };
        Ok(shown(HttpResponse::Created(), &registry.create_policy(by, new).await?))
    })
    .await
}

/// The policies, by name, in pages.
#[utoipa::path(get, path = "/api/v1/policies", operation_id = "list_policies", tag = "policies",
    params(PageQuery),
    responses((status = 200, body = PoliciesAnswer), Asked))]
pub(super) async fn list(
    request: HttpRequest,
    query: Query<PageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let inventory = identity.inventory();
    let mut policies: Vec<&Policy> = inventory.policies().values().map(|known| &*known.policy).collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let (policies, next_page_token) = query.of(policies, |policy| policy.name.clone())?;
    Ok(HttpResponse::Ok().json(PoliciesAnswer { policies, next_page_token }))
}

/// One policy, by id or name.
#[utoipa::path(get, path = "/api/v1/policies/{named}", operation_id = "get_policy", tag = "policies",
    params(("named" = String, Path, description = "Id or name.")),
    responses((status = 200, body = Policy, headers(("ETag" = ETag))), Asked, Looked))]
pub(super) async fn get(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let inventory = identity.inventory();
    let known = inventory.policy(&named).ok_or(ControlError::Order(OrderError::PolicyUnknown))?;
    Ok(shown(HttpResponse::Ok(), known))
}

/// Lets streams use a policy, which can then no longer change.
#[utoipa::path(post, path = "/api/v1/policies/{named}/activate", operation_id = "activate_policy", tag = "policies",
    params(IfMatch, ("named" = String, Path, description = "Id or name.")),
    responses((status = 200, body = Policy, headers(("ETag" = ETag))), Asked, Demanded, Looked, Changed, Matched))]
pub(super) async fn activate(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    step(&request, named, &doors, PolicyState::Active).await
}

/// Lets no more streams use a policy.
#[utoipa::path(post, path = "/api/v1/policies/{named}/archive", operation_id = "archive_policy", tag = "policies",
    params(IfMatch, ("named" = String, Path, description = "Id or name.")),
    responses((status = 200, body = Policy, headers(("ETag" = ETag))), Asked, Demanded, Looked, Changed, Matched))]
pub(super) async fn archive(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    step(&request, named, &doors, PolicyState::Archived).await
}

/// Deletes a policy that is not ACTIVE.
#[utoipa::path(delete, path = "/api/v1/policies/{named}", operation_id = "delete_policy", tag = "policies",
    params(IfMatch, ("named" = String, Path, description = "Id or name.")),
    responses((status = 204), Asked, Demanded, Looked, Changed, Matched))]
pub(super) async fn delete(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let by = demand(&request, &doors, Permission::ManagePolicies).await?.who();
    let expected = if_match(request.headers())?;
    doors.registry.delete_policy(by, named.into_inner(), expected).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn step(
    request: &HttpRequest,
    named: Path<String>,
    doors: &Doors,
    to: PolicyState,
) -> Result<HttpResponse, ApiError> {
    let by = demand(request, doors, Permission::ManagePolicies).await?.who();
    let expected = if_match(request.headers())?;
    let known = doors.registry.step_policy(by, named.into_inner(), to, expected).await?;
    Ok(shown(HttpResponse::Ok(), &known))
}

fn shown(mut response: HttpResponseBuilder, known: &KnownPolicy) -> HttpResponse {
    response.insert_header((ETAG, etag(known.version))).json(&*known.policy)
}
