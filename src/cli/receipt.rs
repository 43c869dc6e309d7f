//! `sluice audit verify --receipt`: an erasure's receipt, checked without a node.
//!
//! The receipt claims nothing itself: all that is printed here was read out of entries whose inclusion in the signed
//! log holds.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    failure::Failure,
    output::{self, Format},
};
use crate::{
    audit::{Action, Checkpoint, Entry, LogKey, merkle::Hash, verify_inclusion},
    clock::Timestamp,
};

#[derive(Deserialize)]
struct Receipt {
    erasure: String,
    proofs: Vec<Proof>,
}

#[derive(Deserialize)]
struct Proof {
    index: u64,
    entry: String,
    hashes: Vec<String>,
    checkpoint: String,
}

/// Verifies the receipt in `path` with the log's public key, and prints what it proves.
///
/// # Errors
///
/// It is not a receipt, or something in it does not hold.
pub fn verify(format: Format, key: &LogKey, path: &Path) -> Result<()> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let receipt: Receipt = serde_json::from_slice(&text).map_err(|_| {
        Failure::new(format!("{} is not a receipt", path.display()), "get one with: sluice erase --receipt")
    })?;
    let mut entries = Vec::new();
    for proof in &receipt.proofs {
        entries.push(proved(proof, key)?);
    }
    let said = claims(&receipt.erasure, &entries)?;
    match format {
        Format::Json => output::print(&format!("{said:#}\n")),
        Format::Plain => {
            output::print(&format!("{}\t{}\n", said["state"].as_str().unwrap_or_default(), said))
        }
        Format::Table => {
            let fields = said.as_object().into_iter().flatten();
            let lines = fields.map(|(name, value)| match value {
                Value::String(text) => format!("{name}: {text}\n"),
                other => format!("{name}: {other}\n"),
            });
            output::print(&format!("the receipt holds\n{}", lines.collect::<String>()))
        }
    }
}

/// The entry, once its place in the signed log is shown.
fn proved(proof: &Proof, key: &LogKey) -> Result<Entry> {
    let checkpoint = Checkpoint::open(&proof.checkpoint, key)?;
    let decode = |hash: &String| -> Option<Hash> { STANDARD.decode(hash).ok()?.try_into().ok() };
    let hashes: Option<Vec<Hash>> = proof.hashes.iter().map(decode).collect();
    let hashes = hashes.context("the receipt holds something that is not a hash")?;
    verify_inclusion(proof.entry.as_bytes(), proof.index, &hashes, &checkpoint)?;
    serde_json::from_str(&proof.entry).context("the receipt holds an entry of a newer release")
}

/// What the entries say of the erasure `named`; entries of others are refused.
fn claims(named: &str, entries: &[Entry]) -> Result<Value> {
    let mut said = json!({ "erasure": named, "state": "ORDERED" });
    let (mut ordered, mut completed) = (false, false);
    for entry in entries {
        let at = time(entry.at);
        match &entry.action {
            Action::ErasureOrdered { erasure, subject } if erasure == named => {
                said["subject"] = json!(subject);
                said["ordered"] = json!(at);
                ordered = true;
            }
            Action::ErasureCompleted { erasure, keys, sessions, streams, days, grade }
                if erasure == named =>
            {
                said["state"] = json!("COMPLETED");
                said["completed"] = json!(at);
                said["keys"] = json!(keys);
                said["sessions"] = json!(sessions);
                said["streams"] = json!(streams);
                said["days"] = json!(days);
                said["grade"] = json!(grade);
                completed = true;
            }
            Action::ErasureSettled { erasure, .. } if erasure == named => {
                said["state"] = json!("SETTLED");
                said["settled"] = json!(at);
            }
            _ => bail!("entry {} is not about this erasure", entry.index),
        }
    }
    if !ordered || !completed {
        bail!("the receipt lacks the entry of the order or of the completion");
    }
    Ok(said)
}

fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map(|at| at.to_string()).unwrap_or_default()
}
