//! CloudNativePG's own code in front of the commands: the library of the operator and of its plugin, by a small program
//! (`library/main.go`), which `scripts/testbed/install` builds.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cycle::instance;
use crate::operator::ObjectStore;
use crate::support::{Bucket, Cluster, Missing, Postgres, Run, run as run_command};

const SERVER: &str = "cluster";

/// Where the program is.
pub fn program() -> Result<PathBuf, Missing> {
    let path = std::env::var("SEAWALL_TEST_CLOUDNATIVEPG").map_err(|_| {
        Missing::optional(
            "no program with CloudNativePG's library, SEAWALL_TEST_CLOUDNATIVEPG is not set \
             (scripts/testbed/install cloudnativepg builds it)",
        )
    })?;
    Ok(path.into())
}

/// The library with an object store.
struct Library<'a> {
    program: PathBuf,
    store: &'a ObjectStore<'a>,
}

impl Library<'_> {
    fn run(&self, cluster: &Cluster<'_>, words: &[&str]) -> Run {
        let barman = &self.store.barman;
        let mut command = self.store.scratch.command(&self.program);
        let path = format!("{}:{}", barman.directory().display(), std::env::var("PATH").unwrap());
        command.args(words).current_dir(cluster.data()).envs(barman.env()).env("PATH", path);
        command.env("STORE", self.resource().to_string());
        for name in ["PGHOST", "PGPORT"] {
            command.env(name, &cluster.libpq_env()[name]);
        }
        run_command(&mut command)
    }

    /// The store as it stands in a resource.
    fn resource(&self) -> Value {
        json!({
            "s3Credentials": {},
            "endpointURL": self.store.endpoint,
            "destinationPath": self.store.destination,
            "wal": { "compression": self.store.wal_compression, "maxParallel": 8 },
            "data": { "compression": self.store.data_compression, "immediateCheckpoint": true, "jobs": 2 },
            "tags": { "env": "test" },
            "historyTags": { "kind": "history" },
        })
    }

    /// The backup to recover from.
    fn find(&self, cluster: &Cluster<'_>, time: &[&str]) -> Value {
        let found = self.run(cluster, &[&["find", SERVER], time].concat()).success();
        serde_json::from_str(&found.stdout).unwrap()
    }
}

pub fn run(postgres: &Postgres, bucket: &Bucket, store: &ObjectStore<'_>, program: PathBuf) {
    let store =
        &ObjectStore { wal_compression: Some("zstd"), data_compression: Some("lz4"), ..store.clone() };
    let scratch = store.scratch;
    let library = Library { program, store };
    let spool = scratch.dir("spool").to_str().unwrap().to_owned();
    let mut source = instance(scratch, postgres, "source");
    library.run(&source, &["check", SERVER]).fails(0);

    // Eight files at once, before the server asks for them.
    store.archive_by_manager(&mut source, SERVER);
    source.append("hold", "");
    source.append(".check-empty-wal-archive", "");
    source.start();
    let data = source.data().to_str().unwrap().to_owned();
    let segment = |number: u32| {
        source.sql(&format!("CREATE TABLE ledger{number} ()"));
        source.sql("SELECT pg_walfile_name(pg_switch_wal())")
    };
    let ready: Vec<String> = (0..8).map(|number| format!("{data}/pg_wal/{}", segment(number))).collect();
    let files: Vec<&str> = ready.iter().map(String::as_str).collect();
    let archived =
        library.run(&source, &[&["archive", SERVER, &data, &spool], &files[..]].concat()).success();
    let lines: String = ready.iter().map(|file| format!("{file} ok\n")).collect();
    assert_eq!(archived.stdout, lines, "{archived}");
    assert!(!source.data().join(".check-empty-wal-archive").exists());
    assert_eq!(bucket.keys().iter().filter(|key| key.ends_with(".zst")).count(), 8, "{:?}", bucket.keys());
    library.run(&source, &["check", SERVER]).fails(1).stderr_has("Expected empty archive");
    fs::remove_file(source.data().join("hold")).unwrap();

    // A backup, and which one recovery takes: one that nobody finished is none.
    let name = "backup-20261121010000";
    let taken = library.run(&source, &["backup", SERVER, name, scratch.path().to_str().unwrap()]).success();
    let taken: Value = serde_json::from_str(&taken.stdout).unwrap();
    assert_eq!(taken["backup_name"], name, "{taken}");
    let identifier = source.sql("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(taken["systemid"], identifier.as_str(), "{taken}");
    bucket.put(
        scratch,
        &format!("{SERVER}/base/20991231T000000/backup.info"),
        b"status=STARTED\nserver_name=cloud\nbegin_time=2026-11-21 03:14:21+00:00\n",
    );
    assert_eq!(library.find(&source, &[]), taken);
    assert_eq!(library.find(&source, &["2099-01-01T00:00:00Z"]), taken);
    assert_eq!(library.find(&source, &["2020-01-01T00:00:00Z"]), Value::Null);
    library.run(&source, &["delete", SERVER, "7d"]).fails(0);
    assert_eq!(library.find(&source, &[]), taken);

    // Three segments are there, five are not.
    let last = source.switch_wal();
    let (prefix, number) = last.split_at(16);
    let number = u32::from_str_radix(number, 16).unwrap();
    let names: Vec<String> = (number - 2..number + 6).map(|number| format!("{prefix}{number:08X}")).collect();
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    let fetched =
        library.run(&source, &[&["fetch", SERVER, &spool, "fetched"], &words[..]].concat()).success();
    for (at, (name, line)) in names.iter().zip(fetched.stdout.lines()).enumerate() {
        let expected = match at < 3 {
            true => format!("{name} ok"),
            false => format!("{name} object storage or file not found {name}: WAL not found"),
        };
        assert_eq!(line, expected, "{fetched}");
    }
    for file in [source.data().join("fetched"), scratch.path().join("spool").join(&last)] {
        assert_eq!(fs::metadata(&file).unwrap().len(), 16 << 20, "{}", file.display());
    }

    // Each failure as the operator understands it, by which it tries again or not.
    let unreachable = ObjectStore { endpoint: Some("http://127.0.0.1:1".to_owned()), ..store.clone() };
    let unreachable = Library { program: library.program.clone(), store: &unreachable };
    let cut_off = if store.barman.is_real() { "generic error code" } else { "connectivity failure" };
    for (library, name, meaning) in [
        (&library, "00000002.history", "object storage or file not found"),
        (&library, "postgresql.conf", "invalid name for a WAL file"),
        (&unreachable, last.as_str(), cut_off),
    ] {
        let failed = library.run(&source, &["fetch", SERVER, &spool, "absent", name]).exits(1);
        assert!(failed.stdout.starts_with(&format!("{name} {meaning}")), "{failed}");
    }
    unreachable.run(&source, &["find", SERVER]).fails(1);
    source.stop();
}
