//! `copy` between wal-g's layout and barman's, both ways, with a fault at each of its requests.

use std::fs;

use crate::barman_backups::{BARMANS, Repo};
use crate::call::{Way, content};
use crate::case::{Case, Ended, Ground, Objects, Trial, each_request, is_of_its_own_kind};
use crate::require;
use crate::support::{Barman, Bucket, Fault, Run};
use crate::walg::{Repository, SEGMENT};

const SERVER: &str = "cluster";
/// The one segment that wal-g's backup needs.
const OF_WALGS_BACKUP: &str = "000000010000000000000007";
/// The same of barman's, and another one.
const OF_BARMANS_BACKUP: &str = "000000010000000000000002";
const OF_BARMAN: &str = "000000010000000000000003";

/// Which way.
#[derive(Clone, Copy)]
enum To {
    Barman,
    Walg,
}

/// Both repositories are in one bucket.
pub struct Copy {
    objects: Objects,
    /// Of the repository in wal-g's layout.
    settings: Vec<(String, String)>,
    barman: Barman,
    to: To,
    /// A segment that is copied, or else a backup.
    segment: Option<(&'static str, Vec<u8>)>,
}

impl Copy {
    /// Every direction, of a segment and of a backup.
    pub fn trials(ground: &Ground) -> [Copy; 4] {
        let repository = Repository::new(ground);
        [Self::wal_to_barman, Self::backup_to_barman, Self::wal_to_walg, Self::backup_to_walg]
            .map(|trial| trial(ground, repository.clone()))
    }

    fn wal_to_barman(ground: &Ground, repository: Repository) -> Self {
        let Repository { objects, settings, segment } = repository.only(&[SEGMENT]);
        let segment = Some((SEGMENT, fs::read(segment).unwrap()));
        Self { objects, settings, barman: Barman::seawall(&ground.scratch), to: To::Barman, segment }
    }

    fn backup_to_barman(ground: &Ground, repository: Repository) -> Self {
        let Repository { objects, settings, .. } = repository.only(&["basebackups_005", OF_WALGS_BACKUP]);
        Self { objects, settings, barman: Barman::seawall(&ground.scratch), to: To::Barman, segment: None }
    }

    fn wal_to_walg(_: &Ground, repository: Repository) -> Self {
        let Repo { mut objects, barman, .. } = Repo::of_fixture(BARMANS);
        objects.retain(|key, _| key.contains(OF_BARMAN));
        let stored = objects.values().next().unwrap();
        let segment = Some((OF_BARMAN, zstd::decode_all(&stored[..]).unwrap()));
        Self { objects, settings: repository.settings, barman, to: To::Walg, segment }
    }

    fn backup_to_walg(_: &Ground, repository: Repository) -> Self {
        let Repo { mut objects, barman, .. } = Repo::of_fixture(BARMANS);
        objects.retain(|key, _| key.contains("/base/") || key.contains(OF_BARMANS_BACKUP));
        Self { objects, settings: repository.settings, barman, to: To::Walg, segment: None }
    }

    /// Exit code and output, and what the copy has left in its scratch directory.
    fn call(&self, case: &Case<'_>, way: Way) -> Run {
        let scratch = &case.ground.scratch;
        let endpoint = way.endpoint(case);
        let bucket = case.bucket.env().filter(|(name, _)| *name != "AWS_ENDPOINT");
        let settings: serde_json::Map<_, _> = self
            .settings()
            .chain(bucket)
            .chain([("AWS_ENDPOINT", endpoint.as_str())])
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let config = case.path("walg.json");
        fs::write(&config, serde_json::Value::Object(settings).to_string()).unwrap();
        fs::create_dir_all(case.path("scratch")).unwrap();
        scratch.own(&case.dir);
        let scratch_dir = case.path("scratch");
        let mut line = match self.to {
            To::Barman => vec!["copy", "--from-walg", &config, "--gzip"],
            To::Walg => vec!["copy", "--to-walg", &config],
        };
        line.extend(["--scratch", &scratch_dir, "--endpoint-url", &endpoint, "--read-timeout", "5"]);
        line.extend(self.segment.is_some().then_some("--only-wal"));
        line.extend([case.bucket.setting("WALG_S3_PREFIX"), SERVER]);
        let barman = self.barman.clone().for_bucket(&case.bucket);
        let env = barman.env().iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let run = case.ground.seawall.clone().with_all(env).run(scratch, line);
        assert_eq!(fs::read_dir(scratch_dir).unwrap().count(), 0, "{run}");
        run
    }

    fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The target, asked by a command of its own dialect.
    fn target(&self, case: &Case<'_>, walg: &[&str], barman: &[&str]) {
        let scratch = &case.ground.scratch;
        let run = match self.to {
            To::Walg => case.direct().with_all(self.settings()).run(scratch, walg),
            To::Barman => {
                let endpoint = case.bucket.setting("AWS_ENDPOINT");
                let place = ["--endpoint-url", endpoint, case.bucket.setting("WALG_S3_PREFIX"), SERVER];
                let line = [&place[..], &barman[1..]].concat();
                self.barman.clone().for_bucket(&case.bucket).run(scratch, barman[0], line)
            }
        };
        run.success();
    }

    fn restores(&self, case: &Case<'_>, backup: &str, name: &str) {
        let place = case.path(name);
        self.target(case, &["backup-fetch", &place, backup], &["restore", backup, &place]);
        assert!(case.dir.join(name).join("global/pg_control").exists());
    }

    /// The target's backups that count as complete.
    fn done(&self, case: &Case<'_>) -> Vec<String> {
        match self.to {
            To::Walg => case.bucket.backups(),
            To::Barman => {
                let done = content(case).into_iter().filter(|(key, content)| {
                    key.ends_with("backup.info") && content.windows(11).any(|text| text == b"status=DONE")
                });
                done.map(|(key, _)| key.rsplit('/').nth(1).unwrap().to_owned()).collect()
            }
        }
    }
}

impl Trial for Copy {
    fn objects(&self) -> &Objects {
        &self.objects
    }

    fn run(&self, case: &Case<'_>) -> Run {
        self.call(case, Way::Through)
    }

    /// 1 is a document or a file that is damaged.
    fn failure_codes(&self) -> &[i32] {
        &[1, 2, 4]
    }

    fn minds(&self, fault: Fault) -> bool {
        is_of_its_own_kind(fault)
    }

    fn check(&self, case: &Case<'_>, ended: Ended, _: &Run) {
        if ended == Ended::Failed {
            for (n, backup) in self.done(case).iter().enumerate() {
                self.restores(case, backup, &format!("complete{n}"));
            }
            self.call(case, Way::Past).success();
        }
        match &self.segment {
            Some((name, content)) => {
                let fetched = case.path("fetched");
                self.target(case, &["wal-fetch", name, &fetched], &["wal-restore", name, &fetched]);
                assert!(fs::read(fetched).unwrap() == *content);
            }
            None => {
                let [backup] = &self.done(case)[..] else { panic!("{:?}", case.bucket.keys()) };
                self.restores(case, backup, "restored");
            }
        }
    }
}

/// One test each, so that they share the cores with others.
fn each(trial: fn(&Ground, Repository) -> Copy) {
    let ground = Ground::new();
    each_request(&ground, &trial(&ground, Repository::new(&ground)));
}

#[test]
fn wal_to_barman() {
    drop(require!(Bucket::versitygw()));
    each(Copy::wal_to_barman);
}

#[test]
fn backup_to_barman() {
    drop(require!(Bucket::versitygw()));
    each(Copy::backup_to_barman);
}

#[test]
fn wal_to_walg() {
    drop(require!(Bucket::versitygw()));
    each(Copy::wal_to_walg);
}

#[test]
fn backup_to_walg() {
    drop(require!(Bucket::versitygw()));
    each(Copy::backup_to_walg);
}
