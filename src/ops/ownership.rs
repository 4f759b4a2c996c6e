//! Whose repository this is: asked before anything is stored, so that two clusters never mix in one.
//!
//! A cluster that finds no owner becomes it ([`Owner`]), unless the newest backup is another's: a repository of wal-g's or
//! barman's is adopted by the cluster that it has a backup of, one without a backup by whoever stores first. A restored
//! cluster, a clone and a promoted standby keep the system identifier, so they go on in the same repository.
//!
//! The record also says in which compressions there may be WAL ([`Owner`]). It is written anew when another one is configured,
//! and by nobody else; of two servers of one cluster that do so in the same instant one may be forgotten until its next file.
//!
//! Of two clusters that find no owner in the same instant one becomes it: the record is created only where there is none
//! ([`storage::put_new`]), and read back. Where a service ignores that condition both may believe to be the owner,
//! but only for the files that are on their way: with the next one, the one whose record was replaced is refused.

use jiff::Timestamp;

use crate::catalog;
use crate::codec::Method;
use crate::layout::{InvalidOwner, Owner};
use crate::pg::{SystemIdentifier, TimelineId};
use crate::storage::{self, ErrorKind, Key, PutMode};

use super::{Context, Error};

/// Markers of backups that are read to find out whose they are.
const MARKERS_READ: usize = 3;

/// The cluster that is about to store something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimant {
    /// Which cluster.
    pub system_identifier: SystemIdentifier,
    /// The timeline of what it stores, where that is one.
    pub timeline: Option<TimelineId>,
}

/// From whom a repository may be taken over (`SEAWALL_TAKE_OVER_FROM`): the system identifier of its owner. It names the
/// one owner, so that a setting that was forgotten takes nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TakeOver(Option<SystemIdentifier>);

/// Whose a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ownership {
    /// The owner's system identifier.
    pub owner: SystemIdentifier,
    /// The compressions besides the configured one in which its WAL may be stored.
    pub other_compressions: Vec<Method>,
}

/// Why nobody may store anything.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OwnershipError {
    /// The storage could not answer.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// It is another cluster's.
    #[error(
        "{location} belongs to the cluster with system identifier {owner}, this one is {claimant}; nothing is stored"
    )]
    AnotherCluster {
        /// Where.
        location: storage::Location,
        /// Whose it is.
        owner: SystemIdentifier,
        /// Who was about to store something.
        claimant: SystemIdentifier,
    },
    /// The storage says that it has stored the record, and does not have it.
    #[error("`{key}` was stored, as the storage says, but it is not there")]
    NotStored {
        /// The record.
        key: Key,
    },
    /// The record is there but cannot be read.
    #[error("cannot read `{key}`: {source}")]
    Record {
        /// The record.
        key: Key,
        /// What is wrong with it.
        source: InvalidOwner,
    },
}

impl OwnershipError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            OwnershipError::Storage(error) if error.kind() == ErrorKind::Refused => {
                let own = "whose the repository is says `seawall_owner.json` beside the backups: the keys have to get, put \
                           and list objects there as well";
                Some(error.hint().map_or_else(|| own.to_owned(), |hint| format!("{hint}; {own}")))
            }
            OwnershipError::Storage(error) => error.hint().map(str::to_owned),
            OwnershipError::AnotherCluster { owner, .. } => Some(format!(
                "each cluster needs a storage prefix of its own; if this one takes the place of the other, as after \
                 pg_upgrade, set SEAWALL_TAKE_OVER_FROM={owner}"
            )),
            OwnershipError::NotStored { .. } => Some(
                "something removes objects there, or answers in place of the storage: check the endpoint, and proxies in front \
                 of it"
                    .to_owned(),
            ),
            OwnershipError::Record { .. } => Some(
                "something in front of the storage may have answered in its place: look at the object with another program; \
                 one that is really damaged can be removed, the next push writes it anew, for its own cluster"
                    .to_owned(),
            ),
        }
    }
}

impl TakeOver {
    /// From nobody.
    pub const NEVER: TakeOver = TakeOver(None);

    /// From the cluster with this system identifier, in decimal.
    pub fn parse(text: &str) -> Result<TakeOver, String> {
        let identifier = text.trim().parse();
        let identifier = identifier.map_err(|_| "expected the system identifier of a cluster".to_owned())?;
        Ok(TakeOver(Some(SystemIdentifier::new(identifier))))
    }
}

/// Makes sure that the repository is the claimant's, which it is on return, durably. [`Error::Ownership`] when it is not.
pub async fn claim(ctx: &Context, claimant: Claimant, take_over: TakeOver) -> Result<(), Error> {
    let ownership = find(ctx, claimant, take_over).await?;
    Ok(check(ctx, &ownership, claimant.system_identifier)?)
}

/// Whose the repository is when `claimant` wants to store something: its own, when nobody's. Its record says durably that
/// there may be WAL in the configured compression.
pub(super) async fn find(
    ctx: &Context,
    claimant: Claimant,
    take_over: TakeOver,
) -> Result<Ownership, OwnershipError> {
    let ours = claimant.system_identifier;
    let key = Owner::key(ctx.layout);
    let record = read(ctx, &key).await?;
    let owner = match &record {
        Some(record) => Some(record.system_identifier),
        None => owner_by_backups(ctx).await?,
    };
    let record = match (owner, record) {
        (Some(owner), _) if owner != ours && take_over != TakeOver(Some(owner)) => {
            return Ok(Ownership { owner, other_compressions: Vec::new() });
        }
        (Some(owner), record) if owner != ours => {
            let compressions = record.map(|record| record.compressions).unwrap_or_default();
            let record = Owner { compressions, ..of(claimant) };
            let record = with_compression(ctx, record).await?;
            let location = ctx.storage.location();
            tracing::warn!("took {location} over from the cluster with system identifier {owner}");
            record
        }
        (_, Some(record)) => record,
        (_, None) => {
            let first = Owner { compressions: vec![ctx.compression.method()], ..of(claimant) };
            storage::put_new(ctx.storage.as_ref(), &key, first.to_json().into()).await?;
            read(ctx, &key).await?.ok_or(OwnershipError::NotStored { key })?
        }
    };
    let configured = ctx.compression.method();
    let record = match record.system_identifier == ours && !record.compressions.contains(&configured) {
        true => with_compression(ctx, record).await?,
        false => record,
    };
    let other_compressions = record.compressions.into_iter().filter(|method| *method != configured).collect();
    Ok(Ownership { owner: record.system_identifier, other_compressions })
}

/// Stores a record with the configured compression added.
async fn with_compression(ctx: &Context, record: Owner) -> Result<Owner, OwnershipError> {
    let configured = ctx.compression.method();
    let mut record = record;
    if !record.compressions.contains(&configured) {
        record.compressions.push(configured);
    }
    let key = Owner::key(ctx.layout);
    ctx.storage.put(&key, record.to_json().into(), PutMode::Overwrite).await?;
    Ok(record)
}

/// Refuses a cluster that is not the owner.
pub(super) fn check(
    ctx: &Context,
    ownership: &Ownership,
    claimant: SystemIdentifier,
) -> Result<(), OwnershipError> {
    match ownership.owner == claimant {
        true => Ok(()),
        false => {
            let (location, owner) = (ctx.storage.location().clone(), ownership.owner);
            Err(OwnershipError::AnotherCluster { location, owner, claimant })
        }
    }
}

/// The owner, as far as it is known: by its record, else by the newest backup. Changes nothing.
pub(super) async fn owner(ctx: &Context) -> Result<Option<SystemIdentifier>, OwnershipError> {
    match read(ctx, &Owner::key(ctx.layout)).await? {
        Some(record) => Ok(Some(record.system_identifier)),
        None => Ok(owner_by_backups(ctx).await?),
    }
}

/// Warns when `cluster`, of which something is fetched, is not the one that the repository belongs to. Nothing else
/// depends on it: a record that cannot be read is no reason not to restore.
pub(super) async fn warn_of_another(ctx: &Context, what: &str, cluster: SystemIdentifier) {
    match read(ctx, &Owner::key(ctx.layout)).await {
        Ok(Some(record)) if record.system_identifier != cluster => tracing::warn!(
            "{what} is of the cluster with system identifier {cluster}, but {} belongs to {}",
            ctx.storage.location(),
            record.system_identifier
        ),
        Ok(_) => {}
        Err(error) => tracing::debug!("whose repository this is could not be asked: {error}"),
    }
}

fn of(claimant: Claimant) -> Owner {
    Owner {
        system_identifier: claimant.system_identifier,
        timeline: claimant.timeline,
        since: Timestamp::now().round(jiff::Unit::Second).unwrap_or_default(),
        program: concat!("seawall ", env!("CARGO_PKG_VERSION")).to_owned(),
        compressions: Vec::new(),
    }
}

async fn read(ctx: &Context, key: &Key) -> Result<Option<Owner>, OwnershipError> {
    let Some((_, json)) = storage::get_bytes(ctx.storage.as_ref(), key).await? else { return Ok(None) };
    let record = Owner::from_json(&json);
    record.map(Some).map_err(|source| OwnershipError::Record { key: key.clone(), source })
}

/// The cluster of the newest backup that says which it is.
async fn owner_by_backups(ctx: &Context) -> storage::Result<Option<SystemIdentifier>> {
    let storage = ctx.storage.as_ref();
    for key in catalog::markers(storage, ctx.layout).await?.iter().take(MARKERS_READ) {
        let marker = storage::get_bytes(storage, key).await?;
        let marker = marker.and_then(|(_, content)| ctx.layout.read_marker(&content));
        if let Some(identifier) = marker.and_then(|marker| marker.system_identifier) {
            return Ok(Some(identifier));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Compression;
    use crate::layout::Layout;
    use crate::layout::barman::{BackupInfo, Barman, Partials, Status};
    use crate::layout::walg::WalG;
    use crate::ops::context;
    use crate::storage::ErrorKind;
    use crate::storage::memory::{Fault, Memory, Operation};

    const OURS: SystemIdentifier = SystemIdentifier::new(7_000_000_000_000_000_001);
    const OTHER: SystemIdentifier = SystemIdentifier::new(7_000_000_000_000_000_002);
    const LAYOUTS: [&dyn Layout; 2] = [&WalG, &Barman { partials: Partials::Ignore }];

    fn claimant(system_identifier: SystemIdentifier) -> Claimant {
        Claimant { system_identifier, timeline: TimelineId::new(1) }
    }

    async fn claimed(ctx: &Context, cluster: SystemIdentifier, take_over: TakeOver) -> Result<(), Error> {
        claim(ctx, claimant(cluster), take_over).await
    }

    fn refused(claimed: Result<(), Error>) -> (SystemIdentifier, SystemIdentifier) {
        match claimed {
            Err(Error::Ownership(OwnershipError::AnotherCluster { owner, claimant, .. })) => {
                (owner, claimant)
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    fn recorded(memory: &Memory, layout: &dyn Layout) -> Option<SystemIdentifier> {
        let json = memory.content(&Owner::key(layout))?;
        Some(Owner::from_json(&json).unwrap().system_identifier)
    }

    #[tokio::test]
    async fn who_comes_first_is_the_owner() {
        for layout in LAYOUTS {
            let memory = Memory::new();
            let ctx = context(&memory, layout);
            for _ in 0..2 {
                claimed(&ctx, OURS, TakeOver::NEVER).await.unwrap();
            }
            assert_eq!(memory.calls(Operation::Put), 1);
            assert_eq!(refused(claimed(&ctx, OTHER, TakeOver::NEVER).await), (OURS, OTHER));
            assert_eq!(recorded(&memory, layout), Some(OURS));
            let error = claimed(&ctx, OTHER, TakeOver::NEVER).await.unwrap_err();
            let (text, hint) = (error.to_string(), error.hint().unwrap());
            assert!(text.contains(&OURS.to_string()) && text.contains(&OTHER.to_string()), "{text}");
            assert!(hint.contains(&format!("SEAWALL_TAKE_OVER_FROM={OURS}")), "{hint}");
        }
    }

    #[tokio::test]
    async fn an_owner_is_asked_for_by_one_request() {
        let memory = Memory::new();
        let ctx = context(&memory, &WalG);
        claimed(&ctx, OURS, TakeOver::NEVER).await.unwrap();
        let calls =
            || [Operation::Get, Operation::Head, Operation::List, Operation::Put].map(|it| memory.calls(it));
        let before = calls();
        claimed(&ctx, OURS, TakeOver::NEVER).await.unwrap();
        assert_eq!(calls(), [before[0] + 1, before[1], before[2], before[3]]);
    }

    #[tokio::test]
    async fn another_compression_is_recorded_once() {
        let memory = Memory::new();
        let with = |method: Method| {
            let compression = Compression::parse(&method.to_string(), None).unwrap();
            Context { compression, ..context(&memory, &WalG) }
        };
        let others = async |method, cluster, take_over| {
            let found = find(&with(method), claimant(cluster), take_over).await.unwrap();
            assert_eq!(found.owner, cluster);
            found.other_compressions
        };
        // As a record that does not say any.
        memory.set(&Owner::key(&WalG), of(claimant(OURS)).to_json());
        for (method, expected, puts) in [
            (Method::Lz4, vec![], 1),
            (Method::Lz4, vec![], 0),
            (Method::Zstd, vec![Method::Lz4], 1),
            (Method::Zstd, vec![Method::Lz4], 0),
            (Method::Lz4, vec![Method::Zstd], 0),
        ] {
            let before = memory.calls(Operation::Put);
            assert_eq!(others(method, OURS, TakeOver::NEVER).await, expected);
            assert_eq!(memory.calls(Operation::Put), before + puts, "{method}");
        }
        let take_over = TakeOver::parse(&OURS.to_string()).unwrap();
        assert_eq!(others(Method::Brotli, OTHER, take_over).await, [Method::Lz4, Method::Zstd]);
        let before = memory.content(&Owner::key(&WalG));
        let refused = find(&with(Method::Lzma), claimant(OURS), TakeOver::NEVER).await.unwrap();
        assert_eq!(refused.owner, OTHER);
        assert_eq!(memory.content(&Owner::key(&WalG)), before, "whoever is refused writes nothing");
    }

    #[tokio::test]
    async fn it_is_taken_over_from_the_named_cluster_only() {
        let memory = Memory::new();
        let ctx = context(&memory, &WalG);
        claimed(&ctx, OTHER, TakeOver::NEVER).await.unwrap();
        for wrong in [OURS.to_string(), "1".to_owned()] {
            assert_eq!(refused(claimed(&ctx, OURS, TakeOver::parse(&wrong).unwrap()).await), (OTHER, OURS));
        }
        let take_over = TakeOver::parse(&format!(" {OTHER}\n")).unwrap();
        claimed(&ctx, OURS, take_over).await.unwrap();
        assert_eq!(recorded(&memory, &WalG), Some(OURS));
        // The setting that is still there does no harm: neither goes it back, nor can the other one come back with it.
        claimed(&ctx, OURS, take_over).await.unwrap();
        assert_eq!(refused(claimed(&ctx, OTHER, take_over).await), (OURS, OTHER));
        assert!(TakeOver::parse("all").is_err() && TakeOver::parse("-1").is_err());
    }

    /// A sentinel as old wal-g wrote it has no identifier.
    #[tokio::test]
    async fn a_repository_without_a_record_is_its_newest_backup_s() {
        let sentinel = |cluster: Option<SystemIdentifier>| match cluster {
            Some(cluster) => format!(r#"{{"LSN":1,"PgVersion":150000,"SystemIdentifier":{cluster}}}"#),
            None => r#"{"LSN":1,"PgVersion":90600}"#.to_owned(),
        };
        let info =
            |systemid| BackupInfo { systemid, status: Status::Failed, ..BackupInfo::default() }.to_string();
        for layout in LAYOUTS {
            let repository = |newest: Option<SystemIdentifier>| {
                let memory = Memory::new();
                let set = |key: &str, body: String| memory.set(&Key::parse(key).unwrap(), body);
                for (number, cluster) in [(2, Some(SystemIdentifier::new(3))), (4, newest)] {
                    let name = format!("base_00000001000000000000000{number}");
                    set(&format!("basebackups_005/{name}_backup_stop_sentinel.json"), sentinel(cluster));
                    set(&format!("base/2026112{number}T000000/backup.info"), info(cluster));
                }
                memory
            };
            let memory = repository(Some(OURS));
            let ctx = context(&memory, layout);
            assert_eq!(refused(claimed(&ctx, OTHER, TakeOver::NEVER).await), (OURS, OTHER));
            assert_eq!(recorded(&memory, layout), None, "whoever is refused writes nothing");
            assert_eq!(owner(&ctx).await.unwrap(), Some(OURS));
            claimed(&ctx, OURS, TakeOver::NEVER).await.unwrap();
            assert_eq!(recorded(&memory, layout), Some(OURS));

            let memory = repository(Some(OTHER));
            claimed(&context(&memory, layout), OURS, TakeOver::parse(&OTHER.to_string()).unwrap())
                .await
                .unwrap();
            assert_eq!(recorded(&memory, layout), Some(OURS));

            let memory = repository(None);
            let ctx = context(&memory, layout);
            assert_eq!(refused(claimed(&ctx, OURS, TakeOver::NEVER).await).0, SystemIdentifier::new(3));
        }
        let memory = Memory::new();
        memory.set(&Key::parse("wal_005/000000010000000000000001.br").unwrap(), "w");
        memory.set(
            &Key::parse("basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json").unwrap(),
            "x",
        );
        claimed(&context(&memory, &WalG), OURS, TakeOver::NEVER).await.unwrap();
        assert_eq!(recorded(&memory, &WalG), Some(OURS), "nothing tells, so it is who stores first");
    }

    #[tokio::test]
    async fn of_two_first_ones_one_is_refused() {
        let memory = Memory::new();
        let ctx = context(&memory, &WalG);
        claimed(&ctx, OTHER, TakeOver::NEVER).await.unwrap();
        // We looked before the other one had written.
        memory.fail(Operation::Get, memory.calls(Operation::Get) + 1, Fault::TooEarly);
        assert_eq!(refused(claimed(&ctx, OURS, TakeOver::NEVER).await), (OTHER, OURS));
        assert_eq!(recorded(&memory, &WalG), Some(OTHER));

        // Two of one cluster are no two.
        memory.fail(Operation::Get, memory.calls(Operation::Get) + 1, Fault::TooEarly);
        claimed(&ctx, OTHER, TakeOver::NEVER).await.unwrap();
    }

    /// A service that knows no condition gets a plain put.
    #[tokio::test]
    async fn a_service_without_conditions() {
        let memory = Memory::new();
        memory.fail(Operation::Put, 1, Fault::Before(ErrorKind::Invalid));
        let ctx = context(&memory, &WalG);
        claimed(&ctx, OURS, TakeOver::NEVER).await.unwrap();
        assert_eq!(recorded(&memory, &WalG), Some(OURS));
        assert_eq!(refused(claimed(&ctx, OTHER, TakeOver::NEVER).await), (OURS, OTHER));
    }

    /// Nobody goes on blind: whichever request fails, the answer is no, and the next one is right.
    #[tokio::test]
    async fn an_owner_that_cannot_be_asked_is_an_error() {
        let clean = Memory::new();
        claimed(&context(&clean, &WalG), OURS, TakeOver::NEVER).await.unwrap();
        for operation in [Operation::Get, Operation::List, Operation::Put] {
            for call in 1..=clean.calls(operation) {
                for fault in [Fault::Before(ErrorKind::Network), Fault::After(ErrorKind::Timeout)] {
                    let memory = Memory::new();
                    memory.fail(operation, call, fault);
                    let ctx = context(&memory, &WalG);
                    let failed = claimed(&ctx, OURS, TakeOver::NEVER).await.unwrap_err();
                    assert!(failed.storage_kind().is_some(), "{operation:?} {call} {fault:?}: {failed}");
                    claimed(&ctx, OURS, TakeOver::NEVER).await.unwrap();
                    assert_eq!(recorded(&memory, &WalG), Some(OURS));
                }
            }
        }
        let memory = Memory::new();
        memory.set(&Owner::key(&WalG), "{}");
        let error = claimed(&context(&memory, &WalG), OURS, TakeOver::NEVER).await.unwrap_err();
        assert!(matches!(error, Error::Ownership(OwnershipError::Record { .. })), "{error}");
        assert!(error.hint().is_some());
    }
}
