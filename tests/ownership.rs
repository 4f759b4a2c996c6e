//! Nobody else's archive: a repository belongs to one cluster, whoever made it, and WAL without a base backup is told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use seawall::layout::Owner;
use seawall::layout::walg::WalG;
use seawall::ops::Error;
use seawall::ops::ownership::TakeOver;
use seawall::ops::segment_check::SegmentCheck;
use seawall::ops::wal_push::{self, ChangedBlocks, Outcome, Overwrite, ReadMarks, ReadyFiles, WalMetadata};
use seawall::storage::ErrorKind;
use seawall::storage::memory::{Fault, Memory, Operation};

use support::{Barman, Bucket, Cluster, Missing, Postgres, Run, Scratch, Site, Tool, block_on, repository};

/// A stopped cluster, its system identifier, and a whole segment of its WAL.
struct Source<'a> {
    cluster: Cluster<'a>,
    identifier: String,
    segment: PathBuf,
}

impl<'a> Source<'a> {
    fn of(mut cluster: Cluster<'a>) -> Self {
        cluster.start();
        let identifier = cluster.sql("SELECT system_identifier FROM pg_control_system()");
        let segment = cluster.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        cluster.stop();
        let segment = cluster.data().join("pg_wal").join(segment);
        Self { cluster, identifier, segment }
    }

    fn push(&self, scratch: &Scratch, tool: &Tool) -> Run {
        push(scratch, tool, &self.segment)
    }
}

fn push(scratch: &Scratch, tool: &Tool, path: &Path) -> Run {
    tool.run(scratch, ["wal-push", path.to_str().unwrap()])
}

/// Two clusters of different system identifiers.
fn two<'a>(scratch: &'a Scratch, postgres: &Postgres) -> (Source<'a>, Source<'a>) {
    let ours = Source::of(Cluster::create(scratch, postgres, "ours", &[]));
    let other = Source::of(Cluster::foreign(scratch, postgres, "other"));
    assert_ne!(ours.identifier, other.identifier);
    (ours, other)
}

/// Refused as `claimant` in the repository of `owner`.
#[track_caller]
fn refused(run: Run, owner: &Source<'_>, claimant: &Source<'_>) {
    let owner = &owner.identifier;
    run.fails(1)
        .stderr_has(&format!("belongs to the cluster with system identifier {owner}"))
        .stderr_has(&format!("this one is {}", claimant.identifier))
        .stderr_has(&format!("SEAWALL_TAKE_OVER_FROM={owner}"));
}

fn seawall_for(scratch: &Scratch, bucket: &Bucket) -> Tool {
    Tool::seawall(scratch).with_all(bucket.env()).with("WALG_COMPRESSION_METHOD", "lz4")
}

fn one_owner(bucket: Result<Bucket, Missing>, scratch: &Scratch) -> Result<(), Missing> {
    let (postgres, bucket) = (Postgres::version(15)?, bucket?);
    let seawall = seawall_for(scratch, &bucket);
    let (ours, mut other) = two(scratch, &postgres);

    ours.push(scratch, &seawall).success();
    assert!(bucket.owner().unwrap().contains(&ours.identifier));
    let archived = bucket.keys();
    refused(other.push(scratch, &seawall), &ours, &other);
    // A history file does not say whose it is; the directory that it lies in does.
    other.cluster.append("pg_wal/00000002.history", "1\t0/3000000\tno recovery target specified\n");
    let history = other.cluster.data().join("pg_wal/00000002.history");
    refused(push(scratch, &seawall, &history), &ours, &other);
    other.cluster.start();
    let data = other.cluster.data().to_str().unwrap();
    let libpq = other.cluster.libpq_env();
    let libpq = libpq.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let connected = seawall.clone().with_all(libpq);
    refused(connected.run(scratch, ["backup-push", data]), &ours, &other);
    other.cluster.stop();
    assert_eq!(bucket.keys(), archived, "nothing of it was stored");
    let name = other.segment.file_name().unwrap().to_str().unwrap();
    let fetched = other.cluster.data().join("pg_wal/RECOVERYXLOG");
    seawall.run(scratch, ["wal-fetch", name, fetched.to_str().unwrap()]).fails(1);
    ours.push(scratch, &seawall).success();

    let wrong = seawall.clone().with("SEAWALL_TAKE_OVER_FROM", &other.identifier);
    refused(other.push(scratch, &wrong), &ours, &other);
    let right = seawall.clone().with("SEAWALL_TAKE_OVER_FROM", &ours.identifier);
    push(scratch, &right, &history).success().stderr_has("took ").stderr_has(&ours.identifier);
    refused(ours.push(scratch, &seawall), &other, &ours);
    assert!(bucket.owner().unwrap().contains(&other.identifier));

    // The next owner is whoever comes first.
    seawall.run(scratch, ["delete", "everything", "FORCE", "--confirm"]).success();
    assert!(bucket.owner().is_none() && bucket.keys().is_empty(), "{:?}", bucket.keys());
    ours.push(scratch, &seawall).success();
    Ok(())
}

#[test]
fn a_directory_has_one_owner() {
    let scratch = Scratch::new();
    require!(one_owner(Ok(Bucket::directory(&scratch, "storage")), &scratch));
}

#[test]
fn a_bucket_on_versitygw_has_one_owner() {
    let scratch = Scratch::new();
    require!(one_owner(Bucket::versitygw(), &scratch));
}

#[test]
fn a_bucket_on_swift_has_one_owner() {
    let scratch = Scratch::new();
    require!(one_owner(Bucket::swift(), &scratch));
}

/// Two clusters that push for the first time at the same time, several times over. Whatever becomes of that, one of them has the
/// repository then.
fn race(
    rounds: usize,
    one_wins: bool,
    bucket: impl Fn(usize) -> Result<Bucket, Missing>,
    scratch: &Scratch,
) -> Result<(), Missing> {
    let postgres = Postgres::version(15)?;
    let (ours, other) = two(scratch, &postgres);
    for round in 0..rounds {
        let bucket = bucket(round)?;
        let seawall = seawall_for(scratch, &bucket);
        let start = |source: &Source<'_>| {
            let mut command = seawall.command(scratch, ["wal-push", source.segment.to_str().unwrap()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let ended = [start(&ours), start(&other)].map(|child| child.wait_with_output().unwrap());
        let won = ended.iter().filter(|output| output.status.success()).count();
        assert!(won == 1 || won == 2 && !one_wins, "{ended:?}");
        let owner = bucket.owner().unwrap();
        let [winner, loser] = match owner.contains(&ours.identifier) {
            true => [&ours, &other],
            false => [&other, &ours],
        };
        assert!(owner.contains(&winner.identifier), "{owner}");
        refused(loser.push(scratch, &seawall), winner, loser);
        if won == 1 {
            assert_eq!(bucket.keys().len(), 1, "{:?}", bucket.keys());
            assert_eq!(ended[0].status.success(), winner.identifier == ours.identifier);
            winner.push(scratch, &seawall).success();
        }
    }
    Ok(())
}

#[test]
fn of_two_at_once_one_gets_a_directory() {
    let scratch = Scratch::new();
    require!(race(8, true, |round| Ok(Bucket::directory(&scratch, &format!("storage{round}"))), &scratch));
}

#[test]
fn of_two_at_once_one_gets_a_bucket() {
    let scratch = Scratch::new();
    require!(race(4, true, |_| Bucket::versitygw(), &scratch));
    // It looks whether there is one when a put begins, and not again when it ends.
    require!(race(2, false, |_| Bucket::swift(), &Scratch::new()));
}

/// The first bytes of a real segment of PostgreSQL 15, made as long as a segment of 1 MiB is.
fn segment(cluster: u64, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 << 20);
    bytes.extend(0xD110_u16.to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend((number << 20).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(cluster.to_le_bytes());
    bytes.extend((1_u32 << 20).to_le_bytes());
    bytes.extend(8192_u32.to_le_bytes());
    bytes.resize(1 << 20, 0);
    bytes
}

/// Pushes the first of five segments that wait, and the others along.
fn push_five(memory: &Memory, cluster: u64) -> Result<Outcome, Error> {
    let pg_wal = tempfile::tempdir().unwrap();
    fs::create_dir(pg_wal.path().join("archive_status")).unwrap();
    let names: Vec<String> = (1..=5).map(|number| format!("0000000100000000{number:08X}")).collect();
    for (number, name) in (1..).zip(&names) {
        fs::write(pg_wal.path().join(name), segment(cluster, number)).unwrap();
        fs::write(pg_wal.path().join(format!("archive_status/{name}.ready")), "").unwrap();
    }
    let context = support::context(Arc::new(memory.clone()), &WalG);
    let options = wal_push::Options {
        overwrite: Overwrite::PreventByName,
        concurrency: 4,
        files_at_most: 32,
        check: SegmentCheck::Verify,
        take_over: TakeOver::NEVER,
        marks: ReadMarks::Yes,
        ready_files: ReadyFiles::Keep,
        metadata: WalMetadata::None,
        blocks: ChangedBlocks::Forget,
        cores: 2,
    };
    block_on(wal_push::run(&context, &pg_wal.path().join(&names[0]), options))
}

/// The files that are pushed along ask no more, and are refused as well.
#[test]
fn a_call_asks_once() {
    let owner = Owner::key(&WalG);
    let is_at_work = |memory: &Memory| memory.keys().len() > 2;
    let memory = Memory::new();
    push_five(&memory, 7).unwrap();
    assert!(is_at_work(&memory), "{:?}", memory.keys());
    let record = memory.content(&owner).unwrap();

    let memory = Memory::new();
    memory.set(&owner, record.clone());
    push_five(&memory, 7).unwrap();
    assert!(is_at_work(&memory), "{:?}", memory.keys());
    assert_eq!(memory.calls(Operation::Get), 1);

    let memory = Memory::new();
    memory.set(&owner, record.clone());
    let refused = push_five(&memory, 8).unwrap_err();
    assert!(matches!(refused, Error::Ownership(_)), "{refused}");
    assert_eq!(memory.keys(), std::slice::from_ref(&owner));
    assert_eq!(memory.calls(Operation::Get), 1);

    let memory = Memory::new();
    memory.set(&owner, record);
    memory.fail(Operation::Get, 1, Fault::Before(ErrorKind::Network));
    let failed = push_five(&memory, 7).unwrap_err();
    assert_eq!(failed.storage_kind(), Some(ErrorKind::Network), "{failed}");
    assert_eq!(memory.keys(), [owner]);
    assert_eq!(memory.calls(Operation::Get), 1);
}

/// What is fetched from the repository of another cluster is told: a history file by the data directory that asks for it, a
/// backup by itself. A segment is refused.
#[test]
fn a_fetch_of_another_clusters_warns() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let (mut ours, other) = two(&scratch, &postgres);
    ours.cluster.append("pg_wal/00000002.history", "1\t0/3000000\tno recovery target specified\n");
    push(&scratch, &seawall, &ours.cluster.data().join("pg_wal/00000002.history")).success();
    ours.push(&scratch, &seawall).success();
    ours.cluster.start();
    ours.cluster.push_backup(&seawall).success();
    ours.cluster.stop();
    let fetch = |source: &Source<'_>, name: &str| {
        let place = source.cluster.data().join("pg_wal/RECOVERYXLOG");
        seawall.run(&scratch, ["wal-fetch", name, place.to_str().unwrap()])
    };
    let warns = |run: Run, of: &Source<'_>, owner: &Source<'_>| {
        run.success()
            .stderr_has("WARNING: ")
            .stderr_has(&format!("is of the cluster with system identifier {}", of.identifier))
            .stderr_has(&format!("belongs to {}", owner.identifier));
    };
    let quiet = |run: Run| {
        let run = run.success();
        assert!(!run.stderr.contains("WARNING: "), "{run}");
    };
    quiet(fetch(&ours, "00000002.history"));
    warns(fetch(&other, "00000002.history"), &other, &ours);
    let segment = ours.segment.file_name().unwrap().to_str().unwrap();
    let refused = fetch(&other, segment).fails(1).stderr_has(&ours.identifier);
    refused.stderr_has(&other.identifier);

    let restored = |name: &str| {
        let place = scratch.absent(name);
        seawall.run(&scratch, ["backup-fetch", place.to_str().unwrap(), "LATEST"])
    };
    quiet(restored("restored"));
    let heir = seawall.clone().with("SEAWALL_TAKE_OVER_FROM", &ours.identifier);
    other.cluster.append("pg_wal/00000003.history", "1\t0/3000000\tno recovery target specified\n");
    push(&scratch, &heir, &other.cluster.data().join("pg_wal/00000003.history")).success();
    warns(restored("of-the-former-owner"), &ours, &other);
}

/// A second leader of the same cluster, as after a failover with the old one still there.
#[test]
fn of_two_servers_of_one_cluster_the_first_stays() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let leader = |name: &str| {
        let mut cluster = Cluster::running(&scratch, &postgres, name, &[]);
        cluster.sql(&format!("CREATE TABLE {name} ()"));
        cluster.stop();
        cluster.append("pg_wal/00000002.history", &format!("1\t0/1800000\tfor {name}\n"));
        Source::of(cluster)
    };
    let (first, second) = (leader("gold"), leader("golddr"));
    assert_eq!(
        (&first.identifier, first.segment.file_name()),
        (&second.identifier, second.segment.file_name())
    );
    let history = |source: &Source<'_>| source.cluster.data().join("pg_wal/00000002.history");
    for path in [&first.segment, &history(&first)] {
        push(&scratch, &seawall, path).success();
    }
    for path in [&second.segment, &history(&second)] {
        push(&scratch, &seawall, path).fails(1).stderr_has("already archived").stderr_has("other content");
    }
    assert_eq!(bucket.keys().len(), 2);
    for path in [&first.segment, &history(&first)] {
        push(&scratch, &seawall, path).success();
    }

    // Nothing of the timeline that the first has chosen gets in beside its history file.
    let pg_wal = second.cluster.data().join("pg_wal");
    let of_timeline_2 = pg_wal.join("000000020000000000000001");
    fs::copy(&second.segment, &of_timeline_2).unwrap();
    for name in ["00000002.history", "000000020000000000000001"] {
        fs::write(pg_wal.join(format!("archive_status/{name}.ready")), "").unwrap();
    }
    scratch.own(&pg_wal);
    push(&scratch, &seawall, &history(&second)).fails(1).stderr_has("rewind");
    assert_eq!(bucket.keys().len(), 2, "{:?}", bucket.keys());
    push(&scratch, &seawall, &of_timeline_2).success();

    // What nobody reads again holds nothing up.
    for source in [&first, &second] {
        let partial = source.segment.with_extension("partial");
        fs::copy(&source.segment, &partial).unwrap();
        scratch.own(&partial);
        push(&scratch, &seawall, &partial).success();
    }
}

/// A promoted standby and a restored cluster are the same cluster.
#[test]
fn what_was_restored_goes_on_in_its_repository() {
    let site = require!(Site::new());
    let mut source = site.primary(&[]);
    source.push_backup(&site.seawall);
    source.stop();
    let mut restored = site.restore("restored");
    restored.recover_with(&site.seawall);
    restored.configure("archive_mode", "on");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    let segment = restored.switch_wal();
    assert!(segment.starts_with("00000002"), "{segment}");
    assert!(site.bucket.keys().contains(&format!("wal_005/{segment}.lz4")));
    restored.stop();
}

/// The real wal-g begins, and passes over our record ever after.
#[test]
fn a_repository_of_walg_is_adopted() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let walg =
        require!(Tool::walg(&scratch)).with_all(seawall.env().iter().map(|(a, b)| (a.as_str(), b.as_str())));
    let (mut ours, other) = two(&scratch, &postgres);
    ours.push(&scratch, &walg).success();
    ours.cluster.archive_with(&walg);
    ours.cluster.start();
    ours.cluster.push_backup(&walg);
    ours.cluster.stop();
    // The server has filled it up and recycled it.
    let name = ours.segment.file_name().unwrap().to_str().unwrap();
    let kept = scratch.dir("kept").join(name);
    walg.run(&scratch, ["wal-fetch", name, kept.to_str().unwrap()]).success();
    ours.segment = kept;
    assert!(bucket.owner().is_none());

    refused(other.push(&scratch, &seawall), &ours, &other);
    assert!(bucket.owner().is_none());
    ours.push(&scratch, &seawall).success();
    let record = bucket.owner().unwrap();
    assert!(record.contains(&ours.identifier));

    for command in [
        "backup-list",
        "backup-list --detail",
        "wal-show",
        "wal-verify integrity timeline --timeline 1 --lsn 0/3000100",
        "delete retain FULL 1 --confirm",
        "delete garbage --confirm",
    ] {
        let run = walg.run(&scratch, command.split(' ')).success();
        assert!(!format!("{run}").contains("owner"), "{run}");
    }
    assert_eq!(bucket.owner().unwrap(), record);
    ours.push(&scratch, &walg).success();
    walg.run(&scratch, ["backup-fetch", scratch.absent("fetched").to_str().unwrap(), "LATEST"]).success();
    walg.run(&scratch, ["delete", "everything", "FORCE", "--confirm"]).success();
    assert!(bucket.owner().is_none());
}

/// Of the record, of barman's own commands and of ours by its names.
#[test]
fn barman_passes_over_the_record() {
    let barman = require!(Barman::real());
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    let (ours, other) = two(&scratch, &postgres);
    let destination = bucket.setting("WALG_S3_PREFIX");
    let run = |barman: &Barman, command: &str, further: &[&str]| {
        let (flags, rest): (Vec<&str>, Vec<&str>) = further.iter().partition(|word| word.starts_with("--"));
        let place = ["--endpoint-url", bucket.setting("AWS_ENDPOINT"), destination, "srv"];
        barman.run(&scratch, command, flags.into_iter().chain(place).chain(rest))
    };
    let (barman, seawall) = (barman.for_bucket(&bucket), Barman::seawall(&scratch).for_bucket(&bucket));
    let record = format!(
        r#"{{"system_identifier":"{}","timeline":1,"since":"2026-11-21T14:30:00Z","program":"seawall","compressions":["none"]}}"#,
        ours.identifier
    );
    bucket.put(&scratch, "srv/base/seawall_owner.json", record.as_bytes());
    let quiet = |run: Run| {
        let run = run.success();
        assert_eq!(run.stderr, "", "{run}");
        run.stdout
    };
    quiet(run(&barman, "check-wal-archive", &[]));
    let told = run(&seawall, "check-wal-archive", &[]).success();
    assert!(told.stderr.contains("WARNING: ") && told.stderr.contains(&ours.identifier), "{told}");
    for tool in [&barman, &seawall] {
        assert_eq!(quiet(run(tool, "backup-list", &["--format=json"])), "{\"backups_list\": []}\n");
    }

    let segment = |source: &Source<'_>| source.segment.to_str().unwrap().to_owned();
    run(&seawall, "wal-archive", &[&segment(&ours)]).success();
    let twice = run(&seawall, "wal-archive", &[&segment(&ours)]).success();
    assert_eq!(twice.stderr, "");
    let stray = run(&seawall, "wal-archive", &[&segment(&other)]);
    assert_ne!(stray.code, Some(0), "{stray}");
    let stray = stray.stderr_has("ERROR: ").stderr_has(&ours.identifier).stderr_has(&other.identifier);
    assert!(stray.stderr.contains("SEAWALL_TAKE_OVER_FROM"), "{stray}");

    let info = include_str!("golden/barman/bzip2/backup.info");
    for id in ["20261119T031555", "20261120T031555", "20261121T031555"] {
        bucket.put(&scratch, &format!("srv/base/{id}/backup.info"), info.as_bytes());
        bucket.put(&scratch, &format!("srv/base/{id}/data.tar.bz2"), b"x");
    }
    quiet(run(&barman, "backup-list", &[]));
    let occupied = run(&seawall, "check-wal-archive", &[]).fails(1);
    occupied
        .stderr_has("Expected empty archive")
        .stderr_has("`srv` holds 1 archived file")
        .stderr_has("--timeline N");
    run(&barman, "check-wal-archive", &[]).fails(1);
    for (tool, policy) in
        [(&barman, "--retention-policy=REDUNDANCY 2"), (&seawall, "--retention-policy=REDUNDANCY 1")]
    {
        let deleted = run(tool, "backup-delete", &[policy]).success();
        assert!(!deleted.stderr.contains("owner"), "{deleted}");
    }
    let keys = bucket.keys();
    assert!(keys.iter().any(|key| key.contains("20261121T031555")), "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains("20261120T031555")), "{keys:?}");
    assert_eq!(bucket.get("srv/base/seawall_owner.json"), record.as_bytes());

    let history = |source: &Source<'_>, name: &str| {
        source.cluster.append(&format!("pg_wal/{name}"), "1\t0/3000000\tno recovery target specified\n");
        source.cluster.data().join("pg_wal").join(name).to_str().unwrap().to_owned()
    };
    let file = history(&other, "00000002.history");
    let heir = seawall.clone().with("SEAWALL_TAKE_OVER_FROM", &ours.identifier);
    run(&heir, "wal-archive", &[&file]).success().stderr_has(" WARNING: took ");
    let stray = run(&seawall, "wal-archive", &[&history(&ours, "00000003.history")]);
    assert_ne!(stray.code, Some(0), "{stray}");
    stray.stderr_has(&other.identifier);
    let wrong = run(&seawall.with("SEAWALL_TAKE_OVER_FROM", "all"), "wal-archive", &[&file]);
    assert_ne!(wrong.code, Some(0), "{wrong}");
    wrong.stderr_has("SEAWALL_TAKE_OVER_FROM");
}

/// Before the first backup, and after the last one was deleted under a running cluster.
#[test]
fn wal_without_a_base_backup_is_told() {
    let site = require!(Site::new());
    let mut source = site.primary(&[]);
    let told = |source: &Cluster<'_>| {
        source
            .log()
            .lines()
            .filter(|line| line.contains("WARNING: ") && line.contains("no base backup under"))
            .count()
    };
    let archive_one = |source: &Cluster<'_>| {
        source.sql("SELECT pg_create_restore_point('here')");
        source.switch_wal();
    };
    let mark = source.data().join("pg_wal/walg_data/walg_archive_status/seawall_base_backup_check");
    let let_time_pass = || {
        let before = SystemTime::now() - Duration::from_secs(601);
        File::options().write(true).open(&mark).unwrap().set_modified(before).unwrap();
    };
    // A look that takes more than a second, as beside a slow disk, tells nothing.
    let archive_until_told = |source: &Cluster<'_>, times: usize| {
        let begin = Instant::now();
        archive_one(source);
        while told(source) < times {
            assert!(begin.elapsed() < Duration::from_secs(60), "it is not told\n{}", source.log());
            let_time_pass();
            archive_one(source);
        }
    };
    archive_until_told(&source, 1);
    archive_one(&source);
    assert_eq!(told(&source), 1, "once in ten minutes\n{}", source.log());
    let list = site.seawall.run(&site.scratch, ["backup-list"]).success();
    assert_eq!(list.stdout, "");
    list.stderr_has("WARNING: ")
        .stderr_has("no base backup under")
        .stderr_has("WAL alone cannot be restored");

    source.push_backup(&site.seawall);
    let_time_pass();
    archive_one(&source);
    assert_eq!(told(&source), 1, "{}", source.log());
    let list = site.seawall.run(&site.scratch, ["backup-list"]).success();
    assert!(!list.stderr.contains("no base backup"), "{list}");

    for key in site.bucket.keys().iter().filter(|key| key.starts_with("basebackups_005/")) {
        site.bucket.delete(key);
    }
    let_time_pass();
    archive_until_told(&source, 2);
    assert_eq!(told(&source), 2, "{}", source.log());
    source.push_backup(&site.seawall);
    site.seawall.run(&site.scratch, ["backup-list"]).success().stdout_has("base_");
    source.stop();
    assert!(fs::metadata(mark).unwrap().len() == 0);
}
