//! Repeats what may succeed when it is sent again, within bounds, for any storage.
//!
//! The storage below makes one attempt per call; its errors say whether another one makes sense
//! ([`Error::retry`]). Here are the waits between attempts (exponential, full jitter), the number of attempts, the
//! time an attempt may take, and the time that may pass *without progress*:
//!
//! | call | budget | an attempt is given up |
//! |---|---|---|
//! | head, list page, delete batch, start of a get | [`RetryPolicy::ask_budget`] | without an answer in [`RetryPolicy::ask_answer`] |
//! | body of a get | [`RetryPolicy::transfer_budget`] after the last 64 KiB, not counting the reader's own time | [`RetryPolicy::stalled_body`] after the last 64 KiB |
//! | put, part, complete | [`RetryPolicy::transfer_budget`], not counting the time in which content moved | without an answer in [`RetryPolicy::first_byte`], while it is sent [`RetryPolicy::stalled_body`] after a piece was taken ([`Progress`]) |
//!
//! No attempt is silent for longer than is left of its budget, so nothing goes on beyond it but a body that still moves,
//! a batch that is being deleted and parts that are being joined. A body that breaks goes on where it broke, under the
//! condition that the object is still the same, so decoders never start over.

mod call;
mod policy;
mod progress;
mod resume;
mod upload;

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{
    Body, DeleteReport, Depth, ETag, Error, Key, Limits, ListPage, Location, Lock, ObjectMeta, PageToken,
    Prefix, PutMode, PutOutcome, Result, RetryAdvice, SharedStorage, Storage, Unfinished, UnfinishedPage,
    Upload,
};
pub use call::Class;
pub(super) use call::SILENT;
use call::{Call, Tries};
pub use policy::RetryPolicy;
pub use progress::Progress;
use resume::Resuming;
use upload::RetryUpload;

/// What a service may take for each key of a batch delete (Swift deletes two at a time).
const DELETE_PER_KEY: Duration = Duration::from_millis(200);

/// A storage whose calls are repeated.
#[derive(Debug, Clone)]
pub struct Retry {
    inner: SharedStorage,
    policy: RetryPolicy,
}

impl Retry {
    /// Wraps `inner`.
    pub fn new(inner: SharedStorage, policy: RetryPolicy) -> Retry {
        Retry { inner, policy }
    }

    /// How to make one kind of call.
    fn call<'a>(&'a self, action: &'static str, key: Option<&'a Key>, class: Class) -> Call<'a> {
        Call::new(&self.policy, self.inner.location(), action, key, class)
    }
}

/// Calls a service that is no storage, within the same bounds.
pub async fn call<T, F: Future<Output = Result<T>>>(
    policy: &RetryPolicy,
    class: Class,
    location: &Location,
    action: &'static str,
    attempt: impl FnMut() -> F,
) -> Result<T> {
    Call::new(policy, location, action, None, class).run(attempt).await
}

impl Storage for Retry {
    fn location(&self) -> &Location {
        self.inner.location()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn exists(&self) -> BoxFuture<'_, Result<bool>> {
        async move { self.call("look for", None, Class::Ask).run(|| self.inner.exists()).await }.boxed()
    }

    fn create(&self) -> BoxFuture<'_, Result<()>> {
        async move { self.call("create", None, Class::Ask).run(|| self.inner.create()).await }.boxed()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>>> {
        async move { self.call("head", Some(key), Class::Ask).run(|| self.inner.head(key)).await }.boxed()
    }

    fn get<'a>(
        &'a self,
        key: &'a Key,
        from: u64,
        if_match: Option<&'a ETag>,
    ) -> BoxFuture<'a, Result<Option<Body>>> {
        async move {
            let call = self.call("get", Some(key), Class::Ask);
            let Some(body) = call.run(|| self.inner.get(key, from, if_match)).await? else { return Ok(None) };
            let meta = body.meta.clone();
            let resuming = Resuming::new(self.clone(), body.meta, from, body.stream);
            Ok(Some(Body { meta, stream: resuming.stream() }))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes, mode: PutMode) -> BoxFuture<'a, Result<PutOutcome>> {
        async move {
            let call = self.call("put", Some(key), Class::Transfer);
            call.run(|| self.inner.put(key, body.clone(), mode)).await
        }
        .boxed()
    }

    fn start_upload<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Box<dyn Upload>>> {
        async move {
            let call = self.call("start upload of", Some(key), Class::Transfer);
            let upload = call.run(|| self.inner.start_upload(key)).await?;
            Ok(Box::new(RetryUpload { storage: self.clone(), key: key.clone(), upload }) as Box<dyn Upload>)
        }
        .boxed()
    }

    fn list_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        depth: Depth,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<ListPage>> {
        async move {
            let key = Key::parse(prefix.as_str().trim_end_matches('/')).ok();
            let call = self.call("list", key.as_ref(), Class::Ask);
            call.run(|| self.inner.list_page(prefix, depth, from)).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<DeleteReport>> {
        async move {
            let mut report = DeleteReport::default();
            for (done, batch) in keys.chunks(self.limits().delete_batch.max(1)).enumerate() {
                match self.delete_batch(batch).await {
                    Ok(failed) => report.failed.extend(failed),
                    // Of earlier batches something is known, so the report has to say it all.
                    Err(error) if done > 0 => {
                        let rest = keys.iter().skip(done * self.limits().delete_batch.max(1));
                        report.failed.extend(rest.map(|key| (key.clone(), error.clone())));
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(report)
        }
        .boxed()
    }

    fn settle<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        async move { self.call("sync", Some(key), Class::Ask).run(|| self.inner.settle(key)).await }.boxed()
    }

    fn lock<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Lock>>> {
        async move { self.call("head", Some(key), Class::Ask).run(|| self.inner.lock(key)).await }.boxed()
    }

    fn unfinished_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<UnfinishedPage>> {
        async move {
            let call = self.call("list unfinished uploads", None, Class::Ask);
            call.run(|| self.inner.unfinished_page(prefix, from)).await
        }
        .boxed()
    }

    fn remove_unfinished<'a>(&'a self, unfinished: &'a Unfinished) -> BoxFuture<'a, Result<()>> {
        async move {
            let call = self.call("abort upload of", Some(&unfinished.key), Class::Ask);
            call.run(|| self.inner.remove_unfinished(unfinished)).await
        }
        .boxed()
    }
}

impl Retry {
    /// Deletes one batch; keys that fail for a passing reason are tried again. Returns those that stay.
    async fn delete_batch(&self, batch: &[Key]) -> Result<Vec<(Key, Error)>> {
        let mut left = batch.to_vec();
        let mut stay = Vec::new();
        let mut tries = Tries::new(self.policy.ask_budget);
        loop {
            let time = DELETE_PER_KEY.saturating_mul(u32::try_from(left.len()).unwrap_or(u32::MAX));
            let call = self.call("delete", left.first(), Class::Ask).longer(time);
            let report = call.run(|| self.inner.delete(&left)).await?;
            let (again, never): (Vec<_>, Vec<_>) =
                report.failed.into_iter().partition(|(_, error)| error.retry() != RetryAdvice::Never);
            stay.extend(never);
            let Some((_, error)) = again.first() else { return Ok(stay) };
            if tries.wait(&self.policy, error.clone()).await.is_err() {
                stay.extend(again);
                return Ok(stay);
            }
            left = again.into_iter().map(|(key, _)| key).collect();
        }
    }
}

#[cfg(test)]
mod tests;
