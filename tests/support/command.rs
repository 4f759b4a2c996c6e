//! A command that has ended: exit code, stdout, stderr, and what a test expects of them. And one that asks a service.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

/// Longer than anything a test starts may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs a command to its end without input. One that takes five minutes is killed and fails the test.
pub fn run(command: &mut Command) -> Run {
    run_within(command, LIMIT)
}

/// The same for a command that may take longer, or must not take so long.
pub fn run_within(command: &mut Command, limit: Duration) -> Run {
    let line = format!("{command:?}");
    let mut assert_command = assert_cmd::Command::from_std(std::mem::replace(command, Command::new("true")));
    let output = assert_command.timeout(limit).output().unwrap_or_else(|error| panic!("{line}: {error}"));
    Run {
        line,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until the command asks the service that `listener` is; its connection.
#[track_caller]
pub fn asks(command: &mut Child, listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    loop {
        if let Ok((connection, _)) = listener.accept() {
            return connection;
        }
        assert_eq!(command.try_wait().unwrap(), None, "it ended and did not ask");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A command that has ended.
pub struct Run {
    line: String,
    /// None: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Ended with `code` and nothing on stdout.
    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        assert_eq!(self.stdout, "", "stdout of a failure\n{self}");
        self.exits(code)
    }

    #[track_caller]
    pub fn stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no `{text}` on stderr\n{self}");
        self
    }

    #[track_caller]
    pub fn stdout_has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no `{text}` on stdout\n{self}");
        self
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "{line}\nended with {code:?}\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}
