//! Sluice, a privacy event gateway.

pub mod clock;
pub mod domain;
pub mod http;
