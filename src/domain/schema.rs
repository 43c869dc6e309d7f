//! A schema as the registry keeps it, and how one is read from what people write.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    ContractRef,
    document::{self, DocumentError, DocumentRule, Place},
    simple_schema,
};

/// The language a schema is written in. Simple Schema has become Avro by the time it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum SchemaKind {
    #[serde(rename = "AVRO")]
    Avro,
    #[serde(rename = "JSONSCHEMA")]
    JsonSchema,
}

/// One schema. Its content is compiled, and thereby checked, by `event::SchemaPlan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    pub reference: ContractRef,
    pub kind: SchemaKind,
    /// Compact JSON text, keys in the order they were written.
    pub definition: String,
}

/// The text is not a schema document.
pub type SchemaDocumentError = DocumentError;

impl Schema {
    /// Reads a schema from JSON or YAML text: Avro (an object of type `record`), JSON Schema (an object with
    /// `$schema`, or of type `object` with `properties`), or Simple Schema (an object with `nodes`).
    ///
    /// # Errors
    ///
    /// When the text is none of these, or breaks a limit of documents, or a rule of Simple Schema.
    pub fn parse(reference: &ContractRef, text: &str) -> Result<Schema, SchemaDocumentError> {
        let document = document::read(text)?;
        let (kind, definition) = match kind_of(&document) {
            Some(Kind::Avro) => (SchemaKind::Avro, document),
            Some(Kind::JsonSchema) => (SchemaKind::JsonSchema, document),
            Some(Kind::Simple) => {
                (SchemaKind::Avro, simple_schema::to_avro(reference, &Place::top(&document))?)
            }
            None => {
                let expected = "Avro (\"type\": \"record\"), JSON Schema (\"$schema\", or \"properties\" of an \
                    object) or Simple Schema (\"nodes\")";
                return Err(DocumentError::new("", DocumentRule::Expected { expected }));
            }
        };
        Ok(Schema { reference: reference.clone(), kind, definition: definition.to_string() })
    }
}

enum Kind {
    Avro,
    JsonSchema,
    Simple,
}

fn kind_of(document: &Value) -> Option<Kind> {
    let map = document.as_object()?;
    let kind = map.get("type").and_then(Value::as_str);
    if kind == Some("record") {
        Some(Kind::Avro)
    } else if map.contains_key("$schema") || (kind == Some("object") && map.contains_key("properties")) {
        Some(Kind::JsonSchema)
    } else if map.contains_key("nodes") {
        Some(Kind::Simple)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Schema, SchemaDocumentError> {
        Schema::parse(&"acme/click/1.0.0".parse().unwrap(), text)
    }

    #[test]
    fn the_kind_is_told_from_the_document() {
        let table = [
            (r#"{"type": "record", "name": "A", "fields": []}"#, SchemaKind::Avro),
            ("type: record\nname: A\nfields: []\n", SchemaKind::Avro),
            (r#"{"$schema": "https://json-schema.org/draft/2020-12/schema"}"#, SchemaKind::JsonSchema),
            (r#"{"type": "object", "properties": {}}"#, SchemaKind::JsonSchema),
            ("name: A\nnodes: [{ name: a, type: LONG }]", SchemaKind::Avro),
        ];
        for (text, kind) in table {
            assert_eq!(parse(text).unwrap().kind, kind, "{text}");
        }
    }

    #[test]
    fn attributes_that_mean_nothing_here_are_kept_in_order() {
        let text = r#"{ "name": "A", "type": "record", "strmSchemaId": "x", "fields": [] }"#;
        assert_eq!(parse(text).unwrap().definition, text.replace(' ', ""));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["7", "[]", "{}", r#"{"type": "enum"}"#, "plain text"] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.starts_with("document: must be Avro"), "{text}: {message}");
        }
    }

    #[test]
    fn kinds_are_stored_under_the_names_of_the_original() {
        assert_eq!(serde_json::to_string(&SchemaKind::JsonSchema).unwrap(), "\"JSONSCHEMA\"");
        assert_eq!(serde_json::to_string(&SchemaKind::Avro).unwrap(), "\"AVRO\"");
    }
}
