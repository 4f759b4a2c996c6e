//! One object on its way down: a task that streams it, and a blocking reader for a codec thread.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::storage::{self, Body, Key, ObjectMeta, SharedStorage};

use super::rate::RateLimit;

/// Chunks that may wait between the network and the codec.
const CHUNKS_AHEAD: usize = 8;

/// The reading end of an object. It ends only where the object does: a body that breaks off, a cancelled process and
/// a lost task are errors, which carry the [`storage::Error`] if there is one.
#[derive(Debug)]
pub struct ObjectReader {
    meta: ObjectMeta,
    current: Bytes,
    chunks: mpsc::Receiver<Chunk>,
    ended: bool,
}

enum Chunk {
    Data(Bytes),
    End,
    Failed(storage::Error),
}

/// Opens the object `key`; `None` when it does not exist. The bytes flow while the reader is read.
pub async fn open_object(
    storage: &SharedStorage,
    key: &Key,
    network_rate: Option<Arc<RateLimit>>,
    cancel: &CancellationToken,
) -> storage::Result<Option<ObjectReader>> {
    let Some(body) = storage.get(key, 0, None).await? else { return Ok(None) };
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let meta = body.meta.clone();
    tokio::spawn(pump(body, sender, network_rate, cancel.clone()));
    Ok(Some(ObjectReader { meta, current: Bytes::new(), chunks, ended: false }))
}

async fn pump(
    mut body: Body,
    sender: mpsc::Sender<Chunk>,
    network_rate: Option<Arc<RateLimit>>,
    cancel: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            next = body.stream.try_next() => next,
            () = cancel.cancelled() => return,
        };
        let chunk = match next {
            Ok(Some(data)) => {
                if let Some(rate) = &network_rate {
                    tokio::time::sleep(rate.reserve(data.len())).await;
                }
                Chunk::Data(data)
            }
            Ok(None) => Chunk::End,
            Err(error) => Chunk::Failed(error),
        };
        let last = !matches!(chunk, Chunk::Data(_));
        // A reader that was dropped wants no more.
        if sender.send(chunk).await.is_err() || last {
            return;
        }
    }
}

impl ObjectReader {
    /// What the storage said of the object.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Chunk::Data(data)) => self.current = data,
                Some(Chunk::End) => self.ended = true,
                Some(Chunk::Failed(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other("interrupted")),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(buffer.split_at_mut(length).0);
        Ok(length)
    }
}
