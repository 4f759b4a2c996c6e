//! `delete`: removes the backups and the WAL that a policy gives up.
//!
//! What goes is decided by [`crate::retention`] from listings and documents; nothing is deleted before that plan is
//! complete. Sentinels go first: from then on no tool lists the backup. Running the same command again finishes
//! what an interruption left.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::catalog::{self, DOCUMENTS_AT_ONCE, walg::BackupEntry};
use crate::layout::walg::{BackupName, names};
use crate::pg::{SystemIdentifier, WalSegmentSize};
use crate::retention::{self, BackupFacts, DeletePlan, Family, GarbageScope, Order, Policy, Repository};
use crate::storage::{self, Depth, Key, ObjectMeta, Prefix, Storage, Unfinished};

use super::backup_choice::{BackupChoice, choose};
use super::error::RequestError;
use super::removal::{Mode, Removal};
use super::{Context, Error, segment_size, unfinished};

/// What wal-g writes below the root besides backups and WAL: copies made by `catchup-push`, and the probe of its
/// storage check.
const CATCHUP: &str = "catchup_005/";
const STORAGE_CHECK: &str = "wal-g_storage_check";

/// What to delete.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// By which rule.
    pub request: DeleteRequest,
    /// Whether to do it.
    pub mode: Mode,
    /// How backups are ordered.
    pub order: Order,
    /// The configured size of WAL segments.
    pub segment_size: WalSegmentSize,
}

/// By which rule to delete.
#[derive(Debug, Clone, PartialEq)]
pub enum DeleteRequest {
    /// A rule that needs no look-up.
    Policy(Policy),
    /// One backup, chosen by name or user data.
    Target {
        /// Which.
        backup: BackupChoice,
        /// What goes with it.
        family: Family,
    },
}

/// What was done.
#[derive(Debug, Default)]
pub struct Deletion {
    /// What was planned; `None` when the rule applies to nothing.
    pub plan: Option<DeletePlan>,
    /// What `garbage` found that was begun and never finished.
    pub unfinished: Vec<Unfinished>,
    /// What was deleted.
    pub removal: Removal,
}

/// Plans and, when confirmed, deletes. Objects that could not be deleted are in the result, not an error.
pub async fn run(ctx: &Context, options: Options) -> Result<Deletion, Error> {
    let storage = ctx.storage.as_ref();
    let entries = catalog::walg::list(storage).await?;
    let policy = match options.request {
        DeleteRequest::Policy(policy) => policy,
        DeleteRequest::Target { backup, family } => {
            Policy::Target { backup: choose(ctx, &backup).await?, family }
        }
    };
    announce(&policy);
    let now = Timestamp::now();
    let unfinished = match policy {
        Policy::Garbage { scope, .. } => unfinished::abandoned(storage, scope, now).await?,
        _ => Vec::new(),
    };
    let backups = describe_all(storage, entries, &policy).await?;
    let objects = list_objects(storage, &policy).await?;
    let repository = Repository {
        backups: &backups,
        objects: &objects,
        order: usable_order(options.order, &policy, &backups)?,
        segment_size: segment_size::of_archive(
            options.segment_size,
            backups.iter().map(|facts| (facts.name, facts.start_lsn)),
        ),
        now,
    };
    let plan = retention::plan(&policy, &repository).map_err(RequestError::from)?;
    let mut removal = Removal::default();
    match &plan {
        Some(plan) => {
            tell(plan);
            if options.mode == Mode::Confirmed {
                // Where everything goes, marked or not, it does not matter what has changed meanwhile.
                let backups = (!reads_nothing(&policy)).then_some(&backups[..]);
                execute(ctx, plan, backups, &mut removal).await?;
            }
            conclude(plan, options.mode, &removal);
        }
        None => say_nothing_to_do(&policy),
    }
    unfinished::remove(ctx, &unfinished, options.mode, &mut removal).await?;
    Ok(Deletion { plan, unfinished, removal })
}

fn announce(policy: &Policy) {
    if let Policy::Garbage { scope, .. } = policy {
        match scope {
            GarbageScope::All => {
                tracing::info!(
                    "Running in default mode. Will remove outdated WAL files and leftover backup files."
                );
            }
            GarbageScope::Archives => {
                tracing::info!("Archive-only mode selected. Will remove only outdated WAL files.");
            }
            GarbageScope::Backups => {
                tracing::info!("Backups-only mode selected. Will remove only leftover backup files.");
            }
        }
    }
}

/// Reads what retention needs of every backup. Everything that goes whatever it is need not be readable.
async fn describe_all(
    storage: &dyn Storage,
    entries: Vec<BackupEntry>,
    policy: &Policy,
) -> Result<Vec<BackupFacts>, Error> {
    let documents = !reads_nothing(policy);
    stream::iter(entries)
        .map(async |entry| match documents {
            true => describe(storage, entry).await,
            false => Ok(facts_of_name(&entry)),
        })
        .buffered(DOCUMENTS_AT_ONCE)
        .try_collect()
        .await
}

/// Whether everything goes, whatever it is.
fn reads_nothing(policy: &Policy) -> bool {
    matches!(policy, Policy::Everything { force: true })
}

async fn describe(storage: &dyn Storage, entry: BackupEntry) -> Result<BackupFacts, Error> {
    let metadata = catalog::walg::metadata(storage, entry.name).await?;
    if metadata.is_none() {
        tracing::info!("Backup {} lacks metadata to check if it's permanent, ignoring...", entry.name);
    }
    let backup = catalog::walg::describe(storage, entry.name).await?;
    Ok(BackupFacts {
        start_time: metadata.map(|metadata| metadata.start_time),
        parent: backup.delta.as_ref().map(|delta| delta.parent),
        full: backup.delta.as_ref().map(|delta| delta.full),
        is_permanent: backup.is_permanent,
        start_lsn: backup.start_lsn,
        finish_lsn: backup.finish_lsn,
        cluster: backup.system_identifier,
        ..facts_of_name(&entry)
    })
}

fn facts_of_name(entry: &BackupEntry) -> BackupFacts {
    BackupFacts {
        name: entry.name,
        modified: entry.modified,
        start_time: None,
        parent: None,
        full: None,
        is_permanent: false,
        start_lsn: None,
        finish_lsn: None,
        cluster: None,
    }
}

/// Every object that the policy may remove. Nothing else below the root is looked at.
async fn list_objects(storage: &dyn Storage, policy: &Policy) -> Result<Vec<ObjectMeta>, Error> {
    let mut objects = storage::list_all(storage, &names::backups_prefix(), Depth::All).await?.objects;
    if !matches!(policy, Policy::Target { .. }) {
        objects.extend(storage::list_all(storage, &names::wal_prefix(), Depth::All).await?.objects);
    }
    if matches!(policy, Policy::Everything { .. }) {
        let root = storage::list_all(storage, &Prefix::root(), Depth::Children).await?;
        objects.extend(root.objects.iter().filter(|object| object.key.as_str() == STORAGE_CHECK).cloned());
        for prefix in &root.prefixes {
            if prefix.as_str() == CATCHUP {
                objects.extend(storage::list_all(storage, prefix, Depth::All).await?.objects);
            } else if *prefix != names::backups_prefix() && *prefix != names::wal_prefix() {
                tracing::info!("{prefix} is not part of the repository and stays");
            }
        }
    }
    Ok(objects)
}

/// The order by start times needs them all. It is the only one among backups of several clusters: after an upgrade timelines
/// begin anew, and the names of the new backups may come before those of the old ones.
fn usable_order(order: Order, policy: &Policy, backups: &[BackupFacts]) -> Result<Order, Error> {
    let clusters: BTreeSet<SystemIdentifier> = backups.iter().filter_map(|facts| facts.cluster).collect();
    let by_age = matches!(policy, Policy::Retain { .. } | Policy::Before { .. });
    let without = backups.iter().find(|facts| facts.start_time.is_none());
    match (order, without) {
        (_, Some(facts)) if by_age && clusters.len() > 1 => {
            Err(RequestError::NoOrder { without: facts.name }.into())
        }
        (Order::Segment, None) if by_age && clusters.len() > 1 => {
            tracing::warn!(
                "there are backups of several clusters: they are ordered by the time they were started"
            );
            Ok(Order::StartTime)
        }
        (Order::StartTime, Some(facts)) => {
            tracing::warn!(
                "backup {} has no metadata.json with a start time, backups are ordered by timeline and segment",
                facts.name
            );
            Ok(Order::Segment)
        }
        _ => Ok(order),
    }
}

fn say_nothing_to_do(policy: &Policy) {
    match policy {
        Policy::Garbage { .. } => {
            tracing::info!("Couldn't find any non-permanent backups in storage. Not doing anything.");
        }
        _ => tracing::info!("No backup found for deletion"),
    }
}

/// Tells the plan: every backup and why it stays, then every object that goes.
fn tell(plan: &DeletePlan) {
    tracing::info!("Start delete");
    for kept in &plan.kept {
        tracing::info!("keep backup {}: {}", kept.name, kept.why);
    }
    for name in &plan.running {
        tracing::info!("keep unfinished backup {name}: it may be running, it was written to within 24 hours");
    }
    for name in &plan.backups {
        tracing::info!("delete backup {name}");
    }
    if let Some(segment) = plan.first_segment {
        tracing::info!("first WAL segment that is still needed: {segment}");
    }
    tracing::info!("Evaluating objects for deletion...");
    for key in plan.objects() {
        tracing::info!("Object marked for deletion: {key} storage=default");
    }
    if plan.kept.is_empty() && !plan.backups.is_empty() {
        tracing::warn!("no backup will be left: archived WAL alone cannot be restored");
    }
}

fn conclude(plan: &DeletePlan, mode: Mode, removal: &Removal) {
    let count = plan.objects().count();
    if count == 0 {
        tracing::info!("No objects matched the deletion criteria.");
    } else if mode == Mode::DryRun {
        tracing::info!("Dry run: objects would be deleted count={count}, Run with --confirm to execute");
    } else if removal.is_complete() {
        tracing::info!("Objects deleted successfully: count={}", removal.deleted);
    }
}

/// Deletes in the plan's order, unless it differs by now from what `backups` were when the plan was made. A sentinel that stays keeps its backup whole: then only sentinels were deleted.
async fn execute(
    ctx: &Context,
    plan: &DeletePlan,
    backups: Option<&[BackupFacts]>,
    removal: &mut Removal,
) -> Result<(), Error> {
    let count = u64::try_from(plan.objects().count()).unwrap_or(u64::MAX);
    ctx.progress.expect_pieces(count);
    for group in &plan.sentinels {
        if let Some(backups) = backups {
            check_unchanged(ctx, plan, backups).await?;
        }
        removal.delete(ctx, group).await?;
        if !removal.is_complete() {
            return Ok(());
        }
    }
    let broken = folders_with_failures(ctx, &plan.data, removal).await?;
    let metadata: Vec<Key> = plan
        .metadata
        .iter()
        .filter(|key| names::backup_of_object(key).is_none_or(|name| !broken.contains(&name)))
        .cloned()
        .collect();
    removal.delete(ctx, &metadata).await?;
    removal.delete(ctx, &plan.wal).await
}

/// Refuses a plan that was overtaken: somebody has marked a backup that goes, or taken a delta, which may build on one.
async fn check_unchanged(ctx: &Context, plan: &DeletePlan, backups: &[BackupFacts]) -> Result<(), Error> {
    let storage = ctx.storage.as_ref();
    let is_known = |name: BackupName| backups.iter().any(|facts| facts.name == name);
    let now = catalog::walg::list(storage).await?;
    if let Some(new) = now.iter().find(|entry| entry.name.is_delta() && !is_known(entry.name)) {
        return Err(RequestError::NewDelta { name: new.name }.into());
    }
    let goes = |facts: &&BackupFacts| plan.backups.contains(&facts.name) && !facts.is_permanent;
    let marked = stream::iter(backups.iter().filter(goes))
        .map(async |facts| {
            let metadata = catalog::walg::metadata(storage, facts.name).await?;
            Ok::<_, Error>(metadata.is_some_and(|metadata| metadata.is_permanent).then_some(facts.name))
        })
        .buffered(DOCUMENTS_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    match marked.into_iter().flatten().next() {
        Some(name) => Err(RequestError::MarkedMeanwhile { name }.into()),
        None => Ok(()),
    }
}

/// Deletes `data`; the folders that still hold something keep their `metadata.json`, by which the next run knows
/// them.
async fn folders_with_failures(
    ctx: &Context,
    data: &[Key],
    removal: &mut Removal,
) -> Result<BTreeSet<BackupName>, Error> {
    let before = removal.failed.len();
    removal.delete(ctx, data).await?;
    let failed = removal.failed.iter().skip(before);
    Ok(failed.filter_map(|(key, _)| names::backup_of_object(key)).collect())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::layout::walg::WalG;
    use crate::ops::backup_mark::{self, Mark};
    use crate::ops::context;
    use crate::retention::Counting;
    use crate::storage::memory::{Memory, Operation};

    const FULL: &str = "base_000000010000000000000002";
    const LATER: &str = "base_000000010000000000000004";
    const DELTA: &str = "base_000000010000000000000006_D_000000010000000000000002";

    fn store(memory: &Memory, backup: &str, delta: &str) {
        let sentinel = format!(r#"{{"LSN":1,"PgVersion":150000,"FinishLSN":2{delta}}}"#);
        let key = format!("basebackups_005/{backup}_backup_stop_sentinel.json");
        memory.set(&Key::parse(&key).unwrap(), sentinel);
    }

    async fn planned(ctx: &Context) -> (DeletePlan, Vec<BackupFacts>) {
        let storage = ctx.storage.as_ref();
        let policy = Policy::Target { backup: FULL.parse().unwrap(), family: Family::Descendants };
        let entries = catalog::walg::list(storage).await.unwrap();
        let backups = describe_all(storage, entries, &policy).await.unwrap();
        let full = FULL.parse().unwrap();
        let sentinels = vec![vec![names::sentinel_key(full)]];
        let plan = DeletePlan { backups: vec![full], sentinels, ..DeletePlan::default() };
        (plan, backups)
    }

    /// After an upgrade timelines begin anew: the new cluster's backup has the lower name.
    #[tokio::test]
    async fn backups_of_several_clusters_are_ordered_by_time() {
        let (old, new) = ("base_000000030000000000000050", "base_000000010000000000000060");
        let memory = Memory::new();
        let ctx = context(&memory, &WalG);
        store(&memory, old, r#","SystemIdentifier":1"#);
        store(&memory, new, r#","SystemIdentifier":2"#);
        let retain = || Options {
            request: DeleteRequest::Policy(Policy::Retain {
                count: NonZeroUsize::MIN,
                counting: Counting::Full,
                after: None,
            }),
            mode: Mode::Confirmed,
            order: Order::Segment,
            segment_size: WalSegmentSize::DEFAULT,
        };
        let error = run(&ctx, retain()).await.unwrap_err();
        assert!(error.to_string().contains("several clusters"), "{error}");
        for (name, day) in [(old, 1), (new, 2)] {
            let time = format!("2026-11-{day:02}T00:00:00Z");
            let metadata = serde_json::json!({
                "start_time": time, "finish_time": time, "date_fmt": "%Y-%m-%dT%H:%M:%S.%fZ", "hostname": "h",
                "data_dir": "/d", "pg_version": 150000, "start_lsn": 1, "finish_lsn": 2, "is_permanent": false,
                "system_identifier": day, "uncompressed_size": 0, "compressed_size": 0, "user_data": null,
            });
            memory.set(&names::metadata_key(name.parse().unwrap()), metadata.to_string());
        }
        let deleted = run(&ctx, retain()).await.unwrap();
        assert_eq!(deleted.plan.unwrap().backups, [old.parse().unwrap()]);
    }

    /// Between the plan and the deletion somebody marks a backup that goes, or takes a delta that builds on it.
    #[tokio::test]
    async fn what_changes_meanwhile_stays() {
        let memory = Memory::new();
        store(&memory, FULL, "");
        store(&memory, LATER, "");
        let ctx = context(&memory, &WalG);
        let (plan, backups) = planned(&ctx).await;
        check_unchanged(&ctx, &plan, &backups).await.unwrap();
        // A full backup builds on nothing.
        store(&memory, "base_000000010000000000000008", "");
        check_unchanged(&ctx, &plan, &backups).await.unwrap();

        let parent = format!(r#","DeltaLSN":1,"DeltaFrom":"{FULL}","DeltaFullName":"{FULL}","DeltaCount":1"#);
        store(&memory, DELTA, &parent);
        let error = check_unchanged(&ctx, &plan, &backups).await.unwrap_err();
        assert!(error.to_string().contains(DELTA), "{error}");
        ctx.storage.delete(&[names::sentinel_key(DELTA.parse().unwrap())]).await.unwrap();
        check_unchanged(&ctx, &plan, &backups).await.unwrap();

        let full = catalog::walg::chain(&memory, FULL.parse().unwrap()).await.unwrap();
        backup_mark::mark_all(&ctx, &full, Mark::Permanent).await.unwrap();
        let error = check_unchanged(&ctx, &plan, &backups).await.unwrap_err();
        assert!(error.to_string().contains("marked as permanent"), "{error}");
        let mut removal = Removal::default();
        execute(&ctx, &plan, Some(&backups), &mut removal).await.unwrap_err();
        assert_eq!((removal.deleted, memory.calls(Operation::Delete)), (0, 1), "but for the delta's own");
    }
}
