//! The operations on a server's place in memory.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::backup_delete::{self, DeleteRequest, Locks, Options};
use super::volumes::Volumes;
use super::{backup_keep, backup_list, backup_show};
use crate::catalog::barman::Annotations;
use crate::layout::barman::{
    BackupId, BackupInfo, BackupTime, Barman, Keep, Literal, Partials, Status, names,
};
use crate::ops::error::RequestError;
use crate::ops::removal::Mode;
use crate::ops::{self, Context, Error};
use crate::pg::{Lsn, TimelineId};
use crate::retention::barman::{RUNNING_AGE, Refusal, RetentionPolicy};
use crate::storage::memory::{Fault, Memory, Operation};
use crate::storage::retry::RetryPolicy;
use crate::storage::s3::{Credentials, Endpoint};
use crate::storage::{self, ErrorKind, Key, Prefix, Storage};
use crate::volumes::Account;

fn context(memory: &Memory) -> Context {
    ops::context(memory, &Barman { partials: Partials::Ignore })
}

fn annotations(memory: &Memory) -> Annotations {
    Annotations { place: Arc::new(memory.clone()), other: None }
}

fn id(number: u32) -> BackupId {
    format!("20261121T{number:06}").parse().unwrap()
}

/// A backup that begins in segment `2 * number` and ended `10 - number` days ago.
fn info(number: u32, status: Status) -> BackupInfo {
    let mut info = BackupInfo { status, ..BackupInfo::default() };
    let lsn = |segment: u32| Lsn::new(u64::from(segment) * 0x100_0000 + 0x28);
    info.set_begin(TimelineId::FIRST, lsn(2 * number));
    if status == Status::Done {
        info.set_end(TimelineId::FIRST, lsn(2 * number + 1));
        let ended = Timestamp::now() - SignedDuration::from_hours(24 * i64::from(10 - number));
        info.end_time = Some(BackupTime::new(ended, jiff::tz::Offset::UTC));
    }
    info
}

/// Four backups, of which the last is being taken, and the WAL of segments 1 to 9.
fn repository() -> Memory {
    let memory = Memory::new();
    for (number, status) in [(1, Status::Done), (2, Status::Done), (3, Status::Done), (4, Status::Started)] {
        memory.set(&names::backup_info_key(id(number)), info(number, status).to_string());
        for name in
            ["16385.tar.gz", "16385_0001.tar.gz", "9999.tar.gz", "data.tar.gz", "data_0001.tar.gz", "notes"]
        {
            memory.set(&names::backup_prefix(id(number)).key(name).unwrap(), "");
        }
    }
    for segment in 1..10 {
        memory.set(
            &Key::parse(&format!("wals/0000000100000000/0000000100000000{segment:08X}.gz")).unwrap(),
            "",
        );
    }
    memory
}

/// Nobody answers there.
fn volumes() -> Volumes {
    let credentials = Credentials::Static {
        access_key: "key".to_owned(),
        secret_key: "secret".into(),
        session_token: None,
    };
    let endpoint = Some(Endpoint::parse("http://127.0.0.1:1").unwrap().0);
    let policy = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let account = Account { credentials, endpoint, ca_bundle: None, policy };
    Volumes { account: Ok(account), region: None, default_region: None }
}

fn delete(request: DeleteRequest, mode: Mode) -> Options {
    Options { request, minimum_redundancy: 0, locks: Locks::Ignore, mode }
}

fn policy(text: &str) -> DeleteRequest {
    DeleteRequest::Policy(text.parse::<RetentionPolicy>().unwrap())
}

fn backup(number: u32) -> DeleteRequest {
    DeleteRequest::Backup(id(number).to_string())
}

fn texts<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<&'a str> {
    keys.into_iter().map(Key::as_str).collect()
}

#[tokio::test]
async fn a_policy_removes_backups_oldest_first_and_their_wal() {
    let memory = repository();
    let (ctx, annotations) = (context(&memory), annotations(&memory));
    let before = memory.keys();
    let options = delete(policy("REDUNDANCY 1"), Mode::DryRun);
    let planned = backup_delete::run(&ctx, &annotations, &volumes(), options.clone()).await.unwrap();
    assert_eq!(memory.keys(), before);
    let [first, second] = planned.backups.as_slice() else { panic!("{planned:?}") };
    assert_eq!((first.id, second.id), (id(1), id(2)));
    assert_eq!(
        texts(&first.tars),
        ["data.tar.gz", "data_0001.tar.gz", "9999.tar.gz", "16385.tar.gz", "16385_0001.tar.gz"]
            .map(|name| format!("base/20261121T000001/{name}"))
    );
    assert_eq!(second.wal.keys().count(), 2);

    let done =
        backup_delete::run(&ctx, &annotations, &volumes(), Options { mode: Mode::Confirmed, ..options })
            .await
            .unwrap();
    assert!(done.removal.is_complete());
    assert_eq!(done.removal.deleted, 2 * 6 + 5);
    let left = memory.keys();
    let gone: Vec<&Key> = before.iter().filter(|key| !left.contains(key)).collect();
    assert_eq!(gone.len(), 17);
    assert!(left.contains(&Key::parse("base/20261121T000001/notes").unwrap()));
    assert!(!left.contains(&Key::parse("wals/0000000100000000/000000010000000000000005.gz").unwrap()));
    assert!(left.contains(&Key::parse("wals/0000000100000000/000000010000000000000006.gz").unwrap()));
    assert_eq!(ctx.progress.snapshot().pieces_done, 17);
}

/// The keys may write and not delete: the backup is as good as it was, and no policy takes it for one that is being deleted.
#[tokio::test]
async fn a_deletion_that_is_refused_leaves_the_backup() {
    let memory = repository();
    let info = names::backup_info_key(id(2));
    let before = memory.content(&info);
    memory.fail(Operation::Delete, 1, Fault::Before(ErrorKind::Refused));
    let options = delete(backup(2), Mode::Confirmed);
    let error =
        backup_delete::run(&context(&memory), &annotations(&memory), &volumes(), options).await.unwrap_err();
    assert_eq!(error.storage_kind(), Some(ErrorKind::Refused));
    assert_eq!(memory.content(&info), before);
    let options = delete(policy("REDUNDANCY 5"), Mode::DryRun);
    let planned =
        backup_delete::run(&context(&memory), &annotations(&memory), &volumes(), options).await.unwrap();
    assert!(planned.backups.is_empty(), "{planned:?}");
}

/// Whatever request fails, before its effect or after it: no backup is listed as one that has lost something, and the same
/// command finishes it.
#[tokio::test]
async fn an_interrupted_deletion_is_finished_by_the_next_one() {
    let run = async |memory: &Memory| {
        let options = delete(policy("REDUNDANCY 1"), Mode::Confirmed);
        backup_delete::run(&context(memory), &annotations(memory), &volumes(), options).await
    };
    let clean = repository();
    run(&clean).await.unwrap();
    assert_eq!((clean.calls(Operation::Put), clean.calls(Operation::Delete)), (2, 6));
    let whole = repository();
    for operation in [Operation::Put, Operation::Delete] {
        for call in 1..=clean.calls(operation) {
            for fault in [Fault::Before(ErrorKind::Busy), Fault::After(ErrorKind::Network)] {
                let memory = repository();
                memory.fail(operation, call, fault);
                run(&memory).await.unwrap_err();
                for number in 1..=3 {
                    let Some(info) = memory.content(&names::backup_info_key(id(number))) else { continue };
                    let info = BackupInfo::parse(&info, &jiff::tz::TimeZone::UTC).unwrap();
                    let folder = names::backup_prefix(id(number));
                    let has_all = whole
                        .keys()
                        .iter()
                        .filter(|key| key.below(&folder).is_some())
                        .all(|key| memory.content(key).is_some());
                    assert!(info.status == Status::Failed || has_all, "{operation:?} {call} {fault:?}");
                }
                assert!(run(&memory).await.unwrap().removal.is_complete());
                assert_eq!(memory.keys(), clean.keys(), "{operation:?} {call} {fault:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_killed_backup_has_left_goes_with_it() {
    let memory = repository();
    let tar = names::backup_prefix(id(1)).key("data_0002.tar.gz").unwrap();
    drop(memory.start_upload(&tar).await.unwrap());
    memory.age_uploads(RUNNING_AGE + SignedDuration::from_hours(1));
    memory.set(&names::claim_key(id(1)), "");
    let options = delete(backup(1), Mode::Confirmed);
    backup_delete::run(&context(&memory), &annotations(&memory), &volumes(), options).await.unwrap();
    assert!(storage::list_unfinished(&memory, &Prefix::root()).await.unwrap().is_empty());
    assert_eq!(memory.content(&names::claim_key(id(1))), None);
}

#[tokio::test]
async fn keys_that_may_not_write_may_delete() {
    let memory = repository();
    memory.fail(Operation::Put, 1, Fault::Before(ErrorKind::Refused));
    let options = delete(backup(1), Mode::Confirmed);
    let done =
        backup_delete::run(&context(&memory), &annotations(&memory), &volumes(), options).await.unwrap();
    assert!(done.removal.is_complete());
    assert!(memory.content(&names::backup_info_key(id(1))).is_none());
}

#[tokio::test]
async fn deletion_is_refused() {
    let memory = repository();
    let (ctx, annotations) = (context(&memory), annotations(&memory));
    backup_keep::run(&ctx, &annotations, "first", backup_keep::Action::Keep(Keep::Full)).await.unwrap();
    let refused = async |options| match backup_delete::run(&ctx, &annotations, &volumes(), options).await {
        Err(Error::Request(RequestError::BarmanRetention(refusal))) => refusal,
        other => panic!("{other:?}"),
    };
    let kept = refused(delete(backup(1), Mode::Confirmed)).await;
    assert_eq!(kept, Refusal::Kept { id: id(1), keep: Keep::Full });
    let few = Options { minimum_redundancy: 3, ..delete(backup(2), Mode::Confirmed) };
    assert_eq!(refused(few).await, Refusal::MinimumRedundancy { id: id(2), minimum: 3, current: 3 });
    memory.set(&names::backup_info_key(id(9)), "nonsense");
    let unreadable = refused(delete(policy("REDUNDANCY 0"), Mode::Confirmed)).await;
    assert_eq!(unreadable, Refusal::Unreadable { ids: vec![id(9)] });
    assert!(memory.content(&names::backup_info_key(id(1))).is_some());
}

/// Nobody can be asked to delete them, so nothing else of the backup goes.
#[tokio::test]
async fn snapshots_go_before_what_describes_them() {
    let memory = repository();
    let mut info = info(1, Status::Done);
    let snapshots = |provider: &str| {
        let text = format!(
            "{{'provider': '{provider}', 'provider_info': {{'region': 'r'}}, 'snapshots': [{{'provider': {{'snapshot_id': 'snap-1'}}}}]}}"
        );
        Some(Literal::parse(&text).unwrap())
    };
    info.snapshots_info = snapshots("aws");
    memory.set(&names::backup_info_key(id(1)), info.to_string());
    let run = async |mode| {
        backup_delete::run(&context(&memory), &annotations(&memory), &volumes(), delete(backup(1), mode))
            .await
    };
    let before = memory.keys();
    let planned = run(Mode::DryRun).await.unwrap();
    assert_eq!(planned.backups[0].label, Some(names::backup_label_key(id(1))));
    let error = run(Mode::Confirmed).await.unwrap_err();
    assert!(matches!(error, Error::Volumes(_)), "{error}");
    assert_eq!(memory.keys(), before);

    info.snapshots_info = snapshots("gcp");
    memory.set(&names::backup_info_key(id(1)), info.to_string());
    let refused = run(Mode::Confirmed).await.unwrap_err();
    assert!(
        matches!(refused, Error::Request(RequestError::BarmanRetention(Refusal::Snapshots { .. }))),
        "{refused}"
    );
}

#[tokio::test]
async fn a_backup_that_does_not_exist_is_deleted_already() {
    let memory = repository();
    let (ctx, annotations) = (context(&memory), annotations(&memory));
    let before = memory.keys();
    let done =
        backup_delete::run(&ctx, &annotations, &volumes(), delete(backup(7), Mode::Confirmed)).await.unwrap();
    assert!(done.backups.is_empty() && memory.keys() == before);
    let unknown = delete(DeleteRequest::Backup("weekly".into()), Mode::Confirmed);
    assert!(matches!(
        backup_delete::run(&ctx, &annotations, &volumes(), unknown).await,
        Err(Error::BarmanCatalog(_))
    ));
}

#[tokio::test]
async fn what_is_kept_is_told() {
    let memory = repository();
    let (ctx, annotations) = (context(&memory), annotations(&memory));
    let act = async |backup: &str, action| backup_keep::run(&ctx, &annotations, backup, action).await;
    let keep = backup_keep::Action::Keep(Keep::Standalone);
    assert_eq!(act("20261121T000002", keep).await.unwrap(), Some(Keep::Standalone));
    assert_eq!(act("20261121T000002", backup_keep::Action::Status).await.unwrap(), Some(Keep::Standalone));
    assert_eq!(act("latest", backup_keep::Action::Status).await.unwrap(), None);
    assert!(matches!(
        act("20261121T000004", keep).await,
        Err(Error::Request(RequestError::NotDone { status: Status::Started, .. }))
    ));
    assert!(matches!(act("20261121T000007", keep).await, Err(Error::BarmanCatalog(_))));
    let listed = backup_list::run(&ctx, Some(&annotations)).await.unwrap().backups;
    let keeps: Vec<_> = listed.iter().map(|backup| (backup.entry.id, backup.keep)).collect();
    assert_eq!(keeps, [(id(1), None), (id(2), Some(Keep::Standalone)), (id(3), None), (id(4), None)]);
    assert!(backup_list::run(&ctx, None).await.unwrap().backups.iter().all(|backup| backup.keep.is_none()));
    assert_eq!(act("20261121T000002", backup_keep::Action::Release).await.unwrap(), None);
    assert_eq!(act("20261121T000002", backup_keep::Action::Status).await.unwrap(), None);

    assert_eq!(backup_show::run(&ctx, "last").await.unwrap().info.status, Status::Done);
    assert!(matches!(backup_show::run(&ctx, "20261121T000007").await, Err(Error::BarmanCatalog(_))));
}

#[tokio::test]
async fn wal_of_a_running_backup_stays() {
    let memory = repository();
    // It began before backup 3 did.
    let mut running = info(4, Status::Started);
    running.set_begin(TimelineId::FIRST, Lsn::new(0x300_0028));
    memory.set(&names::backup_info_key(id(4)), running.to_string());
    let done = backup_delete::run(
        &context(&memory),
        &annotations(&memory),
        &volumes(),
        delete(policy("REDUNDANCY 1"), Mode::Confirmed),
    )
    .await
    .unwrap();
    assert_eq!(done.backups.len(), 2);
    let wal = names::HashDir { timeline: TimelineId::FIRST, log: 0 }.prefix();
    let left: Vec<_> = memory.keys().into_iter().filter(|key| key.below(&wal).is_some()).collect();
    assert_eq!(left.first().map(Key::file_name), Some("000000010000000000000003.gz"));
}
