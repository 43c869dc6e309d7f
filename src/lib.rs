//! Sluice, a privacy event gateway.

pub mod clock;
pub mod crypto;
pub mod domain;
pub mod event;
pub mod storage;
