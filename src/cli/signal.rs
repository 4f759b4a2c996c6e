//! Signals that ask the process to end: the first one cancels the work, then the process dies by it.
//!
//! PostgreSQL must see that restore_command died by a signal; an exit code would say "no more WAL". A signal that was
//! ignored when the process started (nohup) stays ignored. SIGPIPE is ignored by Rust's start-up code.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio_util::sync::CancellationToken;

/// How long cancelled work may take to clean up: five seconds are promised for the whole end.
const CLEAN_UP: Duration = Duration::from_millis(4500);

/// The same signal again within this time is the first one's echo: `timeout` of coreutils, for one, sends it to the process
/// and to its group.
const ECHO: Duration = Duration::from_secs(1);

/// The signal that asked this process to end, once there was one.
#[derive(Debug, Clone, Default)]
pub struct Received(Arc<AtomicI32>);

impl Received {
    /// Ends the process by the signal it received, with the signal's own action. Returns when there was none.
    pub fn die(&self) {
        match self.0.load(Ordering::Acquire) {
            0 => {}
            // It fails for unknown signals only, and these four are known.
            signal => drop(signal_hook::low_level::emulate_default_handler(signal)),
        }
    }
}

/// Cancels `token` at the first signal. The process dies by it, at the latest after `CLEAN_UP`, or at the next one that is no
/// `ECHO`.
pub fn watch(token: CancellationToken) -> std::io::Result<Received> {
    let ignored = ignored_signals();
    let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
    let wanted = wanted.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted)?;
    let received = Received::default();
    let here = received.clone();
    thread::Builder::new().name("seawall-signal".to_owned()).spawn(move || {
        let mut first: Option<(i32, Instant)> = None;
        for signal in signals.forever() {
            match first {
                Some((known, at)) if known == signal && at.elapsed() < ECHO => continue,
                Some(_) => {
                    here.0.store(signal, Ordering::Release);
                    here.die();
                }
                None => first = Some((signal, Instant::now())),
            }
            here.0.store(signal, Ordering::Release);
            token.cancel();
            let here = here.clone();
            thread::spawn(move || {
                thread::sleep(CLEAN_UP);
                here.die();
            });
        }
    })?;
    Ok(received)
}

/// The mask of ignored signals, bit 0 for signal 1, as Linux shows it; none where there is no such file.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
