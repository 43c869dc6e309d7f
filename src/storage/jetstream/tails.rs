//! Ends of logs as this node knows them, told by its own appends, by other nodes and by asking.
//!
//! Whoever appends says so on a subject that every node listens to; what got lost there is found by asking
//! for the ends of followed logs every second.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::stream::Stream;
use dashmap::DashMap;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    connection::{Nats, missing, unavailable},
    log::js_name,
};
use crate::{domain::StreamName, storage::Unavailable};

/// All known ends.
#[derive(Clone)]
pub(super) struct Tails {
    nats: Nats,
    known: Arc<DashMap<StreamName, watch::Sender<u64>>>,
}

impl Tails {
    pub(super) async fn open(nats: Nats, stop: CancellationToken) -> Result<Tails, Unavailable> {
        let tails = Tails { nats, known: Arc::default() };
        let mut told = tails.nats.client.subscribe(format!("{SUBJECT}.*")).await.map_err(unavailable)?;
        let listener = tails.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(ASK_EVERY);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    _ = every.tick() => listener.ask().await,
                    message = told.next() => {
                        let Some(message) = message else { break };
                        listener.hear(&message.subject, &message.payload);
                    }
                }
            }
            listener.known.clear();
        });
        Ok(tails)
    }

    /// The log ends here now, durably.
    pub(super) async fn tell(&self, stream: &StreamName, end: u64) {
        self.raise(stream, end);
        // Best effort: who misses it asks.
        let subject = format!("{SUBJECT}.{stream}");
        drop(self.nats.client.publish(subject, end.to_string().into()).await);
    }

    /// The log is gone.
    pub(super) async fn forget(&self, stream: &StreamName) {
        self.known.remove(stream);
        drop(self.nats.client.publish(format!("{SUBJECT}.{stream}"), "gone".into()).await);
    }

    pub(super) fn follow(&self, stream: &StreamName) -> watch::Receiver<u64> {
        if let Some(known) = self.known.get(stream) {
            return known.subscribe();
        }
        let receiver = self.known.entry(stream.clone()).or_insert_with(|| watch::channel(1).0).subscribe();
        let (tails, stream) = (self.clone(), stream.clone());
        tokio::spawn(async move { tails.check(&stream).await });
        receiver
    }

    fn hear(&self, subject: &str, payload: &[u8]) {
        let name = subject.rsplit('.').next().and_then(|name| name.parse::<StreamName>().ok());
        let (Some(name), Ok(text)) = (name, std::str::from_utf8(payload)) else { return };
        match text.parse() {
            Ok(end) if self.known.contains_key(&name) => self.raise(&name, end),
            Ok(_) => {}
            // Own messages do not come back: somebody else removed it.
            Err(_) => drop(self.known.remove(&name)),
        }
    }

    /// Ends only grow; answers may overtake one another.
    fn raise(&self, stream: &StreamName, end: u64) {
        let known = self.known.entry(stream.clone()).or_insert_with(|| watch::channel(end).0);
        known.send_if_modified(|known| {
            let grew = end > *known;
            *known = end.max(*known);
            grew
        });
    }

    async fn ask(&self) {
        let followed: Vec<StreamName> = self
            .known
            .iter()
            .filter(|entry| entry.receiver_count() > 0)
            .map(|entry| entry.key().clone())
            .collect();
        for stream in followed {
            self.check(&stream).await;
        }
    }

    async fn check(&self, stream: &StreamName) {
        match self.nats.js.get_stream(js_name(stream)).await {
            Ok(found) => self.raise(stream, end_of(&found)),
            Err(error) if missing(&error) => drop(self.known.remove(stream)),
            Err(_) => {}
        }
    }
}

fn end_of(stream: &Stream) -> u64 {
    stream.cached_info().state.last_sequence + 1
}

const SUBJECT: &str = "sluice.end";
const ASK_EVERY: Duration = Duration::from_secs(1);
