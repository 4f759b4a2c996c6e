//! Written by the real wal-g or the real barman-cloud, restored by us: every restore point of every repository in
//! `tests/fixtures` comes back with exactly the rows it had.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "fixtures_restore/copy.rs"]
mod copy;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seawall::catalog;
use seawall::layout::barman::{Barman, Partials, RecoveryEnd, RecoveryTarget, names};
use seawall::ops::backup_fetch::{self, MovedTablespace, Plan, SyncFiles};
use seawall::ops::segment_check::SegmentCheck;
use seawall::ops::wal_fetch::Recovery;
use seawall::ops::{Context, wal_fetch};
use seawall::storage::fs::Directory;
use seawall::storage::{self, Depth, Prefix};
use support::{Cluster, Fixture, FixtureBackup, Postgres, RestorePoint, Scratch, Tool, run};

/// What ends the recovery; both must stop at the same rows.
#[derive(Clone, Copy)]
enum Target {
    Lsn,
    Time,
}

/// brotli, libsodium with a hex key, a full backup and two deltas.
#[test]
fn brotli_sodium_hex() {
    restores_every_point("brotli-sodium-hex", 6);
}

/// lz4, no encryption, a tablespace, data checksums, a full backup and a delta.
#[test]
fn lz4_plain_tablespace() {
    restores_every_point("lz4-plain-tablespace", 4);
}

/// zstd, libsodium with a base64 key, segments of 1 MiB, no `files_metadata.json`.
#[test]
fn zstd_sodium_base64_seg1() {
    restores_every_point("zstd-sodium-base64-seg1", 2);
}

/// lzma, libsodium with a bare key, a full backup and two deltas.
#[test]
fn lzma_sodium_none_waldelta() {
    restores_every_point("lzma-sodium-none-waldelta", 6);
}

/// zstd, a remote backup (of the server's stream, without a data directory): the tars of the data directory and of two
/// tablespaces have no end, and of the last file of one the padding lacks. Segments of 1 MiB.
#[test]
fn zstd_remote_seg1() {
    restores_every_point("zstd-remote-seg1", 2);
}

/// The server sends one stream for each tablespace.
#[test]
fn remote_backups_of_walg_up_to_14() {
    restores_remote_backups_of_walg(14);
}

/// The server sends all in one stream.
#[test]
fn remote_backups_of_walg_from_15_on() {
    restores_remote_backups_of_walg(16);
}

/// Remote backups with and without compression, restored to where their tablespaces were.
fn restores_remote_backups_of_walg(version: u32) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let walg = require!(Tool::walg(&scratch));
    for method in ["lz4", "none"] {
        let storage = scratch.dir(&format!("{method}.storage"));
        let settings = [("WALG_FILE_PREFIX", storage.to_str().unwrap()), ("WALG_COMPRESSION_METHOD", method)];
        let (walg, tool) = (walg.clone().with_all(settings), Tool::seawall(&scratch).with_all(settings));
        let mut source = Cluster::create(&scratch, &postgres, &format!("{method}.source"), &[]);
        source.archive_with(&walg);
        source.start();
        let spaces = ["space", "odd"].map(|name| {
            let place = scratch.dir(&format!("{method}.{name}"));
            source.sql(&format!("CREATE TABLESPACE {name} LOCATION '{}'", place.display()));
            place
        });
        source.sql("CREATE TABLE ledger (id int PRIMARY KEY, note text) TABLESPACE space");
        source.sql("INSERT INTO ledger SELECT i, md5(i::text) FROM generate_series(1, 20000) i");
        // The last file of its stream, of which wal-g leaves the padding away.
        let odd = fs::read_dir(&spaces[1]).unwrap().next().unwrap().unwrap().path().join("5");
        fs::create_dir(&odd).unwrap();
        fs::write(odd.join("odd"), "of no relation").unwrap();
        scratch.own(&odd);

        let mut push = walg.command(&scratch, ["backup-push"]);
        run(push.envs(source.libpq_env())).success();
        source.sql("INSERT INTO ledger SELECT i, md5(i::text) FROM generate_series(20001, 25000) i");
        source.switch_wal();
        let ledger = "SELECT count(*), md5(string_agg(id||note, ',' ORDER BY id)) FROM ledger";
        let expected = source.sql(ledger);
        source.stop();
        if method == "none" {
            assert!(sizes_of_tars(&storage).iter().any(|size| size % 512 > 0), "all tars are whole blocks");
        }

        for place in &spaces {
            fs::remove_dir_all(place).unwrap();
        }
        let mut restored = Cluster::restored(&scratch, &postgres, &format!("{method}.restored"));
        for place in &spaces {
            fs::create_dir(place).unwrap();
            scratch.own(place);
        }
        let data = restored.data().to_str().unwrap().to_owned();
        tool.run(&scratch, ["backup-fetch", &data, "LATEST"]).success();
        assert_eq!(fs::read_to_string(odd.join("odd")).unwrap(), "of no relation");
        restored.recover_with(&tool);
        restored.start();
        restored.wait_until("SELECT pg_is_in_recovery()", "f");
        assert_eq!(restored.sql(ledger), expected, "{method}");
        restored.amcheck();
        restored.stop();
    }
}

/// Of the tars of the only backup.
fn sizes_of_tars(storage: &Path) -> Vec<u64> {
    let folders = fs::read_dir(storage.join("basebackups_005")).unwrap().map(|entry| entry.unwrap().path());
    let backup = folders.filter(|path| path.is_dir()).last().unwrap();
    let tars = fs::read_dir(backup.join("tar_partitions")).unwrap();
    tars.map(|tar| tar.unwrap().metadata().unwrap().len()).collect()
}

/// `reachable` is the number of restore points after the first backup.
fn restores_every_point(fixture: &str, reachable: usize) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, fixture);
    assert_eq!(restores_points_of(&scratch, &postgres, &fixture), reachable);
}

/// How many points there are after the first backup.
fn restores_points_of(scratch: &Scratch, postgres: &Postgres, fixture: &Fixture) -> usize {
    let tool = Tool::seawall(scratch).with_all(fixture.env());
    let mut restored = 0;
    for point in &fixture.points {
        let Some(backup) = fixture.backup_before(point) else { continue };
        // by time the recovery ends at the first later commit, which the last point has none of
        let by_time = restored == 0;
        restores(scratch, postgres, &tool, backup, point, if by_time { Target::Time } else { Target::Lsn });
        restored += 1;
    }
    restored
}

/// To barman's layout and back by `copy`: the chain of deltas comes back as full backups, and every point is there.
#[test]
fn a_chain_copied_there_and_back() {
    copied_there_and_back("brotli-sodium-hex", "--bzip2", 6);
}

/// The same with a tablespace.
#[test]
fn a_tablespace_copied_there_and_back() {
    copied_there_and_back("lz4-plain-tablespace", "--snappy", 4);
}

fn is_directory(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().path().is_dir()
}

/// Of a repository that nothing but its segments tells the owner of, and of one with a segment that is not its own.
#[test]
fn wal_of_another_cluster_is_not_copied() {
    let scratch = Scratch::new();
    let tool = Tool::seawall(&scratch);
    let (ours, others) =
        (Fixture::open(&scratch, "brotli-sodium-hex"), Fixture::open(&scratch, "lz4-plain-tablespace"));
    let copy = |source: &Fixture, server: &str| {
        let config = source.config(&scratch, "source.json");
        let url = format!("file://{}", scratch.path().join("server").display());
        tool.run(&scratch, ["copy", "--only-wal", "--from-walg", config.to_str().unwrap(), &url, server])
    };
    scratch.dir("server");
    copy(&ours, "ours").success();
    let repository = others.env().find(|(name, _)| *name == "WALG_FILE_PREFIX").unwrap().1;
    fs::remove_dir_all(Path::new(repository).join("basebackups_005")).unwrap();
    let refused = copy(&others, "ours").stderr_has("belongs to the cluster");
    assert_ne!(refused.code, Some(0));

    let stray = scratch.path().join("00000001000000000000000F");
    let (ours, others_tool) = (tool.clone().with_all(ours.env()), tool.clone().with_all(others.env()));
    ours.run(&scratch, ["wal-fetch", "000000010000000000000003", stray.to_str().unwrap()]).success();
    others_tool
        .with("SEAWALL_CHECK_WAL", "false")
        .run(&scratch, ["wal-push", stray.to_str().unwrap()])
        .success();
    let refused = copy(&others, "others").stderr_has("WAL of the cluster");
    assert_ne!(refused.code, Some(0));
}

/// The others are, and the end says which was not.
#[test]
fn a_backup_whose_wal_is_not_archived_is_not_copied() {
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, "brotli-sodium-hex");
    let repository = Path::new(fixture.env().find(|(name, _)| *name == "WALG_FILE_PREFIX").unwrap().1);
    let name = &fixture.backups.first().unwrap().name;
    let segment = name.strip_prefix("base_").unwrap();
    let is_it = |path: &Path| path.file_stem().is_some_and(|stem| stem == segment);
    let archived = fs::read_dir(repository.join("wal_005")).unwrap().map(|entry| entry.unwrap().path());
    fs::remove_file(archived.into_iter().find(|path| is_it(path)).unwrap()).unwrap();
    let config = fixture.config(&scratch, "source.json");
    let url = format!("file://{}", scratch.dir("server").display());
    Tool::seawall(&scratch)
        .run(&scratch, ["copy", "--from-walg", config.to_str().unwrap(), &url, "srv"])
        .fails(1)
        .stderr_has(&format!("backup {name} is not copied: WAL segment {segment} is not archived"))
        .stderr_has(&format!("WAL that they need is not archived: {name}\n"));
    let copied = fs::read_dir(scratch.path().join("server/srv/base")).unwrap();
    assert_eq!(copied.filter(is_directory).count(), fixture.backups.len() - 1);
}

fn copied_there_and_back(fixture: &str, codec: &str, reachable: usize) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let original = Fixture::open(&scratch, fixture);
    let (between, storage) = (scratch.dir("between"), scratch.dir("storage"));
    fs::create_dir(storage.join("basebackups_005")).unwrap();
    scratch.own(&storage);
    let copied = |storage: &Path| original.copied_to(storage, &[("WALG_COMPRESSION_METHOD", "zstd")]);
    let (from, to) = (original.config(&scratch, "from.json"), copied(&storage).config(&scratch, "to.json"));
    let [from, to] = [&from, &to].map(|path| path.to_str().unwrap());
    let url = format!("file://{}", between.display());
    let tool = Tool::seawall(&scratch);
    let first = &original.backups.first().unwrap().name;
    tool.clone().with_all(original.env()).run(&scratch, ["backup-mark", first]).success();
    for zone in ["UTC", "Asia/Tokyo"] {
        // The second time there is nothing to do, also where backups would have other ids.
        let tool = tool.clone().with("TZ", zone);
        tool.run(&scratch, ["copy", "--from-walg", from, codec, &url, "srv"]).success();
        tool.run(&scratch, ["copy", "--to-walg", to, &url, "srv"]).success();
    }
    assert_eq!(
        fs::read_dir(between.join("srv/base")).unwrap().filter(is_directory).count(),
        original.backups.len()
    );
    let back = copied(&storage);
    assert_eq!(back.backups.len(), original.backups.len());
    let listed =
        tool.clone().with_all(back.env()).run(&scratch, ["backup-list", "--detail", "--json"]).success();
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let permanent = listed.as_array().unwrap().iter().filter(|backup| backup["is_permanent"] == true);
    assert_eq!(permanent.count(), 1, "what was kept is kept: {listed}");
    assert!(back.backups.iter().all(|backup| !backup.name.contains("_D_")));
    assert_eq!(restores_points_of(&scratch, &postgres, &back), reachable);
    // Nothing is left of the scratch directories.
    let left = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with("seawall-copy")));
}

fn restores(
    scratch: &Scratch,
    postgres: &Postgres,
    tool: &Tool,
    backup: &FixtureBackup,
    point: &RestorePoint,
    target: Target,
) {
    let name = &point.restore_point;
    let mut cluster = Cluster::restored(scratch, postgres, name);
    let data = cluster.data().to_str().unwrap().to_owned();

    let mut fetch = vec!["backup-fetch".to_owned(), data.clone(), backup.name.clone()];
    if let Some(spec) = backup.spec_moved_to(&data, &format!("{data}.tablespaces")) {
        let file = scratch.file(&format!("{name}.spec.json"), &spec.to_string());
        fetch.extend(["--restore-spec".to_owned(), file.to_str().unwrap().to_owned()]);
    }
    tool.run(scratch, &fetch).success();

    cluster.recover_with(tool);
    recovers(&mut cluster, point, target);
}

/// Starts a recovery that ends at a restore point.
fn recovers(cluster: &mut Cluster<'_>, point: &RestorePoint, target: Target) {
    match target {
        Target::Lsn => {
            cluster.configure("recovery_target_lsn", &point.lsn);
            cluster.configure("recovery_target_inclusive", "off");
        }
        Target::Time => cluster.configure("recovery_target_time", &point.time),
    }
    cluster.configure("recovery_target_action", "promote");
    cluster.start();
    cluster.wait_until("SELECT pg_is_in_recovery()", "f");

    let ledger = cluster.sql("SELECT count(*), md5(string_agg(id||note, ',' ORDER BY id)) FROM ledger");
    assert_eq!(ledger, format!("{}|{}", point.rows, point.md5), "at {}", point.restore_point);
    cluster.amcheck();
    cluster.stop();
}

/// bzip2 for data and WAL.
#[test]
fn barman_bzip2() {
    restores_what_barman_wrote("bzip2");
}

/// A tablespace, no compression; gzip for WAL.
#[test]
fn barman_plain_tablespace() {
    restores_what_barman_wrote("plain-tablespace");
}

/// snappy for data, zstd for WAL.
#[test]
fn barman_snappy_zstd() {
    restores_what_barman_wrote("snappy-zstd");
}

/// Each repository has one backup, after the first of three restore points. The backup is chosen as `auto` does.
fn restores_what_barman_wrote(fixture: &str) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let origin = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/barman-cloud").join(fixture);
    let storage = Arc::new(Directory::new(origin.join("storage/pfx/srv"), Prefix::root()));
    let ctx = support::context(storage, &Barman { partials: Partials::Accept });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let archive = scratch.dir("archive");
    runtime.block_on(fetches_all_wal(&ctx, &archive));
    scratch.own(&archive);

    let states = fs::read_to_string(origin.join("states.jsonl")).unwrap();
    let mut restored = 0;
    for point in states.lines().map(|line| serde_json::from_str::<RestorePoint>(line).unwrap()) {
        let name = &point.restore_point;
        let mut cluster = Cluster::restored(&scratch, &postgres, name);
        let tablespace = scratch.absent(&format!("{name}.extra"));
        if !runtime.block_on(restores_from_barman(&ctx, &point, cluster.data(), tablespace.clone())) {
            assert_eq!(name, "before_full");
            continue;
        }
        for place in [cluster.data(), &tablespace].into_iter().filter(|place| place.exists()) {
            scratch.own(place);
        }
        cluster.configure("archive_mode", "off");
        cluster.configure("restore_command", &format!("cp {}/%f %p", archive.display()));
        cluster.append("recovery.signal", "");
        recovers(&mut cluster, &point, if restored == 0 { Target::Time } else { Target::Lsn });
        restored += 1;
    }
    assert_eq!(restored, 2);
}

/// Restores the backup with which a recovery to this point begins; false when there is none.
async fn restores_from_barman(
    ctx: &Context,
    point: &RestorePoint,
    target: &Path,
    tablespace: PathBuf,
) -> bool {
    let backups = catalog::barman::list(ctx.storage.as_ref()).await.unwrap().backups;
    let end = Some(RecoveryEnd::Lsn(point.lsn.parse().unwrap()));
    let chosen = RecoveryTarget { end, timeline: None }.choose(backups.iter().map(|b| (b.id, &b.info)));
    let Some(backup) = backups.iter().find(|backup| Some(backup.id) == chosen) else { return false };
    let moved = [MovedTablespace { name: "extra".to_owned(), location: tablespace }];
    let plan = Plan::barman(ctx, backup.id, &backup.info, &moved).await.unwrap();
    let options = backup_fetch::Options {
        target: target.to_owned(),
        concurrency: 4,
        cores: 2,
        network_rate: None,
        sync: SyncFiles::Yes,
    };
    backup_fetch::run(ctx, plan, options).await.unwrap();
    true
}

/// Fetches all that is archived, as a restore_command would.
async fn fetches_all_wal(ctx: &Context, to: &Path) {
    let listing = storage::list_all(ctx.storage.as_ref(), &names::wal_prefix(), Depth::All).await.unwrap();
    for object in listing.objects {
        let (file, _) = names::parse_wal_key(&object.key).unwrap();
        let options =
            wal_fetch::Options { check: SegmentCheck::Verify, prefetch: None, recovery: Recovery::AsksAgain };
        let file = file.to_string();
        wal_fetch::run(ctx, &file, &to.join(&file), options).await.unwrap();
    }
}
