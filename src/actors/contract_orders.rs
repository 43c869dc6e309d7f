//! Changes of contracts as the registry actor carries them out: create, replace a draft, step, delete.
//!
//! Each order is checked against the snapshot and written with compare-and-set on the version it was
//! checked against, so that of two orders at once on two nodes one is refused.

use std::sync::Arc;

use super::{
    ControlError, Inventory, KnownContract, RegistryHandle,
    audited::{changed, stepped},
    inventory_store, project_orders,
    registry::RegistryMsg,
    workshop::{RegistryWorkshop, document},
};
use crate::{
    audit::Action,
    domain::{
        Contract, ContractRef, ContractRights, ContractState, ContractStep, ProjectName, Schema, StepTaken,
        StreamName, Who, may_step, remember,
    },
    event::{EventPlan, SchemaPlan},
    storage::Change,
};

/// A contract to be created, with its schema unless it uses a known one.
#[derive(Clone)]
pub struct NewContract {
    pub contract: Contract,
    pub schema: Option<Schema>,
}

/// The versions a change may start from; none: any. Source: `If-Match`.
pub type Expected = Option<Vec<u64>>;

/// Refuses a change of another version than was expected.
pub(super) fn demand_version(expected: Expected, version: u64) -> Result<(), ControlError> {
    match expected {
        Some(versions) if !versions.contains(&version) => Err(ControlError::PreconditionFailed),
        _ => Ok(()),
    }
}

/// What is to be done with one contract.
pub(super) enum ContractOrder {
    Create(NewContract),
    Replace(NewContract, Expected),
    Step(ContractRef, ContractStep, Expected),
    Delete(ContractRef, Expected),
}

impl ContractOrder {
    fn reference(&self) -> &ContractRef {
        match self {
            ContractOrder::Create(new) | ContractOrder::Replace(new, _) => &new.contract.reference,
            ContractOrder::Step(reference, ..) | ContractOrder::Delete(reference, _) => reference,
        }
    }

    /// Where the contract belongs; to the default project when there is none.
    fn project(&self, inventory: &Inventory) -> ProjectName {
        match self {
            ContractOrder::Create(new) | ContractOrder::Replace(new, _) => new.contract.project.clone(),
            ContractOrder::Step(reference, ..) | ContractOrder::Delete(reference, _) => {
                let known = inventory.contract(reference.as_str());
                known.map(|known| known.contract.project.clone()).unwrap_or_default()
            }
        }
    }
}

impl RegistryHandle {
    /// Makes a contract in state DRAFT.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn create_contract(
        &self,
        by: Who,
        new: NewContract,
    ) -> Result<Arc<KnownContract>, ControlError> {
        self.order_contract(by, ContractRights::ALL, ContractOrder::Create(new))
            .await?
            .ok_or(ControlError::Conflict)
    }

    /// Puts another text in the place of a DRAFT.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn replace_contract(
        &self,
        by: Who,
        rights: ContractRights,
        new: NewContract,
        expected: Expected,
    ) -> Result<Arc<KnownContract>, ControlError> {
        let order = ContractOrder::Replace(new, expected);
        self.order_contract(by, rights, order).await?.ok_or(ControlError::Conflict)
    }

    /// Takes a contract one step further.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn step_contract(
        &self,
        by: Who,
        rights: ContractRights,
        reference: ContractRef,
        step: ContractStep,
        expected: Expected,
    ) -> Result<Arc<KnownContract>, ControlError> {
        let order = ContractOrder::Step(reference, step, expected);
        self.order_contract(by, rights, order).await?.ok_or(ControlError::Conflict)
    }

    /// Deletes a contract that was never ACTIVE.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn delete_contract(
        &self,
        by: Who,
        rights: ContractRights,
        reference: ContractRef,
        expected: Expected,
    ) -> Result<(), ControlError> {
        self.order_contract(by, rights, ContractOrder::Delete(reference, expected)).await.map(drop)
    }

    async fn order_contract(
        &self,
        by: Who,
        rights: ContractRights,
        order: ContractOrder,
    ) -> Result<Option<Arc<KnownContract>>, ControlError> {
        self.ask(|reply| RegistryMsg::Contract { by, rights, order: Box::new(order), reply }).await
    }
}

/// Carries out `order`. Durable when this returns; the snapshot is not renewed yet.
pub(super) async fn carry_out(
    workshop: &RegistryWorkshop,
    inventory: &Inventory,
    by: &Who,
    rights: ContractRights,
    order: ContractOrder,
) -> Result<ContractRef, ControlError> {
    let reference = order.reference().clone();
    let project = order.project(inventory);
    let (step, action, changes) = match order {
        ContractOrder::Create(new) => {
            if inventory.contract(reference.as_str()).is_some() {
                return Err(ControlError::ContractExists);
            }
            project_orders::demand_open(inventory, &new.contract.project)?;
            let taken = taken(workshop, by, ContractStep::Create);
            let changes = write(inventory, new, vec![taken], 0)?;
            (ContractStep::Create, Action::ContractCreated { contract: reference.clone() }, changes)
        }
        ContractOrder::Replace(new, expected) => {
            let known = changeable(inventory, &reference, expected.as_deref())?;
            allow(rights, by, ContractStep::Edit, &known)?;
            if !known.contract.state.is_editable() {
                return Err(ControlError::NotEditable);
            }
            let mut history = known.contract.history.clone();
            remember(&mut history, taken(workshop, by, ContractStep::Edit));
            let changes = write(inventory, new, history, known.version)?;
            (ContractStep::Edit, changed("contract", reference.as_str(), "edited", None), changes)
        }
        ContractOrder::Step(_, step, expected) => {
            let known = changeable(inventory, &reference, expected.as_deref())?;
            allow(rights, by, step, &known)?;
            let mut contract = Contract::clone(&known.contract);
            contract.state = contract.state.step(step.leads_to().unwrap_or(ContractState::Draft))?;
            remember(&mut contract.history, taken(workshop, by, step));
            let action = stepped(&reference, known.contract.state, contract.state);
            (step, action, vec![put(&contract, known.version)])
        }
        ContractOrder::Delete(_, expected) => {
            let known = changeable(inventory, &reference, expected.as_deref())?;
            allow(rights, by, ContractStep::Delete, &known)?;
            if !known.contract.state.was_never_active() {
                return Err(ControlError::ContractInUse);
            }
            let masking: Vec<_> = inventory.masking_by(&reference).map(StreamName::as_str).collect();
            if !masking.is_empty() {
                return Err(ControlError::ContractMasks(masking.join(", ")));
            }
            let change = Change { body: None, ..put(&known.contract, known.version) };
            (ContractStep::Delete, Action::ContractDeleted { contract: reference.clone() }, vec![change])
        }
    };
    workshop.apply(by, Some(&project), action, changes).await?;
    tracing::info!(?by, contract = %reference, step = step.as_str(), "contract changed");
    Ok(reference)
}

/// The contract as it may be changed from.
fn changeable(
    inventory: &Inventory,
    reference: &ContractRef,
    expected: Option<&[u64]>,
) -> Result<Arc<KnownContract>, ControlError> {
    let known = inventory.contract(reference.as_str()).cloned().ok_or(ControlError::ContractUnknown)?;
    if expected.is_some_and(|versions| !versions.contains(&known.version)) {
        return Err(ControlError::PreconditionFailed);
    }
    if known.version == 0 { Err(ControlError::BuiltIn) } else { Ok(known) }
}

fn allow(
    rights: ContractRights,
    by: &Who,
    step: ContractStep,
    known: &KnownContract,
) -> Result<(), ControlError> {
    let contract = &known.contract;
    match may_step(rights, contract.is_by(by), step, contract.state) {
        true => Ok(()),
        false => Err(ControlError::StepForbidden),
    }
}

fn taken(workshop: &RegistryWorkshop, by: &Who, step: ContractStep) -> StepTaken {
    StepTaken { who: by.clone(), step, at: workshop.clock.now() }
}

/// The changes that write a checked draft, and its schema when that is new.
fn write(
    inventory: &Inventory,
    new: NewContract,
    history: Vec<StepTaken>,
    version: u64,
) -> Result<Vec<Change>, ControlError> {
    let NewContract { mut contract, schema } = new;
    contract.state = ContractState::Draft;
    let plan = fitting_schema(inventory, &contract, schema.as_ref())?;
    EventPlan::compile(plan, Arc::new(contract.clone()), &[])?;
    contract.history = history;
    let mut changes = vec![put(&contract, version)];
    if let Some(schema) = schema.filter(|schema| inventory.schema(schema.reference.as_str()).is_none()) {
        changes.push(Change {
            kind: inventory_store::SCHEMA.to_owned(),
            name: schema.reference.as_str().to_owned(),
            expected_version: 0,
            body: Some(document(&schema)),
        });
    }
    Ok(changes)
}

/// The compiled schema of `contract`: a known one, or `schema` where no other has its name.
///
/// # Errors
///
/// There is none, another one has its name, or it does not compile.
pub fn fitting_schema(
    inventory: &Inventory,
    contract: &Contract,
    schema: Option<&Schema>,
) -> Result<Arc<SchemaPlan>, ControlError> {
    match (inventory.schema(contract.schema_ref.as_str()), schema) {
        (Some(known), Some(schema)) if known.schema.definition != schema.definition => {
            Err(ControlError::SchemaExists)
        }
        (Some(known), _) => Ok(Arc::clone(&known.plan)),
        (None, Some(schema)) => Ok(Arc::new(SchemaPlan::compile(schema)?)),
        (None, None) => Err(ControlError::SchemaUnknown),
    }
}

fn put(contract: &Contract, version: u64) -> Change {
    Change {
        kind: inventory_store::CONTRACT.to_owned(),
        name: contract.reference.as_str().to_owned(),
        expected_version: version,
        body: Some(document(contract)),
    }
}
