//! `sluice erase` and `sluice subjects list|keylinks`.

use std::{io::Read, path::PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::Client,
    output::{self, Format, Table, items_at, text_at, time_at},
    settings::Settings,
};

/// Arguments of `sluice erase`.
#[derive(clap::Args)]
pub struct EraseArguments {
    /// Id of the data subject, as events have it; - reads it from standard input
    subject: String,
    /// Say what would be destroyed, and destroy nothing
    #[arg(long)]
    dry_run: bool,
    /// File for the receipt; ask again after [keys] erase_within_s for one that also covers the disk
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    receipt: Option<PathBuf>,
}

/// `sluice subjects ...`.
#[derive(Subcommand)]
pub enum Subjects {
    /// Show the data subjects that there are keys of, by pseudonym
    List(ListArguments),
    /// Show the keys that hold data of a data subject
    Keylinks(KeylinksArguments),
}

/// Arguments of `sluice subjects list`.
#[derive(clap::Args)]
pub struct ListArguments {
    /// Only subjects of this source stream
    #[arg(long)]
    stream: Option<String>,
}

/// Arguments of `sluice subjects keylinks`.
#[derive(clap::Args)]
pub struct KeylinksArguments {
    /// Id of the data subject, as events have it; - reads it from standard input
    subject: String,
}

/// Runs `sluice erase`.
///
/// # Errors
///
/// The node refuses or cannot be reached, or the receipt cannot be written.
pub async fn run(settings: &Settings, arguments: EraseArguments) -> Result<()> {
    let client = Client::for_control(settings)?;
    let body = json!({ "subject": id(&arguments.subject)?, "dryRun": arguments.dry_run });
    let answer = client.call(Method::POST, &["erasures"], Some(&body)).await?;
    if let Some(file) = &arguments.receipt {
        let erasure = text_at(&answer, "/id");
        let receipt = client.call(Method::GET, &["erasures", &erasure, "receipt"], None).await?;
        let text = format!("{receipt:#}\n");
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    output::show(settings.format, &answer, || vec![erasure_table(&answer)])?;
    if settings.format == Format::Table {
        output::remark(match (arguments.dry_run, &answer["repeated"]) {
            (true, _) => "Nothing was destroyed: this was a dry run",
            (false, Value::Bool(true)) => "It was done before: nothing was left to do",
            _ => "No key of the subject opens any more",
        });
    }
    Ok(())
}

/// Runs `sluice subjects`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn subjects(settings: &Settings, command: Subjects) -> Result<()> {
    let client = Client::for_control(settings)?;
    match command {
        Subjects::List(arguments) => {
            let filter: Vec<_> = arguments.stream.iter().map(|stream| ("stream", stream.as_str())).collect();
            let answer = client.list(&["subjects"], "subjects", &filter).await?;
            output::show(settings.format, &answer, || vec![subjects_table(&answer)])
        }
        Subjects::Keylinks(arguments) => {
            let body = json!({ "subject": id(&arguments.subject)? });
            let answer = client.call(Method::POST, &["subjects", "keylinks"], Some(&body)).await?;
            output::show(settings.format, &answer, || vec![keys_table(&answer)])
        }
    }
}

/// The id on the command line, or the one on standard input, which no other user of the machine sees.
fn id(argument: &str) -> Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().take(ID_BYTES_MAX).read_to_string(&mut text).context("standard input is not text")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn erasure_table(answer: &Value) -> Table {
    let days: Vec<_> = items_at(answer, "/days").iter().map(ToString::to_string).collect();
    let count = |at: &str| text_at(answer, at);
    Table {
        headers: &[
            "Subject",
            "State",
            "Keys",
            "Sessions",
            "Streams",
            "Days",
            "Ordered",
            "Completed",
            "Settled",
            "Erasure",
        ],
        rows: vec![vec![
            count("/subject"),
            count("/state"),
            count("/keys"),
            count("/sessions"),
            count("/streams"),
            days.len().to_string(),
            time_at(answer, "/ordered"),
            time_at(answer, "/completed"),
            time_at(answer, "/settled"),
            count("/id"),
        ]],
    }
}

fn subjects_table(answer: &Value) -> Table {
    let row = |subject: &Value| vec![text_at(subject, "/subject"), text_at(subject, "/keys")];
    Table { headers: &["Subject", "Keys"], rows: items_at(answer, "/subjects").iter().map(row).collect() }
}

fn keys_table(answer: &Value) -> Table {
    let row = |key: &Value| {
        let times = ["/created", "/expires", "/ends"].map(|at| time_at(key, at));
        [vec![text_at(key, "/keyLink"), text_at(key, "/stream")], times.to_vec()].concat()
    };
    Table {
        headers: &["Key Link", "Stream", "Created", "Expires", "Destroyed"],
        rows: items_at(answer, "/keyLinks").iter().map(row).collect(),
    }
}

/// More than any node takes.
const ID_BYTES_MAX: u64 = 1 << 20;
