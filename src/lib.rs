//! Sluice, a privacy event gateway.

pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod server;
