//! `check-wal-archive`: may a new server archive here, or does the archive hold WAL of another one?
//!
//! The bucket is made when it is missing; nobody else makes one. Keys that may not ask for the bucket are given the
//! benefit of the doubt: the listing tells. Nothing says which cluster asks, so an archive without WAL is usable also where
//! it is known whose it is; since any other cluster is refused with its first push, that is a warning.

use std::collections::BTreeSet;
use std::fmt;

use futures_util::TryStreamExt;

use crate::layout::barman::names;
use crate::pg::{TimelineId, WalFileName};
use crate::storage::{Depth, ErrorKind};

use super::{Context, Error, ownership};

/// What is in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// Nothing that is in the way.
    Usable,
    /// Files that were archived, and there must be none.
    NotEmpty(Count),
    /// Files of this timeline or of later ones.
    Newer {
        /// How many.
        files: usize,
        /// The timeline.
        timeline: TimelineId,
    },
}

/// How many files are archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many.
    All(usize),
    /// So many were seen before the counting was given up.
    AtLeast(usize),
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, files) = match self {
            Count::All(files) => ("", *files),
            Count::AtLeast(files) => ("at least ", *files),
        };
        write!(f, "{prefix}{files} archived file{}", if files == 1 { "" } else { "s" })
    }
}

/// Pages of a listing that are counted.
const PAGES_COUNTED: usize = 10;

/// Looks for archived files: for any, or with `timeline` for those of this timeline and later ones. Base backups do not
/// matter.
pub async fn run(ctx: &Context, timeline: Option<TimelineId>) -> Result<Archive, Error> {
    match ctx.until_cancelled(ctx.storage.exists()).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::info!("{} does not exist, creating it", ctx.storage.location());
            ctx.until_cancelled(ctx.storage.create()).await?;
        }
        Err(Error::Storage(error)) if error.kind() == ErrorKind::Refused => {
            tracing::info!("{error}; listing it instead");
        }
        Err(error) => return Err(error),
    }
    let prefix = names::wal_prefix();
    let mut pages = ctx.storage.list(&prefix, Depth::All);
    let mut found: BTreeSet<WalFileName> = BTreeSet::new();
    let mut counted = 0;
    while let Some(page) = ctx.until_cancelled(pages.try_next()).await? {
        // What there was before decides already; only the number would change.
        if timeline.is_none() && !found.is_empty() && counted >= PAGES_COUNTED {
            return Ok(Archive::NotEmpty(Count::AtLeast(found.len())));
        }
        counted += 1;
        let files = page.objects.iter().filter_map(|object| names::parse_wal_key(&object.key));
        found.extend(
            files.map(|(file, _)| file).filter(|file| timeline.is_none_or(|first| file.timeline() >= first)),
        );
    }
    Ok(match (found.len(), timeline) {
        (0, timeline) => {
            if timeline.is_none() {
                tell_whose(ctx).await;
            }
            Archive::Usable
        }
        (files, Some(timeline)) => Archive::Newer { files, timeline },
        (files, None) => Archive::NotEmpty(Count::All(files)),
    })
}

/// Warns that an archive without WAL belongs to somebody.
async fn tell_whose(ctx: &Context) {
    let location = ctx.storage.location();
    match ownership::owner(ctx).await {
        Ok(Some(owner)) => tracing::warn!(
            "{location} has no WAL and belongs to the cluster with system identifier {owner}: what another cluster \
             archives there will be refused"
        ),
        Ok(None) => {}
        Err(error) => tracing::warn!("whose {location} is could not be asked: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::layout::barman::{Barman, Partials};
    use crate::ops::context;
    use crate::storage::memory::Memory;
    use crate::storage::{Key, PutMode, Storage};

    fn checked(names: &[&str], timeline: Option<u32>) -> Archive {
        let memory = Memory::new();
        let ctx = context(&memory, &Barman { partials: Partials::Ignore });
        let timeline = timeline.map(|timeline| TimelineId::new(timeline).unwrap());
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            for name in names {
                memory.put(&Key::parse(name).unwrap(), Bytes::new(), PutMode::Overwrite).await.unwrap();
            }
            run(&ctx, timeline).await.unwrap()
        })
    }

    #[test]
    fn any_archived_file_is_in_the_way_and_nothing_else() {
        for name in [
            "wals/0000000100000000/000000010000000000000001",
            "wals/0000000100000000/000000010000000000000001.gz",
            "wals/0000000100000000/000000010000000000000001.partial.zst",
            "wals/0000000100000000/000000010000000000000001.00000028.backup",
            "wals/00000002.history.bz2",
        ] {
            assert_eq!(checked(&[name], None), Archive::NotEmpty(Count::All(1)), "{name}");
        }
        let others = [
            "wals/seawall_owner.json",
            "base/20261121T031643/backup.info",
            "wals/notes.txt",
            "wals/0000000100000000/x.gz",
        ];
        assert_eq!(checked(&others, None), Archive::Usable);
        assert_eq!(checked(&[], None), Archive::Usable);
    }

    #[test]
    fn files_are_counted_up_to_a_bound() {
        let name = |log: u32| format!("wals/00000001{log:08X}/00000001{log:08X}00000001");
        let names: Vec<String> = (0..2000).map(name).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let some = checked(&names[..11], None);
        assert_eq!(some, Archive::NotEmpty(Count::All(11)));
        let Archive::NotEmpty(many @ Count::AtLeast(seen)) = checked(&names, None) else {
            panic!("{some:?}")
        };
        assert!((900..=1000).contains(&seen), "{seen}");
        assert_eq!(many.to_string(), format!("at least {seen} archived files"));
        assert_eq!(Count::All(1).to_string(), "1 archived file");
    }

    #[test]
    fn from_a_timeline_on_files_are_counted_once() {
        let names = [
            "wals/0000000100000000/000000010000000000000001.gz",
            "wals/0000000200000000/000000020000000000000002.gz",
            "wals/0000000200000000/000000020000000000000002",
            "wals/00000003.history",
        ];
        let newer = |files, timeline| Archive::Newer { files, timeline: TimelineId::new(timeline).unwrap() };
        assert_eq!(checked(&names, Some(1)), newer(3, 1));
        assert_eq!(checked(&names, Some(2)), newer(2, 2));
        assert_eq!(checked(&names, Some(4)), Archive::Usable);
    }
}
