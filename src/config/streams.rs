//! `[streams]`: defaults of new streams.

use serde::{Deserialize, Serialize};

use super::{ConfigError, demand};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Streams {
    /// Days a log keeps its events unless the stream says otherwise.
    pub retention_days: u32,
    /// Bytes a stream reads from its log at a time for its derived streams.
    pub batch_bytes: usize,
    /// Seconds between two writings of what streams used: what a killed node loses at most.
    pub usage_every_s: u64,
    /// Days usage is kept.
    pub usage_days: u32,
}

impl Default for Streams {
    fn default() -> Streams {
        Streams { retention_days: 7, batch_bytes: 512 << 10, usage_every_s: 60, usage_days: 400 }
    }
}

impl Streams {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        demand((1..=3650).contains(&self.retention_days), "streams.retention_days", "takes 1 to 3650 days")?;
        demand(
            (1 << 10..=64 << 20).contains(&self.batch_bytes),
            "streams.batch_bytes",
            "takes 1024 to 67108864",
        )?;
        demand((1..=3600).contains(&self.usage_every_s), "streams.usage_every_s", "takes 1 to 3600 seconds")?;
        demand((1..=3650).contains(&self.usage_days), "streams.usage_days", "takes 1 to 3650 days")
    }
}
