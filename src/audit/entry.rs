//! One entry of the audit log. Its JSON bytes are a leaf of the tree, so their order never changes.
//!
//! ```text
//! {"index":7,"at":1700000000000,"who":{"kind":"principal","id":"admin"},
//!  "action":{"type":"stream_deleted","stream":"clicks"},"project":"web"}
//! ```
//! Ids, names and purposes only: no value of an event, no secret, no text that a stranger chose.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    domain::{ContractRef, FieldPath, StreamName, Who},
};

/// One entry. `index` counts from 0 without gaps; `at` never goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct Entry {
    pub index: u64,
    /// Milliseconds since 1970-01-01.
    pub at: Timestamp,
    pub who: Who,
    pub action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// What was done. Typed where the question is who uses which personal data for what purpose; `changed` for
/// the rest. Variants are only ever added: what is written stays readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Action {
    /// A stream and its first credential.
    StreamCreated {
        stream: StreamName,
        /// None: a source stream.
        source: Option<StreamName>,
        purposes: Vec<i32>,
        cumulative: bool,
        masked: BTreeMap<ContractRef, Vec<FieldPath>>,
        client: String,
    },
    StreamChanged {
        stream: StreamName,
        /// Words of ours and names: `disabled`, `retention 30 days`.
        change: String,
    },
    StreamDeleted {
        stream: StreamName,
    },
    CredentialIssued {
        stream: StreamName,
        purposes: Vec<i32>,
        client: String,
    },
    CredentialRevoked {
        stream: StreamName,
        client: String,
        /// When it ends; none: at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ends: Option<Timestamp>,
    },
    ContractCreated {
        contract: ContractRef,
    },
    ContractStepped {
        contract: ContractRef,
        from: String,
        to: String,
    },
    ContractDeleted {
        contract: ContractRef,
    },
    /// Principals, roles, API tokens, projects, policies, purposes, and what else is kept by name.
    Changed {
        kind: String,
        name: String,
        change: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The client of a stream got tokens. More grants within an hour are counted, not written again.
    TokenGranted {
        stream: StreamName,
        purposes: Vec<i32>,
        /// Grants to this client since the entry before that have none of their own.
        repeated: u64,
    },
    /// Wrong secrets or tokens within a minute. `client` and `principal` only if there is one of that name.
    LoginFailed {
        client: Option<String>,
        stream: Option<StreamName>,
        count: u64,
        /// What was shown; none: the secret of a stream's client.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<LoginMeans>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<String>,
    },
    /// Within a minute a principal was refused what its roles do not allow.
    AccessDenied {
        /// The permission it lacks; or `own_role`, `contract_step`, `read_events`.
        to: String,
        count: u64,
    },
    /// A principal may read a stream; said again, its expiry is another one.
    ReadGranted {
        stream: StreamName,
        purposes: Vec<i32>,
        principal: String,
        /// None: until it is revoked.
        expires: Option<Timestamp>,
    },
    ReadRevoked {
        stream: StreamName,
        principal: String,
        /// What went, and took the grant along; none: the grant itself was revoked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<GrantEnd>,
    },
    /// Retention is carried out: older events go from now on.
    EventsTrimmed {
        stream: StreamName,
        retention_days: u32,
        /// Events that went under the entry before that has none of its own.
        trimmed: u64,
    },
    /// Single keys are destroyed by the clock.
    KeysDestroyed {
        because: KeyEnd,
        /// How many of which stream.
        keys: BTreeMap<StreamName, u64>,
    },
    /// A day's keys are moved under a new epoch key; those of sessions that never consented, and those whose
    /// term ended, are destroyed with the old one.
    EpochClosed {
        day: u32,
        carried: u64,
    },
    /// Everything of a day is destroyed: its epoch key, or the secret of its events without consent.
    EpochDestroyed {
        day: u32,
        secret: DaySecret,
    },
    ReaderAttached {
        stream: StreamName,
        purposes: Vec<i32>,
    },
    /// The last connection of the client ended, a minute ago.
    ReaderDetached {
        stream: StreamName,
        connections: u64,
    },
    KeyExported {
        stream: StreamName,
        purposes: Vec<i32>,
    },
    /// `subject` is a pseudonym.
    ErasureOrdered {
        erasure: String,
        subject: String,
    },
    /// No key of the subject opens from now on.
    ErasureCompleted {
        erasure: String,
        keys: u64,
        sessions: u64,
        streams: u64,
        days: Vec<u32>,
        /// See `domain::erasure::GRADE`.
        grade: u8,
    },
    /// None of its keys can be rebuilt from the disk from now on.
    ErasureSettled {
        erasure: String,
        days: Vec<u32>,
        grade: u8,
    },
    /// Somebody looked at which keys hold data of a subject, by its pseudonym.
    SubjectViewed {
        subject: String,
    },
    /// Recent events were opened in memory to see what a contract would refuse.
    TrafficChecked {
        stream: StreamName,
        contract: ContractRef,
    },
    /// Somebody outside keeps the checkpoint of this size.
    CheckpointWitnessed {
        witness: String,
        size: u64,
    },
    /// What entry `entry` announced failed afterwards.
    NotDone {
        entry: u64,
    },
}

/// What somebody showed who was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginMeans {
    ApiToken,
    IssuerToken,
}

/// What a read grant went with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    StreamDeleted,
    PrincipalDeleted,
}

/// Why single keys ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEnd {
    PolicyEnded,
    StreamDeleted,
}

/// Which secret of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaySecret {
    Sessions,
    NoConsent,
}

impl Entry {
    /// The leaf: compact JSON with the fields in the order of their declaration.
    ///
    /// # Panics
    ///
    /// Never: every key is a string.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has string keys")
    }
}

impl Action {
    /// The value of `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Action::StreamCreated { .. } => "stream_created",
            Action::StreamChanged { .. } => "stream_changed",
            Action::StreamDeleted { .. } => "stream_deleted",
            Action::CredentialIssued { .. } => "credential_issued",
            Action::CredentialRevoked { .. } => "credential_revoked",
            Action::ContractCreated { .. } => "contract_created",
            Action::ContractStepped { .. } => "contract_stepped",
            Action::ContractDeleted { .. } => "contract_deleted",
            Action::Changed { .. } => "changed",
            Action::TokenGranted { .. } => "token_granted",
            Action::LoginFailed { .. } => "login_failed",
            Action::AccessDenied { .. } => "access_denied",
            Action::ReadGranted { .. } => "read_granted",
            Action::ReadRevoked { .. } => "read_revoked",
            Action::EventsTrimmed { .. } => "events_trimmed",
            Action::KeysDestroyed { .. } => "keys_destroyed",
            Action::EpochClosed { .. } => "epoch_closed",
            Action::EpochDestroyed { .. } => "epoch_destroyed",
            Action::ReaderAttached { .. } => "reader_attached",
            Action::ReaderDetached { .. } => "reader_detached",
            Action::KeyExported { .. } => "key_exported",
            Action::ErasureOrdered { .. } => "erasure_ordered",
            Action::ErasureCompleted { .. } => "erasure_completed",
            Action::ErasureSettled { .. } => "erasure_settled",
            Action::SubjectViewed { .. } => "subject_viewed",
            Action::TrafficChecked { .. } => "traffic_checked",
            Action::CheckpointWitnessed { .. } => "checkpoint_witnessed",
            Action::NotDone { .. } => "not_done",
        }
    }

    /// The stream it is about.
    #[must_use]
    pub fn stream(&self) -> Option<Cow<'_, str>> {
        match self {
            Action::StreamCreated { stream, .. }
            | Action::StreamChanged { stream, .. }
            | Action::StreamDeleted { stream }
            | Action::CredentialIssued { stream, .. }
            | Action::CredentialRevoked { stream, .. }
            | Action::TokenGranted { stream, .. }
            | Action::ReaderAttached { stream, .. }
            | Action::ReaderDetached { stream, .. }
            | Action::KeyExported { stream, .. }
            | Action::ReadGranted { stream, .. }
            | Action::ReadRevoked { stream, .. }
            | Action::EventsTrimmed { stream, .. }
            | Action::TrafficChecked { stream, .. } => Some(stream.as_str().into()),
            Action::LoginFailed { stream, .. } => stream.as_ref().map(|stream| stream.as_str().into()),
            Action::Changed { kind, name, .. } if kind == "stream" => Some(name.as_str().into()),
            _ => None,
        }
    }

    /// Whether it is about this stream, or about one that derives from it.
    #[must_use]
    pub fn concerns(&self, stream: &str) -> bool {
        let among = |keys: &BTreeMap<StreamName, u64>| keys.keys().any(|name| name.as_str() == stream);
        self.stream().as_deref() == Some(stream)
            || self.source().is_some_and(|source| source.as_str() == stream)
            || matches!(self, Action::KeysDestroyed { keys, .. } if among(keys))
    }

    /// The stream it derives from.
    #[must_use]
    pub fn source(&self) -> Option<&StreamName> {
        match self {
            Action::StreamCreated { source, .. } => source.as_ref(),
            _ => None,
        }
    }

    /// The purposes it is for.
    #[must_use]
    pub fn purposes(&self) -> &[i32] {
        match self {
            Action::StreamCreated { purposes, .. }
            | Action::CredentialIssued { purposes, .. }
            | Action::TokenGranted { purposes, .. }
            | Action::ReaderAttached { purposes, .. }
            | Action::ReadGranted { purposes, .. }
            | Action::KeyExported { purposes, .. } => purposes,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_entry_are_fixed_and_read_back_as_it_was() {
        let entry = Entry {
            index: 7,
            at: Timestamp(1_700_000_000_000),
            who: Who::operator(),
            action: Action::StreamCreated {
                stream: "clicks-1".parse().unwrap(),
                source: Some("clicks".parse().unwrap()),
                purposes: vec![1],
                cumulative: false,
                masked: BTreeMap::from([(
                    "acme/click/1.0.0".parse().unwrap(),
                    vec!["user/mail".parse().unwrap()],
                )]),
                client: "stream-1".to_owned(),
            },
            project: Some("web".to_owned()),
        };
        let text = r#"{"index":7,"at":1700000000000,"who":{"kind":"principal","id":"admin"},"action":{"type":"stream_created","stream":"clicks-1","source":"clicks","purposes":[1],"cumulative":false,"masked":{"acme/click/1.0.0":["user/mail"]},"client":"stream-1"},"project":"web"}"#;
        assert_eq!(String::from_utf8(entry.encode()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Entry>(text).unwrap(), entry);
        let none = Entry { action: Action::NotDone { entry: 6 }, project: None, ..entry };
        let read: Entry = serde_json::from_slice(&none.encode()).unwrap();
        assert_eq!(read, none);
        assert_eq!(serde_json::to_value(&none.action).unwrap()["type"], none.action.name());
    }
}
