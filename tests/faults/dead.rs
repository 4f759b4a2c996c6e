//! Every command at an endpoint that is dead in one of the ways in which endpoints are, with nothing tuned: it ends in its
//! time, says what it tried, how often and for how long, prints nothing, and leaves nothing.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::case::{Ground, in_parallel};
use crate::require;
use crate::support::{Barman, Cluster, Fault, FaultProxy, Postgres, Run, tls};
use crate::walg::{BACKUP, Repository, SEGMENT};

/// Nearly all of them wait.
const AT_ONCE: usize = 24;

/// The machine may be busy: the bounds here are four times those that are promised.
const BUSY: u32 = 4;
/// What a command that asks may take until it gives up.
const ASKING: Duration = Duration::from_secs(15);
/// What a command that stores an object may take until it gives up.
const STORING: Duration = Duration::from_secs(60);

/// A line of one of the dialects; words in capitals stand for what they say, and `{}` for a place where nothing is yet.
struct Verb {
    dialect: Dialect,
    line: &'static str,
    bound: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    WalG,
    Barman,
    /// wal-g's repository named by a file, barman's by the line.
    Copy,
}

const fn asks(dialect: Dialect, line: &'static str) -> Verb {
    Verb { dialect, line, bound: ASKING }
}

const fn stores(dialect: Dialect, line: &'static str) -> Verb {
    Verb { dialect, line, bound: STORING }
}

/// Every command that speaks with the storage, but those that need a server, and `storage check`, which makes a report.
const VERBS: [Verb; 27] = [
    stores(Dialect::WalG, "wal-push FILE"),
    asks(Dialect::WalG, "wal-fetch SEGMENT {}"),
    asks(Dialect::WalG, "wal-show"),
    asks(Dialect::WalG, "wal-verify integrity timeline --timeline 1 --lsn 0/900000"),
    asks(Dialect::WalG, "backup-list"),
    asks(Dialect::WalG, "backup-list --detail --json"),
    asks(Dialect::WalG, "backup-show LATEST"),
    asks(Dialect::WalG, "backup-mark BACKUP"),
    asks(Dialect::WalG, "backup-fetch {} LATEST"),
    asks(Dialect::WalG, "delete everything FORCE --confirm"),
    asks(Dialect::WalG, "delete retain 1 --confirm"),
    asks(Dialect::WalG, "delete before BACKUP --confirm"),
    asks(Dialect::WalG, "delete target BACKUP --confirm"),
    asks(Dialect::WalG, "delete garbage --confirm"),
    stores(Dialect::Barman, "wal-archive URL cluster FILE"),
    asks(Dialect::Barman, "wal-restore URL cluster SEGMENT {}"),
    asks(Dialect::Barman, "check-wal-archive URL cluster"),
    asks(Dialect::Barman, "backup-list URL cluster"),
    asks(Dialect::Barman, "backup-list --format json URL cluster"),
    asks(Dialect::Barman, "backup-show URL cluster 20261121T010000"),
    asks(Dialect::Barman, "backup-keep --target full URL cluster 20261121T010000"),
    asks(Dialect::Barman, "backup-delete --backup-id 20261121T010000 URL cluster"),
    asks(Dialect::Barman, "backup-delete --retention-policy REDUNDANCY\u{a0}1 URL cluster"),
    asks(Dialect::Barman, "restore URL cluster 20261121T010000 {}"),
    asks(Dialect::Barman, "wal-archive --test URL cluster FILE"),
    asks(Dialect::Copy, "--from-walg walg.json URL cluster"),
    asks(Dialect::Copy, "--to-walg walg.json URL cluster"),
];

/// How an endpoint is dead.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// Nothing listens.
    Closed,
    /// The host's name is unknown.
    Unknown,
    /// Connections are made, and nothing is ever said.
    Silent,
    /// It has no time, ever.
    Busy,
    /// Its certificate is nobody's.
    Untrusted,
    /// It refuses, with this status and code.
    Refusing(u16, &'static str),
}

impl Death {
    /// Whether what it does may pass.
    fn may_pass(self) -> bool {
        !matches!(self, Death::Untrusted | Death::Refusing(..))
    }

    /// Whether nothing is answered.
    fn is_mute(self) -> bool {
        matches!(self, Death::Closed | Death::Unknown | Death::Silent)
    }

    fn says(self) -> &'static str {
        match self {
            Death::Closed => "Connection refused",
            Death::Unknown => "storage.invalid",
            Death::Silent => "no answer",
            Death::Busy => "(HTTP 503",
            Death::Untrusted => "certificate",
            Death::Refusing(..) => "(HTTP 40",
        }
    }
}

/// A dead endpoint.
struct Endpoint {
    death: Death,
    url: String,
    /// Where it listens, if it is one that listens.
    proxy: Option<FaultProxy>,
}

impl Endpoint {
    fn new(death: Death) -> Self {
        let proxy = match death {
            Death::Silent => Some(FaultProxy::only(Fault::Silence)),
            Death::Busy => Some(FaultProxy::only(Fault::Error(503, "SlowDown"))),
            Death::Refusing(status, code) => Some(FaultProxy::only(Fault::Error(status, code))),
            Death::Closed | Death::Unknown | Death::Untrusted => None,
        };
        let url = match (&proxy, death) {
            (Some(proxy), _) => proxy.endpoint(),
            (None, Death::Unknown) => "http://storage.invalid:8080".to_owned(),
            (None, Death::Untrusted) => tls::untrusted_service(),
            (None, _) => "http://127.0.0.1:1".to_owned(),
        };
        Self { death, url, proxy }
    }
}

const SECRET: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";

/// Calls the program as both dialects do.
struct Caller {
    ground: Ground,
    barman: Barman,
}

impl Caller {
    fn new() -> Self {
        let ground = Ground::new();
        // The WAL file that is pushed.
        drop(Repository::new(&ground));
        let barman = Barman::seawall(&ground.scratch);
        Self { ground, barman }
    }

    fn settings(&self, endpoint: &Endpoint) -> [(&'static str, String); 6] {
        [
            ("WALG_S3_PREFIX", "s3://bucket/path".to_owned()),
            ("AWS_ENDPOINT", endpoint.url.clone()),
            ("AWS_ACCESS_KEY_ID", "AKIATEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_S3_FORCE_PATH_STYLE", "true".to_owned()),
        ]
    }

    /// Runs the line, with what comes from a server in `more`; `place` is where it would put something.
    fn call(&self, verb: &Verb, endpoint: &Endpoint, place: &Path, more: &[(&str, &str)]) -> Run {
        let scratch = &self.ground.scratch;
        let settings = self.settings(endpoint);
        let settings =
            settings.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied());
        let word = |word: &str| match word {
            "{}" => place.to_str().unwrap().to_owned(),
            "URL" => "s3://bucket/path".to_owned(),
            "FILE" => format!("pg_wal/{SEGMENT}"),
            "SEGMENT" => SEGMENT.to_owned(),
            "BACKUP" => BACKUP.to_owned(),
            word => word.replace('\u{a0}', " "),
        };
        let mut line: Vec<String> = verb.line.split(' ').map(word).collect();
        let endpoint_url = ["--endpoint-url".to_owned(), endpoint.url.clone()];
        match verb.dialect {
            Dialect::WalG => self.ground.seawall.clone().with_all(settings).run(scratch, line),
            Dialect::Barman => {
                line.splice(1..1, endpoint_url);
                self.barman.tool(&line[0]).with_all(settings).run(scratch, &line[1..])
            }
            Dialect::Copy => {
                let config: serde_json::Map<_, _> =
                    settings.clone().map(|(name, value)| (name.to_owned(), value.into())).collect();
                let name = format!("{}.json", place.file_name().unwrap().to_str().unwrap());
                let config = scratch.file(&name, &serde_json::Value::Object(config).to_string());
                line[1] = config.to_str().unwrap().to_owned();
                line.splice(0..0, ["copy".to_owned()].into_iter().chain(endpoint_url));
                self.ground.seawall.clone().with_all(settings).run(scratch, line)
            }
        }
    }

    /// Calls, and checks how it ends.
    #[track_caller]
    fn fails(&self, verb: &Verb, endpoint: &Endpoint, more: &[(&str, &str)]) {
        let place = self.ground.scratch.absent(&format!("place-{}", unique()));
        let begin = Instant::now();
        let run = self.call(verb, endpoint, &place, more);
        let took = begin.elapsed();
        let death = endpoint.death;
        assert!(took < verb.bound * BUSY, "{death:?}, {took:?}: {run}");
        let code = match verb.dialect {
            Dialect::WalG => 1,
            // As barman does whatever goes wrong with a backup.
            Dialect::Barman if verb.line.starts_with("backup ") => 1,
            _ if death.is_mute() => 2,
            _ => 4,
        };
        let run = run.fails(code);
        let what = format!("{death:?}\n{run}");
        let line = run.stderr.lines().find(|line| line.contains("ERROR: ")).expect(&what);
        assert_eq!(run.stderr.matches("ERROR: ").count(), 1, "{what}");
        assert!(line.contains("s3://bucket/path") && line.contains(death.says()), "{what}");
        assert_eq!(line.contains("(gave up after "), death.may_pass(), "{what}");
        assert!(run.stderr.contains("hint: ") || matches!(death, Death::Busy), "{what}");
        assert!(!run.stderr.contains(SECRET), "{what}");
        assert!(!place.exists() || place.is_dir() && fs::read_dir(&place).unwrap().count() == 0, "{what}");
    }
}

/// The ways in which endpoints are dead.
const DEATHS: [Death; 6] = [
    Death::Silent,
    Death::Closed,
    Death::Unknown,
    Death::Busy,
    Death::Untrusted,
    Death::Refusing(403, "AccessDenied"),
];

fn unique() -> usize {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// By PostgreSQL and by a person, all commands that need no server.
#[test]
fn every_command() {
    let caller = Caller::new();
    let endpoints = DEATHS.map(Endpoint::new);
    let calls: Vec<(&Endpoint, &Verb)> =
        endpoints.iter().flat_map(|endpoint| VERBS.iter().map(move |verb| (endpoint, verb))).collect();
    in_parallel(AT_ONCE, &calls, |(endpoint, verb)| caller.fails(verb, endpoint, &[]));
}

/// It says in its report what is wrong: that the endpoint is dead is what it was asked for.
#[test]
fn storage_check() {
    const CHECK: Verb = asks(Dialect::WalG, "storage check --json");
    let caller = Caller::new();
    in_parallel(AT_ONCE, &DEATHS.map(Endpoint::new), |endpoint| {
        let (begin, death) = (Instant::now(), endpoint.death);
        let run = caller.call(&CHECK, endpoint, &caller.ground.scratch.absent("nothing"), &[]).exits(1);
        let took = begin.elapsed();
        assert!(took < CHECK.bound * BUSY, "{death:?}, {took:?}: {run}");
        assert!(!run.stdout.contains(SECRET) && !run.stderr.contains(SECRET), "{run}");
        let run = run.stderr_has("ERROR: ");
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let rows = report["checks"].as_array().unwrap();
        let (place, detail) = (&rows[0], rows[0]["detail"].as_str().unwrap());
        assert_eq!(
            (place["name"].as_str(), place["result"].as_str()),
            (Some("place"), Some("failed")),
            "{run}"
        );
        assert!(run.stdout.contains(death.says()), "{death:?}: {run}");
        assert_eq!(detail.contains("(gave up after "), death.may_pass(), "{death:?}: {run}");
        assert!(place["hint"].is_string() || matches!(death, Death::Busy), "{death:?}: {run}");
        assert!(rows.len() > 15 && rows.iter().all(|row| row["result"] != "ok"), "{death:?}: {run}");
    });
}

/// The commands that take a backup, one after the other, as the server wants it.
#[test]
fn backups() {
    let postgres = require!(Postgres::version(15));
    let caller = Caller::new();
    let cluster = Cluster::running(&caller.ground.scratch, &postgres, "source", &[]);
    let libpq = cluster.libpq_env();
    let server: Vec<(&str, &str)> =
        libpq.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let walg = Verb { dialect: Dialect::WalG, line: "backup-push source", bound: STORING };
    let barman = Verb { dialect: Dialect::Barman, line: "backup URL cluster", bound: STORING };
    for death in [Death::Closed, Death::Silent, Death::Refusing(403, "AccessDenied")] {
        for verb in [&walg, &barman] {
            caller.fails(verb, &Endpoint::new(death), &server);
        }
    }
}

/// The many ways to say no. None of them is asked again.
#[test]
fn refusals() {
    const VERBS: [Verb; 4] = [
        stores(Dialect::WalG, "wal-push FILE"),
        asks(Dialect::WalG, "backup-list"),
        asks(Dialect::WalG, "wal-fetch SEGMENT {}"),
        asks(Dialect::Barman, "backup-list URL cluster"),
    ];
    let deaths = [
        (403, "AccessDenied"),
        (403, "AccountProblem"),
        (403, "AllAccessDisabled"),
        (403, "Forbidden"),
        (403, "InvalidAccessKeyId"),
        (403, "InvalidSecurity"),
        (403, "NotSignedUp"),
        (403, "RequestTimeTooSkewed"),
        (403, "SignatureDoesNotMatch"),
        (403, "ThatNobodyKnows"),
        (401, "Unauthorized"),
        (400, "AuthorizationHeaderMalformed"),
        (400, "ExpiredToken"),
        (400, "InvalidToken"),
    ];
    let calls: Vec<(u16, &str, &Verb)> = deaths
        .iter()
        .flat_map(|(status, code)| VERBS.iter().map(move |verb| (*status, *code, verb)))
        .collect();
    let caller = Caller::new();
    in_parallel(4, &calls, |&(status, code, verb)| {
        let endpoint = Endpoint::new(Death::Refusing(status, code));
        caller.fails(verb, &endpoint, &[]);
        let asked = endpoint.proxy.as_ref().unwrap().take_seen();
        assert_eq!(asked.len(), 1, "{code}: {asked:?}");
    });
}
