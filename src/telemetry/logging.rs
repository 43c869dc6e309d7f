//! Log lines to standard error, as text or JSON. Nothing personal is ever handed to them.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// The filter directives of `[log] level` cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log.level: not a filter directive such as info or info,sluice::actors=debug")]
pub struct LoggingError;

/// Starts logging for the process. A second call changes nothing.
///
/// # Errors
///
/// [`LoggingError`]: correct `[log] level`.
pub fn start_logging(log: &Log) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(&log.level).map_err(|_| LoggingError)?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}
