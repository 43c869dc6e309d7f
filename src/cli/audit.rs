//! `sluice audit list|checkpoint|export|prove|verify|exposure`.
//!
//! `verify` talks to nobody: it reads what the others wrote.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    client::Client,
    failure::Failure,
    output::{self, Format, Table, items_at, text_at},
    receipt,
    settings::Settings,
};
use crate::audit::{
    Checkpoint, LogKey,
    merkle::{Hash, leaf_hash},
    verify_consistency, verify_inclusion, verify_log,
};

/// `sluice audit ...`.
#[derive(Subcommand)]
pub enum Audit {
    /// Show entries of the audit log
    List(ListArguments),
    /// Print the signed checkpoint of the log: keep it where the node cannot reach it
    Checkpoint,
    /// Write all entries, their hashes, a checkpoint and the public key to a folder
    Export(ExportArguments),
    /// Get the proof that an entry is in the log, or that the log only grew since a size
    Prove(ProveArguments),
    /// Verify exported files, without a server
    Verify(VerifyArguments),
    /// Show who could read a field in clear, through which stream, since when
    Exposure(ExposureArguments),
}

/// Arguments of `sluice audit list`.
#[derive(clap::Args)]
pub struct ListArguments {
    /// Only what this principal or client did
    #[arg(long, value_name = "ID")]
    who: Option<String>,
    /// Only this kind of action: stream_created, token_granted, ...
    #[arg(long, value_name = "TYPE")]
    action: Option<String>,
    /// Only what is about this stream, or derives from it
    #[arg(long)]
    stream: Option<String>,
    /// Only what is for this purpose
    #[arg(long)]
    purpose: Option<i32>,
    /// Only entries of this time and later, like 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Only entries before this time
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    /// Only entries of this index and later
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Entries at most
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

/// Arguments of `sluice audit export`.
#[derive(clap::Args)]
pub struct ExportArguments {
    /// Folder for entries.jsonl, hashes, checkpoint and key
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Arguments of `sluice audit prove`.
#[derive(clap::Args)]
pub struct ProveArguments {
    /// Index of the entry
    #[arg(value_name = "INDEX", required_unless_present = "since_size")]
    index: Option<u64>,
    /// Prove that the log of this many entries is the beginning of the log as it is
    #[arg(long, value_name = "SIZE", conflicts_with = "index")]
    since_size: Option<u64>,
    /// Size of the log to prove it in [default: all entries]
    #[arg(long)]
    size: Option<u64>,
    /// File for the proof [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `sluice audit verify`.
#[derive(clap::Args)]
pub struct VerifyArguments {
    /// Folder that `sluice audit export` wrote
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// A checkpoint, for instance an earlier one that was kept elsewhere; may be repeated
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// Entries, one a line [default: entries.jsonl of DIR]
    #[arg(long, value_name = "FILE")]
    entries: Option<PathBuf>,
    /// A proof that `sluice audit prove` wrote, instead of entries
    #[arg(long, value_name = "FILE", conflicts_with = "entries")]
    proof: Option<PathBuf>,
    /// A receipt that `sluice erase --receipt` wrote, instead of entries
    #[arg(long, value_name = "FILE", conflicts_with_all = ["entries", "proof"])]
    receipt: Option<PathBuf>,
    /// The public key, best one that was kept elsewhere [default: key of DIR]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Arguments of `sluice audit exposure`.
#[derive(clap::Args)]
pub struct ExposureArguments {
    /// The field: handle/name/version:path/of/field
    #[arg(long, value_name = "REF:PATH")]
    field: String,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    next: Option<u64>,
}

/// What `sluice audit prove` writes, either kind.
#[derive(Deserialize)]
#[serde(untagged)]
enum Proof {
    Inclusion {
        index: u64,
        entry: String,
        hashes: Vec<String>,
        checkpoint: String,
    },
    Consistency {
        hashes: Vec<String>,
        #[serde(rename = "fromCheckpoint")]
        from: String,
        #[serde(rename = "toCheckpoint")]
        to: String,
    },
}

/// Runs a command that talks to a node.
///
/// # Errors
///
/// The node refuses or cannot be reached, or a file cannot be written.
pub async fn run(settings: &Settings, command: Audit) -> Result<()> {
    match command {
        Audit::List(arguments) => list(settings, arguments).await,
        Audit::Checkpoint => checkpoint(settings).await,
        Audit::Export(arguments) => export(settings, &arguments.out).await,
        Audit::Prove(arguments) => prove(settings, arguments).await,
        Audit::Exposure(arguments) => exposure(settings, arguments).await,
        Audit::Verify(arguments) => verify(settings.format, arguments),
    }
}

async fn list(settings: &Settings, arguments: ListArguments) -> Result<()> {
    let client = Client::for_control(settings)?;
    let mut query: Vec<(&str, String)> = Vec::new();
    let mut ask = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
    ask("who", arguments.who);
    ask("action", arguments.action);
    ask("stream", arguments.stream);
    ask("purpose", arguments.purpose.map(|purpose| purpose.to_string()));
    ask("since", arguments.since.map(|time| time.as_millisecond().to_string()));
    ask("until", arguments.until.map(|time| time.as_millisecond().to_string()));
    let (mut entries, mut next): (Vec<Value>, _) = (Vec::new(), Some(arguments.from));
    while let Some(from) = next.filter(|_| entries.len() < arguments.limit) {
        let limit = (arguments.limit - entries.len()).min(PAGE);
        let page = page(&client, &query, from, limit).await?;
        for entry in &page.entries {
            entries.push(serde_json::from_str(entry.get())?);
        }
        next = page.next;
    }
    let answer = json!({ "entries": entries, "next": next });
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/entries"))])?;
    if let Some(next) = next.filter(|_| settings.format == Format::Table) {
        output::remark(&format!("There are more: add --from {next}"));
    }
    Ok(())
}

async fn page(client: &Client, query: &[(&str, String)], from: u64, limit: usize) -> Result<Page> {
    let mut url = client.server.at(&["api", "v1", "audit", "entries"]);
    url.query_pairs_mut()
        .extend_pairs(query)
        .append_pair("from", &from.to_string())
        .append_pair("limit", &limit.to_string());
    let response = client.get_bytes(url).await?;
    serde_json::from_slice(&response).context("the node's answer is not a page of entries")
}

async fn ask(settings: &Settings, path: &[&str], query: &[(&str, String)]) -> Result<Value> {
    let client = Client::for_control(settings)?;
    let mut url = client.server.at(&[&["api", "v1", "audit"], path].concat());
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(serde_json::from_slice(&client.get_bytes(url).await?)?)
}

async fn checkpoint(settings: &Settings) -> Result<()> {
    let answer = ask(settings, &["checkpoint"], &[]).await?;
    match settings.format {
        Format::Json => output::print(&format!("{answer:#}\n")),
        _ => output::print(answer["checkpoint"].as_str().unwrap_or_default()),
    }
}

async fn export(settings: &Settings, out: &Path) -> Result<()> {
    let client = Client::for_control(settings)?;
    // The checkpoint first: entries that come meanwhile are not exported.
    let head = ask(settings, &["checkpoint"], &[]).await?;
    let size = head["size"].as_u64().context("the node's answer has no size")?;
    let (mut entries, mut hashes, mut count, mut next) = (String::new(), String::new(), 0, Some(0));
    while let Some(from) = next.filter(|_| count < size) {
        let page = page(&client, &[], from, PAGE).await?;
        for entry in page.entries.iter().take(usize::try_from(size - count).unwrap_or(usize::MAX)) {
            entries.push_str(entry.get());
            entries.push('\n');
            hashes.push_str(&STANDARD.encode(leaf_hash(entry.get().as_bytes())));
            hashes.push('\n');
            count += 1;
        }
        next = page.next;
    }
    let (note, key) = (text_of(&head, "checkpoint"), text_of(&head, "key"));
    // Never writes what it would not verify.
    let signed = Checkpoint::open(note, &LogKey::parse(key)?)?;
    verify_log(entries.as_bytes(), Some(hashes.as_bytes()), &[signed])
        .context("what the node gave does not match its own checkpoint")?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let key = format!("{key}\n");
    for (name, text) in [(ENTRIES, &entries[..]), (HASHES, &hashes), (CHECKPOINT, note), (KEY, &key)] {
        write(&out.join(name), text)?;
    }
    let folder = out.display();
    match settings.format {
        Format::Table => output::print(&format!(
            "{count} entries exported; check them with: sluice audit verify {folder}\n"
        )),
        Format::Plain => output::print(&format!("{count}\n")),
        Format::Json => output::print(&format!("{:#}\n", json!({ "entries": count, "folder": out }))),
    }
}

async fn prove(settings: &Settings, arguments: ProveArguments) -> Result<()> {
    let optional = |name, value: Option<u64>| value.map(|value| (name, value.to_string()));
    let answer = match (arguments.index, arguments.since_size) {
        (Some(index), _) => {
            let query: Vec<_> = optional("size", arguments.size).into_iter().collect();
            ask(settings, &["proof", &index.to_string()], &query).await?
        }
        (None, from) => {
            let query: Vec<_> =
                optional("from", from).into_iter().chain(optional("to", arguments.size)).collect();
            ask(settings, &["consistency"], &query).await?
        }
    };
    let text = format!("{answer:#}\n");
    match arguments.out {
        None => output::print(&text),
        Some(file) => write(&file, &text),
    }
}

async fn exposure(settings: &Settings, arguments: ExposureArguments) -> Result<()> {
    let answer = ask(settings, &["exposure"], &[("field", arguments.field)]).await?;
    output::show(settings.format, &answer, || vec![exposure_table(&answer)])?;
    if settings.format == Format::Table && answer["level"].is_null() {
        output::remark("The field is not personal in this contract: every stream shows it in clear.");
    }
    Ok(())
}

/// Runs `sluice audit verify`.
///
/// # Errors
///
/// A file cannot be read, or what it holds is not what was signed.
pub fn verify(format: Format, arguments: VerifyArguments) -> Result<()> {
    let inside = |name: &str| arguments.folder.as_ref().map(|folder| folder.join(name));
    let key = arguments.key.clone().or_else(|| inside(KEY)).ok_or_else(|| missing("--key FILE"))?;
    let key = LogKey::parse(&text(&key)?).with_context(|| key.display().to_string())?;
    if let Some(file) = &arguments.receipt {
        return receipt::verify(format, &key, file);
    }
    if let Some(proof) = &arguments.proof {
        return verify_proof(format, &key, proof);
    }
    let entries = arguments.entries.clone().or_else(|| inside(ENTRIES));
    let entries = read(&entries.ok_or_else(|| missing("--entries FILE"))?)?;
    let hashes = inside(HASHES).filter(|_| arguments.entries.is_none()).filter(|path| path.exists());
    let hashes = hashes.map(|path| read(&path)).transpose()?;
    let own = inside(CHECKPOINT).filter(|path| path.exists() || arguments.checkpoints.is_empty());
    let mut checkpoints = Vec::new();
    for path in own.iter().chain(&arguments.checkpoints) {
        let opened = Checkpoint::open(&text(path)?, &key);
        checkpoints.push(opened.with_context(|| path.display().to_string())?);
    }
    let verified = verify_log(&entries, hashes.as_deref(), &checkpoints).map_err(|finding| {
        let next = match finding.entry() {
            Some(entry) => format!("distrust entry {entry} and all after it, and export the log again"),
            None => "distrust the files, and export the log again".to_owned(),
        };
        Failure::new(finding.to_string(), next)
    })?;
    let (count, of) = (verified.entries, verified.checkpoints);
    match format {
        Format::Table => {
            output::print(&format!("{count} entries are as they were signed ({of} checkpoints)\n"))
        }
        Format::Plain => output::print(&format!("{count}\t{of}\n")),
        Format::Json => output::print(&format!("{:#}\n", json!({ "entries": count, "checkpoints": of }))),
    }
}

fn verify_proof(format: Format, key: &LogKey, path: &Path) -> Result<()> {
    let proof: Proof = serde_json::from_str(&text(path)?).map_err(|_| {
        Failure::new(format!("{} is not a proof", path.display()), "get one with: sluice audit prove")
    })?;
    let said = match &proof {
        Proof::Inclusion { index, entry, hashes, checkpoint } => {
            let checkpoint = Checkpoint::open(checkpoint, key)?;
            verify_inclusion(entry.as_bytes(), *index, &decoded(hashes)?, &checkpoint)?;
            format!("entry {index} is in the log of {} entries: {entry}", checkpoint.size)
        }
        Proof::Consistency { hashes, from, to } => {
            let (old, new) = (Checkpoint::open(from, key)?, Checkpoint::open(to, key)?);
            verify_consistency(&old, &new, &decoded(hashes)?)?;
            format!("the log of {} entries begins with the log of {}", new.size, old.size)
        }
    };
    match format {
        Format::Json => output::print(&format!("{:#}\n", json!({ "verified": said }))),
        _ => output::print(&format!("{said}\n")),
    }
}

fn decoded(hashes: &[String]) -> Result<Vec<Hash>> {
    let decode = |hash: &String| -> Option<Hash> { STANDARD.decode(hash).ok()?.try_into().ok() };
    hashes.iter().map(decode).collect::<Option<_>>().context("the proof holds something that is not a hash")
}

fn table(entries: &[Value]) -> Table {
    let row = |entry: &Value| {
        let who = match text_at(entry, "/who/kind").as_str() {
            "node" => "node".to_owned(),
            _ => text_at(entry, "/who/id"),
        };
        let mut rest = entry["action"].clone();
        let mut take = |name: &str| rest.as_object_mut().and_then(|fields| fields.shift_remove(name));
        let (kind, stream, purposes) = (take("type"), take("stream"), take("purposes"));
        let levels = purposes.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
        let levels: Vec<_> = levels.iter().map(ToString::to_string).collect();
        let plain = |value: Option<Value>| text_at(&value.unwrap_or_default(), "");
        let details = rest.as_object().into_iter().flatten();
        let details: Vec<_> = details
            .filter(|(_, value)| !matches!(text_at(value, "").as_str(), "" | "false" | "{}"))
            .map(|(name, value)| format!("{name}={}", text_at(value, "")))
            .collect();
        vec![
            text_at(entry, "/index"),
            time(&entry["at"]),
            who,
            plain(kind),
            plain(stream),
            levels.join(","),
            details.join(" "),
        ]
    };
    Table {
        headers: &["Entry", "Time", "Who", "Action", "Stream", "Purposes", "Details"],
        rows: entries.iter().map(row).collect(),
    }
}

fn exposure_table(answer: &Value) -> Table {
    let mut rows = Vec::new();
    for exposure in items_at(answer, "/exposures") {
        let levels: Vec<_> = items_at(exposure, "/purposes").iter().map(ToString::to_string).collect();
        let form = if exposure["masked"] == true { "masked" } else { "clear" };
        let clients = items_at(exposure, "/accesses").iter().map(|access| (access, "/client"));
        let readers = clients.chain(items_at(exposure, "/grants").iter().map(|grant| (grant, "/principal")));
        for (access, who) in readers {
            rows.push(vec![
                text_at(exposure, "/stream"),
                levels.join(","),
                form.to_owned(),
                who.trim_start_matches('/').to_owned(),
                text_at(access, who),
                time(&access["since"]),
                time(&access["until"]),
                time(&access["expires"]),
                time(&access["firstAttached"]),
                time(&access["lastAttached"]),
            ]);
        }
    }
    Table {
        headers: &[
            "Stream",
            "Purposes",
            "Form",
            "Kind",
            "Reader",
            "Since",
            "Until",
            "Expires",
            "First Reading",
            "Last Reading",
        ],
        rows,
    }
}

fn time(ms: &Value) -> String {
    let time = ms.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn text_of<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_default()
}

fn missing(what: &str) -> Failure {
    Failure::new("there is nothing to verify", format!("name a folder that was exported, or {what}"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).with_context(|| format!("{} is not text", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

const ENTRIES: &str = "entries.jsonl";
const HASHES: &str = "hashes";
const CHECKPOINT: &str = "checkpoint";
const KEY: &str = "key";
const PAGE: usize = 1000;
