//! The backups of a server in barman's layout.
//!
//! A backup exists if and only if its `backup.info` exists: one that is being taken, or failed, exists as well, and its
//! status says so. A `backup.info` that cannot be read is told apart: whoever lists passes over it, whoever deletes must
//! not, since nobody knows which WAL that backup needs.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::layout::barman::{BackupId, BackupInfo, InfoError, Keep, Status, names};
use crate::storage::{self, Depth, Key, PutMode, SharedStorage, Storage};

use super::DOCUMENTS_AT_ONCE;

/// A backup and what its `backup.info` says.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupEntry {
    /// The backup.
    pub id: BackupId,
    /// When the storage last saw its `backup.info` written.
    pub modified: Timestamp,
    /// What that says.
    pub info: BackupInfo,
}

/// The backups of a server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    /// Every backup that could be read, in the order of their ids.
    pub backups: Vec<BackupEntry>,
    /// Those that could not.
    pub unreadable: Vec<BackupId>,
}

/// Why a backup could not be found or described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The storage could not answer.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A `backup.info` is there but cannot be read.
    #[error("cannot read `{key}`: {source}")]
    Info {
        /// The document.
        key: Key,
        /// What is wrong with it.
        source: InfoError,
    },
    /// No backup has this id.
    #[error("backup `{id}` does not exist in {location}")]
    NoSuchBackup {
        /// The id asked for.
        id: BackupId,
        /// Where.
        location: storage::Location,
    },
    /// No backup has this name.
    #[error("no backup is called `{name}` in {location}")]
    UnknownName {
        /// The name asked for.
        name: String,
        /// Where.
        location: storage::Location,
    },
    /// Several backups have this name.
    #[error("several backups are called `{name}`: {}", join(ids))]
    AmbiguousName {
        /// The name asked for.
        name: String,
        /// The backups.
        ids: Vec<BackupId>,
    },
}

impl Error {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Storage(error) => error.hint().map(str::to_owned),
            Error::NoSuchBackup { .. } | Error::UnknownName { .. } => {
                Some("`barman-cloud-backup-list` shows the backups that exist".to_owned())
            }
            Error::AmbiguousName { .. } => Some("use the id of one of them".to_owned()),
            Error::Info { .. } => None,
        }
    }
}

/// Ids as a person reads them.
pub fn join(ids: &[BackupId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Every backup. One that cannot be read is logged, and listed apart.
pub async fn list(storage: &dyn Storage) -> Result<Catalogue, Error> {
    let folders = storage::list_all(storage, &names::backups_prefix(), Depth::Children).await?.prefixes;
    let ids = folders.iter().filter_map(names::backup_of_prefix);
    let read: Vec<_> = stream::iter(ids)
        .map(async |id| match describe(storage, id).await {
            Ok(entry) => Ok(Some((id, Some(entry)))),
            // A folder without a `backup.info` is no backup: what is left of one, or one that just begins.
            Err(Error::NoSuchBackup { .. }) => Ok(None),
            Err(error @ Error::Info { .. }) => {
                tracing::warn!("{error}");
                Ok(Some((id, None)))
            }
            Err(error) => Err(error),
        })
        .buffered(DOCUMENTS_AT_ONCE)
        .try_collect()
        .await?;
    let mut catalogue = Catalogue::default();
    for (id, entry) in read.into_iter().flatten() {
        match entry {
            Some(entry) => catalogue.backups.push(entry),
            None => catalogue.unreadable.push(id),
        }
    }
    catalogue.backups.sort_by_key(|entry| entry.id);
    Ok(catalogue)
}

/// What the `backup.info` of a backup says; [`Error::NoSuchBackup`] when there is none.
pub async fn describe(storage: &dyn Storage, id: BackupId) -> Result<BackupEntry, Error> {
    let key = names::backup_info_key(id);
    let Some((meta, content)) = storage::get_bytes(storage, &key).await? else {
        return Err(Error::NoSuchBackup { id, location: storage.location().clone() });
    };
    let info =
        BackupInfo::parse(&content, &TimeZone::system()).map_err(|source| Error::Info { key, source })?;
    Ok(BackupEntry { id, modified: meta.modified, info })
}

/// The backup that is meant by an id, a name given with `--name`, or one of the words `latest` or `last`, `oldest` or
/// `first`, and `last-failed`. An id is not looked up.
pub async fn resolve(storage: &dyn Storage, text: &str) -> Result<BackupId, Error> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    list(storage).await?.resolve(text, storage.location())
}

impl Catalogue {
    /// The same as [`resolve`], in a catalogue that has been read; `location` is where.
    pub fn resolve(&self, text: &str, location: &storage::Location) -> Result<BackupId, Error> {
        if let Some(id) = text.parse().ok().or_else(|| by_word(&self.backups, text)) {
            return Ok(id);
        }
        let called = self.backups.iter().filter(|entry| entry.info.backup_name.as_deref() == Some(text));
        let ids: Vec<BackupId> = called.map(|entry| entry.id).collect();
        match ids.as_slice() {
            [id] => Ok(*id),
            [] => Err(Error::UnknownName { name: text.to_owned(), location: location.clone() }),
            _ => Err(Error::AmbiguousName { name: text.to_owned(), ids }),
        }
    }
}

/// What a word means, if there is such a backup. One that is being taken is neither the first nor the last.
fn by_word(backups: &[BackupEntry], word: &str) -> Option<BackupId> {
    let mut ended = backups.iter().filter(|entry| entry.info.status != Status::Started);
    let found = match word {
        "last" | "latest" => ended.next_back(),
        "first" | "oldest" => ended.next(),
        "last-failed" => ended.rfind(|entry| entry.info.status == Status::Failed),
        _ => None,
    };
    found.map(|entry| entry.id)
}

/// Where the annotations of a server's backups lie.
///
/// barman puts a slash between the path of the destination and the server's name, also when the path ends in one: with
/// `s3://bucket/path/` they lie in `path//server/base/…`, apart from the backups, and who leaves out that slash
/// does not see them. So both places are read, one is written.
#[derive(Debug, Clone)]
pub struct Annotations {
    /// Where barman would write them for the destination as it was given.
    pub place: SharedStorage,
    /// Where it would with the slash that was left out, or without the one that was not; `None` when the destination has
    /// no path, for then it is the same.
    pub other: Option<SharedStorage>,
}

impl Annotations {
    fn places(&self) -> impl Iterator<Item = &SharedStorage> {
        std::iter::once(&self.place).chain(&self.other)
    }

    /// For what a backup is kept; `None` when it is not.
    pub async fn keep(&self, id: BackupId) -> Result<Option<Keep>, Error> {
        let key = names::keep_key(id);
        let mut found = None;
        for place in self.places() {
            if let Some((_, content)) = or_impossible(storage::get_bytes(place.as_ref(), &key).await)? {
                found = Some(strongest(found, Keep::parse(&content)));
            }
        }
        Ok(found)
    }

    /// Every backup that is kept.
    pub async fn keeps(&self) -> Result<BTreeMap<BackupId, Keep>, Error> {
        let mut keeps = BTreeMap::new();
        for place in self.places() {
            let listed = storage::list_all(place.as_ref(), &names::backups_prefix(), Depth::All).await;
            let objects = or_impossible(listed)?.objects;
            let keys =
                objects.iter().filter_map(|object| Some((names::backup_of_keep(&object.key)?, &object.key)));
            let read: Vec<_> = stream::iter(keys)
                .map(async |(id, key)| Ok::<_, Error>((id, storage::get_bytes(place.as_ref(), key).await?)))
                .buffered(DOCUMENTS_AT_ONCE)
                .try_collect()
                .await?;
            for (id, content) in read {
                if let Some((_, content)) = content {
                    let keep = strongest(keeps.get(&id).copied(), Keep::parse(&content));
                    keeps.insert(id, keep);
                }
            }
        }
        Ok(keeps)
    }

    /// Keeps a backup. Durable on return. The other place says nothing else then.
    pub async fn put(&self, id: BackupId, keep: Keep) -> Result<(), Error> {
        let key = names::keep_key(id);
        let put = async |place: &SharedStorage| {
            place.put(&key, Bytes::from_static(keep.word().as_bytes()), PutMode::Overwrite).await.map(drop)
        };
        let Some(other) = &self.other else { return Ok(put(&self.place).await?) };
        match put(&self.place).await {
            Ok(()) => {}
            Err(error) if error.kind() == storage::ErrorKind::Invalid => return Ok(put(other).await?),
            Err(error) => return Err(error.into()),
        }
        // Services that know no empty name make one place of the two: then it says what was written.
        match or_impossible(storage::get_bytes(other.as_ref(), &key).await)? {
            Some((_, said)) if Keep::parse(&said) != keep => delete(other, key.clone()).await,
            _ => Ok(()),
        }
    }

    /// Keeps a backup no longer, wherever it was said that it is kept.
    pub async fn release(&self, id: BackupId) -> Result<(), Error> {
        for place in self.places() {
            delete(place, names::keep_key(id)).await?;
        }
        Ok(())
    }
}

/// The one of two that keeps more.
fn strongest(found: Option<Keep>, keep: Keep) -> Keep {
    match (found, keep) {
        (None | Some(Keep::Standalone), keep) => keep,
        (Some(Keep::Full), _) => Keep::Full,
    }
}

async fn delete(place: &SharedStorage, key: Key) -> Result<(), Error> {
    or_impossible(storage::delete_all(place.as_ref(), &[key]).await)
}

/// An answer, or nothing where the service has no such places.
fn or_impossible<T: Default>(answer: storage::Result<T>) -> Result<T, Error> {
    match answer {
        Err(error) if error.kind() == storage::ErrorKind::Invalid => {
            tracing::debug!("no annotation can be there: {error}");
            Ok(T::default())
        }
        answer => Ok(answer?),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::ErrorKind;
    use crate::storage::memory::{Fault, Memory, Operation};

    fn id(second: u32) -> BackupId {
        format!("20261121T0300{second:02}").parse().unwrap()
    }

    fn info(status: Status, name: Option<&str>) -> BackupInfo {
        BackupInfo { status, backup_name: name.map(str::to_owned), ..BackupInfo::default() }
    }

    fn repository(backups: &[(u32, Status, Option<&str>)]) -> Memory {
        let memory = Memory::new();
        for (second, status, name) in backups {
            memory.set(&names::backup_info_key(id(*second)), info(*status, *name).to_string());
        }
        memory
    }

    fn ids(catalogue: &Catalogue) -> Vec<BackupId> {
        catalogue.backups.iter().map(|entry| entry.id).collect()
    }

    #[tokio::test]
    async fn every_backup_is_listed_and_an_unreadable_one_is_told_apart() {
        let memory = repository(&[
            (3, Status::Failed, None),
            (1, Status::Done, Some("a")),
            (2, Status::Started, None),
        ]);
        memory.set(&names::backup_info_key(id(4)), "no backup.info");
        memory.set(&Key::parse("base/20261121T030005/data.tar").unwrap(), "what is left of a backup");
        memory.set(&Key::parse("base/readme").unwrap(), "");
        let catalogue = list(&memory).await.unwrap();
        assert_eq!(ids(&catalogue), [id(1), id(2), id(3)]);
        assert_eq!(catalogue.unreadable, [id(4)]);
        assert!(matches!(describe(&memory, id(4)).await, Err(Error::Info { .. })));
        assert!(matches!(describe(&memory, id(5)).await, Err(Error::NoSuchBackup { .. })));
    }

    #[tokio::test]
    async fn a_storage_that_does_not_answer_is_no_shorter_list() {
        let memory = repository(&[(1, Status::Done, None), (2, Status::Done, None)]);
        memory.fail(Operation::Get, 2, Fault::Before(ErrorKind::Network));
        assert!(matches!(list(&memory).await, Err(Error::Storage(_))));
    }

    #[tokio::test]
    async fn backups_are_meant_by_id_word_or_name() {
        let memory = repository(&[
            (1, Status::Started, Some("running")),
            (2, Status::Failed, None),
            (3, Status::Done, Some("nightly")),
            (4, Status::Done, Some("weekly")),
            (5, Status::Failed, Some("weekly")),
            (6, Status::Started, None),
        ]);
        for (text, meant) in [
            ("20200101T000000", Some("20200101T000000")),
            ("latest", Some("20261121T030005")),
            ("last", Some("20261121T030005")),
            ("oldest", Some("20261121T030002")),
            ("first", Some("20261121T030002")),
            ("last-failed", Some("20261121T030005")),
            ("nightly", Some("20261121T030003")),
            ("running", Some("20261121T030001")),
            ("monthly", None),
            ("weekly", None),
            ("", None),
        ] {
            let resolved = resolve(&memory, text).await.ok();
            assert_eq!(resolved.map(|id| id.to_string()).as_deref(), meant, "{text}");
        }
        let error = resolve(&memory, "weekly").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "several backups are called `weekly`: 20261121T030004, 20261121T030005"
        );
        assert!(matches!(resolve(&Memory::new(), "latest").await, Err(Error::UnknownName { .. })));
    }

    #[tokio::test]
    async fn annotations_are_read_in_both_places_and_written_in_one() {
        let (place, other) = (Memory::new(), Memory::new());
        let annotations =
            Annotations { place: Arc::new(place.clone()), other: Some(Arc::new(other.clone())) };
        assert_eq!(annotations.keep(id(1)).await.unwrap(), None);
        annotations.put(id(1), Keep::Standalone).await.unwrap();
        assert_eq!(place.content(&names::keep_key(id(1))).as_deref(), Some(&b"standalone"[..]));
        other.set(&names::keep_key(id(2)), "full\n");
        assert_eq!(annotations.keep(id(2)).await.unwrap(), Some(Keep::Full));
        let keeps = annotations.keeps().await.unwrap();
        assert_eq!(Vec::from_iter(keeps), [(id(1), Keep::Standalone), (id(2), Keep::Full)]);

        // What keeps more counts, until someone says anew what is to be kept.
        other.set(&names::keep_key(id(1)), "full");
        assert_eq!(annotations.keep(id(1)).await.unwrap(), Some(Keep::Full));
        assert_eq!(annotations.keeps().await.unwrap().get(&id(1)), Some(&Keep::Full));
        annotations.put(id(1), Keep::Standalone).await.unwrap();
        assert_eq!(annotations.keep(id(1)).await.unwrap(), Some(Keep::Standalone));

        for second in [1, 2, 3] {
            annotations.release(id(second)).await.unwrap();
        }
        assert!(annotations.keeps().await.unwrap().is_empty());
        assert!(place.keys().is_empty() && other.keys().is_empty());
    }

    #[tokio::test]
    async fn both_places_may_be_one() {
        let memory = Memory::new();
        let annotations =
            Annotations { place: Arc::new(memory.clone()), other: Some(Arc::new(memory.clone())) };
        for keep in [Keep::Standalone, Keep::Full, Keep::Full] {
            annotations.put(id(1), keep).await.unwrap();
            assert_eq!(annotations.keep(id(1)).await.unwrap(), Some(keep));
        }
        assert_eq!(annotations.keeps().await.unwrap().len(), 1);
        annotations.release(id(1)).await.unwrap();
        assert!(memory.keys().is_empty());
    }

    #[tokio::test]
    async fn a_service_may_not_have_the_place_with_two_slashes() {
        let (place, other) = (Memory::new(), Memory::new());
        let impossible = Fault::Before(ErrorKind::Invalid);
        let (one, two) = (Arc::new(place.clone()), Arc::new(other.clone()));
        // The URL ends in a slash: barman would write there.
        let annotations = Annotations { place: one.clone(), other: Some(two.clone()) };
        place.fail(Operation::Put, 1, impossible);
        annotations.put(id(1), Keep::Full).await.unwrap();
        assert!(other.content(&names::keep_key(id(1))).is_some());
        place.fail(Operation::Get, 1, impossible);
        assert_eq!(annotations.keep(id(1)).await.unwrap(), Some(Keep::Full));
        place.fail(Operation::List, 1, impossible);
        assert_eq!(annotations.keeps().await.unwrap().len(), 1);
        place.fail(Operation::Delete, 1, impossible);
        annotations.release(id(1)).await.unwrap();
        assert!(other.keys().is_empty());
        // It does not.
        let annotations = Annotations { place: two, other: Some(one) };
        place.fail(Operation::Delete, 2, impossible);
        annotations.put(id(1), Keep::Full).await.unwrap();
        assert!(other.content(&names::keep_key(id(1))).is_some());
        // What is not known is not taken for nothing.
        place.fail(Operation::List, 2, Fault::Before(ErrorKind::Busy));
        assert!(annotations.keeps().await.is_err());
    }
}
