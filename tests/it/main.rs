//! Everything that is tested from outside, over a real port. One binary.
//!
//! `harness` starts nodes, in this process or as the real program, and watches that no personal value a
//! test plants gets out. The Python of `SLUICE_TEST_PYTHON` has the packages of `tests/python/requirements.txt`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod access;
mod access_sweep;
mod audit;
mod audit_acts;
mod cli;
mod contracts;
mod crash;
mod derived;
mod drivers;
mod dry_run;
mod erasure;
mod faults;
mod harness;
mod keys;
mod listener;
mod long_lists;
mod officer;
mod oidc;
mod openapi;
mod oracle;
mod pages;
mod policies;
mod reading;
mod refusals;
mod repeats;
mod schema_code;
mod separation;
mod stream_life;
mod tink;
mod usage;
