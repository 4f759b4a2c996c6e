//! Commands that are told to end.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Scratch, Tool, asks};

/// Five seconds are promised, after which the program ends by itself, whatever it waits for. The rest is for a machine that is
/// busy: the signal has to be delivered, a thread to be scheduled, and the end be seen.
const LIMIT: Duration = Duration::from_secs(30);

pub fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

pub fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// As `timeout` of coreutils sends it, to the process and then to its group.
pub fn send_twice(child: &Child, signal: Signal) {
    send(child, signal);
    std::thread::sleep(Duration::from_millis(1));
    send(child, signal);
}

/// The signal by which it ends.
#[track_caller]
pub fn wait(mut child: Child) -> Option<i32> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            return status.signal();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("it goes on");
}

/// Starts a command at a service that takes connections and never answers, and sends the signal while it waits.
pub fn dies(scratch: &Scratch, work: &Path, line: &[String], signal: Signal) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let tool = Tool::seawall(scratch)
        .with("AWS_ENDPOINT", &endpoint)
        .with("AWS_ENDPOINT_URL", &endpoint)
        .with("WALG_S3_PREFIX", "s3://bucket/prefix")
        .with("AWS_ACCESS_KEY_ID", "id")
        .with("AWS_SECRET_ACCESS_KEY", "secret")
        .with("AWS_REGION", "us-east-1")
        .with("AWS_DEFAULT_REGION", "us-east-1");
    let mut child = start(tool.command(scratch, line).current_dir(work));
    // Once it is connected it waits for the answer, with its signal handlers set.
    let connection = asks(&mut child, &silent);
    send(&child, signal);
    assert_eq!(wait(child), Some(signal.as_raw()), "{line:?}");
    drop(connection);
}
