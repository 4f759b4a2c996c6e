//! How far the body of a request has gone up. The storage below says it, since [`super::Retry`] does not see it move and
//! bounds the time in which nothing does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What the kernel holds of a body at the most, in bytes (Linux, `net.ipv4.tcp_wmem`).
const KERNEL_BUFFER: usize = 4 << 20;
/// It is taken to drain at this speed at least, in bytes per second, where nothing is known of the line.
const DRAIN: usize = 64 << 10;
/// The longest that is waited for that.
const DRAIN_AT_MOST: Duration = Duration::from_secs(10);

tokio::task_local! {
    static OF_THIS_ATTEMPT: Progress;
}

/// The progress of one attempt.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Mutex<Moved>>);

/// The last sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) at: Instant,
    pub(super) stage: Stage,
    /// How long it took until now from the first piece of the body on.
    pub(super) moving: Duration,
}

/// What an attempt is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The credentials for the request.
    Identifying,
    /// An answer, or a connection.
    Asking,
    /// That the connection takes more of a body, of which it took the first piece then.
    Sending(Instant),
    /// The answer, after the connection has taken all; what the kernel still holds may take this long.
    Sent(Duration),
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress(Arc::new(Mutex::new(Moved {
            at: Instant::now(),
            stage: Stage::Asking,
            moving: Duration::ZERO,
        })))
    }

    /// Of the attempt that is being made; what is said outside of one, nobody hears.
    pub fn of_this_attempt() -> Progress {
        OF_THIS_ATTEMPT.try_with(Progress::clone).unwrap_or_else(|_| Progress::new())
    }

    /// Makes the attempt whose progress this is.
    pub(super) async fn of<T>(&self, attempt: impl Future<Output = T>) -> T {
        OF_THIS_ATTEMPT.scope(self.clone(), attempt).await
    }

    /// Credentials are being asked for, or no longer.
    pub fn identifying(&self, goes_on: bool) {
        let mut moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It is no sign of life of the service.
        moved.stage = if goes_on { Stage::Identifying } else { Stage::Asking };
    }

    /// The connection takes a piece of the body, and there is more.
    pub fn sending(&self) {
        let at = Instant::now();
        let mut moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = if let Stage::Sending(since) = moved.stage { since } else { at };
        *moved = Moved { at, stage: Stage::Sending(since), moving: at - since };
    }

    /// The connection takes the last piece of a body of `bytes`.
    pub fn sent(&self, bytes: usize) {
        let at = Instant::now();
        let mut moved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let moving = if let Stage::Sending(since) = moved.stage { at - since } else { Duration::ZERO };
        // On a slow line the buffer drains no faster than the rest of the body has left it.
        let held = bytes.min(KERNEL_BUFFER);
        let as_before = moving.mul_f64(held as f64 / bytes.max(1) as f64);
        let drain = Duration::from_secs((held / DRAIN) as u64).min(DRAIN_AT_MOST).max(as_before);
        *moved = Moved { at, stage: Stage::Sent(drain), moving };
    }

    pub(super) fn last(&self) -> Moved {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
