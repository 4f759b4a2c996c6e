//! Each exit code that the operator and PostgreSQL decide by: from a store that has it, lacks it, refuses or is not there.

use std::fs;
use std::path::PathBuf;

use crate::operator::ObjectStore;
use crate::support::{Bucket, Cluster, Front, Postgres, Run};

const SERVER: &str = "cluster";
const SEGMENT: &str = "000000010000000000000001";
const ABSENT: &str = "000000010000000000000009";
const ID: &str = "20261121T010000";

/// A server name that has one segment and no backup.
struct Case<'a> {
    store: ObjectStore<'a>,
    bucket: &'a Bucket,
    /// Of a cluster that was never started.
    data: PathBuf,
}

pub fn run(postgres: &Postgres, bucket: &Bucket, store: &ObjectStore<'_>) {
    // initdb leaves the first segment
    let cluster = Cluster::create(store.scratch, postgres, "data", &[]);
    let case = Case { store: store.clone(), bucket, data: cluster.data().to_owned() };
    case.wal_archive();
    case.wal_restore();
    case.check_wal_archive();
    case.catalog();
    case.restore_and_backup();
    case.usage();
    case.versions();
}

impl Case<'_> {
    /// barman's code, and seawall's where that is another one.
    fn code(&self, barman: i32, seawall: i32) -> i32 {
        if self.store.barman.is_real() { barman } else { seawall }
    }

    fn archive(&self, path: &str) -> Run {
        self.store.wal_archive(&self.data, SERVER, path)
    }

    /// Fetches to a place where nothing is; a failure leaves nothing there.
    fn restore(&self, store: &ObjectStore<'_>, name: &str) -> Run {
        let destination = self.data.join("pg_wal/RECOVERYXLOG");
        let _ = fs::remove_file(&destination);
        let run = store.wal_restore(&self.data, SERVER, name, "pg_wal/RECOVERYXLOG");
        // the real one leaves what it had written
        assert!(run.code == Some(0) || store.barman.is_real() || !destination.exists(), "{run}");
        run
    }

    /// The ways not to reach the store, what each is, and barman's code for it.
    fn unreachable(&self) -> [(&'static str, ObjectStore<'_>, i32); 5] {
        // Both try for long.
        let barman = self.store.barman.clone().with("AWS_MAX_ATTEMPTS", "2");
        let store = ObjectStore { barman: barman.clone(), ..self.store.clone() };
        let distrusted = Front::tls(store.endpoint.as_ref().unwrap());
        [
            (
                "a certificate that nobody vouches for",
                ObjectStore { endpoint: Some(distrusted.endpoint()), ..store.clone() },
                4,
            ),
            (
                "nothing listens",
                ObjectStore { endpoint: Some("http://127.0.0.1:1".to_owned()), ..store.clone() },
                2,
            ),
            (
                "no such name",
                ObjectStore { endpoint: Some("http://storage.invalid:9000".to_owned()), ..store.clone() },
                2,
            ),
            (
                "no such bucket",
                ObjectStore { destination: "s3://seawall-no-such-bucket/path".to_owned(), ..store.clone() },
                4,
            ),
            (
                "wrong secret",
                ObjectStore { barman: barman.with("AWS_SECRET_ACCESS_KEY", "wrong"), ..store },
                4,
            ),
        ]
    }

    fn wal_archive(&self) {
        let path = format!("pg_wal/{SEGMENT}");
        self.archive(&path).fails(0);
        // again, and by its absolute path
        self.archive(&path).fails(0);
        self.archive(self.data.join(&path).to_str().unwrap()).fails(0);
        self.archive(&format!("pg_wal/{ABSENT}")).fails(4);
        self.archive("postgresql.conf").fails(3).stderr_has("postgresql.conf");
        for (what, store, code) in self.unreachable() {
            let run = store.wal_archive(&self.data, SERVER, &path);
            assert_eq!(run.code, Some(self.code(4, code)), "{what}: {run}");
        }

        // Another cluster's WAL by the same name: barman replaces what was archived.
        let key = format!("{SERVER}/wals/{}/{SEGMENT}", &SEGMENT[..16]);
        let archived = self.bucket.get(&key);
        let mut other = archived.clone();
        *other.last_mut().unwrap() ^= 1;
        self.bucket.put(self.store.scratch, &key, &other);
        let run = self.archive(&path);
        assert_eq!(run.code, Some(self.code(0, 4)), "{run}");
        if !self.store.barman.is_real() {
            run.stderr_has(SEGMENT);
            assert!(self.bucket.get(&key) == other);
        }
        self.bucket.put(self.store.scratch, &key, &archived);
    }

    fn wal_restore(&self) {
        self.restore(&self.store, SEGMENT).fails(0);
        let fetched = fs::read(self.data.join("pg_wal/RECOVERYXLOG")).unwrap();
        assert!(fetched == fs::read(self.data.join("pg_wal").join(SEGMENT)).unwrap());

        // The end of every recovery, over and over: one line at most.
        for absent in [ABSENT, "00000002.history", "00000002000000000000000A.partial"] {
            let run = self.restore(&self.store, absent).fails(1);
            assert!(run.stderr.lines().count() <= 1, "{run}");
        }
        self.restore(&self.store, "0000000100000000").fails(3);
        for (what, store, code) in self.unreachable() {
            let run = self.restore(&store, SEGMENT);
            assert_eq!(run.code, Some(self.code(4, code)), "{what}: {run}");
        }
    }

    fn check_wal_archive(&self) {
        self.store.check_wal_archive("other").fails(0);
        self.store.check_wal_archive(SERVER).fails(1).stderr_has("Expected empty archive");
        for (what, store, code) in self.unreachable() {
            if what != "no such bucket" {
                let run = store.check_wal_archive("other");
                assert_eq!(run.code, Some(code), "{what}: {run}");
            }
        }

        // It makes a missing bucket, and nothing else does.
        let bucket = Bucket::versitygw().unwrap();
        bucket.remove();
        let destination = bucket.setting("WALG_S3_PREFIX").to_owned();
        let store = ObjectStore { destination, ..self.store.clone() };
        let path = format!("pg_wal/{SEGMENT}");
        store.wal_archive(&self.data, SERVER, &path).fails(4);
        store.check_wal_archive(SERVER).fails(0);
        store.wal_archive(&self.data, SERVER, &path).fails(0);
    }

    /// A list that could not be made is no empty one: the operator would take each of its backups for deleted.
    fn catalog(&self) {
        let empty = self.store.list(SERVER).success().stdout;
        assert_eq!(empty, "{\"backups_list\": []}\n");
        for (what, store, code) in self.unreachable() {
            for run in [store.list(SERVER), store.delete_by_policy(SERVER, "RECOVERY WINDOW OF 7 DAYS")] {
                assert_eq!(run.stdout, "", "{what}: {run}");
                assert_eq!(run.code, Some(self.code(4, code)), "{what}: {run}");
            }
        }
        self.store.try_show(SERVER, ID).fails(1).stderr_has(ID);
        self.store.try_show(SERVER, "backup-20261121010000").fails(4).stderr_has("backup-20261121010000");
        self.store.delete_by_policy(SERVER, "RECOVERY WINDOW OF 7 DAYS").fails(0);
        self.store.delete_by_policy(SERVER, "RECOVERY WINDOW OF 7 YEARS").fails(3);
        let key = format!("{SERVER}/wals/{}/{SEGMENT}", &SEGMENT[..16]);
        assert_eq!(self.bucket.keys(), [key], "nothing but its WAL");
    }

    fn restore_and_backup(&self) {
        let scratch = self.store.scratch;
        let target = scratch.absent("target");
        self.store.restore(SERVER, ID, &target).fails(1).stderr_has(ID);
        for (what, store, code) in self.unreachable() {
            let run = store.restore(SERVER, ID, &target);
            assert_eq!(run.code, Some(self.code(4, code)), "{what}: {run}");
        }
        // The server is not running.
        let cluster = Cluster::restored(scratch, &Postgres::version(15).unwrap(), "none");
        let mut command = self.store.backup_command(&cluster, SERVER, "backup-20261121010000");
        crate::support::run(command.current_dir(scratch.path())).fails(1);
    }

    /// What argparse refuses, in front of everything else.
    fn usage(&self) {
        let store = &self.store.destination;
        let path = self.data.join("pg_wal").join(SEGMENT).to_str().unwrap().to_owned();
        let lines: [(&str, &[&str]); 9] = [
            ("wal-archive", &["--gzip", "--bzip2", store, SERVER, &path]),
            ("wal-archive", &["--no-such-option", store, SERVER, &path]),
            ("wal-archive", &["--tags", "one,two,three", "--cloud-provider", "aws-s3", store, SERVER, &path]),
            ("wal-archive", &[store]),
            ("wal-restore", &["--cloud-provider", "floppy", store, SERVER, SEGMENT, "f"]),
            ("backup", &["--name", "latest", store, SERVER]),
            ("backup", &["--jobs", "0", store, SERVER]),
            ("backup-delete", &[store, SERVER]),
            ("check-wal-archive", &["--timeline", "0", store, SERVER]),
        ];
        for (command, line) in lines {
            self.store.barman.run(self.store.scratch, command, line).fails(3);
        }
        self.store.barman.run(self.store.scratch, "backup-list", ["/no/url", SERVER]).fails(4);
    }

    /// Older operators read it, and refuse what is older than 3.4.
    fn versions(&self) {
        let said = self.store.barman.run(self.store.scratch, "wal-archive", ["--version"]).success().stdout;
        let version = said.strip_prefix("barman-cloud-wal-archive ").unwrap().trim_end();
        let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        assert!(parts >= vec![3, 4], "{said}");
    }
}
