//! The words of the field as types: pure, no I/O, no async.

mod contract_ref;
pub mod limits;
pub mod record;
mod session;
mod stream;
mod suite;

pub use self::{
    contract_ref::{ContractRef, REF_BYTES_MAX, RefError},
    record::{Levels, Record, RecordBatch, RecordDamaged, RecordHead, Serialization},
    session::{Epoch, Fingerprint, KeyLink},
    stream::{StreamName, StreamNameError},
    suite::Suite,
};
