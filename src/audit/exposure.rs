//! Who could read a field in clear, through which derived stream and since when: the log, replayed.
//!
//! A derived stream opens a field when its rule allows the field's purpose. Streams and credentials that
//! are gone stay in the answer with their end.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Action, Entry};
use crate::{
    clock::Timestamp,
    domain::{ConsentRule, ContractRef, FieldPath, StreamName, Who},
};

/// A field of a contract, and the purpose it may be opened for.
#[derive(Clone, Debug)]
pub struct ExposureQuestion {
    pub contract: ContractRef,
    pub field: FieldPath,
    pub level: i32,
}

/// Everybody who could read the field, by stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exposures {
    pub exposures: Vec<Exposure>,
}

/// One derived stream that opens the field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exposure {
    pub stream: StreamName,
    pub source: StreamName,
    pub purposes: Vec<i32>,
    pub cumulative: bool,
    /// The stream shows a hash of the value and not the value.
    pub masked: bool,
    pub since: Timestamp,
    /// None: it still is.
    pub until: Option<Timestamp>,
    pub created_by: Who,
    pub accesses: Vec<Access>,
}

/// One credential of such a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    pub client: String,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
    /// When it began to read first and last; none when it never did.
    pub first_attached: Option<Timestamp>,
    pub last_attached: Option<Timestamp>,
}

impl Exposures {
    /// Takes the next entry of the log.
    pub fn take(&mut self, question: &ExposureQuestion, entry: &Entry) {
        let at = entry.at;
        match &entry.action {
            Action::StreamCreated { stream, source: Some(source), purposes, cumulative, masked, client } => {
                let masked =
                    masked.get(&question.contract).is_some_and(|fields| fields.contains(&question.field));
                let exposure = Exposure {
                    stream: stream.clone(),
                    source: source.clone(),
                    purposes: purposes.clone(),
                    cumulative: *cumulative,
                    masked,
                    since: at,
                    until: None,
                    created_by: entry.who.clone(),
                    accesses: vec![Access::new(client, at)],
                };
                self.add(question, exposure);
            }
            Action::StreamDeleted { stream } => {
                for exposure in self.open(stream) {
                    exposure.until = Some(at);
                    exposure.ends(|_| true, at);
                }
            }
            Action::CredentialIssued { stream, client, .. } => {
                self.open(stream).for_each(|exposure| exposure.accesses.push(Access::new(client, at)));
            }
            Action::CredentialRevoked { stream, client } => {
                self.open(stream).for_each(|exposure| exposure.ends(|access| access.client == *client, at));
            }
            Action::ReaderAttached { stream, .. } => {
                let Who::Client { id, .. } = &entry.who else { return };
                for access in self.open(stream).flat_map(|exposure| &mut exposure.accesses) {
                    if *access.client == **id {
                        access.first_attached.get_or_insert(at);
                        access.last_attached = Some(at);
                    }
                }
            }
            _ => {}
        }
    }

    /// Adds what the log does not know, if it opens the field: streams older than the audit log.
    pub fn add(&mut self, question: &ExposureQuestion, exposure: Exposure) {
        let rule = match (exposure.cumulative, &exposure.purposes[..]) {
            (true, [level]) => ConsentRule::cumulative(*level),
            (_, levels) => ConsentRule::granular(levels.iter().copied()),
        };
        if rule.is_ok_and(|rule| rule.opens(question.level)) {
            self.exposures.push(exposure);
        }
    }

    /// What the registry has now is what counts: an order that failed after its entry exposed nothing.
    pub fn settle(&mut self, clients: &BTreeMap<StreamName, Vec<String>>, now: Timestamp) {
        self.exposures.retain(|exposure| exposure.until.is_some() || clients.contains_key(&exposure.stream));
        for exposure in self.exposures.iter_mut().filter(|exposure| exposure.until.is_none()) {
            let present = &clients[&exposure.stream];
            exposure.ends(|access| !present.contains(&access.client), now);
        }
    }

    fn open(&mut self, stream: &StreamName) -> impl Iterator<Item = &mut Exposure> {
        self.exposures.iter_mut().filter(move |known| known.stream == *stream && known.until.is_none())
    }
}

impl Exposure {
    fn ends(&mut self, which: impl Fn(&Access) -> bool, at: Timestamp) {
        for access in self.accesses.iter_mut().filter(|access| access.until.is_none() && which(access)) {
            access.until = Some(at);
        }
    }
}

impl Access {
    /// A credential that was issued at `since` and not used yet.
    #[must_use]
    pub fn new(client: &str, since: Timestamp) -> Access {
        Access { client: client.to_owned(), since, until: None, first_attached: None, last_attached: None }
    }
}
