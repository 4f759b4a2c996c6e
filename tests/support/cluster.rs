//! A PostgreSQL cluster of one test, on a socket in its scratch directory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::available::Missing;
use super::command::{Run, run};
use super::scratch::Scratch;
use super::tool::Tool;

/// How long a cluster may take to start or stop, recovery included.
const LIMIT: Duration = Duration::from_secs(120);

/// Names the socket only: nothing listens on TCP unless a test asks for it.
const PORT: &str = "5432";

/// The clients of this version work with every server.
const CLIENT_VERSION: u32 = 15;

/// An installed PostgreSQL.
#[derive(Clone, Debug)]
pub struct Postgres {
    version: u32,
    bin: PathBuf,
    client_bin: PathBuf,
}

impl Postgres {
    /// The major versions that seawall supports.
    pub const VERSIONS: [u32; 6] = [13, 14, 15, 16, 17, 18];

    pub fn version(version: u32) -> Result<Self, Missing> {
        Ok(Self { version, bin: bin_dir(version)?, client_bin: bin_dir(CLIENT_VERSION)? })
    }

    pub fn major(&self) -> u32 {
        self.version
    }

    /// A server program: postgres, initdb, pg_ctl.
    pub fn server_program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A client program of PostgreSQL 15: psql, pgbench, pg_amcheck, pg_waldump …
    pub fn client_program(&self, name: &str) -> PathBuf {
        self.client_bin.join(name)
    }
}

fn bin_dir(version: u32) -> Result<PathBuf, Missing> {
    let variable = format!("SEAWALL_TEST_PG{version}_BIN");
    let debian = format!("/usr/lib/postgresql/{version}/bin");
    let dir = PathBuf::from(std::env::var(&variable).unwrap_or(debian));
    if dir.join("postgres").exists() {
        Ok(dir)
    } else {
        Err(Missing::installable(format!(
            "no PostgreSQL {version} in {}, {variable} names another place",
            dir.display()
        )))
    }
}

/// A data directory and, while it is started, its server.
pub struct Cluster<'a> {
    scratch: &'a Scratch,
    postgres: Postgres,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    env: BTreeMap<String, String>,
    server: Option<Child>,
}

impl<'a> Cluster<'a> {
    /// A new cluster, not started; `initdb_args` such as `--data-checksums`.
    ///
    /// It is the copy of one that initdb made once for all tests (in the target directory), so clusters of the same
    /// version and arguments have the same system identifier. [`Cluster::foreign`] makes another.
    pub fn create(scratch: &'a Scratch, postgres: &Postgres, name: &str, initdb_args: &[&str]) -> Self {
        let data = scratch.copy(&template(scratch, postgres, initdb_args), name);
        Self::with_data(scratch, postgres, data)
    }

    /// The same, started.
    pub fn running(scratch: &'a Scratch, postgres: &Postgres, name: &str, initdb_args: &[&str]) -> Self {
        let mut cluster = Self::create(scratch, postgres, name, initdb_args);
        cluster.start();
        cluster
    }

    /// A new cluster of another system identifier than any other.
    pub fn foreign(scratch: &'a Scratch, postgres: &Postgres, name: &str) -> Self {
        let data = scratch.absent(name);
        initdb(scratch, postgres, &data, &[]);
        Self::with_data(scratch, postgres, data)
    }

    /// A data directory that something else made or will make, such as a restore.
    pub fn restored(scratch: &'a Scratch, postgres: &Postgres, name: &str) -> Self {
        Self::with_data(scratch, postgres, scratch.absent(name))
    }

    fn with_data(scratch: &'a Scratch, postgres: &Postgres, data: PathBuf) -> Self {
        let name = data.file_name().unwrap().to_str().unwrap().to_owned();
        Self {
            scratch,
            postgres: postgres.clone(),
            sockets: scratch.dir(&format!("{name}.s")),
            log: scratch.file(&format!("{name}.log"), ""),
            data,
            env: BTreeMap::new(),
            server: None,
        }
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What the server wrote, over all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Gives the server, and so its archive_command and restore_command, these variables at its next start.
    pub fn set_env(&mut self, env: &BTreeMap<String, String>) {
        self.env.extend(env.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// Archives with `tool wal-push` from the next start on.
    pub fn archive_with(&mut self, tool: &Tool) {
        self.set_env(tool.env());
        self.configure("archive_mode", "on");
        self.configure("archive_command", &format!("{} wal-push %p", tool.path()));
    }

    /// Archives nothing from the next start on: all segments stay and wait, and the end of a backup waits for them.
    pub fn archive_in_vain(&self) {
        self.configure("archive_mode", "on");
        self.configure("archive_command", "false");
    }

    /// Makes the next start an archive recovery by `tool wal-fetch`, of a cluster that archives nothing itself.
    pub fn recover_with(&mut self, tool: &Tool) {
        self.set_env(tool.env());
        self.configure("archive_mode", "off");
        self.configure("restore_command", &format!("{} wal-fetch %f %p", tool.path()));
        self.append("recovery.signal", "");
    }

    /// Makes the next start one of a standby that follows by `tool wal-fetch` and archives nothing itself.
    pub fn follow_with(&mut self, tool: &Tool) {
        self.set_env(tool.env());
        self.configure("archive_mode", "off");
        self.configure("restore_command", &format!("{} wal-fetch %f %p", tool.path()));
        self.configure("wal_retrieve_retry_interval", "200ms");
        self.append("standby.signal", "");
    }

    /// Takes a backup of this data directory.
    #[track_caller]
    pub fn push_backup(&self, tool: &Tool) -> Run {
        let mut command = tool.command(self.scratch, [OsStr::new("backup-push"), self.data.as_os_str()]);
        run(command.envs(self.libpq_env())).success()
    }

    /// Starts a backup that reads so many bytes in a second; a new cluster has about 23 MB. Its streams are piped.
    pub fn start_slow_backup(&self, tool: &Tool, bytes_per_second: u32) -> Child {
        let tool = tool.clone().with("WALG_DISK_RATE_LIMIT", &bytes_per_second.to_string());
        let mut command = tool.command(self.scratch, [OsStr::new("backup-push"), self.data.as_os_str()]);
        command.envs(self.libpq_env()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Appends a setting to postgresql.conf.
    pub fn configure(&self, setting: &str, value: &str) {
        let quoted = value.replace('\'', "''");
        self.append("postgresql.conf", &format!("{setting} = '{quoted}'\n"));
    }

    /// Appends to a file of the data directory, and makes it when there is none.
    pub fn append(&self, name: &str, text: &str) {
        let path = self.data.join(name);
        OpenOptions::new().append(true).create(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        self.scratch.own(&path);
    }

    /// Starts the server and waits until it takes connections.
    #[track_caller]
    pub fn start(&mut self) {
        if let Err(log) = self.try_start() {
            panic!("PostgreSQL in {} did not start:\n{log}", self.data.display());
        }
    }

    /// As [`Cluster::start`]; when the server ends in place of starting, the error is its log of this start.
    pub fn try_start(&mut self) -> Result<(), String> {
        assert!(self.server.is_none(), "{} is started already", self.data.display());
        let before = self.log().len();
        let log = OpenOptions::new().append(true).open(&self.log).unwrap();
        let mut command = self.scratch.command(self.postgres.server_program("postgres"));
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.sockets).args(["-p", PORT]).envs(&self.env);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut server = command.spawn().unwrap();
        let begin = Instant::now();
        loop {
            if let Some(status) = server.try_wait().unwrap() {
                return Err(format!("{}\nended with {status}", &self.log()[before..]));
            }
            if begin.elapsed() > LIMIT {
                server.kill().unwrap();
                server.wait().unwrap();
                return Err(format!("{}\nnot ready after {LIMIT:?}", &self.log()[before..]));
            }
            if self.takes_connections() {
                self.server = Some(server);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last line of postmaster.pid is the state that pg_ctl waits for (`miscadmin.h`, LOCK_FILE_LINE_PM_STATUS).
    fn takes_connections(&self) -> bool {
        fs::read_to_string(self.data.join("postmaster.pid")).is_ok_and(|lines| {
            lines.lines().nth(7).is_some_and(|state| ["ready", "standby"].contains(&state.trim()))
        })
    }

    /// Stops the server with a checkpoint; archives what is left to archive.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Stops the server as a power cut would: without a checkpoint.
    pub fn kill(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Waits until the server has ended by itself; returns its whole log.
    #[track_caller]
    pub fn ended(&mut self) -> String {
        let mut server = self.server.take().unwrap();
        let begin = Instant::now();
        while server.try_wait().unwrap().is_none() {
            if begin.elapsed() > LIMIT {
                self.server = Some(server);
                panic!("PostgreSQL in {} goes on for {LIMIT:?}", self.data.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.log()
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut server) = self.server.take() else { return };
        let pid = Pid::from_child(&server);
        kill_process(pid, signal).unwrap();
        let begin = Instant::now();
        while server.try_wait().unwrap().is_none() {
            if begin.elapsed() > LIMIT {
                kill_process(pid, Signal::QUIT).unwrap();
                server.wait().unwrap();
                panic!("PostgreSQL in {} did not stop within {LIMIT:?}", self.data.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What libpq needs to reach the server.
    pub fn libpq_env(&self) -> BTreeMap<String, String> {
        [
            ("PGHOST", self.sockets.to_str().unwrap()),
            ("PGPORT", PORT),
            ("PGUSER", "postgres"),
            ("PGDATABASE", "postgres"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// A client program, as the user of the tests and connected to the server.
    pub fn client(&self, program: &str) -> Command {
        let mut command = self.scratch.command(self.postgres.client_program(program));
        command.envs(self.libpq_env());
        command
    }

    /// Runs SQL; the result's rows as lines, columns divided by `|`.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).success().stdout.trim_end().to_owned()
    }

    pub fn try_sql(&self, sql: &str) -> Run {
        run(self.client("psql").args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql]))
    }

    /// Waits until a query answers `expected`.
    #[track_caller]
    pub fn wait_until(&self, sql: &str, expected: &str) {
        let begin = Instant::now();
        loop {
            let answer = self.try_sql(sql);
            if answer.code == Some(0) && answer.stdout.trim_end() == expected {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "waited for `{expected}`: {answer}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the current segment and waits until it is archived; returns its name.
    #[track_caller]
    pub fn switch_wal(&self) -> String {
        let segment = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        // The history file of a backup may be archived after later segments, and is the last one then.
        let archived = format!(
            "SELECT last_archived_wal >= '{segment}' OR EXISTS (SELECT FROM pg_ls_archive_statusdir() \
             WHERE name = '{segment}.done') FROM pg_stat_archiver"
        );
        self.wait_until(&archived, "t");
        segment
    }

    /// Makes pgbench's tables; scale 1 is about 15 MB.
    pub fn pgbench_init(&self, scale: u32) {
        run(self.client("pgbench").args(["-i", "-q", "-s", &scale.to_string()])).success();
    }

    /// Waits until no session of a pgbench that was ended is left: until then one may still commit.
    #[track_caller]
    pub fn pgbench_is_gone(&self) {
        self.wait_until("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'", "0");
    }

    /// Every B-tree index against its table, and from 14 on (`verify_heapam`) every table.
    #[track_caller]
    pub fn amcheck(&self) {
        if self.postgres.major() >= 14 {
            run(self.client("pg_amcheck").args(["--all", "--install-missing", "--heapallindexed"])).success();
        } else {
            self.sql(
                "CREATE EXTENSION amcheck; SELECT bt_index_check(c.oid, true) FROM pg_index i JOIN pg_class c ON c.oid = \
                 i.indexrelid WHERE c.relam = 403 AND c.relpersistence <> 't' AND i.indisvalid",
            );
        }
    }
}

/// Reads what a backup says until it copies data.
#[track_caller]
pub fn wait_until_it_copies(backup: &mut Child) {
    wait_until_it_says(backup, "Starting part_");
}

/// Reads what a command says until it says this.
#[track_caller]
pub fn wait_until_it_says(command: &mut Child, text: &str) {
    let mut said = String::new();
    let mut lines = BufReader::new(command.stderr.as_mut().unwrap());
    while !said.contains(text) {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended: {said}");
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = kill_process(Pid::from_child(&server), Signal::QUIT);
            let _ = server.wait();
        }
        if std::thread::panicking() {
            // kept back by the test harness unless the test fails, as it does here
            let log = self.log();
            let tail = log.lines().count().saturating_sub(40);
            let lines: Vec<_> = log.lines().skip(tail).collect();
            eprintln!("-- log of {} ends\n{}", self.data.display(), lines.join("\n"));
        }
    }
}

/// A data directory made by initdb, kept for all test binaries and runs.
fn template(scratch: &Scratch, postgres: &Postgres, args: &[&str]) -> PathBuf {
    let release = run(Command::new(postgres.server_program("postgres")).arg("--version")).success().stdout;
    let name: String = format!("initdb {release} {}", args.join(" "))
        .chars()
        .filter_map(|c| {
            if c.is_ascii_alphanumeric() || "-.=".contains(c) { Some(c) } else { (c == ' ').then_some('_') }
        })
        .collect();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // one initdb at a time in this user's test binaries; a second one finds the first one's result
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lock = File::create(kept.with_added_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !kept.exists() {
        let fresh = scratch.absent("initdb");
        initdb(scratch, postgres, &fresh, args);
        let copy = kept.with_added_extension("new");
        let _ = fs::remove_dir_all(&copy);
        run(Command::new("cp").arg("-a").arg(&fresh).arg(&copy)).success();
        fs::rename(&copy, &kept).unwrap();
        fs::remove_dir_all(&fresh).unwrap();
    }
    kept
}

/// Trust on the socket, superuser postgres, and settings for small and quick servers.
fn initdb(scratch: &Scratch, postgres: &Postgres, data: &Path, args: &[&str]) {
    let mut command = scratch.command(postgres.server_program("initdb"));
    command.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]).args(args);
    run(command.arg("-D").arg(data)).success();
    let conf = "listen_addresses = ''\nfsync = off\nshared_buffers = 16MB\nmax_connections = 20\nwal_level = replica\n\
                max_wal_senders = 5\ntimezone = 'UTC'\nlog_timezone = 'UTC'\nautovacuum = off\n";
    OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))
        .unwrap()
        .write_all(conf.as_bytes())
        .unwrap();
    fs::set_permissions(data, PermissionsExt::from_mode(0o700)).unwrap();
}
