//! The rules a contract must keep against its schema, checked while its fields are looked up.
//!
//! - key field: string or optional string, not inside an array; the data-subject field likewise
//! - personal, validated and masked fields: string, optional string, list of strings (or optional list)
//! - nothing under `strmMeta`, nothing inside a map or a union of several types, no personal field twice
//! - patterns: linear-time syntax, bounded, matched against the whole value
//! - equality classes: up to 64 of `a-z 0-9 _ . -`

use std::{collections::HashMap, sync::Arc};

use regex::{Regex, RegexBuilder};

use super::{
    error::{ContractError, NOT_IN_SCHEMA},
    json_body::Trail,
    meta::META,
    plan::{Field, Layout, Personal, ValueRule},
    schema_plan::{SchemaPlan, Shape},
    shape::{Node, NodeId, Nodes},
};
use crate::domain::{Contract, FieldPath, Rule, Suite, limits};

const NOT_A_STRING: &str = "must be a string, an optional string or a list of strings";

/// A checked contract: its fields, its validations, and where the fields are.
pub(super) struct Rules {
    pub fields: Vec<Field>,
    pub rules: Vec<ValueRule>,
    pub layout: Layout,
}

impl Rules {
    pub fn check(
        schema: &SchemaPlan,
        contract: &Contract,
        extra: &[FieldPath],
    ) -> Result<Rules, ContractError> {
        let mut gather =
            Gather { schema, fields: Vec::new(), numbers: HashMap::new(), layout: layout(schema) };
        let key = gather.single(&contract.key_field, "the key field must be a string outside of any list")?;
        gather.fields[key].is_key = true;
        for personal in &contract.personal_fields {
            let number = gather.field(&personal.path)?.0;
            if gather.fields[number].personal.is_some() {
                return refuse(&personal.path, "is declared personal twice");
            }
            let class = class(personal.equality_class.as_deref(), &personal.path, contract.suite)?;
            gather.fields[number].personal = Some(Personal { level: personal.level, class });
        }
        if let Some(path) = &contract.data_subject_field {
            let subject =
                gather.single(path, "the data-subject field must be a string outside of any list")?;
            gather.fields[subject].is_subject = true;
        }
        let mut rules = Vec::with_capacity(contract.validations.len());
        for validation in &contract.validations {
            let field = gather.field(&validation.field)?.0;
            let Rule::Regex { pattern } = &validation.rule;
            let regex = compile_pattern(pattern).or_else(|rule| refuse(&validation.field, &rule))?;
            rules.push(ValueRule { field, pattern: pattern.clone(), regex });
        }
        for path in extra {
            gather.field(path)?;
        }
        Ok(Rules { fields: gather.fields, rules, layout: gather.layout })
    }
}

fn refuse<T>(field: &FieldPath, rule: &str) -> Result<T, ContractError> {
    Err(ContractError { field: field.clone(), rule: rule.to_owned() })
}

fn layout(schema: &SchemaPlan) -> Layout {
    match &schema.shape {
        Shape::Avro(avro) => Layout::Avro { nodes: avro.nodes.clone(), root: avro.root, meta: avro.meta },
        Shape::Json(_) => Layout::Json(Trail::default()),
    }
}

struct Gather<'a> {
    schema: &'a SchemaPlan,
    fields: Vec<Field>,
    /// Number of a field, and whether it can occur more than once in an event.
    numbers: HashMap<FieldPath, (usize, bool)>,
    layout: Layout,
}

impl Gather<'_> {
    fn single(&mut self, path: &FieldPath, rule: &str) -> Result<usize, ContractError> {
        match self.field(path)? {
            (number, false) => Ok(number),
            _ => refuse(path, rule),
        }
    }

    /// The field's number and whether it repeats; finds and marks it when it is new.
    fn field(&mut self, path: &FieldPath) -> Result<(usize, bool), ContractError> {
        if let Some(known) = self.numbers.get(path) {
            return Ok(*known);
        }
        if path.segments().next() == Some(META) {
            return refuse(path, "lies under strmMeta, which belongs to the gateway");
        }
        let number = self.fields.len();
        let index = u32::try_from(number).expect("a contract document is at most 1 MiB");
        let segments: Vec<&str> = path.segments().collect();
        let found = match (&mut self.layout, &self.schema.shape) {
            (Layout::Avro { nodes, root, .. }, Shape::Avro(avro)) => {
                let mut marker = Marker { nodes, shared: avro.nodes.len(), field: index, repeats: false };
                marker.mark(*root, &segments).map(|new_root| {
                    let repeats = marker.repeats;
                    *root = new_root;
                    repeats
                })
            }
            (Layout::Json(trail), Shape::Json(shape)) => {
                shape.repeats(&segments).inspect(|_| trail.insert(&segments, index))
            }
            _ => unreachable!("the layout was made for this schema"),
        };
        let repeats = found.or_else(|rule| refuse(path, rule))?;
        self.fields.push(Field { path: path.clone(), personal: None, is_key: false, is_subject: false });
        self.numbers.insert(path.clone(), (number, repeats));
        Ok((number, repeats))
    }
}

/// Copies the nodes along a path and marks the string at its end. Nodes below `shared` belong to the
/// schema and are not touched: a recursive type may be reached by other paths.
struct Marker<'a> {
    nodes: &'a mut Nodes,
    shared: NodeId,
    field: u32,
    repeats: bool,
}

impl Marker<'_> {
    fn mark(&mut self, node: NodeId, path: &[&str]) -> Result<NodeId, &'static str> {
        match self.nodes.get(node).clone() {
            Node::Text if path.is_empty() => Ok(self.nodes.push(Node::Marked(self.field))),
            Node::Record(record) if !path.is_empty() => {
                let Some(index) = record.position(path[0].as_bytes()) else { return Err(NOT_IN_SCHEMA) };
                let child = record.fields[index].node;
                drop(record);
                let child = self.mark(child, &path[1..])?;
                let own = self.own(node);
                if let Node::Record(record) = self.nodes.get_mut(own) {
                    Arc::make_mut(record).fields[index].node = child;
                }
                Ok(own)
            }
            Node::Union(union) => {
                let Some((branch, child)) = union.sole else {
                    return Err("is a union of several types, or inside one");
                };
                drop(union);
                let child = self.mark(child, path)?;
                let own = self.own(node);
                if let Node::Union(union) = self.nodes.get_mut(own) {
                    let union = Arc::make_mut(union);
                    union.branches[branch as usize].node = child;
                    union.sole = Some((branch, child));
                }
                Ok(own)
            }
            Node::Array(items) => {
                if path.is_empty() && !matches!(self.nodes.get(items), Node::Text) {
                    return Err(NOT_A_STRING);
                }
                self.repeats = true;
                let items = self.mark(items, path)?;
                let own = self.own(node);
                *self.nodes.get_mut(own) = Node::Array(items);
                Ok(own)
            }
            Node::Map(_) if !path.is_empty() => Err("is inside a map"),
            _ if path.is_empty() => Err(NOT_A_STRING),
            _ => Err(NOT_IN_SCHEMA),
        }
    }

    fn own(&mut self, node: NodeId) -> NodeId {
        if node >= self.shared { node } else { self.nodes.push(self.nodes.get(node).clone()) }
    }
}

fn class(named: Option<&str>, path: &FieldPath, suite: Suite) -> Result<Vec<u8>, ContractError> {
    let allowed = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    match (named, suite) {
        (Some(name), _) if name.len() <= 64 && name.bytes().all(allowed) => Ok(name.as_bytes().to_vec()),
        (Some(_), _) => refuse(path, "an equality class takes up to 64 of a-z, 0-9, '_', '.' and '-'"),
        (None, Suite::XChaCha20Poly1305) => Ok(path.as_str().as_bytes().to_vec()),
        (None, Suite::Aes256Siv) => Ok(Vec::new()),
    }
}

fn compile_pattern(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > limits::PATTERN_BYTES_MAX {
        return Err(format!("the pattern is longer than {} bytes", limits::PATTERN_BYTES_MAX));
    }
    let build = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        builder
            .size_limit(limits::PATTERN_COMPILED_BYTES_MAX)
            .dfa_size_limit(limits::PATTERN_COMPILED_BYTES_MAX);
        builder.build().map_err(|error| format!("the pattern cannot be used: {error}"))
    };
    // By itself first, so that a pattern cannot close the group it is wrapped in.
    build(pattern)?;
    // A comment at the end of an (?x) pattern would swallow the bracket: a line break ends it.
    build(&format!(r"\A(?:{pattern})\z")).or_else(|_| build(&format!("\\A(?:{pattern}\n)\\z")))
}
