//! What a storage can do, found out on the storage itself: `seawall storage check`.
//!
//! A [`Check`] tries one ability after the other in a folder of its own and says of each what came of it; one that
//! fails ends nothing. Afterwards it removes what it wrote, also after a failure or when it was given up.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::fs::DirectoryCheck;
use super::retry::RetryPolicy;
use super::s3::S3Check;
use super::{Error, ErrorKind, Key, Part, Prefix, PutMode, Result, Storage, StorageConfig, get_at_most};

pub use super::s3::{KnownBy, Recognised};

/// Attempts of a request of a check, at most: an ability that needs more is not there.
const ATTEMPTS: u32 = 3;

/// What a check may take until it gives up what it is at and begins nothing more. A slow line is told by the throughput
/// long before.
pub const BUDGET: Duration = Duration::from_secs(120);

/// A check of one storage.
#[derive(Debug)]
pub enum Check {
    /// Of a directory.
    Directory(DirectoryCheck),
    /// Of a bucket.
    S3(Box<S3Check>),
}

/// Something that a storage can do or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// The bucket or the directory is there.
    Place,
    /// The service's clock is near enough to this machine's.
    Clock,
    /// A put whose body is covered by the signature: what is sent over http.
    SignedPut,
    /// A put whose body is not: what is sent over https.
    UnsignedPut,
    /// What was written is found and read, from the middle on and only while it is the same object, too.
    Read,
    /// A checksum beside the body is compared with it.
    Checksum,
    /// ListObjectsV2, page by page.
    ListV2,
    /// ListObjects, page by page.
    ListV1,
    /// A listing of one folder, without what lies deeper.
    ListFolder,
    /// An upload in parts of one size and a smaller last one.
    EqualParts,
    /// An upload in parts of different sizes.
    UnequalParts,
    /// An upload that is given up, and is gone then.
    Abort,
    /// Several objects are deleted by one request, with Content-MD5.
    BatchDelete,
    /// The same without Content-MD5.
    BatchDeleteByChecksum,
    /// PutObject with `If-None-Match: *` leaves an object that is there.
    CreateByPut,
    /// CompleteMultipartUpload with `If-None-Match: *` leaves an object that is there.
    CreateByUpload,
    /// A directory is made, and a file in it written.
    Write,
    /// fsync of a file and of a directory.
    Sync,
    /// A file is renamed over another one.
    Rename,
    /// A file gets a second name, but not one that is taken.
    Link,
    /// There is room.
    Space,
    /// How fast content goes up and down, by one connection.
    Throughput,
    /// Everything that the check wrote is gone again.
    Removal,
}

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Works,
    /// It cannot, and nothing here needs it.
    Without,
    /// It cannot or did not, and seawall needs it.
    Failed,
    /// It could not be found out, and nothing here needs it.
    Unknown,
    /// It was not tried, since what it needs has failed.
    NotTried,
}

/// One ability and what came of its trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was tried.
    pub ability: Ability,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen: numbers, or the storage's own words.
    pub detail: String,
    /// What a person can do about a failure.
    pub hint: Option<String>,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// What was tried, in this order.
    pub rows: Vec<Row>,
    /// The service, when it is one of S3.
    pub service: Option<Recognised>,
}

impl Findings {
    /// Whether everything that seawall needs works, and nothing was left untried.
    pub fn all_needed_works(&self) -> bool {
        self.rows.iter().all(|row| !matches!(row.verdict, Verdict::Failed | Verdict::NotTried))
    }
}

impl Check {
    /// A check of the storage that `config` describes, in `folder` below its prefix, that ends after `budget`; of a
    /// directory the kernel's answers are waited for. Makes no request; fails when certificates cannot be read.
    pub fn new(
        config: StorageConfig,
        mut policy: RetryPolicy,
        folder: Prefix,
        budget: Duration,
    ) -> Result<Check> {
        policy.attempts = policy.attempts.min(ATTEMPTS);
        Ok(match config {
            StorageConfig::Directory { path, prefix } => {
                Check::Directory(DirectoryCheck::new(path, prefix, folder))
            }
            StorageConfig::S3(config) => Check::S3(Box::new(S3Check::new(*config, policy, folder, budget)?)),
        })
    }

    /// Tries everything. [`Check::clean_up`] has to follow, also when this was given up.
    ///
    /// The futures of a service are boxed: what they hold goes deeper than the compiler follows.
    pub async fn run(&self) -> Findings {
        match self {
            Check::Directory(check) => Findings { rows: check.run().await, service: None },
            Check::S3(check) => Box::pin(check.run()).await,
        }
    }

    /// Removes what the check wrote, in a quarter of the budget; a row when something stays, or may stay.
    pub async fn clean_up(&self) -> Option<Row> {
        match self {
            Check::Directory(check) => check.clean_up().await,
            Check::S3(check) => Box::pin(check.clean_up()).await,
        }
    }
}

impl Ability {
    /// Whether it is a put, which most others need.
    pub(super) fn stores(self) -> bool {
        matches!(self, Ability::SignedPut | Ability::UnsignedPut)
    }

    /// Its name, in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Ability::Place => "place",
            Ability::Clock => "clock",
            Ability::SignedPut => "signed_put",
            Ability::UnsignedPut => "unsigned_put",
            Ability::Read => "read",
            Ability::Checksum => "checksum",
            Ability::ListV2 => "list_v2",
            Ability::ListV1 => "list_v1",
            Ability::ListFolder => "list_folder",
            Ability::EqualParts => "equal_parts",
            Ability::UnequalParts => "unequal_parts",
            Ability::Abort => "abort",
            Ability::BatchDelete => "batch_delete",
            Ability::BatchDeleteByChecksum => "batch_delete_without_md5",
            Ability::CreateByPut => "create_by_put",
            Ability::CreateByUpload => "create_by_upload",
            Ability::Write => "write",
            Ability::Sync => "sync",
            Ability::Rename => "rename",
            Ability::Link => "link",
            Ability::Space => "space",
            Ability::Throughput => "throughput",
            Ability::Removal => "removal",
        }
    }

    /// What it is, for people.
    pub fn label(self) -> &'static str {
        match self {
            Ability::Place => "there",
            Ability::Clock => "clock",
            Ability::SignedPut => "put, body signed",
            Ability::UnsignedPut => "put, body unsigned",
            Ability::Read => "read, from the middle too",
            Ability::Checksum => "put, checksum header",
            Ability::ListV2 => "list, version 2",
            Ability::ListV1 => "list, version 1",
            Ability::ListFolder => "list of a folder",
            Ability::EqualParts => "upload, equal parts",
            Ability::UnequalParts => "upload, unequal parts",
            Ability::Abort => "upload given up",
            Ability::BatchDelete => "batch delete",
            Ability::BatchDeleteByChecksum => "batch delete, no Content-MD5",
            Ability::CreateByPut => "create only, by put",
            Ability::CreateByUpload => "create only, by upload",
            Ability::Write => "write",
            Ability::Sync => "fsync",
            Ability::Rename => "rename",
            Ability::Link => "link",
            Ability::Space => "free space",
            Ability::Throughput => "throughput",
            Ability::Removal => "removal",
        }
    }
}

impl Verdict {
    /// Its word, in JSON and for people.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Works => "ok",
            Verdict::Without => "no",
            Verdict::Failed => "failed",
            Verdict::Unknown => "unknown",
            Verdict::NotTried => "not tried",
        }
    }
}

impl Row {
    /// A row without a hint.
    pub(super) fn new(ability: Ability, verdict: Verdict, detail: impl Into<String>) -> Row {
        Row { ability, verdict, detail: detail.into(), hint: None }
    }

    /// Of something that seawall needs.
    pub(super) fn needed(ability: Ability, outcome: Result<String>) -> Row {
        Row::of(ability, Verdict::Failed, outcome)
    }

    /// Of something that seawall can do without: refused, or not found out.
    pub(super) fn optional(ability: Ability, outcome: Result<String>) -> Row {
        let verdict = match outcome.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Invalid | ErrorKind::Protocol | ErrorKind::Changed | ErrorKind::FileSystem) => {
                Verdict::Without
            }
            _ => Verdict::Unknown,
        };
        let row = Row::of(ability, verdict, outcome);
        Row { hint: None, ..row }
    }

    fn of(ability: Ability, failure: Verdict, outcome: Result<String>) -> Row {
        match outcome {
            Ok(detail) => Row::new(ability, Verdict::Works, detail),
            Err(error) => {
                let hint = error.hint().map(str::to_owned);
                Row { hint, ..Row::new(ability, failure, error.detail_and_spent()) }
            }
        }
    }

    /// Of something that could not be tried.
    pub(super) fn not_tried(ability: Ability) -> Row {
        Row::new(ability, Verdict::NotTried, "")
    }
}

/// How long content took.
pub(super) struct Transfer {
    bytes: usize,
    up: Duration,
    down: Duration,
}

impl Transfer {
    /// Stores `content` in parts of this size, then reads it and compares.
    pub(super) async fn measure(
        storage: &dyn Storage,
        key: &Key,
        content: &Bytes,
        part_bytes: usize,
    ) -> Result<Transfer> {
        let began = Instant::now();
        let parts: Vec<Bytes> = content.chunks(part_bytes).map(|part| content.slice_ref(part)).collect();
        store_in_parts(storage, key, parts).await?;
        let up = began.elapsed();
        let began = Instant::now();
        expect_content(storage, key, content).await?;
        Ok(Transfer { bytes: content.len(), up, down: began.elapsed() })
    }

    /// For people: `up 110.2 MiB/s, down 301.0 MiB/s (17 MiB)`.
    pub(super) fn text(&self) -> String {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        let rate = |time: Duration| mib / time.as_secs_f64().max(1e-6);
        format!("up {:.1} MiB/s, down {:.1} MiB/s ({mib:.0} MiB)", rate(self.up), rate(self.down))
    }
}

/// Stores an object in these parts; after a failure the upload is given up.
pub(super) async fn store_in_parts(storage: &dyn Storage, key: &Key, parts: Vec<Bytes>) -> Result<()> {
    let upload = storage.start_upload(key).await?;
    let stored = async {
        let mut receipts = Vec::new();
        let mut offset = 0;
        for (number, body) in (1..).zip(parts) {
            let bytes = body.len() as u64;
            receipts.push(upload.put_part(Part { number, offset, body }).await?);
            offset += bytes;
        }
        upload.complete(&receipts, PutMode::Overwrite).await.map(drop)
    }
    .await;
    if stored.is_err() {
        // What counts is why it failed.
        let _ = upload.abort().await;
    }
    stored
}

/// An error unless the object has this content.
pub(super) async fn expect_content(storage: &dyn Storage, key: &Key, content: &Bytes) -> Result<()> {
    let wrong = |detail| Err(Error::new(ErrorKind::Protocol, "get", Some(key), storage.location(), detail));
    match get_at_most(storage, key, content.len() as u64).await? {
        Some((_, found)) if found == content => Ok(()),
        Some(_) => wrong("the object has other content than was stored"),
        None => wrong("the object that was just stored is missing"),
    }
}

/// Bytes that repeat at no power of two, so that a part in a wrong place shows.
pub(super) fn content(bytes: usize) -> Bytes {
    (0..=250).cycle().take(bytes).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Location;
    use crate::storage::get_bytes;

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "put", None, &Location::new("here"), "why").with_hint("what to do")
    }

    #[test]
    fn only_what_is_needed_can_fail() {
        for (kind, verdict) in [
            (ErrorKind::Invalid, Verdict::Without),
            (ErrorKind::Changed, Verdict::Without),
            (ErrorKind::Refused, Verdict::Unknown),
            (ErrorKind::Timeout, Verdict::Unknown),
        ] {
            let optional = Row::optional(Ability::CreateByPut, Err(error(kind)));
            assert_eq!((optional.verdict, optional.hint.as_deref()), (verdict, None), "{kind:?}");
            let needed = Row::needed(Ability::Read, Err(error(kind)));
            assert_eq!((needed.verdict, needed.hint.as_deref()), (Verdict::Failed, Some("what to do")));
            assert_eq!(needed.detail, "why");
            let findings = |row| Findings { rows: vec![row], service: None };
            assert!(findings(optional).all_needed_works());
            assert!(!findings(needed).all_needed_works());
        }
        assert_eq!(Row::optional(Ability::ListV1, Ok("3 objects".to_owned())).verdict, Verdict::Works);
    }

    #[test]
    fn parts_are_put_together_in_memory() {
        let memory = crate::storage::memory::Memory::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let key = Key::parse("wal_005/check/object").unwrap();
        let content = content(1000);
        let transfer = runtime.block_on(Transfer::measure(&memory, &key, &content, 300)).unwrap();
        assert!(transfer.text().contains("MiB/s"), "{}", transfer.text());
        assert_eq!(runtime.block_on(get_bytes(&memory, &key)).unwrap().unwrap().1, content);
        let other = runtime.block_on(expect_content(&memory, &key, &content.slice(1..))).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Protocol);
    }
}
