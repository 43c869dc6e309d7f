//! What a new version of a contract changes, and whether readers of one schema can read the other's events.
//!
//! Avro schemas are compared by the rules of schema resolution (Avro 1.12, "Schema Resolution"): the
//! crate's checker says whether a reader's schema resolves a writer's. JSON Schemas have no such rules:
//! their fields are compared, their readability is not.

use std::collections::BTreeMap;

use apache_avro::{
    schema::Schema as AvroSchema,
    schema_compatibility::{Compatibility, SchemaCompatibility},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::schema_plan::parse;
use crate::domain::{Contract, ContractRef, FieldPath, PersonalField, Rule, Schema, SchemaKind, limits};

/// A contract with its schema.
#[derive(Clone, Copy)]
pub struct Version<'a> {
    pub contract: &'a Contract,
    pub schema: &'a Schema,
}

/// Everything that differs between two versions of a contract.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContractChanges {
    /// None: there is no earlier version, and everything is new.
    pub from: Option<ContractRef>,
    pub to: ContractRef,
    pub fields_added: Vec<FieldType>,
    pub fields_removed: Vec<FieldType>,
    pub types_changed: Vec<Changed<String>>,
    /// Fields whose level changed, became personal (from none) or no longer are (to none).
    pub levels_changed: Vec<Changed<Option<i32>>>,
    pub equality_classes_changed: Vec<Changed<Option<String>>>,
    pub validations_added: Vec<ValidationText>,
    pub validations_removed: Vec<ValidationText>,
    pub key_field: Option<Changed<String>>,
    pub data_subject_field: Option<Changed<Option<String>>>,
    pub cipher_suite_changed: bool,
    pub public_changed: bool,
    /// Whether who reads with the old schema can read events written with the new one.
    pub old_reads_new: Readability,
    /// Whether who reads with the new schema can read events written with the old one.
    pub new_reads_old: Readability,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldType {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Changed<T> {
    pub path: String,
    pub from: T,
    pub to: T,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ValidationText {
    pub field: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub value: String,
}

/// Whether a reader's schema resolves a writer's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readability {
    pub verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Readable)]
pub enum Verdict {
    /// Every event.
    All,
    /// Depends on the event: a union branch or an enum symbol the reader may not know.
    Some,
    None,
    NotCompared,
}

impl ContractChanges {
    /// What `new` changes of `old`.
    #[must_use]
    pub fn between(old: Option<Version<'_>>, new: Version<'_>) -> ContractChanges {
        let before = old.map(|old| fields_of(old.schema)).unwrap_or_default();
        let after = fields_of(new.schema);
        let only_in = |these: &BTreeMap<String, String>, those: &BTreeMap<String, String>| {
            let missing = these.iter().filter(|(path, _)| !those.contains_key(*path));
            missing.map(|(path, kind)| FieldType { path: path.clone(), kind: kind.clone() }).collect()
        };
        let types_changed = after.iter().filter_map(|(path, to)| {
            let from = before.get(path).filter(|from| *from != to)?;
            Some(Changed { path: path.clone(), from: from.clone(), to: to.clone() })
        });
        let rules = |version: Option<Version<'_>>| version.map(validations_of).unwrap_or_default();
        let (rules_before, rules_after) = (rules(old), rules(Some(new)));
        let without = |these: &[ValidationText], those: &[ValidationText]| {
            these.iter().filter(|rule| !those.contains(rule)).cloned().collect()
        };
        let (old_contract, contract) = (old.map(|old| old.contract), new.contract);
        let subject = |contract: &Contract| contract.data_subject_field.as_ref().map(ToString::to_string);
        ContractChanges {
            from: old_contract.map(|old| old.reference.clone()),
            to: contract.reference.clone(),
            fields_added: only_in(&after, &before),
            fields_removed: only_in(&before, &after),
            types_changed: types_changed.collect(),
            levels_changed: personal_changes(old_contract, contract, |field| field.map(|field| field.level)),
            equality_classes_changed: personal_changes(old_contract, contract, |field| {
                field.and_then(|field| field.equality_class.clone())
            }),
            validations_added: without(&rules_after, &rules_before),
            validations_removed: without(&rules_before, &rules_after),
            key_field: old_contract.filter(|old| old.key_field != contract.key_field).map(|old| Changed {
                path: contract.key_field.to_string(),
                from: old.key_field.to_string(),
                to: contract.key_field.to_string(),
            }),
            data_subject_field: old_contract.filter(|old| subject(old) != subject(contract)).map(|old| {
                let path = subject(contract).or(subject(old)).unwrap_or_default();
                Changed { path, from: subject(old), to: subject(contract) }
            }),
            cipher_suite_changed: old_contract.is_some_and(|old| old.suite != contract.suite),
            public_changed: old_contract.is_some_and(|old| old.is_public != contract.is_public),
            old_reads_new: readability(Some(new.schema), old.map(|old| old.schema)),
            new_reads_old: readability(old.map(|old| old.schema), Some(new.schema)),
        }
    }
}

fn personal_changes<T: PartialEq>(
    old: Option<&Contract>,
    new: &Contract,
    of: impl Fn(Option<&PersonalField>) -> T,
) -> Vec<Changed<T>> {
    let field = |contract: Option<&Contract>, path: &FieldPath| {
        of(contract.and_then(|contract| contract.personal_fields.iter().find(|field| field.path == *path)))
    };
    let mut paths: Vec<&FieldPath> =
        old.into_iter().chain([new]).flat_map(|c| &c.personal_fields).map(|field| &field.path).collect();
    paths.sort();
    paths.dedup();
    let change = |path: &FieldPath| {
        let (from, to) = (field(old, path), field(Some(new), path));
        (from != to).then(|| Changed { path: path.to_string(), from, to })
    };
    paths.into_iter().filter_map(change).collect()
}

fn validations_of(version: Version<'_>) -> Vec<ValidationText> {
    let text = |validation: &crate::domain::Validation| {
        let Rule::Regex { pattern } = &validation.rule;
        ValidationText { field: validation.field.to_string(), kind: "regex", value: pattern.clone() }
    };
    version.contract.validations.iter().map(text).collect()
}

fn readability(writer: Option<&Schema>, reader: Option<&Schema>) -> Readability {
    let not_compared =
        |reason: &str| Readability { verdict: Verdict::NotCompared, reason: Some(reason.to_owned()) };
    let (Some(writer), Some(reader)) = (writer, reader) else {
        return not_compared("there is no earlier version");
    };
    if writer.definition == reader.definition {
        return Readability { verdict: Verdict::All, reason: None };
    }
    if writer.kind != SchemaKind::Avro || reader.kind != SchemaKind::Avro {
        return not_compared("only Avro has rules for reading with another schema");
    }
    let (Some(writer), Some(reader)) = (avro(writer), avro(reader)) else {
        return not_compared("a schema cannot be parsed");
    };
    match SchemaCompatibility::can_read(&writer, &reader) {
        Ok(Compatibility::Full) => Readability { verdict: Verdict::All, reason: None },
        Ok(Compatibility::Partial) => Readability {
            verdict: Verdict::Some,
            reason: Some("a union branch or an enum symbol may be unknown to the reader".to_owned()),
        },
        Err(error) => {
            let mut reasons = vec![error.to_string()];
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                reasons.push(inner.to_string());
                cause = inner.source();
            }
            Readability { verdict: Verdict::None, reason: Some(reasons.join(": ")) }
        }
    }
}

fn avro(schema: &Schema) -> Option<AvroSchema> {
    parse(serde_json::from_str(&schema.definition).ok()?).ok()
}

/// Every field by its path, with its type as text. `strmMeta` is the gateway's and left out.
fn fields_of(schema: &Schema) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    match schema.kind {
        SchemaKind::Avro => {
            if let Some(schema) = avro(schema) {
                let mut named = BTreeMap::new();
                name_all(&schema, &mut named);
                walk_avro(&schema, "", &named, &mut Vec::new(), &mut fields);
            }
        }
        SchemaKind::JsonSchema => {
            let document: Value = serde_json::from_str(&schema.definition).unwrap_or_default();
            walk_json(&document, &document, "", 0, &mut fields);
        }
    }
    fields.retain(|path, _| path != "strmMeta" && !path.starts_with("strmMeta/"));
    fields
}

fn name_all<'a>(schema: &'a AvroSchema, named: &mut BTreeMap<String, &'a AvroSchema>) {
    match schema {
        AvroSchema::Record(record) => {
            named.insert(record.name.fullname(None), schema);
            record.fields.iter().for_each(|field| name_all(&field.schema, named));
        }
        AvroSchema::Array(array) => name_all(&array.items, named),
        AvroSchema::Map(map) => name_all(&map.types, named),
        AvroSchema::Union(union) => union.variants().iter().for_each(|variant| name_all(variant, named)),
        _ => {}
    }
}

fn walk_avro<'a>(
    schema: &'a AvroSchema,
    path: &str,
    named: &BTreeMap<String, &'a AvroSchema>,
    open: &mut Vec<&'a str>,
    fields: &mut BTreeMap<String, String>,
) {
    match schema {
        AvroSchema::Record(record) => {
            // A record inside itself has been walked, and a cycle has no end.
            if open.contains(&record.name.name()) || fields.len() > limits::SCHEMA_FIELDS_MAX {
                return;
            }
            open.push(record.name.name());
            for field in &record.fields {
                let path =
                    if path.is_empty() { field.name.clone() } else { format!("{path}/{}", field.name) };
                fields.insert(path.clone(), type_text(&field.schema));
                walk_avro(&field.schema, &path, named, open, fields);
            }
            open.pop();
        }
        AvroSchema::Ref { name } => {
            if let Some(schema) = named.get(&name.fullname(None)) {
                walk_avro(schema, path, named, open, fields);
            }
        }
        AvroSchema::Array(array) => walk_avro(&array.items, path, named, open, fields),
        AvroSchema::Map(map) => walk_avro(&map.types, path, named, open, fields),
        AvroSchema::Union(union) => {
            union.variants().iter().for_each(|variant| walk_avro(variant, path, named, open, fields));
        }
        _ => {}
    }
}

fn type_text(schema: &AvroSchema) -> String {
    match schema {
        AvroSchema::Null => "null".to_owned(),
        AvroSchema::Boolean => "boolean".to_owned(),
        AvroSchema::Int => "int".to_owned(),
        AvroSchema::Long => "long".to_owned(),
        AvroSchema::Float => "float".to_owned(),
        AvroSchema::Double => "double".to_owned(),
        AvroSchema::Bytes => "bytes".to_owned(),
        AvroSchema::Array(array) => format!("array<{}>", type_text(&array.items)),
        AvroSchema::Map(map) => format!("map<{}>", type_text(&map.types)),
        AvroSchema::Union(union) => union.variants().iter().map(type_text).collect::<Vec<_>>().join(" | "),
        AvroSchema::Record(record) => record.name.fullname(None),
        AvroSchema::Ref { name } => name.fullname(None),
        AvroSchema::Enum(symbols) => {
            format!("enum {} {{{}}}", symbols.name.fullname(None), symbols.symbols.join(", "))
        }
        AvroSchema::Fixed(fixed) => format!("fixed {} ({})", fixed.name.fullname(None), fixed.size),
        _ => "string".to_owned(),
    }
}

fn walk_json(
    document: &Value,
    schema: &Value,
    path: &str,
    depth: usize,
    fields: &mut BTreeMap<String, String>,
) {
    if depth > limits::DEPTH_MAX || fields.len() > limits::SCHEMA_FIELDS_MAX {
        return;
    }
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix('#'));
    let schema = target.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema);
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        fields.insert(path.clone(), json_type(document, property));
        walk_json(document, property, &path, depth + 1, fields);
    }
    if let Some(items) = schema.get("items") {
        walk_json(document, items, path, depth + 1, fields);
    }
}

fn json_type(document: &Value, schema: &Value) -> String {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix('#'));
    let schema = target.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema);
    let mut rest = schema.clone();
    // What lies below has lines of its own; what only describes changes nothing.
    if let Some(rest) = rest.as_object_mut() {
        ["properties", "items", "title", "description", "$defs", "definitions", "examples", "default"]
            .iter()
            .for_each(|key| drop(rest.remove(*key)));
    }
    match rest.as_object().map(|rest| (rest.len(), rest.get("type"))) {
        Some((1, Some(Value::String(kind)))) => kind.clone(),
        _ => rest.to_string(),
    }
}
