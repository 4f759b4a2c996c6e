//! wal-g's commands that look at a repository, mark a backup, and delete by a rule, with a fault at each of their requests.

use crate::call::{Call, Changes, Looks, Way, old_or_new};
use crate::case::{Ground, Objects, Trial, each_request};
use crate::require;
use crate::support::{Bucket, Fixture, files_below};

/// A full backup of wal-g's with two deltas.
const CHAIN: &str = "brotli-sodium-hex";
const DELTA: &str = "base_000000010000000000000004_D_000000010000000000000002";
const LAST_DELTA: &str = "base_000000010000000000000006_D_000000010000000000000004";
/// The full backup after them.
const NEWEST: &str = "base_000000010000000000000008";

const VERIFY: &str = "wal-verify integrity timeline --timeline 2 --lsn 0/A000000";

/// The chain, a later full backup, what an interrupted deletion has left of an earlier one, and WAL of two timelines.
pub struct Catalogue {
    pub ground: Ground,
    settings: Vec<(String, String)>,
    objects: Objects,
}

impl Catalogue {
    pub fn new() -> Self {
        let ground = Ground::new();
        let fixture = Fixture::open(&ground.scratch, CHAIN);
        let history = ground.scratch.file("00000002.history", "1\t0/9000000\tno recovery target specified\n");
        let push = ["wal-push", history.to_str().unwrap()];
        ground.seawall.clone().with_all(fixture.env()).run(&ground.scratch, push).success();
        let mut settings: Vec<(String, String)> =
            fixture.env().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let storage = settings.iter().position(|(name, _)| name == "WALG_FILE_PREFIX").unwrap();
        let (_, storage) = settings.remove(storage);
        let mut objects = files_below(storage.as_ref());
        objects.retain(|key, _| !key.ends_with("files_metadata.json"));
        // Nobody reads them here.
        for (key, body) in &mut objects {
            if !key.ends_with(".json") && !key.contains(".history") {
                body.truncate(1);
            }
        }
        let full = "base_000000010000000000000002";
        let of_full =
            objects.clone().into_iter().filter(|(key, _)| key.contains(full) && !key.contains("_D_"));
        for (key, body) in of_full.collect::<Vec<_>>() {
            let document = String::from_utf8_lossy(&body);
            let later = document.replace("33554472", "134217768").replace("33554688", "134217984");
            objects.insert(key.replace(full, NEWEST), later.into_bytes());
            if !key.ends_with("_backup_stop_sentinel.json") {
                objects.insert(key.replace(full, "base_000000010000000000000001"), body.clone());
            }
        }
        objects.insert("wal_005/000000020000000000000009.br".to_owned(), vec![0]);
        Self { ground, settings, objects }
    }

    fn call(&self, line: &str) -> Call<'_> {
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Box::new(move |case, way: Way| {
            let tool = case.direct().with("AWS_ENDPOINT", &way.endpoint(case));
            let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            tool.with_all(settings).run(&self.ground.scratch, &line)
        })
    }

    /// A command of each kind.
    pub fn trials(&self) -> Vec<Box<dyn Trial + '_>> {
        let looks = |line| Looks::new(&self.objects, &[1], self.call(line));
        let changes = |line, intact| Changes::new(&self.objects, &[1], intact, self.call(line));
        vec![
            Box::new(looks("backup-show LATEST")),
            Box::new(looks("wal-show")),
            Box::new(looks(VERIFY)),
            Box::new(changes(&format!("backup-mark {DELTA}"), old_or_new)),
            Box::new(changes("delete retain 1 --confirm", listed_is_whole)),
            Box::new(changes("delete garbage --confirm", listed_is_whole)),
        ]
    }

    fn looks(&self, line: &str) {
        each_request(&self.ground, &Looks::new(&self.objects, &[1], self.call(line)));
    }

    /// The backups that stay, and how much WAL.
    fn deletes(&self, line: &str, backups: &[&str], wal: usize) {
        let deletes = Changes::new(&self.objects, &[1], listed_is_whole, self.call(line));
        let deletes = deletes.done_says("was not found");
        each_request(&self.ground, &deletes);
        let sentinel = |key: &String| key.ends_with("_backup_stop_sentinel.json");
        let left = deletes.result().keys();
        let names: Vec<String> =
            backups.iter().map(|name| format!("basebackups_005/{name}_backup_stop_sentinel.json")).collect();
        assert_eq!(left.clone().filter(|key| sentinel(key)).cloned().collect::<Vec<_>>(), names, "{line}");
        assert_eq!(left.filter(|key| key.starts_with("wal_005/")).count(), wal, "{line}");
    }
}

/// A backup that is listed has all that it had.
fn listed_is_whole(before: &Objects, after: &Objects, now: &Objects) {
    old_or_new(before, after, now);
    for key in now.keys() {
        let Some(folder) = key.strip_suffix("_backup_stop_sentinel.json") else { continue };
        for part in before.keys().filter(|part| part.starts_with(&format!("{folder}/"))) {
            assert!(now.contains_key(part), "{key} is there, {part} is not");
        }
    }
}

#[test]
fn what_only_looks() {
    drop(require!(Bucket::versitygw()));
    let catalogue = Catalogue::new();
    catalogue.looks("backup-show LATEST");
    catalogue.looks("wal-show");
    catalogue.looks(VERIFY);
}

/// A delta, and the backup that it builds on, which is marked first.
#[test]
fn backup_mark() {
    drop(require!(Bucket::versitygw()));
    let catalogue = Catalogue::new();
    let mark = catalogue.call(&format!("backup-mark {DELTA}"));
    let mark = Changes::new(&catalogue.objects, &[1], old_or_new, mark);
    each_request(&catalogue.ground, &mark);
    let is_permanent = |name: &str| {
        let metadata = &mark.result()[&format!("basebackups_005/{name}/metadata.json")];
        serde_json::from_slice::<serde_json::Value>(metadata).unwrap()["is_permanent"] == true
    };
    assert!(is_permanent(DELTA) && is_permanent("base_000000010000000000000002") && !is_permanent(NEWEST));
}

#[test]
fn delete_by_a_rule() {
    drop(require!(Bucket::versitygw()));
    let catalogue = Catalogue::new();
    let all = ["base_000000010000000000000002", DELTA, LAST_DELTA, NEWEST];
    catalogue.deletes("delete retain 1 --confirm", &[NEWEST], 4);
    catalogue.deletes(&format!("delete before {NEWEST} --confirm"), &[NEWEST], 4);
    catalogue.deletes(&format!("delete target {DELTA} --confirm"), &[all[0], NEWEST], 14);
    catalogue.deletes("delete garbage --confirm", &all, 13);
}
