//! Recovery by PostgreSQL itself: to a moment, to the end, through timelines, on a standby, with tablespaces, from archives
//! of other shapes; and what it needs of the backup it starts from.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Bucket, Cluster, Gate, Postgres, Scratch, Tool, run};

/// Segments that fill quickly.
const SMALL_SEGMENTS: &[&str] = &["--wal-segsize=1"];

/// A repository in a directory, and seawall with the settings for it.
fn repository(scratch: &Scratch) -> (Bucket, Tool) {
    let bucket = Bucket::directory(scratch, "storage");
    let seawall = Tool::seawall(scratch).with_all(bucket.env()).with("WALG_COMPRESSION_METHOD", "lz4");
    (bucket, seawall)
}

/// A started primary that archives with `tool`.
fn primary<'a>(scratch: &'a Scratch, postgres: &Postgres, tool: &Tool, initdb_args: &[&str]) -> Cluster<'a> {
    let mut source = Cluster::create(scratch, postgres, "source", initdb_args);
    source.archive_with(tool);
    source.start();
    source.sql("CREATE TABLE ledger (id serial PRIMARY KEY, note text)");
    source
}

/// Adds rows, about a megabyte of WAL for each 5000.
fn add(cluster: &Cluster<'_>, rows: u32) {
    cluster.sql(&format!("INSERT INTO ledger (note) SELECT md5(i::text) FROM generate_series(1, {rows}) i"));
}

fn ledger(cluster: &Cluster<'_>) -> String {
    cluster.sql("SELECT count(*), md5(string_agg(id || note, ',' ORDER BY id)) FROM ledger")
}

/// The latest backup, not started.
fn restore<'a>(scratch: &'a Scratch, postgres: &Postgres, tool: &Tool, name: &str) -> Cluster<'a> {
    let restored = Cluster::restored(scratch, postgres, name);
    tool.run(scratch, ["backup-fetch", restored.data().to_str().unwrap(), "LATEST"]).success();
    restored
}

/// Recovers to the end of the archive, or to the target that was configured, and promotes.
fn recover(restored: &mut Cluster<'_>, tool: &Tool) {
    restored.recover_with(tool);
    restored.configure("recovery_target_action", "promote");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
}

fn backups_in(bucket: &Bucket) -> Vec<String> {
    let end = "_backup_stop_sentinel.json";
    let sentinels = bucket.keys().into_iter().filter(|key| key.ends_with(end));
    sentinels.map(|key| key.replace("basebackups_005/", "").replace(end, "")).collect()
}

fn json_of(bucket: &Bucket, key: &str) -> Value {
    serde_json::from_slice(&bucket.get(key)).unwrap()
}

fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn to_a_time() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let mut source = primary(&scratch, &postgres, &seawall, &[]);
    source.push_backup(&seawall);
    add(&source, 1000);
    let expected = ledger(&source);
    let target = source.sql("SELECT clock_timestamp()");
    source.sql("DELETE FROM ledger");
    source.switch_wal();
    source.stop();

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    restored.configure("recovery_target_time", &target);
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
    restored.amcheck();
}

#[test]
fn to_a_place_in_wal() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let mut source = primary(&scratch, &postgres, &seawall, &["--data-checksums"]);
    source.push_backup(&seawall);
    add(&source, 1000);
    let expected = ledger(&source);
    let target = source.sql("SELECT pg_current_wal_lsn()");
    source.sql("DROP TABLE ledger");
    source.switch_wal();
    source.stop();

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    restored.configure("recovery_target_lsn", &target);
    restored.configure("recovery_target_inclusive", "off");
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
    restored.amcheck();
}

#[test]
fn with_segments_fetched_ahead() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let mut source = primary(&scratch, &postgres, &seawall, SMALL_SEGMENTS);
    source.push_backup(&seawall);
    add(&source, 100_000);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
    assert!(restored.log().contains("restored a prefetched segment"), "nothing was fetched ahead");
    wait_for("the end of the last prefetcher", || !restored.data().join("pg_wal/.wal-g").exists());
    restored.amcheck();
}

fn with_segments_of(mebibytes: u32) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let size = format!("--wal-segsize={mebibytes}");
    let mut source = primary(&scratch, &postgres, &seawall, &[&size]);
    add(&source, 1000);
    source.push_backup(&seawall);
    add(&source, 20_000);
    source.switch_wal();
    add(&source, 1000);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
    restored.amcheck();
}

#[test]
fn with_segments_of_1_mib() {
    with_segments_of(1);
}

#[test]
fn with_segments_of_64_mib() {
    with_segments_of(64);
}

#[test]
fn along_the_timeline_of_a_promoted_standby() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let mut source = primary(&scratch, &postgres, &seawall, &[]);
    source.push_backup(&seawall);
    add(&source, 1000);
    source.switch_wal();

    let mut standby = restore(&scratch, &postgres, &seawall, "standby");
    standby.follow_with(&seawall);
    standby.archive_with(&seawall);
    let source_at = source.libpq_env();
    let primary_conninfo = format!("host={} port={} user=postgres", source_at["PGHOST"], source_at["PGPORT"]);
    standby.configure("primary_conninfo", &primary_conninfo);
    standby.start();
    // these rows come by streaming: their segment is not archived
    add(&source, 1);
    standby.wait_until("SELECT count(*) FROM ledger", "1001");
    source.kill();
    standby.sql("SELECT pg_promote()");
    add(&standby, 500);
    standby.switch_wal();
    let expected = ledger(&standby);
    standby.stop();
    let keys = bucket.keys();
    let archived = |end: &str| keys.iter().any(|key| key.starts_with("wal_005/") && key.ends_with(end));
    assert!(archived("/00000002.history.lz4"), "{keys:?}");
    assert!(archived(".partial.lz4"), "{keys:?}");

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
    assert_eq!(restored.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "3");
    restored.amcheck();
}

#[test]
fn of_a_standby_that_goes_on_asking() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let source = primary(&scratch, &postgres, &seawall, &[]);
    source.push_backup(&seawall);

    let mut standby = restore(&scratch, &postgres, &seawall, "standby");
    standby.follow_with(&seawall);
    standby.start();
    for rows in ["100", "200"] {
        add(&source, 100);
        source.switch_wal();
        standby.wait_until("SELECT count(*) FROM ledger", rows);
    }
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn tablespaces_go_where_they_were_or_where_they_are_told() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let mut source = primary(&scratch, &postgres, &seawall, &[]);
    let places = ["space1", "space2"].map(|name| scratch.dir(name));
    for (number, place) in places.iter().enumerate() {
        source.sql(&format!("CREATE TABLESPACE space{number} LOCATION '{}'", place.display()));
        source.sql(&format!(
            "CREATE TABLE there{number} TABLESPACE space{number} AS SELECT generate_series(1, 1000) i"
        ));
    }
    source.push_backup(&seawall);
    source.sql("INSERT INTO there1 VALUES (1001)");
    source.switch_wal();
    source.stop();
    let there = |cluster: &Cluster<'_>| {
        cluster.sql("SELECT (SELECT count(*) FROM there0), (SELECT count(*) FROM there1)")
    };

    // the cluster that is backed up still has its places
    let refused = scratch.absent("refused");
    let run = seawall.run(&scratch, ["backup-fetch", refused.to_str().unwrap(), "LATEST"]).fails(1);
    run.stderr_has("space1").stderr_has("hint:");
    assert!(!refused.exists());
    assert!(places[0].read_dir().unwrap().count() > 0, "the place in use was changed");

    let [name] = &backups_in(&bucket)[..] else { panic!("{:?}", bucket.keys()) };
    let sentinel = json_of(&bucket, &format!("basebackups_005/{name}_backup_stop_sentinel.json"));
    let mut spec = sentinel["Spec"].clone();
    let elsewhere = scratch.absent("elsewhere");
    for oid in sentinel["Spec"]["tablespaces"].as_array().unwrap() {
        let oid = oid.as_str().unwrap();
        spec[oid]["loc"] = json!(elsewhere.join(oid));
    }
    let spec = scratch.file("spec.json", &spec.to_string());
    let mut moved = Cluster::restored(&scratch, &postgres, "moved");
    let data = moved.data().to_str().unwrap().to_owned();
    seawall
        .run(&scratch, ["backup-fetch", &data, "LATEST", "--restore-spec", spec.to_str().unwrap()])
        .success();
    recover(&mut moved, &seawall);
    assert_eq!(there(&moved), "1000|1001");
    for oid in sentinel["Spec"]["tablespaces"].as_array().unwrap() {
        let oid = oid.as_str().unwrap();
        assert_eq!(fs::read_link(moved.data().join("pg_tblspc").join(oid)).unwrap(), elsewhere.join(oid));
    }
    moved.amcheck();

    for place in &places {
        fs::remove_dir_all(place).unwrap();
    }
    scratch.dir("space2"); // empty, the other absent
    scratch.own(scratch.path());
    let mut same = restore(&scratch, &postgres, &seawall, "same");
    recover(&mut same, &seawall);
    assert_eq!(there(&same), "1000|1001");
    same.amcheck();
}

#[test]
fn from_a_backup_of_a_standby() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let source = primary(&scratch, &postgres, &seawall, &[]);
    source.push_backup(&seawall);
    add(&source, 1000);
    let mut standby = restore(&scratch, &postgres, &seawall, "standby");
    standby.follow_with(&seawall);
    source.sql("CHECKPOINT");
    source.switch_wal();
    standby.start();
    standby.wait_until("SELECT count(*) FROM ledger", "1000");
    standby.push_backup(&seawall);
    add(&source, 1000);
    source.switch_wal();
    let expected = ledger(&source);

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    assert!(
        !restored.data().join("standby.signal").exists(),
        "a standby's signal file is not part of a backup"
    );
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
    restored.amcheck();
}

/// A backup that takes some seconds.
fn slow_backup(scratch: &Scratch, tool: &Tool, cluster: &Cluster<'_>) -> Child {
    let tool = tool.clone().with("WALG_DISK_RATE_LIMIT", "10000000");
    let mut command = tool.command(scratch, ["backup-push", cluster.data().to_str().unwrap()]);
    command.envs(cluster.libpq_env()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn no_backup_of_a_standby_that_is_promoted_meanwhile() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let source = primary(&scratch, &postgres, &seawall, &[]);
    source.push_backup(&seawall);
    let mut standby = restore(&scratch, &postgres, &seawall, "standby");
    standby.follow_with(&seawall);
    add(&source, 1000);
    source.sql("CHECKPOINT");
    source.switch_wal();
    standby.start();
    standby.wait_until("SELECT count(*) FROM ledger", "1000");
    let before = bucket.keys();

    let mut backup = slow_backup(&scratch, &seawall, &standby);
    let mut said = String::new();
    let mut lines = BufReader::new(backup.stderr.as_mut().unwrap());
    while !said.contains("Starting part_") {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended: {said}");
    }
    standby.sql("SELECT pg_promote()");
    let ended = backup.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("promoted") || stderr.contains("timeline"), "{stderr}");
    assert_eq!(bucket.keys(), before, "leftovers");
}

#[test]
fn from_a_backup_taken_while_the_server_is_busy() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let mut source = primary(&scratch, &postgres, &seawall, &["--data-checksums"]);
    source.pgbench_init(2);
    let mut load = source.client("pgbench");
    load.args(["-n", "-c", "2", "-T", "60"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut load = load.spawn().unwrap();
    source.wait_until("SELECT count(*) > 100 FROM pgbench_history", "t");
    let mut verified =
        seawall.command(&scratch, ["backup-push", "--verify", source.data().to_str().unwrap()]);
    let verified = run(verified.envs(source.libpq_env())).success();
    assert!(!verified.stderr.contains("corrupt"), "a page that was being written is not corrupt\n{verified}");
    load.kill().unwrap();
    load.wait().unwrap();
    source.wait_until("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'", "0");
    source.switch_wal();
    let balances = "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), \
                    (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history), \
                    (SELECT count(*) FROM pgbench_history)";
    let expected = source.sql(balances);
    source.stop();

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    recover(&mut restored, &seawall);
    assert_eq!(restored.sql(balances), expected);
    restored.amcheck();
}

#[test]
fn from_the_backup_with_the_given_user_data() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let mut source = primary(&scratch, &postgres, &seawall, &[]);
    let push = |arguments: &[&str]| {
        let mut command = seawall.command(&scratch, ["backup-push", source.data().to_str().unwrap()]);
        run(command.args(arguments).envs(source.libpq_env())).success()
    };
    push(&["--permanent", "--add-user-data", r#"{"release":41}"#]);
    add(&source, 10);
    push(&["--add-user-data={\"release\":42}"]);
    source.switch_wal();
    let backups = backups_in(&bucket);
    let metadata =
        backups.iter().map(|name| json_of(&bucket, &format!("basebackups_005/{name}/metadata.json")));
    let metadata: Vec<Value> = metadata.collect();
    assert_eq!(metadata[0]["is_permanent"], json!(true));
    assert_eq!(metadata[0]["user_data"], json!({"release": 41}));
    assert_eq!(metadata[1]["is_permanent"], json!(false));
    source.stop();

    let mut restored = Cluster::restored(&scratch, &postgres, "restored");
    let data = restored.data().to_str().unwrap().to_owned();
    let run = seawall.run(&scratch, ["backup-fetch", &data, "--target-user-data", r#"{"release":40}"#]);
    run.fails(1).stderr_has("user data");
    seawall.run(&scratch, ["backup-fetch", &data, "--target-user-data", r#"{"release":41}"#]).success();
    let label = fs::read_to_string(restored.data().join("backup_label")).unwrap();
    assert!(label.contains(backups[0].trim_start_matches("base_")), "{label}");
    recover(&mut restored, &seawall);
    assert_eq!(restored.sql("SELECT count(*) FROM ledger"), "10");
}

#[test]
fn corrupt_pages_are_backed_up_and_told() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let mut source = primary(&scratch, &postgres, &seawall, &["--data-checksums"]);
    add(&source, 1000);
    let file = source.sql("SELECT pg_relation_filepath('ledger')");
    source.stop();
    let path = source.data().join(&file);
    let mut content = fs::read(&path).unwrap();
    content[2 * 8192 + 4000] ^= 0xff;
    fs::write(&path, content).unwrap();
    source.start();

    let mut command = seawall.command(&scratch, ["backup-push", "--verify", source.data().to_str().unwrap()]);
    run(command.envs(source.libpq_env())).success().stderr_has("WARNING").stderr_has(&file);
    let [name] = &backups_in(&bucket)[..] else { panic!("{:?}", bucket.keys()) };
    let files = json_of(&bucket, &format!("basebackups_005/{name}/files_metadata.json"));
    let corrupt = &files["Files"][format!("/{file}")]["CorruptBlocks"];
    assert_eq!(corrupt["CorruptBlocksCount"], json!(1), "{corrupt}");
    assert_eq!(corrupt["SomeCorruptBlocks"], json!([2]), "{corrupt}");
}

#[test]
fn with_pg_wal_on_another_volume() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let move_wal = |cluster: &Cluster<'_>, name: &str| {
        let (inside, outside) = (cluster.data().join("pg_wal"), scratch.absent(name));
        fs::rename(&inside, &outside).unwrap();
        symlink(&outside, &inside).unwrap();
    };
    let mut source = primary(&scratch, &postgres, &seawall, &[]);
    source.stop();
    move_wal(&source, "source_wal");
    source.start();
    source.push_backup(&seawall);
    add(&source, 1000);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    assert!(restored.data().join("pg_wal").symlink_metadata().unwrap().is_dir());
    move_wal(&restored, "restored_wal");
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
}

#[test]
fn from_an_archive_inside_the_data_directory() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let mut source = Cluster::create(&scratch, &postgres, "source", &[]);
    let archive = source.data().join("archive");
    fs::create_dir(&archive).unwrap();
    scratch.own(&archive);
    let seawall = Tool::seawall(&scratch).with("WALG_FILE_PREFIX", archive.to_str().unwrap());
    source.archive_with(&seawall);
    source.start();
    source.sql("CREATE TABLE ledger (id serial PRIMARY KEY, note text)");
    source.push_backup(&seawall).stderr_has("WARNING").stderr_has("inside the data directory");
    add(&source, 1000);
    source.push_backup(&seawall);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    assert!(!restored.data().join("archive").exists(), "the archive is part of its own backup");
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
}

/// An archive that `archive_command = 'cp %p …/%f'` made, adopted as it is.
#[test]
fn from_an_archive_of_plain_copies() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let copies = scratch.path().join("storage");
    let mut source = Cluster::create(&scratch, &postgres, "source", &[]);
    source.configure("archive_mode", "on");
    source.configure("archive_command", &format!("cp %p {}/%f", copies.display()));
    source.start();
    source.sql("CREATE TABLE ledger (id serial PRIMARY KEY, note text)");
    source.push_backup(&seawall);
    add(&source, 1000);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();
    assert!(fs::read_dir(&copies).unwrap().count() > 1);

    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    recover(&mut restored, &seawall);
    assert_eq!(ledger(&restored), expected);
}

#[test]
fn restored_directories_are_the_owners_alone() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let source = primary(&scratch, &postgres, &seawall, &[]);
    source.push_backup(&seawall);
    let open = scratch.dir("open");
    fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    seawall.run(&scratch, ["backup-fetch", open.to_str().unwrap(), "LATEST"]).success();
    assert_eq!(open.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    for signal in ["recovery.signal", "standby.signal"] {
        assert!(!open.join(signal).exists(), "recovery settings are the caller's");
    }
    seawall.run(&scratch, ["backup-fetch", open.to_str().unwrap(), "LATEST"]).fails(1).stderr_has("hint:");
    assert!(open.join("backup_label").exists(), "a directory that is not empty was touched");
}

/// A repository on versitygw behind a gate, of a cluster whose last rows are many small segments after its backup.
struct Distant {
    _bucket: Bucket,
    gate: Gate,
    seawall: Tool,
    expected: String,
}

fn distant(scratch: &Scratch, postgres: &Postgres, bucket: Bucket) -> Distant {
    let endpoint = bucket.env().find(|(name, _)| *name == "AWS_ENDPOINT").unwrap().1.to_owned();
    let gate = Gate::to(&endpoint);
    let seawall = Tool::seawall(scratch)
        .with_all(bucket.env())
        .with("AWS_ENDPOINT", &gate.endpoint())
        .with("WALG_S3_MAX_RETRIES", "1")
        .with("WALG_DOWNLOAD_CONCURRENCY", "1");
    let mut source = primary(scratch, postgres, &seawall, SMALL_SEGMENTS);
    source.push_backup(&seawall);
    add(&source, 60_000);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();
    Distant { _bucket: bucket, gate, seawall, expected }
}

#[test]
fn stops_when_the_storage_fails_and_goes_on_afterwards() {
    let postgres = require!(Postgres::version(15));
    let bucket = require!(Bucket::versitygw());
    let scratch = Scratch::new();
    let Distant { gate, seawall, expected, _bucket } = distant(&scratch, &postgres, bucket);
    let mut restored = restore(&scratch, &postgres, &seawall, "restored");
    restored.recover_with(&seawall);
    restored.configure("hot_standby", "off");
    gate.open_for(12); // a wal-fetch needs one or two
    match restored.try_start() {
        Ok(()) => drop(restored.ended()),
        Err(_ended_already) => {}
    }
    let log = restored.log();
    assert!(log.contains("restored log file \"0000000100000000000000"), "it failed before the middle\n{log}");
    assert!(log.contains("from archive: command not executable"), "{log}");
    assert!(log.contains("gave up after 2 attempts"), "{log}");
    assert!(!log.contains("selected new timeline"), "{log}");
    assert!(restored.data().join("recovery.signal").exists());

    gate.open();
    restored.start();
    restored.configure("hot_standby", "on");
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(ledger(&restored), expected);
    restored.amcheck();
}

#[test]
fn of_a_standby_outlives_a_failure_of_the_storage() {
    let postgres = require!(Postgres::version(15));
    let bucket = require!(Bucket::versitygw());
    let scratch = Scratch::new();
    let Distant { gate, seawall, expected, _bucket } = distant(&scratch, &postgres, bucket);
    let mut standby = restore(&scratch, &postgres, &seawall, "standby");
    standby.follow_with(&seawall);
    gate.open_for(12);
    standby.start();
    let failures = |log: String| log.matches("gave up after 2 attempts").count();
    wait_for("wal-fetch to fail and be called again", || failures(standby.log()) > 3);
    assert_ne!(ledger(&standby), expected);
    gate.open();
    standby.wait_until("SELECT count(*) FROM ledger", "60000");
    assert_eq!(ledger(&standby), expected);
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
}

/// What a failure means to PostgreSQL depends on the recovery that asks.
#[test]
fn exit_codes_of_wal_fetch() {
    let scratch = Scratch::new();
    let data = scratch.dir("data");
    let (_bucket, reachable) = repository(&scratch);
    let gone = reachable.clone().with("WALG_FILE_PREFIX", "/nonexistent/archive");
    let fetch = |tool: &Tool| {
        let mut command =
            tool.command(&scratch, ["wal-fetch", "000000010000000000000001", "pg_wal/RECOVERYXLOG"]);
        run(command.current_dir(&data))
    };
    fs::create_dir(data.join("pg_wal")).unwrap();
    fs::write(data.join("PG_VERSION"), "15\n").unwrap();
    let signal = |name: &str| fs::write(data.join(name), "").unwrap();

    fetch(&gone).fails(1).stderr_has("hint:");
    fetch(&reachable).fails(74);
    signal("recovery.signal");
    fetch(&gone).fails(126).stderr_has("hint:");
    fetch(&gone.clone().with("SEAWALL_RECOVERY_EXIT_126", "false")).fails(1);
    fetch(&reachable).fails(74);
    signal("standby.signal");
    fetch(&gone).fails(1);
    fetch(&reachable).fails(74);
    assert_eq!(fs::read_dir(data.join("pg_wal")).unwrap().count(), 0, "something was left behind");
}
