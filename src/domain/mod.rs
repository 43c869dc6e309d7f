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
    contract::{Contract, ContractState, PersonalField, Rule, Validation},
    contract_ref::{ContractRef, REF_BYTES_MAX, RefError},
    field_path::{FieldPath, FieldPathError},
    record::{Levels, Record, RecordBatch, RecordDamaged, RecordHead, Serialization},
    schema::{Schema, SchemaKind},
    session::{Epoch, Fingerprint, KeyLink},
    stream::{StreamName, StreamNameError},
    suite::Suite,
};
