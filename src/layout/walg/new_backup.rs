//! A backup that is being taken, in wal-g's layout.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::codec::Method;
use crate::layout::Name;
use crate::layout::new_backup::{
    Beginning, Document, EncodeError, Group, LabelFile, NewBackup as Taking, Taken, Tar,
};
use crate::pg::Oid;
use crate::pg::data_dir::{Member, Tablespace};
use crate::pg::session::StoppedBackup;
use crate::storage::{Key, Prefix};

use super::names::{self, TarName};
use super::{Backup, BackupName, DeltaOrigin, TablespaceSpec, go_json};

/// A backup that is being taken.
#[derive(Debug)]
pub struct NewBackup {
    /// Its name.
    pub name: BackupName,
    /// What it builds on.
    pub delta: Option<DeltaOrigin>,
    /// How it began.
    pub beginning: Beginning,
    /// Never deleted by retention.
    pub is_permanent: bool,
    /// What the user attaches.
    pub user_data: Option<Value>,
    /// Whether the list of its files is stored.
    pub with_files_metadata: bool,
}

impl Taking for NewBackup {
    fn name(&self) -> Name {
        self.name.into()
    }

    fn folder(&self) -> Prefix {
        names::backup_prefix(self.name)
    }

    fn marker(&self) -> Key {
        names::sentinel_key(self.name)
    }

    fn is_complete(&self, _: &[u8]) -> bool {
        true
    }

    fn lists_files(&self) -> bool {
        self.with_files_metadata
    }

    fn group(&self, _: Option<Oid>) -> Group {
        Group::Cluster
    }

    fn member_name(&self, member: &Member) -> Option<String> {
        Some(member.name.as_str().to_owned())
    }

    fn control_name(&self) -> String {
        "/global/pg_control".to_owned()
    }

    fn tar_key(&self, tar: Tar, method: Method) -> Key {
        let tar = match tar {
            Tar::Data(_, number) => TarName::Part(number.saturating_add(1)),
            Tar::Control(_) => TarName::Control,
            Tar::Labels(_) => TarName::Labels,
        };
        names::tar_key(self.name, tar, method)
    }

    fn outside_files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn labels(&self, stopped: &StoppedBackup) -> Vec<LabelFile> {
        [("backup_label", &stopped.label), ("tablespace_map", &stopped.tablespace_map)]
            .map(|(name, text)| LabelFile { name, mode: 0o600, content: text.clone().into_bytes() })
            .to_vec()
    }

    fn opening(&self) -> Option<Document> {
        None
    }

    fn documents(&self, taken: &Taken<'_>) -> Result<Vec<Document>, EncodeError> {
        self.backup(taken).documents(taken.files, taken.tars)
    }

    fn failure(&self, _: &str) -> Option<Document> {
        None
    }

    fn restore_point(&self) -> Option<String> {
        None
    }

    fn remains_go_by(&self) -> &'static str {
        "`delete garbage` will"
    }
}

impl NewBackup {
    fn backup(&self, taken: &Taken<'_>) -> Backup {
        let Beginning { server, data_dir, hostname, time, started, .. } = &self.beginning;
        Backup {
            name: self.name,
            delta: self.delta.clone(),
            start_lsn: Some(started.lsn),
            finish_lsn: Some(taken.stopped.lsn),
            pg_version: server.version,
            system_identifier: Some(server.system_identifier),
            start_time: *time,
            finish_time: taken.finish_time,
            hostname: hostname.clone(),
            data_dir: data_dir.clone(),
            is_permanent: self.is_permanent,
            uncompressed_size: signed(taken.data_bytes),
            compressed_size: signed(taken.stored_bytes()),
            data_catalog_size: signed(taken.cluster_bytes),
            tablespaces: self.tablespaces(taken.tablespaces),
            user_data: self.user_data.as_ref().map(go_json::with_floats),
            files_metadata_disabled: taken.files.is_none(),
        }
    }

    fn tablespaces(&self, tablespaces: &[Tablespace]) -> Option<TablespaceSpec> {
        let locations: BTreeMap<String, PathBuf> = tablespaces
            .iter()
            .map(|tablespace| (tablespace.oid.to_string(), tablespace.target.clone()))
            .collect();
        let base_prefix = self.beginning.data_dir.clone();
        (!locations.is_empty()).then_some(TablespaceSpec { base_prefix, locations })
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
