//! A place for a repository: a directory, or a bucket of its own on Swift or versitygw.

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{MultipartUpload, ObjectLockLegalHold, ObjectLockLegalHoldStatus};

use super::available::Missing;
use super::files::paths_below;
use super::scratch::Scratch;

/// An empty place for objects, gone with its objects when the test ends.
///
/// Keys are those below the repository's prefix. Reading and writing here goes past the code under test.
pub struct Bucket {
    place: Place,
    env: Vec<(String, String)>,
}

enum Place {
    Directory(PathBuf),
    S3(S3Bucket),
}

struct S3Bucket {
    client: Client,
    runtime: tokio::runtime::Runtime,
    name: String,
    /// Of the keys of the repository; empty, or ends with `/`.
    prefix: &'static str,
    locks: Locks,
}

/// Whether a bucket can keep objects from being deleted. What was locked stays in it when the test ends.
#[derive(Clone, Copy, PartialEq)]
enum Locks {
    None,
    OfObjects,
}

/// Repositories lie below the bucket's root, so that nothing beside them may be touched, if a test does not say otherwise.
const PREFIX: &str = "backups/demo/";

const OWNER: &str = "/seawall_owner.json";

impl Bucket {
    /// A directory, `WALG_FILE_PREFIX`.
    pub fn directory(scratch: &Scratch, name: &str) -> Self {
        let path = scratch.dir(name);
        let env = [("WALG_FILE_PREFIX", path.to_str().unwrap())];
        Self { env: owned(&env), place: Place::Directory(path) }
    }

    /// A bucket on OpenStack Swift.
    pub fn swift() -> Result<Self, Missing> {
        Self::s3("SEAWALL_TEST_SWIFT", "Swift", PREFIX, Locks::None)
    }

    /// A bucket on versitygw.
    pub fn versitygw() -> Result<Self, Missing> {
        Self::s3("SEAWALL_TEST_VERSITYGW", "versitygw", PREFIX, Locks::None)
    }

    /// A bucket on versitygw that keeps versions and locks objects.
    pub fn with_locks() -> Result<Self, Missing> {
        Self::s3("SEAWALL_TEST_VERSITYGW", "versitygw", PREFIX, Locks::OfObjects)
    }

    /// A bucket on versitygw that is the repository, without a prefix.
    pub fn whole_versitygw() -> Result<Self, Missing> {
        Self::s3("SEAWALL_TEST_VERSITYGW", "versitygw", "", Locks::None)
    }

    fn s3(variable: &str, server: &str, prefix: &'static str, locks: Locks) -> Result<Self, Missing> {
        let value = std::env::var(variable).map_err(|_| {
            Missing::installable(format!("no {server}, {variable} is not set (scripts/test sets it)"))
        })?;
        let parts: Vec<&str> = value.split('|').collect();
        let [endpoint, access_key, secret_key, region] = parts[..] else {
            panic!("{variable} is not endpoint|access key|secret key|region")
        };
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
            .region(Region::new(region.to_owned()))
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        let name = fresh_name();
        let bucket = S3Bucket {
            client: Client::from_conf(config),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            name: name.clone(),
            prefix,
            locks,
        };
        let create = bucket.client.create_bucket().bucket(&name);
        let create = create.object_lock_enabled_for_bucket(locks == Locks::OfObjects);
        bucket.wait(create.send()).unwrap();
        let env = [
            ("WALG_S3_PREFIX", format!("s3://{name}/{prefix}").trim_end_matches('/')),
            ("AWS_ENDPOINT", endpoint),
            ("AWS_ACCESS_KEY_ID", access_key),
            ("AWS_SECRET_ACCESS_KEY", secret_key),
            ("AWS_REGION", region),
            ("AWS_S3_FORCE_PATH_STYLE", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self { place: Place::S3(bucket), env: env.into() })
    }

    /// Deletes the bucket itself; something has to make it again before the test ends.
    pub fn remove(&self) {
        if let Place::S3(bucket) = &self.place {
            bucket.remove();
        }
    }

    /// The settings that lead the tool here.
    pub fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one of these settings.
    #[track_caller]
    pub fn setting(&self, name: &str) -> &str {
        self.env().find(|(setting, _)| *setting == name).unwrap().1
    }

    /// All keys below the prefix, sorted, but for the record of [`Bucket::owner`], which comes with the first object.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.every_key();
        keys.retain(|key| !key.ends_with(OWNER));
        keys.sort();
        keys
    }

    /// What says whose repository this is.
    pub fn owner(&self) -> Option<String> {
        let key = self.every_key().into_iter().find(|key| key.ends_with(OWNER))?;
        Some(String::from_utf8(self.get(&key)).unwrap())
    }

    fn every_key(&self) -> Vec<String> {
        match &self.place {
            Place::Directory(root) => paths_below(root).into_keys().collect(),
            Place::S3(bucket) => {
                let below = |key: &String| key.strip_prefix(bucket.prefix).map(str::to_owned);
                bucket.keys().iter().filter_map(below).collect()
            }
        }
    }

    /// The keys of the uploads that were neither completed nor aborted, below the prefix or not; of a directory, the
    /// files with temporary names.
    pub fn unfinished(&self) -> Vec<String> {
        match &self.place {
            Place::Directory(root) => {
                paths_below(root).into_keys().filter(|name| name.contains(".tmp.2")).collect()
            }
            Place::S3(bucket) => bucket.uploads().into_iter().map(|(key, _)| key).collect(),
        }
    }

    /// The names of the backups, those with a sentinel.
    pub fn backups(&self) -> Vec<String> {
        let name = |key: &String| {
            let name = key.strip_prefix("basebackups_005/")?.strip_suffix("_backup_stop_sentinel.json")?;
            Some(name.to_owned())
        };
        self.keys().iter().filter_map(name).collect()
    }

    #[track_caller]
    pub fn get(&self, key: &str) -> Vec<u8> {
        match &self.place {
            Place::Directory(root) => fs::read(root.join(key)).unwrap(),
            Place::S3(bucket) => bucket.get(&bucket.key(key)),
        }
    }

    /// Writes an object past the tool: to damage one, or to lay down what another program wrote.
    pub fn put(&self, scratch: &Scratch, key: &str, body: &[u8]) {
        match &self.place {
            Place::Directory(root) => {
                let path = root.join(key);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, body).unwrap();
                scratch.own(root);
            }
            Place::S3(bucket) => bucket.put(&bucket.key(key), body),
        }
    }

    /// Puts an object of a bucket [with locks](Bucket::with_locks) under a legal hold, or takes it away.
    pub fn hold(&self, key: &str, status: ObjectLockLegalHoldStatus) {
        let Place::S3(bucket) = &self.place else { panic!("no locks in a directory") };
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let request = bucket.client.put_object_legal_hold().bucket(&bucket.name).key(bucket.key(key));
        bucket.wait(request.legal_hold(hold).send()).unwrap();
    }

    pub fn delete(&self, key: &str) {
        match &self.place {
            Place::Directory(root) => fs::remove_file(root.join(key)).unwrap(),
            Place::S3(bucket) => bucket.delete(&bucket.key(key)),
        }
    }
}

impl S3Bucket {
    fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The whole key of an object of the repository.
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// All keys of the bucket.
    fn keys(&self) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(&self.name).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = self.wait(pages.next()) {
            keys.extend(page.unwrap().contents().iter().map(|object| object.key().unwrap().to_owned()));
        }
        keys
    }

    #[track_caller]
    fn get(&self, key: &str) -> Vec<u8> {
        self.wait(async {
            let answer = self.client.get_object().bucket(&self.name).key(key).send().await.unwrap();
            answer.body.collect().await.unwrap().to_vec()
        })
    }

    fn put(&self, key: &str, body: &[u8]) {
        let body = ByteStream::from(body.to_vec());
        self.wait(self.client.put_object().bucket(&self.name).key(key).body(body).send()).unwrap();
    }

    fn delete(&self, key: &str) {
        self.wait(self.client.delete_object().bucket(&self.name).key(key).send()).unwrap();
    }

    fn remove(&self) {
        self.wait(self.client.delete_bucket().bucket(&self.name).send()).unwrap();
    }

    /// Key and id of each multipart upload.
    fn uploads(&self) -> Vec<(String, String)> {
        let uploads = self.wait(self.client.list_multipart_uploads().bucket(&self.name).send()).unwrap();
        let uploads = uploads.uploads().iter();
        uploads.map(|upload| (upload.key.clone().unwrap(), upload.upload_id.clone().unwrap())).collect()
    }

    fn abort_uploads(&self) {
        for (key, id) in self.uploads() {
            let abort = self.client.abort_multipart_upload().bucket(&self.name);
            self.wait(abort.key(key).upload_id(id).send()).unwrap();
        }
    }
}

impl Drop for S3Bucket {
    fn drop(&mut self) {
        if std::thread::panicking() || self.locks == Locks::OfObjects {
            return; // the server is wiped after the tests; a second panic would hide the first
        }
        self.abort_uploads();
        for key in self.keys() {
            self.delete(&key);
        }
        self.remove();
    }
}

/// Unique among the buckets of all test processes of this machine.
fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!("seawall-{}-{since_epoch:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn owned(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
