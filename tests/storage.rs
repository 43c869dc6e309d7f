//! Every backend against every check. JetStream needs `SLUICE_TEST_NATS`, the path of a nats-server
//! (`scripts/nats` prints it).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod servers;

use servers::Servers;
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

sluice::storage_conformance!(jetstream_on_one_server, {
    let Some(servers) = Servers::start(1) else { return };
    let storage = servers.open(1).await;
    (servers, storage)
});

sluice::storage_conformance!(jetstream_on_three_servers, {
    let Some(servers) = Servers::start(3) else { return };
    let storage = servers.open(3).await;
    (servers, storage)
});
