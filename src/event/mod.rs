//! Bytes to event and back: compiled plans that find, check and replace fields without a document tree.
//!
//! A [`SchemaPlan`] is compiled once per schema, an [`EventPlan`] once per schema, contract and set of
//! masked fields. Decoding fills a reusable [`Tape`] (see there for its format); validation, sealing and
//! encoding work on tape and body together. Per event nothing is allocated once the buffers have grown,
//! except for JSON Schemas, whose validator needs a document.
//!
//! ```text
//! avro.rs        Avro binary  ┐                     ┌ write.rs  Avro binary (edits), JSON (nodes or edits)
//! json.rs        Avro JSON    ├ decode > Tape > encode
//! json_body.rs   JSON Schema  ┘
//! shape.rs, meta.rs, json_schema.rs   compiled schemas      contract_rules.rs   contracts against them
//! changes.rs   versions compared
//! json_scan.rs   JSON text                                  container.rs        Avro object containers
//! ```
//! Who may enter: `actors`, `http`, `cli`. Imports `domain` and `clock` only.

mod avro;
mod changes;
pub mod container;
mod contract_rules;
mod error;
mod json;
mod json_body;
mod json_scan;
mod json_schema;
mod meta;
mod plan;
mod schema_plan;
mod shape;
mod tape;
mod write;

#[cfg(test)]
mod tests;

pub use self::{
    changes::{ContractChanges, Version},
    error::{ContractError, DecodeError, Place, SchemaError, Violation},
    plan::{EventPlan, Field, Form, Personal, Stamp},
    schema_plan::{SchemaPlan, avro_schema},
    tape::{Mark, Tape, Text},
};
