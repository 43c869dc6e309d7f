//! `/api/v1/principals`: users and service accounts, and their API tokens.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::CACHE_CONTROL,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiError, Doors,
    gate::{demand, demand_principal, identify},
    paging::{PageQuery, page},
    streams::document,
};
use crate::{
    actors::{NewPrincipal, NewToken, PrincipalChange, TokenChoice},
    clock::Timestamp,
    domain::{ApiToken, Permission, Principal, PrincipalId, PrincipalKind, Role},
};

/// What a client sends to make a principal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalRequest {
    id: PrincipalId,
    kind: PrincipalKind,
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default = "member")]
    role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeRequest {
    name: Option<String>,
    email: Option<String>,
    role: Option<Role>,
    disabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TokenRequest {
    #[serde(default)]
    name: String,
    expires_in_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListQuery {
    kind: Option<PrincipalKind>,
    limit: Option<usize>,
    page_token: Option<String>,
}

/// A principal as the API shows it.
#[derive(Serialize)]
struct PrincipalAnswer<'a> {
    id: &'a PrincipalId,
    kind: PrincipalKind,
    name: &'a str,
    email: Option<&'a str>,
    role: Role,
    disabled: bool,
    created: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrincipalsAnswer<'a> {
    principals: Vec<PrincipalAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// A token as the API shows it. `token` is its text, told once.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokensAnswer<'a> {
    tokens: Vec<TokenAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Makes a user or a service account, without a token.
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::ManagePrincipals).await?;
    let PrincipalRequest { id, kind, name, email, role } = document(&request, payload, &doors).await?;
    let new = NewPrincipal { id, kind, name, email, role };
    let known = doors.registry.create_principal(identity.who(), new).await?;
    Ok(HttpResponse::Created().json(answer(&known.principal)))
}

/// Principals that the caller sees, by id, in pages: all, or itself.
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
pub(super) async fn get(
    request: HttpRequest,
    id: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (_, known) = demand_principal(&request, &doors, &id, true).await?;
    Ok(HttpResponse::Ok().json(answer(&known.principal)))
}

/// Changes a principal's name, address, role, or whether it is disabled.
pub(super) async fn change(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_principal(&request, &doors, &id, false).await?;
    let ChangeRequest { name, email, role, disabled } = document(&request, payload, &doors).await?;
    let change = PrincipalChange { name, email, role, disabled };
    let id = known.principal.id.clone();
    let known = doors.registry.change_principal(identity.who(), id, change).await?;
    Ok(HttpResponse::Ok().json(answer(&known.principal)))
}

/// Deletes a principal with its tokens, memberships and grants.
pub(super) async fn delete(
    request: HttpRequest,
    id: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_principal(&request, &doors, &id, false).await?;
    doors.registry.delete_principal(identity.who(), known.principal.id.clone()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Makes an API token; its text is told here and never again.
pub(super) async fn create_token(
    request: HttpRequest,
    id: Path<String>,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_principal(&request, &doors, &id, true).await?;
    let wanted: TokenRequest = document(&request, payload, &doors).await?;
    let new = NewToken { name: wanted.name, days: wanted.expires_in_days };
    let made = doors.registry.create_token(identity.who(), known.principal.id.clone(), new).await?;
    let shown = token_answer(&doors, &made.token, Some(&made.text));
    Ok(HttpResponse::Created().insert_header((CACHE_CONTROL, "no-store")).json(shown))
}

/// The tokens of a principal, the newest first, in pages.
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
pub(super) async fn revoke_token(
    request: HttpRequest,
    path: Path<(String, String)>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (id, token) = path.into_inner();
    revoke(&request, &doors, &id, TokenChoice::One(token)).await
}

/// Revokes every token of a principal.
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
