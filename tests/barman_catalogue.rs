//! What seawall says of a server's backups and would delete, held against the real barman-cloud on the same objects.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fmt::Write as _;
use std::sync::Arc;

use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use seawall::catalog::barman::Annotations;
use seawall::cli::barman::output;
use seawall::codec::Method;
use seawall::layout::barman::{BackupId, BackupInfo, BackupTime, Barman as Layout, Partials, Status, names};
use seawall::ops::Context;
use seawall::ops::barman::backup_delete::{self, DeleteRequest, Locks, Options};
use seawall::ops::barman::volumes::Volumes;
use seawall::ops::barman::{backup_keep, backup_list, backup_show};
use seawall::ops::removal::Mode;
use seawall::pg::{Lsn, SegmentName, TimelineId, WalFileName};
use seawall::storage::memory::Memory;
use seawall::storage::retry::RetryPolicy;
use seawall::storage::s3::{Chain, Credentials};
use seawall::storage::{Key, Prefix};
use seawall::volumes::Account;

use support::{Barman, Bucket, Run, Scratch};

/// The same objects in a bucket, for barman, and in memory.
struct Server {
    barman: Barman,
    bucket: Bucket,
    scratch: Scratch,
    name: &'static str,
    memory: Memory,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    fn new(barman: &Barman, bucket: Bucket, name: &'static str) -> Server {
        Server {
            barman: barman.clone().for_bucket(&bucket),
            bucket,
            scratch: Scratch::new(),
            name,
            memory: Memory::new(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    /// The same bucket for another server.
    fn another(self, name: &'static str) -> Server {
        Server { name, memory: Memory::new(), ..self }
    }

    fn put(&self, key: &Key, body: &str) {
        self.bucket.put(&self.scratch, &format!("{}/{key}", self.name), body.as_bytes());
        self.memory.set(key, body.to_owned());
    }

    fn barman(&self, command: &str, arguments: &[&str]) -> Run {
        let mut all =
            vec!["--cloud-provider", "aws-s3", "--endpoint-url", self.bucket.setting("AWS_ENDPOINT")];
        all.extend([self.bucket.setting("WALG_S3_PREFIX"), self.name]);
        all.extend(arguments);
        // Ours runs here, in the zone of the host.
        let zone = std::env::var("TZ").unwrap_or_else(|_| ":/etc/localtime".to_owned());
        self.barman.clone().with("TZ", &zone).run(&self.scratch, command, all)
    }

    fn context(&self) -> Context {
        support::context(Arc::new(self.memory.clone()), &Layout { partials: Partials::Ignore })
    }

    fn annotations(&self) -> Annotations {
        Annotations { place: Arc::new(self.memory.clone()), other: None }
    }

    /// Where this server's objects are in the bucket.
    fn root(&self) -> Prefix {
        let url = self.bucket.setting("WALG_S3_PREFIX");
        let (_, path) = url.trim_start_matches("s3://").split_once('/').unwrap();
        Prefix::parse(&format!("{path}/{}", self.name)).unwrap()
    }
}

fn id(number: u32) -> BackupId {
    format!("20261101T{number:06}").parse().unwrap()
}

fn segment(timeline: u32, number: u32) -> SegmentName {
    format!("{timeline:08X}{:08X}{:08X}", number / 256, number % 256).parse().unwrap()
}

/// A backup of this status that began in this segment, and ended `days` days ago if it is complete.
fn info(status: Status, timeline: u32, number: u32, days: u32) -> BackupInfo {
    let timeline = TimelineId::new(timeline).unwrap();
    let lsn = |number: u32| Lsn::new(u64::from(number) * 0x100_0000 + 0x28);
    let mut info = BackupInfo { status, server_name: Some("cloud".into()), ..BackupInfo::default() };
    info.set_begin(timeline, lsn(number));
    let ended = Timestamp::now() - SignedDuration::from_hours(i64::from(days) * 24);
    info.begin_time = Some(BackupTime::new(ended - SignedDuration::from_secs(77), Offset::UTC));
    if matches!(status, Status::Done | Status::WaitingForWals) {
        info.set_end(timeline, lsn(number + 1));
        info.end_time = Some(BackupTime::new(ended, Offset::constant(2)));
    }
    info
}

/// Descriptions as they come, and some that nobody writes today.
fn descriptions() -> Vec<String> {
    let golden = include_str!("golden/barman/plain-tablespace/backup.info");
    let with = |changes: &[(&str, &str)]| {
        let mut text = golden.to_owned();
        for (name, value) in changes {
            let lines = text.lines().map(|line| match line.split_once('=') {
                Some((field, _)) if field == *name => format!("{name}={value}"),
                _ => line.to_owned(),
            });
            let known = lines.clone().any(|line| line.starts_with(&format!("{name}=")));
            text = lines.collect::<Vec<_>>().join("\n") + "\n";
            if !known {
                let _ = writeln!(text, "{name}={value}");
            }
        }
        text
    };
    vec![
        golden.to_owned(),
        with(&[
            ("status", "STARTED"),
            ("backup_label", "None"),
            ("copy_stats", "None"),
            ("end_time", "None"),
            ("end_wal", "None"),
            ("end_xlog", "None"),
            ("end_offset", "None"),
        ]),
        with(&[
            ("status", "FAILED"),
            ("error", "failure uploading data (connexion refusée: \"x\" = 'y' 😀)"),
            ("end_time", "None"),
        ]),
        with(&[("status", "FAILED"), ("data_checksums", "None"), ("error", "None")]),
        with(&[
            ("backup_name", "été \"n\" 'm' \\ %s {} a name that is longer than its column"),
            (
                "tablespaces",
                r#"[("it's", 16390, '/a "b"/\\c'), ('x\ty é', 16391, "/it's"), ('a name that is longer', 5, '/x')]"#,
            ),
            ("pgdata", "/var/lib/é"),
            ("included_files", r#"['/a/postgresql.auto.conf', "/it's/é.conf"]"#),
            ("begin_time", "2026-11-21 05:16:43+02:00"),
            ("end_time", "2026-11-01 04:04:05.000001-03:30"),
            ("summarize_wal", "on"),
            ("cluster_size", "1023"),
            (
                "copy_stats",
                "{'copy_time': 93784.5, 'analysis_time': 61.25, 'number_of_workers': 1, 'x': {1: None, 'y': [True, 1e-07]}}",
            ),
        ]),
        with(&[
            ("backup_label", r#"'it\'s a "label"\n\ttab \\ \x00\x7f é \u200b 😀'"#),
            ("mode", "snapshot"),
            ("compression", "gzip"),
            ("encryption", "gpg"),
            ("size", "123456789012"),
            ("deduplicated_size", "1234567890"),
            ("copy_stats", "{'copy_time': 0.25, 'total_time': 1}"),
            ("children_backup_ids", "20261121T031421,20261121T031422"),
            ("parent_backup_id", "20261120T031421"),
            ("timeline", "None"),
            ("systemid", "None"),
            ("begin_time", "2026-11-21T05:16:43Z"),
            ("end_time", "2026-11-21 05:16:43"),
            ("status", "WAITING_FOR_WALS"),
        ]),
        "# made by hand\n\nstatus=DONE\nserver_name=cloud\n begin_wal = 000000010000000000000009 \n"
            .to_owned(),
        "status=EMPTY\nserver_name=other\n".to_owned(),
        "server_name=None\ncopy_stats={'copy_time': 0}\n".to_owned(),
    ]
}

/// Lists, pages and JSON.
#[test]
fn what_is_printed_of_backups() {
    let (barman, bucket) = (require!(Barman::real()), require!(Bucket::versitygw()));
    let server = Server::new(&barman, bucket, "srv");
    let annotations = server.annotations();
    for format in ["console", "json"] {
        let empty = server.barman("backup-list", &["--format", format]).success().stdout;
        let ours = if format == "json" { output::list_json([]) } else { output::list(&[]) };
        assert_eq!(ours, empty);
    }
    let descriptions = descriptions();
    for (number, text) in (1..).zip(&descriptions) {
        server.put(&names::backup_info_key(id(number)), text);
    }
    server.put(&names::keep_key(id(1)), "full");
    server.put(&names::keep_key(id(5)), "standalone");
    server.put(&names::keep_key(id(3)), "full");
    server.put(&Key::parse("base/20261101T000099/data.tar").unwrap(), "");

    let ctx = server.context();
    let listed = server.runtime.block_on(backup_list::run(&ctx, Some(&annotations))).unwrap().backups;
    assert_eq!(listed.len(), descriptions.len());
    assert_eq!(output::list(&listed), server.barman("backup-list", &[]).success().stdout);
    let json = server.barman("backup-list", &["--format", "json"]).success().stdout;
    assert_eq!(output::list_json(listed.iter().map(|backup| &backup.entry)), json);

    for backup in &listed {
        let id = backup.entry.id.to_string();
        let shown = server.runtime.block_on(backup_show::run(&ctx, &id)).unwrap();
        assert_eq!(output::show(&shown), server.barman("backup-show", &[&id]).success().stdout, "{id}");
        let json = server.barman("backup-show", &[&id, "--format", "json"]).success().stdout;
        assert_eq!(output::show_json(&shown), json, "{id}");
    }
    for backup in ["20261101T000001", "20261101T000002", "20261101T000005", "first", "latest"] {
        let action = backup_keep::Action::Status;
        let keep = server.runtime.block_on(backup_keep::run(&ctx, &annotations, backup, action)).unwrap();
        let barmans = server.barman("backup-keep", &[backup, "--status"]).success().stdout;
        assert_eq!(output::keep_status(keep), barmans, "{backup}");
    }
}

/// barman reads what is written here, whatever it says, and says the same of it.
#[test]
fn what_is_written_is_read_by_barman() {
    let (barman, bucket) = (require!(Barman::real()), require!(Bucket::versitygw()));
    let server = Server::new(&barman, bucket, "srv");
    let written: Vec<String> = descriptions()
        .iter()
        .map(|text| BackupInfo::parse(text.as_bytes(), &TimeZone::system()).unwrap().to_string())
        .collect();
    for (number, text) in (1..).zip(&written) {
        server.put(&names::backup_info_key(id(number)), text);
    }
    let listed = server.runtime.block_on(backup_list::run(&server.context(), None)).unwrap().backups;
    let json = server.barman("backup-list", &["--format", "json"]).success().stdout;
    assert_eq!(output::list_json(listed.iter().map(|backup| &backup.entry)), json);
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// A server with some history: backups one after the other, promotions, failures, kept backups; and its WAL.
///
/// In such histories barman removes no WAL that is needed, so both have to say the same.
fn history(server: &Server, dice: &mut Dice) -> u32 {
    let backups = 2 + dice.roll(6);
    let (mut timeline, mut number) = (1, 5);
    for backup in 1..=backups {
        if dice.roll(4) == 0 {
            timeline += 1;
        }
        let status = match dice.roll(8) {
            0 => Status::Failed,
            1 => Status::WaitingForWals,
            2 if backup == backups => Status::Started,
            _ => Status::Done,
        };
        let mut info = info(status, timeline, number, 3 * (backups - backup) + 1);
        info.backup_name = (dice.roll(3) == 0).then(|| format!("backup-{backup}"));
        server.put(&names::backup_info_key(id(backup)), &info.to_string());
        for tar in ["data.tar.gz", "data_0001.tar.gz"] {
            server.put(&names::backup_prefix(id(backup)).key(tar).unwrap(), "");
        }
        if status == Status::Done && dice.roll(3) == 0 {
            let keep = if dice.roll(3) == 0 { "full" } else { "standalone" };
            server.put(&names::keep_key(id(backup)), keep);
        }
        let history = WalFileName::BackupHistory(segment(timeline, number), 0x28);
        server.put(&names::wal_key(history, Method::None), "");
        for further in [0, 1, 2, 40] {
            let file = WalFileName::Segment(segment(timeline, number + further));
            server.put(&names::wal_key(file, Method::Gzip), "");
        }
        number += 60 + dice.roll(200);
    }
    for timeline in 1..=timeline {
        let file = WalFileName::Partial(segment(timeline, 4));
        server.put(&names::wal_key(file, Method::None), "");
        server.put(&Key::parse(&format!("wals/{timeline:08X}.history")).unwrap(), "");
        server.put(&Key::parse(&format!("wals/{timeline:08X}00000000/notes")).unwrap(), "");
    }
    backups
}

/// Of a backup of which the service keeps an object, nothing goes.
#[test]
fn a_locked_backup_stays() {
    let barman = require!(Barman::real());
    let mut server = Server::new(&barman, require!(Bucket::with_locks()), "cloud");
    let backup = id(1);
    server.put(&names::backup_info_key(backup), &info(Status::Done, 1, 2, 3).to_string());
    let tar = |name| names::backup_prefix(backup).key(name).unwrap();
    for name in ["data.tar", "data_0001.tar", "16385.tar"] {
        server.put(&tar(name), "tar");
    }
    let (keys, id) = (server.bucket.keys(), backup.to_string());
    let held = format!("{}/{}", server.name, tar("data_0001.tar"));
    server.bucket.hold(&held, ObjectLockLegalHoldStatus::On);
    let seawall = Barman::seawall(&server.scratch).for_bucket(&server.bucket);
    for tool in [server.barman.clone(), seawall] {
        server.barman = tool;
        let refused = server.barman("backup-delete", &["--check-object-lock", "-b", &id]).fails(1);
        refused.stderr_has("data_0001.tar").stderr_has("legal hold");
        assert_eq!(server.bucket.keys(), keys);
    }
    server.bucket.hold(&held, ObjectLockLegalHoldStatus::Off);
    server.barman("backup-delete", &["--check-object-lock", "-b", &id]).success();
    assert_eq!(server.bucket.keys(), Vec::<String>::new());
}

/// `backup-delete --dry-run`, by policies and by backups.
#[test]
fn what_would_be_deleted() {
    let (barman, bucket) = (require!(Barman::real()), require!(Bucket::versitygw()));
    let mut server = Server::new(&barman, bucket, "srv");
    let mut dice = Dice(20261121);
    for name in
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    {
        server = server.another(name);
        let backups = history(&server, &mut dice);
        let one = id(1 + dice.roll(backups)).to_string();
        let count = dice.roll(4);
        let requests = [
            ["-r".to_owned(), format!("REDUNDANCY {count}")],
            ["-r".to_owned(), format!("RECOVERY WINDOW OF {} DAYS", 2 + 3 * dice.roll(4))],
            ["-b".to_owned(), one],
            ["-b".to_owned(), "first".to_owned()],
        ];
        for [flag, value] in &requests {
            let minimum = dice.roll(3);
            let request = match flag.as_str() {
                "-r" => DeleteRequest::Policy(value.parse().unwrap()),
                _ => DeleteRequest::Backup(value.clone()),
            };
            let options = Options {
                request,
                minimum_redundancy: usize::try_from(minimum).unwrap(),
                locks: Locks::Ignore,
                mode: Mode::DryRun,
            };
            let ours = server.runtime.block_on(backup_delete::run(
                &server.context(),
                &server.annotations(),
                &no_volumes(),
                options,
            ));
            let barmans =
                server.barman("backup-delete", &["--dry-run", flag, value, "-m", &minimum.to_string()]);
            let case = format!("{name}: {flag} {value} -m {minimum}\n{barmans}");
            match ours {
                Ok(deletion) => {
                    let printed = output::delete_dry_run(&deletion, &server.root());
                    assert_eq!(printed, barmans.stdout, "{case}");
                    barmans.success();
                }
                Err(error) => {
                    assert!(barmans.code == Some(1), "{error}: {case}");
                }
            }
        }
    }
}

/// None of these backups has any.
fn no_volumes() -> Volumes {
    let credentials = Credentials::Chain(Chain::default());
    let account = Account { credentials, endpoint: None, ca_bundle: None, policy: RetryPolicy::default() };
    Volumes { account: Ok(account), region: None, default_region: None }
}
