//! The parent of a delta backup: which backup it builds on, if any.
//!
//! wal-g's rules, in wal-g's order, lead to a full backup: too many deltas in a row, a parent without start LSN,
//! without `metadata.json`, permanent when the new backup is not, without a list of files (wal-g `delta_backup_configurator.go`).
//! Beyond these, a delta is useless when its parent is no earlier state of this very cluster: another cluster, a
//! timeline that the server's does not come from, a backup that ended after the new one began; when data checksums were
//! switched on or off meanwhile; or when the parent's own chain is broken. A parent that was chosen by itself then gives
//! a full backup and a warning, since a job of every night must still have its backup; a parent that was asked for by
//! name gives an error, before anything is stored.
//!
//! One case is an error, as in wal-g, whoever chose: the latest backup is another cluster's and has WAL that this server
//! has yet to write. Both archive under the same names then, and would destroy each other's WAL. A cluster that was
//! upgraded is another one too, but goes on where the old one ended.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::catalog;
use crate::layout::walg::{Backup, BackupName, DeltaOrigin, names};
use crate::ops::backup_choice::{BackupChoice, choose as choose_backup};
use crate::ops::changed_blocks::{Cluster, Source};
use crate::ops::error::RequestError;
use crate::ops::{Class, Context, Error, control_file, wal_archive};
use crate::pg::{ControlFile, Lsn, SystemIdentifier, TimelineHistory, TimelineId, WalFileName};

/// How the parent is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentRules {
    /// Deltas in a row before a full backup, at least 1.
    pub max_steps: u32,
    /// Where to begin.
    pub from: BackupChoice,
    /// Which backup of that one's chain.
    pub origin: Origin,
}

/// Which backup of a chain a delta builds on (`WALG_DELTA_ORIGIN`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Its last one.
    Latest,
    /// The full one at its root; the deltas in a row are still counted from the last one.
    LatestFull,
}

/// The backup that a delta builds on.
#[derive(Debug)]
pub(super) struct Parent {
    /// What its documents say.
    pub backup: Backup,
    /// Where its WAL begins.
    pub start_lsn: Lsn,
    /// When each of its files had been changed, by the name in tars.
    pub files: HashMap<String, Timestamp>,
    /// The server's timeline with its ancestors, among them the parent's.
    pub history: TimelineHistory,
    /// Deltas in a row, the new one included.
    count: u32,
    asked_for: AskedFor,
}

/// Whether the user named the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AskedFor {
    ByName,
    ByDefault,
}

/// Why a backup cannot be the parent.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// As many deltas as are allowed follow on one another.
    #[error("reached max delta steps ({0})")]
    MaxSteps(u32),
    /// It does not say where its WAL begins.
    #[error("it has no start LSN")]
    NoStartLsn,
    /// It has no usable `metadata.json`.
    #[error("it has no metadata.json")]
    NoMetadata,
    /// It is permanent, which the new backup is not.
    #[error("it is permanent, the new backup is not")]
    Permanent,
    /// It has no list of its files.
    #[error("it has no usable files_metadata.json")]
    NoFiles,
    /// It was taken over the replication protocol, and its files have other names.
    #[error("it is a remote backup")]
    Remote,
    /// It, or what it builds on, is incomplete.
    #[error(transparent)]
    Chain(catalog::walg::Error),
    /// It is another cluster's.
    #[error("it is not of the cluster with system identifier {cluster}")]
    OtherCluster {
        /// The server's.
        cluster: SystemIdentifier,
        /// Where the backup ends.
        finish: Lsn,
    },
    /// The server does not come from it.
    #[error("it is not in the history of timeline {0}")]
    NotInHistory(TimelineId),
    /// Its control file cannot be read.
    #[error("its pg_control cannot be read: {0}")]
    Control(#[source] Box<Error>),
    /// It has no control file.
    #[error("it has no pg_control tar")]
    NoControl,
    /// Checksums were switched on or off, which rewrites all pages and none of their LSNs, and is not in WAL.
    #[error("data checksums were switched on or off since")]
    Checksums,
    /// It ended after the new one began.
    #[error("it ends at {finish}, after the start of the new backup at {start}")]
    InTheFuture {
        /// Where it ends.
        finish: Lsn,
        /// Where the new one starts.
        start: Lsn,
    },
}

impl Unfit {
    /// Whether wal-g, too, takes a full backup for this reason, whoever chose the parent.
    fn is_routine(&self) -> bool {
        matches!(
            self,
            Unfit::MaxSteps(_)
                | Unfit::NoStartLsn
                | Unfit::NoMetadata
                | Unfit::Permanent
                | Unfit::NoFiles
                | Unfit::Remote
        )
    }
}

/// Chooses the parent of a new backup of `server`; `None` when it has to be a full one. The reason is logged.
pub(super) async fn choose(
    ctx: &Context,
    rules: &ParentRules,
    is_permanent: bool,
    cluster: Cluster<'_>,
    control: &ControlFile,
) -> Result<Option<Parent>, Error> {
    let name = match choose_backup(ctx, &rules.from).await {
        Ok(name) => name,
        Err(
            Error::Catalog(catalog::walg::Error::NoBackups { .. }) | Error::Request(RequestError::NoUserData),
        ) => {
            tracing::info!("Couldn't find previous backup. Doing full backup.");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let asked_for = match rules.from {
        BackupChoice::Latest => AskedFor::ByDefault,
        BackupChoice::Name(_) | BackupChoice::UserData(_) => AskedFor::ByName,
    };
    let candidate = match Candidate::read(ctx, name).await? {
        Ok(candidate) => candidate,
        Err(unfit) => return refuse(name, asked_for, unfit),
    };
    let server = cluster.identity;
    let history = history(ctx, cluster.data_dir, server.timeline).await?;
    let requirements =
        Requirements { rules, is_permanent, system_identifier: server.system_identifier, history: &history };
    let fit = match candidate.examine(&requirements) {
        Ok(fit) => fit,
        Err(unfit) => {
            if let Unfit::OtherCluster { finish, .. } = unfit {
                let current = cluster.session.current_wal_lsn().await?;
                if finish > current {
                    return Err(RequestError::OtherClusterAhead { name, finish, current }.into());
                }
            }
            return refuse(name, asked_for, unfit);
        }
    };
    let files = match read_files(ctx, &fit.backup).await? {
        Ok(files) => files,
        Err(unfit) => return refuse(fit.backup.name, asked_for, unfit),
    };
    if let Some(unfit) = compare_control(ctx, fit.backup.name, control).await? {
        return refuse(fit.backup.name, asked_for, unfit);
    }
    tracing::info!("Delta backup from {} with LSN {}.", fit.backup.name, fit.start_lsn);
    Ok(Some(Parent {
        backup: fit.backup,
        start_lsn: fit.start_lsn,
        files,
        history,
        count: fit.count,
        asked_for,
    }))
}

/// A full backup with the reason in the log, or an error.
fn refuse<T>(name: BackupName, asked_for: AskedFor, unfit: Unfit) -> Result<Option<T>, Error> {
    if unfit.is_routine() {
        tracing::info!("Doing full backup: no delta from {name}, {unfit}");
        return Ok(None);
    }
    match asked_for {
        AskedFor::ByName => Err(RequestError::Parent { name, unfit: Box::new(unfit) }.into()),
        AskedFor::ByDefault => {
            tracing::warn!("Doing full backup: no delta from {name}, {unfit}");
            Ok(None)
        }
    }
}

impl Parent {
    /// The parent, if it had ended before the new backup started at `start`. wal-g fails here always.
    pub fn ended_before(self, start: Lsn) -> Result<Option<Parent>, Error> {
        match self.backup.finish_lsn {
            Some(finish) if finish > start => {
                refuse(self.backup.name, self.asked_for, Unfit::InTheFuture { finish, start })
            }
            _ => Ok(Some(self)),
        }
    }

    /// What the new backup says of where it comes from.
    pub fn origin(&self, source: Source) -> DeltaOrigin {
        DeltaOrigin {
            parent: self.backup.name,
            full: self.backup.delta.as_ref().map_or(self.backup.name, |delta| delta.full),
            count: self.count,
            lsn: self.start_lsn,
            source: Some(source.to_string()),
        }
    }
}

/// A backup that may become the parent.
struct Candidate {
    /// It and what it builds on, the full backup first.
    chain: Vec<Backup>,
    has_metadata: bool,
}

/// What the parent has to fit.
struct Requirements<'a> {
    rules: &'a ParentRules,
    is_permanent: bool,
    system_identifier: SystemIdentifier,
    history: &'a TimelineHistory,
}

/// A candidate that fits, or what it builds on.
#[derive(Debug)]
struct Fit {
    backup: Backup,
    start_lsn: Lsn,
    count: u32,
}

impl Candidate {
    async fn read(ctx: &Context, name: BackupName) -> Result<Result<Candidate, Unfit>, Error> {
        let storage = ctx.storage.as_ref();
        let has_metadata = match catalog::walg::metadata(storage, name).await {
            Ok(metadata) => metadata.is_some(),
            Err(catalog::walg::Error::Document { .. }) => return Ok(Err(Unfit::NoMetadata)),
            Err(error) => return Err(error.into()),
        };
        let chain = match catalog::walg::chain(storage, name).await {
            Ok(chain) => chain,
            Err(error @ (catalog::walg::Error::Storage(_) | catalog::walg::Error::NoSuchBackup { .. })) => {
                return Err(error.into());
            }
            Err(error) => return Ok(Err(Unfit::Chain(error))),
        };
        for delta in chain.iter().filter(|backup| backup.delta.is_some()) {
            let key = names::files_metadata_key(delta.name);
            if storage.head(&key).await?.is_none() {
                let missing = catalog::walg::Error::MissingDocument { name: delta.name, key };
                return Ok(Err(Unfit::Chain(missing)));
            }
        }
        Ok(Ok(Candidate { chain, has_metadata }))
    }

    /// Whether a delta can build on the candidate, or on its full backup where that is asked for.
    fn examine(mut self, requirements: &Requirements<'_>) -> Result<Fit, Unfit> {
        let rules = requirements.rules;
        let Some(newest) = self.chain.last() else { return Err(Unfit::NoStartLsn) };
        let count = newest.delta.as_ref().map_or(0, |delta| delta.count).saturating_add(1);
        if count > rules.max_steps {
            return Err(Unfit::MaxSteps(rules.max_steps));
        }
        if newest.start_lsn.is_none() {
            return Err(Unfit::NoStartLsn);
        }
        if !self.has_metadata {
            return Err(Unfit::NoMetadata);
        }
        if newest.is_permanent && !requirements.is_permanent && rules.origin == Origin::Latest {
            return Err(Unfit::Permanent);
        }
        let position = match rules.origin {
            Origin::Latest => self.chain.len() - 1,
            Origin::LatestFull => 0,
        };
        let backup = self.chain.swap_remove(position);
        let (Some(start_lsn), Some(finish_lsn)) = (backup.start_lsn, backup.finish_lsn) else {
            return Err(Unfit::NoStartLsn);
        };
        if backup.system_identifier != Some(requirements.system_identifier) {
            let cluster = requirements.system_identifier;
            return Err(Unfit::OtherCluster { cluster, finish: finish_lsn });
        }
        let timeline = backup.name.segment().timeline();
        if !lies_on(requirements.history, timeline, start_lsn, finish_lsn) {
            return Err(Unfit::NotInHistory(requirements.history.timeline()));
        }
        Ok(Fit { backup, start_lsn, count })
    }
}

/// Whether all WAL from `start` to `finish` was written on `timeline` as this history knows it.
fn lies_on(history: &TimelineHistory, timeline: TimelineId, start: Lsn, finish: Lsn) -> bool {
    let ends_before = history.switch_point(timeline).is_none_or(|switch| finish <= switch);
    history.timeline_at(start) == timeline && ends_before
}

async fn read_files(
    ctx: &Context,
    backup: &Backup,
) -> Result<Result<HashMap<String, Timestamp>, Unfit>, Error> {
    let storage = ctx.storage.as_ref();
    let list = async {
        let checksums = catalog::walg::checksums(storage, backup).await?;
        catalog::walg::files_metadata(storage, backup.name, checksums.as_ref()).await
    };
    let files = match list.await {
        Ok(metadata) => metadata.files,
        Err(catalog::walg::Error::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(Err(Unfit::NoFiles)),
    };
    Ok(match files.is_empty() {
        true => Err(Unfit::NoFiles),
        false if files.keys().all(|name| name.starts_with('/')) => {
            Ok(files.into_iter().map(|(name, file)| (name, file.mtime)).collect())
        }
        false => Err(Unfit::Remote),
    })
}

/// What the parent's control file says against it; an error only where the storage cannot be asked.
async fn compare_control(
    ctx: &Context,
    name: BackupName,
    control: &ControlFile,
) -> Result<Option<Unfit>, Error> {
    Ok(match control_file::of_backup(ctx, name).await {
        Ok(Some(of_parent)) if of_parent.data_checksum_version == control.data_checksum_version => None,
        Ok(Some(_)) => Some(Unfit::Checksums),
        Ok(None) => Some(Unfit::NoControl),
        Err(error) if error.class() == Class::Integrity => Some(Unfit::Control(Box::new(error))),
        Err(error) => return Err(error),
    })
}

/// The history of the server's timeline: from the server's own file, else from the archive.
async fn history(ctx: &Context, data_dir: &Path, timeline: TimelineId) -> Result<TimelineHistory, Error> {
    let path = data_dir.join("pg_wal").join(WalFileName::History(timeline).to_string());
    match fs::read(&path) {
        Ok(content) => TimelineHistory::parse(timeline, &content)
            .map_err(|error| Error::file("read", &path)(io::Error::new(io::ErrorKind::InvalidData, error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let archived = match timeline {
                TimelineId::FIRST => None,
                _ => wal_archive::history(ctx, timeline).await?,
            };
            Ok(archived.unwrap_or_else(|| TimelineHistory::without_ancestors(timeline)))
        }
        Err(error) => Err(Error::file("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Checksum;
    use crate::codec::Method;
    use crate::layout::walg::names::TarName;
    use crate::layout::walg::{Checksums, WalG, names};
    use crate::ops::context;
    use crate::storage::memory::Memory;

    const CLUSTER: SystemIdentifier = SystemIdentifier::new(7);

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    /// Timeline 3 comes from 2, which was left at 0/5000000, and 2 from 1, left at 0/3000000.
    fn history_of_three() -> TimelineHistory {
        TimelineHistory::parse(timeline(3), b"1\t0/3000000\tx\n2\t0/5000000\tx\n").unwrap()
    }

    fn full(name: &str, start: u64) -> Backup {
        Backup {
            finish_lsn: Some(Lsn::new(start + 0x100)),
            system_identifier: Some(CLUSTER),
            ..Backup::for_test(name.parse().unwrap(), Lsn::new(start))
        }
    }

    /// A full backup and a delta on it, both on timeline 3.
    fn chain() -> Vec<Backup> {
        let root = full("base_000000030000000000000006", 0x600_0028);
        let delta = Backup {
            delta: Some(DeltaOrigin {
                parent: root.name,
                full: root.name,
                count: 1,
                lsn: root.start_lsn.unwrap(),
                source: None,
            }),
            ..full("base_000000030000000000000008_D_000000030000000000000006", 0x800_0028)
        };
        vec![root, delta]
    }

    fn rules(max_steps: u32, origin: Origin) -> ParentRules {
        ParentRules { max_steps, from: BackupChoice::Latest, origin }
    }

    fn examine(chain: Vec<Backup>, rules: &ParentRules, is_permanent: bool) -> Result<(String, u32), String> {
        let history = history_of_three();
        let requirements =
            Requirements { rules, is_permanent, system_identifier: CLUSTER, history: &history };
        let candidate = Candidate { chain, has_metadata: true };
        candidate
            .examine(&requirements)
            .map(|fit| (fit.backup.name.to_string(), fit.count))
            .map_err(|unfit| unfit.to_string())
    }

    /// As in a restore: the record of a backup that wal-g replaced under the same name says nothing against the new one.
    #[tokio::test]
    async fn a_record_of_another_backup_spoils_no_list() {
        let memory = Memory::new();
        let ctx = context(&memory, &WalG);
        let backup = full("base_000000030000000000000006", 0x600_0028);
        let files = names::files_metadata_key(backup.name);
        let list = r#"{"Files":{"/PG_VERSION":{"IsIncremented":false,"IsSkipped":false,"MTime":"2026-11-21T02:34:08Z"}}}"#;
        memory.set(&files, list);
        let mut record = Checksums::default();
        record.add(backup.name, &files, Checksum::of(b"another list"));
        record.add(
            backup.name,
            &names::tar_key(backup.name, TarName::Control, Method::Lz4),
            Checksum::of(b"abc"),
        );
        memory.set(&names::checksums_key(backup.name), record.to_json().unwrap());
        for (stored, is_usable) in [(3, false), (4, true)] {
            let backup = Backup { compressed_size: stored, ..backup.clone() };
            assert_eq!(read_files(&ctx, &backup).await.unwrap().is_ok(), is_usable, "{stored}");
        }
    }

    #[test]
    fn the_last_of_the_chain_or_its_root() {
        let [root, delta] = [0, 1].map(|position| chain()[position].name.to_string());
        assert_eq!(examine(chain(), &rules(2, Origin::Latest), false), Ok((delta, 2)));
        assert_eq!(examine(chain(), &rules(2, Origin::LatestFull), false), Ok((root.clone(), 2)));
        assert_eq!(examine(chain()[..1].to_vec(), &rules(1, Origin::Latest), false), Ok((root, 1)));
        for origin in [Origin::Latest, Origin::LatestFull] {
            let refused = examine(chain(), &rules(1, origin), false);
            assert_eq!(refused, Err("reached max delta steps (1)".to_owned()), "{origin:?}");
        }
    }

    #[test]
    fn permanent_parents_have_permanent_children() {
        let mut chain = chain();
        chain[1].is_permanent = true;
        let examine = |origin, is_permanent| examine(chain.clone(), &rules(9, origin), is_permanent).is_ok();
        assert!(!examine(Origin::Latest, false));
        assert!(examine(Origin::Latest, true));
        assert!(examine(Origin::LatestFull, false), "as wal-g does it");
    }

    #[test]
    fn parents_that_do_not_fit() {
        let change = |change: &dyn Fn(&mut Backup)| {
            let mut chain = chain();
            change(&mut chain[1]);
            examine(chain, &rules(9, Origin::Latest), false).unwrap_err()
        };
        let no_start = "it has no start LSN";
        assert_eq!(change(&|backup| backup.start_lsn = None), no_start);
        assert_eq!(change(&|backup| backup.finish_lsn = None), no_start);
        let other = "it is not of the cluster with system identifier 7";
        assert_eq!(change(&|backup| backup.system_identifier = Some(SystemIdentifier::new(8))), other);
        assert_eq!(change(&|backup| backup.system_identifier = None), other);
        let diverged = "it is not in the history of timeline 3";
        assert_eq!(
            change(&|backup| backup.name = "base_000000020000000000000008".parse().unwrap()),
            diverged
        );
        assert_eq!(
            change(&|backup| backup.name = "base_000000040000000000000008".parse().unwrap()),
            diverged
        );
    }

    #[test]
    fn no_metadata() {
        let history = history_of_three();
        let rules = rules(9, Origin::Latest);
        let requirements = Requirements {
            rules: &rules,
            is_permanent: false,
            system_identifier: CLUSTER,
            history: &history,
        };
        let candidate = Candidate { chain: chain(), has_metadata: false };
        assert!(matches!(candidate.examine(&requirements), Err(Unfit::NoMetadata)));
    }

    #[test]
    fn timelines() {
        let history = history_of_three();
        for (number, start, finish, expected) in [
            (1, "0/2000028", "0/2000100", true),
            (1, "0/2000028", "0/3000000", true),
            (1, "0/2000028", "0/3000001", false),
            (1, "0/3000000", "0/3000000", false),
            (2, "0/3000000", "0/5000000", true),
            (2, "0/2000028", "0/4000000", false),
            (3, "0/5000000", "F/0", true),
            (3, "0/4FFFFFF", "F/0", false),
            (4, "0/6000000", "0/6000100", false),
        ] {
            let lies = lies_on(&history, timeline(number), start.parse().unwrap(), finish.parse().unwrap());
            assert_eq!(lies, expected, "{number} {start} {finish}");
        }
    }

    #[test]
    fn only_a_named_parent_that_wal_g_would_take_is_an_error() {
        let name = chain()[0].name;
        for (unfit, by_name) in [
            (Unfit::MaxSteps(1), "full"),
            (Unfit::NoStartLsn, "full"),
            (Unfit::NoMetadata, "full"),
            (Unfit::Permanent, "full"),
            (Unfit::NoFiles, "full"),
            (Unfit::Remote, "full"),
            (Unfit::OtherCluster { cluster: CLUSTER, finish: Lsn::new(1) }, "error"),
            (Unfit::NotInHistory(timeline(3)), "error"),
            (Unfit::NoControl, "error"),
            (Unfit::Checksums, "error"),
            (Unfit::InTheFuture { finish: Lsn::new(2), start: Lsn::new(1) }, "error"),
            (Unfit::Chain(catalog::walg::Error::EndlessChain { name }), "error"),
        ] {
            let text = unfit.to_string();
            let refused = match refuse::<()>(name, AskedFor::ByName, unfit) {
                Ok(_) => "full",
                Err(_) => "error",
            };
            assert_eq!(refused, by_name, "{text}");
        }
        let unfit = Unfit::NotInHistory(timeline(3));
        assert!(refuse::<()>(name, AskedFor::ByDefault, unfit).unwrap().is_none());
    }
}
