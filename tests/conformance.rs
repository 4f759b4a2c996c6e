//! One contract, every storage: memory, a directory, OpenStack Swift, versitygw.
//!
//! Each chapter is run on each storage; the S3 ones are named by `SEAWALL_TEST_SWIFT` and
//! `SEAWALL_TEST_VERSITYGW` (`docs/testing.md`). Behind them come the ways in which a real service refuses us, and `storage
//! check`, which asks a service what it can do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use seawall::storage::memory::Memory;
use seawall::storage::retry::{Retry, RetryPolicy};
use seawall::storage::s3::{Addressing, CreateOnly, Credentials, Endpoint, ListVersion, RegionIs, S3Config};
use seawall::storage::{
    Depth, ErrorKind, Key, Part, Prefix, PutMode, PutOutcome, SharedStorage, Storage, StorageConfig,
    get_bytes, list_all, list_unfinished, open,
};
use support::{Bucket, Missing, Scratch, Tool, block_on};

/// One storage under test, and what cannot be asked of it.
struct Candidate {
    storage: SharedStorage,
    /// Objects for the test of listings in pages; a slow service gets fewer.
    many: usize,
    /// Names with `//` stay as they are.
    empty_components: bool,
    /// The bucket lives as long as the test.
    _keep: Keep,
}

enum Keep {
    Nothing,
    Directory(#[expect(dead_code, reason = "removed when dropped")] tempfile::TempDir),
    Bucket(#[expect(dead_code, reason = "removed when dropped")] Bucket),
}

fn memory() -> Result<Candidate, Missing> {
    let storage = Arc::new(Memory::new());
    Ok(Candidate { storage, many: 1234, empty_components: true, _keep: Keep::Nothing })
}

fn memory_with_retry() -> Result<Candidate, Missing> {
    let storage = Arc::new(Retry::new(Arc::new(Memory::new()), RetryPolicy::default()));
    Ok(Candidate { storage, many: 1234, empty_components: true, _keep: Keep::Nothing })
}

fn directory() -> Result<Candidate, Missing> {
    let root = tempfile::tempdir().unwrap();
    let config =
        StorageConfig::Directory { path: root.path().to_owned(), prefix: Prefix::parse("pg/15").unwrap() };
    let storage = open(config, RetryPolicy::default()).unwrap();
    Ok(Candidate { storage, many: 1234, empty_components: false, _keep: Keep::Directory(root) })
}

fn swift() -> Result<Candidate, Missing> {
    let bucket = Bucket::swift()?;
    let mut config = config(&bucket);
    config.create_only = CreateOnly::Upload;
    Ok(s3(config, bucket, 30, true))
}

fn versitygw() -> Result<Candidate, Missing> {
    let bucket = Bucket::versitygw()?;
    let mut config = config(&bucket);
    config.create_only = CreateOnly::Put;
    // A posix tree below: `a//b` is `a/b` there.
    Ok(s3(config, bucket, 1234, false))
}

fn versitygw_by_the_older_requests() -> Result<Candidate, Missing> {
    let bucket = Bucket::versitygw()?;
    let mut config = config(&bucket);
    config.create_only = CreateOnly::Upload;
    config.list_version = ListVersion::V1;
    config.delete_batch = 100;
    Ok(s3(config, bucket, 1234, false))
}

fn s3(config: S3Config, bucket: Bucket, many: usize, empty_components: bool) -> Candidate {
    let storage = open(StorageConfig::S3(Box::new(config)), RetryPolicy::default()).unwrap();
    Candidate { storage, many, empty_components, _keep: Keep::Bucket(bucket) }
}

fn config(bucket: &Bucket) -> S3Config {
    let get = |wanted: &str| bucket.env().find(|(name, _)| *name == wanted).unwrap().1.to_owned();
    let place = get("WALG_S3_PREFIX");
    let (name, prefix) = place.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let credentials = Credentials::Static {
        access_key: get("AWS_ACCESS_KEY_ID"),
        secret_key: get("AWS_SECRET_ACCESS_KEY").into(),
        session_token: None,
    };
    let mut config = S3Config::new(name, Prefix::parse(prefix).unwrap(), credentials);
    config.endpoint = Some(Endpoint::parse(&get("AWS_ENDPOINT")).unwrap().0);
    config.region = Some(get("AWS_REGION"));
    config.addressing = Addressing::Path;
    config
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

/// Bytes that repeat at no power of two, so that a part at a wrong offset shows.
fn content(length: usize) -> Bytes {
    (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>().into()
}

async fn put(storage: &dyn Storage, name: &str, body: impl Into<Bytes>) {
    let outcome = storage.put(&key(name), body.into(), PutMode::Overwrite).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
}

async fn read(storage: &dyn Storage, name: &str) -> Option<Bytes> {
    get_bytes(storage, &key(name)).await.unwrap().map(|(_, body)| body)
}

async fn keys(storage: &dyn Storage, below: &str) -> Vec<String> {
    let listed = list_all(storage, &prefix(below), Depth::All).await.unwrap();
    listed.objects.iter().map(|object| object.key.to_string()).collect()
}

async fn puts_and_gets(candidate: &Candidate) {
    let storage = &*candidate.storage;
    let before = jiff::Timestamp::now();
    for size in [0, 1, 1000, 300_000, 6_000_000] {
        let body = content(size);
        put(storage, "wal_005/000000010000000000000001.br", body.clone()).await;
        let meta = storage.head(&key("wal_005/000000010000000000000001.br")).await.unwrap().unwrap();
        assert_eq!(meta.size, size as u64);
        assert_eq!(meta.key.as_str(), "wal_005/000000010000000000000001.br");
        assert!(before.duration_until(meta.modified).abs() < jiff::SignedDuration::from_mins(2));
        let (got, read) = get_bytes(storage, &meta.key).await.unwrap().unwrap();
        assert!(read == body, "{size} bytes");
        assert_eq!(got.size, meta.size);
        assert_eq!(got.etag, meta.etag);
    }
}

async fn gets_from_an_offset(candidate: &Candidate) {
    let storage = &*candidate.storage;
    let body = content(700_001);
    put(storage, "object", body.clone()).await;
    for from in [0usize, 1, 262_144, 700_000, 700_001, 800_000] {
        let got = storage.get(&key("object"), from as u64, None).await.unwrap().unwrap();
        assert_eq!(got.meta.size, 700_001, "the size is the object's");
        let chunks: Vec<Bytes> = got.stream.try_collect().await.unwrap();
        assert!(chunks.concat() == body.slice(from.min(body.len())..), "from {from}");
    }
}

async fn gets_of_one_version(candidate: &Candidate) {
    let storage = &*candidate.storage;
    put(storage, "object", "old").await;
    let old = storage.head(&key("object")).await.unwrap().unwrap().etag.unwrap();
    assert!(storage.get(&key("object"), 1, Some(&old)).await.unwrap().is_some());
    put(storage, "object", "newer").await;
    let error = storage.get(&key("object"), 1, Some(&old)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
    assert!(storage.get(&key("gone"), 0, Some(&old)).await.unwrap().is_none());
}

async fn missing_is_a_value(candidate: &Candidate) {
    let storage = &*candidate.storage;
    // HEAD first: at this point nothing has shown that the bucket exists.
    assert_eq!(storage.head(&key("wal_005/none")).await.unwrap(), None);
    assert_eq!(storage.head(&key("wal_005/none")).await.unwrap(), None);
    assert!(storage.get(&key("wal_005/none"), 0, None).await.unwrap().is_none());
    assert!(storage.get(&key("wal_005/none"), 10, None).await.unwrap().is_none());
    assert_eq!(keys(storage, "wal_005").await, [""; 0]);
    assert!(storage.delete(&[key("wal_005/none")]).await.unwrap().failed.is_empty());
}

async fn uploads_in_parts(candidate: &Candidate) {
    let storage = &*candidate.storage;
    let part_bytes = usize::try_from(storage.limits().part_bytes).unwrap();
    let body = content(2 * part_bytes + 1234);
    let upload = storage.start_upload(&key("base/part_001.tar")).await.unwrap();
    let mut receipts = Vec::new();
    // In any order; a repeated part replaces itself.
    for number in [2, 1, 3, 2] {
        let start = (number - 1) * part_bytes;
        let body = body.slice(start..(start + part_bytes).min(body.len()));
        let part = Part { number: u32::try_from(number).unwrap(), offset: start as u64, body };
        let receipt = upload.put_part(part).await.unwrap();
        receipts.retain(|stored: &seawall::storage::PartReceipt| stored.number != receipt.number);
        receipts.push(receipt);
    }
    receipts.sort_by_key(|receipt| receipt.number);
    assert_eq!(read(storage, "base/part_001.tar").await, None, "invisible until complete");
    assert_eq!(keys(storage, "").await, [""; 0]);
    upload.complete(&receipts, PutMode::Overwrite).await.unwrap();
    assert!(read(storage, "base/part_001.tar").await.unwrap() == body);
}

async fn uploads_can_be_aborted(candidate: &Candidate) {
    let storage = &*candidate.storage;
    put(storage, "object", "old").await;
    let upload = storage.start_upload(&key("object")).await.unwrap();
    upload.put_part(Part { number: 1, offset: 0, body: Bytes::from_static(b"new") }).await.unwrap();
    upload.abort().await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(read(storage, "object").await.unwrap(), "old");
    assert_eq!(keys(storage, "").await, ["object"]);
}

async fn finds_what_was_never_finished(candidate: &Candidate) {
    let storage = &*candidate.storage;
    let begun = jiff::Timestamp::now();
    put(storage, "base/whole", "x").await;
    let started = async |name: &str| {
        let upload = storage.start_upload(&key(name)).await.unwrap();
        let part = Part { number: 1, offset: 0, body: Bytes::from_static(b"part") };
        let receipt = upload.put_part(part).await.unwrap();
        (upload, [receipt])
    };
    let uploads = [
        started("base/1/part_001.tar").await,
        started("base/1/part_001.tar").await,
        started("base/part_002.tar").await,
        started("basement/other").await,
    ];
    let found = async |below: &str| {
        let found = list_unfinished(storage, &prefix(below)).await.unwrap();
        let mut names: Vec<_> = found.iter().map(|unfinished| unfinished.key.to_string()).collect();
        names.sort();
        (found, names)
    };
    let (all, names) = found("").await;
    assert_eq!(names, ["base/1/part_001.tar", "base/1/part_001.tar", "base/part_002.tar", "basement/other"]);
    // By the clock of the service, which may be a little behind.
    let minute = jiff::SignedDuration::from_mins(1);
    assert!(all.iter().all(|unfinished| begun.duration_since(unfinished.modified) < minute), "{all:?}");
    assert_eq!(found("wal_005").await.1, [""; 0]);
    let (below, names) = found("base").await;
    assert_eq!(names, ["base/1/part_001.tar", "base/1/part_001.tar", "base/part_002.tar"]);

    for unfinished in &below {
        storage.remove_unfinished(unfinished).await.unwrap();
        storage.remove_unfinished(unfinished).await.unwrap();
    }
    assert_eq!(found("").await.1, ["basement/other"]);
    let [(removed, receipts), .., (kept, kept_receipts)] = &uploads;
    assert!(removed.complete(receipts, PutMode::Overwrite).await.is_err(), "its parts are gone");
    kept.complete(kept_receipts, PutMode::Overwrite).await.unwrap();
    assert_eq!(found("").await.1, [""; 0]);
    assert_eq!(keys(storage, "").await, ["base/whole", "basement/other"]);
}

async fn lists_at_both_depths(candidate: &Candidate) {
    let storage = &*candidate.storage;
    let names = [
        "basebackups_005/base_1/metadata.json",
        "basebackups_005/base_1/tar_partitions/part_001.tar.br",
        "basebackups_005/base_1_backup_stop_sentinel.json",
        "wal_005/000000010000000000000001.br",
        "wal_005x/other",
        "zz",
    ];
    for name in names {
        put(storage, name, name).await;
    }
    let all = list_all(storage, &Prefix::root(), Depth::All).await.unwrap();
    let listed: Vec<_> = all.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(listed, names);
    assert!(all.prefixes.is_empty());
    assert!(all.objects.iter().all(|object| object.size == object.key.as_str().len() as u64));

    let level = list_all(storage, &prefix("basebackups_005"), Depth::Children).await.unwrap();
    let listed: Vec<_> = level.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(listed, ["basebackups_005/base_1_backup_stop_sentinel.json"]);
    assert_eq!(level.prefixes, [prefix("basebackups_005/base_1")]);

    let top = list_all(storage, &Prefix::root(), Depth::Children).await.unwrap();
    assert_eq!(top.prefixes, [prefix("basebackups_005"), prefix("wal_005"), prefix("wal_005x")]);
    assert_eq!(keys(storage, "wal_005").await, ["wal_005/000000010000000000000001.br"]);
    assert_eq!(keys(storage, "wal_00").await, [""; 0]);

    for (stem, objects, prefixes) in [
        ("basebackups_005/base_1", &names[2..3], &[prefix("basebackups_005/base_1")][..]),
        ("wal_005/000000010000000000000001", &names[3..4], &[]),
        ("wal_005/000000010000000000000001.br", &names[3..4], &[]),
        ("wal_005/000000010000000000000002", &[], &[]),
        ("none/none", &[], &[]),
    ] {
        let found = list_all(storage, &Prefix::stem(stem).unwrap(), Depth::Children).await.unwrap();
        let listed: Vec<_> = found.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!((&listed[..], &found.prefixes[..]), (objects, prefixes), "{stem}");
    }
}

async fn lists_and_deletes_many(candidate: &Candidate) {
    let storage = &*candidate.storage;
    let mut names: Vec<_> = (0..candidate.many).map(|n| format!("wal_005/{n:08X}")).collect();
    names.extend((0..candidate.many / 4).map(|n| format!("base/{n:08X}/metadata.json")));
    let stored = futures_util::stream::iter(&names).map(|name| put(storage, name, "x")).buffer_unordered(16);
    stored.collect::<Vec<()>>().await;
    let level = list_all(storage, &prefix("base"), Depth::Children).await.unwrap();
    assert_eq!(level.prefixes.len(), candidate.many / 4);
    assert_eq!(keys(storage, "wal_005").await, names[..candidate.many]);
    assert_eq!(keys(storage, "").await.len(), names.len());
    // One of them is missing, one stays.
    let mut gone: Vec<Key> = names.iter().skip(1).map(|name| key(name)).collect();
    gone.push(key("wal_005/never"));
    let report = storage.delete(&gone).await.unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(keys(storage, "").await, names[..1]);
}

async fn takes_odd_names(candidate: &Candidate) {
    let storage = &*candidate.storage;
    let mut names = vec![
        "a b/c d",
        "100%25",
        "plus+and&amp;",
        "quote'\"",
        "ümläut/雪",
        "a:b=c,d;e@f$g!h*i(j)",
        "tab\there",
        "~tilde.tmp",
        "<xml>",
        "back\\slash",
        "#hash?query",
    ];
    if candidate.empty_components {
        names.push("double//slash");
    }
    for name in &names {
        put(storage, name, name.as_bytes().to_vec()).await;
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(keys(storage, "").await, sorted);
    for name in &names {
        assert_eq!(read(storage, name).await.unwrap(), name.as_bytes());
        assert!(storage.head(&key(name)).await.unwrap().is_some());
    }
    let all: Vec<Key> = names.iter().map(|name| key(name)).collect();
    assert!(storage.delete(&all).await.unwrap().failed.is_empty());
    assert_eq!(keys(storage, "").await, [""; 0]);
}

async fn creates_only_what_is_missing(candidate: &Candidate) {
    let storage = &*candidate.storage;
    let history = key("wal_005/00000002.history.br");
    let create = |body: &'static str| storage.put(&history, Bytes::from(body), PutMode::CreateOnly);
    assert_eq!(create("first").await.unwrap(), PutOutcome::Stored);
    assert_eq!(create("second").await.unwrap(), PutOutcome::AlreadyExists);
    assert_eq!(read(storage, history.as_str()).await.unwrap(), "first");
    put(storage, history.as_str(), "third").await;
    assert_eq!(read(storage, history.as_str()).await.unwrap(), "third");

    let segment = key("wal_005/000000020000000000000001");
    let upload = async |body: &'static str| {
        let upload = storage.start_upload(&segment).await.unwrap();
        let part = Part { number: 1, offset: 0, body: Bytes::from_static(body.as_bytes()) };
        let receipts = [upload.put_part(part).await.unwrap()];
        let outcome = upload.complete(&receipts, PutMode::CreateOnly).await.unwrap();
        if outcome == PutOutcome::AlreadyExists {
            upload.abort().await.unwrap();
        }
        outcome
    };
    assert_eq!(upload("first").await, PutOutcome::Stored);
    assert_eq!(upload("second").await, PutOutcome::AlreadyExists);
    assert_eq!(read(storage, segment.as_str()).await.unwrap(), "first");
    assert!(list_unfinished(storage, &prefix("")).await.unwrap().is_empty());
}

/// A module of chapters for each storage.
macro_rules! contract {
    ($($candidate:ident),* ; $chapters:tt) => { $( contract!(@storage $candidate $chapters); )* };
    (@storage $candidate:ident ($($chapter:ident),* $(,)?)) => {
        mod $candidate {
            use super::*;
            $(
                #[test]
                fn $chapter() {
                    let candidate = require!(super::$candidate());
                    block_on(super::$chapter(&candidate));
                }
            )*
        }
    };
}

contract!(
    memory, memory_with_retry, directory, swift, versitygw, versitygw_by_the_older_requests;
    (
        puts_and_gets,
        gets_from_an_offset,
        gets_of_one_version,
        missing_is_a_value,
        uploads_in_parts,
        uploads_can_be_aborted,
        finds_what_was_never_finished,
        lists_at_both_depths,
        lists_and_deletes_many,
        takes_odd_names,
        creates_only_what_is_missing,
    )
);

/// Every operation fails with this class, within `limit`; none takes it for "missing".
fn refuses_everything(config: S3Config, kind: ErrorKind, limit: Duration, words: &[&str]) {
    let storage = open(StorageConfig::S3(Box::new(config)), RetryPolicy::default()).unwrap();
    let object = key("wal_005/000000010000000000000001.br");
    let timed = |name: &str, begin: Instant, error: seawall::storage::Error| {
        assert!(begin.elapsed() < limit, "{name} took {:?}", begin.elapsed());
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.hint().is_some(), "{name}: {error}");
        let text = error.to_string();
        assert!(!text.contains("testing") && !text.contains('\n') && text.len() < 700, "{text}");
        for word in words {
            assert!(text.contains(word), "{name}: `{word}` in `{text}`");
        }
    };
    block_on(async {
        let begin = Instant::now();
        timed("head", begin, storage.head(&object).await.unwrap_err());
        let begin = Instant::now();
        timed("get", begin, storage.get(&object, 0, None).await.unwrap_err());
        let begin = Instant::now();
        timed("list", begin, list_all(&*storage, &Prefix::root(), Depth::All).await.unwrap_err());
        let begin = Instant::now();
        timed("put", begin, storage.put(&object, content(100), PutMode::Overwrite).await.unwrap_err());
        let begin = Instant::now();
        timed("delete", begin, storage.delete(&[object.clone(), key("b")]).await.unwrap_err());
        let begin = Instant::now();
        timed("upload", begin, storage.start_upload(&object).await.err().unwrap());
    });
}

/// HEAD has no body, so its words are fewer than those of the other answers.
fn refuses_a_wrong_secret(bucket: &Bucket) {
    let mut config = config(bucket);
    let Credentials::Static { access_key, .. } = config.credentials else { panic!("static credentials") };
    config.credentials =
        Credentials::Static { access_key, secret_key: "wrong".to_owned().into(), session_token: None };
    let words = ["HTTP 403", "http://127.0.0.1:"];
    refuses_everything(config, ErrorKind::Refused, Duration::from_secs(60), &words);
}

fn has_no_such_bucket(bucket: &Bucket) {
    let mut config = config(bucket);
    config.bucket = "seawall-nowhere".to_owned();
    let words = ["NoSuchBucket", "HTTP 404", "s3://seawall-nowhere/"];
    refuses_everything(config, ErrorKind::NoBucket, Duration::from_secs(60), &words);
}

#[test]
fn swift_refuses_a_wrong_secret() {
    refuses_a_wrong_secret(&require!(Bucket::swift()));
}

#[test]
fn versitygw_refuses_a_wrong_secret() {
    refuses_a_wrong_secret(&require!(Bucket::versitygw()));
}

#[test]
fn swift_has_no_such_bucket() {
    has_no_such_bucket(&require!(Bucket::swift()));
}

#[test]
fn versitygw_has_no_such_bucket() {
    has_no_such_bucket(&require!(Bucket::versitygw()));
}

#[test]
fn versitygw_wants_its_region() {
    let bucket = require!(Bucket::versitygw());
    let mut config = config(&bucket);
    config.region = Some("eu-central-1".to_owned());
    let storage = open(StorageConfig::S3(Box::new(config.clone())), RetryPolicy::default()).unwrap();
    let error = block_on(list_all(&*storage, &Prefix::root(), Depth::All)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("AuthorizationHeaderMalformed"), "{error}");
    assert!(error.hint().unwrap().contains("`us-east-1`: set AWS_REGION"), "{:?}", error.hint());
    // As barman-cloud takes it, whatever the first request is.
    config.region_is = RegionIs::Guess;
    let storage = open(StorageConfig::S3(Box::new(config)), RetryPolicy::default()).unwrap();
    assert!(block_on(storage.head(&Key::parse("missing").unwrap())).unwrap().is_none());
    assert!(block_on(list_all(&*storage, &Prefix::root(), Depth::All)).unwrap().objects.is_empty());
}

/// What `storage check` says of the storage, by the names of what it tries.
fn checked(scratch: &Scratch, seawall: &Tool, exit: i32) -> (BTreeMap<String, String>, serde_json::Value) {
    let run = seawall.run(scratch, ["storage", "check", "--json"]).exits(exit);
    let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["ok"], exit == 0, "{run}");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let checks = document["checks"].as_array().unwrap().iter();
    (checks.map(|check| (text(&check["name"]), text(&check["result"]))).collect(), document)
}

/// Everything is "ok" but for these.
#[track_caller]
fn all_ok_but(results: &BTreeMap<String, String>, others: &[(&str, &str)]) {
    let found: Vec<_> = results.iter().filter(|(_, result)| *result != "ok").collect();
    let found: Vec<_> = found.iter().map(|(name, result)| (name.as_str(), result.as_str())).collect();
    assert_eq!(found, others);
}

#[test]
fn a_directory_is_checked() {
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let seawall = Tool::seawall(&scratch).with_all(bucket.env());
    let (results, document) = checked(&scratch, &seawall, 0);
    all_ok_but(&results, &[]);
    assert_eq!(results.len(), 7, "{results:?}");
    assert!(document.get("service").is_none());
    let root = std::path::Path::new(bucket.setting("WALG_FILE_PREFIX"));
    assert_eq!(std::fs::read_dir(root).unwrap().count(), 0, "nothing is left, no directory either");
    let run = seawall.run(&scratch, ["storage", "check"]).success();
    run.stdout_has("| fsync ").stdout_has("| free space ");
    let gone = seawall.with("WALG_FILE_PREFIX", "/nowhere/at/all");
    let (results, _) = checked(&scratch, &gone, 1);
    assert_eq!((results["place"].as_str(), results["write"].as_str()), ("failed", "not tried"));
}

fn service_is_checked(bucket: &Bucket, service: &str, others: &[(&str, &str)]) {
    let scratch = Scratch::new();
    let seawall = Tool::seawall(&scratch).with_all(bucket.env());
    let (results, document) = checked(&scratch, &seawall, 0);
    all_ok_but(&results, others);
    assert_eq!(
        (&document["service"]["name"], &document["service"]["known_by"]),
        (&service.into(), &"answers".into())
    );
    assert_eq!(bucket.keys(), [""; 0]);
    assert_eq!(bucket.unfinished(), [""; 0]);

    let refused = seawall.clone().with("AWS_SECRET_ACCESS_KEY", "mistyped-key");
    let run = refused.run(&scratch, ["storage", "check"]).exits(1).stderr_has("the storage failed the check");
    assert!(!run.stdout.contains("mistyped-key"), "{run}");
    let (results, _) = checked(&scratch, &refused, 1);
    for (name, result) in
        [("clock", "ok"), ("signed_put", "failed"), ("list_v2", "failed"), ("read", "not tried")]
    {
        assert_eq!(results[name], result, "{name}");
    }
}

#[test]
fn swift_is_checked() {
    let others = [("batch_delete_without_md5", "no"), ("checksum", "no"), ("create_by_put", "no")];
    service_is_checked(&require!(Bucket::swift()), "OpenStack Swift", &others);
}

#[test]
fn versitygw_is_checked() {
    service_is_checked(&require!(Bucket::versitygw()), "versitygw", &[]);
}

#[test]
fn nobody_is_checked() {
    let scratch = Scratch::new();
    let seawall = Tool::seawall(&scratch)
        .with("WALG_S3_PREFIX", "s3://bucket/x")
        .with("AWS_ENDPOINT", "http://127.0.0.1:1")
        .with("AWS_ACCESS_KEY_ID", "key")
        .with("AWS_SECRET_ACCESS_KEY", "secret");
    let (results, document) = checked(&scratch, &seawall, 1);
    assert_eq!(results["place"], "failed");
    assert!(results.iter().all(|(name, result)| name == "place" || result == "not tried"), "{results:?}");
    assert!(document["checks"][0]["hint"].as_str().unwrap().contains("AWS_ENDPOINT"), "{document}");
}
