//! The file in which the newest signed checkpoint of the audit log lies, for an operator to keep elsewhere.
//!
//! A copy of it on a machine that the node cannot write to finds entries that were cut, with
//! `sluice audit verify --checkpoint`. The file itself finds less, but it finds a log that was cut while the node
//! was down: a node whose log does not hold what the file says leaves the file as it is and says so.
//!
//! Written by the auditor off its own path: a folder that hangs holds up no order.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinHandle;

use super::auditor_handle::AuditorShared;
use crate::{audit::CheckpointError, clock::Timestamp};

/// The file, and what is known of it. Source: `[audit] checkpoint_file`.
pub(super) struct CheckpointFile {
    path: PathBuf,
    /// Size of the log in it, once it was looked at.
    kept: Option<u64>,
    writing: Option<JoinHandle<Result<u64, FileError>>>,
    /// When trouble was told last.
    told: Option<Timestamp>,
}

/// Why the file does not hold the newest checkpoint.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A person has to look.
    #[error(
        "the audit log does not hold the {0} entries that the file's checkpoint says: entries are missing or altered"
    )]
    Disputed(u64),
    #[error("the file that is there: {0}")]
    Foreign(CheckpointError),
}

impl CheckpointFile {
    pub(super) fn new(path: PathBuf) -> CheckpointFile {
        CheckpointFile { path, kept: None, writing: None, told: None }
    }

    /// Has the newest checkpoint written, if the file has an older one and nobody is writing it.
    pub(super) async fn keep(&mut self, shared: &Arc<AuditorShared>) {
        if let Some(writing) = self.writing.take_if(|writing| writing.is_finished()) {
            self.written(
                writing.await.unwrap_or_else(|_| Err(io::Error::other("writing ended").into())),
                shared,
            );
        }
        if self.writing.is_none() && self.kept != Some(shared.size()) {
            let (path, shared, first) = (self.path.clone(), Arc::clone(shared), self.kept.is_none());
            self.writing = Some(tokio::task::spawn_blocking(move || write(&path, &shared, first)));
        }
    }

    /// Writes what is not written yet, and waits for it a while.
    pub(super) async fn close(&mut self, shared: &Arc<AuditorShared>) {
        for _ in 0..2 {
            self.keep(shared).await;
            if let Some(writing) = &mut self.writing {
                let waited = tokio::time::timeout(CLOSE_PATIENCE, writing).await;
                self.writing = None;
                if let Ok(Ok(written)) = waited {
                    self.written(written, shared);
                }
            }
        }
    }

    fn written(&mut self, written: Result<u64, FileError>, shared: &AuditorShared) {
        match written {
            Ok(size) => (self.kept, self.told) = (Some(size), None),
            Err(error) => {
                let now = shared.clock.steady();
                if self.told.is_none_or(|told| now.since(told) >= TELL_EVERY_MS) {
                    self.told = Some(now);
                    tracing::error!(path = %self.path.display(), %error, "the checkpoint of the audit log is not kept");
                }
            }
        }
    }
}

/// Writes the present checkpoint beside the file and moves it there; returns its size.
fn write(path: &Path, shared: &AuditorShared, first: bool) -> Result<u64, FileError> {
    if first {
        agree(path, shared)?;
    }
    let (size, note) = shared.signed().ok_or_else(|| io::Error::other("no checkpoint"))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(size)
}

/// Refuses to write over a checkpoint that the log does not bear out.
fn agree(path: &Path, shared: &AuditorShared) -> Result<(), FileError> {
    let text = match fs::read_to_string(path) {
        Ok(text) if text.is_empty() => return Ok(()),
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let kept = shared.open(&text).map_err(FileError::Foreign)?;
    if shared.bears_out(&kept) { Ok(()) } else { Err(FileError::Disputed(kept.size)) }
}

const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
const TELL_EVERY_MS: i64 = 60 * 60 * 1000;
