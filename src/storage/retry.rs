//! Repeats what may succeed when it is sent again, within bounds, for any storage.
//!
//! The storage below makes one attempt per call; its errors say whether another one makes sense
//! ([`Error::retry`]). Here are the waits between attempts (exponential, full jitter), the number of attempts, the
//! time an attempt may take, and the time that may pass *without progress*:
//!
//! | call | budget | an attempt is given up |
//! |---|---|---|
//! | head, list page, delete batch, start of a get | [`RetryPolicy::ask_budget`] | without an answer in [`RetryPolicy::ask_answer`] |
//! | body of a get | [`RetryPolicy::transfer_budget`] after the last byte | [`RetryPolicy::stalled_body`] after the last byte |
//! | put, part, complete | [`RetryPolicy::transfer_budget`] | without an answer in [`RetryPolicy::first_byte`] and the time of a slow line |
//!
//! No attempt is silent for longer than is left of its budget, so nothing goes on beyond it but a body that still moves
//! ([`patience`]), a batch that is being deleted and parts that are being joined. A body that breaks goes on where it
//! broke, under the condition that the object is still the same, so decoders never start over.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::{
    Body, DeleteReport, Depth, ETag, Error, ErrorKind, Key, Limits, ListPage, Location, ObjectMeta,
    PageToken, Part, PartReceipt, Prefix, PutMode, PutOutcome, Result, RetryAdvice, SharedStorage, Storage,
    Unfinished, UnfinishedPage, Upload,
};

/// How often and how long to try. The default is right without tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts of one request, the first included (`S3_MAX_RETRIES` + 1).
    pub attempts: u32,
    /// The longest wait before the second attempt; doubles with each further one.
    pub first_backoff: Duration,
    /// The longest wait between attempts, also when the service asks for more.
    pub max_backoff: Duration,
    /// To get a connection. The storage applies it to its own connections.
    pub connect: Duration,
    /// To get the beginning of the answer to a request that only asks: short enough for a second attempt, which a
    /// balancer may send to another host.
    pub ask_answer: Duration,
    /// To get the beginning of the answer to a request that carries content.
    pub first_byte: Duration,
    /// Between two pieces of a body.
    pub stalled_body: Duration,
    /// For all attempts of a request that only asks. Such a command ends in 15 s, also when it has to leave a name service
    /// behind that does not answer, which takes two.
    pub ask_budget: Duration,
    /// For all attempts of a request that carries content, since the last progress; two less than a minute, as above.
    pub transfer_budget: Duration,
}

/// A line slower than this is taken for a broken one, in bytes per second.
const SLOW_LINE: u64 = 64 * 1024;
/// What a service may take for each key of a batch delete (Swift deletes two at a time).
const DELETE_PER_KEY: Duration = Duration::from_millis(200);

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            attempts: 10,
            first_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(20),
            connect: Duration::from_secs(5),
            ask_answer: Duration::from_secs(10),
            first_byte: Duration::from_secs(20),
            stalled_body: Duration::from_secs(20),
            ask_budget: Duration::from_secs(13),
            transfer_budget: Duration::from_secs(58),
        }
    }
}

impl RetryPolicy {
    /// The same, where any answer and any piece of a body may take `silence`, and each request that long at least.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> RetryPolicy {
        self.ask_answer = silence;
        self.first_byte = silence;
        self.stalled_body = silence;
        self.ask_budget = self.ask_budget.max(silence);
        self.transfer_budget = self.transfer_budget.max(silence);
        self
    }
}

tokio::task_local! {
    /// What is left of the budget of the request that is being made.
    static LEFT: Duration;
}

/// How long the attempt that is being made may be without a sign of life: as long as is `usual`, but not beyond its
/// budget. A storage asks that watches a body going up, since [`Retry`] does not see it move.
pub fn patience(usual: Duration) -> Duration {
    LEFT.try_with(|left| usual.min(*left)).unwrap_or(usual)
}

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
        let (budget, limit) = match class {
            Class::Ask => (self.policy.ask_budget, self.policy.ask_answer),
            Class::Transfer => (self.policy.transfer_budget, self.policy.first_byte),
        };
        Call {
            policy: &self.policy,
            location: self.inner.location(),
            action,
            key,
            budget,
            limit,
            more: Duration::ZERO,
        }
    }
}

/// Which budget a request has.
#[derive(Clone, Copy)]
enum Class {
    Ask,
    Transfer,
}

/// One request with its bounds.
struct Call<'a> {
    policy: &'a RetryPolicy,
    location: &'a Location,
    action: &'static str,
    key: Option<&'a Key>,
    budget: Duration,
    /// To answer, of one attempt.
    limit: Duration,
    /// What an attempt may take beyond that, as it has much to do.
    more: Duration,
}

impl Call<'_> {
    /// Gives each attempt `more` time.
    fn longer(mut self, more: Duration) -> Self {
        self.more = more;
        self
    }

    /// Runs `attempt` until it succeeds, fails for good, or the bounds are reached.
    async fn run<T, F: Future<Output = Result<T>>>(&self, mut attempt: impl FnMut() -> F) -> Result<T> {
        let mut tries = Tries::new(self.budget);
        loop {
            match self.once(&tries, attempt()).await {
                Ok(value) => return Ok(value),
                Err(error) => tries.wait(self.policy, error).await?,
            }
        }
    }

    async fn once<T>(&self, tries: &Tries, attempt: impl Future<Output = Result<T>>) -> Result<T> {
        let left = tries.left();
        let limit = self.limit.min(left).saturating_add(self.more);
        match tokio::time::timeout(limit, LEFT.scope(left, attempt)).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(self.action, self.key, self.location, limit)),
        }
    }
}

/// What to do about a service that does not answer.
pub(super) const SILENT: &str = "the address accepts connections but stays silent: check the service, and firewalls and proxies on the way";

fn timed_out(action: &'static str, key: Option<&Key>, location: &Location, limit: Duration) -> Error {
    let detail = format!("no answer within {:.0} s", limit.as_secs_f64());
    Error::new(ErrorKind::Timeout, action, key, location, detail).with_hint(SILENT)
}

/// The attempts since the last progress.
struct Tries {
    budget: Duration,
    failed: u32,
    since: Instant,
}

impl Tries {
    fn new(budget: Duration) -> Tries {
        Tries { budget, failed: 0, since: Instant::now() }
    }

    /// What is left of the budget.
    fn left(&self) -> Duration {
        self.budget.saturating_sub(self.since.elapsed())
    }

    /// Waits before the next attempt, or returns the error that ends the trying.
    async fn wait(&mut self, policy: &RetryPolicy, error: Error) -> Result<()> {
        self.failed += 1;
        let RetryAdvice::After(asked) = error.retry() else {
            return Err(match self.failed {
                1 => error,
                _ => error.with_spent(self.failed, self.since.elapsed()),
            });
        };
        let longest =
            policy.first_backoff.saturating_mul(1u32.checked_shl(self.failed - 1).unwrap_or(u32::MAX));
        let wait =
            jitter(longest.min(policy.max_backoff)).max(asked.unwrap_or_default()).min(policy.max_backoff);
        if self.failed >= policy.attempts || wait >= self.left() {
            return Err(error.with_spent(self.failed, self.since.elapsed()));
        }
        tracing::info!(attempt = self.failed, wait_ms = wait.as_millis(), "retrying: {error}");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// A random part of `longest`.
fn jitter(longest: Duration) -> Duration {
    // Without randomness the whole wait is the safe choice.
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    longest.mul_f64(share)
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
            let resuming = Resuming { storage: self.clone(), meta: body.meta, at: from, stream: body.stream };
            Ok(Some(Body { meta, stream: resuming.stream() }))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes, mode: PutMode) -> BoxFuture<'a, Result<PutOutcome>> {
        async move {
            let call = self.call("put", Some(key), Class::Transfer).longer(on_slow_line(body.len()));
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

fn on_slow_line(bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64 / SLOW_LINE)
}

/// A body that goes on after it broke.
struct Resuming {
    storage: Retry,
    meta: ObjectMeta,
    /// Offset of the next byte.
    at: u64,
    stream: BoxStream<'static, Result<Bytes>>,
}

impl Resuming {
    fn stream(self) -> BoxStream<'static, Result<Bytes>> {
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

/// An upload whose calls are repeated.
struct RetryUpload {
    storage: Retry,
    key: Key,
    upload: Box<dyn Upload>,
}

impl Upload for RetryUpload {
    fn put_part<'a>(&'a self, part: Part) -> BoxFuture<'a, Result<PartReceipt>> {
        async move {
            let slow = on_slow_line(part.body.len());
            let call = self.storage.call("put part of", Some(&self.key), Class::Transfer).longer(slow);
            call.run(|| self.upload.put_part(part.clone())).await
        }
        .boxed()
    }

    fn complete<'a>(&'a self, receipts: &'a [PartReceipt]) -> BoxFuture<'a, Result<()>> {
        async move {
            let call =
                self.storage.call("complete", Some(&self.key), Class::Transfer).longer(COMPLETE_LONGER);
            let policy = &self.storage.policy;
            let mut tries = Tries::new(policy.transfer_budget);
            loop {
                let Err(error) = call.once(&tries, self.upload.complete(receipts)).await else {
                    return Ok(());
                };
                // An answer may have been lost, now or before; an upload that is gone may be one that succeeded.
                let lost = tries.failed > 0 || error.retry() != RetryAdvice::Never;
                if lost && self.is_complete(receipts).await? {
                    return Ok(());
                }
                tries.wait(policy, error).await?;
            }
        }
        .boxed()
    }

    fn is_complete<'a>(&'a self, receipts: &'a [PartReceipt]) -> BoxFuture<'a, Result<bool>> {
        async move {
            let call = self.storage.call("head", Some(&self.key), Class::Ask);
            call.run(|| self.upload.is_complete(receipts)).await
        }
        .boxed()
    }

    fn abort<'a>(&'a self) -> BoxFuture<'a, Result<()>> {
        async move {
            let call = self.storage.call("abort upload of", Some(&self.key), Class::Ask);
            call.run(|| self.upload.abort()).await
        }
        .boxed()
    }
}

/// Joining a thousand parts takes a service some time.
const COMPLETE_LONGER: Duration = Duration::from_secs(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::{Fault, Memory, Operation};
    use crate::storage::{get_bytes, list_all};
    use std::sync::Arc;

    fn quick() -> RetryPolicy {
        RetryPolicy {
            attempts: 4,
            first_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(4),
            ask_answer: Duration::from_millis(50),
            first_byte: Duration::from_millis(50),
            stalled_body: Duration::from_millis(50),
            ask_budget: Duration::from_secs(1),
            transfer_budget: Duration::from_secs(1),
            ..RetryPolicy::default()
        }
    }

    fn retrying(memory: &Memory) -> Retry {
        Retry::new(Arc::new(memory.clone()), quick())
    }

    fn key() -> Key {
        Key::parse("wal_005/000000010000000000000001").unwrap()
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn passing_faults_pass() {
        for fault in [
            Fault::Before(ErrorKind::Network),
            Fault::After(ErrorKind::Timeout),
            Fault::Before(ErrorKind::Busy),
            Fault::Hang,
        ] {
            let memory = Memory::new();
            let storage = retrying(&memory);
            for operation in
                [Operation::Head, Operation::Get, Operation::Put, Operation::List, Operation::Delete]
            {
                memory.fail(operation, 1, fault);
            }
            run(async {
                let body = Bytes::from_static(b"wal");
                storage.put(&key(), body.clone(), PutMode::Overwrite).await.unwrap();
                assert_eq!(storage.head(&key()).await.unwrap().unwrap().size, 3);
                assert_eq!(get_bytes(&storage, &key()).await.unwrap().unwrap().1, body);
                assert_eq!(list_all(&storage, &Prefix::root(), Depth::All).await.unwrap().objects.len(), 1);
                assert!(storage.delete(&[key()]).await.unwrap().failed.is_empty());
            });
            assert!(memory.keys().is_empty());
            assert_eq!(memory.calls(Operation::Put), 2);
        }
    }

    #[test]
    fn final_errors_are_not_repeated() {
        for kind in [ErrorKind::Refused, ErrorKind::NoBucket, ErrorKind::Invalid, ErrorKind::Changed] {
            let memory = Memory::new();
            memory.fail(Operation::Head, 1, Fault::Before(kind));
            let error = run(retrying(&memory).head(&key())).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert_eq!(memory.calls(Operation::Head), 1);
        }
    }

    #[test]
    fn gives_up_and_says_what_was_spent() {
        let memory = Memory::new();
        for call in 1..10 {
            memory.fail(Operation::Head, call, Fault::Before(ErrorKind::Busy));
        }
        let error = run(retrying(&memory).head(&key())).unwrap_err();
        assert_eq!(memory.calls(Operation::Head), 4);
        assert!(error.to_string().contains("(gave up after 4 attempts in 0."), "{error}");
    }

    #[test]
    fn an_attempt_has_what_is_left_of_the_budget() {
        let memory = Memory::new();
        for call in 1..10 {
            memory.fail(Operation::Head, call, Fault::Hang);
        }
        let policy = RetryPolicy {
            ask_answer: Duration::from_secs(3600),
            ask_budget: Duration::from_millis(60),
            ..quick()
        };
        let error = run(Retry::new(Arc::new(memory.clone()), policy).head(&key())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(memory.calls(Operation::Head), 1);
        assert!(error.to_string().contains("(gave up after 1 attempt in 0."), "{error}");
    }

    #[test]
    fn who_watches_a_body_has_what_is_left_of_the_budget() {
        let storage = retrying(&Memory::new());
        let call = storage.call("put", None, Class::Transfer).longer(Duration::from_secs(3600));
        let hour = Duration::from_secs(3600);
        let asked = run(call.run(|| async { Ok(patience(hour)) })).unwrap();
        assert!(asked <= quick().transfer_budget, "{asked:?}");
        assert_eq!(run(call.run(|| async { Ok(patience(Duration::ZERO)) })).unwrap(), Duration::ZERO);
        assert_eq!(patience(hour), hour, "outside of a request");
    }

    #[test]
    fn a_broken_body_goes_on_where_it_broke() {
        let memory = Memory::new();
        let body: Bytes = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<u8>>().into();
        memory.set(&key(), body.clone());
        memory.fail(Operation::Get, 1, Fault::CutBody(100_000));
        memory.fail(Operation::Get, 2, Fault::CutBody(0));
        memory.fail(Operation::Get, 3, Fault::Hang);
        memory.fail(Operation::Get, 4, Fault::CutBody(700_000));
        let (_, read) = run(get_bytes(&retrying(&memory), &key())).unwrap().unwrap();
        assert!(read == body);
        assert_eq!(memory.calls(Operation::Get), 5);
    }

    #[test]
    fn a_body_that_changed_on_the_way_is_an_error() {
        let memory = Memory::new();
        memory.set(&key(), vec![1; 200_000]);
        memory.fail(Operation::Get, 1, Fault::CutBody(100_000));
        let storage = retrying(&memory);
        let error = run(async {
            let mut body = storage.get(&key(), 0, None).await.unwrap().unwrap();
            memory.set(&key(), vec![2; 200_000]);
            loop {
                match body.stream.next().await.unwrap() {
                    Ok(_) => {}
                    Err(error) => return error,
                }
            }
        });
        assert_eq!(error.kind(), ErrorKind::Changed);
    }

    #[test]
    fn a_lost_answer_to_complete_is_found_out() {
        for (fault, calls) in [(Fault::After(ErrorKind::Network), 1), (Fault::Before(ErrorKind::Network), 2)]
        {
            let memory = Memory::new();
            memory.set(&key(), "old");
            memory.fail(Operation::Complete, 1, fault);
            memory.fail(Operation::PutPart, 1, Fault::After(ErrorKind::Network));
            run(async {
                let upload = retrying(&memory).start_upload(&key()).await.unwrap();
                let part = Part { number: 1, offset: 0, body: Bytes::from_static(b"new") };
                let receipt = upload.put_part(part).await.unwrap();
                upload.complete(&[receipt]).await.unwrap();
            });
            assert_eq!(memory.content(&key()).unwrap(), "new");
            assert_eq!(memory.calls(Operation::Complete), calls);
        }
    }

    #[test]
    fn a_lost_create_shows_as_existing() {
        let memory = Memory::new();
        memory.fail(Operation::Put, 1, Fault::After(ErrorKind::Network));
        let outcome =
            run(retrying(&memory).put(&key(), Bytes::from_static(b"x"), PutMode::CreateOnly)).unwrap();
        assert_eq!(outcome, PutOutcome::AlreadyExists);
    }
}
