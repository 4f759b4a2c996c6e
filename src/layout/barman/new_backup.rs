//! A backup that is being taken, in barman-cloud's layout.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::codec::Method;
use crate::layout::Name;
use crate::layout::new_backup::{
    Beginning, Document, EncodeError, Group, LabelFile, NewBackup as Taking, Taken, Tar,
};
use crate::pg::Oid;
use crate::pg::data_dir::{Member, MemberKind};
use crate::pg::server_settings::ServerSettings;
use crate::pg::session::StoppedBackup;
use crate::storage::{Key, Prefix};

use super::names::{self, Stem, TarName};
use super::{BackupId, BackupInfo, BackupTime, Literal, SERVER_NAME, Status, Tablespace};

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
    /// The zone in which times are shown.
    pub zone: TimeZone,
}

impl NewBackup {
    /// What the server is told for a label.
    pub fn label(id: BackupId) -> String {
        format!("Barman backup cloud {id}")
    }

    /// What is known from the beginning on.
    fn info(&self, status: Status) -> BackupInfo {
        let (server, settings) = (&self.beginning.server, &self.settings);
        let mut info = BackupInfo {
            begin_time: Some(self.time(self.beginning.time)),
            cluster_size: settings.cluster_size,
            config_file: settings.config_file.clone(),
            data_checksums: settings.data_checksums.clone(),
            hba_file: settings.hba_file.clone(),
            ident_file: settings.ident_file.clone(),
            included_files: (!settings.included_files.is_empty()).then(|| settings.included_files.clone()),
            pgdata: Some(server.data_directory.display().to_string()),
            server_name: Some(SERVER_NAME.to_owned()),
            status,
            summarize_wal: settings.summarize_wal.clone(),
            systemid: Some(server.system_identifier),
            version: Some(server.version),
            xlog_segment_size: server.segment_size,
            ..BackupInfo::default()
        };
        info.set_begin(server.timeline, self.beginning.started.lsn);
        info
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

    fn time(&self, at: Timestamp) -> BackupTime {
        BackupTime::new(at, self.zone.to_offset(at))
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
        info.end_time = Some(self.time(taken.finish_time));
        info.set_end(self.beginning.server.timeline, taken.stopped.lsn);
        let took = taken.finish_time.duration_since(self.beginning.time).as_secs_f64();
        // To the microsecond, as Python has it. barman's times of each tar are nobody's who reads it.
        let took = (took * 1e6).round() / 1e6;
        let stat = |name: &str, value| (Literal::Str(name.to_owned()), value);
        info.copy_stats = Some(Literal::Dict(vec![
            stat("total_time", Literal::Float(took)),
            stat("analysis_time", Literal::Int(0)),
            stat("copy_time", Literal::Float(took)),
        ]));
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
        let reason = reason.lines().next().unwrap_or_default();
        info.error = Some(format!("failure uploading data ({reason})"));
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
