//! What the node asks of the operating system: private folders, no core dumps, signals.

use std::{io, os::unix::fs::DirBuilderExt, path::Path};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Makes `folder` for this user only. One that exists keeps its permissions.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Raises the number of files the process may open as far as it may, and says how far that is.
pub(super) fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let reached = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    reached.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

/// Files of this process are for this user only, whatever folder they lie in.
pub(super) fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Forbids core dumps, which would hold keys. Where the system does not allow it, says so.
pub(super) fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if limited.is_err() || hidden.is_err() {
        tracing::warn!("core dumps could not be switched off: keys may reach a disk if the process crashes");
    }
}

/// Waits for SIGINT or SIGTERM.
pub(super) async fn stop_signal() -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
