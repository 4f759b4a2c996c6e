//! Servers for backups: each takes one at a time.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use crate::support::Cluster;

/// Some that run.
pub struct Servers<'a>(Vec<Mutex<&'a Cluster<'a>>>);

impl<'a> Servers<'a> {
    pub fn new(clusters: &'a [Cluster<'a>]) -> Self {
        Self(clusters.iter().map(Mutex::new).collect())
    }

    /// One that takes no backup, as long as the guard lives.
    pub fn free(&self) -> MutexGuard<'_, &'a Cluster<'a>> {
        loop {
            for cluster in &self.0 {
                match cluster.try_lock() {
                    Ok(free) => return free,
                    Err(TryLockError::Poisoned(free)) => return free.into_inner(),
                    Err(TryLockError::WouldBlock) => {}
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
