//! How contracts and streams lie in the Registry store, and how a snapshot is read from it.
//!
//! ```text
//! kind "schema"    name handle/name/version   Schema; never changed, never deleted: stored events need it
//! kind "contract"  name handle/name/version   Contract
//! kind "stream"    name of the stream         StreamDefinition
//! kind "principal" id                         Principal; stays when it is deleted. "admin" is the hash of the
//!                                            operator's token, which server::identity keeps
//! kind "project"   name                       Project; the default one is there without a document
//! kind "read_grant" stream/principal          ReadGrant
//! kind "grave"     name of a deleted source   empty; until the janitor has destroyed its keys
//! kind "purpose"   level                      Purpose
//! kind "policy"    name of the policy         Policy
//! kind "erased"    pseudonym of a subject     Erased: the erasure ledger
//! kind "moved"     day of an epoch            places made by erasures: see settlement
//! ```
//! The built-in catalogue is code, not documents: it has version 0 and cannot be changed.

use std::sync::Arc;

use super::{
    ControlError, Inventory, KnownContract, KnownErased, KnownGrant, KnownPolicy, KnownPrincipal,
    KnownProject, KnownPurpose, KnownStream,
    inventory::{KnownClient, KnownSchema},
};
use crate::{
    clock::Timestamp,
    domain::{
        Contract, Erased, Policy, Principal, PrincipalId, Project, ProjectName, Purpose, ReadGrant, Schema,
        catalogue, stream_definition::StreamDefinition,
    },
    event::{SchemaError, SchemaPlan},
    storage::{Registry, RegistryError},
};

pub(super) const SCHEMA: &str = "schema";
pub(super) const CONTRACT: &str = "contract";
pub(super) const STREAM: &str = "stream";
pub(super) const PRINCIPAL: &str = "principal";
pub(super) const PROJECT: &str = "project";
pub(super) const READ_GRANT: &str = "read_grant";
pub(super) const GRAVE: &str = "grave";
pub(super) const PURPOSE: &str = "purpose";
pub(super) const POLICY: &str = "policy";
pub(super) const ERASED: &str = "erased";
pub(super) const MOVED: &str = "moved";

/// A snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// Retry later.
    #[error("registry cannot be read")]
    Store(#[from] RegistryError),
    /// A person has to look.
    #[error("registry document of kind {kind} is damaged")]
    Damaged { kind: &'static str },
    #[error("a stored schema no longer compiles")]
    Schema(#[from] SchemaError),
}

impl From<LoadError> for ControlError {
    fn from(error: LoadError) -> ControlError {
        tracing::error!(%error, "registry cannot be read");
        ControlError::Unavailable
    }
}

/// Reads all documents. Compiled schemas are taken over from `before` where their text is the same.
pub(super) async fn load(store: &dyn Registry, before: &Inventory) -> Result<Inventory, LoadError> {
    let mut inventory = Inventory::default();
    for schema in catalogue::schemas() {
        add_schema(&mut inventory, before, schema.clone())?;
    }
    for contract in catalogue::contracts() {
        add_contract(&mut inventory, contract.clone(), 0);
    }
    for stored in store.list(SCHEMA).await? {
        let Ok(schema) = serde_json::from_slice::<Schema>(&stored.body) else {
            return Err(LoadError::Damaged { kind: SCHEMA });
        };
        add_schema(&mut inventory, before, schema)?;
    }
    for stored in store.list(CONTRACT).await? {
        let Ok(contract) = serde_json::from_slice::<Contract>(&stored.body) else {
            return Err(LoadError::Damaged { kind: CONTRACT });
        };
        add_contract(&mut inventory, contract, stored.version);
    }
    for stored in store.list(PURPOSE).await? {
        let Ok(purpose) = serde_json::from_slice::<Purpose>(&stored.body) else {
            return Err(LoadError::Damaged { kind: PURPOSE });
        };
        inventory.purposes.insert(purpose.level, KnownPurpose { purpose, version: stored.version });
    }
    for stored in store.list(POLICY).await? {
        let Ok(policy) = serde_json::from_slice::<Policy>(&stored.body) else {
            return Err(LoadError::Damaged { kind: POLICY });
        };
        let known = KnownPolicy { policy: Arc::new(policy), version: stored.version };
        inventory.policies.insert(known.policy.id, known);
    }
    for stored in store.list(STREAM).await? {
        let Ok(definition) = serde_json::from_slice::<StreamDefinition>(&stored.body) else {
            return Err(LoadError::Damaged { kind: STREAM });
        };
        add_stream(&mut inventory, before, definition, stored.version);
    }
    for stored in store.list(ERASED).await? {
        let Ok(erased) = serde_json::from_slice::<Erased>(&stored.body) else {
            return Err(LoadError::Damaged { kind: ERASED });
        };
        let known = KnownErased { erased, version: stored.version };
        inventory.erased.insert(known.erased.subject, Arc::new(known));
    }
    load_people(store, &mut inventory).await?;
    Ok(inventory)
}

/// Principals, projects and grants.
async fn load_people(store: &dyn Registry, inventory: &mut Inventory) -> Result<(), LoadError> {
    for stored in store.list(PRINCIPAL).await? {
        if stored.name == PrincipalId::operator().as_str() {
            continue;
        }
        let Ok(principal) = serde_json::from_slice::<Principal>(&stored.body) else {
            return Err(LoadError::Damaged { kind: PRINCIPAL });
        };
        if principal.deleted.is_none() {
            let known = Arc::new(KnownPrincipal { principal, version: stored.version });
            let tokens =
                known.principal.tokens.iter().map(|token| (token.id.as_str().into(), Arc::clone(&known)));
            inventory.tokens.extend(tokens.collect::<Vec<(Box<str>, _)>>());
            inventory.principals.insert(known.principal.id.clone(), known);
        }
    }
    let always = Project::new(ProjectName::default(), Timestamp(0));
    add_project(inventory, always, 0);
    for stored in store.list(PROJECT).await? {
        let Ok(project) = serde_json::from_slice::<Project>(&stored.body) else {
            return Err(LoadError::Damaged { kind: PROJECT });
        };
        add_project(inventory, project, stored.version);
    }
    for stored in store.list(READ_GRANT).await? {
        let Ok(grant) = serde_json::from_slice::<ReadGrant>(&stored.body) else {
            return Err(LoadError::Damaged { kind: READ_GRANT });
        };
        let of_stream = inventory.grants.entry(grant.stream.clone()).or_default();
        let known = KnownGrant { grant, version: stored.version };
        of_stream.insert(known.grant.principal.clone(), Arc::new(known));
    }
    Ok(())
}

fn add_project(inventory: &mut Inventory, project: Project, version: u64) {
    inventory.projects.insert(project.name.clone(), Arc::new(KnownProject { project, version }));
}

fn add_schema(inventory: &mut Inventory, before: &Inventory, schema: Schema) -> Result<(), SchemaError> {
    let known = match before.schema(schema.reference.as_str()) {
        Some(known) if known.schema.definition == schema.definition => known.renewed(),
        _ => {
            let plan = SchemaPlan::compile(&schema)?;
            KnownSchema::new(schema, plan)
        }
    };
    inventory.schemas.insert(known.schema.reference.as_str().into(), Arc::new(known));
    Ok(())
}

fn add_contract(inventory: &mut Inventory, contract: Contract, version: u64) {
    let reference: Box<str> = contract.reference.as_str().into();
    let known = KnownContract { contract: Arc::new(contract), version };
    inventory.contracts.insert(reference, Arc::new(known));
}

fn add_stream(inventory: &mut Inventory, before: &Inventory, definition: StreamDefinition, version: u64) {
    // A stream that was deleted and made again begins with new counters.
    let same = before.stream(&definition.name).filter(|known| known.definition.created == definition.created);
    let live = same.map(|known| Arc::clone(&known.live)).unwrap_or_default();
    let policy = definition.policy.and_then(|id| inventory.policies.get(&id));
    let policy = policy.map(|known| Arc::clone(&known.policy));
    let known = Arc::new(KnownStream { definition, version, policy, live });
    for credential in &known.definition.credentials {
        let client = KnownClient { stream: Arc::clone(&known), expires: credential.expires };
        inventory.clients.insert(credential.client_id.as_str().into(), client);
    }
    inventory.streams.insert(known.definition.name.clone(), known);
}
