//! Every metric in one table, and the handles that are counted through.
//!
//! Labels are stream names and codes, never anything of an event. Every event has one disposition, so
//! `accepted + refused` is what came in and `derived + dropped + unreadable` is what a filter has seen.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::domain::{StreamName, UsageCounts};

/// name, kind, what it counts.
const TABLE: [(&str, Kind, &str); 12] = [
    (ACCEPTED, Kind::Counter, "events stored"),
    (REFUSED, Kind::Counter, "events refused, by code"),
    (BYTES, Kind::Counter, "bytes of bodies of stored events, as they came in"),
    (DERIVED, Kind::Counter, "events appended to a derived stream"),
    (DROPPED, Kind::Counter, "events a derived stream does not get by its consent rule"),
    (UNREADABLE, Kind::Counter, "events a derived stream does not get because they cannot be read"),
    (UNOPENED, Kind::Counter, "fields that stay sealed in a derived stream because their key is gone"),
    (KEYS_DESTROYED, Kind::Counter, "session keys destroyed one by one, by reason"),
    (INGEST_SECONDS, Kind::Histogram, "time from a request's last byte to its answer"),
    (SESSIONS_OPEN, Kind::Gauge, "sessions whose key is open in memory"),
    (READERS, Kind::Gauge, "live readers"),
    (IN_FLIGHT_BYTES, Kind::Gauge, "bytes of request bodies admitted and not yet answered"),
];

const ACCEPTED: &str = "sluice_events_accepted_total";
const REFUSED: &str = "sluice_events_refused_total";
const BYTES: &str = "sluice_event_bytes_total";
const DERIVED: &str = "sluice_events_derived_total";
const DROPPED: &str = "sluice_events_dropped_total";
const UNREADABLE: &str = "sluice_events_unreadable_total";
const UNOPENED: &str = "sluice_fields_unopened_total";
const KEYS_DESTROYED: &str = "sluice_keys_destroyed_total";
const INGEST_SECONDS: &str = "sluice_ingest_seconds";
const SESSIONS_OPEN: &str = "sluice_sessions_open";
const READERS: &str = "sluice_readers";
const IN_FLIGHT_BYTES: &str = "sluice_in_flight_bytes";

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All meters of a node.
pub struct Meters {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    streams: DashMap<StreamName, Arc<StreamMeters>>,
    pub ingest_seconds: Histogram,
    pub sessions_open: Gauge,
    pub readers: Gauge,
    pub in_flight_bytes: Gauge,
    pub keys_destroyed_by_policy: Counter,
    pub keys_destroyed_with_stream: Counter,
    pub keys_destroyed_by_erasure: Counter,
}

/// Meters of one stream.
pub struct StreamMeters {
    pub accepted: Tally,
    pub bytes: Tally,
    pub derived: Tally,
    pub dropped: Tally,
    pub unreadable: Tally,
    pub unopened: Counter,
    /// Refusals by code, until they are written down.
    refused: parking_lot::Mutex<BTreeMap<Cow<'static, str>, u64>>,
}

/// A counter whose counts are also written down as usage.
pub struct Tally {
    shown: Counter,
    unwritten: AtomicU64,
}

impl Tally {
    fn new(shown: Counter) -> Tally {
        Tally { shown, unwritten: AtomicU64::new(0) }
    }

    /// Counts `count` more.
    pub fn increment(&self, count: u64) {
        self.shown.increment(count);
        self.unwritten.fetch_add(count, Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.unwritten.swap(0, Ordering::Relaxed)
    }

    fn put_back(&self, count: u64) {
        self.unwritten.fetch_add(count, Ordering::Relaxed);
    }
}

/// What became of an event, for the counter of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition(pub &'static str);

impl Default for Meters {
    fn default() -> Meters {
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS);
        let recorder = builder.expect("the buckets are not empty").build_recorder();
        for (name, kind, help) in TABLE {
            let (name, help) = (KeyName::from_const_str(name), SharedString::const_str(help));
            match kind {
                Kind::Counter => recorder.describe_counter(name, Some(Unit::Count), help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram => recorder.describe_histogram(name, Some(Unit::Seconds), help),
            }
        }
        let handle = recorder.handle();
        let keys_destroyed = |reason: &'static str| {
            let key = Key::from_parts(KEYS_DESTROYED, vec![Label::new("reason", reason)]);
            recorder.register_counter(&key, &META)
        };
        let (keys_destroyed_by_policy, keys_destroyed_with_stream) =
            (keys_destroyed("policy"), keys_destroyed("stream_deleted"));
        let keys_destroyed_by_erasure = keys_destroyed("erasure");
        Meters {
            ingest_seconds: recorder.register_histogram(&Key::from_static_name(INGEST_SECONDS), &META),
            sessions_open: recorder.register_gauge(&Key::from_static_name(SESSIONS_OPEN), &META),
            readers: recorder.register_gauge(&Key::from_static_name(READERS), &META),
            in_flight_bytes: recorder.register_gauge(&Key::from_static_name(IN_FLIGHT_BYTES), &META),
            keys_destroyed_by_policy,
            keys_destroyed_with_stream,
            keys_destroyed_by_erasure,
            handle,
            recorder,
            streams: DashMap::new(),
        }
    }
}

impl Meters {
    /// The meters of `stream`.
    #[must_use]
    pub fn stream(&self, stream: &StreamName) -> Arc<StreamMeters> {
        if let Some(known) = self.streams.get(stream) {
            return Arc::clone(&known);
        }
        let counter = |name: &'static str| {
            let key = Key::from_parts(name, vec![Label::new("stream", stream.as_str().to_owned())]);
            self.recorder.register_counter(&key, &META)
        };
        let tally = |name| Tally::new(counter(name));
        let meters = || StreamMeters {
            accepted: tally(ACCEPTED),
            bytes: tally(BYTES),
            derived: tally(DERIVED),
            dropped: tally(DROPPED),
            unreadable: tally(UNREADABLE),
            unopened: counter(UNOPENED),
            refused: parking_lot::Mutex::default(),
        };
        match self.streams.entry(stream.clone()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => Arc::clone(&place.insert(Arc::new(meters()))),
        }
    }

    /// Takes out what was counted since the last time, for the streams that counted anything.
    #[must_use]
    pub fn take_usage(&self) -> Vec<(StreamName, UsageCounts)> {
        let taken = self.streams.iter().map(|entry| {
            let meters = entry.value();
            let refused = std::mem::take(&mut *meters.refused.lock());
            let counts = UsageCounts {
                accepted: meters.accepted.take(),
                bytes: meters.bytes.take(),
                derived: meters.derived.take(),
                dropped: meters.dropped.take(),
                unreadable: meters.unreadable.take(),
                refused: refused.into_iter().map(|(code, count)| (code.into_owned(), count)).collect(),
            };
            (entry.key().clone(), counts)
        });
        taken.filter(|(_, counts)| !counts.is_nothing()).collect()
    }

    /// Puts back what [`Meters::take_usage`] gave and could not be written down.
    pub fn put_back_usage(&self, counts: Vec<(StreamName, UsageCounts)>) {
        for (stream, counts) in counts {
            let meters = self.stream(&stream);
            meters.accepted.put_back(counts.accepted);
            meters.bytes.put_back(counts.bytes);
            meters.derived.put_back(counts.derived);
            meters.dropped.put_back(counts.dropped);
            meters.unreadable.put_back(counts.unreadable);
            for (code, count) in counts.refused {
                *meters.refused.lock().entry(code.into()).or_default() += count;
            }
        }
    }

    /// Counts `count` refused events of `stream` under their code.
    pub fn refused(&self, stream: &StreamName, code: Disposition, count: u64) {
        let labels = vec![Label::new("stream", stream.as_str().to_owned()), Label::new("code", code.0)];
        self.recorder.register_counter(&Key::from_parts(REFUSED, labels), &META).increment(count);
        *self.stream(stream).refused.lock().entry(code.0.into()).or_default() += count;
    }

    /// Forgets a stream that was deleted.
    pub fn forget(&self, stream: &StreamName) {
        self.streams.remove(stream);
    }

    /// Drains histograms, which grow until somebody does. Call every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

const META: Metadata<'static> = Metadata::new("sluice", Level::INFO, None);
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_taken_once_and_can_be_put_back() {
        let meters = Meters::default();
        let stream: StreamName = "clicks".parse().unwrap();
        meters.stream(&stream).accepted.increment(3);
        meters.refused(&stream, Disposition("json_invalid"), 2);
        let taken = meters.take_usage();
        let refused = BTreeMap::from([("json_invalid".to_owned(), 2)]);
        let counts = UsageCounts { accepted: 3, refused, ..UsageCounts::default() };
        assert_eq!(taken, [(stream.clone(), counts.clone())]);
        assert_eq!(meters.take_usage(), []);
        meters.stream(&stream).accepted.increment(1);
        meters.put_back_usage(taken);
        assert_eq!(meters.take_usage(), [(stream, UsageCounts { accepted: 4, ..counts })]);
        assert!(meters.render().contains("sluice_events_accepted_total{stream=\"clicks\"} 4"));
    }
}
