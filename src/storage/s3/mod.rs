//! An S3 bucket, by aws-sdk-s3, at AWS or any other service.
//!
//! One attempt per call; [`super::retry::Retry`] repeats. What services differ in, and how it is met here:
//!
//! | what | here |
//! |---|---|
//! | trailing checksums, aws-chunked bodies (Swift: 501) | never sent; over http the body is signed, over https TLS protects it |
//! | DeleteObjects without Content-MD5 (Swift: 400) | Content-MD5 always, no other checksum |
//! | storage class, SSE headers (Swift: 400, 501) | only when configured |
//! | PutObject with If-None-Match (Swift: 501; others ignore it) | only for what must not replace anything; where it is refused, an upload of one part, completed with that condition ([`CreateOnly`]) |
//! | ListObjectsV2 unknown, or its token ignored | falls back to ListObjects V1 |
//! | another region than the guessed one | what the service names is used from then on (`region`) |
//! | a missing key and a missing bucket look alike to HEAD | the first time, a GET of one byte tells |
//! | versioned buckets | a delete adds a marker, as any plain delete does; older versions stay |
//!
//! What a service says it stored is compared with what was sent (`stored`).

mod answer;
mod apart;
mod body;
mod bounded;
mod check;
mod client;
mod config;
mod credentials;
mod delete;
mod document;
mod list;
mod profile;
mod query;
mod region;
mod stored;
mod told;
mod transport;
mod unanswered;
mod unfinished;
mod upload;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use md5::{Digest, Md5};
use secrecy::ExposeSecret;
use tokio::sync::OnceCell;

use self::answer::Call;
use self::body::{Payload, Signed};
pub use self::check::{KnownBy, Recognised, S3Check};
use self::client::ExtraHeaders;
pub use self::config::{
    Addressing, AssumeRole, Chain, Checksums, CreateOnly, Credentials, Encryption, Endpoint, EtagCheck,
    Headers, InvalidEndpoint, ListVersion, Network, RegionIs, S3Config, Scheme, Tag, WebIdentity,
};
use self::profile::Answering;
pub use self::profile::{PartSizes, Profile};
pub use self::query::{Answer, QueryConfig, QueryService, form};
use self::stored::Sent;
use super::retry::RetryPolicy;
use super::{
    Body, DeleteReport, Depth, ETag, Error, ErrorKind, Key, Limits, ListPage, Location, Lock, ObjectMeta,
    PageToken, Prefix, PutMode, PutOutcome, Result, Storage, Unfinished, UnfinishedPage, Upload,
};

/// Every part but the last has at least this many bytes (S3's rule, Swift's too).
const MIN_PART_BYTES: u64 = 5 << 20;

/// No part has more (S3's rule, Swift's too).
const MAX_PART_BYTES: u64 = 5 << 30;

/// A bucket, or a part of it.
#[derive(Debug, Clone)]
pub struct S3 {
    place: Arc<Place>,
}

/// What all requests share.
struct Place {
    config: S3Config,
    location: Location,
    policy: RetryPolicy,
    http: SharedHttpClient,
    client: OnceCell<Client>,
    /// The client for the region that the service has named in place of the guessed one.
    moved: OnceCell<Client>,
    /// The service does not know ListObjectsV2.
    list_v1: AtomicBool,
    /// The service, by its answers.
    answering: Answering,
    /// The service refuses a condition on a put.
    refuses_conditional_put: AtomicBool,
    /// An answer has shown that the bucket exists, so a missing key is just that.
    bucket_seen: AtomicBool,
    /// Headers of requests that create an object.
    create_headers: ExtraHeaders,
    /// Headers of requests that carry or read content: our key, when the service encrypts with it.
    content_headers: ExtraHeaders,
}

impl S3 {
    /// The bucket that `config` describes. Makes no request; fails when no request could be made with it.
    ///
    /// Of `policy` it takes the time to connect; the rest is for [`super::retry::Retry`].
    pub fn open(config: S3Config, policy: RetryPolicy) -> Result<S3> {
        config.check()?;
        let location = config.location();
        transport::check_proxy(config.scheme(), &location, |name| std::env::var(name).ok())?;
        let certificates = match (&config.ca_bundle, config.scheme()) {
            (Some(path), Scheme::Https) => Some(transport::read_certificates(path, &location)?),
            _ => None,
        };
        let content_headers = content_headers(&config);
        let place = Place {
            http: transport::http_client(config.scheme(), certificates),
            location,
            policy,
            client: OnceCell::new(),
            moved: OnceCell::new(),
            list_v1: AtomicBool::new(config.list_version == ListVersion::V1),
            answering: Answering::default(),
            refuses_conditional_put: AtomicBool::new(false),
            bucket_seen: AtomicBool::new(false),
            create_headers: ExtraHeaders(create_headers(&config, &content_headers)),
            content_headers: ExtraHeaders(content_headers),
            config,
        };
        Ok(S3 { place: Arc::new(place) })
    }
}

fn content_headers(config: &S3Config) -> Vec<(String, String)> {
    let Some(Encryption::Customer { key }) = &config.encryption else { return Vec::new() };
    let key = key.expose_secret().as_bytes();
    let name = |end: &str| format!("x-amz-server-side-encryption-customer-{end}");
    vec![
        (name("algorithm"), "AES256".to_owned()),
        (name("key"), BASE64.encode(key)),
        (name("key-md5"), BASE64.encode(Md5::digest(key))),
    ]
}

fn create_headers(config: &S3Config, content_headers: &[(String, String)]) -> Vec<(String, String)> {
    const ENCRYPTION: &str = "x-amz-server-side-encryption";
    let mut headers = content_headers.to_vec();
    let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    match &config.encryption {
        Some(Encryption::Aes256) => add(ENCRYPTION, "AES256"),
        Some(Encryption::Kms { key_id }) => {
            add(ENCRYPTION, "aws:kms");
            if let Some(key_id) = key_id {
                add("x-amz-server-side-encryption-aws-kms-key-id", key_id);
            }
        }
        Some(Encryption::Customer { .. }) | None => {}
    }
    if let Some(class) = &config.storage_class {
        add("x-amz-storage-class", class);
    }
    if !config.tags.is_empty() {
        add("x-amz-tagging", &tagging(&config.tags));
    }
    headers
}

/// Tags as the header has them: the query of a URL.
fn tagging(tags: &[Tag]) -> String {
    query::form(tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())))
}

/// The checksum that goes with these bytes, if one does: CRC32, as S3 writes it.
fn checksum(config: &S3Config, bytes: &[u8]) -> Option<String> {
    let crc = || {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        BASE64.encode(crc.sum().to_be_bytes())
    };
    (config.request_checksums == Checksums::WhenSupported).then(crc)
}

impl Place {
    async fn client(&self) -> Result<&Client> {
        let connect =
            || client::connect(&self.config, &self.location, &self.policy, &self.http, &self.answering);
        match self.moved.get() {
            Some(client) => Ok(client),
            None => self.client.get_or_try_init(connect).await,
        }
    }

    /// The name of an object in the bucket.
    fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.config.prefix)
    }

    fn call<'a>(&'a self, action: &'static str, key: Option<&'a Key>) -> Call<'a> {
        Call { action, key, location: &self.location, config: &self.config }
    }

    fn saw_bucket(&self) {
        self.bucket_seen.store(true, Ordering::Relaxed);
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let call = self.call("head", Some(key));
        let answer = match self.head_object(key).await? {
            Head::Found(answer) => answer,
            Head::NotFound(Teller::Service) if self.bucket_seen.load(Ordering::Relaxed) => return Ok(None),
            Head::NotFound(_) => return self.is_missing(key).await,
        };
        self.saw_bucket();
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| no_length(call))?;
        let modified = modified(answer.last_modified());
        let modified =
            modified.ok_or_else(|| call.error(ErrorKind::Protocol, "the answer has no Last-Modified"))?;
        Ok(Some(ObjectMeta { key: key.clone(), size, modified, etag: etag(answer.e_tag()) }))
    }

    async fn head_object(&self, key: &Key) -> Result<Head> {
        let request = self.client().await?.head_object().bucket(&self.config.bucket).key(self.full(key));
        match request.customize().interceptor(self.content_headers.clone()).send().await {
            Ok(answer) => Ok(Head::Found(Box::new(answer))),
            Err(error) if status(&error) == Some(404) => Ok(Head::NotFound(Teller::of(&error))),
            Err(error) => Err(self.call("head", Some(key)).failed(error)),
        }
    }

    /// Asks by a GET for what a HEAD has not found: `None` when the object is missing, an error when the bucket is, or when
    /// somebody else has answered. HEAD has no body to tell them apart.
    async fn is_missing(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        match self.get_object(key, GetRange::FirstByte, None).await? {
            None => Ok(None),
            // It has appeared in between.
            Some(answer) => {
                let (meta, _) = self.content(key, 0, &answer)?;
                Ok(Some(meta))
            }
        }
    }

    async fn get_object(
        &self,
        key: &Key,
        range: GetRange,
        if_match: Option<&ETag>,
    ) -> Result<Option<GetObjectOutput>> {
        let call = self.call("get", Some(key));
        let request = self
            .client()
            .await?
            .get_object()
            .bucket(&self.config.bucket)
            .key(self.full(key))
            .set_range(range.header())
            .set_if_match(if_match.map(|tag| tag.0.clone()));
        match request.customize().interceptor(self.content_headers.clone()).send().await {
            Ok(answer) => {
                self.saw_bucket();
                Ok(Some(answer))
            }
            Err(error) if error.code() == Some("NoSuchKey") && status(&error) == Some(404) => {
                self.saw_bucket();
                Ok(None)
            }
            Err(error) => Err(call.failed(error)),
        }
    }

    async fn bucket_exists(&self) -> Result<bool> {
        let call = self.call("look for the bucket", None);
        match self.client().await?.head_bucket().bucket(&self.config.bucket).send().await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) => Err(call.failed(error)),
        }
    }

    async fn create_bucket(&self) -> Result<()> {
        let call = self.call("create the bucket", None);
        let client = self.client().await?;
        let region = client.config().region().map(|region| region.as_ref().to_owned());
        // The service takes every region by name but its first one.
        let elsewhere = region.filter(|region| region != client::DEFAULT_REGION).map(|region| {
            let constraint = BucketLocationConstraint::from(region.as_str());
            CreateBucketConfiguration::builder().location_constraint(constraint).build()
        });
        let request = client.create_bucket().bucket(&self.config.bucket);
        match request.set_create_bucket_configuration(elsewhere).send().await {
            Ok(_) => Ok(()),
            // By another process, or by an attempt whose answer was lost.
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            Err(error) => Err(call.failed(error)),
        }
    }

    /// What an answer says of the object, and how many bytes its body has.
    fn content(&self, key: &Key, from: u64, answer: &GetObjectOutput) -> Result<(ObjectMeta, u64)> {
        let protocol = |detail: String| self.call("get", Some(key)).error(ErrorKind::Protocol, detail);
        let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let length = length.ok_or_else(|| no_length(self.call("get", Some(key))))?;
        let size = match answer.content_range() {
            None if from > 0 => return Err(protocol("the service ignores Range".to_owned())),
            None => length,
            Some(range) => {
                let parsed = parse_content_range(range).filter(|(first, _)| *first == from);
                parsed
                    .ok_or_else(|| protocol(format!("unexpected Content-Range `{}`", range.escape_debug())))?
                    .1
            }
        };
        // Nothing decides by the time of an object that is being read, so a proxy may have dropped it.
        let modified = modified(answer.last_modified()).unwrap_or_default();
        Ok((ObjectMeta { key: key.clone(), size, modified, etag: etag(answer.e_tag()) }, length))
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode, payload: Payload) -> Result<PutOutcome> {
        let call = self.call("put", Some(key));
        let client = self.client().await?;
        let checksum = checksum(&self.config, &body);
        let sent = Sent::new(&self.config, &body);
        let again = body.clone();
        let signed = Signed::new(body, payload).await;
        let request = client
            .put_object()
            .set_checksum_crc32(checksum)
            .bucket(&self.config.bucket)
            .key(self.full(key))
            .content_length(signed.length())
            .body(signed.stream())
            .set_if_none_match((mode == PutMode::CreateOnly).then(|| "*".to_owned()))
            .customize()
            .interceptor(self.create_headers.clone())
            .interceptor(signed.interceptor());
        match request.send().await {
            Ok(answer) => {
                self.saw_bucket();
                match (sent.confirm(self, key, &answer).await, mode) {
                    (Ok(()), _) => Ok(PutOutcome::Stored),
                    // What is there is ours, and under the condition it would stay.
                    (Err(_), PutMode::CreateOnly) => {
                        Box::pin(self.put(key, again, PutMode::Overwrite, payload)).await
                    }
                    (Err(error), PutMode::Overwrite) => Err(error),
                }
            }
            Err(error) if mode == PutMode::CreateOnly && status(&error) == Some(412) => {
                Ok(PutOutcome::AlreadyExists)
            }
            Err(error) => Err(call.failed(error)),
        }
    }
}

impl Place {
    /// Puts an object, in the way that the mode and the service want.
    async fn store(self: &Arc<Self>, key: &Key, body: Bytes, mode: PutMode) -> Result<PutOutcome> {
        match (mode, self.create_only()) {
            (PutMode::Overwrite, _) | (PutMode::CreateOnly, CreateOnly::Put) => {
                self.put(key, body, mode, Payload::over(self.config.scheme())).await
            }
            (PutMode::CreateOnly, CreateOnly::Upload) => upload::create_only(self, key, body).await,
            (PutMode::CreateOnly, CreateOnly::Find) => self.find_create_only(key, body).await,
        }
    }

    /// How the service creates an object only when it is not there, as far as it is known by now.
    fn create_only(&self) -> CreateOnly {
        match (self.config.create_only, self.answering.profile()) {
            (CreateOnly::Find, Some(profile)) => profile.create_only,
            (known, _) => known,
        }
    }

    /// Creates an object unless there is one, by a put where the service may take the condition there, else by an upload.
    async fn find_create_only(self: &Arc<Self>, key: &Key, body: Bytes) -> Result<PutOutcome> {
        if !self.refuses_conditional_put.load(Ordering::Relaxed) {
            match self.put(key, body.clone(), PutMode::CreateOnly, Payload::over(self.config.scheme())).await
            {
                Err(error) if error.kind() == ErrorKind::Invalid && error.wrong_region().is_none() => {
                    self.refuses_conditional_put.store(true, Ordering::Relaxed);
                }
                outcome => return outcome,
            }
        }
        upload::create_only(self, key, body).await
    }
}

/// The answer to a HEAD.
enum Head {
    Found(Box<HeadObjectOutput>),
    NotFound(Teller),
}

/// Who has answered.
enum Teller {
    /// The service: its answers have the number of the request.
    Service,
    /// It may be a proxy, or another server.
    Anybody,
}

impl Teller {
    /// AWS and most services write `x-amz-request-id`, Swift also `x-trans-id`.
    fn of<E>(error: &SdkError<E>) -> Teller {
        let headers = error.raw_response().map(|raw| raw.headers());
        let numbered = |name| headers.is_some_and(|headers| headers.contains_key(name));
        match ["x-amz-request-id", "x-trans-id"].into_iter().any(numbered) {
            true => Teller::Service,
            false => Teller::Anybody,
        }
    }
}

/// Which bytes a get asks for.
enum GetRange {
    From(u64),
    FirstByte,
}

impl GetRange {
    fn header(&self) -> Option<String> {
        match self {
            GetRange::From(0) => None,
            GetRange::From(offset) => Some(format!("bytes={offset}-")),
            GetRange::FirstByte => Some("bytes=0-0".to_owned()),
        }
    }
}

/// First offset and object size of `bytes 5-9/10`.
fn parse_content_range(range: &str) -> Option<(u64, u64)> {
    let (bounds, size) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((bounds.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

/// The HTTP status of an error answer.
fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}

fn modified(time: Option<&DateTime>) -> Option<jiff::Timestamp> {
    let time = time?;
    jiff::Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

fn etag(tag: Option<&str>) -> Option<ETag> {
    tag.map(|tag| ETag(tag.to_owned()))
}

impl Storage for S3 {
    fn location(&self) -> &Location {
        &self.place.location
    }

    fn limits(&self) -> Limits {
        let config = &self.place.config;
        Limits {
            part_bytes: config.part_bytes.clamp(MIN_PART_BYTES, MAX_PART_BYTES),
            max_parts: config.max_parts,
            delete_batch: config.delete_batch.clamp(1, delete::MAX_KEYS),
            conditional_put: self.place.create_only() == CreateOnly::Put,
            shares_parts: true,
        }
    }

    fn exists(&self) -> BoxFuture<'_, Result<bool>> {
        self.place.anywhere(|| self.place.bucket_exists()).boxed()
    }

    fn create(&self) -> BoxFuture<'_, Result<()>> {
        self.place.anywhere(|| self.place.create_bucket()).boxed()
    }

    /// See [`Storage::head`].
    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>>> {
        self.place.anywhere(|| self.place.head(key)).boxed()
    }

    fn get<'a>(
        &'a self,
        key: &'a Key,
        from: u64,
        if_match: Option<&'a ETag>,
    ) -> BoxFuture<'a, Result<Option<Body>>> {
        async move {
            let place = &self.place;
            let get = || place.get_object(key, GetRange::From(from), if_match);
            let answer = match place.anywhere(get).await {
                // Nothing is left to read, if the object ends there.
                Err(error) if from > 0 && error.kind() == ErrorKind::Invalid => {
                    let meta = place.head(key).await?.filter(|meta| meta.size <= from);
                    let empty = |meta| Body { meta, stream: stream::empty().boxed() };
                    return meta.map(empty).map(Some).ok_or(error);
                }
                answer => answer?,
            };
            let Some(answer) = answer else { return Ok(None) };
            let (meta, length) = place.content(key, from, &answer)?;
            Ok(Some(Body {
                meta,
                stream: body::chunks(place.clone(), key.clone(), length, answer.body).boxed(),
            }))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes, mode: PutMode) -> BoxFuture<'a, Result<PutOutcome>> {
        async move { self.place.anywhere(|| self.place.store(key, body.clone(), mode)).await }.boxed()
    }

    fn start_upload<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Box<dyn Upload>>> {
        async move {
            let start = || upload::S3Upload::start(self.place.clone(), key.clone());
            let upload = self.place.anywhere(start).await?;
            Ok(Box::new(upload) as Box<dyn Upload>)
        }
        .boxed()
    }

    fn list_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        depth: Depth,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<ListPage>> {
        self.place.anywhere(move || list::page(&self.place, prefix, depth, from)).boxed()
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<DeleteReport>> {
        self.place.anywhere(|| delete::delete(&self.place, keys)).boxed()
    }

    fn lock<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Lock>>> {
        self.place.anywhere(|| delete::lock(&self.place, key)).boxed()
    }

    fn unfinished_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<UnfinishedPage>> {
        self.place.anywhere(move || unfinished::page(&self.place, prefix, from)).boxed()
    }

    fn remove_unfinished<'a>(&'a self, unfinished: &'a Unfinished) -> BoxFuture<'a, Result<()>> {
        self.place.anywhere(|| upload::abort(&self.place, &unfinished.key, &unfinished.id.0)).boxed()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Without its length nobody knows whether a body is whole.
fn no_length(call: Call<'_>) -> Error {
    protocol(call, "the answer has no Content-Length").with_hint(
        "a proxy in front of the service encodes its answers anew: let it pass them on as they are",
    )
}

/// Reports a failure inside this module's own words.
fn protocol(call: Call<'_>, detail: impl Into<String>) -> Error {
    call.error(ErrorKind::Protocol, detail)
}
