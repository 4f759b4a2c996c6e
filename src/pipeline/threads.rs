//! Threads for work that keeps a core busy or blocks on a disk.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

/// A panic on a codec thread, which fails its operation instead of the process.
#[derive(Debug, thiserror::Error)]
#[error("a thread panicked: {message}")]
pub struct Panicked {
    /// The panic's own text.
    pub message: String,
}

/// Runs `work` on a thread of its own, named `name`, and waits for its result.
///
/// Not tokio's blocking pool: its hundreds of threads bound nothing, and the number of these is chosen by the caller.
/// The thread is never left behind by a cancelled caller for longer than its own work takes to notice.
pub async fn run_blocking<T: Send + 'static>(
    name: String,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    let (report, outcome) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        // A caller that was cancelled no longer wants to know.
        let _ = report.send(result.map_err(|panic| Panicked { message: text_of(panic.as_ref()) }));
    });
    if let Err(error) = thread {
        return Err(Panicked { message: format!("cannot start a thread: {error}") });
    }
    outcome
        .await
        .unwrap_or_else(|_| Err(Panicked { message: "the thread ended without a result".to_owned() }))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_results_and_panics() {
        assert_eq!(run_blocking("sum".into(), || 1 + 1).await.unwrap(), 2);
        let panicked = run_blocking("fall".into(), || panic!("over {}", "here")).await.unwrap_err();
        assert_eq!(panicked.message, "over here");
    }
}
