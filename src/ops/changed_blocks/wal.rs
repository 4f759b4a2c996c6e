//! The second source: the WAL itself.
//!
//! Whole groups of 16 segments are taken from what wal-push recorded, where it did. The other segments are read from
//! `pg_wal` or, where they are not there any more or do not hold what they should, from the archive: several at a
//! time, each by itself, and put together in order. The last one, which the server is still writing, is read up to the
//! start of the new backup.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use crate::layout::walg::{WalDelta, names};
use crate::ops::{Context, Error, archived};
use crate::pg::wal::{SegmentChanges, WalError, WalReader, join};
use crate::pg::{BlockMap, Lsn, SegmentName, SystemIdentifier, WalSegmentSize};
use crate::pipeline::run_blocking;

use super::wal_plan::{Part, WalPlan};
use super::{Cluster, Gap, Interval};

/// Objects and files read at a time: enough to hide the way to the storage and to keep some cores at work.
const AT_ONCE: usize = 4;

/// So much WAL is fetched from the archive whatever the size of the cluster.
const FETCH_ALWAYS: u64 = 1 << 30;

/// Reads the map of an interval from its WAL.
pub(super) async fn read(ctx: &Context, cluster: Cluster<'_>, interval: &Interval) -> Result<BlockMap, Gap> {
    let identity = cluster.identity;
    let Some(plan) = WalPlan::of(interval, identity.segment_size) else { return Ok(BlockMap::default()) };
    let source = WalSource {
        ctx,
        directory: cluster.data_dir.join("pg_wal"),
        cluster: identity.system_identifier,
        segment_size: identity.segment_size,
    };
    let mut map = BlockMap::default();
    let pieces = source.recorded(plan.parts, &mut map).await?;
    let to_fetch = source.bytes_to_fetch(&pieces);
    if to_fetch > FETCH_ALWAYS.max(cluster.data_bytes) {
        return Err(Gap::MuchWal { to_fetch, data_bytes: cluster.data_bytes });
    }

    // The record that the segments so far leave unfinished; nothing is known of those before the first.
    let mut tail = None;
    // Several are read at a time, and come in their order.
    let mut pieces = stream::iter(pieces).map(|piece| source.read(piece, interval.from)).buffered(AT_ONCE);
    while let Some(piece) = pieces.next().await {
        tail = Some(match piece? {
            Known::Group { tail } => tail,
            Known::Segment(segment, changes) => {
                let SegmentChanges { header, map: of_segment, head, tail: own } = *changes;
                map.merge(of_segment);
                match tail {
                    None => own,
                    Some(begun) => join(header.pg_major, header.page_address, begun, &head, &mut map)
                        .map_err(|source| Gap::Wal { segment, source })?
                        .unwrap_or(own),
                }
            }
        });
    }
    map.merge(source.read_last(plan.last, interval, tail).await?);
    Ok(map)
}

/// Where WAL comes from.
struct WalSource<'a> {
    ctx: &'a Context,
    /// The server's `pg_wal`.
    directory: PathBuf,
    cluster: SystemIdentifier,
    segment_size: WalSegmentSize,
}

/// A piece of the interval, before it is read.
enum Piece {
    /// A group whose blocks were recorded, with the record that is unfinished at its end.
    Recorded { tail: Vec<u8> },
    /// A segment that has to be read.
    Segment(SegmentName),
}

/// The same afterwards.
enum Known {
    Group { tail: Vec<u8> },
    Segment(SegmentName, Box<SegmentChanges>),
}

impl WalSource<'_> {
    /// Adds to `map` what was recorded, and says what is left to be read.
    async fn recorded(&self, parts: Vec<Part>, map: &mut BlockMap) -> Result<Vec<Piece>, Gap> {
        let mut pieces = Vec::new();
        let mut looked_up = stream::iter(parts)
            .map(async |part| match part {
                Part::Segment(segment) => Ok((vec![segment], None)),
                Part::Group(segments) => {
                    let recorded = self.recorded_group(&segments).await?;
                    Ok::<_, Gap>((segments, recorded))
                }
            })
            .buffered(AT_ONCE);
        while let Some(part) = looked_up.next().await {
            match part? {
                (_, Some(delta)) => {
                    map.merge(delta.map);
                    pieces.push(Piece::Recorded { tail: delta.tail });
                }
                (segments, None) => pieces.extend(segments.into_iter().map(Piece::Segment)),
            }
        }
        Ok(pieces)
    }

    /// What was recorded of a group; `None` when it was not, or not by us, or cannot be read.
    async fn recorded_group(&self, segments: &[SegmentName]) -> Result<Option<WalDelta>, Gap> {
        let Some(first) = segments.first() else { return Ok(None) };
        let file = names::wal_delta_file(*first);
        let read = async {
            let Some(archived) = archived::open(self.ctx, &file).await? else { return Ok(None) };
            let key = archived.key.clone();
            let read = archived.read(self.ctx, |content| Ok(WalDelta::read(content))).await?;
            read.map_err(|error| Error::content(&key)(std::io::Error::other(error)))
        };
        match read.await {
            Ok(recorded) => Ok(recorded),
            Err(Error::Cancelled) => Err(Error::Cancelled.into()),
            Err(error) => {
                tracing::warn!("reading 16 segments in place of their recorded blocks: {error}");
                Ok(None)
            }
        }
    }

    /// The size of the segments that are not in `pg_wal`.
    fn bytes_to_fetch(&self, pieces: &[Piece]) -> u64 {
        let is_away = |piece: &&Piece| match piece {
            Piece::Recorded { .. } => false,
            Piece::Segment(segment) => !self.directory.join(segment.to_string()).exists(),
        };
        pieces.iter().filter(is_away).count() as u64 * self.segment_size.bytes()
    }

    /// Reads a piece; of a segment the records that begin at or after `from`.
    async fn read(&self, piece: Piece, from: Lsn) -> Result<Known, Gap> {
        let segment = match piece {
            Piece::Recorded { tail } => return Ok(Known::Group { tail }),
            Piece::Segment(segment) => segment,
        };
        let (cluster, size) = (self.cluster, self.segment_size);
        let changes = self.parse(segment, move |mut content| {
            let changes = SegmentChanges::read(&mut content, from)?;
            check(segment, &changes, cluster, size)?;
            Ok(Box::new(changes))
        });
        Ok(Known::Segment(segment, changes.await?))
    }

    /// Reads the segment that holds the end of the interval. `tail` is what the segments before it end with; without
    /// them the interval begins in this one too.
    async fn read_last(
        &self,
        segment: SegmentName,
        interval: &Interval,
        tail: Option<Vec<u8>>,
    ) -> Result<BlockMap, Gap> {
        let (cluster, size) = (self.cluster, self.segment_size);
        let (from, until) = (interval.from, interval.until);
        let start = move || match (&tail, segment.number(size)) {
            (Some(tail), Some(number)) => WalReader::after_tail(cluster, size, number, tail, until),
            _ => Ok(WalReader::new(cluster, size, from, until)),
        };
        let reader = start().map_err(|source| Gap::Wal { segment, source })?;
        if reader.next_segment().is_none() {
            // The new backup starts with the segment.
            return reader.finish().map_err(|source| Gap::Wal { segment, source });
        }
        self.parse(segment, move |mut content| {
            let mut reader = start()?;
            reader.read_segment(&mut content)?;
            reader.finish()
        })
        .await
    }

    /// What `parse` makes of a segment in `pg_wal`, or else of the archived one.
    async fn parse<T: Send + 'static>(
        &self,
        segment: SegmentName,
        parse: impl Fn(&mut dyn Read) -> Result<T, WalError> + Send + Sync + 'static,
    ) -> Result<T, Gap> {
        let parse = Arc::new(parse);
        let wrong = |source| Gap::Wal { segment, source };
        let file = segment.to_string();
        let local = match File::open(self.directory.join(&file)) {
            Err(_) => None,
            Ok(mut content) => {
                let parse = Arc::clone(&parse);
                let parsed = run_blocking("seawall-wal-0".to_owned(), move || parse(&mut content)).await;
                match parsed.map_err(Error::from)? {
                    Ok(parsed) => return Ok(parsed),
                    Err(error) => Some(error),
                }
            }
        };
        match (archived::open(self.ctx, &file).await?, local) {
            (Some(archived), _) => {
                archived.read(self.ctx, move |content| Ok(parse(content))).await?.map_err(wrong)
            }
            (None, Some(error)) => Err(wrong(error)),
            (None, None) => {
                Err(Error::NotArchived { file, location: self.ctx.storage.location().clone() }.into())
            }
        }
    }
}

/// Checks that a segment is the one it should be.
fn check(
    segment: SegmentName,
    changes: &SegmentChanges,
    cluster: SystemIdentifier,
    size: WalSegmentSize,
) -> Result<(), WalError> {
    let lsn = changes.header.page_address;
    changes.header.check(segment, size.bytes()).map_err(|source| WalError::Segment { lsn, source })?;
    if changes.header.system_identifier != cluster {
        return Err(WalError::OtherSegment { lsn, problem: "it is of another cluster" });
    }
    Ok(())
}
