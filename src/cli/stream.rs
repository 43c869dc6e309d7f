//! `sluice create|get|list|delete stream`.

use std::{collections::BTreeMap, io::IsTerminal};

use anyhow::Result;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    credentials::{self, Credentials},
    failure::Failure,
    output::{self, Format, Table, items_at, text_at},
    settings::Settings,
    stream_settings::SettingArguments,
};
use crate::domain::{ContractRef, ProjectName, StreamName, limits::CONSENT_LEVELS_MAX};

/// Arguments of `sluice create stream`.
#[derive(clap::Args)]
pub struct CreateArguments {
    /// Name of the stream; a derived stream may leave it to the node
    name: Option<StreamName>,
    /// Project it belongs to [default: that of its source, or the default one]
    #[arg(short = 'p', long)]
    project: Option<ProjectName>,
    /// What the stream is for
    #[arg(long)]
    description: Option<String>,
    /// Words to find it by, separated by commas
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
    /// Days its events are kept [default: the node's]
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<u32>,
    /// Source stream this one derives from
    #[arg(short = 'D', long, value_name = "STREAM", help_heading = "Derived streams")]
    derived_from: Option<StreamName>,
    /// Purposes whose fields are opened, by level or name, separated by commas
    #[arg(
        short = 'P',
        long,
        value_delimiter = ',',
        requires = "derived_from",
        help_heading = "Derived streams"
    )]
    purposes: Vec<String>,
    /// Open every purpose up to the one given
    #[arg(long, requires = "purposes", help_heading = "Derived streams")]
    cumulative: bool,
    /// Fields to mask, as handle/name/version:field1,field2; may be repeated
    #[arg(
        short = 'M',
        long,
        value_name = "REF:FIELDS",
        requires = "derived_from",
        help_heading = "Derived streams"
    )]
    masked_fields: Vec<MaskedFields>,
    /// Secret the masks are made with [default: the node makes one and never shows it]
    #[arg(
        long,
        env = "SLUICE_MASK_SEED",
        hide_env_values = true,
        value_name = "SEED",
        help_heading = "Derived streams"
    )]
    mask_seed: Option<String>,
    /// Function the masks are made with [default: HMAC_SHA256]
    #[arg(long, requires = "masked_fields", help_heading = "Derived streams")]
    hash_type: Option<HashType>,
    /// Serialization of derived events [default: json]
    #[arg(long, requires = "derived_from", help_heading = "Derived streams")]
    format: Option<EventFormat>,
    /// Keep the credentials in $SLUICE_HOME/streams, where send, simulate and listen look
    #[arg(long)]
    save: bool,
    #[command(flatten)]
    settings: SettingArguments,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum HashType {
    #[value(name = "HMAC_SHA256")]
    HmacSha256,
    #[value(name = "MURMUR3")]
    Murmur3,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EventFormat {
    Json,
    AsReceived,
}

/// Arguments of `sluice get stream`.
#[derive(clap::Args)]
pub struct GetArguments {
    /// Name of the stream
    name: StreamName,
}

/// Arguments of `sluice delete stream`.
#[derive(clap::Args)]
pub struct DeleteArguments {
    /// Names of the streams
    #[arg(required = true)]
    names: Vec<StreamName>,
    /// Delete the streams derived from it as well
    #[arg(short, long)]
    recursive: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Arguments of `sluice list streams`.
#[derive(clap::Args)]
pub struct ListArguments {
    /// Only streams with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only streams derived from this one
    #[arg(long, value_name = "STREAM")]
    source: Option<StreamName>,
}

/// Fields of one contract's events that a derived stream masks: `handle/name/version:field1,field2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedFields {
    pub contract: ContractRef,
    pub fields: Vec<String>,
}

impl std::str::FromStr for MaskedFields {
    type Err = Failure;

    fn from_str(text: &str) -> Result<MaskedFields, Failure> {
        let wrong =
            |why: String| Failure::new(why, "write for example: -M acme/clicks/1.0.0:customer/id,url");
        let Some((contract, fields)) = text.split_once(':') else {
            return Err(wrong("masked fields have the form REF:FIELD,FIELD".into()));
        };
        let contract: ContractRef = contract.trim().parse().map_err(|error| wrong(format!("{error}")))?;
        let fields: Vec<String> = fields.split(',').map(|field| field.trim().to_owned()).collect();
        let empty = |field: &String| field.split('/').any(str::is_empty);
        if fields.iter().any(empty) {
            return Err(wrong("a masked field is a path such as customer/id".into()));
        }
        if fields.iter().any(|field| field == "strmMeta" || field.starts_with("strmMeta/")) {
            return Err(wrong("strmMeta cannot be masked".into()));
        }
        Ok(MaskedFields { contract, fields })
    }
}

/// Runs `sluice create stream`.
///
/// # Errors
///
/// The arguments contradict each other, the node refuses, or the credentials cannot be saved.
pub async fn create(settings: &Settings, arguments: CreateArguments) -> Result<()> {
    let save = arguments.save;
    let wanted = arguments.name.clone();
    let body = body_of(arguments)?;
    let client = Client::for_control(settings)?;
    if let (true, Some(name)) = (save, &wanted) {
        credentials::prepare(settings, name)?;
    }
    let answer = client.call(Method::POST, &["streams"], Some(&body)).await?;
    let saved = if save { save_answer(settings, &answer) } else { Ok(()) };
    let secret_shown = !save || saved.is_err();
    output::show(settings.format, &answer, || created_tables(&answer, settings.format, secret_shown))?;
    if secret_shown && settings.format == Format::Table {
        output::remark("The secret is shown once: keep it, or create streams with --save.");
    }
    saved
}

fn body_of(arguments: CreateArguments) -> Result<Value, Failure> {
    let derived = arguments.derived_from.is_some();
    if derived && arguments.purposes.is_empty() {
        return Err(Failure::new("a derived stream needs the purposes it may open", "give --purposes 1,2"));
    }
    if !derived && arguments.name.is_none() {
        return Err(Failure::new("a source stream needs a name", "write: sluice create stream NAME"));
    }
    if arguments.purposes.len() > CONSENT_LEVELS_MAX
        || (arguments.cumulative && arguments.purposes.len() != 1)
    {
        return Err(Failure::new(
            "these are not the purposes of one stream",
            format!("give one purpose with --cumulative, else at most {CONSENT_LEVELS_MAX}"),
        ));
    }
    let mut body = Map::new();
    let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
    if let Some(name) = &arguments.name {
        put("name", json!(name));
    }
    if let Some(project) = &arguments.project {
        put("project", json!(project));
    }
    if let Some(description) = &arguments.description {
        put("description", json!(description));
    }
    if !arguments.tags.is_empty() {
        put("tags", json!(arguments.tags));
    }
    if let Some(days) = arguments.retention_days {
        put("retentionDays", json!(days));
    }
    if let Some(source) = &arguments.derived_from {
        put("derivedFrom", json!(source));
        let purpose = |text: &String| text.parse::<u32>().map_or_else(|_| json!(text), |level| json!(level));
        put("purposes", arguments.purposes.iter().map(purpose).collect());
        put("cumulative", json!(arguments.cumulative));
    }
    if !arguments.masked_fields.is_empty() {
        put("maskedFields", merged(&arguments.masked_fields));
        // The seed may come from the environment, where it says nothing of this stream by itself.
        if let Some(seed) = &arguments.mask_seed {
            put("maskSeed", json!(seed));
        }
    }
    if let Some(hash) = arguments.hash_type {
        put("hashType", json!(if matches!(hash, HashType::Murmur3) { "MURMUR3" } else { "HMAC_SHA256" }));
    }
    if arguments.format == Some(EventFormat::AsReceived) {
        put("asReceived", json!(true));
    }
    arguments.settings.put(&mut body);
    Ok(Value::Object(body))
}

/// One entry per contract, whatever was repeated.
fn merged(masks: &[MaskedFields]) -> Value {
    let mut by_contract: BTreeMap<&ContractRef, Vec<&String>> = BTreeMap::new();
    for mask in masks {
        let fields = by_contract.entry(&mask.contract).or_default();
        for field in &mask.fields {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
    }
    by_contract.into_iter().map(|(contract, fields)| json!({"ref": contract, "fields": fields})).collect()
}

fn save_answer(settings: &Settings, answer: &Value) -> Result<()> {
    let name: StreamName = text_at(answer, "/ref/name").parse()?;
    let Some(found) = credentials_of(answer) else {
        return Err(Failure::new("the node's answer holds no credentials", "look for them in its log").into());
    };
    let path = credentials::save(settings, &name, &found)?;
    if settings.format == Format::Table {
        output::remark(&format!("Credentials of {name} are in {}.", path.display()));
    }
    Ok(())
}

/// The first credentials of an answer that shows secrets.
pub fn credentials_of(answer: &Value) -> Option<Credentials> {
    serde_json::from_value(answer.pointer("/credentials/0")?.clone()).ok()
}

/// Runs `sluice get stream`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn get(settings: &Settings, arguments: GetArguments) -> Result<()> {
    let client = Client::for_control(settings)?;
    let answer = client.call(Method::GET, &["streams", arguments.name.as_str()], None).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

/// Runs `sluice list streams`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings, arguments: ListArguments) -> Result<()> {
    let client = Client::for_control(settings)?;
    let mut query = vec![("limit", "1000".to_owned())];
    query.extend(arguments.tag.map(|tag| ("tag", tag)));
    query.extend(arguments.source.map(|source| ("source", source.to_string())));
    let mut streams = Vec::new();
    loop {
        let answer = client.get(&["streams"], &query).await?;
        streams.extend(items_at(&answer, "/streams").iter().cloned());
        let next = text_at(&answer, "/nextPageToken");
        if next.is_empty() {
            break;
        }
        query.retain(|(name, _)| *name != "pageToken");
        query.push(("pageToken", next));
    }
    let answer = json!({"streams": streams});
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/streams"))])
}

/// Runs `sluice delete stream`.
///
/// # Errors
///
/// The node refuses, for instance because streams derive from it, or cannot be reached.
pub async fn delete(settings: &Settings, arguments: DeleteArguments) -> Result<()> {
    let client = Client::for_control(settings)?;
    for name in &arguments.names {
        if arguments.recursive && !arguments.yes && !confirmed(&client, name).await? {
            return Err(
                Failure::new(format!("stream {name} was not deleted"), "answer y, or give --yes").into()
            );
        }
        client.delete(&["streams", name.as_str()], arguments.recursive).await?;
        credentials::forget(settings, name)?;
        match settings.format {
            Format::Table => output::print(&format!("Stream {name} has been deleted\n"))?,
            Format::Plain => output::print(&format!("{name}\n"))?,
            Format::Json => output::print(&format!("{:#}\n", json!({"ref": {"name": name}})))?,
        }
    }
    Ok(())
}

/// Says what will be deleted, and asks where there is somebody to ask.
async fn confirmed(client: &Client, name: &StreamName) -> Result<bool> {
    let answer = client.deletion_of(name.as_str()).await?;
    let row = |stream: &Value| {
        ["/name", "/derivedFrom", "/events", "/keys", "/credentials"].map(|at| text_at(stream, at)).to_vec()
    };
    let rows = items_at(&answer, "/streams").iter().map(row).collect();
    let doomed = Table { headers: &["Stream", "Derived From", "# Events", "# Keys", "# Credentials"], rows };
    output::remark(&format!("This will be deleted:\n{}", doomed.text(Format::Table).trim_end()));
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    output::remark("Delete it? [y/N]");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Streams as rows.
pub fn table(streams: &[Value]) -> Table {
    Table {
        headers: &["Stream", "Derived", "Purposes", "Enabled", "Retention"],
        rows: streams.iter().map(row).collect(),
    }
}

fn row(stream: &Value) -> Vec<String> {
    let retention = text_at(stream, "/retentionDays");
    vec![
        text_at(stream, "/ref/name"),
        text_at(stream, "/derived/source"),
        purposes_text(stream),
        text_at(stream, "/enabled"),
        if retention.is_empty() { retention } else { format!("{retention} d") },
    ]
}

fn purposes_text(stream: &Value) -> String {
    let levels: Vec<String> = items_at(stream, "/derived/purposes").iter().map(Value::to_string).collect();
    let mut text = levels.join(",");
    if text_at(stream, "/derived/type") == "CUMULATIVE" {
        text.insert_str(0, "up to ");
    }
    let masked = stream.pointer("/derived/masked").and_then(Value::as_object);
    if masked.is_some_and(|fields| !fields.is_empty()) {
        text.push_str(" masked");
    }
    text
}

/// The new stream, and its credentials when they are shown; one line of both in plain form.
fn created_tables(answer: &Value, format: Format, secret_shown: bool) -> Vec<Table> {
    let mut stream = table(std::slice::from_ref(answer));
    let issued: Vec<Vec<String>> = items_at(answer, "/credentials")
        .iter()
        .map(|entry| vec![text_at(entry, "/clientId"), text_at(entry, "/clientSecret")])
        .collect();
    if !secret_shown {
        return vec![stream];
    }
    if format == Format::Plain {
        stream.rows[0].extend(issued.into_iter().flatten());
        return vec![stream];
    }
    vec![stream, Table { headers: &["Client ID", "Client Secret"], rows: issued }]
}

#[cfg(test)]
mod tests;
