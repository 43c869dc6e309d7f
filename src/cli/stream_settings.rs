//! `sluice update|enable|disable stream`, and the settings that `create stream` shares with them.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{client::Client, failure::Failure, output, settings::Settings, stream::table};
use crate::domain::StreamName;

/// Limits and policy of a source stream.
#[derive(clap::Args)]
pub struct SettingArguments {
    /// Events a second it takes in the long run
    #[arg(long, value_name = "N", help_heading = "Limits")]
    events_per_second: Option<u32>,
    /// Events that may come at once after a pause [default: events per second]
    #[arg(long, value_name = "N", requires = "events_per_second", help_heading = "Limits")]
    burst: Option<u32>,
    /// Events it stores in an hour or day (UTC)
    #[arg(long, value_name = "N", help_heading = "Limits")]
    events_max: Option<u64>,
    /// The time that --events-max is for
    #[arg(long, value_enum, requires = "events_max", help_heading = "Limits")]
    events_max_per: Option<Window>,
    /// ACTIVE policy that new keys are made under, by name or id
    #[arg(long, aliases = ["policy-name", "policy-id"])]
    policy: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Window {
    Hour,
    Day,
}

impl SettingArguments {
    /// Puts what was given into the body of a request.
    pub fn put(&self, body: &mut Map<String, Value>) {
        let mut limits = Map::new();
        let mut limit = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                limits.insert(key.to_owned(), value);
            }
        };
        limit("eventsPerSecond", self.events_per_second.map(|rate| json!(rate)));
        limit("burst", self.burst.map(|burst| json!(burst)));
        limit("eventsMax", self.events_max.map(|count| json!(count)));
        let window = |window| if matches!(window, Window::Hour) { json!("HOUR") } else { json!("DAY") };
        limit("eventsMaxPer", self.events_max_per.map(window));
        if !limits.is_empty() {
            body.insert("limits".to_owned(), Value::Object(limits));
        }
        if let Some(policy) = &self.policy {
            body.insert("policy".to_owned(), json!(policy));
        }
    }
}

/// Arguments of `sluice update stream`.
#[derive(clap::Args)]
pub struct UpdateArguments {
    /// Name of the stream
    name: StreamName,
    /// What the stream is for
    #[arg(long)]
    description: Option<String>,
    /// Words to find it by, separated by commas, instead of those it has
    #[arg(long, value_delimiter = ',')]
    tags: Option<Vec<String>>,
    /// Days its events are kept
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<u32>,
    #[command(flatten)]
    settings: SettingArguments,
    /// Take all limits away
    #[arg(long, conflicts_with_all = ["events_per_second", "events_max"], help_heading = "Limits")]
    no_limits: bool,
    /// Take the policy away; keys that were made under it keep their term
    #[arg(long, conflicts_with = "policy")]
    no_policy: bool,
}

/// Arguments of `sluice enable stream` and `sluice disable stream`.
#[derive(clap::Args)]
pub struct SwitchArguments {
    /// Name of the stream
    name: StreamName,
}

/// Runs `sluice update stream`.
///
/// # Errors
///
/// Nothing is to be changed, the node refuses, or it cannot be reached.
pub async fn update(settings: &Settings, arguments: UpdateArguments) -> Result<()> {
    let mut body = Map::new();
    arguments.settings.put(&mut body);
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    };
    put("description", arguments.description.map(|text| json!(text)));
    let tags = arguments.tags.map(|mut tags| {
        tags.retain(|tag| !tag.is_empty());
        json!(tags)
    });
    put("tags", tags);
    put("retentionDays", arguments.retention_days.map(|days| json!(days)));
    put("limits", arguments.no_limits.then_some(Value::Null));
    put("policy", arguments.no_policy.then_some(Value::Null));
    if body.is_empty() {
        return Err(Failure::new("nothing is to be changed", "see: sluice update stream --help").into());
    }
    change(settings, &arguments.name, Value::Object(body)).await
}

/// Runs `sluice enable stream` and `sluice disable stream`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn switch(settings: &Settings, arguments: SwitchArguments, enabled: bool) -> Result<()> {
    change(settings, &arguments.name, json!({"enabled": enabled})).await
}

async fn change(settings: &Settings, name: &StreamName, body: Value) -> Result<()> {
    let path = ["streams", name.as_str()];
    let answer = Client::for_control(settings)?.call(Method::PATCH, &path, Some(&body)).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}
