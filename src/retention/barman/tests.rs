//! What goes and what stays, by cases and by laws.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::layout::barman::names;
use crate::storage::Key;

const NOW: &str = "2026-11-21T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn id(number: u32) -> BackupId {
    format!("20261121T{number:06}").parse().unwrap()
}

fn segment(text: &str) -> SegmentName {
    text.parse().unwrap()
}

/// A segment by timeline and number, of 16 MiB.
fn numbered(timeline: u32, number: u32) -> SegmentName {
    segment(&format!("{timeline:08X}{:08X}{:08X}", number / 256, number % 256))
}

/// A complete backup that begins in this segment and ends in the next, `days` days before now.
fn backup(number: u32, days: i64, begin: SegmentName) -> BackupFacts {
    let end = segment(&format!(
        "{}{:08X}",
        &begin.to_string()[..16],
        u32::from_str_radix(&begin.to_string()[16..], 16).unwrap() + 1
    ));
    BackupFacts {
        id: id(number),
        status: Status::Done,
        end_time: Some(now() - SignedDuration::from_hours(24 * days)),
        timeline: Some(begin.timeline()),
        begin_wal: Some(begin),
        end_wal: Some(end),
        keep: None,
        may_be_running: false,
        is_being_deleted: false,
        is_incremental: false,
        has_unknown_snapshots: false,
    }
}

fn kept(facts: BackupFacts, keep: Keep) -> BackupFacts {
    BackupFacts { keep: Some(keep), ..facts }
}

fn with_status(facts: BackupFacts, status: Status) -> BackupFacts {
    BackupFacts { status, ..facts }
}

fn archive(files: &[&str]) -> Vec<ArchivedObject> {
    files.iter().map(|file| ArchivedObject::new(Key::parse(&format!("wals/{file}")).unwrap())).collect()
}

/// Whole segments `from..to` of a timeline, where they belong.
fn segments(timeline: u32, range: std::ops::Range<u32>) -> Vec<ArchivedObject> {
    let object = |number| {
        let file = crate::pg::WalFileName::Segment(numbered(timeline, number));
        ArchivedObject::new(names::wal_key(file, crate::codec::Method::Gzip))
    };
    range.map(object).collect()
}

fn words(report: &[(BackupId, RetentionStatus)]) -> Vec<String> {
    report.iter().map(|(_, status)| status.to_string()).collect()
}

/// The file names that go with all chosen backups.
fn gone(request: &Request, backups: &[BackupFacts], objects: &[ArchivedObject]) -> Vec<String> {
    let chosen = choose(request, backups, 0, now()).unwrap();
    let removals = wal_removals(request, &chosen, backups, objects);
    removals
        .iter()
        .flat_map(WalRemoval::keys)
        .map(|key| key.file_name().trim_end_matches(".gz").to_owned())
        .collect()
}

fn redundancy(count: usize) -> Request {
    Request::Policy(RetentionPolicy::Redundancy(count))
}

fn window(days: i64) -> RetentionPolicy {
    RetentionPolicy::RecoveryWindow(SignedDuration::from_hours(24 * days))
}

#[test]
fn a_redundancy_counts_complete_backups_and_kept_ones() {
    let backups = [
        backup(1, 9, numbered(1, 1)),
        kept(backup(2, 8, numbered(1, 3)), Keep::Standalone),
        with_status(backup(3, 7, numbered(1, 5)), Status::Failed),
        backup(4, 6, numbered(1, 7)),
        kept(backup(5, 5, numbered(1, 9)), Keep::Full),
        backup(6, 4, numbered(1, 11)),
        with_status(backup(7, 3, numbered(1, 13)), Status::Started),
    ];
    for (count, minimum, expected) in [
        (0, 0, "- OBSOLETE KEEP:FULL OBSOLETE - KEEP:STANDALONE OBSOLETE"),
        (1, 0, "- VALID KEEP:FULL OBSOLETE - KEEP:STANDALONE OBSOLETE"),
        (2, 0, "- VALID KEEP:FULL OBSOLETE - KEEP:STANDALONE OBSOLETE"),
        (1, 3, "- VALID KEEP:FULL VALID - KEEP:STANDALONE OBSOLETE"),
        (5, 0, "- VALID KEEP:FULL VALID - KEEP:STANDALONE VALID"),
        (usize::MAX, usize::MAX, "- VALID KEEP:FULL VALID - KEEP:STANDALONE VALID"),
    ] {
        let report = report(&RetentionPolicy::Redundancy(count), &backups, minimum, now());
        assert_eq!(words(&report).join(" "), expected, "REDUNDANCY {count}, minimum {minimum}");
    }
}

#[test]
fn a_window_is_anchored_by_the_newest_backup_before_it() {
    let backups = [
        backup(1, 9, numbered(1, 1)),
        kept(backup(2, 8, numbered(1, 3)), Keep::Standalone),
        backup(3, 7, numbered(1, 5)),
        backup(4, 3, numbered(1, 7)),
        BackupFacts { end_time: None, ..backup(5, 2, numbered(1, 9)) },
    ];
    for (days, minimum, expected) in [
        (5, 0, "VALID VALID VALID KEEP:STANDALONE OBSOLETE"),
        (1, 0, "VALID VALID OBSOLETE KEEP:STANDALONE OBSOLETE"),
        (0, 4, "VALID VALID OBSOLETE* KEEP:STANDALONE OBSOLETE"),
        (0, 5, "VALID VALID OBSOLETE* KEEP:STANDALONE OBSOLETE*"),
        (8, 0, "VALID VALID VALID KEEP:STANDALONE VALID"),
        (100, 0, "VALID VALID VALID KEEP:STANDALONE VALID"),
        (i64::MAX / 100_000, 0, "VALID VALID VALID KEEP:STANDALONE VALID"),
    ] {
        assert_eq!(
            words(&report(&window(days), &backups, minimum, now())).join(" "),
            expected,
            "{days}, {minimum}"
        );
    }
    // Kept ones count for the minimum; what barman had to make up with others builds on a server, not here.
    let incremental = BackupFacts { is_incremental: true, ..backup(6, 1, numbered(1, 11)) };
    assert_eq!(words(&report(&window(1), &[incremental], 0, now())), ["-"]);
}

#[test]
fn one_backup_is_refused_or_chosen() {
    let backups = [
        kept(backup(1, 3, numbered(1, 1)), Keep::Full),
        backup(2, 2, numbered(1, 3)),
        with_status(backup(3, 1, numbered(1, 5)), Status::Started),
        BackupFacts { has_unknown_snapshots: true, ..backup(4, 1, numbered(1, 7)) },
    ];
    let one = |number, minimum| choose(&Request::Backup(id(number)), &backups, minimum, now());
    assert_eq!(one(1, 0), Err(Refusal::Kept { id: id(1), keep: Keep::Full }));
    assert_eq!(one(2, 2), Ok(vec![id(2)]));
    assert_eq!(one(2, 3), Err(Refusal::MinimumRedundancy { id: id(2), minimum: 3, current: 3 }));
    assert_eq!(one(3, 0), Ok(vec![id(3)]));
    assert_eq!(one(4, 0), Err(Refusal::Snapshots { id: id(4) }));
    assert_eq!(one(5, 0), Ok(vec![]));
}

#[test]
fn wal_goes_with_the_oldest_backup_up_to_the_next() {
    let backups = [backup(1, 3, numbered(1, 2)), backup(2, 2, numbered(1, 4)), backup(3, 1, numbered(1, 6))];
    let objects = segments(1, 1..8);
    let name = |number| numbered(1, number).to_string();
    assert_eq!(gone(&Request::Backup(id(1)), &backups, &objects), [1, 2, 3].map(name));
    assert_eq!(gone(&Request::Backup(id(2)), &backups, &objects), [""; 0]);
    assert_eq!(gone(&redundancy(1), &backups, &objects), [1, 2, 3, 4, 5].map(name));
    // Without any backup left, up to the beginning of the last one.
    assert_eq!(gone(&redundancy(0), &backups, &objects), [1, 2, 3, 4, 5].map(name));
    let only = [backup(1, 3, numbered(1, 2))];
    assert_eq!(gone(&Request::Backup(id(1)), &only, &objects), [1].map(name));
}

#[test]
fn every_kind_of_file() {
    let backups = [backup(1, 3, numbered(1, 2)), backup(2, 2, segment("000000010000000200000004"))];
    let objects = archive(&[
        "0000000100000000/000000010000000000000001.gz",
        "0000000100000000/000000010000000000000002.00000028.backup.gz",
        "0000000100000000/00000001.history",
        "0000000100000001/notes",
        "0000000100000001/deeper/notes",
        "0000000100000001/000000010000000100000001.bz2",
        "0000000100000002/000000010000000200000003",
        "0000000100000002/000000010000000200000003.partial.lz4",
        "0000000100000002/000000010000000200000003.00000028.backup.zst",
        "0000000100000002/000000010000000200000004.00000028.backup",
        "0000000100000002/000000010000000200000004.partial",
        "0000000100000002/notes",
        "00000001.history",
        "00000002.history.gz",
        "stray",
        "000000010000000000000001.gz",
    ]);
    let chosen = [id(1)];
    let removals = wal_removals(&Request::Backup(id(1)), &chosen, &backups, &objects);
    let [removal] = removals.as_slice() else { panic!("{removals:?}") };
    let keys = |keys: &[Key]| keys.iter().map(|key| key.as_str().to_owned()).collect::<Vec<_>>();
    let [folder] = removal.folders.as_slice() else { panic!("{removal:?}") };
    assert_eq!(folder.folder.to_string(), "0000000100000001");
    assert_eq!(
        keys(&folder.keys),
        [
            "wals/0000000100000001/notes",
            "wals/0000000100000001/deeper/notes",
            "wals/0000000100000001/000000010000000100000001.bz2"
        ]
    );
    assert_eq!(
        keys(&removal.files),
        [
            "wals/0000000100000000/000000010000000000000001.gz",
            "wals/0000000100000000/000000010000000000000002.00000028.backup.gz",
            "wals/000000010000000000000001.gz",
            "wals/0000000100000002/000000010000000200000003",
            "wals/0000000100000002/000000010000000200000003.00000028.backup.zst",
            "wals/0000000100000002/000000010000000200000003.partial.lz4",
        ]
    );
}

#[test]
fn kept_backups_hold_their_wal() {
    let objects = segments(1, 1..12);
    let name = |number| numbered(1, number).to_string();
    let first = backup(1, 9, numbered(1, 2));
    let rest = [backup(2, 8, numbered(1, 5)), backup(3, 7, numbered(1, 8))];
    let with = |keep| [vec![kept(first.clone(), keep)], rest.to_vec()].concat();
    assert_eq!(gone(&redundancy(1), &with(Keep::Full), &objects), [""; 0]);
    // The range of a standalone one is inclusive: segments 2 and 3.
    assert_eq!(gone(&redundancy(1), &with(Keep::Standalone), &objects), [1, 4, 5, 6, 7].map(name));
    // A person who deletes one backup has not said that the WAL after a standalone one may go.
    assert_eq!(gone(&Request::Backup(id(2)), &with(Keep::Standalone), &objects), [""; 0]);
    // In a folder where a range lies, files go one by one.
    let backups = [
        kept(backup(1, 9, numbered(1, 2)), Keep::Standalone),
        backup(2, 8, numbered(1, 300)),
        backup(3, 7, numbered(1, 600)),
    ];
    let objects = archive(&[
        "0000000100000000/000000010000000000000001",
        "0000000100000000/notes",
        "0000000100000001/x",
    ]);
    assert_eq!(gone(&redundancy(1), &backups, &objects), ["x", "000000010000000000000001"]);
}

#[test]
fn timelines_with_backups_are_protected() {
    let objects = [segments(1, 1..6), segments(2, 4..8), segments(3, 7..9)].concat();
    let name = |(timeline, number)| numbered(timeline, number).to_string();
    // Promoted: timeline 1 still has the backup that goes, so its WAL goes with the next one.
    let backups = [backup(1, 3, numbered(1, 2)), backup(2, 2, numbered(2, 6)), backup(3, 1, numbered(2, 8))];
    assert_eq!(gone(&Request::Backup(id(1)), &backups, &objects), [(2, 4), (2, 5)].map(name));
    assert_eq!(
        gone(&redundancy(1), &backups, &objects),
        [(2, 4), (2, 5), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 6), (2, 7)].map(name)
    );
    // A failed backup protects its timeline, as in barman.
    let failed = with_status(backup(4, 1, numbered(1, 4)), Status::Failed);
    let backups = [backups.to_vec(), vec![failed]].concat();
    assert_eq!(gone(&redundancy(1), &backups, &objects), [(2, 4), (2, 5), (2, 6), (2, 7)].map(name));
}

#[test]
fn what_a_remaining_backup_needs_stays_where_barman_removes_it() {
    let objects = segments(1, 1..12);
    let name = |number| numbered(1, number).to_string();
    let next = backup(2, 8, numbered(1, 8));
    for (what, other, expected) in [
        // Started before the next one, and still on its way.
        (
            "running",
            BackupFacts {
                may_be_running: true,
                ..with_status(backup(3, 7, numbered(1, 5)), Status::Started)
            },
            vec![1, 2, 3, 4],
        ),
        ("dead", with_status(backup(3, 7, numbered(1, 5)), Status::Started), vec![1, 2, 3, 4, 5, 6, 7]),
        // Taken from a standby, where replay begins at an older restartpoint.
        ("standby", backup(3, 7, numbered(1, 3)), vec![1, 2]),
        ("unknown", BackupFacts { begin_wal: None, ..backup(3, 7, numbered(1, 9)) }, vec![]),
        ("standalone", kept(backup(3, 7, numbered(1, 3)), Keep::Standalone), vec![1, 2, 5, 6, 7]),
    ] {
        let backups = [backup(1, 9, numbered(1, 2)), next.clone(), other];
        let expected: Vec<String> = expected.into_iter().map(name).collect();
        assert_eq!(gone(&Request::Backup(id(1)), &backups, &objects), expected, "{what}");
    }
    // Timeline 2 has no backup, but recovery from the one on timeline 1 goes through it.
    let backups = [backup(1, 9, numbered(1, 2)), backup(2, 8, numbered(3, 8)), backup(3, 7, numbered(1, 4))];
    let objects = [segments(1, 1..6), segments(2, 3..8), segments(3, 7..9)].concat();
    let gone = gone(&Request::Backup(id(1)), &backups, &objects);
    assert_eq!(gone, [numbered(2, 3).to_string()]);
}

/// Catalogues as they come and as they do not: any order of positions and timelines, any status.
fn catalogues() -> impl Strategy<Value = Vec<BackupFacts>> {
    let status = prop_oneof![
        6 => Just(Status::Done),
        1 => Just(Status::WaitingForWals),
        1 => Just(Status::Failed),
        1 => Just(Status::Started),
        1 => Just(Status::Empty),
    ];
    let keep = prop_oneof![5 => Just(None), 1 => Just(Some(Keep::Full)), 2 => Just(Some(Keep::Standalone))];
    let facts = (status, keep, 1..4_u32, 1..13_u32, 0..40_i64, any::<bool>(), 0..20_u8);
    prop::collection::vec(facts, 0..8).prop_map(|all| {
        (1..)
            .zip(all)
            .map(|(number, (status, keep, timeline, begin, days, running, odd))| {
                let facts = backup(number, days, numbered(timeline, begin * 60));
                BackupFacts {
                    status,
                    keep,
                    may_be_running: running && status == Status::Started,
                    begin_wal: facts.begin_wal.filter(|_| odd != 0),
                    end_wal: facts.end_wal.filter(|_| odd != 1),
                    ..facts
                }
            })
            .collect()
    })
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        (0..6_usize).prop_map(redundancy),
        (0..40_i64).prop_map(|days| Request::Policy(window(days))),
        (1..8_u32).prop_map(|number| Request::Backup(id(number))),
    ]
}

/// Every thirtieth segment of three timelines, and the ends of backups.
static WHOLE_ARCHIVE: LazyLock<Vec<ArchivedObject>> = LazyLock::new(|| {
    let timeline = |timeline| {
        let all = segments(timeline, 0..800);
        (0..).zip(all).filter(|(number, _)| number % 30 == 0 || number % 60 == 1).map(|(_, object)| object)
    };
    (1..4).flat_map(timeline).chain(archive(&["00000002.history", "00000003.history"])).collect()
});

/// What goes, backups and WAL, when the request is not refused.
fn outcome(
    request: &Request,
    backups: &[BackupFacts],
    minimum: usize,
) -> Option<(BTreeSet<BackupId>, BTreeSet<Key>)> {
    let chosen = choose(request, backups, minimum, now()).ok()?;
    let removals = wal_removals(request, &chosen, backups, &WHOLE_ARCHIVE);
    assert_eq!(removals.len(), chosen.len());
    let keys = removals.iter().flat_map(WalRemoval::keys).cloned().collect();
    Some((chosen.into_iter().collect(), keys))
}

/// barman tells it of each backup whose deletion empties the folder; it goes once.
#[test]
fn a_folder_that_is_empty_already_is_told_again() {
    let backups = [
        backup(1, 9, numbered(1, 256)),
        backup(2, 8, numbered(1, 258)),
        backup(3, 7, numbered(1, 514)),
        backup(4, 6, numbered(1, 516)),
    ];
    let chosen = [id(1), id(2), id(3)];
    let archive: Vec<ArchivedObject> = [1, 256, 258, 514, 516]
        .map(|number| {
            let file = crate::pg::WalFileName::Segment(numbered(1, number));
            ArchivedObject::new(names::wal_key(file, crate::codec::Method::None))
        })
        .into();
    let removals = wal_removals(&redundancy(1), &chosen, &backups, &archive);
    let folders = |removal: &WalRemoval| {
        let emptied: Vec<u32> = removal.folders.iter().map(|folder| folder.folder.log).collect();
        let before: Vec<u32> = removal.emptied_before.iter().map(|folder| folder.log).collect();
        (emptied, before)
    };
    let told: Vec<_> = removals.iter().map(folders).collect();
    assert_eq!(told, [(vec![0], vec![]), (vec![1], vec![0]), (vec![], vec![0, 1])]);
    let gone: Vec<&Key> = removals.iter().flat_map(WalRemoval::keys).collect();
    assert_eq!(gone.len(), BTreeSet::from_iter(&gone).len());
}

proptest! {
    #[test]
    fn what_stays_can_be_restored(request in requests(), backups in catalogues(), minimum in 0..4_usize) {
        let Some((chosen, keys)) = outcome(&request, &backups, minimum) else { return Ok(()) };
        for facts in backups.iter().filter(|facts| !chosen.contains(&facts.id)) {
            let complete = matches!(facts.status, Status::Done | Status::WaitingForWals);
            if !(complete || facts.may_be_running) {
                continue;
            }
            for key in &keys {
                let (file, _) = names::parse_wal_key(key).unwrap();
                let file = file.segment().unwrap();
                let Some(begin) = facts.begin_wal else {
                    return Err(TestCaseError::fail("WAL goes, and a backup does not say what it needs"));
                };
                let ahead = file.timeline() >= begin.timeline() && file.on_timeline(begin.timeline()) >= begin;
                let alone = facts.keep == Some(Keep::Standalone);
                match (alone, facts.end_wal) {
                    (true, Some(end)) => prop_assert!(!(begin <= file && file <= end), "{facts:?} needs {key}"),
                    _ => prop_assert!(!ahead, "{facts:?} needs {key}"),
                }
            }
        }
    }

    #[test]
    fn kept_backups_and_incomplete_ones_stay(request in requests(), backups in catalogues(), minimum in 0..4_usize) {
        let Some((chosen, _)) = outcome(&request, &backups, minimum) else { return Ok(()) };
        for facts in backups.iter().filter(|facts| chosen.contains(&facts.id)) {
            prop_assert_eq!(facts.keep, None);
            prop_assert!(facts.status == Status::Done || matches!(request, Request::Backup(_)));
        }
        let done = backups.iter().filter(|facts| facts.status == Status::Done);
        let left = done.clone().filter(|facts| !chosen.contains(&facts.id)).count();
        if matches!(request, Request::Policy(_)) {
            prop_assert!(left >= minimum.min(done.count()));
        }
    }

    #[test]
    fn history_files_stay(request in requests(), backups in catalogues()) {
        if let Some((_, keys)) = outcome(&request, &backups, 0) {
            prop_assert!(!keys.iter().any(|key| key.as_str().ends_with(".history")));
        }
    }

    #[test]
    fn who_keeps_more_removes_no_more(
        backups in catalogues(),
        count in 0..6_usize,
        more in 0..3_usize,
        days in 0..40_i64,
        minimum in 0..4_usize,
        pick in any::<prop::sample::Index>(),
    ) {
        let within = |less: &Option<(BTreeSet<BackupId>, BTreeSet<Key>)>, all: &Option<(BTreeSet<BackupId>, BTreeSet<Key>)>| {
            let (Some(less), Some(all)) = (less, all) else { return true };
            less.0.is_subset(&all.0) && less.1.is_subset(&all.1)
        };
        let window_of = |days| Request::Policy(window(days));
        let more_days = i64::try_from(more).unwrap();
        prop_assert!(within(&outcome(&redundancy(count + more), &backups, minimum), &outcome(&redundancy(count), &backups, minimum)));
        prop_assert!(within(&outcome(&redundancy(count), &backups, minimum + more), &outcome(&redundancy(count), &backups, minimum)));
        prop_assert!(within(&outcome(&window_of(days + more_days), &backups, minimum), &outcome(&window_of(days), &backups, minimum)));
        prop_assert!(within(&outcome(&window_of(days), &backups, minimum + more), &outcome(&window_of(days), &backups, minimum)));
        if !backups.is_empty() {
            let mut kept = backups.clone();
            let picked = pick.index(kept.len());
            if kept[picked].keep.is_none() && kept[picked].status == Status::Done {
                // As standalone it would need less than as a backup that some policy has not yet given up.
                kept[picked].keep = Some(Keep::Full);
                prop_assert!(within(&outcome(&redundancy(count), &kept, minimum), &outcome(&redundancy(count), &backups, minimum)));
            }
        }
    }
}
