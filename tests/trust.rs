//! What a backup says is true: it is complete when it says so, and what is restored of it is what was stored.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use support::{Barman, Bucket, Cluster, Postgres, Run, Scratch, Tool, run, wait_until_it_says};

fn push(scratch: &Scratch, tool: &Tool, cluster: &Cluster<'_>) -> Run {
    let mut command = tool.command(scratch, [OsStr::new("backup-push"), cluster.data().as_os_str()]);
    run(command.envs(cluster.libpq_env()))
}

fn fetch(scratch: &Scratch, tool: &Tool, target: &Path) -> Run {
    tool.run(scratch, ["backup-fetch", target.to_str().unwrap(), "LATEST"])
}

/// A repository with one backup of a server that archives; the server is stopped.
fn one_backup(scratch: &Scratch, postgres: &Postgres) -> (Bucket, Tool) {
    let bucket = Bucket::directory(scratch, "storage");
    // Without compression nothing but the record and the headers tells one byte from another.
    let tool = Tool::seawall(scratch).with_all(bucket.env()).with("WALG_COMPRESSION_METHOD", "none");
    let mut cluster = Cluster::create(scratch, postgres, "source", &[]);
    cluster.archive_with(&tool);
    cluster.start();
    cluster.push_backup(&tool);
    cluster.stop();
    (bucket, tool)
}

fn key_ending(bucket: &Bucket, end: &str) -> String {
    bucket.keys().into_iter().find(|key| key.ends_with(end)).unwrap()
}

/// The tar that holds this text, and where.
fn of_text(bucket: &Bucket, text: &[u8]) -> (String, usize) {
    let tars = bucket.keys().into_iter().filter(|key| key.contains("/part_"));
    let at = |key: String| {
        let content = bucket.get(&key);
        Some((key, content.windows(text.len()).position(|window| window == text)?))
    };
    tars.filter_map(at).next().unwrap()
}

#[test]
fn the_record_names_every_object_of_the_backup() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, _) = one_backup(&scratch, &postgres);
    let record = key_ending(&bucket, "/checksums.json");
    let folder = record.strip_suffix("checksums.json").unwrap();
    let said: Value = serde_json::from_slice(&bucket.get(&record)).unwrap();
    let said = said["Objects"].as_object().unwrap();
    let own = |key: &String| {
        let name = key.strip_prefix(folder)?.to_owned();
        (!["checksums.json", "metadata.json"].contains(&name.as_str())).then_some(name)
    };
    let objects: Vec<String> = bucket.keys().iter().filter_map(own).collect();
    assert_eq!(said.keys().cloned().collect::<Vec<_>>(), objects);
    assert!(objects.len() >= 4, "{objects:?}");
    for name in objects {
        let content = bucket.get(&format!("{folder}{name}"));
        assert_eq!(said[&name]["Size"], content.len());
        let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&content));
        assert_eq!(said[&name]["SHA256"], sha256, "{name}");
    }
}

#[test]
fn what_was_spoiled_or_cut_is_not_restored() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, tool) = one_backup(&scratch, &postgres);
    let (tar, at) = of_text(&bucket, b"PostgreSQL Client Authentication");
    let whole = bucket.get(&tar);
    let sha256 = |content: &[u8]| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(content));

    // A bit of a file that no server would ever complain of.
    let mut spoiled = whole.clone();
    spoiled[at] ^= 1;
    bucket.put(&scratch, &tar, &spoiled);
    let target = scratch.absent("target");
    let run = fetch(&scratch, &tool, &target).fails(1);
    let run = run.stderr_has(&tar).stderr_has(&sha256(&whole)).stderr_has(&sha256(&spoiled));
    assert_eq!(run.stderr.matches("ERROR: ").count(), 1, "{run}");
    assert!(!target.exists() || target.read_dir().unwrap().next().is_none(), "nothing half restored\n{run}");

    // Without a record, as of an older backup, nobody notices.
    let record = key_ending(&bucket, "/checksums.json");
    let content = bucket.get(&record);
    bucket.delete(&record);
    fetch(&scratch, &tool, &target).success();
    bucket.put(&scratch, &record, &content);

    for (length, says) in [(whole.len() - 512, "as it was stored"), (0, "as it was stored")] {
        bucket.put(&scratch, &tar, &whole[..length]);
        let target = scratch.absent("refused");
        let run = fetch(&scratch, &tool, &target).fails(1).stderr_has(&tar).stderr_has(says);
        assert!(!target.exists(), "refused before anything is written\n{run}");
        assert!(!run.stderr.contains("Restoring"), "{run}");
    }
    bucket.put(&scratch, &tar, &whole);
    fetch(&scratch, &tool, &scratch.absent("whole")).success();
}

/// The backup is there, and its exit code says that its WAL is not.
#[test]
fn a_backup_without_its_wal_is_no_success() {
    let postgres = require!(Postgres::version(15));
    for (archive_mode, hint) in [("off", "does not archive"), ("on", "archives to another place")] {
        let scratch = Scratch::new();
        let bucket = Bucket::directory(&scratch, "storage");
        // The server's own wait for its archiver takes a second at least.
        let patient = Tool::seawall(&scratch).with("WALG_STOP_BACKUP_TIMEOUT", "1m");
        let tool = patient.with_all(bucket.env()).with("SEAWALL_BACKUP_WAL_TIMEOUT", "1s");
        let mut cluster = Cluster::create(&scratch, &postgres, "source", &[]);
        cluster.configure("archive_mode", archive_mode);
        cluster.configure("archive_command", "true");
        cluster.start();
        let run = push(&scratch, &tool, &cluster).fails(1);
        let run = run.stderr_has("lacks WAL segment 0000000100000000000000").stderr_has(hint);
        assert!(run.stderr_has("cannot be restored").stderr.contains("SEAWALL_BACKUP_WAL_TIMEOUT=0"));
        assert_eq!(bucket.backups().len(), 1, "it is kept: its WAL may come");
        push(&scratch, &tool.with("SEAWALL_BACKUP_WAL_TIMEOUT", "0"), &cluster).success();
        assert_eq!(bucket.backups().len(), 2);
    }
}

/// The server waits for its archiver, which never succeeds: as long as it has all WAL, nothing is lost by giving up.
#[test]
fn a_server_that_cannot_archive_gets_no_backup_and_no_endless_wait() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let tool = Tool::seawall(&scratch).with_all(bucket.env()).with("SEAWALL_BACKUP_WAL_TIMEOUT", "3s");
    let mut cluster = Cluster::create(&scratch, &postgres, "source", &[]);
    cluster.configure("archive_mode", "on");
    cluster.configure("archive_command", "false");
    cluster.start();
    let run = push(&scratch, &tool, &cluster).fails(1);
    run.stderr_has("the server did not archive the WAL of the backup in 3s").stderr_has("pg_stat_archiver");
    assert!(bucket.keys().is_empty(), "{:?}", bucket.keys());

    // In barman's dialect too, which does not ask the archive: the WAL may go to another one.
    let archive = scratch.dir("barman");
    let line = ["barman-cloud", "backup", &format!("file://{}", archive.display()), "srv"];
    let backup = |tool: &Tool| support::run(tool.command(&scratch, line).envs(cluster.libpq_env()));
    let gave_up = backup(&tool).exits(1);
    let gave_up = gave_up.stderr_has("the server did not archive the WAL of the backup in 3s");
    gave_up.stderr_has("SEAWALL_BACKUP_WAL_TIMEOUT bounds the wait");
    let mut backups = fs::read_dir(archive.join("srv/base")).unwrap().map(|entry| entry.unwrap().path());
    let failed = backups.find(|path| path.is_dir()).unwrap();
    let left: Vec<_> = fs::read_dir(failed).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["backup.info"]);
    cluster.configure("archive_command", "true");
    cluster.sql("SELECT pg_reload_conf()");
    backup(&tool.clone().with("SEAWALL_BACKUP_WAL_TIMEOUT", "1h")).exits(0);
    backup(&tool.with("SEAWALL_BACKUP_WAL_TIMEOUT", "soon")).exits(4);
}

/// The bound is for an archiver that does nothing: one that has much to catch up with is waited for.
#[test]
fn a_slow_archiver_costs_no_backup() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let tool = Tool::seawall(&scratch).with_all(bucket.env()).with("WALG_UPLOAD_CONCURRENCY", "1");
    let mut cluster = Cluster::create(&scratch, &postgres, "source", &["--wal-segsize=1"]);
    cluster.archive_with(&tool);
    cluster.configure("archive_command", &format!("sleep 2; {} wal-push %p", tool.path()));
    cluster.start();
    for _ in 0..9 {
        cluster.sql("SELECT pg_create_restore_point('busy'), pg_switch_wal()");
    }
    let patient = tool.with("SEAWALL_BACKUP_WAL_TIMEOUT", "15s");
    let begin = Instant::now();
    push(&scratch, &patient, &cluster).success();
    assert!(begin.elapsed() > Duration::from_secs(15), "nothing had to be waited for");
    assert_eq!(bucket.backups().len(), 1);
}

/// Starts a standby that streams.
fn stream(primary: &Cluster<'_>, standby: &mut Cluster<'_>) {
    let at = primary.libpq_env();
    let conninfo = format!("host={} port={} user=postgres", at["PGHOST"], at["PGPORT"]);
    standby.configure("primary_conninfo", &conninfo);
    standby.start();
}

/// A restartpoint of the standby that has all there is.
fn restartpoint(primary: &Cluster<'_>, standby: &Cluster<'_>) {
    primary.sql("CHECKPOINT");
    let lsn = primary.sql("SELECT pg_current_wal_flush_lsn()");
    standby.wait_until(&format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'"), "t");
    standby.sql("CHECKPOINT");
}

/// The WAL of a standby's backup comes from its primary, and only when a segment is full there.
#[test]
fn a_standbys_backup_waits_for_the_primarys_wal() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let tool = Tool::seawall(&scratch).with_all(bucket.env()).waiting_for_wal();
    let mut primary = Cluster::create(&scratch, &postgres, "primary", &[]);
    primary.archive_with(&tool);
    primary.configure("wal_keep_size", "1GB");
    primary.start();
    push(&scratch, &tool, &primary).success();

    let mut standby = Cluster::restored(&scratch, &postgres, "standby");
    fetch(&scratch, &tool, standby.data()).success();
    standby.follow_with(&tool);
    stream(&primary, &mut standby);
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    restartpoint(&primary, &standby);

    let impatient = tool.clone().with("SEAWALL_BACKUP_WAL_TIMEOUT", "1s");
    let run = push(&scratch, &impatient, &standby).fails(1);
    run.stderr_has("the archive lacks WAL segment").stderr_has("SELECT pg_switch_wal()");
    let (before, unarchived) = (bucket.backups().len(), primary.switch_wal());
    assert!(bucket.keys().iter().any(|key| key.contains(&unarchived)));

    // So that the next backup has a name of its own.
    primary.sql("INSERT INTO t VALUES (0)");
    restartpoint(&primary, &standby);
    let mut command = tool.command(&scratch, [OsStr::new("backup-push"), standby.data().as_os_str()]);
    command.envs(standby.libpq_env()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut waiting = command.spawn().unwrap();
    wait_until_it_says(&mut waiting, "Waiting until the archive has WAL segment");
    assert_eq!(bucket.backups().len(), before + 1);
    primary.switch_wal();
    let ended = waiting.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// barman-cloud's witness, the server's own archiver, is on the primary then.
#[test]
fn a_standbys_backup_in_barmans_layout_waits_as_well() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, barman) = (Bucket::directory(&scratch, "storage"), Barman::seawall(&scratch));
    let tool = Tool::seawall(&scratch).with_all(bucket.env());
    let url = format!("file://{}", scratch.dir("barman").display());
    let mut primary = Cluster::create(&scratch, &postgres, "primary", &[]);
    primary.configure("archive_mode", "on");
    let archive = barman.directory().join("barman-cloud-wal-archive");
    primary.configure("archive_command", &format!("{} {url} srv %p", archive.display()));
    primary.configure("wal_keep_size", "1GB");
    primary.start();
    push(&scratch, &tool, &primary).success();

    let mut standby = Cluster::restored(&scratch, &postgres, "standby");
    fetch(&scratch, &tool, standby.data()).success();
    standby.append("standby.signal", "");
    stream(&primary, &mut standby);
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 1000)");
    restartpoint(&primary, &standby);
    let backup = |server| {
        let line = ["-v", "--immediate-checkpoint", &url, server];
        let mut command = barman.tool("backup").command(&scratch, line);
        command.envs(standby.libpq_env()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    // Where nothing is archived at all, nothing is to be waited for.
    run(&mut backup("other")).success().stderr_has("is not archived here");
    run(backup("srv").env("SEAWALL_BACKUP_WAL_TIMEOUT", "1s"))
        .fails(1)
        .stderr_has("the archive lacks WAL segment")
        .stderr_has("SELECT pg_switch_wal()");
    let mut waiting = backup("srv").env("SEAWALL_BACKUP_WAL_TIMEOUT", "1h").spawn().unwrap();
    wait_until_it_says(&mut waiting, "Waiting until the archive has WAL segment");
    primary.switch_wal();
    let ended = waiting.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let list = barman.run(&scratch, "backup-list", ["--format", "json", &url, "srv"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let newest = list["backups_list"].as_array().unwrap().last().unwrap();
    let (begin, fetched) = (newest["begin_wal"].as_str().unwrap(), scratch.absent("begin"));
    barman.run(&scratch, "wal-restore", [&url, "srv", begin, fetched.to_str().unwrap()]).success();
}
