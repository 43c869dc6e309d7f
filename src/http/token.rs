//! The token endpoint: OAuth2 client credentials (RFC 6749), as the original's drivers speak it.
//!
//! Errors are RFC 6749's, not problem documents: that is what an OAuth client reads.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Data, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, Doors, body::Body, ingest::text, problem::Problem};
use crate::gateway::{AccessError, Grant};

/// The fields of a token request. Client id and secret may be in the header instead.
#[derive(Default, ToSchema)]
#[schema(as = AccessTokenRequest)]
struct Form {
    /// `client_credentials` or `refresh_token`.
    grant_type: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

/// The answer to a token request.
#[derive(Serialize, ToSchema)]
#[schema(as = AccessToken)]
struct GrantAnswer<'a> {
    access_token: &'a str,
    expires_in: u64,
    expires_at: i64,
    refresh_expires_in: u64,
    refresh_token: &'a str,
    token_type: &'static str,
    #[serde(rename = "not-before-policy")]
    not_before_policy: i64,
    scope: &'static str,
}

/// An RFC 6749 error answer.
#[derive(Serialize, ToSchema)]
struct OAuthRefusal<'a> {
    error: &'static str,
    error_description: &'a str,
}

struct OAuthError(StatusCode, &'static str, String);

/// `POST /auth/realms/streams/protocol/openid-connect/token`.
#[utoipa::path(post, path = PATH, operation_id = "get_access_token", tag = "token",
    request_body(content = Form, content_type = "application/x-www-form-urlencoded"), security((), ("client" = [])),
    responses((status = 200, body = GrantAnswer), (status = 400, content((OAuthRefusal = "application/json"), (Problem = "application/problem+json"))), (status = 401, body = OAuthRefusal), (status = 429, body = OAuthRefusal), (status = 503, content((OAuthRefusal = "application/json"), (Problem = "application/problem+json"))), (status = 408, body = Problem, content_type = "application/problem+json"), (status = 413, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn token(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let body = Body::open(&request, payload, &doors, FORM_BYTES_MAX)?.whole().await?;
    let authorization = text(request.headers(), header::AUTHORIZATION.as_str())?;
    Ok(match grant(&doors, authorization, &body.bytes).await {
        Ok(grant) => answer(&grant),
        Err(error) => refuse(&error),
    })
}

/// `GET .../certs`: the public keys of the tokens.
#[utoipa::path(get, path = "/auth/realms/streams/protocol/openid-connect/certs", operation_id = "get_certs", tag = "token",
    security(()),
    responses((status = 200, body = Object)))]
pub(super) async fn certs(doors: Data<Doors>) -> HttpResponse {
    HttpResponse::Ok().json(doors.access.public_keys())
}

async fn grant(doors: &Doors, authorization: Option<&str>, body: &[u8]) -> Result<Grant, OAuthError> {
    let mut form = parse(body)?;
    if let Some(basic) = authorization.and_then(basic_credentials) {
        if form.client_secret.is_some() {
            return Err(invalid("give the client secret in the header or in the body, not in both"));
        }
        (form.client_id, form.client_secret) = (Some(basic.0), Some(basic.1));
    }
    let client_id = form.client_id.ok_or_else(|| invalid("client_id is missing"))?;
    let client_secret = form.client_secret.ok_or_else(|| invalid("client_secret is missing"))?;
    let granted = match form.grant_type.as_str() {
        "client_credentials" => doors.access.log_in(&client_id, &client_secret),
        "refresh_token" => {
            let token = form.refresh_token.ok_or_else(|| invalid("refresh_token is missing"))?;
            doors.access.refresh(&client_id, &client_secret, &token)
        }
        "" => return Err(invalid("grant_type is missing")),
        _ => {
            let description = "grant_type is client_credentials or refresh_token".to_owned();
            return Err(OAuthError(StatusCode::BAD_REQUEST, "unsupported_grant_type", description));
        }
    };
    let inventory = doors.registry.inventory();
    match (&granted, inventory.client(&client_id, doors.access.now())) {
        (Ok(_), Some(stream)) => doors.auditor.granted(&client_id, stream).await.map_err(|error| {
            OAuthError(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", error.to_string())
        })?,
        (Ok(_), None) => return Err(invalid("the client was deleted")),
        (Err(_), _) => doors.auditor.login_failed(&client_id, &inventory),
    }
    granted.map_err(|error| match error {
        AccessError::RefreshInvalid => {
            OAuthError(StatusCode::BAD_REQUEST, "invalid_grant", error.to_string())
        }
        AccessError::TooManyFailures => {
            OAuthError(StatusCode::TOO_MANY_REQUESTS, "slow_down", error.to_string())
        }
        error => OAuthError(StatusCode::UNAUTHORIZED, "invalid_client", error.to_string()),
    })
}

fn parse(body: &[u8]) -> Result<Form, OAuthError> {
    let mut form = Form::default();
    for (name, value) in form_urlencoded::parse(body) {
        let field = match &*name {
            "grant_type" if form.grant_type.is_empty() => {
                form.grant_type = value.into_owned();
                continue;
            }
            "client_id" => &mut form.client_id,
            "client_secret" => &mut form.client_secret,
            "refresh_token" => &mut form.refresh_token,
            "grant_type" => return Err(invalid("a parameter is given twice")),
            _ => continue,
        };
        if field.replace(value.into_owned()).is_some() {
            return Err(invalid("a parameter is given twice"));
        }
    }
    Ok(form)
}

fn basic_credentials(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn invalid(description: &str) -> OAuthError {
    OAuthError(StatusCode::BAD_REQUEST, "invalid_request", description.to_owned())
}

fn refuse(OAuthError(status, error, description): &OAuthError) -> HttpResponse {
    let mut answer = HttpResponse::build(*status);
    answer.insert_header((header::CACHE_CONTROL, "no-store")).insert_header((header::PRAGMA, "no-cache"));
    if *status == StatusCode::SERVICE_UNAVAILABLE {
        answer.insert_header((header::RETRY_AFTER, "2"));
    }
    if *status == StatusCode::TOO_MANY_REQUESTS {
        answer.insert_header((header::RETRY_AFTER, "60"));
    }
    answer.json(OAuthRefusal { error, error_description: description })
}

fn answer(grant: &Grant) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::PRAGMA, "no-cache"))
        .json(GrantAnswer {
            access_token: &grant.access_token,
            expires_in: grant.expires_in_s,
            expires_at: grant.expires_at_s,
            refresh_expires_in: grant.refresh_expires_in_s,
            refresh_token: &grant.refresh_token,
            token_type: "Bearer",
            not_before_policy: 0,
            scope: "offline_access",
        })
}

/// Where the original's drivers ask.
pub(super) const PATH: &str = "/auth/realms/streams/protocol/openid-connect/token";
const FORM_BYTES_MAX: usize = 16 << 10;
