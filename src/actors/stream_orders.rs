//! What making and deleting a stream takes. Called by `actors::registry`, one order at a time.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    Inventory, PlanError,
    audited::read_revoked,
    bookkeeper::USAGE_LOG,
    inventory_store,
    policies::usable,
    project_orders,
    registry::ControlError,
    stream_life::new_credential,
    workshop::{RegistryWorkshop, Tools, document},
};
use crate::{
    audit::{Action, GrantEnd},
    crypto::{ClientSecret, Masker, MasterKey},
    domain::{
        ConsentRule, ProjectName, StreamLimits, StreamName, Who,
        consent::default_name,
        mask::MaskConfig,
        stream_definition::{DefinitionError, Derivation, StreamDefinition},
    },
    event::EventPlan,
    storage::{AppendError, Change, LogError},
};

/// A stream somebody wants.
#[derive(Clone)]
pub struct NewStream {
    /// None only for a derived stream, which then gets its default name.
    pub name: Option<StreamName>,
    pub project: ProjectName,
    pub description: String,
    pub tags: Vec<String>,
    /// None: the node's default.
    pub retention_days: Option<u32>,
    pub derived: Option<NewDerivation>,
    pub limits: StreamLimits,
    /// Id or name of an ACTIVE one.
    pub policy: Option<String>,
}

/// What the new stream derives from.
#[derive(Clone)]
pub struct NewDerivation {
    pub source: StreamName,
    pub rule: ConsentRule,
    pub masks: Option<NewMasks>,
    pub as_received: bool,
}

/// Masks of the new stream. The seed is clear here, wrapped before it is stored, and never told again.
#[derive(Clone)]
pub struct NewMasks {
    pub config: MaskConfig,
    /// None: a random one.
    pub seed: Option<Zeroizing<String>>,
}

/// A stream that was made, with its first credential.
pub struct CreatedStream {
    pub definition: StreamDefinition,
    pub client_id: String,
    pub client_secret: ClientSecret,
}

/// Why a stream cannot be made or deleted as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamOrderError {
    #[error("there is a stream of this name already")]
    Exists,
    #[error("this name is the node's own")]
    NameReserved,
    #[error("a source stream needs a name")]
    NameMissing,
    #[error("purposes and masks belong to a derived stream: give derivedFrom too")]
    PurposesWithoutSource,
    #[error("a cumulative stream takes exactly one purpose, the highest")]
    CumulativeTakesOne,
    #[error("the source stream does not exist: create it first")]
    SourceUnknown,
    #[error("the source is itself derived: a derived stream derives from a source only")]
    SourceIsDerived,
    #[error("the default name of this derived stream cannot be used: give it a name")]
    DefaultName,
    #[error("masks: contract {0} is not known: create it first")]
    MaskContractUnknown(String),
    #[error("masks: {0}")]
    Mask(String),
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    #[error("streams derive from it: {0}: delete them first, or delete recursively")]
    HasDependents(String),
}

impl From<LogError> for ControlError {
    fn from(error: LogError) -> ControlError {
        tracing::error!(%error, "log cannot be made or deleted");
        ControlError::Unavailable
    }
}

impl From<AppendError> for ControlError {
    fn from(error: AppendError) -> ControlError {
        tracing::error!(%error, "log takes nothing");
        ControlError::Unavailable
    }
}

pub(super) async fn create(
    workshop: &RegistryWorkshop,
    inventory: &Inventory,
    by: &Who,
    new: NewStream,
) -> Result<CreatedStream, ControlError> {
    let name = name_of(&new)?;
    if inventory.stream(&name).is_some() {
        return Err(StreamOrderError::Exists.into());
    }
    project_orders::demand_open(inventory, &new.project)?;
    if name.as_str() == USAGE_LOG {
        return Err(StreamOrderError::NameReserved.into());
    }
    let derived = match new.derived {
        None => None,
        Some(derived) => Some(derivation(workshop, inventory, &name, derived).await?),
    };
    let now = workshop.clock.now();
    let policy = new.policy.map(|named| usable(inventory, &named)).transpose()?;
    let (credential, client_secret) = new_credential(now);
    let client_id = credential.client_id.clone();
    let definition = StreamDefinition {
        name: name.clone(),
        project: new.project,
        description: new.description,
        tags: new.tags,
        enabled: true,
        created: now,
        retention_days: new.retention_days.unwrap_or(workshop.retention_days),
        derived,
        credentials: vec![credential],
        limits: new.limits,
        policy,
    };
    definition.validate().map_err(StreamOrderError::from)?;
    // A log that a crash left behind a deleted stream must not come back under its name.
    if workshop.holdings.get(inventory_store::STREAM, name.as_str()).await?.is_some() {
        return Err(StreamOrderError::Exists.into());
    }
    let make = async |tools: Tools| {
        tools.log().delete(&name).await?;
        tools.log().create(&name).await?;
        let body = document(&definition);
        Ok(tools.store().put(inventory_store::STREAM, name.as_str(), 0, body).await?)
    };
    let announced = vec![(Some(definition.project.clone()), created(&definition, &client_id))];
    workshop.announced(by, announced, make).await?;
    Ok(CreatedStream { definition, client_id, client_secret })
}

/// The streams that deleting `name` deletes, dependents first.
pub(super) fn to_delete(
    inventory: &Inventory,
    name: &StreamName,
    recursive: bool,
) -> Result<Vec<StreamName>, ControlError> {
    if inventory.stream(name).is_none() {
        return Err(ControlError::StreamUnknown);
    }
    let mut streams: Vec<_> =
        inventory.derived_from(name).map(|known| known.definition.name.clone()).collect();
    streams.sort();
    if !streams.is_empty() && !recursive {
        let names: Vec<_> = streams.iter().map(StreamName::as_str).collect();
        return Err(StreamOrderError::HasDependents(names.join(", ")).into());
    }
    streams.push(name.clone());
    Ok(streams)
}

pub(super) async fn delete(
    workshop: &RegistryWorkshop,
    inventory: &Inventory,
    by: &Who,
    name: &StreamName,
) -> Result<(), ControlError> {
    let project = inventory.stream(name).map(|known| known.definition.project.clone());
    let mut grants: Vec<_> = inventory.read_grants(name).map(|known| &known.grant).collect();
    grants.sort_by(|a, b| a.principal.cmp(&b.principal));
    let ended = grants.into_iter().map(|grant| read_revoked(grant, Some(GrantEnd::StreamDeleted)));
    let deleted = Action::StreamDeleted { stream: name.clone() };
    let actions = ended.chain([deleted]).map(|action| (project.clone(), action)).collect();
    workshop.announced(by, actions, async |tools| remove(&tools, name).await).await
}

async fn remove(tools: &Tools, name: &StreamName) -> Result<(), ControlError> {
    // Grants first: a later stream of this name must not have them.
    let store = tools.store();
    let prefix = format!("{name}/");
    for grant in store.list(inventory_store::READ_GRANT).await? {
        if grant.name.starts_with(&prefix) {
            store.delete(inventory_store::READ_GRANT, &grant.name, grant.version).await?;
        }
    }
    if let Some(stored) = store.get(inventory_store::STREAM, name.as_str()).await? {
        let change = |kind: &str, expected_version, body| Change {
            kind: kind.to_owned(),
            name: name.as_str().to_owned(),
            expected_version,
            body,
        };
        // The janitor destroys its keys, also when the node is killed now.
        let grave = store.get(inventory_store::GRAVE, name.as_str()).await?;
        let grave = grave.map_or(0, |document| document.version);
        let changes = vec![
            change(inventory_store::STREAM, stored.version, None),
            change(inventory_store::GRAVE, grave, Some(bytes::Bytes::new())),
        ];
        store.apply(changes).await?;
    }
    Ok(tools.log().delete(name).await?)
}

/// What the audit log says about a new stream.
fn created(definition: &StreamDefinition, client: &str) -> Action {
    let derived = definition.derived.as_ref();
    let masks = derived.and_then(|derived| derived.masks.as_ref());
    Action::StreamCreated {
        stream: definition.name.clone(),
        source: derived.map(|derived| derived.source.clone()),
        purposes: derived.map(|derived| derived.rule.levels()).unwrap_or_default(),
        cumulative: derived.is_some_and(|derived| matches!(derived.rule, ConsentRule::Cumulative(_))),
        masked: masks.map(|masks| masks.patterns.clone()).unwrap_or_default(),
        client: client.to_owned(),
    }
}

fn name_of(new: &NewStream) -> Result<StreamName, StreamOrderError> {
    match (&new.name, &new.derived) {
        (Some(name), _) => Ok(name.clone()),
        (None, None) => Err(StreamOrderError::NameMissing),
        (None, Some(derived)) => default_name(&derived.source, &derived.rule, derived.masks.is_some())
            .map_err(|_| StreamOrderError::DefaultName),
    }
}

async fn derivation(
    workshop: &RegistryWorkshop,
    inventory: &Inventory,
    name: &StreamName,
    new: NewDerivation,
) -> Result<Derivation, ControlError> {
    let source = inventory.stream(&new.source).ok_or(StreamOrderError::SourceUnknown)?;
    if source.definition.derived.is_some() {
        return Err(StreamOrderError::SourceIsDerived.into());
    }
    let masks = match new.masks {
        None => None,
        Some(masks) => {
            check_masks(inventory, &masks.config)?;
            let seed = masks.seed.unwrap_or_else(Masker::generate_seed);
            let wrapped = workshop.master.wrap_secret(&seed_label(name), seed.as_bytes());
            Some(MaskConfig { seed: STANDARD.encode(wrapped), ..masks.config })
        }
    };
    // A derived stream begins at the present: it shows what comes after it was made.
    let begins_at = workshop.holdings.end_of(&new.source).await?;
    Ok(Derivation {
        source: new.source,
        rule: new.rule,
        masks,
        generation: 1,
        as_received: new.as_received,
        begins_at,
    })
}

fn check_masks(inventory: &Inventory, config: &MaskConfig) -> Result<(), StreamOrderError> {
    for (reference, fields) in &config.patterns {
        let contract = inventory
            .contract(reference.as_str())
            .ok_or_else(|| StreamOrderError::MaskContractUnknown(reference.to_string()))?;
        let schema = contract.contract.schema_ref.as_str();
        let known = inventory
            .schema(schema)
            .ok_or_else(|| StreamOrderError::Mask(PlanError::SchemaUnknown.to_string()))?;
        EventPlan::compile(Arc::clone(&known.plan), Arc::clone(&contract.contract), fields)
            .map_err(|error| StreamOrderError::Mask(error.to_string()))?;
    }
    Ok(())
}

pub(super) fn unwrap_seed(
    master: &MasterKey,
    stream: &StreamName,
    config: &MaskConfig,
) -> Option<Zeroizing<Vec<u8>>> {
    let wrapped = STANDARD.decode(&config.seed).ok()?;
    master.unwrap_secret(&seed_label(stream), &wrapped).ok()
}

fn seed_label(stream: &StreamName) -> String {
    format!("mask-seed/{stream}")
}
