//! Threads that compress or decompress blocks.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Threads that make an `O` of each block `I`, started when there is work for them. When dropped, they are told to end and
/// waited for.
pub(super) struct Workers<I, O> {
    most: usize,
    new_work: fn() -> Work<I, O>,
    queue: Option<SyncSender<Job<I, O>>>,
    jobs: Arc<Mutex<Receiver<Job<I, O>>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What one of the threads does with each block.
pub(super) type Work<I, O> = Box<dyn FnMut(I) -> O>;

struct Job<I, O> {
    block: I,
    done: SyncSender<O>,
}

/// A block at work.
pub(super) struct Awaited<O>(Receiver<O>);

impl<O> Awaited<O> {
    /// Waits until it is done.
    ///
    /// # Errors
    /// The thread has died.
    pub fn wait(self) -> io::Result<O> {
        self.0.recv().map_err(|_| io::Error::other("a thread for blocks of bzip2 has died"))
    }
}

impl<I: Send + 'static, O: Send + 'static> Workers<I, O> {
    /// `waiting` is how many blocks may be queued or in work.
    pub fn new(threads: NonZeroUsize, waiting: usize, new_work: fn() -> Work<I, O>) -> Self {
        let (queue, jobs) = sync_channel(waiting);
        Workers {
            most: threads.get(),
            new_work,
            queue: Some(queue),
            jobs: Arc::new(Mutex::new(jobs)),
            threads: Vec::new(),
        }
    }

    /// Queues a block.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(&mut self, block: I) -> io::Result<Awaited<O>> {
        if self.threads.len() < self.most {
            let (new_work, jobs) = (self.new_work, Arc::clone(&self.jobs));
            let name = format!("seawall-bzip2-{}", self.threads.len());
            self.threads.push(thread::Builder::new().name(name).spawn(move || go(new_work(), &jobs))?);
        }
        let (done, awaited) = sync_channel(1);
        if let Some(queue) = &self.queue {
            // Its other end is in `self`. If this fails all the same, `wait` will say so.
            let _ = queue.send(Job { block, done });
        }
        Ok(Awaited(awaited))
    }
}

fn go<I, O>(mut work: Work<I, O>, jobs: &Mutex<Receiver<Job<I, O>>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, done }) = next else { return };
        // Nobody waits any more after another block has failed.
        let _ = done.send(work(block));
    }
}

impl<I, O> Drop for Workers<I, O> {
    fn drop(&mut self) {
        self.queue = None;
        while self.jobs.lock().unwrap_or_else(PoisonError::into_inner).try_recv().is_ok() {}
        for thread in self.threads.drain(..) {
            // A panic has been reported by its thread, and by `wait`.
            let _ = thread.join();
        }
    }
}
