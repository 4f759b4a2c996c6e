//! Keys and passwords are nowhere but where they were given: not in what a command prints or logs, at any level, when it
//! works and when it fails, nor in what it leaves on the disk, nor in the command lines of processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::{Barman, Bucket, Cluster, Fixture, Postgres, Run, Scratch, Tool};

/// What must never be seen. Each is a word of its own, so that nothing else is taken for it.
const CANARIES: [&str; 9] = [
    SECRET_KEY,
    SESSION_TOKEN,
    SODIUM_INLINE,
    SODIUM_FILE,
    SODIUM_HEX,
    PASSWORD,
    CONNINFO_PASSWORD,
    URL_PASSWORD,
    CUSTOMER_KEY,
];
const SECRET_KEY: &str = "canarySecretAccessKey";
const SESSION_TOKEN: &str = "canarySessionToken";
const SODIUM_INLINE: &str = "canarySodiumKeyOfThirtyTwoBytes.";
const SODIUM_FILE: &str = "canarySodiumFileOfThirtyTwoByte.";
const SODIUM_HEX: &str = "63616e617279536f6469756d4865784f66546869727479";
const PASSWORD: &str = "canaryPgPassword";
const CONNINFO_PASSWORD: &str = "canaryConninfoPassword";
const URL_PASSWORD: &str = "canaryUrlPassword";
const CUSTOMER_KEY: &str = "canaryCustomerKeyOf32BytesExact.";

#[track_caller]
fn nothing_in(text: &[u8], place: &str) {
    let lower = String::from_utf8_lossy(text).to_ascii_lowercase();
    for canary in CANARIES {
        assert!(!lower.contains(&canary.to_ascii_lowercase()), "{canary} in {place}:\n{lower}");
    }
}

#[track_caller]
fn nothing_in_run(run: &Run) {
    // Without the line of the run itself: a test may give a secret there.
    nothing_in(run.stdout.as_bytes(), "stdout");
    nothing_in(run.stderr.as_bytes(), "stderr");
}

/// What a running server removes meanwhile is not looked at.
fn nothing_below(directory: &Path) {
    let Some(entries) = unless_gone(fs::read_dir(directory)) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        nothing_in(entry.file_name().as_encoded_bytes(), "a file's name");
        if path.is_dir() {
            nothing_below(&path);
        } else if let Some(content) = unless_gone(fs::read(&path)) {
            nothing_in(&content, path.to_str().unwrap());
        }
    }
}

fn unless_gone<T>(found: io::Result<T>) -> Option<T> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.unwrap()),
    }
}

/// Longer than what is waited for takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at the command lines of all processes until it is dropped.
struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watch {
    /// Of the processes whose command line holds `word`.
    fn start(word: &'static str) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let (until, into) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
                    if line.windows(word.len()).any(|window| window == word.as_bytes()) {
                        into.lock().unwrap().insert(entry.file_name().into_string().unwrap(), line);
                    }
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        Self { stop, seen, thread: Some(thread) }
    }

    /// Whether there was one so far.
    fn has_seen(&self) -> bool {
        !self.seen.lock().unwrap().is_empty()
    }

    fn end(mut self) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.seen.lock().unwrap().values().cloned().collect()
    }
}

/// The levels of each dialect's log.
const LEVELS: [&str; 3] = ["NORMAL", "DEVEL", "ERROR"];

/// Commands of wal-g's dialect that fail at the service, since the keys are wrong, or before.
#[test]
fn keys_that_are_refused() {
    let bucket = require!(Bucket::versitygw());
    let scratch = Scratch::new();
    let file = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    let (file, data) = (file.to_str().unwrap(), scratch.absent("data"));
    let key_file = scratch.file("key", SODIUM_FILE);
    let tool = Tool::seawall(&scratch)
        .with_all(bucket.env())
        .with("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .with("AWS_SESSION_TOKEN", SESSION_TOKEN)
        .with("PGPASSWORD", PASSWORD)
        .with("PGHOST", scratch.path().to_str().unwrap())
        .with("S3_MAX_RETRIES", "0");
    let with_keys = [
        tool.clone().with("WALG_LIBSODIUM_KEY", SODIUM_INLINE),
        tool.clone().with("WALG_LIBSODIUM_KEY_PATH", key_file.to_str().unwrap()),
        // Not hexadecimal as a whole, and too short: it cannot be a key.
        tool.clone().with("WALG_LIBSODIUM_KEY", SODIUM_HEX).with("WALG_LIBSODIUM_KEY_TRANSFORM", "hex"),
        tool.clone().with("WALG_LIBSODIUM_KEY", SODIUM_INLINE).with("WALG_LIBSODIUM_KEY_TRANSFORM", "base64"),
        tool.clone().with("WALG_S3_SSE", "AES256").with("WALG_S3_SSE_C", CUSTOMER_KEY),
        tool.clone().with("AWS_ENDPOINT", &format!("http://somebody:{URL_PASSWORD}@127.0.0.1:1")),
        tool.clone().with("WALG_S3_PREFIX", &format!("s3://somebody:{URL_PASSWORD}@bucket/path")),
        tool.clone().with("http_proxy", &format!("http://somebody:{URL_PASSWORD}@127.0.0.1:1")),
        tool.clone().with("AWS_REGION", "elsewhere"),
    ];
    let commands: [&[&str]; 9] = [
        &["wal-push", file],
        &["wal-fetch", "00000002.history", "fetched"],
        &["backup-list"],
        &["backup-push", data.to_str().unwrap()],
        &["backup-fetch", data.to_str().unwrap(), "LATEST"],
        &["backup-mark", "LATEST"],
        &["delete", "garbage", "--confirm"],
        &["wal-verify", "integrity"],
        &["config", "show"],
    ];
    let scratch = &scratch;
    thread::scope(|scope| {
        for tool in &with_keys {
            scope.spawn(move || {
                for level in LEVELS {
                    let tool = tool.clone().with("WALG_LOG_LEVEL", level);
                    for command in commands {
                        nothing_in_run(&tool.run(scratch, command));
                    }
                }
            });
        }
    });
}

/// A URI, or the end of one, in place of the name of a host or a database.
#[test]
fn places_of_the_server_that_hold_a_password() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let storage = Bucket::directory(&scratch, "storage");
    let mut cluster = Cluster::create(&scratch, &postgres, "source", &[]);
    cluster.start();
    let tool = Tool::seawall(&scratch)
        .with_all(storage.env())
        .with("PGCONNECT_TIMEOUT", "5")
        .with("HOME", scratch.path().to_str().unwrap());
    let long = "x".repeat(60);
    let libpq = cluster.libpq_env();
    for (variable, value) in [
        ("PGHOST", format!("postgresql://bob:{CONNINFO_PASSWORD}@db/x")),
        ("PGHOST", format!("bob:{CONNINFO_PASSWORD}@db")),
        ("PGHOST", format!("a,postgresql://bob:{CONNINFO_PASSWORD}@db/x")),
        ("PGPORT", format!("postgresql://bob:{CONNINFO_PASSWORD}@db/x")),
        ("PGDATABASE", format!("postgresql://bob:{CONNINFO_PASSWORD}@db/x")),
        ("PGDATABASE", format!("postgresql+psycopg2://bob:{CONNINFO_PASSWORD}@db/x?sslmode=require")),
        // The server repeats it, and cuts what is long.
        ("PGDATABASE", format!("bob:{CONNINFO_PASSWORD}@db")),
        ("PGDATABASE", format!("bob:{CONNINFO_PASSWORD}@db.{long}")),
        ("PGSERVICE", format!("postgresql://bob:{CONNINFO_PASSWORD}@db/x")),
    ] {
        let mut tool =
            tool.clone().with_all(libpq.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        tool = tool.with(variable, &value);
        for level in LEVELS {
            let run = tool
                .clone()
                .with("WALG_LOG_LEVEL", level)
                .run(&scratch, ["backup-push", cluster.data().to_str().unwrap()]);
            assert_eq!(run.code, Some(1), "{run}");
            nothing_in_run(&run);
        }
        nothing_in(&fs::read(scratch.path().join(".seawall-last-error")).unwrap(), "the last error");
    }
}

/// A secret that is given as a flag is in the command line of the process that it was given to, and of no other.
#[test]
fn the_prefetcher_is_told_in_its_environment() {
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, "brotli-sodium-hex");
    let settings: BTreeMap<&str, &str> = fixture.env().collect();
    let tool = Tool::seawall(&scratch)
        .with("WALG_FILE_PREFIX", settings["WALG_FILE_PREFIX"])
        .with("WALG_COMPRESSION_METHOD", "brotli")
        .with("WALG_LIBSODIUM_KEY_TRANSFORM", "hex")
        .with("WALG_LOG_LEVEL", "DEVEL");
    let key = settings["WALG_LIBSODIUM_KEY"];
    let watch = Watch::start("wal-prefetch");
    let flag = format!("--walg-libsodium-key={key}");
    let begin = Instant::now();
    // It does not live long.
    for attempt in 0.. {
        if watch.has_seen() {
            break;
        }
        let target = scratch.dir(&format!("prefetched{attempt}"));
        let destination = target.join("RECOVERYXLOG");
        let line = [&flag, "wal-fetch", "000000010000000000000002", destination.to_str().unwrap()];
        let run = tool.run(&scratch, line).success();
        assert!(!run.stderr.contains(key), "{run}");
        // It has the key, since it brings what is encrypted by it.
        let brought = target.join(".wal-g/prefetch/000000010000000000000003");
        while !brought.exists() {
            assert!(begin.elapsed() < PATIENCE, "nothing is brought");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(begin.elapsed() < PATIENCE, "no prefetcher was seen");
    }
    for line in watch.end() {
        assert!(!String::from_utf8_lossy(&line).contains(key), "{}", String::from_utf8_lossy(&line));
    }
}

/// Everything works, with keys and a password, at the most talkative level; and barman's commands, with `-vv`.
#[test]
fn what_works_tells_nothing() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let storage = Bucket::directory(&scratch, "storage");
    let log = scratch.absent("log");
    let key_file = scratch.file("key", SODIUM_FILE);
    let mut cluster = Cluster::create(&scratch, &postgres, "source", &[]);
    let tool = Tool::seawall(&scratch)
        .with_all(storage.env())
        .with("WALG_COMPRESSION_METHOD", "lz4")
        .with("WALG_USE_WAL_DELTA", "true")
        .with("WALG_LIBSODIUM_KEY_PATH", key_file.to_str().unwrap())
        .with("PGPASSWORD", PASSWORD)
        .with("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .with("AWS_SESSION_TOKEN", SESSION_TOKEN)
        .with("WALG_LOG_LEVEL", "DEVEL");
    let watch = Watch::start("seawall");
    cluster.archive_with(&tool.clone().with("WALG_LOG_DESTINATION", log.to_str().unwrap()));
    cluster.start();
    nothing_in_run(&cluster.push_backup(&tool));
    cluster.switch_wal();
    for command in [
        &["backup-list", "--detail"][..],
        &["backup-show", "LATEST", "--json"],
        &["backup-mark", "LATEST"],
        &["wal-show"],
        &["config", "show", "--json"],
        &["delete", "garbage", "--confirm"],
        &["backup-fetch", "restored", "LATEST"],
        &["wal-fetch", "000000010000000000000001", "RECOVERYXLOG"],
    ] {
        nothing_in_run(&tool.run(&scratch, command).success());
    }
    nothing_in(&fs::read(&log).unwrap(), "the log");
    nothing_in(cluster.log().as_bytes(), "PostgreSQL's log");
    for directory in [storage.setting("WALG_FILE_PREFIX"), cluster.data().to_str().unwrap()] {
        nothing_below(Path::new(directory));
    }

    let barman = Barman::seawall(&scratch)
        .with("AWS_ACCESS_KEY_ID", "id")
        .with("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .with("AWS_SESSION_TOKEN", SESSION_TOKEN)
        .with("PGPASSWORD", PASSWORD)
        .with("AWS_MAX_ATTEMPTS", "1");
    let url = format!("file://{}", scratch.dir("barman").display());
    let libpq = cluster.libpq_env();
    let conninfo = format!("host={} user=postgres password={CONNINFO_PASSWORD}", libpq["PGHOST"]);
    let uri = format!("postgresql://postgres:{CONNINFO_PASSWORD}@/postgres?host={}", libpq["PGHOST"]);
    let refused = format!("host=/nowhere user=postgres password={CONNINFO_PASSWORD}");
    let segment = cluster.data().join("pg_wal/000000010000000000000001");
    let elsewhere = format!("http://somebody:{URL_PASSWORD}@127.0.0.1:1");
    for (command, arguments, code) in [
        ("wal-archive", vec![url.as_str(), "srv", segment.to_str().unwrap()], None),
        ("backup", vec!["-d", &conninfo, &url, "srv"], Some(0)),
        ("backup", vec!["-d", &refused, &url, "srv"], Some(1)),
        ("backup", vec!["-d", &format!("password={CONNINFO_PASSWORD} colour=red"), &url, "srv"], Some(4)),
        ("backup", vec!["-d", &uri, &url, "uri"], Some(0)),
        (
            "backup",
            vec!["-d", &format!("postgres://u:{CONNINFO_PASSWORD}@127.0.0.1:1/d"), &url, "srv"],
            Some(1),
        ),
        // The end of a password that was not escaped.
        (
            "backup",
            vec!["-d", &format!("postgres://u:1/{CONNINFO_PASSWORD}@127.0.0.1:1/d"), &url, "srv"],
            Some(4),
        ),
        (
            "backup",
            vec!["-d", &format!("postgres://u:{CONNINFO_PASSWORD}/2@127.0.0.1:1/d"), &url, "srv"],
            Some(4),
        ),
        (
            "backup",
            vec!["-d", &format!("postgres://u:{CONNINFO_PASSWORD}@/d?colour=red"), &url, "srv"],
            Some(4),
        ),
        ("backup", vec!["-d", &format!("POSTGRES://u:{CONNINFO_PASSWORD}@h/d"), &url, "srv"], Some(4)),
        (
            "backup",
            vec![
                "-d",
                &format!("postgresql+psycopg2://u:{CONNINFO_PASSWORD}@h/d?sslmode=require"),
                &url,
                "srv",
            ],
            Some(4),
        ),
        ("backup", vec!["-d", &format!("host=h password=a {CONNINFO_PASSWORD}=1"), &url, "srv"], Some(4)),
        ("backup", vec!["-d", &format!("host=h password=a {CONNINFO_PASSWORD}"), &url, "srv"], Some(4)),
        ("backup", vec!["-h", &format!("postgres://u:{CONNINFO_PASSWORD}@h/d"), &url, "srv"], None),
        (
            "backup",
            vec!["-d", &format!("u:{CONNINFO_PASSWORD}@h/d"), "-h", &libpq["PGHOST"], &url, "srv"],
            None,
        ),
        ("backup-list", vec![&url, "srv"], Some(0)),
        ("backup-show", vec![&url, "srv", "latest"], Some(0)),
        ("backup-keep", vec!["--target", "full", &url, "srv", "latest"], None),
        ("restore", vec![&url, "srv", "latest", "restored-by-barman"], None),
        ("backup-delete", vec!["-b", "latest", &url, "srv"], None),
        ("backup-list", vec!["--endpoint-url", &elsewhere, "s3://bucket/path", "srv"], None),
        (
            "wal-restore",
            vec!["--endpoint-url", "http://127.0.0.1:1", "s3://b/p", "srv", "00000002.history", "x"],
            None,
        ),
    ] {
        let run = barman.run(&scratch, command, [vec!["-vv"], arguments].concat());
        nothing_in_run(&run);
        if let Some(code) = code {
            assert_eq!(run.code, Some(code), "{run}");
        }
    }
    nothing_below(&scratch.path().join("barman"));
    for line in watch.end() {
        // What the test itself has put into a command line can be seen there.
        let line = String::from_utf8_lossy(&line).replace(CONNINFO_PASSWORD, "").replace(URL_PASSWORD, "");
        nothing_in(line.as_bytes(), "a command line");
    }
}
