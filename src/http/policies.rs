//! `/api/v1/policies`: how long keys live, and on what legal ground.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, Doors,
    document::document,
    gate::{demand, identify},
    openapi::answers::{Asked, Changed, Demanded, Looked, Read},
    paging::PageQuery,
};
use crate::{
    actors::{ControlError, NewPolicy, OrderError},
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
    responses((status = 201, body = Policy), Asked, Demanded, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let by = demand(&request, &doors, Permission::ManagePolicies).await?.who();
    let wanted: PolicyRequest = document(&request, payload, &doors).await?;
    let PolicyRequest { name, description, retention_days, legal_ground, after_erasure } = wanted;
    let new = NewPolicy { name, description, retention_days, legal_ground, after_erasure };
    Ok(HttpResponse::Created().json(doors.registry.create_policy(by, new).await?))
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
    responses((status = 200, body = Policy), Asked, Looked))]
pub(super) async fn get(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let inventory = identity.inventory();
    let known = inventory.policy(&named).ok_or(ControlError::Order(OrderError::PolicyUnknown))?;
    Ok(HttpResponse::Ok().json(&*known.policy))
}

/// Lets streams use a policy, which can then no longer change.
#[utoipa::path(post, path = "/api/v1/policies/{named}/activate", operation_id = "activate_policy", tag = "policies",
    params(("named" = String, Path, description = "Id or name.")),
    responses((status = 200, body = Policy), Asked, Demanded, Looked, Changed))]
pub(super) async fn activate(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    step(&request, named, &doors, PolicyState::Active).await
}

/// Lets no more streams use a policy.
#[utoipa::path(post, path = "/api/v1/policies/{named}/archive", operation_id = "archive_policy", tag = "policies",
    params(("named" = String, Path, description = "Id or name.")),
    responses((status = 200, body = Policy), Asked, Demanded, Looked, Changed))]
pub(super) async fn archive(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    step(&request, named, &doors, PolicyState::Archived).await
}

/// Deletes a policy that is not ACTIVE.
#[utoipa::path(delete, path = "/api/v1/policies/{named}", operation_id = "delete_policy", tag = "policies",
    params(("named" = String, Path, description = "Id or name.")),
    responses((status = 204), Asked, Demanded, Looked, Changed))]
pub(super) async fn delete(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let by = demand(&request, &doors, Permission::ManagePolicies).await?.who();
    doors.registry.delete_policy(by, named.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn step(
    request: &HttpRequest,
    named: Path<String>,
    doors: &Doors,
    to: PolicyState,
) -> Result<HttpResponse, ApiError> {
    let by = demand(request, doors, Permission::ManagePolicies).await?.who();
    Ok(HttpResponse::Ok().json(doors.registry.step_policy(by, named.into_inner(), to).await?))
}
