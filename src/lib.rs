//! Sluice, a privacy event gateway.

pub mod clock;
pub mod crypto;
pub mod domain;
pub mod storage;
