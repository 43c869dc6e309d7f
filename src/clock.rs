//! The only source of wall-clock time. Tests turn it by hand; everything else asks it.
//!
//! Durations inside one process (deadlines, backoff) come from `tokio::time` and `Instant`, which are
//! monotonic. This clock is for what is written down: acceptance times, key creation, expiry.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Milliseconds in one day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant `ms` milliseconds later. Saturates.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant; negative when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Tells the time. Cheap to clone; clones of a manual clock turn together.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System { started: Instant, ahead: AtomicI64 },
    Manual { wall: AtomicI64, passed: AtomicI64, ahead: AtomicI64 },
}

impl Clock {
    /// The operating system's wall clock.
    #[must_use]
    pub fn system() -> Clock {
        Clock(Arc::new(Source::System { started: Instant::now(), ahead: AtomicI64::new(i64::MIN) }))
    }

    /// A clock that stands still at `start` until it is turned.
    #[must_use]
    pub fn manual(start: Timestamp) -> Clock {
        let (wall, passed, ahead) = (AtomicI64::new(start.0), AtomicI64::new(0), AtomicI64::new(i64::MIN));
        Clock(Arc::new(Source::Manual { wall, passed, ahead }))
    }

    /// The present instant by the wall clock, for what people read. May step backwards.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System { .. } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Manual { wall, .. } => Timestamp(wall.load(Ordering::SeqCst)),
        }
    }

    /// The present instant for the life of keys: follows the wall clock forward and goes on by the
    /// monotonic clock when the wall clock steps back. Never earlier than any answer before.
    #[must_use]
    pub fn steady(&self) -> Timestamp {
        let (passed, ahead) = match &*self.0 {
            Source::System { started, ahead } => {
                (i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX), ahead)
            }
            Source::Manual { passed, ahead, .. } => (passed.load(Ordering::SeqCst), ahead),
        };
        let offset = self.now().0.saturating_sub(passed);
        let furthest = ahead.fetch_max(offset, Ordering::SeqCst).max(offset);
        Timestamp(furthest.saturating_add(passed))
    }

    /// Lets `ms` milliseconds pass on a manual clock. A system clock ignores it.
    pub fn turn(&self, ms: impl Into<i64>) {
        let ms = ms.into();
        if let Source::Manual { wall, passed, .. } = &*self.0 {
            wall.fetch_add(ms, Ordering::SeqCst);
            passed.fetch_add(ms, Ordering::SeqCst);
        }
    }

    /// Sets the wall of a manual clock `ms` milliseconds forward, or backward when negative, without
    /// time passing: what an operator or a bad time server does. A system clock ignores it.
    pub fn jump(&self, ms: i64) {
        if let Source::Manual { wall, .. } = &*self.0 {
            wall.fetch_add(ms, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_time_follows_jumps_forward_and_never_goes_back() {
        let clock = Clock::manual(Timestamp(1_000));
        assert_eq!(clock.steady(), Timestamp(1_000));
        clock.jump(500);
        assert_eq!(clock.steady(), Timestamp(1_500));
        clock.jump(-10_000);
        assert_eq!(clock.steady(), Timestamp(1_500));
        clock.turn(7);
        assert_eq!((clock.now(), clock.steady()), (Timestamp(-8_493), Timestamp(1_507)));
    }
}
