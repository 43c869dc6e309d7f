//! What the node knows at this moment: schemas, contracts, streams and whose credentials are whose.
//!
//! An immutable snapshot that `actors::registry` replaces as a whole when something changes. The path of
//! an event reads it without a lock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use dashmap::DashMap;

use super::{KnownErased, KnownPolicy, KnownPurpose, LiveStream};
use crate::{
    clock::Timestamp,
    domain::{
        Contract, ContractRef, ContractState, FieldPath, Fingerprint, Policy, PolicyId, Principal,
        PrincipalId, Project, ProjectName, ReadGrant, Schema, StreamName,
        stream_definition::{Derivation, StreamDefinition},
    },
    event::{ContractError, EventPlan, SchemaPlan},
};

/// One snapshot.
#[derive(Default)]
pub struct Inventory {
    pub(super) schemas: HashMap<Box<str>, Arc<KnownSchema>>,
    pub(super) contracts: HashMap<Box<str>, Arc<KnownContract>>,
    pub(super) streams: HashMap<StreamName, Arc<KnownStream>>,
    pub(super) principals: HashMap<PrincipalId, Arc<KnownPrincipal>>,
    /// By the id of an API token.
    pub(super) tokens: HashMap<Box<str>, Arc<KnownPrincipal>>,
    pub(super) projects: BTreeMap<ProjectName, Arc<KnownProject>>,
    pub(super) grants: HashMap<StreamName, HashMap<PrincipalId, Arc<KnownGrant>>>,
    pub(super) clients: HashMap<Box<str>, KnownClient>,
    pub(super) purposes: BTreeMap<i32, KnownPurpose>,
    pub(super) policies: HashMap<PolicyId, KnownPolicy>,
    /// Subjects that were ever erased.
    pub(super) erased: HashMap<Fingerprint, Arc<KnownErased>>,
}

/// A schema, its compiled plan, and the plans of the contracts that events under it named so far.
pub struct KnownSchema {
    pub schema: Schema,
    pub plan: Arc<SchemaPlan>,
    pairs: DashMap<Box<str>, Arc<EventPlan>>,
}

/// A contract and the version of its registry document (0 for the built-in catalogue).
pub struct KnownContract {
    pub contract: Arc<Contract>,
    pub version: u64,
}

/// A stream and the version of its registry document.
pub struct KnownStream {
    pub definition: StreamDefinition,
    pub version: u64,
    /// What its new keys are made under.
    pub policy: Option<Arc<Policy>>,
    /// Survives changes of the definition.
    pub live: Arc<LiveStream>,
}

impl KnownStream {
    /// The purposes whose fields it shows; none for a source.
    #[must_use]
    pub fn purposes(&self) -> Vec<i32> {
        self.definition.derived.as_ref().map(|derived| derived.rule.levels()).unwrap_or_default()
    }
}

/// Whose credentials a client id stands for, and until when.
pub(super) struct KnownClient {
    pub(super) stream: Arc<KnownStream>,
    pub(super) expires: Option<Timestamp>,
}

/// A principal that was not deleted, and the version of its registry document.
pub struct KnownPrincipal {
    pub principal: Principal,
    pub version: u64,
}

/// A project and the version of its registry document (0 for the default one that nobody changed).
pub struct KnownProject {
    pub project: Project,
    pub version: u64,
}

/// A grant and the version of its registry document.
pub struct KnownGrant {
    pub grant: ReadGrant,
    pub version: u64,
}

/// How stored events of one schema and contract are read.
#[derive(Clone)]
pub struct ReadingPlan {
    pub plan: Arc<EventPlan>,
    /// Fields that the schema has in a form that cannot be masked: who masks them gets no such event.
    pub unmaskable: Vec<FieldPath>,
}

/// Why events of a schema and contract cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("schema is not known: create a contract with it first")]
    SchemaUnknown,
    #[error("contract is not known: create it first")]
    ContractUnknown,
    #[error("contract is {0}: only an ACTIVE contract takes events")]
    ContractNotActive(&'static str),
    #[error("schema and contract do not fit: {0}")]
    Unfit(#[from] ContractError),
}

impl KnownSchema {
    pub(super) fn new(schema: Schema, plan: SchemaPlan) -> KnownSchema {
        KnownSchema { schema, plan: Arc::new(plan), pairs: DashMap::new() }
    }

    /// A copy without the cached pairs, for a snapshot in which contracts changed.
    pub(super) fn renewed(&self) -> KnownSchema {
        KnownSchema { schema: self.schema.clone(), plan: Arc::clone(&self.plan), pairs: DashMap::new() }
    }
}

impl Inventory {
    /// The schema named `reference`.
    #[must_use]
    pub fn schema(&self, reference: &str) -> Option<&Arc<KnownSchema>> {
        self.schemas.get(reference)
    }

    /// The contract named `reference`, in whatever state.
    #[must_use]
    pub fn contract(&self, reference: &str) -> Option<&Arc<KnownContract>> {
        self.contracts.get(reference)
    }

    /// All schemas, in no order.
    pub fn schemas(&self) -> impl Iterator<Item = &Arc<KnownSchema>> {
        self.schemas.values()
    }

    /// All contracts, in no order.
    pub fn contracts(&self) -> impl Iterator<Item = &Arc<KnownContract>> {
        self.contracts.values()
    }

    /// The newest version of the same contract before `reference`.
    #[must_use]
    pub fn contract_before(&self, reference: &ContractRef) -> Option<&Arc<KnownContract>> {
        let (handle, name, _) = reference.parts();
        let number = |reference: &ContractRef| reference.version_number();
        let same = |other: &&Arc<KnownContract>| {
            let parts = other.contract.reference.parts();
            (parts.0, parts.1) == (handle, name) && number(&other.contract.reference) < number(reference)
        };
        self.contracts.values().filter(same).max_by_key(|known| number(&known.contract.reference))
    }

    /// The stream called `name`.
    #[must_use]
    pub fn stream(&self, name: &StreamName) -> Option<&Arc<KnownStream>> {
        self.streams.get(name)
    }

    /// All streams, in no order.
    pub fn streams(&self) -> impl Iterator<Item = &Arc<KnownStream>> {
        self.streams.values()
    }

    /// The stream whose credentials have this client id at `now`.
    #[must_use]
    pub fn client(&self, client_id: &str, now: Timestamp) -> Option<&Arc<KnownStream>> {
        let known = self.clients.get(client_id)?;
        known.expires.is_none_or(|end| now < end).then_some(&known.stream)
    }

    /// The principal with this id, unless it was deleted.
    #[must_use]
    pub fn principal(&self, id: &PrincipalId) -> Option<&Arc<KnownPrincipal>> {
        self.principals.get(id)
    }

    /// All principals, in no order.
    pub fn principals(&self) -> impl Iterator<Item = &Arc<KnownPrincipal>> {
        self.principals.values()
    }

    /// Whose API token has this id, whether it is still good or not.
    #[must_use]
    pub fn token_holder(&self, token_id: &str) -> Option<&Arc<KnownPrincipal>> {
        self.tokens.get(token_id)
    }

    /// The project called `name`.
    #[must_use]
    pub fn project(&self, name: &ProjectName) -> Option<&Arc<KnownProject>> {
        self.projects.get(name)
    }

    /// All projects, by name.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<KnownProject>> {
        self.projects.values()
    }

    /// The grant by which `principal` reads `stream`, whether it is still good or not.
    #[must_use]
    pub fn read_grant(&self, stream: &StreamName, principal: &PrincipalId) -> Option<&Arc<KnownGrant>> {
        self.grants.get(stream)?.get(principal)
    }

    /// All grants on `stream`, in no order.
    pub fn read_grants(&self, stream: &StreamName) -> impl Iterator<Item = &Arc<KnownGrant>> {
        self.grants.get(stream).into_iter().flat_map(HashMap::values)
    }

    /// The streams derived from `source`.
    pub fn derived_from<'a>(&'a self, source: &'a StreamName) -> impl Iterator<Item = &'a Arc<KnownStream>> {
        let from = move |d: &Derivation| d.source == *source;
        self.streams.values().filter(move |s| s.definition.derived.as_ref().is_some_and(from))
    }

    /// The plan for new events of `schema` that name `contract`.
    ///
    /// # Errors
    ///
    /// [`PlanError`]: the producer names another one, or the contract is activated first.
    pub fn plan(
        &self,
        schema: &str,
        contract: &str,
        project: &ProjectName,
    ) -> Result<Arc<EventPlan>, PlanError> {
        let known = self.schema(schema).ok_or(PlanError::SchemaUnknown)?;
        if let Some(plan) = known.pairs.get(contract) {
            let serves = plan.contract().serves(project);
            return if serves { Ok(Arc::clone(&plan)) } else { Err(PlanError::ContractUnknown) };
        }
        let named = self.contract(contract).filter(|named| named.contract.serves(project));
        let named = named.ok_or(PlanError::ContractUnknown)?;
        if named.contract.state != ContractState::Active {
            return Err(PlanError::ContractNotActive(named.contract.state.as_str()));
        }
        let plan = Arc::new(EventPlan::compile(Arc::clone(&known.plan), Arc::clone(&named.contract), &[])?);
        known.pairs.insert(contract.into(), Arc::clone(&plan));
        Ok(plan)
    }

    /// The plan for stored events of `schema` and `contract`, whatever has become of the contract since,
    /// that also finds those of the fields `masked` that the schema has.
    ///
    /// # Errors
    ///
    /// [`PlanError`]: one of them was deleted.
    pub fn reading_plan(
        &self,
        schema: &str,
        contract: &str,
        masked: &[FieldPath],
    ) -> Result<ReadingPlan, PlanError> {
        let known = self.schema(schema).ok_or(PlanError::SchemaUnknown)?;
        let named = self.contract(contract).ok_or(PlanError::ContractUnknown)?;
        let (mut masked, mut unmaskable) = (masked.to_vec(), Vec::new());
        loop {
            match EventPlan::compile(Arc::clone(&known.plan), Arc::clone(&named.contract), &masked) {
                Ok(plan) => return Ok(ReadingPlan { plan: Arc::new(plan), unmaskable }),
                Err(error) if masked.contains(&error.field) => {
                    masked.retain(|field| *field != error.field);
                    if !error.is_absent() {
                        unmaskable.push(error.field);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What depends on the contract or schema `reference`: names of streams that mask by it.
    pub fn masking_by<'a>(&'a self, reference: &'a ContractRef) -> impl Iterator<Item = &'a StreamName> {
        self.streams.values().filter_map(move |s| {
            let masks = s.definition.derived.as_ref()?.masks.as_ref()?;
            masks.patterns.contains_key(reference).then_some(&s.definition.name)
        })
    }
}
