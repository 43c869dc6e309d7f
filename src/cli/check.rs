//! `sluice check contract --schema F --contract F [--against STREAM --last 1h]`.

use std::path::PathBuf;

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::Client,
    contract::read_document,
    failure::printable,
    output::{self, Table, items_at, text_at},
    settings::Settings,
};
use crate::domain::{ContractRef, StreamName};

/// Arguments of `sluice check contract`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Reference it would get [default: the one its document names]
    #[arg(value_name = "REF")]
    reference: Option<ContractRef>,
    /// Schema file [default: the known one the contract names]
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Contract file
    #[arg(long, value_name = "FILE")]
    contract: PathBuf,
    /// Source stream whose recent traffic it is tried on
    #[arg(long, value_name = "STREAM")]
    against: Option<StreamName>,
    /// How far back: 90s, 15m, 1h, 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    last: u32,
}

/// Seconds of a text as `15m`.
fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || "a number with s, m, h or d, of at most 7d".to_owned();
    let unit = text.chars().last().filter(char::is_ascii).ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).filter(|seconds| (1..=604_800).contains(seconds)).ok_or_else(wrong)
}

/// Runs `sluice check contract`.
///
/// # Errors
///
/// A file cannot be read, the contract is not valid, or the node cannot be reached.
pub async fn run(settings: &Settings, arguments: Arguments) -> Result<()> {
    let schema = arguments.schema.as_deref().map(read_document).transpose()?;
    let body = json!({
        "ref": arguments.reference,
        "schema": schema,
        "contract": read_document(&arguments.contract)?,
        "against": arguments.against,
        "last_s": arguments.last,
    });
    let answer =
        Client::for_control(settings)?.call(Method::POST, &["contracts", "check"], Some(&body)).await?;
    for warning in items_at(&answer, "/warnings") {
        output::remark(&format!("warning: {}", printable(warning.as_str().unwrap_or_default())));
    }
    output::show(settings.format, &answer, || tables(&answer))
}

fn tables(answer: &Value) -> Vec<Table> {
    let row = |value: &Value, keys: &[&str]| keys.iter().map(|key| text_at(value, key)).collect::<Vec<_>>();
    let Some(traffic) = answer.get("traffic") else {
        return vec![Table { headers: &["Contract", "Valid"], rows: vec![row(answer, &["/ref", "/valid"])] }];
    };
    let left_out = ["noConsent", "keyGone", "unreadable", "otherContract"]
        .map(|key| traffic.pointer(&format!("/notChecked/{key}")).and_then(Value::as_u64).unwrap_or(0));
    let mut summary = row(traffic, &["/events", "/checked", "/wouldRefuse"]);
    summary.push(left_out.iter().sum::<u64>().to_string());
    summary.push(text_at(traffic, "/partial"));
    let refusals = items_at(traffic, "/refusals").iter().map(|at| row(at, &["/rule", "/field", "/count"]));
    let keys = ["/stream", "/gained", "/lost", "/unmasked"];
    let derived = items_at(traffic, "/derived").iter().map(|at| row(at, &keys));
    let tables = [
        Table {
            headers: &["Events", "Checked", "Would refuse", "Not checked", "Partial"],
            rows: vec![summary],
        },
        Table { headers: &["Rule", "Field", "Events"], rows: refusals.collect() },
        Table { headers: &["Derived", "Gains", "Loses", "Unmasked"], rows: derived.collect() },
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(
            [seconds("90s"), seconds("15m"), seconds("1h"), seconds("7d")],
            [Ok(90), Ok(900), Ok(3600), Ok(604_800)]
        );
        for wrong in ["", "1", "h", "0s", "8d", "-1h", "1w", "99999999999d", "1é"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
