//! Schema code: classes a producer can send with, made from an Avro schema for four languages.
//!
//! `model` reads the schema into named records and enums; each language has one file that writes them with
//! a function to JSON and the values of the headers an event is sent with. The generated code needs nothing
//! but its language (Python's also fits the original's driver). Pure: text in, text out. Who may enter: `http`.
//!
//! A JSON Schema, or a union of several types besides null, has no one class in all four languages and is
//! refused. Logical types are their base types, as everywhere in Sluice.

mod java;
mod model;
mod python;
mod rust;
mod typescript;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::Schema;

pub use self::model::CodeError;

/// A language code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Python,
    TypeScript,
    Java,
    Rust,
}

/// The code of `schema` in `language`: one file.
///
/// # Errors
///
/// [`CodeError`]: the schema has a part that cannot be written as a class.
pub fn write(schema: &Schema, language: Language) -> Result<String, CodeError> {
    let reserved = match language {
        Language::Python => python::RESERVED,
        Language::TypeScript => typescript::RESERVED,
        Language::Java => java::RESERVED,
        Language::Rust => rust::RESERVED,
    };
    let model = model::Model::read(schema, reserved)?;
    Ok(match language {
        Language::Python => python::write(&model),
        Language::TypeScript => typescript::write(&model),
        Language::Java => java::write(&model),
        Language::Rust => rust::write(&model),
    })
}

#[cfg(test)]
mod tests;
