//! Tar headers of the cluster's files, with the names of their owners.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, Group, Uid, User};

use crate::pg::data_dir::Member;
use crate::tarball::Entry;

/// Names of owners, each looked up once; empty for a number without a name.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// The header of a member of the walk, under this name.
    pub fn entry(&mut self, name: String, member: &Member) -> Entry {
        Entry {
            name,
            mode: member.mode,
            uid: member.uid,
            user: self.user(member.uid),
            gid: member.gid,
            group: self.group(member.gid),
            mtime_seconds: member.mtime.as_second(),
            mtime_nanoseconds: member.mtime.subsec_nanosecond().unsigned_abs(),
        }
    }

    /// The header of a file called `name`.
    pub fn entry_of(&mut self, name: String, metadata: &Metadata) -> Entry {
        Entry {
            name,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            user: self.user(metadata.uid()),
            gid: metadata.gid(),
            group: self.group(metadata.gid()),
            mtime_seconds: metadata.mtime(),
            mtime_nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
        }
    }

    fn user(&mut self, uid: u32) -> String {
        let look_up = || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        self.users.entry(uid).or_insert_with(|| look_up().unwrap_or_default()).clone()
    }

    fn group(&mut self, gid: u32) -> String {
        let look_up = || Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name);
        self.groups.entry(gid).or_insert_with(|| look_up().unwrap_or_default()).clone()
    }
}
