//! Random histories of a cluster: load of every kind before and during a full backup and a chain of deltas from each
//! source, then the chain is restored and compared with the server it came from.
//!
//! `SEAWALL_SOAK_RUNS` histories are made, from the seed `SEAWALL_SOAK_SEED` on, each from the next number; the seed of
//! a history that fails is in its message, and makes the same history again. `scripts/soak` sets both.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "soak/dice.rs"]
mod dice;
#[path = "soak/load.rs"]
mod load;
#[path = "soak/pages.rs"]
mod pages;
#[path = "soak/storm.rs"]
mod storm;
mod support;

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Stdio;

use dice::Dice;
use load::Load;
use serde_json::{Value, json};
use support::{Bucket, Cluster, Postgres, Scratch, Tool, run};

/// Histories of an ordinary test run.
const RUNS: u64 = 2;

#[test]
fn random_histories_restore_to_what_they_were() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let runs = number("SEAWALL_SOAK_RUNS").unwrap_or(RUNS);
    let first = number("SEAWALL_SOAK_SEED").unwrap_or(1);
    let mut installed = Vec::new();
    for version in Postgres::VERSIONS {
        installed.push(require!(Postgres::version(version)));
    }
    for seed in first..first + runs {
        // Written to stderr itself: the harness keeps back what the print macros say.
        let said = |what: &str| writeln!(std::io::stderr(), "soak: seed {seed}: {what}").unwrap();
        match catch_unwind(AssertUnwindSafe(|| history(seed, &installed, said))) {
            Ok(()) => said("good"),
            Err(panic) => {
                said(&format!("FAILED; again with SEAWALL_SOAK_SEED={seed} SEAWALL_SOAK_RUNS=1"));
                resume_unwind(panic);
            }
        }
    }
}

/// What is drawn once for a history.
struct Setting {
    major: u32,
    segment_mib: u32,
    hints: Hints,
    codec: &'static str,
    encrypted: bool,
    records_wal: bool,
    wal_compression: bool,
    origin: &'static str,
}

/// Whether WAL tells of pages in which only hints changed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hints {
    /// Yes, for the sake of data checksums.
    Checksums,
    /// Yes, by `wal_log_hints`.
    Logged,
    /// No.
    Unlogged,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { major, segment_mib, hints, codec, encrypted, records_wal, wal_compression, origin } =
            self;
        write!(
            f,
            "PostgreSQL {major}, segments of {segment_mib} MiB, hints: {hints:?}, {codec}, encrypted: {encrypted}, WAL \
             recorded: {records_wal}, wal_compression: {wal_compression}, deltas from {origin}"
        )
    }
}

impl Setting {
    fn draw(dice: &mut Dice, versions: &[Postgres]) -> (Self, Postgres) {
        let postgres = dice.one(versions);
        let setting = Setting {
            major: postgres.major(),
            segment_mib: dice.one(&[1, 1, 16]),
            hints: dice.one(&[
                Hints::Checksums,
                Hints::Checksums,
                Hints::Logged,
                Hints::Unlogged,
                Hints::Unlogged,
            ]),
            codec: dice.one(&["lz4", "zstd", "none"]),
            encrypted: dice.chance(3),
            records_wal: dice.chance(2),
            wal_compression: dice.chance(3),
            origin: dice.one(&["LATEST", "LATEST", "LATEST_FULL"]),
        };
        (setting, postgres)
    }

    /// A new cluster.
    fn cluster<'a>(&self, scratch: &'a Scratch, postgres: &Postgres) -> Cluster<'a> {
        let checksums = match self.hints {
            Hints::Checksums => Some("--data-checksums"),
            // From 18 on they are the default.
            _ if self.major >= 18 => Some("--no-data-checksums"),
            _ => None,
        };
        let segment_size = format!("--wal-segsize={}", self.segment_mib);
        let arguments: Vec<&str> = [segment_size.as_str()].into_iter().chain(checksums).collect();
        let cluster = Cluster::create(scratch, postgres, "source", &arguments);
        cluster.configure("wal_log_hints", if self.hints == Hints::Logged { "on" } else { "off" });
        cluster.configure("max_prepared_transactions", "5");
        cluster.configure("wal_compression", if self.wal_compression { "on" } else { "off" });
        if self.major >= 17 {
            cluster.configure("summarize_wal", "on");
        }
        cluster
    }

    fn tool(&self, scratch: &Scratch, bucket: &Bucket) -> Tool {
        let tool = Tool::seawall(scratch)
            .with_all(bucket.env())
            .with("WALG_COMPRESSION_METHOD", self.codec)
            .with("WALG_DELTA_MAX_STEPS", "10")
            .with("WALG_DELTA_ORIGIN", self.origin)
            .with("WALG_USE_WAL_DELTA", &self.records_wal.to_string())
            .with("WALG_TAR_SIZE_THRESHOLD", "4000000");
        match self.encrypted {
            true => {
                tool.with("WALG_LIBSODIUM_KEY", &"6b".repeat(32)).with("WALG_LIBSODIUM_KEY_TRANSFORM", "hex")
            }
            false => tool,
        }
    }

    fn sources(&self) -> &'static [&'static str] {
        if self.major >= 17 { &["summaries", "wal", "pages"] } else { &["wal", "pages"] }
    }
}

fn history(seed: u64, versions: &[Postgres], said: impl Fn(&str)) {
    let mut dice = Dice::from_seed(seed);
    let (setting, postgres) = Setting::draw(&mut dice, versions);
    said(&setting.to_string());

    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let tool = setting.tool(&scratch, &bucket);
    let mut source = setting.cluster(&scratch, &postgres);
    source.archive_with(&tool);
    source.start();
    let mut load = Load::begin(&scratch, &source, &postgres);
    let story = Story { scratch: &scratch, bucket: &bucket, postgres: &postgres };

    story.busy_backup(&source, &tool, &mut load, &mut dice);
    for _ in 0..1 + dice.below(4) {
        let statements = dice.below(12);
        load.run(&source, &mut dice, statements);
        let wanted = dice.one(setting.sources());
        let delta = story.busy_backup(&source, &from(&tool, wanted), &mut load, &mut dice);
        let described = story.sentinel(&delta);
        said(&format!(
            "{delta} from {wanted}, {} of {}",
            described["UncompressedSize"], described["DataCatalogSize"]
        ));
        assert_eq!(described["DeltaSource"], wanted, "{described}");
    }

    // A delta and a full backup with nothing between them hold the same pages.
    let statements = 1 + dice.below(8);
    load.run(&source, &mut dice, statements);
    stop_autovacuum(&source);
    let wanted = dice.one(setting.sources());
    let delta = story.backup(&source, &from(&tool, wanted), &["--verify-delta"]);
    let full = story.backup(&source, &tool, &["--full"]);
    let of_delta = story.fetch(&tool, "of-delta", &delta);
    let of_full = story.fetch(&tool, "of-full", &full);
    let unlogged =
        if setting.hints == Hints::Unlogged { pages::Unlogged::Hints } else { pages::Unlogged::Nothing };
    pages::compare(
        of_delta.data(),
        of_full.data(),
        story.sentinel(&delta)["LSN"].as_u64().unwrap(),
        unlogged,
    );

    let statements = dice.below(6);
    load.run(&source, &mut dice, statements);
    load.settle(&source);
    // A segment without a record in it is not ended.
    source.sql("SELECT pg_create_restore_point('end')");
    source.switch_wal();
    let expected = load.digest(&source);
    source.stop();

    let mut restored = of_delta;
    restored.recover_with(&tool);
    restored.configure("recovery_target_action", "promote");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(load.digest(&restored), expected);
    restored.amcheck();
}

/// From here on no page becomes all-visible by itself: without checksums that gives it no new LSN.
fn stop_autovacuum(source: &Cluster<'_>) {
    source.sql("ALTER SYSTEM SET autovacuum = off");
    source.sql("SELECT pg_reload_conf()");
    source.wait_until("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^autovacuum'", "0");
}

fn from(tool: &Tool, source: &str) -> Tool {
    tool.clone().with("SEAWALL_DELTA_SOURCES", source)
}

/// What the steps of one history share.
struct Story<'a> {
    scratch: &'a Scratch,
    bucket: &'a Bucket,
    postgres: &'a Postgres,
}

impl Story<'_> {
    /// A backup while another session writes; its name.
    fn busy_backup(&self, source: &Cluster<'_>, tool: &Tool, load: &mut Load<'_>, dice: &mut Dice) -> String {
        let statements = dice.below(10);
        let script = load.script(dice, statements);
        let mut command = source.client("psql");
        command.args(["-X", "-q", "-f"]).arg(script);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut session = command.spawn().unwrap();
        let name = self.backup(source, tool, &[]);
        session.wait().unwrap();
        name
    }

    /// The name of a new backup.
    fn backup(&self, source: &Cluster<'_>, tool: &Tool, flags: &[&str]) -> String {
        let mut command = tool.command(self.scratch, ["backup-push"]);
        command.arg(source.data()).args(flags).envs(source.libpq_env());
        run(&mut command).success();
        let listed = tool.run(self.scratch, ["backup-list", "--json"]).success().stdout;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed.as_array().unwrap().last().unwrap()["backup_name"].as_str().unwrap().to_owned()
    }

    fn sentinel(&self, backup: &str) -> Value {
        let key = format!("basebackups_005/{backup}_backup_stop_sentinel.json");
        serde_json::from_slice(&self.bucket.get(&key)).unwrap()
    }

    /// A backup restored, its tablespaces beside it; not started.
    fn fetch(&self, tool: &Tool, place: &str, backup: &str) -> Cluster<'_> {
        let restored = Cluster::restored(self.scratch, self.postgres, place);
        let mut spec = self.sentinel(backup)["Spec"].clone();
        spec["base_prefix"] = json!(restored.data());
        for oid in spec["tablespaces"].as_array().unwrap().clone() {
            let oid = oid.as_str().unwrap();
            spec[oid]["loc"] = json!(self.scratch.absent(&format!("{place}-{oid}")));
        }
        let spec = self.scratch.file(&format!("{place}.json"), &spec.to_string());
        let mut command = tool.command(self.scratch, ["backup-fetch"]);
        command.arg(restored.data()).arg(backup).arg("--restore-spec").arg(spec);
        run(&mut command).success();
        restored
    }
}
