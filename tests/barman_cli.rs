//! barman-cloud's command lines from outside: exit codes, messages, streams. No server is needed; the repository is a
//! directory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A WAL segment of PostgreSQL 15, of 64 KiB so that it is small: its header says 16 MiB, which must be its length.
const SEGMENT: &str = "000000010000000000000001";

/// A directory with an archive in `archive` and an empty working directory.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        for name in ["archive", "work", "bin"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Place { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self) -> String {
        format!("file://{}", self.path("archive").display())
    }

    /// The program by its own name, with no environment but what boto needs, and no home.
    fn seawall(&self) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("seawall"));
        command.env_clear().env("TZ", "UTC").current_dir(self.path("work")).stdin(Stdio::null());
        command.envs([("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")]);
        command
    }

    /// A command of barman-cloud; `URL` stands for the archive.
    fn barman(&self, line: &str) -> Command {
        let mut command = self.seawall();
        command.arg("barman-cloud");
        command.args(line.split(' ').map(|word| if word == "URL" { self.url() } else { word.to_owned() }));
        command
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn ended(mut command: Command, expected: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(code(&output), expected, "{command:?}: {}", stderr(&output));
    output
}

/// The first bytes of a real segment, made as long as a segment is.
fn segment(timeline: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 << 20);
    bytes.extend(0xD110_u16.to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(timeline.to_le_bytes());
    bytes.extend((1_u64 << 24).to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(7_710_446_856_078_919_098_u64.to_le_bytes());
    bytes.extend((16_u32 << 20).to_le_bytes());
    bytes.extend(8192_u32.to_le_bytes());
    bytes.resize(16 << 20, 0);
    bytes
}

/// Wrong lines, and right ones that ask for help or the version, as barman-cloud 3.19.1 answers them.
#[test]
fn lines_end_as_barman_s_do() {
    let place = Place::new();
    // Where ours says more than "invalid … value".
    const OUR_WORDS: [&str; 3] = ["--compression-level:", "--tag:", "--tags:"];
    let lines = include_str!("golden/barman/lines.jsonl").lines();
    for case in lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        let words: Vec<&str> =
            case["line"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let mut command = place.seawall();
        command.arg("barman-cloud").args(&words).env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        let output = ended(command, i32::try_from(case["code"].as_i64().unwrap()).unwrap());
        let Some(says) = case["says"].as_str() else { continue };
        if OUR_WORDS.iter().any(|ours| says.contains(ours))
            || words.contains(&"--tags") && says.contains("tag")
        {
            continue;
        }
        let text = stderr(&output);
        let program = format!("barman-cloud-{}", words[0]);
        assert!(text.starts_with(&format!("usage: {program} ")), "{words:?}: {text}");
        assert!(
            text.ends_with(&format!("\n{program}: error: {says}\n")),
            "{words:?}: {text}, barman: {says}"
        );
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn each_command_tells_its_version_and_its_help() {
    let place = Place::new();
    for command in [
        "backup",
        "backup-delete",
        "backup-keep",
        "backup-list",
        "backup-show",
        "check-wal-archive",
        "restore",
        "wal-archive",
        "wal-restore",
    ] {
        let program = format!("barman-cloud-{command}");
        let version = ended(place.barman(&format!("{command} --version")), 0);
        // The last word of one line.
        assert_eq!(String::from_utf8(version.stdout).unwrap(), format!("{program} 3.19.1\n"));
        let help = ended(place.barman(&format!("{command} --help")), 0);
        assert!(
            String::from_utf8(help.stdout).unwrap().starts_with(&format!("usage: {program} ")),
            "{command}"
        );
        assert!(version.stderr.is_empty() && help.stderr.is_empty(), "{command}");
        // It is --host, or nothing.
        let usage = ended(place.barman(&format!("{command} -h")), 3);
        assert!(usage.stdout.is_empty() && stderr(&usage).starts_with("usage: "), "{command}");
    }
}

#[test]
fn links_have_the_names_of_barman_s_programs() {
    let place = Place::new();
    let install = |directory: &Path| {
        let mut command = place.seawall();
        command.arg("install-links").arg(directory);
        command
    };
    let bin = place.path("bin");
    ended(install(&bin), 0);
    ended(install(&bin), 0);
    let mut names: Vec<_> =
        fs::read_dir(&bin).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "barman-cloud-backup",
            "barman-cloud-backup-delete",
            "barman-cloud-backup-keep",
            "barman-cloud-backup-list",
            "barman-cloud-backup-show",
            "barman-cloud-check-wal-archive",
            "barman-cloud-restore",
            "barman-cloud-wal-archive",
            "barman-cloud-wal-restore",
        ]
    );
    let output = ended(
        {
            let mut command = Command::new(bin.join("barman-cloud-backup-keep"));
            command.arg("-V");
            command
        },
        0,
    );
    assert_eq!(output.stdout, b"barman-cloud-backup-keep 3.19.1\n");

    let other = place.path("work");
    symlink("/bin/true", other.join("barman-cloud-restore")).unwrap();
    let output = ended(install(&other), 1);
    let text = stderr(&output);
    assert!(
        text.contains("barman-cloud-restore` exists and is not a link to this program\nhint: "),
        "{text}"
    );
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "none is made when one cannot be");
}

#[test]
fn what_is_not_supported_is_refused() {
    let place = Place::new();
    let text = stderr(&ended(place.barman("backup-list --cloud-provider azure-blob-storage URL srv"), 3));
    assert!(text.contains("azure-blob-storage is not supported"), "{text}");
    // Found out before anything is asked.
    for (line, expected) in [
        ("backup --snapshot-disk d --aws-region r URL srv", 4),
        ("backup --snapshot-instance i --aws-region r URL srv", 4),
        ("backup --snapshot-instance i --snapshot-disk d URL srv", 4),
        ("backup --snapshot-instance i --snapshot-disk d --aws-region r --gzip URL srv", 4),
        ("backup --aws-snapshot-lock-duration 0 URL srv", 3),
        ("backup --aws-snapshot-lock-expiration-date 2026-12-31 URL srv", 3),
        ("backup --aws-snapshot-lock-mode none URL srv", 3),
    ] {
        assert!(!stderr(&ended(place.barman(line), expected)).is_empty(), "{line}");
    }
    // What barman takes and makes nothing of; the line goes on to what it is about.
    for (line, flags) in [
        ("wal-archive -t --kms-key-name k --encryption-scope s URL srv 00000002.history", 2),
        (
            "restore -t --snapshot-recovery-instance i --gcp-zone z --aws-region r --azure-resource-group g URL srv id d",
            2,
        ),
        ("backup -t --aws-region r --aws-await-snapshots-timeout 1 --gcp-zone z --gcp-project p URL srv", 4),
        ("backup -t --aws-snapshot-lock-mode governance --aws-snapshot-lock-duration 1 URL srv", 2),
    ] {
        let text = stderr(&ended(place.barman(line), 0));
        assert_eq!(text.matches(" has no effect: ").count(), flags, "{line}: {text}");
    }
    for line in ["x URL srv", "wal-fetch", "--help"] {
        let text = stderr(&ended(place.barman(line), 3));
        assert!(text.contains("hint: the commands are backup, "), "{text}");
    }
}

#[test]
fn the_connection_can_be_tried() {
    let place = Place::new();
    for line in ["backup-list -t URL srv", "wal-archive --test URL srv pg_wal/000000010000000000000001"] {
        let output = ended(place.barman(line), 0);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{line}");
    }
    let text = stderr(&ended(place.barman("wal-restore -t file:///no/such srv 00000001.history x"), 1));
    assert!(text.contains("ERROR: Bucket /no/such does not exist"), "{text}");
    ended(place.barman("check-wal-archive -t file:///no/such srv"), 0);
    let nobody = "--endpoint-url http://127.0.0.1:1 s3://bucket srv";
    for line in ["backup-list -t", "check-wal-archive -t", "backup -t", "check-wal-archive"] {
        let mut command = place.barman(&format!("{line} {nobody}"));
        command.env("AWS_MAX_ATTEMPTS", "1");
        let text = stderr(&ended(command, 2));
        assert!(text.contains("--endpoint-url"), "{text}");
    }
}

/// A service that gives one answer to whatever it is asked.
fn service(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    url
}

#[test]
fn only_a_missing_file_is_1_for_wal_restore() {
    const REFUSED: &str = "HTTP/1.1 403 F\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const BUSY: &str = "HTTP/1.1 503 S\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const NO_BUCKET: &str = "HTTP/1.1 404 N\r\nContent-Length: 39\r\nConnection: close\r\n\r\n\
                             <Error><Code>NoSuchBucket</Code></Error>";
    let place = Place::new();
    let restore = |url: &str| format!("wal-restore {url} srv {SEGMENT} RECOVERYXLOG");
    assert!(ended(place.barman(&restore("URL")), 1).stderr.is_empty(), "a standby asks all the time");
    let told = ended(place.barman(&restore("-v URL")), 1);
    assert!(
        stderr(&told).contains(&format!("INFO: archive `{SEGMENT}` does not exist")),
        "{}",
        stderr(&told)
    );
    let endpoint = |endpoint: &str| {
        let mut command = place.barman(&restore(&format!("--endpoint-url {endpoint} s3://bucket")));
        command.env("AWS_MAX_ATTEMPTS", "1");
        command
    };
    ended(endpoint("http://127.0.0.1:1"), 2);
    ended(endpoint(&service(REFUSED)), 4);
    ended(endpoint(&service(BUSY)), 4);
    ended(endpoint(&service(NO_BUCKET)), 4);
    ended(place.barman(&restore("file:///no/such")), 4);
    assert_eq!(fs::read_dir(place.path("work")).unwrap().count(), 0);
}

#[test]
fn wal_goes_up_and_comes_down() {
    let place = Place::new();
    let work = place.path("work");
    fs::create_dir(work.join("pg_wal")).unwrap();
    fs::write(work.join("pg_wal").join(SEGMENT), segment(1)).unwrap();
    fs::write(work.join("00000002.history"), "1\t0/1000060\tno reason\n").unwrap();
    for (line, object) in [
        (
            "wal-archive --gzip URL srv pg_wal/000000010000000000000001",
            "0000000100000000/000000010000000000000001.gz",
        ),
        ("wal-archive URL srv --xz 00000002.history", "00000002.history.xz"),
    ] {
        let output = ended(place.barman(line), 0);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{line}: {}", stderr(&output));
        assert!(place.path("archive/srv/wals").join(object).exists(), "{object}");
    }
    ended(place.barman(&format!("wal-restore URL srv {SEGMENT} pg_wal/RECOVERYXLOG")), 0);
    assert_eq!(fs::read(work.join("pg_wal/RECOVERYXLOG")).unwrap(), segment(1));
    ended(place.barman("wal-restore URL srv 00000002.history h"), 0);
    assert_eq!(fs::read(work.join("h")).unwrap(), b"1\t0/1000060\tno reason\n");

    // As somebody else has spelled it.
    fs::write(place.path("archive/srv/wals/0000000a.history"), "small letters").unwrap();
    ended(place.barman("wal-restore URL srv 0000000a.history small"), 0);
    assert_eq!(fs::read(work.join("small")).unwrap(), b"small letters");
    ended(place.barman("wal-restore URL srv 0000000A.history large"), 1);

    // The same bytes are archived already, in whatever form; others must not take their place.
    ended(place.barman(&format!("wal-archive --zstd URL srv pg_wal/{SEGMENT}")), 0);
    let mut other = segment(1);
    *other.last_mut().unwrap() = 1;
    fs::write(work.join("pg_wal").join(SEGMENT), other).unwrap();
    let text = stderr(&ended(place.barman(&format!("wal-archive URL srv pg_wal/{SEGMENT}")), 4));
    assert!(text.contains("already archived") && text.contains(" ERROR: "), "{text}");
    assert!(text.contains("hint: ") && text.contains("give it a server name of its own"), "{text}");
    assert_eq!(fs::read_dir(place.path("archive/srv/wals/0000000100000000")).unwrap().count(), 1);

    // A partial segment of another promotion is refused by nobody, as it would hold up the archiver.
    for last in [1, 2] {
        let mut partial = segment(1);
        *partial.last_mut().unwrap() = last;
        fs::write(work.join(format!("pg_wal/{SEGMENT}.partial")), &partial).unwrap();
        ended(place.barman(&format!("wal-archive URL srv pg_wal/{SEGMENT}.partial")), 0);
        ended(place.barman(&format!("wal-restore URL srv {SEGMENT}.partial pg_wal/PARTIAL")), 0);
        assert_eq!(fs::read(work.join("pg_wal/PARTIAL")).unwrap(), partial);
    }
}

#[test]
fn a_hook_script_archives_the_file_that_barman_names() {
    let place = Place::new();
    let file = place.path("work/00000003.history");
    fs::write(&file, "1\t0/1000060\tno reason\n").unwrap();
    let hook = |name: &str, phase: &str| {
        let mut command = place.barman("wal-archive URL srv");
        command.envs([("BARMAN_HOOK", name), ("BARMAN_PHASE", phase)]).env("BARMAN_FILE", &file);
        command
    };
    for (name, phase) in [("archive_script", "post"), ("backup_script", "pre")] {
        let text = stderr(&ended(hook(name, phase), 1));
        assert!(text.contains(&format!("unsupported hook script: {phase}_{name}")), "{text}");
    }
    ended(hook("archive_retry_script", "pre"), 0);
    assert!(place.path("archive/srv/wals/00000003.history").exists());
}

#[test]
fn segments_are_fetched_ahead_only_when_it_is_asked_for() {
    let place = Place::new();
    let work = place.path("work");
    let name = |number: u32| format!("0000000100000000{number:08X}");
    for number in 1..4_u32 {
        let mut bytes = segment(1);
        bytes[8..16].copy_from_slice(&(u64::from(number) << 24).to_le_bytes());
        fs::write(work.join(name(number)), bytes).unwrap();
        ended(place.barman(&format!("wal-archive --lz4 URL srv {}", name(number))), 0);
    }
    ended(place.barman(&format!("wal-restore URL srv {} RECOVERYXLOG", name(1))), 0);
    assert!(!work.join("spool").exists());
    ended(place.barman(&format!("wal-restore -p 3 --spool-dir=spool URL srv {} RECOVERYXLOG", name(1))), 0);
    let ready = |number| work.join("spool/srv/.wal-g/prefetch").join(name(number));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !(ready(2).exists() && ready(3).exists()) && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(ready(2).exists() && ready(3).exists());
    // Another archive does not have what was fetched from this one.
    let clone = format!("{}/clone", place.url());
    let elsewhere = format!("wal-restore -p 3 --spool-dir=spool {clone} srv {} RECOVERYXLOG", name(2));
    fs::create_dir(place.path("archive/clone")).unwrap();
    ended(place.barman(&elsewhere), 1);
    fs::remove_dir_all(place.path("archive/srv")).unwrap();
    ended(place.barman(&format!("wal-restore URL srv {} RECOVERYXLOG", name(2))), 1);
    ended(place.barman(&format!("wal-restore -p 3 --spool-dir=spool URL srv {} RECOVERYXLOG", name(2))), 0);
}

/// The server's own archiving hears that WAL alone is worth nothing.
#[test]
fn wal_without_a_backup_is_told() {
    let place = Place::new();
    fs::create_dir_all(place.path("work/pg_wal/archive_status")).unwrap();
    fs::write(place.path("work/pg_wal").join(SEGMENT), segment(1)).unwrap();
    let archive = || stderr(&ended(place.barman(&format!("wal-archive URL srv pg_wal/{SEGMENT}")), 0));
    let told = |text: &String| text.contains("WARNING: ") && text.contains("no base backup under");
    // A look that takes more than a second, as beside a slow disk, tells nothing.
    let found = (0..20).find(|_| {
        let _ = fs::remove_dir_all(place.path("work/pg_wal/walg_data"));
        told(&archive())
    });
    assert!(found.is_some(), "it is not told");
    assert!(!told(&archive()), "once in ten minutes");
}

#[test]
fn a_new_server_needs_an_empty_archive() {
    let place = Place::new();
    ended(place.barman("check-wal-archive URL srv"), 0);
    fs::remove_dir(place.path("archive")).unwrap();
    ended(place.barman("check-wal-archive URL srv"), 0);
    assert!(place.path("archive").exists(), "it makes a missing one");
    fs::write(place.path("work/00000002.history"), "x").unwrap();
    ended(place.barman("wal-archive URL srv 00000002.history"), 0);
    let text = stderr(&ended(place.barman("check-wal-archive URL srv"), 1));
    assert!(
        text.contains("ERROR: WAL archive check failed for server srv: Expected empty archive\n"),
        "{text}"
    );
    assert!(text.contains("hint: `srv` holds 1 archived file: give a new cluster a server name"), "{text}");
    let text = stderr(&ended(place.barman("check-wal-archive --timeline 2 URL srv"), 1));
    let newer = "WAL archive check failed for server srv: Found 1 file in WAL archive equal to or newer than timeline 2\n";
    assert!(text.contains(newer), "{text}");
    ended(place.barman("check-wal-archive --timeline 3 URL srv"), 0);
    assert_eq!(stderr(&ended(place.barman("check-wal-archive URL another"), 0)), "");

    // Without its WAL an archive is still somebody's.
    fs::write(place.path("work").join(SEGMENT), segment(1)).unwrap();
    ended(place.barman(&format!("wal-archive URL owned {SEGMENT}")), 0);
    fs::remove_dir_all(place.path("archive/owned/wals")).unwrap();
    let text = stderr(&ended(place.barman("check-wal-archive URL owned"), 0));
    assert!(text.contains("WARNING: ") && text.contains("system identifier 7710446856078919098"), "{text}");
}

#[test]
fn a_backup_is_listed_shown_kept_and_deleted() {
    let place = Place::new();
    let id = "20261121T031555";
    let base = place.path("archive/srv/base").join(id);
    fs::create_dir_all(&base).unwrap();
    fs::write(base.join("backup.info"), include_str!("golden/barman/bzip2/backup.info")).unwrap();
    fs::write(base.join("data.tar.bz2"), "x").unwrap();
    let printed = |line: &str| String::from_utf8(ended(place.barman(line), 0).stdout).unwrap();
    let list = printed("backup-list URL srv");
    assert!(list.starts_with("Backup ID           End Time ") && list.contains("nightly"), "{list}");
    assert!(printed("backup-list --format json URL srv").starts_with("{\"backups_list\": [{"));
    assert_eq!(printed("backup-list --format json URL other"), "{\"backups_list\": []}\n");
    for backup in [id, "nightly", "latest"] {
        assert!(printed(&format!("backup-show --format json URL srv {backup}")).starts_with("{\"cloud\": {"));
    }
    ended(place.barman("backup-show URL srv 20000101T000000"), 1);
    ended(place.barman("backup-show URL srv nobody"), 4);
    ended(place.barman("backup-keep --target full URL srv 20000101T000000"), 4);
    ended(place.barman(&format!("restore URL srv {id} dir")), 4);
    let unreadable = place.path("archive/other/base").join(id);
    fs::create_dir_all(&unreadable).unwrap();
    fs::write(unreadable.join("backup.info"), "no backup.info").unwrap();
    ended(place.barman(&format!("backup-show URL other {id}")), 4);
    ended(place.barman("backup-list file:///no/such srv"), 4);

    assert_eq!(printed("backup-keep -s URL srv nightly"), "Keep: nokeep\n");
    assert_eq!(printed("backup-keep --target standalone URL srv nightly"), "");
    assert_eq!(printed(&format!("backup-keep --status URL srv {id}")), "Keep: standalone\n");
    assert!(printed("backup-list URL srv").contains("KEEP:STANDALONE"));
    let text = stderr(&ended(place.barman("backup-delete -b nightly URL srv"), 1));
    assert!(text.contains("is kept"), "{text}");
    ended(place.barman("backup-keep -r URL srv nightly"), 0);
    ended(place.barman("backup-delete -m 1 -b nightly URL srv"), 1);
    let text = stderr(&ended(place.barman("backup-delete -r x URL srv"), 3));
    assert!(text.contains("error: argument -r/--retention-policy: "), "{text}");
    let dry = printed("backup-delete --dry-run -b nightly URL srv");
    assert!(dry.starts_with("Skipping deletion of objects ['srv/base/"), "{dry}");
    assert!(base.join("backup.info").exists());
    assert_eq!(printed("backup-delete -b nightly URL srv"), "");
    assert!(!base.exists());
    assert!(
        stderr(&ended(place.barman(&format!("backup-delete -b {id} URL srv")), 0)).contains(" WARNING: ")
    );
}

#[test]
fn a_backup_is_chosen_for_a_target() {
    let place = Place::new();
    for (line, expected) in [
        ("restore URL srv auto dir", 1),
        ("restore --target-tli latest URL srv auto dir", 1),
        ("restore --target-tli current URL srv auto dir", 4),
        ("restore --target-lsn x URL srv auto dir", 4),
        ("restore --target-time yesterday URL srv auto dir", 4),
        ("restore --target-time 2026/11/22 URL srv auto dir", 1),
        ("restore --target-time 20261122 URL srv auto dir", 1),
        ("restore --tablespace x URL srv auto dir", 3),
        ("restore URL srv 20261121T031555 dir", 1),
        ("restore --endpoint-url http://127.0.0.1:1 s3://b srv auto dir", 2),
    ] {
        let mut command = place.barman(line);
        command.env("AWS_MAX_ATTEMPTS", "1");
        ended(command, expected);
        assert!(!place.path("work/dir").exists(), "{line}");
    }
    let text = stderr(&ended(place.barman("restore --target-lsn 0/1 URL srv latest dir"), 4));
    assert!(text.contains("WARNING: --target-lsn chooses a backup only where its id is auto"), "{text}");
}

#[test]
fn a_backup_without_a_server_is_1() {
    let place = Place::new();
    let text = stderr(&ended(place.barman("backup -h /no/such -U postgres URL srv"), 1));
    assert!(text.contains("/no/such/.s.PGSQL.5432"), "{text}");
    ended(place.barman("backup -d host=/no/such URL srv"), 1);
    ended(place.barman("backup -d colour=red URL srv"), 4);
}
