//! The event log on disk: a journal makes appends durable, segments hold them for good.
//!
//! ```text
//! committer ── one frame, one fsync per commit ──> journal        then the chunks are *fresh*: in memory
//! keeper    ── fresh chunks, many at a time ─────> segments       then the journals behind are used again
//!
//! <data>/events/journal/<number>.jnl         frame*   every append of the node, see `frame`
//! <data>/events/<stream id>/<first>.seg      block*   one stream, one span of time, see `segment`
//! ```
//! The engine's catalog says how far the segments hold a stream and at which journal to begin reading
//! after a crash; both change in one commit, after the segments are synced. Journals are used again, because
//! writing over blocks that exist costs half of what writing new ones does.

mod frame;
mod fresh;
mod journal;
mod keeper;
mod recover;
mod replay;
mod segment;
mod stream;

pub(super) use self::{
    frame::Frame,
    journal::{Journal, Pool},
    keeper::{Job, Keeper, Keeping},
    recover::{Writing, recover},
    segment::{Extent, Segment},
    stream::{Gathering, Stream},
};

use std::path::{Path, PathBuf};

use frame::Item;

/// Folder of all logs.
pub(super) fn folder(data: &Path) -> PathBuf {
    data.join("events")
}

/// Folder of the journals.
pub(super) fn journals(data: &Path) -> PathBuf {
    folder(data).join("journal")
}

/// Folder of one stream's segments.
pub(super) fn segments(data: &Path, stream: u64) -> PathBuf {
    folder(data).join(stream.to_string())
}
