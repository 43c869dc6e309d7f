//! `sluice create|list|delete|rotate credentials`.

use std::io::IsTerminal;

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::Client,
    credentials::{self, Credentials},
    failure::Failure,
    output::{self, Format, Table, items_at, text_at, time_at},
    settings::Settings,
};
use crate::domain::StreamName;

/// Arguments of `sluice create credentials`.
#[derive(clap::Args)]
pub struct CreateArguments {
    /// Name of the stream
    stream: StreamName,
    /// Keep them in $SLUICE_HOME/streams, instead of those that are there
    #[arg(long)]
    save: bool,
}

/// Arguments of `sluice list credentials`.
#[derive(clap::Args)]
pub struct ListArguments {
    /// Name of the stream
    stream: StreamName,
}

/// Arguments of `sluice delete credentials`.
#[derive(clap::Args)]
pub struct DeleteArguments {
    /// Name of the stream
    stream: StreamName,
    /// Client id of the credentials: its tokens and connections end at once
    #[arg(value_name = "CLIENT_ID")]
    client_id: String,
}

/// Arguments of `sluice rotate credentials`.
#[derive(clap::Args)]
pub struct RotateArguments {
    /// Name of the stream
    stream: StreamName,
    /// Client id of the credentials to replace; not needed when the stream has one
    #[arg(value_name = "CLIENT_ID", conflicts_with = "all")]
    client_id: Option<String>,
    /// Replace all credentials of the stream
    #[arg(long)]
    all: bool,
    /// Seconds the old credentials still serve, at most 30 days
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    overlap: u32,
    /// Keep the new ones in $SLUICE_HOME/streams, instead of those that are there
    #[arg(long)]
    save: bool,
}

/// Runs `sluice create credentials`.
///
/// # Errors
///
/// The node refuses, or the credentials cannot be saved.
pub async fn create(settings: &Settings, arguments: CreateArguments) -> Result<()> {
    issue(settings, &arguments.stream, &json!({}), arguments.save).await
}

/// Runs `sluice rotate credentials`.
///
/// # Errors
///
/// It is not clear which credentials are meant, the node refuses, or the new ones cannot be saved.
pub async fn rotate(settings: &Settings, arguments: RotateArguments) -> Result<()> {
    let RotateArguments { stream, client_id, all, overlap, save } = arguments;
    let replaces = match client_id {
        Some(client_id) => client_id,
        None if all => "*".to_owned(),
        None => only_one(settings, &stream).await?,
    };
    issue(settings, &stream, &json!({"replaces": replaces, "overlapS": overlap}), save).await
}

async fn only_one(settings: &Settings, stream: &StreamName) -> Result<String> {
    let answer = fetch(settings, stream).await?;
    match items_at(&answer, "/credentials") {
        [one] => Ok(text_at(one, "/clientId")),
        _ => Err(Failure::new(
            format!("stream {stream} has not exactly one credential"),
            format!("name one of: sluice list credentials {stream}, or give --all"),
        )
        .into()),
    }
}

async fn issue(settings: &Settings, stream: &StreamName, body: &Value, save: bool) -> Result<()> {
    let client = Client::for_control(settings)?;
    if save {
        credentials::prepare(settings, stream)?;
    }
    let path = ["streams", stream.as_str(), "credentials"];
    let answer = client.call(Method::POST, &path, Some(body)).await?;
    let saved = if save { keep(settings, stream, &answer) } else { Ok(()) };
    let secret_shown = !save || saved.is_err();
    output::show(settings.format, &answer, || {
        let mut row = vec![text_at(&answer, "/clientId")];
        if secret_shown {
            row.push(text_at(&answer, "/clientSecret"));
        }
        let headers: &[&str] = if secret_shown { &["Client ID", "Client Secret"] } else { &["Client ID"] };
        vec![Table { headers, rows: vec![row] }]
    })?;
    if secret_shown && settings.format == Format::Table && std::io::stderr().is_terminal() {
        output::remark("The secret is shown once: keep it.");
    }
    saved
}

fn keep(settings: &Settings, stream: &StreamName, answer: &Value) -> Result<()> {
    let found: Credentials = serde_json::from_value(answer.clone())?;
    let path = credentials::save(settings, stream, &found)?;
    if settings.format == Format::Table {
        output::remark(&format!("Credentials of {stream} are in {}.", path.display()));
    }
    Ok(())
}

/// Runs `sluice list credentials`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings, arguments: ListArguments) -> Result<()> {
    let answer = fetch(settings, &arguments.stream).await?;
    let row = |entry: &Value| {
        vec![text_at(entry, "/clientId"), time_at(entry, "/created"), time_at(entry, "/expires")]
    };
    output::show(settings.format, &answer, || {
        let rows = items_at(&answer, "/credentials").iter().map(row).collect();
        vec![Table { headers: &["Client ID", "Created", "Expires"], rows }]
    })
}

async fn fetch(settings: &Settings, stream: &StreamName) -> Result<Value> {
    let path = ["streams", stream.as_str(), "credentials"];
    Ok(Client::for_control(settings)?.list(&path, "credentials", &[]).await?)
}

/// Runs `sluice delete credentials`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn delete(settings: &Settings, arguments: DeleteArguments) -> Result<()> {
    let DeleteArguments { stream, client_id } = arguments;
    let path = ["streams", stream.as_str(), "credentials", &client_id];
    Client::for_control(settings)?.call(Method::DELETE, &path, None).await?;
    match settings.format {
        Format::Table => output::print(&format!("Credentials {client_id} have been deleted\n")),
        Format::Plain => output::print(&format!("{client_id}\n")),
        Format::Json => output::print(&format!("{:#}\n", json!({"clientId": client_id}))),
    }
}
