//! Objects by key: the one contract that a directory, S3 and memory fulfil.
//!
//! - An object appears whole or not at all: a reader never sees half of a `put` or of an unfinished [`Upload`].
//! - When `put` or [`Upload::complete`] returns `Ok`, the object is durable and later reads see it.
//! - *Missing* is a value (`None`), said only after the storage positively answered so. Whatever could not be
//!   found out is an [`Error`]; nobody may take one for the other.
//! - An implementation makes one attempt; [`retry::Retry`] around it repeats what [`Error::retry`] allows and holds
//!   the deadlines.

pub mod check;
mod error;
pub mod fs;
mod key;
mod listing;
pub mod memory;
pub mod retry;
pub mod s3;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

pub use error::{Error, ErrorKind, RetryAdvice};
use fs::Directory;
pub use key::{InvalidKey, Key, Prefix};
use listing::Listing;
use retry::{Retry, RetryPolicy};
use s3::{S3, S3Config};

/// What every storage operation returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A place that keeps objects. Object safe; shared as `Arc<dyn Storage>` and wrapped by [`Retry`].
pub trait Storage: Send + Sync + fmt::Debug {
    /// Where this is, for messages; never carries a secret.
    fn location(&self) -> &Location;

    /// What this place can do and how large its pieces may be.
    fn limits(&self) -> Limits;

    /// Whether the bucket or the root directory exists.
    fn exists(&self) -> BoxFuture<'_, Result<bool>>;

    /// Makes the bucket or the root directory. One that exists already is success.
    fn create(&self) -> BoxFuture<'_, Result<()>>;

    /// Size, time and tag of an object; `None` when it does not exist.
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>>>;

    /// The bytes of an object from `from` (a byte offset) to its end; `None` when it does not exist.
    ///
    /// With `if_match` the object must still have that tag, else [`ErrorKind::Changed`]. From the end of the object
    /// on there is nothing: an empty stream.
    fn get<'a>(
        &'a self,
        key: &'a Key,
        from: u64,
        if_match: Option<&'a ETag>,
    ) -> BoxFuture<'a, Result<Option<Body>>>;

    /// Writes an object in one request. Durable on return.
    fn put<'a>(&'a self, key: &'a Key, body: Bytes, mode: PutMode) -> BoxFuture<'a, Result<PutOutcome>>;

    /// Starts an object that is written in parts. Nothing is visible before [`Upload::complete`].
    fn start_upload<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Box<dyn Upload>>>;

    /// One page of what lies below `prefix`: the first one, or the one that `from` (a page's `next`) names.
    ///
    /// A missing prefix is one empty page; a missing bucket is an error.
    fn list_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        depth: Depth,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<ListPage>>;

    /// Every page of what lies below `prefix`, in no promised order; an error ends the stream. One that takes long tells how
    /// far it is, and one that takes an hour is an error: it may have no end.
    fn list<'a>(&'a self, prefix: &'a Prefix, depth: Depth) -> BoxStream<'a, Result<ListPage>> {
        enum Next {
            First,
            From(PageToken),
            End,
        }
        stream::try_unfold((Next::First, Listing::start()), move |(next, mut listing)| async move {
            let from = match &next {
                Next::First => None,
                Next::From(token) => Some(token),
                Next::End => return Ok(None),
            };
            let mut page = self.list_page(prefix, depth, from).await?;
            let next = page.next.take().map_or(Next::End, Next::From);
            if let Next::From(_) = next {
                listing.goes_on(page.objects.len() + page.prefixes.len(), prefix, self.location())?;
            }
            Ok(Some((page, (next, listing))))
        })
        .boxed()
    }

    /// Makes durable what was found: whoever wrote an object may have been killed before it was, and only a successful write
    /// says that it is. Nothing where what can be seen is durable, as on S3.
    fn settle<'a>(&'a self, _key: &'a Key) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Deletes objects in batches. A missing object counts as deleted. The report names every key that could not be
    /// deleted; `Err` means that nothing is known of any key.
    fn delete<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<DeleteReport>>;

    /// What keeps an object from being deleted for good. `None` also where nothing ever does, where the object is missing, and
    /// where the service does not tell whoever asks.
    fn lock<'a>(&'a self, _key: &'a Key) -> BoxFuture<'a, Result<Option<Lock>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// One page of the objects below `prefix` that were begun and neither finished nor given up, by any process, now or
    /// long ago: what killed processes have left, and what is being written. Pages as those of [`Storage::list_page`].
    fn unfinished_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<UnfinishedPage>>;

    /// Removes what there is of such an object; its writer, if there is one, will fail. One that is gone is success.
    fn remove_unfinished<'a>(&'a self, unfinished: &'a Unfinished) -> BoxFuture<'a, Result<()>>;
}

/// An object being written in parts.
pub trait Upload: Send + Sync {
    /// Stores one part. May be repeated with the same number: the last one counts.
    fn put_part<'a>(&'a self, part: Part) -> BoxFuture<'a, Result<PartReceipt>>;

    /// Makes the object visible, from all parts in the order of their numbers. Durable on return. Where
    /// [`PutMode::CreateOnly`] found an object in the way, or was refused, the upload is still there.
    ///
    /// Sent again after a lost answer it may find the upload gone: [`ErrorKind::Changed`].
    fn complete<'a>(
        &'a self,
        receipts: &'a [PartReceipt],
        mode: PutMode,
    ) -> BoxFuture<'a, Result<PutOutcome>>;

    /// Whether the object is there, made of these very parts. Asked when the answer to `complete` was lost.
    fn is_complete<'a>(&'a self, receipts: &'a [PartReceipt]) -> BoxFuture<'a, Result<bool>>;

    /// Forgets the upload and removes its parts.
    fn abort<'a>(&'a self) -> BoxFuture<'a, Result<()>>;
}

/// One part of an [`Upload`]. All parts of an object but the last have the same size.
#[derive(Debug, Clone)]
pub struct Part {
    /// Position in the object, from 1.
    pub number: u32,
    /// Offset of the first byte in the object.
    pub offset: u64,
    /// The bytes; cloning shares them, so a retry copies nothing.
    pub body: Bytes,
}

/// Proof that a part was stored, needed to complete the upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReceipt {
    /// The part's number.
    pub number: u32,
    /// What the storage called it.
    pub tag: ETag,
}

/// The storage's name for the content of an object, opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(pub String);

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The object.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: jiff::Timestamp,
    /// Its tag, where the storage has one.
    pub etag: Option<ETag>,
}

/// What keeps an object from being deleted for good (S3 Object Lock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It has to be kept until then.
    Until(jiff::Timestamp),
    /// Somebody wants it kept until he says otherwise.
    LegalHold,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lock::Until(time) => write!(f, "locked until {time:.0}"),
            Lock::LegalHold => f.write_str("under a legal hold"),
        }
    }
}

/// The content of an object, streamed.
pub struct Body {
    /// What the answer said of the whole object (`size` is the object's, not the range's).
    pub meta: ObjectMeta,
    /// The bytes from the requested offset on. A body that ends early yields an error, never a short success.
    pub stream: BoxStream<'static, Result<Bytes>>,
}

/// Whether `put` may replace an existing object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Replaces what is there.
    Overwrite,
    /// Writes only when nothing is there. [`ErrorKind::Invalid`] where the service knows no such condition; one that
    /// ignores it replaces the object. See [`Limits::conditional_put`] and [`put_new`].
    CreateOnly,
}

/// What `put` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOutcome {
    /// The object is stored.
    Stored,
    /// [`PutMode::CreateOnly`] found an object there and left it. It may be this very content, stored by an attempt
    /// whose answer was lost: compare before calling it a conflict.
    AlreadyExists,
}

/// How deep a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Objects directly below the prefix, and the prefixes one level down.
    Children,
    /// Every object below the prefix.
    All,
}

/// One page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Objects, with size and time.
    pub objects: Vec<ObjectMeta>,
    /// Prefixes one level down; empty for [`Depth::All`].
    pub prefixes: Vec<Prefix>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<PageToken>,
}

/// An object that was begun and is not finished: a multipart upload, or a file under a temporary name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// What it was to become.
    pub key: Key,
    /// Which of those that were to become this object.
    pub id: UploadId,
    /// When it was begun; where the storage knows, when it was last written to.
    pub modified: jiff::Timestamp,
}

/// The storage's name for an unfinished object, opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadId(String);

/// One page of unfinished objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnfinishedPage {
    /// The objects.
    pub objects: Vec<Unfinished>,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<PageToken>,
}

/// Where a listing goes on, opaque: a token of the service, or the directories that are still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(Vec<String>);

/// What `delete` could not delete.
#[derive(Debug, Default)]
pub struct DeleteReport {
    /// Each key that is still there, and why.
    pub failed: Vec<(Key, Error)>,
}

/// [`Limits::part_bytes`] where nothing else is asked for.
pub const PART_BYTES: u64 = 8 << 20;

/// What a storage can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of the parts of an object, in bytes, as long as it needs no more than `max_parts` of them.
    pub part_bytes: u64,
    /// Parts of one object.
    pub max_parts: u32,
    /// Keys of one delete request.
    pub delete_batch: usize,
    /// Whether [`PutMode::CreateOnly`] is known to work, and takes no more requests than a put.
    pub conditional_put: bool,
    /// Whether the parts of an upload that is listed as unfinished may be those of the finished object, so that removing it
    /// destroys that: OpenStack Swift joins parts by a list of them, and may end before it has closed the upload
    /// (`s3api/controllers/multi_upload.py`).
    pub shares_parts: bool,
}

/// Where a storage is, for people: `s3://bucket/prefix at http://host:port` or `/archive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(String);

impl Location {
    /// Takes the text to show; the caller has removed credentials from it.
    pub fn new(text: impl Into<String>) -> Location {
        Location(text.into())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// Which storage, and where.
#[derive(Debug, Clone)]
pub enum StorageConfig {
    /// `WALG_FILE_PREFIX`.
    Directory {
        /// Must exist.
        path: PathBuf,
        /// The repository's place below it.
        prefix: Prefix,
    },
    /// `WALG_S3_PREFIX`.
    S3(Box<S3Config>),
}

/// Opens a storage, with retries where they help. Makes no request.
pub fn open(config: StorageConfig, policy: RetryPolicy) -> Result<SharedStorage> {
    Ok(match config {
        // The kernel's answers are final, and a call into it cannot be given up.
        StorageConfig::Directory { path, prefix } => Arc::new(Directory::new(path, prefix)),
        StorageConfig::S3(config) => Arc::new(Retry::new(Arc::new(S3::open(*config, policy)?), policy)),
    })
}

/// Every object below `prefix`, in memory, sorted by key.
pub async fn list_all(storage: &dyn Storage, prefix: &Prefix, depth: Depth) -> Result<ListPage> {
    use futures_util::TryStreamExt;
    let mut all = ListPage::default();
    let mut pages = storage.list(prefix, depth);
    while let Some(page) = pages.try_next().await? {
        all.objects.extend(page.objects);
        all.prefixes.extend(page.prefixes);
    }
    all.objects.sort_by(|a, b| a.key.cmp(&b.key));
    all.prefixes.sort();
    all.prefixes.dedup();
    Ok(all)
}

/// Every unfinished object below `prefix`.
pub async fn list_unfinished(storage: &dyn Storage, prefix: &Prefix) -> Result<Vec<Unfinished>> {
    let mut all = Vec::new();
    let (mut from, mut listing) = (None, Listing::start());
    loop {
        let page = storage.unfinished_page(prefix, from.as_ref()).await?;
        let objects = page.objects.len();
        all.extend(page.objects);
        from = page.next;
        if from.is_none() {
            return Ok(all);
        }
        listing.goes_on(objects, prefix, storage.location())?;
    }
}

/// What a document has at the most, in bytes: a sentinel, a `backup.info`, what is small in any case. Sentinels of an old
/// wal-g list all files of the backup.
pub const DOCUMENT_BYTES: u64 = 256 << 20;

/// Deletes these objects. One that stays is the error, though others may be gone.
pub async fn delete_all(storage: &dyn Storage, keys: &[Key]) -> Result<()> {
    match storage.delete(keys).await?.failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(error),
    }
}

/// The whole content of a document; `None` when it does not exist.
pub async fn get_bytes(storage: &dyn Storage, key: &Key) -> Result<Option<(ObjectMeta, Bytes)>> {
    get_at_most(storage, key, DOCUMENT_BYTES).await
}

/// The whole content of an object of this many bytes at the most; `None` when it does not exist. A larger one is an error, and
/// is not read into memory.
pub async fn get_at_most(storage: &dyn Storage, key: &Key, most: u64) -> Result<Option<(ObjectMeta, Bytes)>> {
    use futures_util::TryStreamExt;
    let Some(mut body) = storage.get(key, 0, None).await? else { return Ok(None) };
    let check = |bytes: u64| match bytes <= most {
        true => Ok(()),
        false => {
            let detail = format!("it has {bytes} bytes or more, and what belongs there at most {most}");
            let error = Error::new(ErrorKind::Protocol, "get", Some(key), storage.location(), detail);
            Err(error.with_hint("something else was stored under this name: look at it"))
        }
    };
    check(body.meta.size)?;
    let mut bytes = bytes::BytesMut::new();
    while let Some(chunk) = body.stream.try_next().await? {
        check((bytes.len() + chunk.len()) as u64)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some((body.meta, bytes.freeze())))
}

/// Creates an object unless there is one, as surely as the storage can. Durable on return.
///
/// Where the service knows no condition, or ignores it, what appeared since the caller looked is replaced.
pub async fn put_new(storage: &dyn Storage, key: &Key, body: Bytes) -> Result<PutOutcome> {
    match storage.put(key, body.clone(), PutMode::CreateOnly).await {
        Err(error) if error.kind() == ErrorKind::Invalid => {
            tracing::debug!("creating without a condition: {error}");
            storage.put(key, body, PutMode::Overwrite).await
        }
        outcome => outcome,
    }
}

/// Completes an upload unless there is an object of its name, as surely as the storage can; one that is kept leaves the
/// upload unfinished. Durable on return.
///
/// Where the service knows no condition, or ignores it, what appeared since the caller looked is replaced.
pub async fn complete_new(upload: &dyn Upload, receipts: &[PartReceipt]) -> Result<PutOutcome> {
    match upload.complete(receipts, PutMode::CreateOnly).await {
        Err(error) if error.kind() == ErrorKind::Invalid => {
            tracing::debug!("completing without a condition: {error}");
            upload.complete(receipts, PutMode::Overwrite).await
        }
        outcome => outcome,
    }
}

/// A shared storage.
pub type SharedStorage = Arc<dyn Storage>;
