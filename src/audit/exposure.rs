//! Who could read a field in clear, through which derived stream and since when: the log, replayed.
//!
//! A derived stream opens a field when its rule allows the field's purpose. Streams and credentials that
//! are gone stay in the answer with their end.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exposures {
    pub exposures: Vec<Exposure>,
}

/// One derived stream that opens the field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
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

    /// What the registry has now is what counts: an order that failed after its entry made nothing, and
    /// ended nothing.
    pub fn settle(&mut self, clients: &BTreeMap<StreamName, Vec<String>>, now: Timestamp) {
        for (stream, present) in clients {
            let last = self.exposures.iter_mut().rfind(|exposure| exposure.stream == *stream);
            let Some(exposure) = last.filter(|exposure| exposure.until.is_some()) else { continue };
            let ended = exposure.until.take();
            for access in exposure.accesses.iter_mut().filter(|access| present.contains(&access.client)) {
                access.until = access.until.filter(|until| Some(*until) != ended);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: i64, who: Who, action: Action) -> Entry {
        Entry { index: 0, at: Timestamp(at), who, action, project: None }
    }

    fn created(at: i64, name: &str, purposes: &[i32], cumulative: bool) -> Entry {
        let action = Action::StreamCreated {
            stream: name.parse().unwrap(),
            source: Some("clicks".parse().unwrap()),
            purposes: purposes.to_vec(),
            cumulative,
            masked: BTreeMap::new(),
            client: format!("{name}-client"),
        };
        entry(at, Who::operator(), action)
    }

    fn question() -> ExposureQuestion {
        let (contract, field) = ("acme/click/1.0.0".parse().unwrap(), "mail".parse().unwrap());
        ExposureQuestion { contract, field, level: 2 }
    }

    fn present(names: &[&str]) -> BTreeMap<StreamName, Vec<String>> {
        names.iter().map(|name| (name.parse().unwrap(), vec![format!("{name}-client")])).collect()
    }

    fn after(entries: &[Entry], names: &[&str]) -> Vec<Exposure> {
        let mut found = Exposures::default();
        entries.iter().for_each(|entry| found.take(&question(), entry));
        found.settle(&present(names), Timestamp(99));
        found.exposures
    }

    #[test]
    fn streams_whose_purposes_open_the_field_expose_it_from_their_making_to_their_end() {
        let stream: StreamName = "two".parse().unwrap();
        let deleted = entry(7, Who::operator(), Action::StreamDeleted { stream });
        let log = [
            created(1, "one", &[1], false),
            created(2, "two", &[2, 5], false),
            created(3, "up-to-three", &[3], true),
            created(4, "up-to-one", &[1], true),
            deleted,
            created(8, "two", &[2], false),
        ];
        let found = after(&log, &["one", "two", "up-to-three", "up-to-one"]);
        let lives: Vec<_> =
            found.iter().map(|e| (e.stream.as_str(), e.since.0, e.until.map(|t| t.0))).collect();
        assert_eq!(lives, [("two", 2, Some(7)), ("up-to-three", 3, None), ("two", 8, None)]);
        assert_eq!(found[0].accesses[0].until, Some(Timestamp(7)));
        assert_eq!(found[2].accesses[0].until, None);
    }

    #[test]
    fn an_order_that_failed_after_its_entry_exposed_nothing_and_ended_nothing() {
        assert_eq!(after(&[created(1, "two", &[2], false)], &[]), []);
        let deleted = Action::StreamDeleted { stream: "two".parse().unwrap() };
        let found = after(&[created(1, "two", &[2], false), entry(5, Who::Node, deleted)], &["two"]);
        assert_eq!((found[0].until, found[0].accesses[0].until), (None, None));
    }

    #[test]
    fn readings_and_revocations_belong_to_their_credential() {
        let stream: StreamName = "two".parse().unwrap();
        let client = Who::Client { id: "two-client".into(), stream: stream.clone() };
        let attached = Action::ReaderAttached { stream: stream.clone(), purposes: vec![2] };
        let revoked = Action::CredentialRevoked { stream: stream.clone(), client: "second".into() };
        let issued = Action::CredentialIssued { stream, purposes: vec![2], client: "second".into() };
        let log = [
            created(1, "two", &[2], false),
            entry(2, Who::operator(), issued),
            entry(3, client.clone(), attached.clone()),
            entry(4, client, attached),
            entry(5, Who::operator(), revoked),
        ];
        let found = after(&log, &["two"]);
        let [first, second] = &found[0].accesses[..] else { panic!("{found:?}") };
        assert_eq!((first.first_attached, first.last_attached), (Some(Timestamp(3)), Some(Timestamp(4))));
        assert_eq!((second.until, second.first_attached), (Some(Timestamp(5)), None));
    }
}
