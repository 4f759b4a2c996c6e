//! The command line from outside: streams, exit codes, messages, signals. No server is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory with a repository in `repo`, and a home that is empty.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        for name in ["repo", "home", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Place { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The program with an environment of its own, in `work`.
    fn bare(&self) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("seawall"));
        command.env_clear().env("HOME", self.path("home")).env("TZ", "UTC").current_dir(self.path("work"));
        command.stdin(Stdio::null());
        command
    }

    /// The same with the repository set.
    fn seawall(&self, line: &str) -> Command {
        let mut command = self.bare();
        command.env("WALG_FILE_PREFIX", self.path("repo")).args(line.split_whitespace());
        command
    }

    /// What the program wrote, with what changes from run to run replaced.
    fn text(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let text = text.replace(self.directory.path().to_str().unwrap(), "<place>");
        let lines = text.lines().map(|line| match line.split_once(": 2") {
            Some((level @ ("INFO" | "WARNING" | "ERROR"), rest)) => {
                let message = rest.splitn(3, ' ').nth(2).unwrap_or_default();
                format!("{level}: <time> {message}\n")
            }
            _ => format!("{line}\n"),
        });
        lines.collect()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

#[test]
fn the_version_is_one_line_by_either_name() {
    let place = Place::new();
    let as_walg = place.path("wal-g");
    std::os::unix::fs::symlink(assert_cmd::cargo::cargo_bin!("seawall"), &as_walg).unwrap();
    for (program, beginning) in [
        (as_walg.as_path(), "wal-g version "),
        (Path::new(assert_cmd::cargo::cargo_bin!("seawall")), "seawall version "),
    ] {
        let output = Command::new(program).arg("--version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(beginning) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn a_wrong_command_line_goes_to_stderr() {
    let place = Place::new();
    let cases = [
        "",
        "frobnicate",
        "wal-push",
        "wal-fetch 000000010000000000000001",
        "wal-push a b",
        "wal-push --no-such-flag a",
        "backup-fetch",
        "--walg-file-prefix",
    ];
    for line in cases {
        let output = place.seawall(line).output().unwrap();
        assert_eq!(code(&output), 1, "{line}");
        assert!(output.stdout.is_empty(), "{line}");
        let text = place.text(&output.stderr);
        assert!(text.starts_with("Error: ") && text.contains("try '--help'"), "{line}: {text}");
    }
}

#[test]
fn the_only_storage_may_be_named() {
    let place = Place::new();
    for line in ["backup-list --target-storage default", "--target-storage=default backup-list --json"] {
        let output = place.seawall(line).output().unwrap();
        assert_eq!(code(&output), 0, "{line}: {}", place.text(&output.stderr));
    }
}

/// A command line, variables, and what stderr says.
type Failure<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn failures_are_one_line_with_a_hint() {
    let place = Place::new();
    fs::write(place.path("broken.json"), "{").unwrap();
    let cases: [Failure<'_>; 15] = [
        (
            "wal-push 000000010000000000000001",
            &[("WALG_FILE_PREFIX", "")],
            "ERROR: <time> no storage configured\n\
             hint: set WALG_FILE_PREFIX (a directory) or WALG_S3_PREFIX (s3://bucket/path) in the environment or \
             the configuration file\n",
        ),
        (
            "wal-push x",
            &[("WALG_FILE_PREFIX", ""), ("WALG_GS_PREFIX", "gs://b")],
            "ERROR: <time> WALG_GS_PREFIX (environment variable WALG_GS_PREFIX) asks for something that is not supported\n\
             hint: use a directory (WALG_FILE_PREFIX) or S3 (WALG_S3_PREFIX)\n",
        ),
        (
            "wal-push x",
            &[("WALG_PGP_KEY_PATH", "/key")],
            "ERROR: <time> WALG_PGP_KEY_PATH (environment variable WALG_PGP_KEY_PATH) asks for something that is not \
             supported\n\
             hint: use libsodium (WALG_LIBSODIUM_KEY); objects encrypted by PGP cannot be read or written yet\n",
        ),
        (
            "wal-push x",
            &[("WALG_LOG_LEVEL", "LOUD")],
            "ERROR: <time> bad value \"LOUD\" of WALG_LOG_LEVEL (environment variable WALG_LOG_LEVEL): \
             expected one of NORMAL, DEVEL, ERROR\n\
             hint: correct or unset it there; `flags` tells what each setting means, `config show` what is set where\n",
        ),
        (
            "wal-push x --config=../broken.json",
            &[],
            "ERROR: <time> cannot parse configuration file ../broken.json as JSON: \
             EOF while parsing an object at line 1 column 1\n\
             hint: the file is one flat map from the names of settings to their values\n",
        ),
        (
            "wal-push x",
            &[("WALG_CONFIG_PATH", "/nonexistent/c.yaml")],
            "ERROR: <time> cannot read configuration file /nonexistent/c.yaml: No such file or directory (os error 2)\n\
             hint: check --config and WALG_CONFIG_PATH; a relative path starts at the working directory\n",
        ),
        (
            "wal-push x --config=/nonexistent/c",
            &[],
            "ERROR: <time> cannot read configuration file /nonexistent/c: No such file or directory (os error 2)\n\
             hint: check --config and WALG_CONFIG_PATH; a relative path starts at the working directory\n",
        ),
        (
            "wal-push x",
            &[("WALG_LOG_DESTINATION", "/nonexistent/log")],
            "ERROR: <time> cannot open log file `/nonexistent/log`: No such file or directory (os error 2)\n\
             hint: set WALG_LOG_DESTINATION to a file that this user may write, or to stderr\n",
        ),
        (
            "backup-fetch target LATEST --restore-spec nowhere",
            &[],
            "ERROR: <time> cannot read restore spec `nowhere`: No such file or directory (os error 2)\n\
             hint: check the path given as --restore-spec, and who may read the file\n",
        ),
        (
            "backup-fetch target",
            &[],
            "ERROR: <time> either a backup name or user data must be given to choose a backup, not both and not neither\n\
             hint: give the backup's name, or LATEST, or --target-user-data alone; of backup-fetch, \
             WALG_FETCH_TARGET_USER_DATA counts as that flag\n",
        ),
        (
            "backup-push",
            &[],
            "ERROR: <time> a backup over the replication protocol (backup-push without a directory) is not supported\n\
             hint: give the data directory of a server on this machine: backup-push DATA_DIRECTORY\n",
        ),
        (
            "backup-fetch target LATEST --restore-only postgres",
            &[],
            "ERROR: <time> restoring a part of a backup (--restore-only) is not supported\n\
             hint: leave the flag out to restore the whole backup\n",
        ),
        (
            "wal-push x --target-storage other",
            &[],
            "ERROR: <time> storage `other` is not supported\nhint: there is one storage, called default\n",
        ),
        (
            "wal-fetch foo x",
            &[],
            "ERROR: <time> `foo` is not the name of a file that PostgreSQL archives\n\
             hint: seawall checks names and headers of WAL; SEAWALL_CHECK_WAL=false leaves that out\n",
        ),
        (
            "backup-list --target-storage other",
            &[],
            "ERROR: <time> storage `other` is not supported\nhint: there is one storage, called default\n",
        ),
    ];
    for (line, variables, expected) in cases {
        let output = place.seawall(line).envs(variables.iter().copied()).output().unwrap();
        assert_eq!(place.text(&output.stderr), expected, "{line}");
        assert_eq!((code(&output), output.stdout.len()), (1, 0), "{line}");
    }
    assert!(fs::read_dir(place.path("repo")).unwrap().next().is_none(), "nothing was written");
}

#[test]
fn a_command_of_wal_g_that_is_not_there_is_no_slip_of_the_pen() {
    let place = Place::new();
    for (line, hint) in [
        ("st check read", "`storage check`"),
        ("st ls -r --glob basebackups_005/*", "aws s3 ls"),
        ("st -t default cat x", "aws s3 ls"),
        ("--turbo st", "aws s3 ls"),
        ("wal-receive", "pg_receivewal"),
        ("wal-restore /data /other --help", "--restore-target-wal"),
        ("catchup-push /data --from-lsn 0/1000000", "`backup-push`"),
        ("catchup-fetch /data LATEST", "`backup-fetch`"),
        ("catchup-list --json", "`backup-push`"),
        ("catchup-send /data host:1", "pg_rewind"),
        ("catchup-receive /data 1", "pg_rewind"),
        ("pgbackrest backup-list --pretty", "pgBackRest itself"),
        ("pgbackrest wal-fetch 000000010000000000000001 x", "pgBackRest itself"),
        ("daemon --help", "archive_command"),
    ] {
        let output = place.seawall(line).output().unwrap();
        let text = place.text(&output.stderr);
        let name = line.split(' ').find(|word| !word.starts_with("--")).unwrap();
        let beginning = format!("ERROR: <time> `{name}` is not supported\nhint: ");
        assert!(text.starts_with(&beginning) && text.contains(hint), "{line}: {text}");
        assert_eq!((code(&output), output.stdout.len(), text.lines().count()), (1, 0, 2), "{line}: {text}");
    }
    let as_walg = place.path("wal-g");
    std::os::unix::fs::symlink(assert_cmd::cargo::cargo_bin!("seawall"), &as_walg).unwrap();
    for (program, line) in [
        (as_walg.as_path(), "copy -f a.json -t b.json"),
        (as_walg.as_path(), "copy --from-walg a.json s3://bucket/path srv"),
        (as_walg.as_path(), "copy"),
        (Path::new(assert_cmd::cargo::cargo_bin!("seawall")), "copy --from=a.json --to=b.json -w"),
    ] {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", place.path("home")).args(line.split(' '));
        let output = command.output().unwrap();
        let text = place.text(&output.stderr);
        let beginning =
            "ERROR: <time> copy between two repositories of wal-g is not supported\nhint: `seawall copy` ";
        assert!(text.starts_with(beginning), "{program:?} {line}: {text}");
        assert_eq!((code(&output), output.stdout.len()), (1, 0), "{program:?} {line}");
    }
    let help = place.seawall("--help").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("catchup"));
}

#[test]
fn a_file_goes_up_and_comes_back() {
    let place = Place::new();
    fs::create_dir(place.path("work/pg_wal")).unwrap();
    fs::write(place.path("work/pg_wal/00000002.history"), "1\t0/3000000\tno recovery target\n").unwrap();
    let pushed = place.seawall("wal-push pg_wal/00000002.history").output().unwrap();
    assert_eq!((code(&pushed), pushed.stdout.len()), (0, 0));
    assert_eq!(place.text(&pushed.stderr).lines().count(), 1, "one line for each file");
    let fetched = place.seawall("wal-fetch 00000002.history pg_wal/RECOVERYHISTORY").output().unwrap();
    assert_eq!((code(&fetched), fetched.stdout.len()), (0, 0));
    let bytes = fs::read(place.path("work/pg_wal/RECOVERYHISTORY")).unwrap();
    assert_eq!(bytes, b"1\t0/3000000\tno recovery target\n");
}

#[test]
fn missing_is_said_only_when_the_storage_answered() {
    let place = Place::new();
    let missing = place.seawall("wal-fetch 000000010000000000000001 x").output().unwrap();
    assert_eq!(code(&missing), 74);
    let text = place.text(&missing.stderr);
    assert!(text.starts_with("INFO: ") && text.contains("does not exist"), "{text}");
    let no_storage = place
        .seawall("wal-fetch 000000010000000000000001 x")
        .env("WALG_FILE_PREFIX", "/nonexistent")
        .output();
    assert_eq!(code(&no_storage.unwrap()), 1);
    assert!(!place.path("work/x").exists());
}

#[test]
fn a_recovery_that_would_end_is_stopped() {
    let broken = |place: &Place, line: &str| {
        code(&place.seawall(line).env("WALG_FILE_PREFIX", "/nonexistent").output().unwrap())
    };
    let fetch = "wal-fetch 000000010000000000000001 x";
    let place = Place::new();
    for name in ["PG_VERSION", "recovery.signal"] {
        fs::write(place.path("work").join(name), "").unwrap();
    }
    assert_eq!(broken(&place, fetch), 126);
    assert_eq!(broken(&place, "wal-fetch --no-such-flag a b"), 126, "a mistyped restore_command");
    assert_eq!(broken(&place, &format!("{fetch} --config /nonexistent.json")), 126);
    assert_eq!(broken(&place, &format!("{fetch} --seawall-recovery-exit-126=false")), 1);
    assert_eq!(broken(&place, "wal-push x"), 1);
    assert_eq!(code(&place.seawall(fetch).output().unwrap()), 126, "nothing is stored there");
    fs::create_dir(place.path("repo/wal_005")).unwrap();
    assert_eq!(code(&place.seawall(fetch).output().unwrap()), 126, "nor is any WAL");
    fs::write(place.path("repo/wal_005/000000010000000000000002"), "").unwrap();
    assert_eq!(code(&place.seawall(fetch).output().unwrap()), 74, "the storage answered");
    fs::write(place.path("work/standby.signal"), "").unwrap();
    assert_eq!(broken(&place, fetch), 1, "a standby asks again");
}

#[test]
fn config_show_tells_sources_and_hides_secrets() {
    let place = Place::new();
    fs::write(place.path("home/.walg.json"), r#"{"walg_compression_method":"zstd","PGPASSWORD":"sesame"}"#)
        .unwrap();
    let mut command =
        place.seawall("config show --json --walg-libsodium-key sesame --walg-compression-method=none");
    command.env("WALG_LIBSODIUM_KEY", "sesame").env("WALG_COMPRESSION_METHOD", "brotli");
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0);
    let text = String::from_utf8(output.stdout).unwrap() + std::str::from_utf8(&output.stderr).unwrap();
    assert!(!text.contains("sesame"), "{text}");
    let settings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let method = settings.iter().find(|setting| setting["name"] == "WALG_COMPRESSION_METHOD").unwrap();
    let home = place.path("home/.walg.json");
    assert_eq!(
        *method,
        serde_json::json!({
            "name": "WALG_COMPRESSION_METHOD",
            "value": "none",
            "source": {"kind": "flag", "name": "--walg-compression-method"},
            "overrides": [
                {"value": "brotli", "source": {"kind": "environment", "name": "WALG_COMPRESSION_METHOD"}},
                {"value": "zstd", "source": {"kind": "file", "path": home, "name": "walg_compression_method"}},
                {"value": "lz4", "source": {"kind": "default"}},
            ],
            "supported": true,
        })
    );
}

#[test]
fn config_show_fails_for_a_bad_value() {
    let place = Place::new();
    let output = place.seawall("config show").env("WALG_UPLOAD_CONCURRENCY", "many").output().unwrap();
    assert_eq!(code(&output), 1);
    let text = place.text(&output.stderr);
    assert!(text.contains("bad value \"many\" of WALG_UPLOAD_CONCURRENCY"), "{text}");
}

#[test]
fn the_log_goes_where_it_is_sent() {
    let place = Place::new();
    fs::write(place.path("work/00000002.history"), "1\t0/3000000\tx\n").unwrap();
    let log = place.path("log");
    let mut command = place.seawall("wal-push 00000002.history");
    let output = command.env("WALG_LOG_DESTINATION", &log).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(fs::read_to_string(&log).unwrap().starts_with("INFO: 20"));
    // The second is wal-e's, which knows more places; wal-g does not read it.
    for (name, text) in [("WALG_LOG_DESTINATION", "stderr"), ("WALE_LOG_DESTINATION", "stderr,syslog")] {
        let output = place.seawall("backup-fetch x LATEST").env(name, text).output().unwrap();
        assert!(
            !output.stderr.is_empty() && !place.path("work").join(text).exists(),
            "{text} is not the name of a file"
        );
        assert!(!place.text(&output.stderr).contains("unknown setting"));
    }
    let mut command = place.seawall("wal-push 00000002.history");
    assert!(command.env("WALG_LOG_LEVEL", "ERROR").output().unwrap().stderr.is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new();
    let mut child = place.seawall("flags").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_signal_ends_the_process_by_that_signal() {
    let place = Place::new();
    // Accepts connections, as the kernel does it, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for signal in ["TERM", "INT", "QUIT", "HUP"] {
        let mut command = place.bare();
        command.args(["wal-fetch", "000000010000000000000001", "x"]);
        command.env("WALG_S3_PREFIX", "s3://bucket/p").env("AWS_ACCESS_KEY_ID", "k");
        command.env("AWS_SECRET_ACCESS_KEY", "s").env("AWS_REGION", "us-east-1");
        command.env("AWS_ENDPOINT", format!("http://{}", silent.local_addr().unwrap()));
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        // Once it is connected it waits for the answer, with its signal handlers set.
        let connection = support::asks(&mut child, &silent);
        let kill =
            Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "SIG{signal}: {status}");
        let expected = match signal {
            "HUP" => 1,
            "INT" => 2,
            "QUIT" => 3,
            _ => 15,
        };
        assert_eq!(status.signal(), Some(expected));
        drop(connection);
    }
    assert!(!place.path("work/x").exists());
}
