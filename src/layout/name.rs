//! The name of a backup in whatever layout, for those who only tell or compare it.

use std::fmt;

use super::barman::BackupId;
use super::walg::BackupName;

/// The name of a backup as its layout spells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl From<BackupName> for Name {
    fn from(name: BackupName) -> Name {
        Name(name.to_string().into())
    }
}

impl From<BackupId> for Name {
    fn from(id: BackupId) -> Name {
        Name(id.to_string().into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
