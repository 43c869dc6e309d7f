//! Orders about a stream that exists: its credentials, its settings, and what deleting it would take.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Expected, Inventory, KnownStream, RegistryHandle,
    audited::change,
    contract_orders::demand_version,
    inventory_store,
    order_error::OrderError,
    policies::usable,
    registry::ControlError,
    stream_orders::{StreamOrderError, to_delete},
    workshop::{RegistryWorkshop, document},
};
use crate::{
    audit::Action,
    clock::Timestamp,
    crypto::ClientSecret,
    domain::{StoredCredential, StreamDefinition, StreamLimits, StreamName, Who},
};

/// A credential that was issued; its secret is told only here.
pub struct IssuedCredential {
    pub credential: StoredCredential,
    pub client_secret: ClientSecret,
}

/// Which credentials a new one replaces, and how long they still serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// None: all there are.
    pub client_id: Option<String>,
    /// 0: they end at once.
    pub overlap_s: u32,
}

/// What a change of a stream's settings says; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPatch {
    pub description: Option<String>,
    pub tags: Option<Vec<String>>,
    pub retention_days: Option<u32>,
    pub enabled: Option<bool>,
    pub limits: Option<StreamLimits>,
    /// Id or name; `Some(None)` takes the policy away.
    pub policy: Option<Option<String>>,
}

impl RegistryHandle {
    /// Issues another credential of a stream, instead of those that `replaces` names.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn issue_credential(
        &self,
        by: Who,
        name: StreamName,
        replaces: Option<Replacement>,
    ) -> Result<IssuedCredential, ControlError> {
        self.order(move |workshop, inventory| async move {
            let known = known(&inventory, &name)?;
            let now = workshop.clock.now();
            let mut definition = living(known, now);
            if let Some(replaces) = &replaces {
                end(&mut definition, replaces, now)?;
            }
            let (credential, client_secret) = new_credential(now);
            definition.credentials.push(credential.clone());
            let action = Action::CredentialIssued {
                stream: name,
                purposes: purposes(&definition),
                client: credential.client_id.clone(),
            };
            let mut actions = revocations(known, &definition, now);
            actions.push(action);
            put(&workshop, &by, known, &definition, actions).await?;
            Ok(IssuedCredential { credential, client_secret })
        })
        .await
    }

    /// Takes a credential away: its tokens and connections end.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn revoke_credential(
        &self,
        by: Who,
        name: StreamName,
        client_id: String,
    ) -> Result<(), ControlError> {
        self.order(move |workshop, inventory| async move {
            let known = known(&inventory, &name)?;
            let mut definition = living(known, workshop.clock.now());
            end(
                &mut definition,
                &Replacement { client_id: Some(client_id.clone()), overlap_s: 0 },
                Timestamp(0),
            )?;
            let action = Action::CredentialRevoked { stream: name, client: client_id, ends: None };
            put(&workshop, &by, known, &definition, vec![action]).await?;
            Ok(())
        })
        .await
    }

    /// Changes a stream's settings, if its document still has one of the `expected` versions, where some are given.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn change_stream(
        &self,
        by: Who,
        name: StreamName,
        expected: Expected,
        patch: StreamPatch,
    ) -> Result<Arc<KnownStream>, ControlError> {
        let wanted = name.clone();
        self.order(move |workshop, inventory| async move {
            let known = known(&inventory, &name)?;
            demand_version(expected, known.version)?;
            let mut definition = living(known, workshop.clock.now());
            apply(&mut definition, patch, &inventory)?;
            let change = difference(&known.definition, &definition);
            let action = Action::StreamChanged { stream: name, change };
            put(&workshop, &by, known, &definition, vec![action]).await?;
            Ok(())
        })
        .await?;
        let inventory = self.inventory();
        inventory.stream(&wanted).cloned().ok_or(ControlError::StreamUnknown)
    }

    /// The streams that deleting `name` would delete, dependents first.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub fn deletion_plan(
        &self,
        name: &StreamName,
        recursive: bool,
    ) -> Result<Vec<Arc<KnownStream>>, ControlError> {
        let inventory = self.inventory();
        let names = to_delete(&inventory, name, recursive)?;
        Ok(names.iter().filter_map(|name| inventory.stream(name).cloned()).collect())
    }
}

/// A credential that nobody has yet.
pub(super) fn new_credential(now: Timestamp) -> (StoredCredential, ClientSecret) {
    let client_secret = ClientSecret::generate();
    let credential = StoredCredential {
        client_id: format!("stream-{}", uuid::Uuid::new_v4().simple()),
        secret_hash: STANDARD.encode(client_secret.hash()),
        created: now,
        expires: None,
    };
    (credential, client_secret)
}

fn known<'a>(inventory: &'a Inventory, name: &StreamName) -> Result<&'a Arc<KnownStream>, ControlError> {
    inventory.stream(name).ok_or(ControlError::StreamUnknown)
}

/// The definition without credentials that have ended.
fn living(known: &KnownStream, now: Timestamp) -> StreamDefinition {
    let mut definition = known.definition.clone();
    definition.credentials.retain(|credential| credential.expires.is_none_or(|end| now < end));
    definition
}

fn end(definition: &mut StreamDefinition, replaces: &Replacement, now: Timestamp) -> Result<(), OrderError> {
    let is_meant = |credential: &StoredCredential| {
        replaces.client_id.as_ref().is_none_or(|client_id| credential.client_id == *client_id)
    };
    if replaces.client_id.is_some() && !definition.credentials.iter().any(is_meant) {
        return Err(OrderError::CredentialUnknown);
    }
    if replaces.overlap_s == 0 {
        definition.credentials.retain(|credential| !is_meant(credential));
        return Ok(());
    }
    let end = now.plus_ms(i64::from(replaces.overlap_s) * 1000);
    for credential in definition.credentials.iter_mut().filter(|credential| is_meant(credential)) {
        credential.expires = Some(credential.expires.map_or(end, |already| already.min(end)));
    }
    Ok(())
}

fn apply(
    definition: &mut StreamDefinition,
    patch: StreamPatch,
    inventory: &Inventory,
) -> Result<(), ControlError> {
    let StreamPatch { description, tags, retention_days, enabled, limits, policy } = patch;
    let set = |place: &mut String, value: Option<String>| {
        if let Some(value) = value {
            *place = value;
        }
    };
    set(&mut definition.description, description);
    definition.tags = tags.unwrap_or(std::mem::take(&mut definition.tags));
    definition.retention_days = retention_days.unwrap_or(definition.retention_days);
    definition.enabled = enabled.unwrap_or(definition.enabled);
    definition.limits = limits.unwrap_or(definition.limits);
    if let Some(policy) = policy {
        definition.policy = policy.map(|named| usable(inventory, &named)).transpose()?;
    }
    Ok(())
}

async fn put(
    workshop: &RegistryWorkshop,
    by: &Who,
    known: &KnownStream,
    definition: &StreamDefinition,
    actions: Vec<Action>,
) -> Result<(), ControlError> {
    definition.validate().map_err(StreamOrderError::from)?;
    let body = Some(document(definition));
    let change = change(inventory_store::STREAM, definition.name.as_str(), known.version, body);
    let announced = actions.into_iter().map(|action| (Some(definition.project.clone()), action)).collect();
    workshop.apply_all(by, announced, vec![change]).await
}

/// What the audit log says about the credentials that `after` has no longer, or not for as long. Of those whose
/// end has come it said so before.
fn revocations(known: &KnownStream, after: &StreamDefinition, now: Timestamp) -> Vec<Action> {
    let before = known.definition.credentials.iter();
    let living = before.filter(|credential| credential.expires.is_none_or(|end| now < end));
    living
        .filter_map(|credential| {
            let kept = after.credentials.iter().find(|kept| kept.client_id == credential.client_id);
            let ends = kept.and_then(|kept| kept.expires);
            let stays = kept.is_some() && ends == credential.expires;
            let (stream, client) = (after.name.clone(), credential.client_id.clone());
            (!stays).then_some(Action::CredentialRevoked { stream, client, ends })
        })
        .collect()
}

/// The purposes whose fields a stream shows; none for a source.
fn purposes(definition: &StreamDefinition) -> Vec<i32> {
    definition.derived.as_ref().map(|derived| derived.rule.levels()).unwrap_or_default()
}

/// The settings that differ, in words of ours.
fn difference(before: &StreamDefinition, after: &StreamDefinition) -> String {
    let mut said = Vec::new();
    if before.enabled != after.enabled {
        said.push(if after.enabled { "enabled" } else { "disabled" }.to_owned());
    }
    if before.retention_days != after.retention_days {
        said.push(format!("retention {} days", after.retention_days));
    }
    let differs = [
        ("description", before.description != after.description),
        ("tags", before.tags != after.tags),
        ("limits", before.limits != after.limits),
        ("policy", before.policy != after.policy),
    ];
    said.extend(differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()));
    said.join(", ")
}
