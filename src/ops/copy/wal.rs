//! Archived files from one repository to another.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use futures_util::stream::{self, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::codec::{self, Method};
use crate::ops::encode::encode;
use crate::ops::{Context, Error, archived};
use crate::pg::{SegmentHeader, SystemIdentifier, WalFileName, WalSegmentSize};
use crate::pipeline::{Existing, ObjectWriter, PartPool, UploadSettings, open_object, run_blocking};
use crate::read_full::read_full;
use crate::storage::{self, Depth, Key};

use super::Options;

/// One part holds an encoded segment of the usual size, whatever it compresses to.
const PART_BYTES: usize = (16 << 20) + (16 << 20) / 64;

/// What an archive holds.
#[derive(Default)]
pub(super) struct Files {
    /// Each file that can be read, in one of its forms.
    readable: BTreeMap<WalFileName, (Key, Method)>,
    /// The files that are there in a compression that we do not know.
    unreadable: Vec<(WalFileName, Key)>,
}

/// The archive after a copy.
pub(super) struct Archive {
    /// How many files were copied.
    pub copied: usize,
    /// All that the target has now.
    pub there: BTreeSet<WalFileName>,
    /// What of the source it lacks, since it cannot be read.
    pub unreadable: Vec<Key>,
}

/// Copies of `source`, which is archived in `from`, what is not in `to`.
///
/// With an `owner` no segment of another cluster is.
pub(super) async fn copy(
    from: &Context,
    to: &Context,
    source: Files,
    owner: Option<SystemIdentifier>,
    options: &Options,
) -> Result<Archive, Error> {
    let target = files(to).await?.readable;
    let Files { readable: source, unreadable } = source;
    let there: BTreeSet<_> = source.keys().chain(target.keys()).copied().collect();
    let unreadable: Vec<Key> =
        unreadable.into_iter().filter(|(file, _)| !there.contains(file)).map(|(_, key)| key).collect();
    let missing: Vec<_> = source.into_iter().filter(|(file, _)| !target.contains_key(file)).collect();
    let at_once = options.downloads.clamp(1, 8);
    let uploads = UploadSettings {
        storage: Arc::clone(&to.storage),
        pool: PartPool::new(at_once.max(2), PART_BYTES),
        in_flight: Arc::new(Semaphore::new(at_once)),
        network_rate: None,
        cancel: to.cancel.clone(),
        ending: to.cancel.clone(),
    };
    let count = missing.len();
    stream::iter(missing.into_iter().map(Ok))
        .try_for_each_concurrent(at_once, |(file, (key, method))| {
            let uploads = &uploads;
            async move { copy_file(from, to, file, (&key, method), owner, uploads).await }
        })
        .await?;
    tracing::info!("copied {count} archived files");
    for key in &unreadable {
        tracing::error!("`{key}` is not copied: its compression is not known");
    }
    Ok(Archive { copied: count, there, unreadable })
}

/// Lists an archive.
pub(super) async fn files(ctx: &Context) -> Result<Files, Error> {
    let listing = storage::list_all(ctx.storage.as_ref(), &ctx.layout.archive(), Depth::All).await?;
    let mut files = Files::default();
    for key in listing.objects.into_iter().map(|object| object.key) {
        if let Some((file, method)) = ctx.layout.archived_file(&key) {
            files.readable.insert(file, (key, method));
        } else if let Some(file) = ctx.layout.unreadable_file(&key) {
            files.unreadable.push((file, key));
        }
    }
    Ok(files)
}

/// The cluster whose WAL is archived in `ctx`, by the first segment of its `files`.
pub(super) async fn cluster(ctx: &Context, files: &Files) -> Result<Option<SystemIdentifier>, Error> {
    let file = files.readable.keys().find(|file| matches!(file, WalFileName::Segment(_)));
    let Some(file) = file else { return Ok(None) };
    let Some(archived) = archived::open(ctx, &file.to_string()).await? else { return Ok(None) };
    let head = archived.read(ctx, |content| {
        let mut head = [0; SegmentHeader::LEN];
        let length = read_full(content, &mut head)?;
        Ok(head.get(..length).and_then(|head| SegmentHeader::parse(head).ok()))
    });
    Ok(head.await?.map(|header| header.system_identifier))
}

async fn copy_file(
    from: &Context,
    to: &Context,
    file: WalFileName,
    (key, method): (&Key, Method),
    owner: Option<SystemIdentifier>,
    uploads: &UploadSettings,
) -> Result<(), Error> {
    let Some(reader) = from.until_cancelled(open_object(&from.storage, key, None, &from.cancel)).await?
    else {
        return Err(Error::NotArchived { file: file.to_string(), location: from.storage.location().clone() });
    };
    let target = to.layout.wal_key(&file.to_string(), to.compression.method());
    let writer = ObjectWriter::start(&Handle::current(), uploads, target, Existing::Replaced);
    let (from_cipher, compression, cipher) = (from.cipher.clone(), to.compression, to.cipher.clone());
    let source = key.clone();
    let encoded = run_blocking("seawall-codec-0".to_owned(), move || {
        let copy = |mut out: &mut dyn Write| {
            let mut decoded = codec::decode(reader, method, &from_cipher)?;
            let mut head = [0; SegmentHeader::LEN];
            let length = read_full(&mut decoded, &mut head)?;
            let head = head.get(..length).unwrap_or_default();
            check_cluster(file, head, owner)?;
            out.write_all(head)?;
            let bytes = length as u64 + io::copy(&mut decoded, &mut out)?;
            check_size(file, bytes)
        };
        encode(writer, compression, &cipher, copy, Error::content(&source))
    });
    encoded.await??.store().await?;
    Ok(())
}

/// A segment whose header cannot be read is what somebody wanted archived, as it is.
fn check_cluster(file: WalFileName, head: &[u8], owner: Option<SystemIdentifier>) -> io::Result<()> {
    let (WalFileName::Segment(_), Some(owner)) = (file, owner) else { return Ok(()) };
    match SegmentHeader::parse(head) {
        Ok(header) if header.system_identifier != owner => {
            let found = header.system_identifier;
            let text = format!("WAL of the cluster {found}, and what is copied is of the cluster {owner}");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        _ => Ok(()),
    }
}

/// An uncompressed segment that was cut has nothing else to tell that.
fn check_size(file: WalFileName, bytes: u64) -> io::Result<()> {
    match file {
        WalFileName::Segment(_) if WalSegmentSize::from_bytes(bytes).is_err() => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("{bytes} bytes are no WAL segment")))
        }
        _ => Ok(()),
    }
}
