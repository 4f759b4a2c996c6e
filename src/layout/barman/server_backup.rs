//! A backup that a barman server has taken, as it goes to objects: its files in tars as those of every other backup, and its
//! description as it is.
//!
//! Source: barman `cloud.py`, `CloudBackupUploaderBarman`.

use std::path::PathBuf;

use bytes::Bytes;

use crate::codec::Method;
use crate::layout::Name;
use crate::layout::new_backup::{Document, EncodeError, Group, LabelFile, NewBackup, Taken, Tar};
use crate::pg::Oid;
use crate::pg::data_dir::Member;
use crate::pg::session::StoppedBackup;
use crate::storage::{Key, Prefix};

use super::new_backup::{CONTROL, group, member_name, tar_key};
use super::{BackupId, names};

/// A backup that a barman server has taken.
#[derive(Debug, Clone)]
pub struct ServerBackup {
    /// Its id there and in the bucket.
    pub id: BackupId,
    /// Its `backup.info`, to the byte.
    pub info: Bytes,
}

impl NewBackup for ServerBackup {
    fn name(&self) -> Name {
        self.id.into()
    }

    fn folder(&self) -> Prefix {
        names::backup_prefix(self.id)
    }

    fn marker(&self) -> Key {
        names::backup_info_key(self.id)
    }

    /// The description is stored when all else is, so it is the only one that can be there.
    fn is_complete(&self, marker: &[u8]) -> bool {
        self.info == marker
    }

    fn lists_files(&self) -> bool {
        false
    }

    fn group(&self, tablespace: Option<Oid>) -> Group {
        group(tablespace)
    }

    fn member_name(&self, member: &Member) -> Option<String> {
        member_name(member)
    }

    fn control_name(&self) -> String {
        CONTROL.to_owned()
    }

    fn tar_key(&self, tar: Tar, method: Method) -> Key {
        tar_key(self.id, tar, method)
    }

    /// What barman took of them lies in the data directory.
    fn outside_files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The label lies in the data directory.
    fn labels(&self, _: &StoppedBackup) -> Vec<LabelFile> {
        Vec::new()
    }

    /// To the world the backup is there when its description says DONE, which it does from the beginning.
    fn opening(&self) -> Option<Document> {
        None
    }

    fn documents(&self, _: &Taken<'_>) -> Result<Vec<Document>, EncodeError> {
        Ok(vec![self.document()])
    }

    /// On the server it has not failed.
    fn failure(&self, _: &str) -> Option<Document> {
        None
    }

    fn restore_point(&self) -> Option<String> {
        None
    }

    fn remains_go_by(&self) -> &'static str {
        "the next upload of it will"
    }
}

impl ServerBackup {
    /// The description, which makes the backup exist.
    pub fn document(&self) -> Document {
        Document { key: self.marker(), body: self.info.clone() }
    }
}
