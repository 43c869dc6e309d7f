//! `GET /problems/{code}`: where the `type` of a problem document leads.

use actix_web::{HttpResponse, web::Path};

use super::{ApiError, openapi::answers::Looked, problem::page};

/// What a code means and what to do about it, as Markdown. Needs no token.
#[utoipa::path(get, path = "/problems/{code}", operation_id = "get_problem", tag = "health",
    security(()),
    params(("code" = String, Path)),
    responses((status = 200, body = String, content_type = "text/markdown"), Looked))]
pub(super) async fn problem(code: Path<String>) -> Result<HttpResponse, ApiError> {
    let page = page(&code).ok_or(ApiError::RouteUnknown)?;
    Ok(HttpResponse::Ok().content_type("text/markdown; charset=utf-8").body(page))
}
