//! `sluice create|get|list|review|revise|approve|activate|archive|delete contract`.

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

/// Arguments of `sluice get contract`.
#[derive(clap::Args)]
pub struct GetArguments {
    /// Reference of the contract: handle/name/version
    #[arg(value_name = "REF")]
    reference: ContractRef,
    /// Show what it changes of the version before
    #[arg(long)]
    changes: bool,
    /// Version to compare with, instead of the one before
    #[arg(long, value_name = "VERSION")]
    from: Option<String>,
}

/// Arguments of `sluice list contracts`.
#[derive(clap::Args)]
pub struct ListArguments {
    /// Only contracts in this state, as DRAFT
    #[arg(long)]
    state: Option<String>,
    /// Only contracts of this handle
    #[arg(long)]
    handle: Option<String>,
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

/// A schema or contract file as text.
///
/// # Errors
///
/// It cannot be read, is too large, or is not UTF-8.
pub fn read_document(path: &Path) -> Result<String, Failure> {
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
pub async fn get(settings: &Settings, arguments: GetArguments) -> Result<()> {
    if arguments.changes || arguments.from.is_some() {
        return changes(settings, &arguments).await;
    }
    let answer = one(settings, Method::GET, &arguments.reference, None).await?;
    output::show(settings.format, &answer, || match settings.format {
        Format::Plain => vec![table(std::slice::from_ref(&answer))],
        _ => vec![
            table(std::slice::from_ref(&answer)),
            fields_table(&answer),
            validations_table(&answer),
            history_table(&answer),
        ]
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect(),
    })
}

async fn changes(settings: &Settings, arguments: &GetArguments) -> Result<()> {
    let (handle, name, version) = arguments.reference.parts();
    let path = ["contracts", handle, name, version, "changes"];
    let from: Vec<_> = arguments.from.iter().map(|from| ("from", from.as_str())).collect();
    let answer = Client::for_control(settings)?.get(&path, &from).await?;
    output::show(settings.format, &answer, || vec![changes_table(&answer)])
}

/// Runs `sluice list contracts`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings, arguments: ListArguments) -> Result<()> {
    let filters = [("state", &arguments.state), ("handle", &arguments.handle)];
    let filters: Vec<(&str, &str)> =
        filters.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
    let answer = Client::for_control(settings)?.list(&["contracts"], "contracts", &filters).await?;
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/contracts"))])
}

/// Runs `sluice review|revise|approve|activate|archive contract`.
///
/// # Errors
///
/// The node refuses, for instance from the contract's state, or cannot be reached.
pub async fn step(settings: &Settings, arguments: OneArgument, verb: &str) -> Result<()> {
    let answer = one(settings, Method::POST, &arguments.reference, Some(verb)).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
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

fn history_table(contract: &Value) -> Table {
    let row = |taken: &Value| {
        let who = ["/who/id", "/who/kind"].map(|at| text_at(taken, at));
        vec![text_at(taken, "/step"), who.into_iter().find(|who| !who.is_empty()).unwrap_or_default()]
    };
    Table { headers: &["Step", "By"], rows: items_at(contract, "/history").iter().map(row).collect() }
}

/// One row per change, in words.
fn changes_table(answer: &Value) -> Table {
    let lists = [
        ("/fieldsAdded", "field added"),
        ("/fieldsRemoved", "field removed"),
        ("/typesChanged", "type changed"),
        ("/levelsChanged", "level changed"),
        ("/equalityClassesChanged", "equality class changed"),
        ("/validationsAdded", "validation added"),
        ("/validationsRemoved", "validation removed"),
        ("/masks", "mask changed"),
    ];
    let mut rows = Vec::new();
    for (at, what) in lists {
        for change in items_at(answer, at) {
            let first =
                |keys: [&str; 3]| keys.map(|key| text_at(change, key)).into_iter().find(|t| !t.is_empty());
            let subject = first(["/path", "/field", "/stream"]).unwrap_or_default();
            let (from, to) = match at {
                "/fieldsAdded" | "/validationsAdded" => (String::new(), first(["/type", "/value", "/value"])),
                "/fieldsRemoved" | "/validationsRemoved" => {
                    (first(["/type", "/value", "/value"]).unwrap_or_default(), None)
                }
                _ => (text_at(change, "/from"), Some(text_at(change, "/to"))),
            };
            rows.push(vec![what.to_owned(), subject, from, to.unwrap_or_default()]);
        }
    }
    for (at, what) in
        [("/keyField", "key field changed"), ("/dataSubjectField", "data subject field changed")]
    {
        if answer.pointer(at).is_some_and(|change| !change.is_null()) {
            let text = |key: &str| text_at(answer, &format!("{at}/{key}"));
            rows.push(vec![what.to_owned(), text("path"), text("from"), text("to")]);
        }
    }
    for (at, what) in
        [("/oldReadsNew", "old readers read new events"), ("/newReadsOld", "new readers read old events")]
    {
        let text = |key: &str| text_at(answer, &format!("{at}/{key}"));
        rows.push(vec![what.to_owned(), text("verdict"), String::new(), text("reason")]);
    }
    Table { headers: &["Change", "What", "From", "To"], rows }
}
