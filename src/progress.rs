//! How far an operation is: counters that it advances and that somebody else may draw.
//!
//! The operations know nothing of terminals: they add to a [`Progress`], `cli` reads it from another thread and shows
//! a bar or a log line. A handle that nobody reads costs an atomic addition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one running operation. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_stored: AtomicU64,
    pieces_total: AtomicU64,
    pieces_done: AtomicU64,
}

/// The counters at one moment. A total of zero means that it is not known (yet).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Bytes of the cluster to be read or written in all.
    pub bytes_total: u64,
    /// Bytes of the cluster read or written so far.
    pub bytes_done: u64,
    /// Bytes handed to, or taken from, the storage so far (compressed, encrypted).
    pub bytes_stored: u64,
    /// Tars, or objects of a deletion, in all.
    pub pieces_total: u64,
    /// Tars, or objects of a deletion, done.
    pub pieces_done: u64,
}

impl Progress {
    /// Counters at zero.
    pub fn new() -> Progress {
        Progress::default()
    }

    /// Adds to the bytes expected in all; a walk may find more as it goes.
    pub fn expect_bytes(&self, bytes: u64) {
        self.0.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds to the bytes read from, or written to, the cluster.
    pub fn add_bytes(&self, bytes: u64) {
        self.0.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds to the bytes handed to, or taken from, the storage.
    pub fn add_stored(&self, bytes: u64) {
        self.0.bytes_stored.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds to the tars, or objects, expected in all.
    pub fn expect_pieces(&self, pieces: u64) {
        self.0.pieces_total.fetch_add(pieces, Ordering::Relaxed);
    }

    /// Adds to the tars, or objects, that are done.
    pub fn add_pieces(&self, pieces: u64) {
        self.0.pieces_done.fetch_add(pieces, Ordering::Relaxed);
    }

    /// The counters now. They are read one by one, so they may be a moment apart.
    pub fn snapshot(&self) -> Snapshot {
        let counters = &self.0;
        Snapshot {
            bytes_total: counters.bytes_total.load(Ordering::Relaxed),
            bytes_done: counters.bytes_done.load(Ordering::Relaxed),
            bytes_stored: counters.bytes_stored.load(Ordering::Relaxed),
            pieces_total: counters.pieces_total.load(Ordering::Relaxed),
            pieces_done: counters.pieces_done.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_counters() {
        let progress = Progress::new();
        let worker = progress.clone();
        worker.expect_bytes(100);
        worker.add_bytes(40);
        worker.add_stored(10);
        worker.expect_pieces(3);
        worker.add_pieces(1);
        let expected =
            Snapshot { bytes_total: 100, bytes_done: 40, bytes_stored: 10, pieces_total: 3, pieces_done: 1 };
        assert_eq!(progress.snapshot(), expected);
    }
}
