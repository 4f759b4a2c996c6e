//! What fails says what, where and why in one line, with a hint where there is something to do, and leaves nothing half
//! done: no file on the disk, no object in the storage.

#![allow(clippy::type_complexity, reason = "tables of cases are read where they stand")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::{Barman, Bucket, Cluster, Fixture, Missing, Postgres, Run, Scratch, Tool, run};

const SEGMENT: &str = "000000010000000000000001";
const KEY: &str = "9fa3f4735751ed402fde18c8ebdfcae4803cdde267b816ec078b0dad5dccd002";
const OTHER_KEY: &str = "0fa3f4735751ed402fde18c8ebdfcae4803cdde267b816ec078b0dad5dccd002";

/// Checks how a failure is told: by one line with all of `says`, and by a hint with `hint` unless that is empty.
#[track_caller]
fn told(run: Run, code: i32, says: &[&str], hint: &str) {
    let run = run.fails(code);
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("ERROR: ")).collect();
    assert_eq!(errors.len(), 1, "{run}");
    for text in says {
        assert!(errors[0].contains(text), "no `{text}` in the error\n{run}");
    }
    let hints: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("hint: ")).collect();
    assert!(hint.is_empty() || hints.iter().any(|line| line.contains(hint)), "no hint `{hint}`\n{run}");
    assert!(!run.stderr.contains(KEY) && !run.stderr.contains("panicked"), "{run}");
}

#[track_caller]
fn assert_empty(directory: &Path) {
    let left: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A real segment of 16 MiB, below `pg_wal`.
fn segment(scratch: &Scratch) -> PathBuf {
    let fixture = Fixture::open(scratch, "lz4-plain-tablespace");
    let path = scratch.dir("pg_wal").join(SEGMENT);
    let tool = Tool::seawall(scratch).with_all(fixture.env());
    tool.run(scratch, ["wal-fetch", SEGMENT, path.to_str().unwrap()]).success();
    path
}

/// The three commands on a storage, none of which can do anything.
struct Attempt<'a> {
    scratch: &'a Scratch,
    tool: Tool,
    segment: PathBuf,
    /// Where files are fetched to.
    target: PathBuf,
}

impl<'a> Attempt<'a> {
    fn new(scratch: &'a Scratch, tool: Tool) -> Self {
        let segment = scratch.file(SEGMENT, "not checked");
        let tool = tool.with("SEAWALL_CHECK_WAL", "false");
        Attempt { scratch, tool, segment, target: scratch.dir("target") }
    }

    fn wal_push(&self) -> Run {
        self.tool.run(self.scratch, [OsStr::new("wal-push"), self.segment.as_os_str()])
    }

    fn wal_fetch(&self) -> Run {
        let destination = self.target.join("RECOVERYXLOG");
        self.tool.run(self.scratch, ["wal-fetch", SEGMENT, destination.to_str().unwrap()])
    }

    fn backup_fetch(&self) -> Run {
        self.tool.run(self.scratch, ["backup-fetch", self.target.to_str().unwrap(), "LATEST"])
    }

    #[track_caller]
    fn all_tell(&self, says: &[&str], hint: &str) {
        for attempt in [Self::wal_push, Self::wal_fetch, Self::backup_fetch] {
            told(attempt(self), 1, says, hint);
            assert_empty(&self.target);
        }
    }
}

/// S3 at `endpoint`, with credentials.
fn s3(scratch: &Scratch, endpoint: &str) -> Tool {
    Tool::seawall(scratch).with_all([
        ("WALG_S3_PREFIX", "s3://bucket/path"),
        ("AWS_ENDPOINT", endpoint),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", KEY),
        ("AWS_S3_FORCE_PATH_STYLE", "true"),
        ("S3_MAX_RETRIES", "1"),
    ])
}

#[test]
fn nothing_listens_at_the_endpoint() {
    let scratch = Scratch::new();
    let tool = s3(&scratch, "http://127.0.0.1:1");
    Attempt::new(&scratch, tool).all_tell(&["s3://bucket/path", "refused"], "AWS_ENDPOINT");
}

#[test]
fn the_name_of_the_endpoint_is_unknown() {
    let scratch = Scratch::new();
    let tool = s3(&scratch, "http://storage.invalid:8080");
    Attempt::new(&scratch, tool).all_tell(&["s3://bucket/path", "storage.invalid"], "AWS_ENDPOINT");
}

#[test]
fn the_endpoint_stays_silent() {
    let scratch = Scratch::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tool = s3(&scratch, &format!("http://{}", silent.local_addr().unwrap()));
    let attempt = Attempt::new(&scratch, tool);
    std::thread::scope(|threads| {
        for attempt_to in [Attempt::wal_fetch, Attempt::backup_fetch] {
            let attempt = &attempt;
            threads.spawn(move || told(attempt_to(attempt), 1, &["no answer within"], "silent"));
        }
    });
    assert_empty(&attempt.target);
}

/// A look-up of a name cannot be given up, only left behind.
#[test]
fn a_name_service_that_hangs_is_left_behind() {
    const HANGS: &str = "#include <netdb.h>\n#include <unistd.h>\n\
        int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)\n\
        { sleep(120); return EAI_AGAIN; }\n";
    let scratch = Scratch::new();
    let (source, library) = (scratch.file("hangs.c", HANGS), scratch.absent("hangs.so"));
    run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source])).success();
    scratch.own(&library);
    let endpoint = "http://s3.example.org";
    let preload = library.to_str().unwrap();
    let walg = s3(&scratch, endpoint)
        .with("LD_PRELOAD", preload)
        .with("PGHOST", "db.example.org")
        .with("PGCONNECT_TIMEOUT", "3");
    let barman = Barman::seawall(&scratch)
        .with("LD_PRELOAD", preload)
        .with("AWS_ACCESS_KEY_ID", "id")
        .with("AWS_SECRET_ACCESS_KEY", "secret");
    let (scratch, begin) = (&scratch, Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| walg.run(scratch, ["backup-list"]).fails(1));
        scope.spawn(|| walg.run(scratch, ["wal-verify", "integrity"]).fails(1));
        let place = ["-t", "--endpoint-url", endpoint, "s3://bucket/prefix", "srv"];
        scope.spawn(move || barman.run(scratch, "backup-list", place).fails(2));
    });
    // Fifteen seconds are promised; the rest is for a machine that is busy. The look-up takes two minutes.
    assert!(begin.elapsed() < Duration::from_secs(110), "{:?}", begin.elapsed());
}

/// For those whose caller threw stderr away.
#[test]
fn the_last_error_is_kept_in_a_file() {
    let scratch = Scratch::new();
    let kept = scratch.path().join(".seawall-last-error");
    let tool = s3(&scratch, "http://127.0.0.1:1");
    let secret = format!("--walg-libsodium-key={OTHER_KEY}");
    let failed = tool.run(&scratch, ["backup-list", &secret]).fails(1);
    let text = fs::read_to_string(&kept).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("Z backup-list"), "{text}");
    assert!(failed.stderr.contains(lines[1]) && lines[1].contains("refused"), "{text}\n{failed}");
    assert!(lines[2].starts_with("hint: "), "{text}");
    assert!(!text.contains(KEY) && !text.contains(OTHER_KEY), "{text}");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    // The end of the archive is no error.
    let bucket = Bucket::directory(&scratch, "storage");
    let empty = Tool::seawall(&scratch).with_all(bucket.env());
    empty.run(&scratch, ["wal-fetch", SEGMENT, "RECOVERYXLOG"]).fails(74);
    assert_eq!(fs::read_to_string(&kept).unwrap(), text);
    // The next one takes its place.
    let gone = empty.clone().with("WALG_FILE_PREFIX", "/nonexistent");
    gone.run(&scratch, ["backup-list"]).fails(1);
    assert!(fs::read_to_string(&kept).unwrap().contains("/nonexistent"));
    // Nobody's home: a pod has another place.
    let homeless = gone.with("HOME", "/proc");
    homeless.run(&scratch, ["backup-list"]).fails(1).stderr_has("/nonexistent");
    let tmp = scratch.dir("tmp");
    homeless.with("TMPDIR", tmp.to_str().unwrap()).run(&scratch, ["backup-list"]).fails(1);
    assert!(fs::read_to_string(tmp.join(".seawall-last-error")).unwrap().contains("/nonexistent"));
}

fn refused_by(bucket: &Bucket) {
    let scratch = Scratch::new();
    let tool = Tool::seawall(&scratch).with_all(bucket.env());
    let wrong_secret = tool.clone().with("AWS_SECRET_ACCESS_KEY", KEY);
    Attempt::new(&scratch, wrong_secret).all_tell(&["403"], "AWS_SECRET_ACCESS_KEY");
    assert!(bucket.keys().is_empty());
}

fn bucket_missing_on(bucket: &Bucket) {
    let scratch = Scratch::new();
    let tool = Tool::seawall(&scratch).with_all(bucket.env());
    let no_bucket = tool.with("WALG_S3_PREFIX", "s3://seawall-no-such-bucket/path");
    Attempt::new(&scratch, no_bucket).all_tell(&["seawall-no-such-bucket"], "bucket");
}

#[test]
fn swift_refuses_the_credentials() {
    refused_by(&require!(Bucket::swift()));
}

#[test]
fn versitygw_refuses_the_credentials() {
    refused_by(&require!(Bucket::versitygw()));
}

#[test]
fn swift_has_no_such_bucket() {
    bucket_missing_on(&require!(Bucket::swift()));
}

#[test]
fn versitygw_has_no_such_bucket() {
    bucket_missing_on(&require!(Bucket::versitygw()));
}

#[test]
fn the_directory_of_the_storage_is_missing() {
    let scratch = Scratch::new();
    let place = scratch.absent("storage");
    let tool = Tool::seawall(&scratch).with("WALG_FILE_PREFIX", place.to_str().unwrap());
    Attempt::new(&scratch, tool).all_tell(&["does not exist"], "WALG_FILE_PREFIX");
    assert!(!place.exists());
}

#[test]
fn settings_that_cannot_be() {
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let cases = [
        ("WALG_COMPRESSION_METHOD", "lzo", ["WALG_COMPRESSION_METHOD", "lz4, zstd, brotli"], ""),
        ("WALG_ZSTD_LEVEL", "3", ["zstd level", "lz4"], "WALG_COMPRESSION_METHOD=zstd"),
        ("WALG_PGP_KEY", "key", ["WALG_PGP_KEY", "not supported"], "libsodium"),
        ("WALG_GPG_KEY_ID", "key", ["GPG_KEY_ID", "not supported"], "libsodium"),
        ("WALG_CSE_KMS_ID", "key", ["WALG_CSE_KMS_ID", "not supported"], "libsodium"),
        ("WALG_LIBSODIUM_KEY", "short", ["WALG_LIBSODIUM_KEY", "5 bytes"], "32 bytes"),
        ("WALG_LIBSODIUM_KEY_PATH", "/nonexistent/key", ["key file", "/nonexistent/key"], "who may read"),
    ];
    let attempt = Attempt::new(&scratch, Tool::seawall(&scratch).with_all(bucket.env()));
    for (setting, value, says, hint) in cases {
        let tool = attempt.tool.clone().with(setting, value);
        told(tool.run(&scratch, [OsStr::new("wal-push"), attempt.segment.as_os_str()]), 1, &says, hint);
        assert!(bucket.keys().is_empty(), "{setting}");
    }
}

/// Pushes the segment with `method`, damages the object, and expects that fetching it fails.
fn damaged(method: &str, key: Option<&str>, damage: impl Fn(&mut Vec<u8>), says: &[&str], hint: &str) {
    let scratch = Scratch::new();
    let segment = segment(&scratch);
    let bucket = Bucket::directory(&scratch, "storage");
    let mut tool = Tool::seawall(&scratch).with_all(bucket.env()).with("WALG_COMPRESSION_METHOD", method);
    if let Some(key) = key {
        tool = tool.with("WALG_LIBSODIUM_KEY", key).with("WALG_LIBSODIUM_KEY_TRANSFORM", "hex");
    }
    tool.run(&scratch, [OsStr::new("wal-push"), segment.as_os_str()]).success();
    let keys = bucket.keys();
    let mut object = bucket.get(&keys[0]);
    damage(&mut object);
    bucket.put(&scratch, &keys[0], &object);
    let target = scratch.dir("target");
    let destination = target.join("RECOVERYXLOG");
    told(tool.run(&scratch, ["wal-fetch", SEGMENT, destination.to_str().unwrap()]), 1, says, hint);
    assert_empty(&target);
}

#[test]
fn an_object_is_cut_short() {
    for method in ["lz4", "zstd", "brotli", "lzma"] {
        let key = format!("wal_005/{SEGMENT}");
        damaged(method, None, |object| object.truncate(object.len() / 2), &[&key], "");
    }
    damaged("none", None, |object| object.truncate(1 << 20), &[SEGMENT], "");
}

/// After the header and whole chunks, where wal-g does not notice it.
#[test]
fn an_encrypted_object_is_cut_between_two_chunks() {
    for method in ["lz4", "none"] {
        let cut = |object: &mut Vec<u8>| object.truncate(24 + 3 * 8209);
        damaged(method, Some(KEY), cut, &["libsodium", "ends too early"], "cut short");
    }
}

#[test]
fn one_bit_of_an_object_is_flipped() {
    let flip = |object: &mut Vec<u8>| {
        let middle = object.len() / 2;
        object[middle] ^= 1;
    };
    for method in ["lz4", "zstd"] {
        damaged(method, None, flip, &[SEGMENT, "damaged"], "encrypted");
    }
    for method in ["lz4", "zstd", "brotli", "lzma", "none"] {
        damaged(method, Some(KEY), flip, &[SEGMENT, "libsodium data is damaged"], "");
    }
}

#[test]
fn the_key_is_not_the_right_one() {
    let scratch = Scratch::new();
    let segment = segment(&scratch);
    let target = scratch.dir("target");
    let plain = Tool::seawall(&scratch);
    let keyed =
        |key| plain.clone().with("WALG_LIBSODIUM_KEY", key).with("WALG_LIBSODIUM_KEY_TRANSFORM", "hex");
    for (name, pushing, fetching, says, hint) in [
        ("wrong", keyed(KEY), keyed(OTHER_KEY), "cannot decrypt", "WALG_LIBSODIUM_KEY"),
        ("none", keyed(KEY), plain.clone(), "damaged", "WALG_LIBSODIUM_KEY"),
        ("needless", plain.clone(), keyed(KEY), "cannot decrypt", "unencrypted"),
    ] {
        let bucket = Bucket::directory(&scratch, name);
        let pushing = pushing.with_all(bucket.env());
        pushing.run(&scratch, [OsStr::new("wal-push"), segment.as_os_str()]).success();
        let destination = target.join("RECOVERYXLOG");
        let fetching = fetching.with_all(bucket.env());
        let fetched = fetching.run(&scratch, ["wal-fetch", SEGMENT, destination.to_str().unwrap()]);
        told(fetched, 1, &[SEGMENT, says], hint);
        assert_empty(&target);
    }
}

const FULL: &str = "base_000000010000000000000002";
const DELTA: &str = "base_000000010000000000000004_D_000000010000000000000002";

#[test]
fn a_backup_is_incomplete() {
    let sentinel = |name: &str| format!("{name}_backup_stop_sentinel.json");
    let tar = |name: &str, tar: &str| format!("{name}/tar_partitions/{tar}.tar.br");
    for (removed, asked, says) in [
        (sentinel(FULL), DELTA, "parent"),
        (sentinel(DELTA), DELTA, "does not exist"),
        (tar(FULL, "part_001"), DELTA, "part_001.tar.br"),
        (tar(DELTA, "part_001"), DELTA, "part_001.tar.br"),
        (tar(DELTA, "pg_control"), DELTA, "pg_control"),
        (tar(FULL, "backup_label"), FULL, "backup_label"),
        (format!("{DELTA}/files_metadata.json"), DELTA, "files_metadata.json"),
    ] {
        let scratch = Scratch::new();
        let fixture = Fixture::open(&scratch, "brotli-sodium-hex");
        let storage = fixture.env().find(|(name, _)| *name == "WALG_FILE_PREFIX").unwrap().1;
        fs::remove_file(Path::new(storage).join("basebackups_005").join(&removed)).unwrap();
        let tool = Tool::seawall(&scratch).with_all(fixture.env());
        let target = scratch.absent("target");
        told(tool.run(&scratch, ["backup-fetch", target.to_str().unwrap(), asked]), 1, &[says], "");
        assert!(!target.exists(), "{removed}: refused before anything is written");
    }
}

/// Wherever it fails, nothing is left that would keep the next restore out.
#[test]
fn a_restore_has_too_few_file_descriptors() {
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, "brotli-sodium-hex");
    let tool = Tool::seawall(&scratch).with_all(fixture.env());
    let restored = |descriptors: u32| {
        let target = scratch.path().join(format!("target{descriptors}"));
        let line = format!("ulimit -n {descriptors} && exec \"$0\" backup-fetch \"$1\" {FULL}");
        let mut shell = scratch.command(Path::new("/bin/sh"));
        shell.envs(tool.env()).args(["-c", &line, tool.path(), target.to_str().unwrap()]);
        let run = run(&mut shell);
        if run.code != Some(0) && target.exists() {
            assert_empty(&target);
        }
        run.code == Some(0)
    };
    let enough = (8..100).find(|descriptors| restored(*descriptors));
    assert!(enough.is_some_and(|descriptors| descriptors > 10), "{enough:?}");
}

#[test]
fn a_chain_lacks_several_things() {
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, "brotli-sodium-hex");
    let storage = fixture.env().find(|(name, _)| *name == "WALG_FILE_PREFIX").unwrap().1;
    let newest = "base_000000010000000000000006_D_000000010000000000000004";
    let removed = [
        format!("basebackups_005/{newest}/tar_partitions/part_001.tar.br"),
        format!("basebackups_005/{DELTA}/files_metadata.json"),
        format!("basebackups_005/{FULL}/tar_partitions/part_001.tar.br"),
    ];
    for key in &removed {
        fs::remove_file(Path::new(storage).join(key)).unwrap();
    }
    let tool = Tool::seawall(&scratch).with_all(fixture.env());
    let target = scratch.absent("target");
    let says: Vec<&str> = [newest, "lacks"].into_iter().chain(removed.iter().map(String::as_str)).collect();
    told(tool.run(&scratch, ["backup-fetch", target.to_str().unwrap(), newest]), 1, &says, "put back");
    assert!(!target.exists());
}

/// Without a list of files nothing tells which tars there are; the label must be there all the same.
#[test]
fn a_backup_without_lists_has_lost_its_label() {
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, "zstd-sodium-base64-seg1");
    let storage = fixture.env().find(|(name, _)| *name == "WALG_FILE_PREFIX").unwrap().1;
    let backup = &fixture.backups[0].name;
    let label = format!("basebackups_005/{backup}/tar_partitions/backup_label.tar.zst");
    fs::remove_file(Path::new(storage).join(label)).unwrap();
    let tool = Tool::seawall(&scratch).with_all(fixture.env());
    let target = scratch.dir("target");
    let fetched = tool.run(&scratch, ["backup-fetch", target.to_str().unwrap(), backup]);
    told(fetched, 1, &[backup, "backup_label"], "");
    assert_empty(&target);
}

#[test]
fn the_place_of_a_restore_is_taken() {
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, "lz4-plain-tablespace");
    let tool = Tool::seawall(&scratch).with_all(fixture.env());
    let fetch = |target: &Path, more: &[&str]| {
        let target = target.to_str().unwrap();
        tool.run(&scratch, [&["backup-fetch", target, fixture.backups[0].name.as_str()], more].concat())
    };
    let taken = scratch.dir("taken");
    fs::write(taken.join("file"), "precious").unwrap();
    told(fetch(&taken, &[]), 1, &[taken.to_str().unwrap(), "not empty"], "empty or a new directory");

    let target = scratch.absent("target");
    let mut spec = fixture.backups[0].spec_moved_to(target.to_str().unwrap(), "/nowhere").unwrap();
    for oid in spec["tablespaces"].as_array().unwrap().clone() {
        spec[oid.as_str().unwrap()]["loc"] = taken.to_str().unwrap().into();
    }
    let spec = scratch.file("spec.json", &spec.to_string());
    let restored = fetch(&target, &["--restore-spec", spec.to_str().unwrap()]);
    told(restored, 1, &["tablespace", taken.to_str().unwrap(), "not empty"], "--restore-spec");
    assert!(!target.exists());
    assert_eq!(fs::read_to_string(taken.join("file")).unwrap(), "precious");
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 1);
}

#[test]
fn a_restore_spec_makes_no_sense() {
    let scratch = Scratch::new();
    let fixture = Fixture::open(&scratch, "lz4-plain-tablespace");
    let tool = Tool::seawall(&scratch).with_all(fixture.env());
    let target = scratch.absent("target");
    let place = target.to_str().unwrap();
    for (spec, says, hint) in [
        (r#"{"tablespaces":["16384"],"16384":{"loc":"there"}}"#, "no absolute `loc`", "absolute path"),
        (r#"{"tablespaces":["16384"]}"#, "no absolute `loc`", "absolute path"),
        (r#"{"tablespaces":[]}"#, "where tablespace 16384 goes", "a place of its own"),
        (
            r#"{"tablespaces":["16384"],"16384":{"loc":"PLACE"}}"#,
            "the data directory goes there",
            "a place of its own",
        ),
        (
            r#"{"tablespaces":["16384","7"],"16384":{"loc":"PLACE.space"},"7":{"loc":"PLACE.space/"}}"#,
            "tablespace 16384 goes there",
            "a place of its own",
        ),
    ] {
        let spec = spec.replace("PLACE", place).replacen('{', &format!(r#"{{"base_prefix":"{place}","#), 1);
        let file = scratch.file("spec.json", &spec);
        let arguments =
            ["backup-fetch", place, &fixture.backups[0].name, "--restore-spec", file.to_str().unwrap()];
        told(tool.run(&scratch, arguments), 1, &[says], hint);
        assert!(!target.exists() && !scratch.absent("target.space").exists(), "{spec}");
    }
}

/// Runs a command with a file system of 4 MiB on `disk`; returns what was left in it, by `find`.
fn on_a_small_disk(scratch: &Scratch, disk: &Path, tool: &Tool, arguments: &[&str]) -> (Run, Vec<String>) {
    let left = scratch.file("left", "");
    let script = "mount -t tmpfs -o size=4m tmpfs \"$1\" || exit 99; disk=$1; left=$2; shift 2; \"$@\"; code=$?; \
                  find \"$disk\" -mindepth 1 >\"$left\"; exit $code";
    let mut command = scratch.command("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(disk).arg(&left);
    let run = run(command.arg(tool.path()).args(arguments).envs(tool.env()));
    let left = fs::read_to_string(left).unwrap().lines().map(str::to_owned).collect();
    (run, left)
}

/// Whether this machine lets its users mount in a namespace of their own.
fn small_disks(scratch: &Scratch) -> Result<(), Missing> {
    let mut command = scratch.command("unshare");
    command.args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    match run(&mut command).code {
        Some(0) => Ok(()),
        _ => Err(Missing::optional("no file systems of one's own here (unshare --map-root-user --mount)")),
    }
}

#[test]
fn the_disk_is_full() {
    let scratch = Scratch::new();
    require!(small_disks(&scratch));
    let disk = scratch.dir("disk");
    let place = |name: &str| disk.join(name).to_str().unwrap().to_owned();
    let full = "No space left on device";

    let fixture = Fixture::open(&scratch, "zstd-sodium-base64-seg1");
    let tool = Tool::seawall(&scratch).with_all(fixture.env());
    let target = place("data");
    let (run, left) =
        on_a_small_disk(&scratch, &disk, &tool, &["backup-fetch", &target, &fixture.backups[0].name]);
    told(run, 1, &[&target, full], "the disk is full");
    assert_eq!(left, [target], "the directory, empty");

    let segment = segment(&scratch);
    let bucket = Bucket::directory(&scratch, "storage");
    let tool = Tool::seawall(&scratch).with_all(bucket.env());
    tool.run(&scratch, [OsStr::new("wal-push"), segment.as_os_str()]).success();
    let (run, left) =
        on_a_small_disk(&scratch, &disk, &tool, &["wal-fetch", SEGMENT, &place("RECOVERYXLOG")]);
    told(run, 1, &[&place("RECOVERYXLOG"), full], "the disk is full");
    assert_eq!(left, [""; 0]);

    let tool = Tool::seawall(&scratch)
        .with("WALG_FILE_PREFIX", disk.to_str().unwrap())
        .with("WALG_COMPRESSION_METHOD", "none");
    let (run, left) = on_a_small_disk(&scratch, &disk, &tool, &["wal-push", segment.to_str().unwrap()]);
    told(run, 1, &[SEGMENT, full], "");
    assert!(!left.iter().any(|path| Path::new(path).is_file() || path.contains(SEGMENT)), "{left:?}");
}

#[test]
fn a_file_cannot_be_read() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let tool = Tool::seawall(&scratch).with_all(bucket.env());

    let segment = segment(&scratch);
    fs::set_permissions(&segment, PermissionsExt::from_mode(0o000)).unwrap();
    let pushed = tool.run(&scratch, [OsStr::new("wal-push"), segment.as_os_str()]);
    told(pushed, 1, &[segment.to_str().unwrap(), "Permission denied"], "who may use the file");
    assert!(bucket.keys().is_empty());

    let mut cluster = Cluster::create(&scratch, &postgres, "data", &[]);
    let file = cluster.data().join("base/unreadable");
    let push = |cluster: &Cluster<'_>, data: &Path| {
        let mut command = tool.command(&scratch, [OsStr::new("backup-push"), data.as_os_str()]);
        run(command.envs(cluster.libpq_env()))
    };
    told(push(&cluster, cluster.data()), 1, &["connect"], "PGHOST");
    fs::write(&file, "x").unwrap();
    scratch.own(&file);
    fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).unwrap();
    cluster.start();
    told(
        push(&cluster, cluster.data()),
        1,
        &[file.to_str().unwrap(), "Permission denied"],
        "who may use the file",
    );
    assert!(bucket.keys().is_empty(), "{:?}", bucket.keys());

    let elsewhere = scratch.dir("elsewhere");
    let says = [elsewhere.to_str().unwrap(), cluster.data().to_str().unwrap()];
    told(push(&cluster, &elsewhere), 1, &says, "data_directory");
    assert!(bucket.keys().is_empty());
}
