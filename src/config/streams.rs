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
    /// Events that `check contract --against` looks at, the newest, and seconds that it takes, at most.
    pub check_events_max: u64,
    pub check_s: u64,
}

impl Default for Streams {
    fn default() -> Streams {
        Streams {
            retention_days: 7,
            batch_bytes: 512 << 10,
            usage_every_s: 60,
            usage_days: 400,
            check_events_max: 100_000,
            check_s: 15,
        }
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
        demand((1..=3650).contains(&self.usage_days), "streams.usage_days", "takes 1 to 3650 days")?;
        let events = 1..=100_000_000;
        demand(events.contains(&self.check_events_max), "streams.check_events_max", "takes 1 to 100000000")?;
        demand((1..=600).contains(&self.check_s), "streams.check_s", "takes 1 to 600 seconds")
    }
}
