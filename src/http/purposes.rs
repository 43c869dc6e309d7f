//! `/api/v1/purposes`: the purpose map.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, Doors,
    gate::{demand, identify},
    once::once,
    openapi::{
        answers::{Asked, Changed, Demanded, Looked, Read},
        names::CreateHeader,
    },
    paging::PageQuery,
};
use crate::{
    actors::NewPurpose,
    domain::{Permission, Purpose},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPurpose)]
struct PurposeRequest {
    /// None: the next free one.
    #[schema(minimum = 0, maximum = 999)]
    level: Option<i32>,
    #[schema(min_length = 2, max_length = 100)]
    name: String,
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Purposes)]
struct PurposesAnswer<'a> {
    purposes: Vec<&'a Purpose>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Gives a level a name.
#[utoipa::path(post, path = "/api/v1/purposes", operation_id = "create_purpose", tag = "purposes",
    request_body = PurposeRequest,
    params(CreateHeader),
    responses((status = 201, body = Purpose), Asked, Demanded, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::ManagePolicies).await?;
    let (by, registry) = (identity.who(), doors.registry.clone());
    once(&request, payload, &doors, &identity, async move |wanted: PurposeRequest| {
        let PurposeRequest { level, name, description } = wanted;
        let made = registry.create_purpose(by, NewPurpose { level, name, description }).await?;
        Ok(HttpResponse::Created().json(made))
    })
    .await
}

/// The map, by level, in pages. It has at most a thousand rows.
#[utoipa::path(get, path = "/api/v1/purposes", operation_id = "list_purposes", tag = "purposes",
    params(PageQuery),
    responses((status = 200, body = PurposesAnswer), Asked))]
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
#[utoipa::path(delete, path = "/api/v1/purposes/{named}", operation_id = "delete_purpose", tag = "purposes",
    params(("named" = String, Path, description = "Level or name.")),
    responses((status = 204), Asked, Demanded, Looked, Changed))]
pub(super) async fn delete(
    request: HttpRequest,
    named: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let by = demand(&request, &doors, Permission::ManagePolicies).await?.who();
    doors.registry.delete_purpose(by, named.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}
