//! What Spilo (the PostgreSQL image of postgres-operator) needs of a binary called `wal-g`.
//!
//! The first tests pin what its scripts parse. The others run the scripts themselves, unchanged: they are not part of this
//! repository, `SEAWALL_TEST_SPILO` names a directory that holds `postgres_backup.sh`, `restore_command.sh`,
//! `wale_restore.sh` and `clone_with_wale.py`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use nix::unistd::Uid;
use support::{Bucket, Cluster, Missing, Postgres, Run, Scratch, Tool, run};

/// As configure_spilo.py makes it, without the version.
const PREFIX: &str = "spilo/demo/wal";

const KEY: &str = "4c9d2a7be1f3580642b7d9c8e5a1f03b6d7e8f9012a3b4c5d6e7f8091a2b3c4d";

/// A sentinel as far as the list reads it.
fn put_backup(storage: &Path, segment: &str, age: Duration) {
    let path = storage.join(format!("basebackups_005/base_{segment}_backup_stop_sentinel.json"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, r#"{"LSN":50331688,"FinishLSN":50331952,"PgVersion":150018}"#).unwrap();
    make_older(&path, age);
}

fn make_older(path: &Path, age: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

const DAY: Duration = Duration::from_secs(86_400);

/// `postgres_backup.sh` takes columns 1 and 2, sorts by text and calls `date -u -d`; `wale_restore.sh` takes the segment in
/// column 3; `clone_with_wale.py` wants ` modified ` between blanks in the header and splits the rows at blanks.
#[test]
fn backup_list_has_the_columns_that_are_parsed() {
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let seawall = Tool::seawall(&scratch).with_all(bucket.env()).with("TZ", "Asia/Tokyo");
    let storage = scratch.path().join("storage");
    // older ones have the later names
    for (segment, days) in
        [("000000010000000000000007", 3), ("000000010000000000000003", 2), ("00000002000000A1000000FF", 1)]
    {
        put_backup(&storage, segment, days * DAY);
    }
    let list = seawall.run(&scratch, ["backup-list"]).success().stdout;
    assert!(!list.contains('\t'), "{list}");
    let (header, rows) = list.split_once('\n').unwrap();
    assert!(header.starts_with("backup_name ") && header.contains(" modified "), "{header}");
    assert_eq!(header.split_whitespace().nth(2), Some("wal_file_name"));
    for column in ["modified", "wal_file_name", "storage_name"] {
        let at = header.find(column).unwrap();
        for row in rows.lines() {
            assert!(row.as_bytes()[at - 1] == b' ' && row.as_bytes()[at] != b' ', "not aligned\n{list}");
        }
    }
    let cells: Vec<Vec<&str>> = rows.lines().map(|row| row.split_whitespace().collect()).collect();
    let names: Vec<&str> = cells.iter().map(|row| row[0]).collect();
    let expected =
        ["base_000000010000000000000007", "base_000000010000000000000003", "base_00000002000000A1000000FF"];
    assert_eq!(names, expected, "oldest first");
    for row in &cells {
        assert_eq!(row.len(), 4, "{row:?}");
        let shape: String = row[1].chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert_eq!(shape, "9999-99-99T99:99:99Z");
        assert_eq!(row[2].len(), 24);
        assert!(row[2].chars().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(row[0], format!("base_{}", row[2]));
    }
    // the same with the tools of a shell script
    let pipe = "\"$TOOL\" backup-list 2>/dev/null | awk 'rows { print $1, $2 } /^backup_name +modified +/ { rows = 1 }' | \
                LC_ALL=C sort -k2r | while read -r name time; do echo \"$name $(( $(date +%s) - $(date -u -d \"$time\" +%s) ))\"; done";
    let mut command = scratch.command("sh");
    command.args(["-c", pipe]).envs(seawall.env()).env("TOOL", seawall.path());
    let newest_first = run(&mut command).success().stdout;
    for (line, (name, days)) in newest_first.lines().zip(expected.iter().rev().zip(1_u64..)) {
        let (listed, age) = line.split_once(' ').unwrap();
        assert_eq!(listed, *name);
        assert!(age.parse::<u64>().unwrap().abs_diff(days * DAY.as_secs()) < 60, "{newest_first}");
    }
    assert_eq!(newest_first.lines().count(), 3);
}

#[test]
fn no_backups_are_no_failure_and_no_storage_is() {
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let seawall = Tool::seawall(&scratch);
    let none = seawall.clone().with_all(bucket.env()).run(&scratch, ["backup-list"]).success();
    assert_eq!(none.stdout, "");
    none.stderr_has("No backups found");

    seawall.run(&scratch, ["backup-list"]).fails(1).stderr_has("no storage configured");
    let gone = seawall.with("WALG_FILE_PREFIX", "/nonexistent/archive");
    gone.run(&scratch, ["backup-list"]).fails(1).stderr_has("/nonexistent/archive");
}

/// The clone's environment has the key and lacks its transform: said, not read as garbage.
#[test]
fn a_key_without_its_transform_is_told() {
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let whole = Tool::seawall(&scratch)
        .with_all(bucket.env())
        .with("WALG_LIBSODIUM_KEY", KEY)
        .with("WALG_LIBSODIUM_KEY_TRANSFORM", "hex");
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    whole.run(&scratch, ["wal-push", history.to_str().unwrap()]).success();
    let lacking = Tool::seawall(&scratch).with_all(bucket.env()).with("WALG_LIBSODIUM_KEY", KEY);
    let run = lacking.run(&scratch, ["wal-fetch", "00000002.history", "RECOVERYHISTORY"]).fails(1);
    run.stderr_has("WALG_LIBSODIUM_KEY_TRANSFORM");
    assert!(!scratch.path().join("RECOVERYHISTORY").exists());
}

#[test]
fn delete_everything_stays_below_the_prefix() {
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let beside = [
        "spilo/demo/logical_backups/1.sql.gz",
        "spilo/demo/wal/16/wal_005/00000002.history.br",
        "spilo/demo/wal/150",
    ];
    for key in beside {
        bucket.put(&scratch, key, b"not ours");
    }
    let ours = scratch.path().join("storage/spilo/demo/wal/15");
    put_backup(&ours, "000000010000000000000003", DAY);
    scratch.own(&ours);
    let seawall = Tool::seawall(&scratch).with("WALG_FILE_PREFIX", ours.to_str().unwrap());
    seawall.run(&scratch, ["delete", "everything", "FORCE", "--confirm"]).success();
    let mut kept = beside.to_vec();
    kept.sort_unstable();
    assert_eq!(bucket.keys(), kept);
}

/// People look into the archive as root, the pods as postgres.
#[test]
fn root_sees_what_the_user_sees() {
    require!(if Uid::effective().is_root() { Ok(()) } else { Err(Missing::optional("not root")) });
    let scratch = Scratch::new();
    let bucket = Bucket::directory(&scratch, "storage");
    let seawall = Tool::seawall(&scratch).with_all(bucket.env());
    let storage = scratch.path().join("storage");
    put_backup(&storage, "000000010000000000000003", 2 * DAY);
    put_backup(&storage, "000000010000000000000007", DAY);
    scratch.own(&storage);
    fs::set_permissions(&storage, PermissionsExt::from_mode(0o700)).unwrap();
    let history = scratch.file("00000002.history", "1\t0/3000000\tno recovery target specified\n");
    for line in ["backup-list", "backup-list --detail", "backup-list --tree", "wal-show"] {
        let mut by_root = Command::new(seawall.path());
        by_root.env_clear().envs(seawall.env()).env("HOME", scratch.path()).args(line.split(' '));
        let by_root = run(&mut by_root).success().stdout;
        assert_eq!(by_root, seawall.run(&scratch, line.split(' ')).success().stdout, "{line}");
        assert!(line == "wal-show" || by_root.lines().filter(|row| row.starts_with("base_")).count() == 2);
        seawall.run(&scratch, ["wal-push", history.to_str().unwrap()]).success();
    }
    let roots = run(Command::new("find").arg(&storage).args(["-user", "root"])).success().stdout;
    assert_eq!(roots, "", "left behind by root");
}

/// A directory of variables, for envdir.
fn env_dir<'a>(
    scratch: &Scratch,
    name: &str,
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> PathBuf {
    let dir = scratch.dir(name);
    for (variable, value) in variables {
        fs::write(dir.join(variable), format!("{value} \n")).unwrap();
    }
    scratch.own(&dir);
    dir
}

/// seawall called through envdir; the shell's own, which every machine has.
struct Enveloped<'a> {
    scratch: &'a Scratch,
    seawall: Tool,
    envdir: PathBuf,
}

impl<'a> Enveloped<'a> {
    fn new(scratch: &'a Scratch) -> Self {
        let script = "#!/bin/sh\nfor file in \"$1\"/*; do read -r value < \"$file\"; export \"${file##*/}=$value\"; done\n\
                      shift\nexec \"$@\"\n";
        let envdir = scratch.file("envdir", script);
        fs::set_permissions(&envdir, PermissionsExt::from_mode(0o755)).unwrap();
        Self { scratch, seawall: Tool::seawall(scratch), envdir }
    }

    fn run(&self, env_dir: &Path, args: &[&str]) -> Run {
        self.run_with(env_dir, args, &BTreeMap::new())
    }

    /// With variables of the caller's.
    fn run_with(&self, env_dir: &Path, args: &[&str], variables: &BTreeMap<String, String>) -> Run {
        let mut command = self.scratch.command(&self.envdir);
        run(command.arg(env_dir).arg(self.seawall.path()).args(args).envs(variables))
    }

    /// For postgresql.conf.
    fn line(&self, env_dir: &Path, command: &str) -> String {
        format!("{} {} {} {command}", self.envdir.display(), env_dir.display(), self.seawall.path())
    }

    fn archive(&self, cluster: &Cluster<'_>, env_dir: &Path) {
        cluster.configure("archive_mode", "on");
        cluster.configure("archive_command", &self.line(env_dir, "wal-push %p"));
    }

    /// Recovers from one archive, to the target that was configured.
    fn recover(&self, restored: &mut Cluster<'_>, env_dir: &Path) {
        restored.configure("restore_command", &self.line(env_dir, "wal-fetch %f %p"));
        restored.configure("recovery_target_action", "promote");
        restored.append("recovery.signal", "");
        restored.start();
        restored.wait_until("SELECT pg_is_in_recovery()", "f");
    }
}

/// The settings of a bucket, with a prefix in it.
fn settings_of(bucket: &Bucket, prefix: &str) -> BTreeMap<String, String> {
    let below = |(name, value): (&str, &str)| match name.ends_with("_PREFIX") {
        true => (name.to_owned(), format!("{value}/{prefix}")),
        false => (name.to_owned(), value.to_owned()),
    };
    bucket.env().map(below).collect()
}

fn pairs(settings: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// A cluster of another name is made from the archive of `demo` by the settings that configure_spilo.py takes from the
/// CLONE_ variables, and archives by its own: another storage, key and compression.
fn clone_of_another_name(bucket: &Bucket) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let walg = Enveloped::new(&scratch);
    let key = [("WALG_LIBSODIUM_KEY", KEY), ("WALG_LIBSODIUM_KEY_TRANSFORM", "hex")];
    let demo = settings_of(bucket, "spilo/demo/wal/15");
    let demo_env =
        env_dir(&scratch, "env", pairs(&demo).chain(key).chain([("WALG_COMPRESSION_METHOD", "lz4")]));
    let clone_env = env_dir(&scratch, "env-clone", pairs(&demo).chain(key));
    let own_bucket = Bucket::directory(&scratch, "own");
    let own = settings_of(&own_bucket, "spilo/other/wal/15");
    let own_key =
        [("WALG_LIBSODIUM_KEY", "an own key of exactly 32 letters"), ("WALG_COMPRESSION_METHOD", "zstd")];
    let own_env = env_dir(&scratch, "env-own", pairs(&own).chain(own_key));
    for settings in [&demo, &own] {
        if let Some(prefix) = settings.get("WALG_FILE_PREFIX") {
            fs::create_dir_all(prefix).unwrap();
            scratch.own(Path::new(prefix));
        }
    }

    let mut source = Cluster::create(&scratch, &postgres, "demo", &[]);
    walg.archive(&source, &demo_env);
    source.start();
    source.sql("CREATE TABLE ledger AS SELECT generate_series(1, 1000) id");
    let data = source.data().to_str().unwrap().to_owned();
    walg.run_with(&demo_env, &["backup-push", &data], &source.libpq_env()).success();
    let time =
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'Asia/Tokyo', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+09:00')";
    let before_loss = source.sql(time);
    source.sql("DELETE FROM ledger");
    source.switch_wal();
    source.stop();
    let archived = bucket.keys();

    let mut clone = Cluster::restored(&scratch, &postgres, "clone");
    let data = clone.data().to_str().unwrap().to_owned();
    let other_key = env_dir(&scratch, "env-wrong", pairs(&demo).chain(own_key));
    walg.run(&other_key, &["backup-fetch", &data, "LATEST"]).fails(1).stderr_has("WALG_LIBSODIUM_KEY");
    assert_eq!(fs::read_dir(clone.data()).unwrap().count(), 0, "restored with a wrong key");
    // What the pod's own environment has under other names is not read.
    let misleading = ["WALG_FILE_PREFIX", "WALG_S3_PREFIX", "AWS_SECRET_ACCESS_KEY", "WALG_LIBSODIUM_KEY"];
    let misleading = misleading.map(|name| (format!("CLONE_{name}"), "/nowhere".to_owned())).into();
    let fetched = walg.run_with(&clone_env, &["backup-fetch", &data, "LATEST"], &misleading).success();
    assert!(!fetched.stderr.contains("CLONE_"), "{fetched}");
    walg.archive(&clone, &own_env);
    clone.configure("recovery_target_time", &before_loss);
    walg.recover(&mut clone, &clone_env);
    assert_eq!(clone.sql("SELECT count(*) FROM ledger"), "1000");
    walg.run_with(&own_env, &["backup-push", &data], &clone.libpq_env()).success();
    clone.switch_wal();
    clone.stop();

    assert_eq!(bucket.keys(), archived, "the archive of the original was changed");
    assert!(own_bucket.keys().iter().any(|key| key.ends_with("/wal_005/00000002.history.zst")));
    let history = scratch.absent("RECOVERYHISTORY");
    let fetch = ["wal-fetch", "00000002.history", history.to_str().unwrap()];
    walg.run(&own_env, &fetch).success();
    let with_the_key_of_demo = env_dir(&scratch, "env-mixed", pairs(&own).chain(key));
    fs::remove_file(&history).unwrap();
    walg.run(&with_the_key_of_demo, &fetch).fails(1).stderr_has("WALG_LIBSODIUM_KEY");
    assert!(!history.exists());
}

#[test]
fn a_clone_of_another_name_on_a_directory() {
    let place = Scratch::new();
    clone_of_another_name(&Bucket::directory(&place, "storage"));
}

#[test]
fn a_clone_of_another_name_on_s3() {
    clone_of_another_name(&require!(Bucket::versitygw()));
}

/// Keys were rotated: a person edits a file of the envdir. Nothing is restarted.
#[test]
fn an_edited_envdir_counts_from_the_next_call_on() {
    let postgres = require!(Postgres::version(15));
    let bucket = require!(Bucket::versitygw());
    let scratch = Scratch::new();
    let walg = Enveloped::new(&scratch);
    let mut settings = settings_of(&bucket, "spilo/demo/wal/15");
    let secret = settings.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "the old one".to_owned()).unwrap();
    let env = env_dir(&scratch, "env", pairs(&settings));
    let mut source = Cluster::create(&scratch, &postgres, "demo", &[]);
    walg.archive(&source, &env);
    source.start();
    source.sql("CREATE TABLE ledger AS SELECT generate_series(1, 1000) id");
    source.sql("SELECT pg_switch_wal()");
    source.wait_until("SELECT failed_count > 0 FROM pg_stat_archiver", "t");
    let mut restored = Cluster::restored(&scratch, &postgres, "restored");
    let data = restored.data().to_str().unwrap().to_owned();
    for args in [&["backup-list"][..], &["backup-fetch", &data, "LATEST"]] {
        walg.run(&env, args).fails(1).stderr_has("AWS_SECRET_ACCESS_KEY");
    }

    fs::write(env.join("AWS_SECRET_ACCESS_KEY"), format!("{secret}\n")).unwrap();
    source.switch_wal();
    let source_data = source.data().to_str().unwrap();
    walg.run_with(&env, &["backup-push", source_data], &source.libpq_env()).success();
    source.switch_wal();
    walg.run(&env, &["backup-list"]).success().stdout_has("base_");
    walg.run(&env, &["backup-fetch", &data, "LATEST"]).success();
    restored.configure("archive_mode", "off");
    walg.recover(&mut restored, &env);
    assert_eq!(restored.sql("SELECT count(*) FROM ledger"), "1000");
}

/// A pod as far as the scripts see one.
struct Pod<'a> {
    scratch: &'a Scratch,
    scripts: PathBuf,
    path: String,
}

impl<'a> Pod<'a> {
    fn new(scratch: &'a Scratch, postgres: &Postgres) -> Result<Self, Missing> {
        let given = std::env::var("SEAWALL_TEST_SPILO")
            .map_err(|_| Missing::optional("no Spilo, SEAWALL_TEST_SPILO is not set"))?;
        if !Path::new("/usr/bin/chpst").exists() {
            return Err(Missing::optional("no chpst (Debian's runit), Spilo's envdir"));
        }
        let scripts = scratch.dir("scripts");
        for name in ["postgres_backup.sh", "restore_command.sh", "wale_restore.sh", "clone_with_wale.py"] {
            fs::copy(Path::new(&given).join(name), scripts.join(name)).unwrap();
        }
        let bin = scratch.dir("bin");
        symlink(Tool::seawall(scratch).path(), bin.join("wal-g")).unwrap();
        fs::write(bin.join("envdir"), "#!/bin/sh\nexec chpst -e \"$@\"\n").unwrap();
        run(Command::new("chmod").arg("755").arg(bin.join("envdir"))).success();
        let clients = postgres.client_program("psql");
        let path = format!("{}:{}:/usr/bin:/bin", bin.display(), clients.parent().unwrap().display());
        scratch.own(scratch.path());
        Ok(Self { scratch, scripts, path })
    }

    /// `envdir DIR program arguments`
    fn envdir(&self, env_dir: &Path) -> Command {
        let mut command = self.scratch.command("envdir");
        command.arg(env_dir).env("PATH", &self.path);
        command
    }

    fn script(&self, name: &str) -> PathBuf {
        self.scripts.join(name)
    }

    fn backup(&self, env_dir: &Path, cluster: &Cluster<'_>) -> Run {
        run(self.envdir(env_dir).arg("bash").arg(self.script("postgres_backup.sh")).arg(cluster.data()))
            .success()
    }

    /// clone_with_wale.py, with two modules of the image that it imports replaced.
    fn clone(&self, env_dir: &Path, versions: &[&str], target_time: Option<&str>, data: &Path) -> Run {
        let modules = self.scratch.path().join("modules");
        let programs = self.scratch.path().join("programs");
        fs::create_dir_all(&modules).unwrap();
        for version in versions {
            fs::create_dir_all(programs.join(version)).unwrap();
        }
        fs::write(modules.join("maybe_pg_upgrade.py"), "def call_maybe_pg_upgrade():\n    return 0\n")
            .unwrap();
        let restore_command =
            format!("envdir \"{}\" timeout 0 restore_command.sh \"%f\" \"%p\"", env_dir.display());
        let commons = format!(
            "LIB_DIR = {programs:?}\n\
             def get_patroni_config():\n    conf = {{'restore_command': {restore_command:?}}}\n    \
             return {{'bootstrap': {{'clone_with_wale': {{'recovery_conf': conf}}}}, 'postgresql': {{'bin_dir': '99'}}}}\n\
             def get_bin_dir(version):\n    return version\n\
             def get_binary_version(bin_dir):\n    return bin_dir\n"
        );
        fs::write(modules.join("spilo_commons.py"), commons).unwrap();
        self.scratch.own(self.scratch.path());
        let mut command = self.envdir(env_dir);
        command.arg("python3").arg(self.script("clone_with_wale.py")).env("PYTHONPATH", &modules);
        command.arg("--scope=clone").arg(format!("--datadir={}", data.display()));
        if let Some(time) = target_time {
            command.arg(format!("--recovery-target-time={time}"));
        }
        run(&mut command)
    }

    /// Recovers with restore_command.sh.
    fn recover(&self, restored: &mut Cluster<'_>, env_dir: &Path) {
        restored.configure("archive_mode", "off");
        restored.configure(
            "restore_command",
            &format!(
                "PATH={} envdir \"{}\" timeout \"0\" bash {} \"%f\" \"%p\"",
                self.path,
                env_dir.display(),
                self.script("restore_command.sh").display()
            ),
        );
        restored.configure("recovery_target_action", "promote");
        restored.append("recovery.signal", "");
        restored.start();
        restored.wait_until("SELECT pg_is_in_recovery()", "f");
    }
}

/// The scripts look for the server's socket in /var/run/postgresql: a link there to the cluster's own.
struct SocketLink {
    path: PathBuf,
    port: String,
}

impl SocketLink {
    fn to(cluster: &Cluster<'_>) -> Result<Self, Missing> {
        let sockets = PathBuf::from(&cluster.libpq_env()["PGHOST"]);
        let port = (40_000 + std::process::id() % 20_000).to_string();
        let port = (0..100)
            .map(|offset| (port.parse::<u32>().unwrap() + offset).to_string())
            .find(|port| !socket_path(port).is_symlink())
            .unwrap();
        let path = socket_path(&port);
        symlink(sockets.join(".s.PGSQL.5432"), &path)
            .map_err(|error| Missing::optional(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self { path, port })
    }
}

fn socket_path(port: &str) -> PathBuf {
    Path::new("/var/run/postgresql").join(format!(".s.PGSQL.{port}"))
}

impl Drop for SocketLink {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Backups by cron, WAL by the archiver, a clone to a moment, retention, a replica from the archive.
fn day_of_a_pod(bucket: &Bucket, storage: Option<&Path>) {
    let postgres = require!(Postgres::version(15));
    let scratch = Scratch::new();
    let pod = require!(Pod::new(&scratch, &postgres));
    let mut source = Cluster::create(&scratch, &postgres, "pgdata", &["--data-checksums"]);
    let socket = require!(SocketLink::to(&source));
    let make = |name: &str, version: &str| {
        let fixed = [
            ("PGPORT", socket.port.as_str()),
            ("USE_WALG_BACKUP", "true"),
            ("USE_WALG_RESTORE", "true"),
            ("BACKUP_NUM_TO_RETAIN", "2"),
            ("WALE_LOG_DESTINATION", "stderr"),
            ("WALG_COMPRESSION_METHOD", "brotli"),
            ("WALG_LIBSODIUM_KEY", KEY),
            ("WALG_LIBSODIUM_KEY_TRANSFORM", "hex"),
        ];
        let settings = settings_of(bucket, &format!("{PREFIX}{version}"));
        env_dir(&scratch, name, pairs(&settings).chain(fixed))
    };
    let env = make("env", "/15");
    let clone_env = make("env-clone", "");

    if let Some(storage) = storage {
        for version in ["15", "16"] {
            fs::create_dir_all(storage.join(PREFIX).join(version)).unwrap();
        }
        scratch.own(storage);
    }
    source.configure("archive_mode", "on");
    source.configure(
        "archive_command",
        &format!("PATH={} envdir \"{}\" wal-g wal-push \"%p\"", pod.path, env.display()),
    );
    source.start();
    let empty = run(pod.envdir(&env).args(["wal-g", "backup-list"])).success();
    assert_eq!(empty.stdout, "");

    pod.backup(&env, &source).stderr_has("Wrote backup with name base_").stdout_has("not deleting any");
    source.sql("CREATE TABLE ledger AS SELECT generate_series(1, 1000) id");
    source.switch_wal();
    std::thread::sleep(Duration::from_millis(1100)); // times in the list are whole seconds
    let before_loss = source.sql("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')");
    source.sql("DELETE FROM ledger WHERE id > 10");
    source.switch_wal();

    let mut clone = Cluster::restored(&scratch, &postgres, "clone");
    let too_early = pod.clone(&clone_env, &["15", "16"], Some("2020-10-02T06:27:30+02:00"), clone.data());
    too_early.exits(1).stderr_has("Could not find any backups prior to");
    pod.clone(&clone_env, &["15", "16"], Some(&before_loss), clone.data()).success();
    let prefix = fs::read_dir(&clone_env).unwrap().map(|entry| entry.unwrap().path());
    let mut prefix = prefix.filter(|path| path.to_str().unwrap().ends_with("_PREFIX"));
    let updated = fs::read_to_string(prefix.next().unwrap()).unwrap();
    assert!(updated.ends_with("/spilo/demo/wal/15/"), "{updated}");
    clone.configure("recovery_target_time", &before_loss);
    pod.recover(&mut clone, &clone_env);
    assert_eq!(clone.sql("SELECT count(*) FROM ledger"), "1000");
    assert_eq!(clone.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "2");
    clone.amcheck();

    pod.backup(&env, &source);
    pod.backup(&env, &source);
    let names = || -> Vec<String> {
        let list = run(pod.envdir(&env).args(["wal-g", "backup-list"])).success().stdout;
        list.lines().skip(1).map(|row| row.split(' ').next().unwrap().to_owned()).collect()
    };
    let taken = names();
    assert_eq!(taken.len(), 3, "{taken:?}");
    if let Some(storage) = storage {
        for (name, days) in taken.iter().zip([5, 4, 3]) {
            let sentinel = format!("{PREFIX}/15/basebackups_005/{name}_backup_stop_sentinel.json");
            make_older(&storage.join(sentinel), days * DAY);
        }
        pod.backup(&env, &source);
        let kept = names();
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert_eq!(kept[0], taken[2]);
        let oldest_wal = bucket.keys().into_iter().find(|key| key.contains("/wal_005/0000")).unwrap();
        assert!(oldest_wal.contains(taken[2].trim_start_matches("base_")), "{oldest_wal}");
    }

    let mut replica = Cluster::restored(&scratch, &postgres, "replica");
    let mut create = pod.envdir(&env);
    create.arg("bash").arg(pod.script("wale_restore.sh"));
    create.args(["--threshold_megabytes=10240", "--threshold_backup_size_percentage=10000", "--retries=2"]);
    create.args(["--no_leader=1", "--scope=demo", "--role=replica"]);
    create.arg(format!("--datadir={}", replica.data().display()));
    create.arg(format!(
        "--connstring=host=/var/run/postgresql port={} user=postgres dbname=postgres",
        socket.port
    ));
    run(&mut create).success().stdout_has("Wals generated since the last backup");
    source.switch_wal();
    pod.recover(&mut replica, &env);
    assert_eq!(replica.sql("SELECT count(*) FROM ledger"), "10");
    assert!(source.log().lines().all(|line| !line.contains("archive command failed")), "{}", source.log());
}

#[test]
fn scripts_on_a_directory() {
    let place = Scratch::new();
    let bucket = Bucket::directory(&place, "storage");
    day_of_a_pod(&bucket, Some(&place.path().join("storage")));
}

#[test]
fn scripts_on_s3() {
    day_of_a_pod(&require!(Bucket::versitygw()), None);
}
