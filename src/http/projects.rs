//! `/api/v1/projects`: projects and who works on them.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::ETAG,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, Doors,
    document::document,
    gate::{demand, demand_project, identify},
    once::once,
    openapi::{
        answers::{Asked, Changed, Demanded, Looked, Matched, Read},
        names::{CreateHeader, ETag, IfMatch},
    },
    paging::PageQuery,
    precondition::{etag, if_match},
};
use crate::{
    actors::{ControlError, KnownProject, PrincipalOrderError, ProjectChange},
    clock::Timestamp,
    domain::{Permission, PrincipalId, Project, ProjectName, ProjectState, Role},
};

/// What a client sends to make a project.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProject)]
struct ProjectRequest {
    name: ProjectName,
    #[serde(default)]
    #[schema(max_length = 5000)]
    description: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProjectChange)]
struct ChangeRequest {
    #[schema(max_length = 5000)]
    description: Option<String>,
    state: Option<ProjectState>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Membership)]
struct MemberRequest {
    role: Role,
}

/// A project as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Project)]
struct ProjectAnswer<'a> {
    name: &'a ProjectName,
    description: &'a str,
    state: ProjectState,
    created: Timestamp,
    members: usize,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Projects)]
struct ProjectsAnswer<'a> {
    projects: Vec<ProjectAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Members)]
struct MembersAnswer<'a> {
    members: Vec<MemberAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
struct MemberAnswer<'a> {
    id: &'a PrincipalId,
    role: Role,
}

/// Makes a project without members.
#[utoipa::path(post, path = "/api/v1/projects", operation_id = "create_project", tag = "projects",
    request_body = ProjectRequest,
    params(CreateHeader),
    responses((status = 201, body = ProjectAnswer, headers(("ETag" = ETag))), Asked, Demanded, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::CreateProject).await?;
    let (by, registry) = (identity.who(), doors.registry.clone());
    once(&request, payload, &doors, &identity, async move |wanted: ProjectRequest| {
        let known = registry.create_project(by, wanted.name, wanted.description).await?;
        Ok(shown(HttpResponse::Created(), &known))
    })
    .await
}

/// Projects that the caller sees, by name, in pages.
#[utoipa::path(get, path = "/api/v1/projects", operation_id = "list_projects", tag = "projects",
    params(PageQuery),
    responses((status = 200, body = ProjectsAnswer), Asked))]
pub(super) async fn list(
    request: HttpRequest,
    query: Query<PageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let mut projects: Vec<_> = identity.projects().collect();
    projects.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    let (projects, next_page_token) = query.of(projects, |project| project.name.as_str().to_owned())?;
    let projects = projects.into_iter().map(answer).collect();
    Ok(HttpResponse::Ok().json(ProjectsAnswer { projects, next_page_token }))
}

/// One project.
#[utoipa::path(get, path = "/api/v1/projects/{name}", operation_id = "get_project", tag = "projects",
    params(("name" = ProjectName, Path)),
    responses((status = 200, body = ProjectAnswer, headers(("ETag" = ETag))), Asked, Looked))]
pub(super) async fn get(
    request: HttpRequest,
    name: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (_, known) = demand_project(&request, &doors, Permission::ViewResources, &name).await?;
    Ok(shown(HttpResponse::Ok(), &known))
}

/// Changes a project's description or state.
#[utoipa::path(patch, path = "/api/v1/projects/{name}", operation_id = "update_project", tag = "projects",
    request_body = ChangeRequest,
    params(IfMatch, ("name" = ProjectName, Path)),
    responses((status = 200, body = ProjectAnswer, headers(("ETag" = ETag))), Asked, Demanded, Looked, Read, Changed, Matched))]
pub(super) async fn change(
    request: HttpRequest,
    name: Path<String>,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_project(&request, &doors, Permission::ManageMembers, &name).await?;
    let expected = if_match(request.headers())?;
    let ChangeRequest { description, state } = document(&request, payload, &doors).await?;
    let change = ProjectChange { description, state };
    let name = known.project.name.clone();
    let known = doors.registry.change_project(identity.who(), name, change, expected).await?;
    Ok(shown(HttpResponse::Ok(), &known))
}

/// Deletes a project that nothing belongs to.
#[utoipa::path(delete, path = "/api/v1/projects/{name}", operation_id = "delete_project", tag = "projects",
    params(IfMatch, ("name" = ProjectName, Path)),
    responses((status = 204), Asked, Demanded, Looked, Changed, Matched))]
pub(super) async fn delete(
    request: HttpRequest,
    name: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_project(&request, &doors, Permission::DeleteProject, &name).await?;
    let expected = if_match(request.headers())?;
    doors.registry.delete_project(identity.who(), known.project.name.clone(), expected).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Who works on a project, by id, in pages.
#[utoipa::path(get, path = "/api/v1/projects/{name}/members", operation_id = "list_members", tag = "projects",
    params(PageQuery, ("name" = ProjectName, Path)),
    responses((status = 200, body = MembersAnswer), Asked, Looked))]
pub(super) async fn list_members(
    request: HttpRequest,
    name: Path<String>,
    query: Query<PageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (_, known) = demand_project(&request, &doors, Permission::ViewResources, &name).await?;
    let mut answer = members(&known.project.members);
    answer.members.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    let (members, next_page_token) = query.of(answer.members, |member| member.id.as_str().to_owned())?;
    Ok(HttpResponse::Ok().json(MembersAnswer { members, next_page_token }))
}

/// Puts a principal into a project, or gives a member another role.
#[utoipa::path(put, path = "/api/v1/projects/{name}/members/{principal}", operation_id = "add_member", tag = "projects",
    request_body = MemberRequest,
    params(("name" = ProjectName, Path), ("principal" = PrincipalId, Path)),
    responses((status = 200, body = MembersAnswer), Asked, Demanded, Looked, Read, Changed))]
pub(super) async fn set_member(
    request: HttpRequest,
    path: Path<(String, String)>,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (name, member) = path.into_inner();
    let (identity, known) = demand_project(&request, &doors, Permission::ManageMembers, &name).await?;
    let MemberRequest { role } = document(&request, payload, &doors).await?;
    let (name, member) = (known.project.name.clone(), principal(&member)?);
    let known = doors.registry.set_member(identity.who(), name, member, role).await?;
    Ok(HttpResponse::Ok().json(members(&known.project.members)))
}

/// Takes a principal out of a project.
#[utoipa::path(delete, path = "/api/v1/projects/{name}/members/{principal}", operation_id = "remove_member", tag = "projects",
    params(("name" = ProjectName, Path), ("principal" = PrincipalId, Path)),
    responses((status = 204), Asked, Demanded, Looked, Changed))]
pub(super) async fn remove_member(
    request: HttpRequest,
    path: Path<(String, String)>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (name, member) = path.into_inner();
    let (identity, known) = demand_project(&request, &doors, Permission::ManageMembers, &name).await?;
    let (name, member) = (known.project.name.clone(), principal(&member)?);
    doors.registry.remove_member(identity.who(), name, member).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn principal(text: &str) -> Result<PrincipalId, ControlError> {
    text.parse().map_err(|_| ControlError::Principal(PrincipalOrderError::Unknown))
}

fn shown(mut response: HttpResponseBuilder, known: &KnownProject) -> HttpResponse {
    response.insert_header((ETAG, etag(known.version))).json(answer(&known.project))
}

fn answer(project: &Project) -> ProjectAnswer<'_> {
    ProjectAnswer {
        name: &project.name,
        description: &project.description,
        state: project.state,
        created: project.created,
        members: project.members.len(),
    }
}

fn members(members: &BTreeMap<PrincipalId, Role>) -> MembersAnswer<'_> {
    let members = members.iter().map(|(id, role)| MemberAnswer { id, role: *role }).collect();
    MembersAnswer { members, next_page_token: None }
}
