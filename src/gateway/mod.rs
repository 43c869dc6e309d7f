//! The doors of Sluice: what `http` may call. In by [`Intake`], out by [`Library`], past [`Access`].
//!
//! Everything an event meets between its bytes and the log is called from here, in the order of
//! `DESIGN` 2; `http` itself never sees storage, key material or an actor's mailbox.

mod access;
mod batch;
mod census;
mod explain;
mod identity;
mod intake;
mod library;
mod oidc;
mod oidc_keys;
mod reader;
mod readiness;
mod refusal;
mod repeats;
mod traffic_check;

pub use self::{
    access::{Access, AccessError, Caller, Grant},
    batch::{BLOCK_BYTES_MAX, BatchBody, BatchFormat, BatchReport, BatchStop, RefusedEvent},
    census::{Census, CensusError, Holding},
    explain::{DerivedView, Explanation, FieldView, Seen, Shown, WhyNot, WhySealed},
    identity::{Identity, Reader},
    intake::{Intake, IntakeArgs},
    library::Library,
    oidc::Issuer,
    reader::{LogReader, ReadError, ReadEvent, Start},
    readiness::{NotReady, Readiness},
    refusal::Refusal,
    repeats::{FirstAnswer, Permit, RepeatError, Repeats, Turn},
    traffic_check::{Checks, DerivedCount, NotChecked, RefusalCount, TrafficReport, Trial, TrialError},
};
