//! What the README tells people to run, run as it stands there, and the links of all pages.
//!
//! Only the places are others: what belongs to the system lies in a scratch directory here ([`Machine::here`]).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Cluster, Missing, Postgres, Run, Scratch, run};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The README's blocks by name.
fn blocks() -> BTreeMap<String, String> {
    support::blocks("README.md")
}

#[test]
fn every_block_is_run_here() {
    let run_here = [
        "archive",
        "config",
        "cron",
        "install",
        "key",
        "look",
        "quickstart",
        "recovery",
        "restore",
        "test",
        "wal-g",
    ];
    assert_eq!(blocks().into_keys().collect::<Vec<_>>(), run_here);
}

/// The machine that the README is followed on.
struct Machine {
    scratch: Scratch,
    path: String,
}

impl Machine {
    fn new() -> Machine {
        let scratch = Scratch::new();
        for directory in ["bin", "etc", "backup", "backup/main"] {
            scratch.dir(directory);
        }
        let path = format!("{}/bin:{}", scratch.path().display(), std::env::var("PATH").unwrap());
        Machine { scratch, path }
    }

    /// The text with the places of this machine.
    fn here(&self, text: &str) -> String {
        let scratch = self.scratch.path().display();
        [
            ("target/release/seawall", env!("CARGO_BIN_EXE_seawall").to_owned()),
            ("/usr/local/bin/", format!("{scratch}/bin/")),
            ("/etc/", format!("{scratch}/etc/")),
            ("/backup/main", format!("{scratch}/backup/main")),
            ("/var/lib/postgresql/15/", format!("{scratch}/")),
        ]
        .iter()
        .fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    /// Runs commands as the server's user.
    #[track_caller]
    fn shell(&self, commands: &str, env: &BTreeMap<String, String>) -> Run {
        let mut command = self.scratch.command("sh");
        command.args(["-euc", &self.here(commands)]).env("PATH", &self.path).envs(env);
        run(&mut command).success()
    }
}

#[test]
fn a_cluster_is_archived_and_restored_as_it_says() {
    let postgres = require!(Postgres::version(15));
    let (blocks, machine) = (blocks(), Machine::new());
    let nothing = BTreeMap::new();

    // The program is built already, by whoever runs this test.
    let install = blocks["install"].strip_prefix("cargo build --release --locked\n").unwrap();
    machine.shell(install, &nothing);
    machine.shell(&blocks["key"], &nothing);
    machine.scratch.file("etc/seawall.json", &machine.here(&blocks["config"]));

    let mut cluster = Cluster::create(&machine.scratch, &postgres, "main", &[]);
    cluster.append("postgresql.conf", &machine.here(&blocks["archive"]));
    cluster.set_env(&BTreeMap::from([("PATH".to_owned(), machine.path.clone())]));
    cluster.start();
    cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n");
    for line in blocks["cron"].lines() {
        let command = line.splitn(6, ' ').last().unwrap();
        machine.shell(command, &cluster.libpq_env());
    }
    cluster.sql("INSERT INTO t SELECT generate_series(1001, 2000)");
    let moment = cluster.sql("SELECT clock_timestamp()");
    std::thread::sleep(std::time::Duration::from_millis(100));
    cluster.sql("DELETE FROM t");
    cluster.switch_wal();
    machine.shell(&blocks["look"], &cluster.libpq_env()).stdout_has("base_0000000100000000");
    machine.shell(&blocks["wal-g"], &nothing).stdout_has("base_0000000100000000");
    cluster.stop();

    machine.shell(&blocks["restore"], &nothing);
    let mut restored = Cluster::restored(&machine.scratch, &postgres, "restored");
    let recovery = blocks["recovery"].replace("2026-11-21 05:54:51+00", &moment);
    assert!(recovery.contains(&moment));
    restored.append("postgresql.conf", &machine.here(&recovery));
    restored.set_env(&BTreeMap::from([("PATH".to_owned(), machine.path.clone())]));
    restored.start();
    restored.wait_until("SELECT pg_is_in_recovery()", "f");
    assert_eq!(restored.sql("SELECT count(*), sum(n) FROM t"), "2000|2001000");
}

/// A line of the block `quickstart`, with the program that was built for the tests.
fn quickstart(arguments: &[&str]) {
    let postgres = require!(Postgres::version(15));
    let line = blocks().get("quickstart").map(|block| block.trim().to_owned()).unwrap();
    let mut command = Command::new(Path::new(ROOT).join(line));
    command
        .args(arguments)
        .env("SEAWALL_BIN", env!("CARGO_BIN_EXE_seawall"))
        .env("SEAWALL_QUICKSTART_SKIP_INSTALL", "1")
        .env("SEAWALL_QUICKSTART_PG_BIN", postgres.server_program("postgres").parent().unwrap());
    run(&mut command).success().stdout_has("the same rows as before the mistake");
}

#[test]
fn the_quickstart_recovers_from_a_directory() {
    quickstart(&[]);
}

#[test]
fn the_quickstart_recovers_from_s3() {
    // Set when scripts/test has started one, so the programs are here.
    require!(
        std::env::var("SEAWALL_TEST_VERSITYGW")
            .or_else(|_| std::env::var("SEAWALL_TEST_SWIFT"))
            .map_err(|_| Missing::installable("neither versitygw nor Swift (scripts/test brings both)"))
    );
    quickstart(&["--s3"]);
}

#[test]
fn the_command_that_runs_the_tests_exists() {
    let block = &blocks()["test"];
    run(Command::new("bash").arg("-n").arg(Path::new(ROOT).join(block.trim()))).success();
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let target = page.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(target.exists(), "{}: {link}", page.display());
        }
    }
}

/// The README and all of `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![Path::new(ROOT).join("README.md")];
    for directory in ["docs", "docs/benchmarks"] {
        let files = std::fs::read_dir(Path::new(ROOT).join(directory)).unwrap();
        pages.extend(
            files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md")),
        );
    }
    pages
}

/// The sources below a path, one text.
fn sources(path: &Path) -> String {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap();
        return entries.map(|entry| sources(&entry.unwrap().path())).collect();
    }
    match path.extension().is_some_and(|extension| extension == "rs") {
        true => std::fs::read_to_string(path).unwrap(),
        false => String::new(),
    }
}

/// Tests are renamed; the table of promises is not to name one that is gone.
#[test]
fn the_tests_of_the_promises_exist() {
    let root = Path::new(ROOT);
    let page = std::fs::read_to_string(root.join("docs/promises.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let rows: Vec<&str> = rows.into_iter().filter(|row| *row != "| promise | test |").collect();
    assert!(rows.len() > 40, "{} promises", rows.len());
    let mut missing = Vec::new();
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let mut text = String::new();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let name = match name.split_once(": ") {
                None => name,
                Some(("lib", name)) => {
                    text = sources(&root.join("src"));
                    name
                }
                Some((binary, name)) => {
                    let [file, folder] = [format!("tests/{binary}.rs"), format!("tests/{binary}")];
                    text = sources(&root.join(file)) + &sources(&root.join(folder));
                    name
                }
            };
            let found = match name.strip_suffix("::") {
                Some(module) => text.contains(&format!("mod {module};")),
                None if name == "*" => !text.is_empty(),
                None => {
                    let last = name.rsplit("::").next().unwrap();
                    ["fn", "mod"].iter().any(|word| text.contains(&format!("{word} {last}")))
                }
            };
            if !found {
                missing.push(name);
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}
