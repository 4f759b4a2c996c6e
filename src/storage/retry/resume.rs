//! A body that goes on where it broke, and where it only drips.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, timeout};

use super::Retry;
use super::call::{Class, Tries};
use crate::storage::{Error, ErrorKind, ObjectMeta, Result, Storage};

/// Bytes that are a sign of life; less is none, however often it comes. A body that goes up is handed to the connection in
/// pieces as large.
const LEAST: u64 = 64 << 10;

/// A body that goes on after it broke.
pub(super) struct Resuming {
    storage: Retry,
    meta: ObjectMeta,
    /// Offset of the next byte.
    at: u64,
    stream: BoxStream<'static, Result<Bytes>>,
    /// Since a sign of life.
    tries: Tries,
    /// Bytes that have come since then.
    come: u64,
    /// How long this connection was waited for since then.
    waited: Duration,
    /// When the last chunk was handed on.
    handed: Instant,
}

impl Resuming {
    pub(super) fn new(
        storage: Retry,
        meta: ObjectMeta,
        at: u64,
        stream: BoxStream<'static, Result<Bytes>>,
    ) -> Resuming {
        let tries = Tries::new(storage.policy.transfer_budget);
        let (come, waited, handed) = (0, Duration::ZERO, Instant::now());
        Resuming { storage, meta, at, stream, tries, come, waited, handed }
    }

    pub(super) fn stream(self) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, |mut resuming| async move {
            let chunk = resuming.next().await?;
            Ok(chunk.map(|chunk| (chunk, resuming)))
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        let policy = self.storage.policy;
        // Whoever reads it may take its time.
        self.tries.leave_out(self.handed.elapsed());
        loop {
            let silence = policy.stalled_body.saturating_sub(self.waited).min(self.tries.left());
            let begun = Instant::now();
            let answer = timeout(silence, self.stream.next()).await;
            self.waited += begun.elapsed();
            let error = match answer {
                Ok(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Ok(Some(Ok(chunk))) => {
                    self.take(chunk.len() as u64);
                    return Ok(Some(chunk));
                }
                Ok(None) if self.at >= self.meta.size => return Ok(None),
                Ok(None) => self
                    .error(ErrorKind::Network, format!("ended at {} of {} bytes", self.at, self.meta.size)),
                Ok(Some(Err(error))) => error,
                Err(_) => self.stalled(),
            };
            self.resume(error).await?;
        }
    }

    fn take(&mut self, bytes: u64) {
        self.at = self.at.saturating_add(bytes);
        self.come = self.come.saturating_add(bytes);
        if self.come >= LEAST {
            self.tries = Tries::new(self.storage.policy.transfer_budget);
            (self.come, self.waited) = (0, Duration::ZERO);
        }
        self.handed = Instant::now();
    }

    fn stalled(&self) -> Error {
        let (waited, at, size) = (self.waited.as_secs_f64(), self.at, self.meta.size);
        let detail = match self.come {
            0 => format!("stalled for {waited:.0} s at {at} of {size} bytes"),
            _ => format!("less than {} KiB came in {waited:.0} s, at {at} of {size} bytes", LEAST >> 10),
        };
        self.error(ErrorKind::Timeout, detail)
    }

    /// Asks for the rest, until it comes or the trying ends.
    async fn resume(&mut self, mut error: Error) -> Result<()> {
        let policy = self.storage.policy;
        loop {
            self.tries.wait(&policy, error).await?;
            let call = self.storage.call("get", Some(&self.meta.key), Class::Transfer);
            let inner = &self.storage.inner;
            let rest = inner.get(&self.meta.key, self.at, self.meta.etag.as_ref());
            match call.once(&mut self.tries, rest).await {
                Ok(Some(body)) if body.meta.size == self.meta.size => {
                    self.stream = body.stream;
                    self.waited = Duration::ZERO;
                    return Ok(());
                }
                Ok(Some(_)) => {
                    return Err(
                        self.error(ErrorKind::Changed, "the object was replaced while it was being read")
                    );
                }
                Ok(None) => {
                    return Err(
                        self.error(ErrorKind::Changed, "the object was deleted while it was being read")
                    );
                }
                Err(again) => error = again,
            }
        }
    }

    fn error(&self, kind: ErrorKind, detail: impl Into<String>) -> Error {
        Error::new(kind, "get", Some(&self.meta.key), self.storage.location(), detail)
    }
}
