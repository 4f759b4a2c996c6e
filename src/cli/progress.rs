//! Shows the counters of a running operation: a bar on a terminal, elsewhere a log line every 30 seconds.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use crate::progress::{Progress, Snapshot};

const LINE_EVERY: Duration = Duration::from_secs(30);
const REDRAW_EVERY: Duration = Duration::from_millis(200);

/// Shows progress until it is dropped.
#[derive(Debug)]
pub struct Display {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Starts to show `progress`; `title` says of what ("backup-push").
    pub fn start(title: &'static str, progress: Progress, bars: &MultiProgress) -> Display {
        let (stop, stopped) = mpsc::channel();
        let bars = std::io::stderr().is_terminal().then(|| bars.clone());
        let show = move || match bars {
            Some(bars) => draw_bar(title, &progress, &bars, &stopped),
            None => log_lines(title, &progress, &stopped),
        };
        let thread = thread::Builder::new().name("seawall-progress".to_owned()).spawn(show).ok();
        Display { stop: Some(stop), thread }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported, and the operation itself is done.
            let _ = thread.join();
        }
    }
}

fn log_lines(title: &str, progress: &Progress, stopped: &mpsc::Receiver<()>) {
    let started = Instant::now();
    while stopped.recv_timeout(LINE_EVERY) == Err(RecvTimeoutError::Timeout) {
        tracing::info!("{title}: {}", summary(&progress.snapshot(), started.elapsed()));
    }
}

fn draw_bar(title: &'static str, progress: &Progress, bars: &MultiProgress, stopped: &mpsc::Receiver<()>) {
    let bar = bars.add(ProgressBar::no_length());
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(title);
    let started = Instant::now();
    while stopped.recv_timeout(REDRAW_EVERY) == Err(RecvTimeoutError::Timeout) {
        let now = progress.snapshot();
        let (done, total) = share(&now);
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(summary(&now, started.elapsed()));
    }
    bar.finish_and_clear();
}

/// What is measured: bytes when they are known, else tars or objects.
fn share(now: &Snapshot) -> (u64, u64) {
    match now.bytes_total {
        0 => (now.pieces_done, now.pieces_total),
        total => (now.bytes_done, total),
    }
}

/// One line: how much of what, how much of it stored, tars or objects, time and an estimate of the rest.
fn summary(now: &Snapshot, elapsed: Duration) -> String {
    let mut parts = Vec::new();
    if now.bytes_done > 0 || now.bytes_total > 0 {
        let done = BinaryBytes(now.bytes_done);
        match now.bytes_total {
            0 => parts.push(format!("{done}")),
            total => parts.push(format!("{done} of {}", BinaryBytes(total))),
        }
    }
    if now.bytes_stored > 0 {
        parts.push(format!("{} stored", BinaryBytes(now.bytes_stored)));
    }
    match (now.pieces_done, now.pieces_total) {
        (0, 0) => {}
        (done, 0) => parts.push(format!("{done} done")),
        (done, total) => parts.push(format!("{done}/{total} done")),
    }
    parts.push(format!("{} so far", HumanDuration(elapsed)));
    if let Some(left) = time_left(share(now), elapsed) {
        parts.push(format!("about {} left", HumanDuration(left)));
    }
    parts.join(", ")
}

/// The time left at the speed so far; `None` before there is anything to judge by.
fn time_left((done, total): (u64, u64), elapsed: Duration) -> Option<Duration> {
    if done == 0 || done >= total || elapsed < Duration::from_secs(1) {
        return None;
    }
    let milliseconds = u128::from(total - done) * elapsed.as_millis() / u128::from(done);
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let backup = Snapshot {
            bytes_total: 4 << 20,
            bytes_done: 1 << 20,
            bytes_stored: 256 << 10,
            pieces_total: 0,
            pieces_done: 1,
        };
        let delete = Snapshot { pieces_total: 10, pieces_done: 5, ..Snapshot::default() };
        let cases = [
            (
                backup,
                10,
                "1.00 MiB of 4.00 MiB, 256.00 KiB stored, 1 done, 10 seconds so far, about 30 seconds left",
            ),
            (delete, 60, "5/10 done, 60 seconds so far, about 60 seconds left"),
            (Snapshot::default(), 30, "30 seconds so far"),
        ];
        for (snapshot, seconds, expected) in cases {
            assert_eq!(summary(&snapshot, Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_display_stops_when_dropped() {
        let progress = Progress::new();
        let started = Instant::now();
        drop(Display::start("backup-push", progress, &MultiProgress::new()));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
