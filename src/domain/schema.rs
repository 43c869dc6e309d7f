//! A schema as the registry keeps it.

use serde::{Deserialize, Serialize};

use super::ContractRef;

/// The language a schema is written in. Simple Schema has become Avro by the time it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SchemaKind {
    #[serde(rename = "AVRO")]
    Avro,
    #[serde(rename = "JSONSCHEMA")]
    JsonSchema,
}

/// One schema. `definition` is JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    pub reference: ContractRef,
    pub kind: SchemaKind,
    pub definition: String,
}
