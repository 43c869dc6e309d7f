//! A JSON Schema, compiled: closed where it is silent, offline, linear-time patterns.

use std::collections::HashSet;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value, json};

use super::{
    error::{DecodeError, Place, SchemaError},
    meta::{CONSENT_LEVELS, CONTRACT_REF, KEY_LINK, META, NONCE, TIMESTAMP},
};
use crate::domain::limits;

/// Keywords that say themselves what else an object takes, or that join several schemas into one.
const OPEN_KEYWORDS: [&str; 14] = [
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
];

/// Patterns that compiling the schema may have to compile: of values and of names.
fn patterns_in(schema: &Value) -> usize {
    match schema {
        Value::Array(items) => items.iter().map(patterns_in).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("pattern", Value::String(_)) => 1,
                ("patternProperties", Value::Object(patterns)) => patterns.len() + patterns_in(value),
                _ => patterns_in(value),
            })
            .sum(),
        _ => 0,
    }
}

/// A compiled JSON Schema.
#[derive(Debug)]
pub(super) struct JsonShape {
    document: Value,
    validator: Validator,
}

impl JsonShape {
    pub fn compile(mut document: Value) -> Result<JsonShape, SchemaError> {
        let refuse = |path: &str, rule: &str| SchemaError { path: path.to_owned(), rule: rule.to_owned() };
        let Some(meta) = property(&document, &document, META) else {
            return Err(refuse(META, "must be a property of the schema"));
        };
        if !meta["properties"].is_object() || !is_type(meta, "object") {
            return Err(refuse(META, "must be an object with properties"));
        }
        for (name, wanted) in [(CONTRACT_REF, "string"), (CONSENT_LEVELS, "array")] {
            let part = property(&document, meta, name);
            if !part.is_some_and(|part| is_type(part, wanted)) {
                return Err(refuse(&format!("{META}/{name}"), &format!("must be of type {wanted}")));
            }
        }
        if patterns_in(&document) > limits::SCHEMA_PATTERNS_MAX {
            let rule = format!("has more than {} patterns", limits::SCHEMA_PATTERNS_MAX);
            return Err(refuse("", &rule));
        }
        let mut composed = HashSet::new();
        collect_composed(&document, false, &mut composed);
        close(&mut document, "#", &composed);
        admit_stamp(&mut document);
        let patterns = PatternOptions::regex()
            .size_limit(limits::PATTERN_COMPILED_BYTES_MAX)
            .dfa_size_limit(limits::PATTERN_COMPILED_BYTES_MAX);
        let options = jsonschema::options().offline().with_pattern_options(patterns);
        match options.build(&document) {
            Ok(validator) => Ok(JsonShape { document, validator }),
            Err(error) => Err(refuse("", &format!("is not a JSON Schema: {error}"))),
        }
    }

    /// Validates a body that the scanner has found to be proper JSON without duplicate keys.
    pub fn validate(&self, body: &[u8]) -> Result<(), DecodeError> {
        let Ok(event) = serde_json::from_slice::<Value>(body) else {
            return Err(DecodeError::JsonInvalid(Place::at(0), "a number is out of range"));
        };
        self.validator.validate(&event).map_err(|error| DecodeError::SchemaMismatch {
            place: Place::at(0),
            keyword: error.kind().keyword().to_owned(),
            schema_path: error.schema_path().as_str().to_owned(),
        })
    }

    /// Looks a string field up. Tells whether it can occur more than once in an event.
    pub fn repeats(&self, path: &[&str]) -> Result<bool, &'static str> {
        let mut repeats = false;
        let mut at = self.enter(&self.document, &mut repeats)?;
        for segment in path {
            at = match property(&self.document, at, segment) {
                Some(next) => next,
                None => return Err(super::error::NOT_IN_SCHEMA),
            };
            at = self.enter(at, &mut repeats)?;
        }
        match allows_only(at, "string") {
            true => Ok(repeats),
            false => Err("must be a string, an optional string or a list of strings"),
        }
    }

    /// Whether a field that [`JsonShape::repeats`] found takes listed values only.
    pub fn lists_values(&self, path: &[&str]) -> bool {
        let mut repeats = false;
        let mut at = self.enter(&self.document, &mut repeats).ok();
        for segment in path {
            let next = at.and_then(|at| property(&self.document, at, segment));
            at = next.and_then(|next| self.enter(next, &mut repeats).ok());
        }
        at.is_some_and(|at| at.get("enum").is_some() || at.get("const").is_some())
    }

    /// Steps through references, `null` alternatives and arrays.
    fn enter<'a>(&'a self, mut at: &'a Value, repeats: &mut bool) -> Result<&'a Value, &'static str> {
        for _ in 0..limits::DEPTH_MAX {
            at = resolve(&self.document, at);
            let alternatives = at.get("anyOf").or_else(|| at.get("oneOf")).and_then(Value::as_array);
            if let Some(alternatives) = alternatives {
                let is_null = |schema: &&Value| !allows_only(schema, "null");
                let mut others = alternatives.iter().filter(is_null);
                match (others.next(), others.next()) {
                    (Some(only), None) => at = only,
                    _ => return Err("has several alternatives, or is inside one of them"),
                }
            } else if allows_only(at, "array") {
                *repeats = true;
                at = match at.get("items") {
                    Some(items) if items.is_object() && at.get("prefixItems").is_none() => items,
                    _ => return Err("is in an array without one schema for its items"),
                };
            } else {
                return Ok(at);
            }
        }
        Err("refers to itself")
    }
}

/// The schema of a property, references resolved.
fn property<'a>(document: &'a Value, schema: &'a Value, name: &str) -> Option<&'a Value> {
    let schema = resolve(document, schema);
    Some(resolve(document, schema.get("properties")?.get(name)?))
}

/// Follows local references.
fn resolve<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..limits::DEPTH_MAX {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        match target.and_then(|pointer| document.pointer(pointer)) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

fn is_type(schema: &Value, name: &str) -> bool {
    schema.get("type").is_some_and(|kind| kind == name)
}

/// Whether values are of this type, or null.
fn allows_only(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == name,
        Some(Value::Array(kinds)) => {
            kinds.iter().any(|kind| kind == name) && kinds.iter().all(|kind| kind == name || kind == "null")
        }
        _ => false,
    }
}

/// The keyword, when a schema is nothing but a choice between whole schemas (`null` or an object, say).
/// Each of them describes the value alone, so each may be closed.
fn alternatives(object: &Map<String, Value>) -> Option<&'static str> {
    let mut present = OPEN_KEYWORDS.into_iter().filter(|keyword| object.contains_key(*keyword));
    match (present.next(), present.next()) {
        (Some(keyword @ ("anyOf" | "oneOf")), None) if !object.contains_key("properties") => Some(keyword),
        _ => None,
    }
}

/// Finds local references made from composed schemas: what they point to must stay open.
fn collect_composed(schema: &Value, inside: bool, found: &mut HashSet<String>) {
    match schema {
        Value::Object(object) => {
            let joined = inside || (object.contains_key("$ref") && object.contains_key("properties"));
            for (key, part) in object {
                if let (true, "$ref", Value::String(target)) = (joined, key.as_str(), part) {
                    found.insert(target.clone());
                }
                let composing =
                    OPEN_KEYWORDS[3..11].contains(&key.as_str()) && alternatives(object).is_none();
                collect_composed(part, joined || composing, found);
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| collect_composed(part, inside, found)),
        _ => {}
    }
}

/// Adds `additionalProperties: false` wherever a schema lists properties and says nothing else.
fn close(schema: &mut Value, pointer: &str, composed: &HashSet<String>) {
    let Value::Object(object) = schema else { return };
    let silent = !OPEN_KEYWORDS.iter().any(|keyword| object.contains_key(*keyword));
    if silent && object.get("properties").is_some_and(Value::is_object) && !composed.contains(pointer) {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for keyword in ["properties", "$defs", "definitions"] {
        if let Some(Value::Object(parts)) = object.get_mut(keyword) {
            for (name, part) in parts {
                close(part, &format!("{pointer}/{keyword}/{name}"), composed);
            }
        }
    }
    if let Some(keyword) = alternatives(object)
        && let Some(Value::Array(parts)) = object.get_mut(keyword)
    {
        for (index, part) in parts.iter_mut().enumerate() {
            close(part, &format!("{pointer}/{keyword}/{index}"), composed);
        }
    }
    if let Some(items) = object.get_mut("items") {
        close(items, &format!("{pointer}/items"), composed);
    }
    if let Some(Value::Array(items)) = object.get_mut("prefixItems") {
        for (index, part) in items.iter_mut().enumerate() {
            close(part, &format!("{pointer}/prefixItems/{index}"), composed);
        }
    }
}

/// A schema need not list what the gateway writes; producers may send those fields as null.
fn admit_stamp(document: &mut Value) {
    let meta = document.get_mut("properties").and_then(|parts| parts.get_mut(META));
    let parts: Option<&mut Map<String, Value>> =
        meta.and_then(|meta| meta.get_mut("properties")).and_then(Value::as_object_mut);
    let Some(parts) = parts else { return };
    for (name, kind) in [(NONCE, "integer"), (TIMESTAMP, "integer"), (KEY_LINK, "string")] {
        parts.entry(name).or_insert_with(|| json!({ "type": [kind, "null"] }));
    }
}
