//! One command against one fault, and the same command against every fault at each of its requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use crate::support::{Bucket, Fault, FaultProxy, Missing, RequestHead, Run, Scratch, Tool, files_below};

/// Commands that run beside each other: most of them wait.
const AT_ONCE: usize = 6;
/// The same, when all of them wait for answers that never come.
const WAITING_AT_ONCE: usize = 24;

/// What a bucket holds, by key.
pub type Objects = BTreeMap<String, Vec<u8>>;

/// What all cases of a test share.
pub struct Ground {
    pub scratch: Scratch,
    pub seawall: Tool,
}

/// A bucket behind a proxy, and a directory.
pub struct Case<'a> {
    pub ground: &'a Ground,
    pub bucket: Bucket,
    pub proxy: FaultProxy,
    pub dir: PathBuf,
}

/// How a command ended under a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As without the fault.
    Done,
    /// With an error that was told.
    Failed,
}

/// A command and what is to be true after it.
pub trait Trial: Sync {
    /// What the bucket holds before.
    fn objects(&self) -> &Objects;

    fn run(&self, case: &Case<'_>) -> Run;

    /// The exit code without a fault.
    fn code(&self) -> i32 {
        0
    }

    /// The exit codes of a failure.
    fn failure_codes(&self) -> &[i32] {
        &[1]
    }

    /// What it says of [`REFUSED`], one of these.
    fn refusals(&self) -> &[&str] {
        &["AccessDenied", "403"]
    }

    /// Whether a fault is worth the time that the command takes.
    fn minds(&self, _: Fault) -> bool {
        true
    }

    /// The state of the bucket and the directory, and the output.
    fn check(&self, case: &Case<'_>, ended: Ended, run: &Run);
}

impl Ground {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let seawall = Tool::seawall(&scratch);
        Self { scratch, seawall }
    }

    /// A bucket on versitygw with these objects, behind a proxy that does nothing yet.
    pub fn case(&self, objects: &Objects) -> Result<Case<'_>, Missing> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let bucket = Bucket::versitygw()?;
        for (key, body) in objects {
            bucket.put(&self.scratch, key, body);
        }
        let proxy = FaultProxy::to(bucket.setting("AWS_ENDPOINT"));
        let dir = self.scratch.dir(&format!("case{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        Ok(Case { ground: self, bucket, proxy, dir })
    }
}

impl Case<'_> {
    /// seawall, past the proxy.
    pub fn direct(&self) -> Tool {
        self.ground.seawall.clone().with_all(self.bucket.env())
    }

    /// seawall, through the proxy.
    pub fn seawall(&self) -> Tool {
        self.direct().with("AWS_ENDPOINT", &self.proxy.endpoint())
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// What the directory holds.
    #[track_caller]
    pub fn holds(&self, expected: &[&str]) {
        let names = fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().file_name());
        let names: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
        assert_eq!(names, expected.iter().map(|name| (*name).to_owned()).collect());
    }
}

impl Case<'_> {
    /// After a restore into `data`: the whole cluster is there, the `same` each time, or nothing.
    #[track_caller]
    pub fn is_restored(&self, ended: Ended, same: &OnceLock<Objects>) {
        let restored = self.dir.join("data");
        match ended {
            Ended::Done => {
                let files = files_below(&restored);
                assert!(files.contains_key("global/pg_control") && files.contains_key("backup_label"));
                assert!(*same.get_or_init(|| files.clone()) == files);
            }
            Ended::Failed => assert!(!restored.exists() || files_below(&restored).is_empty()),
        }
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        // Disks are small, and cases many.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Faults that pass, so that the request succeeds when it is sent again.
const PASSING: [Fault; 7] = [
    Fault::Latency(Duration::from_millis(300)),
    Fault::Closed,
    Fault::Lost,
    Fault::Cut,
    Fault::Error(500, "InternalError"),
    Fault::Error(503, "SlowDown"),
    Fault::Later(429, "TooManyRequests"),
];
/// For trials that take long: of the faults that pass, one that hits the request, one its answer, and one that is said.
pub fn is_of_its_own_kind(fault: Fault) -> bool {
    !matches!(fault, Fault::Latency(_) | Fault::Cut | Fault::Error(500, _) | Fault::Later(..))
}

fn is_silent(fault: Fault) -> bool {
    matches!(fault, Fault::Silence | Fault::Stall)
}

const REFUSED: Fault = Fault::Error(403, "AccessDenied");

/// The faults that say something about this request, one after the other.
fn faults(request: &RequestHead) -> Vec<Fault> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let completes = request.method == "POST" && query.contains("uploadId");
    let mut faults = vec![REFUSED];
    faults.extend(PASSING);
    match request.method.as_str() {
        "GET" => {
            faults.push(Fault::Half);
            // Nothing would notice another letter in a document, or in a list.
            let is_document = [".json", "backup.info", "/keep"].iter().any(|end| path.ends_with(end));
            if !is_document && !query.contains("list-type") {
                faults.push(Fault::Flip);
            }
        }
        "PUT" => faults.push(Fault::WrongTag),
        "POST" if completes => faults.extend([Fault::ErrorInSuccess, Fault::WrongTag]),
        _ => {}
    }
    faults
}

/// An ordinary run has one of three faults.
const ONE_OF: usize = 3;

/// With `SEAWALL_FAULTS=all` there are all.
fn all() -> bool {
    std::env::var("SEAWALL_FAULTS").is_ok_and(|which| which == "all")
}

/// Which one of them: `SEAWALL_FAULTS_TURN`, or each time another.
fn turn() -> usize {
    static TURN: OnceLock<usize> = OnceLock::new();
    *TURN.get_or_init(|| {
        let turn = match std::env::var("SEAWALL_FAULTS_TURN") {
            Ok(text) => text.parse().expect("SEAWALL_FAULTS_TURN is a number"),
            Err(_) => SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_micros() as usize % ONE_OF,
        };
        assert!(turn < ONE_OF, "SEAWALL_FAULTS_TURN is below {ONE_OF}");
        turn
    })
}

/// Runs the command with each of [`faults`] at each of its requests.
#[track_caller]
pub fn each_request(ground: &Ground, trial: &dyn Trial) {
    let requests = requests(ground, trial).into_iter().enumerate();
    let cases = requests.flat_map(|(n, head)| faults(&head).into_iter().map(move |fault| (n, fault)));
    let cases = cases.filter(|(_, fault)| trial.minds(*fault)).enumerate();
    let is_due = |at: usize, fault| all() || fault == REFUSED || at % ONE_OF == turn();
    let cases: Vec<_> = cases.filter(|(at, (_, fault))| is_due(*at, *fault)).map(|(_, case)| case).collect();
    let failed = AtomicUsize::new(0);
    in_parallel(AT_ONCE, &cases, |&(n, fault)| {
        if one(ground, trial, n, fault) == Ended::Failed {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(failed.into_inner() > 0, "no fault did any harm: do they happen?");
}

/// Runs the commands with no answer, or half of one, at each of their requests: an ordinary run has one of the two.
#[track_caller]
pub fn each_silent_request(trials: &[(&Ground, Box<dyn Trial + '_>)]) {
    let cases: Mutex<Vec<_>> = Mutex::default();
    in_parallel(AT_ONCE, trials, |(ground, trial)| {
        for n in 0..requests(ground, &**trial).len() {
            let faults = [Fault::Silence, Fault::Stall].into_iter().enumerate();
            let due = faults.filter(|(which, _)| all() || (n + turn()) % 2 == *which);
            cases.lock().unwrap().extend(due.map(|(_, fault)| (*ground, &**trial, n, fault)));
        }
    });
    let cases = cases.into_inner().unwrap();
    in_parallel(WAITING_AT_ONCE, &cases, |&(ground, trial, n, fault)| {
        // After the deadline of the first attempt little time is left, and a machine that is busy may need more.
        let passes = (0..3).any(|_| one(ground, trial, n, fault) == Ended::Done);
        assert!(passes, "{fault:?} at request {n}");
    });
}

/// The requests that the command makes without a fault.
fn requests(ground: &Ground, trial: &dyn Trial) -> Vec<RequestHead> {
    let case = ground.case(trial.objects()).unwrap();
    let run = trial.run(&case).exits(trial.code());
    trial.check(&case, Ended::Done, &run);
    let requests = case.proxy.take_seen();
    assert!(!requests.is_empty(), "{run}");
    requests
}

fn one(ground: &Ground, trial: &dyn Trial, n: usize, fault: Fault) -> Ended {
    let case = ground.case(trial.objects()).unwrap();
    let before = AtomicUsize::new(0);
    // Requests of several workers come in another order each time, and not each fault is one of every request.
    let is_it = move |request: &RequestHead| {
        before.fetch_add(1, Ordering::Relaxed) == n && (is_silent(fault) || faults(request).contains(&fault))
    };
    case.proxy.fail(1, is_it, fault);
    let run = trial.run(&case);
    let requests = case.proxy.take_seen();
    let asked = requests.get(n).map(|request| format!("{} {}", request.method, request.target));
    let seen: String = requests.iter().map(|it| format!("{} {}\n", it.method, it.target)).collect();
    let what = format!("SEAWALL_FAULTS_TURN={}: {fault:?} at request {n}, {asked:?}\n{run}\n{seen}", turn());
    let ended = match run.code {
        Some(code) if code == trial.code() => Ended::Done,
        Some(code) if trial.failure_codes().contains(&code) => Ended::Failed,
        _ => panic!("{what}"),
    };
    assert!(!run.stderr.contains("panicked") && !run.stderr.contains("ERROR: internal error"), "{what}");
    if ended == Ended::Failed {
        let passing = PASSING.contains(&fault) || fault == Fault::ErrorInSuccess;
        assert!(!passing, "it would have passed: {what}");
        assert!(!is_silent(fault) || run.stderr.contains("(gave up after "), "{what}");
        assert!(run.stdout.is_empty() && run.stderr.contains("ERROR: "), "{what}");
        assert!(
            fault != REFUSED || trial.refusals().iter().any(|words| run.stderr.contains(words)),
            "{what}"
        );
    }
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trial.check(&case, ended, &run)));
    if let Err(panic) = checked {
        eprintln!("after {what}\n{:?}", case.bucket.keys());
        std::panic::resume_unwind(panic);
    }
    ended
}

/// Calls `work` with every item, `at_once` of them at a time.
pub fn in_parallel<'a, T: Sync>(at_once: usize, items: &'a [T], work: impl Fn(&'a T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..at_once.min(items.len()) {
            threads.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}
