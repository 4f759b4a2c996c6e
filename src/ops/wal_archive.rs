//! What `wal_005/` holds: which segments on which timelines, and the histories of those.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use crate::layout::walg::names;
use crate::pg::{SegmentNumber, TimelineHistory, TimelineId, WalFileName, WalSegmentSize};
use crate::storage::{self, Depth, Key};

use super::{Context, Error, archived};

/// Nobody's history is longer; what is, is none.
pub(super) const MAX_HISTORY_BYTES: u64 = 4 << 20;

/// The segments of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WalArchive {
    /// By timeline; no entry is empty.
    pub segments: BTreeMap<TimelineId, BTreeSet<SegmentNumber>>,
    /// The highest timeline of which there is a segment or a history.
    pub highest_timeline: Option<TimelineId>,
}

impl WalArchive {
    /// Lists the archive of a cluster with segments of `size`.
    pub async fn list(ctx: &Context, size: WalSegmentSize) -> Result<WalArchive, Error> {
        let listing = storage::list_all(ctx.storage.as_ref(), &names::wal_prefix(), Depth::Children).await?;
        Ok(WalArchive::from_keys(listing.objects.iter().map(|object| &object.key), size))
    }

    fn from_keys<'a>(keys: impl Iterator<Item = &'a Key>, size: WalSegmentSize) -> WalArchive {
        let mut archive = WalArchive::default();
        for key in keys {
            let timeline = match archived_name(key) {
                Some(WalFileName::Segment(name)) => {
                    let Some(number) = name.number(size) else {
                        tracing::warn!("{key} cannot be a WAL segment of {size}, skipping it");
                        continue;
                    };
                    archive.segments.entry(name.timeline()).or_default().insert(number);
                    name.timeline()
                }
                Some(WalFileName::History(timeline)) => timeline,
                _ => continue,
            };
            archive.highest_timeline = archive.highest_timeline.max(Some(timeline));
        }
        archive
    }

    /// Whether a segment is archived.
    pub fn contains(&self, timeline: TimelineId, number: SegmentNumber) -> bool {
        self.segments.get(&timeline).is_some_and(|numbers| numbers.contains(&number))
    }
}

/// The file that an object holds, whatever its compression, those we cannot read included.
fn archived_name(key: &Key) -> Option<WalFileName> {
    let name = key.file_name();
    if let Ok(file) = name.parse() {
        return Some(file);
    }
    match name.rsplit_once('.')? {
        // wal-g's description of a segment, not a segment.
        (_, "json") => None,
        (file, _) => file.parse().ok(),
    }
}

/// The history of a timeline; `None` when none is archived, as for a cluster that was never promoted.
pub(super) async fn history(ctx: &Context, timeline: TimelineId) -> Result<Option<TimelineHistory>, Error> {
    let file = WalFileName::History(timeline).to_string();
    let Some(archived) = archived::open(ctx, &file).await? else { return Ok(None) };
    let key = archived.key.clone();
    let mut content = Vec::new();
    let content = archived
        .read(ctx, move |reader| {
            reader.take(MAX_HISTORY_BYTES).read_to_end(&mut content)?;
            Ok(content)
        })
        .await?;
    let history = TimelineHistory::parse(timeline, &content)
        .map_err(|error| Error::content(&key)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok(Some(history))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_in_any_form() {
        let keys = [
            "wal_005/000000010000000000000001.br",
            "wal_005/000000010000000000000002",
            "wal_005/000000010000000000000003.lzo",
            "wal_005/000000010000000000000003.json",
            "wal_005/000000010000000000000004.json",
            "wal_005/000000010000000000000005.partial.br",
            "wal_005/000000010000000000000006.00000028.backup.br",
            "wal_005/000000010000000000000000_delta.br",
            "wal_005/000000010000000000000101.br",
            "wal_005/000000020000000000000005.",
            "wal_005/00000003.history.br",
        ];
        let keys: Vec<Key> = keys.iter().map(|key| Key::parse(key).unwrap()).collect();
        let archive = WalArchive::from_keys(keys.iter(), WalSegmentSize::DEFAULT);
        let timeline = |number| TimelineId::new(number).unwrap();
        let numbers = |numbers: &[u64]| numbers.iter().map(|number| SegmentNumber::new(*number)).collect();
        assert_eq!(
            archive,
            WalArchive {
                segments: BTreeMap::from([(timeline(1), numbers(&[1, 2, 3])), (timeline(2), numbers(&[5]))]),
                highest_timeline: Some(timeline(3)),
            }
        );
    }
}
