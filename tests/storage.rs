//! Every backend against every check.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sluice::{
    clock::{Clock, Timestamp},
    storage::embedded::{EmbeddedOptions, open},
};

sluice::storage_conformance!(embedded, {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let storage = open(folder.path(), EmbeddedOptions::default(), clock).unwrap();
    (folder, storage)
});
