//! The commands of barman-cloud: the real ones, or seawall called by their names. Both have the same command lines, so a
//! test is written once and run with either.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::available::Missing;
use super::bucket::Bucket;
use super::command::Run;
use super::scratch::Scratch;
use super::tool::Tool;

/// A directory with the commands, and the environment they are called with.
#[derive(Clone)]
pub struct Barman {
    directory: PathBuf,
    real: bool,
    env: BTreeMap<String, String>,
}

/// Waits for it: the id of a backup is the second in which it was started, and barman replaces what is there by that name.
pub fn next_second() {
    let second = Duration::from_secs(1);
    let into = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    thread::sleep(second - Duration::from_nanos(into.into()));
}

/// All of them begin with it.
const PREFIX: &str = "barman-cloud-";

impl Barman {
    /// The real one.
    pub fn real() -> Result<Self, Missing> {
        let directory = std::env::var("SEAWALL_TEST_BARMAN").map_err(|_| {
            Missing::installable("no barman-cloud, SEAWALL_TEST_BARMAN is not set (scripts/test sets it)")
        })?;
        Ok(Self { directory: directory.into(), real: true, env: BTreeMap::new() })
    }

    /// seawall, if `SEAWALL_TEST_BINARY=barman-cloud` does not say to try the test itself with the real one.
    pub fn under_test(scratch: &Scratch) -> Result<Self, Missing> {
        match std::env::var("SEAWALL_TEST_BINARY").as_deref() {
            Ok("barman-cloud") => Self::real(),
            _ => Ok(Self::seawall(scratch)),
        }
    }

    /// seawall by each of the names, in a directory of its own.
    pub fn seawall(scratch: &Scratch) -> Self {
        let directory = scratch.absent("links");
        if !directory.exists() {
            let directory = scratch.dir("links");
            Tool::seawall(scratch).run(scratch, ["install-links", directory.to_str().unwrap()]).success();
        }
        Self { directory, real: false, env: BTreeMap::new() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn with_all<'a>(mut self, env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.env.extend(env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// With the credentials for a bucket, by boto's names.
    #[must_use]
    pub fn for_bucket(self, bucket: &Bucket) -> Self {
        let names = [
            ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
            ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_REGION", "AWS_DEFAULT_REGION"),
        ];
        self.with_all(names.map(|(ours, theirs)| (theirs, bucket.setting(ours))))
    }

    /// Whether it is barman's own.
    pub fn is_real(&self) -> bool {
        self.real
    }

    /// Where the commands are, for PATH.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// One of the commands, without what all their names begin with.
    pub fn tool(&self, command: &str) -> Tool {
        let env = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Tool::at(self.directory.join(format!("{PREFIX}{command}"))).with_all(env)
    }

    pub fn run<I>(&self, scratch: &Scratch, command: &str, args: I) -> Run
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        self.tool(command).run(scratch, args)
    }
}
