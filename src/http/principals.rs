//! `/api/v1/principals`: users and service accounts, and their API tokens.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{CACHE_CONTROL, ETAG},
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, Doors,
    document::document,
    gate::{demand, demand_principal, identify},
    once::once,
    openapi::{
        answers::{Asked, Changed, Demanded, Looked, Matched, Read},
        names::{CreateHeader, ETag, IfMatch},
    },
    paging::{PageQuery, page},
    precondition::{etag, if_match},
};
use crate::{
    actors::{KnownPrincipal, NewPrincipal, NewToken, PrincipalChange, TokenChoice},
    clock::Timestamp,
    domain::{ApiToken, Permission, Principal, PrincipalId, PrincipalKind, Role},
};

/// What a client sends to make a principal.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPrincipal)]
struct PrincipalRequest {
    id: PrincipalId,
    kind: PrincipalKind,
    #[serde(default)]
    #[schema(max_length = 100)]
    name: String,
    #[serde(default)]
    #[schema(max_length = 254)]
    email: Option<String>,
    #[serde(default = "member")]
    role: Role,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PrincipalChange)]
struct ChangeRequest {
    #[schema(max_length = 100)]
    name: Option<String>,
    #[schema(max_length = 254)]
    email: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewToken)]
struct TokenRequest {
    #[serde(default)]
    #[schema(max_length = 100)]
    name: String,
    /// None: `[tokens] api_days`.
    #[schema(minimum = 1)]
    expires_in_days: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    kind: Option<PrincipalKind>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    page_token: Option<String>,
}

/// A principal as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Principal)]
struct PrincipalAnswer<'a> {
    id: &'a PrincipalId,
    kind: PrincipalKind,
    name: &'a str,
    email: Option<&'a str>,
    role: Role,
    disabled: bool,
    created: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Principals)]
struct PrincipalsAnswer<'a> {
    principals: Vec<PrincipalAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// A token as the API shows it. `token` is its text, told once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Token)]
struct TokenAnswer<'a> {
    id: &'a str,
    name: &'a str,
    created: Timestamp,
    expires: Timestamp,
    revoked: Option<Timestamp>,
    /// Since this node started.
    last_used: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tokens)]
struct TokensAnswer<'a> {
    tokens: Vec<TokenAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Makes a user or a service account, without a token.
#[utoipa::path(post, path = "/api/v1/principals", operation_id = "create_principal", tag = "principals",
    request_body = PrincipalRequest,
    params(CreateHeader),
    responses((status = 201, body = PrincipalAnswer, headers(("ETag" = ETag))), Asked, Demanded, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::ManagePrincipals).await?;
    let (by, registry) = (identity.who(), doors.registry.clone());
    once(&request, payload, &doors, &identity, async move |wanted: PrincipalRequest| {
        let PrincipalRequest { id, kind, name, email, role } = wanted;
        let new = NewPrincipal { id, kind, name, email, role };
        let known = registry.create_principal(by, new).await?;
        Ok(shown(HttpResponse::Created(), &known))
    })
    .await
}

/// Principals that the caller sees, by id, in pages: all, or itself.
#[utoipa::path(get, path = "/api/v1/principals", operation_id = "list_principals", tag = "principals",
    params(ListQuery),
    responses((status = 200, body = PrincipalsAnswer), Asked))]
pub(super) async fn list(
    request: HttpRequest,
    query: Query<ListQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let manages = identity.may(Permission::ManagePrincipals);
    let mut seen: Vec<_> = identity
        .inventory()
        .principals()
        .map(|known| &known.principal)
        .filter(|principal| manages || principal.id == *identity.id())
        .filter(|principal| query.kind.is_none_or(|kind| principal.kind == kind))
        .collect();
    seen.sort_by(|a, b| a.id.cmp(&b.id));
    let (seen, next_page_token) =
        page(seen, query.limit, query.page_token.as_deref(), |principal| principal.id.as_str())?;
    let principals = seen.into_iter().map(answer).collect();
    Ok(HttpResponse::Ok().json(PrincipalsAnswer { principals, next_page_token }))
}

/// One principal.
#[utoipa::path(get, path = "/api/v1/principals/{id}", operation_id = "get_principal", tag = "principals",
    params(("id" = PrincipalId, Path)),
    responses((status = 200, body = PrincipalAnswer, headers(("ETag" = ETag))), Asked, Looked, Changed))]
pub(super) async fn get(
    request: HttpRequest,
    id: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (_, known) = demand_principal(&request, &doors, &id, true).await?;
    Ok(shown(HttpResponse::Ok(), &known))
}

/// Changes a principal's name, address, role, or whether it is disabled.
#[utoipa::path(patch, path = "/api/v1/principals/{id}", operation_id = "update_principal", tag = "principals",
    request_body = ChangeRequest,
    params(IfMatch, ("id" = PrincipalId, Path)),
    responses((status = 200, body = PrincipalAnswer, headers(("ETag" = ETag))), Asked, Demanded, Looked, Read, Changed, Matched))]
pub(super) async fn change(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_principal(&request, &doors, &id, false).await?;
    let expected = if_match(request.headers())?;
    let ChangeRequest { name, email, role, disabled } = document(&request, payload, &doors).await?;
    let change = PrincipalChange { name, email, role, disabled };
    let id = known.principal.id.clone();
    let known = doors.registry.change_principal(identity.who(), id, change, expected).await?;
    Ok(shown(HttpResponse::Ok(), &known))
}

/// Deletes a principal with its tokens, memberships and grants.
#[utoipa::path(delete, path = "/api/v1/principals/{id}", operation_id = "delete_principal", tag = "principals",
    params(IfMatch, ("id" = PrincipalId, Path)),
    responses((status = 204), Asked, Demanded, Looked, Changed, Matched))]
pub(super) async fn delete(
    request: HttpRequest,
    id: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_principal(&request, &doors, &id, false).await?;
    let expected = if_match(request.headers())?;
    doors.registry.delete_principal(identity.who(), known.principal.id.clone(), expected).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes an API token; its text is told here and never again.
#[utoipa::path(post, path = "/api/v1/principals/{id}/tokens", operation_id = "create_token", tag = "principals",
    request_body = Option<TokenRequest>,
    params(CreateHeader, ("id" = PrincipalId, Path)),
    responses((status = 201, body = TokenAnswer), Asked, Looked, Read, Changed))]
pub(super) async fn create_token(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_principal(&request, &doors, &id, true).await?;
    let (by, id, maker) = (identity.who(), known.principal.id.clone(), doors.clone());
    once(&request, payload, &doors, &identity, async move |wanted: TokenRequest| {
        let new = NewToken { name: wanted.name, days: wanted.expires_in_days };
        let made = maker.registry.create_token(by, id, new).await?;
        let shown = token_answer(&maker, &made.token, Some(&made.text));
        Ok(HttpResponse::Created().insert_header((CACHE_CONTROL, "no-store")).json(shown))
    })
    .await
}

/// The tokens of a principal, the newest first, in pages.
#[utoipa::path(get, path = "/api/v1/principals/{id}/tokens", operation_id = "list_tokens", tag = "principals",
    params(PageQuery, ("id" = PrincipalId, Path)),
    responses((status = 200, body = TokensAnswer), Asked, Looked, Changed))]
pub(super) async fn list_tokens(
    request: HttpRequest,
    id: Path<String>,
    query: Query<PageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (_, known) = demand_principal(&request, &doors, &id, true).await?;
    let place = |token: &&ApiToken| format!("{:020}{}", i64::MAX - token.created.0, token.id);
    let mut newest_first: Vec<_> = known.principal.tokens.iter().collect();
    newest_first.sort_by_key(place);
    let (tokens, next_page_token) = query.of(newest_first, place)?;
    let tokens = tokens.into_iter().map(|token| token_answer(&doors, token, None)).collect();
    Ok(HttpResponse::Ok().json(TokensAnswer { tokens, next_page_token }))
}

/// Revokes one token.
#[utoipa::path(delete, path = "/api/v1/principals/{id}/tokens/{token}", operation_id = "revoke_token", tag = "principals",
    params(("id" = PrincipalId, Path), ("token" = String, Path)),
    responses((status = 204), Asked, Looked, Changed))]
pub(super) async fn revoke_token(
    request: HttpRequest,
    path: Path<(String, String)>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (id, token) = path.into_inner();
    revoke(&request, &doors, &id, TokenChoice::One(token)).await
}

/// Revokes every token of a principal.
#[utoipa::path(delete, path = "/api/v1/principals/{id}/tokens", operation_id = "revoke_tokens", tag = "principals",
    params(("id" = PrincipalId, Path)),
    responses((status = 204), Asked, Looked, Changed))]
pub(super) async fn revoke_all_tokens(
    request: HttpRequest,
    id: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    revoke(&request, &doors, &id, TokenChoice::All).await
}

async fn revoke(
    request: &HttpRequest,
    doors: &Doors,
    id: &str,
    which: TokenChoice,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_principal(request, doors, id, true).await?;
    doors.registry.revoke_tokens(identity.who(), known.principal.id.clone(), which).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn shown(mut response: HttpResponseBuilder, known: &KnownPrincipal) -> HttpResponse {
    response.insert_header((ETAG, etag(known.version))).json(answer(&known.principal))
}

fn answer(principal: &Principal) -> PrincipalAnswer<'_> {
    PrincipalAnswer {
        id: &principal.id,
        kind: principal.kind,
        name: &principal.name,
        email: principal.email.as_deref(),
        role: principal.role,
        disabled: principal.disabled,
        created: principal.created,
    }
}

fn token_answer<'a>(doors: &Doors, token: &'a ApiToken, text: Option<&'a str>) -> TokenAnswer<'a> {
    TokenAnswer {
        id: &token.id,
        name: &token.name,
        created: token.created,
        expires: token.expires,
        revoked: token.revoked,
        last_used: doors.access.last_used(&token.id),
        token: text,
    }
}

fn member() -> Role {
    Role::Member
}
