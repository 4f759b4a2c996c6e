//! The threads that compress blocks.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use ::bzip2::{Action, Compress, Status};

use super::super::compression::Bzip2Level;
use super::WORK_FACTOR;
use super::stream::Block;

/// Compresses what must fit into one block.
pub(super) fn compress(level: Bzip2Level, plain: &[u8]) -> io::Result<Block> {
    let mut library = Compress::new(::bzip2::Compression::new(u32::from(level.get())), WORK_FACTOR);
    let mut stream = Vec::with_capacity(plain.len() / 2);
    let mut rest = plain;
    loop {
        stream.reserve(plain.len() / 8 + 1024);
        let before = library.total_in();
        let status = library.compress_vec(rest, &mut stream, Action::Finish)?;
        let consumed = usize::try_from(library.total_in() - before).unwrap_or(usize::MAX);
        rest = rest.get(consumed..).unwrap_or_default();
        if status == Status::StreamEnd {
            return Block::of(&stream).ok_or_else(|| io::Error::other("bzip2 made more than one block"));
        }
    }
}

/// Threads that compress blocks, started when there is work for them. When dropped, they are told to end and waited for.
pub(super) struct Workers {
    level: Bzip2Level,
    most: usize,
    queue: Option<SyncSender<Job>>,
    jobs: Arc<Mutex<Receiver<Job>>>,
    threads: Vec<JoinHandle<()>>,
}

struct Job {
    plain: Vec<u8>,
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
    pub fn new(level: Bzip2Level, threads: NonZeroUsize, waiting: usize) -> Self {
        let (queue, jobs) = sync_channel(waiting);
        Workers {
            level,
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
    pub fn start(&mut self, plain: Vec<u8>) -> io::Result<Awaited> {
        if self.threads.len() < self.most {
            let (level, jobs) = (self.level, Arc::clone(&self.jobs));
            let name = format!("seawall-bzip2-{}", self.threads.len());
            self.threads.push(thread::Builder::new().name(name).spawn(move || work(level, &jobs))?);
        }
        let (done, awaited) = sync_channel(1);
        if let Some(queue) = &self.queue {
            // Its other end is in `self`. If this fails all the same, `wait` will say so.
            let _ = queue.send(Job { plain, done });
        }
        Ok(Awaited(awaited))
    }
}

fn work(level: Bzip2Level, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { plain, done }) = next else { return };
        // Nobody waits any more after another block has failed.
        let _ = done.send(compress(level, &plain));
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
