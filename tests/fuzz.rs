//! Every parser of foreign bytes, on inputs made by small mutations of those that are kept, for a bounded time.
//!
//! The targets are those of `cargo fuzz` (`fuzz/src`); here they run on any compiler, so they are tried in every run of the
//! tests. `SEAWALL_FUZZ_SECONDS` is the time of each target (1), `SEAWALL_FUZZ_SEED` what the mutations are drawn from: it is
//! printed, and the same seed makes the same inputs again. A failing input is kept in a file whose name is printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

#[path = "fuzz/mutator.rs"]
mod mutator;
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use mutator::Mutator;
use targets::{TARGETS, Target};

/// Longer than any input takes on a busy machine: one that takes longer makes the parser run for ever.
const HUNG: Duration = Duration::from_secs(60);

/// Larger files are no inputs to begin with.
const MOST_SEED_BYTES: u64 = 64 * 1024;

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)) })*

        #[test]
        fn every_target_has_its_test_and_its_program() {
            let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
            let expected = names(&TARGETS.each_ref().map(|target| target.name));
            assert_eq!(names(&[$(stringify!($name)),*]), expected);
            let programs = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
            let programs = programs.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
            assert_eq!(programs.collect::<BTreeSet<_>>(), expected);
        }
    };
}

tests! {
    names segment_header pg_control history labels documents backup_info tar increment wal_delta codecs secretstream
    config_file connection barman_lines wal_records wal_summary s3_answers ec2_answers
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The seed of this run, told once, past the harness, which keeps what a test that is aborted has printed.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let seed = match std::env::var("SEAWALL_FUZZ_SEED") {
            Ok(text) => text.parse().expect("SEAWALL_FUZZ_SEED is a number"),
            Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64,
        };
        let line = format!("tests/fuzz.rs: SEAWALL_FUZZ_SEED={seed}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        seed
    })
}

fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seconds =
        std::env::var("SEAWALL_FUZZ_SECONDS").map_or(1, |text| text.parse().expect("a number of seconds"));
    let input = Arc::new(Mutex::new(Vec::new()));
    let (alive, signs) = channel();
    let running = std::thread::spawn({
        let input = input.clone();
        move || run(target, seed(), Duration::from_secs(seconds), &input, &alive)
    });
    loop {
        match signs.recv_timeout(HUNG) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let kept = keep(name, &input.lock().unwrap());
                panic!("{name} has not come to an end with {} in {HUNG:?}", kept.display());
            }
        }
    }
    if running.join().is_err() {
        let kept = keep(name, &input.lock().unwrap());
        panic!("{name} failed on {} (SEAWALL_FUZZ_SEED={})", kept.display(), seed());
    }
}

/// Runs a target on its seeds, then on what the mutator makes of them, until the time is over.
fn run(target: &Target, seed: u64, time: Duration, input: &Mutex<Vec<u8>>, alive: &Sender<()>) {
    let corpus = corpus(target.seeds);
    assert!(!corpus.is_empty(), "no inputs to begin with in {:?}", target.seeds);
    let mut mutator = Mutator::new(seed, target.name, &corpus);
    let end = Instant::now() + time;
    let mut kept = corpus.iter();
    loop {
        let bytes = match kept.next() {
            Some(bytes) => bytes.clone(),
            None if Instant::now() >= end => return,
            None => mutator.next_input(),
        };
        input.lock().unwrap().clone_from(&bytes);
        (target.run)(&bytes);
        alive.send(()).unwrap();
    }
}

/// The files below these places, in the order of their names.
fn corpus(places: &[&str]) -> Vec<Vec<u8>> {
    let mut files = BTreeSet::new();
    for place in places {
        files_below(&root().join(place), &mut files);
    }
    let small = |path: &PathBuf| fs::metadata(path).unwrap().len() <= MOST_SEED_BYTES;
    files.into_iter().filter(small).map(|path| fs::read(path).unwrap()).collect()
}

fn files_below(path: &Path, files: &mut BTreeSet<PathBuf>) {
    if !path.is_dir() {
        files.insert(path.to_owned());
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        files_below(&entry.unwrap().path(), files);
    }
}

/// Writes down an input that failed.
fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    fs::write(&path, bytes).unwrap();
    path
}
