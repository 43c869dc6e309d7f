//! Usage: what a stream took, gave on and refused in a period.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts of one stream in one period. The short names are those of the stored form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageCounts {
    /// Events stored.
    #[serde(rename = "in", skip_serializing_if = "is_zero")]
    pub accepted: u64,
    /// Bytes of their bodies as they came in.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// Events refused, by code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// Events a derived stream got, did not get by its consent rule, and did not get because they could not
    /// be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub derived: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable: u64,
}

impl UsageCounts {
    /// Whether nothing happened.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == UsageCounts::default()
    }

    /// Adds what happened in another period.
    pub fn add(&mut self, other: &UsageCounts) {
        self.accepted += other.accepted;
        self.bytes += other.bytes;
        self.derived += other.derived;
        self.dropped += other.dropped;
        self.unreadable += other.unreadable;
        for (code, count) in &other.refused {
            *self.refused.entry(code.clone()).or_default() += count;
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
