//! How the rest of Sluice writes to the audit log and asks about it.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::STANDARD};
use parking_lot::RwLock;
use ractor::{ActorRef, RpcReplyPort};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Inventory, KnownStream,
    ask::ask,
    auditor::{AuditError, AuditorMsg, DEADLINE},
    recent::{Claimant, Failures},
};
use crate::{
    audit::{
        Access, Action, Checkpoint, CheckpointError, Entry, Exposure, ExposureQuestion, Exposures, Filter,
        GrantedRead, LogKey, LoginMeans, Present,
        merkle::{Hash, OutOfRange, Tree},
    },
    clock::Clock,
    crypto::AuditKey,
    domain::{ConsentRule, PrincipalId, StreamName, Who},
    storage::EventLog,
};

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct AuditorHandle(Arc<AuditorShared>);

/// What the actor and the handles share.
pub(super) struct AuditorShared {
    pub log: Arc<dyn EventLog>,
    pub stream: StreamName,
    pub clock: Clock,
    pub tree: RwLock<Tree>,
    pub failures: Failures,
    key: Arc<AuditKey>,
    public: LogKey,
    actor: ArcSwapOption<ActorRef<AuditorMsg>>,
    pub checkpoint_file: Option<PathBuf>,
}

/// Entries in their order, as their bytes are in the tree.
#[derive(Serialize, ToSchema)]
pub struct AuditPage {
    #[schema(value_type = Vec<Entry>)]
    pub entries: Vec<Box<RawValue>>,
    /// Where to go on; none at the end of the log.
    pub next: Option<u64>,
}

/// A signed checkpoint and the key it is checked with.
#[derive(Serialize, ToSchema)]
pub struct SignedCheckpoint {
    pub size: u64,
    /// Base64.
    pub root: String,
    pub checkpoint: String,
    pub key: String,
}

/// Leads from an entry to a checkpoint. Hashes are base64.
#[derive(Serialize, ToSchema)]
pub struct InclusionProof {
    pub index: u64,
    pub size: u64,
    /// The entry's own text: a JSON string, so that not a byte of it changes on its way.
    pub entry: String,
    pub hashes: Vec<String>,
    pub checkpoint: String,
}

/// Leads from an earlier checkpoint to a later one.
#[derive(Serialize, ToSchema)]
pub struct ConsistencyProof {
    pub from: u64,
    pub to: u64,
    pub hashes: Vec<String>,
    #[serde(rename = "fromCheckpoint")]
    pub from_checkpoint: String,
    #[serde(rename = "toCheckpoint")]
    pub to_checkpoint: String,
}

/// Says that a reader is gone when it is dropped.
pub struct ReaderSeat {
    reader: Who,
    stream: StreamName,
    auditor: AuditorHandle,
}

impl ReaderSeat {
    /// `admitted`, asked of the seat so that whoever asks keeps it.
    #[must_use]
    pub fn still(&self, admitted: bool) -> bool {
        admitted
    }
}

impl Drop for ReaderSeat {
    fn drop(&mut self) {
        if let Some(actor) = self.auditor.0.actor.load_full() {
            let (reader, stream) = (self.reader.clone(), self.stream.clone());
            drop(actor.cast(AuditorMsg::Detached { reader, stream }));
        }
    }
}

impl AuditorHandle {
    pub(super) fn new(
        log: Arc<dyn EventLog>,
        key: Arc<AuditKey>,
        clock: Clock,
        checkpoint_file: Option<PathBuf>,
    ) -> AuditorHandle {
        let public = LogKey::new(key.public());
        AuditorHandle(Arc::new(AuditorShared {
            log,
            stream: StreamName::audit_log(),
            clock,
            tree: RwLock::default(),
            failures: Failures::default(),
            key,
            public,
            actor: ArcSwapOption::empty(),
            checkpoint_file,
        }))
    }

    /// Writes an entry and returns its index once it is durable. To be called when everything about an
    /// order has been checked and before its effect.
    ///
    /// # Errors
    ///
    /// [`AuditError::Unavailable`]: do nothing, and say so.
    pub async fn record(&self, who: Who, action: Action) -> Result<u64, AuditError> {
        self.record_in(None, who, action).await
    }

    /// As [`AuditorHandle::record`], for something that belongs to a project.
    ///
    /// # Errors
    ///
    /// As [`AuditorHandle::record`].
    pub async fn record_in(
        &self,
        project: Option<String>,
        who: Who,
        action: Action,
    ) -> Result<u64, AuditError> {
        self.ask(|reply| AuditorMsg::Record { who, action, project, reply }).await
    }

    /// Writes down that the effect which `entry` announced failed. Best effort.
    pub async fn not_done(&self, entry: u64) {
        if self.record(Who::Node, Action::NotDone { entry }).await.is_err() {
            tracing::error!(entry, "an order failed after its audit entry, and that could not be written");
        }
    }

    /// A client gets tokens for its stream. Returns once an entry of this hour covers it.
    ///
    /// # Errors
    ///
    /// [`AuditError::Unavailable`]: give none.
    pub async fn granted(&self, client: &str, stream: &KnownStream) -> Result<(), AuditError> {
        let (client, name) = (Arc::from(client), stream.definition.name.clone());
        let purposes = stream.purposes();
        self.ask(|reply| AuditorMsg::Granted { client, stream: name, purposes, reply }).await.map(drop)
    }

    /// A client, or a principal by a grant, begins to read a stream.
    ///
    /// # Errors
    ///
    /// [`AuditError::Unavailable`]: do not let it.
    pub async fn attached(&self, reader: Who, stream: &KnownStream) -> Result<ReaderSeat, AuditError> {
        let (name, purposes) = (stream.definition.name.clone(), stream.purposes());
        let (who, of) = (reader.clone(), name.clone());
        self.ask(|reply| AuditorMsg::Attached { reader: who, stream: of, purposes, reply }).await?;
        Ok(ReaderSeat { reader, stream: name, auditor: self.clone() })
    }

    /// Somebody showed a wrong secret. Never waits; `inventory` says whether there is such a client.
    pub fn login_failed(&self, client: &str, inventory: &Inventory) {
        let known = inventory.client(client, self.0.clock.now());
        let known = known.map(|stream| (client.into(), stream.definition.name.clone()));
        self.0.failures.count(Claimant::Client(known));
    }

    /// Somebody showed a token that opens nothing; `holder` is who it was made for, if anybody. Never waits.
    pub fn token_refused(&self, with: LoginMeans, holder: Option<&PrincipalId>) {
        self.0.failures.count(Claimant::Principal(with, holder.map(PrincipalId::shared)));
    }

    /// A principal was refused something that is not its to do. Never waits.
    pub fn denied(&self, who: &Who, to: &'static str) {
        if let Who::Principal { id } = who {
            self.0.failures.count(Claimant::Denied(Arc::clone(id), to));
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// The public key, as people keep it.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.public.text()
    }

    /// The checkpoint of the first `size` entries; of all without one.
    ///
    /// # Errors
    ///
    /// [`AuditError::OutOfRange`].
    pub fn checkpoint(&self, size: Option<u64>) -> Result<SignedCheckpoint, AuditError> {
        let (size, root) = self.0.head(size)?;
        let checkpoint = self.0.sign(size, root);
        Ok(SignedCheckpoint { size, root: STANDARD.encode(root), checkpoint, key: self.key() })
    }

    /// The proof that entry `index` is in the log of `size`; of all entries without one.
    ///
    /// # Errors
    ///
    /// [`AuditError`].
    pub async fn inclusion(&self, index: u64, size: Option<u64>) -> Result<InclusionProof, AuditError> {
        let (size, root) = self.0.head(size)?;
        let hashes = encoded(self.0.tree.read().inclusion(index, size)?);
        let chunks = self.0.log.read(&self.0.stream, index + 1, 1).await?;
        let record = chunks.iter().flat_map(|chunk| chunk.records(index + 1)).next();
        let Some((_, Ok(record))) = record else { return Err(AuditError::Unavailable) };
        let entry = String::from_utf8_lossy(record.body).into_owned();
        Ok(InclusionProof { index, size, entry, hashes, checkpoint: self.0.sign(size, root) })
    }

    /// The proof that the log of `from` entries is the beginning of the one of `to`; of all without one.
    ///
    /// # Errors
    ///
    /// [`AuditError::OutOfRange`].
    pub fn consistency(&self, from: u64, to: Option<u64>) -> Result<ConsistencyProof, AuditError> {
        let ((from, old), (to, new)) = (self.0.head(Some(from))?, self.0.head(to)?);
        let hashes = encoded(self.0.tree.read().consistency(from, to)?);
        let (from_checkpoint, to_checkpoint) = (self.0.sign(from, old), self.0.sign(to, new));
        Ok(ConsistencyProof { from, to, hashes, from_checkpoint, to_checkpoint })
    }

    /// At most `limit` entries that `filter` takes, from index `from` on. Looks at no more than
    /// 100,000 entries: a page may be short and still have a `next`.
    ///
    /// # Errors
    ///
    /// [`AuditError::Unavailable`].
    pub async fn list(&self, filter: &Filter, from: u64, limit: usize) -> Result<AuditPage, AuditError> {
        let mut entries = Vec::new();
        let take = |index: u64, text: &str, entry: Option<Entry>| {
            if entries.len() == limit || index >= from.saturating_add(SCANNED_MAX) {
                return false;
            }
            // One of a newer release is shown when nothing is asked of it.
            let wanted = entry.map_or(*filter == Filter::default(), |entry| filter.takes(&entry));
            if wanted && let Ok(text) = RawValue::from_string(text.to_owned()) {
                entries.push(text);
            }
            true
        };
        let next = self.scan(from, take).await?;
        Ok(AuditPage { entries, next })
    }

    /// Who could read a field in clear.
    ///
    /// # Errors
    ///
    /// [`AuditError::Unavailable`].
    pub async fn exposures(
        &self,
        question: &ExposureQuestion,
        inventory: &Inventory,
    ) -> Result<Exposures, AuditError> {
        let mut found = Exposures::default();
        let mut logged = std::collections::HashSet::new();
        self.scan(0, |_, _, entry| {
            if let Some(entry) = entry {
                if let Action::StreamCreated { stream, .. } = &entry.action {
                    logged.insert(stream.clone());
                }
                found.take(question, &entry);
            }
            true
        })
        .await?;
        for known in inventory.streams().filter(|known| !logged.contains(&known.definition.name)) {
            if let Some(exposure) = unlogged(known, question) {
                found.add(question, exposure);
            }
        }
        let now = self.0.clock.now();
        let present = |known: &Arc<KnownStream>| {
            let name = known.definition.name.clone();
            let living = known
                .definition
                .credentials
                .iter()
                .filter(|stored| stored.expires.is_none_or(|end| now < end));
            let clients = living.map(|stored| stored.client_id.clone());
            let grants = inventory.read_grants(&name).map(|known| {
                let grant = &known.grant;
                GrantedRead::new(grant.principal.as_str(), grant.created, grant.expires, Who::Node)
            });
            let present = Present { clients: clients.collect(), grants: grants.collect() };
            (name, present)
        };
        found.settle(&inventory.streams().map(present).collect(), now);
        Ok(found)
    }

    /// Reads entries from index `from` until `take` returns false; returns the index it was shown then.
    async fn scan(
        &self,
        from: u64,
        mut take: impl FnMut(u64, &str, Option<Entry>) -> bool,
    ) -> Result<Option<u64>, AuditError> {
        let mut next = from;
        // What the tree does not have yet is not shown: it could not be proved.
        let size = self.size();
        while next < size {
            let chunks = self.0.log.read(&self.0.stream, next + 1, SCAN_BYTES).await?;
            if chunks.is_empty() {
                break;
            }
            let first = next + 1;
            for (seq, record) in chunks.iter().flat_map(|chunk| chunk.records(first)) {
                let body = record.map_err(|_| AuditError::Unavailable)?.body;
                let text = std::str::from_utf8(body).map_err(|_| AuditError::Unavailable)?;
                if seq > size {
                    return Ok(None);
                }
                if !take(seq - 1, text, serde_json::from_str(text).ok()) {
                    return Ok(Some(seq - 1));
                }
                next = seq;
            }
        }
        Ok(None)
    }

    /// Writes what is only counted yet. The node stops.
    pub(super) async fn close(&self) {
        let Some(actor) = self.0.actor.load_full() else { return };
        if ask(&actor, |reply| AuditorMsg::Close { reply }, DEADLINE).await.is_err() {
            tracing::warn!("the auditor did not close in time");
        }
    }

    pub(super) fn shared(&self) -> Arc<AuditorShared> {
        Arc::clone(&self.0)
    }

    pub(super) fn set_actor(&self, actor: ActorRef<AuditorMsg>) {
        self.0.actor.store(Some(Arc::new(actor)));
    }

    async fn ask(
        &self,
        question: impl FnOnce(RpcReplyPort<Result<u64, AuditError>>) -> AuditorMsg,
    ) -> Result<u64, AuditError> {
        let actor = self.0.actor.load_full().ok_or(AuditError::Unavailable)?;
        ask(&actor, question, DEADLINE).await?
    }
}

impl AuditorShared {
    #[cfg(test)]
    pub(super) fn actor(&self) -> Option<Arc<ActorRef<AuditorMsg>>> {
        self.actor.load_full()
    }

    pub(super) fn size(&self) -> u64 {
        self.tree.read().size()
    }

    /// The checkpoint of all entries, with its size.
    pub(super) fn signed(&self) -> Option<(u64, String)> {
        let (size, root) = self.head(None).ok()?;
        Some((size, self.sign(size, root)))
    }

    /// Reads a checkpoint that this log's key signed.
    pub(super) fn open(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(note, &self.public)
    }

    /// Whether the log's beginning is what the checkpoint says.
    pub(super) fn bears_out(&self, kept: &Checkpoint) -> bool {
        self.head(Some(kept.size)).is_ok_and(|(_, root)| root == kept.root)
    }

    fn head(&self, size: Option<u64>) -> Result<(u64, Hash), AuditError> {
        let tree = self.tree.read();
        let size = size.unwrap_or_else(|| tree.size());
        Ok((size, tree.root(size)?))
    }

    fn sign(&self, size: u64, root: Hash) -> String {
        Checkpoint { size, root }.sign(&self.public, |text| self.key.sign(text))
    }
}

impl From<OutOfRange> for AuditError {
    fn from(_: OutOfRange) -> AuditError {
        AuditError::OutOfRange
    }
}

fn encoded(hashes: Vec<Hash>) -> Vec<String> {
    hashes.iter().map(|hash| STANDARD.encode(hash)).collect()
}

/// The exposure by a stream that is older than the audit log.
fn unlogged(known: &KnownStream, question: &ExposureQuestion) -> Option<Exposure> {
    let (definition, derived) = (&known.definition, known.definition.derived.as_ref()?);
    let masks = derived.masks.as_ref().and_then(|masks| masks.patterns.get(&question.contract));
    let access = |stored: &crate::domain::StoredCredential| Access::new(&stored.client_id, stored.created);
    Some(Exposure {
        stream: definition.name.clone(),
        source: derived.source.clone(),
        purposes: derived.rule.levels(),
        cumulative: matches!(derived.rule, ConsentRule::Cumulative(_)),
        masked: masks.is_some_and(|fields| fields.contains(&question.field)),
        since: definition.created,
        until: None,
        created_by: Who::Node,
        accesses: definition.credentials.iter().map(access).collect(),
        grants: Vec::new(),
    })
}

/// Entries that one page looks at, at most: about half a second.
const SCANNED_MAX: u64 = 100_000;
const SCAN_BYTES: usize = 1 << 20;
