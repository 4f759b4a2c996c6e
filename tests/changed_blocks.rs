//! Which blocks changed between two backups: every source against the others, on real servers; what each of them does
//! not know; and what wal-push records.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use seawall::layout::walg::WalG;
use seawall::ops::Context;
use seawall::ops::changed_blocks::{ChangedBlocks, Found, Gap, Interval, Rules, Source, find};
use seawall::pg::session::Checkpoint;
use seawall::pg::{
    BlockMap, ConnInfo, DatabasePlace, Lsn, RelationPlace, Session, TimelineHistory, TimelineId,
};
use seawall::storage::Prefix;
use seawall::storage::fs::Directory;
use support::{Bucket, Cluster, Postgres, Scratch, Tool};

/// Longer than a summarizer that sleeps, shorter than a test that hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Objects whose files the load changes.
const BEFORE: &str = "
CREATE TABLE kept AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 20000) g;
CREATE INDEX kept_id ON kept (id);
CREATE TABLE shortened AS TABLE kept;
CREATE TABLE emptied AS TABLE kept;
CREATE TABLE dropped AS TABLE kept;
CREATE TABLE full_vacuumed AS TABLE kept;
CHECKPOINT;
";

/// Some 50 MB of WAL with every kind of change to files that a map has to know.
const LOAD: &str = "
UPDATE kept SET t = upper(t) WHERE id % 50 = 0;
DELETE FROM shortened WHERE id > 5000;
VACUUM shortened;
INSERT INTO shortened SELECT g, 'again' FROM generate_series(1, 7000) g;
TRUNCATE emptied;
INSERT INTO emptied SELECT g, 'new' FROM generate_series(1, 100) g;
DROP TABLE dropped;
VACUUM FULL full_vacuumed;
CREATE TABLE made AS SELECT g AS id, repeat(md5(g::text), 4) AS t FROM generate_series(1, 40000) g;
CREATE INDEX made_t ON made (t);
UPDATE made SET t = lower(t) WHERE id % 10 = 0;
SELECT pg_logical_emit_message(false, 'test', repeat('a record over three segments ', 80000)) IS NULL;
CREATE TABLE made_too AS TABLE made;
";

/// One name for both, in a map and in messages: the limit, and the blocks below it.
type Normal = (BTreeMap<RelationPlace, (Option<u32>, BTreeSet<u32>)>, BTreeSet<DatabasePlace>);

/// What a map says, whatever else it names. PostgreSQL's summaries leave out blocks from the limit on, which count as
/// changed anyway.
fn normal(map: &BlockMap) -> Normal {
    let relations = map.relations().map(|(place, limit, blocks)| {
        (place, (limit, blocks.iter().filter(|block| limit.is_none_or(|limit| *block < limit)).collect()))
    });
    (relations.collect(), map.replaced().collect())
}

#[track_caller]
fn assert_equal(one: &BlockMap, other: &BlockMap, what: &str) {
    let ((one, one_replaced), (other, other_replaced)) = (normal(one), normal(other));
    for place in one.keys().chain(other.keys()) {
        assert!(
            one.get(place) == other.get(place),
            "{what}: {place:?} {:?} {:?}",
            one.get(place),
            other.get(place)
        );
    }
    assert_eq!(one_replaced, other_replaced, "{what}");
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A repository in a directory, and seawall that archives there and records blocks.
fn repository(scratch: &Scratch) -> (Bucket, Tool) {
    let bucket = Bucket::directory(scratch, "storage");
    let seawall = Tool::seawall(scratch)
        .with_all(bucket.env())
        .with("WALG_COMPRESSION_METHOD", "lz4")
        .with("WALG_USE_WAL_DELTA", "true");
    (bucket, seawall)
}

/// A started primary with segments of 1 MiB, of which it keeps few.
fn primary<'a>(
    scratch: &'a Scratch,
    postgres: &Postgres,
    tool: &Tool,
    settings: &[(&str, &str)],
) -> Cluster<'a> {
    let mut source = Cluster::create(scratch, postgres, "source", &["--wal-segsize=1"]);
    source.archive_with(tool);
    for (setting, value) in [("min_wal_size", "2MB"), ("max_wal_size", "8MB")].iter().chain(settings) {
        source.configure(setting, value);
    }
    source.start();
    source.sql("CREATE DATABASE replaced");
    for statement in BEFORE.split(';').filter(|statement| !statement.trim().is_empty()) {
        source.sql(statement);
    }
    source
}

/// Waits until everything is archived that is to be.
fn drained(cluster: &Cluster<'_>) {
    cluster.wait_until("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name ~ 'ready$'", "0");
}

fn load(cluster: &Cluster<'_>) {
    for statement in LOAD.split(';').filter(|statement| !statement.trim().is_empty()) {
        cluster.sql(statement);
    }
    cluster.sql("DROP DATABASE replaced");
    cluster.sql("CREATE DATABASE another TEMPLATE template0");
}

/// The place where a backup taken now would begin.
fn backup_start(cluster: &Cluster<'_>) -> Lsn {
    run(async {
        let session = connect(cluster).await;
        session.start_backup("test", Checkpoint::Immediate).await.unwrap().lsn
    })
}

async fn connect(cluster: &Cluster<'_>) -> Session {
    let env = cluster.libpq_env();
    Session::connect(&ConnInfo::from_env(&|name| env.get(name).cloned()).unwrap()).await.unwrap()
}

fn interval(from: Lsn, until: Lsn) -> Interval {
    Interval { from, until, history: TimelineHistory::without_ancestors(TimelineId::FIRST) }
}

fn context(storage: &Path) -> Context {
    support::context(Arc::new(Directory::new(storage, Prefix::root())), &WalG)
}

/// Asks for the blocks with these sources only, of a server whose directory has another place for once.
fn search(
    cluster: &Cluster<'_>,
    data: &Path,
    storage: &Path,
    interval: &Interval,
    sources: &[Source],
) -> Found {
    run(async {
        let session = connect(cluster).await;
        let identity = session.identify().await.unwrap();
        let server = seawall::ops::changed_blocks::Cluster {
            session: &session,
            identity: &identity,
            data_dir: data,
            data_bytes: 1 << 30,
        };
        let rules = Rules { sources: sources.to_vec(), summarizer_patience: PATIENCE };
        find(&context(storage), server, interval, &rules).await.unwrap()
    })
}

/// The map, and nothing but this source was of use.
#[track_caller]
fn map_of(found: Found, source: Source) -> BlockMap {
    match found {
        Found { blocks: ChangedBlocks::Map(chosen, map), gaps } if chosen == source => {
            assert!(gaps.is_empty(), "{gaps:?}");
            map
        }
        other => panic!("not from {source}: {other:?}"),
    }
}

/// Nothing is known, for this reason.
#[track_caller]
fn gap_of(found: Found, from: Lsn) -> Gap {
    let Found { blocks: ChangedBlocks::PageLsns(since), mut gaps } = found else { panic!("{found:?}") };
    assert_eq!(since, from);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    gaps.remove(0).1
}

fn directory_of(bucket: &Bucket) -> PathBuf {
    bucket.env().find(|(name, _)| *name == "WALG_FILE_PREFIX").unwrap().1.into()
}

/// The keys of `wal_005/` that end so, without folder and ending.
fn archived(bucket: &Bucket, end: &str) -> Vec<String> {
    let keys = bucket.keys().into_iter();
    keys.filter_map(|key| Some(key.strip_prefix("wal_005/")?.strip_suffix(end)?.to_owned())).collect()
}

/// A data directory with nothing but this file of `pg_wal`.
fn with_one_segment(scratch: &Scratch, cluster: &Cluster<'_>, name: &str, segment: &str) -> PathBuf {
    let data = scratch.dir(name);
    fs::create_dir(data.join("pg_wal")).unwrap();
    fs::copy(cluster.data().join("pg_wal").join(segment), data.join("pg_wal").join(segment)).unwrap();
    data
}

/// Waits until the archive has every segment before this one.
fn all_before_is_archived(source: &Cluster<'_>, last: &str) {
    let waiting = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name ~ 'ready$'";
    source.wait_until(&format!("{waiting} AND name < '{last}'"), "0");
}

/// Wal read from `pg_wal`, from the archive, and what was recorded; and the server's own summaries where it has them.
fn sources_agree(version: u32) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let summarize: &[_] = if version >= 17 { &[("summarize_wal", "on")] } else { &[] };
    let source = primary(&scratch, &postgres, &seawall, summarize);
    let from = backup_start(&source);
    let first_segment = source.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    load(&source);
    source.switch_wal();
    let until = backup_start(&source);
    let last = source.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    let wanted = interval(from, until);
    all_before_is_archived(&source, &last);

    let mut deltas = archived(&bucket, "_delta.lz4");
    // The interval begins in the midst of a group.
    deltas.retain(|first| *first > first_segment);
    assert!(deltas.len() >= 2, "{:?}", bucket.keys());
    let whole = scratch.copy(&directory_of(&bucket), "whole");
    let no_deltas = scratch.copy(&whole, "no-deltas");
    let only_deltas = scratch.copy(&whole, "only-deltas");
    for delta in &deltas {
        fs::remove_file(no_deltas.join(format!("wal_005/{delta}_delta.lz4"))).unwrap();
        for segment in group_of(delta) {
            let _ = fs::remove_file(only_deltas.join(format!("wal_005/{segment}.lz4")));
        }
    }
    let alone = with_one_segment(&scratch, &source, "alone", &last);

    let wal = |data: &Path, storage: &Path| {
        map_of(search(&source, data, storage, &wanted, &[Source::Wal]), Source::Wal)
    };
    let read = wal(&alone, &no_deltas);
    let (relations, replaced) = normal(&read);
    assert!(relations.len() > 20 && replaced.len() == 2, "{} {replaced:?}", relations.len());
    assert_equal(&read, &wal(source.data(), &no_deltas), "pg_wal and archive");
    assert_equal(&read, &wal(&alone, &only_deltas), "recorded");
    assert_equal(&read, &wal(source.data(), &whole), "all there is");
    for delta in &deltas {
        let object = whole.join(format!("wal_005/{delta}_delta.lz4"));
        let content = fs::read(&object).unwrap();
        fs::write(&object, &content[..content.len() / 2]).unwrap();
    }
    assert_equal(&read, &wal(&alone, &whole), "segments in place of what cannot be read");
    for (table, limit) in [("shortened", 1..100), ("emptied", 0..1)] {
        let filenode: u32 = source.sql(&format!("SELECT pg_relation_filenode('{table}')")).parse().unwrap();
        let (_, (cut, _)) = relations.iter().find(|(place, _)| place.filenode.as_u32() == filenode).unwrap();
        assert!(cut.is_some_and(|cut| limit.contains(&cut)), "{table}: {cut:?}");
    }

    let asked = search(&source, source.data(), &whole, &wanted, &[Source::Summaries]);
    if version >= 17 {
        assert_equal(&read, &map_of(asked, Source::Summaries), "summaries");
    } else {
        assert!(matches!(gap_of(asked, from), Gap::NoSummaries { major } if major == version));
    }
}

/// The segments of the group that this one, of 1 MiB, is the first of.
fn group_of(first: &str) -> impl Iterator<Item = String> {
    let (rest, number) = first.split_at(16);
    let number = u32::from_str_radix(number, 16).unwrap();
    (0..16).map(move |index| format!("{rest}{:08X}", number + index))
}

#[test]
fn sources_agree_on_13() {
    sources_agree(13);
}

#[test]
fn sources_agree_on_14() {
    sources_agree(14);
}

#[test]
fn sources_agree_on_15() {
    sources_agree(15);
}

#[test]
fn sources_agree_on_16() {
    sources_agree(16);
}

#[test]
fn sources_agree_on_17() {
    sources_agree(17);
}

#[test]
fn sources_agree_on_18() {
    sources_agree(18);
}

/// A primary with a stretch of WAL in four small segments, none of them recorded.
struct Stretch<'a> {
    source: Cluster<'a>,
    wanted: Interval,
    /// The names of the segments that hold the start and the end.
    first: String,
    last: String,
}

impl<'a> Stretch<'a> {
    fn new(scratch: &'a Scratch, postgres: &Postgres, tool: &Tool, settings: &[(&str, &str)]) -> Self {
        let source = primary(scratch, postgres, tool, settings);
        let at = |source: &Cluster<'_>| {
            let start = backup_start(source);
            (start, source.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
        };
        let (from, first) = at(&source);
        for _ in 0..3 {
            source.sql("UPDATE kept SET t = t || 'x' WHERE id < 10");
            source.switch_wal();
        }
        let (until, last) = at(&source);
        all_before_is_archived(&source, &last);
        Self { source, wanted: interval(from, until), first, last }
    }

    fn search(&self, data: &Path, storage: &Path, source: Source) -> Found {
        search(&self.source, data, storage, &self.wanted, &[source])
    }
}

/// Changes a byte.
fn damage(path: &Path, at: usize) {
    let mut content = fs::read(path).unwrap();
    content[at] ^= 0x40;
    fs::write(path, content).unwrap();
}

#[test]
fn wal_is_read_from_where_it_is_whole_or_not_at_all() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let stretch = Stretch::new(&scratch, &postgres, &seawall, &[]);
    let Stretch { source, wanted, first, last } = &stretch;
    let alone = with_one_segment(&scratch, source, "alone", last);
    let storage = directory_of(&bucket);
    let asked = || stretch.search(&alone, &storage, Source::Wal);
    let complete = map_of(asked(), Source::Wal);

    let object = storage.join(format!("wal_005/{first}.lz4"));
    let content = fs::read(&object).unwrap();
    let own = alone.join("pg_wal").join(first);
    let fetched = scratch.absent("fetched");
    seawall.run(&scratch, ["wal-fetch", first, fetched.to_str().unwrap()]).success();
    fs::remove_file(&object).unwrap();
    let gap = gap_of(asked(), wanted.from);
    assert!(gap.to_string().contains(&format!("archive `{first}` does not exist")), "{gap}");
    assert!(!gap.is_expected());

    fs::copy(&fetched, &own).unwrap();
    assert_equal(&complete, &map_of(asked(), Source::Wal), "from pg_wal");
    damage(&own, 9000);
    let gap = gap_of(asked(), wanted.from);
    assert!(matches!(&gap, Gap::Wal { segment, .. } if segment.to_string() == *first), "{gap}");
    fs::write(&object, &content).unwrap();
    assert_equal(&complete, &map_of(asked(), Source::Wal), "from the archive after all");
    fs::write(&object, &content[..content.len() / 2]).unwrap();
    let gap = gap_of(asked(), wanted.from);
    assert!(gap.to_string().contains(first.as_str()), "{gap}");
    fs::write(&object, &content).unwrap();

    // A segment that was renamed for later use, as PostgreSQL does.
    fs::copy(alone.join("pg_wal").join(last), &own).unwrap();
    assert_equal(&complete, &map_of(asked(), Source::Wal), "not from another segment");

    // More WAL to fetch than anybody should for a cluster of 1 GiB: not even tried, and nothing to warn of.
    let long = interval(wanted.from, Lsn::new(wanted.from.as_u64() + (3 << 29)));
    let gap = gap_of(search(source, &alone, &storage, &long, &[Source::Wal]), wanted.from);
    let Gap::MuchWal { to_fetch, data_bytes } = gap else { panic!("{gap}") };
    assert!(gap.is_expected());
    assert!(to_fetch > data_bytes && to_fetch <= 3 << 29, "{to_fetch} {data_bytes}");

    let ahead = interval(wanted.from, Lsn::new(wanted.until.as_u64() + (64 << 10)));
    let gap = gap_of(search(source, &alone, &storage, &ahead, &[Source::Wal]), wanted.from);
    assert!(matches!(&gap, Gap::Wal { segment, .. } if segment.to_string() == *last), "{gap}");
}

#[test]
fn no_map_of_wal_with_minimal_level() {
    let postgres = require!(Postgres::version(17));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let mut source =
        primary(&scratch, &postgres, &seawall, &[("summarize_wal", "on"), ("wal_keep_size", "1GB")]);
    let from = backup_start(&source);
    let minimal = [
        ("archive_mode", "off"),
        ("wal_level", "minimal"),
        ("max_wal_senders", "0"),
        ("summarize_wal", "off"),
    ];
    let archiving = [("archive_mode", "on"), ("wal_level", "replica"), ("summarize_wal", "on")];
    for settings in [&minimal[..], &archiving] {
        for (setting, value) in settings {
            source.configure(setting, value);
        }
        source.restart();
        source.sql(
            "BEGIN; TRUNCATE emptied; INSERT INTO emptied SELECT g, 'x' FROM generate_series(1, 9) g; COMMIT",
        );
    }
    let until = backup_start(&source);
    let asked =
        |kind| search(&source, source.data(), &directory_of(&bucket), &interval(from, until), &[kind]);
    let gap = gap_of(asked(Source::Wal), from);
    assert!(gap.to_string().contains("wal_level was minimal"), "{gap}");
    let gap = gap_of(asked(Source::Summaries), from);
    assert!(matches!(gap, Gap::NotSummarized { .. }), "{gap}");
}

#[test]
fn summaries_with_a_hole_are_not_used() {
    let postgres = require!(Postgres::version(17));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let stretch = Stretch::new(&scratch, &postgres, &seawall, &[("summarize_wal", "on")]);
    let Stretch { source, wanted, .. } = &stretch;
    let storage = directory_of(&bucket);
    source.sql("CHECKPOINT");
    let redo = "(SELECT redo_lsn FROM pg_control_checkpoint())";
    source.wait_until(&format!("SELECT max(end_lsn) >= {redo} FROM pg_available_wal_summaries()"), "t");
    let complete = map_of(stretch.search(source.data(), &storage, Source::Summaries), Source::Summaries);
    assert_equal(
        &map_of(stretch.search(source.data(), &storage, Source::Wal), Source::Wal),
        &complete,
        "wal",
    );

    let data = scratch.dir("data");
    let summaries = data.join("pg_wal/summaries");
    fs::create_dir_all(&summaries).unwrap();
    for entry in fs::read_dir(source.data().join("pg_wal/summaries")).unwrap() {
        let name = entry.unwrap().file_name();
        // Which is still being written (`walsummarizer.c`).
        if name != "temp.summary" {
            fs::copy(source.data().join("pg_wal/summaries").join(&name), summaries.join(&name)).unwrap();
        }
    }
    let asked = || stretch.search(&data, &storage, Source::Summaries);
    assert_equal(&map_of(asked(), Source::Summaries), &complete, "copy");
    let mut names: Vec<String> = fs::read_dir(&summaries)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name[8..24] < format!("{:016X}", wanted.until.as_u64())[..])
        .filter(|name| name[24..40] > format!("{:016X}", wanted.from.as_u64())[..])
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in &names {
        let (path, kept) = (summaries.join(name), scratch.absent("kept"));
        fs::rename(&path, &kept).unwrap();
        let gap = gap_of(asked(), wanted.from);
        let hole = u64::from_str_radix(&name[8..24], 16).unwrap().max(wanted.from.as_u64());
        assert!(matches!(gap, Gap::NotSummarized { lsn, .. } if lsn.as_u64() == hole), "{gap}");
        fs::copy(&kept, &path).unwrap();
        damage(&path, 30);
        let gap = gap_of(asked(), wanted.from);
        assert!(matches!(&gap, Gap::Summary { path: found, .. } if *found == path), "{gap}");
        fs::rename(&kept, &path).unwrap();
    }
    assert_equal(&map_of(asked(), Source::Summaries), &complete, "whole again");

    // Beyond what the server has written there will be no summary, however long it is waited for.
    let ahead = interval(wanted.from, Lsn::new(wanted.until.as_u64() + (1 << 30)));
    let gap = run(async {
        let session = connect(source).await;
        let identity = session.identify().await.unwrap();
        let server = seawall::ops::changed_blocks::Cluster {
            session: &session,
            identity: &identity,
            data_dir: &data,
            data_bytes: 1 << 30,
        };
        let rules = Rules { sources: vec![Source::Summaries], summarizer_patience: Duration::from_secs(2) };
        find(&context(&storage), server, &ahead, &rules).await.unwrap()
    });
    let gap = gap_of(gap, wanted.from);
    assert!(matches!(gap, Gap::SummarizerStuck { .. }), "{gap}");

    source.sql("ALTER SYSTEM SET summarize_wal = off");
    source.sql("SELECT pg_reload_conf()");
    source.wait_until("SHOW summarize_wal", "off");
    let gap = gap_of(asked(), wanted.from);
    assert!(matches!(gap, Gap::SummarizerOff), "{gap}");

    // The next source is asked then.
    let found =
        search(source, source.data(), &storage, wanted, &[Source::Summaries, Source::Wal, Source::PageLsns]);
    assert_eq!(found.gaps.len(), 1);
    let ChangedBlocks::Map(Source::Wal, map) = found.blocks else { panic!("{found:?}") };
    assert_equal(&map, &complete, "wal after all");
}

/// A delta backup that waits for a summarizer which does not get on, and that process.
struct Waiting {
    backup: std::process::Child,
    summarizer: Pid,
    /// What was stored of backups before.
    stored: Vec<String>,
}

/// The keys of everything that is stored of backups.
fn stored(bucket: &Bucket) -> Vec<String> {
    bucket.keys().into_iter().filter(|key| key.starts_with("basebackups")).collect()
}

impl Waiting {
    fn begin(source: &Cluster<'_>, bucket: &Bucket, seawall: &Tool, scratch: &Scratch) -> Self {
        let summarizer = source.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsummarizer'");
        let summarizer = Pid::from_raw(summarizer.parse().unwrap()).unwrap();
        kill_process(summarizer, Signal::STOP).unwrap();
        let stored = stored(bucket);
        let mut command = seawall.command(scratch, ["backup-push"]);
        command.arg(source.data()).envs(source.libpq_env()).stdin(Stdio::null());
        let backup = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        source.wait_until(&format!("SELECT count(*) FROM {ASKING}"), "1");
        Waiting { backup, summarizer, stored }
    }

    /// How the backup ended, of which nothing may be left; what it said.
    fn end(self, source: &Cluster<'_>, bucket: &Bucket) -> (ExitStatus, String) {
        let output = self.backup.wait_with_output().unwrap();
        kill_process(self.summarizer, Signal::CONT).unwrap();
        // A session may outlive its client.
        source.wait_until(&format!("SELECT count(*) FROM {ASKING}"), "0");
        assert_eq!(stored(bucket), self.stored);
        (output.status, String::from_utf8(output.stderr).unwrap())
    }
}

/// The session of a backup that asks how far the summarizer is, and none that looks for it.
const ASKING: &str =
    "pg_stat_activity WHERE query ~ 'pg_get_wal_summarizer_state' AND query !~ 'pg_stat_activity'";

/// Were the wait not ended, the backup would be taken from another source once it is over.
#[test]
fn the_wait_for_the_summarizer_ends_with_the_backup() {
    let postgres = require!(Postgres::version(17));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let seawall = seawall.with("WALG_DELTA_MAX_STEPS", "5").with("SEAWALL_SUMMARIZER_TIMEOUT", "20m");
    let source = primary(&scratch, &postgres, &seawall, &[("summarize_wal", "on")]);
    source.push_backup(&seawall);

    let waiting = Waiting::begin(&source, &bucket, &seawall, &scratch);
    kill_process(Pid::from_child(&waiting.backup), Signal::TERM).unwrap();
    let (status, said) = waiting.end(&source, &bucket);
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{said}");

    let waiting = Waiting::begin(&source, &bucket, &seawall, &scratch);
    assert_eq!(source.sql(&format!("SELECT pg_terminate_backend(pid) FROM {ASKING}")), "t");
    let (status, said) = waiting.end(&source, &bucket);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("ERROR") && said.contains("hint:") && !said.contains("Changed blocks"), "{said}");
}

/// A standby of the primary, made from a backup, that has followed up to now.
fn standby<'a>(scratch: &'a Scratch, postgres: &Postgres, tool: &Tool, source: &Cluster<'_>) -> Cluster<'a> {
    source.push_backup(tool);
    let mut standby = Cluster::restored(scratch, postgres, "standby");
    tool.run(scratch, ["backup-fetch", standby.data().to_str().unwrap(), "LATEST"]).success();
    standby.follow_with(tool);
    standby.archive_with(tool);
    let at = source.libpq_env();
    let conninfo = format!("host={} port={} user=postgres", at["PGHOST"], at["PGPORT"]);
    standby.configure("primary_conninfo", &conninfo);
    standby.configure("wal_keep_size", "1GB");
    standby.start();
    follow(source, &standby);
    standby
}

/// Waits until the standby has replayed what the primary wrote, and has a restartpoint at its last checkpoint.
fn follow(source: &Cluster<'_>, standby: &Cluster<'_>) {
    source.sql("CHECKPOINT");
    let lsn = source.sql("SELECT pg_current_wal_flush_lsn()");
    standby.wait_until(&format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'"), "t");
    standby.sql("CHECKPOINT");
}

#[test]
fn a_standby_and_what_it_writes_when_it_was_promoted() {
    let postgres = require!(Postgres::version(17));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let mut source =
        primary(&scratch, &postgres, &seawall, &[("summarize_wal", "on"), ("wal_keep_size", "1GB")]);
    let standby = standby(&scratch, &postgres, &seawall, &source);
    let storage = directory_of(&bucket);
    let both = |data: &Path, wanted: &Interval| {
        let wal = map_of(search(&standby, data, &storage, wanted, &[Source::Wal]), Source::Wal);
        let summaries = search(&standby, standby.data(), &storage, wanted, &[Source::Summaries]);
        assert_equal(&wal, &map_of(summaries, Source::Summaries), "summaries");
        wal
    };

    let from = backup_start(&standby);
    load(&source);
    follow(&source, &standby);
    let until = backup_start(&standby);
    assert!(until > from);
    let before = both(standby.data(), &interval(from, until));

    source.sql("UPDATE kept SET t = 'last' WHERE id = 7");
    let lsn = source.sql("SELECT pg_current_wal_flush_lsn()");
    standby.wait_until(&format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'"), "t");
    drained(&source);
    source.kill();
    standby.sql("SELECT pg_promote()");
    standby.sql("CREATE TABLE promoted AS SELECT generate_series(1, 1000) AS id");
    let new_from = until;
    let until = backup_start(&standby);
    let history = fs::read(standby.data().join("pg_wal/00000002.history")).unwrap();
    let history = TimelineHistory::parse(TimelineId::new(2).unwrap(), &history).unwrap();
    let over_the_switch = Interval { from: new_from, until, history: history.clone() };
    let after = both(standby.data(), &over_the_switch);
    let filenode = |table: &str| -> u32 {
        standby.sql(&format!("SELECT pg_relation_filenode('{table}')")).parse().unwrap()
    };
    for table in ["kept", "promoted"] {
        let filenode = filenode(table);
        assert!(after.relations().any(|(place, ..)| place.filenode.as_u32() == filenode), "{table}");
    }

    // The same from the archive, in which the last segment of the old timeline is partial.
    standby.switch_wal();
    drained(&standby);
    let alone = scratch.dir("alone");
    fs::create_dir(alone.join("pg_wal")).unwrap();
    assert_equal(&after, &both(&alone, &over_the_switch), "from the archive");
    let whole = Interval { from, until, history };
    let mut sum = before;
    sum.merge(after);
    assert_equal(&sum, &both(&alone, &whole), "all from the archive");
}

/// A stopped cluster with some 70 segments of 1 MiB that wait to be archived, and wal-push is told of one at a time.
fn unarchived<'a>(scratch: &'a Scratch, postgres: &Postgres) -> (Cluster<'a>, Vec<String>) {
    let mut source = Cluster::create(scratch, postgres, "source", &["--wal-segsize=1"]);
    source.archive_in_vain();
    source.start();
    source.sql("CREATE TABLE filled AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 400000) g");
    source.sql("UPDATE filled SET t = upper(t) WHERE id % 3 = 0");
    source.sql("SELECT pg_logical_emit_message(false, 'test', repeat('several segments ', 200000)) IS NULL");
    source.sql("SELECT pg_switch_wal()");
    source.stop();
    let status = source.data().join("pg_wal/archive_status");
    let mut names = Vec::new();
    for entry in fs::read_dir(&status).unwrap() {
        let path = entry.unwrap().path();
        names.extend(
            path.file_stem()
                .and_then(|name| name.to_str())
                .filter(|name| name.len() == 24)
                .map(str::to_owned),
        );
        fs::remove_file(path).unwrap();
    }
    names.sort();
    assert!(names.len() > 50, "{names:?}");
    (source, names)
}

fn push(scratch: &Scratch, tool: &Tool, source: &Cluster<'_>, segment: &str) -> support::Run {
    let path = source.data().join("pg_wal").join(segment);
    tool.run(scratch, ["wal-push", path.to_str().unwrap()]).success()
}

/// The first segments of the groups that are recorded when all these segments are.
fn whole_groups(segments: &[String]) -> Vec<String> {
    let has = |name: &String| segments.contains(name);
    let is_whole = |first: &&String| {
        let number = u32::from_str_radix(&first[16..], 16).unwrap();
        let before = number.checked_sub(1).map(|number| format!("{}{number:08X}", &first[..16]));
        number.is_multiple_of(16)
            && before.is_some_and(|before| has(&before))
            && group_of(first).all(|name| has(&name))
    };
    segments.iter().filter(is_whole).cloned().collect()
}

/// The segments whose records wait for others.
fn waiting(source: &Cluster<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(source.data().join("pg_wal/walg_data/seawall_blocks")).unwrap() {
        names.push(entry.unwrap().file_name().into_string().unwrap());
    }
    names.retain(|name| name != ".lock");
    names.sort();
    names
}

#[test]
fn recorded_in_any_order_and_by_several_at_once() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let (source, segments) = unarchived(&scratch, &postgres);
    let groups = whole_groups(&segments);
    assert!(groups.len() >= 2, "{segments:?}");

    for segment in &segments {
        push(&scratch, &seawall, &source, segment);
    }
    assert_eq!(archived(&bucket, "_delta.lz4"), groups);
    let stored: Vec<String> = groups.iter().flat_map(|group| group_of(group)).collect();
    let mut expected: Vec<_> = segments.iter().filter(|name| !stored.contains(name)).cloned().collect();
    expected.push(format!("{}.tail", stored.last().unwrap()));
    expected.sort();
    assert_eq!(waiting(&source), expected, "records of stored groups stay, or others are gone");
    let in_order: Vec<_> =
        groups.iter().map(|group| bucket.get(&format!("wal_005/{group}_delta.lz4"))).collect();
    for group in &groups {
        bucket.delete(&format!("wal_005/{group}_delta.lz4"));
    }
    fs::remove_dir_all(source.data().join("pg_wal/walg_data")).unwrap();

    // Backwards, in four processes at a time.
    let mut rest: Vec<_> = segments.iter().collect();
    while !rest.is_empty() {
        let mut pushes = Vec::new();
        for segment in rest.split_off(rest.len().saturating_sub(4)) {
            let path = source.data().join("pg_wal").join(segment);
            pushes.push(seawall.command(&scratch, ["wal-push", path.to_str().unwrap()]).spawn().unwrap());
        }
        for mut push in pushes {
            assert!(push.wait().unwrap().success());
        }
    }
    // Those that were recorded while another process had the lock are joined by the next call.
    push(&scratch, &seawall, &source, segments.last().unwrap());
    assert_eq!(archived(&bucket, "_delta.lz4"), groups);
    for (group, content) in groups.iter().zip(in_order) {
        assert!(bucket.get(&format!("wal_005/{group}_delta.lz4")) == content, "{group}");
    }
}

#[test]
fn recorded_ahead_too_and_once() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let (source, segments) = unarchived(&scratch, &postgres);
    let status = source.data().join("pg_wal/archive_status");
    for segment in &segments {
        fs::write(status.join(format!("{segment}.ready")), "").unwrap();
    }
    fs::write(source.data().join("pg_wal/00000009.history"), "1\t0/1000000\tx\n").unwrap();
    fs::write(status.join("00000009.history.ready"), "").unwrap();
    scratch.own(source.data());
    let mut said = String::new();
    for segment in &segments {
        said += &push(&scratch, &seawall, &source, segment).stderr;
        fs::rename(status.join(format!("{segment}.ready")), status.join(format!("{segment}.done"))).unwrap();
    }
    assert!(said.contains("already archived by an earlier call"), "{said}");
    let is_expected = |line: &str| !line.contains("WARNING") || line.contains("no base backup");
    assert!(said.lines().all(is_expected), "{said}");
    let groups = whole_groups(&segments);
    assert_eq!(archived(&bucket, "_delta.lz4"), groups);
    assert_eq!(said.matches("stored the blocks").count(), groups.len(), "{said}");
}

#[test]
fn what_cannot_be_recorded_is_archived_all_the_same() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let (source, segments) = unarchived(&scratch, &postgres);
    let groups = whole_groups(&segments);
    let [first, second, ..] = &groups[..] else { panic!("{groups:?}") };
    let wal = source.data().join("pg_wal");

    // Off: nothing is left behind.
    push(&scratch, &seawall.clone().with("WALG_USE_WAL_DELTA", "false"), &source, &segments[0]);
    assert!(!wal.join("walg_data/seawall_blocks").exists());

    let damaged = group_of(first).nth(5).unwrap();
    damage(&wal.join(&damaged), 40_000);
    // The storage takes no object where there is a directory.
    let obstacle = format!("wal_005/{second}_delta.lz4/in_the_way");
    bucket.put(&scratch, &obstacle, b"x");
    for segment in segments.iter().filter(|name| **name <= group_of(second).last().unwrap()) {
        let said = push(&scratch, &seawall, &source, segment).stderr;
        if *segment == damaged {
            assert!(said.contains("the blocks it changes are not recorded"), "{said}");
        } else if *segment == group_of(second).last().unwrap() {
            assert!(said.contains("WARNING") && said.contains("recorded blocks are not stored"), "{said}");
        } else {
            assert!(!said.contains("WARNING"), "{said}");
        }
        assert!(bucket.keys().contains(&format!("wal_005/{segment}.lz4")));
    }
    bucket.delete(&obstacle);
    fs::remove_dir(directory_of(&bucket).join(format!("wal_005/{second}_delta.lz4"))).unwrap();
    let next = segments.iter().find(|name| **name > group_of(second).last().unwrap()).unwrap();
    push(&scratch, &seawall, &source, next);
    assert_eq!(archived(&bucket, "_delta.lz4"), std::slice::from_ref(second));

    // A record that another program left, or that was damaged.
    let mut waits = waiting(&source);
    let spoilt = waits.pop().unwrap();
    fs::write(wal.join("walg_data/seawall_blocks").join(&spoilt), "seawall blocks 0 and what else there was")
        .unwrap();
    let third = groups.get(2).unwrap_or_else(|| panic!("three groups are whole: {groups:?}"));
    assert!(group_of(third).chain(group_of(second)).any(|name| name == spoilt));
    let mut said = String::new();
    for segment in group_of(third).filter(|name| *name != spoilt) {
        said += &push(&scratch, &seawall, &source, &segment).stderr;
    }
    assert!(said.contains("16 segments are not recorded") && said.contains(&spoilt), "{said}");
    assert_eq!(archived(&bucket, "_delta.lz4"), std::slice::from_ref(second));
}

/// wal-g takes a delta by what we recorded, on servers whose WAL it can read itself where nothing is recorded.
fn walg_reads_what_is_recorded(version: u32) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    // The segment of zeroes below is replaced by what the server archives.
    let seawall = seawall.with("WALG_PREVENT_WAL_OVERWRITE", "false");
    let walg = require!(Tool::walg(&scratch))
        .with_all(bucket.env())
        .with("WALG_COMPRESSION_METHOD", "lz4")
        .with("WALG_PG_WAL_SIZE", "1")
        .with("WALG_DELTA_MAX_STEPS", "3")
        .with("WALG_USE_WAL_DELTA", "true")
        .with("WALG_FORCE_WAL_DELTA", "true");
    let mut source = primary(&scratch, &postgres, &seawall, &[("wal_keep_size", "1GB")]);
    // wal-g asks for all groups of the interval, and the first group of all is never recorded.
    while source.sql("SELECT pg_current_wal_lsn() > '0/1200000'") == "f" {
        source.sql("UPDATE kept SET t = lower(t)");
    }
    source.push_backup(&walg);
    load(&source);
    source.sql("VACUUM kept");
    source.switch_wal();
    drained(&source);
    let before = bucket.keys().len();
    // wal-g also wants the segment that its backup starts in, which is archived when it is full: a segment of zeroes,
    // as the server has it before it writes, has no record that wal-g could miss.
    let next = source.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    let zeroes = scratch.dir("zeroes").join(&next);
    fs::write(&zeroes, vec![0; 1 << 20]).unwrap();
    let careless = seawall.clone().with("SEAWALL_CHECK_WAL", "false").with("WALG_USE_WAL_DELTA", "false");
    careless.run(&scratch, ["wal-push", zeroes.to_str().unwrap()]).success();
    assert_eq!(bucket.keys().len(), before + 1);

    let said = source.push_backup(&walg).stderr;
    assert!(said.contains("Successfully loaded delta map"), "{said}");
    assert!(said.contains("Successfully downloaded delta file"), "{said}");
    assert!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
    let expected = rows(&source);
    source.stop();

    let mut restored = Cluster::restored(&scratch, &postgres, "restored");
    walg.run(&scratch, ["backup-fetch", restored.data().to_str().unwrap(), "LATEST"]).success();
    restored.recover_with(&seawall);
    restored.configure("recovery_target_action", "promote");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(rows(&restored), expected);
    restored.amcheck();
}

/// All rows of the tables that the load leaves.
fn rows(cluster: &Cluster<'_>) -> Vec<String> {
    ["kept", "shortened", "emptied", "full_vacuumed", "made", "made_too"]
        .iter()
        .map(|table| {
            cluster.sql(&format!("SELECT count(*), md5(string_agg(t, ',' ORDER BY id, t)) FROM {table}"))
        })
        .collect()
}

#[test]
fn walg_reads_what_is_recorded_on_13() {
    walg_reads_what_is_recorded(13);
}

#[test]
fn walg_reads_what_is_recorded_on_14() {
    walg_reads_what_is_recorded(14);
}
