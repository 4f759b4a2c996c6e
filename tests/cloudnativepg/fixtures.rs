//! Repositories that the real barman-cloud has written: what is printed of them, and the rows they restore to.

use std::fs;
use std::path::{Path, PathBuf};

use crate::operator::ObjectStore;
use crate::support::{Bucket, Cluster, Postgres, RestorePoint, files_below};

const SERVER: &str = "srv";

/// In front of the server's name in all of them.
const PREFIX: &str = "pfx";

fn path(below: &str, fixture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(below).join(fixture)
}

/// Puts a fixture into the bucket of the store, an empty one.
pub fn run(postgres: &Postgres, bucket: &Bucket, store: &ObjectStore<'_>, fixture: &str) {
    upload(bucket, store, fixture);
    let catalog = store.catalog(SERVER);
    let id = catalog[0]["backup_id"].as_str().unwrap();
    prints(store, fixture, id);
    let states = fs::read_to_string(path("fixtures/barman-cloud", fixture).join("states.jsonl")).unwrap();
    let points = states.lines().map(|line| serde_json::from_str::<RestorePoint>(line).unwrap());
    let after: Vec<RestorePoint> = points.filter(|point| point.restore_point != "before_full").collect();
    assert_eq!(after.len(), 2);
    for point in after {
        restores(postgres, store, id, &point);
    }
}

fn upload(bucket: &Bucket, store: &ObjectStore<'_>, fixture: &str) {
    let storage = path("fixtures/barman-cloud", fixture).join("storage").join(PREFIX);
    for (key, content) in files_below(&storage) {
        bucket.put(store.scratch, &key, &content);
    }
}

fn prints(store: &ObjectStore<'_>, fixture: &str, id: &str) {
    let golden = path("golden/barman", fixture);
    let info = fs::read_to_string(golden.join("backup.info")).unwrap();
    let pgdata = info.lines().find_map(|line| line.strip_prefix("pgdata=")).unwrap();
    // shortened in what was printed
    let cluster = pgdata.strip_suffix("/data").unwrap();
    for (command, more, file) in [
        ("backup-list", vec![], "backup-list.console.txt"),
        ("backup-list", vec!["--format", "json"], "backup-list.json.txt"),
        ("backup-show", vec![id], "backup-show.txt"),
        ("backup-show", vec!["nightly", "--format", "json"], "backup-show.json.txt"),
    ] {
        let expected = fs::read_to_string(golden.join(file)).unwrap().replace("/scratch", cluster);
        assert_eq!(store.run(command, SERVER, &more).success().stdout, expected, "{file}");
    }
}

fn restores(postgres: &Postgres, store: &ObjectStore<'_>, id: &str, point: &RestorePoint) {
    let (scratch, name) = (store.scratch, &point.restore_point);
    let mut restored = Cluster::restored(scratch, postgres, name);
    let rule = format!("extra:{}", scratch.absent(&format!("{name}.extra")).display());
    let target = restored.data().to_str().unwrap().to_owned();
    store.run("restore", SERVER, &["--tablespace", &rule, id, &target]).fails(0);
    store.restore_by_manager(&mut restored, SERVER);
    restored.configure("archive_mode", "off");
    restored.configure("recovery_target_lsn", &point.lsn);
    restored.configure("recovery_target_inclusive", "off");
    restored.configure("recovery_target_action", "promote");
    restored.append("recovery.signal", "");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    let ledger = restored.sql("SELECT count(*), md5(string_agg(id||note, ',' ORDER BY id)) FROM ledger");
    assert_eq!(ledger, format!("{}|{}", point.rows, point.md5), "at {name}");
    restored.amcheck();
    restored.stop();
}
