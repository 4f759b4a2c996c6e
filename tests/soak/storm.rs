//! A day in a bad place: a busy server archives, is backed up, thinned out and restored through a storage at which
//! everything goes wrong now and then, while its commands and the server itself are killed. When the storm is over the
//! archive has everything, and every backup restores to the last row.
//!
//! | variable | |
//! |---|---|
//! | `SEAWALL_STORM_SECONDS` | how long it lasts |
//! | `SEAWALL_STORM_SEED` | for the same choices again; what they meet is never quite the same |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::dice::Dice;
use crate::require;
use crate::support::{
    Bucket, Cluster, Fault, FaultProxy, Postgres, RequestHead, Run, Scratch, Tool, run, run_within,
};

/// How long an ordinary run of the tests takes it.
const SECONDS: u64 = 10;

/// Longer than a command takes that several requests without an answer and the wait for WAL hold up.
const PATIENCE: Duration = Duration::from_secs(600);

/// What goes wrong, and how often in comparison. Requests that nobody answers take their callers a quarter of a minute
/// and more, so they are rare.
const FAULTS: [(u64, Fault); 13] = [
    (6, Fault::Latency(Duration::from_millis(300))),
    (6, Fault::Closed),
    (6, Fault::Lost),
    (6, Fault::Cut),
    (6, Fault::Error(500, "InternalError")),
    (6, Fault::Error(503, "SlowDown")),
    (4, Fault::Later(429, "TooManyRequests")),
    (4, Fault::WrongTag),
    (4, Fault::Half),
    (4, Fault::Flip),
    (3, Fault::Error(403, "AccessDenied")),
    (1, Fault::Silence),
    (1, Fault::Stall),
];

#[test]
fn storm() {
    let postgres = require!(Postgres::version(17));
    let bucket = require!(Bucket::versitygw());
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let lasts = Duration::from_secs(number("SEAWALL_STORM_SECONDS").unwrap_or(SECONDS));
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let seed = number("SEAWALL_STORM_SEED").unwrap_or_else(now);
    said(&format!("{} seconds, SEAWALL_STORM_SEED={seed}", lasts.as_secs()));

    let scratch = Scratch::new();
    let proxy = Arc::new(FaultProxy::to(bucket.setting("AWS_ENDPOINT")));
    let direct = Tool::seawall(&scratch)
        .with_all(bucket.env())
        .with("WALG_COMPRESSION_METHOD", "lz4")
        .with("WALG_DELTA_MAX_STEPS", "4")
        .with("WALG_S3_MAX_PART_SIZE", "5242880")
        .with("WALG_TAR_SIZE_THRESHOLD", "12000000")
        .with("SEAWALL_BACKUP_WAL_TIMEOUT", "60s");
    let tool = direct.clone().with("AWS_ENDPOINT", &proxy.endpoint());
    let mut server = Cluster::create(&scratch, &postgres, "source", &["--wal-segsize=1"]);
    server.configure("summarize_wal", "on");
    server.archive_with(&tool);
    server.start();
    server.pgbench_init(1);
    server.sql("CREATE TABLE ledger (n bigint PRIMARY KEY)");

    let mut storm = Storm {
        scratch: &scratch,
        bucket: &bucket,
        tool,
        server,
        dice: Dice::from_seed(seed),
        rows: 0,
        log: BTreeMap::new(),
    };
    let weather = Weather::begin(&proxy, seed);
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        storm.step();
    }
    let faults = weather.end();
    let mut summary = format!("{} seconds, seed {seed}\n", lasts.as_secs());
    for (fault, times) in faults {
        writeln!(summary, "{times:6} requests with {fault}").unwrap();
    }
    storm.calm();
    for (what, times) in &storm.log {
        writeln!(summary, "{times:6} times {what}").unwrap();
    }
    summary += &storm.is_whole(&direct, &postgres);
    said(&summary);
}

/// To stderr itself: the harness keeps back what the print macros say.
fn said(what: &str) {
    std::io::stderr().write_all(format!("storm: {what}\n").as_bytes()).unwrap();
}

/// The faults, as they come.
struct Weather {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<BTreeMap<String, usize>>,
}

impl Weather {
    fn begin(proxy: &Arc<FaultProxy>, seed: u64) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, proxy) = (Arc::clone(&is_over), Arc::clone(proxy));
        let thread = thread::spawn(move || {
            let mut dice = Dice::from_seed(seed.wrapping_add(1));
            let mut made = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(200 + dice.below(3000)));
                let fault = draw(&mut dice);
                // More of a kind than a command tries again, now and then.
                let times = if dice.chance(5) { 8 } else { 1 + dice.below(2) };
                let times = usize::try_from(times).unwrap();
                proxy.fail(times, move |request| tells(fault, request), fault);
                *made.entry(format!("{fault:?}")).or_default() += times;
                proxy.take_seen();
            }
            proxy.forget_faults();
            made
        });
        Self { is_over, thread }
    }

    /// How many requests were to have each fault.
    fn end(self) -> BTreeMap<String, usize> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn draw(dice: &mut Dice) -> Fault {
    let mut left = dice.below(FAULTS.iter().map(|(weight, _)| weight).sum());
    for (weight, fault) in FAULTS {
        match left.checked_sub(weight) {
            None => return fault,
            Some(rest) => left = rest,
        }
    }
    unreachable!("below the sum of all")
}

/// Whether anyone can notice the fault at this request: nothing tells that a letter of a list or a document is another.
fn tells(fault: Fault, request: &RequestHead) -> bool {
    let target = request.target.as_str();
    let is_list = target.contains("list-type") || target.contains("uploads");
    match fault {
        Fault::Flip => {
            request.method == "GET"
                && !is_list
                && (target.contains("/tar_partitions/") || target.contains("/wal_005/"))
        }
        Fault::Half => request.method == "GET",
        Fault::WrongTag => request.method == "PUT",
        _ => true,
    }
}

struct Storm<'a> {
    scratch: &'a Scratch,
    bucket: &'a Bucket,
    tool: Tool,
    server: Cluster<'a>,
    dice: Dice,
    /// The rows of the ledger that were committed.
    rows: u64,
    /// What was done, with how it ended, and how often.
    log: BTreeMap<String, usize>,
}

impl Storm<'_> {
    /// Something that happens in the life of a server.
    fn step(&mut self) {
        self.load();
        match self.dice.below(12) {
            0..=3 => self.backup(),
            4 => self.delete(),
            5 => drop(self.command("delete garbage", &["delete", "garbage", "--confirm"])),
            6 => self.list(),
            7 => self.fetch_segment(),
            8 => self.fetch_missing_segment(),
            9 => self.restore(),
            10 => self.kill_pushes(),
            _ => self.kill_server(),
        }
    }

    /// Transactions in the background, a row that counts, and the end of a segment.
    fn load(&mut self) {
        let mut pgbench = self.server.client("pgbench");
        pgbench
            .args(["-n", "-c", "2", "-T", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut running = pgbench.spawn().unwrap();
        for _ in 0..1 + self.dice.below(3) {
            self.rows += 1;
            self.server.sql(&format!("INSERT INTO ledger VALUES ({})", self.rows));
            self.server.sql("SELECT pg_switch_wal()");
        }
        running.wait().unwrap();
    }

    fn note(&mut self, what: &str, how: &str) {
        *self.log.entry(format!("{what}: {how}")).or_default() += 1;
    }

    /// Runs a command, or kills it on its way; `None` when it was killed.
    fn command(&mut self, what: &str, arguments: &[&str]) -> Option<Run> {
        let mut command = self.tool.command(self.scratch, arguments);
        command.envs(self.server.libpq_env());
        if self.dice.chance(4) {
            let moment = Duration::from_millis(self.dice.below(2500));
            if killed_after(&mut command, moment) {
                self.note(what, "killed");
                return None;
            }
            self.note(what, "ended before it could be killed");
            return None;
        }
        let run = run_within(&mut command, PATIENCE);
        assert!(!run.stderr.contains("panicked"), "{run}");
        let has_a_word = matches!(run.code, Some(0 | 74)) || run.stderr.contains("ERROR: ");
        assert!(has_a_word, "an end without a word: {run}");
        let code = run.code.unwrap_or_else(|| panic!("by a signal: {run}"));
        self.note(what, &format!("exit {code}"));
        Some(run)
    }

    fn backup(&mut self) {
        let data = self.server.data().to_str().unwrap().to_owned();
        match self.dice.chance(3) {
            true => drop(self.command("backup-push --full", &["backup-push", &data, "--full"])),
            false => drop(self.command("backup-push", &["backup-push", &data])),
        }
    }

    /// With at least two full backups left.
    fn delete(&mut self) {
        self.command("delete retain", &["delete", "retain", "FULL", "2", "--confirm"]);
    }

    fn list(&mut self) {
        let before: BTreeSet<String> = self.bucket.backups().into_iter().collect();
        let Some(run) = self.command("backup-list", &["backup-list", "--json"]) else { return };
        match run.code {
            Some(0) => assert_eq!(names(&run.stdout), before),
            _ => assert_eq!(run.stdout, "", "half a table is a lie"),
        }
    }

    /// One that is archived: what is fetched is whole, and nobody is told that it is missing.
    fn fetch_segment(&mut self) {
        let archived: Vec<String> = self.bucket.keys().iter().filter_map(|key| segment(key)).collect();
        if archived.is_empty() {
            return;
        }
        let name = self.dice.one(&archived);
        let target = self.scratch.absent("fetched");
        let run = self.command("wal-fetch", &["wal-fetch", &name, target.to_str().unwrap()]);
        if let Some(run) = run {
            assert_ne!(run.code, Some(74), "{name} is there: {run}");
            assert_eq!(run.code == Some(0), target.exists(), "{run}");
        }
        if let Ok(content) = fs::read(&target) {
            assert_eq!(content.len(), 1 << 20, "{name}");
            // As far as the server still has it.
            let original = fs::read(self.server.data().join("pg_wal").join(&name));
            assert!(original.map_or(true, |original| original == content), "{name} is not what it was");
            fs::remove_file(target).unwrap();
        }
        let _ = fs::remove_dir_all(self.scratch.path().join(".wal-g"));
    }

    fn fetch_missing_segment(&mut self) {
        let target = self.scratch.absent("fetched");
        let name = "0000000900000000000000FF";
        if let Some(run) = self.command("wal-fetch of none", &["wal-fetch", name, target.to_str().unwrap()]) {
            assert_ne!(run.code, Some(0), "{run}");
        }
        assert!(!target.exists());
    }

    /// In the middle of it all: whole, or refused.
    fn restore(&mut self) {
        let target = self.scratch.absent("in-the-storm");
        let run = self.command("backup-fetch", &["backup-fetch", target.to_str().unwrap(), "LATEST"]);
        let is_whole = target.join("global/pg_control").exists();
        match run {
            Some(run) => assert_eq!(run.code == Some(0), is_whole, "{run}"),
            // pg_control is the last one.
            None => assert!(!is_whole || target.join("base/1/PG_VERSION").exists()),
        }
        if target.exists() {
            fs::remove_dir_all(target).unwrap();
        }
    }

    fn kill_pushes(&mut self) {
        thread::sleep(Duration::from_millis(self.dice.below(300)));
        let pattern = format!("^{} wal-push", self.tool.path());
        let found = Command::new("pkill").args(["-KILL", "-f", &pattern]).status().unwrap();
        self.note("wal-push", if found.success() { "killed" } else { "was not running" });
    }

    fn kill_server(&mut self) {
        self.server.kill();
        self.server.start();
        self.note("the server", "killed");
    }

    /// The storage does what it is asked again; what waits is archived.
    fn calm(&mut self) {
        self.rows += 1;
        self.server.sql(&format!("INSERT INTO ledger VALUES ({})", self.rows));
        self.server.switch_wal();
        let waiting = || {
            let files = fs::read_dir(self.server.data().join("pg_wal/archive_status")).unwrap();
            files
                .filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".ready"))
                .count()
        };
        let end = Instant::now() + Duration::from_secs(180);
        while waiting() > 0 {
            assert!(Instant::now() < end, "{} files still wait to be archived", waiting());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The archive has everything, and each backup leads to the last row; in words.
    fn is_whole(&mut self, direct: &Tool, postgres: &Postgres) -> String {
        let data = self.server.data().to_str().unwrap().to_owned();
        let mut last = direct.command(self.scratch, ["backup-push", &data]);
        run(last.envs(self.server.libpq_env())).success();
        self.rows += 1;
        self.server.sql(&format!("INSERT INTO ledger VALUES ({})", self.rows));
        self.server.switch_wal();
        let expected = digest(&self.server);
        assert!(
            expected.starts_with(&format!("{}|{}|", self.rows, self.rows)),
            "{expected}, {} rows",
            self.rows
        );
        let mut verify = direct.command(self.scratch, ["wal-verify", "integrity", "timeline"]);
        run(verify.envs(self.server.libpq_env())).success();
        self.server.stop();

        direct.run(self.scratch, ["delete", "garbage", "--confirm"]).success();
        let listed = direct.run(self.scratch, ["backup-list", "--json"]).success();
        let names = names(&listed.stdout);
        assert!(!names.is_empty());
        for name in &names {
            let mut restored = Cluster::restored(self.scratch, postgres, name);
            direct.run(self.scratch, ["backup-fetch", restored.data().to_str().unwrap(), name]).success();
            restored.recover_with(direct);
            restored.configure("recovery_target_action", "promote");
            restored.start();
            restored.wait_until("SELECT pg_is_in_recovery()", "f");
            assert_eq!(digest(&restored), expected, "{name}");
            restored.amcheck();
            restored.kill();
            fs::remove_dir_all(restored.data()).unwrap();
        }
        let segments = self.bucket.keys().iter().filter_map(|key| segment(key)).count();
        format!(
            "{:6} segments archived, none missing; {} rows committed, none lost\n{:6} backups, each restored to the last row: \
             {} full ones, {} deltas\n",
            segments,
            self.rows,
            names.len(),
            names.iter().filter(|name| !name.contains("_D_")).count(),
            names.iter().filter(|name| name.contains("_D_")).count(),
        )
    }
}

/// Starts a command and kills it after a time; false when it had ended.
fn killed_after(command: &mut Command, moment: Duration) -> bool {
    let mut child: Child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}

/// The name of an archived segment, by its key.
fn segment(key: &str) -> Option<String> {
    let name = key.strip_prefix("wal_005/")?.split('.').next()?;
    (name.len() == 24 && key.ends_with(".lz4") && !key.contains(".backup")).then(|| name.to_owned())
}

fn names(list: &str) -> BTreeSet<String> {
    let list: Vec<Value> = serde_json::from_str(list).unwrap();
    list.iter().map(|backup| backup["backup_name"].as_str().unwrap().to_owned()).collect()
}

/// How many rows the ledger has, its last one, and what pgbench keeps equal.
fn digest(server: &Cluster<'_>) -> String {
    server.sql(
        "SELECT (SELECT count(*) FROM ledger), (SELECT max(n) FROM ledger), \
                (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), \
                (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)",
    )
}
