//! What a restore takes from where.
//!
//! A plan is made of the documents of a backup and of a list of its tars, before anything is written: whatever is
//! missing is collected on the way, and is one error at the end. Each layout has its own way to a plan; what follows
//! from it is the same for all.

mod barman;
mod walg;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::checksum::Checksum;
use crate::codec::{Cipher, Method};
use crate::layout::Name;
use crate::pg::SystemIdentifier;
use crate::storage::{Key, Prefix};

pub use barman::MovedTablespace;

use super::incomplete::{Incomplete, Missing};
use super::shared_files::{Holder, SharedFiles};

/// A restore that can begin: everything that the backup's documents name is there.
#[derive(Debug)]
pub struct Plan {
    /// The backup to restore.
    pub(super) backup: Source,
    /// The cluster that it is of, as far as its documents say.
    pub(super) cluster: Option<SystemIdentifier>,
    /// Where its tablespaces go, by OID.
    pub(super) tablespaces: BTreeMap<String, PathBuf>,
    /// Whether `tablespace_map` is restored. With it the server would link the tablespaces to where they were.
    pub(super) takes_tablespace_map: bool,
    /// Tars of data, newest backup first. They are extracted several at once and have to be *started* in this order.
    ///
    /// Then no wait for a newer holder of a file ([`SharedFiles::wait`]) is for ever. Of the tars that are not done,
    /// the first of the list is under way, because those behind it are started later and those before it are done; it
    /// keeps its place while its object is opened, opened once more, or waited for. It waits for nobody: all tars of
    /// newer backups lie before it, so they are done, and when the last tar of a backup is done, each of its shared
    /// files was met ([`Level::tar_done`]). So the first can always be done, then the next.
    pub(super) tars: Vec<Tar>,
    /// Tars to be extracted when all others are done: they may replace what is in those.
    pub(super) tails: Vec<Tar>,
    /// The backups, newest first.
    pub(super) levels: Vec<Arc<Level>>,
    /// The files that several backups hold.
    pub(super) shared: SharedFiles,
}

/// A backup, as messages tell it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub name: Name,
    /// Where its tars are.
    pub folder: Prefix,
}

/// One backup of those that are restored together.
#[derive(Debug)]
pub(super) struct Level {
    pub source: Source,
    /// Whether it is the backup to restore: its directories, links, labels and `pg_control` count.
    pub is_newest: bool,
    pub wanted: Wanted,
    /// Tars of data not done yet.
    tars_left: AtomicUsize,
}

impl Level {
    /// One of its tars of data is done. When it was the last one, every file that older backups hold too has been met:
    /// else they would wait for it for ever.
    pub fn tar_done(&self) -> Result<(), Incomplete> {
        match self.tars_left.fetch_sub(1, Ordering::AcqRel) {
            1 => self.all_met(Form::is_shared),
            _ => Ok(()),
        }
    }

    /// All of its tars are done, so every wanted file has been met.
    pub fn done(&self) -> Result<(), Incomplete> {
        self.all_met(|_| true)
    }

    fn all_met(&self, which: impl Fn(Form) -> bool) -> Result<(), Incomplete> {
        let (Wanted::Everything { listed: files, .. } | Wanted::Files(files)) = &self.wanted;
        let unmet = files.iter().filter(|(_, file)| which(file.form) && !file.met.load(Ordering::Acquire));
        match sorted(unmet.map(|(name, _)| &**name)) {
            files if files.is_empty() => Ok(()),
            files => {
                let Source { name, folder } = self.source.clone();
                Err(Incomplete { backup: name, missing: vec![Missing::Held { folder, files }] })
            }
        }
    }
}

/// A tar to extract.
#[derive(Debug)]
pub(super) struct Tar {
    pub key: Key,
    pub method: Method,
    /// What was stored, if the backup says so.
    pub recorded: Option<Checksum>,
    /// Whether it is one of [`Plan::tails`].
    pub is_tail: bool,
    /// What its members are relative to, below the data directory: empty for that itself.
    pub below: PathBuf,
    /// Of two tars that have the same file, the one with the greater number counts.
    pub order: usize,
    /// The backup that it is of.
    pub level: Arc<Level>,
}

impl Tar {
    /// Whether it would be found out that it had been cut between two members, if the mark of its end did not tell:
    /// the last tars of wal-g's remote backups have none.
    pub fn is_whole_without_mark(&self, cipher: &Cipher) -> bool {
        self.is_tail
            || self.recorded.is_some()
            || self.method.has_end()
            || cipher.has_end()
            || self.level.wanted.names_all()
    }
}

/// Which files of a backup are wanted.
#[derive(Debug)]
pub(super) enum Wanted {
    /// All of them, whole.
    Everything {
        /// Those that have to be among them, without a leading slash.
        listed: HashMap<Arc<str>, WantedFile>,
        /// Whether those are all that the backup has, as far as its own list tells.
        is_all: bool,
    },
    /// Those named, without a leading slash.
    Files(HashMap<Arc<str>, WantedFile>),
}

/// A data directory without it is none (`ValidatePgVersion`). Where no list tells what a backup holds, it has to hold this.
const PG_VERSION: &str = "PG_VERSION";

/// A file that one of the backup's tars has to hold.
#[derive(Debug)]
pub(super) struct WantedFile {
    form: Form,
    /// Whether a tar held it.
    met: AtomicBool,
}

impl WantedFile {
    fn new(form: Form) -> WantedFile {
        WantedFile { form, met: AtomicBool::new(false) }
    }
}

/// How a backup holds a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Its content, and no other backup is needed for it.
    Whole,
    /// Its content, of which newer backups replace pages.
    Base(Holder),
    /// The pages that changed since the parent.
    Increment(Holder),
}

impl Form {
    /// Whether another backup holds something of the file too.
    pub fn is_shared(self) -> bool {
        self != Form::Whole
    }
}

impl Wanted {
    /// All files of a backup, which has to hold those that it lists.
    fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Wanted {
        let file = |name| (Arc::from(name), WantedFile::new(Form::Whole));
        Wanted::Everything { listed: names.map(file).collect(), is_all: true }
    }

    /// All files of a backup that has no list.
    fn unlisted() -> Wanted {
        let version = (Arc::from(PG_VERSION), WantedFile::new(Form::Whole));
        Wanted::Everything { listed: HashMap::from([version]), is_all: false }
    }

    /// Whether each file that is wanted is named, so that none can be lost without a word.
    fn names_all(&self) -> bool {
        match self {
            Wanted::Everything { is_all, .. } => *is_all,
            Wanted::Files(_) => true,
        }
    }

    /// How the member with this checked relative path is wanted. It counts as met.
    pub fn meet(&self, path: &Path) -> Option<Form> {
        let (Wanted::Everything { listed: files, .. } | Wanted::Files(files)) = self;
        let file = path.to_str().and_then(|path| files.get(path));
        if let Some(file) = file {
            file.met.store(true, Ordering::Release);
        }
        match self {
            Wanted::Everything { .. } => Some(Form::Whole),
            Wanted::Files(_) => file.map(|file| file.form),
        }
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names
}
