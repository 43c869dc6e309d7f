//! A dry run: what would become of one event, here and in each derived stream, and why.
//!
//! Nothing is stored and no key is made or opened. The answer holds names of fields, levels and rules; never
//! a value of the event.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Intake, Refusal,
    intake::{RawEvent, check_stream},
};
use crate::{
    actors::{Inventory, KnownStream},
    domain::{ContractRef, FieldPath, StreamName, consent, stream_definition::Derivation},
    event::{EventPlan, Tape},
};

/// What would become of an event.
pub struct Explanation {
    /// Why it would not be taken; none: it would.
    pub refusal: Option<Refusal>,
    /// What was found out of an event that can be decoded.
    pub seen: Option<Seen>,
}

/// What is known of an event that can be decoded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    pub contract: ContractRef,
    pub consent_levels: Vec<i32>,
    /// Whether its levels count as consent at all.
    pub consents: bool,
    pub derived: Vec<DerivedView>,
}

/// What one derived stream would get of the event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DerivedView {
    pub stream: StreamName,
    pub passes: bool,
    /// Why it does not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<WhyNot>,
    /// Levels it asks for that the event does not consent to.
    pub levels_missing: Vec<i32>,
    /// Levels it asks for that no field of the contract has.
    pub unknown_purposes: Vec<i32>,
    pub fields: Vec<FieldView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhyNot {
    /// The event's levels are empty, or only 0.
    NoConsent,
    ConsentMissing,
    StreamDisabled,
    /// A field the stream masks has a form that cannot be masked: the event stays out.
    Unmaskable,
    /// The event itself would be refused.
    EventRefused,
}

/// What becomes of a field that is personal or masked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldView {
    pub path: FieldPath,
    /// None: not personal.
    pub level: Option<i32>,
    /// Whether the event has a value for it.
    pub present: bool,
    pub shown: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_sealed: Option<WhySealed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    Open,
    Masked,
    Sealed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhySealed {
    /// The stream does not ask for the field's level.
    LevelNotAsked,
    /// The event does not reach the stream.
    EventStaysOut,
}

impl Intake {
    /// What would become of one event for `stream`, sent with these headers.
    #[must_use]
    pub fn explain(
        &self,
        stream: &KnownStream,
        schema: &str,
        declared: Option<&str>,
        body: &[u8],
        sees: impl Fn(&KnownStream) -> bool,
    ) -> Explanation {
        let mut tape = Tape::new();
        let refusal = match check_stream(stream) {
            Err(refusal) => Some(refusal),
            Ok(()) => {
                let event = RawEvent { schema, body };
                self.check(stream, event, declared, &mut tape).err()
            }
        };
        let inventory = self.inventory();
        let mut seen = self.see(&inventory, stream, schema, declared, body, refusal.is_some());
        if let Some(seen) = &mut seen {
            seen.derived.retain(|view| inventory.stream(&view.stream).is_some_and(|known| sees(known)));
        }
        Explanation { refusal, seen }
    }

    /// Decodes the event also where it would be refused for another reason than its form.
    fn see(
        &self,
        inventory: &Inventory,
        stream: &KnownStream,
        schema: &str,
        declared: Option<&str>,
        body: &[u8],
        refused: bool,
    ) -> Option<Seen> {
        let known = inventory.schema(schema)?;
        let serialization = known.plan.sniff(declared, body);
        let named = known.plan.contract_ref(body, serialization).ok()?;
        let zero = self.zero_is_a_purpose();
        let (mut tape, mut derived) = (Tape::new(), Vec::new());
        let plan = inventory.reading_plan(schema, &named, &[]).ok()?.plan;
        // Another project's contract is answered as one that does not exist.
        if !plan.contract().serves(&stream.definition.project) {
            return None;
        }
        plan.decode(body, serialization, &mut tape).ok()?;
        let levels = tape.consent().to_vec();
        let mut streams: Vec<_> = inventory.derived_from(&stream.definition.name).collect();
        streams.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        for known in streams {
            let Some(rule) = &known.definition.derived else { continue };
            let masked = masked_fields(rule, &plan.contract().reference);
            let reading = inventory.reading_plan(schema, &named, &masked).ok()?;
            reading.plan.decode(body, serialization, &mut tape).ok()?;
            let unmaskable = masked.iter().any(|field| reading.unmaskable.contains(field));
            let facts = Facts { levels: &levels, zero, refused, unmaskable, masked: &masked };
            derived.push(view(known, rule, &reading.plan, &tape, &facts));
        }
        let consents = !consent::is_no_consent(&levels, zero);
        let contract = plan.contract().reference.clone();
        Some(Seen { contract, consent_levels: levels, consents, derived })
    }
}

/// What the view of a derived stream depends on beside its own rule.
struct Facts<'a> {
    levels: &'a [i32],
    zero: bool,
    refused: bool,
    unmaskable: bool,
    masked: &'a [FieldPath],
}

fn masked_fields(derivation: &Derivation, contract: &ContractRef) -> Vec<FieldPath> {
    let patterns = derivation.masks.as_ref().and_then(|masks| masks.patterns.get(contract));
    patterns.cloned().unwrap_or_default()
}

fn view(
    known: &KnownStream,
    derivation: &Derivation,
    plan: &EventPlan,
    tape: &Tape,
    facts: &Facts<'_>,
) -> DerivedView {
    let rule = &derivation.rule;
    let lets_pass = rule.passes(facts.levels.iter().copied(), facts.zero);
    let why_not = if facts.refused {
        Some(WhyNot::EventRefused)
    } else if !known.definition.enabled {
        Some(WhyNot::StreamDisabled)
    } else if consent::is_no_consent(facts.levels, facts.zero) {
        Some(WhyNot::NoConsent)
    } else if !lets_pass {
        Some(WhyNot::ConsentMissing)
    } else if facts.unmaskable {
        Some(WhyNot::Unmaskable)
    } else {
        None
    };
    let carried =
        |level: &i32| plan.fields().iter().any(|f| f.personal.as_ref().is_some_and(|p| p.level == *level));
    let fields = (0..).zip(plan.fields()).filter_map(|(number, field)| {
        let level = field.personal.as_ref().map(|personal| personal.level);
        let masked = facts.masked.contains(&field.path);
        if level.is_none() && !masked {
            return None;
        }
        let why_sealed = match level {
            _ if why_not.is_some() => Some(WhySealed::EventStaysOut),
            Some(level) if !rule.opens(level) => Some(WhySealed::LevelNotAsked),
            _ => None,
        };
        let shown = match (why_sealed, masked) {
            (Some(_), _) => Shown::Sealed,
            (None, true) => Shown::Masked,
            (None, false) => Shown::Open,
        };
        let present = tape.marks().iter().any(|mark| mark.field == number);
        Some(FieldView { path: field.path.clone(), level, present, shown, why_sealed })
    });
    DerivedView {
        stream: known.definition.name.clone(),
        passes: why_not.is_none(),
        why_not,
        levels_missing: if lets_pass { Vec::new() } else { rule.missing(facts.levels) },
        unknown_purposes: rule.levels().into_iter().filter(|level| !carried(level)).collect(),
        fields: fields.collect(),
    }
}
