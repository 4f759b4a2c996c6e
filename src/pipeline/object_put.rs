//! One object on its way up: a blocking writer that fills parts, and the task that stores them.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::storage::{self, Key, Part, PutMode, SharedStorage, Upload};

use super::part_pool::{PartBuffer, PartPool};
use super::rate::RateLimit;

/// Time to tell the storage that an upload is given up.
const ABORT_DEADLINE: Duration = Duration::from_secs(5);

/// What all objects of one operation share.
#[derive(Debug, Clone)]
pub struct UploadSettings {
    /// Where the objects go.
    pub storage: SharedStorage,
    /// The buffers, which bound the memory.
    pub pool: PartPool,
    /// Bounds the requests under way, over all objects.
    pub in_flight: Arc<Semaphore>,
    /// Bounds the bytes per second to the storage.
    pub network_rate: Option<Arc<RateLimit>>,
    /// Set when the process is asked to end.
    pub cancel: CancellationToken,
}

/// Why an object was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The storage refused or could not be reached.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The process is ending, or the writer was dropped before its end.
    #[error("interrupted")]
    Cancelled,
}

/// The writing end of an object, for a codec thread. The object exists after [`ObjectWriter::finish`] only; dropping
/// the writer before abandons it.
#[derive(Debug)]
pub struct ObjectWriter {
    current: Option<PartBuffer>,
    pool: PartPool,
    cancel: CancellationToken,
    pieces: mpsc::Sender<Piece>,
    outcome: oneshot::Receiver<Result<u64, PutError>>,
}

/// What crosses from the codec thread to the task.
enum Piece {
    /// A full part that is not the last one.
    Part(Bytes),
    /// The end of the object; the whole of it when no part came before.
    Last(Bytes),
}

impl ObjectWriter {
    /// Starts the object `key`. `runtime` runs the requests; the writer blocks the calling thread while it waits for
    /// a buffer, so it belongs on a codec thread.
    pub fn start(runtime: &Handle, settings: &UploadSettings, key: Key) -> ObjectWriter {
        let (pieces, received) = mpsc::channel(1);
        let (report, outcome) = oneshot::channel();
        let task_settings = settings.clone();
        runtime.spawn(async move {
            // A dropped writer no longer wants to know.
            let _ = report.send(put_object(&task_settings, &key, received).await);
        });
        ObjectWriter {
            current: None,
            pool: settings.pool.clone(),
            cancel: settings.cancel.clone(),
            pieces,
            outcome,
        }
    }

    /// Hands over the rest. The object exists once [`Stored`] says so.
    pub fn finish(mut self) -> Stored {
        let last = self.current.take().map_or_else(Bytes::new, PartBuffer::freeze);
        // When the task has given up already, its outcome says why.
        let _ = self.pieces.blocking_send(Piece::Last(last));
        Stored { outcome: self.outcome }
    }

    /// Why writing failed with [`io::ErrorKind::BrokenPipe`].
    pub fn failure(self) -> PutError {
        let ObjectWriter { pieces, outcome, .. } = self;
        drop(pieces);
        match outcome.blocking_recv() {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => PutError::Cancelled,
        }
    }
}

/// An object whose last byte was handed over.
#[derive(Debug)]
#[must_use = "only the outcome says that the object exists"]
pub struct Stored {
    outcome: oneshot::Receiver<Result<u64, PutError>>,
}

impl Stored {
    /// Blocks the thread until the object is stored, durably; its size in bytes.
    pub fn wait(self) -> Result<u64, PutError> {
        self.outcome.blocking_recv().unwrap_or(Err(PutError::Cancelled))
    }

    /// Waits until the object is stored, durably; its size in bytes.
    pub async fn stored(self) -> Result<u64, PutError> {
        self.outcome.await.unwrap_or(Err(PutError::Cancelled))
    }
}

/// Writing fails with [`io::ErrorKind::BrokenPipe`] when the object cannot be stored; [`ObjectWriter::failure`] has
/// the reason.
impl Write for ObjectWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        // A full buffer is handed over only now that more bytes come: an object that ends inside its first part is
        // then one plain put.
        if let Some(full) = self.current.take_if(|buffer| buffer.is_full()) {
            self.pieces
                .blocking_send(Piece::Part(full.freeze()))
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        let buffer = match &mut self.current {
            Some(buffer) => buffer,
            none => {
                let buffer =
                    self.pool.take(&self.cancel).ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
                none.insert(buffer)
            }
        };
        Ok(buffer.fill(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn put_object(
    settings: &UploadSettings,
    key: &Key,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<u64, PutError> {
    let first = tokio::select! {
        piece = pieces.recv() => piece,
        () = settings.cancel.cancelled() => None,
    };
    match first {
        None => Err(PutError::Cancelled),
        Some(Piece::Last(body)) => put_whole(settings, key, body).await,
        Some(Piece::Part(body)) => {
            let upload = settings.storage.start_upload(key).await?;
            let stored = put_parts(settings, upload.as_ref(), body, &mut pieces).await;
            if stored.is_err() {
                // The parts are garbage now; when even this fails, `delete garbage` finds them.
                let _ = tokio::time::timeout(ABORT_DEADLINE, upload.abort()).await;
            }
            stored
        }
    }
}

async fn put_whole(settings: &UploadSettings, key: &Key, body: Bytes) -> Result<u64, PutError> {
    let size = body.len() as u64;
    tokio::select! {
        stored = async {
            let _permit = settings.in_flight.acquire().await;
            throttle(settings, body.len()).await;
            settings.storage.put(key, body, PutMode::Overwrite).await
        } => stored?,
        () = settings.cancel.cancelled() => return Err(PutError::Cancelled),
    };
    Ok(size)
}

async fn put_parts(
    settings: &UploadSettings,
    upload: &dyn Upload,
    first: Bytes,
    pieces: &mut mpsc::Receiver<Piece>,
) -> Result<u64, PutError> {
    let mut under_way = FuturesUnordered::new();
    let mut receipts = Vec::new();
    let mut size = first.len() as u64;
    under_way.push(put_part(settings, upload, Part { number: 1, offset: 0, body: first }));
    let mut next_number = 2;
    let mut ended = false;
    while !ended || !under_way.is_empty() {
        tokio::select! {
            piece = pieces.recv(), if !ended => {
                let body = match piece {
                    Some(Piece::Part(body)) => body,
                    Some(Piece::Last(body)) => {
                        ended = true;
                        body
                    }
                    None => return Err(PutError::Cancelled),
                };
                let part = Part { number: next_number, offset: size, body };
                size += part.body.len() as u64;
                next_number += 1;
                under_way.push(put_part(settings, upload, part));
            }
            Some(receipt) = under_way.next() => receipts.push(receipt?),
            () = settings.cancel.cancelled() => return Err(PutError::Cancelled),
        }
    }
    receipts.sort_by_key(|receipt: &storage::PartReceipt| receipt.number);
    upload.complete(&receipts).await?;
    Ok(size)
}

async fn put_part(
    settings: &UploadSettings,
    upload: &dyn Upload,
    part: Part,
) -> storage::Result<storage::PartReceipt> {
    let _permit = settings.in_flight.acquire().await;
    throttle(settings, part.body.len()).await;
    upload.put_part(part).await
}

async fn throttle(settings: &UploadSettings, bytes: usize) {
    if let Some(rate) = &settings.network_rate {
        tokio::time::sleep(rate.reserve(bytes)).await;
    }
}
