//! `/api/v1/streams/{name}/credentials`: issue, list and revoke a stream's credentials.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::CACHE_CONTROL,
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
    actors::Replacement,
    clock::Timestamp,
    domain::{Permission, StoredCredential, StreamName},
};

/// What a new credential replaces. An empty body: nothing.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = NewCredential)]
struct CredentialRequest {
    /// A client id, or `*` for all there are.
    replaces: Option<String>,
    /// Seconds the replaced ones still serve, 0 to 2,592,000.
    #[schema(maximum = 2592000)]
    overlap_s: u32,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Credential)]
struct CredentialAnswer<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Credentials)]
struct CredentialsAnswer<'a> {
    credentials: Vec<CredentialAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Issues a credential; its secret is told here and never again.
#[utoipa::path(post, path = "/api/v1/streams/{name}/credentials", operation_id = "create_credentials", tag = "credentials",
    request_body = Option<CredentialRequest>,
    params(CreateHeader, ("name" = StreamName, Path)),
    responses((status = 201, body = CredentialAnswer), Asked, Demanded, Looked, Read, Changed))]
pub(super) async fn issue(
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_stream(&request, &doors, Permission::CreateResources, &name).await?;
    let (by, registry, caller) = (identity.who(), doors.registry.clone(), identity.clone());
    once(&request, payload, &doors, &identity, async move |wanted: CredentialRequest| {
        if wanted.replaces.is_some() {
            // It ends what others hold.
            caller.demand_in(Permission::DeleteResources, &known.definition.project)?;
        }
        if wanted.overlap_s > OVERLAP_S_MAX || (wanted.overlap_s > 0 && wanted.replaces.is_none()) {
            return Err(ApiError::BodyInvalid("overlapS: 0 to 2592000, with replaces".into()));
        }
        let replaces = wanted.replaces.map(|client_id| Replacement {
            client_id: (client_id != "*").then_some(client_id),
            overlap_s: wanted.overlap_s,
        });
        let issued = registry.issue_credential(by, known.definition.name.clone(), replaces).await?;
        let shown = answer(&issued.credential, Some(issued.client_secret.text()));
        Ok(HttpResponse::Created().insert_header((CACHE_CONTROL, "no-store")).json(shown))
    })
    .await
}

/// The credentials of a stream, oldest first, in pages.
#[utoipa::path(get, path = "/api/v1/streams/{name}/credentials", operation_id = "list_credentials", tag = "credentials",
    params(PageQuery, ("name" = StreamName, Path)),
    responses((status = 200, body = CredentialsAnswer), Asked, Looked))]
pub(super) async fn list(
    request: HttpRequest,
    name: Path<String>,
    query: Query<PageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (_, known) = demand_stream(&request, &doors, Permission::ViewResources, &name).await?;
    let now = doors.access.now();
    let mut living: Vec<_> = known
        .definition
        .credentials
        .iter()
        .filter(|stored| stored.expires.is_none_or(|end| now < end))
        .collect();
    let place = |stored: &&StoredCredential| format!("{:020}{}", stored.created.0, stored.client_id);
    living.sort_by_key(place);
    let (living, next_page_token) = query.of(living, place)?;
    let credentials = living.into_iter().map(|stored| answer(stored, None)).collect();
    Ok(HttpResponse::Ok().json(CredentialsAnswer { credentials, next_page_token }))
}

/// Revokes a credential: its tokens and open connections end now.
#[utoipa::path(delete, path = "/api/v1/streams/{name}/credentials/{client_id}", operation_id = "delete_credentials", tag = "credentials",
    params(("name" = StreamName, Path), ("client_id" = String, Path)),
    responses((status = 204), Asked, Demanded, Looked, Changed))]
pub(super) async fn revoke(
    request: HttpRequest,
    path: Path<(String, String)>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (name, client_id) = path.into_inner();
    let (identity, known) = demand_stream(&request, &doors, Permission::DeleteResources, &name).await?;
    doors.registry.revoke_credential(identity.who(), known.definition.name.clone(), client_id).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn answer<'a>(stored: &'a StoredCredential, client_secret: Option<&'a str>) -> CredentialAnswer<'a> {
    CredentialAnswer {
        client_id: &stored.client_id,
        client_secret,
        created: stored.created,
        expires: stored.expires,
    }
}

const OVERLAP_S_MAX: u32 = 30 * 24 * 60 * 60;
