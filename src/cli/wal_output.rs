//! What `wal-show` and `wal-verify` print, byte for byte as wal-g.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::layout::walg::go_json;
use crate::ops::wal_show::{BackupLookup, Gap, ShownTimeline};
use crate::ops::wal_verify::{
    CheckStatus, Integrity, SegmentSequence, SegmentState, TimelineCheck, Verification,
};
use crate::pg::Lsn;

use super::backup_output;
use super::table::{self, left, right};

/// The table of `wal-show`.
pub fn show_table(timelines: &[ShownTimeline], backups: BackupLookup) -> String {
    let mut columns = vec![
        right("TLI"),
        right("Parent TLI"),
        right("Switchpoint LSN"),
        left("Start segment"),
        left("End segment"),
        right("Segment range"),
        right("Segments count"),
        left("Status"),
    ];
    if backups == BackupLookup::Include {
        columns.push(right("Backups count"));
    }
    let rows: Vec<Vec<String>> = timelines
        .iter()
        .map(|shown| {
            let (parent, switch) = parent(shown);
            let mut row = vec![
                shown.timeline.to_string(),
                parent.to_string(),
                switch.to_string(),
                shown.first.to_string(),
                shown.last.to_string(),
                shown.range.to_string(),
                shown.count.to_string(),
                status_word(shown).to_owned(),
            ];
            if backups == BackupLookup::Include {
                row.push(shown.backups.len().to_string());
            }
            row
        })
        .collect();
    table::boxed(&columns, &rows)
}

/// How many missing segments of a timeline are named: 16 TiB of WAL in segments of the usual size. More are missing only
/// where a stray object has the name of a segment.
const NAMED_MISSING: usize = 1 << 20;

/// The JSON of `wal-show --detailed-json`, without a line break at its end, as wal-g's. Of more missing segments than
/// anybody reads it names the newest.
pub fn show_json(timelines: &[ShownTimeline]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Timeline {
        id: u32,
        parent_id: u32,
        switch_point_lsn: u64,
        start_segment: String,
        end_segment: String,
        segments_count: u64,
        missing_segments: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        backups: Option<Box<RawValue>>,
        segment_range_size: u64,
        status: &'static str,
    }
    let timelines = timelines
        .iter()
        .map(|shown| {
            let (parent, switch) = parent(shown);
            let backups = match shown.backups.as_slice() {
                [] => None,
                backups => Some(RawValue::from_string(backup_output::json_of(backups)?)?),
            };
            Ok(Timeline {
                id: shown.timeline.as_u32(),
                parent_id: parent,
                switch_point_lsn: switch.as_u64(),
                start_segment: shown.first.to_string(),
                end_segment: shown.last.to_string(),
                segments_count: shown.count,
                missing_segments: missing(shown),
                backups,
                segment_range_size: shown.range,
                status: status_word(shown),
            })
        })
        .collect::<serde_json::Result<Vec<Timeline>>>()?;
    serde_json::to_string(&timelines)
}

fn missing(shown: &ShownTimeline) -> Vec<String> {
    let count: u64 = shown.gaps.iter().map(Gap::count).sum();
    if count > NAMED_MISSING as u64 {
        tracing::warn!(
            "timeline {} lacks {count} segments, the newest {NAMED_MISSING} are named",
            shown.timeline
        );
    }
    let segments = shown.gaps.iter().flat_map(Gap::segments);
    segments.take(NAMED_MISSING).map(|segment| segment.to_string()).collect()
}

fn parent(shown: &ShownTimeline) -> (u32, Lsn) {
    shown.parent.map_or((0, Lsn::INVALID), |(timeline, lsn)| (timeline.as_u32(), lsn))
}

fn status_word(shown: &ShownTimeline) -> &'static str {
    if shown.gaps.is_empty() { "OK" } else { "LOST_SEGMENTS" }
}

/// The text of `wal-verify`, integrity first.
pub fn verify_text(verification: &Verification) -> String {
    let mut text = String::new();
    let head = |check: &str, status: CheckStatus| {
        format!(
            "[wal-verify] {check} check status: {}\n[wal-verify] {check} check details:\n",
            check_word(status)
        )
    };
    if let Some(integrity) = &verification.integrity {
        text.push_str(&head("integrity", integrity.status));
        text.push_str(&integrity_table(integrity));
    }
    if let Some(timeline) = &verification.timeline {
        text.push_str(&head("timeline", timeline.status()));
        text.push_str(&format!(
            "Highest timeline found in storage: {}\nCurrent cluster timeline: {}\n",
            highest(timeline),
            timeline.current
        ));
    }
    text
}

fn integrity_table(integrity: &Integrity) -> String {
    let columns = [right("TLI"), left("Start"), left("End"), right("Segments count"), right("Status")];
    let row = |sequence: &SegmentSequence| {
        vec![
            sequence.first.timeline().to_string(),
            sequence.first.to_string(),
            sequence.last.to_string(),
            sequence.count.to_string(),
            state_word(sequence.state).to_owned(),
        ]
    };
    table::boxed(&columns, &integrity.sequences.iter().map(row).collect::<Vec<_>>())
}

/// The JSON of `wal-verify --json`, without a line break at its end, as wal-g's.
pub fn verify_json(verification: &Verification) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Sequence {
        timeline_id: u32,
        start_segment: String,
        end_segment: String,
        segments_count: u64,
        status: &'static str,
    }
    #[derive(Serialize)]
    struct Timelines {
        current_timeline_id: u32,
        highest_storage_timeline_id: u32,
    }
    #[derive(Serialize)]
    struct Checked<T> {
        status: &'static str,
        details: T,
    }
    #[derive(Serialize)]
    struct Document {
        #[serde(skip_serializing_if = "Option::is_none")]
        integrity: Option<Checked<Option<Vec<Sequence>>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeline: Option<Checked<Timelines>>,
    }
    let sequence = |sequence: &SegmentSequence| Sequence {
        timeline_id: sequence.first.timeline().as_u32(),
        start_segment: sequence.first.to_string(),
        end_segment: sequence.last.to_string(),
        segments_count: sequence.count,
        status: state_word(sequence.state),
    };
    go_json::to_string(&Document {
        integrity: verification.integrity.as_ref().map(|integrity| Checked {
            status: check_word(integrity.status),
            // wal-g's list is nil, not empty, when there was nothing to look at.
            details: (!integrity.sequences.is_empty())
                .then(|| integrity.sequences.iter().map(sequence).collect()),
        }),
        timeline: verification.timeline.as_ref().map(|timeline| Checked {
            status: check_word(timeline.status()),
            details: Timelines {
                current_timeline_id: timeline.current.as_u32(),
                highest_storage_timeline_id: highest(timeline),
            },
        }),
    })
}

fn highest(timeline: &TimelineCheck) -> u32 {
    timeline.highest.map_or(0, |timeline| timeline.as_u32())
}

fn check_word(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Ok => "OK",
        CheckStatus::Warning => "WARNING",
        CheckStatus::Failure => "FAILURE",
    }
}

fn state_word(state: SegmentState) -> &'static str {
    match state {
        SegmentState::Found => "FOUND",
        SegmentState::Delayed => "MISSING_DELAYED",
        SegmentState::Uploading => "MISSING_UPLOADING",
        SegmentState::Lost => "MISSING_LOST",
    }
}
