//! What a stream counts while the node runs, apart from what it is: it survives changes of the definition.
//!
//! The path of an event reads it through its `KnownStream`. A stream without limits costs one branch, one
//! with limits one atomic word for each.
//!
//! The rate is the generic cell rate algorithm (ITU-T I.371): one word holds the instant at which all that
//! was taken would have arrived at the even rate; what lies further ahead than the burst is refused.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::{
    clock::Timestamp,
    domain::{StreamLimits, Window},
};

/// The live counters of one stream.
#[derive(Debug, Default)]
pub struct LiveStream {
    /// Nanoseconds since 1970.
    arrival: AtomicI64,
    /// Number of the window in the high 24 bits, events stored in it in the low 40.
    stored: AtomicU64,
}

/// Which limit an event is over, and in how many seconds another try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverLimit {
    Rate { retry_after_s: u32 },
    Count { retry_after_s: u32 },
}

impl LiveStream {
    /// Takes room for up to `count` events at `now`; with `whole` for all of them or none. Returns how many
    /// may come, and why not more. Room for what is then not stored goes back by [`LiveStream::give_back`].
    pub fn take(
        &self,
        limits: &StreamLimits,
        now: Timestamp,
        count: u32,
        whole: bool,
    ) -> (u32, Option<OverLimit>) {
        let (mut granted, mut over) = (count, None);
        if let Some(max) = limits.events_max {
            (granted, over) = self.take_count(max, limits.events_max_per, now, granted, whole);
        }
        if let Some(rate) = limits.events_per_second
            && granted > 0
        {
            let burst = limits.burst.unwrap_or(rate);
            let (passed, slow) = self.take_rate(rate, burst, now, granted, whole);
            if slow.is_some() {
                self.give_back(limits, now, granted - passed);
                (granted, over) = (passed, slow);
            }
        }
        (granted, over)
    }

    /// Gives back room in the window for `count` events that were not stored. The rate keeps them: they
    /// came, and cost.
    pub fn give_back(&self, limits: &StreamLimits, now: Timestamp, count: u32) {
        if limits.events_max.is_none() || count == 0 {
            return;
        }
        let window = window_number(limits.events_max_per, now);
        let less = |packed: u64| {
            (packed >> COUNT_BITS == window)
                .then(|| packed & !COUNT_MASK | (packed & COUNT_MASK).saturating_sub(count.into()))
        };
        let _ = self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Says that at least `count` events of the present window were stored, as the usage has it: before this
    /// node ran, or before there was a limit.
    pub fn remember(&self, limits: &StreamLimits, now: Timestamp, count: u64) {
        let window = window_number(limits.events_max_per, now);
        let more = |packed: u64| {
            let before = if packed >> COUNT_BITS == window { packed & COUNT_MASK } else { 0 };
            Some(window << COUNT_BITS | before.max(count).min(COUNT_MASK))
        };
        let _ = self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn take_count(
        &self,
        max: u64,
        per: Window,
        now: Timestamp,
        count: u32,
        whole: bool,
    ) -> (u32, Option<OverLimit>) {
        let window = window_number(per, now);
        let mut granted = 0;
        let more = |packed: u64| {
            let before = if packed >> COUNT_BITS == window { packed & COUNT_MASK } else { 0 };
            let left = u32::try_from(max.saturating_sub(before)).unwrap_or(u32::MAX);
            granted = if left >= count || !whole { count.min(left) } else { 0 };
            Some(window << COUNT_BITS | (before + u64::from(granted)))
        };
        let _ = self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if granted == count {
            return (granted, None);
        }
        let left_ms = per.start(now).plus_ms(per.length_ms()).since(now);
        let retry_after_s = u32::try_from((left_ms + 999) / 1000).unwrap_or(1).max(1);
        (granted, Some(OverLimit::Count { retry_after_s }))
    }

    fn take_rate(
        &self,
        rate: u32,
        burst: u32,
        now: Timestamp,
        count: u32,
        whole: bool,
    ) -> (u32, Option<OverLimit>) {
        let step = SECOND_NS / i64::from(rate);
        let (now, tolerance) = (now.0.saturating_mul(1_000_000), step * i64::from(burst));
        // What is taken whole may be larger than the burst: it passes when nothing is owed, and is owed then.
        let owed_max = tolerance.max(step * WHOLE_MAX);
        let (mut granted, mut wait) = (0, 0);
        let later = |arrival: i64| {
            let owed = arrival.saturating_sub(now).clamp(0, owed_max);
            let room = u32::try_from((tolerance - owed).max(0) / step).unwrap_or(u32::MAX);
            granted = match (whole, count <= room) {
                (_, true) => count,
                (true, false) if owed == 0 && count > burst => count,
                (true, false) => 0,
                (false, false) => room,
            };
            let missing = if whole { count.min(burst) } else { 1 };
            wait = owed + step * i64::from(granted + missing) - tolerance;
            Some(now.saturating_add(owed + step * i64::from(granted)))
        };
        let _ = self.arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        if granted == count {
            return (granted, None);
        }
        let retry_after_s = u32::try_from((wait + SECOND_NS - 1) / SECOND_NS).unwrap_or(1).max(1);
        (granted, Some(OverLimit::Rate { retry_after_s }))
    }
}

fn window_number(per: Window, now: Timestamp) -> u64 {
    u64::try_from(now.0 / per.length_ms()).unwrap_or(0) & (u64::MAX >> COUNT_BITS)
}

const SECOND_NS: i64 = 1_000_000_000;
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Events that are taken whole and may be owed, at most.
const WHOLE_MAX: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(20_000 * crate::clock::DAY_MS + 12 * 3_600_000);

    fn rate(rate: u32, burst: u32) -> StreamLimits {
        StreamLimits { events_per_second: Some(rate), burst: Some(burst), ..StreamLimits::default() }
    }

    #[test]
    fn a_rate_lets_a_burst_pass_and_then_one_for_each_step() {
        let (live, limits) = (LiveStream::default(), rate(10, 5));
        let take = |ms: i64| live.take(&limits, NOON.plus_ms(ms), 1, false).0;
        assert_eq!((0..7).map(|_| take(0)).sum::<u32>(), 5);
        assert_eq!((take(99), take(100), take(100)), (0, 1, 0));
        assert_eq!((0..7).map(|_| take(10_000)).sum::<u32>(), 5, "a pause gives back no more than the burst");
        let (granted, over) = live.take(&limits, NOON.plus_ms(10_000), 3, false);
        assert_eq!((granted, over), (0, Some(OverLimit::Rate { retry_after_s: 1 })));
    }

    #[test]
    fn threads_that_take_at_once_never_get_more_than_there_is() {
        let live = LiveStream::default();
        let limits = StreamLimits { events_max: Some(5_000), ..rate(1_000, 3_000) };
        let taken = |ms: i64| -> u32 {
            std::thread::scope(|scope| {
                let take =
                    || (0..2_000).map(|_| live.take(&limits, NOON.plus_ms(ms), 1, false).0).sum::<u32>();
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            })
        };
        assert_eq!((taken(0), taken(500), taken(60_000), taken(120_000)), (3_000, 500, 1_500, 0));
    }

    #[test]
    fn what_is_taken_whole_and_larger_than_the_burst_is_owed() {
        let (live, limits) = (LiveStream::default(), rate(10, 5));
        assert_eq!(live.take(&limits, NOON, 20, true), (20, None));
        let (granted, over) = live.take(&limits, NOON.plus_ms(1_000), 5, true);
        assert_eq!((granted, over), (0, Some(OverLimit::Rate { retry_after_s: 1 })));
        assert_eq!(live.take(&limits, NOON.plus_ms(2_000), 5, true), (5, None));
        assert_eq!(live.take(&limits, NOON.plus_ms(2_000), 1, true).0, 0);
    }

    #[test]
    fn a_count_is_for_its_window_and_room_goes_back() {
        let live = LiveStream::default();
        let limits = StreamLimits { events_max: Some(10), ..StreamLimits::default() };
        assert_eq!(live.take(&limits, NOON, 8, false), (8, None));
        let over = Some(OverLimit::Count { retry_after_s: 12 * 3600 });
        assert_eq!(live.take(&limits, NOON, 8, true), (0, over));
        assert_eq!(live.take(&limits, NOON, 8, false), (2, over));
        live.give_back(&limits, NOON, 3);
        assert_eq!(live.take(&limits, NOON, 8, false), (3, over));
        assert_eq!(live.take(&limits, NOON.plus_ms(13 * 3_600_000), 10, true), (10, None));
        live.remember(&limits, NOON.plus_ms(crate::clock::DAY_MS * 2), 9);
        assert_eq!(live.take(&limits, NOON.plus_ms(crate::clock::DAY_MS * 2), 5, false).0, 1);
    }

    #[test]
    fn a_count_that_is_over_takes_nothing_from_the_window_for_what_the_rate_refused() {
        let live = LiveStream::default();
        let limits = StreamLimits { events_max: Some(10), ..rate(1, 2) };
        assert_eq!(live.take(&limits, NOON, 9, false).0, 2);
        assert_eq!(live.take(&limits, NOON.plus_ms(2_000), 9, false).0, 2);
        assert_eq!(live.stored.load(Ordering::Relaxed) & COUNT_MASK, 4);
    }
}
