//! Names and documents of a repository, without any I/O.
//!
//! There are several forms of repositories. [`Layout`] is what the operations ask of one, so that none of them knows
//! which one it works on.

pub mod barman;
mod keys;
mod name;
pub mod new_backup;
mod owner;
pub mod walg;

use std::fmt;

use crate::codec::Method;
use crate::pg::{SegmentName, SystemIdentifier, WalFileName};
use crate::storage::{Key, Prefix};

pub use name::Name;
pub use new_backup::NewBackup;
pub use owner::{InvalidOwner, Owner};

/// The form of a repository: what lies where.
pub trait Layout: fmt::Debug + Send + Sync {
    /// Where a file of `pg_wal` is archived with this compression. The caller has made sure that its name can be part
    /// of a key.
    fn wal_key(&self, file: &str, method: Method) -> Key;

    /// How to find an archived file; `first` is the compression that it most likely has.
    fn find_wal(&self, file: &str, first: Method) -> FindWal;

    /// The folder of everything archived.
    fn archive(&self) -> Prefix;

    /// What the keys of all segments begin with that have the timeline and the log file (16 digits) of this one.
    fn wal_of_log(&self, segment: SegmentName) -> Prefix;

    /// The archived file that an object is, and its compression; `None` when it is something else.
    fn archived_file(&self, key: &Key) -> Option<(WalFileName, Method)>;

    /// The archived file that an object is in a compression that we cannot read; `None` when it is something else.
    fn unreadable_file(&self, key: &Key) -> Option<WalFileName>;

    /// The folder of all backups.
    fn backups(&self) -> Prefix;

    /// The marker that belongs to an entry of that folder; `None` when the entry is none of a backup's.
    fn marker(&self, entry: Entry<'_>) -> Option<Key>;

    /// What a marker says; `None` when it cannot be read.
    fn read_marker(&self, content: &[u8]) -> Option<Marker>;
}

/// What a listing of a folder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An object.
    Object(&'a Key),
    /// A folder in it.
    Folder(&'a Prefix),
}

/// What the object says that makes a backup exist, as far as every layout has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// The cluster; old tools did not write it down.
    pub system_identifier: Option<SystemIdentifier>,
    /// Whether the backup was finished.
    pub is_complete: bool,
}

/// How to find an archived file, whatever its compression.
pub enum FindWal {
    /// It can have these names and no others.
    ByName {
        /// In the order in which to try.
        names: Vec<(Key, Method)>,
        /// A name under which an older tool kept it in a form that we cannot read.
        unreadable: Option<Key>,
    },
    /// They are listed.
    ByList {
        /// What all its names begin with: one of these.
        stems: Vec<Prefix>,
        /// Chooses the one to read among those that exist.
        choose: ChooseWal,
    },
}

/// Of the keys in a list, the one to read and its compression; `None` when none of them is the file.
pub type ChooseWal = Box<dyn Fn(Vec<Key>) -> Option<(Key, Method)> + Send + Sync>;
