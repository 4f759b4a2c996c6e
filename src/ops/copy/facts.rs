//! What the documents of a backup say, in either layout, and what the other layout makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::catalog;
use crate::catalog::barman::{Annotations, BackupEntry};
use crate::layout::Name;
use crate::layout::barman::{self, BackupId, BackupInfo, Status};
use crate::layout::new_backup::Beginning;
use crate::layout::walg::{self, Backup, BackupName, TablespaceSpec};
use crate::ops::backup_choice::BackupChoice;
use crate::ops::backup_fetch::{MovedTablespace, Plan};
use crate::ops::backup_push::StoppedCluster;
use crate::ops::error::RequestError;
use crate::ops::{Context, Error, control_file, segment_size};
use crate::pg::data_dir::Tablespace;
use crate::pg::server_settings::ServerSettings;
use crate::pg::session::{ArchiveMode, ServerIdentity, StartedBackup, StoppedBackup};
use crate::pg::{
    BackupFrom, BackupLabel, ControlFile, Lsn, Oid, PgVersion, SegmentName, SystemIdentifier, TablespaceMap,
    WalFileName, WalSegmentSize,
};
use crate::storage::Key;

use super::backups::Backups;

/// A backup of the source.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub source: Source,
    version: PgVersion,
    system_identifier: SystemIdentifier,
    start_lsn: Lsn,
    finish_lsn: Lsn,
    /// The first segment that it needs.
    begin_wal: SegmentName,
    segment_size: WalSegmentSize,
    start_time: Timestamp,
    finish_time: Timestamp,
    hostname: String,
    data_dir: PathBuf,
    tablespaces: Vec<Tablespace>,
    tablespace_names: BTreeMap<Oid, String>,
    /// Whether retention may never delete it.
    pub is_kept: bool,
}

/// Where a backup comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A repository of wal-g's layout.
    WalG(BackupName),
    /// One of barman's.
    Barman { id: BackupId, info: Box<BackupInfo> },
}

/// The backups of a repository of wal-g's layout, oldest first.
pub(super) async fn walg_backups(from: &Context) -> Result<Backups, Error> {
    let storage = from.storage.as_ref();
    let (mut backups, mut undescribed) = (Vec::new(), Vec::new());
    for entry in catalog::walg::list(storage).await? {
        match catalog::walg::describe(storage, entry.name).await {
            Ok(backup) => backups.push(backup),
            Err(error @ catalog::walg::Error::Document { .. }) => {
                tracing::warn!("{error}");
                undescribed.push(entry.name.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let name_and_start = |backup: &Backup| (backup.name, backup.start_lsn);
    let size = segment_size::of_archive(WalSegmentSize::DEFAULT, backups.iter().map(name_and_start));
    let mut known = Vec::new();
    for backup in backups {
        let name = backup.name;
        match Facts::of_walg(backup, size) {
            Some(facts) => known.push(facts),
            None => tracing::warn!("backup {name} is not copied: its sentinel says too little"),
        }
    }
    Ok(Backups { backups: known, undescribed })
}

/// The finished backups of a repository of barman's layout, oldest first.
pub(super) async fn barman_backups(from: &Context, annotations: &Annotations) -> Result<Backups, Error> {
    let catalogue = catalog::barman::list(from.storage.as_ref()).await?;
    let keeps = annotations.keeps().await?;
    let mut backups = Vec::new();
    for BackupEntry { id, info, .. } in catalogue.backups {
        match Facts::of_barman(id, info, keeps.contains_key(&id)) {
            Some(facts) => backups.push(facts),
            None => tracing::warn!("backup {id} is not copied: it was not finished"),
        }
    }
    Ok(Backups { backups, undescribed: catalogue.unreadable.into_iter().map(Name::from).collect() })
}

/// So many seconds that follow each other are not all taken: backups of one server do not begin so close together.
const IDS_TRIED: i64 = 3600;

impl Facts {
    /// `None` for a backup of a very old tool, whose documents lack what the other layout needs.
    fn of_walg(backup: Backup, segment_size: WalSegmentSize) -> Option<Facts> {
        let locations = backup.tablespaces.map(|spec| spec.locations).unwrap_or_default();
        let tablespaces = locations.into_iter();
        let tablespaces =
            tablespaces.map(|(oid, target)| Some(Tablespace { oid: Oid::parse(&oid)?, target }));
        Some(Facts {
            source: Source::WalG(backup.name),
            version: backup.pg_version,
            system_identifier: backup.system_identifier?,
            start_lsn: backup.start_lsn?,
            finish_lsn: backup.finish_lsn?,
            begin_wal: backup.name.segment(),
            segment_size,
            start_time: backup.start_time,
            finish_time: backup.finish_time,
            hostname: backup.hostname,
            data_dir: backup.data_dir,
            tablespaces: tablespaces.collect::<Option<_>>()?,
            tablespace_names: BTreeMap::new(),
            is_kept: backup.is_permanent,
        })
    }

    /// `None` for a backup that was not finished.
    fn of_barman(id: BackupId, info: BackupInfo, is_kept: bool) -> Option<Facts> {
        if info.status != Status::Done {
            return None;
        }
        let names =
            info.tablespaces.iter().map(|tablespace| (tablespace.oid, tablespace.name.clone())).collect();
        let tablespaces = info.tablespaces.iter().map(|tablespace| {
            let target = PathBuf::from(&tablespace.location);
            Tablespace { oid: tablespace.oid, target }
        });
        Some(Facts {
            source: Source::Barman { id, info: Box::new(info.clone()) },
            version: info.version?,
            system_identifier: info.systemid?,
            start_lsn: info.begin_xlog?,
            finish_lsn: info.end_xlog?,
            begin_wal: info.begin_wal?,
            segment_size: info.xlog_segment_size,
            start_time: info.begin_time?.timestamp(),
            finish_time: info.end_time?.timestamp(),
            hostname: String::new(),
            data_dir: info.pgdata.as_deref()?.into(),
            tablespaces: tablespaces.collect(),
            tablespace_names: names,
            is_kept,
        })
    }

    /// Its name in the source.
    pub fn name(&self) -> Name {
        match &self.source {
            Source::WalG(name) => (*name).into(),
            Source::Barman { id, .. } => (*id).into(),
        }
    }

    /// The first of the segments from its start to its end that is not `archived`.
    pub fn missing_wal(&self, archived: &BTreeSet<WalFileName>) -> Option<SegmentName> {
        let mut needed = self.begin_wal.until(self.finish_lsn, self.segment_size);
        needed.find(|segment| !archived.contains(&WalFileName::Segment(*segment)))
    }

    /// Plans its restore, with its tablespaces beside each other in `places`.
    pub async fn plan(&self, from: &Context, places: &Path) -> Result<Plan, Error> {
        let place = |oid: Oid| places.join(oid.to_string());
        match &self.source {
            Source::WalG(name) => {
                let locations = self.tablespaces.iter();
                let locations =
                    locations.map(|tablespace| (tablespace.oid.to_string(), place(tablespace.oid)));
                let spec =
                    TablespaceSpec { base_prefix: self.data_dir.clone(), locations: locations.collect() };
                Plan::walg(from, &BackupChoice::Name(*name), Some(&spec)).await
            }
            Source::Barman { id, info, .. } => {
                let moved = info.tablespaces.iter();
                let moved = moved.map(|tablespace| MovedTablespace {
                    name: tablespace.name.clone(),
                    location: place(tablespace.oid),
                });
                Plan::barman(from, *id, info, &moved.collect::<Vec<_>>()).await
            }
        }
    }

    /// The cluster that was restored into `place`.
    pub fn cluster(&self, place: PathBuf) -> Result<StoppedCluster, Error> {
        let control = control_file::read(&place)?.parsed;
        let label_path = place.join("backup_label");
        let text = fs::read_to_string(&label_path).map_err(Error::file("read", &label_path))?;
        let label = BackupLabel::parse(&text)
            .map_err(|source| RequestError::Label { backup: self.name(), source })?;
        let entries = self.tablespaces.iter().map(|tablespace| (tablespace.oid, tablespace.target.clone()));
        let map = TablespaceMap::new(entries.collect()).format();
        let in_recovery = label.from == BackupFrom::Standby;
        Ok(StoppedCluster {
            place,
            beginning: Beginning {
                server: self.server(&label, &control),
                data_dir: self.data_dir.clone(),
                hostname: self.hostname.clone(),
                time: self.start_time,
                started: StartedBackup {
                    lsn: self.start_lsn,
                    segment: Some(label.start_segment),
                    in_recovery,
                    time: self.start_time.to_zoned(TimeZone::system()),
                },
                segment: label.start_segment,
            },
            stopped: StoppedBackup {
                lsn: self.finish_lsn,
                label: text,
                tablespace_map: String::from_utf8_lossy(&map).into_owned(),
                time: self.finish_time.to_zoned(TimeZone::system()),
            },
            finish_time: self.finish_time,
            tablespaces: self.tablespaces.clone(),
        })
    }

    fn server(&self, label: &BackupLabel, control: &ControlFile) -> ServerIdentity {
        ServerIdentity {
            version: self.version,
            system_identifier: self.system_identifier,
            timeline: label.timeline(),
            segment_size: control.wal_segment_size,
            block_size: control.block_size,
            data_directory: self.data_dir.clone(),
            in_recovery: label.from == BackupFrom::Standby,
            data_checksums: control.data_checksum_version.is_some(),
            wal_log_hints: false,
            started: self.start_time,
            archive_mode: ArchiveMode::On,
            archive_command: None,
            archive_library: None,
        }
    }

    /// Whether a backup of barman's is a copy of this one. Its id may be another: it is a local time.
    pub fn is_copied_as(&self, other: &BackupInfo) -> bool {
        other.status == Status::Done && self.is_of_same_start(other)
    }

    /// Whether a backup of barman's begins where this one does.
    pub fn is_of_same_start(&self, other: &BackupInfo) -> bool {
        other.systemid == Some(self.system_identifier) && other.begin_xlog == Some(self.start_lsn)
    }

    /// The object that makes its copy in wal-g's layout exist.
    pub fn sentinel(&self) -> Key {
        walg::names::sentinel_key(BackupName::full(self.begin_wal))
    }

    /// Its copy in wal-g's layout.
    pub fn walg_copy(&self, cluster: &StoppedCluster) -> walg::NewBackup {
        walg::NewBackup {
            name: BackupName::full(self.begin_wal),
            delta: None,
            beginning: cluster.beginning.clone(),
            is_permanent: self.is_kept,
            user_data: None,
            with_files_metadata: true,
        }
    }

    /// Its copy in barman's layout.
    pub fn barman_copy(&self, cluster: &StoppedCluster, id: BackupId) -> barman::NewBackup {
        let beginning = cluster.beginning.clone();
        barman::NewBackup {
            id,
            backup_name: None,
            settings: ServerSettings {
                data_directory: Some(self.data_dir.display().to_string()),
                data_checksums: Some(on_or_off(beginning.server.data_checksums)),
                tablespaces: self.tablespace_names.clone(),
                ..ServerSettings::default()
            },
            beginning,
            data: barman::Data::Tars,
        }
    }

    /// The ids that its copy in barman's layout can have, the best first: the second in which it began, and those after it.
    pub fn ids(&self) -> impl Iterator<Item = BackupId> {
        let zone = TimeZone::system();
        (0..IDS_TRIED).filter_map(move |seconds| {
            let time = self.start_time.checked_add(SignedDuration::from_secs(seconds)).ok()?;
            Some(BackupId::at(zone.to_datetime(time)))
        })
    }
}

fn on_or_off(value: bool) -> String {
    if value { "on" } else { "off" }.to_owned()
}
