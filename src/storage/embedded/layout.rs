//! Names of keyspaces and the rows of `catalog`. Integers in keys are big-endian, in values little-endian.
//!
//! ```text
//! catalog   c                          -> WITNESS | commit number u64      in every commit
//!           s | stream name            -> id u64 | floor u64
//!           g | id u64 | first u64     -> created_ms i64 | newest_ms i64 | bytes u64 | end u64    a segment
//!           j                          -> journal u64 to begin reading with | commit u64 before it
//!           h | id u64                 -> source_seq u64 | derived_end u64
//!           p | epoch u32 | kind u8    -> current u32 | building u32 | destroyed u8
//!           r                          -> registry revision u64
//!           i                          -> id u64 of the next stream; never used twice
//! k<epoch>.<kind>.<gen>   see `keys::rows`; its epoch key is a file of the same name, see `keys::vault`
//! o<window>               id u64 | once 16        -> first u64 | end u64 | stored_ms i64
//! registry                kind | 0 | name         -> version u64 | body
//! ```
//! The events themselves lie in files, see `events`.
//! `floor` is the lowest sequence the stream may go on with: its first when it was trimmed.

use super::events::Extent;
use crate::{
    clock::Timestamp,
    domain::Epoch,
    storage::{EpochKind, Place},
};

/// Marks the last item of every commit in the engine's journal, so that a lost one can be noticed.
pub(super) const WITNESS: [u8; 16] = *b"sluice-commit-01";

pub(super) const COMMITS: &[u8] = b"c";
pub(super) const REVISION: &[u8] = b"r";
pub(super) const JOURNAL: &[u8] = b"j";
pub(super) const NEXT_ID: &[u8] = b"i";

/// The witness value of a commit.
pub(super) fn witness(commit: u64) -> Vec<u8> {
    [&WITNESS[..], &commit.to_le_bytes()].concat()
}

/// Reads a witness value.
pub(super) fn witnessed(value: &[u8]) -> Option<u64> {
    read_u64(value.strip_prefix(&WITNESS[..])?)
}

pub(super) fn stream_key(name: &str) -> Vec<u8> {
    [b"s", name.as_bytes()].concat()
}

pub(super) fn stream_row(id: u64, floor: u64) -> Vec<u8> {
    [id.to_le_bytes(), floor.to_le_bytes()].concat()
}

pub(super) fn segment_key(id: u64, first: u64) -> Vec<u8> {
    [&b"g"[..], &id.to_be_bytes(), &first.to_be_bytes()].concat()
}

pub(super) fn hint_key(id: u64) -> Vec<u8> {
    [&b"h"[..], &id.to_be_bytes()].concat()
}

pub(super) fn epoch_key(epoch: Epoch, kind: EpochKind) -> Vec<u8> {
    [&b"p"[..], &epoch.0.to_be_bytes(), &[kind as u8]].concat()
}

pub(super) fn place_name(epoch: Epoch, kind: EpochKind, place: Place) -> String {
    format!("k{}.{}.{place}", epoch.0, kind as u8)
}

pub(super) fn once_name(window: i64) -> String {
    format!("o{window}")
}

pub(super) fn segment_row(extent: Extent) -> Vec<u8> {
    let times = [extent.created.0.to_le_bytes(), extent.newest.0.to_le_bytes()];
    [times.concat(), stream_row(extent.bytes, extent.end)].concat()
}

pub(super) fn read_segment_row(value: &[u8]) -> Option<Extent> {
    let (times, rest) = value.split_at_checked(16)?;
    let (created, newest) = times.split_at(8);
    let (bytes, end) = read_pair(rest)?;
    Some(Extent { created: read_time(created)?, newest: read_time(newest)?, bytes, end })
}

/// Two integers of a row.
pub(super) fn read_pair(value: &[u8]) -> Option<(u64, u64)> {
    let (a, b) = value.split_at_checked(8)?;
    Some((read_u64(a)?, read_u64(b)?))
}

pub(super) fn read_u64(value: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(value.try_into().ok()?))
}

pub(super) fn read_time(value: &[u8]) -> Option<Timestamp> {
    Some(Timestamp(i64::from_le_bytes(value.try_into().ok()?)))
}

/// State of an epoch as the catalog holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EpochRow {
    pub current: Place,
    /// 0 when the epoch is not closing.
    pub building: Place,
    pub destroyed: bool,
}

impl EpochRow {
    pub(super) fn encode(self) -> Vec<u8> {
        [&self.current.to_le_bytes()[..], &self.building.to_le_bytes(), &[u8::from(self.destroyed)]].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<EpochRow> {
        let value: &[u8; 9] = value.try_into().ok()?;
        let [a, b, c, d, e, f, g, h, destroyed] = *value;
        let (current, building) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        Some(EpochRow { current, building, destroyed: destroyed == 1 })
    }
}
