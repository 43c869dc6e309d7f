//! `sluice create|get|list|activate|archive|delete contract`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::Client,
    failure::{Failure, printable},
    output::{self, Format, Table, items_at, text_at},
    settings::Settings,
};
use crate::domain::{ContractRef, ProjectName, limits::DOCUMENT_BYTES_MAX};

/// Arguments of `sluice create contract`.
#[derive(clap::Args)]
pub struct CreateArguments {
    /// Reference of the new contract: handle/name/version
    #[arg(value_name = "REF")]
    reference: ContractRef,
    /// Schema: Avro, JSON Schema or Simple Schema, in JSON or YAML [default: the one the contract names]
    #[arg(long, alias = "schema-definition", value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Contract: key field, personal fields, validations, in JSON or YAML
    #[arg(long, alias = "contract-definition", value_name = "FILE")]
    contract: PathBuf,
    /// Project it belongs to [default: the default one]
    #[arg(short = 'p', long)]
    project: Option<ProjectName>,
    /// Let everybody use it; it can then not be deleted
    #[arg(long)]
    public: bool,
}

/// Arguments of the commands that take one contract.
#[derive(clap::Args)]
pub struct OneArgument {
    /// Reference of the contract: handle/name/version
    #[arg(value_name = "REF")]
    reference: ContractRef,
}

/// Runs `sluice create contract`.
///
/// # Errors
///
/// A file cannot be read, or the node refuses.
pub async fn create(settings: &Settings, arguments: CreateArguments) -> Result<()> {
    let schema = arguments.schema.as_deref().map(read_document).transpose()?;
    let body = json!({
        "ref": arguments.reference,
        "project": arguments.project.unwrap_or_default(),
        "schema": schema,
        "contract": read_document(&arguments.contract)?,
        "public": arguments.public,
    });
    let answer = Client::for_control(settings)?.call(Method::POST, &["contracts"], Some(&body)).await?;
    for warning in items_at(&answer, "/warnings") {
        output::remark(&format!("warning: {}", printable(warning.as_str().unwrap_or_default())));
    }
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])?;
    if settings.format == Format::Table && text_at(&answer, "/state") == "DRAFT" {
        output::remark(&format!(
            "Events are accepted after: sluice activate contract {}",
            arguments.reference
        ));
    }
    Ok(())
}

fn read_document(path: &Path) -> Result<String, Failure> {
    let wrong = |why: String| {
        Failure::new(
            format!("cannot use {}: {why}", path.display()),
            "name a JSON or YAML file of at most 1 MiB",
        )
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(wrong("it is too large".into()));
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8 text".into()))
}

/// Runs `sluice get contract`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn get(settings: &Settings, arguments: OneArgument) -> Result<()> {
    let answer = one(settings, Method::GET, &arguments.reference, None).await?;
    output::show(settings.format, &answer, || match settings.format {
        Format::Plain => vec![table(std::slice::from_ref(&answer))],
        _ => vec![table(std::slice::from_ref(&answer)), fields_table(&answer), validations_table(&answer)]
            .into_iter()
            .filter(|table| !table.rows.is_empty())
            .collect(),
    })
}

/// Runs `sluice list contracts`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings) -> Result<()> {
    let answer = Client::for_control(settings)?.call(Method::GET, &["contracts"], None).await?;
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/contracts"))])
}

/// Runs `sluice activate contract`.
///
/// # Errors
///
/// The node refuses, for instance from the contract's state, or cannot be reached.
pub async fn activate(settings: &Settings, arguments: OneArgument) -> Result<()> {
    change(settings, arguments, "activate").await
}

/// Runs `sluice archive contract`.
///
/// # Errors
///
/// The node refuses, for instance from the contract's state, or cannot be reached.
pub async fn archive(settings: &Settings, arguments: OneArgument) -> Result<()> {
    change(settings, arguments, "archive").await
}

/// Runs `sluice delete contract`.
///
/// # Errors
///
/// The node refuses, for instance from the contract's state, or cannot be reached.
pub async fn delete(settings: &Settings, arguments: OneArgument) -> Result<()> {
    one(settings, Method::DELETE, &arguments.reference, None).await?;
    let reference = arguments.reference;
    match settings.format {
        Format::Table => output::print(&format!("Contract {reference} has been deleted\n")),
        Format::Plain => output::print(&format!("{reference}\n")),
        Format::Json => output::print(&format!("{:#}\n", json!({"ref": reference}))),
    }
}

async fn change(settings: &Settings, arguments: OneArgument, verb: &str) -> Result<()> {
    let answer = one(settings, Method::POST, &arguments.reference, Some(verb)).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

async fn one(
    settings: &Settings,
    method: Method,
    reference: &ContractRef,
    verb: Option<&str>,
) -> Result<Value> {
    let (handle, name, version) = reference.parts();
    let mut path = vec!["contracts", handle, name, version];
    path.extend(verb);
    Ok(Client::for_control(settings)?.call(method, &path, None).await?)
}

fn table(contracts: &[Value]) -> Table {
    let row = |contract: &Value| {
        vec![
            text_at(contract, "/ref"),
            text_at(contract, "/state"),
            text_at(contract, "/isPublic"),
            text_at(contract, "/keyField"),
            items_at(contract, "/personalFields").len().to_string(),
            items_at(contract, "/validations").len().to_string(),
        ]
    };
    Table {
        headers: &["Contract", "State", "Public", "Key Field", "# Personal Fields", "# Validations"],
        rows: contracts.iter().map(row).collect(),
    }
}

fn fields_table(contract: &Value) -> Table {
    let row = |field: &Value| ["/path", "/level", "/equalityClass"].map(|at| text_at(field, at)).to_vec();
    Table {
        headers: &["Personal Field", "Level", "Equality Class"],
        rows: items_at(contract, "/personalFields").iter().map(row).collect(),
    }
}

fn validations_table(contract: &Value) -> Table {
    let row = |rule: &Value| ["/field", "/type", "/value"].map(|at| text_at(rule, at)).to_vec();
    Table {
        headers: &["Validated Field", "Type", "Value"],
        rows: items_at(contract, "/validations").iter().map(row).collect(),
    }
}
