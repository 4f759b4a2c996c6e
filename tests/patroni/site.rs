//! Members of Patroni clusters, with the files that `docs/patroni.md` shows.
//!
//! Every member has an address of its own on the loopback, so that it may have the page's ports. The DCS is Patroni's own raft,
//! which needs no further server: one member is a quorum of one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Bucket, Cluster, Missing, Postgres, Run, Scratch, Tool, blocks, run};

/// How long Patroni may take for anything, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Patroni looks this often, in seconds.
const PACE: &str = "    loop_wait: 1\n";

/// For so long Patroni takes what has died for alive, in seconds; shorter it cannot be. Where nobody takes over it is long, so
/// that a busy machine costs nobody the lead. For less than half of it the leader asks for it again before it gives up.
const SHORT_LEASE: &str = "    ttl: 20\n    retry_timeout: 9\n";
const LONG_LEASE: &str = "    ttl: 300\n    retry_timeout: 100\n";

/// What a scenario is played on.
pub struct Stage {
    pub postgres: Postgres,
    pub blocks: BTreeMap<String, String>,
    patroni: PathBuf,
    // Last: it is removed when nothing uses it any more.
    pub scratch: Scratch,
}

impl Stage {
    pub fn new() -> Result<Self, Missing> {
        let patroni = std::env::var("SEAWALL_TEST_PATRONI").map_err(|_| {
            Missing::installable("no Patroni, SEAWALL_TEST_PATRONI is not set (scripts/test sets it)")
        })?;
        let postgres = Postgres::version(15)?;
        Ok(Self {
            postgres,
            blocks: blocks("docs/patroni.md"),
            patroni: patroni.into(),
            scratch: Scratch::new(),
        })
    }

    /// The settings of a repository in a directory.
    pub fn archive(&self, name: &str) -> (Bucket, Tool) {
        let bucket = Bucket::directory(&self.scratch, name);
        let tool = Tool::seawall(&self.scratch).with_all(bucket.env()).waiting_for_wal();
        (bucket, tool)
    }

    /// `/etc/patroni.yml` of the page.
    pub fn primary_site(&self) -> String {
        self.blocks["gold"].clone()
    }

    /// The same without a line, by its word, and those that follow, `count` in all.
    pub fn without(&self, word: &str, count: usize) -> String {
        let config = self.primary_site();
        let at = config.lines().position(|line| line.trim() == word).unwrap();
        let kept = config.lines().enumerate().filter(|(number, _)| !(at..at + count).contains(number));
        kept.map(|(_, line)| line.to_owned() + "\n").collect()
    }

    /// `/etc/patroni.yml` of a standby cluster named `scope` that follows the archive of `followed`.
    pub fn standby_site(&self, scope: &str, followed: &str) -> String {
        let block =
            |name: &str| self.blocks[name].replace("seawall-gold.json", &format!("seawall-{followed}.json"));
        let config = self.primary_site().replace("scope: gold", &format!("scope: {scope}"));
        let config = config.replace("name: gold-1", &format!("name: {scope}-1"));
        below(&below(&config, "  dcs:\n", &block("standby")), "postgresql:\n", &block("standby-method"))
    }

    /// The latest backup of an archive, not started.
    pub fn restore(&self, archive: &Tool, name: &str) -> Cluster<'_> {
        let restored = Cluster::restored(&self.scratch, &self.postgres, name);
        archive.run(&self.scratch, ["backup-fetch", restored.data().to_str().unwrap(), "LATEST"]).success();
        restored
    }

    /// A member that was never started, alone in its cluster; `config` is its `/etc/patroni.yml`.
    pub fn member(&self, name: &str, config: &str) -> Member<'_> {
        self.voter(name, config, &address(), &[])
    }

    /// A member at an address, with the addresses of the other voters of its cluster.
    pub fn voter(&self, name: &str, config: &str, address: &str, others: &[&str]) -> Member<'_> {
        let cluster = Cluster::restored(&self.scratch, &self.postgres, name);
        let home = self.scratch.dir(&format!("{name}.home"));
        for directory in ["bin", "etc", "raft"] {
            self.scratch.dir(&format!("{name}.home/{directory}"));
        }
        let seawall = Tool::seawall(&self.scratch);
        for link in ["seawall", "wal-g"] {
            std::os::unix::fs::symlink(seawall.path(), home.join("bin").join(link)).unwrap();
        }
        let env = cluster.libpq_env();
        let member = Member {
            stage: self,
            cluster,
            name: name.to_owned(),
            address: address.to_owned(),
            home,
            env,
            process: None,
        };
        member.write("etc/patroni.yml", &member.here(config, others));
        member
    }

    /// One that only votes: the third voter of two members.
    pub fn controller(&self, address: &str, others: &[&str]) -> Controller {
        let raft = raft(&self.scratch.dir("controller.raft"), address, others);
        let config = self.scratch.file("controller.yml", &raft);
        let log = self.scratch.file("controller.log", "");
        let mut command = self.scratch.command("setpriv");
        Controller(start(&mut command, &self.patroni.join("patroni_raft_controller"), &config, &log))
    }
}

/// An address of the loopback that nobody else uses.
pub fn address() -> String {
    let random = RandomState::new().build_hasher().finish().to_le_bytes();
    format!("127.{}.{}.{}", random[0].clamp(1, 254), random[1], random[2].clamp(1, 254))
}

/// The DCS of a member or a controller.
fn raft(data: &Path, address: &str, others: &[&str]) -> String {
    let others: Vec<String> = others.iter().map(|other| format!("\"{other}:5010\"")).collect();
    format!(
        "raft: {{ data_dir: {}, self_addr: \"{address}:5010\", bind_addr: \"{address}:5010\", partner_addrs: [{}] }}\n",
        data.display(),
        others.join(", ")
    )
}

/// The text with lines inserted below one of its lines.
pub fn below(text: &str, line: &str, inserted: &str) -> String {
    let at = format!("\n{line}");
    assert_eq!(text.matches(&at).count(), 1, "{line}");
    text.replace(&at, &format!("{at}{inserted}"))
}

/// Starts a daemon of Patroni with its configuration by `setpriv`, both streams at the end of a file.
///
/// It gets SIGTERM when the test is killed. Python does not hear SIGINT where a script has started the tests in the background.
fn start(setpriv: &mut Command, daemon: &Path, config: &Path, log: &Path) -> Child {
    let log = OpenOptions::new().append(true).open(log).unwrap();
    setpriv.args(["--pdeathsig", "TERM", "--"]).arg(daemon).arg(config);
    setpriv.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    setpriv.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// A `patroni_raft_controller` that runs.
pub struct Controller(Child);

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A machine with Patroni and its PostgreSQL. Its data directory, socket and log (of both) are those of `cluster`.
pub struct Member<'a> {
    stage: &'a Stage,
    pub cluster: Cluster<'a>,
    name: String,
    address: String,
    home: PathBuf,
    env: BTreeMap<String, String>,
    process: Option<Child>,
}

impl<'a> Member<'a> {
    /// The text of the page with the places of this machine.
    fn places(&self, text: &str) -> String {
        let home = self.home.display();
        [
            // first, since the other places are below it
            ("/tmp/", format!("{home}/")),
            ("/etc/", format!("{home}/etc/")),
            ("/usr/local/bin/", format!("{home}/bin/")),
            ("/var/lib/postgresql/15/main", self.cluster.data().display().to_string()),
            ("/usr/lib/postgresql/15/bin", self.stage.postgres.server_program("").display().to_string()),
            ("patronictl ", format!("{} ", self.stage.patroni.join("patronictl").display())),
            ("10.1.0.11", self.address.clone()),
            // outside of tests the user is postgres
            ("all peer", "all trust".to_owned()),
            ("data-checksums]", "data-checksums, no-sync]".to_owned()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    /// `/etc/patroni.yml` of this machine, with settings for a quick server.
    fn here(&self, text: &str, others: &[&str]) -> String {
        let text: String = text
            .lines()
            .map(|line| match line.starts_with("etcd3:") {
                true => raft(&self.home.join("raft"), &self.address, others),
                false => line.to_owned() + "\n",
            })
            .collect();
        assert!(text.contains("\nraft:"), "{text}");
        let text = self.places(&text);
        let mut quick = format!("  pgpass: {}/pgpass\n  parameters:\n", self.home.display());
        for (setting, value) in [
            ("unix_socket_directories", self.env["PGHOST"].as_str()),
            ("fsync", "off"),
            ("shared_buffers", "16MB"),
            ("wal_retrieve_retry_interval", "500ms"),
        ] {
            writeln!(quick, "    {setting}: \"{value}\"").unwrap();
        }
        let lease = if others.is_empty() { LONG_LEASE } else { SHORT_LEASE };
        below(&below(&text, "postgresql:\n", &quick), "  dcs:\n", &(PACE.to_owned() + lease))
    }

    /// Writes a file of this machine, by its path below `/`, `etc/…` or `bin/…`.
    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = format!("{}.home/{path}", self.name);
        self.stage.scratch.file(&path, text)
    }

    /// Makes `/etc/NAME`, which leads seawall to an archive.
    pub fn configure(&self, name: &str, archive: &Tool) {
        self.write(&format!("etc/{name}"), &serde_json::to_string(archive.env()).unwrap());
    }

    /// Makes an executable `/usr/local/bin/NAME` of a block of the page.
    pub fn install(&self, name: &str) {
        let text = self.places(&self.stage.blocks[name]);
        let path = self.write(&format!("bin/{name}"), &text);
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Leads seawall to an archive by wal-g's file in the user's home, from its next call on.
    pub fn use_archive(&self, archive: &Tool) {
        self.write(".walg.json", &serde_json::to_string(archive.env()).unwrap());
    }

    /// A command on this machine.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.stage.scratch.command(program);
        let clients = self.stage.postgres.client_program("");
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}/bin:{}:{path}", self.home.display(), clients.display()));
        command.env("HOME", &self.home).envs(&self.env);
        command
    }

    /// Starts Patroni. The process is Patroni itself, so it is the one that gets the signals.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} is started already", self.name);
        let log = self.stage.scratch.path().join(format!("{}.log", self.name));
        let (patroni, config) = (self.stage.patroni.join("patroni"), self.home.join("etc/patroni.yml"));
        self.process = Some(start(&mut self.command("setpriv"), &patroni, &config, &log));
    }

    /// Stops Patroni, which stops its server.
    pub fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        self.wait("Patroni to end", || process.try_wait().unwrap().is_some());
        assert!(self.postmaster().is_none(), "Patroni has left its server\n{}", self.log());
    }

    /// Kills Patroni alone: its server goes on.
    pub fn kill_patroni(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Kills the server, as a power cut would.
    pub fn kill_server(&self) {
        if let Some(server) = self.postmaster() {
            let _ = kill_process(server, Signal::QUIT);
            self.wait("the server to end", || self.postmaster().is_none());
        }
    }

    /// Removes the data directory, as a new volume is without it.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.cluster.data()).unwrap();
    }

    /// The server of this data directory, if it runs.
    fn postmaster(&self) -> Option<Pid> {
        let data = self.cluster.data();
        let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let pid: i32 = file.lines().next()?.trim().parse().ok()?;
        let at = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (at == data.canonicalize().ok()?).then(|| Pid::from_raw(pid)).flatten()
    }

    /// Runs a block of the page.
    pub fn shell(&self, block: &str) -> Run {
        let text = self.places(&self.stage.blocks[block]);
        run(self.command("sh").args(["-euc", &text])).success()
    }

    /// What Patroni says of itself; none when it does not answer.
    pub fn status(&self) -> Option<Value> {
        let mut stream = TcpStream::connect((self.address.as_str(), 8008)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.write_all(b"GET /patroni HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Waits until Patroni says that its server runs as `role`: `primary`, `replica`, or `standby_leader`.
    #[track_caller]
    pub fn wait_until_it_is(&mut self, role: &str) {
        let begin = Instant::now();
        loop {
            let status = self.status().unwrap_or_default();
            if status["role"] == role && status["state"] == "running" {
                return;
            }
            let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
            assert!(ended.is_none(), "Patroni of {} ended: {ended:?}\n{}", self.name, self.log());
            assert!(begin.elapsed() < LIMIT, "{} is no {role}: {status}\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < LIMIT, "waited for {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the log has a text.
    #[track_caller]
    pub fn wait_until_it_says(&self, text: &str) {
        self.wait(&format!("`{text}`"), || self.log().contains(text));
    }

    /// What Patroni, the server, and the commands of both said.
    pub fn log(&self) -> String {
        self.cluster.log().split_inclusive('\n').filter(|line| !line.contains("INFO: no action.")).collect()
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // In the middle of something it has children, which it ends itself.
            if std::thread::panicking() {
                let _ = kill_process(Pid::from_child(&process), Signal::TERM);
                let begin = Instant::now();
                while process.try_wait().is_ok_and(|ended| ended.is_none())
                    && begin.elapsed() < Duration::from_secs(20)
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Some(server) = self.postmaster() {
            let _ = kill_process(server, Signal::QUIT);
            let begin = Instant::now();
            while self.postmaster().is_some() && begin.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
