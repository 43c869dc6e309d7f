//! `sluice explain EVENT.json --stream S`: what would become of an event, and why.

use std::path::PathBuf;

use anyhow::Result;
use reqwest::{Method, header};
use serde_json::Value;

use super::{
    client::Client,
    failure::Failure,
    output::{self, Table, items_at, text_at},
    settings::Settings,
};
use crate::domain::{ContractRef, StreamName};

/// Arguments of `sluice explain`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The event, as it would be sent
    #[arg(value_name = "EVENT")]
    event: PathBuf,
    /// Source stream it would be sent to
    #[arg(long, value_name = "NAME")]
    stream: StreamName,
    /// Schema it would be sent with [default: the contract that a JSON event names]
    #[arg(long, value_name = "REF")]
    schema: Option<ContractRef>,
}

/// Runs `sluice explain`. An event that would be refused is no failure of this command.
///
/// # Errors
///
/// The file cannot be read, or the node refuses or cannot be reached.
pub async fn run(settings: &Settings, arguments: Arguments) -> Result<()> {
    let shown = arguments.event.display();
    let event = std::fs::read(&arguments.event).map_err(|error| {
        Failure::new(format!("cannot read {shown}: {error}"), "name a file with one event")
    })?;
    let schema = match arguments.schema {
        Some(schema) => schema,
        None => named_contract(&event).ok_or_else(|| {
            Failure::new(
                format!("{shown} does not say which schema it follows"),
                "name it with --schema handle/name/version",
            )
        })?,
    };
    let client = Client::for_control(settings)?;
    let path = ["api", "v1", "streams", arguments.stream.as_str(), "explain"];
    let request = client.request(Method::POST, &path).header("Strm-Schema-Ref", schema.as_str());
    let request = request.header(header::CONTENT_TYPE, "application/octet-stream").body(event);
    let answer = client.json(client.send(request).await?).await?;
    output::show(settings.format, &answer, || tables(&answer))
}

/// The contract that a JSON event names: most schemas are called like their contract.
fn named_contract(event: &[u8]) -> Option<ContractRef> {
    let event: Value = serde_json::from_slice(event).ok()?;
    event.pointer("/strmMeta/eventContractRef")?.as_str()?.parse().ok()
}

fn tables(answer: &Value) -> Vec<Table> {
    let why = ["/refusal/code", "/refusal/field", "/refusal/detail"].map(|at| text_at(answer, at));
    let [code, field, detail] = why;
    let verdict = Table {
        headers: &["Accepted", "Code", "Field", "Detail"],
        rows: vec![vec![text_at(answer, "/accepted"), code, field, detail]],
    };
    let mut rows = Vec::new();
    for derived in items_at(answer, "/derived") {
        let passes = text_at(derived, "/passes");
        let mut why = text_at(derived, "/whyNot");
        let missing = items_at(derived, "/levelsMissing");
        if !missing.is_empty() {
            why +=
                &format!(": levels {}", missing.iter().map(Value::to_string).collect::<Vec<_>>().join(","));
        }
        rows.push(vec![text_at(derived, "/stream"), passes, why, String::new(), String::new()]);
        for field in items_at(derived, "/fields") {
            let path = format!("{} ({})", text_at(field, "/path"), text_at(field, "/level"));
            let shown = ["/shown", "/whySealed"].map(|at| text_at(field, at)).join(" ");
            rows.push(vec![
                text_at(derived, "/stream"),
                String::new(),
                String::new(),
                path,
                shown.trim().into(),
            ]);
        }
    }
    let views = Table { headers: &["Derived", "Passes", "Why not", "Field (level)", "Shown"], rows };
    if views.rows.is_empty() { vec![verdict] } else { vec![verdict, views] }
}
