//! Chunks that the journal holds and no segment yet: what readers near the end read.

use std::collections::VecDeque;

use crate::{clock::Timestamp, storage::Chunk};

/// The newest chunks of one log, without gaps.
#[derive(Default)]
pub(super) struct Fresh {
    chunks: VecDeque<(Chunk, Timestamp)>,
    bytes: usize,
}

impl Fresh {
    pub(super) fn push(&mut self, chunk: Chunk, stored: Timestamp) {
        self.bytes += chunk.bytes.len();
        self.chunks.push_back((chunk, stored));
    }

    /// The first sequence held.
    pub(super) fn first(&self) -> Option<u64> {
        self.chunks.front().map(|(chunk, _)| chunk.first_seq)
    }

    /// When the oldest chunk was stored.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.chunks.front().map(|(_, stored)| *stored)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All chunks, for the keeper to write.
    pub(super) fn copy(&self) -> Vec<(Chunk, Timestamp)> {
        self.chunks.iter().cloned().collect()
    }

    /// Forgets the chunks below `seq`. Returns their bytes.
    pub(super) fn forget_below(&mut self, seq: u64) -> usize {
        let before = self.bytes;
        while let Some((chunk, _)) = self.chunks.front()
            && chunk.first_seq < seq
        {
            self.bytes -= chunk.bytes.len();
            self.chunks.pop_front();
        }
        before - self.bytes
    }

    /// The chunks from the one that holds `from` on.
    pub(super) fn from(&self, from: u64) -> impl Iterator<Item = &Chunk> {
        let start = self.chunks.partition_point(|(chunk, _)| chunk.end() <= from);
        self.chunks.range(start..).map(|(chunk, _)| chunk)
    }
}
