//! The words in which orders are written down; `workshop` has the door that they go through.

use bytes::Bytes;

use super::{AuditError, registry::ControlError};
use crate::{
    audit::{Action, GrantEnd},
    domain::{ContractRef, ContractState, ReadGrant},
    storage::Change,
};

/// A change of one document; without a body it goes.
pub(super) fn change(kind: &str, name: &str, expected_version: u64, body: Option<Bytes>) -> Change {
    Change { kind: kind.to_owned(), name: name.to_owned(), expected_version, body }
}

/// What the audit log says about what is kept by name. `detail` holds ids and words of ours only.
pub(super) fn changed(kind: &str, name: &str, change: &str, detail: Option<String>) -> Action {
    let [kind, name, change] = [kind, name, change].map(str::to_owned);
    Action::Changed { kind, name, change, detail }
}

/// What the audit log says about a contract that changes state.
pub(super) fn stepped(contract: &ContractRef, from: ContractState, to: ContractState) -> Action {
    let [from, to] = [from, to].map(|state| state.as_str().to_owned());
    Action::ContractStepped { contract: contract.clone(), from, to }
}

/// What the audit log says about a read grant that ends.
pub(super) fn read_revoked(grant: &ReadGrant, because: Option<GrantEnd>) -> Action {
    let (stream, principal) = (grant.stream.clone(), grant.principal.to_string());
    Action::ReadRevoked { stream, principal, because }
}

impl From<AuditError> for ControlError {
    fn from(_: AuditError) -> ControlError {
        ControlError::Unavailable
    }
}
