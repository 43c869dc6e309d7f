//! The words of the field as types: pure, no I/O, no async.

mod contract;
mod contract_ref;
mod field_path;
pub mod limits;
pub mod record;
mod schema;
mod session;
mod stream;
mod suite;

pub use self::{
    contract::{Contract, ContractAbout, ContractState, PersonalField, Rule, StateError, Validation},
    contract_ref::{ContractRef, REF_BYTES_MAX, RefError},
    field_path::{FIELD_PATH_BYTES_MAX, FieldPath, FieldPathError, META_FIELD},
    record::{Levels, Record, RecordBatch, RecordDamaged, RecordHead, Serialization},
    schema::{Schema, SchemaKind},
    session::{Epoch, Fingerprint, KeyLink},
    stream::{StreamName, StreamNameError},
    suite::Suite,
};
