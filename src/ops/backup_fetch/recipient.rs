//! Whose the restored files are.
//!
//! They belong to whoever restores them. Only root can give them away, and has to: PostgreSQL starts on no directory of
//! root's. So root gives everything to the owner that `pg_control` has in the backup: by name where this machine knows
//! the name, else by number, as tar and so barman-cloud-restore do.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{fchown, lchown};
use std::path::Path;

use nix::unistd::{Group, Uid, User};

use crate::tarball::Owner;

/// The numbers of a user and a group of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recipient {
    uid: u32,
    gid: u32,
}

impl Recipient {
    /// `None` when the files stay with whoever restores them.
    pub fn of(owner: &Owner) -> Option<Recipient> {
        Uid::effective().is_root().then(|| Recipient {
            uid: user_called(&owner.user).unwrap_or(owner.uid),
            gid: group_called(&owner.group).unwrap_or(owner.gid),
        })
    }

    /// Gives a directory away with all that is in it. A symbolic link goes, what it leads to does not.
    pub fn give(self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => self.give(&entry.path())?,
                false => self.give_one(&entry.path())?,
            }
        }
        self.give_one(directory)
    }

    /// Gives a file away under whatever name it has.
    pub fn give_open(self, file: &File) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))
    }

    fn give_one(self, path: &Path) -> io::Result<()> {
        lchown(path, Some(self.uid), Some(self.gid))
    }
}

fn user_called(name: &str) -> Option<u32> {
    let user = (!name.is_empty()).then(|| User::from_name(name).ok().flatten()).flatten();
    user.map(|user| user.uid.as_raw())
}

fn group_called(name: &str) -> Option<u32> {
    let group = (!name.is_empty()).then(|| Group::from_name(name).ok().flatten()).flatten();
    group.map(|group| group.gid.as_raw())
}
