//! `/api/v1/projects`: projects and who works on them.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiError, Doors,
    gate::{demand, demand_project, identify},
    paging::PageQuery,
    streams::document,
};
use crate::{
    actors::{ControlError, PrincipalOrderError, ProjectChange},
    clock::Timestamp,
    domain::{Permission, PrincipalId, Project, ProjectName, ProjectState, Role},
};

/// What a client sends to make a project.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectRequest {
    name: ProjectName,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeRequest {
    description: Option<String>,
    state: Option<ProjectState>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberRequest {
    role: Role,
}

/// A project as the API shows it.
#[derive(Serialize)]
struct ProjectAnswer<'a> {
    name: &'a ProjectName,
    description: &'a str,
    state: ProjectState,
    created: Timestamp,
    members: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProjectsAnswer<'a> {
    projects: Vec<ProjectAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MembersAnswer<'a> {
    members: Vec<MemberAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Serialize)]
struct MemberAnswer<'a> {
    id: &'a PrincipalId,
    role: Role,
}

/// Makes a project without members.
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::CreateProject).await?;
    let ProjectRequest { name, description } = document(&request, payload, &doors).await?;
    let known = doors.registry.create_project(identity.who(), name, description).await?;
    Ok(HttpResponse::Created().json(answer(&known.project)))
}

/// Projects that the caller sees, by name, in pages.
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
pub(super) async fn get(
    request: HttpRequest,
    name: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (_, known) = demand_project(&request, &doors, Permission::ViewResources, &name).await?;
    Ok(HttpResponse::Ok().json(answer(&known.project)))
}

/// Changes a project's description or state.
pub(super) async fn change(
    request: HttpRequest,
    name: Path<String>,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_project(&request, &doors, Permission::ManageMembers, &name).await?;
    let ChangeRequest { description, state } = document(&request, payload, &doors).await?;
    let change = ProjectChange { description, state };
    let name = known.project.name.clone();
    let known = doors.registry.change_project(identity.who(), name, change).await?;
    Ok(HttpResponse::Ok().json(answer(&known.project)))
}

/// Deletes a project that nothing belongs to.
pub(super) async fn delete(
    request: HttpRequest,
    name: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_project(&request, &doors, Permission::DeleteProject, &name).await?;
    doors.registry.delete_project(identity.who(), known.project.name.clone()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Who works on a project, by id, in pages.
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
