//! What the commands that look at backups print, byte for byte as barman 3.19 does. Source: `clients/cloud_backup_*.py`,
//! `output.py` (`ConsoleOutputWriter.render_show_backup`), `utils.py` (`pretty_size`, `human_readable_timedelta`),
//! `infofile.py` (`to_json`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};

use crate::catalog::barman::BackupEntry;
use crate::layout::barman::{BackupTime, FieldValue, Keep, Literal, Status, quote};
use crate::ops::barman::backup_delete::Deletion;
use crate::ops::barman::backup_list::ListedBackup;
use crate::storage::{Key, Prefix};

use super::python_json;

/// `backup-list`: a table with a header.
pub fn list(backups: &[ListedBackup]) -> String {
    let mut text = row(["Backup ID", "End Time", "Begin Wal", "Archival Status", "Name"]);
    for ListedBackup { entry, keep } in backups {
        let info = &entry.info;
        let end_time = info.end_time.map(|time| time.civil().strftime("%Y-%m-%d %H:%M:%S").to_string());
        let status = match info.status {
            Status::Done => {
                keep.map(|keep| format!("KEEP:{}", keep.word().to_ascii_uppercase())).unwrap_or_default()
            }
            status => status.word().to_owned(),
        };
        text += &row([
            &entry.id.to_string(),
            &end_time.unwrap_or_default(),
            &info.begin_wal.map(|segment| segment.to_string()).unwrap_or_default(),
            &status,
            info.backup_name.as_deref().unwrap_or_default(),
        ]);
    }
    text
}

/// Columns of fixed width, the last one as well.
fn row([id, end_time, begin_wal, status, name]: [&str; 5]) -> String {
    format!("{id:<20}{end_time:<25}{begin_wal:<30}{status:<17}{name:<20}\n")
}

/// `backup-list --format json`.
pub fn list_json<'a>(backups: impl IntoIterator<Item = &'a BackupEntry>) -> String {
    let backups = python_json::list(backups.into_iter().map(backup_json));
    format!("{}\n", python_json::object([("backups_list", backups)]))
}

/// `backup-show --format json`: under the name of the server, which is `cloud`.
pub fn show_json(backup: &BackupEntry) -> String {
    let server = backup.info.server_name.as_deref().unwrap_or("null");
    format!("{}\n", python_json::object([(server, backup_json(backup))]))
}

/// The fields, the id, and the times once more.
fn backup_json(backup: &BackupEntry) -> String {
    let mut entries: Vec<(&str, String)> = Vec::new();
    for (name, value) in backup.info.fields() {
        let json = match &value {
            FieldValue::Time(time) => python_json::string(&ctime(*time)),
            value => python_json::field(value),
        };
        entries.push((name, json));
    }
    entries.push(("backup_id", python_json::string(&backup.id.to_string())));
    for (name, time) in [("begin_time_iso", backup.info.begin_time), ("end_time_iso", backup.info.end_time)] {
        if let Some(time) = time {
            entries.push((name, python_json::string(&time.iso_format().to_string())));
        }
    }
    python_json::object(entries)
}

/// C's `ctime`, in the offset in which the time is shown.
fn ctime(time: BackupTime) -> String {
    time.civil().strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// `backup-show`: lines for people.
pub fn show(backup: &BackupEntry) -> String {
    let mut page =
        Page { text: format!("Backup {}:\n", backup.id), fields: backup.info.fields().into_iter().collect() };
    let is_copied = matches!(backup.info.status, Status::Done | Status::WaitingForWals);
    page.general(is_copied);
    page.server();
    if is_copied {
        if let Some(snapshots) = &backup.info.snapshots_info {
            page.snapshots(snapshots);
        }
        page.tablespaces(backup);
        page.base(backup.info.copy_stats.as_ref());
    } else if let Some(error) = page.set("error") {
        page.line("Error", error);
    }
    page.text
}

/// The page that `backup-show` prints.
struct Page<'a> {
    text: String,
    fields: BTreeMap<&'static str, FieldValue<'a>>,
}

impl Page<'_> {
    /// A field as text, `None` when it is not set.
    fn field(&self, name: &str) -> String {
        self.fields.get(name).unwrap_or(&FieldValue::Unset).to_string()
    }

    /// A field as text, if it is set and not empty or zero.
    fn set(&self, name: &str) -> Option<String> {
        match self.fields.get(name)? {
            FieldValue::Unset | FieldValue::Integer(0) => None,
            FieldValue::Literal(literal) if literal.is_empty() => None,
            value => Some(value.to_string()).filter(|text| !text.is_empty()),
        }
    }

    fn size(&self, name: &str) -> Option<String> {
        match self.fields.get(name)? {
            FieldValue::Integer(bytes) if *bytes > 0 => Some(size(*bytes)),
            _ => None,
        }
    }

    fn line(&mut self, label: &str, value: impl Display) {
        let _ = writeln!(self.text, "  {label:<23}: {value}");
    }

    fn header(&mut self, label: &str) {
        let _ = writeln!(self.text, "  {label}:");
    }

    fn nested(&mut self, label: &str, value: impl Display) {
        let _ = writeln!(self.text, "    {label:<21}: {value}");
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn general(&mut self, is_copied: bool) {
        if let Some(name) = self.set("backup_name") {
            self.line("Backup Name", name);
        }
        self.line("Server Name", self.field("server_name"));
        if let Some(system_id) = self.set("systemid") {
            self.line("System Id", system_id);
        }
        self.line("Status", self.field("status"));
        if is_copied {
            self.line("PostgreSQL Version", self.field("version"));
            self.line("PGDATA directory", self.field("pgdata"));
            if let Some(size) = self.size("cluster_size") {
                self.line("Estimated Cluster Size", size);
            }
        }
        self.blank();
    }

    fn server(&mut self) {
        let (checksums, summarizer) = (self.set("data_checksums"), self.set("summarize_wal"));
        if checksums.is_none() && summarizer.is_none() {
            return;
        }
        self.header("Server information");
        for (label, value) in [("Checksums", checksums), ("WAL summarizer", summarizer)] {
            if let Some(value) = value {
                self.nested(label, value);
            }
        }
        self.blank();
    }

    fn snapshots(&mut self, info: &Literal) {
        self.header("Snapshot information");
        for (key, value) in entries(info) {
            if !matches!(key.as_str(), "snapshots" | "provider_info") {
                self.nested(&key, value);
            }
        }
        for (key, value) in info.get("provider_info").map(entries).unwrap_or_default() {
            self.nested(&key, value);
        }
        self.blank();
        for snapshot in info.get("snapshots").and_then(Literal::elements).unwrap_or_default() {
            let mut provider = snapshot.get("provider").map(entries).unwrap_or_default();
            provider.sort();
            for (key, value) in provider {
                self.nested(&key, value);
            }
            let mount = |name| {
                snapshot.get("mount").and_then(|mount| mount.get(name)).map_or_else(String::new, plain)
            };
            self.nested("Mount point", mount("mount_point"));
            self.nested("Mount options", mount("mount_options"));
            self.blank();
        }
    }

    fn tablespaces(&mut self, backup: &BackupEntry) {
        if backup.info.tablespaces.is_empty() {
            return;
        }
        self.header("Tablespaces");
        for tablespace in &backup.info.tablespaces {
            self.nested(&tablespace.name, format_args!("{} (oid: {})", tablespace.location, tablespace.oid));
        }
        self.blank();
    }

    fn base(&mut self, copy_stats: Option<&Literal>) {
        self.header("Base backup information");
        for (label, value) in [
            ("Backup Method", self.set("mode")),
            ("Encryption", self.set("encryption")),
            ("Backup Size", self.size("deduplicated_size")),
            ("Backup Compression", self.set("compression").filter(|method| method != "none")),
        ] {
            if let Some(value) = value {
                self.nested(label, value);
            }
        }
        for (label, name) in [
            ("Timeline", "timeline"),
            ("Begin WAL", "begin_wal"),
            ("End WAL", "end_wal"),
            ("Begin time", "begin_time"),
            ("End time", "end_time"),
        ] {
            self.nested(label, self.field(name));
        }
        if let Some(time) = copy_stats.and_then(copy_time) {
            self.nested("Copy time", time);
        }
        for (label, name) in [
            ("Begin Offset", "begin_offset"),
            ("End Offset", "end_offset"),
            ("Begin LSN", "begin_xlog"),
            ("End LSN", "end_xlog"),
        ] {
            self.nested(label, self.field(name));
        }
        self.blank();
    }
}

/// The entries of a dict, as `str` shows keys and values.
fn entries(dict: &Literal) -> Vec<(String, String)> {
    match dict {
        Literal::Dict(entries) => entries.iter().map(|(key, value)| (plain(key), plain(value))).collect(),
        _ => Vec::new(),
    }
}

/// A value as Python's `str` shows it: a string as it is.
fn plain(value: &Literal) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How long the files took; and before them the start, if that took a second or more.
fn copy_time(stats: &Literal) -> Option<String> {
    let copy = seconds(stats.get("copy_time")?).filter(|seconds| *seconds != 0.0)?;
    let start = stats.get("analysis_time").and_then(seconds).unwrap_or(0.0);
    Some(match start >= 1.0 {
        true => format!("{} + {} startup", duration(copy), duration(start)),
        false => duration(copy),
    })
}

fn seconds(number: &Literal) -> Option<f64> {
    match number {
        #[expect(clippy::cast_precision_loss, reason = "whole seconds, a time of people")]
        Literal::Int(seconds) => Some(*seconds as f64),
        Literal::Float(seconds) => Some(*seconds),
        _ => None,
    }
}

/// barman's words for a time: whole days, hours, minutes and seconds, those that are not zero.
fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let microseconds = (seconds * 1e6).round_ties_even().abs() as i64;
    let seconds = microseconds / 1_000_000;
    if seconds == 0 {
        return "less than one second".to_owned();
    }
    let parts = [
        (seconds / 86_400, "day"),
        (seconds / 3600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let words = parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, unit)| match count {
        1 => format!("1 {unit}"),
        _ => format!("{count} {unit}s"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Bytes in the largest unit of 1024 of which there is at least one, with one decimal.
fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let (mut size, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    format!("{size:.1} {unit}")
}

/// `backup-keep --status`.
pub fn keep_status(keep: Option<Keep>) -> String {
    format!("Keep: {}\n", keep.map_or("nokeep", Keep::word))
}

/// `backup-delete --dry-run`: lists of whole keys. `root` is the server's prefix in the bucket.
pub fn delete_dry_run(deletion: &Deletion, root: &Prefix) -> String {
    let mut text = String::new();
    let objects = |text: &mut String, keys: &mut dyn Iterator<Item = &Key>| {
        let keys: Vec<String> = keys.map(|key| quote(&format!("{root}{key}"))).collect();
        if !keys.is_empty() {
            let _ =
                writeln!(text, "Skipping deletion of objects [{}] due to --dry-run option", keys.join(", "));
        }
    };
    for backup in &deletion.backups {
        if let (Some(_), Some(label)) = (&backup.snapshots, &backup.label) {
            let _ = writeln!(text, "Skipping deletion of snapshots due to --dry-run option");
            let _ = writeln!(text, "Skipping deletion of {root}{label} due to --dry-run option");
        }
        objects(&mut text, &mut backup.tars.iter().chain([&backup.info]));
        // barman, which has deleted nothing, finds the folders of earlier backups again.
        let folders = backup.wal.folders.iter().map(|folder| folder.folder);
        for folder in BTreeSet::from_iter(folders.chain(backup.wal.emptied_before.iter().copied())) {
            let _ = writeln!(
                text,
                "Skipping deletion of all objects under prefix {root}{} due to --dry-run option",
                folder.prefix()
            );
        }
        objects(&mut text, &mut backup.wal.files.iter());
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::layout::barman::BackupInfo;

    macro_rules! golden {
        ($name:literal) => {
            [
                include_str!(concat!("../../../tests/golden/barman/", $name, "/backup.info")),
                include_str!(concat!("../../../tests/golden/barman/", $name, "/backup-list.console.txt")),
                include_str!(concat!("../../../tests/golden/barman/", $name, "/backup-list.json.txt")),
                include_str!(concat!("../../../tests/golden/barman/", $name, "/backup-show.txt")),
                include_str!(concat!("../../../tests/golden/barman/", $name, "/backup-show.json.txt")),
            ]
        };
    }

    fn entry(id: &str, info: &str) -> BackupEntry {
        BackupEntry {
            id: id.parse().unwrap(),
            modified: Timestamp::UNIX_EPOCH,
            info: BackupInfo::parse(info.as_bytes(), &TimeZone::UTC).unwrap(),
        }
    }

    #[test]
    fn what_barman_printed() {
        for (id, [info, list_text, list_json_text, show_text, show_json_text]) in [
            ("20261121T031421", golden!("bzip2")),
            ("20261121T031643", golden!("plain-tablespace")),
            ("20261121T031712", golden!("snappy-zstd")),
        ] {
            // The directory of the cluster is shortened in the output, see the README there.
            let (before, after) = info.split_once("/tmp/fxb.").unwrap();
            let directory = format!("/tmp/fxb.{}", after.get(..6).unwrap());
            assert!(!before.contains("scratch"));
            let backup = ListedBackup { entry: entry(id, &info.replace(&directory, "/scratch")), keep: None };
            assert_eq!(list(std::slice::from_ref(&backup)), list_text);
            assert_eq!(list_json([&backup.entry]), list_json_text);
            assert_eq!(show(&backup.entry), show_text);
            assert_eq!(show_json(&backup.entry), show_json_text);
        }
        assert_eq!(list_json([]), "{\"backups_list\": []}\n");
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1024.0 KiB"),
            (1_048_576, "1.0 MiB"),
            (23_396_041, "22.3 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0.5, "less than one second"),
            (0.999_999_9, "1 second"),
            (17.695786, "17 seconds"),
            (3600.0, "1 hour"),
            (90_061.0, "1 day, 1 hour, 1 minute, 1 second"),
            (200_000.0, "2 days, 7 hours, 33 minutes, 20 seconds"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn whether_a_backup_is_kept() {
        assert_eq!(keep_status(None), "Keep: nokeep\n");
        assert_eq!(keep_status(Some(Keep::Standalone)), "Keep: standalone\n");
    }
}
