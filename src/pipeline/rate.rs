//! Bytes per second, for disks and networks that serve others too.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A token bucket: up to a burst at once, `bytes_per_second` on average.
#[derive(Debug)]
pub struct RateLimit {
    bytes_per_second: f64,
    burst: Duration,
    /// When all that was granted so far will have been used up at the allowed speed.
    used_up: Mutex<Instant>,
}

/// What wal-g lets through at once above the rate (`limiters.go`).
const BURST_BYTES: f64 = 65536.0;

impl RateLimit {
    /// A limit of `bytes_per_second`, at least 1, with wal-g's burst of one second and 64 KiB.
    pub fn new(bytes_per_second: u64) -> RateLimit {
        let bytes_per_second = bytes_per_second.max(1) as f64;
        RateLimit {
            bytes_per_second,
            burst: Duration::from_secs_f64(1.0 + BURST_BYTES / bytes_per_second),
            used_up: Mutex::new(Instant::now()),
        }
    }

    /// Takes `bytes` and returns how long the caller must wait before using them.
    pub fn reserve(&self, bytes: usize) -> Duration {
        let now = Instant::now();
        let mut used_up = self.used_up.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(self.burst).unwrap_or(now);
        *used_up = (*used_up).max(earliest) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        used_up.saturating_duration_since(now)
    }

    /// Takes `bytes` and blocks the thread until they may be used.
    pub fn wait(&self, bytes: usize) {
        std::thread::sleep(self.reserve(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up_to_the_rate() {
        let limit = RateLimit::new(1000);
        let burst = 1000 + 65536;
        let mut wait = Duration::ZERO;
        for _ in 0..burst + 5000 {
            wait = limit.reserve(1);
        }
        assert!(wait > Duration::from_secs(4), "{wait:?}");
        assert!(wait <= Duration::from_secs(72), "{wait:?}");
    }
}
