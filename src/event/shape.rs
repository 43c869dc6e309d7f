//! The compiled form of an Avro schema: a flat table of nodes, names resolved to node numbers.
//!
//! A contract's fields are marked by copying the nodes along their paths (`plan`), so that the decoders
//! know a marked string by its node and keep no path while they run.

use std::{collections::HashMap, sync::Arc};

use apache_avro::schema::{Name, Schema as AvroSchema};

use super::error::SchemaError;
use crate::domain::limits;

pub(super) type NodeId = u32;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    /// A string that is the field of this number of an event plan.
    Marked(u32),
    Fixed(usize),
    Enum(Arc<[Box<str>]>),
    Array(NodeId),
    Map(NodeId),
    Union(Arc<UnionShape>),
    Record(Arc<RecordShape>),
}

#[derive(Clone, Debug)]
pub(super) struct RecordShape {
    pub fields: Vec<FieldShape>,
    /// Names with their field number, sorted by name.
    pub lookup: Arc<[(Arc<str>, u32)]>,
    /// Bytes of JSON this record takes at least: keys, and `null` for each value.
    pub skeleton: u64,
}

#[derive(Clone, Debug)]
pub(super) struct FieldShape {
    pub name: Arc<str>,
    /// `"name":`, as it is written.
    pub key: Arc<[u8]>,
    pub node: NodeId,
    pub nullable: bool,
}

#[derive(Clone, Debug)]
pub(super) struct UnionShape {
    pub branches: Vec<Branch>,
    pub null: Option<u32>,
    /// The only branch that is not null.
    pub sole: Option<(u32, NodeId)>,
    /// How many branches are an object in plain JSON.
    pub objects: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// `{"full.name":`, as a tagged value begins.
    pub open: Arc<[u8]>,
    /// Where the unqualified name begins inside the tag.
    pub short_at: usize,
    pub node: NodeId,
}

impl Branch {
    /// The fully qualified tag.
    pub fn tag(&self) -> &[u8] {
        &self.open[2..self.open.len() - 2]
    }

    pub fn is_tagged_by(&self, tag: &[u8]) -> bool {
        tag == self.tag() || tag == &self.tag()[self.short_at..]
    }
}

impl RecordShape {
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        let found = self.lookup.binary_search_by(|(known, _)| known.as_bytes().cmp(name)).ok()?;
        Some(self.lookup[found].1 as usize)
    }
}

/// All nodes of one schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    list: Vec<Node>,
    /// Whether a value of the node can have no bytes of its own in Avro binary.
    empty: Vec<bool>,
}

impl Nodes {
    pub fn get(&self, id: NodeId) -> &Node {
        &self.list[id as usize]
    }

    pub fn get_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.list[id as usize]
    }

    pub fn may_be_empty(&self, id: NodeId) -> bool {
        self.empty[id as usize]
    }

    pub fn len(&self) -> NodeId {
        NodeId::try_from(self.list.len()).expect("a schema document is at most 1 MiB")
    }

    pub fn push(&mut self, node: Node) -> NodeId {
        self.empty.push(match &node {
            Node::Null | Node::Fixed(0) => true,
            Node::Record(record) => record.fields.iter().all(|field| self.may_be_empty(field.node)),
            _ => false,
        });
        self.list.push(node);
        self.len() - 1
    }

    fn settle(&mut self, id: NodeId, node: Node) {
        if let Node::Record(record) = &node {
            self.empty[id as usize] = record.fields.iter().all(|field| self.may_be_empty(field.node));
        }
        self.list[id as usize] = node;
    }
}

/// Compiles a parsed Avro schema. Returns the table and its root.
///
/// # Errors
///
/// Too many fields, too deep nesting, or a type this codec does not know.
pub(super) fn compile(schema: &AvroSchema) -> Result<(Nodes, NodeId), SchemaError> {
    let mut compiler =
        Compiler { nodes: Nodes::default(), named: HashMap::new(), fields: 0, path: Vec::new() };
    // Named types inside a type that is still open count as not empty: only a recursive record that
    // contains itself outright could be, and no finite value of it exists.
    let root = compiler.node(schema)?;
    Ok((compiler.nodes, root))
}

struct Compiler {
    nodes: Nodes,
    named: HashMap<Name, NodeId>,
    fields: usize,
    path: Vec<String>,
}

impl Compiler {
    fn refuse<T>(&self, rule: &str) -> Result<T, SchemaError> {
        Err(SchemaError { path: self.path.join("/"), rule: rule.to_owned() })
    }

    fn node(&mut self, schema: &AvroSchema) -> Result<NodeId, SchemaError> {
        if self.path.len() > limits::DEPTH_MAX {
            return self.refuse("nested too deeply");
        }
        Ok(match schema {
            AvroSchema::Null => self.nodes.push(Node::Null),
            AvroSchema::Boolean => self.nodes.push(Node::Boolean),
            AvroSchema::Int => self.nodes.push(Node::Int),
            AvroSchema::Long => self.nodes.push(Node::Long),
            AvroSchema::Float => self.nodes.push(Node::Float),
            AvroSchema::Double => self.nodes.push(Node::Double),
            AvroSchema::Bytes => self.nodes.push(Node::Bytes),
            AvroSchema::String => self.nodes.push(Node::Text),
            AvroSchema::Fixed(fixed) => {
                let id = self.nodes.push(Node::Fixed(fixed.size));
                self.named.insert(fixed.name.clone(), id);
                id
            }
            AvroSchema::Enum(symbols) => {
                let list = symbols.symbols.iter().map(|symbol| symbol.as_str().into()).collect();
                let id = self.nodes.push(Node::Enum(list));
                self.named.insert(symbols.name.clone(), id);
                id
            }
            AvroSchema::Array(array) => {
                let items = self.node(&array.items)?;
                self.nodes.push(Node::Array(items))
            }
            AvroSchema::Map(map) => {
                let values = self.node(&map.types)?;
                self.nodes.push(Node::Map(values))
            }
            AvroSchema::Union(union) => self.union(union.variants())?,
            AvroSchema::Record(record) => self.record(record)?,
            AvroSchema::Ref { name } => match self.named.get(name) {
                Some(id) => *id,
                None => return self.refuse("refers to a type that is not defined before it"),
            },
            _ => return self.refuse("has a type that is not supported"),
        })
    }

    fn union(&mut self, variants: &[AvroSchema]) -> Result<NodeId, SchemaError> {
        if variants.is_empty() {
            return self.refuse("is a union without branches");
        }
        let mut branches = Vec::with_capacity(variants.len());
        for variant in variants {
            let node = self.node(variant)?;
            let tag = tag_of(variant);
            let short_at = tag.rfind('.').map_or(0, |dot| dot + 1);
            branches.push(Branch { open: format!("{{\"{tag}\":").into_bytes().into(), short_at, node });
        }
        let null = variants.iter().position(|variant| matches!(variant, AvroSchema::Null));
        let null = null.map(|index| u32::try_from(index).expect("a schema document is at most 1 MiB"));
        let mut others = (0_u32..).zip(&branches).filter(|(index, _)| Some(*index) != null);
        let sole = match (others.next(), others.next()) {
            (Some((index, branch)), None) => Some((index, branch.node)),
            _ => None,
        };
        let objects = variants.iter().filter(|variant| self.is_object(variant)).count();
        Ok(self.nodes.push(Node::Union(Arc::new(UnionShape { branches, null, sole, objects }))))
    }

    fn is_object(&self, schema: &AvroSchema) -> bool {
        match schema {
            AvroSchema::Map(_) | AvroSchema::Record(_) => true,
            // A record that is still open is not settled yet; what is settled tells.
            AvroSchema::Ref { name } => {
                let node = self.named.get(name).map(|id| self.nodes.get(*id));
                !matches!(node, Some(Node::Fixed(_) | Node::Enum(_)))
            }
            _ => false,
        }
    }

    fn record(&mut self, record: &apache_avro::schema::RecordSchema) -> Result<NodeId, SchemaError> {
        let id = self.nodes.push(Node::Boolean);
        self.named.insert(record.name.clone(), id);
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            self.fields += 1;
            if self.fields > limits::SCHEMA_FIELDS_MAX {
                return self.refuse("the schema has too many fields");
            }
            self.path.push(field.name.clone());
            let node = self.node(&field.schema)?;
            self.path.pop();
            let nullable = match self.nodes.get(node) {
                Node::Null => true,
                Node::Union(union) => union.null.is_some(),
                _ => false,
            };
            let key = format!("\"{}\":", field.name).into_bytes().into();
            fields.push(FieldShape { name: field.name.as_str().into(), key, node, nullable });
        }
        let mut lookup: Vec<_> =
            (0_u32..).zip(&fields).map(|(index, field)| (field.name.clone(), index)).collect();
        lookup.sort();
        if lookup.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return self.refuse("has two fields of one name");
        }
        let skeleton = fields.iter().map(|field| field.key.len() as u64 + 5).sum::<u64>() + 2;
        let shape = RecordShape { fields, lookup: lookup.into(), skeleton };
        self.nodes.settle(id, Node::Record(Arc::new(shape)));
        Ok(id)
    }
}

fn tag_of(schema: &AvroSchema) -> String {
    match schema {
        AvroSchema::Null => "null".to_owned(),
        AvroSchema::Boolean => "boolean".to_owned(),
        AvroSchema::Int => "int".to_owned(),
        AvroSchema::Long => "long".to_owned(),
        AvroSchema::Float => "float".to_owned(),
        AvroSchema::Double => "double".to_owned(),
        AvroSchema::Bytes => "bytes".to_owned(),
        AvroSchema::Array(_) => "array".to_owned(),
        AvroSchema::Map(_) => "map".to_owned(),
        AvroSchema::Fixed(fixed) => fixed.name.fullname(None),
        AvroSchema::Enum(symbols) => symbols.name.fullname(None),
        AvroSchema::Record(record) => record.name.fullname(None),
        AvroSchema::Ref { name } => name.fullname(None),
        _ => "string".to_owned(),
    }
}
