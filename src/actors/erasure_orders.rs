//! The erasure ledger: orders that file what is forgotten, each with its entry in the audit log before it.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    ControlError, Inventory, RegistryHandle,
    audited::change,
    inventory_store::ERASED,
    workshop::{RegistryWorkshop, document},
};
use crate::{
    audit::Action,
    clock::Timestamp,
    domain::{
        Erased, ErasedPlace, Erasure, Fingerprint, Mark, SubjectHolding, Who,
        erasure::{GRADE, pseudonym},
    },
};

/// A subject of the ledger and the version of its document.
pub struct KnownErased {
    pub erased: Erased,
    pub version: u64,
}

impl RegistryHandle {
    /// Files the intent to forget a subject.
    pub(super) async fn order_erasure(
        &self,
        by: Who,
        subject: Fingerprint,
        held: SubjectHolding,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        self.order(move |workshop, inventory| async move {
            let (mut erased, version) = filed(&inventory, subject);
            let id = Uuid::new_v4();
            let action = Action::ErasureOrdered { erasure: id.to_string(), subject: pseudonym(subject) };
            let file = async |tools: super::workshop::Tools, entries: Vec<u64>| {
                let ordered_entry = entries.first().copied().ok_or(ControlError::Unavailable)?;
                erased.erasures.push(Erasure {
                    id,
                    held,
                    ordered: now,
                    ordered_entry,
                    completed: None,
                    places: Vec::new(),
                    settled: None,
                });
                let filed = change(ERASED, &pseudonym(subject), version, Some(document(&erased)));
                Ok(tools.store().apply(vec![filed]).await.map(drop)?)
            };
            workshop.announced_as(&by, vec![(None, action)], file).await
        })
        .await
    }

    /// Files that the keys of the subject's newest erasure are destroyed, and where their bytes still lie.
    pub(super) async fn complete_erasure(
        &self,
        subject: Fingerprint,
        held: SubjectHolding,
        places: Vec<ErasedPlace>,
        now: Timestamp,
    ) -> Result<Erasure, ControlError> {
        self.order(move |workshop, inventory| async move {
            let (erased, version) = filed(&inventory, subject);
            let at = erased.erasures.len().checked_sub(1).ok_or(ControlError::Unavailable)?;
            let action = Action::ErasureCompleted {
                erasure: erased.erasures[at].id.to_string(),
                keys: held.keys,
                sessions: held.sessions,
                streams: held.streams,
                days: held.days.clone(),
                grade: GRADE,
            };
            marked(&workshop, (erased, version), at, action, move |erasure, entry| {
                erasure.held = held;
                erasure.places = places;
                erasure.completed = Some(Mark { at: now, entry });
            })
            .await
        })
        .await
    }

    /// Files that nothing of an erasure's keys is left on the disk.
    pub(super) async fn settle_erasure(
        &self,
        subject: Fingerprint,
        id: Uuid,
        now: Timestamp,
    ) -> Result<(), ControlError> {
        self.order(move |workshop, inventory| async move {
            let (erased, version) = filed(&inventory, subject);
            let at = erased.erasures.iter().position(|erasure| erasure.id == id);
            let at = at.ok_or(ControlError::Unavailable)?;
            let days = erased.erasures[at].held.days.clone();
            let action = Action::ErasureSettled { erasure: id.to_string(), days, grade: GRADE };
            let settle = move |erasure: &mut Erasure, entry| erasure.settled = Some(Mark { at: now, entry });
            marked(&workshop, (erased, version), at, action, settle).await.map(drop)
        })
        .await
    }
}

fn filed(inventory: &Inventory, subject: Fingerprint) -> (Erased, u64) {
    match inventory.erased(subject) {
        Some(known) => (known.erased.clone(), known.version),
        None => (Erased { subject, erasures: Vec::new() }, 0),
    }
}

/// Changes one erasure of the ledger under an entry of the node.
async fn marked(
    workshop: &RegistryWorkshop,
    (mut erased, version): (Erased, u64),
    at: usize,
    action: Action,
    mark: impl FnOnce(&mut Erasure, u64),
) -> Result<Erasure, ControlError> {
    let file = async |tools: super::workshop::Tools, entries: Vec<u64>| {
        let entry = entries.first().copied().ok_or(ControlError::Unavailable)?;
        mark(&mut erased.erasures[at], entry);
        let filed = change(ERASED, &pseudonym(erased.subject), version, Some(document(&erased)));
        tools.store().apply(vec![filed]).await?;
        Ok(erased.erasures[at].clone())
    };
    workshop.announced_as(&Who::Node, vec![(None, action)], file).await
}

impl Inventory {
    /// The ledger's page on a subject.
    #[must_use]
    pub fn erased(&self, subject: Fingerprint) -> Option<&Arc<KnownErased>> {
        self.erased.get(&subject)
    }

    /// The whole ledger, in no order.
    pub fn ledger(&self) -> impl Iterator<Item = &Erased> {
        self.erased.values().map(|known| &known.erased)
    }
}
