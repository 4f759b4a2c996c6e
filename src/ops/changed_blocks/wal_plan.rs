//! Which segments hold the WAL of an interval, and which of them may have been recorded together.

use crate::layout::walg::wal_delta::{GROUP_SEGMENTS, first_of_group};
use crate::pg::{SegmentName, SegmentNumber, WalSegmentSize};

use super::Interval;

/// The segments of an interval, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WalPlan {
    /// All but the last.
    pub parts: Vec<Part>,
    /// The one that holds the last byte of the interval, and that the server is perhaps still writing.
    pub last: SegmentName,
}

/// A part of the interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A segment.
    Segment(SegmentName),
    /// A whole group of segments of one timeline.
    Group(Vec<SegmentName>),
}

impl WalPlan {
    /// The plan for an interval; `None` when there is no WAL in it.
    ///
    /// A segment in which a timeline was left exists on both timelines, up to there with the same content. PostgreSQL
    /// reads the newer one's copy (`XLogReadDetermineTimeline`, `access/transam/xlogutils.c`), and the older one may
    /// have been archived as a partial segment only, so the newer one's it is.
    pub fn of(interval: &Interval, size: WalSegmentSize) -> Option<WalPlan> {
        if interval.from >= interval.until {
            return None;
        }
        let last = interval.until.previous_segment(size);
        let mut rest = Vec::new();
        let mut number = interval.from.segment(size);
        while number < last {
            rest.push(newest(interval, number, size)?);
            number = number.next();
        }
        let mut parts = Vec::new();
        let mut rest = rest.as_slice();
        while let Some((first, others)) = rest.split_first() {
            match rest.split_at_checked(GROUP_SEGMENTS.into()) {
                Some((group, after)) if is_group(group, size) => {
                    parts.push(Part::Group(group.to_vec()));
                    rest = after;
                }
                _ => {
                    parts.push(Part::Segment(*first));
                    rest = others;
                }
            }
        }
        Some(WalPlan { parts, last: newest(interval, last, size)? })
    }
}

/// The segment on the newest timeline that has it.
fn newest(interval: &Interval, number: SegmentNumber, size: WalSegmentSize) -> Option<SegmentName> {
    let last_byte = number.next().start_lsn(size)?.checked_sub(1)?;
    SegmentName::new(interval.history.timeline_at(last_byte), number, size)
}

/// Whether these segments, which follow one another, are recorded together.
fn is_group(segments: &[SegmentName], size: WalSegmentSize) -> bool {
    let [first, .., last] = segments else { return false };
    first_of_group(*first, size) == Some(*first) && first.timeline() == last.timeline()
}

#[cfg(test)]
mod tests {
    use crate::pg::{Lsn, TimelineHistory, TimelineId};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// In segments of 1 MiB; timelines 1 and 2 were left in the midst of segments 0x28 and 0x44.
    fn plan(from: u64, until: u64) -> Option<(Vec<String>, String)> {
        let text = b"1\t0/2880000\tx\n2\t0/4400100\tx\n";
        let history = TimelineHistory::parse(TimelineId::new(3).unwrap(), text).unwrap();
        let interval = Interval { from: Lsn::new(from), until: Lsn::new(until), history };
        let plan = WalPlan::of(&interval, WalSegmentSize::from_mebibytes(1).unwrap())?;
        let short = |name: &SegmentName| {
            let name = name.to_string();
            format!("{}/{}", &name[7..8], &name[21..24])
        };
        let parts = plan.parts.iter().map(|part| match part {
            Part::Segment(name) => short(name),
            Part::Group(names) => format!("{}-{}", short(&names[0]), short(&names[15])),
        });
        Some((parts.collect(), short(&plan.last)))
    }

    #[test]
    fn groups_are_whole_and_of_one_timeline() {
        let (parts, last) = plan(0x0E * MIB + 40, 0x62 * MIB + 40).unwrap();
        assert_eq!(
            parts.join(" "),
            "1/00E 1/00F 1/010-1/01F \
             1/020 1/021 1/022 1/023 1/024 1/025 1/026 1/027 \
             2/028 2/029 2/02A 2/02B 2/02C 2/02D 2/02E 2/02F \
             2/030-2/03F \
             2/040 2/041 2/042 2/043 \
             3/044 3/045 3/046 3/047 3/048 3/049 3/04A 3/04B 3/04C 3/04D 3/04E 3/04F \
             3/050-3/05F 3/060 3/061"
        );
        assert_eq!(last, "3/062");
    }

    #[test]
    fn the_last_segment_is_never_part_of_a_group() {
        let parts = |from, until| plan(from, until).unwrap();
        assert_eq!(parts(0x50 * MIB, 0x60 * MIB).0.len(), 15);
        assert_eq!(parts(0x50 * MIB, 0x60 * MIB).1, "3/05F");
        assert_eq!(parts(0x50 * MIB, 0x60 * MIB + 1), (vec!["3/050-3/05F".to_owned()], "3/060".to_owned()));
        assert_eq!(parts(0x51 * MIB + 7, 0x51 * MIB + 8), (vec![], "3/051".to_owned()));
        assert_eq!(plan(0x51 * MIB, 0x51 * MIB), None);
        assert_eq!(plan(0x51 * MIB, 0x50 * MIB), None);
    }
}
