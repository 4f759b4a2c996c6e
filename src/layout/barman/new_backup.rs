//! A backup that is being taken, in barman-cloud's layout.

use std::path::PathBuf;

use jiff::Zoned;

use crate::codec::Method;
use crate::layout::Name;
use crate::layout::new_backup::{
    Beginning, Document, EncodeError, Group, LabelFile, NewBackup as Taking, Taken, Tar,
};
use crate::pg::Oid;
use crate::pg::data_dir::{Member, MemberKind};
use crate::pg::server_settings::ServerSettings;
use crate::pg::session::{ServerIdentity, StoppedBackup};
use crate::storage::{Key, Prefix};

use super::names::{self, Stem, TarName};
use super::{BackupId, BackupInfo, BackupTime, SERVER_NAME, Status, Tablespace, copy_stats};

/// A backup that is being taken.
#[derive(Debug)]
pub struct NewBackup {
    /// Its id.
    pub id: BackupId,
    /// The name that the user gives it.
    pub backup_name: Option<String>,
    /// How it began.
    pub beginning: Beginning,
    /// The server's settings.
    pub settings: ServerSettings,
    /// What its data lie in.
    pub data: Data,
}

/// What the data of a backup lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Tars beside its description.
    Tars,
    /// Snapshots of volumes. Such a backup is described with the name of its server.
    Snapshots {
        /// The server.
        server_name: String,
    },
}

impl Data {
    /// What a backup of such data names as its server.
    pub fn server_name(&self) -> &str {
        match self {
            Data::Tars => SERVER_NAME,
            Data::Snapshots { server_name } => server_name,
        }
    }
}

impl NewBackup {
    /// What the server is told for a label.
    pub fn label(server_name: &str, id: BackupId) -> String {
        format!("Barman backup {server_name} {id}")
    }

    /// What is known from the beginning on.
    fn info(&self, status: Status) -> BackupInfo {
        let Beginning { server, started, .. } = &self.beginning;
        let mut info = of_server(self.data.server_name(), server, &self.settings, status);
        info.begin_time = Some(time(&started.time));
        info.set_begin(server.timeline, started.lsn);
        info
    }

    /// The document of a backup that the server did not even start: it has neither begin nor end.
    pub fn not_started(
        id: BackupId,
        backup_name: Option<String>,
        data: &Data,
        server: &ServerIdentity,
        settings: &ServerSettings,
        reason: &str,
    ) -> Document {
        let mut info = of_server(data.server_name(), server, settings, Status::Failed);
        info.backup_name = backup_name;
        info.error = Some(error(reason));
        Document { key: names::backup_info_key(id), body: info.to_string().into() }
    }

    /// Files that the configuration includes from outside of the data directory: they are in no backup.
    pub fn included_elsewhere(&self) -> Vec<PathBuf> {
        self.outside(self.settings.included_files.iter())
    }

    /// Those outside of the data directory.
    fn outside<'a>(&self, files: impl Iterator<Item = &'a String>) -> Vec<PathBuf> {
        let (server, resolved) = (&self.beginning.server.data_directory, &self.beginning.data_dir);
        let files = files.map(PathBuf::from);
        files.filter(|file| !file.starts_with(server) && !file.starts_with(resolved)).collect()
    }

    fn document(&self, info: &BackupInfo) -> Document {
        Document { key: self.marker(), body: info.to_string().into() }
    }
}

impl Taking for NewBackup {
    fn name(&self) -> Name {
        self.id.into()
    }

    fn folder(&self) -> Prefix {
        names::backup_prefix(self.id)
    }

    fn marker(&self) -> Key {
        names::backup_info_key(self.id)
    }

    fn is_complete(&self, marker: &[u8]) -> bool {
        BackupInfo::says_done(marker)
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

    /// The configuration files, which Debian keeps in a place of their own.
    fn outside_files(&self) -> Vec<PathBuf> {
        let ServerSettings { config_file, hba_file, ident_file, .. } = &self.settings;
        self.outside([config_file, hba_file, ident_file].into_iter().flatten())
    }

    fn labels(&self, stopped: &StoppedBackup) -> Vec<LabelFile> {
        // Readable for all, since it belongs to nobody. Tablespaces are linked by the restore, not by a map.
        let content = stopped.label.clone().into_bytes();
        vec![LabelFile { name: "backup_label", mode: 0o644, content }]
    }

    fn opening(&self) -> Option<Document> {
        Some(self.document(&self.info(Status::Started)))
    }

    fn documents(&self, taken: &Taken<'_>) -> Result<Vec<Document>, EncodeError> {
        let mut info = self.info(Status::Done);
        info.backup_label = Some(taken.stopped.label.clone());
        info.backup_name = self.backup_name.clone();
        info.end_time = Some(time(&taken.stopped.time));
        info.set_end(self.beginning.server.timeline, taken.stopped.lsn);
        if let Some(snapshots) = taken.snapshots {
            info.copy_stats = Some(copy_stats::of_snapshots(self.beginning.time, taken.finish_time));
            info.snapshots_info = Some(snapshots.literal());
            let body = taken.stopped.label.clone().into();
            let label = Document { key: names::backup_label_key(self.id), body };
            return Ok(vec![label, self.document(&info)]);
        }
        info.copy_stats = Some(copy_stats::of(self.beginning.time, taken));
        info.tablespaces = taken
            .tablespaces
            .iter()
            .map(|tablespace| Tablespace {
                name: self
                    .settings
                    .tablespaces
                    .get(&tablespace.oid)
                    .cloned()
                    .unwrap_or_else(|| tablespace.oid.to_string()),
                oid: tablespace.oid,
                location: tablespace.target.display().to_string(),
            })
            .collect();
        Ok(vec![self.document(&info)])
    }

    /// It has no end, by which CloudNativePG tells that it cannot be used.
    fn failure(&self, reason: &str) -> Option<Document> {
        let mut info = self.info(Status::Failed);
        info.error = Some(error(reason));
        info.backup_name = self.backup_name.clone();
        Some(self.document(&info))
    }

    fn restore_point(&self) -> Option<String> {
        Some(format!("barman_{}", self.id))
    }

    fn remains_go_by(&self) -> &'static str {
        "delete the backup"
    }
}

/// What a server says of itself, and with it a backup of it.
fn of_server(
    server_name: &str,
    server: &ServerIdentity,
    settings: &ServerSettings,
    status: Status,
) -> BackupInfo {
    let tablespaces = settings.tablespace_locations.iter().filter_map(|(oid, location)| {
        let name = settings.tablespaces.get(oid)?.clone();
        Some(Tablespace { name, oid: *oid, location: location.clone() })
    });
    BackupInfo {
        cluster_size: settings.cluster_size,
        config_file: settings.config_file.clone(),
        data_checksums: settings.data_checksums.clone(),
        hba_file: settings.hba_file.clone(),
        ident_file: settings.ident_file.clone(),
        included_files: (!settings.included_files.is_empty()).then(|| settings.included_files.clone()),
        pgdata: Some(server.data_directory.display().to_string()),
        server_name: Some(server_name.to_owned()),
        status,
        summarize_wal: settings.summarize_wal.clone(),
        systemid: Some(server.system_identifier),
        tablespaces: tablespaces.collect(),
        version: Some(server.version),
        xlog_segment_size: server.segment_size,
        ..BackupInfo::default()
    }
}

/// A time in the zone of the session with the server, as barman has them.
fn time(at: &Zoned) -> BackupTime {
    BackupTime::new(at.timestamp(), at.offset())
}

/// Why a backup failed, as its description says it.
fn error(reason: &str) -> String {
    format!("failure uploading data ({})", reason.lines().next().unwrap_or_default())
}

/// What `pg_control` is called in its tar.
pub(super) const CONTROL: &str = "global/pg_control";

/// Each tablespace has tars of its own.
pub(super) fn group(tablespace: Option<Oid>) -> Group {
    tablespace.map_or(Group::Cluster, Group::Tablespace)
}

/// Where a tar of a backup is stored.
pub(super) fn tar_key(backup: BackupId, tar: Tar, method: Method) -> Key {
    let (stem, number) = match tar {
        Tar::Data(Group::Tablespace(oid), number) => (Stem::Tablespace(oid), number),
        Tar::Data(Group::Cluster, number) | Tar::Control(number) | Tar::Labels(number) => {
            (Stem::Data, number)
        }
    };
    names::tar_key(backup, TarName { stem, number }, method)
}

/// What a member is called in its tar, if it is kept: a link to a directory is not, as barman's reader may refuse it, and does
/// not need it.
pub(super) fn member_name(member: &Member) -> Option<String> {
    match &member.kind {
        MemberKind::Symlink { is_directory: true, .. } => None,
        _ => Some(usual_name(member)),
    }
}

/// As barman names members: `.`, `./PG_VERSION`, `base/5/1259`; in a tablespace's tars below the tablespace.
fn usual_name(member: &Member) -> String {
    let name = member.name.as_str().trim_start_matches('/');
    if let Some(oid) = member.tablespace {
        let own = name.strip_prefix("pg_tblspc/").and_then(|rest| rest.strip_prefix(&oid.to_string()));
        return own.unwrap_or(name).trim_start_matches('/').to_owned();
    }
    match name {
        "" => ".".to_owned(),
        _ if !name.contains('/') && member.kind != MemberKind::Directory => format!("./{name}"),
        _ => name.to_owned(),
    }
}
