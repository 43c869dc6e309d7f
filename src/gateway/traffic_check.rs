//! What a contract would have refused of a stream's recent traffic, and what derived streams would gain or
//! lose by it. Counts and names of fields come out, and nothing else.
//!
//! Stored events are read page by page off the ingest path. What the new contract must see in clear is
//! opened in memory by `actors::projection`, off the workers, and forgotten with the page. An event that gave no
//! consent is never opened; one whose key is gone cannot be: both are counted as not checked.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::Intake;
use crate::{
    actors::{Inventory, KnownStream, ReadingPlan, SessionKeyError, open_fields},
    config,
    crypto::OpenKey,
    domain::{
        Contract, ContractRef, FieldPath, KeyLink, Record, Serialization, StreamName, Suite, consent,
        stream_definition::Derivation,
    },
    event::{DecodeError, EventPlan, Form, SchemaPlan, Tape, Text},
    storage::{Chunk, EventLog, LogError},
};

/// A contract to be tried on a stream's traffic.
pub struct Trial {
    pub contract: Arc<Contract>,
    pub schema: Arc<SchemaPlan>,
    /// Only events of this contract's versions are checked; false: all.
    pub same_contract_only: bool,
    /// How far back, seconds.
    pub last_s: u32,
}

/// What the trial found.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficReport {
    /// Events of the time asked for.
    pub events: u64,
    pub checked: u64,
    pub not_checked: NotChecked,
    /// Whether a bound was met, so that only a part of the time was looked at.
    pub partial: bool,
    pub would_refuse: u64,
    pub refusals: Vec<RefusalCount>,
    pub derived: Vec<DerivedCount>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotChecked {
    pub no_consent: u64,
    pub key_gone: u64,
    pub unreadable: u64,
    pub other_contract: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefusalCount {
    pub rule: String,
    pub field: String,
    pub count: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DerivedCount {
    pub stream: StreamName,
    pub gained: u64,
    pub lost: u64,
    /// Events that would still arrive, with a field unmasked that is masked now.
    pub unmasked: u64,
}

/// Why a trial gave no report.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    #[error(transparent)]
    Log(#[from] LogError),
    /// Retry later.
    #[error("session keys are unavailable")]
    Keys(#[from] SessionKeyError),
    #[error("another check is running: try again")]
    Busy,
}

/// What bounds checks. One at a time: it is work beside the events. Source: `[streams] check_*`.
pub struct Checks {
    events_max: u64,
    time_max: Duration,
    turn: Semaphore,
}

impl Checks {
    #[must_use]
    pub fn new(config: &config::Streams) -> Checks {
        let time_max = Duration::from_secs(config.check_s);
        Checks { events_max: config.check_events_max, time_max, turn: Semaphore::new(1) }
    }
}

impl Intake {
    /// Tries a contract on the recent traffic of `stream`, a source. Opens fields: to be audited before.
    ///
    /// # Errors
    ///
    /// [`TrialError`].
    pub async fn try_contract(
        &self,
        stream: &KnownStream,
        trial: Trial,
    ) -> Result<TrafficReport, TrialError> {
        let waiting = tokio::time::timeout(QUEUE_MAX, self.checks().turn.acquire()).await;
        let Ok(Ok(_turn)) = waiting else { return Err(TrialError::Busy) };
        let name = &stream.definition.name;
        let since = self.now().plus_ms(-i64::from(trial.last_s) * 1000);
        let log = self.log();
        let bounds = log.bounds(name).await?;
        let mut next = first_since(&*log, name, bounds.first, bounds.end, since).await?;
        let begun = Instant::now();
        let inventory = self.inventory();
        let mut work = Work::new(inventory, name, trial, self.zero_is_a_purpose(), since);
        let (events_max, time_max) = (self.checks().events_max, self.checks().time_max);
        if bounds.end.saturating_sub(next) > events_max {
            next = bounds.end - events_max;
            work.report.partial = true;
        }
        while next < bounds.end {
            if begun.elapsed() > time_max {
                work.report.partial = true;
                break;
            }
            let chunks = log.read(name, next, PAGE_BYTES).await?;
            let Some(end) = chunks.last().map(Chunk::end) else { break };
            let keys = self.keys_for(&work, &chunks, next).await?;
            let from = next;
            let done = tokio::task::spawn_blocking(move || {
                work.page(&chunks, from, bounds.end, &keys);
                work
            });
            // A panic in there is a defect of one event's reading; the node goes on without a report.
            work = done.await.map_err(|_| TrialError::Busy)?;
            next = end;
        }
        Ok(work.report())
    }

    async fn keys_for(&self, work: &Work, chunks: &[Chunk], from: u64) -> Result<Keys, SessionKeyError> {
        let mut keys = Keys::new();
        for (_, record) in chunks.iter().flat_map(|chunk| chunk.records(from)) {
            let Ok(record) = record else { continue };
            let Some(known) = work.inventory.contract(record.head.contract) else { continue };
            let at = (record.head.key_link, known.contract.suite);
            if keys.contains_key(&at) || work.is_left_out(&record) {
                continue;
            }
            let key = match self.keys().of_link(at.0, at.1).await {
                Err(SessionKeyError::Unwrap) => None,
                other => other?,
            };
            keys.insert(at, key);
        }
        Ok(keys)
    }
}

/// The first sequence accepted at `since` or later, by halving: acceptance times grow along a log.
async fn first_since(
    log: &dyn EventLog,
    stream: &StreamName,
    first: u64,
    end: u64,
    since: crate::clock::Timestamp,
) -> Result<u64, LogError> {
    let (mut low, mut high) = (first, end);
    while low < high {
        let middle = low + (high - low) / 2;
        let chunks = log.read(stream, middle, 1).await?;
        let found = chunks.iter().flat_map(|chunk| chunk.records(middle)).find_map(|(_, record)| record.ok());
        match found {
            Some(record) if record.head.accepted < since => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

type Keys = HashMap<(KeyLink, Suite), Option<Arc<OpenKey>>>;
type Pair = (String, String);

/// A derived stream of the stream that is looked at.
struct Follower {
    name: StreamName,
    derivation: Derivation,
    count: (u64, u64, u64),
}

/// A check at work: plans, buffers and counts.
struct Work {
    inventory: Arc<Inventory>,
    trial: Trial,
    zero: bool,
    since: crate::clock::Timestamp,
    followers: Vec<Follower>,
    readings: HashMap<Pair, Option<ReadingPlan>>,
    /// The new contract under the name that the event was sent with.
    candidates: HashMap<String, Option<Arc<EventPlan>>>,
    /// Whether the new contract's masks fit its schema, by follower.
    maskable: Vec<bool>,
    refusals: BTreeMap<(String, String), u64>,
    report: TrafficReport,
}

impl Work {
    fn new(
        inventory: Arc<Inventory>,
        stream: &StreamName,
        trial: Trial,
        zero: bool,
        since: crate::clock::Timestamp,
    ) -> Work {
        let mut followers: Vec<Follower> = inventory
            .derived_from(stream)
            .filter_map(|known| {
                let derivation = known.definition.derived.clone()?;
                Some(Follower { name: known.definition.name.clone(), derivation, count: (0, 0, 0) })
            })
            .collect();
        followers.sort_by(|a, b| a.name.cmp(&b.name));
        let fits = |follower: &Follower| {
            let fields = masks(&follower.derivation, &trial.contract.reference);
            fields.iter().all(|field| {
                let extra = std::slice::from_ref(field);
                let plan = EventPlan::compile(Arc::clone(&trial.schema), Arc::clone(&trial.contract), extra);
                plan.err().is_none_or(|error| error.is_absent())
            })
        };
        let maskable = followers.iter().map(fits).collect();
        Work {
            inventory,
            trial,
            zero,
            since,
            followers,
            readings: HashMap::new(),
            candidates: HashMap::new(),
            maskable,
            refusals: BTreeMap::new(),
            report: TrafficReport::default(),
        }
    }

    /// Whether no key is needed for the record: it is too old, not meant, or gave no consent.
    fn is_left_out(&self, record: &Record<'_>) -> bool {
        record.head.accepted < self.since || self.is_other(record) || self.gave_no_consent(record)
    }

    fn is_other(&self, record: &Record<'_>) -> bool {
        let line = |reference: &str| reference.rsplit_once('/').map(|(line, _)| line.to_owned());
        self.trial.same_contract_only
            && line(record.head.contract) != line(self.trial.contract.reference.as_str())
    }

    fn gave_no_consent(&self, record: &Record<'_>) -> bool {
        let levels: Vec<i32> = record.head.consent.iter().collect();
        consent::is_no_consent(&levels, self.zero)
    }

    /// Checks the records from `from` up to `end`.
    fn page(&mut self, chunks: &[Chunk], from: u64, end: u64, keys: &Keys) {
        let (mut old, mut new, mut clear) = (Tape::new(), Tape::new(), Vec::new());
        for (sequence, record) in chunks.iter().flat_map(|chunk| chunk.records(from)) {
            if sequence >= end {
                break;
            }
            match record {
                Ok(record) if record.head.accepted < self.since => {}
                Ok(record) => {
                    self.report.events += 1;
                    self.record(&record, keys, &mut old, &mut new, &mut clear);
                }
                Err(_) => {
                    self.report.events += 1;
                    self.report.not_checked.unreadable += 1;
                }
            }
        }
        // What was opened goes with the page.
        zeroize::Zeroize::zeroize(&mut clear);
    }

    fn record(
        &mut self,
        record: &Record<'_>,
        keys: &Keys,
        old: &mut Tape,
        new: &mut Tape,
        clear: &mut Vec<u8>,
    ) {
        if self.is_other(record) {
            self.report.not_checked.other_contract += 1;
            return;
        }
        if self.gave_no_consent(record) {
            self.report.not_checked.no_consent += 1;
            return;
        }
        let head = &record.head;
        let reading = self.reading(head.schema, head.contract);
        let decoded = reading
            .as_ref()
            .filter(|reading| reading.plan.decode_stored(record.body, head.serialization, old).is_ok());
        let (Some(reading), Some(candidate)) = (decoded, self.candidate(head.contract)) else {
            self.report.not_checked.unreadable += 1;
            return;
        };
        let plan = &reading.plan;
        let key = keys.get(&(head.key_link, plan.contract().suite)).and_then(Option::as_deref);
        let mut opened = Vec::new();
        if !open_fields(record.body, plan, key, |field| self.needs(&field.path), old, &mut opened) {
            self.report.not_checked.key_gone += 1;
            return;
        }
        self.report.checked += 1;
        let refused = refusal(record, plan, &candidate, old, &opened, new, clear);
        if let Some(refused) = &refused {
            self.report.would_refuse += 1;
            *self.refusals.entry(refused.clone()).or_default() += 1;
        }
        let reading = reading.clone();
        self.count_followers(record, &reading, refused.is_some());
    }

    /// Whether the new contract looks at the field's value; a JSON Schema may look at any.
    fn needs(&self, path: &FieldPath) -> bool {
        let contract = &self.trial.contract;
        contract.key_field == *path
            || contract.data_subject_field.as_ref() == Some(path)
            || contract.validations.iter().any(|validation| validation.field == *path)
            || self.trial.schema.fingerprint().is_none()
    }

    fn count_followers(&mut self, record: &Record<'_>, reading: &ReadingPlan, refused: bool) {
        let old = &reading.plan.contract().reference;
        let new = &self.trial.contract.reference;
        for (follower, maskable) in self.followers.iter_mut().zip(&self.maskable) {
            let rule = &follower.derivation.rule;
            if !rule.passes(record.head.consent.iter(), self.zero) {
                continue;
            }
            let masked = masks(&follower.derivation, old);
            let now = !masked.iter().any(|field| reading.unmaskable.contains(field));
            let then = !refused && *maskable;
            follower.count.0 += u64::from(then && !now);
            follower.count.1 += u64::from(now && !then);
            let kept = masks(&follower.derivation, new);
            follower.count.2 += u64::from(now && then && masked.iter().any(|field| !kept.contains(field)));
        }
    }

    fn reading(&mut self, schema: &str, contract: &str) -> Option<ReadingPlan> {
        let pair = (schema.to_owned(), contract.to_owned());
        if let Some(known) = self.readings.get(&pair) {
            return known.clone();
        }
        let masked: Vec<FieldPath> = match contract.parse() {
            Ok(reference) => {
                self.followers.iter().flat_map(|f| masks(&f.derivation, &reference)).cloned().collect()
            }
            Err(_) => Vec::new(),
        };
        let reading = self.inventory.reading_plan(schema, contract, &masked).ok();
        self.readings.insert(pair, reading.clone());
        reading
    }

    /// The new contract under the name `contract`, which the stored events carry.
    fn candidate(&mut self, contract: &str) -> Option<Arc<EventPlan>> {
        if let Some(known) = self.candidates.get(contract) {
            return known.clone();
        }
        let renamed = contract.parse().ok().map(|reference: ContractRef| {
            let renamed = Contract { reference, ..Contract::clone(&self.trial.contract) };
            EventPlan::compile(Arc::clone(&self.trial.schema), Arc::new(renamed), &[])
        });
        let plan = renamed.and_then(Result::ok).map(Arc::new);
        self.candidates.insert(contract.to_owned(), plan.clone());
        plan
    }

    fn report(mut self) -> TrafficReport {
        let count = |((rule, field), count)| RefusalCount { rule, field, count };
        self.report.refusals = self.refusals.into_iter().map(count).collect();
        let derived = |f: Follower| DerivedCount {
            stream: f.name,
            gained: f.count.0,
            lost: f.count.1,
            unmasked: f.count.2,
        };
        self.report.derived = self.followers.into_iter().map(derived).collect();
        self.report
    }
}

fn masks<'a>(derivation: &'a Derivation, contract: &ContractRef) -> &'a [FieldPath] {
    let patterns = derivation.masks.as_ref().and_then(|masks| masks.patterns.get(contract));
    patterns.map_or(&[], Vec::as_slice)
}

/// The rule and field for which the candidate refuses the event; none when it takes it. Events of the same
/// schema are checked as they came in, others as plain JSON of the same fields.
fn refusal(
    record: &Record<'_>,
    plan: &EventPlan,
    candidate: &EventPlan,
    old: &Tape,
    opened: &[Option<Text>],
    new: &mut Tape,
    clear: &mut Vec<u8>,
) -> Option<(String, String)> {
    let same = candidate.schema().fingerprint().is_some()
        && candidate.schema().fingerprint() == plan.schema().fingerprint();
    let (form, serialization) =
        if same { (Form::AsReceived, record.head.serialization) } else { (Form::Json, Serialization::Json) };
    clear.clear();
    plan.encode(record.body, old, None, opened, form, clear);
    if let Err(error) = candidate.decode(clear, serialization, new) {
        if let DecodeError::SchemaMismatch { keyword, schema_path, .. } = error {
            return Some((format!("schema_mismatch {keyword}"), schema_path));
        }
        return Some((error.code().to_owned(), error.place().path().to_owned()));
    }
    let violation = candidate.validate(clear, new).err()?;
    Some((format!("regex {}", violation.rule), violation.field.to_string()))
}

/// How long a check waits for the one before.
const QUEUE_MAX: Duration = Duration::from_secs(5);
/// Bytes of the log held at a time, about.
const PAGE_BYTES: usize = 1 << 20;
