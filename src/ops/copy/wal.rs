//! Archived files from one repository to another.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use futures_util::stream::{self, TryStreamExt};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::codec::{self, Method};
use crate::ops::encode::encode;
use crate::ops::{Context, Error};
use crate::pg::{WalFileName, WalSegmentSize};
use crate::pipeline::{ObjectWriter, PartPool, UploadSettings, open_object, run_blocking};
use crate::storage::{self, Depth, Key};

use super::Options;

/// One part holds an encoded segment of the usual size, whatever it compresses to.
const PART_BYTES: usize = (16 << 20) + (16 << 20) / 64;

/// Copies what is archived in `from` and not in `to`; how many files that were.
pub(super) async fn copy(from: &Context, to: &Context, options: &Options) -> Result<usize, Error> {
    let (source, target) = futures_util::try_join!(archived(from), archived(to))?;
    let missing: Vec<_> = source.into_iter().filter(|(file, _)| !target.contains_key(file)).collect();
    let at_once = options.downloads.clamp(1, 8);
    let uploads = UploadSettings {
        storage: Arc::clone(&to.storage),
        pool: PartPool::new(at_once.max(2), PART_BYTES),
        in_flight: Arc::new(Semaphore::new(at_once)),
        network_rate: None,
        cancel: to.cancel.clone(),
    };
    let count = missing.len();
    stream::iter(missing.into_iter().map(Ok))
        .try_for_each_concurrent(at_once, |(file, (key, method))| {
            let uploads = &uploads;
            async move { copy_file(from, to, file, &key, method, uploads).await }
        })
        .await?;
    tracing::info!("copied {count} archived files");
    Ok(count)
}

/// The archived files, each in one of its forms.
async fn archived(ctx: &Context) -> Result<BTreeMap<WalFileName, (Key, Method)>, Error> {
    let listing = storage::list_all(ctx.storage.as_ref(), &ctx.layout.archive(), Depth::All).await?;
    let keys = listing.objects.into_iter().map(|object| object.key);
    Ok(keys
        .filter_map(|key| {
            let (file, method) = ctx.layout.archived_file(&key)?;
            Some((file, (key, method)))
        })
        .collect())
}

async fn copy_file(
    from: &Context,
    to: &Context,
    file: WalFileName,
    key: &Key,
    method: Method,
    uploads: &UploadSettings,
) -> Result<(), Error> {
    let Some(reader) = from.until_cancelled(open_object(&from.storage, key, None, &from.cancel)).await?
    else {
        return Err(Error::NotArchived { file: file.to_string(), location: from.storage.location().clone() });
    };
    let target = to.layout.wal_key(&file.to_string(), to.compression.method());
    let writer = ObjectWriter::start(&Handle::current(), uploads, target);
    let (from_cipher, compression, cipher) = (from.cipher.clone(), to.compression, to.cipher.clone());
    let source = key.clone();
    let encoded = run_blocking("seawall-codec-0".to_owned(), move || {
        let copy = |mut out: &mut dyn Write| {
            let bytes = io::copy(&mut codec::decode(reader, method, &from_cipher)?, &mut out)?;
            check_size(file, bytes)
        };
        encode(writer, compression, &cipher, copy, Error::content(&source))
    });
    encoded.await??.store().await?;
    Ok(())
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
