//! `sluice whoami`, and users, service accounts and API tokens: `create|get|list|update|delete|revoke`.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    failure::Failure,
    output::{self, Format, Table, items_at, text_at},
    settings::Settings,
};
use crate::domain::{PrincipalId, Role};

/// Arguments of `sluice create user` and `create service-account`.
#[derive(clap::Args)]
pub struct CreateArguments {
    /// Id, chosen once and for ever: 2 to 100 of a-z, 0-9, '.', '_', ':' and '-'
    id: PrincipalId,
    /// Name, or what a service account is for
    #[arg(long)]
    name: Option<String>,
    /// E-mail address of a user
    #[arg(long)]
    email: Option<String>,
    /// Role on the installation: admin, project_admin, approver or member
    #[arg(long, default_value = "member")]
    role: Role,
}

/// Arguments of `sluice update user` and `update service-account`.
#[derive(clap::Args)]
pub struct UpdateArguments {
    /// Whom to change
    id: PrincipalId,
    #[command(flatten)]
    change: Change,
}

#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// Name, or what a service account is for
    #[arg(long)]
    name: Option<String>,
    /// E-mail address of a user
    #[arg(long)]
    email: Option<String>,
    /// Role on the installation: admin, project_admin, approver or member
    #[arg(long)]
    role: Option<Role>,
    /// Refuse it everywhere, and at once
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Let it in again
    #[arg(long)]
    enable: bool,
}

/// Arguments of the commands that take one principal.
#[derive(clap::Args)]
pub struct OneArgument {
    /// Id of the user or service account
    id: PrincipalId,
}

/// Arguments of `sluice create token`.
#[derive(clap::Args)]
pub struct TokenArguments {
    /// Whose token it will be [default: your own]
    principal: Option<PrincipalId>,
    /// What it is for
    #[arg(long)]
    name: Option<String>,
    /// Days it lives [default: the node's]
    #[arg(long, value_name = "DAYS")]
    expires_in_days: Option<u32>,
}

/// Arguments of `sluice list tokens`.
#[derive(clap::Args)]
pub struct TokensOfArgument {
    /// Whose tokens [default: your own]
    principal: Option<PrincipalId>,
}

/// Arguments of `sluice revoke token`.
#[derive(clap::Args)]
pub struct RevokeArguments {
    /// Whose token it is
    principal: PrincipalId,
    /// Id of the token, as `list tokens` shows it
    #[arg(value_name = "TOKEN", required_unless_present = "all")]
    token_id: Option<String>,
    /// Revoke every token of the principal
    #[arg(long, conflicts_with = "token_id")]
    all: bool,
}

/// Runs `sluice whoami`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn whoami(settings: &Settings) -> Result<()> {
    let answer = Client::for_control(settings)?.call(Method::GET, &["whoami"], None).await?;
    output::show(settings.format, &answer, || {
        let own = Table {
            headers: &["Principal", "Kind", "Roles", "Token", "Expires"],
            rows: vec![vec![
                text_at(&answer, "/id"),
                text_at(&answer, "/kind"),
                words(items_at(&answer, "/roles")),
                text_at(&answer, "/token/id"),
                time_at(&answer, "/token/expires"),
            ]],
        };
        let row = |project: &Value| vec![text_at(project, "/name"), words(items_at(project, "/roles"))];
        let rows: Vec<_> = items_at(&answer, "/projects").iter().map(row).collect();
        if rows.is_empty() || settings.format == Format::Plain {
            return vec![own];
        }
        vec![own, Table { headers: &["Project", "Roles"], rows }]
    })
}

/// Runs `sluice create user` and `create service-account`; `kind` is the API's word.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn create(settings: &Settings, kind: &str, arguments: CreateArguments) -> Result<()> {
    let CreateArguments { id, name, email, role } = arguments;
    let mut body = Map::from_iter([("id".to_owned(), json!(id)), ("kind".to_owned(), json!(kind))]);
    body.insert("role".to_owned(), json!(role));
    name.map(|name| body.insert("name".to_owned(), json!(name)));
    email.map(|email| body.insert("email".to_owned(), json!(email)));
    let client = Client::for_control(settings)?;
    let answer = client.call(Method::POST, &["principals"], Some(&Value::Object(body))).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])?;
    if settings.format == Format::Table {
        output::remark(&format!("It gets in with: sluice create token {id}"));
    }
    Ok(())
}

/// Runs `sluice get user` and `get service-account`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn get(settings: &Settings, arguments: OneArgument) -> Result<()> {
    let client = Client::for_control(settings)?;
    let answer = client.call(Method::GET, &["principals", arguments.id.as_str()], None).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

/// Runs `sluice list users`, `list service-accounts` and `list principals`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings, kind: Option<&str>) -> Result<()> {
    let filters: Vec<_> = kind.map(|kind| ("kind", kind)).into_iter().collect();
    let answer = Client::for_control(settings)?.list(&["principals"], "principals", &filters).await?;
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/principals"))])
}

/// Runs `sluice update user` and `update service-account`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn update(settings: &Settings, arguments: UpdateArguments) -> Result<()> {
    let UpdateArguments { id, change } = arguments;
    let mut body = Map::new();
    change.name.map(|name| body.insert("name".to_owned(), json!(name)));
    change.email.map(|email| body.insert("email".to_owned(), json!(email)));
    change.role.map(|role| body.insert("role".to_owned(), json!(role)));
    if change.disable || change.enable {
        body.insert("disabled".to_owned(), json!(change.disable));
    }
    let client = Client::for_control(settings)?;
    let path = ["principals", id.as_str()];
    let answer = client.call(Method::PATCH, &path, Some(&Value::Object(body))).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

/// Runs `sluice delete user` and `delete service-account`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn delete(settings: &Settings, arguments: OneArgument) -> Result<()> {
    let id = arguments.id;
    Client::for_control(settings)?.delete(&["principals", id.as_str()], false).await?;
    done(settings.format, &format!("Principal {id} has been deleted"), id.as_str(), &json!({ "id": id }))
}

/// Runs `sluice create token`. The token is shown once.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn create_token(settings: &Settings, arguments: TokenArguments) -> Result<()> {
    let TokenArguments { principal, name, expires_in_days } = arguments;
    let client = Client::for_control(settings)?;
    let id = own_or(&client, principal).await?;
    let mut body = Map::new();
    name.map(|name| body.insert("name".to_owned(), json!(name)));
    expires_in_days.map(|days| body.insert("expiresInDays".to_owned(), json!(days)));
    let path = ["principals", id.as_str(), "tokens"];
    let answer = client.call(Method::POST, &path, Some(&Value::Object(body))).await?;
    output::show(settings.format, &answer, || {
        let fields = ["/id", "/token"].map(|field| text_at(&answer, field));
        let row = fields.into_iter().chain([time_at(&answer, "/expires")]).collect();
        vec![Table { headers: &["Token Id", "Token", "Expires"], rows: vec![row] }]
    })?;
    if settings.format == Format::Table {
        output::remark("The token is shown once. Keep it in a file and name that with --token-file.");
    }
    Ok(())
}

/// Runs `sluice list tokens`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list_tokens(settings: &Settings, arguments: TokensOfArgument) -> Result<()> {
    let client = Client::for_control(settings)?;
    let id = own_or(&client, arguments.principal).await?;
    let answer = client.list(&["principals", id.as_str(), "tokens"], "tokens", &[]).await?;
    let row = |token: &Value| {
        let times = ["/created", "/expires", "/lastUsed", "/revoked"].map(|field| time_at(token, field));
        [text_at(token, "/id"), text_at(token, "/name")].into_iter().chain(times).collect()
    };
    output::show(settings.format, &answer, || {
        let rows = items_at(&answer, "/tokens").iter().map(row).collect();
        vec![Table { headers: &["Token Id", "Name", "Created", "Expires", "Last Used", "Revoked"], rows }]
    })
}

/// Runs `sluice revoke token`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn revoke_token(settings: &Settings, arguments: RevokeArguments) -> Result<()> {
    let RevokeArguments { principal, token_id: token, .. } = arguments;
    let mut path = vec!["principals", principal.as_str(), "tokens"];
    path.extend(token.as_deref());
    Client::for_control(settings)?.delete(&path, false).await?;
    let what = token.as_ref().map_or_else(
        || format!("All tokens of {principal} have been revoked"),
        |token| format!("Token {token} has been revoked"),
    );
    done(settings.format, &what, principal.as_str(), &json!({ "principal": principal, "token": token }))
}

/// The principal that was named, or the one whose token this is.
async fn own_or(client: &Client, named: Option<PrincipalId>) -> Result<PrincipalId> {
    if let Some(named) = named {
        return Ok(named);
    }
    let answer = client.call(Method::GET, &["whoami"], None).await?;
    let own = text_at(&answer, "/id").parse().ok().filter(|id| *id != PrincipalId::operator());
    let none = || {
        let what = "this is the operator's token, which has no tokens of its own";
        Failure::new(what, "name the principal whose token it is")
    };
    Ok(own.ok_or_else(none)?)
}

/// Says that something was done.
pub fn done(format: Format, sentence: &str, name: &str, answer: &Value) -> Result<()> {
    match format {
        Format::Table => output::print(&format!("{sentence}\n")),
        Format::Plain => output::print(&format!("{name}\n")),
        Format::Json => output::print(&format!("{answer:#}\n")),
    }
}

/// The time at `pointer` of an API answer, in milliseconds there, as text; empty when it is null.
pub fn time_at(value: &Value, pointer: &str) -> String {
    let ms = value.pointer(pointer).and_then(Value::as_i64);
    let at = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms - ms.rem_euclid(1000)).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}

fn words(values: &[Value]) -> String {
    let words: Vec<_> = values.iter().map(|value| text_at(value, "")).collect();
    words.join(",")
}

fn table(principals: &[Value]) -> Table {
    let row = |principal: &Value| {
        ["/id", "/kind", "/role", "/disabled", "/name", "/email"]
            .map(|field| text_at(principal, field))
            .to_vec()
    };
    Table {
        headers: &["Principal", "Kind", "Role", "Disabled", "Name", "E-mail"],
        rows: principals.iter().map(row).collect(),
    }
}
