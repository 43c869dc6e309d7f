//! How the registry changes something: the entry first, then the change, and an entry more if that failed.

use bytes::Bytes;

use super::{AuditError, registry::ControlError, workshop::RegistryWorkshop};
use crate::{
    audit::Action,
    domain::{ContractRef, ContractState, ProjectName, Who},
    storage::Change,
};

impl RegistryWorkshop {
    /// Makes a change that was checked, once its entry is durable.
    pub(super) async fn audited<T>(
        &self,
        by: &Who,
        project: Option<&ProjectName>,
        action: Action,
        change: impl Future<Output = Result<T, ControlError>>,
    ) -> Result<T, ControlError> {
        let project = project.map(ToString::to_string);
        let entry = self.auditor.record_in(project, by.clone(), action).await?;
        let changed = change.await;
        if changed.is_err() {
            self.auditor.not_done(entry).await;
        }
        changed
    }

    /// Makes a change that has an entry of its own, once the entries of what goes with it are durable.
    pub(super) async fn audited_with<T>(
        &self,
        by: &Who,
        project: &ProjectName,
        actions: Vec<Action>,
        change: impl Future<Output = Result<T, ControlError>>,
    ) -> Result<T, ControlError> {
        let (mut entries, mut refused) = (Vec::new(), None);
        for action in actions {
            match self.auditor.record_in(Some(project.to_string()), by.clone(), action).await {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let changed = match refused {
            Some(error) => Err(error.into()),
            None => change.await,
        };
        if changed.is_err() {
            for entry in entries {
                self.auditor.not_done(entry).await;
            }
        }
        changed
    }

    /// Changes documents, once the entry is durable.
    pub(super) async fn apply(
        &self,
        by: &Who,
        project: Option<&ProjectName>,
        action: Action,
        changes: Vec<Change>,
    ) -> Result<(), ControlError> {
        self.audited(by, project, action, async { Ok(self.store.apply(changes).await.map(drop)?) }).await
    }
}

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

impl From<AuditError> for ControlError {
    fn from(_: AuditError) -> ControlError {
        ControlError::Unavailable
    }
}
