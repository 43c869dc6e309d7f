//! `sluice usage`: what a stream took, gave on and refused, by windows of time.

use anyhow::Result;
use serde_json::Value;

use super::{
    client::Client,
    output::{self, Format, Table, items_at, text_at},
    settings::Settings,
};
use crate::domain::StreamName;

/// Arguments of `sluice usage`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the stream
    stream: StreamName,
    /// First instant: RFC 3339, or for example -24h for a day ago [default: a day before the last]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Last instant: RFC 3339, now, or for example -1h [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Length of a window, from 1m to 31d
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    by: String,
}

/// Runs `sluice usage`; `csv` asks for comma-separated values with a header.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn run(settings: &Settings, arguments: Arguments, csv: bool) -> Result<()> {
    let mut query = vec![("by", arguments.by)];
    query.extend(arguments.from.map(|from| ("from", from)));
    query.extend(arguments.until.map(|until| ("until", until)));
    let path = ["streams", arguments.stream.as_str(), "usage"];
    let answer = Client::for_control(settings)?.get(&path, &query).await?;
    if csv {
        return output::print(&table(&answer).csv());
    }
    let nothing = items_at(&answer, "/windows").iter().all(is_nothing);
    if nothing && settings.format == Format::Table {
        output::remark("No usage in the provided time period.");
    }
    output::show(settings.format, &answer, || vec![table(&answer)])
}

fn is_nothing(window: &Value) -> bool {
    let zero = |at: &str| window.pointer(at).and_then(Value::as_u64) == Some(0);
    zero("/eventsIn") && zero("/eventsRefused") && items_at(window, "/derived").is_empty()
}

fn table(answer: &Value) -> Table {
    let seconds = answer["bySeconds"].as_f64().unwrap_or(1.0);
    let row = |window: &Value| {
        let sum = |field: &str| {
            let streams = items_at(window, "/derived").iter();
            streams.filter_map(|derived| derived[field].as_u64()).sum::<u64>().to_string()
        };
        let rate = window["eventsIn"].as_f64().unwrap_or(0.0) / seconds;
        let refused = window["refused"].as_object().into_iter().flatten();
        let refused: Vec<String> = refused.map(|(code, count)| format!("{code}:{count}")).collect();
        vec![
            text_at(window, "/from"),
            text_at(window, "/eventsIn"),
            format!("{rate:.2}"),
            text_at(window, "/bytesIn"),
            text_at(window, "/eventsRefused"),
            refused.join(" "),
            sum("events"),
            sum("droppedByConsent"),
        ]
    };
    Table {
        headers: &["From", "Count", "Rate", "Bytes", "Refused", "Reasons", "Derived", "Dropped"],
        rows: items_at(answer, "/windows").iter().map(row).collect(),
    }
}
