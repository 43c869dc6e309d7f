//! `/api/v1/policies`: how long keys live, and on what legal ground.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiError, Doors,
    gate::{demand, identify},
    paging::PageQuery,
    streams::document,
};
use crate::{
    actors::{ControlError, NewPolicy, OrderError},
    domain::{AfterErasure, Permission, Policy, PolicyState},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyRequest {
    name: String,
    #[serde(default)]
    description: String,
    retention_days: u32,
    #[serde(default)]
    legal_ground: String,
    #[serde(default)]
    after_erasure: AfterErasure,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PoliciesAnswer<'a> {
    policies: Vec<&'a Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Makes a policy in state DRAFT.
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
pub(super) async fn activate(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    step(&request, named, &doors, PolicyState::Active).await
}

/// Lets no more streams use a policy.
pub(super) async fn archive(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    step(&request, named, &doors, PolicyState::Archived).await
}

/// Deletes a policy that is not ACTIVE.
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
