//! Orders about policies.

use std::{collections::HashMap, sync::Arc};

use uuid::Uuid;

use super::{
    Inventory, RegistryHandle,
    audited::{change, changed},
    contract_orders::{Expected, demand_version},
    inventory_store,
    order_error::OrderError,
    registry::ControlError,
    workshop::document,
};
use crate::domain::{AfterErasure, Policy, PolicyId, PolicyState, Who};

/// A policy and the version of its registry document.
#[derive(Clone, Debug)]
pub struct KnownPolicy {
    pub policy: Arc<Policy>,
    pub version: u64,
}

/// A policy somebody wants.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    pub name: String,
    pub description: String,
    pub retention_days: u32,
    pub legal_ground: String,
    pub after_erasure: AfterErasure,
}

impl RegistryHandle {
    /// Makes a policy in state DRAFT.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn create_policy(&self, by: Who, new: NewPolicy) -> Result<KnownPolicy, ControlError> {
        let made = self
            .order(move |workshop, inventory| async move {
                let policy = Policy {
                    id: PolicyId(Uuid::new_v4()),
                    name: new.name,
                    description: new.description,
                    retention_days: new.retention_days,
                    legal_ground: new.legal_ground,
                    after_erasure: new.after_erasure,
                    state: PolicyState::Draft,
                };
                policy.validate().map_err(OrderError::from)?;
                // An id and a name share one place in the API, so a name that is an id would hide one.
                if inventory.policy(&policy.name).is_some() || policy.name.parse::<Uuid>().is_ok() {
                    return Err(OrderError::PolicyExists.into());
                }
                // The name is the document's: two nodes cannot both make it.
                let change = change(inventory_store::POLICY, &policy.name, 0, Some(document(&policy)));
                let detail = format!("keys live {} days", policy.retention_days);
                let action = changed("policy", &policy.name, "created", Some(detail));
                workshop.apply(&by, None, action, vec![change]).await?;
                Ok(policy.id)
            })
            .await?;
        self.known_policy(made)
    }

    /// Takes a policy to state `to`.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn step_policy(
        &self,
        by: Who,
        named: String,
        to: PolicyState,
        expected: Expected,
    ) -> Result<KnownPolicy, ControlError> {
        let made = self
            .order(move |workshop, inventory| async move {
                let known = inventory.policy(&named).ok_or(OrderError::PolicyUnknown)?;
                demand_version(expected, known.version)?;
                let mut policy = Policy::clone(&known.policy);
                if !policy.state.may_become(to) {
                    return Err(OrderError::PolicyState(policy.state.as_str()).into());
                }
                if to == PolicyState::Archived {
                    refuse_used(&inventory, policy.id)?;
                }
                policy.state = to;
                let body = Some(document(&policy));
                let change = change(inventory_store::POLICY, &policy.name, known.version, body);
                let action = changed("policy", &policy.name, "stepped", Some(to.as_str().to_owned()));
                workshop.apply(&by, None, action, vec![change]).await?;
                Ok(policy.id)
            })
            .await?;
        self.known_policy(made)
    }

    fn known_policy(&self, id: PolicyId) -> Result<KnownPolicy, ControlError> {
        self.inventory().policies.get(&id).cloned().ok_or(OrderError::PolicyUnknown.into())
    }

    /// Deletes a policy that is not ACTIVE. Keys made under it keep their term.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn delete_policy(
        &self,
        by: Who,
        named: String,
        expected: Expected,
    ) -> Result<(), ControlError> {
        self.order(move |workshop, inventory| async move {
            let known = inventory.policy(&named).ok_or(OrderError::PolicyUnknown)?;
            demand_version(expected, known.version)?;
            if known.policy.state == PolicyState::Active {
                return Err(OrderError::PolicyState(known.policy.state.as_str()).into());
            }
            refuse_used(&inventory, known.policy.id)?;
            let name = &known.policy.name;
            let change = change(inventory_store::POLICY, name, known.version, None);
            workshop.apply(&by, None, changed("policy", name, "deleted", None), vec![change]).await?;
            Ok(())
        })
        .await
    }
}

impl Inventory {
    /// All policies, in no order.
    #[must_use]
    pub fn policies(&self) -> &HashMap<PolicyId, KnownPolicy> {
        &self.policies
    }

    /// The policy with this id or name.
    #[must_use]
    pub fn policy(&self, named: &str) -> Option<&KnownPolicy> {
        match named.parse() {
            Ok(id) => self.policies.get(&PolicyId(id)),
            Err(_) => self.policies.values().find(|known| known.policy.name == named),
        }
    }
}

/// The id of a policy that a stream may have.
pub(super) fn usable(inventory: &Inventory, named: &str) -> Result<PolicyId, OrderError> {
    let policy = &inventory.policy(named).ok_or(OrderError::PolicyUnknown)?.policy;
    match policy.state {
        PolicyState::Active => Ok(policy.id),
        other => Err(OrderError::PolicyNotActive(other.as_str())),
    }
}

fn refuse_used(inventory: &Inventory, id: PolicyId) -> Result<(), OrderError> {
    let used = inventory.streams().filter(|known| known.definition.policy == Some(id));
    let mut names: Vec<_> = used.map(|known| known.definition.name.as_str()).collect();
    names.sort_unstable();
    if names.is_empty() { Ok(()) } else { Err(OrderError::PolicyInUse(names.join(", "))) }
}
