//! The threads that compress blocks.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::packer::Packer;
use super::shortener::Shortened;
use super::stream::Block;

/// Threads that compress blocks, started when there is work for them. When dropped, they are told to end and waited for.
pub(super) struct Workers {
    most: usize,
    queue: Option<SyncSender<Job>>,
    jobs: Arc<Mutex<Receiver<Job>>>,
    threads: Vec<JoinHandle<()>>,
}

struct Job {
    block: Shortened,
    done: SyncSender<io::Result<Block>>,
}

/// A block that is being compressed.
pub(super) struct Awaited(Receiver<io::Result<Block>>);

impl Awaited {
    /// Blocks until it is done.
    pub fn wait(self) -> io::Result<Block> {
        self.0
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a thread that compresses with bzip2 has died")))
    }
}

impl Workers {
    /// `waiting` is how many blocks may be queued or in work.
    pub fn new(threads: NonZeroUsize, waiting: usize) -> Self {
        let (queue, jobs) = sync_channel(waiting);
        Workers {
            most: threads.get(),
            queue: Some(queue),
            jobs: Arc::new(Mutex::new(jobs)),
            threads: Vec::new(),
        }
    }

    /// Queues a block.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(&mut self, block: Shortened) -> io::Result<Awaited> {
        if self.threads.len() < self.most {
            let jobs = Arc::clone(&self.jobs);
            let name = format!("seawall-bzip2-{}", self.threads.len());
            self.threads.push(thread::Builder::new().name(name).spawn(move || work(&jobs))?);
        }
        let (done, awaited) = sync_channel(1);
        if let Some(queue) = &self.queue {
            // Its other end is in `self`. If this fails all the same, `wait` will say so.
            let _ = queue.send(Job { block, done });
        }
        Ok(Awaited(awaited))
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    let mut packer = Packer::new();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, done }) = next else { return };
        // Nobody waits any more after another block has failed.
        let _ = done.send(packer.pack(block));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue = None;
        while self.jobs.lock().unwrap_or_else(PoisonError::into_inner).try_recv().is_ok() {}
        for thread in self.threads.drain(..) {
            // A panic has been reported by its thread, and by `wait`.
            let _ = thread.join();
        }
    }
}
