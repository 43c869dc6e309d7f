//! Opening: lock, check the journal and the lists of tables, let the engine recover, check what came back, start the committer.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{File, OpenOptions, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use fjall::{CompressionType, Database, PersistMode};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{
    close, committer,
    engine::{Engine, Fatal, Open},
    journal,
    keys::{EpochState, Keys, Vault},
    keyspaces::{Kind, keyspace},
    layout::{self, EpochRow},
    lease::Leases,
    log::Logs,
    manifest,
    once::Windows,
    options::{EmbeddedOptions, JOURNALS_BYTES},
    queue::Queue,
    registry::Documents,
    scrub,
    streams::{Segment, Stream},
};
use crate::{
    clock::{Clock, Timestamp},
    domain::{Epoch, StreamName, record::records},
    storage::{EpochKind, Hint, LogError, OpenError, ScrubReport, Storage, facade::Backend},
};

/// Opens the folder, made first when there is none. Blocks: recovery reads up to a few times 64 MiB.
///
/// # Errors
///
/// [`OpenError::InUse`] while another process has the folder; [`OpenError::Damaged`] when acknowledged
/// data is missing or unreadable (`journal` and `scrub` say what is noticed).
pub fn open(path: &Path, options: EmbeddedOptions, clock: Clock) -> Result<Storage, OpenError> {
    std::fs::create_dir_all(path).map_err(io_error)?;
    let lock = lock(path)?;
    let expected = check_journals(path)?;
    manifest::check(path)?;
    // The engine asserts where others return errors; on a damaged file that is a finding, not a crash.
    let (attempt, fatal) = (AssertUnwindSafe(|| recover(path, options, clock, lock, expected)), Fatal::new());
    let recovered =
        catch_unwind(attempt).unwrap_or_else(|_| Err(damaged("the engine cannot read its files")));
    let open = recovered.map(|open| Open { fatal: fatal.clone(), ..open })?;
    close::remove_note(path).map_err(io_error)?;
    start(open, &fatal).map_err(io_error)
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("sluice.lock"));
    let file = open.map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse),
        Err(TryLockError::Error(error)) => Err(io_error(error)),
    }
}

/// Moves the engine's sequence numbers past every one it may have given out before a crash.
///
/// Making and deleting a keyspace takes numbers that are in no journal, so after a crash the engine (3.1.13)
/// begins below them. It may then give a new keyspace the id of a deleted one, and the tombstones of the
/// deleted one, being newer, hide the new one at the next opening, with everything that was acknowledged
/// into it. Seen in `tests/storage_crash.rs`.
fn pass_numbers(db: &Database, catalog: &fjall::Keyspace, commits: u64) -> fjall::Result<u64> {
    for commit in commits + 1..=commits + NUMBERS_PASSED {
        let mut batch = db.batch();
        batch.insert(catalog, layout::COMMITS, layout::witness(commit));
        batch.commit()?;
    }
    db.persist(fjall::PersistMode::Buffer)?;
    Ok(commits + NUMBERS_PASSED)
}

/// More than the keyspaces that are made and deleted between two commits, at three numbers each.
const NUMBERS_PASSED: u64 = 1_024;

/// Cuts a torn commit off. Returns the commit number the folder must come back with at least.
fn check_journals(path: &Path) -> Result<Option<u64>, OpenError> {
    let noted = close::read_note(path);
    let journals = journal::check(path)?;
    if let (Some(noted), Some(last)) = (noted, journals.last_commit)
        && last < noted
    {
        return Err(damaged(&format!("commits after {last} are missing")));
    }
    if journals.torn.is_some() && noted.is_some() && journals.last_commit.is_none() {
        return Err(damaged("the journal is broken at its beginning"));
    }
    if let Some((_, at)) = &journals.torn {
        tracing::warn!(at, "cutting off a commit torn by a crash");
    }
    journals.cut().map_err(io_error)?;
    Ok(noted.max(journals.last_commit))
}

fn recover(
    path: &Path,
    options: EmbeddedOptions,
    clock: Clock,
    lock: File,
    expected: Option<u64>,
) -> Result<Open, OpenError> {
    let db = Database::builder(path)
        .cache_size(options.cache_bytes)
        .max_journaling_size(JOURNALS_BYTES)
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .worker_threads(2)
        .open()
        .map_err(engine_error)?;
    let catalog = keyspace(&db, "catalog", Kind::Rows).map_err(engine_error)?;
    let documents = keyspace(&db, "registry", Kind::Rows).map_err(engine_error)?;
    let mut rows = Rows::read(&catalog)?;
    if let Some(expected) = expected
        && rows.commits < expected
    {
        return Err(damaged(&format!("commits after {} are missing", rows.commits)));
    }
    rows.commits = pass_numbers(&db, &catalog, rows.commits).map_err(engine_error)?;
    let streams = streams(&db, &mut rows)?;
    let vault = vault(path, &rows)?;
    let epochs = epochs(&db, &rows)?;
    let once = windows(&db, clock.now())?;
    drop_orphans(&db, &streams, &epochs)?;
    let newest_id = rows.streams.iter().map(|(_, (id, _))| *id).max().unwrap_or(0);
    Ok(Open {
        streams: RwLock::new(streams),
        next_stream_id: (newest_id + 1).max(rows.next_id).into(),
        epochs: RwLock::new(epochs),
        once: Mutex::new(once),
        commits: rows.commits.into(),
        revision: Arc::new(watch::channel(rows.revision).0),
        hints: Mutex::default(),
        room: Mutex::default(),
        path: path.to_owned(),
        vault,
        fatal: Fatal::new(),
        db,
        catalog,
        documents,
        options,
        clock,
        lock,
    })
}

/// The catalog, read whole: a row per stream, segment and epoch.
#[derive(Default)]
struct Rows {
    streams: Vec<(StreamName, (u64, u64))>,
    segments: BTreeMap<(u64, u64), Timestamp>,
    hints: HashMap<u64, Hint>,
    epochs: Vec<((Epoch, EpochKind), EpochRow)>,
    commits: u64,
    revision: u64,
    next_id: u64,
}

impl Rows {
    fn read(catalog: &fjall::Keyspace) -> Result<Rows, OpenError> {
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
                self.segments.insert((u64::from_be_bytes(*id), first), layout::read_time(value)?);
            }
            b'h' => {
                let (source_seq, derived_end) = layout::read_pair(value)?;
                self.hints
                    .insert(u64::from_be_bytes(rest.try_into().ok()?), Hint { source_seq, derived_end });
            }
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

fn streams(db: &Database, rows: &mut Rows) -> Result<HashMap<StreamName, Arc<Stream>>, OpenError> {
    let mut streams = HashMap::new();
    for (name, (id, floor)) in &rows.streams {
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let mut end = None;
        for ((_, first), created) in rows.segments.range((*id, 0)..=(*id, u64::MAX)) {
            let keyspace_name = layout::segment_name(*id, *first);
            let lost = |seq: u64| damaged(&format!("stream {name} at sequence {seq}: records are missing"));
            if !db.keyspace_exists(&keyspace_name) || end.is_some_and(|end| end != *first) {
                return Err(lost(end.unwrap_or(*first)));
            }
            let segment = Segment::new(
                keyspace(db, &keyspace_name, Kind::Log).map_err(engine_error)?,
                *first,
                *created,
            );
            // A segment is made with its first records.
            let Some(last) = segment.keyspace.last_key_value() else { return Err(lost(*first)) };
            let (key, value) = last.into_inner().map_err(engine_error)?;
            let (seq, count) = layout::read_chunk_key(&key).ok_or_else(|| lost(*first))?;
            let newest =
                records(&value).filter_map(Result::ok).last().map_or(*created, |last| last.head.accepted);
            end = Some(seq + u64::from(count));
            segment.newest.fetch_max(newest.0, std::sync::atomic::Ordering::Relaxed);
            segment.bytes.store(size_of(&segment), std::sync::atomic::Ordering::Relaxed);
            segment.in_memory_from.store(seq, std::sync::atomic::Ordering::Relaxed);
            segments.push(Arc::new(segment));
        }
        let (end, hint) = (end.unwrap_or(*floor).max(*floor), rows.hints.remove(id));
        streams.insert(name.clone(), Arc::new(Stream::new(name.clone(), *id, end, segments, hint)));
    }
    Ok(streams)
}

/// Bytes of a segment, roughly: its files, and what recovery put into memory.
fn size_of(segment: &Segment) -> u64 {
    use fjall::AbstractTree;
    segment.keyspace.disk_space() + segment.keyspace.tree.active_memtable().size()
}

/// The epoch keys, each of which must be there and whole.
fn vault(path: &Path, rows: &Rows) -> Result<Vault, OpenError> {
    let living = rows.epochs.iter().filter(|(_, row)| !row.destroyed);
    let places = living.flat_map(|((epoch, kind), row)| {
        let places = [row.current, row.building].into_iter().filter(|place| *place != 0);
        places.map(|place| layout::place_name(*epoch, *kind, place))
    });
    let named: HashSet<String> = places.collect();
    let vault = Vault::open(path, &named).map_err(io_error)?;
    for name in &named {
        vault.read(name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(&format!("the epoch key {name} is missing")),
            io::ErrorKind::InvalidData => damaged(&format!("the epoch key {name} is broken")),
            _ => io_error(error),
        })?;
    }
    Ok(vault)
}

fn epochs(db: &Database, rows: &Rows) -> Result<BTreeMap<(Epoch, EpochKind), EpochState>, OpenError> {
    let found = rows.epochs.iter().map(|(at, row)| {
        let state = EpochState::found(db, at.0, at.1, *row);
        Ok((*at, state.ok_or_else(|| damaged(&format!("keys of epoch {} are missing", at.0.0)))?))
    });
    found.collect()
}

fn windows(db: &Database, now: Timestamp) -> Result<Windows, OpenError> {
    let mut found = Vec::new();
    for name in db.list_keyspace_names() {
        if let Some(window) = name.strip_prefix('o').and_then(|window| window.parse().ok()) {
            found.push((window, keyspace(db, &name, Kind::Rows).map_err(engine_error)?));
        }
    }
    let (windows, past) = Windows::adopt(found, now);
    for keyspace in past {
        db.delete_keyspace(keyspace).map_err(engine_error)?;
    }
    Ok(windows)
}

/// Deletes keyspaces that nothing names: a crash fell between making or dropping one and the commit.
fn drop_orphans(
    db: &Database,
    streams: &HashMap<StreamName, Arc<Stream>>,
    epochs: &BTreeMap<(Epoch, EpochKind), EpochState>,
) -> Result<(), OpenError> {
    let mut named = HashSet::new();
    for stream in streams.values() {
        named.extend(stream.segments.read().iter().map(|segment| segment.keyspace.id()));
    }
    for state in epochs.values() {
        named.extend(state.places().map(|(_, place)| place.id()));
    }
    for name in db.list_keyspace_names() {
        if matches!(name.as_bytes().first(), Some(b'e' | b'k')) {
            let orphan = keyspace(db, &name, Kind::Rows).map_err(engine_error)?;
            if !named.contains(&orphan.id()) {
                db.delete_keyspace(orphan).map_err(engine_error)?;
            }
        }
    }
    Ok(())
}

/// How often the engine is asked whether it has failed in the background.
const WATCH_EVERY: Duration = Duration::from_millis(50);

fn start(open: Open, fatal: &Fatal) -> io::Result<Storage> {
    let open = Arc::new(open);
    let engine = Arc::new(Engine {
        queue: Arc::new(Queue::new(open.options.queue_bytes)),
        fatal: fatal.clone(),
        threads: Mutex::default(),
        revision: open.revision.clone(),
        open: RwLock::new(Some(open.clone())),
    });
    let queue = engine.queue.clone();
    let committer = std::thread::Builder::new().name("committer".to_owned());
    let committing = open.clone();
    engine.threads.lock().push(committer.spawn(move || {
        let (open, queue) = (committing, queue);
        if catch_unwind(AssertUnwindSafe(|| committer::run(&open, &queue))).is_err() {
            open.fatal.raise("the committer panicked");
            drop(queue.stop());
        }
    })?);
    let watcher = std::thread::Builder::new().name("storage-watch".to_owned());
    let (watched, queue) = (Arc::downgrade(&open), engine.queue.clone());
    watcher.spawn(move || watch_engine(&watched, &queue))?;
    Ok(Storage {
        log: Arc::new(Logs(engine.clone())),
        keys: Arc::new(Keys(engine.clone())),
        registry: Arc::new(Documents(engine.clone())),
        leases: Arc::new(Leases::new(&open.clock)),
        fatal: fatal.subscribe(),
        backend: Arc::new(Embedded(engine)),
    })
}

/// A table that cannot be written stops the engine's workers, and would let the committer wait for ever.
fn watch_engine(open: &std::sync::Weak<Open>, queue: &Queue) {
    loop {
        std::thread::sleep(WATCH_EVERY);
        let Some(open) = open.upgrade() else { return };
        if let Err(error) = open.db.persist(PersistMode::Buffer) {
            open.fail(&error);
            drop(queue.stop());
            return;
        }
    }
}

struct Embedded(Arc<Engine>);

#[async_trait]
impl Backend for Embedded {
    fn has_room(&self) -> bool {
        self.0.open().is_ok_and(|open| open.room_bytes() > 0)
    }

    async fn scrub(&self) -> Result<ScrubReport, LogError> {
        let open = self.0.open()?;
        let report = tokio::task::spawn_blocking(move || scrub::run(&open)).await;
        report.map_err(|panic| LogError::Damaged(panic.into()))
    }

    async fn close(&self) {
        let engine = self.0.clone();
        if tokio::task::spawn_blocking(move || engine.close_now()).await.is_err() {
            tracing::error!("closing storage panicked");
        }
    }
}

fn damaged(what: &str) -> OpenError {
    OpenError::Damaged { what: what.to_owned() }
}

fn io_error(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::StorageFull => OpenError::NoSpace,
        _ => OpenError::Io(error.into()),
    }
}

fn engine_error(error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Locked => OpenError::InUse,
        fjall::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => io_error(error),
        fjall::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => OpenError::NoSpace,
        error => OpenError::Damaged { what: error.to_string() },
    }
}
