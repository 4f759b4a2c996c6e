//! `copy`: brings a repository of one layout into the other: WAL and base backups.
//!
//! 1. The backups of the source are listed, then its WAL: what a backup needs was archived before it was complete.
//! 2. Every archived file that the target does not have is decoded and stored anew, several at a time (`wal`).
//! 3. Every backup that the target does not have is restored into a scratch directory and stored from there, in the
//!    target's layout (`backups`). So what the target gets was restorable, and a chain of deltas becomes full backups.
//!    A backup whose WAL is not in the target by then is not copied.
//!
//! WAL goes first: a backup never appears before the WAL that it needs. The same command again copies what is new.

mod backups;
mod facts;
mod left_out;
mod wal;

use std::path::PathBuf;

use crate::catalog::barman::Annotations;
use crate::layout::Name;

use super::backup_push::Packing;
use super::ownership::{self, Claimant, TakeOver};
use super::{Context, Error, RequestError};

pub use left_out::LeftOut;

/// From which layout to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From wal-g's to barman's.
    ToBarman,
    /// From barman's to wal-g's.
    ToWalG,
}

/// How `copy` works.
#[derive(Debug, Clone)]
pub struct Options {
    /// From which layout to which.
    pub direction: Direction,
    /// The backups to copy.
    pub backups: Backups,
    /// A directory with room for the cluster; what is made there is removed.
    pub scratch: PathBuf,
    /// Files and tars read at once.
    pub downloads: usize,
    /// How the target's backups are packed.
    pub packing: Packing,
    /// From whom the target may be taken over (`SEAWALL_TAKE_OVER_FROM`).
    pub take_over: TakeOver,
}

/// Which backups to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backups {
    /// All of them.
    All,
    /// The one that the source knows by this: its name there, barman's names and words, wal-g's `LATEST`.
    Named(String),
    /// None, only WAL.
    None,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Archived files.
    pub wal_files: usize,
    /// Backups: their names in the source and in the target.
    pub backups: Vec<(Name, Name)>,
}

/// Copies what `to` does not have from `from`. Durable on return. `to` must be the same cluster's, or nobody's
/// ([`ownership`]). `annotations` are those of the side that has barman's layout.
///
/// [`RequestError::LeftOut`] when all is copied but what cannot be.
pub async fn run(
    from: &Context,
    to: &Context,
    annotations: &Annotations,
    options: &Options,
) -> Result<Copied, Error> {
    let source = backups::of_source(from, annotations, options).await?;
    let archived = wal::files(from).await?;
    let owner = match ownership::owner(from).await? {
        None => wal::cluster(from, &archived).await?,
        owner => owner,
    };
    if let Some(system_identifier) = owner {
        let claimant = Claimant { system_identifier, timeline: None };
        ownership::claim(to, claimant, options.take_over).await?;
    }
    let wal = wal::copy(from, to, archived, owner, options).await?;
    let mut left_out =
        LeftOut { wal: wal.unreadable, unrestorable: source.undescribed, ..LeftOut::default() };
    let backups = match &options.backups {
        Backups::None => Vec::new(),
        _ => {
            let copying = backups::Copying { from, to, annotations, archived: &wal.there, options };
            copying.run(source.backups, &mut left_out).await?
        }
    };
    match left_out.is_empty() {
        true => Ok(Copied { wal_files: wal.copied, backups }),
        false => Err(RequestError::from(left_out).into()),
    }
}
