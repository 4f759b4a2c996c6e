//! What is done with arbitrary bytes: one function for each parser of what others wrote.
//!
//! `cargo fuzz` runs each of them by libFuzzer (`fuzz_targets/`), which needs a nightly compiler; `tests/fuzz.rs` takes this
//! file as a module of its own and runs them by small mutations on any compiler, in every run of the tests. A target may
//! return errors as it likes; what it must not do is panic, run for ever, or take memory without bound.

pub mod backup_info;
pub mod barman_lines;
pub mod codecs;
pub mod config_file;
pub mod connection;
pub mod documents;
pub mod ec2_answers;
pub mod history;
pub mod increment;
pub mod labels;
pub mod names;
pub mod pg_control;
pub mod s3_answers;
pub mod secretstream;
pub mod segment_header;
mod service;
pub mod tar;
pub mod wal_delta;
pub mod wal_records;
pub mod wal_summary;

/// One parser under test.
pub struct Target {
    /// Its name, as `cargo fuzz run` takes it.
    pub name: &'static str,
    /// What is done with the bytes.
    pub run: fn(&[u8]),
    /// Directories and files of inputs to begin with, from the root of the project.
    pub seeds: &'static [&'static str],
}

const PG: &str = "tests/golden/pg";

/// All of them.
pub const TARGETS: [Target; 19] = [
    Target { name: "names", run: names::run, seeds: &["fuzz/seeds/names"] },
    Target { name: "segment_header", run: segment_header::run, seeds: &[PG] },
    Target { name: "pg_control", run: pg_control::run, seeds: &[PG] },
    Target {
        name: "history",
        run: history::run,
        seeds: &["fuzz/seeds/history", "tests/golden/pg/00000002.history"],
    },
    Target { name: "labels", run: labels::run, seeds: &["fuzz/seeds/labels"] },
    Target { name: "documents", run: documents::run, seeds: &["fuzz/seeds/documents"] },
    Target { name: "backup_info", run: backup_info::run, seeds: &["tests/golden/barman"] },
    Target { name: "tar", run: tar::run, seeds: &["fuzz/seeds/tar"] },
    Target { name: "increment", run: increment::run, seeds: &["fuzz/seeds/increment"] },
    Target { name: "wal_delta", run: wal_delta::run, seeds: &["fuzz/seeds/wal_delta"] },
    Target {
        name: "codecs",
        run: codecs::run,
        seeds: &["tests/golden/walg/objects", "tests/golden/barman/objects"],
    },
    Target { name: "secretstream", run: secretstream::run, seeds: &["fuzz/seeds/names"] },
    Target { name: "config_file", run: config_file::run, seeds: &["fuzz/seeds/config"] },
    Target { name: "connection", run: connection::run, seeds: &["fuzz/seeds/connection"] },
    Target { name: "barman_lines", run: barman_lines::run, seeds: &["fuzz/seeds/barman_lines"] },
    Target { name: "wal_records", run: wal_records::run, seeds: &[PG] },
    Target { name: "wal_summary", run: wal_summary::run, seeds: &[PG] },
    Target { name: "s3_answers", run: s3_answers::run, seeds: &["fuzz/seeds/s3_answers"] },
    Target { name: "ec2_answers", run: ec2_answers::run, seeds: &["fuzz/seeds/ec2_answers"] },
];
