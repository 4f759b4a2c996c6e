//! Recovery by PostgreSQL itself: to a moment, to the end, through timelines, on a standby, with tablespaces, from archives
//! of other shapes; and what it needs of the backup it starts from.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Bucket, Cluster, Gate, Missing, Scratch, Site, Tool, repository, run, wait_until_it_copies};

const EMPTY_LEDGER: &str = "CREATE TABLE ledger (id serial PRIMARY KEY, note text)";

/// Segments that fill quickly.
const SMALL_SEGMENTS: &[&str] = &["--wal-segsize=1"];

/// A started primary that archives, with an empty table.
fn primary<'a>(site: &'a Site, initdb_args: &[&str]) -> Cluster<'a> {
    let source = site.primary(initdb_args);
    source.sql(EMPTY_LEDGER);
    source
}

/// Adds rows, about a megabyte of WAL for each 5000.
fn add(cluster: &Cluster<'_>, rows: u32) {
    cluster.sql(&format!("INSERT INTO ledger (note) SELECT md5(i::text) FROM generate_series(1, {rows}) i"));
}

fn ledger(cluster: &Cluster<'_>) -> String {
    cluster.sql("SELECT count(*), md5(string_agg(id || note, ',' ORDER BY id)) FROM ledger")
}

/// Archives a thousand more rows as the last ones of a cluster; returns what its table holds.
fn last_rows(mut source: Cluster<'_>) -> String {
    add(&source, 1000);
    source.switch_wal();
    let ledger = ledger(&source);
    source.stop();
    ledger
}

/// Recovers to the end of the archive, or to the target that was configured, and promotes.
fn recover(restored: &mut Cluster<'_>, site: &Site) {
    restored.recover_with(&site.seawall);
    restored.configure("recovery_target_action", "promote");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
}

/// Recovers, and looks for what the table held and for sound indexes.
fn recover_to(expected: &str, restored: &mut Cluster<'_>, site: &Site) {
    recover(restored, site);
    assert_eq!(ledger(restored), expected);
    restored.amcheck();
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
    let site = require!(Site::new());
    let mut source = primary(&site, &[]);
    source.push_backup(&site.seawall);
    add(&source, 1000);
    let expected = ledger(&source);
    let target = source.sql("SELECT clock_timestamp()");
    source.sql("DELETE FROM ledger");
    source.switch_wal();
    source.stop();

    let mut restored = site.restore("restored");
    restored.configure("recovery_target_time", &target);
    recover_to(&expected, &mut restored, &site);
}

#[test]
fn to_a_place_in_wal() {
    let site = require!(Site::new());
    let mut source = primary(&site, &["--data-checksums"]);
    source.push_backup(&site.seawall);
    add(&source, 1000);
    let expected = ledger(&source);
    let target = source.sql("SELECT pg_current_wal_lsn()");
    source.sql("DROP TABLE ledger");
    source.switch_wal();
    source.stop();

    let mut restored = site.restore("restored");
    restored.configure("recovery_target_lsn", &target);
    restored.configure("recovery_target_inclusive", "off");
    recover_to(&expected, &mut restored, &site);
}

#[test]
fn with_segments_fetched_ahead() {
    let site = require!(Site::new());
    let mut source = primary(&site, SMALL_SEGMENTS);
    source.push_backup(&site.seawall);
    add(&source, 100_000);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();

    let mut restored = site.restore("restored");
    recover_to(&expected, &mut restored, &site);
    assert!(restored.log().contains("restored a prefetched segment"), "nothing was fetched ahead");
    wait_for("the end of the last prefetcher", || !restored.data().join("pg_wal/.wal-g").exists());
}

fn with_segments_of(mebibytes: u32) {
    let site = require!(Site::new());
    let size = format!("--wal-segsize={mebibytes}");
    let source = primary(&site, &[&size]);
    add(&source, 1000);
    source.push_backup(&site.seawall);
    add(&source, 20_000);
    source.switch_wal();
    let expected = last_rows(source);

    let mut restored = site.restore("restored");
    recover_to(&expected, &mut restored, &site);
}

#[test]
fn with_segments_of_1_mib() {
    with_segments_of(1);
}

#[test]
fn with_segments_of_64_mib() {
    with_segments_of(64);
}

fn conninfo(cluster: &Cluster<'_>) -> String {
    let at = cluster.libpq_env();
    format!("host={} port={} user=postgres dbname=postgres", at["PGHOST"], at["PGPORT"])
}

/// A started standby that also streams from `source`, and archives once it is promoted.
fn streaming_standby<'a>(site: &'a Site, source: &Cluster<'_>) -> Cluster<'a> {
    let mut standby = site.restore("standby");
    standby.follow_with(&site.seawall);
    standby.archive_with(&site.seawall);
    standby.configure("primary_conninfo", &conninfo(source));
    standby.start();
    standby
}

#[test]
fn along_the_timeline_of_a_promoted_standby() {
    let site = require!(Site::new());
    let mut source = primary(&site, &[]);
    source.push_backup(&site.seawall);
    add(&source, 1000);
    source.switch_wal();

    let mut standby = streaming_standby(&site, &source);
    // these rows come by streaming: their segment is not archived
    add(&source, 1);
    standby.wait_until("SELECT count(*) FROM ledger", "1001");
    source.kill();
    standby.sql("SELECT pg_promote()");
    add(&standby, 500);
    standby.switch_wal();
    let expected = ledger(&standby);
    standby.stop();
    let keys = site.bucket.keys();
    let archived = |end: &str| keys.iter().any(|key| key.starts_with("wal_005/") && key.ends_with(end));
    assert!(archived("/00000002.history.lz4"), "{keys:?}");
    assert!(archived(".partial.lz4"), "{keys:?}");

    let mut restored = site.restore("restored");
    recover_to(&expected, &mut restored, &site);
    assert_eq!(restored.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "3");
}

#[test]
fn of_a_standby_that_goes_on_asking() {
    let site = require!(Site::new());
    let source = primary(&site, &[]);
    source.push_backup(&site.seawall);

    let mut standby = site.restore("standby");
    standby.follow_with(&site.seawall);
    standby.start();
    for rows in ["100", "200"] {
        add(&source, 100);
        source.switch_wal();
        standby.wait_until("SELECT count(*) FROM ledger", rows);
    }
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
}

/// Until the next restartpoint a standby's backups have one name, and what the killed one has left is in the way of no other.
#[test]
fn after_a_standbys_backup_was_killed() {
    let site = require!(Site::new());
    let mut source = primary(&site, &[]);
    source.push_backup(&site.seawall);
    let mut standby = streaming_standby(&site, &source);
    add(&source, 100);
    source.switch_wal();
    source.sql("CHECKPOINT");
    let lsn = source.sql("SELECT pg_current_wal_flush_lsn()");
    standby.wait_until(&format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'"), "t");
    standby.sql("CHECKPOINT");

    let uploads =
        |site: &Site| site.bucket.keys().iter().filter(|key| key.contains("tar_partitions")).count();
    let before = uploads(&site);
    let mut killed = standby
        .start_slow_backup(&site.seawall.clone().with("WALG_TAR_SIZE_THRESHOLD", "1000000"), 4_000_000);
    wait_for("a tar of the backup that is killed", || uploads(&site) > before);
    killed.kill().unwrap();
    killed.wait().unwrap();

    let again = standby.push_backup(&site.seawall);
    assert!(again.stderr.contains("a backup-push that was killed"), "{again}");
    let expected = ledger(&source);
    source.stop();
    standby.stop();
    let mut restored = site.restore("restored");
    recover_to(&expected, &mut restored, &site);
}

/// A replica is promoted by `recovery.signal` and the old primary follows by `standby.signal`, with nothing but the
/// archive between them.
#[test]
fn of_two_servers_that_swap_their_roles_by_files() {
    let site = require!(Site::new());
    let mut first = primary(&site, &[]);
    first.push_backup(&site.seawall);
    let mut second = streaming_standby(&site, &first);
    add(&first, 1000);
    second.wait_until("SELECT count(*) FROM ledger", "1000");
    first.stop(); // when the standby has all
    second.stop();

    fs::remove_file(second.data().join("standby.signal")).unwrap();
    second.append("recovery.signal", "");
    second.start();
    second.wait_until("SELECT pg_is_in_recovery()", "f");
    add(&second, 500);
    second.switch_wal();
    first.follow_with(&site.seawall);
    first.start();
    first.wait_until("SELECT count(*) FROM ledger", "1500");
    assert_eq!(ledger(&first), ledger(&second));
    assert_eq!(first.sql("SELECT pg_is_in_recovery()"), "t");
}

/// The old primary was not stopped before the standby was promoted: it cannot follow, says which timeline it missed, and
/// comes back by pg_rewind, which has to fetch what the archive alone still has.
#[test]
fn of_a_primary_that_wrote_on_after_the_promotion_of_another() {
    let site = require!(Site::new());
    let mut first = primary(&site, &["--data-checksums", "--wal-segsize=1"]);
    first.push_backup(&site.seawall);
    let second = streaming_standby(&site, &first);
    add(&first, 1000);
    second.wait_until("SELECT count(*) FROM ledger", "1000");
    second.sql("SELECT pg_promote()");
    second.wait_until("SELECT pg_is_in_recovery()", "f");
    add(&second, 500);
    second.switch_wal();
    second.sql("CHECKPOINT"); // pg_rewind reads the timeline in pg_control
    for _ in 0..3 {
        add(&first, 10_000);
        first.switch_wal();
        first.sql("CHECKPOINT");
    }
    first.stop();

    first.follow_with(&site.seawall);
    let log = first.try_start().unwrap_err();
    assert!(log.contains("requested timeline 2 is not a child of this server's history"), "{log}");
    let mut rewind = site.scratch.command(site.postgres.server_program("pg_rewind"));
    rewind.arg("--target-pgdata").arg(first.data()).args(["--source-server", &conninfo(&second)]);
    let rewound = run(rewind.arg("--restore-target-wal").envs(site.seawall.env())).success();
    rewound.stderr_has("restored file=00000001");
    assert!(!first.data().join("pg_wal/.wal-g").exists(), "it goes backwards, so nothing is fetched ahead");

    // It has the other's configuration now.
    first.follow_with(&site.seawall);
    first.configure("primary_conninfo", "");
    first.start();
    second.switch_wal();
    first.wait_until("SELECT count(*) FROM ledger", "1500");
    assert_eq!(ledger(&first), ledger(&second));
}

#[test]
fn tablespaces_go_where_they_were_or_where_they_are_told() {
    let site = require!(Site::new());
    let mut source = primary(&site, &[]);
    let places = ["space1", "space2"].map(|name| site.scratch.dir(name));
    for (number, place) in places.iter().enumerate() {
        source.sql(&format!("CREATE TABLESPACE space{number} LOCATION '{}'", place.display()));
        source.sql(&format!(
            "CREATE TABLE there{number} TABLESPACE space{number} AS SELECT generate_series(1, 1000) i"
        ));
    }
    source.push_backup(&site.seawall);
    source.sql("INSERT INTO there1 VALUES (1001)");
    source.switch_wal();
    source.stop();
    let there = |cluster: &Cluster<'_>| {
        cluster.sql("SELECT (SELECT count(*) FROM there0), (SELECT count(*) FROM there1)")
    };

    // the cluster that is backed up still has its places
    let refused = site.scratch.absent("refused");
    let run = site.seawall.run(&site.scratch, ["backup-fetch", refused.to_str().unwrap(), "LATEST"]).fails(1);
    run.stderr_has("space1").stderr_has("hint:");
    assert!(!refused.exists());
    assert!(places[0].read_dir().unwrap().count() > 0, "the place in use was changed");

    let [name] = &site.bucket.backups()[..] else { panic!("{:?}", site.bucket.keys()) };
    let sentinel = json_of(&site.bucket, &format!("basebackups_005/{name}_backup_stop_sentinel.json"));
    let mut spec = sentinel["Spec"].clone();
    let elsewhere = site.scratch.absent("elsewhere");
    for oid in sentinel["Spec"]["tablespaces"].as_array().unwrap() {
        let oid = oid.as_str().unwrap();
        spec[oid]["loc"] = json!(elsewhere.join(oid));
    }
    let spec = site.scratch.file("spec.json", &spec.to_string());
    let mut moved = Cluster::restored(&site.scratch, &site.postgres, "moved");
    let data = moved.data().to_str().unwrap().to_owned();
    site.seawall
        .run(&site.scratch, ["backup-fetch", &data, "LATEST", "--restore-spec", spec.to_str().unwrap()])
        .success();
    recover(&mut moved, &site);
    assert_eq!(there(&moved), "1000|1001");
    for oid in sentinel["Spec"]["tablespaces"].as_array().unwrap() {
        let oid = oid.as_str().unwrap();
        assert_eq!(fs::read_link(moved.data().join("pg_tblspc").join(oid)).unwrap(), elsewhere.join(oid));
    }
    moved.amcheck();

    for place in &places {
        fs::remove_dir_all(place).unwrap();
    }
    site.scratch.dir("space2"); // empty, the other absent
    let mut same = site.restore("same");
    recover(&mut same, &site);
    assert_eq!(there(&same), "1000|1001");
    same.amcheck();
}

#[test]
fn from_a_backup_of_a_standby() {
    let site = require!(Site::new());
    let source = primary(&site, &[]);
    source.push_backup(&site.seawall);
    add(&source, 1000);
    let mut standby = site.restore("standby");
    standby.follow_with(&site.seawall);
    source.sql("CHECKPOINT");
    source.switch_wal();
    standby.start();
    standby.wait_until("SELECT count(*) FROM ledger", "1000");
    standby.push_backup(&site.seawall);
    add(&source, 1000);
    source.switch_wal();
    let expected = ledger(&source);

    let mut restored = site.restore("restored");
    assert!(
        !restored.data().join("standby.signal").exists(),
        "a standby's signal file is not part of a backup"
    );
    recover_to(&expected, &mut restored, &site);
}

#[test]
fn no_backup_of_a_standby_that_is_promoted_meanwhile() {
    let site = require!(Site::new());
    let source = primary(&site, &[]);
    source.push_backup(&site.seawall);
    let mut standby = site.restore("standby");
    standby.follow_with(&site.seawall);
    add(&source, 1000);
    source.sql("CHECKPOINT");
    source.switch_wal();
    standby.start();
    standby.wait_until("SELECT count(*) FROM ledger", "1000");
    let before = site.bucket.keys();

    let mut backup = standby.start_slow_backup(&site.seawall, 2_000_000);
    wait_until_it_copies(&mut backup);
    standby.sql("SELECT pg_promote()");
    let ended = backup.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("promoted") || stderr.contains("timeline"), "{stderr}");
    assert_eq!(site.bucket.keys(), before, "leftovers");
}

#[test]
fn from_a_backup_taken_while_the_server_is_busy() {
    let site = require!(Site::new());
    let mut source = primary(&site, &["--data-checksums"]);
    source.pgbench_init(2);
    let mut load = source.client("pgbench");
    load.args(["-n", "-c", "2", "-T", "60"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut load = load.spawn().unwrap();
    source.wait_until("SELECT count(*) > 100 FROM pgbench_history", "t");
    let mut verified =
        site.seawall.command(&site.scratch, ["backup-push", "--verify", source.data().to_str().unwrap()]);
    let verified = run(verified.envs(source.libpq_env())).success();
    assert!(!verified.stderr.contains("corrupt"), "a page that was being written is not corrupt\n{verified}");
    load.kill().unwrap();
    load.wait().unwrap();
    source.pgbench_is_gone();
    source.switch_wal();
    let balances = "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), \
                    (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history), \
                    (SELECT count(*) FROM pgbench_history)";
    let expected = source.sql(balances);
    source.stop();

    let mut restored = site.restore("restored");
    recover(&mut restored, &site);
    assert_eq!(restored.sql(balances), expected);
    restored.amcheck();
}

#[test]
fn from_the_backup_with_the_given_user_data() {
    let site = require!(Site::new());
    let mut source = primary(&site, &[]);
    let push = |arguments: &[&str]| {
        let mut command =
            site.seawall.command(&site.scratch, ["backup-push", source.data().to_str().unwrap()]);
        run(command.args(arguments).envs(source.libpq_env())).success()
    };
    push(&["--permanent", "--add-user-data", r#"{"release":41}"#]);
    add(&source, 10);
    push(&["--add-user-data={\"release\":42}"]);
    source.switch_wal();
    let backups = site.bucket.backups();
    let metadata =
        backups.iter().map(|name| json_of(&site.bucket, &format!("basebackups_005/{name}/metadata.json")));
    let metadata: Vec<Value> = metadata.collect();
    assert_eq!(metadata[0]["is_permanent"], json!(true));
    assert_eq!(metadata[0]["user_data"], json!({"release": 41}));
    assert_eq!(metadata[1]["is_permanent"], json!(false));
    source.stop();

    let mut restored = Cluster::restored(&site.scratch, &site.postgres, "restored");
    let data = restored.data().to_str().unwrap().to_owned();
    let run =
        site.seawall.run(&site.scratch, ["backup-fetch", &data, "--target-user-data", r#"{"release":40}"#]);
    run.fails(1).stderr_has("user data");
    site.seawall
        .run(&site.scratch, ["backup-fetch", &data, "--target-user-data", r#"{"release":41}"#])
        .success();
    let label = fs::read_to_string(restored.data().join("backup_label")).unwrap();
    assert!(label.contains(backups[0].trim_start_matches("base_")), "{label}");
    recover(&mut restored, &site);
    assert_eq!(restored.sql("SELECT count(*) FROM ledger"), "10");
}

#[test]
fn corrupt_pages_are_backed_up_and_told() {
    let site = require!(Site::new());
    let mut source = primary(&site, &["--data-checksums"]);
    add(&source, 1000);
    let file = source.sql("SELECT pg_relation_filepath('ledger')");
    source.stop();
    let path = source.data().join(&file);
    let mut content = fs::read(&path).unwrap();
    content[2 * 8192 + 4000] ^= 0xff;
    fs::write(&path, content).unwrap();
    source.start();

    let mut command =
        site.seawall.command(&site.scratch, ["backup-push", "--verify", source.data().to_str().unwrap()]);
    run(command.envs(source.libpq_env())).success().stderr_has("WARNING").stderr_has(&file);
    let [name] = &site.bucket.backups()[..] else { panic!("{:?}", site.bucket.keys()) };
    let files = json_of(&site.bucket, &format!("basebackups_005/{name}/files_metadata.json"));
    let corrupt = &files["Files"][format!("/{file}")]["CorruptBlocks"];
    assert_eq!(corrupt["CorruptBlocksCount"], json!(1), "{corrupt}");
    assert_eq!(corrupt["SomeCorruptBlocks"], json!([2]), "{corrupt}");
}

#[test]
fn with_pg_wal_on_another_volume() {
    let site = require!(Site::new());
    let move_wal = |cluster: &Cluster<'_>, name: &str| {
        let (inside, outside) = (cluster.data().join("pg_wal"), site.scratch.absent(name));
        fs::rename(&inside, &outside).unwrap();
        symlink(&outside, &inside).unwrap();
    };
    let mut source = primary(&site, &[]);
    source.stop();
    move_wal(&source, "source_wal");
    source.start();
    source.push_backup(&site.seawall);
    let expected = last_rows(source);

    let mut restored = site.restore("restored");
    assert!(restored.data().join("pg_wal").symlink_metadata().unwrap().is_dir());
    move_wal(&restored, "restored_wal");
    recover_to(&expected, &mut restored, &site);
}

#[test]
fn from_an_archive_inside_the_data_directory() {
    let mut site = require!(Site::new());
    let archive = site.scratch.path().join("source/archive");
    site.seawall = site.seawall.with("WALG_FILE_PREFIX", archive.to_str().unwrap());
    let mut source = Cluster::create(&site.scratch, &site.postgres, "source", &[]);
    fs::create_dir(&archive).unwrap();
    site.scratch.own(&archive);
    source.archive_with(&site.seawall);
    source.start();
    source.sql(EMPTY_LEDGER);
    source.push_backup(&site.seawall).stderr_has("WARNING").stderr_has("inside the data directory");
    add(&source, 1000);
    source.push_backup(&site.seawall);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();

    let mut restored = site.restore("restored");
    assert!(!restored.data().join("archive").exists(), "the archive is part of its own backup");
    recover_to(&expected, &mut restored, &site);
}

/// An archive that `archive_command = 'cp %p …/%f'` made, adopted as it is.
#[test]
fn from_an_archive_of_plain_copies() {
    let site = require!(Site::new());
    let copies = site.scratch.path().join("storage");
    let mut source = Cluster::create(&site.scratch, &site.postgres, "source", &[]);
    source.configure("archive_mode", "on");
    source.configure("archive_command", &format!("cp %p {}/%f", copies.display()));
    source.start();
    source.sql(EMPTY_LEDGER);
    source.push_backup(&site.seawall);
    let expected = last_rows(source);
    assert!(fs::read_dir(&copies).unwrap().count() > 1);

    let mut restored = site.restore("restored");
    recover_to(&expected, &mut restored, &site);
}

#[test]
fn restored_directories_are_the_owners_alone() {
    let site = require!(Site::new());
    let source = primary(&site, &[]);
    source.push_backup(&site.seawall);
    let open = site.scratch.dir("open");
    fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    site.seawall.run(&site.scratch, ["backup-fetch", open.to_str().unwrap(), "LATEST"]).success();
    assert_eq!(open.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    for signal in ["recovery.signal", "standby.signal"] {
        assert!(!open.join(signal).exists(), "recovery settings are the caller's");
    }
    site.seawall
        .run(&site.scratch, ["backup-fetch", open.to_str().unwrap(), "LATEST"])
        .fails(1)
        .stderr_has("hint:");
    assert!(open.join("backup_label").exists(), "a directory that is not empty was touched");
}

/// A repository on versitygw behind a gate.
fn distant_site() -> Result<(Site, Gate), Missing> {
    let bucket = Bucket::versitygw()?;
    let site = Site::new()?;
    let endpoint = bucket.env().find(|(name, _)| *name == "AWS_ENDPOINT").unwrap().1.to_owned();
    let gate = Gate::to(&endpoint);
    let seawall = Tool::seawall(&site.scratch)
        .with_all(bucket.env())
        .with("AWS_ENDPOINT", &gate.endpoint())
        .with("WALG_S3_MAX_RETRIES", "1")
        .with("WALG_DOWNLOAD_CONCURRENCY", "1");
    Ok((Site { bucket, seawall, ..site }, gate))
}

/// A backup, and rows in many small segments after it; returns what the table holds.
fn archive_many_segments(site: &Site) -> String {
    let mut source = primary(site, SMALL_SEGMENTS);
    source.push_backup(&site.seawall);
    add(&source, 60_000);
    source.switch_wal();
    let expected = ledger(&source);
    source.stop();
    expected
}

#[test]
fn stops_when_the_storage_fails_and_goes_on_afterwards() {
    let (site, gate) = require!(distant_site());
    let expected = archive_many_segments(&site);
    let mut restored = site.restore("restored");
    restored.recover_with(&site.seawall);
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
    let (site, gate) = require!(distant_site());
    let expected = archive_many_segments(&site);
    let mut standby = site.restore("standby");
    standby.follow_with(&site.seawall);
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
    let (bucket, reachable) = repository(&scratch);
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
    // As at the place of a file system that is not mounted.
    fetch(&reachable).fails(126).stderr_has("no WAL is stored in");
    // The file system of the WAL alone.
    bucket.put(&scratch, "basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json", b"{}");
    fetch(&reachable).fails(126).stderr_has("no WAL is stored in");
    let wal = Path::new(bucket.setting("WALG_FILE_PREFIX")).join("wal_005");
    symlink("/nonexistent/wal_005", &wal).unwrap();
    fetch(&reachable).fails(126).stderr_has("is a link to what is not there");
    fs::remove_file(&wal).unwrap();
    bucket.put(&scratch, "wal_005/000000010000000000000002.lz4", b"");
    fetch(&reachable).fails(74);
    signal("standby.signal");
    fetch(&gone).fails(1);
    fetch(&reachable).fails(74);
    assert_eq!(fs::read_dir(data.join("pg_wal")).unwrap().count(), 0, "something was left behind");
}
