//! barman-cloud's commands for catalogues and backups with a fault at each of their requests.

use std::path::Path;
use std::sync::OnceLock;

use crate::call::{Call, Changes, Looks, Way, content, old_or_new};
use crate::case::{Case, Ended, Ground, Objects, Trial, each_request, is_of_its_own_kind};
use crate::require;
use crate::servers::Servers;
use crate::support::{Barman, Bucket, Cluster, Fault, Postgres, Run, ServerBackup, files_below, run};

const SERVER: &str = "cluster";

/// A document that is damaged, no answer, everything else.
const FAILURES: &[i32] = &[1, 2, 4];

/// The same of a command whose 1 says what it has found.
const NOT_FOUND_OUT: &[i32] = &[2, 4];

/// The fixture of a backup in snappy with WAL in zstd.
pub const BARMANS: &str = "snappy-zstd";

/// A repository of barman's own.
pub struct Repo {
    pub ground: Ground,
    pub barman: Barman,
    pub objects: Objects,
}

const FIRST: &str = "20261121T031421";

impl Repo {
    /// One backup three times: the first one has WAL before the others.
    pub fn of_three() -> Self {
        let mut repo = Self::of_fixture("bzip2");
        // Nobody reads them here.
        for (key, body) in &mut repo.objects {
            if !key.ends_with("backup.info") {
                body.truncate(1);
            }
        }
        for (key, body) in repo.objects.clone().into_iter().filter(|(key, _)| key.contains(FIRST)) {
            for (id, begin) in [("20261121T041421", "3"), ("20261121T051421", "4")] {
                let body = String::from_utf8_lossy(&body).replace(
                    "begin_wal=000000010000000000000002",
                    &format!("begin_wal=00000001000000000000000{begin}"),
                );
                repo.objects.insert(key.replace(FIRST, id), body.into_bytes());
            }
        }
        repo
    }

    /// With nothing but one backup.
    pub fn of_a_backup() -> Self {
        let mut repo = Self::of_fixture(BARMANS);
        repo.objects.retain(|key, _| key.contains("/base/"));
        repo
    }

    pub fn of_fixture(name: &str) -> Self {
        let ground = Ground::new();
        let barman = Barman::seawall(&ground.scratch);
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/barman-cloud");
        let objects = files_below(&fixtures.join(name).join("storage/pfx"));
        let objects = objects
            .into_iter()
            .filter_map(|(key, body)| Some((format!("{SERVER}/{}", key.strip_prefix("srv/")?), body)));
        let objects = objects.collect();
        Self { ground, barman, objects }
    }

    /// Runs a line, in which `PLACE` stands for URL and server.
    fn run(&self, case: &Case<'_>, way: Way, line: &[&str]) -> Run {
        self.run_with(&[], case, way, line)
    }

    /// The same with more of an environment.
    fn run_with(&self, env: &[(&str, &str)], case: &Case<'_>, way: Way, line: &[&str]) -> Run {
        let endpoint = way.endpoint(case);
        let mut words = vec!["--endpoint-url", &endpoint, "--read-timeout", "5"];
        for word in &line[1..] {
            match *word {
                "PLACE" => words.extend([case.bucket.setting("WALG_S3_PREFIX"), SERVER]),
                word => words.push(word),
            }
        }
        let barman = self.barman.clone().for_bucket(&case.bucket).with_all(env.iter().copied());
        barman.run(&self.ground.scratch, line[0], words)
    }

    /// Commands for the catalogue of three.
    pub fn trials(&self) -> Vec<Box<dyn Trial + '_>> {
        let looks = |line| Looks::new(&self.objects, FAILURES, self.call(line));
        let check = Looks::new(&Objects::new(), NOT_FOUND_OUT, self.call(&["check-wal-archive", "PLACE"]));
        let changes = |line, intact| Changes::new(&self.objects, FAILURES, intact, self.call(line));
        vec![
            Box::new(looks(&["backup-list", "PLACE"])),
            Box::new(looks(&["backup-show", "PLACE", "latest"])),
            Box::new(check),
            Box::new(changes(&["backup-keep", "--target", "full", "PLACE", FIRST], old_or_new)),
            Box::new(changes(
                &["backup-delete", "--retention-policy", "REDUNDANCY 1", "PLACE"],
                done_is_whole,
            )),
        ]
    }

    fn call<'a>(&'a self, line: &'a [&'a str]) -> Call<'a> {
        Box::new(move |case, way| self.run(case, way, line))
    }
}

/// A backup that counts as complete has all that it had.
fn done_is_whole(before: &Objects, _: &Objects, now: &Objects) {
    for (key, content) in now.iter().filter(|(_, content)| is_done(content)) {
        let folder = key.strip_suffix("backup.info").unwrap();
        for part in before.keys().filter(|part| part.starts_with(folder)) {
            assert!(now.contains_key(part), "{key} says DONE, {part} is not there: {content:?}");
        }
    }
}

fn is_done(content: &[u8]) -> bool {
    content.windows(11).any(|text| text == b"status=DONE")
}

#[test]
fn what_only_looks() {
    drop(require!(Bucket::versitygw()));
    let repo = Repo::of_three();
    for line in [
        &["backup-list", "--format", "json", "PLACE"][..],
        &["backup-show", "PLACE", "latest"],
        &["backup-keep", "--status", "PLACE", FIRST],
    ] {
        each_request(&repo.ground, &Looks::new(&repo.objects, FAILURES, repo.call(line)));
    }
}

#[test]
fn check_wal_archive() {
    drop(require!(Bucket::versitygw()));
    let repo = Repo::of_three();
    let line = &["check-wal-archive", "PLACE"];
    each_request(&repo.ground, &Looks::new(&Objects::new(), NOT_FOUND_OUT, repo.call(line)));
    // Whatever could not be found out, WAL of another server is never nothing.
    each_request(&repo.ground, &Looks::new(&repo.objects, NOT_FOUND_OUT, repo.call(line)).ending_with(1));
    each_request(&repo.ground, &MakesBucket { repo: &repo, nothing: Objects::new() });
}

/// Without a bucket it makes one.
struct MakesBucket<'a> {
    repo: &'a Repo,
    nothing: Objects,
}

impl Trial for MakesBucket<'_> {
    fn objects(&self) -> &Objects {
        &self.nothing
    }

    fn run(&self, case: &Case<'_>) -> Run {
        case.bucket.remove();
        self.repo.run(case, Way::Through, &["check-wal-archive", "PLACE"])
    }

    fn failure_codes(&self) -> &[i32] {
        NOT_FOUND_OUT
    }

    /// Keys that may not ask for the bucket may be able to list it.
    fn refusals(&self) -> &[&str] {
        &["AccessDenied", "403", "NoSuchBucket"]
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        if ended == Ended::Failed {
            self.repo.run(case, Way::Past, &["check-wal-archive", "PLACE"]).success();
        }
        assert_eq!(case.bucket.keys(), [""; 0]);
    }
}

#[test]
fn backup_keep() {
    drop(require!(Bucket::versitygw()));
    let repo = Repo::of_three();
    let keep = repo.call(&["backup-keep", "--target", "full", "PLACE", FIRST]);
    let keep = Changes::new(&repo.objects, FAILURES, old_or_new, keep);
    each_request(&repo.ground, &keep);
    assert_eq!(keep.result().len(), repo.objects.len() + 1);
    let release = repo.call(&["backup-keep", "--release", "PLACE", FIRST]);
    let release = Changes::new(keep.result(), FAILURES, old_or_new, release);
    each_request(&repo.ground, &release);
    assert!(*release.result() == repo.objects);
}

#[test]
fn backup_delete() {
    drop(require!(Bucket::versitygw()));
    let repo = Repo::of_three();
    for (line, left) in [
        (&["backup-delete", "--backup-id", FIRST, "PLACE"][..], 2),
        (&["backup-delete", "--retention-policy", "REDUNDANCY 1", "PLACE"], 1),
    ] {
        let delete = Changes::new(&repo.objects, FAILURES, done_is_whole, repo.call(line));
        each_request(&repo.ground, &delete);
        assert_eq!(delete.result().values().filter(|content| is_done(content)).count(), left);
        assert!(delete.result().len() < repo.objects.len() - 2, "no WAL is deleted");
    }
}

pub struct Restore<'a> {
    repo: &'a Repo,
    /// Without a fault.
    restored: OnceLock<Objects>,
}

impl<'a> Restore<'a> {
    pub fn new(repo: &'a Repo) -> Self {
        Self { repo, restored: OnceLock::new() }
    }
}

impl Trial for Restore<'_> {
    fn objects(&self) -> &Objects {
        &self.repo.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        self.repo.run(case, Way::Through, &["restore", "PLACE", "20261121T031712", &case.path("data")])
    }

    fn failure_codes(&self) -> &[i32] {
        FAILURES
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        case.is_restored(ended, &self.restored);
    }
}

#[test]
fn restore() {
    drop(require!(Bucket::versitygw()));
    let repo = Repo::of_a_backup();
    each_request(&repo.ground, &Restore::new(&repo));
}

pub struct Backup<'a> {
    repo: &'a Repo,
    servers: Servers<'a>,
    nothing: Objects,
}

impl<'a> Backup<'a> {
    pub fn new(repo: &'a Repo, clusters: &'a [Cluster<'a>]) -> Self {
        Self { repo, servers: Servers::new(clusters), nothing: Objects::new() }
    }
}

impl Trial for Backup<'_> {
    fn objects(&self) -> &Objects {
        &self.nothing
    }

    fn run(&self, case: &Case<'_>) -> Run {
        let endpoint = case.proxy.endpoint();
        let url = case.bucket.setting("WALG_S3_PREFIX");
        // So that there are tars of several parts.
        let small = ["--min-chunk-size=5MB", "--max-archive-size=100MB", "--immediate-checkpoint"];
        let line = [&["--endpoint-url", &endpoint], &small[..], &[url, SERVER]].concat();
        let barman = self.repo.barman.clone().for_bucket(&case.bucket);
        let mut command = barman.tool("backup").command(&case.ground.scratch, line);
        let cluster = self.servers.free();
        let libpq = cluster.libpq_env();
        command.envs(["PGHOST", "PGPORT", "PGUSER"].map(|name| (name, &libpq[name])));
        run(&mut command)
    }

    /// 1 is whatever goes wrong with a backup, as barman does; another one when it does not begin.
    fn failure_codes(&self) -> &[i32] {
        FAILURES
    }

    /// It takes a second each time.
    fn minds(&self, fault: Fault) -> bool {
        is_of_its_own_kind(fault)
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        let done = content(case).into_iter().filter(|(_, content)| is_done(content));
        let done: Vec<String> = done.map(|(key, _)| key).collect();
        match ended {
            Ended::Done => {
                let [info] = &done[..] else { panic!("{done:?}") };
                let id = info.rsplit('/').nth(1).unwrap();
                let restored = case.path("restored");
                self.repo.run(case, Way::Past, &["restore", "PLACE", id, &restored]).success();
                assert!(case.dir.join("restored/global/pg_control").exists());
            }
            Ended::Failed => {
                assert_eq!(done, [""; 0]);
                assert!(!case.bucket.keys().iter().any(|key| key.contains(".tar")), "its tars are left");
                assert_eq!(case.bucket.unfinished(), [""; 0]);
            }
        }
    }
}

#[test]
fn backup() {
    drop(require!(Bucket::versitygw()));
    let postgres = require!(Postgres::version(15));
    let repo = Repo::of_three();
    let clusters = [Cluster::running(&repo.ground.scratch, &postgres, "source", &[])];
    each_request(&repo.ground, &Backup::new(&repo, &clusters));
}

/// The hook script of a barman server. Its backup has the name that barman gave it, so the next call does what one that failed
/// did not.
pub struct Upload<'a> {
    repo: &'a Repo,
    backup: ServerBackup,
    nothing: Objects,
    restored: OnceLock<Objects>,
}

impl<'a> Upload<'a> {
    pub fn new(repo: &'a Repo) -> Self {
        let backup = ServerBackup::of_fixture(&repo.ground.scratch);
        Self { repo, backup, nothing: Objects::new(), restored: OnceLock::new() }
    }

    fn upload(&self, case: &Case<'_>, way: Way) -> Run {
        self.repo.run_with(&self.backup.hook(), case, way, &["backup", "--min-chunk-size", "5MB", "PLACE"])
    }
}

impl Trial for Upload<'_> {
    fn objects(&self) -> &Objects {
        &self.nothing
    }

    fn run(&self, case: &Case<'_>) -> Run {
        self.upload(case, Way::Through)
    }

    fn failure_codes(&self) -> &[i32] {
        FAILURES
    }

    fn minds(&self, fault: Fault) -> bool {
        is_of_its_own_kind(fault)
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        if ended == Ended::Failed {
            let left = case.bucket.keys().into_iter().filter(|key| key.contains("/base/"));
            assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
            assert_eq!(case.bucket.unfinished(), [""; 0]);
            self.upload(case, Way::Past).success();
        }
        let tablespace = format!("extra:{}", case.path("extra"));
        let line = ["restore", "--tablespace", &tablespace, "PLACE", ServerBackup::ID, &case.path("data")];
        self.repo.run(case, Way::Past, &line).success();
        case.is_restored(Ended::Done, &self.restored);
        assert!(!files_below(&case.dir.join("extra")).is_empty());
    }
}

#[test]
fn backup_of_a_barman_server() {
    drop(require!(Bucket::versitygw()));
    let repo = Repo::of_a_backup();
    each_request(&repo.ground, &Upload::new(&repo));
}
