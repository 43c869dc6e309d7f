//! T04 to T07: full disks, failing writes, cut journals, flipped bits.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use sluice::{
    clock::Clock,
    storage::{
        AppendError, AppendOptions, OpenError, Storage, Unavailable,
        conformance::{batch, keys, log::read_all, stream},
        embedded::{EmbeddedOptions, open},
    },
};

fn options() -> EmbeddedOptions {
    let (memtable_bytes, memtables_bytes) = (32 << 10, 64 << 10);
    let (reserve_bytes, journal_bytes) = (0, 256 << 10);
    EmbeddedOptions {
        reserve_bytes,
        memtable_bytes,
        memtables_bytes,
        journal_bytes,
        ..EmbeddedOptions::default()
    }
}

fn reopen(folder: &Path) -> Result<Storage, OpenError> {
    open(folder, options(), Clock::system())
}

/// Copies a folder; of a journal only what was written, not what is reserved.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = {
            let e = entry.unwrap();
            (e.path(), to.join(e.file_name()))
        };
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_some_and(|end| end == "jnl") {
            let written = written(&path);
            let mut bytes = vec![0; written as usize];
            fs::File::open(&path).unwrap().read_exact(&mut bytes).unwrap();
            fs::write(&target, bytes).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// End of what a journal holds: its last byte is never 0.
fn written(journal: &Path) -> u64 {
    let bytes = fs::read(journal).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

fn newest_journal(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder.join("events/journal")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "jnl")).max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_cut_at_any_byte_keeps_every_earlier_commit() {
    let (folder, name) = (tempfile::tempdir().unwrap(), stream("clicks"));
    let storage = reopen(folder.path()).unwrap();
    storage.log.create(&name).await.unwrap();
    let journal = newest_journal(folder.path());
    let mut ends = Vec::new();
    for n in 0..6 {
        storage.log.append(&name, batch([n.to_string()]), AppendOptions::default()).await.unwrap();
        ends.push(written(&journal));
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    storage.close().await;
    let mut opened = 0;
    for cut in ends[2]..=ends[5] {
        let copied = tempfile::tempdir().unwrap();
        copy(crashed.path(), copied.path());
        OpenOptions::new().write(true).open(newest_journal(copied.path())).unwrap().set_len(cut).unwrap();
        let storage = reopen(copied.path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(read_all(&*storage.log, &name, 1).await.len(), kept, "cut at {cut}");
        let next = storage.log.append(&name, batch(["next"]), AppendOptions::default()).await.unwrap();
        assert_eq!(next.first_seq, kept as u64 + 1);
        storage.close().await;
        opened += 1;
    }
    println!("{opened} cuts opened");
}

type Kept = (Vec<Vec<(u64, Vec<u8>)>>, usize, usize);

async fn read_everything(storage: &Storage) -> Kept {
    let mut logs = Vec::new();
    for n in 0..3 {
        logs.push(read_all(&*storage.log, &stream(&format!("stream-{n}")), 1).await);
    }
    let keys = storage.keys.scan(sluice::domain::Epoch(20_000), None, 10_000).await.unwrap().0.len();
    (logs, keys, storage.registry.list("kind").await.unwrap().len())
}

async fn fill(storage: &Storage) {
    drop(storage.keys.create_epoch(keys::epoch_key(1)).await.unwrap());
    for n in 0..3 {
        storage.log.create(&stream(&format!("stream-{n}"))).await.unwrap();
    }
    for n in 0..200_u8 {
        let name = stream(&format!("stream-{}", n % 3));
        storage.log.append(&name, batch([vec![n; 1500]]), AppendOptions::default()).await.unwrap();
        storage.keys.create(keys::record(n, 1)).await.unwrap();
        storage.registry.put("kind", &n.to_string(), 0, vec![n; 20].into()).await.unwrap();
    }
}

/// Every file with the length of what is written in it.
fn files(folder: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let length = fs::metadata(&path).unwrap().len();
            found.push((path, length));
        }
    }
}

fn flip(path: &Path, at: u64, bit: u32) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ (1 << bit)]).unwrap();
}

#[test]
fn a_flipped_bit_is_detected_or_harmless() {
    let flips: usize = std::env::var("SLUICE_FLIPS").map_or(64, |flips| flips.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let expected = runtime.block_on(async {
        let storage = reopen(folder.path()).unwrap();
        fill(&storage).await;
        let expected = read_everything(&storage).await;
        storage.close().await;
        expected
    });
    let (mut detected, mut harmless) = (0, 0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..flips {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let mut targets = Vec::new();
        files(copied.path(), &mut targets);
        targets.retain(|(_, length)| *length > 0);
        targets.sort();
        // Every second flip goes to a file at random, the others are spread over all bytes.
        let (path, at) = if round % 2 == 0 {
            let (path, length) = &targets[next(targets.len() as u64) as usize];
            (path.clone(), next(*length))
        } else {
            let mut at = next(targets.iter().map(|(_, length)| length).sum());
            let hit = targets
                .iter()
                .find(|(_, length)| {
                    at < *length || {
                        at -= length;
                        false
                    }
                })
                .unwrap();
            (hit.0.clone(), at)
        };
        flip(&path, at, next(8) as u32);
        let what = path.strip_prefix(copied.path()).unwrap().display().to_string();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let storage = match reopen(copied.path()) {
                    Ok(storage) => storage,
                    Err(error) => return Err(error.to_string()),
                };
                let report = storage.scrub().await.unwrap();
                if !report.losses.is_empty() {
                    return Err(format!("{:?}", report.losses));
                }
                Ok(read_everything(&storage).await)
            })
        }));
        match outcome {
            Ok(Ok(found)) => {
                assert!(found == expected, "round {round}: byte {at} of {what} changed what is served");
                println!("harmless: byte {at} of {what}");
                harmless += 1;
            }
            Ok(Err(error)) => {
                println!("detected: byte {at} of {what}: {error}");
                detected += 1;
            }
            Err(_) => detected += 1,
        }
    }
    println!("{flips} flips: {detected} detected, {harmless} harmless, 0 silent");
}

/// A small disk of its own. `None`, loudly, where this user may not mount.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(megabytes: u32) -> Option<Disk> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Disk(folder));
        }
        eprintln!("SKIPPED: this test needs to mount a tmpfs (root)");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_fatal_and_nothing_succeeds_after_it() {
    let Some(disk) = Disk::new(16) else { return };
    let (folder, name) = (disk.0.path().join("data"), stream("clicks"));
    // No reserve: nobody looks before.
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![1; 4 << 20]).unwrap();
    let storage = reopen(&folder).unwrap();
    storage.log.create(&name).await.unwrap();
    let (mut acknowledged, mut failed) = (0_u64, None);
    for _ in 0..200 {
        match storage.log.append(&name, batch([vec![1; 100_000]]), AppendOptions::default()).await {
            Ok(appended) => {
                assert!(failed.is_none(), "success after a failed write");
                acknowledged = appended.end - 1;
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    assert!(matches!(failed, Some(AppendError::Damaged(_))), "{failed:?}");
    assert!(acknowledged > 10);
    assert!(storage.fatal.borrow().is_some());
    fs::remove_file(&filler).unwrap();
    assert!(storage.log.append(&name, batch(["again"]), AppendOptions::default()).await.is_err());
    assert!(storage.log.create(&stream("other")).await.is_err());
    assert!(storage.registry.put("kind", "doc", 0, "body".into()).await.is_err());
    storage.close().await;
    let storage = reopen(&folder).unwrap();
    let found = read_all(&*storage.log, &name, 1).await;
    assert!(found.len() as u64 >= acknowledged && found.len() as u64 <= acknowledged + 1);
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_accepts_again_once_there_is_space() {
    let Some(disk) = Disk::new(64) else { return };
    let (folder, name) = (disk.0.path().join("data"), stream("clicks"));
    let small = EmbeddedOptions {
        reserve_bytes: 4 << 20,
        memtable_bytes: 1 << 20,
        memtables_bytes: 2 << 20,
        ..options()
    };
    let storage = open(&folder, small, Clock::system()).unwrap();
    storage.log.create(&name).await.unwrap();
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![1; 30 << 20]).unwrap();
    let mut stored = 0_u64;
    let refused = loop {
        match storage.log.append(&name, batch([vec![1; 50_000]]), AppendOptions::default()).await {
            Ok(appended) => stored = appended.end - 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Unavailable(Unavailable::DiskFull)), "{refused:?}");
    assert!(stored > 50);
    assert_eq!(read_all(&*storage.log, &name, 1).await.len() as u64, stored);
    fs::remove_file(&filler).unwrap();
    let freed = std::time::Instant::now();
    let appended = storage.log.append(&name, batch(["again"]), AppendOptions::default()).await.unwrap();
    println!("{stored} stored, accepted again after {:?}", freed.elapsed());
    assert_eq!(appended.first_seq, stored + 1);
    assert_eq!(*storage.fatal.borrow(), None);
    storage.close().await;
    let storage = reopen(&folder).unwrap();
    assert_eq!(read_all(&*storage.log, &name, 1).await.len() as u64, stored + 1);
    storage.close().await;
}

/// Goal: closing an epoch and trimming a log delete files, not rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_leaves_the_disk() {
    let (folder, name) = (tempfile::tempdir().unwrap(), stream("clicks"));
    let storage = reopen(folder.path()).unwrap();
    let keyspaces = || fs::read_dir(folder.path().join("keyspaces")).unwrap().count();
    let held = || {
        let mut found = Vec::new();
        files(&folder.path().join("events"), &mut found);
        found.retain(|(path, _)| path.extension().is_some_and(|end| end == "seg"));
        found.iter().map(|(_, length)| length).sum::<u64>()
    };
    storage.log.create(&name).await.unwrap();
    let empty = keyspaces();
    for n in 0..100_u8 {
        storage.log.append(&name, batch([vec![n; 5000]]), AppendOptions::default()).await.unwrap();
    }
    assert!(eventually(|| held() > 100_000).await);
    storage.log.trim(&name, sluice::clock::Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(held(), 0);
    storage.keys.create_epoch(keys::epoch_key(1)).await.unwrap();
    for n in 0..100 {
        storage.keys.create(keys::record(n, 1)).await.unwrap();
    }
    storage.keys.begin_close(keys::epoch_key(2)).await.unwrap();
    assert_eq!(keyspaces(), empty + 2);
    storage.keys.finish_close(sluice::domain::Epoch(20_000), 0).await.unwrap();
    assert!(eventually(|| keyspaces() == empty + 1).await);
    storage.close().await;
}

async fn eventually(holds: impl Fn() -> bool) -> bool {
    for _ in 0..200 {
        if holds() {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_opening_is_told_that_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let storage = reopen(folder.path()).unwrap();
    assert!(matches!(reopen(folder.path()), Err(OpenError::InUse)));
    storage.close().await;
    reopen(folder.path()).unwrap().close().await;
}
