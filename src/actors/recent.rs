//! What was written down lately, so that a client that comes back often does not flood the audit log.
//!
//! | what | written | counted |
//! |---|---|---|
//! | token grant | the first of a client in an hour | the others; the next entry says how many |
//! | reader | its first connection, and a minute after its last one ended | connections between |
//! | what is not allowed | the first of a principal and permission, and one entry for each minute | the others |
//! | failed login | the first of a client or principal, and one entry for each minute with more | the others |
//!
//! Bounded by the clients and principals there are: failures of unknown ones are one. What is only counted is lost
//! when the node is killed; that the client was granted, attached or failed is not.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    audit::{Action, LoginMeans},
    clock::Timestamp,
    domain::{StreamName, Who},
};

/// Remembered once the entry is durable.
pub(super) enum Seen {
    Granted { client: Arc<str>, at: Timestamp },
    Attached { reader: Who, stream: StreamName },
}

/// Grants and readers of this node.
#[derive(Default)]
pub(super) struct Recent {
    grants: HashMap<Arc<str>, (Timestamp, u64)>,
    /// By who reads what.
    readers: HashMap<(Who, StreamName), Reading>,
}

#[derive(Default)]
struct Reading {
    open: u64,
    connections: u64,
    idle_since: Option<Timestamp>,
}

impl Recent {
    /// Counts a grant that an entry of this hour covers; else says how many were counted since the last one.
    pub(super) fn grant(&mut self, client: &str, now: Timestamp) -> Result<(), u64> {
        match self.grants.get_mut(client) {
            Some((at, repeated)) if now.since(*at) < GRANT_MS => {
                *repeated += 1;
                Ok(())
            }
            Some((_, repeated)) => Err(*repeated),
            None => Err(0),
        }
    }

    /// Counts a connection of a reader that is written down as attached. False when it is not.
    pub(super) fn attach(&mut self, reader: &Who, stream: &StreamName) -> bool {
        let Some(reading) = self.readers.get_mut(&(reader.clone(), stream.clone())) else { return false };
        reading.connections += 1;
        reading.open += 1;
        reading.idle_since = None;
        true
    }

    pub(super) fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Granted { client, at } => {
                self.grants.insert(client, (at, 0));
            }
            Seen::Attached { reader, stream } => {
                let reading = self.readers.entry((reader, stream)).or_default();
                reading.open += 1;
                reading.connections += 1;
                reading.idle_since = None;
            }
        }
    }

    pub(super) fn detached(&mut self, reader: &Who, stream: &StreamName, now: Timestamp) {
        let Some(reading) = self.readers.get_mut(&(reader.clone(), stream.clone())) else { return };
        reading.open = reading.open.saturating_sub(1);
        if reading.open == 0 {
            reading.idle_since = Some(now);
        }
    }

    /// The readers that are gone, or all of them when the node stops. Forgets old grants too.
    pub(super) fn detachments(&mut self, now: Timestamp, all: bool) -> Vec<(Who, Action)> {
        // One whose repetitions were not told yet stays for a while.
        self.grants.retain(|_, (at, repeated)| {
            now.since(*at) < if *repeated == 0 { GRANT_MS } else { GRANT_FORGOTTEN_MS }
        });
        let gone = |reading: &Reading| reading.idle_since.is_some_and(|idle| now.since(idle) >= LINGER_MS);
        self.readers
            .extract_if(|_, reading| all || gone(reading))
            .map(|((who, stream), Reading { connections, .. })| {
                (who, Action::ReaderDetached { stream, connections })
            })
            .collect()
    }
}

/// Whose login failed, as far as it is known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Claimant {
    /// A client of a stream, or a name that none has.
    Client(Option<(Arc<str>, StreamName)>),
    /// A principal, or a token that is nobody's.
    Principal(LoginMeans, Option<Arc<str>>),
    /// A principal that was let in and may not do this.
    Denied(Arc<str>, &'static str),
}

impl Claimant {
    fn tell(&self, count: u64) -> (Who, Action) {
        let told = |client: Option<&Arc<str>>, stream, with, principal: Option<&Arc<str>>| {
            let [client, principal] = [client, principal].map(|id| id.map(|id| id.to_string()));
            Action::LoginFailed { client, stream, count, with, principal }
        };
        match self {
            Claimant::Client(None) => (Who::Node, told(None, None, None, None)),
            Claimant::Client(Some((id, stream))) => (
                Who::Client { id: Arc::clone(id), stream: stream.clone() },
                told(Some(id), Some(stream.clone()), None, None),
            ),
            Claimant::Principal(with, None) => (Who::Node, told(None, None, Some(*with), None)),
            Claimant::Principal(with, Some(id)) => {
                (Who::Principal { id: Arc::clone(id) }, told(None, None, Some(*with), Some(id)))
            }
            Claimant::Denied(id, to) => {
                let to = (*to).to_owned();
                (Who::Principal { id: Arc::clone(id) }, Action::AccessDenied { to, count })
            }
        }
    }
}

/// Failed logins, counted without a mailbox: strangers can cause as many as they like.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<Claimant, Failing>>);

#[derive(Default)]
struct Failing {
    count: u64,
    told: Option<Timestamp>,
}

impl Failures {
    /// Counts a failure.
    pub(super) fn count(&self, claimant: Claimant) {
        self.0.lock().entry(claimant).or_default().count += 1;
    }

    /// What is to be written now; with `all` whatever was counted.
    pub(super) fn due(&self, now: Timestamp, all: bool) -> Vec<(Who, Action)> {
        let mut due = Vec::new();
        self.0.lock().retain(|claimant, failing| {
            if !all && failing.told.is_some_and(|told| now.since(told) < FAILURE_MS) {
                return true;
            }
            if failing.count == 0 {
                return false;
            }
            due.push(claimant.tell(failing.count));
            (failing.count, failing.told) = (0, Some(now));
            true
        });
        due
    }
}

const GRANT_MS: i64 = 60 * 60 * 1000;
const GRANT_FORGOTTEN_MS: i64 = 24 * GRANT_MS;
const LINGER_MS: i64 = 60 * 1000;
const FAILURE_MS: i64 = 60 * 1000;
