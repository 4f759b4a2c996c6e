//! Cases by name, and the laws that hold for every repository.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::layout::walg::names;
use crate::pg::{SegmentName, SegmentNumber, TimelineId};
use crate::storage::Key;

const SIZE: WalSegmentSize = WalSegmentSize::DEFAULT;

fn segment(timeline: u32, number: u64) -> SegmentName {
    SegmentName::new(TimelineId::new(timeline).unwrap(), SegmentNumber::new(number), SIZE).unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn minutes_ago(minutes: i64) -> Timestamp {
    now() - SignedDuration::from_mins(minutes)
}

fn object(key: &str, modified: Timestamp) -> ObjectMeta {
    ObjectMeta { key: Key::parse(key).unwrap(), size: 1, modified, etag: None }
}

/// A repository under construction.
#[derive(Debug, Clone, Default)]
struct Archive {
    backups: Vec<BackupFacts>,
    objects: Vec<ObjectMeta>,
}

impl Archive {
    /// A finished backup at `number` of `timeline`, taken `minutes` ago; a delta with `parent`.
    fn backup(&mut self, timeline: u32, number: u64, minutes: i64, parent: Option<BackupName>) -> BackupName {
        let segment = segment(timeline, number);
        let name = parent.map_or(BackupName::full(segment), |parent| BackupName::delta(segment, parent));
        let of = |name: BackupName| self.backups.iter().find(|facts| facts.name == name);
        let full = parent.map(|parent| of(parent).and_then(|facts| facts.full).unwrap_or(parent));
        let start = SegmentNumber::new(number).start_lsn(SIZE).unwrap().checked_add(40);
        self.backups.push(BackupFacts {
            name,
            modified: minutes_ago(minutes),
            start_time: Some(minutes_ago(minutes + 1)),
            parent,
            full,
            is_permanent: false,
            start_lsn: start,
            finish_lsn: start.and_then(|lsn| lsn.checked_add(200)),
            cluster: None,
        });
        self.objects.push(object(names::sentinel_key(name).as_str(), minutes_ago(minutes)));
        self.folder(name, minutes, true);
        name
    }

    fn folder(&mut self, name: BackupName, minutes: i64, metadata: bool) {
        let prefix = format!("basebackups_005/{name}");
        self.objects.push(object(&format!("{prefix}/tar_partitions/part_001.tar.br"), minutes_ago(minutes)));
        if metadata {
            self.objects.push(object(&format!("{prefix}/metadata.json"), minutes_ago(minutes)));
        }
    }

    fn wal(&mut self, timeline: u32, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.objects.push(object(&format!("wal_005/{}.br", segment(timeline, number)), minutes_ago(1)));
        }
    }

    fn permanent(&mut self, name: BackupName) {
        self.backups.iter_mut().find(|facts| facts.name == name).unwrap().is_permanent = true;
    }

    fn plan(&self, policy: &Policy, order: Order) -> Result<Option<DeletePlan>, Refusal> {
        plan(policy, &self.repository(order))
    }

    fn repository(&self, order: Order) -> Repository<'_> {
        Repository { backups: &self.backups, objects: &self.objects, order, segment_size: SIZE, now: now() }
    }
}

fn retain(count: usize, counting: Counting) -> Policy {
    Policy::Retain { count: NonZeroUsize::new(count).unwrap(), counting, after: None }
}

fn before(name: BackupName, find_full: bool) -> Policy {
    Policy::Before { point: Point::Name(name.to_string()), find_full }
}

/// Numbers of the segments in `wal_005/` that a plan removes.
fn wal_numbers(plan: &DeletePlan) -> Vec<u64> {
    plan.wal
        .iter()
        .filter_map(|key| Some(names::segment_of_wal_object(key)?.number(SIZE)?.as_u64()))
        .collect()
}

/// full 2, delta 4, delta 6, full 8, delta 10; WAL 1 to 11.
fn two_chains() -> (Archive, Vec<BackupName>) {
    let mut archive = Archive::default();
    let a = archive.backup(1, 2, 500, None);
    let b = archive.backup(1, 4, 400, Some(a));
    let c = archive.backup(1, 6, 300, Some(b));
    let d = archive.backup(1, 8, 200, None);
    let e = archive.backup(1, 10, 100, Some(d));
    archive.wal(1, 1..=11);
    (archive, vec![a, b, c, d, e])
}

#[test]
fn counting_as_walg_does() {
    let (archive, names) = two_chains();
    for (policy, gone) in [
        (retain(2, Counting::Any), Some(3)),
        (retain(1, Counting::Full), Some(3)),
        (retain(2, Counting::Full), Some(0)),
        (retain(3, Counting::Full), None),
        (retain(1, Counting::FindFull), Some(3)),
        (retain(2, Counting::FindFull), Some(3)),
        (retain(3, Counting::FindFull), Some(0)),
        (retain(6, Counting::Any), None),
        (before(names[4], true), Some(3)),
        (before(names[2], true), Some(0)),
        (before(names[3], false), Some(3)),
    ] {
        let plan = archive.plan(&policy, Order::Segment).unwrap();
        assert_eq!(plan.map(|plan| plan.backups.len()), gone, "{policy:?}");
    }
    for policy in [retain(1, Counting::Any), retain(3, Counting::Any), before(names[4], false)] {
        let refusal = archive.plan(&policy, Order::Segment).unwrap_err();
        assert!(matches!(refusal, Refusal::Incremental { .. }), "{policy:?}");
    }
}

#[test]
fn wal_goes_up_to_the_oldest_kept_backup() {
    let (archive, names) = two_chains();
    let plan = archive.plan(&before(names[3], false), Order::Segment).unwrap().unwrap();
    assert_eq!(plan.backups, names[..3]);
    assert_eq!(wal_numbers(&plan), (1..=7).collect::<Vec<_>>());
    assert_eq!(plan.first_segment, Some(segment(1, 8)));
    assert_eq!(plan.sentinels.len(), 3, "deltas first, one generation after the other");
    assert_eq!(plan.sentinels[0], [names::sentinel_key(names[2])]);
    assert_eq!(plan.metadata.len(), 3);
}

#[test]
fn points_in_time() {
    let (archive, names) = two_chains();
    let at = |minutes| Policy::Before { point: Point::Time(minutes_ago(minutes)), find_full: false };
    let target =
        |policy: &Policy, order| archive.plan(policy, order).unwrap().map(|plan| plan.target.unwrap());
    assert_eq!(target(&at(250), Order::Segment), Some(names[3]));
    assert_eq!(target(&at(200), Order::Segment), Some(names[3]), "at the very time");
    assert_eq!(target(&at(501), Order::StartTime), Some(names[0]), "it was started a minute before");
    assert_eq!(target(&at(50), Order::Segment), None, "all are older");
    assert!(matches!(archive.plan(&at(-1), Order::Segment), Err(Refusal::Future { .. })));

    let retain_after = |minutes| Policy::Retain {
        count: NonZeroUsize::MIN,
        counting: Counting::Full,
        after: Some(Point::Time(minutes_ago(minutes))),
    };
    assert_eq!(target(&retain_after(600), Order::Segment), Some(names[0]));
    assert_eq!(target(&retain_after(300), Order::Segment), Some(names[3]));
    assert_eq!(target(&retain_after(10), Order::Segment), Some(names[3]));
}

#[test]
fn names_by_their_beginning() {
    let (archive, names) = two_chains();
    let point = |text: &str| Policy::Before { point: Point::Name(text.to_owned()), find_full: false };
    let unique = archive.plan(&point("base_000000010000000000000008"), Order::Segment).unwrap().unwrap();
    assert_eq!(unique.target, Some(names[3]));
    let refusal = archive.plan(&point("base_00000001"), Order::Segment).unwrap_err();
    assert_eq!(refusal, Refusal::Ambiguous { prefix: "base_00000001".to_owned(), names });
    assert!(matches!(archive.plan(&point("base_000000020"), Order::Segment), Err(Refusal::NotFound { .. })));
}

#[test]
fn permanent_backups_stay_with_their_wal() {
    let (mut archive, names) = two_chains();
    archive.permanent(names[1]);
    let plan = archive.plan(&retain(1, Counting::Full), Order::Segment).unwrap().unwrap();
    assert_eq!(plan.backups, [names[2]]);
    let why: Vec<_> = plan.kept.iter().map(|kept| kept.why).collect();
    assert_eq!(why, [Kept::NeededBy(names[1]), Kept::Permanent, Kept::Policy, Kept::Policy]);
    assert_eq!(wal_numbers(&plan), [1, 3, 5, 6, 7]);

    let refusal = archive.plan(&Policy::Everything { force: false }, Order::Segment).unwrap_err();
    assert_eq!(refusal, Refusal::Permanent { names: vec![names[1]] });
    let all = archive.plan(&Policy::Everything { force: true }, Order::Segment).unwrap().unwrap();
    assert_eq!(all.objects().count(), archive.objects.len());
}

#[test]
fn a_chain_that_reaches_back_is_kept() {
    let mut archive = Archive::default();
    let a = archive.backup(1, 2, 500, None);
    let b = archive.backup(1, 4, 400, None);
    let c = archive.backup(1, 6, 300, Some(a));
    archive.wal(1, 1..=7);
    let plan = archive.plan(&before(c, true), Order::Segment).unwrap().unwrap();
    assert_eq!((plan.target, plan.backups.len()), (Some(b), 0));
    assert_eq!(plan.kept[0], KeptBackup { name: a, why: Kept::NeededBy(c) });
    assert_eq!(wal_numbers(&plan), [1, 3]);
}

#[test]
fn targets_go_with_their_families() {
    let (mut archive, names) = two_chains();
    let target = |backup, family| Policy::Target { backup, family };
    let gone = |archive: &Archive, policy: &Policy| archive.plan(policy, Order::Segment).unwrap().unwrap();
    assert_eq!(gone(&archive, &target(names[1], Family::Descendants)).backups, names[1..3]);
    assert_eq!(gone(&archive, &target(names[1], Family::Whole)).backups, names[..3]);
    assert_eq!(gone(&archive, &target(names[0], Family::Descendants)).backups, names[..3]);
    assert!(gone(&archive, &target(names[0], Family::Whole)).wal.is_empty());
    archive.permanent(names[2]);
    let refusal = archive.plan(&target(names[0], Family::Descendants), Order::Segment).unwrap_err();
    assert_eq!(refusal, Refusal::Permanent { names: vec![names[2]] });
}

#[test]
fn an_interrupted_target_is_finished_by_the_same_command() {
    let (mut archive, names) = two_chains();
    archive.backups.retain(|facts| ![names[0], names[1], names[2]].contains(&facts.name));
    archive.objects.retain(|object| {
        names::backup_of_sentinel(&object.key)
            .is_none_or(|name| archive.backups.iter().any(|f| f.name == name))
    });
    let policy = Policy::Target { backup: names[0], family: Family::Descendants };
    let plan = archive.plan(&policy, Order::Segment).unwrap().unwrap();
    assert!(plan.backups.is_empty());
    assert_eq!((plan.data.len(), plan.metadata.len()), (3, 3));
}

#[test]
fn a_backup_that_may_be_running_is_left_alone() {
    let mut archive = Archive::default();
    let young = BackupName::full(segment(1, 3));
    let dead = BackupName::full(segment(1, 2));
    let half_deleted = BackupName::full(segment(1, 4));
    // All is there but for the sentinel, which comes next.
    let committed = BackupName::full(segment(1, 6));
    archive.folder(committed, 30, true);
    archive.objects.push(object(names::claim_key(committed).as_str(), minutes_ago(30)));
    archive.folder(young, 30, false);
    archive.folder(dead, 60 * 25, false);
    archive.folder(half_deleted, 30, true);
    archive.backup(1, 5, 500, None);
    archive.wal(1, 1..=6);
    let garbage = Policy::Garbage { scope: GarbageScope::All, without_backups: false };
    for policy in [retain(1, Counting::Any), garbage] {
        let plan = archive.plan(&policy, Order::Segment).unwrap().unwrap();
        let folders: BTreeSet<_> = plan.objects().filter_map(names::backup_of_object).collect();
        assert_eq!(folders, BTreeSet::from([dead, half_deleted]), "{policy:?}");
        assert_eq!(plan.running, [young, committed]);
        assert_eq!(wal_numbers(&plan), [1, 2], "{policy:?}");
    }
}

/// full 2, delta 4 on it, full 8, delta 10 on it, and a delta on 4 that was written to `minutes` ago.
fn with_unfinished_delta(minutes: i64) -> (Archive, Vec<BackupName>, BackupName) {
    let mut archive = Archive::default();
    let a = archive.backup(1, 2, 60 * 96, None);
    let b = archive.backup(1, 4, 60 * 72, Some(a));
    let c = archive.backup(1, 8, 60 * 48, None);
    let d = archive.backup(1, 10, 60 * 26, Some(c));
    let unfinished = BackupName::delta(segment(1, 12), b);
    archive.folder(unfinished, minutes, false);
    archive.wal(1, 1..=13);
    (archive, vec![a, b, c, d], unfinished)
}

#[test]
fn what_a_running_delta_builds_on_stays() {
    let (archive, names, running) = with_unfinished_delta(30);
    for policy in [retain(1, Counting::Full), before(names[2], false), before(names[3], true)] {
        let plan = archive.plan(&policy, Order::Segment).unwrap().unwrap();
        assert_eq!(plan.kept[0], KeptBackup { name: names[0], why: Kept::NeededBy(names[1]) });
        assert_eq!(plan.kept[1], KeptBackup { name: names[1], why: Kept::NeededBy(running) });
        assert!(plan.backups.is_empty(), "{policy:?}");
        assert_eq!(wal_numbers(&plan), [1, 3, 5, 6, 7], "{policy:?}");
    }
    let (archive, names, _) = with_unfinished_delta(60 * 25);
    let plan = archive.plan(&retain(1, Counting::Full), Order::Segment).unwrap().unwrap();
    assert_eq!(plan.backups, names[..2], "the delta is dead");
}

#[test]
fn what_a_running_delta_builds_on_is_no_target() {
    let (archive, names, running) = with_unfinished_delta(30);
    let target = |backup, family| Policy::Target { backup, family };
    let refused = Refusal::Running { names: vec![running] };
    for policy in [
        target(names[1], Family::Descendants),
        target(names[0], Family::Descendants),
        target(names[1], Family::Whole),
        Policy::Everything { force: false },
    ] {
        assert_eq!(archive.plan(&policy, Order::Segment), Err(refused.clone()), "{policy:?}");
    }
    for policy in [target(names[2], Family::Whole), Policy::Everything { force: true }] {
        assert!(archive.plan(&policy, Order::Segment).is_ok(), "{policy:?}");
    }
    let (archive, names, dead) = with_unfinished_delta(60 * 25);
    let plan = archive.plan(&target(names[1], Family::Descendants), Order::Segment).unwrap().unwrap();
    assert_eq!(plan.backups, [names[1]]);
    let folders: BTreeSet<_> = plan.objects().filter_map(names::backup_of_object).collect();
    assert_eq!(folders, BTreeSet::from([names[1], dead]), "what built on it goes along");
}

/// With `LATEST_FULL` every delta builds on the full backup itself, also a permanent one.
#[test]
fn deltas_side_by_side_keep_their_full_backup() {
    let mut archive = Archive::default();
    let a = archive.backup(1, 2, 500, None);
    let b = archive.backup(1, 4, 400, Some(a));
    let c = archive.backup(1, 6, 300, Some(a));
    let d = archive.backup(1, 8, 200, None);
    archive.wal(1, 1..=9);
    archive.permanent(c);
    let plan = archive.plan(&before(d, false), Order::Segment).unwrap().unwrap();
    assert_eq!(plan.backups, [b]);
    let why: Vec<_> = plan.kept.iter().map(|kept| kept.why).collect();
    assert_eq!(why, [Kept::NeededBy(c), Kept::Permanent, Kept::Policy]);
    assert_eq!(wal_numbers(&plan), [1, 3, 4, 5, 7]);
    let target = Policy::Target { backup: b, family: Family::Descendants };
    assert_eq!(archive.plan(&target, Order::Segment).unwrap().unwrap().backups, [b]);
    for (backup, family) in [(a, Family::Descendants), (b, Family::Whole)] {
        let refusal = archive.plan(&Policy::Target { backup, family }, Order::Segment).unwrap_err();
        assert_eq!(refusal, Refusal::Permanent { names: vec![c] });
    }
}

#[test]
fn garbage_by_scope() {
    let (mut archive, names) = two_chains();
    archive.permanent(names[0]);
    let newer = BackupName::full(segment(1, 20));
    archive.folder(newer, 60 * 30, false);
    archive.backups.retain(|facts| facts.name != names[1] && facts.name != names[2]);
    let garbage = |scope| Policy::Garbage { scope, without_backups: false };
    let plan = archive.plan(&garbage(GarbageScope::All), Order::Segment).unwrap().unwrap();
    assert!(plan.backups.is_empty());
    assert_eq!(wal_numbers(&plan), [1, 3, 4, 5, 6, 7]);
    assert_eq!(plan.data.len(), 3, "two without a sentinel, and one that was abandoned later");
    let archives = archive.plan(&garbage(GarbageScope::Archives), Order::Segment).unwrap().unwrap();
    assert!(archives.objects().all(|key| key.as_str().starts_with("wal_005/")));
    let backups = archive.plan(&garbage(GarbageScope::Backups), Order::Segment).unwrap().unwrap();
    assert!(backups.objects().all(|key| key.as_str().starts_with("basebackups_005/")));

    archive.backups.retain(|facts| facts.is_permanent);
    assert_eq!(archive.plan(&garbage(GarbageScope::All), Order::Segment), Ok(None));
    let anyway = Policy::Garbage { scope: GarbageScope::Archives, without_backups: true };
    let plan = archive.plan(&anyway, Order::Segment).unwrap().unwrap();
    assert_eq!(wal_numbers(&plan), [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn sorted_by_start_time_wal_is_compared_by_position() {
    let mut archive = Archive::default();
    let old = archive.backup(1, 10, 500, None);
    let new = archive.backup(2, 4, 100, None);
    archive.wal(1, 1..=12);
    archive.wal(2, 4..=6);
    let plan = archive.plan(&before(old, false), Order::StartTime).unwrap().unwrap();
    assert!(plan.backups.is_empty());
    assert_eq!(plan.first_segment, Some(segment(2, 4)), "the newer backup needs WAL from there on");
    assert_eq!(wal_numbers(&plan), [1, 2, 3]);
    let plan = archive.plan(&before(new, false), Order::StartTime).unwrap().unwrap();
    assert_eq!(plan.backups, [old]);
    assert_eq!(wal_numbers(&plan), [1, 2, 3]);
}

#[derive(Debug, Clone)]
struct Step {
    timeline_step: bool,
    gap: u64,
    delta_of: Option<usize>,
    permanent: bool,
    /// In segments.
    length: u64,
    /// Whether it has a sentinel, else whether something was written to it lately, and whether it has a
    /// `metadata.json`.
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Finished,
    Unfinished { young: bool, metadata: bool },
}

fn any_archive() -> impl Strategy<Value = Archive> {
    let unfinished = (prop::bool::weighted(0.7), prop::bool::weighted(0.3))
        .prop_map(|(young, metadata)| State::Unfinished { young, metadata });
    let step = (
        prop::bool::weighted(0.1),
        0u64..4,
        prop::option::weighted(0.7, 0usize..4),
        prop::bool::weighted(0.2),
        0u64..4,
        prop_oneof![3 => Just(State::Finished), 1 => unfinished],
    );
    let step = step.prop_map(|(timeline_step, gap, delta_of, permanent, length, state)| Step {
        timeline_step,
        gap,
        delta_of,
        permanent,
        length,
        state,
    });
    prop::collection::vec(step, 0..10).prop_map(|steps| {
        let mut archive = Archive::default();
        let (mut timeline, mut number) = (1, 2);
        for (index, step) in steps.iter().enumerate() {
            timeline += u32::from(step.timeline_step);
            number += 1 + step.gap;
            let minutes = 60 * (50 - i64::try_from(index).unwrap());
            let parent =
                step.delta_of.and_then(|back| archive.backups.iter().rev().nth(back)).map(|facts| facts.name);
            if let State::Unfinished { young, metadata } = step.state {
                let segment = segment(timeline, number);
                let name =
                    parent.map_or(BackupName::full(segment), |parent| BackupName::delta(segment, parent));
                archive.folder(name, if young { minutes / 60 } else { minutes }, metadata);
                continue;
            }
            let name = archive.backup(timeline, number, minutes, parent);
            let facts = archive.backups.last_mut().unwrap();
            let length = step.length * SIZE.bytes();
            facts.finish_lsn = facts.finish_lsn.and_then(|lsn| lsn.checked_add(length));
            if step.permanent {
                archive.permanent(name);
            }
        }
        for timeline in 1..=timeline {
            archive.wal(timeline, 1..=number + 2);
            archive.objects.push(object(&format!("wal_005/{timeline:08X}.history.br"), minutes_ago(1)));
        }
        for other in
            ["catchup_005/base_000000010000000000000001/metadata.json", "notes/000000010000000000000001"]
        {
            archive.objects.push(object(other, minutes_ago(1)));
        }
        archive
    })
}

fn any_policy(names: Vec<BackupName>) -> impl Strategy<Value = Policy> {
    let counting = prop_oneof![Just(Counting::Any), Just(Counting::Full), Just(Counting::FindFull)];
    let time = (0i64..60 * 51).prop_map(|minutes| Point::Time(minutes_ago(minutes)));
    let scope =
        prop_oneof![Just(GarbageScope::All), Just(GarbageScope::Archives), Just(GarbageScope::Backups)];
    let name = prop::sample::select(names);
    let family = prop_oneof![Just(Family::Descendants), Just(Family::Whole)];
    prop_oneof![
        (1usize..8, counting, prop::option::of(time.clone())).prop_map(|(count, counting, after)| {
            Policy::Retain { count: NonZeroUsize::new(count).unwrap(), counting, after }
        }),
        (time, any::<bool>()).prop_map(|(point, find_full)| Policy::Before { point, find_full }),
        (scope, any::<bool>())
            .prop_map(|(scope, without_backups)| Policy::Garbage { scope, without_backups }),
        (name.clone(), any::<bool>()).prop_map(|(name, find_full)| before(name, find_full)),
        (name, family).prop_map(|(backup, family)| Policy::Target { backup, family }),
        Just(Policy::Everything { force: false }),
    ]
}

/// A repository, and something to ask for it.
fn any_case() -> impl Strategy<Value = (Archive, Policy)> {
    any_archive().prop_flat_map(|archive| {
        let mut names: Vec<BackupName> = archive.backups.iter().map(|facts| facts.name).collect();
        names.push(BackupName::full(segment(9, 9)));
        (Just(archive), any_policy(names))
    })
}

fn any_order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Segment), Just(Order::StartTime)]
}

proptest! {
    #[test]
    fn kept_backups_stay_restorable((archive, policy) in any_case(), order in any_order()) {
        let Ok(Some(plan)) = archive.plan(&policy, order) else { return Ok(()) };
        let removed: BTreeSet<&Key> = plan.objects().collect();
        prop_assert_eq!(plan.kept.len() + plan.backups.len(), archive.backups.len());
        for kept in &plan.kept {
            let facts = archive.backups.iter().find(|facts| facts.name == kept.name).unwrap();
            let folder = names::backup_prefix(kept.name);
            prop_assert!(!removed.contains(&names::sentinel_key(kept.name)));
            prop_assert!(removed.iter().all(|key| key.below(&folder).is_none()));
            if let Some(parent) = facts.parent {
                prop_assert!(plan.kept.iter().any(|kept| kept.name == parent), "{} without its parent", kept.name);
            }
            let to_the_end = kept.why == Kept::Policy && !facts.is_permanent;
            for object in &archive.objects {
                let Some(wal) = names::segment_of_wal_object(&object.key) else { continue };
                let first = kept.name.segment();
                let last = SegmentName::containing(first.timeline(), facts.finish_lsn.unwrap(), SIZE);
                let own = wal.timeline() == first.timeline();
                let needed = wal >= first && (to_the_end || wal <= last);
                prop_assert!(!(own && needed && removed.contains(&object.key)), "{} needs {}", kept.name, object.key);
            }
        }
    }

    #[test]
    fn a_running_backup_loses_nothing((archive, policy) in any_case(), order in any_order()) {
        let Ok(Some(plan)) = archive.plan(&policy, order) else { return Ok(()) };
        let removed: BTreeSet<&Key> = plan.objects().collect();
        let finished = |name| archive.backups.iter().find(move |facts: &&BackupFacts| facts.name == name);
        for object in &archive.objects {
            let Some(running) = names::backup_of_object(&object.key) else { continue };
            let young = now().duration_since(object.modified) <= UNFINISHED_AGE;
            let committed = archive.objects.iter().any(|object| object.key == names::metadata_key(running));
            if finished(running).is_some() || !young || committed {
                continue;
            }
            prop_assert!(!removed.contains(&object.key));
            for object in &archive.objects {
                let Some(wal) = names::segment_of_wal_object(&object.key) else { continue };
                let needed = wal.timeline() == running.segment().timeline() && wal >= running.segment();
                prop_assert!(!(needed && removed.contains(&object.key)), "{} needs {}", running, object.key);
            }
            let parent = archive.backups.iter().find(|facts| Some(facts.name.segment()) == running.parent_segment());
            let mut chain = parent;
            while let Some(facts) = chain {
                prop_assert!(!plan.backups.contains(&facts.name), "{} builds on {}", running, facts.name);
                chain = facts.parent.and_then(finished);
            }
        }
    }

    #[test]
    fn permanent_backups_and_foreign_objects_are_never_touched(
        (archive, policy) in any_case(), order in any_order()
    ) {
        let Ok(Some(plan)) = archive.plan(&policy, order) else { return Ok(()) };
        if matches!(policy, Policy::Everything { .. }) {
            return Ok(());
        }
        for facts in &archive.backups {
            prop_assert!(!(facts.is_permanent && plan.backups.contains(&facts.name)));
        }
        let mut seen = BTreeSet::new();
        for key in plan.objects() {
            prop_assert!(key.as_str().starts_with("basebackups_005/") || key.as_str().starts_with("wal_005/"), "{}", key);
            prop_assert!(!key.as_str().contains(".history"));
            prop_assert!(seen.insert(key.clone()), "{} twice", key);
        }
    }

    #[test]
    fn retaining_more_never_keeps_less(
        archive in any_archive(), count in 1usize..8, more in 0usize..4,
        full in any::<bool>(), order in any_order(),
        after in 0i64..60 * 51, earlier in 0i64..600, with_after in any::<bool>(),
    ) {
        let counting = if full { Counting::Full } else { Counting::FindFull };
        let policy = |count: usize, minutes: i64| Policy::Retain {
            count: NonZeroUsize::new(count).unwrap(),
            counting,
            after: with_after.then(|| Point::Time(minutes_ago(minutes))),
        };
        let removed = |policy: &Policy| -> BTreeSet<Key> {
            archive.plan(policy, order).unwrap().map(|plan| plan.objects().cloned().collect()).unwrap_or_default()
        };
        let less = removed(&policy(count, after));
        let kept_more = removed(&policy(count + more, after + earlier));
        prop_assert!(kept_more.is_subset(&less), "{:?}", kept_more.difference(&less).collect::<Vec<_>>());
    }

    #[test]
    fn a_second_run_finds_nothing_more((archive, policy) in any_case(), order in any_order()) {
        let Ok(Some(first)) = archive.plan(&policy, order) else { return Ok(()) };
        let removed: BTreeSet<&Key> = first.objects().collect();
        let rest = Archive {
            backups: archive.backups.iter().filter(|facts| !first.backups.contains(&facts.name)).cloned().collect(),
            objects: archive.objects.iter().filter(|object| !removed.contains(&object.key)).cloned().collect(),
        };
        if let Policy::Garbage { .. } = policy {
            let second = rest.plan(&policy, order).unwrap();
            prop_assert!(second.is_none_or(|plan| plan.objects().next().is_none()));
        }
    }

    /// After any number of keys were deleted in the plan's order, no backup is listed that has lost anything, and
    /// the same command removes the rest.
    #[test]
    fn an_interruption_leaves_only_whole_backups(
        archive in any_archive(), count in 1usize..5, done in 0usize..40, order in any_order()
    ) {
        let policy = retain(count, Counting::FindFull);
        let Ok(Some(plan)) = archive.plan(&policy, order) else { return Ok(()) };
        let removed: BTreeSet<&Key> = plan.objects().take(done).collect();
        let listed: Vec<BackupFacts> = archive.backups.iter()
            .filter(|facts| !removed.contains(&names::sentinel_key(facts.name))).cloned().collect();
        for facts in &listed {
            if let Some(parent) = facts.parent {
                prop_assert!(listed.iter().any(|other| other.name == parent));
            }
            let folder = names::backup_prefix(facts.name);
            prop_assert!(removed.iter().all(|key| key.below(&folder).is_none()));
        }
        let rest = Archive {
            backups: listed,
            objects: archive.objects.iter().filter(|object| !removed.contains(&object.key)).cloned().collect(),
        };
        if order == Order::Segment {
            let again: BTreeSet<Key> = rest.plan(&policy, order).unwrap().map(|plan| plan.objects().cloned().collect()).unwrap_or_default();
            let expected: BTreeSet<Key> = plan.objects().skip(done).cloned().collect();
            prop_assert_eq!(again, expected);
        }
    }
}
