//! Simple Schema: a list of named nodes that people can write by hand, turned into Avro.
//!
//! ```yaml
//! name: Clicks
//! nodes:
//!   - { name: Session Id, type: STRING, required: true }
//!   - { name: url, type: STRING, doc: the page }
//! ```
//! An optional node becomes `["null", T]` with default null, a required one `T`, a repeated one an array.
//! `strmMeta` is put first. Records get the namespace `<handle>.<CamelCase name>.v<N>_<N>_<N>` of the
//! reference, nested ones that of their parent and their field in lower case.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    ContractRef, META_FIELD,
    document::{DocumentError, DocumentRule, Place},
    limits,
};

const TYPES: &str = "STRING, BOOLEAN, FLOAT, INTEGER, LONG, NODE";
const NAME_RULE: &str = "ASCII letters, digits and '_', not starting with a digit";
const UNNAMEABLE: &str = "no Avro name can be derived from this name (it takes ASCII letters and digits and \
    starts with a letter); give one in avro_name";

/// The Avro record for a Simple Schema document.
///
/// # Errors
///
/// When a node breaks a rule; the error says which node and which rule.
pub(super) fn to_avro(reference: &ContractRef, top: &Place<'_>) -> Result<Value, DocumentError> {
    top.known_keys(&["name", "namespace", "doc", "avro_name", "avroName", "nodes"], &["source", "note"])?;
    let name = avro_name(top)?;
    let namespace = match top.get("namespace") {
        Some(place) => namespace_given(&place)?.to_owned(),
        None => default_namespace(reference),
    };
    let mut conversion = Conversion { fields: 0 };
    let mut fields = vec![meta_field(&namespace)];
    fields.extend(conversion.fields(top, &namespace, 1)?);
    let mut record = json!({ "type": "record", "name": name, "namespace": namespace });
    set_doc(&mut record, top)?;
    record["fields"] = Value::Array(fields);
    Ok(record)
}

struct Conversion {
    /// Nodes seen so far, over all levels.
    fields: usize,
}

impl Conversion {
    fn fields(&mut self, parent: &Place<'_>, space: &str, depth: usize) -> Result<Vec<Value>, DocumentError> {
        let nodes = parent.items("nodes", limits::SCHEMA_FIELDS_MAX)?;
        let max = limits::SCHEMA_FIELDS_MAX;
        if nodes.is_empty() {
            return parent.required("nodes")?.fail(DocumentRule::Length { min: 1, max, unit: "entries" });
        }
        let (mut names, mut records) = (HashSet::new(), HashSet::new());
        let mut fields = Vec::with_capacity(nodes.len());
        for node in &nodes {
            self.fields += 1;
            if self.fields > max {
                return node.fail(DocumentRule::Length { min: 1, max, unit: "nodes" });
            }
            let (name, field) = self.field(node, space, depth)?;
            if name.eq_ignore_ascii_case(META_FIELD) {
                return node.fail(DocumentRule::Meta);
            }
            let is_record = node.get("nodes").is_some();
            let taken = is_record && !records.insert(name.to_ascii_lowercase());
            if taken || !names.insert(name) {
                return node.fail(DocumentRule::Repeated);
            }
            fields.push(field);
        }
        Ok(fields)
    }

    fn field(
        &mut self,
        node: &Place<'_>,
        space: &str,
        depth: usize,
    ) -> Result<(String, Value), DocumentError> {
        let known = ["type", "name", "avro_name", "avroName", "repeated", "required", "nodes", "doc"];
        node.known_keys(&known, &[])?;
        let name = avro_name(node)?;
        let kind = self.kind(node, &name, space, depth)?;
        let mut field = json!({ "name": name });
        match (node.flag("repeated")?, node.flag("required")?) {
            (true, required) => {
                field["type"] = json!({ "type": "array", "items": kind });
                if !required {
                    field["default"] = json!([]);
                }
            }
            (false, true) => field["type"] = kind,
            (false, false) => {
                field["type"] = json!(["null", kind]);
                field["default"] = Value::Null;
            }
        }
        set_doc(&mut field, node)?;
        Ok((name, field))
    }

    fn kind(
        &mut self,
        node: &Place<'_>,
        name: &str,
        space: &str,
        depth: usize,
    ) -> Result<Value, DocumentError> {
        let place = node.required("type")?;
        let primitive = match place.text()? {
            "STRING" => "string",
            "BOOLEAN" => "boolean",
            "FLOAT" => "float",
            "INTEGER" => "int",
            "LONG" => "long",
            "NODE" => return self.record(node, name, space, depth),
            _ => return place.fail(DocumentRule::OneOf { allowed: TYPES }),
        };
        match node.get("nodes") {
            Some(nodes) if nodes.value.as_array().is_none_or(|nodes| !nodes.is_empty()) => {
                nodes.fail(DocumentRule::Contradiction("only a node of type NODE has nodes"))
            }
            _ => Ok(primitive.into()),
        }
    }

    fn record(
        &mut self,
        node: &Place<'_>,
        name: &str,
        space: &str,
        depth: usize,
    ) -> Result<Value, DocumentError> {
        let max = limits::SIMPLE_SCHEMA_DEPTH_MAX;
        if depth > max {
            return node.fail(DocumentRule::TooDeep { max });
        }
        let space = format!("{space}.{}", name.to_ascii_lowercase());
        let fields = self.fields(node, &space, depth + 1)?;
        Ok(json!({ "type": "record", "name": first_upper(name), "namespace": space, "fields": fields }))
    }
}

fn meta_field(namespace: &str) -> Value {
    let optional = |name: &str, kind: &str| json!({ "name": name, "type": ["null", kind], "default": null });
    let fields = json!([
        { "name": "eventContractRef", "type": "string" },
        optional("nonce", "int"),
        optional("timestamp", "long"),
        optional("keyLink", "string"),
        optional("billingId", "string"),
        { "name": "consentLevels", "type": { "type": "array", "items": "int" } },
    ]);
    let space = format!("{namespace}.strmmeta");
    let record = json!({ "type": "record", "name": "StrmMeta", "namespace": space, "fields": fields });
    json!({ "name": META_FIELD, "type": record })
}

fn set_doc(value: &mut Value, place: &Place<'_>) -> Result<(), DocumentError> {
    if let Some(doc) = place.get("doc") {
        value["doc"] = doc.text_within(0, limits::DOC_CHARS_MAX)?.into();
    }
    Ok(())
}

/// `avro_name` where given, else derived from `name`.
fn avro_name(place: &Place<'_>) -> Result<String, DocumentError> {
    let name = place.required("name")?;
    name.text_within(1, limits::TITLE_CHARS_MAX)?;
    if let Some(given) = place.get("avro_name").or_else(|| place.get("avroName")) {
        return match given.text_within(1, limits::TITLE_CHARS_MAX)? {
            text if is_avro_name(text) => Ok(text.to_owned()),
            _ => given.fail(DocumentRule::Expected { expected: NAME_RULE }),
        };
    }
    derived_name(name.text()?).map_or_else(|| name.fail(DocumentRule::Contradiction(UNNAMEABLE)), Ok)
}

fn namespace_given<'v>(place: &Place<'v>) -> Result<&'v str, DocumentError> {
    match place.text_within(1, 300)? {
        text if text.split('.').all(is_avro_name) => Ok(text),
        _ => place.fail(DocumentRule::Expected { expected: "Avro names joined by '.'" }),
    }
}

fn is_avro_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A name that is an Avro name already is kept. Another is cut into words at everything that is not a letter,
/// digit or '_', and the words are joined in camel case; the first letter keeps its case. None when nothing
/// sound is left: letters outside ASCII are not guessed at.
fn derived_name(name: &str) -> Option<String> {
    if is_avro_name(name) {
        return Some(name.to_owned());
    }
    if name.chars().any(|c| c.is_alphanumeric() && !c.is_ascii()) {
        return None;
    }
    let words = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let mut derived = String::new();
    for word in words {
        let shouted = word.len() > 1 && !word.bytes().any(|b| b.is_ascii_lowercase());
        let rest = if shouted { word[1..].to_ascii_lowercase() } else { word[1..].to_owned() };
        let first = &word[..1];
        if derived.is_empty() {
            derived.push_str(first)
        } else {
            derived.push_str(&first.to_ascii_uppercase())
        }
        derived.push_str(&rest);
    }
    is_avro_name(&derived).then_some(derived)
}

fn default_namespace(reference: &ContractRef) -> String {
    let (handle, name, version) = reference.parts();
    let handle = handle.replace('-', "_");
    let handle = if is_avro_name(&handle) { handle } else { format!("_{handle}") };
    let name =
        first_upper(&derived_name(name).unwrap_or_else(|| format!("_{}", name.replace(['-', '.'], "_"))));
    format!("{handle}.{name}.v{}", version.replace('.', "_"))
}

fn first_upper(name: &str) -> String {
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name
}

#[cfg(test)]
mod tests;
