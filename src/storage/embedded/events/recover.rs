//! Opening: segments as far as the catalog knows them, then what the journals hold behind that.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Receiver},
};

use super::{Item, Job, Journal, Keeping, Pool, Segment, Stream, folder, journals, replay::replay, segments};
use crate::{
    domain::StreamName,
    storage::{
        OpenError,
        embedded::{
            catalog::Rows,
            once::Windows,
            open::{damaged, io_error},
            options::EmbeddedOptions,
        },
    },
};

/// The logs as they were, and what is needed to go on.
pub(in crate::storage::embedded) struct Recovered {
    pub streams: HashMap<StreamName, Arc<Stream>>,
    /// Bytes of events that are in no segment yet.
    pub fresh_bytes: u64,
    pub keeping: Keeping,
    pub writing: Writing,
}

/// For the committer and the keeper.
pub(in crate::storage::embedded) struct Writing {
    pub journal: Journal,
    pub pool: Arc<Pool>,
    pub jobs: Receiver<Job>,
}

/// Recovers all logs. Commit `noted` must be among what is found.
pub(in crate::storage::embedded) fn recover(
    path: &Path,
    options: &EmbeddedOptions,
    rows: &Rows,
    once: &mut Windows,
    noted: u64,
) -> Result<Recovered, OpenError> {
    std::fs::create_dir_all(journals(path)).map_err(io_error)?;
    for folder in [path, &folder(path)] {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error)?;
    }
    let streams = streams(path, rows)?;
    drop_orphans(path, &streams).map_err(io_error)?;
    let (keeping, jobs) = Keeping::new();
    let mut fresh_bytes = 0;
    let (first_journal, commit) = rows.journal;
    let replayed = replay(&journals(path), first_journal.max(1), commit, |item| {
        match item {
            Item::Chunk { stream, chunk, stored } => {
                // Deleted since.
                let Some(stream) = streams.get(&stream) else { return Ok(()) };
                let (first, bytes) = (chunk.first_seq, chunk.bytes.len());
                match stream.recover(chunk, stored) {
                    Some(true) => fresh_bytes += bytes as u64,
                    Some(false) => {}
                    None => return Err(lost(&stream.name, stream.end().min(first))),
                }
                keeping.note(stream, 0);
            }
            Item::Hint { stream, hint } => {
                if let Some(stream) = streams.get(&stream) {
                    *stream.hint.lock() = Some(hint);
                    keeping.note(stream, 0);
                }
            }
            Item::Once { stream, once: key, first, end, stored } => {
                once.note(stream, key, (first, end), stored);
            }
        }
        Ok(())
    })?;
    if replayed.commit < noted {
        return Err(damaged(&format!("events after commit {} are missing", replayed.commit)));
    }
    let pool = Arc::new(Pool::new(journals(path), options.journal_bytes, replayed.next));
    let journal = Journal::begin(pool.clone(), replayed.commit).map_err(io_error)?;
    keeping.tell(Job::Turned(journal.began()));
    let streams = streams.into_values().map(|stream| (stream.name.clone(), stream)).collect();
    Ok(Recovered { streams, fresh_bytes, keeping, writing: Writing { journal, pool, jobs } })
}

fn lost(name: &StreamName, seq: u64) -> OpenError {
    damaged(&format!("stream {name} at sequence {seq}: records are missing"))
}

/// The streams of the catalog, each as far as its segments are known to reach.
fn streams(path: &Path, rows: &Rows) -> Result<HashMap<u64, Arc<Stream>>, OpenError> {
    let mut streams = HashMap::new();
    for (name, (id, floor)) in &rows.streams {
        let folder = segments(path, *id);
        let mut found: Vec<Arc<Segment>> = Vec::new();
        let mut end = None;
        for ((_, first), extent) in rows.segments.range((*id, 0)..=(*id, u64::MAX)) {
            if end.is_some_and(|end| end != *first) {
                return Err(lost(name, end.unwrap_or(*first)));
            }
            let segment = Segment::new(&folder, *first, *extent);
            if !segment.cut().map_err(io_error)? {
                return Err(lost(name, *first));
            }
            end = Some(extent.end);
            found.push(Arc::new(segment));
        }
        let (end, hint) = (end.unwrap_or(*floor).max(*floor), rows.hints.get(id).copied());
        streams.insert(*id, Arc::new(Stream::new(name.clone(), *id, end, found, hint)));
    }
    Ok(streams)
}

/// Deletes files that nothing names: a crash fell between making or dropping one and the commit.
fn drop_orphans(path: &Path, streams: &HashMap<u64, Arc<Stream>>) -> io::Result<()> {
    let named: HashSet<PathBuf> = streams
        .values()
        .flat_map(|stream| stream.segments.read().iter().map(|s| s.path().to_owned()).collect::<Vec<_>>())
        .collect();
    for entry in std::fs::read_dir(folder(path))? {
        let folder = entry?.path();
        let id = folder.file_name().and_then(|name| name.to_str()?.parse::<u64>().ok());
        let Some(id) = id else { continue };
        if !streams.contains_key(&id) {
            std::fs::remove_dir_all(folder)?;
            continue;
        }
        for file in std::fs::read_dir(folder)? {
            let file = file?.path();
            if !named.contains(&file) {
                std::fs::remove_file(file)?;
            }
        }
    }
    Ok(())
}
