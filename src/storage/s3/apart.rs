//! Where keys come from is asked in a thread of its own. Files are read there as by any program, so one that blocks, such as
//! a FIFO without a writer, blocks nothing else; and programs that are started there are known by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Handle;
use tokio::task::{JoinError, spawn_blocking};

use crate::storage::retry::Progress;

/// A provider that is asked apart, and says to the attempt that it is.
#[derive(Debug)]
pub(super) struct Apart(pub(super) SharedCredentialsProvider);

impl ProvideCredentials for Apart {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let provider = self.0.clone();
        future::ProvideCredentials::new(async move {
            let progress = Progress::of_this_attempt();
            progress.identifying(true);
            let found = run(async move { provider.provide_credentials().await }).await;
            progress.identifying(false);
            found.unwrap_or_else(|error| Err(CredentialsError::unhandled(error)))
        })
    }
}

/// Does `work` in a thread of its own. When it is given up, so are the programs that it has started.
pub(super) async fn run<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    let (handle, programs) = (Handle::current(), Programs::default());
    let thread = Arc::clone(&programs.0);
    let done = spawn_blocking(move || {
        let here = fs::read_link("/proc/thread-self").ok();
        *thread.lock().unwrap_or_else(PoisonError::into_inner) = here;
        handle.block_on(work)
    })
    .await;
    programs.forget();
    done
}

/// The programs that a thread, by its place below `/proc`, has started; they are ended when this is dropped unforgotten.
#[derive(Default)]
struct Programs(Arc<Mutex<Option<PathBuf>>>);

impl Programs {
    fn forget(&self) -> Option<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let Some(thread) = self.forget() else { return };
        // With what they have started themselves: a shell ends, and its command goes on.
        let mut programs = children(&Path::new("/proc").join(thread));
        let mut known = 0;
        while let Some(program) = programs.get(known) {
            let threads = fs::read_dir(format!("/proc/{program}/task")).into_iter().flatten().flatten();
            let started: Vec<i32> = threads.flat_map(|thread| children(&thread.path())).collect();
            programs.extend(started);
            known += 1;
        }
        for program in programs.into_iter().filter_map(Pid::from_raw) {
            if let Err(error) = kill_process(program, Signal::TERM) {
                tracing::debug!(%error, "end a program that should have given credentials");
            }
        }
    }
}

/// The processes that a thread has started, by its place in `/proc`.
fn children(thread: &Path) -> Vec<i32> {
    let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
    children.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}
