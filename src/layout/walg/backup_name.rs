//! The name of a base backup.
//!
//! | backup | name |
//! |---|---|
//! | full | `base_<segment of the start LSN>` |
//! | delta | `base_<segment>_D_<segment of the parent>` |
//! | written by WAL-E | `base_<segment>_<offset, 8 hexadecimal digits>` |
//!
//! The parent is named by the first segment of its own name only, so a chain is followed by the sentinels, not by
//! names. Source: wal-g `utility.go`, `backup_push_handler.go`.

use std::fmt;
use std::str::FromStr;

use crate::pg::SegmentName;

/// The name of a base backup, as it stands in `basebackups_005/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupName {
    segment: SegmentName,
    parent_segment: Option<SegmentName>,
    wale_offset: Option<u32>,
}

/// A text that is no backup name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of a backup (base_<segment> or base_<segment>_D_<segment>)")]
pub struct InvalidBackupName {
    text: String,
}

impl BackupName {
    /// The full backup that starts in `segment`.
    pub fn full(segment: SegmentName) -> BackupName {
        BackupName { segment, parent_segment: None, wale_offset: None }
    }

    /// The delta that starts in `segment` and builds on `parent`.
    pub fn delta(segment: SegmentName, parent: BackupName) -> BackupName {
        BackupName { segment, parent_segment: Some(parent.segment), wale_offset: None }
    }

    /// The segment that holds the start LSN.
    pub fn segment(self) -> SegmentName {
        self.segment
    }

    /// For a delta, the segment that names its parent.
    pub fn parent_segment(self) -> Option<SegmentName> {
        self.parent_segment
    }

    /// Whether the name is a delta's.
    pub fn is_delta(self) -> bool {
        self.parent_segment.is_some()
    }
}

impl FromStr for BackupName {
    type Err = InvalidBackupName;

    fn from_str(text: &str) -> Result<BackupName, InvalidBackupName> {
        parse(text).ok_or_else(|| InvalidBackupName { text: text.escape_debug().to_string() })
    }
}

fn parse(text: &str) -> Option<BackupName> {
    let (segment, mut rest) = split_segment(text.strip_prefix("base_")?)?;
    let mut name = BackupName::full(segment);
    if let Some(parent) = rest.strip_prefix("_D_") {
        let (parent, after) = split_segment(parent)?;
        name.parent_segment = Some(parent);
        rest = after;
    }
    if let Some(offset) = rest.strip_prefix('_') {
        name.wale_offset = Some(parse_upper_hex(offset, 8)?);
        rest = "";
    }
    rest.is_empty().then_some(name)
}

/// Splits off the 24 digits of a segment; wal-g writes and accepts upper case only.
fn split_segment(text: &str) -> Option<(SegmentName, &str)> {
    let (segment, rest) = text.split_at_checked(24)?;
    let upper = segment.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    if upper { Some((segment.parse().ok()?, rest)) } else { None }
}

fn parse_upper_hex(text: &str, digits: usize) -> Option<u32> {
    let valid = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    if valid { u32::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "base_{}", self.segment)?;
        if let Some(parent) = self.parent_segment {
            write!(f, "_D_{parent}")?;
        }
        if let Some(offset) = self.wale_offset {
            write!(f, "_{offset:08X}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_every_kind() {
        for (text, delta) in [
            ("base_000000010000000000000002", false),
            ("base_000000010000000000000006_D_000000010000000000000004", true),
            ("base_000000010000000000000002_00000040", false),
            ("base_000000010000000000000006_D_000000010000000000000004_00000028", true),
        ] {
            let name: BackupName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(name.is_delta(), delta, "{text}");
        }
        let full: BackupName = "base_000000010000000000000002".parse().unwrap();
        let delta = BackupName::delta("000000010000000000000004".parse().unwrap(), full);
        assert_eq!(delta.to_string(), "base_000000010000000000000004_D_000000010000000000000002");
        let second = BackupName::delta("000000010000000000000006".parse().unwrap(), delta);
        assert_eq!(second.to_string(), "base_000000010000000000000006_D_000000010000000000000004");
    }

    #[test]
    fn refuses_other_names() {
        for text in [
            "",
            "base_",
            "base_00000001000000000000000g",
            "base_00000001000000000000000a",
            "base_000000010000000000000002_",
            "base_000000010000000000000002_D_",
            "base_000000010000000000000002_D_0000000100000000000000020",
            "base_0000000100000000000000020",
            "LATEST",
        ] {
            assert!(text.parse::<BackupName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_round_trips(text in "(base_)?[0-9A-F]{0,25}(_D_[0-9A-F]{23,25})?(_[0-9A-F]{8})?") {
            if let Ok(name) = text.parse::<BackupName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
