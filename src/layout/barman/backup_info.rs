//! `base/<id>/backup.info`: what is known of a backup, and what makes it exist.
//!
//! One `name=value` on each line, sorted by name, `None` for what is not set. Every field that barman knows is
//! written, but for two that are left out while unset: `backup_name` and `snapshots_info`. A field that barman does not
//! know ends its whole command, so no other is ever written; read, such a field is passed over. Structured values are
//! Python literals ([`Literal`]). Source: barman `infofile.py`, `BackupInfo`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;

use crate::pg::{Lsn, Oid, PgVersion, SegmentName, SystemIdentifier, TimelineId, WalSegmentSize};

use super::field_value::FieldValue;
use super::literal::quote;
use super::{BackupId, BackupTime, Literal, parse_any_time};

/// What `server_name` is for every backup that `barman-cloud-backup` keeps in objects, whatever the server is called.
/// CloudNativePG looks for this very word in the output of `barman-cloud-backup-show`.
pub const SERVER_NAME: &str = "cloud";

/// A backup as its `backup.info` describes it. What is `None` stands in the file as `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BackupInfo {
    /// The text of `backup_label`, as the server returned it at the end of the backup.
    pub backup_label: Option<String>,
    /// The name given with `--name`.
    pub backup_name: Option<String>,
    /// Where in its segment the backup begins, in bytes; see [`BackupInfo::set_begin`].
    pub begin_offset: Option<u64>,
    /// When the backup began, by the server's clock and in its session's zone.
    pub begin_time: Option<BackupTime>,
    /// The first segment that recovery needs; see [`BackupInfo::set_begin`].
    pub begin_wal: Option<SegmentName>,
    /// Where replay begins.
    pub begin_xlog: Option<Lsn>,
    /// Backups that build on this one; a barman server has such, a bucket does not.
    pub children_backup_ids: Option<Vec<BackupId>>,
    /// Bytes of all tablespaces, as the server said.
    pub cluster_size: Option<u64>,
    /// How a barman server compressed the backup. Not set for what `barman-cloud-backup` writes, compressed or not:
    /// there the names of the tars tell.
    pub compression: Option<String>,
    /// The setting `config_file`.
    pub config_file: Option<String>,
    /// How long it took: a dict of numbers, and of dicts by the stems of the tars.
    pub copy_stats: Option<Literal>,
    /// The setting `data_checksums`: `on` or `off`.
    pub data_checksums: Option<String>,
    /// Bytes that a barman server stored after deduplication.
    pub deduplicated_size: Option<u64>,
    /// How a barman server encrypted the backup.
    pub encryption: Option<String>,
    /// Where in its segment the backup ends, in bytes; see [`BackupInfo::set_end`].
    pub end_offset: Option<u64>,
    /// When the backup ended. CloudNativePG takes a backup for usable if and only if this and `begin_time` are set.
    pub end_time: Option<BackupTime>,
    /// The segment of the end; see [`BackupInfo::set_end`].
    pub end_wal: Option<SegmentName>,
    /// Where the backup is consistent.
    pub end_xlog: Option<Lsn>,
    /// Why the backup failed.
    pub error: Option<String>,
    /// The setting `hba_file`.
    pub hba_file: Option<String>,
    /// The setting `ident_file`.
    pub ident_file: Option<String>,
    /// The files that settings come from, besides `config_file`.
    pub included_files: Option<Vec<String>>,
    /// How a barman server took the backup; for a backup in a bucket only that of snapshots is set.
    pub mode: Option<String>,
    /// The backup that this one builds on; a barman server has such, a bucket does not.
    pub parent_backup_id: Option<BackupId>,
    /// The setting `data_directory`.
    pub pgdata: Option<String>,
    /// [`SERVER_NAME`]; for snapshots and for what a barman server took, the name of the server.
    pub server_name: Option<String>,
    /// Bytes that a barman server stored.
    pub size: Option<u64>,
    /// Of which volumes there are snapshots; only for backups made so, which have no tars.
    pub snapshots_info: Option<Literal>,
    /// What has become of the backup.
    pub status: Status,
    /// The setting `summarize_wal` of servers from 17 on: `on` or `off`.
    pub summarize_wal: Option<String>,
    /// The cluster.
    pub systemid: Option<SystemIdentifier>,
    /// The tablespaces that lie outside of the data directory, each with tars of its own.
    pub tablespaces: Vec<Tablespace>,
    /// The timeline on which the backup began.
    pub timeline: Option<TimelineId>,
    /// The server's version.
    pub version: Option<PgVersion>,
    /// The size of WAL segments; 16 MiB where the file does not say.
    pub xlog_segment_size: WalSegmentSize,
}

/// What has become of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Nothing yet; also when the file does not say.
    #[default]
    Empty,
    /// It is being taken, or whoever took it was killed.
    Started,
    /// Complete but for WAL; only a barman server waits so.
    WaitingForWals,
    /// Complete.
    Done,
    /// Being copied between barman servers.
    Syncing,
    /// Given up; `error` says why.
    Failed,
}

impl Status {
    const ALL: [Status; 6] = [
        Status::Empty,
        Status::Started,
        Status::WaitingForWals,
        Status::Done,
        Status::Syncing,
        Status::Failed,
    ];

    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Status::Empty => "EMPTY",
            Status::Started => "STARTED",
            Status::WaitingForWals => "WAITING_FOR_WALS",
            Status::Done => "DONE",
            Status::Syncing => "SYNCING",
            Status::Failed => "FAILED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A tablespace outside of the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablespace {
    /// Its name in SQL.
    pub name: String,
    /// Its OID, which names its tars.
    pub oid: Oid,
    /// The directory to which its link pointed.
    pub location: String,
}

/// Why a `backup.info` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// It is no text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// A line without an equals sign.
    #[error("line {line} is not of the form name=value")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A value that the field cannot have.
    #[error("the field `{field}` cannot be {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// What stands there, in quotes.
        value: String,
    },
}

/// What `error` says of a backup whose deletion has begun.
const DELETED: &str = "this backup is being deleted";

impl BackupInfo {
    /// The same backup as one whose deletion has begun: failed, and without an end, by which CloudNativePG tells that it
    /// cannot be used.
    pub fn being_deleted(&self) -> BackupInfo {
        let (status, error) = (Status::Failed, Some(DELETED.to_owned()));
        BackupInfo { status, error, end_time: None, ..self.clone() }
    }

    /// Whether its deletion has begun.
    pub fn is_being_deleted(&self) -> bool {
        self.status == Status::Failed && self.error.as_deref() == Some(DELETED)
    }

    /// Sets where the backup begins: address, segment and offset, and the timeline.
    pub fn set_begin(&mut self, timeline: TimelineId, lsn: Lsn) {
        self.timeline = Some(timeline);
        self.begin_xlog = Some(lsn);
        let (segment, offset) = place(timeline, lsn, self.xlog_segment_size);
        (self.begin_wal, self.begin_offset) = (Some(segment), Some(offset));
    }

    /// Sets where the backup ends, on the timeline given: address, segment and offset.
    pub fn set_end(&mut self, timeline: TimelineId, lsn: Lsn) {
        self.end_xlog = Some(lsn);
        let (segment, offset) = place(timeline, lsn, self.xlog_segment_size);
        (self.end_wal, self.end_offset) = (Some(segment), Some(offset));
    }

    /// Reads a `backup.info`. Times have any form that leaves no doubt; those without an offset are of the zone `local`.
    /// Unknown fields are passed over, missing ones are not set.
    pub fn parse(content: &[u8], local: &TimeZone) -> Result<BackupInfo, InfoError> {
        let text = std::str::from_utf8(content).map_err(|_| InfoError::NotUtf8)?;
        let mut info = BackupInfo::default();
        for (index, line) in text.split('\n').enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or(InfoError::Line { line: index + 1 })?;
            let value = Some(value.trim()).filter(|value| *value != "None");
            info.set(name.trim(), value, local)?;
        }
        Ok(info)
    }

    /// Whether a `backup.info` with this content is that of a complete backup.
    pub fn says_done(content: &[u8]) -> bool {
        // Which moment its times mean makes no difference.
        BackupInfo::parse(content, &TimeZone::UTC).is_ok_and(|info| info.status == Status::Done)
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: &TimeZone) -> Result<(), InfoError> {
        let text = |value: &str| Some(value.to_owned());
        let time = |value: &str| parse_any_time(value, local).ok();
        match name {
            "backup_label" => set(&mut self.backup_label, "backup_label", value, string),
            "backup_name" => set(&mut self.backup_name, "backup_name", value, text),
            "begin_offset" => set(&mut self.begin_offset, "begin_offset", value, number),
            "begin_time" => set(&mut self.begin_time, "begin_time", value, time),
            "begin_wal" => set(&mut self.begin_wal, "begin_wal", value, parsed),
            "begin_xlog" => set(&mut self.begin_xlog, "begin_xlog", value, parsed),
            "children_backup_ids" => {
                set(&mut self.children_backup_ids, "children_backup_ids", value, |ids| {
                    ids.split(',').map(parsed).collect()
                })
            }
            "cluster_size" => set(&mut self.cluster_size, "cluster_size", value, number),
            "compression" => set(&mut self.compression, "compression", value, text),
            "config_file" => set(&mut self.config_file, "config_file", value, text),
            "copy_stats" => set(&mut self.copy_stats, "copy_stats", value, literal),
            "data_checksums" => set(&mut self.data_checksums, "data_checksums", value, text),
            "deduplicated_size" => set(&mut self.deduplicated_size, "deduplicated_size", value, number),
            "encryption" => set(&mut self.encryption, "encryption", value, text),
            "end_offset" => set(&mut self.end_offset, "end_offset", value, number),
            "end_time" => set(&mut self.end_time, "end_time", value, time),
            "end_wal" => set(&mut self.end_wal, "end_wal", value, parsed),
            "end_xlog" => set(&mut self.end_xlog, "end_xlog", value, parsed),
            "error" => set(&mut self.error, "error", value, text),
            "hba_file" => set(&mut self.hba_file, "hba_file", value, text),
            "ident_file" => set(&mut self.ident_file, "ident_file", value, text),
            "included_files" => set(&mut self.included_files, "included_files", value, |value| {
                let files = Literal::parse(value).ok()?;
                files.elements()?.iter().map(|file| file.as_str().map(str::to_owned)).collect()
            }),
            "mode" => set(&mut self.mode, "mode", value, text),
            "parent_backup_id" => set(&mut self.parent_backup_id, "parent_backup_id", value, parsed),
            "pgdata" => set(&mut self.pgdata, "pgdata", value, text),
            "server_name" => set(&mut self.server_name, "server_name", value, text),
            "size" => set(&mut self.size, "size", value, number),
            "snapshots_info" => set(&mut self.snapshots_info, "snapshots_info", value, literal),
            "status" => set_or_default(&mut self.status, "status", value, |value| {
                Status::ALL.into_iter().find(|status| status.word() == value)
            }),
            "summarize_wal" => set(&mut self.summarize_wal, "summarize_wal", value, text),
            "systemid" => {
                set(&mut self.systemid, "systemid", value, |value| number(value).map(SystemIdentifier::new))
            }
            "tablespaces" => set_or_default(&mut self.tablespaces, "tablespaces", value, tablespaces),
            "timeline" => set(&mut self.timeline, "timeline", value, parsed),
            "version" => set(&mut self.version, "version", value, parsed),
            "xlog_segment_size" => {
                set_or_default(&mut self.xlog_segment_size, "xlog_segment_size", value, |value| {
                    WalSegmentSize::from_bytes(number(value)?).ok()
                })
            }
            _ => Ok(()),
        }
    }

    /// Every field and its value, sorted by name; without those two that are left out while unset.
    pub fn fields(&self) -> Vec<(&'static str, FieldValue<'_>)> {
        let mut fields = vec![
            ("backup_label", self.backup_label.as_deref().filter(|text| !text.is_empty()).map(quote).into()),
            ("backup_name", self.backup_name.as_deref().into()),
            ("begin_offset", self.begin_offset.into()),
            ("begin_time", self.begin_time.into()),
            ("begin_wal", self.begin_wal.map(|segment| segment.to_string()).into()),
            ("begin_xlog", self.begin_xlog.map(|lsn| lsn.to_string()).into()),
            ("children_backup_ids", self.children_backup_ids.as_deref().and_then(joined).into()),
            ("cluster_size", self.cluster_size.into()),
            ("compression", self.compression.as_deref().into()),
            ("config_file", self.config_file.as_deref().into()),
            ("copy_stats", self.copy_stats.as_ref().map(Cow::Borrowed).into()),
            ("data_checksums", self.data_checksums.as_deref().into()),
            ("deduplicated_size", self.deduplicated_size.into()),
            ("encryption", self.encryption.as_deref().into()),
            ("end_offset", self.end_offset.into()),
            ("end_time", self.end_time.into()),
            ("end_wal", self.end_wal.map(|segment| segment.to_string()).into()),
            ("end_xlog", self.end_xlog.map(|lsn| lsn.to_string()).into()),
            ("error", self.error.as_deref().into()),
            ("hba_file", self.hba_file.as_deref().into()),
            ("ident_file", self.ident_file.as_deref().into()),
            ("included_files", self.included_files.as_deref().map(list_of_strings).into()),
            ("mode", self.mode.as_deref().into()),
            ("parent_backup_id", self.parent_backup_id.map(|id| id.to_string()).into()),
            ("pgdata", self.pgdata.as_deref().into()),
            ("server_name", self.server_name.as_deref().into()),
            ("size", self.size.into()),
            (
                "snapshots_info",
                self.snapshots_info.as_ref().filter(|info| !info.is_empty()).map(Cow::Borrowed).into(),
            ),
            ("status", self.status.word().into()),
            ("summarize_wal", self.summarize_wal.as_deref().into()),
            ("systemid", self.systemid.map(|id| id.to_string()).into()),
            (
                "tablespaces",
                Some(list_of_tablespaces(&self.tablespaces)).filter(|list| !list.is_empty()).into(),
            ),
            ("timeline", self.timeline.map(|timeline| u64::from(timeline.as_u32())).into()),
            ("version", self.version.map(|version| u64::from(version.as_u32())).into()),
            ("xlog_segment_size", Some(self.xlog_segment_size.bytes()).into()),
        ];
        fields.retain(|(name, value)| {
            !(matches!(*name, "backup_name" | "snapshots_info") && *value == FieldValue::Unset)
        });
        fields
    }
}

/// The content of a `backup.info`, with the `\n` of its last line.
///
/// A value is one line: a line break in a name or a path, where there is no way to write it, becomes a space.
impl fmt::Display for BackupInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.fields() {
            writeln!(f, "{name}={value}")?;
        }
        Ok(())
    }
}

/// The segment that holds the byte at `lsn`, and the offset in it, as `pg_walfile_name_offset` counted before
/// PostgreSQL 17: the first byte of a segment belongs to that segment, also when WAL ends there.
fn place(timeline: TimelineId, lsn: Lsn, size: WalSegmentSize) -> (SegmentName, u64) {
    (SegmentName::containing(timeline, lsn, size), lsn.as_u64() % size.bytes())
}

/// Sets a field to what `parse` makes of its value, which may be that it is not set.
fn set<T>(
    field: &mut Option<T>,
    name: &'static str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<(), InfoError> {
    set_or_default(field, name, value, |value| parse(value).map(Some))
}

/// Sets a field to what `parse` makes of its value, or back to its default.
fn set_or_default<T: Default>(
    field: &mut T,
    name: &'static str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<(), InfoError> {
    *field = match value {
        None => T::default(),
        Some(value) => parse(value).ok_or_else(|| InfoError::Field { field: name, value: quote(value) })?,
    };
    Ok(())
}

fn parsed<T: FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

fn number(value: &str) -> Option<u64> {
    parsed(value)
}

fn literal(value: &str) -> Option<Literal> {
    Literal::parse(value).ok()
}

fn string(value: &str) -> Option<String> {
    match Literal::parse(value) {
        Ok(Literal::Str(text)) => Some(text),
        _ => None,
    }
}

fn tablespaces(value: &str) -> Option<Vec<Tablespace>> {
    literal(value)?.elements()?.iter().map(tablespace).collect()
}

fn tablespace(value: &Literal) -> Option<Tablespace> {
    let [name, Literal::Int(oid), location] = value.elements()? else { return None };
    Some(Tablespace {
        name: name.as_str()?.to_owned(),
        oid: Oid::new(u32::try_from(*oid).ok()?)?,
        location: location.as_str()?.to_owned(),
    })
}

fn list_of_tablespaces(tablespaces: &[Tablespace]) -> Cow<'static, Literal> {
    let tuple = |tablespace: &Tablespace| {
        Literal::Tuple(vec![
            Literal::Str(tablespace.name.clone()),
            Literal::Int(i128::from(tablespace.oid.as_u32())),
            Literal::Str(tablespace.location.clone()),
        ])
    };
    Cow::Owned(Literal::List(tablespaces.iter().map(tuple).collect()))
}

fn list_of_strings(strings: &[String]) -> Cow<'static, Literal> {
    Cow::Owned(Literal::List(strings.iter().cloned().map(Literal::Str).collect()))
}

fn joined(ids: &[BackupId]) -> Option<String> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    if ids.is_empty() { None } else { Some(ids.join(",")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: [&str; 3] = [
        include_str!("../../../tests/golden/barman/bzip2/backup.info"),
        include_str!("../../../tests/golden/barman/plain-tablespace/backup.info"),
        include_str!("../../../tests/golden/barman/snappy-zstd/backup.info"),
    ];

    fn parse(text: &str) -> Result<BackupInfo, InfoError> {
        BackupInfo::parse(text.as_bytes(), &TimeZone::UTC)
    }

    #[test]
    fn what_barman_wrote_is_written_again() {
        for golden in GOLDEN {
            assert_eq!(parse(golden).unwrap().to_string(), golden);
        }
    }

    #[test]
    fn the_facts_of_a_backup() {
        let [_, golden, _] = GOLDEN;
        let info = parse(golden).unwrap();
        assert_eq!(info.status, Status::Done);
        assert_eq!(info.backup_name.as_deref(), Some("nightly"));
        assert_eq!(info.begin_wal, Some("000000010000000000000002".parse().unwrap()));
        assert_eq!(info.end_xlog, Some(Lsn::new(0x2000138)));
        assert_eq!(info.systemid, Some(SystemIdentifier::new(7710458372606464292)));
        assert_eq!(info.version, Some(PgVersion::new(150018)));
        assert_eq!(info.cluster_size, Some(23400137));
        let [tablespace] = info.tablespaces.as_slice() else { panic!("{:?}", info.tablespaces) };
        assert_eq!((tablespace.name.as_str(), tablespace.oid.as_u32()), ("extra", 16384));
        let label = info.backup_label.as_deref().unwrap();
        assert!(label.starts_with("START WAL LOCATION: 0/2000028") && label.ends_with("START TIMELINE: 1\n"));
        let seconds = info.copy_stats.as_ref().and_then(|stats| stats.get("copy_time"));
        assert_eq!(seconds, Some(&Literal::Float(17.695786)));
    }

    #[test]
    fn segment_and_offset_follow_from_the_address() {
        for golden in GOLDEN {
            let info = parse(golden).unwrap();
            let mut computed = BackupInfo::default();
            computed.set_begin(info.timeline.unwrap(), info.begin_xlog.unwrap());
            computed.set_end(info.timeline.unwrap(), info.end_xlog.unwrap());
            assert_eq!((computed.begin_wal, computed.begin_offset), (info.begin_wal, info.begin_offset));
            assert_eq!((computed.end_wal, computed.end_offset), (info.end_wal, info.end_offset));
        }
        let mut computed = BackupInfo {
            xlog_segment_size: WalSegmentSize::from_mebibytes(1).unwrap(),
            ..BackupInfo::default()
        };
        computed.set_begin(TimelineId::new(31).unwrap(), Lsn::new(0x5_FFF0_0028));
        computed.set_end(TimelineId::new(31).unwrap(), Lsn::new(0x6_0000_0000));
        assert_eq!(computed.begin_wal.unwrap().to_string(), "0000001F0000000500000FFF");
        assert_eq!(computed.begin_offset, Some(0x28));
        assert_eq!(computed.end_wal.unwrap().to_string(), "0000001F0000000600000000");
        assert_eq!(computed.end_offset, Some(0));
    }

    #[test]
    fn little_is_needed_and_more_is_passed_over() {
        let info = parse("").unwrap();
        assert_eq!(info, BackupInfo::default());
        assert_eq!(info.xlog_segment_size, WalSegmentSize::DEFAULT);
        let info =
            parse("# a comment\n\n \t\n status = DONE \nof_the_future=17\nerror=a=b\ntimeline=None").unwrap();
        assert_eq!(
            info,
            BackupInfo { status: Status::Done, error: Some("a=b".into()), ..BackupInfo::default() }
        );
        assert_eq!(parse("begin_xlog=0/2000028\r\n").unwrap().begin_xlog, Some(Lsn::new(0x2000028)));
        assert_eq!(
            parse("tablespaces=[]\nincluded_files=[]\n").unwrap().to_string(),
            BackupInfo::default().to_string()
        );
    }

    #[test]
    fn times_of_other_writers() {
        for (text, written) in [("20261121T0234", "02:34:00"), ("Sat Nov 21 02:34:20 UTC 2026", "02:34:20")] {
            let time = parse(&format!("end_time={text}")).unwrap().end_time.unwrap();
            assert_eq!(time.to_string(), format!("2026-11-21 {written}+00:00"));
        }
        // dateutil guesses.
        assert!(parse("end_time=11/12/2026").is_err());
    }

    #[test]
    fn every_field_goes_there_and_back() {
        let mut info = parse(GOLDEN[1]).unwrap();
        info.children_backup_ids =
            Some(vec!["20261121T031421".parse().unwrap(), "20261121T031422".parse().unwrap()]);
        info.parent_backup_id = Some("20261120T031421".parse().unwrap());
        info.included_files = Some(vec!["/it's/a.conf".into(), "/é \"b\".conf".into()]);
        info.snapshots_info = Some(Literal::parse("{'provider': 'aws', 'snapshots': []}").unwrap());
        info.error = Some("failure uploading data (x)".into());
        info.mode = Some("snapshot-aws".into());
        (info.size, info.deduplicated_size) = (Some(1), Some(u64::MAX));
        (info.compression, info.encryption) = (Some("gzip".into()), Some("gpg".into()));
        info.summarize_wal = Some("off".into());
        info.status = Status::WaitingForWals;
        let text = info.to_string();
        assert_eq!(parse(&text).unwrap(), info);
        assert!(text.contains("included_files=[\"/it's/a.conf\", '/é \"b\".conf']\n"), "{text}");
        assert!(text.contains("children_backup_ids=20261121T031421,20261121T031422\n"), "{text}");
        let names: Vec<&str> = info.fields().into_iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted() && names.len() == 35, "{names:?}");
    }

    #[test]
    fn a_value_stays_one_line() {
        let info = BackupInfo { error: Some("first\nstatus=DONE\r".into()), ..BackupInfo::default() };
        assert_eq!(parse(&info.to_string()).unwrap().error.as_deref(), Some("first status=DONE"));
        assert_eq!(parse(&info.to_string()).unwrap().status, Status::Empty);
    }

    #[test]
    fn faults_are_named() {
        for (text, message) in [
            ("status=DONE\nnonsense", "line 2 is not of the form name=value"),
            ("status=GONE", "the field `status` cannot be 'GONE'"),
            ("begin_xlog=16777216", "the field `begin_xlog` cannot be '16777216'"),
            ("tablespaces=[('a', 'b', 'c')]", "the field `tablespaces` cannot be \"[('a', 'b', 'c')]\""),
            ("tablespaces=[('a', 0, 'c')]", "the field `tablespaces` cannot be \"[('a', 0, 'c')]\""),
            ("backup_label=5", "the field `backup_label` cannot be '5'"),
            ("begin_time=soon", "the field `begin_time` cannot be 'soon'"),
            ("xlog_segment_size=17", "the field `xlog_segment_size` cannot be '17'"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        assert_eq!(BackupInfo::parse(b"error=\xFF", &TimeZone::UTC), Err(InfoError::NotUtf8));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = BackupInfo::parse(&bytes, &TimeZone::UTC);
        }

        #[test]
        fn what_can_be_read_can_be_written(
            field in prop::sample::select(vec![
                "backup_label", "begin_time", "begin_wal", "begin_xlog", "children_backup_ids", "copy_stats", "error",
                "included_files", "parent_backup_id", "status", "systemid", "tablespaces", "timeline", "version",
            ]),
            value in "\\PC{0,20}|[\\[({'a\", 0-9})\\]]{0,12}",
        ) {
            if let Ok(info) = parse(&format!("{field}={value}")) {
                let written = info.to_string();
                prop_assert_eq!(parse(&written).unwrap().to_string(), written);
            }
        }
    }
}
