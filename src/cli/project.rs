//! Projects and their members, and who may read a stream: `create|get|list|update|delete project`,
//! `add|remove member`, `grant|revoke read`.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    output::{self, Table, items_at, text_at},
    principal::{done, time_at},
    settings::Settings,
};
use crate::domain::{PrincipalId, ProjectName, Role, StreamName};

/// Arguments of `sluice create project`.
#[derive(clap::Args)]
pub struct CreateArguments {
    /// Name of the project
    name: ProjectName,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
}

/// Arguments of `sluice update project`.
#[derive(clap::Args)]
pub struct UpdateArguments {
    /// Name of the project
    name: ProjectName,
    #[command(flatten)]
    change: Change,
}

#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// Take no new streams and contracts
    #[arg(long, conflicts_with = "reopen")]
    archive: bool,
    /// Take them again
    #[arg(long)]
    reopen: bool,
}

/// Arguments of the commands that take one project.
#[derive(clap::Args)]
pub struct OneArgument {
    /// Name of the project
    name: ProjectName,
}

/// Arguments of `sluice add member`.
#[derive(clap::Args)]
pub struct AddArguments {
    /// Name of the project
    project: ProjectName,
    /// Id of the user or service account
    principal: PrincipalId,
    /// Role in the project: project_admin, approver or member
    #[arg(long, default_value = "member")]
    role: Role,
}

/// Arguments of `sluice remove member`.
#[derive(clap::Args)]
pub struct RemoveArguments {
    /// Name of the project
    project: ProjectName,
    /// Id of the user or service account
    principal: PrincipalId,
}

/// Arguments of `sluice grant read`.
#[derive(clap::Args)]
pub struct GrantArguments {
    /// Stream to be read
    stream: StreamName,
    /// Id of the user or service account that reads
    principal: PrincipalId,
    /// Days after which the grant ends [default: when it is revoked]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    expires_in_days: Option<u32>,
}

/// Arguments of `sluice revoke read`.
#[derive(clap::Args)]
pub struct UngrantArguments {
    /// Stream that is read
    stream: StreamName,
    /// Id of the user or service account that reads
    principal: PrincipalId,
}

/// Arguments of `sluice list grants`.
#[derive(clap::Args)]
pub struct GrantsArgument {
    /// Stream that is read
    stream: StreamName,
}

/// Runs `sluice create project`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn create(settings: &Settings, arguments: CreateArguments) -> Result<()> {
    let mut body = Map::from_iter([("name".to_owned(), json!(arguments.name))]);
    arguments.description.map(|text| body.insert("description".to_owned(), json!(text)));
    let client = Client::for_control(settings)?;
    let answer = client.call(Method::POST, &["projects"], Some(&Value::Object(body))).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

/// Runs `sluice get project`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn get(settings: &Settings, arguments: OneArgument) -> Result<()> {
    let client = Client::for_control(settings)?;
    let answer = client.call(Method::GET, &["projects", arguments.name.as_str()], None).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

/// Runs `sluice list projects`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings) -> Result<()> {
    let answer = Client::for_control(settings)?.list(&["projects"], "projects", &[]).await?;
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/projects"))])
}

/// Runs `sluice update project`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn update(settings: &Settings, arguments: UpdateArguments) -> Result<()> {
    let UpdateArguments { name, change } = arguments;
    let mut body = Map::new();
    change.description.map(|text| body.insert("description".to_owned(), json!(text)));
    if change.archive || change.reopen {
        let state = if change.archive { "ARCHIVED" } else { "OPERATIONAL" };
        body.insert("state".to_owned(), json!(state));
    }
    let client = Client::for_control(settings)?;
    let path = ["projects", name.as_str()];
    let answer = client.call(Method::PATCH, &path, Some(&Value::Object(body))).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

/// Runs `sluice delete project`.
///
/// # Errors
///
/// The node refuses, for instance because streams belong to it, or cannot be reached.
pub async fn delete(settings: &Settings, arguments: OneArgument) -> Result<()> {
    let name = arguments.name;
    Client::for_control(settings)?.delete(&["projects", name.as_str()], false).await?;
    done(
        settings.format,
        &format!("Project {name} has been deleted"),
        name.as_str(),
        &json!({ "name": name }),
    )
}

/// Runs `sluice list members`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list_members(settings: &Settings, arguments: OneArgument) -> Result<()> {
    let client = Client::for_control(settings)?;
    let answer = client.list(&["projects", arguments.name.as_str(), "members"], "members", &[]).await?;
    output::show(settings.format, &answer, || vec![members(&answer)])
}

/// Runs `sluice add member`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn add_member(settings: &Settings, arguments: AddArguments) -> Result<()> {
    let AddArguments { project, principal, role } = arguments;
    let client = Client::for_control(settings)?;
    let path = ["projects", project.as_str(), "members", principal.as_str()];
    let answer = client.call(Method::PUT, &path, Some(&json!({ "role": role }))).await?;
    output::show(settings.format, &answer, || vec![members(&answer)])
}

/// Runs `sluice remove member`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn remove_member(settings: &Settings, arguments: RemoveArguments) -> Result<()> {
    let RemoveArguments { project, principal } = arguments;
    let path = ["projects", project.as_str(), "members", principal.as_str()];
    Client::for_control(settings)?.delete(&path, false).await?;
    let answer = json!({ "project": project, "principal": principal });
    done(settings.format, &format!("{principal} is no longer in {project}"), principal.as_str(), &answer)
}

/// Runs `sluice grant read`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn grant_read(settings: &Settings, arguments: GrantArguments) -> Result<()> {
    let GrantArguments { stream, principal, expires_in_days } = arguments;
    let end = |days: u32| jiff::Timestamp::now().as_millisecond() + i64::from(days) * crate::clock::DAY_MS;
    let body = json!({ "principal": principal, "expires": expires_in_days.map(end) });
    let client = Client::for_control(settings)?;
    let answer = client.call(Method::POST, &["streams", stream.as_str(), "grants"], Some(&body)).await?;
    output::show(settings.format, &answer, || vec![grants(std::slice::from_ref(&answer))])
}

/// Runs `sluice list grants`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list_grants(settings: &Settings, arguments: GrantsArgument) -> Result<()> {
    let client = Client::for_control(settings)?;
    let answer = client.list(&["streams", arguments.stream.as_str(), "grants"], "grants", &[]).await?;
    output::show(settings.format, &answer, || vec![grants(items_at(&answer, "/grants"))])
}

/// Runs `sluice revoke read`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn revoke_read(settings: &Settings, arguments: UngrantArguments) -> Result<()> {
    let UngrantArguments { stream, principal } = arguments;
    let path = ["streams", stream.as_str(), "grants", principal.as_str()];
    Client::for_control(settings)?.delete(&path, false).await?;
    let answer = json!({ "stream": stream, "principal": principal });
    done(settings.format, &format!("{principal} no longer reads {stream}"), principal.as_str(), &answer)
}

fn table(projects: &[Value]) -> Table {
    let row = |project: &Value| {
        ["/name", "/state", "/members", "/description"].map(|field| text_at(project, field)).to_vec()
    };
    Table {
        headers: &["Project", "State", "Members", "Description"],
        rows: projects.iter().map(row).collect(),
    }
}

fn members(answer: &Value) -> Table {
    let row = |member: &Value| vec![text_at(member, "/id"), text_at(member, "/role")];
    Table { headers: &["Principal", "Role"], rows: items_at(answer, "/members").iter().map(row).collect() }
}

fn grants(grants: &[Value]) -> Table {
    let row = |grant: &Value| {
        let names = ["/stream", "/principal"].map(|field| text_at(grant, field));
        names.into_iter().chain(["/created", "/expires"].map(|field| time_at(grant, field))).collect()
    };
    Table { headers: &["Stream", "Principal", "Created", "Expires"], rows: grants.iter().map(row).collect() }
}
