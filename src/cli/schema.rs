//! `sluice get|list schema`, `sluice get schema-code`.

use anyhow::Result;
use reqwest::Method;
use serde_json::Value;

use super::{
    client::Client,
    output::{self, Format, Table, items_at, text_at},
    settings::Settings,
};
use crate::domain::ContractRef;

/// Arguments of `sluice get schema`.
#[derive(clap::Args)]
pub struct GetArguments {
    /// Reference of the schema: handle/name/version
    #[arg(value_name = "REF")]
    reference: ContractRef,
}

/// Runs `sluice get schema`: its definition, or with `-o plain` its line of the list.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn get(settings: &Settings, arguments: GetArguments) -> Result<()> {
    let (handle, name, version) = arguments.reference.parts();
    let path = ["schemas", handle, name, version];
    let answer = Client::for_control(settings)?.call(Method::GET, &path, None).await?;
    if settings.format == Format::Table {
        let definition = answer.get("definition").unwrap_or(&Value::Null);
        return output::print(&format!("{definition:#}\n"));
    }
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

/// Arguments of `sluice get schema-code`.
#[derive(clap::Args)]
pub struct CodeArguments {
    /// Reference of the schema: handle/name/version
    #[arg(value_name = "REF")]
    reference: ContractRef,
    /// Language of the classes
    #[arg(long, value_parser = ["python", "typescript", "java", "rust"])]
    language: String,
}

/// Runs `sluice get schema-code`: prints one file of code.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn code(settings: &Settings, arguments: CodeArguments) -> Result<()> {
    let (handle, name, version) = arguments.reference.parts();
    let path = ["schemas", handle, name, version, "code"];
    let answer = Client::for_control(settings)?.get(&path, &[("language", &arguments.language)]).await?;
    match settings.format {
        Format::Json => output::print(&format!("{answer:#}\n")),
        _ => output::print(answer.get("code").and_then(Value::as_str).unwrap_or_default()),
    }
}

/// Runs `sluice list schemas`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings) -> Result<()> {
    let answer = Client::for_control(settings)?.list(&["schemas"], "schemas", &[]).await?;
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/schemas"))])
}

fn table(schemas: &[Value]) -> Table {
    let row = |schema: &Value| {
        let contracts: Vec<_> = items_at(schema, "/contracts").iter().map(|at| text_at(at, "")).collect();
        vec![text_at(schema, "/ref"), text_at(schema, "/kind"), contracts.join(" ")]
    };
    Table { headers: &["Schema", "Kind", "Contracts"], rows: schemas.iter().map(row).collect() }
}
