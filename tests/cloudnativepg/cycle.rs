//! The life of a cluster under CloudNativePG: archived and backed up under one server name, recovered from there under
//! another one, and backups deleted by a recovery window.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::Value;

use crate::operator::ObjectStore;
use crate::support::{Bucket, Cluster, Postgres, Scratch, next_second};

const OLD: &str = "cluster-v1";
const NEW: &str = "cluster-v2";

/// bzip2 for data and WAL, 8 files at once, a tablespace.
pub fn run(postgres: &Postgres, bucket: &Bucket, store: &ObjectStore<'_>) {
    let store = ObjectStore {
        wal_compression: Some("bzip2"),
        data_compression: Some("bzip2"),
        max_parallel: 8,
        jobs: Some(2),
        archive_args: vec!["--read-timeout=60"],
        ..store.clone()
    };
    let scratch = store.scratch;

    // An empty archive, then eight files at once.
    store.check_wal_archive(OLD).fails(0);
    let mut source = instance(scratch, postgres, OLD);
    store.archive_by_manager(&mut source, OLD);
    source.append(".check-empty-wal-archive", "");
    source.start();
    let tablespace = scratch.dir("tablespace").join("data");
    fs::create_dir(&tablespace).unwrap();
    scratch.own(&tablespace);
    source.sql(&format!("CREATE TABLESPACE extra LOCATION '{}'", tablespace.display()));
    source.sql("CREATE TABLE ledger (id serial PRIMARY KEY, note text)");
    source.sql("CREATE TABLE apart (id int PRIMARY KEY, note text) TABLESPACE extra");
    let first = source.switch_wal();
    assert!(!source.data().join(".check-empty-wal-archive").exists());
    source.append("hold", "");
    for _ in 0..9 {
        add_rows(&source);
        source.sql("SELECT pg_switch_wal()");
    }
    fs::remove_file(source.data().join("hold")).unwrap();
    source.switch_wal();
    assert!(source.log().contains("manager: 8 at once"), "{}", source.log());
    assert!(
        bucket.keys().contains(&format!("{OLD}/wals/{}/{first}.bz2", &first[..16])),
        "{:?}",
        bucket.keys()
    );
    occupied(&store, OLD);

    // Scheduled backups.
    let names = ["backup-20261118010000", "backup-20261119010000", "backup-20261120010000"];
    for name in names {
        next_second();
        add_rows(&source);
        while_old_ones_are_deleted(&store, OLD, || back_up(&store, &source, OLD, name));
    }
    let catalog = store.catalog(OLD);
    assert_eq!(column(&catalog, "backup_name"), names);
    let ids = column(&catalog, "backup_id");

    // The rest of its WAL is archived when it stops. Its volumes are gone.
    add_rows(&source);
    let rows = content(&source);
    source.stop();
    fs::rename(source.data(), scratch.absent("lost")).unwrap();
    lose(scratch, &tablespace);

    // A new cluster from the external one, under a name of its own.
    store.check_wal_archive(NEW).fails(0);
    occupied(&store, OLD);
    let latest = store.catalog(OLD).pop().unwrap();
    let mut recovered = Cluster::restored(scratch, postgres, NEW);
    let probe = scratch.absent("test.wal");
    let begin_wal = latest["begin_wal"].as_str().unwrap();
    store.wal_restore(scratch.path(), OLD, begin_wal, probe.to_str().unwrap()).fails(0);
    assert_eq!(fs::metadata(&probe).unwrap().len(), 16 << 20);
    store.restore(OLD, latest["backup_id"].as_str().unwrap(), recovered.data()).fails(0);
    store.restore_by_manager(&mut recovered, OLD);
    store.archive_by_manager(&mut recovered, NEW);
    recovered.append(".check-empty-wal-archive", "");
    recover(&mut recovered);
    assert_eq!(content(&recovered), rows);

    // It archives under its own name, history first, and is backed up there.
    add_rows(&recovered);
    back_up(&store, &recovered, NEW, "backup-20261121010000");
    assert!(bucket.keys().contains(&format!("{NEW}/wals/00000002.history.bz2")), "{:?}", bucket.keys());
    occupied(&store, NEW);
    recovered.stop();

    // Nothing is older than the window; then one backup anchors it, and the one before goes with its WAL.
    let before = bucket.keys();
    store.delete_by_policy(OLD, "RECOVERY WINDOW OF 7 DAYS").success();
    assert_eq!(bucket.keys(), before);
    make_older(bucket, scratch, OLD, &ids[0], 10);
    make_older(bucket, scratch, OLD, &ids[1], 8);
    store.delete_by_policy(OLD, "RECOVERY WINDOW OF 7 DAYS").success();
    assert_eq!(column(&store.catalog(OLD), "backup_id"), ids[1..]);
    let needed_from = store.show(OLD, names[1])["cloud"]["begin_wal"].as_str().unwrap().to_owned();
    let gone = |key: &String| {
        let base = key.starts_with(&format!("{OLD}/base/{}/", ids[0]));
        let wal = key.strip_prefix(&format!("{OLD}/wals/{}/", &needed_from[..16]));
        base || wal.is_some_and(|name| name < needed_from.as_str())
    };
    let kept: Vec<String> = before.iter().filter(|key| !gone(key)).cloned().collect();
    assert!(kept.len() < before.len() - 8, "{before:?}");
    assert_eq!(bucket.keys(), kept);
    store.delete_by_policy(OLD, "RECOVERY WINDOW OF 7 DAYS").success();
    assert_eq!(bucket.keys(), kept);

    // Nothing of the anchor is gone, and the latest stays however old it is.
    lose(scratch, &tablespace);
    let mut anchored = Cluster::restored(scratch, postgres, "anchored");
    store.restore(OLD, &ids[1], anchored.data()).fails(0);
    store.restore_by_manager(&mut anchored, OLD);
    anchored.configure("archive_mode", "off");
    recover(&mut anchored);
    assert_eq!(content(&anchored), rows);
    make_older(bucket, scratch, OLD, &ids[1], 40);
    make_older(bucket, scratch, OLD, &ids[2], 30);
    store.delete_by_policy(OLD, "RECOVERY WINDOW OF 7 DAYS").success();
    assert_eq!(column(&store.catalog(OLD), "backup_id"), ids[2..]);
}

/// What was on a volume is gone.
fn lose(scratch: &Scratch, volume: &Path) {
    fs::remove_dir_all(volume).unwrap();
    fs::create_dir(volume).unwrap();
    scratch.own(volume);
}

/// To the end of the archive.
fn recover(cluster: &mut Cluster<'_>) {
    cluster.configure("recovery_target_action", "promote");
    cluster.append("recovery.signal", "");
    cluster.start();
    cluster.wait_until("SELECT pg_is_in_recovery()", "f");
    cluster.amcheck();
}

/// A new cluster whose only way in is the socket, where the user of the instance is the server's postgres.
pub fn instance<'a>(scratch: &'a Scratch, postgres: &Postgres, name: &str) -> Cluster<'a> {
    let cluster = Cluster::create(scratch, postgres, name, &["--data-checksums"]);
    fs::write(cluster.data().join("pg_hba.conf"), "local all,replication all peer map=local\n").unwrap();
    let map = format!("local {} postgres\n", scratch.user().name);
    fs::write(cluster.data().join("pg_ident.conf"), map).unwrap();
    cluster
}

fn add_rows(cluster: &Cluster<'_>) {
    cluster.sql("INSERT INTO ledger (note) SELECT md5(i::text) FROM generate_series(1, 100) i");
    cluster.sql("INSERT INTO apart SELECT id, note FROM ledger ON CONFLICT DO NOTHING");
}

fn content(cluster: &Cluster<'_>) -> String {
    cluster.sql(
        "SELECT count(*), sum(l.id), md5(string_agg(l.note || a.note, ',' ORDER BY id)) FROM ledger l JOIN apart a USING (id)",
    )
}

/// The operator deletes by policy when it wants to; nothing here is old enough.
fn while_old_ones_are_deleted(store: &ObjectStore<'_>, server: &str, work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let work = scope.spawn(work);
        while !work.is_finished() {
            store.delete_by_policy(server, "RECOVERY WINDOW OF 7 DAYS").success();
        }
    });
}

/// A backup, and what the operator reads of it.
fn back_up(store: &ObjectStore<'_>, cluster: &Cluster<'_>, server: &str, name: &str) {
    store.backup(cluster, server, name).fails(0);
    let shown = store.show(server, name);
    let backup = &shown["cloud"];
    assert_eq!(shown.as_object().unwrap().len(), 1, "{shown}");
    assert_eq!(backup["backup_name"], name);
    assert_eq!(backup["status"], "DONE");
    assert_eq!(backup["error"], Value::Null);
    assert!(backup["timeline"].is_number());
    let system_identifier = cluster.sql("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(backup["systemid"], system_identifier.as_str());
    for time in ["begin_time_iso", "end_time_iso"] {
        let age = Timestamp::now().duration_since(backup[time].as_str().unwrap().parse().unwrap());
        assert!(age.as_secs().abs() < 600, "{time}: {backup}");
    }
    for field in ["backup_id", "begin_time", "end_time", "end_wal", "begin_xlog", "end_xlog", "backup_label"]
    {
        assert!(backup[field].is_string(), "{field}: {backup}");
    }
    // It could be restored at once.
    let wal = store.scratch.absent("begin.wal");
    store
        .wal_restore(
            store.scratch.path(),
            server,
            backup["begin_wal"].as_str().unwrap(),
            wal.to_str().unwrap(),
        )
        .fails(0);
    assert_eq!(store.catalog(server).last(), Some(backup));
}

/// What the operator's log shows of a server name that cannot be used a second time.
fn occupied(store: &ObjectStore<'_>, server: &str) {
    let check = store.check_wal_archive(server).fails(1);
    check.stderr_has(&format!("ERROR: WAL archive check failed for server {server}: Expected empty archive"));
}

fn column(catalog: &[Value], field: &str) -> Vec<String> {
    catalog.iter().map(|backup| backup[field].as_str().unwrap().to_owned()).collect()
}

/// Moves the end of a backup into the past.
fn make_older(bucket: &Bucket, scratch: &Scratch, server: &str, id: &str, days: u64) {
    let key = format!("{server}/base/{id}/backup.info");
    let info = String::from_utf8(bucket.get(&key)).unwrap();
    let end = Timestamp::try_from(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
    let end = end.strftime("%Y-%m-%d %H:%M:%S+00:00");
    let lines = info.lines().map(|line| match line.starts_with("end_time=") {
        true => format!("end_time={end}\n"),
        false => format!("{line}\n"),
    });
    bucket.put(scratch, &key, lines.collect::<String>().as_bytes());
}
