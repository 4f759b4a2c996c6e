//! Delta backups end to end: taken, restored, compared with the primary.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use seawall::layout::walg::increment::IncrementHeader;
use seawall::pg::data_dir::{Found, WalkRules, walk};
use seawall::pg::page::{self, PageVerdict};
use seawall::pg::{BLOCKS_PER_SEGMENT, Lsn, RelationFile};
use seawall::tarball::{ReadError, read_members};
use serde_json::{Value, json};
use support::{Bucket, Cluster, Postgres, Run, Scratch, Tool, run};

/// A repository and what is called with it; deltas are switched on.
struct Repository<'a> {
    scratch: &'a Scratch,
    bucket: Bucket,
    tool: Tool,
}

impl<'a> Repository<'a> {
    fn new(scratch: &'a Scratch) -> Self {
        let bucket = Bucket::directory(scratch, "storage");
        let tool = Tool::seawall(scratch).with_all(bucket.env()).with("WALG_DELTA_MAX_STEPS", "6");
        Self { scratch, bucket, tool }
    }

    /// The real wal-g with the same settings.
    fn walg(&self) -> Result<Tool, support::Missing> {
        Ok(Tool::walg(self.scratch)?.with_all(self.bucket.env()).with("WALG_DELTA_MAX_STEPS", "6"))
    }

    /// A running primary that archives here.
    fn primary(&self, postgres: &Postgres, initdb_args: &[&str]) -> Cluster<'a> {
        let mut cluster = Cluster::create(self.scratch, postgres, "source", initdb_args);
        cluster.archive_with(&self.tool);
        cluster.start();
        cluster
    }

    /// Runs `backup-push` of `tool` with more arguments.
    fn push(&self, tool: &Tool, cluster: &Cluster<'_>, arguments: &[&str]) -> Run {
        let start = [OsStr::new("backup-push"), cluster.data().as_os_str()];
        let arguments = start.into_iter().chain(arguments.iter().map(OsStr::new));
        run(tool.command(self.scratch, arguments).envs(cluster.libpq_env()))
    }

    /// Takes a backup; its name.
    #[track_caller]
    fn take(&self, cluster: &Cluster<'_>, arguments: &[&str]) -> String {
        self.push(&self.tool, cluster, arguments).success();
        self.backups().pop().unwrap()
    }

    /// The names of all backups, oldest first.
    fn backups(&self) -> Vec<String> {
        let list = self.tool.run(self.scratch, ["backup-list", "--json"]).success().stdout;
        let backups: Vec<Value> = serde_json::from_str(&list).unwrap();
        backups.iter().map(|backup| backup["backup_name"].as_str().unwrap().to_owned()).collect()
    }

    /// The keys of everything that is stored of backups.
    fn stored(&self) -> Vec<String> {
        self.bucket.keys().into_iter().filter(|key| key.starts_with("basebackups")).collect()
    }

    /// Makes this backup the one whose sentinel was written last.
    fn make_latest(&self, backup: &str) {
        let sentinel = format!("basebackups_005/{backup}_backup_stop_sentinel.json");
        // The clock for files ticks now and then.
        std::thread::sleep(Duration::from_millis(20));
        self.bucket.put(self.scratch, &sentinel, &self.bucket.get(&sentinel));
        assert_eq!(self.backups().last().unwrap(), backup);
    }

    fn document(&self, key: &str) -> Value {
        serde_json::from_slice(&self.bucket.get(&format!("basebackups_005/{key}"))).unwrap()
    }

    fn sentinel(&self, backup: &str) -> Value {
        self.document(&format!("{backup}_backup_stop_sentinel.json"))
    }

    fn is_permanent(&self, backup: &str) -> bool {
        self.document(&format!("{backup}/metadata.json"))["is_permanent"].as_bool().unwrap()
    }

    /// How a backup holds a file: `whole`, `increment`, `skipped` or `absent`.
    fn form(&self, backup: &str, file: &str) -> &'static str {
        let file = &self.document(&format!("{backup}/files_metadata.json"))["Files"][format!("/{file}")];
        match (file["IsIncremented"].as_bool(), file["IsSkipped"].as_bool()) {
            (None, None) => "absent",
            (Some(true), Some(false)) => "increment",
            (Some(false), Some(true)) => "skipped",
            (Some(false), Some(false)) => "whole",
            other => panic!("{file}: {other:?}"),
        }
    }

    /// Restores a backup with its tablespaces beside it and recovers to the end of the archive.
    #[track_caller]
    fn restore(&self, tool: &Tool, postgres: &Postgres, backup: &str, name: &str) -> Cluster<'a> {
        let mut cluster = Cluster::restored(self.scratch, postgres, name);
        let data = cluster.data().to_str().unwrap().to_owned();
        let mut fetch = vec!["backup-fetch".to_owned(), data.clone(), backup.to_owned()];
        if let Some(spec) = self.moved_spec(backup, &format!("{data}.tablespaces")) {
            let file = self.scratch.file(&format!("{name}.spec.json"), &spec.to_string());
            fetch.extend(["--restore-spec".to_owned(), file.to_str().unwrap().to_owned()]);
        }
        tool.run(self.scratch, &fetch).success();
        cluster.recover_with(tool);
        // The configuration may be that of a cluster which was once restored to an earlier place.
        cluster.configure("recovery_target_lsn", "");
        cluster.configure("recovery_target_timeline", "current");
        cluster.start();
        cluster.wait_until("SELECT pg_is_in_recovery()", "f");
        cluster
    }

    fn moved_spec(&self, backup: &str, places: &str) -> Option<Value> {
        let mut spec = self.sentinel(backup).get("Spec")?.clone();
        for oid in spec["tablespaces"].as_array().unwrap().clone() {
            let oid = oid.as_str().unwrap();
            spec[oid]["loc"] = json!(format!("{places}/{oid}"));
        }
        Some(spec)
    }
}

/// Lets the files of a cluster look as if nobody had written to them for an hour: the times of young files are not
/// trusted. The time of a file's birth cannot be set, and is trusted when it lies some ticks of the clock before the backup.
fn age(scratch: &Scratch, cluster: &Cluster<'_>) {
    let find = scratch.command("find").arg(cluster.data()).args(["-type", "f"]).args(AGE).status();
    assert!(find.unwrap().success());
    std::thread::sleep(Duration::from_millis(200));
}

const AGE: [&str; 6] = ["-exec", "touch", "-d", "1 hour ago", "{}", "+"];

/// The path of a table's first file, below the data directory.
fn file_of(cluster: &Cluster<'_>, table: &str) -> String {
    cluster.sql(&format!("SELECT pg_relation_filepath('{table}')"))
}

/// Every row of every table, as a hash for each table.
fn rows(cluster: &Cluster<'_>, tables: &[&str]) -> Vec<String> {
    let hash = |table: &&str| {
        let sql = format!(
            "SELECT '{table}', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t"
        );
        cluster.sql(&sql)
    };
    tables.iter().map(hash).collect()
}

/// The checksum of every page of a cluster that is stopped, as `pg_checksums --check` does it.
fn check_pages(cluster: &Cluster<'_>) {
    let mut good = 0;
    for found in walk(cluster.data(), &WalkRules::default()).unwrap() {
        let Found::Member(member) = found.unwrap() else { continue };
        let Some(relation) = RelationFile::parse(member.name.as_str()) else { continue };
        let first = relation.first_block(BLOCKS_PER_SEGMENT).unwrap();
        let pages = std::fs::read(&member.path).unwrap();
        for (block, verdict) in page::check_pages(&pages, 8192, first, Lsn::new(u64::MAX)) {
            assert!(!verdict.is_corrupt(), "{} block {block}: {verdict:?}", member.name);
            good += u32::from(verdict == PageVerdict::Good);
        }
    }
    assert!(good > 1000, "{good} pages");
}

const TABLES: &[&str] =
    &["big", "elsewhere", "shrinking", "rewritten", "toasted", "recreated", "late", "packed"];

/// Tables of all kinds of fate, one of them in a tablespace at `place`.
fn before(cluster: &Cluster<'_>, place: Option<&Path>) {
    if let Some(place) = place {
        cluster.sql(&format!("CREATE TABLESPACE space LOCATION '{}'", place.display()));
        cluster.sql("SET default_tablespace = space; CREATE TABLE elsewhere (i int, note text)");
    } else {
        cluster.sql("CREATE TABLE elsewhere (i int, note text)");
    }
    for sql in [
        "CREATE TABLE big AS SELECT i, repeat('x', 200) note FROM generate_series(1, 20000) i",
        "CREATE INDEX ON big (i)",
        "CREATE TABLE quiet AS SELECT i FROM generate_series(1, 5000) i",
        "INSERT INTO elsewhere SELECT i, repeat('y', 100) FROM generate_series(1, 9000) i",
        "CREATE TABLE shrinking AS SELECT i, repeat('z', 100) note FROM generate_series(1, 9000) i",
        "CREATE TABLE rewritten AS SELECT i FROM generate_series(1, 5000) i",
        "CREATE TABLE toasted AS SELECT i, string_agg(md5((i * j)::text), '') note FROM generate_series(1, 20) i, \
         generate_series(1, 300) j GROUP BY i",
        "CREATE TABLE recreated AS SELECT 'old' note FROM generate_series(1, 3000)",
        "CREATE UNLOGGED TABLE unlogged AS SELECT i FROM generate_series(1, 5000) i",
        "CREATE TABLE packed (i int PRIMARY KEY, note text) WITH (fillfactor = 50)",
        "INSERT INTO packed SELECT i, 'a' FROM generate_series(1, 5000) i",
        // Later readers would set hint bits, which with checksums changes the pages.
        "VACUUM",
        "CHECKPOINT",
    ] {
        cluster.sql(sql);
    }
}

/// First changes: a few rows, growth and shrinkage, and what replaces a file.
fn between(cluster: &Cluster<'_>) {
    for sql in [
        "UPDATE big SET note = 'changed' WHERE i % 4000 = 0",
        "UPDATE elsewhere SET note = 'changed' WHERE i = 17",
        "DELETE FROM shrinking WHERE i > 3000",
        "VACUUM shrinking",
        "INSERT INTO toasted SELECT i, note FROM toasted WHERE i = 3",
        "VACUUM FULL rewritten",
        "DROP TABLE recreated",
        "CREATE TABLE recreated AS SELECT 'new' note FROM generate_series(1, 2000)",
        "CREATE TABLE late AS SELECT i FROM generate_series(1, 3000) i",
        "UPDATE packed SET note = note || 'b' WHERE i < 200",
        "INSERT INTO unlogged VALUES (0)",
    ] {
        cluster.sql(sql);
    }
}

/// More changes: what shrank grows again, another index, a truncated table.
fn after(cluster: &Cluster<'_>) {
    for sql in [
        "INSERT INTO shrinking SELECT i, 'again' FROM generate_series(10000, 16000) i",
        "UPDATE big SET note = 'changed twice' WHERE i BETWEEN 7000 AND 7100",
        "DELETE FROM big WHERE i > 15000",
        "VACUUM big",
        "REINDEX TABLE packed",
        "TRUNCATE late",
        "INSERT INTO late SELECT i FROM generate_series(5, 50) i",
        "UPDATE elsewhere SET note = 'changed again' WHERE i % 1000 = 0",
    ] {
        cluster.sql(sql);
    }
}

/// A full backup and two deltas; every one of them brings the primary's rows back.
fn chain_of(version: u32) {
    let postgres = require!(Postgres::version(version));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let mut source = repository.primary(&postgres, &["--data-checksums"]);
    before(&source, Some(&scratch.dir("space")));
    age(&scratch, &source);
    let full = repository.take(&source, &[]);
    let [big, quiet, elsewhere, shrinking] =
        ["big", "quiet", "elsewhere", "shrinking"].map(|table| file_of(&source, table));
    between(&source);
    let first = repository.take(&source, &["--verify"]);
    after(&source);
    let second = repository.take(&source, &[]);
    source.sql("UPDATE big SET note = 'after all backups' WHERE i = 1");
    source.switch_wal();
    let expected = rows(&source, TABLES);
    source.stop();

    assert_eq!(repository.backups(), [full.as_str(), &first, &second]);
    let [of_full, of_first, of_second] = [&full, &first, &second].map(|name| repository.sentinel(name));
    assert!(first.ends_with(&full.replace("base_", "_D_")), "{first}");
    assert!(second.contains(&first[5..29]), "{second}");
    assert_eq!((&of_first["DeltaFrom"], &of_second["DeltaFrom"]), (&json!(full), &json!(first)));
    assert_eq!((&of_first["DeltaCount"], &of_second["DeltaCount"]), (&json!(1), &json!(2)));
    assert_eq!((&of_first["DeltaLSN"], &of_second["DeltaLSN"]), (&of_full["LSN"], &of_first["LSN"]));
    assert_eq!(of_second["DeltaFullName"], json!(full));
    assert!(of_full.get("DeltaSource").is_none() && of_first["DeltaSource"].is_string());
    let size = |sentinel: &Value| sentinel["UncompressedSize"].as_u64().unwrap();
    assert!(size(&of_first) * 2 < size(&of_full), "{of_first}\n{of_full}");
    for (backup, file, form) in [
        (&first, &big, "increment"),
        (&first, &quiet, "skipped"),
        (&first, &elsewhere, "increment"),
        (&first, &shrinking, "increment"),
        (&first, &"PG_VERSION".to_owned(), "skipped"),
        (&first, &"base".to_owned(), "whole"),
        (&second, &big, "increment"),
        (&second, &quiet, "skipped"),
    ] {
        assert_eq!(repository.form(backup, file), form, "{file} in {backup}");
    }

    for (step, backup) in [&full, &first, &second].into_iter().enumerate() {
        let mut restored = repository.restore(&repository.tool, &postgres, backup, &format!("step-{step}"));
        assert_eq!(rows(&restored, TABLES), expected, "from {backup}");
        assert_eq!(restored.sql("SELECT count(*), sum(i) FROM quiet"), "5000|12502500", "from {backup}");
        assert_eq!(restored.sql("SELECT count(*) FROM unlogged"), "0", "from {backup}");
        restored.amcheck();
        restored.stop();
        check_pages(&restored);
    }
}

#[test]
fn chain_of_postgresql_13() {
    chain_of(13);
}

#[test]
fn chain_of_postgresql_14() {
    chain_of(14);
}

#[test]
fn chain_of_postgresql_15() {
    chain_of(15);
}

#[test]
fn chain_of_postgresql_16() {
    chain_of(16);
}

#[test]
fn chain_of_postgresql_17() {
    chain_of(17);
}

#[test]
fn chain_of_postgresql_18() {
    chain_of(18);
}

/// What `backup-push` did when it was called so.
enum Taken {
    Full,
    /// A delta on this backup.
    DeltaOn(String),
}

impl Repository<'_> {
    #[track_caller]
    fn expect(
        &self,
        cluster: &Cluster<'_>,
        tool: &Tool,
        arguments: &[&str],
        expected: &Taken,
        log: &str,
    ) -> String {
        self.push(tool, cluster, arguments).success().stderr_has(log);
        let name = self.backups().pop().unwrap();
        match (expected, self.sentinel(&name).get("DeltaFrom")) {
            (Taken::Full, None) => assert!(!name.contains("_D_"), "{name}"),
            (Taken::DeltaOn(parent), Some(from)) => assert_eq!(from, &json!(parent), "{name}"),
            (Taken::Full, Some(parent)) => panic!("{name} is a delta on {parent}"),
            (Taken::DeltaOn(parent), None) => panic!("{name} is not a delta on {parent}"),
        }
        name
    }
}

#[test]
fn the_parent_by_the_settings() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let source = repository.primary(&postgres, &[]);
    let tool = &repository.tool;
    let with = |name: &str, value: &str| tool.clone().with(name, value);
    let expect = |tool: &Tool, arguments: &[&str], expected: Taken, log: &str| {
        repository.expect(&source, tool, arguments, &expected, log)
    };
    let on = |name: &String| Taken::DeltaOn(name.clone());

    let no_deltas = with("WALG_DELTA_MAX_STEPS", "0");
    let full = expect(tool, &[], Taken::Full, "Couldn't find previous backup");
    let first = expect(tool, &["--add-user-data", "{\"a\": 1}"], on(&full), "Delta backup from");
    let second = expect(tool, &[], on(&first), "Delta backup from");
    assert_eq!(repository.sentinel(&second)["DeltaCount"], 2);

    // Counted from the latest, taken from the full one.
    let from_full = expect(&with("WALG_DELTA_ORIGIN", "LATEST_FULL"), &[], on(&full), "Delta backup from");
    assert_eq!(repository.sentinel(&from_full)["DeltaCount"], 3);
    expect(&with("WALG_DELTA_MAX_STEPS", "3"), &[], Taken::Full, "reached max delta steps (3)");
    let by_name = expect(tool, &["--delta-from-name", &first], on(&first), &first);
    expect(tool, &["--delta-from-name", "LATEST"], on(&by_name), &by_name);
    expect(&with("WALG_DELTA_FROM_NAME", &full), &[], on(&full), &full);
    expect(tool, &["--delta-from-user-data", "{\"a\":1}"], on(&first), &first);
    expect(&with("WALG_DELTA_FROM_USER_DATA", "{\"a\":1}"), &[], on(&first), &first);
    expect(tool, &["--delta-from-user-data", "2"], Taken::Full, "Couldn't find previous backup");
    expect(tool, &["--delta-from-user-data", "{\"a\":1.0}"], on(&first), &first);
    expect(tool, &["--full"], Taken::Full, "Doing full backup");
    expect(tool, &["--copy-composer"], Taken::Full, "Doing full backup");
    expect(&with("WALG_USE_COPY_COMPOSER", "true"), &[], Taken::Full, "Doing full backup");
    expect(&no_deltas, &[], Taken::Full, "Doing full backup");
    expect(&no_deltas, &["--delta-from-name", &full], Taken::Full, "WALG_DELTA_MAX_STEPS is 0");
    let without = expect(&with("WALG_WITHOUT_FILES_METADATA", "true"), &[], Taken::Full, "Doing full backup");
    expect(tool, &[], Taken::Full, "it has no usable files_metadata.json");
    expect(tool, &["--delta-from-name", &without], Taken::Full, "it has no usable files_metadata.json");

    // Permanent backups have permanent deltas only; a permanent delta makes its parents permanent.
    let base = expect(tool, &[], on(&repository.backups().pop().unwrap()), "Delta backup from");
    assert!(!repository.is_permanent(&base));
    let permanent = expect(tool, &["--permanent"], on(&base), "Delta backup from");
    let root = repository.sentinel(&permanent)["DeltaFullName"].as_str().unwrap().to_owned();
    for name in [&permanent, &base, &root] {
        assert!(repository.is_permanent(name), "{name}");
    }
    let impermanent = expect(tool, &[], Taken::Full, "it is permanent, the new backup is not");
    assert!(!repository.is_permanent(&impermanent));

    // Wrong requests store nothing.
    let backups = repository.backups();
    for (arguments, code, message) in [
        (&["--delta-from-name", "base_0000000100000000000000FF"][..], 1, "does not exist"),
        (&["--delta-from-name", &full, "--delta-from-user-data", "1"], 1, "either by name or by user data"),
        (&["--delta-from-name", &full, "--without-files-metadata"], 1, "without files metadata"),
        (&["-r", "--without-files-metadata"], 1, "by a composer"),
        (&["--delta-from-name", "full"], 1, "is not the name of a backup"),
    ] {
        repository.push(tool, &source, arguments).fails(code).stderr_has(message);
    }
    let bad = with("WALG_DELTA_ORIGIN", "OLDEST");
    repository.push(&bad, &source, &[]).fails(1).stderr_has("WALG_DELTA_ORIGIN");
    let bad = with("SEAWALL_DELTA_SOURCES", "wal,magic");
    repository.push(&bad, &source, &[]).fails(1).stderr_has("SEAWALL_DELTA_SOURCES");
    assert_eq!(repository.backups(), backups);
}

#[test]
fn parents_that_cannot_be_restored() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let source = repository.primary(&postgres, &[]);
    let tool = &repository.tool;
    let full = repository.take(&source, &[]);
    let first = repository.take(&source, &[]);
    let second = repository.take(&source, &[]);
    for (document, reason, refused_by_name) in [
        (format!("{second}/metadata.json"), "it has no metadata.json", false),
        (format!("{second}/files_metadata.json"), "is incomplete", true),
        (format!("{first}/files_metadata.json"), "is incomplete", true),
        (format!("{full}_backup_stop_sentinel.json"), "its parent", true),
    ] {
        repository.make_latest(&second);
        let key = format!("basebackups_005/{document}");
        let content = repository.bucket.get(&key);
        repository.bucket.delete(&key);
        repository.expect(&source, tool, &[], &Taken::Full, reason);
        let before = repository.stored();
        let named = repository.push(tool, &source, &["--delta-from-name", &second]);
        if refused_by_name {
            named
                .fails(1)
                .stderr_has("cannot be the parent of a delta")
                .stderr_has(reason)
                .stderr_has("hint:");
            assert_eq!(repository.stored(), before, "{document}");
        } else {
            named.success().stderr_has(reason);
        }
        repository.bucket.put(&scratch, &key, &content);
    }
}

#[test]
fn a_parent_of_another_cluster() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let source = repository.primary(&postgres, &[]);
    let full = repository.take(&source, &[]);
    let mut foreign = Cluster::foreign(&scratch, &postgres, "foreign");
    foreign.start();
    let tool = &repository.tool;
    // Two clusters in one repository would give their WAL the same names. wal-g's own test looks for these words.
    let before = repository.stored();
    for arguments in [&[][..], &["--delta-from-name", &full]] {
        let ahead = repository.push(tool, &foreign, arguments).fails(1);
        ahead
            .stderr_has("is greater than current LSN")
            .stderr_has("hint: each cluster needs a storage prefix");
    }
    assert_eq!(repository.stored(), before);
    for table in ["one", "two", "three"] {
        foreign.sql(&format!("CREATE TABLE {table} ()"));
        foreign.sql("SELECT pg_switch_wal()");
    }
    let reason = "not of the cluster with system identifier";
    repository.push(tool, &foreign, &["--delta-from-name", &full]).fails(1).stderr_has(reason);
    let refused = repository.push(tool, &foreign, &[]).fails(1);
    refused.stderr_has(reason).stderr_has("belongs to the cluster with system identifier");
    let owner = source.sql("SELECT system_identifier FROM pg_control_system()");
    let heir = tool.clone().with("SEAWALL_TAKE_OVER_FROM", &owner);
    repository.expect(&foreign, &heir, &[], &Taken::Full, reason);
}

/// The name that the next backup would get is another one's, which has to be another cluster's.
#[test]
fn a_name_that_is_taken() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let source = repository.primary(&postgres, &[]);
    let full = repository.take(&source, &[]);
    let current = source.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
    let number = u32::from_str_radix(&current[16..], 16).unwrap();
    // A backup starts in a new segment.
    source.sql("SELECT pg_create_restore_point('here')");
    let taken = format!("base_{}{:08X}", &current[..16], number + 1);
    let sentinel = |name: &str| format!("basebackups_005/{name}_backup_stop_sentinel.json");
    repository.bucket.put(&scratch, &sentinel(&taken), &repository.bucket.get(&sentinel(&full)));
    let before = repository.stored();
    let refused = repository.push(&repository.tool, &source, &["--full"]).fails(1);
    refused
        .stderr_has(&format!("backup `{taken}` already exists"))
        .stderr_has("hint: if another backup of this server is running, let it end");
    assert_eq!(repository.stored(), before);
}

/// Switching checksums on writes every page without WAL and without a new LSN.
#[test]
fn a_parent_without_the_checksums_of_today() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let mut source = repository.primary(&postgres, &[]);
    source.sql("CREATE TABLE ledger AS SELECT i, repeat('x', 200) note FROM generate_series(1, 9000) i");
    let full = repository.take(&source, &[]);
    source.stop();
    let enable = postgres.server_program("pg_checksums");
    run(scratch.command(enable).arg("--enable").arg("-D").arg(source.data())).success();
    source.start();
    let reason = "data checksums were switched on or off since";
    let named = repository.push(&repository.tool, &source, &["--delta-from-name", &full]);
    named.fails(1).stderr_has(reason);
    let with_checksums = repository.expect(&source, &repository.tool, &[], &Taken::Full, reason);
    let delta = repository.take(&source, &[]);
    assert_eq!(repository.sentinel(&delta)["DeltaFrom"], json!(with_checksums));
    source.switch_wal();
    let mut restored = repository.restore(&repository.tool, &postgres, &delta, "restored");
    restored.stop();
    check_pages(&restored);
}

/// Two servers go on from one full backup; only the backups before the fork are an earlier state of both.
#[test]
fn a_parent_on_another_timeline() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let source = repository.primary(&postgres, &[]);
    source.sql("CREATE TABLE ledger AS SELECT i, repeat('x', 200) note FROM generate_series(1, 5000) i");
    source.sql("VACUUM");
    age(&scratch, &source);
    let common = repository.take(&source, &[]);
    source.sql("UPDATE ledger SET note = 'common' WHERE i < 10");
    let fork = source.sql("SELECT pg_current_wal_lsn()");
    source.sql("UPDATE ledger SET note = 'lost' WHERE i < 20");
    let diverged = repository.take(&source, &[]);
    drop(source);

    let mut other = Cluster::restored(&scratch, &postgres, "other");
    repository.tool.run(&scratch, ["backup-fetch", other.data().to_str().unwrap(), &common]).success();
    other.recover_with(&repository.tool);
    for (setting, value) in [
        ("recovery_target_lsn", fork.as_str()),
        ("recovery_target_action", "promote"),
        ("archive_mode", "on"),
    ] {
        other.configure(setting, value);
    }
    other.start();
    other.wait_until("SELECT pg_is_in_recovery()", "f");
    let reason = "it is not in the history of timeline 2";
    let named = repository.push(&repository.tool, &other, &["--delta-from-name", &diverged]);
    named.fails(1).stderr_has(reason);
    let by_name = Taken::DeltaOn(common.clone());
    let delta =
        repository.expect(&other, &repository.tool, &["--delta-from-name", &common], &by_name, "Delta");
    other.sql("UPDATE ledger SET note = 'here' WHERE i = 50");
    other.switch_wal();
    let expected = rows(&other, &["ledger"]);
    let restored = repository.restore(&repository.tool, &postgres, &delta, "restored");
    assert_eq!(rows(&restored, &["ledger"]), expected);
    assert_eq!(restored.sql("SELECT count(*) FROM ledger WHERE note = 'lost'"), "0");
    restored.amcheck();

    // The history is read from the archive where the server has lost it.
    std::fs::remove_file(other.data().join("pg_wal/00000002.history")).unwrap();
    repository.expect(&other, &repository.tool, &["--delta-from-name", &common], &by_name, "Delta");
    // The other server's delta is the latest again: not a parent here, but there must be a backup.
    repository.make_latest(&diverged);
    repository.expect(&other, &repository.tool, &[], &Taken::Full, reason);
}

/// `CREATE DATABASE` by file copy, with the OID and so the file names of a database dropped before: the pages have the
/// template's old LSNs, other than those of the parent.
#[test]
fn a_database_dropped_and_made_again() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let source = repository.primary(&postgres, &["--data-checksums"]);
    let on = |database: &str, sql: &str| {
        run(source.client("psql").args(["-X", "-q", "-At", "-d", database, "-c", sql])).success().stdout
    };
    source.sql("CREATE DATABASE template");
    on("template", "CREATE TABLE t AS SELECT i, repeat('old', 50) note FROM generate_series(1, 9000) i");
    on("template", "VACUUM");
    let create = "CREATE DATABASE twice OID = 50000 TEMPLATE template STRATEGY file_copy";
    source.sql(create);
    let path = on("twice", "SELECT pg_relation_filepath('t')");
    on("twice", "UPDATE t SET note = repeat('new', 50) WHERE i <= 4000");
    let full = repository.take(&source, &[]);
    source.sql("DROP DATABASE twice");
    source.sql(create);
    assert_eq!(on("twice", "SELECT pg_relation_filepath('t')"), path);
    assert_eq!(repository.form(&full, path.trim()), "whole");
    let deltas = ["wal", "pages"].map(|changes| {
        let tool = repository.tool.clone().with("SEAWALL_DELTA_SOURCES", changes);
        let by_name = Taken::DeltaOn(full.clone());
        let delta = repository.expect(&source, &tool, &["--delta-from-name", &full], &by_name, changes);
        assert_eq!(repository.form(&delta, path.trim()), "whole", "from {changes}");
        (changes, delta)
    });
    source.switch_wal();
    let hash = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY i)) FROM t";
    let expected = on("twice", hash);
    for (changes, delta) in deltas {
        let restored = repository.restore(&repository.tool, &postgres, &delta, changes);
        let found =
            run(restored.client("psql").args(["-X", "-q", "-At", "-d", "twice", "-c", hash])).success();
        assert_eq!(found.stdout, expected, "from {changes}");
        restored.amcheck();
    }
}

/// Without checksums and `wal_log_hints`, VACUUM marks a page as all-visible without giving it a new LSN. A restored page
/// without that mark under a visibility map that has it would hide later changes of the page from index-only scans.
#[test]
fn vacuumed_pages_of_a_cluster_without_checksums() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let tool = repository.tool.clone().with("SEAWALL_DELTA_SOURCES", "pages");
    let source = repository.primary(&postgres, &[]);
    for table in ["vacuumed", "other"] {
        let by_hand = "WITH (autovacuum_enabled = off)";
        source.sql(&format!("CREATE TABLE {table} (i int PRIMARY KEY, note text) {by_hand}"));
        source
            .sql(&format!("INSERT INTO {table} SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i"));
    }
    source.sql("VACUUM other");
    age(&scratch, &source);
    repository.push(&tool, &source, &[]).success();
    source.sql("VACUUM vacuumed");
    source.sql("UPDATE other SET note = 'changed' WHERE i = 9");
    repository.push(&tool, &source, &[]).success();
    let delta = repository.backups().pop().unwrap();
    let other = file_of(&source, "other");
    source.switch_wal();

    let restored = repository.restore(&repository.tool, &postgres, &delta, "restored");
    restored.sql("CREATE EXTENSION pg_visibility");
    for table in ["vacuumed", "other"] {
        let wrong =
            format!("SELECT count(*) FROM pg_visibility('{table}') WHERE all_visible AND NOT pd_all_visible");
        assert_eq!(restored.sql(&wrong), "0", "{table}");
    }
    restored.sql("DELETE FROM vacuumed WHERE i <= 19000");
    let count = "SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(i) FROM vacuumed";
    assert_eq!(restored.sql(count), "1000");
    assert_eq!(repository.form(&delta, &other), "increment");
}

/// A page whose LSN says that it changed and whose change is in no WAL, so that the map of changed blocks misses it: in
/// a file that was written since the parent, and in one that looks as it did.
#[test]
fn a_map_that_misses_a_block() {
    const BLOCK: usize = 3;
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let by_map = repository.tool.clone().with("SEAWALL_DELTA_SOURCES", "wal");
    let mut source = repository.primary(&postgres, &[]);
    for table in ["written", "untouched"] {
        source.sql(&format!(
            "CREATE TABLE {table} AS SELECT i, repeat('x', 200) FROM generate_series(1, 900) i"
        ));
    }
    source.sql("VACUUM");
    source.sql("CHECKPOINT");
    age(&scratch, &source);
    let full = repository.take(&source, &[]);
    let on_full = ["--delta-from-name", &full];
    let lsn: Lsn = source.sql("SELECT pg_current_wal_lsn()").parse().unwrap();

    for (table, form) in [("written", "increment"), ("untouched", "skipped")] {
        let file = file_of(&source, table);
        source.stop();
        let path = source.data().join(&file);
        let mtime = std::fs::metadata(&path).unwrap().modified().unwrap();
        let pages = std::fs::read(&path).unwrap();
        let mut changed = pages.clone();
        let [high, low] =
            [lsn.as_u64() >> 32, lsn.as_u64()].map(|half| u32::try_from(half & 0xFFFF_FFFF).unwrap());
        let of_lsn = [high.to_le_bytes(), low.to_le_bytes()].concat();
        changed[BLOCK * 8192..][..8].copy_from_slice(&of_lsn);
        let write = |pages: &[u8]| {
            std::fs::write(&path, pages).unwrap();
            if form == "skipped" {
                std::fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
            }
        };
        write(&changed);
        source.start();

        let before = repository.stored();
        let missed = format!("block {BLOCK} of `/{file}` changed at {lsn}");
        let always = by_map.clone().with("SEAWALL_VERIFY_DELTA", "on");
        for refused in [
            repository.push(&by_map, &source, &[&on_full[..], &["--verify-delta"]].concat()),
            repository.push(&always, &source, &on_full),
        ] {
            refused
                .fails(1)
                .stderr_has(&missed)
                .stderr_has("hint: take the backup with SEAWALL_DELTA_SOURCES=pages");
        }
        assert_eq!(repository.stored(), before, "{table}");

        repository.push(&by_map, &source, &on_full).success();
        let delta = repository.backups().pop().unwrap();
        assert_eq!(repository.sentinel(&delta)["DeltaSource"], "wal");
        assert_eq!(repository.form(&delta, &file), form);

        source.stop();
        write(&pages);
        source.start();
    }
}

/// A server that writes all the time, with a tablespace; each delta is restored to the end of the WAL.
#[test]
fn of_a_busy_server() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let source = repository.primary(&postgres, &["--data-checksums"]);
    source.pgbench_init(4);
    repository.take(&source, &[]);
    let load = ["-n", "-c", "2", "-T", "60"];
    let mut pgbench = source.client("pgbench").args(load).stdout(Stdio::null()).spawn().unwrap();
    let first = repository.take(&source, &[]);
    source.sql("VACUUM FULL pgbench_tellers");
    source.sql("DELETE FROM pgbench_accounts WHERE aid > 300000");
    source.sql("VACUUM pgbench_accounts");
    let second = repository.take(&source, &["--verify"]);
    let pid = rustix::process::Pid::from_child(&pgbench);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    pgbench.wait().unwrap();
    source.pgbench_is_gone();
    source.switch_wal();
    let tables = ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"];
    let expected = rows(&source, &tables);
    for (step, backup) in [&first, &second].into_iter().enumerate() {
        let mut restored = repository.restore(&repository.tool, &postgres, backup, &format!("step-{step}"));
        assert_eq!(rows(&restored, &tables), expected, "from {backup}");
        restored.amcheck();
        restored.stop();
        check_pages(&restored);
    }
}

/// Who takes a backup in a chain with the real wal-g.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Us,
    Walg,
}

/// Each of the backups by one of the two; both restore the chain.
fn chain_with_walg(takers: [By; 3]) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let walg = require!(repository.walg());
    let mut source = repository.primary(&postgres, &["--data-checksums"]);
    before(&source, None);
    age(&scratch, &source);
    let big = file_of(&source, "big");
    for (number, taker) in takers.into_iter().enumerate() {
        match number {
            0 => {}
            1 => between(&source),
            _ => after(&source),
        }
        let tool = if taker == By::Us { &repository.tool } else { &walg };
        repository.push(tool, &source, &[]).success();
    }
    source.sql("UPDATE big SET note = 'after all backups' WHERE i = 1");
    source.switch_wal();
    let expected = rows(&source, TABLES);
    source.stop();

    let backups = repository.backups();
    assert_eq!(repository.sentinel(&backups[2])["DeltaFrom"], json!(backups[1]));
    for delta in &backups[1..] {
        assert_eq!(repository.form(delta, &big), "increment", "{delta}");
    }
    let listed = walg.run(&scratch, ["backup-list", "--detail"]).success();
    backups.iter().for_each(|name| assert!(listed.stdout.contains(name.as_str()), "{listed}"));
    for (tool, by) in [(&repository.tool, "us"), (&walg, "wal-g")] {
        for (number, backup) in backups.iter().enumerate().skip(1) {
            // The name of the backup would be too much for the path of a socket.
            let mut restored = repository.restore(tool, &postgres, backup, &format!("{by}-{number}"));
            assert_eq!(rows(&restored, TABLES), expected, "{backup} by {by}");
            restored.amcheck();
            restored.stop();
            check_pages(&restored);
        }
    }
}

#[test]
fn our_chain_is_wal_gs() {
    chain_with_walg([By::Us, By::Us, By::Us]);
}

#[test]
fn our_delta_on_wal_gs_full_backup() {
    chain_with_walg([By::Walg, By::Us, By::Us]);
}

#[test]
fn wal_gs_delta_on_ours() {
    chain_with_walg([By::Us, By::Us, By::Walg]);
}

/// How many increments in the tars of a backup, which are not compressed, have pages beyond the size that they say.
fn grown_increments(repository: &Repository<'_>, backup: &str) -> usize {
    let mut grown = 0;
    for key in repository.stored().iter().filter(|key| key.contains(backup) && key.ends_with(".tar")) {
        let tar = repository.bucket.get(key);
        read_members(&tar[..], |member| {
            if let Ok(header) = IncrementHeader::read(member) {
                grown += usize::from(header.restored_bytes() > header.file_bytes());
            }
            Ok::<_, ReadError>(())
        })
        .unwrap();
    }
    grown
}

/// A table grows while wal-g reads it: the increment has pages that it had not when wal-g found the file. So it is in the
/// newest backup and, when another delta builds on it, in an older one.
#[test]
fn wal_gs_deltas_of_a_table_that_grows() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let repository = Repository::new(&scratch);
    let walg = require!(repository.walg()).with("WALG_COMPRESSION_METHOD", "none");
    let mut source = repository.primary(&postgres, &["--data-checksums"]);
    source.sql("CREATE TABLE growing AS SELECT i, repeat('x', 200) note FROM generate_series(1, 80000) i");
    repository.push(&walg, &source, &[]).success();
    let insert = "DO $$ BEGIN FOR n IN 1..2000 LOOP \
                  INSERT INTO growing SELECT i, repeat('y', 200) FROM generate_series(1, 500) i; COMMIT; \
                  PERFORM pg_sleep(0.02); END LOOP; END $$";
    let slow = walg.with("WALG_DISK_RATE_LIMIT", "8000000");
    for step in 1..=2 {
        let mut load =
            source.client("psql").args(["-X", "-q", "-c", insert]).stderr(Stdio::null()).spawn().unwrap();
        source.wait_until("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'", "1");
        repository.push(&slow, &source, &[]).success();
        source.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO %'");
        load.wait().unwrap();
        assert!(grown_increments(&repository, &repository.backups()[step]) > 0, "step {step}");
    }
    source.switch_wal();
    let count = "SELECT count(*), sum(i), sum(length(note)) FROM growing";
    let expected = source.sql(count);
    source.stop();
    for (number, backup) in repository.backups().iter().enumerate().skip(1) {
        let mut restored = repository.restore(&repository.tool, &postgres, backup, &format!("from-{number}"));
        assert_eq!(restored.sql(count), expected, "from {backup}");
        restored.amcheck();
        restored.stop();
        check_pages(&restored);
    }
}
