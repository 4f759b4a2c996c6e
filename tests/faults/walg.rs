//! wal-g's commands with a fault at each of their requests.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::case::{Case, Ended, Ground, Objects, Trial, each_request, is_of_its_own_kind};
use crate::require;
use crate::servers::Servers;
use crate::support::{Bucket, Cluster, Fault, Fixture, Postgres, Run, Tool, files_below, run};

const FIXTURE: &str = "zstd-sodium-base64-seg1";
pub const BACKUP: &str = "base_000000010000000000000007";
/// A whole segment, of 1 MiB.
pub const SEGMENT: &str = "000000010000000000000008";
const ABSENT: &str = "00000001000000000000000F";

/// A repository of the real wal-g: encrypted, with one backup.
#[derive(Clone)]
pub struct Repository {
    pub objects: Objects,
    /// The settings that it was written with.
    pub settings: Vec<(String, String)>,
    /// A file of its WAL, in a directory of its own.
    pub segment: PathBuf,
}

impl Repository {
    pub fn new(ground: &Ground) -> Self {
        let fixture = Fixture::open(&ground.scratch, FIXTURE);
        let mut settings: Vec<(String, String)> =
            fixture.env().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let segment = ground.scratch.dir("pg_wal").join(SEGMENT);
        let fetch = ["wal-fetch", SEGMENT, segment.to_str().unwrap()];
        ground.seawall.clone().with_all(fixture.env()).run(&ground.scratch, fetch).success();
        let storage = settings.iter().position(|(name, _)| name == "WALG_FILE_PREFIX").unwrap();
        let (_, storage) = settings.remove(storage);
        // No prefetching, which is a process of its own.
        settings.push(("WALG_DOWNLOAD_CONCURRENCY".to_owned(), "1".to_owned()));
        Self { objects: files_below(storage.as_ref()), settings, segment }
    }

    /// With only the objects whose key has one of these in it.
    pub fn only(mut self, parts: &[&str]) -> Self {
        self.objects.retain(|key, _| parts.iter().any(|part| key.contains(part)));
        self
    }

    /// Every command that needs nothing but this repository.
    pub fn trials(&self) -> [Box<dyn Trial>; 6] {
        [
            Box::new(WalPush { repository: self.clone(), nothing: Objects::new() }),
            Box::new(WalFetch(self.clone())),
            Box::new(WalFetchOfNothing(self.clone())),
            Box::new(BackupFetch { repository: self.clone(), restored: OnceLock::new() }),
            Box::new(BackupList(self.clone())),
            Box::new(DeleteEverything(self.clone())),
        ]
    }

    fn with_settings(&self, tool: Tool) -> Tool {
        tool.with_all(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    fn run(&self, case: &Case<'_>, arguments: &[&str]) -> Run {
        self.with_settings(case.seawall()).run(&case.ground.scratch, arguments)
    }

    /// The same, with no fault in its way.
    fn run_directly(&self, case: &Case<'_>, arguments: &[&str]) -> Run {
        self.with_settings(case.direct()).run(&case.ground.scratch, arguments)
    }

    fn fetches_whole(&self, case: &Case<'_>) {
        let fetched = case.path("fetched");
        self.run_directly(case, &["wal-fetch", SEGMENT, &fetched]).success();
        assert!(fs::read(fetched).unwrap() == fs::read(&self.segment).unwrap());
    }
}

struct WalPush {
    repository: Repository,
    nothing: Objects,
}

impl WalPush {
    fn new(ground: &Ground) -> Self {
        Self { repository: Repository::new(ground), nothing: Objects::new() }
    }
}

impl Trial for WalPush {
    fn objects(&self) -> &Objects {
        &self.nothing
    }

    fn run(&self, case: &Case<'_>) -> Run {
        let tool = self.repository.with_settings(case.seawall()).with("WALG_PREVENT_WAL_OVERWRITE", "true");
        tool.run(&case.ground.scratch, ["wal-push", self.repository.segment.to_str().unwrap()])
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        let stored = case.bucket.keys().iter().any(|key| key.contains(SEGMENT));
        assert!(stored || ended == Ended::Failed);
        if stored {
            self.repository.fetches_whole(case);
        }
        assert_eq!(fs::read_dir(self.repository.segment.parent().unwrap()).unwrap().count(), 1);
    }
}

#[test]
fn wal_push() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &WalPush::new(&ground));
}

struct WalFetch(Repository);

impl Trial for WalFetch {
    fn objects(&self) -> &Objects {
        &self.0.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        self.0.run(case, &["wal-fetch", SEGMENT, &case.path("RECOVERYXLOG")])
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        match ended {
            Ended::Done => {
                case.holds(&["RECOVERYXLOG"]);
                assert!(fs::read(case.path("RECOVERYXLOG")).unwrap() == fs::read(&self.0.segment).unwrap());
            }
            Ended::Failed => case.holds(&[]),
        }
    }
}

#[test]
fn wal_fetch() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &WalFetch(Repository::new(&ground).only(&[SEGMENT])));
}

/// The end of every recovery. Whatever fails, 74 is said only when the file is not there.
struct WalFetchOfNothing(Repository);

impl Trial for WalFetchOfNothing {
    fn objects(&self) -> &Objects {
        &self.0.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        self.0.run(case, &["wal-fetch", ABSENT, &case.path("RECOVERYXLOG")])
    }

    fn code(&self) -> i32 {
        74
    }

    fn check(&self, case: &Case<'_>, _: Ended, _: &Run) {
        case.holds(&[]);
    }
}

#[test]
fn wal_fetch_of_a_missing_file() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &WalFetchOfNothing(Repository::new(&ground).only(&[SEGMENT])));
}

struct BackupFetch {
    repository: Repository,
    /// Without a fault.
    restored: OnceLock<Objects>,
}

impl BackupFetch {
    fn new(ground: &Ground) -> Self {
        Self { repository: Repository::new(ground).only(&["basebackups_005"]), restored: OnceLock::new() }
    }
}

impl Trial for BackupFetch {
    fn objects(&self) -> &Objects {
        &self.repository.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        self.repository.run(case, &["backup-fetch", &case.path("data"), "LATEST"])
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        case.is_restored(ended, &self.restored);
    }
}

#[test]
fn backup_fetch() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &BackupFetch::new(&ground));
}

struct BackupList(Repository);

impl Trial for BackupList {
    fn objects(&self) -> &Objects {
        &self.0.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        self.0.run(case, &["backup-list", "--detail"])
    }

    fn check(&self, _: &Case<'_>, ended: Ended, run: &Run) {
        assert!(
            ended == Ended::Failed || run.stdout.lines().count() == 2 && run.stdout.contains(BACKUP),
            "{run}"
        );
    }
}

#[test]
fn backup_list() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &BackupList(Repository::new(&ground).only(&[".json"])));
}

struct DeleteEverything(Repository);

impl DeleteEverything {
    const LINE: [&str; 4] = ["delete", "everything", "FORCE", "--confirm"];
}

impl Trial for DeleteEverything {
    fn objects(&self) -> &Objects {
        &self.0.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        self.0.run(case, &Self::LINE)
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        if ended == Ended::Failed {
            if !case.bucket.backups().is_empty() {
                let restored = case.path("restored");
                self.0.run_directly(case, &["backup-fetch", &restored, BACKUP]).success();
            }
            self.0.run_directly(case, &Self::LINE).success();
        }
        assert_eq!(case.bucket.keys(), [""; 0]);
    }
}

#[test]
fn delete_everything() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &DeleteEverything(Repository::new(&ground)));
}

pub struct BackupPush<'a> {
    servers: Servers<'a>,
    nothing: Objects,
}

impl<'a> BackupPush<'a> {
    pub fn new(clusters: &'a [Cluster<'a>]) -> Self {
        Self { servers: Servers::new(clusters), nothing: Objects::new() }
    }
}

impl Trial for BackupPush<'_> {
    fn objects(&self) -> &Objects {
        &self.nothing
    }

    fn run(&self, case: &Case<'_>) -> Run {
        // So that there are tars of several parts.
        let tool =
            case.seawall().with("WALG_COMPRESSION_METHOD", "none").with("WALG_S3_MAX_PART_SIZE", "5242880");
        let cluster = self.servers.free();
        let mut command =
            tool.command(&case.ground.scratch, ["backup-push", cluster.data().to_str().unwrap()]);
        run(command.envs(cluster.libpq_env()))
    }

    /// It takes a second each time.
    fn minds(&self, fault: Fault) -> bool {
        is_of_its_own_kind(fault)
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        match ended {
            Ended::Done => {
                let restored = case.path("restored");
                case.direct().run(&case.ground.scratch, ["backup-fetch", &restored, "LATEST"]).success();
            }
            Ended::Failed => {
                assert!(case.bucket.backups().is_empty());
                let left: Vec<String> =
                    case.bucket.keys().into_iter().filter(|key| key.contains("base_")).collect();
                assert_eq!(left, [""; 0]);
                assert_eq!(case.bucket.unfinished(), [""; 0]);
            }
        }
    }
}

#[test]
fn backup_push() {
    drop(require!(Bucket::versitygw()));
    let postgres = require!(Postgres::version(15));
    let ground = Ground::new();
    let clusters = [Cluster::running(&ground.scratch, &postgres, "source", &[])];
    each_request(&ground, &BackupPush::new(&clusters));
}
