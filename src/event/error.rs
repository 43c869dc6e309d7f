//! Why a schema, a contract or an event is refused.
//!
//! Nothing here ever holds text of an event, except [`Violation::value`] of a field that is not personal.
//! Names in a path are names of the schema; an unknown key is told by its parent and its position.

use std::fmt;

use crate::domain::{ContractRef, FieldPath};

/// A schema cannot be used. Fix the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema: {}{rule}", At(path))]
pub struct SchemaError {
    /// Where in the schema, names separated by `/`; empty for the schema as a whole.
    pub path: String,
    pub rule: String,
}

/// A contract does not fit its schema. Fix the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("contract: field '{field}': {rule}")]
pub struct ContractError {
    pub field: FieldPath,
    pub rule: String,
}

impl ContractError {
    /// Whether the field is missing from the schema, rather than of a type that does not fit.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.rule == NOT_IN_SCHEMA
    }
}

/// Rule of a field that a schema does not have.
pub(super) const NOT_IN_SCHEMA: &str = "is not in the schema";

struct At<'a>(&'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "'{}': ", self.0) }
    }
}

/// Where decoding stopped: byte offset in the body, and the path of the field of the schema.
#[derive(Clone, PartialEq, Eq)]
pub struct Place(Box<(usize, String)>);

impl Place {
    pub(super) fn at(offset: usize) -> Place {
        Place(Box::new((offset, String::new())))
    }

    /// Byte offset in the body.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.0.0
    }

    /// Path of the field, or of its parent when the field is not in the schema; empty at the top.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.1
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            "" => write!(f, "at byte {}", self.offset()),
            path => write!(f, "at byte {}, field '{path}'", self.offset()),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An event does not follow its schema. Every variant means: fix the event, do not retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the Avro datum ends too early {0}")]
    AvroTruncated(Place),
    #[error("bytes follow the Avro datum {0}")]
    AvroTrailingBytes(Place),
    #[error("invalid Avro ({1}) {0}")]
    AvroInvalid(Place, &'static str),
    #[error("the Avro datum is nested too deeply {0}")]
    AvroTooDeep(Place),
    #[error("invalid JSON ({1}) {0}")]
    JsonInvalid(Place, &'static str),
    #[error("the JSON is nested too deeply {0}")]
    JsonTooDeep(Place),
    #[error("a key occurs twice {0}")]
    JsonDuplicateKey(Place),
    #[error("unknown field {0}")]
    FieldUnknown(Place),
    #[error("missing field {0}")]
    FieldMissing(Place),
    #[error("a value of another type than {1} {0}")]
    FieldType(Place, &'static str),
    #[error("the key field is empty {0}")]
    KeyFieldEmpty(Place),
    #[error("too many consent levels {0}")]
    ConsentTooMany(Place),
    #[error("strmMeta, its eventContractRef or its consentLevels is missing {0}")]
    MetaMissing(Place),
    #[error("the event names another contract {0}")]
    ContractMismatch(Place),
    #[error("the value of a key or data-subject field is too long {0}")]
    ValueTooLong(Place),
    #[error("the body is too large, or expands to too much {0}")]
    TooLarge(Place),
    #[error("the event breaks '{keyword}' of the JSON Schema ({schema_path}) {place}")]
    SchemaMismatch { place: Place, keyword: String, schema_path: String },
}

impl DecodeError {
    /// Stable code for problem documents and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            DecodeError::AvroTruncated(_) => "avro_truncated",
            DecodeError::AvroTrailingBytes(_) => "avro_trailing_bytes",
            DecodeError::AvroInvalid(..) => "avro_invalid",
            DecodeError::AvroTooDeep(_) => "avro_too_deep",
            DecodeError::JsonInvalid(..) => "json_invalid",
            DecodeError::JsonTooDeep(_) => "json_too_deep",
            DecodeError::JsonDuplicateKey(_) => "json_duplicate_key",
            DecodeError::FieldUnknown(_) => "field_unknown",
            DecodeError::FieldMissing(_) => "field_missing",
            DecodeError::FieldType(..) => "field_type",
            DecodeError::KeyFieldEmpty(_) => "key_field_empty",
            DecodeError::ConsentTooMany(_) => "consent_too_many",
            DecodeError::MetaMissing(_) => "meta_missing",
            DecodeError::ContractMismatch(_) => "contract_mismatch",
            DecodeError::ValueTooLong(_) => "value_too_long",
            DecodeError::TooLarge(_) => "too_large",
            DecodeError::SchemaMismatch { .. } => "schema_mismatch",
        }
    }

    /// Where decoding stopped.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            DecodeError::AvroTruncated(place)
            | DecodeError::AvroTrailingBytes(place)
            | DecodeError::AvroInvalid(place, _)
            | DecodeError::AvroTooDeep(place)
            | DecodeError::JsonInvalid(place, _)
            | DecodeError::JsonTooDeep(place)
            | DecodeError::JsonDuplicateKey(place)
            | DecodeError::FieldUnknown(place)
            | DecodeError::FieldMissing(place)
            | DecodeError::FieldType(place, _)
            | DecodeError::KeyFieldEmpty(place)
            | DecodeError::ConsentTooMany(place)
            | DecodeError::MetaMissing(place)
            | DecodeError::ContractMismatch(place)
            | DecodeError::ValueTooLong(place)
            | DecodeError::TooLarge(place)
            | DecodeError::SchemaMismatch { place, .. } => place,
        }
    }

    /// The same error, seen from the record that holds `field`.
    #[cold]
    pub(super) fn within(mut self, field: &str) -> DecodeError {
        let path = &mut self.place_mut().0.1;
        if path.is_empty() {
            path.push_str(field);
        } else {
            path.insert(0, '/');
            path.insert_str(0, field);
        }
        self
    }

    fn place_mut(&mut self) -> &mut Place {
        match self {
            DecodeError::AvroTruncated(place)
            | DecodeError::AvroTrailingBytes(place)
            | DecodeError::AvroInvalid(place, _)
            | DecodeError::AvroTooDeep(place)
            | DecodeError::JsonInvalid(place, _)
            | DecodeError::JsonTooDeep(place)
            | DecodeError::JsonDuplicateKey(place)
            | DecodeError::FieldUnknown(place)
            | DecodeError::FieldMissing(place)
            | DecodeError::FieldType(place, _)
            | DecodeError::KeyFieldEmpty(place)
            | DecodeError::ConsentTooMany(place)
            | DecodeError::MetaMissing(place)
            | DecodeError::ContractMismatch(place)
            | DecodeError::ValueTooLong(place)
            | DecodeError::TooLarge(place)
            | DecodeError::SchemaMismatch { place, .. } => place,
        }
    }
}

/// A value breaks a validation of the contract. Its `Display` is the original's wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub field: FieldPath,
    pub schema: ContractRef,
    /// The rule as the contract has it: the pattern of a regex.
    pub rule: String,
    pub personal: bool,
    /// None when the field is personal, or the key or data-subject field.
    pub value: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field: '{}' in event with schema: '{}' ", self.field, self.schema)?;
        if let Some(value) = &self.value {
            write!(f, "with value: '{value}' ")?;
        }
        write!(f, "doesn't match regex: '{}'", self.rule)
    }
}

impl std::error::Error for Violation {}
