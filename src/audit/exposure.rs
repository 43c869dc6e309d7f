//! Who could read a field in clear, through which derived stream and since when: the log, replayed.
//!
//! A derived stream opens a field when its rule allows the field's purpose; its credentials and those that
//! were granted its events read it there. What is gone stays in the answer with its end.

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
    pub grants: Vec<GrantedRead>,
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

/// One grant by which a principal could read such a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantedRead {
    pub principal: String,
    pub granted_by: Who,
    pub since: Timestamp,
    /// When it ended: revoked, expired, or gone with its stream or principal. None: it still is.
    pub until: Option<Timestamp>,
    /// When it ends by itself, as it was said last; none: when somebody revokes it.
    pub expires: Option<Timestamp>,
    pub first_attached: Option<Timestamp>,
    pub last_attached: Option<Timestamp>,
}

/// What the registry knows of a stream now.
#[derive(Clone, Debug, Default)]
pub struct Present {
    pub clients: Vec<String>,
    pub grants: Vec<GrantedRead>,
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
                    grants: Vec::new(),
                };
                self.add(question, exposure);
            }
            Action::StreamDeleted { stream } => {
                for exposure in self.open(stream) {
                    exposure.until = Some(at);
                    exposure.ends(|_| true, at);
                    exposure.revoke(|_| true, at);
                }
            }
            Action::CredentialIssued { stream, client, .. } => {
                self.open(stream).for_each(|exposure| exposure.accesses.push(Access::new(client, at)));
            }
            Action::CredentialRevoked { stream, client, ends } => {
                let end = ends.unwrap_or(at);
                self.open(stream).for_each(|exposure| exposure.ends_by(client, end));
            }
            Action::ReadGranted { stream, principal, expires, .. } => {
                let granted = GrantedRead::new(principal, at, *expires, entry.who.clone());
                self.open(stream).for_each(|exposure| exposure.grant(granted.clone()));
            }
            Action::ReadRevoked { stream, principal, .. } => {
                self.open(stream)
                    .for_each(|exposure| exposure.revoke(|grant| grant.principal == *principal, at));
            }
            Action::ReaderAttached { stream, .. } => {
                self.open(stream).for_each(|exposure| exposure.attach(&entry.who, at));
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
    pub fn settle(&mut self, present: &BTreeMap<StreamName, Present>, now: Timestamp) {
        for (stream, present) in present {
            let last = self.exposures.iter_mut().rfind(|exposure| exposure.stream == *stream);
            let Some(exposure) = last.filter(|exposure| exposure.until.is_some()) else { continue };
            let ended = exposure.until.take();
            for access in
                exposure.accesses.iter_mut().filter(|access| present.clients.contains(&access.client))
            {
                access.until = access.until.filter(|until| Some(*until) != ended);
            }
        }
        self.exposures.retain(|exposure| exposure.until.is_some() || present.contains_key(&exposure.stream));
        for exposure in &mut self.exposures {
            if exposure.until.is_none() {
                let present = &present[&exposure.stream];
                exposure.ends(|access| !present.clients.contains(&access.client), now);
                exposure.settle_grants(&present.grants, now);
            }
            exposure.expire(now);
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

    /// A credential that is to end ends then, or earlier when it is said again.
    fn ends_by(&mut self, client: &str, at: Timestamp) {
        for access in self.accesses.iter_mut().filter(|access| access.client == client) {
            access.until = Some(access.until.map_or(at, |already| already.min(at)));
        }
    }

    /// A grant there is goes on with the new expiry; one that has expired is another one.
    fn grant(&mut self, new: GrantedRead) {
        let goes_on = |grant: &&mut GrantedRead| {
            grant.principal == new.principal
                && grant.until.is_none()
                && grant.expires.is_none_or(|expires| new.since < expires)
        };
        match self.grants.iter_mut().find(goes_on) {
            Some(grant) => grant.expires = new.expires,
            None => self.grants.push(new),
        }
    }

    fn revoke(&mut self, which: impl Fn(&GrantedRead) -> bool, at: Timestamp) {
        for grant in self.grants.iter_mut().filter(|grant| grant.until.is_none() && which(grant)) {
            grant.until = Some(grant.expires.map_or(at, |expires| expires.min(at)));
        }
    }

    /// Those that the log ended and the registry still has go on; those that the registry has no longer ended.
    fn settle_grants(&mut self, present: &[GrantedRead], now: Timestamp) {
        self.revoke(|grant| !present.iter().any(|present| present.principal == grant.principal), now);
        for present in present {
            match self.grants.iter_mut().rfind(|grant| grant.principal == present.principal) {
                Some(grant) => (grant.until, grant.expires) = (None, present.expires),
                None => self.grants.push(present.clone()),
            }
        }
    }

    fn expire(&mut self, now: Timestamp) {
        for grant in self.grants.iter_mut().filter(|grant| grant.until.is_none()) {
            grant.until = grant.expires.filter(|expires| *expires <= now);
        }
    }

    fn attach(&mut self, who: &Who, at: Timestamp) {
        let seen = match who {
            Who::Client { id, .. } => {
                let mut accesses = self.accesses.iter_mut().filter(|access| *access.client == **id);
                accesses.next_back().map(|access| (&mut access.first_attached, &mut access.last_attached))
            }
            Who::Principal { id } => {
                let mut grants = self.grants.iter_mut().filter(|grant| *grant.principal == **id);
                grants.next_back().map(|grant| (&mut grant.first_attached, &mut grant.last_attached))
            }
            Who::Node => None,
        };
        if let Some((first, last)) = seen {
            first.get_or_insert(at);
            *last = Some(at);
        }
    }
}

impl GrantedRead {
    /// A grant that nobody has read by yet.
    #[must_use]
    pub fn new(
        principal: &str,
        since: Timestamp,
        expires: Option<Timestamp>,
        granted_by: Who,
    ) -> GrantedRead {
        GrantedRead {
            principal: principal.to_owned(),
            granted_by,
            since,
            until: None,
            expires,
            first_attached: None,
            last_attached: None,
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

    fn present(names: &[&str]) -> BTreeMap<StreamName, Present> {
        let of = |name: &str| Present { clients: vec![format!("{name}-client")], grants: Vec::new() };
        names.iter().map(|name| (name.parse().unwrap(), of(name))).collect()
    }

    fn granted(at: i64, expires: Option<i64>) -> Entry {
        let action = Action::ReadGranted {
            stream: "two".parse().unwrap(),
            purposes: vec![2],
            principal: "ada".to_owned(),
            expires: expires.map(Timestamp),
        };
        entry(at, Who::operator(), action)
    }

    fn revoked(at: i64) -> Entry {
        let (stream, principal) = ("two".parse().unwrap(), "ada".to_owned());
        entry(at, Who::operator(), Action::ReadRevoked { stream, principal, because: None })
    }

    /// Since, until and expiry of each grant on `two`, when the registry has `now` of it.
    fn grants(entries: &[Entry], now: &[GrantedRead]) -> Vec<(i64, Option<i64>, Option<i64>)> {
        let mut found = Exposures::default();
        found.take(&question(), &created(1, "two", &[2], false));
        entries.iter().for_each(|entry| found.take(&question(), entry));
        let mut present = present(&["two"]);
        present.values_mut().for_each(|present| present.grants = now.to_vec());
        found.settle(&present, Timestamp(99));
        let ms = |time: Option<Timestamp>| time.map(|time| time.0);
        found.exposures[0].grants.iter().map(|g| (g.since.0, ms(g.until), ms(g.expires))).collect()
    }

    #[test]
    fn a_grant_is_listed_from_its_making_to_its_revocation_or_its_expiry() {
        let now = |expires: Option<i64>| {
            vec![GrantedRead::new("ada", Timestamp(5), expires.map(Timestamp), Who::Node)]
        };
        assert_eq!(grants(&[granted(5, None)], &now(None)), [(5, None, None)]);
        assert_eq!(grants(&[granted(5, None), revoked(8)], &[]), [(5, Some(8), None)]);
        assert_eq!(grants(&[granted(5, Some(7)), revoked(8)], &[]), [(5, Some(7), Some(7))]);
        assert_eq!(grants(&[granted(5, Some(50))], &now(Some(50))), [(5, Some(50), Some(50))]);
        assert_eq!(grants(&[granted(5, Some(500))], &now(Some(500))), [(5, None, Some(500))]);
        // Prolonged while it was good, and given again after it had expired.
        assert_eq!(
            grants(&[granted(5, Some(10)), granted(8, Some(20)), revoked(15)], &[]),
            [(5, Some(15), Some(20))]
        );
        let again = [granted(5, Some(10)), granted(20, None)];
        assert_eq!(grants(&again, &now(None)), [(5, Some(10), Some(10)), (20, None, None)]);
    }

    #[test]
    fn a_grant_that_the_log_does_not_know_or_whose_order_failed_is_as_the_registry_has_it() {
        let now = [GrantedRead::new("ada", Timestamp(5), None, Who::Node)];
        assert_eq!(grants(&[], &now), [(5, None, None)]);
        assert_eq!(grants(&[granted(5, None), revoked(8)], &now), [(5, None, None)]);
        assert_eq!(grants(&[granted(5, None)], &[]), [(5, Some(99), None)]);
    }

    #[test]
    fn a_principal_reads_by_its_grant_and_the_grant_ends_with_the_stream() {
        let attached = Action::ReaderAttached { stream: "two".parse().unwrap(), purposes: vec![2] };
        let reader = Who::Principal { id: "ada".into() };
        let deleted = Action::StreamDeleted { stream: "two".parse().unwrap() };
        let log = [
            created(1, "two", &[2], false),
            granted(2, None),
            entry(3, reader, attached),
            entry(9, Who::operator(), deleted),
        ];
        let found = after(&log, &[]);
        let [grant] = &found[0].grants[..] else { panic!("{found:?}") };
        assert_eq!((grant.until, grant.first_attached), (Some(Timestamp(9)), Some(Timestamp(3))));
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
        let revoked =
            Action::CredentialRevoked { stream: stream.clone(), client: "second".into(), ends: None };
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
