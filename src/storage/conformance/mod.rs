//! What every backend must do. Each check takes a fresh, empty storage.
#![allow(clippy::unwrap_used, reason = "checks run in tests only")]

pub mod keys;
pub mod leases;
pub mod log;
pub mod registry;

use crate::{
    clock::Timestamp,
    domain::{KeyLink, Levels, RecordBatch, RecordHead, Serialization, StreamName},
};

/// Runs every check against the backend that `$fresh` builds. `$fresh` yields `(guard, storage)`; the
/// guard (a temporary directory, a server process) lives as long as the check.
#[macro_export]
macro_rules! storage_conformance {
    ($backend:ident, $fresh:expr) => {
        $crate::storage_conformance!(@checks $backend, $fresh,
            log: sequences_are_gapless, expected_end_admits_one_writer, a_once_key_stores_once,
                large_batches_stay_whole, reads_start_anywhere, tail_follows_appends, emptied_logs_go_on,
                deleted_logs_are_unknown_and_start_again, hints_are_kept, concurrent_appends_keep_their_order;
            keys: one_of_many_creators_wins, generations_and_tombstones, subjects_list_their_keys,
                epochs_have_one_key, closing_carries_survivors, closing_notices_late_consent,
                terms_end_in_their_order, destroyed_epochs_stay_destroyed;
            registry: versions_guard_documents, changes_apply_together, the_revision_is_watched;
            leases: one_holder_at_a_time);
    };
    (@checks $backend:ident, $fresh:expr, $($area:ident: $($check:ident),*);*) => {
        mod $backend {
            use super::*;
            $( mod $area {
                use super::*;
                $( #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let (_guard, storage) = $fresh;
                    $crate::storage::conformance::$area::$check(&storage).await;
                    storage.close().await;
                } )*
            } )*
        }
    };
}

/// A stream name for a check.
pub fn stream(name: &str) -> StreamName {
    name.parse().unwrap()
}

/// A batch of records with these bodies.
pub fn batch<B: AsRef<[u8]>>(bodies: impl IntoIterator<Item = B>) -> RecordBatch {
    let mut batch = RecordBatch::default();
    for body in bodies {
        let head = RecordHead {
            serialization: Serialization::Json,
            accepted: Timestamp(1_700_000_000_000),
            source_seq: 0,
            key_link: KeyLink(uuid::Uuid::from_u128(7)),
            schema: "acme/click/1.0.0",
            contract: "acme/click/1.0.1",
            consent: Levels::Plain(&[0, 1]),
        };
        batch.push(&head, body.as_ref());
    }
    batch
}
