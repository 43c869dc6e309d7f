//! The way in: decode, check, find the key, seal, append. `DESIGN` 2, steps 2 to 6.
//!
//! Plain text lives in the request's body and in a [`Tape`] of the worker thread, and ends when the
//! sealed event has been packed. Nothing in here logs, names or returns a value of a field.

use std::{cell::RefCell, sync::Arc};

use arc_swap::ArcSwap;

use super::{Checks, Refusal, batch};
use crate::{
    actors::{Inventory, KeyRequest, KnownStream, OverLimit, PlanError, SessionKeys},
    clock::{Clock, Timestamp},
    config,
    crypto::{Fingerprinter, OpenKey},
    domain::{AfterErasure, Fingerprint, Levels, RecordBatch, RecordHead, Serialization, Suite, consent},
    event::{EventPlan, Form, Personal, Stamp, Tape, Text},
    storage::{AppendOptions, EventLog, OnceKey},
    telemetry::FatalSwitch,
};

/// Takes events. Cheap to clone.
#[derive(Clone)]
pub struct Intake(Arc<IntakeArgs>);

/// What [`Intake`] works with.
pub struct IntakeArgs {
    pub inventory: Arc<ArcSwap<Inventory>>,
    pub keys: SessionKeys,
    pub log: Arc<dyn EventLog>,
    pub fingerprints: Fingerprinter,
    pub event_bytes_max: usize,
    pub clock: Clock,
    pub consent: config::Consent,
    pub fatal: FatalSwitch,
    pub checks: Checks,
}

/// One event as it came in.
#[derive(Clone, Copy)]
pub(super) struct RawEvent<'a> {
    pub schema: &'a str,
    pub body: &'a [u8],
}

/// An event that was decoded and checked, and what it needs of a key.
pub(super) struct Checked {
    pub plan: Arc<EventPlan>,
    pub serialization: Serialization,
    pub session: Fingerprint,
    pub subject: Option<Fingerprint>,
    pub consented: bool,
}

thread_local! {
    /// Reused memory of one worker thread: the next event overwrites it.
    static WORK: RefCell<(Tape, Sealer)> = RefCell::default();
}

/// Buffers of sealing one event.
#[derive(Default)]
pub(super) struct Sealer {
    replaced: Vec<Option<Text>>,
    body: Vec<u8>,
}

impl Intake {
    /// An intake over `args`.
    #[must_use]
    pub fn new(args: IntakeArgs) -> Intake {
        Intake(Arc::new(args))
    }

    /// Takes one event for `stream`. Returns once it is durable.
    ///
    /// `schema` and `declared` are the headers `Strm-Schema-Ref` and `Strm-Serialization-Type`;
    /// `once` is the client's `Idempotency-Key`.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: nothing was stored.
    pub async fn accept(
        &self,
        stream: &KnownStream,
        schema: &str,
        declared: Option<&str>,
        body: &[u8],
        once: Option<&str>,
    ) -> Result<(), Refusal> {
        check_stream(stream)?;
        if stream.definition.limits.is_none() {
            return self.accept_one(stream, schema, declared, body, once).await;
        }
        if let (_, Some(over)) = self.take(stream, 1, true) {
            return Err(Refusal::OverLimit(over));
        }
        let accepted = self.accept_one(stream, schema, declared, body, once).await;
        if accepted.is_err() {
            self.give_back(stream, 1);
        }
        accepted
    }

    /// Takes room for up to `count` events, with `whole` for all or none.
    pub(super) fn take(&self, stream: &KnownStream, count: u32, whole: bool) -> (u32, Option<OverLimit>) {
        let limits = &stream.definition.limits;
        if limits.is_none() {
            return (count, None);
        }
        stream.live.take(limits, self.0.clock.steady(), count, whole)
    }

    /// Gives back room for events that were then not stored.
    pub(super) fn give_back(&self, stream: &KnownStream, count: u32) {
        stream.live.give_back(&stream.definition.limits, self.0.clock.steady(), count);
    }

    async fn accept_one(
        &self,
        stream: &KnownStream,
        schema: &str,
        declared: Option<&str>,
        body: &[u8],
        once: Option<&str>,
    ) -> Result<(), Refusal> {
        let event = RawEvent { schema, body };
        let mut batch = RecordBatch::default();
        let waiting = WORK.with_borrow_mut(|(tape, sealer)| {
            let checked = self.check(stream, event, declared, tape)?;
            let Some(key) = self.open_key(&checked) else { return Ok(Some(checked)) };
            self.seal(&checked, &key, event, tape, sealer, &mut batch)?;
            Ok::<_, Refusal>(None)
        })?;
        if let Some(checked) = waiting {
            // A session's first event. The tape is the thread's, so after the wait it is decoded again.
            let key = self.key(stream, &checked).await?;
            WORK.with_borrow_mut(|(tape, sealer)| {
                checked.plan.decode(body, checked.serialization, tape)?;
                self.seal(&checked, &key, event, tape, sealer, &mut batch)
            })?;
        }
        let once = once.map(|key| self.once_key(stream, "event", key, body));
        self.append(stream, batch, once).await.map(drop)
    }

    /// Decodes and checks one event into `tape`.
    pub(super) fn check(
        &self,
        stream: &KnownStream,
        RawEvent { schema, body }: RawEvent<'_>,
        declared: Option<&str>,
        tape: &mut Tape,
    ) -> Result<Checked, Refusal> {
        let inventory = self.0.inventory.load();
        let known = inventory.schema(schema).ok_or(PlanError::SchemaUnknown)?;
        let serialization = known.plan.sniff(declared, body);
        let contract = known.plan.contract_ref(body, serialization)?;
        let plan = inventory.plan(schema, &contract, &stream.definition.project)?;
        plan.decode(body, serialization, tape)?;
        plan.validate(body, tape)?;
        let consented = !consent::is_no_consent(tape.consent(), self.0.consent.zero_is_a_purpose);
        let fingerprints = &self.0.fingerprints;
        let key_value = tape.key_text().map(|text| tape.text(body, text)).unwrap_or_default();
        let session = fingerprints.session(&stream.definition.name, key_value);
        let subject = tape.subject_text().map(|text| fingerprints.subject(tape.text(body, text)));
        if subject.is_some_and(|subject| inventory.is_erased(subject)) && refuses_erased(stream) {
            return Err(Refusal::SubjectErased);
        }
        Ok(Checked { plan, serialization, session, subject, consented })
    }

    /// The key for a checked event, if it is open.
    pub(super) fn open_key(&self, checked: &Checked) -> Option<Arc<OpenKey>> {
        if self.is_separate(checked) {
            return None;
        }
        let now = self.0.clock.steady();
        self.0.keys.open(checked.session, checked.subject, suite(checked), checked.consented, now)
    }

    /// The key for a checked event, durable when this returns.
    pub(super) async fn key(&self, stream: &KnownStream, checked: &Checked) -> Result<Arc<OpenKey>, Refusal> {
        let name = &stream.definition.name;
        if self.is_separate(checked) {
            let now = self.0.clock.steady();
            return Ok(self.0.keys.without_consent(name, checked.session, suite(checked), now).await?);
        }
        let request = KeyRequest {
            stream: name.clone(),
            policy: stream.policy.clone(),
            session: checked.session,
            subject: checked.subject,
            suite: suite(checked),
            consented: checked.consented,
        };
        Ok(self.0.keys.resolve(request).await?)
    }

    /// Seals the personal fields of the decoded event, stamps it, and packs it into `batch`.
    pub(super) fn seal(
        &self,
        checked: &Checked,
        key: &OpenKey,
        RawEvent { schema, body }: RawEvent<'_>,
        tape: &mut Tape,
        sealer: &mut Sealer,
        batch: &mut RecordBatch,
    ) -> Result<(), Refusal> {
        let plan = &checked.plan;
        sealer.replaced.clear();
        for index in 0..tape.marks().len() {
            let mark = tape.marks()[index];
            let personal = plan.fields()[mark.field].personal.as_ref();
            let seal = |personal: &Personal| {
                tape.add(body, mark.text, |plain, out| key.seal(&personal.class, plain, out))
            };
            let sealed = personal.map(seal);
            let sealed = sealed.transpose().map_err(|_| self.stop_for_seal_mismatch())?;
            sealer.replaced.push(sealed);
        }
        let accepted = self.0.clock.now();
        let stamp = Stamp { nonce: nonce(), timestamp: accepted, key_link: key.key_link() };
        sealer.body.clear();
        plan.encode(body, tape, Some(&stamp), &sealer.replaced, Form::AsReceived, &mut sealer.body);
        if sealer.body.len() > STORED_FACTOR * self.0.event_bytes_max {
            return Err(Refusal::TooLarge);
        }
        let head = RecordHead {
            serialization: tape.serialization(),
            accepted,
            source_seq: 0,
            key_link: key.key_link(),
            schema,
            contract: plan.contract().reference.as_str(),
            consent: Levels::Plain(tape.consent()),
        };
        batch.push(&head, &sealer.body);
        Ok(())
    }

    /// Appends packed events; returns how many are stored. See [`batch`].
    pub(super) async fn append(
        &self,
        stream: &KnownStream,
        records: RecordBatch,
        once: Option<OnceKey>,
    ) -> Result<u64, Refusal> {
        let count = u64::from(records.count());
        if count == 0 {
            return Ok(0);
        }
        let options = AppendOptions { once, ..AppendOptions::default() };
        let appended = self.0.log.append(&stream.definition.name, records, options).await?;
        // What an earlier try stored under the same key stands, even where this one would store more.
        Ok(if appended.duplicate { appended.end - appended.first_seq } else { count })
    }

    /// Binds an idempotency key to the stream, to the `part` of a request it stands for and to its bytes:
    /// the same key with another body is another request, so that a key used twice loses nothing.
    pub(super) fn once_key(&self, stream: &KnownStream, part: &str, key: &str, bytes: &[u8]) -> OnceKey {
        let text = [part.as_bytes(), b"\0", key.as_bytes(), b"\0", bytes].concat();
        OnceKey(self.0.fingerprints.idempotency(&stream.definition.name, &text).0)
    }

    /// A seal that does not verify means that this machine cannot be trusted with keys: stop it.
    fn stop_for_seal_mismatch(&self) -> Refusal {
        self.0.fatal.trip("a sealed field did not open to what was sealed");
        Refusal::SealMismatch
    }

    /// Reads many events from one request body. See [`batch::BatchBody`].
    #[must_use]
    pub fn batch(
        &self,
        stream: Arc<KnownStream>,
        schema: String,
        format: batch::BatchFormat,
        atomic: bool,
        once: Option<String>,
    ) -> batch::BatchBody {
        batch::BatchBody::new(self.clone(), stream, schema, format, atomic, once)
    }

    pub(super) fn event_bytes_max(&self) -> usize {
        self.0.event_bytes_max
    }

    pub(super) fn inventory(&self) -> Arc<Inventory> {
        self.0.inventory.load_full()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.0.log)
    }

    pub(super) fn keys(&self) -> &SessionKeys {
        &self.0.keys
    }

    pub(super) fn checks(&self) -> &Checks {
        &self.0.checks
    }

    pub(super) fn zero_is_a_purpose(&self) -> bool {
        self.0.consent.zero_is_a_purpose
    }

    fn is_separate(&self, checked: &Checked) -> bool {
        !checked.consented && self.0.consent.separate_no_consent_keys
    }
}

/// Refuses events for streams that take none.
pub(super) fn check_stream(stream: &KnownStream) -> Result<(), Refusal> {
    if stream.definition.derived.is_some() {
        return Err(Refusal::DerivedStream);
    }
    if !stream.definition.enabled {
        return Err(Refusal::Disabled);
    }
    Ok(())
}

/// Whether the stream's policy takes nothing more of who was erased.
fn refuses_erased(stream: &KnownStream) -> bool {
    stream.policy.as_ref().is_some_and(|policy| policy.after_erasure == AfterErasure::Refuse)
}

fn suite(checked: &Checked) -> Suite {
    checked.plan.contract().suite
}

/// A stored event is at most this many times as large as one may be sent: sealing a value adds about 60 bytes.
const STORED_FACTOR: usize = 4;

/// The event's nonce: lets a consumer spot a copy. Not a cryptographic nonce.
fn nonce() -> i32 {
    rand::random()
}
