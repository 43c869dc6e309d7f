//! The words of the field as types: pure, no I/O, no async.

pub mod catalogue;
pub mod consent;
mod contract;
mod contract_document;
mod contract_life;
mod contract_ref;
mod document;
pub mod erasure;
mod field_path;
pub mod limits;
pub mod mask;
mod policy;
pub mod principal;
pub mod project;
mod purpose;
pub mod record;
pub mod role;
mod schema;
mod session;
mod simple_schema;
mod stream;
pub mod stream_definition;
mod stream_limits;
mod suite;
mod usage;
mod who;

pub use self::{
    consent::{ConsentRule, ConsentRuleError},
    contract::{Contract, ContractAbout, ContractState, PersonalField, Rule, StateError, Validation},
    contract_document::ContractDocumentError,
    contract_life::{ContractRights, ContractStep, StepTaken, may_step, remember},
    contract_ref::{ContractRef, REF_BYTES_MAX, RefError},
    document::{DocumentError, DocumentRule},
    erasure::{Erased, ErasedPlace, Erasure, Mark, SubjectHolding},
    field_path::{FIELD_PATH_BYTES_MAX, FieldPath, FieldPathError, META_FIELD},
    mask::{MaskConfig, MaskError, MaskHash},
    policy::{AfterErasure, KeyTerm, Policy, PolicyError, PolicyId, PolicyState},
    principal::{ApiToken, Principal, PrincipalId, PrincipalKind, ReadGrant},
    project::{Project, ProjectName, ProjectState},
    purpose::{Purpose, PurposeError},
    record::{Levels, Record, RecordBatch, RecordDamaged, RecordHead, Serialization},
    role::{Permission, Role},
    schema::{Schema, SchemaDocumentError, SchemaKind},
    session::{Epoch, Fingerprint, KeyLink},
    stream::{StreamName, StreamNameError},
    stream_definition::{DefinitionError, Derivation, StoredCredential, StreamDefinition},
    stream_limits::{LimitError, StreamLimits, Window},
    suite::Suite,
    usage::UsageCounts,
    who::Who,
};
