//! A fixed number of part buffers.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// How often a thread that waits for a buffer looks whether the process is ending.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// Hands out at most `capacity` buffers of `part_bytes`; whoever needs one more waits.
///
/// A buffer returns to the pool when the last clone of its [`Bytes`] is dropped, so a part stays whole for as long
/// as it may have to be sent again. A buffer is allocated whole when it is first needed, since growing would copy it;
/// the system gives the memory page by page as it is filled.
#[derive(Debug, Clone)]
pub struct PartPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    part_bytes: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug)]
struct State {
    /// Buffers that may still be handed out.
    left: usize,
    /// Allocations of buffers that came back.
    idle: Vec<Vec<u8>>,
}

/// A buffer being filled; returns to the pool when dropped.
#[derive(Debug)]
pub(super) struct PartBuffer {
    bytes: Vec<u8>,
    shared: Arc<Shared>,
}

impl PartPool {
    /// A pool of `capacity` buffers of `part_bytes` each; both at least 1.
    pub fn new(capacity: usize, part_bytes: usize) -> PartPool {
        let state = State { left: capacity.max(1), idle: Vec::new() };
        PartPool {
            shared: Arc::new(Shared {
                part_bytes: part_bytes.max(1),
                state: Mutex::new(state),
                returned: Condvar::new(),
            }),
        }
    }

    /// Size of one buffer.
    pub fn part_bytes(&self) -> usize {
        self.shared.part_bytes
    }

    /// An empty buffer; blocks until one is free. `None` when cancelled meanwhile.
    pub(super) fn take(&self, cancel: &CancellationToken) -> Option<PartBuffer> {
        let mut state = self.shared.lock();
        while state.left == 0 {
            if cancel.is_cancelled() {
                return None;
            }
            let (woken, _) =
                self.shared.returned.wait_timeout(state, CANCEL_POLL).unwrap_or_else(PoisonError::into_inner);
            state = woken;
        }
        state.left -= 1;
        let idle = state.idle.pop();
        drop(state);
        let bytes = idle.unwrap_or_else(|| Vec::with_capacity(self.shared.part_bytes));
        Some(PartBuffer { bytes, shared: Arc::clone(&self.shared) })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing can panic while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartBuffer {
    /// Copies what fits and says how much that was.
    pub(super) fn fill(&mut self, data: &[u8]) -> usize {
        let taken = data.len().min(self.shared.part_bytes - self.bytes.len());
        self.bytes.extend_from_slice(data.split_at(taken).0);
        taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() == self.shared.part_bytes
    }

    /// Shares the content; the buffer is free again when all clones are gone.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PartBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PartBuffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut state = self.shared.lock();
        state.left += 1;
        state.idle.push(bytes);
        drop(state);
        self.shared.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_with_the_last_clone() {
        let cancel = CancellationToken::new();
        let pool = PartPool::new(1, 4);
        let mut buffer = pool.take(&cancel).unwrap();
        assert_eq!(buffer.fill(b"abcdef"), 4);
        assert!(buffer.is_full());
        let part = buffer.freeze();
        let clone = part.clone();
        let waiter = std::thread::spawn({
            let (pool, cancel) = (pool.clone(), cancel.clone());
            move || pool.take(&cancel).is_some()
        });
        drop(part);
        assert_eq!(&clone[..], b"abcd");
        assert!(!waiter.is_finished());
        drop(clone);
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn waiting_ends_when_cancelled() {
        let cancel = CancellationToken::new();
        let pool = PartPool::new(1, 4);
        let _held = pool.take(&cancel).unwrap();
        cancel.cancel();
        assert!(pool.take(&cancel).is_none());
    }
}
