//! `sluice create|list|delete purpose`.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::Client,
    output::{self, Format, Table, items_at, text_at},
    settings::Settings,
};

/// Arguments of `sluice create purpose`.
#[derive(clap::Args)]
pub struct CreateArguments {
    /// Name of the purpose
    name: String,
    /// Its level, 0 to 999 [default: the next one]
    #[arg(long)]
    level: Option<i32>,
    /// What data is used for under it
    #[arg(long, default_value = "")]
    description: String,
}

/// Arguments of `sluice delete purpose`.
#[derive(clap::Args)]
pub struct OneArgument {
    /// Name or level of the purpose
    purpose: String,
}

/// Runs `sluice create purpose`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn create(settings: &Settings, arguments: CreateArguments) -> Result<()> {
    let CreateArguments { name, level, description } = arguments;
    let body = json!({"name": name, "level": level, "description": description});
    let answer = Client::for_control(settings)?.call(Method::POST, &["purposes"], Some(&body)).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

/// Runs `sluice list purposes`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings) -> Result<()> {
    let answer = Client::for_control(settings)?.list(&["purposes"], "purposes", &[]).await?;
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/purposes"))])
}

/// Runs `sluice delete purpose`.
///
/// # Errors
///
/// The node refuses, for instance because a stream opens it, or cannot be reached.
pub async fn delete(settings: &Settings, arguments: OneArgument) -> Result<()> {
    let purpose = arguments.purpose;
    Client::for_control(settings)?.call(Method::DELETE, &["purposes", &purpose], None).await?;
    match settings.format {
        Format::Table => output::print(&format!("Purpose {purpose} has been deleted\n")),
        Format::Plain => output::print(&format!("{purpose}\n")),
        Format::Json => output::print(&format!("{:#}\n", json!({"purpose": purpose}))),
    }
}

fn table(purposes: &[Value]) -> Table {
    let row = |purpose: &Value| ["/name", "/level", "/description"].map(|at| text_at(purpose, at)).to_vec();
    Table { headers: &["Purpose", "Value", "Description"], rows: purposes.iter().map(row).collect() }
}
