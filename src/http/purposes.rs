//! `/api/v1/purposes`: the purpose map.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiError, Doors,
    gate::{demand, identify},
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
struct PurposesAnswer<'a> {
    purposes: Vec<&'a Purpose>,
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

/// The map, by level. It has at most a thousand rows.
pub(super) async fn list(request: HttpRequest, doors: Data<Doors>) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let inventory = identity.inventory();
    let purposes = inventory.purposes().values().map(|known| &known.purpose).collect();
    Ok(HttpResponse::Ok().json(PurposesAnswer { purposes }))
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
