//! What both dialects know of the process they run in.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::thread;

/// The processors it may use.
pub fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// The program, to start it anew.
pub fn own_path() -> OsString {
    std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into()).into_os_string()
}

/// Leaves the session of its parent: a signal to PostgreSQL's process group must not leave half a segment.
pub fn detach() {
    // It fails where it leads a session already.
    let _ = rustix::process::setsid();
}
