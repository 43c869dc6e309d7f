//! Opening: lock, check the journal and the lists of tables, let the engine recover, check what came back, start the committer.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{File, OpenOptions, TryLockError},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use fjall::{CompressionType, Database, PersistMode};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{
    catalog::Rows,
    close::{self, Noted},
    committer::{self, Pen},
    engine::{Engine, Fatal, Open, Threads},
    events::{self, Keeper, Writing},
    journal,
    keys::{EpochState, Keys, Vault},
    keyspaces::keyspace,
    layout,
    lease::Leases,
    log::Logs,
    manifest,
    once::Windows,
    options::{EmbeddedOptions, JOURNALS_BYTES},
    queue::Queue,
    registry::Documents,
    scrub,
};
use crate::{
    clock::{Clock, Timestamp},
    domain::Epoch,
    storage::{EpochKind, LogError, OpenError, ScrubReport, Storage, facade::Backend},
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
    let noted = close::read_note(path);
    let expected = check_journals(path, noted)?;
    manifest::check(path)?;
    // The engine asserts where others return errors; on a damaged file that is a finding, not a crash.
    let expected = Noted { commits: expected.unwrap_or(0), journal: noted.map_or(0, |noted| noted.journal) };
    let attempt = AssertUnwindSafe(|| recover(path, options, clock, lock, expected));
    let recovered =
        catch_unwind(attempt).unwrap_or_else(|_| Err(damaged("the engine cannot read its files")));
    let (open, writing) = recovered?;
    close::remove_note(path).map_err(io_error)?;
    start(open, writing).map_err(io_error)
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
fn check_journals(path: &Path, noted: Option<Noted>) -> Result<Option<u64>, OpenError> {
    let noted = noted.map(|noted| noted.commits);
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
    expected: Noted,
) -> Result<(Open, Writing), OpenError> {
    let db = Database::builder(path)
        .cache_size(options.cache_bytes)
        .max_journaling_size(JOURNALS_BYTES)
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .worker_threads(2)
        .open()
        .map_err(engine_error)?;
    let catalog = keyspace(&db, "catalog").map_err(engine_error)?;
    let documents = keyspace(&db, "registry").map_err(engine_error)?;
    let mut rows = Rows::read(&catalog)?;
    if rows.commits < expected.commits {
        return Err(damaged(&format!("commits after {} are missing", rows.commits)));
    }
    rows.commits = pass_numbers(&db, &catalog, rows.commits).map_err(engine_error)?;
    let vault = vault(path, &rows)?;
    let epochs = epochs(&db, &rows)?;
    drop_orphans(&db, &epochs)?;
    let mut once = windows(&db, clock.now())?;
    let logs = events::recover(path, &options, &rows, &mut once, expected.journal)?;
    let newest_id = rows.streams.iter().map(|(_, (id, _))| *id).max().unwrap_or(0);
    let open = Open {
        streams: RwLock::new(logs.streams),
        keeping: logs.keeping,
        fresh_bytes: logs.fresh_bytes.into(),
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
    };
    Ok((open, logs.writing))
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
            found.push((window, keyspace(db, &name).map_err(engine_error)?));
        }
    }
    let (windows, past) = Windows::adopt(found, now);
    for keyspace in past {
        db.delete_keyspace(keyspace).map_err(engine_error)?;
    }
    Ok(windows)
}

/// Deletes keyspaces that nothing names: a crash fell between making or dropping one and the commit.
fn drop_orphans(db: &Database, epochs: &BTreeMap<(Epoch, EpochKind), EpochState>) -> Result<(), OpenError> {
    let named: HashSet<_> = epochs
        .values()
        .flat_map(|state| state.places().map(|(_, place)| place.id()).collect::<Vec<_>>())
        .collect();
    for name in db.list_keyspace_names() {
        if name.as_bytes().first() == Some(&b'k') {
            let orphan = keyspace(db, &name).map_err(engine_error)?;
            if !named.contains(&orphan.id()) {
                db.delete_keyspace(orphan).map_err(engine_error)?;
            }
        }
    }
    Ok(())
}

/// How often the engine is asked whether it has failed in the background.
const WATCH_EVERY: Duration = Duration::from_millis(50);

fn start(open: Open, writing: Writing) -> io::Result<Storage> {
    let open = Arc::new(open);
    let queue = Arc::new(Queue::new(open.options.queue_bytes));
    let Writing { journal, pool, jobs } = writing;
    let committer = spawn("committer", &open, &queue, move |open, queue| {
        let pen = Pen::new(&open, journal);
        committer::run(&open, queue, pen)
    })?;
    let keeper =
        spawn("keeper", &open, &queue, move |open, queue| Keeper::new(open, pool).run(&jobs, queue))?;
    let watcher = std::thread::Builder::new().name("storage-watch".to_owned());
    let (watched, watched_queue) = (Arc::downgrade(&open), queue.clone());
    watcher.spawn(move || watch_engine(&watched, &watched_queue))?;
    let engine = Arc::new(Engine {
        queue,
        fatal: open.fatal.clone(),
        threads: Mutex::new(Some(Threads { committer, keeper })),
        revision: open.revision.clone(),
        open: RwLock::new(Some(open.clone())),
    });
    Ok(Storage {
        log: Arc::new(Logs(engine.clone())),
        keys: Arc::new(Keys(engine.clone())),
        registry: Arc::new(Documents(engine.clone())),
        leases: Arc::new(Leases::new(&open.clock)),
        fatal: open.fatal.subscribe(),
        backend: Arc::new(Embedded(engine)),
    })
}

/// A thread whose panic is a failure of storage.
fn spawn<T: Send + 'static>(
    name: &'static str,
    open: &Arc<Open>,
    queue: &Arc<Queue>,
    run: impl FnOnce(Arc<Open>, &Queue) -> Option<T> + Send + 'static,
) -> io::Result<JoinHandle<Option<T>>> {
    let (open, queue, fatal) = (open.clone(), queue.clone(), open.fatal.clone());
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        catch_unwind(AssertUnwindSafe(|| run(open, &queue))).unwrap_or_else(|_| {
            fatal.raise(&format!("the {name} panicked"));
            drop(queue.stop());
            None
        })
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

pub(super) fn damaged(what: &str) -> OpenError {
    OpenError::Damaged { what: what.to_owned() }
}

pub(super) fn io_error(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::StorageFull => OpenError::NoSpace,
        _ => OpenError::Io(error.into()),
    }
}

pub(super) fn engine_error(error: fjall::Error) -> OpenError {
    match error {
        fjall::Error::Locked => OpenError::InUse,
        fjall::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => io_error(error),
        fjall::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => OpenError::NoSpace,
        error => OpenError::Damaged { what: error.to_string() },
    }
}
