//! How many events a stream takes: a rate with a burst, and a count for each hour or day (UTC).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::{DAY_MS, Timestamp};

/// Limits of one source stream. None of them: it takes what comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StreamLimits {
    /// Events a second in the long run, 1 to 1,000,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub events_per_second: Option<u32>,
    /// Events that may come at once after a pause, 1 to 1,000,000; `events_per_second` when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000)]
    pub burst: Option<u32>,
    /// Events stored in one window, 1 to 1,000,000,000,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000000000000u64)]
    pub events_max: Option<u64>,
    /// The window that `events_max` is for.
    pub events_max_per: Window,
}

/// Windows begin with the hour or the day of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Window {
    Hour,
    #[default]
    Day,
}

/// A limit that no stream can have. The caller asks for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("eventsPerSecond: 1 to {RATE_MAX}")]
    Rate,
    #[error("burst: 1 to {RATE_MAX}, with eventsPerSecond")]
    Burst,
    #[error("eventsMax: 1 to {COUNT_MAX}")]
    Count,
}

impl StreamLimits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.events_per_second.is_none() && self.events_max.is_none()
    }

    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// The first limit out of range.
    pub fn validate(&self) -> Result<(), LimitError> {
        let in_range = |value: Option<u32>| value.is_none_or(|value| (1..=RATE_MAX).contains(&value));
        if !in_range(self.events_per_second) {
            return Err(LimitError::Rate);
        }
        if !in_range(self.burst) || (self.burst.is_some() && self.events_per_second.is_none()) {
            return Err(LimitError::Burst);
        }
        if !self.events_max.is_none_or(|count| (1..=COUNT_MAX).contains(&count)) {
            return Err(LimitError::Count);
        }
        Ok(())
    }
}

impl Window {
    /// Milliseconds.
    #[must_use]
    pub fn length_ms(self) -> i64 {
        match self {
            Window::Hour => DAY_MS / 24,
            Window::Day => DAY_MS,
        }
    }

    /// First instant of the window that `now` falls in.
    #[must_use]
    pub fn start(self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.div_euclid(self.length_ms()) * self.length_ms())
    }
}

const RATE_MAX: u32 = 1_000_000;
const COUNT_MAX: u64 = 1_000_000_000_000;
