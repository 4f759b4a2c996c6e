//! Tries what a service of S3 can do, request by request: [`crate::storage::check`].
//!
//! What seawall sends in its work is sent by the code that sends it then, with the retries of then; what it never
//! sends, and small pages, are requests of this file.

mod clock;
mod removal;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use futures_util::TryStreamExt;

use self::clock::{Skew, clock};
use super::answer::Call;
use super::body::Payload;
use super::profile::{GENERIC, Profile};
use super::{CreateOnly, S3, S3Config, protocol};
use crate::storage::check::{
    Ability, Findings, Row, Transfer, Verdict, content, expect_content, store_in_parts,
};
use crate::storage::retry::{Retry, RetryPolicy, SILENT};
use crate::storage::{
    Depth, ETag, Error, ErrorKind, Key, Part, Prefix, PutMode, PutOutcome, Result, SharedStorage, Storage,
    delete_all, list_all,
};

/// Parts of the object whose time is taken are not larger, whatever the settings say.
const MEASURED_PART_BYTES: u64 = 16 << 20;

/// The last part of an object may be of any size.
const LAST_PART_BYTES: usize = 1 << 20;

/// The names of the small objects; the last one lies in a folder of its own.
const SMALL: [&str; 3] = ["signed", "unsigned", "folder/deeper"];

/// The names of all other objects.
const OTHERS: [&str; 5] = ["checksum", "equal-parts", "unequal-parts", "by-put", "by-upload"];

/// A check of a bucket.
#[derive(Debug)]
pub struct S3Check {
    config: S3Config,
    policy: RetryPolicy,
    folder: Prefix,
    /// What all trials may take.
    budget: Duration,
    /// For single requests.
    s3: S3,
    /// The same with retries, as everything else uses it.
    storage: SharedStorage,
    skew: Skew,
    /// Names of objects that may be there.
    written: Mutex<BTreeSet<&'static str>>,
}

/// A service, and how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recognised {
    /// What is known of it.
    pub profile: Profile,
    /// By what.
    pub by: KnownBy,
}

/// What a service is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// The host of the endpoint, or that none is set: this profile is used.
    Host,
    /// Its answers: how it creates objects is used after the first one, the rest is that of any service.
    Answers,
    /// Nothing: it is any service.
    Nothing,
}

impl S3Check {
    /// Makes no request; fails when certificates cannot be read.
    pub(in crate::storage) fn new(
        config: S3Config,
        policy: RetryPolicy,
        folder: Prefix,
        budget: Duration,
    ) -> Result<S3Check> {
        let s3 = S3::open(config.clone(), policy)?;
        let storage = Arc::new(Retry::new(Arc::new(s3.clone()), policy));
        let (skew, written) = Default::default();
        Ok(S3Check { config, policy, folder, budget, s3, storage, skew, written })
    }

    /// Tries everything; once the budget is spent, what is under way fails, and nothing more is tried.
    pub(in crate::storage) async fn run(&self) -> Findings {
        let began = Instant::now();
        let mut rows = Box::pin(self.place()).await;
        let answered = rows.iter().all(|row| row.verdict != Verdict::NotTried);
        for ability in REST {
            if rows.iter().any(|row| row.ability == ability) {
                continue;
            }
            let can_store = rows.iter().all(|row| !row.ability.stores() || row.verdict != Verdict::Failed);
            let possible = match ability {
                Ability::SignedPut | Ability::ListV2 => answered,
                _ => answered && can_store,
            };
            let left = self.budget.saturating_sub(began.elapsed());
            if !possible || left.is_zero() {
                rows.push(Row::not_tried(ability));
                continue;
            }
            match tokio::time::timeout(left, Box::pin(self.trial(ability, can_store))).await {
                Ok(tried) => rows.extend(tried),
                Err(_) => rows.push(Row::new(
                    ability,
                    Verdict::Failed,
                    format!("not done when the {} s of this check were over", self.budget.as_secs()),
                )),
            }
        }
        Findings { rows, service: answered.then(|| self.recognised()) }
    }

    /// What came of one trial, and of those that are made along with it.
    async fn trial(&self, ability: Ability, can_store: bool) -> Vec<Row> {
        match ability {
            Ability::SignedPut => self.puts().await,
            Ability::ListV2 => self.lists(can_store).await,
            Ability::Read => vec![Row::needed(ability, self.read().await)],
            Ability::Checksum => vec![self.checksum().await],
            Ability::EqualParts => self.equal_parts().await,
            Ability::UnequalParts => vec![Row::optional(ability, self.unequal_parts().await)],
            Ability::Abort => vec![Row::needed(ability, self.abort().await)],
            Ability::CreateByPut => vec![self.create_only(ability, CreateOnly::Put, "by-put").await],
            Ability::CreateByUpload => vec![self.create_only(ability, CreateOnly::Upload, "by-upload").await],
            Ability::BatchDeleteByChecksum => vec![Row::optional(ability, self.delete_by_checksum().await)],
            Ability::BatchDelete => vec![Row::needed(ability, self.delete().await)],
            _ => Vec::new(),
        }
    }

    fn recognised(&self) -> Recognised {
        let host = self.config.endpoint.as_ref().map(super::Endpoint::host);
        match (Profile::of_host(host), self.s3.place.answering.profile()) {
            (Some(profile), _) => Recognised { profile, by: KnownBy::Host },
            (None, Some(profile)) => Recognised { profile, by: KnownBy::Answers },
            (None, None) => Recognised { profile: GENERIC, by: KnownBy::Nothing },
        }
    }

    /// The bucket, and the time that the service has.
    async fn place(&self) -> Vec<Row> {
        let answer = self.bucket().await;
        let answered =
            !matches!(answer.as_ref().map_err(Error::kind), Err(ErrorKind::Network | ErrorKind::Timeout));
        let clock = match self.skew.seconds() {
            Some(skew) => clock(skew),
            None if answered => Row::new(Ability::Clock, Verdict::Unknown, "the answer has no Date"),
            None => Row::not_tried(Ability::Clock),
        };
        vec![Row::needed(Ability::Place, answer), clock]
    }

    async fn bucket(&self) -> Result<String> {
        let place = &self.s3.place;
        let call = place.call("look for the bucket", None);
        let (began, mut attempts, mut moved) = (Instant::now(), 0, false);
        loop {
            attempts += 1;
            // The client may ask where the bucket is.
            let client = async { place.client().await };
            let client = self.in_time(call, client).await?;
            let request = client.head_bucket().bucket(&self.config.bucket);
            let request = request.customize().interceptor(self.skew.clone());
            let missing = |error: &SdkError<_>| super::status(error) == Some(404);
            let answer = self.in_time(call, async { Ok(request.send().await) }).await;
            let error = match answer {
                Ok(Ok(_)) => return Ok(self.storage.location().to_string()),
                Ok(Err(error)) if missing(&error) => {
                    call.error(ErrorKind::NoBucket, "it does not exist (HTTP 404)").with_hint(
                        "check the bucket in WALG_S3_PREFIX and AWS_ENDPOINT; it is never created by itself",
                    )
                }
                Ok(Err(error)) => call.failed(error),
                Err(error) => error,
            };
            match error.kind() {
                _ if !moved && error.wrong_region().is_some() => {
                    moved = true;
                    self.in_time(call, place.move_to_region(error)).await?;
                }
                ErrorKind::Network | ErrorKind::Busy
                    if attempts < self.policy.attempts && began.elapsed() < self.policy.ask_answer =>
                {
                    tokio::time::sleep(self.policy.first_backoff).await;
                }
                ErrorKind::Network | ErrorKind::Busy | ErrorKind::Timeout => {
                    return Err(error.with_spent(attempts, began.elapsed()));
                }
                _ => return Err(error),
            }
        }
    }

    /// What only asks, as long as it may take.
    async fn in_time<T>(&self, call: Call<'_>, asking: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.policy.ask_answer;
        match tokio::time::timeout(limit, Box::pin(asking)).await {
            Ok(answer) => answer,
            Err(_) => Err(silent(call, limit)),
        }
    }

    /// The answer to a request that is sent once.
    async fn answer<T, E>(
        &self,
        call: Call<'_>,
        request: impl Future<Output = std::result::Result<T, SdkError<E>>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.in_time(call, async { request.await.map_err(|error| call.failed(error)) }).await
    }

    fn key(&self, name: &str) -> Result<Key> {
        self.folder.key(name).map_err(|error| {
            Error::new(ErrorKind::Invalid, "check", None, self.storage.location(), error.to_string())
        })
    }

    /// The key of an object that is about to be written.
    fn new_key(&self, name: &'static str) -> Result<Key> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        self.key(name)
    }

    /// The same service with other settings.
    fn with(&self, change: impl FnOnce(&mut S3Config)) -> Result<Retry> {
        let mut config = self.config.clone();
        change(&mut config);
        Ok(Retry::new(Arc::new(S3::open(config, self.policy)?), self.policy))
    }

    /// One object with its body signed, one without, one in a folder. The way that the scheme wants is needed.
    async fn puts(&self) -> Vec<Row> {
        let [signed, unsigned, deeper] = SMALL;
        let put = async |name, payload| {
            // What an earlier put has stored is there, whatever becomes of this one.
            let is_new = !self.is_written(name);
            let key = self.new_key(name)?;
            let request = self.s3.place.put(&key, small(name), PutMode::Overwrite, payload);
            match tokio::time::timeout(self.policy.first_byte, Box::pin(request)).await {
                Ok(outcome) => outcome.map(|_| String::new()),
                Err(_) => Err(silent(self.s3.place.call("put", Some(&key)), self.policy.first_byte)),
            }
            .inspect_err(|error| {
                if is_new {
                    self.forget_if_refused(name, error);
                }
            })
        };
        let usual = Payload::over(self.config.scheme());
        let row = |ability, payload, outcome| match payload == usual {
            true => Row::needed(ability, outcome),
            false => Row::optional(ability, outcome),
        };
        let mut rows = Vec::new();
        for (ability, name, payload) in [
            (Ability::SignedPut, signed, Payload::Signed),
            (Ability::UnsignedPut, unsigned, Payload::Unsigned),
        ] {
            rows.push(row(ability, payload, put(name, payload).await));
        }
        if rows.iter().any(|row| row.verdict != Verdict::Works) {
            // The listings want three objects all the same.
            for name in [signed, unsigned] {
                let _ = put(name, usual).await;
            }
        }
        let _ = put(deeper, usual).await;
        rows
    }

    fn is_written(&self, name: &str) -> bool {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn forget_if_refused(&self, name: &'static str, error: &Error) {
        let definite = !matches!(error.kind(), ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Busy);
        if definite {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }

    /// Both listings by pages of two, then one of a folder. One of the two has to work.
    async fn lists(&self, stored: bool) -> Vec<Row> {
        let expected = if stored { SMALL.len() } else { 0 };
        let (v2, v1) = (self.list_v2(expected).await, self.list_v1(expected).await);
        let needed = v2.is_err() && v1.is_err();
        let row = |ability, outcome| match needed {
            true => Row::needed(ability, outcome),
            false => Row::optional(ability, outcome),
        };
        let folder = list_all(&*self.storage, &self.folder, Depth::Children).await.and_then(|page| {
            let call = self.s3.place.call("list", None);
            let expected = if stored { (SMALL.len() - 1, 1) } else { (0, 0) };
            match (page.objects.len(), page.prefixes.len()) == expected {
                true => Ok(format!("{} objects and {} folder", expected.0, expected.1)),
                false => Err(protocol(
                    call,
                    format!(
                        "{} objects and {} folders were listed, not {} and {}",
                        page.objects.len(),
                        page.prefixes.len(),
                        expected.0,
                        expected.1
                    ),
                )),
            }
        });
        vec![row(Ability::ListV2, v2), row(Ability::ListV1, v1), Row::needed(Ability::ListFolder, folder)]
    }

    async fn list_v2(&self, expected: usize) -> Result<String> {
        let call = self.s3.place.call("list", None);
        let (mut found, mut pages, mut token) = (BTreeSet::new(), 0, None);
        loop {
            let request = self.s3.place.client().await?.list_objects_v2().bucket(&self.config.bucket);
            let request = request.prefix(self.full_folder()).max_keys(2).set_continuation_token(token);
            let page = self.answer(call, request.send()).await?;
            pages += 1;
            found.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
            token = page.next_continuation_token;
            match page.is_truncated {
                Some(true) if token.is_none() => {
                    return Err(protocol(call, "a page has no token for the next one"));
                }
                Some(true) if pages < SMALL.len() => {}
                _ => return listed(call, found.len(), pages, expected),
            }
        }
    }

    async fn list_v1(&self, expected: usize) -> Result<String> {
        let call = self.s3.place.call("list", None);
        let (mut found, mut pages) = (BTreeSet::new(), 0);
        loop {
            let request = self.s3.place.client().await?.list_objects().bucket(&self.config.bucket);
            let request = request.prefix(self.full_folder()).max_keys(2).set_marker(found.last().cloned());
            let page = self.answer(call, request.send()).await?;
            pages += 1;
            found.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
            match page.is_truncated {
                Some(true) if pages < SMALL.len() => {}
                _ => return listed(call, found.len(), pages, expected),
            }
        }
    }

    fn full_folder(&self) -> String {
        format!("{}{}", self.config.prefix, self.folder)
    }

    /// Size, content, the rest from an offset, and the refusal of another object than the one that was begun.
    async fn read(&self) -> Result<String> {
        let name = SMALL[0];
        let (key, expected) = (self.key(name)?, small(name));
        let call = self.s3.place.call("get", Some(&key));
        let meta = self.storage.head(&key).await?;
        let meta = meta.ok_or_else(|| protocol(call, "the object that was just stored is missing"))?;
        if meta.size != expected.len() as u64 {
            return Err(protocol(call, format!("its size is {}, not {}", meta.size, expected.len())));
        }
        expect_content(&*self.storage, &key, &expected).await?;
        const FROM: usize = 5;
        let rest = self.storage.get(&key, FROM as u64, meta.etag.as_ref()).await?;
        let rest =
            rest.ok_or_else(|| protocol(call, "the object is missing when a part of it is asked for"))?;
        let rest: Vec<Bytes> = rest.stream.try_collect().await?;
        if rest.concat() != expected.slice(FROM..) {
            return Err(protocol(call, "the bytes from an offset on are not those of the object"));
        }
        let other = ETag("\"00000000000000000000000000000000\"".to_owned());
        match self.storage.get(&key, 0, Some(&other)).await {
            Err(error) if error.kind() == ErrorKind::Changed => Ok("Range and If-Match".to_owned()),
            Err(error) => Err(error),
            Ok(_) => Err(protocol(call, "If-Match is ignored: a download that goes on may mix two objects")),
        }
    }

    /// A right checksum in a plain header, then a wrong one.
    async fn checksum(&self) -> Row {
        let name = OTHERS[0];
        let put = async |change: &dyn Fn(&mut S3Config)| {
            let storage = self.with(|config| change(config))?;
            storage.put(&self.new_key(name)?, small(name), PutMode::Overwrite).await
        };
        let right = put(&|config| config.request_checksums = super::Checksums::WhenSupported).await;
        if let Err(error) = right {
            return Row::optional(Ability::Checksum, Err(error));
        }
        // CRC32 of something else.
        let wrong = ("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned());
        match put(&|config| config.headers.0.push(wrong.clone())).await {
            Ok(_) => Row::new(Ability::Checksum, Verdict::Without, "accepted, but not compared"),
            Err(_) => Row::new(Ability::Checksum, Verdict::Works, "CRC32; a wrong one is refused"),
        }
    }

    /// An object of a few parts up and down again, and how long that took.
    async fn equal_parts(&self) -> Vec<Row> {
        let part = self.storage.limits().part_bytes.min(MEASURED_PART_BYTES);
        let part = usize::try_from(part).unwrap_or(LAST_PART_BYTES);
        let measured = async {
            let content = content(2 * part + LAST_PART_BYTES);
            Transfer::measure(&*self.storage, &self.new_key("equal-parts")?, &content, part).await
        }
        .await;
        let throughput = match &measured {
            Ok(transfer) => Row::new(Ability::Throughput, Verdict::Works, transfer.text()),
            Err(_) => Row::not_tried(Ability::Throughput),
        };
        let sizes = format!("2 of {} MiB, 1 of {} MiB", part >> 20, LAST_PART_BYTES >> 20);
        vec![Row::needed(Ability::EqualParts, measured.map(|_| sizes)), throughput]
    }

    async fn unequal_parts(&self) -> Result<String> {
        let smallest = usize::try_from(super::MIN_PART_BYTES).unwrap_or(LAST_PART_BYTES);
        let sizes = [smallest, smallest + (1 << 20), 1024];
        let parts = sizes.map(content).to_vec();
        let whole = Bytes::from(parts.concat());
        let key = self.new_key("unequal-parts")?;
        store_in_parts(&*self.storage, &key, parts).await?;
        expect_content(&*self.storage, &key, &whole).await?;
        Ok("5 MiB, 6 MiB, 1 KiB".to_owned())
    }

    /// An upload with a part, given up: it is listed before, and not any more after.
    async fn abort(&self) -> Result<String> {
        let key = self.key("given-up")?;
        let call = self.s3.place.call("abort upload of", Some(&key));
        let upload = self.storage.start_upload(&key).await?;
        let body = Bytes::from_static(b"x");
        let part = upload.put_part(Part { number: 1, offset: 0, body }).await;
        let listed = self.open_uploads().await;
        upload.abort().await?;
        part?;
        let left = self.open_uploads().await;
        match (listed.map(|uploads| uploads.len()), left.map(|uploads| uploads.len())) {
            (_, Ok(left)) if left > 0 => Err(protocol(call, "it is still there")),
            (Ok(1..), Ok(_)) => Ok("unfinished uploads are listed".to_owned()),
            (Ok(_), Ok(_)) => Ok("unfinished uploads are not listed".to_owned()),
            (Err(error), _) | (_, Err(error)) => {
                Ok(format!("unfinished uploads cannot be listed: {}", error.detail()))
            }
        }
    }

    /// Key and id of each upload in the folder that is neither complete nor given up.
    async fn open_uploads(&self) -> Result<Vec<(String, String)>> {
        let call = self.s3.place.call("list uploads", None);
        let request = self.s3.place.client().await?.list_multipart_uploads();
        let request = request.bucket(&self.config.bucket).prefix(self.full_folder());
        let answer = self.answer(call, request.send()).await?;
        let uploads = answer.uploads.unwrap_or_default().into_iter();
        Ok(uploads.filter_map(|upload| Some((upload.key?, upload.upload_id?))).collect())
    }

    /// Twice the same name: the second has to be told that it is taken.
    async fn create_only(&self, ability: Ability, how: CreateOnly, name: &'static str) -> Row {
        let outcomes = async {
            let storage = self.with(|config| config.create_only = how)?;
            let key = self.new_key(name)?;
            let first = storage.put(&key, small(name), PutMode::CreateOnly).await?;
            Ok((first, storage.put(&key, small(name), PutMode::CreateOnly).await?))
        }
        .await;
        match outcomes {
            Ok((PutOutcome::Stored, PutOutcome::AlreadyExists)) => {
                Row::new(ability, Verdict::Works, "If-None-Match: *")
            }
            Ok((_, PutOutcome::Stored)) => Row::new(ability, Verdict::Without, "the condition is ignored"),
            Ok((PutOutcome::AlreadyExists, _)) => {
                Row::new(ability, Verdict::Without, "a new name is said to be taken")
            }
            Err(error) => Row::optional(ability, Err(error)),
        }
    }

    /// A batch delete as the SDK sends it, with a CRC32 beside the body.
    async fn delete_by_checksum(&self) -> Result<String> {
        let key = self.key(SMALL[2])?;
        let call = self.s3.place.call("delete", Some(&key));
        let invalid =
            |error: aws_sdk_s3::error::BuildError| call.error(ErrorKind::Invalid, error.to_string());
        let object = ObjectIdentifier::builder().key(self.s3.place.full(&key)).build().map_err(invalid)?;
        let batch = Delete::builder().objects(object).build().map_err(invalid)?;
        let request = self.s3.place.client().await?.delete_objects();
        let request = request.bucket(&self.config.bucket).delete(batch);
        let answer = self.answer(call, request.send()).await?;
        match answer.errors().first() {
            None => Ok("CRC32 instead".to_owned()),
            Some(failed) => Err(call.refused_key(failed.code(), failed.message())),
        }
    }

    /// A batch with a key that is missing.
    async fn delete(&self) -> Result<String> {
        let mut keys = vec![self.key("missing")?];
        for name in SMALL {
            keys.push(self.key(name)?);
        }
        delete_all(self.storage.as_ref(), &keys).await?;
        let left = self.storage.head(&self.key(SMALL[0])?).await?;
        let call = self.s3.place.call("delete", None);
        match left {
            None => Ok(format!("{} keys, one of them missing", keys.len())),
            Some(_) => Err(protocol(call, "an object is still there")),
        }
    }
}

fn silent(call: Call<'_>, limit: Duration) -> Error {
    call.error(ErrorKind::Timeout, format!("no answer within {} s", limit.as_secs())).with_hint(SILENT)
}

/// What is tried once the service has answered, in this order.
const REST: [Ability; 15] = [
    Ability::SignedPut,
    Ability::UnsignedPut,
    Ability::ListV2,
    Ability::ListV1,
    Ability::ListFolder,
    Ability::Read,
    Ability::Checksum,
    Ability::EqualParts,
    Ability::Throughput,
    Ability::UnequalParts,
    Ability::Abort,
    Ability::CreateByPut,
    Ability::CreateByUpload,
    Ability::BatchDeleteByChecksum,
    Ability::BatchDelete,
];

/// The content of a small object.
fn small(name: &str) -> Bytes {
    Bytes::from(format!("seawall storage check: {name}"))
}

fn listed(call: Call<'_>, found: usize, pages: usize, expected: usize) -> Result<String> {
    match found == expected {
        true => Ok(format!("{found} objects on {pages} pages")),
        false => Err(protocol(call, format!("{pages} pages hold {found} objects, not {expected}"))),
    }
}
