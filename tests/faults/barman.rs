//! barman-cloud's commands with a fault at each of their requests.

use std::fs;
use std::path::PathBuf;

use crate::case::{Case, Ended, Ground, Objects, Trial, each_request};
use crate::require;
use crate::support::{Barman, Bucket, Run};
use crate::walg::{Repository, SEGMENT};

const SERVER: &str = "cluster";

/// A command for one file of WAL, with boto's settings.
pub struct Wal {
    barman: Barman,
    /// The file.
    segment: PathBuf,
    objects: Objects,
    command: &'static str,
}

impl Wal {
    pub fn archive(ground: &Ground) -> Self {
        let segment = Repository::new(ground).segment;
        let barman = Barman::seawall(&ground.scratch);
        Self { barman, segment, objects: Objects::new(), command: "wal-archive" }
    }

    pub fn restore(ground: &Ground) -> Self {
        let archive = Self::archive(ground);
        let objects = {
            let case = ground.case(&archive.objects).unwrap();
            archive.run(&case).success();
            case.bucket.keys().into_iter().map(|key| (key.clone(), case.bucket.get(&key))).collect()
        };
        Self { objects, command: "wal-restore", ..archive }
    }

    /// A silence of one second is enough for everything here.
    fn call(&self, case: &Case<'_>, endpoint: &str, command: &str, place: &str) -> Run {
        let url = case.bucket.setting("WALG_S3_PREFIX");
        let mut line = vec!["--endpoint-url", endpoint, "--read-timeout", "1"];
        match command {
            "wal-restore" => line.extend([url, SERVER, SEGMENT, place]),
            _ => line.extend(["--gzip", url, SERVER, place]),
        }
        self.barman.clone().for_bucket(&case.bucket).run(&case.ground.scratch, command, line)
    }
}

impl Trial for Wal {
    fn objects(&self) -> &Objects {
        &self.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        let place = match self.command {
            "wal-restore" => case.path("RECOVERYXLOG"),
            _ => self.segment.to_str().unwrap().to_owned(),
        };
        self.call(case, &case.proxy.endpoint(), self.command, &place)
    }

    /// Not 1, which says that the file is not there.
    fn failure_codes(&self) -> &[i32] {
        &[2, 4]
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        match (self.command, ended) {
            ("wal-restore", Ended::Done) => {
                case.holds(&["RECOVERYXLOG"]);
                assert!(fs::read(case.path("RECOVERYXLOG")).unwrap() == fs::read(&self.segment).unwrap());
            }
            ("wal-restore", Ended::Failed) => case.holds(&[]),
            (_, Ended::Failed) if case.bucket.keys().is_empty() => {}
            _ => {
                let fetched = case.path("fetched");
                let direct = case.bucket.setting("AWS_ENDPOINT");
                self.call(case, direct, "wal-restore", &fetched).success();
                assert!(fs::read(fetched).unwrap() == fs::read(&self.segment).unwrap());
            }
        }
    }
}

#[test]
fn wal_archive() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &Wal::archive(&ground));
}

#[test]
fn wal_restore() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &Wal::restore(&ground));
}
