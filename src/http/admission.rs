//! Admission: the one place where Sluice pushes back.
//!
//! Bodies held in memory over all connections are counted, and a request that would pass the bound is
//! answered 503 at once: waiting would only move the queue somewhere without a bound.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::ApiError;

/// Counts bytes of bodies and live readers. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Counts>);

struct Counts {
    bytes: AtomicUsize,
    bytes_max: usize,
    readers: AtomicUsize,
    readers_max: usize,
}

/// Bytes that one request holds; given back on drop.
pub(super) struct Admitted {
    counts: Arc<Counts>,
    bytes: usize,
}

/// A live reader's place; given back on drop.
pub(super) struct ReaderPlace(Arc<Counts>);

impl Admission {
    /// Admits `bytes_max` bytes of bodies and `readers_max` readers at one time.
    #[must_use]
    pub fn new(bytes_max: usize, readers_max: usize) -> Admission {
        let (bytes, readers) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Admission(Arc::new(Counts { bytes, bytes_max, readers, readers_max }))
    }

    /// A request that holds nothing yet.
    pub(super) fn enter(&self) -> Admitted {
        Admitted { counts: Arc::clone(&self.0), bytes: 0 }
    }

    /// A place for one more reader.
    pub(super) fn reader(&self) -> Result<ReaderPlace, ApiError> {
        if self.0.readers.fetch_add(1, Ordering::Relaxed) >= self.0.readers_max {
            self.0.readers.fetch_sub(1, Ordering::Relaxed);
            return Err(ApiError::TooManyReaders);
        }
        Ok(ReaderPlace(Arc::clone(&self.0)))
    }

    /// Bytes held and readers living now.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.0.bytes.load(Ordering::Relaxed), self.0.readers.load(Ordering::Relaxed))
    }
}

impl Admitted {
    /// Holds `bytes` more, or refuses.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), ApiError> {
        let before = self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.counts.bytes_max { Err(ApiError::Overloaded) } else { Ok(()) }
    }

    /// Gives everything back but keeps its place.
    pub(super) fn release(&mut self) {
        self.counts.bytes.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.release();
    }
}

impl Drop for ReaderPlace {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}
