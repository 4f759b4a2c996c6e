//! `barman-cloud-backup` beside the real one: what both leave in a bucket, also as hook scripts of a barman server, and when the
//! PostgreSQL server does not start the backup.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use seawall::layout::barman::{BackupInfo, Literal, Status, Tablespace};
use seawall::pg::{BackupLabel, Oid, SystemIdentifier, WalSegmentSize};
use support::{
    Barman, Bucket, Cluster, Missing, Postgres, Run, Scratch, ServerBackup, files_below, next_second, run,
};

/// One of the two tools, with a server name of its own in the bucket.
struct Side<'a> {
    scratch: &'a Scratch,
    bucket: &'a Bucket,
    barman: Barman,
    server: &'static str,
}

impl<'a> Side<'a> {
    fn ours(scratch: &'a Scratch, bucket: &'a Bucket) -> Self {
        Self { scratch, bucket, barman: Barman::seawall(scratch).for_bucket(bucket), server: "ours" }
    }

    fn theirs(scratch: &'a Scratch, bucket: &'a Bucket) -> Result<Self, Missing> {
        Ok(Self { scratch, bucket, barman: Barman::real()?.for_bucket(bucket), server: "theirs" })
    }

    /// The same tool for what the other has written.
    fn of(&self, other: &Side<'_>) -> Self {
        Self { barman: self.barman.clone(), server: other.server, ..*self }
    }

    /// With these variables.
    fn with<'b>(&self, variables: impl IntoIterator<Item = (&'b str, &'b str)>) -> Self {
        Self { barman: self.barman.clone().with_all(variables), ..*self }
    }

    /// With a connection to the server.
    fn for_cluster(&self, cluster: &Cluster<'_>) -> Self {
        let libpq = cluster.libpq_env();
        self.with(["PGHOST", "PGPORT", "PGUSER"].map(|name| (name, libpq[name].as_str())))
    }

    fn line<'b>(&'b self, flags: &[&'b str], more: &[&'b str]) -> Vec<&'b str> {
        let place =
            ["--endpoint-url", self.bucket.setting("AWS_ENDPOINT"), self.bucket.setting("WALG_S3_PREFIX")];
        [flags, &place, &[self.server], more].concat()
    }

    fn run(&self, command: &str, flags: &[&str], more: &[&str]) -> Run {
        self.barman.run(self.scratch, command, self.line(flags, more))
    }

    fn start(&self, command: &str, flags: &[&str]) -> Child {
        let mut command = self.barman.tool(command).command(self.scratch, self.line(flags, &[]));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What is stored for the server's backups.
    fn objects(&self) -> Vec<String> {
        let below = format!("{}/base/", self.server);
        self.bucket.keys().into_iter().filter(|key| key.starts_with(&below)).collect()
    }

    /// The last description.
    fn info(&self) -> String {
        let key = self.objects().into_iter().rfind(|key| key.ends_with("/backup.info")).unwrap();
        String::from_utf8(self.bucket.get(&key)).unwrap()
    }
}

/// The fields of a description, and whether they say anything.
fn fields(info: &str) -> Vec<(&str, bool)> {
    info.lines()
        .map(|line| line.split_once('=').unwrap())
        .map(|(name, value)| (name, value != "None"))
        .collect()
}

fn field<'a>(info: &'a str, name: &str) -> &'a str {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

/// The members of the tars of each stem: name, kind, and permission bits.
fn members(side: &Side<'_>) -> BTreeMap<String, BTreeSet<(String, u8, u32)>> {
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for key in side.objects().into_iter().filter(|key| key.contains(".tar")) {
        let name = key.rsplit('/').next().unwrap();
        let stem = name.split(['.', '_']).next().unwrap().to_owned();
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(side.bucket.get(&key).as_slice()).read_to_end(&mut tar).unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let path = entry.path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned();
            let member = (path, header.entry_type().as_byte(), header.mode().unwrap());
            assert!(found.entry(stem.clone()).or_default().insert(member), "{key}");
        }
    }
    found
}

const ID: &str = ServerBackup::ID;

/// What barman has of a server: a backup, as `backup_method = postgres` takes it, and what was archived meanwhile.
struct BarmanServer {
    backup: ServerBackup,
    archived: PathBuf,
    tablespace: String,
    content: String,
}

const CONTENT: &str =
    "SELECT count(*), md5(string_agg(note, ',' ORDER BY id)) FROM ledger JOIN apart USING (id)";

impl BarmanServer {
    fn take(scratch: &Scratch, postgres: &Postgres) -> Self {
        let archived = scratch.dir("archived");
        let mut source = Cluster::create(scratch, postgres, "source", &[]);
        source.configure("archive_mode", "on");
        source.configure("archive_command", &format!("cp %p {}/%f", archived.display()));
        source.start();
        let location = scratch.dir("extra");
        source.sql(&format!("CREATE TABLESPACE extra LOCATION '{}'", location.display()));
        source
            .sql("CREATE TABLE ledger AS SELECT id, md5(id::text) AS note FROM generate_series(1, 1000) id");
        source.sql("CREATE TABLE apart TABLESPACE extra AS SELECT id FROM ledger");
        let tablespace = source.sql("SELECT oid FROM pg_tablespace WHERE spcname = 'extra'");

        let directory = ServerBackup::place(scratch);
        let (data, place) = (directory.join("data"), directory.join(&tablespace));
        let mapping = format!("--tablespace-mapping={}={}", location.display(), place.display());
        let mut command = source.client("pg_basebackup");
        command.args(["--checkpoint=fast", "--no-sync", "--wal-method=none", &mapping, "-D"]).arg(&data);
        run(&mut command).success();
        source.sql("INSERT INTO ledger SELECT id, 'later' FROM generate_series(1001, 2000) id");
        source.sql("INSERT INTO apart SELECT id FROM ledger WHERE id > 1000");
        source.sql("SELECT pg_create_restore_point('here')");
        let content = source.sql(CONTENT);
        let end = source.sql("SELECT pg_current_wal_lsn()").parse().unwrap();
        source.switch_wal();
        let label = BackupLabel::parse(&fs::read_to_string(data.join("backup_label")).unwrap()).unwrap();
        let mut info = BackupInfo {
            mode: Some("postgres".to_owned()),
            pgdata: Some(source.data().display().to_string()),
            server_name: Some("main".to_owned()),
            size: Some(1),
            status: Status::Done,
            systemid: Some(SystemIdentifier::new(
                source.sql("SELECT system_identifier FROM pg_control_system()").parse().unwrap(),
            )),
            tablespaces: vec![Tablespace {
                name: "extra".to_owned(),
                oid: Oid::parse(&tablespace).unwrap(),
                location: location.display().to_string(),
            }],
            version: Some(source.sql("SHOW server_version_num").parse().unwrap()),
            xlog_segment_size: WalSegmentSize::DEFAULT,
            ..BackupInfo::default()
        };
        info.set_begin(label.timeline(), label.start_lsn);
        info.set_end(label.timeline(), end);
        source.stop();
        // Nobody writes it like that.
        let info = scratch.file("backup.info", &format!("# of barman\n\n{info}"));
        Self { backup: ServerBackup { directory, info }, archived, tablespace, content }
    }

    fn upload(&self, side: &Side<'_>, flags: &[&str]) -> Run {
        side.with(self.backup.hook()).run("backup", flags, &[])
    }

    fn archive(&self, side: &Side<'_>) {
        for file in fs::read_dir(&self.archived).unwrap() {
            let file = file.unwrap().path();
            let hook = [("BARMAN_HOOK", "archive_script"), ("BARMAN_PHASE", "pre")];
            let file = [("BARMAN_FILE", file.to_str().unwrap())];
            side.with(hook.into_iter().chain(file)).run("wal-archive", &["--gzip"], &[]).fails(0);
        }
    }

    /// Restores by `reader` what a side has uploaded; the data directory and the tablespace.
    fn restore(&self, reader: &Side<'_>, name: &str) -> (PathBuf, PathBuf) {
        let (data, place) = (reader.scratch.absent(name), reader.scratch.absent(&format!("{name}.extra")));
        let rule = format!("extra:{}", place.display());
        reader.run("restore", &["--tablespace", &rule], &[ID, data.to_str().unwrap()]).fails(0);
        (data, place)
    }
}

#[test]
fn backup_of_a_barman_server() {
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    let (ours, theirs) = (Side::ours(&scratch, &bucket), require!(Side::theirs(&scratch, &bucket)));
    let server = BarmanServer::take(&scratch, &postgres);
    for side in [&ours, &theirs] {
        server.upload(side, &["--gzip"]).fails(0);
        server.archive(side);
        let info = format!("{}/base/{ID}/backup.info", side.server);
        assert_eq!(bucket.get(&info), fs::read(&server.backup.info).unwrap());
    }
    let names = |side: &Side<'_>| -> BTreeSet<String> {
        let objects = side.objects().into_iter();
        objects.map(|key| key.rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert!(names(&theirs).is_subset(&names(&ours)), "{:?} {:?}", names(&theirs), names(&ours));
    let (our_members, their_members) = (members(&ours), members(&theirs));
    assert_eq!(our_members, their_members);
    assert!(our_members["data"].iter().any(|(name, ..)| name == "./backup_manifest"), "{our_members:?}");
    assert!(our_members[&server.tablespace].len() > 1);

    let restored: Vec<_> = [(&ours, &theirs), (&theirs, &ours)]
        .into_iter()
        .map(|(writer, reader)| server.restore(&reader.of(writer), &format!("by-{}", reader.server)))
        .collect();
    for directory in [|pair: &(PathBuf, PathBuf)| pair.0.clone(), |pair: &(PathBuf, PathBuf)| pair.1.clone()]
    {
        let [one, other] = [0, 1].map(|at| files_below(&directory(&restored[at])));
        assert!(one == other, "{:?} {:?}", one.keys(), other.keys());
    }
    for reader in [&ours, &theirs] {
        recovers(
            &server,
            &postgres,
            &reader.of(if reader.server == "ours" { &theirs } else { &ours }),
            reader.server,
        );
    }
}

/// What `reader` has restored comes to the restore point with the WAL that the other tool has archived.
fn recovers(server: &BarmanServer, postgres: &Postgres, reader: &Side<'_>, name: &str) {
    let mut restored = Cluster::restored(reader.scratch, postgres, &format!("by-{name}"));
    let tool = reader.barman.tool("wal-restore");
    restored.set_env(tool.env());
    let line = reader.line(&[], &["%f", "%p"]).join(" ");
    restored.configure("restore_command", &format!("{} {line}", tool.path()));
    restored.configure("archive_mode", "off");
    restored.configure("recovery_target_name", "here");
    restored.configure("recovery_target_action", "promote");
    restored.append("recovery.signal", "");
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(restored.sql(CONTENT), server.content);
    restored.stop();
}

#[test]
fn hook_scripts_that_cannot_do_their_work() {
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    let (ours, theirs) = (Side::ours(&scratch, &bucket), require!(Side::theirs(&scratch, &bucket)));
    let server = BarmanServer::take(&scratch, &postgres);
    let compressed = scratch.file("compressed.info", "status=DONE\ncompression=gzip\n");
    let unreadable = scratch.file("unreadable.info", "no backup.info\n");
    let (absent, empty) = (scratch.absent("absent"), scratch.dir("empty"));
    for (variable, value, code) in [
        ("BARMAN_STATUS", "FAILED", 63),
        ("BARMAN_STATUS", "WAITING_FOR_WALS", 63),
        ("BARMAN_PHASE", "pre", 4),
        ("BARMAN_HOOK", "archive_script", 4),
        ("BARMAN_BACKUP_INFO_PATH", compressed.to_str().unwrap(), 4),
        ("BARMAN_BACKUP_INFO_PATH", unreadable.to_str().unwrap(), 4),
        ("BARMAN_BACKUP_INFO_PATH", absent.to_str().unwrap(), 4),
        ("BARMAN_BACKUP_DIR", empty.to_str().unwrap(), 1),
    ] {
        for side in [&ours, &theirs] {
            let side = side.with(server.backup.hook()).with([(variable, value)]);
            let run = side.run("backup", &[], &[]);
            // As barman's own does when it finds its backup.info malformed.
            assert_eq!(run.code, Some(code), "{variable}={value}: {run}");
        }
    }
    for side in [&ours, &theirs] {
        server.upload(side, &["--name", "nightly"]).fails(4).stderr_has("Cannot set backup name");
        for variable in ["BARMAN_BACKUP_DIR", "BARMAN_BACKUP_ID", "BARMAN_BACKUP_INFO_PATH"] {
            let hook = server.backup.hook().into_iter().filter(|(name, _)| *name != variable);
            side.with(hook).run("backup", &[], &[]).fails(4).stderr_has(variable);
        }
    }
    assert_eq!(ours.objects(), [""; 0]);
}

#[test]
fn a_backup_is_uploaded_once_and_whole() {
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    let ours = Side::ours(&scratch, &bucket);
    let server = BarmanServer::take(&scratch, &postgres);
    // A part of it is not there, and tars of an upload that failed are.
    let tablespace = server.backup.directory.join(&server.tablespace);
    let aside = scratch.absent("aside");
    fs::rename(&tablespace, &aside).unwrap();
    server.upload(&ours, &[]).fails(1).stderr_has(tablespace.to_str().unwrap());
    assert_eq!(ours.objects(), [""; 0]);
    fs::rename(&aside, &tablespace).unwrap();
    // It ends while tars are being written.
    let closed = server.backup.directory.join("data/base/1/PG_VERSION");
    let open = fs::metadata(&closed).unwrap().permissions();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    server.upload(&ours, &["-v"]).fails(1).stderr_has("Starting data.tar").stderr_has("base/1/PG_VERSION");
    assert_eq!(ours.objects(), [""; 0]);
    fs::set_permissions(&closed, open).unwrap();
    let left = format!("ours/base/{ID}/data_0077.tar");
    bucket.put(&scratch, &left, b"left");

    server.upload(&ours, &["--snappy", "-v"]).fails(0).stderr_has("removing what is there");
    let objects = ours.objects();
    assert!(!objects.contains(&left), "{objects:?}");
    assert!(
        objects.iter().all(|key| key.ends_with(".tar.snappy") || key.ends_with("/backup.info")),
        "{objects:?}"
    );
    server.upload(&ours, &["-v"]).fails(0).stderr_has("is there already");
    assert_eq!(ours.objects(), objects);
    // Another backup of that name, as it seems, and one of parts of files: it would be so however often barman called.
    for (info, says) in [
        ("status=DONE\n", "already exists"),
        ("status=DONE\nparent_backup_id=20261120T031421\n", "builds on backup `20261120T031421`"),
    ] {
        fs::write(&server.backup.info, info).unwrap();
        server.upload(&ours, &[]).fails(63).stderr_has(says).stderr_has("hint: ");
        assert_eq!(ours.objects(), objects);
    }

    // Of the one that is there and its WAL nothing else is known, so it can be restored.
    let (data, _) = server.restore(&ours, "restored");
    assert!(data.join("backup_label").exists() && data.join("pg_wal").exists());
}

/// What both tools write of a backup, once in the zone of the server, once in that of the caller.
#[test]
fn descriptions_say_the_same() {
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    let mut cluster = Cluster::create(&scratch, &postgres, "source", &[]);
    cluster.configure("timezone", "Asia/Kolkata");
    cluster.start();
    let location = scratch.dir("extra");
    cluster.sql(&format!("CREATE TABLESPACE extra LOCATION '{}'", location.display()));
    let ours = Side::ours(&scratch, &bucket).for_cluster(&cluster);
    let theirs = require!(Side::theirs(&scratch, &bucket)).for_cluster(&cluster);
    for (zone, offset) in [(None, "+05:30"), (Some("Asia/Tokyo"), "+09:00"), (Some("<-03>+3:30"), "-03:30")] {
        let infos = [&ours, &theirs].map(|side| {
            let flags = ["--immediate-checkpoint", "--name", "nightly", "--jobs", "3"];
            side.with(zone.map(|zone| ("PGTZ", zone))).run("backup", &flags, &[]).fails(0);
            side.info()
        });
        let [one, other] = &infos;
        assert_eq!(fields(one), fields(other));
        for info in &infos {
            for name in ["begin_time", "end_time"] {
                assert!(field(info, name).ends_with(offset), "{zone:?}: {info}");
            }
        }
        let [one, other] =
            [one, other].map(|info| shape(&Literal::parse(field(info, "copy_stats")).unwrap()));
        assert_eq!(one, other);
        next_second();
    }
}

/// The keys of a dict, and of those in it, in their order; of numbers, whether they are whole.
fn shape(value: &Literal) -> String {
    match value {
        Literal::Dict(entries) => {
            let entries =
                entries.iter().map(|(key, value)| format!("{}: {}", key.as_str().unwrap(), shape(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Literal::Int(number) => number.to_string(),
        Literal::Float(_) => "float".to_owned(),
        other => other.to_string(),
    }
}

#[test]
fn a_backup_that_the_server_does_not_start_is_listed() {
    let (postgres, bucket) = (require!(Postgres::version(15)), require!(Bucket::versitygw()));
    let scratch = Scratch::new();
    let cluster = Cluster::running(&scratch, &postgres, "source", &[]);
    cluster.sql("CREATE ROLE weak LOGIN; GRANT pg_read_all_settings TO weak");
    let weak = [("PGUSER", "weak")];
    let ours = Side::ours(&scratch, &bucket).for_cluster(&cluster);
    let theirs = require!(Side::theirs(&scratch, &bucket)).for_cluster(&cluster);
    let infos = [&ours, &theirs].map(|side| {
        side.with(weak).run("backup", &["--name", "nightly"], &[]).fails(1);
        assert_eq!(side.objects().len(), 1);
        side.info()
    });
    let [one, other] = infos.each_ref().map(|info| fields(info));
    assert_eq!(one, other);
    for info in &infos {
        assert_eq!((field(info, "status"), field(info, "begin_time")), ("FAILED", "None"), "{info}");
        assert!(field(info, "error").starts_with("failure uploading data ("), "{info}");
    }

    // A server that cannot be asked who it is has nothing that could be listed.
    let nobody = ours.with([("PGPORT", "1")]);
    nobody.run("backup", &[], &[]).fails(1);
    assert_eq!(ours.objects().len(), 1);

    // The session ends, and the backup is ended by a signal, while the checkpoint goes on.
    cluster.pgbench_init(1);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%FROM pg_backup_start(%' AND pid <> pg_backend_pid()";
    for end in [Ended::Session, Ended::Process] {
        next_second();
        let before = ours.objects().len();
        let mut backup = ours.start("backup", &[]);
        cluster.wait_until(waits, "1");
        match end {
            Ended::Session => {
                cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'barman_cloud_backup'");
            }
            Ended::Process => kill_process(Pid::from_child(&backup), Signal::TERM).unwrap(),
        }
        let status = wait(&mut backup);
        assert_ne!(status, Some(0));
        assert_eq!(ours.objects().len(), before + 1);
        let info = ours.info();
        assert_eq!((field(&info, "status"), field(&info, "end_time")), ("FAILED", "None"), "{info}");
    }
}

/// What ends before a backup has begun.
enum Ended {
    Session,
    Process,
}

fn wait(child: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "it goes on");
        thread::sleep(Duration::from_millis(20));
    }
}
