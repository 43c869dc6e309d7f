//! The demo's streams and events: made, sent and read back through the API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::board::Row;
use crate::{
    cli::{
        client::Client,
        credentials::{self, Found},
        example_events::{Consents, EXAMPLE_REF, ExampleEvent, Generator},
        settings::Settings,
        stream::credentials_of,
        stream_client::{ReadFrom, StreamClient},
    },
    domain::StreamName,
};

/// The source stream.
pub const SOURCE: &str = "demo";
/// The derived stream that opens purposes 1 and 2.
pub const OPENED: &str = "demo-1-2";
/// The same with a field masked.
const MASKED: &str = "demo-M1-2";
/// Purposes both derived streams ask for.
pub const PURPOSES: [u32; 2] = [1, 2];
/// Consents of the events shown, in turn: from none to more than is asked for.
const CONSENTS: [&[u32]; 6] = [&[0, 1, 2], &[], &[1, 2, 3], &[0, 1], &[1, 2], &[0]];
/// Events shown.
const EVENTS: usize = 12;
/// Few sessions, so that equal values meet and their ciphertexts are seen to be equal.
const SESSIONS: u64 = 4;
/// Patience with events on their way into a derived stream.
const DERIVE_DEADLINE: Duration = Duration::from_secs(20);

/// A node with three streams, and clients of each.
pub struct Scene {
    source: Reader,
    opened: Reader,
    masked: Reader,
    generator: Generator,
}

struct Reader {
    name: StreamName,
    client: StreamClient,
}

impl Scene {
    /// Makes the streams and saves their credentials where `sluice listen` finds them.
    pub async fn set(settings: &Settings, seed: u64) -> Result<Scene> {
        let derived = |name: &str| -> Value {
            json!({"name": name, "derivedFrom": SOURCE, "purposes": PURPOSES, "cumulative": false})
        };
        let mut masked = derived(MASKED);
        masked["maskedFields"] = json!([{"ref": EXAMPLE_REF, "fields": ["uniqueIdentifier"]}]);
        Ok(Scene {
            source: Reader::create(settings, json!({"name": SOURCE, "description": "what producers send"}))
                .await?,
            opened: Reader::create(settings, derived(OPENED)).await?,
            masked: Reader::create(settings, masked).await?,
            generator: Generator::new(Some(seed), SESSIONS, Consents(CONSENTS.map(<[u32]>::to_vec).to_vec())),
        })
    }

    /// Name of the masked stream.
    pub fn masked_name(&self) -> &str {
        self.masked.name.as_str()
    }

    /// Sends the events and reads what became of them.
    pub async fn play(&mut self) -> Result<Vec<Row>> {
        let mut sent = Vec::with_capacity(EVENTS);
        for turn in 0..EVENTS {
            let event = self.generator.draw_with(CONSENTS[turn % CONSENTS.len()].to_vec());
            self.source.client.post_event(EXAMPLE_REF, event.to_json()).await?;
            sent.push(event);
        }
        let passing = sent.iter().filter(|event| passes(event)).count();
        let stored = self.source.read(EVENTS).await?;
        let opened = self.opened.read(passing).await?;
        let masked = self.masked.read(passing).await?;
        // The events were sent one after the other, so the log has them in this order.
        let rows = sent.into_iter().zip(stored).map(|(sent, stored)| {
            let find = |copies: &[Value]| copies.iter().find(|copy| is_copy(&stored, copy)).cloned();
            Row { opened: find(&opened), masked: find(&masked), sent, stored }
        });
        Ok(rows.collect())
    }

    /// Sends one event a second until the future is dropped.
    pub async fn run_on(&mut self) -> Result<()> {
        loop {
            sleep(Duration::from_secs(1)).await;
            let event = self.generator.draw();
            self.source.client.post_event(EXAMPLE_REF, event.to_json()).await?;
        }
    }
}

/// Whether the consent of `event` encloses what the derived streams ask for.
fn passes(event: &ExampleEvent) -> bool {
    PURPOSES.iter().all(|level| event.consent().contains(level))
}

/// Whether two events are one by their meta data, which is the same in every copy.
fn is_copy(one: &Value, other: &Value) -> bool {
    let meta = |at: &str| one.pointer(at).is_some() && one.pointer(at) == other.pointer(at);
    ["/strmMeta/keyLink", "/strmMeta/nonce", "/strmMeta/timestamp"].into_iter().all(meta)
}

impl Reader {
    async fn create(settings: &Settings, body: Value) -> Result<Reader> {
        let answer = Client::for_control(settings)?.call(Method::POST, &["streams"], Some(&body)).await?;
        let name: StreamName = answer["ref"]["name"].as_str().unwrap_or_default().parse()?;
        let credentials = credentials_of(&answer).context("the node's answer holds no credentials")?;
        credentials::save(settings, &name, &credentials)?;
        let found = Found { credentials, origin: "the demo".to_owned() };
        let client = StreamClient::connect(Client::anonymous(&settings.server)?, found).await?;
        Ok(Reader { name, client })
    }

    /// The stream's events from its beginning, once there are `expected` of them.
    async fn read(&self, expected: usize) -> Result<Vec<Value>> {
        let deadline = Instant::now() + DERIVE_DEADLINE;
        loop {
            let what = ReadFrom { from: "earliest", limit: None, follow: false, last_event_id: None };
            let response = self.client.read(&self.name, &what, "application/x-ndjson").await?;
            let bytes = response.bytes().await.map_err(|error| self.client.failed(error))?;
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let events: Result<Vec<Value>, _> = lines.map(serde_json::from_slice).collect();
            let events =
                events.map_err(|_| anyhow::anyhow!("stream {} holds something else than JSON", self.name))?;
            if events.len() >= expected {
                return Ok(events);
            }
            if Instant::now() > deadline {
                bail!("stream {} has {} of {expected} events", self.name, events.len());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
