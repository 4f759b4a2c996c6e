//! Objects in memory, for tests: a bucket that forgets, and that fails when told to.
//!
//! [`Memory::fail`] schedules a fault for the nth call of an operation, so that a test can walk through every
//! single step that may fail: before the effect, after it (the answer is lost), in the middle of a body, or never
//! answering at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use md5::{Digest, Md5};

use super::{
    Body, DeleteReport, Depth, ETag, Error, ErrorKind, Key, Limits, ListPage, Location, ObjectMeta,
    PART_BYTES, PageToken, Part, PartReceipt, Prefix, PutMode, PutOutcome, Result, Storage, Unfinished,
    UnfinishedPage, Upload, UploadId,
};

/// Entries of one page of a listing: small, so that tests see more than one.
const PAGE_ENTRIES: usize = 100;
/// Bytes of one chunk of a body.
const CHUNK_BYTES: usize = 64 * 1024;

/// A bucket in memory. Clones share the content.
#[derive(Debug, Clone)]
pub struct Memory {
    location: Location,
    limits: Limits,
    state: Arc<Mutex<State>>,
}

/// An operation that can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Storage::head`]
    Head,
    /// [`Storage::get`]
    Get,
    /// [`Storage::put`]
    Put,
    /// [`Storage::start_upload`]
    StartUpload,
    /// [`Upload::put_part`]
    PutPart,
    /// [`Upload::complete`]
    Complete,
    /// [`Upload::abort`]
    Abort,
    /// [`Storage::list_page`]
    List,
    /// [`Storage::delete`]
    Delete,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens but the error.
    Before(ErrorKind),
    /// The effect happens, the answer is lost.
    After(ErrorKind),
    /// A `get` whose body breaks after so many bytes; elsewhere the same as `After(Network)`.
    CutBody(usize),
    /// A `get` whose body comes a byte at a time, each after 5 ms; elsewhere nothing.
    Drip,
    /// No answer ever comes.
    Hang,
    /// A `get` or a `head` that does not see the object: it comes before the one that writes it. Elsewhere nothing.
    TooEarly,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, Object>,
    /// Uploads that are neither complete nor aborted.
    uploads: BTreeMap<u64, Unfinished>,
    next_upload: u64,
    calls: BTreeMap<Operation, u32>,
    faults: Vec<Scheduled>,
    overtakers: Vec<Overtaker>,
    /// Objects that may not be deleted.
    kept: BTreeSet<Key>,
}

/// What somebody else does right before a call.
struct Overtaker {
    operation: Operation,
    end: &'static str,
    act: Box<dyn FnOnce(&Memory) + Send>,
}

impl fmt::Debug for Overtaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "before {:?} of …{}", self.operation, self.end)
    }
}

#[derive(Debug)]
struct Scheduled {
    operation: Operation,
    call: u32,
    fault: Fault,
}

#[derive(Debug, Clone)]
struct Object {
    body: Bytes,
    modified: jiff::Timestamp,
    etag: ETag,
}

impl Memory {
    /// An empty bucket.
    pub fn new() -> Memory {
        Memory {
            location: Location::new("memory"),
            limits: Limits {
                part_bytes: PART_BYTES,
                max_parts: 1000,
                delete_batch: 1000,
                conditional_put: true,
                shares_parts: false,
            },
            state: Arc::default(),
        }
    }

    /// The same bucket with other limits.
    pub fn with_limits(mut self, limits: Limits) -> Memory {
        self.limits = limits;
        self
    }

    /// Lets the `call`th call of `operation` (from 1, counted from the bucket's beginning) fail.
    pub fn fail(&self, operation: Operation, call: u32, fault: Fault) {
        self.state().faults.push(Scheduled { operation, call, fault });
    }

    /// Lets somebody else `act` right before the first call of `operation` for a key that ends so, past all faults.
    pub fn overtake(
        &self,
        operation: Operation,
        end: &'static str,
        act: impl FnOnce(&Memory) + Send + 'static,
    ) {
        self.state().overtakers.push(Overtaker { operation, end, act: Box::new(act) });
    }

    /// Refuses to delete these objects from now on, and no others.
    pub fn keep(&self, keys: impl IntoIterator<Item = Key>) {
        self.state().kept = keys.into_iter().collect();
    }

    /// How often `operation` was called.
    pub fn calls(&self, operation: Operation) -> u32 {
        self.state().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Every key, sorted.
    pub fn keys(&self) -> Vec<Key> {
        self.state().objects.keys().cloned().collect()
    }

    /// The content of an object, past all faults.
    pub fn content(&self, key: &Key) -> Option<Bytes> {
        self.state().objects.get(key).map(|object| object.body.clone())
    }

    /// Sets the content of an object, past all faults.
    pub fn set(&self, key: &Key, body: impl Into<Bytes>) {
        let body = body.into();
        let etag = ETag(hex::encode(Md5::digest(&body)));
        self.state().objects.insert(key.clone(), Object { body, modified: jiff::Timestamp::now(), etag });
    }

    /// Makes every unfinished upload older, past all faults.
    pub fn age_uploads(&self, by: jiff::SignedDuration) {
        for upload in self.state().uploads.values_mut() {
            upload.modified = upload.modified.checked_sub(by).unwrap_or(jiff::Timestamp::MIN);
        }
    }

    /// Removes an object, past all faults.
    pub fn remove(&self, key: &Key) {
        self.state().objects.remove(key);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call of `operation`; the fault that is scheduled for it.
    fn begin(&self, operation: Operation, key: Option<&Key>) -> Option<Fault> {
        let is_due = |other: &mut Overtaker| {
            other.operation == operation && key.is_some_and(|key| key.as_str().ends_with(other.end))
        };
        let overtakers: Vec<_> = self.state().overtakers.extract_if(.., is_due).collect();
        overtakers.into_iter().for_each(|overtaker| (overtaker.act)(self));
        self.state().fault(operation)
    }

    /// Runs `effect` as one call of `operation`, with the fault that is scheduled for it.
    async fn call<T>(
        &self,
        operation: Operation,
        key: Option<&Key>,
        effect: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let fault = self.begin(operation, key);
        self.run(operation, key, fault, effect).await
    }

    async fn run<T>(
        &self,
        operation: Operation,
        key: Option<&Key>,
        fault: Option<Fault>,
        effect: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let error = |kind| Error::new(kind, operation.name(), key, &self.location, "scheduled fault");
        match fault {
            None | Some(Fault::TooEarly | Fault::Drip) => effect(&mut self.state()),
            Some(Fault::Before(kind)) => Err(error(kind)),
            Some(Fault::After(kind)) => effect(&mut self.state()).and(Err(error(kind))),
            Some(Fault::CutBody(_)) => effect(&mut self.state()).and(Err(error(ErrorKind::Network))),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    fn body(&self, key: &Key, object: &Object, from: u64, cut: Option<usize>) -> Body {
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(object.body.len());
        let mut rest = object.body.slice(start..);
        let broken = cut.map(|bytes| {
            rest.truncate(bytes);
            Err(Error::new(ErrorKind::Network, "get", Some(key), &self.location, "scheduled fault: cut body"))
        });
        let chunks = std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(CHUNK_BYTES))))
        });
        Body { meta: object.meta(key), stream: stream::iter(chunks.chain(broken)).boxed() }
    }
}

/// The same body, a byte at a time.
fn dripping(body: Body) -> Body {
    let bytes = body.stream.flat_map(|chunk| {
        stream::iter(chunk.unwrap_or_default()).then(|byte| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(Bytes::from(vec![byte]))
        })
    });
    Body { meta: body.meta, stream: bytes.boxed() }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Head => "head",
            Operation::Get => "get",
            Operation::Put => "put",
            Operation::StartUpload => "start upload of",
            Operation::PutPart => "put part of",
            Operation::Complete => "complete",
            Operation::Abort => "abort upload of",
            Operation::List => "list",
            Operation::Delete => "delete",
        }
    }
}

impl State {
    /// Counts a call and takes the fault scheduled for it.
    fn fault(&mut self, operation: Operation) -> Option<Fault> {
        let calls = self.calls.entry(operation).or_default();
        *calls += 1;
        let calls = *calls;
        let index =
            self.faults.iter().position(|fault| fault.operation == operation && fault.call == calls)?;
        Some(self.faults.swap_remove(index).fault)
    }
}

impl Object {
    fn meta(&self, key: &Key) -> ObjectMeta {
        ObjectMeta {
            key: key.clone(),
            size: self.body.len() as u64,
            modified: self.modified,
            etag: Some(self.etag.clone()),
        }
    }
}

impl Storage for Memory {
    fn location(&self) -> &Location {
        &self.location
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    /// Memory is always there.
    fn exists(&self) -> BoxFuture<'_, Result<bool>> {
        future::ready(Ok(true)).boxed()
    }

    fn create(&self) -> BoxFuture<'_, Result<()>> {
        future::ready(Ok(())).boxed()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>>> {
        async move {
            let fault = self.begin(Operation::Head, Some(key));
            let find = |state: &mut State| Ok(state.objects.get(key).map(|object| object.meta(key)));
            let meta = self.run(Operation::Head, Some(key), fault, find).await?;
            Ok(meta.filter(|_| fault != Some(Fault::TooEarly)))
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        key: &'a Key,
        from: u64,
        if_match: Option<&'a ETag>,
    ) -> BoxFuture<'a, Result<Option<Body>>> {
        async move {
            let fault = self.begin(Operation::Get, Some(key));
            let (cut, fault) = match fault {
                Some(Fault::CutBody(bytes)) => (Some(bytes), None),
                other => (None, other),
            };
            let find = |state: &mut State| Ok(state.objects.get(key).cloned());
            let object = self.run(Operation::Get, Some(key), fault, find).await?;
            let object = object.filter(|_| fault != Some(Fault::TooEarly));
            let Some(object) = object else { return Ok(None) };
            if if_match.is_some_and(|tag| *tag != object.etag) {
                let detail = "the object was replaced while it was being read";
                return Err(Error::new(ErrorKind::Changed, "get", Some(key), &self.location, detail));
            }
            let body = self.body(key, &object, from, cut);
            Ok(Some(if fault == Some(Fault::Drip) { dripping(body) } else { body }))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes, mode: PutMode) -> BoxFuture<'a, Result<PutOutcome>> {
        self.call(Operation::Put, Some(key), move |state| {
            if mode == PutMode::CreateOnly && state.objects.contains_key(key) {
                return Ok(PutOutcome::AlreadyExists);
            }
            let etag = ETag(hex::encode(Md5::digest(&body)));
            // The caller's buffer is the caller's again once the call has ended, as with any storage.
            let body = Bytes::copy_from_slice(&body);
            state.objects.insert(key.clone(), Object { body, modified: jiff::Timestamp::now(), etag });
            Ok(PutOutcome::Stored)
        })
        .boxed()
    }

    fn start_upload<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Box<dyn Upload>>> {
        self.call(Operation::StartUpload, Some(key), |state| {
            let number = state.next_upload;
            state.next_upload += 1;
            let (key, id, modified) = (key.clone(), UploadId(number.to_string()), jiff::Timestamp::now());
            state.uploads.insert(number, Unfinished { key: key.clone(), id, modified });
            let upload = MemoryUpload { memory: self.clone(), key, number, parts: Mutex::default() };
            Ok(Box::new(upload) as Box<dyn Upload>)
        })
        .boxed()
    }

    fn list_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        depth: Depth,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<ListPage>> {
        self.call(Operation::List, None, move |state| Ok(page(state, prefix, depth, from))).boxed()
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<DeleteReport>> {
        self.call(Operation::Delete, keys.first(), move |state| {
            let mut report = DeleteReport::default();
            for key in keys {
                if state.kept.contains(key) {
                    let error = Error::new(ErrorKind::Refused, "delete", Some(key), &self.location, "denied");
                    report.failed.push((key.clone(), error));
                } else {
                    state.objects.remove(key);
                }
            }
            Ok(report)
        })
        .boxed()
    }

    fn unfinished_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<UnfinishedPage>> {
        self.call(Operation::List, None, move |state| {
            let after = from.and_then(|token| token.0.first()).and_then(|number| number.parse::<u64>().ok());
            let following = |(number, _): &(&u64, &Unfinished)| after.is_none_or(|after| **number > after);
            let below = state.uploads.iter().filter(following);
            let mut below = below.filter(|(_, upload)| upload.key.below(prefix).is_some()).peekable();
            let mut page = UnfinishedPage::default();
            while let Some((number, upload)) = below.next() {
                page.objects.push(upload.clone());
                if page.objects.len() == PAGE_ENTRIES && below.peek().is_some() {
                    page.next = Some(PageToken(vec![number.to_string()]));
                    break;
                }
            }
            Ok(page)
        })
        .boxed()
    }

    fn remove_unfinished<'a>(&'a self, unfinished: &'a Unfinished) -> BoxFuture<'a, Result<()>> {
        self.call(Operation::Abort, Some(&unfinished.key), move |state| {
            state.uploads.retain(|_, upload| upload.id != unfinished.id);
            Ok(())
        })
        .boxed()
    }
}

/// The entries below `prefix` after the one that the token names, objects and prefixes in one order, as S3 counts.
fn page(state: &State, prefix: &Prefix, depth: Depth, from: Option<&PageToken>) -> ListPage {
    let after = from.and_then(|token| token.0.first()).map(String::as_str);
    let mut page = ListPage::default();
    let mut last = None;
    for (key, object) in &state.objects {
        let Some(rest) = key.below(prefix) else { continue };
        let child = match depth {
            Depth::Children => rest.split_once('/').and_then(|(name, _)| prefix.child(name).ok()),
            Depth::All => None,
        };
        let entry = child.as_ref().map_or(key.as_str(), Prefix::as_str);
        if after.is_some_and(|after| entry <= after)
            || page.prefixes.last() == child.as_ref() && child.is_some()
        {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == PAGE_ENTRIES {
            page.next = last.map(|last| PageToken(vec![last]));
            return page;
        }
        last = Some(entry.to_owned());
        match child {
            Some(child) => page.prefixes.push(child),
            None => page.objects.push(object.meta(key)),
        }
    }
    page
}

struct MemoryUpload {
    memory: Memory,
    key: Key,
    number: u64,
    parts: Mutex<BTreeMap<u32, Bytes>>,
}

impl MemoryUpload {
    fn parts(&self) -> MutexGuard<'_, BTreeMap<u32, Bytes>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object that the receipts describe.
    fn assemble(&self, receipts: &[PartReceipt]) -> Result<Bytes> {
        let parts = self.parts();
        let mut whole = BytesMut::new();
        for (expected, receipt) in (1..).zip(receipts) {
            let stored = parts.get(&receipt.number).filter(|_| receipt.number == expected);
            let Some(body) = stored.filter(|body| part_tag(body) == receipt.tag) else {
                let detail = format!("part {} was not stored", receipt.number);
                let location = &self.memory.location;
                return Err(Error::new(ErrorKind::Invalid, "complete", Some(&self.key), location, detail));
            };
            whole.extend_from_slice(body);
        }
        Ok(whole.freeze())
    }
}

fn part_tag(body: &Bytes) -> ETag {
    ETag(hex::encode(Md5::digest(body)))
}

impl Upload for MemoryUpload {
    fn put_part<'a>(&'a self, part: Part) -> BoxFuture<'a, Result<PartReceipt>> {
        self.memory
            .call(Operation::PutPart, Some(&self.key), move |_| {
                let tag = part_tag(&part.body);
                self.parts().insert(part.number, Bytes::copy_from_slice(&part.body));
                Ok(PartReceipt { number: part.number, tag })
            })
            .boxed()
    }

    fn complete<'a>(
        &'a self,
        receipts: &'a [PartReceipt],
        mode: PutMode,
    ) -> BoxFuture<'a, Result<PutOutcome>> {
        self.memory
            .call(Operation::Complete, Some(&self.key), move |state| {
                let body = self.assemble(receipts)?;
                if mode == PutMode::CreateOnly && state.objects.contains_key(&self.key) {
                    return Ok(PutOutcome::AlreadyExists);
                }
                if state.uploads.remove(&self.number).is_none() {
                    let (location, detail) = (&self.memory.location, "the upload has ended already");
                    return Err(Error::new(
                        ErrorKind::Changed,
                        "complete",
                        Some(&self.key),
                        location,
                        detail,
                    ));
                }
                let etag = ETag(hex::encode(Md5::digest(&body)));
                let object = Object { body, modified: jiff::Timestamp::now(), etag };
                state.objects.insert(self.key.clone(), object);
                Ok(PutOutcome::Stored)
            })
            .boxed()
    }

    fn is_complete<'a>(&'a self, receipts: &'a [PartReceipt]) -> BoxFuture<'a, Result<bool>> {
        self.memory
            .call(Operation::Head, Some(&self.key), move |state| {
                let body = self.assemble(receipts)?;
                Ok(state.objects.get(&self.key).is_some_and(|object| object.body == body))
            })
            .boxed()
    }

    fn abort<'a>(&'a self) -> BoxFuture<'a, Result<()>> {
        self.memory
            .call(Operation::Abort, Some(&self.key), |state| {
                state.uploads.remove(&self.number);
                self.parts().clear();
                Ok(())
            })
            .boxed()
    }
}
