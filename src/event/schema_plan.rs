//! A schema, compiled once: what every contract on it shares.

use std::{borrow::Cow, cell::RefCell};

use apache_avro::{rabin::Rabin, schema::Schema as AvroSchema};
use serde_json::Value;

use super::{
    avro,
    error::{DecodeError, Place, SchemaError},
    json::find_key,
    json_scan::Scan,
    json_schema::JsonShape,
    meta::{self, META, MetaShape},
    shape::{self, NodeId, Nodes},
    tape::Tape,
};
use crate::domain::{ContractRef, FieldPath, Schema, SchemaKind, Serialization, limits};

/// A compiled schema.
#[derive(Debug)]
pub struct SchemaPlan {
    reference: ContractRef,
    pub(super) shape: Shape,
}

#[derive(Debug)]
pub(super) enum Shape {
    Avro(Box<AvroShape>),
    Json(Box<JsonShape>),
}

#[derive(Debug)]
pub(super) struct AvroShape {
    pub nodes: Nodes,
    pub root: NodeId,
    pub meta: MetaShape,
    canonical: String,
    fingerprint: i64,
}

impl SchemaPlan {
    /// Compiles a schema.
    ///
    /// Logical types and unknown attributes of Avro schemas are ignored. In a JSON Schema, an object that
    /// declares `properties` and neither says what else it takes nor composes schemas is closed.
    ///
    /// # Errors
    ///
    /// The document cannot be read, is too large, or does not begin with a proper `strmMeta`.
    pub fn compile(schema: &Schema) -> Result<SchemaPlan, SchemaError> {
        let refuse = |rule: String| SchemaError { path: String::new(), rule };
        if schema.definition.len() > limits::DOCUMENT_BYTES_MAX {
            return Err(refuse(format!("is longer than {} bytes", limits::DOCUMENT_BYTES_MAX)));
        }
        let document: Value = serde_json::from_str(&schema.definition)
            .map_err(|error| refuse(format!("is not JSON: {error}")))?;
        let shape = match schema.kind {
            SchemaKind::Avro => Shape::Avro(Box::new(AvroShape::compile(document)?)),
            SchemaKind::JsonSchema => Shape::Json(Box::new(JsonShape::compile(document)?)),
        };
        Ok(SchemaPlan { reference: schema.reference.clone(), shape })
    }

    /// The schema's reference.
    #[must_use]
    pub fn reference(&self) -> &ContractRef {
        &self.reference
    }

    /// How a body is written. `declared` is the `Strm-Serialization-Type` header, if there was one.
    ///
    /// `Json` stands for both JSON forms: they are told apart while decoding ([`Tape::serialization`]).
    /// Without a header: an Avro datum begins with the even length of `eventContractRef`, a JSON event
    /// with `{`, perhaps after white space.
    #[must_use]
    pub fn sniff(&self, declared: Option<&str>, body: &[u8]) -> Serialization {
        if matches!(self.shape, Shape::Json(_)) {
            return Serialization::Json;
        }
        let declared = declared.map(|value| value.split(';').next().unwrap_or_default().trim());
        match declared {
            Some(value) if value.eq_ignore_ascii_case("application/x-avro-binary") => {
                Serialization::AvroBinary
            }
            Some(value) if value.eq_ignore_ascii_case("application/json") => Serialization::Json,
            _ => match body.iter().find(|byte| !matches!(byte, b' ' | b'\n' | b'\t' | b'\r')) {
                Some(b'{') => Serialization::Json,
                _ => Serialization::AvroBinary,
            },
        }
    }

    /// Peeks at `strmMeta/eventContractRef`. The body is not checked any further.
    ///
    /// # Errors
    ///
    /// The body does not get that far, or has no such field.
    pub fn contract_ref<'b>(&self, body: &'b [u8], s: Serialization) -> Result<Cow<'b, str>, DecodeError> {
        if s == Serialization::AvroBinary {
            let Shape::Avro(avro) = &self.shape else { return Err(DecodeError::MetaMissing(Place::at(0))) };
            if avro.meta.contract == 0 {
                let mut reader = avro::Reader { body, pos: 0 };
                let length = reader.length()?;
                let text = std::str::from_utf8(reader.take(length)?);
                return text.map(Cow::Borrowed).map_err(|_| {
                    DecodeError::AvroInvalid(Place::at(0), "a string is not UTF-8")
                        .within("strmMeta/eventContractRef")
                });
            }
            return MEASURE.with_borrow_mut(|tape| {
                tape.clear(true);
                avro::decode(&avro.nodes, avro.root, &avro.meta, body, tape)?;
                let slot = tape.words[tape.words[0] as usize + avro.meta.contract] as usize;
                let range = tape.words[slot] as usize..tape.words[slot + 1] as usize;
                Ok(Cow::Borrowed(std::str::from_utf8(&body[range]).expect("the decoder checked it")))
            });
        }
        let mut scan = Scan { body, pos: 0 };
        let found = find_key(&mut scan, META, 0)? && find_key(&mut scan, meta::CONTRACT_REF, 1)?;
        if !found || scan.peek() != b'"' {
            return Err(DecodeError::MetaMissing(scan.place()).within(META));
        }
        let raw = scan.string()?;
        let text = if raw.escaped {
            let mut text = Vec::new();
            scan.unescape(raw, &mut text);
            String::from_utf8(text).ok().map(Cow::Owned)
        } else {
            std::str::from_utf8(&body[raw.start..raw.end]).ok().map(Cow::Borrowed)
        };
        text.ok_or_else(|| DecodeError::JsonInvalid(scan.place(), "not UTF-8"))
    }

    /// Bytes of the first Avro datum of `bytes` (the blocks of a container hold one behind another).
    /// `EventPlan::decode_first` does this and decodes in one go.
    ///
    /// # Errors
    ///
    /// No whole datum of this schema is there.
    pub fn datum_len(&self, bytes: &[u8]) -> Result<usize, DecodeError> {
        let Shape::Avro(avro) = &self.shape else {
            return Err(DecodeError::AvroInvalid(Place::at(0), "no Avro schema"));
        };
        MEASURE.with_borrow_mut(|tape| {
            tape.clear(true);
            avro::decode(&avro.nodes, avro.root, &avro.meta, bytes, tape)
        })
    }

    /// CRC-64-AVRO of the canonical form; None for a JSON Schema.
    #[must_use]
    pub fn fingerprint(&self) -> Option<i64> {
        match &self.shape {
            Shape::Avro(avro) => Some(avro.fingerprint),
            Shape::Json(_) => None,
        }
    }

    /// Whether a JSON Schema lists the values of a field (`enum`, `const`). Avro cannot: a string takes any.
    #[must_use]
    pub fn lists_values(&self, path: &FieldPath) -> bool {
        let segments: Vec<&str> = path.segments().collect();
        matches!(&self.shape, Shape::Json(shape) if shape.lists_values(&segments))
    }

    /// Whether an Avro schema written out elsewhere (the header of a container) is this one: same
    /// Parsing Canonical Form.
    #[must_use]
    pub fn is_written_by(&self, writer_schema: &str) -> bool {
        let Shape::Avro(avro) = &self.shape else { return false };
        let parsed = serde_json::from_str(writer_schema).ok().and_then(|document| parse(document).ok());
        parsed.is_some_and(|schema| schema.canonical_form() == avro.canonical)
    }
}

thread_local! {
    static MEASURE: RefCell<Tape> = RefCell::new(Tape::new());
}

impl AvroShape {
    fn compile(document: Value) -> Result<AvroShape, SchemaError> {
        let schema = parse(document)?;
        let (nodes, root) = shape::compile(&schema)?;
        let meta = meta::find(&nodes, root)?;
        let bytes = schema.fingerprint::<Rabin>().bytes;
        let fingerprint = i64::from_le_bytes(bytes.try_into().expect("a Rabin fingerprint has 8 bytes"));
        Ok(AvroShape { nodes, root, meta, canonical: schema.canonical_form(), fingerprint })
    }
}

/// An Avro schema without its logical types, parsed and as compact JSON; none when it is no Avro schema.
#[must_use]
pub fn avro_schema(definition: &str) -> Option<(AvroSchema, String)> {
    let mut document: Value = serde_json::from_str(definition).ok()?;
    drop_logical_types(&mut document);
    let text = document.to_string();
    Some((AvroSchema::parse(&document).ok()?, text))
}

pub(super) fn parse(mut document: Value) -> Result<AvroSchema, SchemaError> {
    drop_logical_types(&mut document);
    AvroSchema::parse(&document)
        .map_err(|error| SchemaError { path: String::new(), rule: format!("is not an Avro schema: {error}") })
}

/// Logical types change nothing about how a value is written, and the original ignored stray ones.
fn drop_logical_types(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.shift_remove("logicalType");
            let parts = object
                .iter_mut()
                .filter(|(key, _)| matches!(key.as_str(), "type" | "fields" | "items" | "values"));
            parts.for_each(|(_, part)| drop_logical_types(part));
        }
        Value::Array(parts) => parts.iter_mut().for_each(drop_logical_types),
        _ => {}
    }
}
