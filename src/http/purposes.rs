//! `/api/v1/purposes`: the purpose map.

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
    actors::NewPurpose,
    domain::{Permission, Purpose},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurposeRequest {
    level: Option<i32>,
    name: String,
    #[serde(default)]
    description: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PurposesAnswer<'a> {
    purposes: Vec<&'a Purpose>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Gives a level a name.
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let by = demand(&request, &doors, Permission::ManagePolicies).await?.who();
    let PurposeRequest { level, name, description } = document(&request, payload, &doors).await?;
    let made = doors.registry.create_purpose(by, NewPurpose { level, name, description }).await?;
    Ok(HttpResponse::Created().json(made))
}

/// The map, by level, in pages. It has at most a thousand rows.
pub(super) async fn list(
    request: HttpRequest,
    query: Query<PageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let inventory = identity.inventory();
    let mut purposes: Vec<&Purpose> = inventory.purposes().values().map(|known| &known.purpose).collect();
    purposes.sort_by_key(|purpose| purpose.level);
    let (purposes, next_page_token) = query.of(purposes, |purpose| format!("{:03}", purpose.level))?;
    Ok(HttpResponse::Ok().json(PurposesAnswer { purposes, next_page_token }))
}

/// Takes a level's name away.
pub(super) async fn delete(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let by = demand(&request, &doors, Permission::ManagePolicies).await?.who();
    doors.registry.delete_purpose(by, named.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}
