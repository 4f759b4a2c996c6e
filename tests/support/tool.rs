//! The program under test, or the real wal-g in its place: both have the same command line.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::available::Missing;
use super::command::{Run, run};
use super::scratch::Scratch;

/// A program with the environment it is called with.
#[derive(Clone)]
pub struct Tool {
    program: PathBuf,
    env: BTreeMap<String, String>,
}

impl Tool {
    /// seawall, put into the scratch directory so that the user of the tests reaches it.
    ///
    /// `SEAWALL_TEST_BINARY` names another program, to try a test itself with the real wal-g.
    pub fn seawall(scratch: &Scratch) -> Self {
        let built = std::env::var("SEAWALL_TEST_BINARY").unwrap_or(env!("CARGO_BIN_EXE_seawall").to_owned());
        Self::linked(scratch, Path::new(&built), "seawall").without_wal()
    }

    /// Most tests of backups have servers that archive nothing, so it is not asked whether the WAL is in the archive.
    fn without_wal(self) -> Self {
        self.with("SEAWALL_BACKUP_WAL_TIMEOUT", "0")
    }

    /// As it is without any settings: a backup waits for its WAL.
    #[must_use]
    pub fn waiting_for_wal(mut self) -> Self {
        self.env.remove("SEAWALL_BACKUP_WAL_TIMEOUT");
        self
    }

    /// The real wal-g.
    pub fn walg(scratch: &Scratch) -> Result<Self, Missing> {
        let path = std::env::var("SEAWALL_TEST_WALG")
            .map_err(|_| Missing::optional("no wal-g, SEAWALL_TEST_WALG is not set"))?;
        Ok(Self::linked(scratch, Path::new(&path), "real-wal-g"))
    }

    fn linked(scratch: &Scratch, built: &Path, name: &str) -> Self {
        let program = scratch.path().join(name);
        match std::fs::hard_link(built, &program) {
            Ok(()) => {}
            // By another thread of the test, or before.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // The test's files are on another disk.
            Err(_) => {
                let copy = tempfile::NamedTempFile::new_in(scratch.path()).unwrap().into_temp_path();
                // By another process: one that is started meanwhile would hold this one's file open for writing.
                run(Command::new("cp").arg(built).arg(&copy)).success();
                copy.persist(&program).unwrap();
            }
        }
        Self::at(program)
    }

    /// The program at a path that the user of the tests reaches.
    pub fn at(program: PathBuf) -> Self {
        Self { program, env: BTreeMap::new() }
    }

    /// The path to call it by, in `archive_command` and `restore_command`.
    pub fn path(&self) -> &str {
        self.program.to_str().unwrap()
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn with_all<'a>(mut self, env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.env.extend(env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// The settings it is called with; PostgreSQL needs them to call it.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// The command as the user of the tests runs it.
    pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, scratch: &Scratch, args: I) -> Command {
        let mut command = scratch.command(&self.program);
        command.envs(&self.env).args(args);
        command
    }

    pub fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, scratch: &Scratch, args: I) -> Run {
        run(&mut self.command(scratch, args))
    }
}
