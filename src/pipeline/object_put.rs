//! One object on its way up: a blocking writer that fills parts, and the task that stores them.

use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::storage::{self, Key, Part, PartReceipt, PutMode, PutOutcome, RetryAdvice, SharedStorage, Upload};

use super::part_pool::{PartBuffer, PartPool};
use super::rate::RateLimit;

/// Time to tell the storage that an upload is given up.
const ABORT_DEADLINE: Duration = Duration::from_secs(5);
/// Time that requests which were given up get to end.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);
/// The same from the moment on at which the process is asked to end.
const SETTLE_DEADLINE_WHEN_ENDING: Duration = Duration::from_secs(1);

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
    /// Set when the objects are not wanted any more.
    pub cancel: CancellationToken,
    /// Set when the process is asked to end, and `cancel` with it.
    pub ending: CancellationToken,
}

/// What becomes of an object that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replaced,
    /// It stays, as surely as the storage can ([`storage::put_new`], [`storage::complete_new`]).
    Kept,
    /// It stays where that costs no request more ([`storage::Limits::conditional_put`]), else it is replaced. For what
    /// was looked for before: where the condition is refused the whole body was sent in vain.
    KeptWhereFree,
}

/// Why an object was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The storage refused or could not be reached.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// An object of this name is there, and was to be kept ([`Existing`]). It may be this very content, stored by an attempt
    /// whose answer was lost.
    #[error("`{0}` exists already")]
    Exists(Key),
    /// The process is ending, or the writer was dropped before its end.
    #[error("interrupted")]
    Cancelled,
}

/// The writing end of an object, for a codec thread. The object exists after [`ObjectWriter::finish`] only; dropping
/// the writer before abandons it without waiting, see [`ObjectWriter::abandon`].
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
    pub fn start(runtime: &Handle, settings: &UploadSettings, key: Key, existing: Existing) -> ObjectWriter {
        let (pieces, received) = mpsc::channel(1);
        let (report, outcome) = oneshot::channel();
        let task_settings = settings.clone();
        runtime.spawn(async move {
            // A dropped writer no longer wants to know.
            let _ = report.send(put_object(&task_settings, &key, existing, received).await);
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

    /// Hands over the rest, in a task, and waits until the object is stored, durably; its size in bytes.
    pub async fn store(mut self) -> Result<u64, PutError> {
        let last = self.current.take().map_or_else(Bytes::new, PartBuffer::freeze);
        // When the task has given up already, its outcome says why.
        let _ = self.pieces.send(Piece::Last(last)).await;
        self.outcome.await.unwrap_or(Err(PutError::Cancelled))
    }

    /// Gives the object up, in a task, and waits until the storage has been told, or did not answer.
    pub async fn give_up(self) {
        let ObjectWriter { pieces, outcome, .. } = self;
        drop(pieces);
        // That it was not stored is what was asked for.
        let _ = outcome.await;
    }

    /// Gives the object up and blocks until the storage has been told, or did not answer.
    pub fn abandon(self) {
        // That it was not stored is what was asked for.
        let _ = self.failure();
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
    existing: Existing,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<u64, PutError> {
    let first = tokio::select! {
        piece = pieces.recv() => piece,
        () = settings.cancel.cancelled() => None,
    };
    match first {
        None => Err(PutError::Cancelled),
        Some(Piece::Last(body)) => put_whole(settings, key, existing, body).await,
        Some(Piece::Part(body)) => {
            let upload = start_upload(settings, key).await?;
            let given_up = settings.cancel.child_token();
            let mut under_way = FuturesUnordered::new();
            let put = |part| put_part(settings, upload.as_ref(), &given_up, part);
            let parts = put_parts(settings, &put, &mut under_way, body, &mut pieces).await;
            let failure = match parts {
                Ok(_) if settings.cancel.is_cancelled() => PutError::Cancelled,
                Ok((receipts, size)) => {
                    match complete(settings, upload.as_ref(), existing, &receipts).await {
                        Ok(PutOutcome::Stored) => return Ok(size),
                        Ok(PutOutcome::AlreadyExists) => PutError::Exists(key.clone()),
                        Err(PutError::Storage(error)) if error.retry() == RetryAdvice::Never => error.into(),
                        // It may be there after all, and on some services an abort would destroy it: `delete garbage`
                        // finds out ([`storage::Limits::shares_parts`]).
                        Err(unclear) => return Err(unclear),
                    }
                }
                Err(error) => error,
            };
            given_up.cancel();
            // With a part that arrives later the upload may be there again.
            settle(settings, under_way.for_each(|_| std::future::ready(()))).await;
            // The parts are garbage now; when even this fails, `delete garbage` finds them.
            let _ = tokio::time::timeout(ABORT_DEADLINE, upload.abort()).await;
            Err(failure)
        }
    }
}

/// Starts an upload. One whose answer comes after the process was asked to end is given up again, as long as there is
/// time for that: nobody else would know it.
async fn start_upload(settings: &UploadSettings, key: &Key) -> Result<Box<dyn Upload>, PutError> {
    let mut start = settings.storage.start_upload(key);
    let started = unless_cancelled(settings, &mut start).await;
    if matches!(started, Err(PutError::Cancelled)) {
        let give_up = async {
            if let Ok(upload) = start.await {
                // When even this fails, `delete garbage` finds it.
                let _ = upload.abort().await;
            }
        };
        settle(settings, give_up).await;
    }
    started
}

async fn put_whole(
    settings: &UploadSettings,
    key: &Key,
    existing: Existing,
    body: Bytes,
) -> Result<u64, PutError> {
    let size = body.len() as u64;
    let _permit = turn(settings, body.len(), &settings.cancel).await?;
    let outcome = settled(settings, async {
        let storage = settings.storage.as_ref();
        let keeps = match existing {
            Existing::Kept => true,
            Existing::KeptWhereFree => storage.limits().conditional_put,
            Existing::Replaced => false,
        };
        match keeps {
            true => storage::put_new(storage, key, body).await,
            false => storage.put(key, body, PutMode::Overwrite).await,
        }
    });
    match outcome.await? {
        PutOutcome::Stored => Ok(size),
        PutOutcome::AlreadyExists => Err(PutError::Exists(key.clone())),
    }
}

async fn complete(
    settings: &UploadSettings,
    upload: &dyn Upload,
    existing: Existing,
    receipts: &[PartReceipt],
) -> Result<PutOutcome, PutError> {
    settled(settings, async {
        match existing {
            // The condition comes when all parts are there: it costs nothing.
            Existing::Kept | Existing::KeptWhereFree => storage::complete_new(upload, receipts).await,
            Existing::Replaced => upload.complete(receipts, PutMode::Overwrite).await,
        }
    })
    .await
}

/// The answer to a request, unless the process is asked to end before.
async fn unless_cancelled<T>(
    settings: &UploadSettings,
    request: impl Future<Output = storage::Result<T>>,
) -> Result<T, PutError> {
    tokio::select! {
        answer = request => Ok(answer?),
        () = settings.cancel.cancelled() => Err(PutError::Cancelled),
    }
}

/// The same for a request that makes an object visible. One that was dropped on its way may still do so at a storage
/// far away, behind the back of whoever cleans up next; most end in a moment.
async fn settled<T>(
    settings: &UploadSettings,
    request: impl Future<Output = storage::Result<T>>,
) -> Result<T, PutError> {
    let mut request = pin!(request);
    let answer = unless_cancelled(settings, &mut request).await;
    if matches!(answer, Err(PutError::Cancelled)) {
        // Stored or not, the object is given up.
        settle(settings, request).await;
    }
    answer
}

/// Waits until what was given up has ended, as long as there is time for that.
async fn settle(settings: &UploadSettings, given_up: impl Future) {
    let no_time_left = async {
        settings.ending.cancelled().await;
        tokio::time::sleep(SETTLE_DEADLINE_WHEN_ENDING).await;
    };
    tokio::select! {
        _ = tokio::time::timeout(SETTLE_DEADLINE, given_up) => {}
        () = no_time_left => {}
    }
}

/// Stores the pieces as parts, several at a time; their receipts in order, and the size of all.
async fn put_parts<P: Future<Output = Result<PartReceipt, PutError>>>(
    settings: &UploadSettings,
    put: &impl Fn(Part) -> P,
    under_way: &mut FuturesUnordered<P>,
    first: Bytes,
    pieces: &mut mpsc::Receiver<Piece>,
) -> Result<(Vec<PartReceipt>, u64), PutError> {
    let mut receipts = Vec::new();
    let mut size = first.len() as u64;
    under_way.push(put(Part { number: 1, offset: 0, body: first }));
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
                under_way.push(put(part));
            }
            Some(receipt) = under_way.next() => receipts.push(receipt?),
            () = settings.cancel.cancelled() => return Err(PutError::Cancelled),
        }
    }
    receipts.sort_by_key(|receipt: &PartReceipt| receipt.number);
    Ok((receipts, size))
}

/// Stores a part, unless its object was given up before its turn came.
async fn put_part(
    settings: &UploadSettings,
    upload: &dyn Upload,
    given_up: &CancellationToken,
    part: Part,
) -> Result<PartReceipt, PutError> {
    let _permit = turn(settings, part.body.len(), given_up).await?;
    Ok(upload.put_part(part).await?)
}

/// Waits until so many bytes may be sent; nothing is sent any more once the object is given up.
async fn turn<'a>(
    settings: &'a UploadSettings,
    bytes: usize,
    given_up: &CancellationToken,
) -> Result<SemaphorePermit<'a>, PutError> {
    let turn = async {
        let permit = settings.in_flight.acquire().await;
        if let Some(rate) = &settings.network_rate {
            tokio::time::sleep(rate.reserve(bytes)).await;
        }
        permit
    };
    tokio::select! {
        biased;
        () = given_up.cancelled() => Err(PutError::Cancelled),
        // The semaphore is never closed.
        permit = turn => permit.map_err(|_| PutError::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::run_blocking;
    use crate::storage::ErrorKind;
    use crate::storage::memory::{Fault, Memory, Operation};

    const PART_BYTES: usize = 4;
    const CONTENT: &[u8] = b"five parts and a piece"; // 22 bytes

    fn settings(memory: &Memory, buffers: usize) -> UploadSettings {
        let ending = CancellationToken::new();
        UploadSettings {
            storage: Arc::new(memory.clone()),
            pool: PartPool::new(buffers, PART_BYTES),
            in_flight: Arc::new(Semaphore::new(2)),
            network_rate: None,
            cancel: ending.child_token(),
            ending,
        }
    }

    fn key(name: &str) -> Key {
        Key::parse(name).unwrap()
    }

    /// Writes `CONTENT` as an object, on a codec thread.
    async fn store(settings: &UploadSettings, key: Key) -> Result<u64, PutError> {
        let writer = ObjectWriter::start(&Handle::current(), settings, key, Existing::Replaced);
        run_blocking("writer".to_owned(), move || {
            let mut writer = writer;
            match writer.write_all(CONTENT) {
                Ok(()) => writer.finish().wait(),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
                    Err(writer.failure())
                }
            }
        })
        .await
        .unwrap()
    }

    /// That no buffer was lost, at most one second after the last one was needed.
    async fn assert_returned(settings: UploadSettings, buffers: usize) {
        let (pool, never) = (settings.pool, CancellationToken::new());
        let taken = run_blocking("pool".to_owned(), move || {
            (0..buffers).map(|_| pool.take(&never)).collect::<Vec<_>>().len()
        });
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), taken).await.unwrap().unwrap(), buffers);
    }

    /// One thread for the runtime: whatever blocks it would stop the requests it waits for.
    #[tokio::test]
    async fn each_failing_step_leaves_a_whole_object_or_none() {
        let clean = Memory::new();
        store(&settings(&clean, 2), key("o")).await.unwrap();
        for operation in [Operation::StartUpload, Operation::PutPart, Operation::Complete] {
            for call in 1..=clean.calls(operation) {
                for fault in [Fault::Before(ErrorKind::Refused), Fault::After(ErrorKind::Network)] {
                    let case = format!("{operation:?} {call} {fault:?}");
                    let memory = Memory::new();
                    memory.fail(operation, call, fault);
                    let settings = settings(&memory, 2);
                    let stored = store(&settings, key("o")).await;
                    assert!(matches!(stored, Err(PutError::Storage(_))), "{case}: {stored:?}");
                    let content = memory.content(&key("o"));
                    assert!(content.is_none_or(|content| content == CONTENT), "{case}");
                    // Completed and not told: nobody knows, and nothing that may be there is taken apart.
                    let is_unclear = operation == Operation::Complete && matches!(fault, Fault::After(_));
                    let is_aborted = operation != Operation::StartUpload && !is_unclear;
                    assert_eq!(memory.calls(Operation::Abort), u32::from(is_aborted), "{case}");
                    assert_returned(settings, 2).await;
                }
            }
        }
    }

    #[tokio::test]
    async fn more_objects_than_buffers() {
        let memory = Memory::new();
        let settings = settings(&memory, 2);
        let keys: Vec<Key> = (0..20).map(|number| key(&number.to_string())).collect();
        let stored = futures_util::future::join_all(keys.iter().map(|key| store(&settings, key.clone())));
        let stored = tokio::time::timeout(Duration::from_secs(60), stored).await.unwrap();
        for (key, size) in keys.iter().zip(stored) {
            assert_eq!(size.unwrap(), CONTENT.len() as u64);
            assert_eq!(memory.content(key).unwrap(), CONTENT);
        }
        assert_returned(settings, 2).await;
    }

    #[tokio::test]
    async fn an_abandoned_object_does_not_exist() {
        for length in [0, 3, 4, 5, CONTENT.len()] {
            let memory = Memory::new();
            let settings = settings(&memory, 2);
            let mut writer = ObjectWriter::start(&Handle::current(), &settings, key("o"), Existing::Replaced);
            let abandoned = run_blocking("writer".to_owned(), move || {
                writer.write_all(&CONTENT[..length]).unwrap();
                writer.abandon();
            });
            tokio::time::timeout(Duration::from_secs(20), abandoned).await.unwrap().unwrap();
            assert!(memory.keys().is_empty());
            assert_eq!(memory.calls(Operation::Abort), memory.calls(Operation::StartUpload), "{length}");
            assert_returned(settings, 2).await;
        }
    }

    #[tokio::test]
    async fn cancelling_ends_what_hangs() {
        for operation in [Operation::StartUpload, Operation::PutPart, Operation::Complete] {
            let memory = Memory::new();
            memory.fail(operation, 1, Fault::Hang);
            let settings = settings(&memory, 2);
            let cancel = async {
                while memory.calls(operation) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                settings.ending.cancel();
            };
            let both = async { tokio::join!(store(&settings, key("o")), cancel) };
            let (stored, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
            assert!(matches!(stored, Err(PutError::Cancelled)), "{operation:?}: {stored:?}");
            assert!(memory.keys().is_empty());
            assert_returned(settings, 2).await;
        }
    }
}
