//! Orders about who may read the events of a stream. Called by `actors::registry`, one at a time.

use std::sync::Arc;

use super::{
    Inventory, KnownGrant, RegistryHandle,
    audited::{change, read_revoked},
    inventory_store::READ_GRANT,
    principal_orders::{PrincipalOrder, PrincipalOrderError, known},
    registry::{ControlError, RegistryState},
    workshop::document,
};
use crate::{
    audit::Action,
    domain::{PrincipalId, ProjectName, ReadGrant, StreamName, Who, principal::PrincipalError},
};

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
    let change = change(READ_GRANT, &grant_name(&grant), version, Some(document(&grant)));
    let action = Action::ReadGranted {
        stream: stream.clone(),
        purposes: inventory.stream(&stream).map(|known| known.purposes()).unwrap_or_default(),
        principal: principal.to_string(),
        expires: grant.expires,
    };
    let project = project_of(&inventory, &stream);
    state.args.workshop.apply(by, project.as_ref(), action, vec![change]).await?;
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
    let change = change(READ_GRANT, &grant_name(&known.grant), known.version, None);
    let action = read_revoked(&known.grant, None);
    let project = project_of(&inventory, stream);
    state.args.workshop.apply(by, project.as_ref(), action, vec![change]).await?;
    state.reload().await?;
    Ok(())
}

/// Where a stream belongs.
pub(super) fn project_of(inventory: &Inventory, stream: &StreamName) -> Option<ProjectName> {
    inventory.stream(stream).map(|known| known.definition.project.clone())
}

/// The name of its document.
pub(super) fn grant_name(grant: &ReadGrant) -> String {
    format!("{}/{}", grant.stream, grant.principal)
}
