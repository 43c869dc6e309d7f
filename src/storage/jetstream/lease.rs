//! Leases as one message each, changed by compare-and-set.
//!
//! A lease is over when its message has stood unchanged for its time *by the clock of whoever waits for
//! it*: clocks of nodes are never compared.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap,
    jetstream::stream::{Config, LastRawMessageErrorKind},
};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::connection::{ConnectError, Message, Nats, NotStored, unavailable};
use crate::storage::{Grant, Lease, LeaseError, Unavailable};

/// The leases of a cluster.
pub(super) struct Leases {
    nats: Nats,
    /// Since when this node has seen the present message of a lease.
    seen: Arc<Mutex<HashMap<String, (u64, Instant)>>>,
}

/// The message of a lease. Without a holder it is free.
#[derive(Clone, Serialize, Deserialize)]
struct Row {
    holder: Option<String>,
    token: u64,
    ttl_ms: u64,
}

impl Leases {
    pub(super) async fn open(nats: Nats) -> Result<Leases, ConnectError> {
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{SUBJECT}.>")],
            max_messages_per_subject: 1,
            ..Config::default()
        };
        nats.ensure_stream(config).await?;
        Ok(Leases { nats, seen: Arc::default() })
    }

    /// The lease's message and its sequence, from the leader.
    async fn row(&self, name: &str) -> Result<(u64, Option<Row>), LeaseError> {
        let stream = self.nats.js.get_stream_no_info(STREAM).await.map_err(unavailable)?;
        match stream.get_last_raw_message_by_subject(&subject(name)).await {
            Ok(message) => {
                let row = serde_json::from_slice(&message.payload);
                let row = row.map_err(|error| LeaseError::Damaged(error.into()))?;
                Ok((message.sequence, Some(row)))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok((0, None)),
            Err(error) => Err(unavailable(error).into()),
        }
    }

    /// Whether somebody holds it, as far as this node has seen.
    fn is_held(&self, name: &str, seq: u64, row: &Row) -> bool {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        let (known, since) = seen.entry(name.to_owned()).or_insert((seq, now));
        if *known != seq {
            (*known, *since) = (seq, now);
        }
        row.holder.is_some() && now.duration_since(*since) < Duration::from_millis(row.ttl_ms)
    }

    /// Replaces the message if its sequence is still `seq`. Its new sequence, or none.
    async fn put(&self, name: &str, seq: u64, row: &Row) -> Result<Option<u64>, LeaseError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", seq.to_string());
        let payload = serde_json::to_vec(row).map_err(|error| LeaseError::Damaged(error.into()))?;
        match self.nats.store(Message { subject: subject(name), headers, payload: payload.into() }).await {
            Ok(stored) => Ok(Some(stored.seq)),
            Err(NotStored::WrongSequence | NotStored::Duplicate) => Ok(None),
            Err(NotStored::NoStream) => Err(Unavailable::Backend("the leases' stream is gone".into()).into()),
            Err(NotStored::Unknown(error) | NotStored::Refused(error)) => Err(error.into()),
        }
    }
}

#[async_trait]
impl Lease for Leases {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Grant>, LeaseError> {
        let (seq, row) = self.row(name).await?;
        let token = match &row {
            Some(row) if self.is_held(name, seq, row) => {
                if row.holder.as_deref() != Some(holder) {
                    return Ok(None);
                }
                row.token
            }
            _ => seq + 1,
        };
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let mine = Row { holder: Some(holder.to_owned()), token, ttl_ms };
        let Some(seq) = self.put(name, seq, &mine).await? else { return Ok(None) };
        self.seen.lock().insert(name.to_owned(), (seq, Instant::now()));
        Ok(Some(Grant { token, ttl }))
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), LeaseError> {
        let (seq, row) = self.row(name).await?;
        if let Some(row) = row.filter(|row| row.holder.as_deref() == Some(holder)) {
            self.put(name, seq, &Row { holder: None, ..row }).await?;
        }
        Ok(())
    }

    async fn holder(&self, name: &str) -> Result<Option<String>, LeaseError> {
        let (seq, row) = self.row(name).await?;
        let held = row.filter(|row| self.is_held(name, seq, row));
        Ok(held.and_then(|row| row.holder))
    }
}

/// Names of leases hold what subjects may not.
fn subject(name: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{SUBJECT}.{hex}")
}

const STREAM: &str = "SLUICE_LEASES";
const SUBJECT: &str = "sluice.lease";
