//! Many events in one request body: NDJSON or an Avro object container, read as it arrives.
//!
//! Events are worked in groups, so that memory stays bounded whatever the body's length and the keys of
//! all new sessions of a group are made in one commit. A group is cut by event count and size alone,
//! never by how the network cut the body: a repeated request has the same groups, and with an
//! idempotency key each is stored once.

use std::{collections::HashMap, ops::Range, sync::Arc};

use futures_util::future::try_join_all;

use super::{
    Intake, Refusal,
    intake::{Checked, RawEvent, Sealer, check_stream},
};
use crate::{
    actors::{KnownStream, PlanError},
    crypto::OpenKey,
    domain::{Fingerprint, RecordBatch},
    event::{
        Tape,
        container::{Container, ContainerError},
    },
    storage::{AppendError, OnceKey},
};

/// How the events of a body are delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFormat {
    /// One JSON event a line.
    Ndjson,
    /// Avro object container file.
    Container,
}

/// The event at `index` (from 0, in the order of the body) was refused.
#[derive(Debug)]
pub struct RefusedEvent {
    pub index: u64,
    pub refusal: Refusal,
}

/// What became of a body that was read to its end.
#[derive(Debug, Default)]
pub struct BatchReport {
    /// Events stored.
    pub accepted: u64,
    /// Events refused, in order.
    pub refused: Vec<RefusedEvent>,
    /// The request was atomic and an event was refused: nothing was stored.
    pub undone: bool,
}

/// Why a body was not read to its end. Events of earlier groups may be stored: `accepted` of them.
#[derive(Debug, thiserror::Error)]
pub enum BatchStop {
    #[error("{refusal}")]
    Refused { accepted: u64, refusal: Refusal },
    #[error("{source}")]
    Container { accepted: u64, source: ContainerError },
    #[error("the container was written with another schema than the request names")]
    OtherSchema { accepted: u64 },
    #[error("more than {REFUSED_MAX} events were refused")]
    TooManyRefused(BatchReport),
}

/// Reads one body.
pub struct BatchBody {
    intake: Intake,
    stream: Arc<KnownStream>,
    schema: String,
    input: Input,
    atomic: bool,
    once: Option<String>,
    event_bytes_max: usize,
    group: Group,
    groups: u64,
    seen: u64,
    /// Sealed events of an atomic request, kept until its end, and the key of all bytes they came from.
    kept: RecordBatch,
    digest: Option<OnceKey>,
    report: BatchReport,
    /// Roughly what `report` holds.
    refused_bytes: usize,
}

enum Input {
    Lines { partial: Vec<u8>, skipping: bool },
    Container(Box<Container>),
}

/// Events that are worked together, behind one another in `bytes`.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    events: Vec<(u64, Range<usize>)>,
    tapes: Vec<Tape>,
    sealer: Sealer,
}

/// A checked event of a group: its index there, and what it needs.
type Ready = (usize, Checked);

impl BatchBody {
    pub(super) fn new(
        intake: Intake,
        stream: Arc<KnownStream>,
        schema: String,
        format: BatchFormat,
        atomic: bool,
        once: Option<String>,
    ) -> BatchBody {
        let event_bytes_max = intake.event_bytes_max();
        let input = match format {
            BatchFormat::Ndjson => Input::Lines { partial: Vec::new(), skipping: false },
            BatchFormat::Container => Input::Container(Box::new(Container::new(BLOCK_BYTES_MAX))),
        };
        BatchBody {
            intake,
            stream,
            schema,
            input,
            atomic,
            once,
            event_bytes_max,
            group: Group::default(),
            groups: 0,
            seen: 0,
            kept: RecordBatch::default(),
            digest: None,
            report: BatchReport::default(),
            refused_bytes: 0,
        }
    }

    /// Takes the next bytes of the body; stores the events of every group that became full.
    ///
    /// # Errors
    ///
    /// [`BatchStop`]: the rest of the body is not wanted.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), BatchStop> {
        if self.seen == 0 {
            self.check_target()?;
        }
        match self.input {
            Input::Lines { .. } => self.push_lines(bytes).await,
            Input::Container(_) => self.push_container(bytes).await,
        }
    }

    /// Ends the body: stores what is left and reports.
    ///
    /// # Errors
    ///
    /// [`BatchStop`].
    pub async fn finish(mut self) -> Result<BatchReport, BatchStop> {
        self.check_target()?;
        match &mut self.input {
            Input::Lines { partial, skipping } => {
                let last = std::mem::take(partial);
                if !*skipping {
                    self.take_line(&last).await?;
                }
            }
            Input::Container(reader) => {
                reader.end();
                self.push_container(&[]).await?;
            }
        }
        if let Input::Container(reader) = &self.input
            && let Err(source) = reader.finish()
        {
            return Err(BatchStop::Container { accepted: self.report.accepted, source });
        }
        self.work_group().await?;
        if self.atomic {
            self.store_atomically().await?;
        }
        Ok(self.report)
    }

    /// Events stored so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.report.accepted
    }

    /// Bytes of the body that are held and not yet stored, with what the report will say.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let input = match &self.input {
            Input::Lines { partial, .. } => partial.len(),
            Input::Container(container) => container.held_bytes(),
        };
        input + self.group.bytes.len() + self.kept.bytes().len() + self.refused_bytes
    }

    fn check_target(&self) -> Result<(), BatchStop> {
        check_stream(&self.stream).map_err(|refusal| self.stop(refusal))?;
        if self.intake.inventory().schema(&self.schema).is_none() {
            return Err(self.stop(PlanError::SchemaUnknown.into()));
        }
        Ok(())
    }

    fn stop(&self, refusal: Refusal) -> BatchStop {
        BatchStop::Refused { accepted: self.report.accepted, refusal }
    }

    async fn push_lines(&mut self, mut bytes: &[u8]) -> Result<(), BatchStop> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            let Input::Lines { partial, skipping } = &mut self.input else { return Ok(()) };
            if std::mem::take(skipping) {
                partial.clear();
                continue;
            }
            if partial.is_empty() {
                self.take_line(line).await?;
            } else {
                let mut whole = std::mem::take(partial);
                whole.extend_from_slice(line);
                self.take_line(&whole).await?;
            }
        }
        let limit = self.event_bytes_max;
        let Input::Lines { partial, skipping } = &mut self.input else { return Ok(()) };
        if !*skipping {
            partial.extend_from_slice(bytes);
            if partial.len() > limit {
                *partial = Vec::new();
                *skipping = true;
                self.refuse_too_large()?;
            }
        }
        Ok(())
    }

    async fn take_line(&mut self, line: &[u8]) -> Result<(), BatchStop> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        self.take_event(line).await
    }

    async fn push_container(&mut self, bytes: &[u8]) -> Result<(), BatchStop> {
        let accepted = self.report.accepted;
        let container = |source| BatchStop::Container { accepted, source };
        let Input::Container(reader) = &mut self.input else { return Ok(()) };
        reader.push(bytes);
        loop {
            let Input::Container(reader) = &mut self.input else { return Ok(()) };
            let Some(block) = reader.next_block().map_err(container)? else { return Ok(()) };
            let inventory = self.intake.inventory();
            let Some(known) = inventory.schema(&self.schema) else {
                return Err(self.stop(PlanError::SchemaUnknown.into()));
            };
            if !reader.writer_schema().is_some_and(|written| known.plan.is_written_by(written)) {
                return Err(BatchStop::OtherSchema { accepted });
            }
            let mut rest = &block.bytes[..];
            for _ in 0..block.count {
                let length = known.plan.datum_len(rest).map_err(|error| self.stop(error.into()))?;
                let (datum, after) = rest.split_at(length);
                rest = after;
                self.take_event(datum).await?;
            }
            if !rest.is_empty() {
                return Err(container(ContainerError::Block));
            }
        }
    }

    async fn take_event(&mut self, event: &[u8]) -> Result<(), BatchStop> {
        if event.len() > self.event_bytes_max {
            return self.refuse_too_large();
        }
        let start = self.group.bytes.len();
        self.group.bytes.extend_from_slice(event);
        self.group.events.push((self.seen, start..start + event.len()));
        self.seen += 1;
        if self.group.events.len() >= GROUP_EVENTS || self.group.bytes.len() >= GROUP_BYTES {
            self.work_group().await?;
        }
        Ok(())
    }

    fn refuse_too_large(&mut self) -> Result<(), BatchStop> {
        let index = self.seen;
        self.seen += 1;
        self.refuse(index, Refusal::TooLarge)
    }

    fn refuse(&mut self, index: u64, refusal: Refusal) -> Result<(), BatchStop> {
        let value = match &refusal {
            Refusal::Violation(violation) => violation.value.as_ref().map_or(0, String::len),
            _ => 0,
        };
        self.refused_bytes += std::mem::size_of::<RefusedEvent>() + value;
        self.report.refused.push(RefusedEvent { index, refusal });
        if self.report.refused.len() > REFUSED_MAX {
            return Err(BatchStop::TooManyRefused(std::mem::take(&mut self.report)));
        }
        Ok(())
    }

    /// Works the events of the group that the stream's limits let in, and refuses the rest.
    ///
    /// With an idempotency key a group is let in as a whole or not at all: what a try stored under the key
    /// stands for the whole group. An atomic request takes its room when it is stored.
    async fn work_group(&mut self) -> Result<(), BatchStop> {
        self.renew_stream()?;
        let mut group = std::mem::take(&mut self.group);
        let count = u32::try_from(group.events.len()).unwrap_or(u32::MAX);
        if self.atomic || count == 0 || self.stream.definition.limits.is_none() {
            return self.work_events(group).await;
        }
        let (granted, over) = self.intake.take(&self.stream, count, self.once.is_some());
        let left_out = group.events.split_off(granted as usize);
        let before = self.report.accepted;
        let worked = self.work_events(group).await;
        let stored = u32::try_from(self.report.accepted - before).unwrap_or(u32::MAX);
        self.intake.give_back(&self.stream, granted.saturating_sub(stored));
        worked?;
        for (index, _) in left_out {
            if let Some(over) = over {
                self.refuse(index, Refusal::OverLimit(over))?;
            }
        }
        Ok(())
    }

    /// A long body sees what was changed while it arrived.
    fn renew_stream(&mut self) -> Result<(), BatchStop> {
        let inventory = self.intake.inventory();
        let known = inventory.stream(&self.stream.definition.name).cloned();
        self.stream = known.ok_or_else(|| self.stop(AppendError::UnknownStream.into()))?;
        check_stream(&self.stream).map_err(|refusal| self.stop(refusal))
    }

    /// Checks, seals and stores events.
    async fn work_events(&mut self, mut group: Group) -> Result<(), BatchStop> {
        let ready = self.check_group(&mut group)?;
        let keys = self.keys_for(&ready).await.map_err(|refusal| self.stop(refusal))?;
        let mut batch = RecordBatch::default();
        for ((at, checked), key) in ready.iter().zip(&keys) {
            let event = RawEvent { schema: &self.schema, body: &group.bytes[group.events[*at].1.clone()] };
            self.intake
                .seal(checked, key, event, &mut group.tapes[*at], &mut group.sealer, &mut batch)
                .map_err(|refusal| self.stop(refusal))?;
        }
        let raw = std::mem::take(&mut group.bytes);
        group.events.clear();
        self.group = group;
        if self.atomic {
            self.kept.extend(&batch);
            self.digest =
                self.once_key("atomic", &[&self.digest.map_or([0; 16], |key| key.0)[..], &raw].concat());
            return Ok(());
        }
        let part = format!("group {}", self.groups);
        self.groups += 1;
        let once = self.once_key(&part, &raw);
        self.report.accepted += self.append(batch, once).await?;
        Ok(())
    }

    fn check_group(&mut self, group: &mut Group) -> Result<Vec<Ready>, BatchStop> {
        let declared = match self.input {
            Input::Lines { .. } => Some("application/json"),
            Input::Container(_) => Some("application/x-avro-binary"),
        };
        group.tapes.resize_with(group.events.len().max(group.tapes.len()), Tape::default);
        let mut ready = Vec::with_capacity(group.events.len());
        for (at, (index, range)) in group.events.iter().enumerate() {
            let event = RawEvent { schema: &self.schema, body: &group.bytes[range.clone()] };
            match self.intake.check(&self.stream, event, declared, &mut group.tapes[at]) {
                Ok(checked) => ready.push((at, checked)),
                Err(refusal) => self.refuse(*index, refusal)?,
            }
        }
        Ok(ready)
    }

    /// The keys of checked events, in their order. Those of new sessions are made side by side.
    async fn keys_for(&self, ready: &[Ready]) -> Result<Vec<Arc<OpenKey>>, Refusal> {
        let mut missing: HashMap<(Fingerprint, Option<Fingerprint>, bool), Option<&Checked>> = HashMap::new();
        let open: Vec<_> = ready.iter().map(|(_, checked)| self.intake.open_key(checked)).collect();
        for ((_, checked), key) in ready.iter().zip(&open) {
            if key.is_none() {
                missing.insert((checked.session, checked.subject, checked.consented), Some(checked));
            }
        }
        let stream = &self.stream;
        let made = missing.values().flatten().map(|checked| self.intake.key(stream, checked));
        try_join_all(made).await?;
        let mut keys = Vec::with_capacity(ready.len());
        for ((_, checked), key) in ready.iter().zip(open) {
            keys.push(match key.or_else(|| self.intake.open_key(checked)) {
                Some(key) => key,
                None => self.intake.key(stream, checked).await?,
            });
        }
        Ok(keys)
    }

    async fn store_atomically(&mut self) -> Result<(), BatchStop> {
        if !self.report.refused.is_empty() {
            self.report.undone = true;
            return Ok(());
        }
        let kept = std::mem::take(&mut self.kept);
        self.renew_stream()?;
        let count = kept.count();
        if let (_, Some(over)) = self.intake.take(&self.stream, count, true) {
            return Err(self.stop(Refusal::OverLimit(over)));
        }
        let stored = self.append(kept, self.digest).await;
        if stored.is_err() {
            self.intake.give_back(&self.stream, count);
        }
        self.report.accepted = stored?;
        Ok(())
    }

    /// Binds the client's idempotency key to these bytes: another body under the same key is another request.
    fn once_key(&self, part: &str, bytes: &[u8]) -> Option<OnceKey> {
        self.once.as_deref().map(|key| self.intake.once_key(&self.stream, part, key, bytes))
    }

    async fn append(&self, batch: RecordBatch, once: Option<OnceKey>) -> Result<u64, BatchStop> {
        self.intake.append(&self.stream, batch, once).await.map_err(|refusal| self.stop(refusal))
    }
}

/// Events and bytes of a group: enough to share a commit, little enough to hold in memory.
const GROUP_EVENTS: usize = 256;
const GROUP_BYTES: usize = 256 << 10;
/// Bytes of one block of a container, packed or not.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// Refused events one request may report. A producer that breaks more has another problem.
pub const REFUSED_MAX: usize = 1_000;
