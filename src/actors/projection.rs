//! What a derived stream sees of a source event: a pure function of the record and a pinned rule.
//!
//! Consent is decided from the record's head before its body is touched. A body that any derived stream
//! wants is decoded once; each field is opened once; each distinct projection is written once, however
//! many derived streams share it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::ReadingPlan;
use crate::{
    crypto::{Masker, OpenKey},
    domain::{
        ConsentRule, ContractRef, FieldPath, KeyLink, Record, RecordBatch, RecordHead, Serialization, Suite,
    },
    event::{EventPlan, Field, Form, Tape, Text},
    storage::Chunk,
};

/// The rule of one derived stream. Derived streams with the same rule share one projection.
#[derive(Clone)]
pub struct Projection {
    pub rule: ConsentRule,
    pub zero_is_a_purpose: bool,
    /// Keep the serialization the event arrived in instead of writing JSON.
    pub as_received: bool,
    pub masks: Option<Arc<Masks>>,
}

/// Masks of one derived stream.
pub struct Masks {
    pub masker: Masker,
    pub fields: BTreeMap<ContractRef, Vec<FieldPath>>,
}

/// What one projection made of a batch of source records.
#[derive(Default)]
pub struct Projected {
    pub records: RecordBatch,
    pub dropped: u64,
    /// Events of an unknown schema or contract, or that cannot be decoded: they stay out.
    pub unreadable: u64,
    /// Fields that stay sealed because their key is gone or does not fit.
    pub unopened: u64,
}

/// Plans and keys that a batch needs, found beforehand.
#[derive(Default)]
pub struct Provisions {
    pub plans: HashMap<(String, String), Option<ReadingPlan>>,
    pub keys: HashMap<(KeyLink, Suite), Option<Arc<OpenKey>>>,
}

/// Reused memory of projecting.
#[derive(Default)]
pub struct Workbench {
    tape: Tape,
    opened: Vec<Option<Text>>,
    replaced: Vec<Option<Text>>,
    body: Vec<u8>,
    wanted: Vec<usize>,
}

impl Projection {
    /// Whether both make the same of every record.
    #[must_use]
    pub fn is_same(&self, other: &Projection) -> bool {
        let masks = match (&self.masks, &other.masks) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        masks
            && self.rule == other.rule
            && self.as_received == other.as_received
            && self.zero_is_a_purpose == other.zero_is_a_purpose
    }

    /// Whether the event with this head passes. Needs no body and no key.
    #[must_use]
    pub fn passes(&self, head: &RecordHead<'_>) -> bool {
        self.rule.passes(head.consent.iter(), self.zero_is_a_purpose)
    }

    /// Whether every field this projection masks is found, or is not there at all.
    fn can_mask(&self, reading: &ReadingPlan) -> bool {
        let Some(masks) = &self.masks else { return true };
        let fields = masks.fields.get(&reading.plan.contract().reference);
        fields.is_none_or(|fields| !fields.iter().any(|field| reading.unmaskable.contains(field)))
    }

    fn masks_field(&self, plan: &EventPlan, field: usize) -> bool {
        let Some(masks) = &self.masks else { return false };
        let fields = masks.fields.get(&plan.contract().reference);
        fields.is_some_and(|fields| fields.contains(&plan.fields()[field].path))
    }
}

/// The records from `from` on of `chunks`, with their sequences.
pub fn records_of(chunks: &[Chunk], from: u64) -> impl Iterator<Item = (u64, Option<Record<'_>>)> {
    chunks.iter().flat_map(move |chunk| chunk.records(from).map(|(seq, record)| (seq, record.ok())))
}

/// Projects the records from `from` on of `chunks`. One result per projection, in their order.
#[must_use]
pub fn project(
    chunks: &[Chunk],
    from: u64,
    projections: &[Arc<Projection>],
    provisions: &Provisions,
    bench: &mut Workbench,
) -> Vec<Projected> {
    let mut results: Vec<Projected> = Vec::new();
    results.resize_with(projections.len(), Projected::default);
    for (sequence, record) in records_of(chunks, from) {
        let Some(record) = record else {
            results.iter_mut().for_each(|result| result.unreadable += 1);
            continue;
        };
        bench.wanted.clear();
        for (at, projection) in projections.iter().enumerate() {
            if projection.passes(&record.head) {
                bench.wanted.push(at);
            } else {
                results[at].dropped += 1;
            }
        }
        if !bench.wanted.is_empty() {
            project_record(sequence, &record, projections, provisions, bench, &mut results);
        }
    }
    // Every derived stream with this projection appends the same bytes.
    results.iter_mut().for_each(|result| result.records.share());
    results
}

fn project_record(
    sequence: u64,
    record: &Record<'_>,
    projections: &[Arc<Projection>],
    provisions: &Provisions,
    bench: &mut Workbench,
    results: &mut [Projected],
) {
    let head = &record.head;
    let reading = provisions.plan(head);
    let decoded = reading
        .map(|reading| &*reading.plan)
        .filter(|plan| plan.decode_stored(record.body, head.serialization, &mut bench.tape).is_ok());
    let (Some(plan), Some(reading)) = (decoded, reading) else {
        bench.wanted.iter().for_each(|at| results[*at].unreadable += 1);
        return;
    };
    bench.wanted.retain(|at| {
        let masked = projections[*at].can_mask(reading);
        results[*at].unreadable += u64::from(!masked);
        masked
    });
    let key = provisions.key(head.key_link, plan.contract().suite);
    open_wanted(record.body, plan, key, projections, bench);
    for index in 0..bench.wanted.len() {
        let at = bench.wanted[index];
        let projection = &projections[at];
        let unopened = choose_texts(record.body, plan, projection, bench);
        let (form, serialization) = if projection.as_received {
            (Form::AsReceived, head.serialization)
        } else {
            (Form::Json, Serialization::Json)
        };
        bench.body.clear();
        plan.encode(record.body, &bench.tape, None, &bench.replaced, form, &mut bench.body);
        let head = RecordHead { source_seq: sequence, serialization, ..*head };
        results[at].records.push(&head, &bench.body);
        results[at].unopened += unopened;
    }
}

/// Opens every field that some wanted projection opens.
fn open_wanted(
    body: &[u8],
    plan: &EventPlan,
    key: Option<&OpenKey>,
    projections: &[Arc<Projection>],
    bench: &mut Workbench,
) {
    let Workbench { tape, opened, wanted, .. } = bench;
    let opens = |field: &Field| {
        let level = field.personal.as_ref().map(|personal| personal.level);
        level.is_some_and(|level| wanted.iter().any(|at| projections[*at].rule.opens(level)))
    };
    open_fields(body, plan, key, opens, tape, opened);
}

/// Opens the personal fields that are `wanted`: one entry in `opened` for each mark of `tape`, none for a
/// field that is not wanted or cannot be opened. Returns whether every wanted one was opened.
pub fn open_fields(
    body: &[u8],
    plan: &EventPlan,
    key: Option<&OpenKey>,
    wanted: impl Fn(&Field) -> bool,
    tape: &mut Tape,
    opened: &mut Vec<Option<Text>>,
) -> bool {
    let mut all = true;
    opened.clear();
    for index in 0..tape.marks().len() {
        let mark = tape.marks()[index];
        let field = &plan.fields()[mark.field];
        let text = match (&field.personal, key) {
            (Some(personal), Some(key)) if wanted(field) => {
                tape.add(body, mark.text, |sealed, out| key.open(&personal.class, sealed, out)).ok()
            }
            _ => None,
        };
        all &= text.is_some() || field.personal.is_none() || !wanted(field);
        opened.push(text);
    }
    all
}

/// Chooses for every mark what `projection` sees of it. Returns the number of fields it should see open
/// and cannot.
fn choose_texts(body: &[u8], plan: &EventPlan, projection: &Projection, bench: &mut Workbench) -> u64 {
    let mut unopened = 0;
    bench.replaced.clear();
    for index in 0..bench.tape.marks().len() {
        let mark = bench.tape.marks()[index];
        let personal = plan.fields()[mark.field].personal.as_ref();
        let readable = match personal {
            None => Some(mark.text),
            Some(field) if projection.rule.opens(field.level) => {
                unopened += u64::from(bench.opened[index].is_none());
                bench.opened[index]
            }
            Some(_) => None,
        };
        let shown = match (readable, &projection.masks) {
            (Some(text), Some(masks)) if projection.masks_field(plan, mark.field) => {
                let mask = |plain: &[u8], out: &mut Vec<u8>| {
                    masks.masker.mask(plain, out);
                    Ok::<_, std::convert::Infallible>(())
                };
                bench.tape.add(body, text, mask).ok()
            }
            (Some(text), _) => Some(text),
            (None, _) => None,
        };
        bench.replaced.push(shown);
    }
    unopened
}

impl Provisions {
    fn plan(&self, head: &RecordHead<'_>) -> Option<&ReadingPlan> {
        // A borrowed pair cannot be looked up in a map of owned pairs, and there are few plans.
        let is_it =
            |(schema, contract): &&(String, String)| schema == head.schema && contract == head.contract;
        let pair = self.plans.keys().find(is_it)?;
        self.plans.get(pair)?.as_ref()
    }

    fn key(&self, link: KeyLink, suite: Suite) -> Option<&OpenKey> {
        self.keys.get(&(link, suite))?.as_deref()
    }

    /// Whether the plan of this head was looked for.
    #[must_use]
    pub fn knows_plan(&self, head: &RecordHead<'_>) -> bool {
        self.plans.keys().any(|(schema, contract)| schema == head.schema && contract == head.contract)
    }
}
