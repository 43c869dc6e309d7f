//! The wish to stop: Ctrl-C or a termination signal.

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the person or the service manager asks this process to stop.
pub async fn asked() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        drop(tokio::signal::ctrl_c().await);
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
