//! A contract on a schema, compiled once: decodes, validates and encodes events.

use std::sync::Arc;

use regex::Regex;

use super::{
    avro,
    contract_rules::Rules,
    error::{ContractError, DecodeError, Place, Violation},
    json,
    json_body::{self, Trail},
    json_scan::Scan,
    meta::{self, MetaShape},
    schema_plan::{SchemaPlan, Shape},
    shape::{NodeId, Nodes},
    tape::{Origin, Tape, Text},
    write::{self, JsonWriter, Source},
};
use crate::{
    clock::Timestamp,
    domain::{Contract, FieldPath, KeyLink, Serialization, limits},
};

/// A field the plan finds in every event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub path: FieldPath,
    pub personal: Option<Personal>,
    pub is_key: bool,
    pub is_subject: bool,
}

/// What a personal field is sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Personal {
    pub level: i32,
    /// Associated data: the field's equality class.
    pub class: Vec<u8>,
}

/// What the gateway writes into `strmMeta`, over whatever the producer put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub nonce: i32,
    pub timestamp: Timestamp,
    pub key_link: KeyLink,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the serialization it came in ([`Tape::serialization`]).
    AsReceived,
    /// Plain JSON, compact, in schema order (JSON Schema: `strmMeta` first, then as received).
    Json,
}

/// A schema with one contract, and the fields that are masked.
#[derive(Debug)]
pub struct EventPlan {
    schema: Arc<SchemaPlan>,
    contract: Arc<Contract>,
    pub(super) fields: Vec<Field>,
    pub(super) rules: Vec<ValueRule>,
    pub(super) layout: Layout,
}

/// A validation: the field's number, the pattern as the contract has it and as it runs.
#[derive(Debug)]
pub(super) struct ValueRule {
    pub field: usize,
    pub pattern: String,
    pub regex: Regex,
}

/// Where the fields are.
#[derive(Debug)]
pub(super) enum Layout {
    Avro { nodes: Nodes, root: NodeId, meta: MetaShape },
    Json(Trail),
}

impl EventPlan {
    /// Checks every rule a contract must keep against its schema, and compiles both. `extra` are further
    /// string fields to find, those of masks.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule, and which rule.
    pub fn compile(
        schema: Arc<SchemaPlan>,
        contract: Arc<Contract>,
        extra: &[FieldPath],
    ) -> Result<EventPlan, ContractError> {
        let Rules { fields, rules, layout } = Rules::check(&schema, &contract, extra)?;
        Ok(EventPlan { schema, contract, fields, rules, layout })
    }

    /// What an author should know although nothing is wrong. Empty when there is nothing to say.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let few = |field: &Field| {
            let finite = self
                .rules
                .iter()
                .any(|rule| self.fields[rule.field].path == field.path && lists_few_values(&rule.pattern));
            finite || self.schema.lists_values(&field.path)
        };
        let mut warnings = Vec::new();
        for field in self.fields.iter().filter(|field| field.personal.is_some() && few(field)) {
            warnings.push(format!(
                "{}: takes only a few different values; equal values of one session seal to equal text, so \
                 whoever counts them may guess them",
                field.path
            ));
        }
        for field in self.fields.iter().filter(|field| field.is_key && few(field)) {
            warnings.push(format!(
                "{}: the key field takes only a few different values; events of many people then share one \
                 session and its key",
                field.path
            ));
        }
        let joined =
            |field: &&Field| field.personal.as_ref().is_some_and(|personal| personal.class.is_empty());
        if self.fields.iter().filter(joined).count() > 1 {
            warnings.push(
                "fields of the empty equality class show equal values as equal across fields; name classes to \
                 keep them apart"
                    .to_owned(),
            );
        }
        warnings
    }

    /// The fields that [`Tape::marks`] refers to.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The schema this plan is for.
    #[must_use]
    pub fn schema(&self) -> &Arc<SchemaPlan> {
        &self.schema
    }

    /// The contract this plan is for.
    #[must_use]
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// Decodes an event as a producer sends it, strictly. Nothing in `tape` survives.
    ///
    /// `s` tells Avro binary from JSON; both JSON forms are accepted for either JSON value.
    ///
    /// # Errors
    ///
    /// The event does not follow the schema, has no key, or names another contract. Not retryable.
    pub fn decode(&self, body: &[u8], s: Serialization, tape: &mut Tape) -> Result<(), DecodeError> {
        self.decode_stored(body, s, tape)?;
        self.check_key_length(tape)?;
        match &self.schema.shape {
            Shape::Json(shape) => shape.validate(body),
            Shape::Avro(_) => Ok(()),
        }
    }

    /// Decodes an event as a log holds it. Sealed text may be longer than a JSON Schema allows or not match
    /// its patterns, so that schema is not consulted again; everything else is as in [`EventPlan::decode`].
    ///
    /// # Errors
    ///
    /// As [`EventPlan::decode`].
    pub fn decode_stored(&self, body: &[u8], s: Serialization, tape: &mut Tape) -> Result<(), DecodeError> {
        if s == Serialization::AvroBinary {
            let length = self.decode_first(body, tape)?;
            return match length == body.len() {
                true => Ok(()),
                false => Err(DecodeError::AvroTrailingBytes(Place::at(length))),
            };
        }
        check_length(body)?;
        tape.clear(false);
        match &self.layout {
            Layout::Json(trail) => json_body::decode(trail, body, tape)?,
            Layout::Avro { nodes, root, meta } => {
                json::decode(nodes, *root, body, tape)?;
                self.take_meta(meta, body, tape)?;
            }
        }
        self.finish(body, tape)
    }

    /// Decodes the first Avro datum of `bytes` and returns its length. For validation, sealing and
    /// encoding pass `&bytes[..length]`, or `bytes` itself.
    ///
    /// # Errors
    ///
    /// As [`EventPlan::decode`], except that bytes may follow.
    pub fn decode_first(&self, bytes: &[u8], tape: &mut Tape) -> Result<usize, DecodeError> {
        check_length(bytes)?;
        tape.clear(true);
        let Layout::Avro { nodes, root, meta } = &self.layout else {
            return Err(DecodeError::AvroInvalid(Place::at(0), "the schema is a JSON Schema"));
        };
        let length = avro::decode(nodes, *root, meta, bytes, tape)?;
        self.take_meta(meta, bytes, tape)?;
        self.finish(bytes, tape)?;
        Ok(length)
    }

    /// Picks the contract reference and the consent levels out of a decoded Avro-schema event.
    fn take_meta(&self, meta: &MetaShape, body: &[u8], tape: &mut Tape) -> Result<(), DecodeError> {
        let slots = tape.words[0] as usize;
        let contract = tape.words[slots + meta.contract] as usize;
        let (start, end) = (tape.words[contract], tape.words[contract + 1]);
        tape.contract = Some(if tape.binary {
            Text { origin: Origin::Body, start, end }
        } else {
            let mut scan = Scan { body, pos: start as usize };
            let raw = scan.string().expect("the decoder read it");
            json::text(&scan, raw, &mut tape.scratch)
        });
        let levels = tape.words[slots + meta.consent] as usize;
        let count = tape.words[levels] as usize;
        for span in tape.words[levels + 1..levels + 1 + 2 * count].chunks_exact(2) {
            let bytes = &body[span[0] as usize..span[1] as usize];
            check_level_count(tape.consent.len(), span[0] as usize)?;
            tape.consent.push(if tape.binary {
                avro::Reader { body: bytes, pos: 0 }.int().expect("the decoder read it")
            } else {
                let text = std::str::from_utf8(bytes).expect("a number is ASCII");
                text.parse().expect("the decoder checked the range")
            });
        }
        Ok(())
    }

    /// Sealed text is longer than what was sealed, so this is asked of fresh events only.
    fn check_key_length(&self, tape: &Tape) -> Result<(), DecodeError> {
        for mark in &tape.marks {
            let field = &self.fields[mark.field];
            let length = (mark.text.end - mark.text.start) as usize;
            if (field.is_key || field.is_subject) && length > limits::KEY_VALUE_BYTES_MAX {
                return Err(DecodeError::ValueTooLong(Place::at(0)).within(field.path.as_str()));
            }
        }
        Ok(())
    }

    fn finish(&self, body: &[u8], tape: &mut Tape) -> Result<(), DecodeError> {
        let Some(contract) = tape.contract else { return Err(DecodeError::MetaMissing(Place::at(0))) };
        if tape.text(body, contract) != self.contract.reference.as_str().as_bytes() {
            let place = Place::at(contract.start as usize);
            return Err(DecodeError::ContractMismatch(place).within(meta::CONTRACT_REF).within(meta::META));
        }
        for mark in &tape.marks {
            let field = &self.fields[mark.field];
            if !(field.is_key || field.is_subject) || mark.text.start == mark.text.end {
                continue;
            }
            if field.is_key {
                tape.key = Some(mark.text);
            }
            if field.is_subject {
                tape.subject = Some(mark.text);
            }
        }
        match tape.key {
            Some(_) => Ok(()),
            None => Err(DecodeError::KeyFieldEmpty(Place::at(0)).within(self.contract.key_field.as_str())),
        }
    }

    /// Checks the contract's validations on plain text; absent values are not checked.
    ///
    /// # Errors
    ///
    /// The first validation that fails, with the value unless the field is personal, key or subject.
    pub fn validate(&self, body: &[u8], tape: &Tape) -> Result<(), Violation> {
        for rule in &self.rules {
            for mark in tape.marks.iter().filter(|mark| mark.field == rule.field) {
                let value = std::str::from_utf8(tape.text(body, mark.text)).unwrap_or_default();
                if rule.regex.is_match(value) {
                    continue;
                }
                let field = &self.fields[rule.field];
                let secret = field.personal.is_some() || field.is_key || field.is_subject;
                return Err(Violation {
                    field: field.path.clone(),
                    schema: self.schema.reference().clone(),
                    rule: rule.pattern.clone(),
                    personal: field.personal.is_some(),
                    value: (!secret).then(|| value.chars().take(SHOWN_CHARS_MAX).collect()),
                });
            }
        }
        Ok(())
    }

    /// Appends the event to `out`, with `replaced[i]` in place of `tape.marks()[i]` where it is `Some`
    /// (`replaced` may be shorter). `body` and `tape` must be those of one decode by this plan.
    pub fn encode(
        &self,
        body: &[u8],
        tape: &Tape,
        stamp: Option<&Stamp>,
        replaced: &[Option<Text>],
        form: Form,
        out: &mut Vec<u8>,
    ) {
        let source = Source { body, tape, stamp, replaced };
        match &self.layout {
            Layout::Avro { meta, .. } if tape.binary && form == Form::AsReceived => {
                let write = |what, out: &mut Vec<u8>| write::write_avro_edit(&source, meta, what, out);
                write::copy_edited(&source, body, 0..tape.length, write, out);
            }
            Layout::Avro { nodes, root, meta } => {
                let tagged = tape.tagged && form == Form::AsReceived;
                JsonWriter { source, nodes, meta, tagged }.event(*root, out);
            }
            Layout::Json(_) => {
                let (from, to) = tape.meta;
                let write = |what, out: &mut Vec<u8>| write::write_json_edit(&source, what, out);
                out.push(b'{');
                // Every member begins with its comma; the first one must not.
                for range in [from + 1..to, 0..from, to..tape.compact.len()] {
                    write::copy_edited(&source, &tape.compact, range, write, out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Whether a pattern is a list of at most [`FEW_VALUES_MAX`] fixed texts, as `^(m|f|x)$`.
fn lists_few_values(pattern: &str) -> bool {
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    let inner = inner.strip_prefix("(?:").or(inner.strip_prefix('(')).unwrap_or(inner);
    let inner = inner.strip_suffix(')').unwrap_or(inner);
    let fixed = |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
    inner.split('|').all(fixed) && inner.split('|').count() <= FEW_VALUES_MAX
}

/// Values that can be told apart by counting them.
const FEW_VALUES_MAX: usize = 32;

/// Characters of a value that a refusal shows.
const SHOWN_CHARS_MAX: usize = 200;

fn check_length(body: &[u8]) -> Result<(), DecodeError> {
    if body.len() > limits::BODY_BYTES_MAX {
        return Err(DecodeError::TooLarge(Place::at(limits::BODY_BYTES_MAX)));
    }
    Ok(())
}

pub(super) fn check_level_count(count: usize, at: usize) -> Result<(), DecodeError> {
    if count >= limits::CONSENT_LEVELS_MAX {
        return Err(DecodeError::ConsentTooMany(Place::at(at))
            .within(meta::CONSENT_LEVELS)
            .within(meta::META));
    }
    Ok(())
}
