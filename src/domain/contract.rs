//! A data contract: which fields of a schema are personal, for which purpose, and what is valid.

use serde::{Deserialize, Serialize};

use super::{ContractRef, FieldPath, Suite};

/// Where a contract is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContractState {
    Draft,
    InReview,
    Approved,
    Active,
    Archived,
}

/// A field whose value is sealed. `equality_class` None: the default of the suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonalField {
    pub path: FieldPath,
    pub level: i32,
    pub equality_class: Option<String>,
}

/// What makes a value valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    Regex { pattern: String },
}

/// A rule for one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    pub field: FieldPath,
    pub rule: Rule,
}

/// One data contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    pub reference: ContractRef,
    pub schema_ref: ContractRef,
    pub state: ContractState,
    pub is_public: bool,
    pub key_field: FieldPath,
    pub personal_fields: Vec<PersonalField>,
    pub validations: Vec<Validation>,
    pub data_subject_field: Option<FieldPath>,
    pub suite: Suite,
}
