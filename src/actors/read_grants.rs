//! Orders about who may read the events of a stream. Called by `actors::registry`, one at a time.

use std::sync::Arc;

use super::{
    KnownGrant, RegistryHandle,
    audited::{change as change_of, changed},
    inventory_store::READ_GRANT,
    principal_orders::{PrincipalOrder, PrincipalOrderError, known},
    registry::{ControlError, RegistryState},
    workshop::document,
};
use crate::domain::{PrincipalId, ReadGrant, StreamName, Who, principal::PrincipalError};

impl RegistryHandle {
    /// Lets a principal read the events of a stream; a grant there is gets the new expiry.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn grant_read(&self, by: Who, grant: ReadGrant) -> Result<Arc<KnownGrant>, ControlError> {
        self.ask_principal(|reply| PrincipalOrder::GrantRead { by, grant, reply }).await
    }

    /// Ends a grant and the readers that read by it.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn revoke_read(
        &self,
        by: Who,
        stream: StreamName,
        principal: PrincipalId,
    ) -> Result<(), ControlError> {
        self.ask_principal(|reply| PrincipalOrder::RevokeRead { by, stream, principal, reply }).await
    }
}

pub(super) async fn grant(
    state: &RegistryState,
    by: &Who,
    grant: ReadGrant,
) -> Result<Arc<KnownGrant>, ControlError> {
    let inventory = state.args.inventory.load_full();
    let (stream, principal) = (grant.stream.clone(), grant.principal.clone());
    if inventory.stream(&stream).is_none() {
        return Err(ControlError::StreamUnknown);
    }
    if principal != PrincipalId::operator() {
        known(&inventory, &principal)?;
    }
    let now = state.args.workshop.clock.now();
    if !grant.is_good(now) {
        return Err(PrincipalError::Past.into());
    }
    let version = inventory.read_grant(&stream, &principal).map_or(0, |known| known.version);
    let grant = ReadGrant { created: now, ..grant };
    let change = change_of(READ_GRANT, &name(&grant), version, Some(document(&grant)));
    let action = changed("read_grant", &name(&grant), "granted", None);
    let project = inventory.stream(&stream).map(|known| &known.definition.project);
    state.args.workshop.apply(by, project, action, vec![change]).await?;
    state.reload().await?;
    let inventory = state.args.inventory.load();
    inventory.read_grant(&stream, &principal).cloned().ok_or(PrincipalOrderError::GrantUnknown.into())
}

pub(super) async fn revoke(
    state: &RegistryState,
    by: &Who,
    stream: &StreamName,
    principal: &PrincipalId,
) -> Result<(), ControlError> {
    let inventory = state.args.inventory.load_full();
    let known = inventory.read_grant(stream, principal).ok_or(PrincipalOrderError::GrantUnknown)?;
    let change = change_of(READ_GRANT, &name(&known.grant), known.version, None);
    let action = changed("read_grant", &name(&known.grant), "revoked", None);
    let project = inventory.stream(stream).map(|known| &known.definition.project);
    state.args.workshop.apply(by, project, action, vec![change]).await?;
    state.reload().await?;
    Ok(())
}

/// What a grant is kept under.
pub(super) fn name(grant: &ReadGrant) -> String {
    format!("{}/{}", grant.stream, grant.principal)
}
