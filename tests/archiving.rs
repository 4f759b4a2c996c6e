//! Archiving and backing up under the conditions that schedulers and PostgreSQL bring: repeated, at once, interrupted, in
//! bare environments.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    Bucket, Cluster, Postgres, Run, Scratch, Site, Tool, asks, repository, run, wait_until_it_copies,
};

/// A stopped cluster with at least five segments of 1 MiB that wait to be archived.
fn with_unarchived_segments<'a>(scratch: &'a Scratch, postgres: &Postgres) -> (Cluster<'a>, Vec<PathBuf>) {
    let mut cluster = Cluster::create(scratch, postgres, "source", &["--wal-segsize=1"]);
    cluster.archive_in_vain();
    cluster.start();
    cluster.sql("CREATE TABLE t AS SELECT md5(i::text) FROM generate_series(1, 50000) i");
    cluster.stop();
    let status = fs::read_dir(cluster.data().join("pg_wal/archive_status")).unwrap();
    let mut names: Vec<String> = status
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_suffix(".ready")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    let paths = names.iter().map(|name| cluster.data().join("pg_wal").join(name)).collect();
    (cluster, paths)
}

/// Nothing waits besides the file that is pushed.
fn forget_ready_files(cluster: &Cluster<'_>) {
    let status = cluster.data().join("pg_wal/archive_status");
    for entry in fs::read_dir(status).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

fn push(scratch: &Scratch, tool: &Tool, path: &Path) -> Run {
    tool.run(scratch, ["wal-push", path.to_str().unwrap()])
}

/// What the archive gives back for `path`'s name.
fn archived(scratch: &Scratch, tool: &Tool, path: &Path) -> Vec<u8> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let fetched = scratch.absent("fetched");
    tool.run(scratch, ["wal-fetch", name, fetched.to_str().unwrap()]).success();
    let content = fs::read(&fetched).unwrap();
    fs::remove_file(fetched).unwrap();
    content
}

/// Changes a byte behind the headers.
fn change(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 300_000).unwrap();
    file.write_all_at(&[!byte[0]], 300_000).unwrap();
}

#[test]
fn a_segment_may_be_pushed_again() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let (cluster, segments) = with_unarchived_segments(&scratch, &postgres);
    forget_ready_files(&cluster);
    let segment = &segments[0];
    let careful = seawall.clone().with("WALG_PREVENT_WAL_OVERWRITE", "true");

    let careless = seawall.clone().with("WALG_PREVENT_WAL_OVERWRITE", "false");
    // Also when another compression is configured meanwhile.
    let zstd = seawall.clone().with("WALG_COMPRESSION_METHOD", "zstd");
    for tool in [&seawall, &seawall, &zstd, &careful, &careful, &careless] {
        push(&scratch, tool, segment).success();
    }
    assert_eq!(bucket.keys().len(), 1);
    let original = fs::read(segment).unwrap();
    change(segment);
    for tool in [&seawall, &zstd, &careful] {
        let refused = push(&scratch, tool, segment).fails(1);
        refused.stderr_has("other content").stderr_has("WALG_PREVENT_WAL_OVERWRITE=false");
        assert!(archived(&scratch, &seawall, segment) == original, "it was replaced");
    }
    assert_eq!(bucket.keys().len(), 1);
    push(&scratch, &careless, segment).success();
    assert!(archived(&scratch, &seawall, segment) == fs::read(segment).unwrap(), "it was not replaced");
}

#[test]
fn a_history_file_is_never_replaced() {
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let careless = seawall.clone().with("WALG_PREVENT_WAL_OVERWRITE", "false");
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    push(&scratch, &careless, &history).success();
    push(&scratch, &careless, &history).success();
    let original = fs::read(&history).unwrap();
    fs::write(&history, "1\t0/4000000\tno recovery target specified\n").unwrap();
    push(&scratch, &careless, &history).fails(1).stderr_has("00000002.history").stderr_has("other content");
    assert_eq!(archived(&scratch, &seawall, &history), original);
}

/// The names and the order of wal-g's own integration test.
#[test]
fn files_of_any_name_when_wal_is_not_checked() {
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let history = scratch.file("test_file.history", "test\n");
    let file = scratch.file("test_file", "test\n");
    push(&scratch, &seawall, &file).fails(1).stderr_has("SEAWALL_CHECK_WAL=false");
    assert!(bucket.keys().is_empty());

    let any = seawall.with("SEAWALL_CHECK_WAL", "false");
    push(&scratch, &any, &history).success();
    push(&scratch, &any, &history).success();
    fs::write(&history, "test1\n").unwrap();
    push(&scratch, &any, &history).fails(1);
    let careful = any.with("WALG_PREVENT_WAL_OVERWRITE", "true");
    push(&scratch, &careful, &file).success();
    push(&scratch, &careful, &file).success();
    fs::write(&file, "test1\n").unwrap();
    push(&scratch, &careful, &file).fails(1);
    assert_eq!(archived(&scratch, &careful, &file), b"test\n");
}

#[test]
fn segments_of_another_cluster_are_refused() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let identifier = |cluster: &mut Cluster<'_>| {
        cluster.start();
        let identifier = cluster.sql("SELECT system_identifier FROM pg_control_system()");
        let segment = cluster.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        cluster.stop();
        (identifier, format!("pg_wal/{segment}"))
    };
    let mut ours = Cluster::create(&scratch, &postgres, "ours", &[]);
    let mut other = Cluster::foreign(&scratch, &postgres, "other");
    let (own_id, _) = identifier(&mut ours);
    let (other_id, segment) = identifier(&mut other);
    let strayed = ours.data().join(&segment);
    fs::copy(other.data().join(&segment), &strayed).unwrap();
    scratch.own(&strayed);
    push(&scratch, &seawall, &strayed).fails(1).stderr_has(&own_id).stderr_has(&other_id).stderr_has("hint:");
    assert!(bucket.keys().is_empty());

    push(&scratch, &seawall, &other.data().join(&segment)).success();
    let name = strayed.file_name().unwrap().to_str().unwrap();
    let target = ours.data().join("pg_wal/RECOVERYXLOG");
    let run = seawall.run(&scratch, ["wal-fetch", name, target.to_str().unwrap()]);
    run.fails(1).stderr_has(&own_id).stderr_has(&other_id);
    assert!(!target.exists());
}

#[test]
fn files_that_wait_are_pushed_along() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let (cluster, segments) = with_unarchived_segments(&scratch, &postgres);
    let marks = cluster.data().join("pg_wal/walg_data/walg_archive_status");
    let has_mark = |segment: &Path| marks.join(segment.file_name().unwrap()).exists();

    push(&scratch, &seawall, &segments[0]).success();
    assert!(has_mark(&segments[1]) && has_mark(&segments[2]), "{:?}", bucket.keys());
    assert!(!has_mark(&segments[0]));
    let alone = seawall.clone().with("WALG_UPLOAD_CONCURRENCY", "1");
    push(&scratch, &alone, &segments[1]).success().stderr_has("already archived by an earlier call");
    assert!(!has_mark(&segments[1]));

    // a mark does not tell what became of the archive
    push(&scratch, &seawall, &segments[0]).success();
    assert!(has_mark(&segments[1]));
    let name = segments[1].file_name().unwrap().to_str().unwrap();
    let key = bucket.keys().into_iter().find(|key| key.contains(name)).unwrap();
    bucket.delete(&key);
    push(&scratch, &alone, &segments[1]).success();
    assert!(bucket.keys().contains(&key));

    // a mark tells of the file as it was
    change(&segments[2]);
    push(&scratch, &alone, &segments[2]).fails(1).stderr_has("other content");
    let run = push(&scratch, &alone.with("WALG_PREVENT_WAL_OVERWRITE", "false"), &segments[2]).success();
    assert!(!run.stderr.contains("already archived"), "{run}");
    assert!(!has_mark(&segments[2]));
    for segment in &segments[..3] {
        assert!(archived(&scratch, &seawall, segment) == fs::read(segment).unwrap(), "{}", segment.display());
    }
}

/// PostgreSQL does not ask for what went up beside another segment.
#[test]
fn files_that_were_pushed_along_are_done() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let (mut cluster, segments) = with_unarchived_segments(&scratch, &postgres);
    cluster.archive_with(&seawall);
    cluster.configure("archive_command", &format!("{} wal-push %p --pg-ready-rename=true", seawall.path()));
    cluster.start();
    cluster.wait_until("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'", "0");
    let calls: usize = cluster.sql("SELECT archived_count FROM pg_stat_archiver").parse().unwrap();
    assert!(calls < segments.len(), "{calls} calls for {} segments", segments.len());
    let keys = bucket.keys();
    for segment in &segments {
        let key = format!("wal_005/{}.lz4", segment.file_name().unwrap().to_str().unwrap());
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
}

/// Segments fetched ahead wait where they are told to, whatever the segment that was asked for is to be called.
#[test]
fn segments_are_fetched_ahead_to_a_place_of_their_own() {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let (_cluster, segments) = with_unarchived_segments(&scratch, &postgres);
    let names: Vec<&str> =
        segments[..3].iter().map(|segment| segment.file_name().unwrap().to_str().unwrap()).collect();
    for segment in &segments[..3] {
        push(&scratch, &seawall, segment).success();
    }
    let place = scratch.dir("ahead");
    let fetch = |tool: &Tool, name: &str| {
        tool.run(&scratch, ["wal-fetch", name, scratch.absent(name).to_str().unwrap()])
    };
    fetch(&seawall, names[2]).success();
    assert!(!scratch.path().join(".wal-g").exists(), "that may have been pg_rewind");

    let ahead = seawall.clone().with("WALG_PREFETCH_DIR", place.to_str().unwrap());
    fetch(&ahead, names[0]).success();
    let begin = Instant::now();
    while !place.join(".wal-g/prefetch").join(names[1]).exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} is not fetched ahead", names[1]);
        std::thread::sleep(Duration::from_millis(20));
    }
    bucket.delete(&format!("wal_005/{}.lz4", names[1]));
    fetch(&ahead, names[1]).success().stderr_has("restored a prefetched segment");
    assert!(fs::read(scratch.absent(names[1])).unwrap() == fs::read(&segments[1]).unwrap());
}

/// A primary with about 40 MB of data.
fn busy_primary(site: &Site) -> Cluster<'_> {
    let source = site.primary(&[]);
    source.pgbench_init(1);
    source
}

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn backup_keys(bucket: &Bucket) -> Vec<String> {
    bucket.keys().into_iter().filter(|key| key.starts_with("basebackups_005/")).collect()
}

/// Sessions besides the one that asks.
const OTHER_SESSIONS: &str =
    "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'";

#[test]
fn two_backups_at_once() {
    let site = require!(Site::new());
    let source = busy_primary(&site);
    let both = [(); 2].map(|()| source.start_slow_backup(&site.seawall, 10_000_000));
    let ended = both.map(|backup| backup.wait_with_output().unwrap());
    for output in &ended {
        let said = stderr(output);
        assert!(output.status.success() || said.contains("hint:"), "{said}");
    }
    let succeeded = ended.iter().filter(|output| output.status.success()).count();
    let backups = site.bucket.backups();
    assert!(succeeded > 0 && backups.len() == succeeded, "{succeeded} succeeded: {backups:?}");
    source.switch_wal();
    for name in &backups {
        let mut restored = Cluster::restored(&site.scratch, &site.postgres, name);
        site.seawall.run(&site.scratch, ["backup-fetch", restored.data().to_str().unwrap(), name]).success();
        restored.recover_with(&site.seawall);
        restored.start();
        restored.wait_until("SELECT pg_is_in_recovery()", "f");
        assert_eq!(restored.sql("SELECT count(*) FROM pgbench_accounts"), "100000");
        restored.amcheck();
    }
}

#[test]
fn a_terminated_backup_leaves_nothing() {
    let site = require!(Site::new());
    let source = busy_primary(&site);
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut backup = source.start_slow_backup(&site.seawall, 1_000_000);
        wait_until_it_copies(&mut backup);
        send(&backup, signal);
        let begin = Instant::now();
        let ended = backup.wait_with_output().unwrap();
        // The backup would take more than twenty.
        assert!(begin.elapsed() < Duration::from_secs(20), "{signal:?}");
        assert_eq!(ended.status.signal(), Some(signal.as_raw()), "{}", stderr(&ended));
        assert_eq!(backup_keys(&site.bucket), [""; 0]);
        source.wait_until(OTHER_SESSIONS, "0");
    }
}

#[test]
fn a_killed_backup_is_none_and_the_next_one_works() {
    let site = require!(Site::new());
    let source = busy_primary(&site);
    let mut backup = source.start_slow_backup(&site.seawall, 1_000_000);
    wait_until_it_copies(&mut backup);
    std::thread::sleep(Duration::from_millis(500));
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert_eq!(site.bucket.backups(), [""; 0]);
    source.push_backup(&site.seawall);
    let [name] = &site.bucket.backups()[..] else { panic!("{:?}", site.bucket.keys()) };
    source.switch_wal();

    let mut restored = site.restore("restored");
    let label = fs::read_to_string(restored.data().join("backup_label")).unwrap();
    assert!(label.contains(name.trim_start_matches("base_")), "{label}");
    restored.recover_with(&site.seawall);
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(restored.sql("SELECT count(*) FROM pgbench_accounts"), "100000");
}

/// A service that takes connections and never answers.
fn silent_service(tool: &Tool) -> (TcpListener, Tool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let tool = tool
        .clone()
        .with("AWS_ENDPOINT", &endpoint)
        .with("WALG_S3_PREFIX", "s3://bucket/prefix")
        .with("AWS_ACCESS_KEY_ID", "id")
        .with("AWS_SECRET_ACCESS_KEY", "secret")
        .with("AWS_REGION", "us-east-1");
    (listener, tool)
}

#[test]
fn a_terminated_wal_push_or_wal_fetch_dies_by_the_signal() {
    let scratch = Scratch::new();
    let (listener, waiting) = silent_service(&Tool::seawall(&scratch));
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    let target = scratch.dir("target");
    let fetched = target.join("RECOVERYHISTORY");
    let commands = [
        vec!["wal-push", history.to_str().unwrap()],
        vec!["wal-fetch", "00000002.history", fetched.to_str().unwrap()],
    ];
    for arguments in commands {
        for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
            let mut child = start(&mut waiting.command(&scratch, &arguments));
            let _connection = asks(&mut child, &listener);
            send(&child, signal);
            let ended = child.wait_with_output().unwrap();
            assert_eq!(ended.status.signal(), Some(signal.as_raw()), "{arguments:?}: {}", stderr(&ended));
            assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "something is left behind");
        }
    }
}

/// A file that is written while its content still arrives, when the process that wrote it is killed.
#[test]
fn a_killed_wal_fetch_is_cleared_away_by_a_later_one() {
    let scratch = Scratch::new();
    let (_bucket, seawall) = repository(&scratch);
    let (listener, waiting) = silent_service(&seawall);
    let waiting = waiting.with("WALG_FILE_PREFIX", "").with("WALG_COMPRESSION_METHOD", "none");
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    push(&scratch, &seawall, &history).success();
    let target = scratch.dir("target");
    let destination = target.join("RECOVERYHISTORY");
    let fetch = ["wal-fetch", "00000002.history", destination.to_str().unwrap()];
    let leftovers = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path != &destination).collect()
    };
    let killed = || -> PathBuf {
        let before = leftovers();
        let mut child = start(&mut waiting.command(&scratch, fetch));
        let mut connection = asks(&mut child, &listener);
        let mut request = BufReader::new(connection.try_clone().unwrap()).lines();
        while !request.next().unwrap().unwrap().is_empty() {}
        connection
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: \"e\"\r\n\r\n1\t0/3000000\t")
            .unwrap();
        loop {
            assert!(child.try_wait().unwrap().is_none(), "{}", stderr(&child.wait_with_output().unwrap()));
            if let Some(new) = leftovers().into_iter().find(|path| !before.contains(path)) {
                child.kill().unwrap();
                child.wait().unwrap();
                return new;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let (old, young) = (killed(), killed());
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().append(true).open(old).unwrap().set_modified(an_hour_ago).unwrap();
    seawall.run(&scratch, fetch).success();
    assert_eq!(leftovers(), [young], "one may still be written");
    assert_eq!(fs::read(&destination).unwrap(), fs::read(&history).unwrap());
}

/// Pushes and fetches a history file by a shell command with `$TOOL`, `$FILE` (to push) and `$TARGET` (to fetch to).
#[track_caller]
fn works_in(surroundings: &str, change: impl FnOnce(&Scratch, &mut Command)) {
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let open = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    open(&scratch.path().join("storage"));
    open(scratch.path());
    let content = "1\t0/3000000\tno recovery target specified\n";
    let file = scratch.file("00000002.history", content);
    let target = scratch.absent("RECOVERYHISTORY");
    let mut command = scratch.command("sh");
    command.arg("-c").arg(surroundings).envs(seawall.env());
    command.env("TOOL", seawall.path()).env("FILE", &file).env("TARGET", &target);
    change(&scratch, &mut command);
    run(&mut command).success();
    assert_eq!(bucket.keys(), ["wal_005/00000002.history.lz4"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), content);
    assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

const BOTH: &str = "\"$TOOL\" wal-push \"$FILE\" && \"$TOOL\" wal-fetch 00000002.history \"$TARGET\"";

#[test]
fn works_with_standard_input_closed() {
    works_in(&format!("exec <&-; {BOTH}"), |_, _| {});
}

#[test]
fn works_with_all_streams_closed() {
    works_in(&format!("exec <&- >&- 2>&-; {BOTH}"), |_, _| {});
}

#[test]
fn works_with_any_umask() {
    for umask in ["000", "077", "027"] {
        works_in(&format!("umask {umask}; {BOTH}"), |_, _| {});
    }
}

#[test]
fn works_without_home() {
    works_in(BOTH, |_, command| {
        command.env_remove("HOME").env_remove("USER").env_remove("TMPDIR").env_remove("LC_ALL");
    });
}

#[test]
fn works_in_a_directory_that_it_cannot_write() {
    works_in(BOTH, |scratch, command| {
        let directory = scratch.dir("read-only");
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o555)).unwrap();
        command.current_dir(directory);
    });
}

#[test]
fn works_for_a_user_without_a_name() {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("only root can be another user");
        return;
    }
    let command = format!("exec setpriv --reuid=31337 --regid=31337 --clear-groups sh -c '{}'", BOTH);
    works_in(&command, |_, prepared| {
        let mut as_root = Command::new("sh");
        as_root.env_clear().args(prepared.get_args().skip_while(|argument| *argument != "-c"));
        as_root.envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?))));
        as_root.env_remove("HOME");
        *prepared = as_root;
    });
}

#[test]
fn works_by_the_name_of_wal_g() {
    let scratch = Scratch::new();
    let (bucket, seawall) = repository(&scratch);
    let link = scratch.absent("wal-g");
    symlink(seawall.path(), &link).unwrap();
    let called = |arguments: &[&str]| {
        let mut command = scratch.command(&link);
        run(command.envs(seawall.env()).args(arguments))
    };
    assert!(called(&["--version"]).success().stdout.starts_with("wal-g version "));
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    called(&["wal-push", history.to_str().unwrap()]).success();
    assert_eq!(bucket.keys().len(), 1);
    called(&["wal-fetch", "00000003.history", "RECOVERYHISTORY"]).fails(74);
}
