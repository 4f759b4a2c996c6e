//! A file in the archive: finding it in whatever form it was stored, reading it, comparing with it.

use std::io::{self, Read};
use std::path::Path;

use futures_util::future::try_join_all;

use crate::codec::{self, Method};
use crate::layout::{ChooseWal, FindWal};
use crate::pipeline::{ObjectReader, open_object, run_blocking};
use crate::read_full::read_full;
use crate::storage::{self, Depth, Key, Prefix};

use super::{Context, Error};

/// Bytes compared at a time.
const COMPARE_BYTES: usize = 64 * 1024;

/// An archived file, opened; its bytes are still compressed and encrypted.
pub(super) struct Archived {
    pub key: Key,
    pub method: Method,
    pub reader: ObjectReader,
}

/// Opens `file` in whatever form it is archived. `None` only after the storage positively said of every form that it
/// is not there.
pub(super) async fn open(ctx: &Context, file: &str) -> Result<Option<Archived>, Error> {
    match ctx.layout.find_wal(file, ctx.compression.method()) {
        FindWal::ByName { names, unreadable } => by_name(ctx, names, unreadable).await,
        FindWal::ByList { stems, choose } => by_list(ctx, &stems, choose).await,
    }
}

/// The most likely form costs one request. The others are asked for together, so that a missing file, which is how
/// every recovery ends, costs two round trips.
async fn by_name(
    ctx: &Context,
    names: Vec<(Key, Method)>,
    unreadable: Option<Key>,
) -> Result<Option<Archived>, Error> {
    let mut names = names.into_iter();
    if let Some((key, method)) = names.next()
        && let Some(archived) = open_form(ctx, key, method).await?
    {
        return Ok(Some(archived));
    }
    let names: Vec<(Key, Method)> = names.collect();
    let heads = try_join_all(names.iter().map(|(key, _)| ctx.storage.head(key))).await?;
    for ((key, method), head) in names.into_iter().zip(heads) {
        if head.is_some()
            && let Some(archived) = open_form(ctx, key, method).await?
        {
            return Ok(Some(archived));
        }
    }
    match unreadable {
        Some(lzo) if ctx.storage.head(&lzo).await?.is_some() => {
            Err(Error::content(&lzo)(codec::Error::Lzo.into()))
        }
        _ => Ok(None),
    }
}

/// A missing file costs one request.
async fn by_list(ctx: &Context, stems: &[Prefix], choose: ChooseWal) -> Result<Option<Archived>, Error> {
    let mut listed = Vec::new();
    for stem in stems {
        let listing = storage::list_all(ctx.storage.as_ref(), stem, Depth::Children).await?;
        listed.extend(listing.objects.into_iter().map(|object| object.key));
    }
    match choose(listed) {
        Some((key, method)) => open_form(ctx, key, method).await,
        None => Ok(None),
    }
}

async fn open_form(ctx: &Context, key: Key, method: Method) -> Result<Option<Archived>, Error> {
    let opened = open_object(&ctx.storage, &key, None, &ctx.cancel).await?;
    Ok(opened.map(|reader| Archived { key, method, reader }))
}

impl Archived {
    /// Reads the file's content in `work`, on a thread of its own.
    ///
    /// An error of `work` is the object's content; whatever else can fail there (a local file) comes as its value.
    pub async fn read<T: Send + 'static>(
        self,
        ctx: &Context,
        work: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let cipher = ctx.cipher.clone();
        let Archived { key, method, reader } = self;
        let read = run_blocking("seawall-codec-0".to_owned(), move || {
            work(&mut codec::decode(reader, method, &cipher)?)
        });
        match read.await? {
            Err(_) if ctx.cancel.is_cancelled() => Err(Error::Cancelled),
            result => result.map_err(Error::content(&key)),
        }
    }

    /// Whether the archived content is the same as the file's at `path`.
    pub async fn equals(self, ctx: &Context, path: &Path) -> Result<bool, Error> {
        let local = std::fs::File::open(path).map_err(Error::file("open", path))?;
        let compared = self.read(ctx, move |archived| same_content(local, archived));
        compared.await?.map_err(Error::file("compare the archive with", path))
    }
}

/// Compares; the outer error is the archive's, the inner one the file's.
fn same_content(mut local: impl Read, archived: &mut dyn Read) -> io::Result<io::Result<bool>> {
    let mut ours = vec![0; COMPARE_BYTES];
    let mut theirs = vec![0; COMPARE_BYTES];
    loop {
        let other = read_full(archived, &mut theirs)?;
        let length = match read_full(&mut local, &mut ours) {
            Ok(length) => length,
            Err(error) => return Ok(Err(error)),
        };
        if ours.get(..length) != theirs.get(..other) {
            return Ok(Ok(false));
        }
        if length == 0 {
            return Ok(Ok(true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_content_and_length() {
        let long = vec![7; COMPARE_BYTES + 1];
        for (ours, theirs, same) in [
            (&b""[..], &b""[..], true),
            (b"a", b"a", true),
            (b"a", b"", false),
            (b"a", b"ab", false),
            (&long, &long, true),
            (&long, &long[1..], false),
        ] {
            assert_eq!(same_content(ours, &mut &theirs[..]).unwrap().unwrap(), same);
        }
    }

    #[test]
    fn tells_the_archive_s_errors_from_the_file_s() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        assert!(same_content(&b"a"[..], &mut Broken).is_err());
        assert!(same_content(Broken, &mut &b"a"[..]).unwrap().is_err());
    }
}
