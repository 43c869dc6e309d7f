//! A data contract: which fields of a schema are personal, for which purpose, and what is valid.
//!
//! What can be said without the schema is checked when a document is read (`contract_document`); that the
//! fields exist and have a fitting type is checked by `event::EventPlan::compile`.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ContractRef, ContractStep, FieldPath, ProjectName, StepTaken, Suite, Who};

/// Where a contract is in its life. Events are accepted only under an `ACTIVE` one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContractState {
    #[default]
    Draft,
    InReview,
    Approved,
    Active,
    Archived,
}

/// The step from one state to the other is not one a contract can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a contract in state {from} cannot become {to}")]
pub struct StateError {
    pub from: ContractState,
    pub to: ContractState,
}

impl ContractState {
    /// All states, in the order of a contract's life.
    pub const ALL: [ContractState; 5] = [
        ContractState::Draft,
        ContractState::InReview,
        ContractState::Approved,
        ContractState::Active,
        ContractState::Archived,
    ];

    /// The text form, as in documents: `IN_REVIEW`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ContractState::Draft => "DRAFT",
            ContractState::InReview => "IN_REVIEW",
            ContractState::Approved => "APPROVED",
            ContractState::Active => "ACTIVE",
            ContractState::Archived => "ARCHIVED",
        }
    }

    /// The state after the step to `to`.
    ///
    /// # Errors
    ///
    /// When `to` cannot follow this state: the caller asks for another one.
    pub fn step(self, to: ContractState) -> Result<ContractState, StateError> {
        use ContractState::{Active, Approved, Archived, Draft, InReview};
        match (self, to) {
            // Who may review and approve may also take the steps in one.
            (Draft, InReview | Active)
            | (InReview, Approved | Draft | Active)
            | (Approved, Active | Draft) => Ok(to),
            (Active, Archived) | (Archived, Active) => Ok(to),
            (from, to) => Err(StateError { from, to }),
        }
    }

    /// Whether its rules may still be changed.
    #[must_use]
    pub fn is_editable(self) -> bool {
        self == ContractState::Draft
    }

    /// Whether no event was ever accepted under it, so that it may go.
    #[must_use]
    pub fn was_never_active(self) -> bool {
        matches!(self, ContractState::Draft | ContractState::InReview | ContractState::Approved)
    }
}

impl fmt::Display for ContractState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A field whose value is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersonalField {
    pub path: FieldPath,
    /// The purpose it may be opened for, 0..=999.
    pub level: i32,
    /// Fields of one class show equal values as equal. None: the default of the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equality_class: Option<String>,
}

/// What makes a value valid. More kinds will come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Rule {
    /// The whole value matches the pattern (dialect of the `regex` crate, linear time).
    Regex {
        #[serde(rename = "value")]
        pattern: String,
    },
}

/// A rule for one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    pub field: FieldPath,
    #[serde(flatten)]
    pub rule: Rule,
}

/// One data contract. `serde` is the stored form; the form people write is `contract_document`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contract {
    pub reference: ContractRef,
    /// The schema its events follow.
    pub schema_ref: ContractRef,
    /// Further schema references events of this contract may be sent under: same shape, other name.
    #[serde(default)]
    pub other_schema_refs: Vec<ContractRef>,
    pub state: ContractState,
    /// What it belongs to.
    #[serde(default)]
    pub project: ProjectName,
    /// Usable by every project; cannot be deleted.
    pub is_public: bool,
    /// The field whose value names the session.
    pub key_field: FieldPath,
    pub personal_fields: Vec<PersonalField>,
    pub validations: Vec<Validation>,
    /// The field whose value names the data subject.
    pub data_subject_field: Option<FieldPath>,
    pub suite: Suite,
    #[serde(default)]
    pub about: ContractAbout,
    /// The steps of its life, oldest first; the first one names the author. Empty for the catalogue.
    #[serde(default)]
    pub history: Vec<StepTaken>,
}

/// What people read about a contract. Stays editable in every state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContractAbout {
    /// At most 100 characters; empty: the contract's name is shown.
    #[serde(default)]
    pub title: String,
    /// Markdown, at most 20,000 bytes.
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Contract {
    /// A draft without personal fields and rules.
    #[must_use]
    pub fn new(reference: ContractRef, schema_ref: ContractRef, key_field: FieldPath) -> Contract {
        Contract {
            reference,
            schema_ref,
            other_schema_refs: Vec::new(),
            state: ContractState::Draft,
            project: ProjectName::default(),
            is_public: false,
            key_field,
            personal_fields: Vec::new(),
            validations: Vec::new(),
            data_subject_field: None,
            suite: Suite::default(),
            about: ContractAbout::default(),
            history: Vec::new(),
        }
    }

    /// Whether streams of `project` may take events of this contract.
    #[must_use]
    pub fn serves(&self, project: &ProjectName) -> bool {
        self.is_public || self.project == *project
    }

    /// Whether `who` wrote this contract or some of it.
    #[must_use]
    pub fn is_by(&self, who: &Who) -> bool {
        let wrote = |step: ContractStep| matches!(step, ContractStep::Create | ContractStep::Edit);
        self.history.iter().any(|taken| wrote(taken.step) && taken.who == *who)
    }

    /// Whether an event of this contract may be sent under `schema`.
    #[must_use]
    pub fn accepts_schema(&self, schema: &ContractRef) -> bool {
        self.schema_ref == *schema || self.other_schema_refs.contains(schema)
    }
}

/// Words in a field's name that promise few different values.
const FEW_VALUES: [&str; 42] = [
    "age",
    "birthyear",
    "bool",
    "category",
    "city",
    "civil",
    "country",
    "county",
    "currency",
    "day",
    "district",
    "education",
    "enabled",
    "ethnicity",
    "flag",
    "gender",
    "group",
    "hour",
    "income",
    "language",
    "locale",
    "marital",
    "month",
    "nationality",
    "occupation",
    "plz",
    "postal",
    "postcode",
    "province",
    "race",
    "rank",
    "region",
    "religion",
    "salutation",
    "segment",
    "sex",
    "state",
    "status",
    "tier",
    "weekday",
    "year",
    "zip",
];

impl Contract {
    /// What is allowed and yet worth a second look. Each names a field and why.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let personal = |path: &FieldPath| self.personal_fields.iter().any(|field| field.path == *path);
        let few = self.personal_fields.iter().filter(|field| suggests_few_values(field.path.name()));
        let mut warnings: Vec<String> = few
            .map(|field| {
                format!(
                    "{}: the name suggests few different values; equal values of one session seal to equal text, \
                     so whoever counts them may guess them",
                    field.path
                )
            })
            .collect();
        if !personal(&self.key_field) {
            warnings.push(format!(
                "{}: the key field is not personal, so it stays readable in the encrypted stream",
                self.key_field
            ));
        }
        if let Some(subject) = self.data_subject_field.as_ref().filter(|subject| !personal(subject)) {
            warnings.push(format!(
                "{subject}: the data subject field is not personal, so it stays readable in the encrypted stream"
            ));
        }
        warnings
    }
}

/// Whether one of the words of a camel-case, snake-case or dashed name is in the list.
fn suggests_few_values(name: &str) -> bool {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower_before) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        lower_before = c.is_lowercase() || c.is_ascii_digit();
    }
    words.iter().any(|word| FEW_VALUES.contains(&word.as_str()))
}

#[cfg(test)]
mod tests;
