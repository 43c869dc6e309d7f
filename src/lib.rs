//! Sluice, a privacy event gateway.

pub mod actors;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod event;
pub mod gateway;
pub mod http;
pub mod server;
pub mod storage;
pub mod telemetry;
