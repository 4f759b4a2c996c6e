//! A body that goes on where it broke.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::Retry;
use super::call::{Class, Tries};
use crate::storage::{Error, ErrorKind, ObjectMeta, Result, Storage};

/// A body that goes on after it broke.
pub(super) struct Resuming {
    pub(super) storage: Retry,
    pub(super) meta: ObjectMeta,
    /// Offset of the next byte.
    pub(super) at: u64,
    pub(super) stream: BoxStream<'static, Result<Bytes>>,
}

impl Resuming {
    pub(super) fn stream(self) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, |mut resuming| async move {
            let chunk = resuming.next().await?;
            Ok(chunk.map(|chunk| (chunk, resuming)))
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        let policy = self.storage.policy;
        let mut tries = Tries::new(policy.transfer_budget);
        loop {
            let silence = policy.stalled_body.min(tries.left());
            let error = match tokio::time::timeout(silence, self.stream.next()).await {
                Ok(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Ok(Some(Ok(chunk))) => {
                    self.at = self.at.saturating_add(chunk.len() as u64);
                    return Ok(Some(chunk));
                }
                Ok(None) if self.at >= self.meta.size => return Ok(None),
                Ok(None) => self
                    .error(ErrorKind::Network, format!("ended at {} of {} bytes", self.at, self.meta.size)),
                Ok(Some(Err(error))) => error,
                Err(_) => {
                    let silence = silence.as_secs_f64();
                    let detail =
                        format!("stalled for {silence:.0} s at {} of {} bytes", self.at, self.meta.size);
                    self.error(ErrorKind::Timeout, detail)
                }
            };
            self.resume(&mut tries, error).await?;
        }
    }

    /// Asks for the rest, until it comes or the trying ends.
    async fn resume(&mut self, tries: &mut Tries, mut error: Error) -> Result<()> {
        let policy = self.storage.policy;
        loop {
            tries.wait(&policy, error).await?;
            let call = self.storage.call("get", Some(&self.meta.key), Class::Transfer);
            let inner = &self.storage.inner;
            match call.once(tries, inner.get(&self.meta.key, self.at, self.meta.etag.as_ref())).await {
                Ok(Some(body)) if body.meta.size == self.meta.size => {
                    self.stream = body.stream;
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
