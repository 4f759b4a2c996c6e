//! `copy` from wal-g's layout to barman's with a fault at each of its requests.

use std::fs;

use crate::call::{Way, content};
use crate::case::{Case, Ended, Ground, Objects, Trial, each_request, is_of_its_own_kind};
use crate::require;
use crate::support::{Barman, Bucket, Fault, Run};
use crate::walg::{Repository, SEGMENT};

const SERVER: &str = "cluster";
/// The one segment that the backup needs.
const OF_THE_BACKUP: &str = "000000010000000000000007";

/// Both repositories are in one bucket.
struct Copy<'a> {
    repository: Repository,
    barman: Barman,
    /// What is copied.
    what: &'a [&'a str],
}

impl<'a> Copy<'a> {
    fn new(ground: &Ground, parts: &[&str], what: &'a [&'a str]) -> Self {
        let repository = Repository::new(ground).only(parts);
        Self { repository, barman: Barman::seawall(&ground.scratch), what }
    }

    /// Exit code and output, and what the copy has left in its scratch directory.
    fn call(&self, case: &Case<'_>, way: Way) -> Run {
        let scratch = &case.ground.scratch;
        let endpoint = way.endpoint(case);
        let bucket = case.bucket.env().filter(|(name, _)| *name != "AWS_ENDPOINT");
        let settings = self.repository.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings: serde_json::Map<_, _> = settings
            .chain(bucket)
            .chain([("AWS_ENDPOINT", endpoint.as_str())])
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let config = case.path("walg.json");
        fs::write(&config, serde_json::Value::Object(settings).to_string()).unwrap();
        fs::create_dir_all(case.path("scratch")).unwrap();
        scratch.own(&case.dir);
        let place = [case.bucket.setting("WALG_S3_PREFIX"), SERVER];
        let scratch_dir = case.path("scratch");
        let line = [
            &[
                "copy",
                "--from-walg",
                &config,
                "--gzip",
                "--scratch",
                &scratch_dir,
                "--endpoint-url",
                &endpoint,
            ],
            self.what,
            &place,
        ];
        let barman = self.barman.clone().for_bucket(&case.bucket);
        let env = barman.env().iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let run = case.ground.seawall.clone().with_all(env).run(scratch, line.concat());
        assert_eq!(fs::read_dir(scratch_dir).unwrap().count(), 0, "{run}");
        run
    }

    fn barman(&self, case: &Case<'_>, command: &str, line: &[&str]) -> Run {
        let place =
            ["--endpoint-url", case.bucket.setting("AWS_ENDPOINT"), case.bucket.setting("WALG_S3_PREFIX")];
        let line = [&place[..], &[SERVER], line].concat();
        self.barman.clone().for_bucket(&case.bucket).run(&case.ground.scratch, command, line)
    }

    fn is_backup(&self) -> bool {
        self.what.is_empty()
    }

    /// The ids of barman's backups that count as complete.
    fn done(&self, case: &Case<'_>) -> Vec<String> {
        let done = content(case).into_iter().filter(|(key, content)| {
            key.ends_with("backup.info") && content.windows(11).any(|text| text == b"status=DONE")
        });
        done.map(|(key, _)| key.rsplit('/').nth(1).unwrap().to_owned()).collect()
    }
}

impl Trial for Copy<'_> {
    fn objects(&self) -> &Objects {
        &self.repository.objects
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
            for id in self.done(case) {
                self.barman(case, "restore", &[&id, &case.path("complete")]).success();
            }
            self.call(case, Way::Past).success();
        }
        if self.is_backup() {
            let [id] = &self.done(case)[..] else { panic!("{:?}", case.bucket.keys()) };
            self.barman(case, "restore", &[id, &case.path("restored")]).success();
            assert!(case.dir.join("restored/global/pg_control").exists());
        } else {
            let fetched = case.path("fetched");
            self.barman(case, "wal-restore", &[SEGMENT, &fetched]).success();
            assert!(fs::read(fetched).unwrap() == fs::read(&self.repository.segment).unwrap());
        }
    }
}

#[test]
fn wal() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &Copy::new(&ground, &[SEGMENT], &["--only-wal"]));
}

#[test]
fn backup() {
    drop(require!(Bucket::versitygw()));
    let ground = Ground::new();
    each_request(&ground, &Copy::new(&ground, &["basebackups_005", OF_THE_BACKUP], &[]));
}
