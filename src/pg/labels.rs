//! The two files that make a copied data directory a backup: `backup_label` and `tablespace_map`.
//!
//! ```text
//! START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
//! CHECKPOINT LOCATION: 0/2000060
//! BACKUP METHOD: streamed
//! BACKUP FROM: primary
//! START TIME: 2026-11-21 02:34:08 UTC
//! LABEL: nightly
//! START TIMELINE: 1
//! ```
//!
//! An incremental backup (PostgreSQL 17 on) adds `INCREMENTAL FROM LSN` and `INCREMENTAL FROM TLI`. A
//! `tablespace_map` has a line `<oid> <directory>` for each tablespace, in which newline, carriage return and
//! backslash of the directory stand behind a backslash.
//!
//! Source: `access/transam/xlogbackup.c`, `build_backup_content`; `access/transam/xlog.c`, `do_pg_backup_start`;
//! for reading `access/transam/xlogrecovery.c`, `read_backup_label` and `read_tablespace_map`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Lsn, Oid, ParseError, SegmentName, TimelineId};

/// What a `backup_label` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replay of the backup starts.
    pub start_lsn: Lsn,
    /// The segment that holds that place; its timeline is the backup's.
    pub start_segment: SegmentName,
    /// The checkpoint replay starts from.
    pub checkpoint_lsn: Lsn,
    /// The kind of server it was taken from.
    pub from: BackupFrom,
    /// When it was started, in the server's own words and time zone; for people only.
    pub start_time: String,
    /// The name given to `pg_backup_start`.
    pub label: String,
    /// The backup this one builds on, if it is an incremental one.
    pub incremental_from: Option<(Lsn, TimelineId)>,
}

/// The kind of server a backup was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupFrom {
    /// A primary.
    Primary,
    /// A standby, whose backup is consistent only once its own minimum recovery point is reached.
    Standby,
}

impl BackupLabel {
    /// The timeline the backup starts on.
    pub fn timeline(&self) -> TimelineId {
        self.start_segment.timeline()
    }

    /// Reads the content of a `backup_label`. Lines it does not know are passed over, as PostgreSQL does.
    ///
    /// Fails with [`ParseError::BackupLabel`] if a line PostgreSQL needs is missing or makes no sense.
    pub fn parse(text: &str) -> Result<BackupLabel, ParseError> {
        let wrong = |line: &'static str| move || ParseError::BackupLabel { line };
        let value =
            |title: &'static str| text.lines().find_map(|line| line.strip_prefix(title)?.strip_prefix(": "));
        let lsn = |title| value(title).and_then(|lsn| lsn.parse().ok());

        let (start_lsn, start_segment) =
            value("START WAL LOCATION").and_then(parse_start).ok_or_else(wrong("START WAL LOCATION"))?;
        if let Some(timeline) = value("START TIMELINE")
            && timeline.parse() != Ok(start_segment.timeline())
        {
            return Err(wrong("START TIMELINE")());
        }
        Ok(BackupLabel {
            start_lsn,
            start_segment,
            checkpoint_lsn: lsn("CHECKPOINT LOCATION").ok_or_else(wrong("CHECKPOINT LOCATION"))?,
            from: match value("BACKUP FROM") {
                Some("standby") => BackupFrom::Standby,
                Some("primary" | "master") => BackupFrom::Primary,
                _ => return Err(wrong("BACKUP FROM")()),
            },
            start_time: value("START TIME").unwrap_or_default().to_owned(),
            label: value("LABEL").unwrap_or_default().to_owned(),
            incremental_from: match value("INCREMENTAL FROM LSN") {
                None => None,
                Some(from) => {
                    let timeline = value("INCREMENTAL FROM TLI").and_then(|timeline| timeline.parse().ok());
                    let from = from.parse().ok().zip(timeline);
                    Some(from.ok_or_else(wrong("INCREMENTAL FROM LSN"))?)
                }
            },
        })
    }
}

/// `0/2000028 (file 000000010000000000000002)`
fn parse_start(value: &str) -> Option<(Lsn, SegmentName)> {
    let (lsn, file) = value.split_once(" (file ")?;
    Some((lsn.parse().ok()?, file.strip_suffix(')')?.parse().ok()?))
}

/// The tablespaces of a backup and the directories they lay in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablespaceMap {
    entries: Vec<(Oid, PathBuf)>,
}

impl TablespaceMap {
    /// A map with these entries, in this order.
    pub fn new(entries: Vec<(Oid, PathBuf)>) -> TablespaceMap {
        TablespaceMap { entries }
    }

    /// The entries in the order of the file.
    pub fn entries(&self) -> &[(Oid, PathBuf)] {
        &self.entries
    }

    /// The directory of a tablespace.
    pub fn directory(&self, tablespace: Oid) -> Option<&Path> {
        self.entries.iter().find(|(oid, _)| *oid == tablespace).map(|(_, directory)| directory.as_path())
    }

    /// Reads the content of a `tablespace_map`; empty content is a map without entries.
    ///
    /// Fails with [`ParseError::TablespaceMap`] on a line PostgreSQL would refuse.
    pub fn parse(content: &[u8]) -> Result<TablespaceMap, ParseError> {
        let mut entries = Vec::new();
        for (number, line) in unescaped_lines(content).into_iter().enumerate() {
            if line.is_empty() {
                continue;
            }
            let entry = parse_entry(&line).ok_or(ParseError::TablespaceMap { line: number + 1 })?;
            entries.push(entry);
        }
        Ok(TablespaceMap { entries })
    }

    /// Writes the content of a `tablespace_map`.
    pub fn format(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for (oid, directory) in &self.entries {
            content.extend_from_slice(format!("{oid} ").as_bytes());
            for &byte in directory.as_os_str().as_bytes() {
                if matches!(byte, b'\n' | b'\r' | b'\\') {
                    content.push(b'\\');
                }
                content.push(byte);
            }
            content.push(b'\n');
        }
        content
    }
}

/// Cuts at newlines and carriage returns that no backslash stands before; a last line needs none.
fn unescaped_lines(content: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut bytes = content.iter().copied();
    while let Some(byte) = bytes.next() {
        let kept = match byte {
            b'\n' | b'\r' => {
                lines.push(Vec::new());
                continue;
            }
            b'\\' => bytes.next(),
            byte => Some(byte),
        };
        if let Some(line) = lines.last_mut() {
            line.extend(kept);
        }
    }
    lines
}

fn parse_entry(line: &[u8]) -> Option<(Oid, PathBuf)> {
    let (oid, directory) = line.split_at_checked(line.iter().position(|&byte| byte == b' ')?)?;
    let oid = Oid::parse(std::str::from_utf8(oid).ok()?)?;
    let directory = directory.strip_prefix(b" ")?;
    (!directory.is_empty()).then(|| (oid, PathBuf::from(OsStr::from_bytes(directory))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\n\
        BACKUP METHOD: streamed\n\
        BACKUP FROM: primary\n\
        START TIME: 2026-11-21 02:34:08 UTC\n\
        LABEL: a: label\n\
        START TIMELINE: 1\n";

    fn oid(number: u32) -> Oid {
        Oid::new(number).unwrap()
    }

    #[test]
    fn backup_label() {
        let label = BackupLabel::parse(LABEL).unwrap();
        assert_eq!(
            label,
            BackupLabel {
                start_lsn: Lsn::new(0x2000028),
                start_segment: "000000010000000000000002".parse().unwrap(),
                checkpoint_lsn: Lsn::new(0x2000060),
                from: BackupFrom::Primary,
                start_time: "2026-11-21 02:34:08 UTC".into(),
                label: "a: label".into(),
                incremental_from: None,
            }
        );
        assert_eq!(label.timeline(), TimelineId::FIRST);
    }

    #[test]
    fn backup_label_of_an_incremental_backup_of_a_standby() {
        let text = LABEL.replace("primary", "standby")
            + "INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n";
        let label = BackupLabel::parse(&text).unwrap();
        assert_eq!(label.from, BackupFrom::Standby);
        assert_eq!(label.incremental_from, Some((Lsn::new(0x1000028), TimelineId::FIRST)));
    }

    #[test]
    fn backup_labels_that_make_no_sense() {
        for (name, text, line) in [
            ("empty", String::new(), "START WAL LOCATION"),
            ("no file", LABEL.replace(" (file", " file"), "START WAL LOCATION"),
            ("no checkpoint", LABEL.replace("CHECKPOINT", "CHECK"), "CHECKPOINT LOCATION"),
            ("other timeline", LABEL.replace("TIMELINE: 1", "TIMELINE: 2"), "START TIMELINE"),
            ("from nowhere", LABEL.replace("primary", "nowhere"), "BACKUP FROM"),
            ("half incremental", format!("{LABEL}INCREMENTAL FROM LSN: 0/1\n"), "INCREMENTAL FROM LSN"),
        ] {
            assert_eq!(BackupLabel::parse(&text), Err(ParseError::BackupLabel { line }), "{name}");
        }
    }

    #[test]
    fn tablespace_map() {
        let content = b"16384 /srv/fast\n16390 /srv/with space\\\\and\\\nnewline\n";
        let map = TablespaceMap::parse(content).unwrap();
        assert_eq!(map.directory(oid(16384)), Some(Path::new("/srv/fast")));
        assert_eq!(map.directory(oid(16390)), Some(Path::new("/srv/with space\\and\nnewline")));
        assert_eq!(map.directory(oid(1)), None);
        assert_eq!(map.format(), content);
        assert_eq!(TablespaceMap::parse(b"").unwrap(), TablespaceMap::default());
        assert_eq!(TablespaceMap::parse(b"16384 /a\r\n\r\n").unwrap().entries().len(), 1);
    }

    #[test]
    fn tablespace_maps_postgresql_refuses() {
        for (content, line) in
            [("16384\n", 1), ("16384 \n", 1), ("16384 /a\nx /b\n", 2), ("0 /a", 1), (" /a", 1)]
        {
            assert_eq!(
                TablespaceMap::parse(content.as_bytes()),
                Err(ParseError::TablespaceMap { line }),
                "{content:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn tablespace_map_format_and_parse_are_inverse(
            entries in proptest::collection::vec((1u32.., proptest::collection::vec(1u8.., 1..20)), 0..4)
        ) {
            let entries = entries.iter().map(|(number, path)| (oid(*number), PathBuf::from(OsStr::from_bytes(path))));
            let map = TablespaceMap::new(entries.collect());
            prop_assert_eq!(TablespaceMap::parse(&map.format()), Ok(map));
        }

        #[test]
        fn no_content_panics(content: Vec<u8>, text in "(START WAL LOCATION: |[0-9A-F/]{0,9}| \\(file |\\)|\\PC|\n){0,20}") {
            let _ = TablespaceMap::parse(&content);
            let _ = BackupLabel::parse(&text);
        }
    }
}
