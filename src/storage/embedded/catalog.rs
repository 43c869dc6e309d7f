//! The catalog, read whole: what streams, segments and epochs there are.

use std::collections::{BTreeMap, HashMap};

use super::{
    events::Extent,
    layout::{self, EpochRow},
    open::{damaged, engine_error},
};
use crate::{
    domain::{Epoch, StreamName},
    storage::{EpochKind, Hint, OpenError},
};

/// The catalog, read whole: a row per stream, segment and epoch.
#[derive(Default)]
pub(super) struct Rows {
    pub streams: Vec<(StreamName, (u64, u64))>,
    pub segments: BTreeMap<(u64, u64), Extent>,
    pub hints: HashMap<u64, Hint>,
    pub epochs: Vec<((Epoch, EpochKind), EpochRow)>,
    /// Journal of the events to begin reading with, and the last commit before it.
    pub journal: (u64, u64),
    pub commits: u64,
    pub revision: u64,
    pub next_id: u64,
}

impl Rows {
    pub(super) fn read(catalog: &fjall::Keyspace) -> Result<Rows, OpenError> {
        let mut rows = Rows::default();
        for row in catalog.iter() {
            let (key, value) = row.into_inner().map_err(engine_error)?;
            rows.take(&key, &value).ok_or_else(|| damaged("a row of the catalog is malformed"))?;
        }
        Ok(rows)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (kind, rest) = key.split_first()?;
        match kind {
            b'c' => self.commits = layout::witnessed(value)?,
            b'r' => self.revision = layout::read_u64(value)?,
            b's' => {
                let name = StreamName::from_storage(std::str::from_utf8(rest).ok()?).ok()?;
                self.streams.push((name, layout::read_pair(value)?));
            }
            b'g' => {
                let (id, first) = rest.split_first_chunk::<8>()?;
                let first = u64::from_be_bytes(first.try_into().ok()?);
                self.segments.insert((u64::from_be_bytes(*id), first), layout::read_segment_row(value)?);
            }
            b'h' => {
                let (source_seq, derived_end) = layout::read_pair(value)?;
                self.hints
                    .insert(u64::from_be_bytes(rest.try_into().ok()?), Hint { source_seq, derived_end });
            }
            b'j' => self.journal = layout::read_pair(value)?,
            b'i' => self.next_id = layout::read_u64(value)?,
            b'p' => {
                let (epoch, kind) = rest.split_first_chunk::<4>()?;
                let kind = if kind == [0] { EpochKind::Sessions } else { EpochKind::NoConsent };
                let epoch = Epoch(u32::from_be_bytes(*epoch));
                self.epochs.push(((epoch, kind), EpochRow::decode(value)?));
            }
            _ => return None,
        }
        Some(())
    }
}
