//! `copy_stats` of a `backup.info`: how long a backup took, as a whole and each sequence of tars.
//!
//! ```text
//! {'total_time': 2.907749, 'number_of_workers': 2, 'analysis_time': 0, 'analysis_time_per_item': {'data': 0},
//!  'copy_time_per_item': {'data': 1.78}, 'serialized_copy_time_per_item': {'data': 0.8}, 'copy_time': 1.78,
//!  'serialized_copy_time': 0.8}
//! ```
//!
//! Times are seconds. Serialized is what it would have taken one after another: barman adds up the parts of the uploads, here
//! the tars are. Source: barman `cloud.py`, `CloudUploadController.statistics`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::layout::new_backup::{CopyTime, Group, Taken};

use super::Literal;
use super::names::Stem;

/// Of a backup that was begun at this time, with all its tars.
pub(super) fn of(begun: Timestamp, taken: &Taken<'_>) -> Literal {
    let (tablespaces, data): (Vec<_>, Vec<_>) =
        taken.copy_times.iter().partition(|(group, _)| matches!(group, Group::Tablespace(_)));
    // In the order in which barman copies.
    let items: Vec<(Stem, &CopyTime)> =
        tablespaces.into_iter().chain(data).map(|(group, time)| (stem(*group), time)).collect();
    let began = items.iter().map(|(_, time)| time.began).min().unwrap_or(begun);
    let ended = items.iter().map(|(_, time)| time.ended).max().unwrap_or(begun);
    let per_item = |value: fn(&CopyTime) -> Literal| {
        Literal::dict(items.iter().map(|(stem, time)| (stem.to_string(), value(time))))
    };
    let copied = between(began, ended);
    let workers = i64::try_from(taken.uploads).unwrap_or(i64::MAX);
    Literal::dict([
        // The labels are stored after the end; what is copied from another layout, long after it.
        ("total_time", seconds(between(begun, taken.finish_time).max(copied))),
        ("number_of_workers", Literal::Int(workers.into())),
        ("analysis_time", Literal::Int(0)),
        ("analysis_time_per_item", per_item(|_| Literal::Int(0))),
        ("copy_time_per_item", per_item(|time| seconds(between(time.began, time.ended)))),
        ("serialized_copy_time_per_item", per_item(|time| seconds(time.serialized))),
        ("copy_time", seconds(copied)),
        ("serialized_copy_time", seconds(items.iter().map(|(_, time)| time.serialized).sum())),
    ])
}

/// Of a backup of snapshots, which has no tars.
pub(super) fn of_snapshots(begun: Timestamp, ended: Timestamp) -> Literal {
    Literal::dict(["copy_time", "total_time"].map(|name| (name, seconds(between(begun, ended)))))
}

fn stem(group: Group) -> Stem {
    match group {
        Group::Cluster => Stem::Data,
        Group::Tablespace(oid) => Stem::Tablespace(oid),
    }
}

/// None when the clock was set back.
fn between(from: Timestamp, until: Timestamp) -> Duration {
    until.duration_since(from).max(SignedDuration::ZERO).unsigned_abs()
}

/// To the microsecond, as Python has it.
fn seconds(duration: Duration) -> Literal {
    Literal::Float((duration.as_secs_f64() * 1e6).round() / 1e6)
}
