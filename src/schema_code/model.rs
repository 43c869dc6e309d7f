//! An Avro schema as classes: every named type once, every name fit for the language.

use std::collections::{HashMap, HashSet};

use apache_avro::schema::Schema as AvroSchema;

use crate::{
    domain::{ContractRef, Schema, SchemaKind},
    event::avro_schema,
};

/// Why no code can be made. The caller writes the classes by hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("code is made of Avro schemas only, and this is a JSON Schema")]
    JsonSchema,
    #[error("{0}: a union of several types has no class")]
    Union(String),
    #[error("{0}: has a type that is not supported")]
    Unsupported(String),
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
    Enum(usize),
    Record(usize),
    List(Box<Kind>),
    Map(Box<Kind>),
    Optional(Box<Kind>),
}

/// A class. `name` and the fields' `ident` are fit for the language; `json` is the schema's name.
#[derive(Debug, Default)]
pub(super) struct RecordModel {
    pub name: String,
    pub fields: Vec<FieldModel>,
}

#[derive(Debug)]
pub(super) struct FieldModel {
    pub ident: String,
    pub json: String,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) struct EnumModel {
    pub name: String,
    /// Identifier and text of each symbol.
    pub symbols: Vec<(String, String)>,
}

pub(super) struct Model {
    pub reference: ContractRef,
    /// The schema without logical types, compact JSON.
    pub definition: String,
    pub records: Vec<RecordModel>,
    pub enums: Vec<EnumModel>,
}

impl Model {
    /// The class of an event: the first one.
    pub fn root(&self) -> &RecordModel {
        &self.records[0]
    }

    /// Reads a schema. `reserved` are words that no name may be.
    pub fn read(schema: &Schema, reserved: &[&str]) -> Result<Model, CodeError> {
        if schema.kind != SchemaKind::Avro {
            return Err(CodeError::JsonSchema);
        }
        let unreadable = || CodeError::Unsupported("schema".to_owned());
        let (avro, definition) = avro_schema(&schema.definition).ok_or_else(unreadable)?;
        let mut reader =
            Reader { reserved, named: HashMap::new(), classes: HashSet::new(), path: Vec::new() };
        let reference = schema.reference.clone();
        let mut model = Model { reference, definition, records: Vec::new(), enums: Vec::new() };
        match reader.kind(&avro, &mut model)? {
            Kind::Record(0) => Ok(model),
            _ => Err(unreadable()),
        }
    }
}

struct Reader<'a> {
    reserved: &'a [&'a str],
    named: HashMap<String, Kind>,
    classes: HashSet<String>,
    path: Vec<String>,
}

impl Reader<'_> {
    fn at(&self) -> String {
        self.path.join("/")
    }

    fn kind(&mut self, schema: &AvroSchema, model: &mut Model) -> Result<Kind, CodeError> {
        Ok(match schema {
            AvroSchema::Null => Kind::Null,
            AvroSchema::Boolean => Kind::Boolean,
            AvroSchema::Int => Kind::Int,
            AvroSchema::Long => Kind::Long,
            AvroSchema::Float => Kind::Float,
            AvroSchema::Double => Kind::Double,
            AvroSchema::String => Kind::Text,
            AvroSchema::Bytes => Kind::Bytes,
            AvroSchema::Fixed(fixed) => {
                self.named.insert(fixed.name.fullname(None), Kind::Bytes);
                Kind::Bytes
            }
            AvroSchema::Array(array) => Kind::List(Box::new(self.kind(&array.items, model)?)),
            AvroSchema::Map(map) => Kind::Map(Box::new(self.kind(&map.types, model)?)),
            AvroSchema::Union(union) => {
                let mut others = union.variants().iter().filter(|v| !matches!(v, AvroSchema::Null));
                match (others.next(), others.next()) {
                    (None, _) => Kind::Null,
                    (Some(only), None) => {
                        let kind = self.kind(only, model)?;
                        if union.variants().len() > 1 { Kind::Optional(Box::new(kind)) } else { kind }
                    }
                    _ => return Err(CodeError::Union(self.at())),
                }
            }
            AvroSchema::Enum(symbols) => {
                let mut used = HashSet::new();
                let name = self.class(symbols.name.name());
                let fit = |text: &String| (unique(text, self.reserved, &mut used), text.clone());
                let symbols_fit = symbols.symbols.iter().map(fit).collect();
                model.enums.push(EnumModel { name, symbols: symbols_fit });
                let kind = Kind::Enum(model.enums.len() - 1);
                self.named.insert(symbols.name.fullname(None), kind.clone());
                kind
            }
            AvroSchema::Record(record) => {
                let at = model.records.len();
                let name = self.class(record.name.name());
                self.named.insert(record.name.fullname(None), Kind::Record(at));
                model.records.push(RecordModel { name, fields: Vec::new() });
                let mut used = HashSet::new();
                for field in &record.fields {
                    self.path.push(field.name.clone());
                    let kind = self.kind(&field.schema, model)?;
                    self.path.pop();
                    let ident = unique(&field.name, self.reserved, &mut used);
                    model.records[at].fields.push(FieldModel { ident, json: field.name.clone(), kind });
                }
                Kind::Record(at)
            }
            AvroSchema::Ref { name } => {
                let known = self.named.get(&name.fullname(None)).cloned();
                known.ok_or_else(|| CodeError::Unsupported(self.at()))?
            }
            _ => return Err(CodeError::Unsupported(self.at())),
        })
    }

    /// A class name that no other class has: namespaces are left out.
    fn class(&mut self, name: &str) -> String {
        let mut name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        unique(&name, self.reserved, &mut self.classes)
    }
}

/// `name`, or with a suffix where it is reserved or used before. Leading underscores mean something in
/// Python, and `_` alone in Rust and Java.
fn unique(name: &str, reserved: &[&str], used: &mut HashSet<String>) -> String {
    let mut fit = if name.starts_with('_') { format!("x{name}") } else { name.to_owned() };
    while reserved.contains(&fit.as_str()) || used.contains(&fit) {
        fit.push('_');
    }
    used.insert(fit.clone());
    fit
}
