//! `global/pg_control`: the cluster's identity, its last checkpoint and the sizes it was built with.
//!
//! The file is 8192 bytes of which about 290 are used. Offsets of what is read here, equal in PostgreSQL 13 to 18:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | system identifier |
//! | 8 | 4 | control file version: 1300 in PostgreSQL 13 to 16, 1700 in 17, 1800 in 18 |
//! | 12 | 4 | catalog version |
//! | 16 | 4 | state |
//! | 32 | 8 | LSN of the last checkpoint record |
//! | 40 | 8 | redo LSN of that checkpoint |
//! | 48 | 4 | its timeline |
//! | 136 | 8 | minimum recovery point |
//! | 144 | 4 | its timeline |
//! | 216 | 4 | bytes in a data page |
//! | 220 | 4 | data pages in a segment file of a large relation |
//! | 224 | 4 | bytes in a WAL page |
//! | 228 | 4 | bytes in a WAL segment |
//! | 252 | 4 | data checksum version, 0 = off |
//! | 288 (18: 292) | 4 | CRC-32C of all bytes before it |
//!
//! PostgreSQL 18 keeps the default signedness of `char` at 256, which moves the rest by 4 bytes. Source:
//! `catalog/pg_control.h`, `ControlFileData`; `tests/golden/pg` has files of real clusters.

use std::fmt;

use super::{Lsn, PgVersion, SystemIdentifier, TimelineId, WalSegmentSize};

/// What `pg_control` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// The cluster.
    pub system_identifier: SystemIdentifier,
    /// Version of this file's format (`PG_CONTROL_VERSION`).
    pub control_version: u32,
    /// Version of the system catalogs, which names the directory in a tablespace: `PG_15_202209061`.
    pub catalog_version: u32,
    /// What the server was doing when it last wrote the file.
    pub state: ClusterState,
    /// Where the last checkpoint record is.
    pub checkpoint_lsn: Lsn,
    /// Where replay from that checkpoint starts.
    pub redo_lsn: Lsn,
    /// The timeline of that checkpoint.
    pub checkpoint_timeline: TimelineId,
    /// How far a standby must replay before its data is consistent; `None` on a primary.
    pub min_recovery_lsn: Option<Lsn>,
    /// The timeline of that point; `None` on a primary.
    pub min_recovery_timeline: Option<TimelineId>,
    /// Bytes in a data page.
    pub block_size: u32,
    /// Data pages in one segment file of a large relation.
    pub blocks_per_segment: u32,
    /// Bytes in a WAL page.
    pub wal_block_size: u32,
    /// The size of WAL segments.
    pub wal_segment_size: WalSegmentSize,
    /// Version of data page checksums; `None` if pages have none.
    pub data_checksum_version: Option<u32>,
}

impl ControlFile {
    /// No version uses more bytes of the file than this (`PG_CONTROL_MAX_SAFE_SIZE`, one disk sector).
    pub const MAX_USED_LEN: usize = 512;

    /// Reads the content of `pg_control`, whole or its first [`ControlFile::MAX_USED_LEN`] bytes.
    ///
    /// A running server rewrites the file in place, so a reader can see a mix of two versions; that is
    /// [`ControlFileError::Crc`] and worth reading again.
    pub fn parse(content: &[u8]) -> Result<ControlFile, ControlFileError> {
        let control_version = u32_at(content, 8)?;
        let crc_offset = match control_version {
            1300 | 1700 => 288,
            1800 => 292,
            version => return Err(ControlFileError::UnknownVersion { version }),
        };
        let stored = u32_at(content, crc_offset)?;
        let covered = content.get(..crc_offset).ok_or(ControlFileError::TooShort { len: content.len() })?;
        let computed = crc32c::crc32c(covered);
        if computed != stored {
            return Err(ControlFileError::Crc { stored, computed });
        }
        let timeline = u32_at(content, 48)?;
        let segment_size = u32_at(content, 228)?;
        Ok(ControlFile {
            system_identifier: SystemIdentifier::new(u64_at(content, 0)?),
            control_version,
            catalog_version: u32_at(content, 12)?,
            state: ClusterState::from_code(u32_at(content, 16)?)?,
            checkpoint_lsn: Lsn::new(u64_at(content, 32)?),
            redo_lsn: Lsn::new(u64_at(content, 40)?),
            checkpoint_timeline: TimelineId::new(timeline)
                .ok_or(ControlFileError::Invalid { field: "timeline", value: timeline })?,
            min_recovery_lsn: Some(Lsn::new(u64_at(content, 136)?)).filter(|lsn| lsn.is_valid()),
            min_recovery_timeline: TimelineId::new(u32_at(content, 144)?),
            block_size: page_size_at(content, 216, "block size")?,
            blocks_per_segment: u32_at(content, 220)?,
            wal_block_size: page_size_at(content, 224, "WAL block size")?,
            wal_segment_size: WalSegmentSize::from_bytes(segment_size.into())
                .map_err(|_| ControlFileError::Invalid { field: "WAL segment size", value: segment_size })?,
            data_checksum_version: Some(u32_at(content, 252)?).filter(|&version| version != 0),
        })
    }

    /// The directory that holds this cluster's files in each tablespace, such as `PG_15_202209061`
    /// (`TABLESPACE_VERSION_DIRECTORY`, `common/relpath.h`). The major version is not in `pg_control`.
    pub fn tablespace_directory(&self, version: PgVersion) -> String {
        format!("PG_{}_{}", version.major(), self.catalog_version)
    }
}

fn page_size_at(content: &[u8], offset: usize, field: &'static str) -> Result<u32, ControlFileError> {
    let value = u32_at(content, offset)?;
    let possible = value.is_power_of_two() && (1024..=65536).contains(&value);
    if possible { Ok(value) } else { Err(ControlFileError::Invalid { field, value }) }
}

fn u32_at(content: &[u8], offset: usize) -> Result<u32, ControlFileError> {
    let bytes = content.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.copied().map(u32::from_le_bytes).ok_or(ControlFileError::TooShort { len: content.len() })
}

fn u64_at(content: &[u8], offset: usize) -> Result<u64, ControlFileError> {
    let bytes = content.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.copied().map(u64::from_le_bytes).ok_or(ControlFileError::TooShort { len: content.len() })
}

/// What the server was doing when it last wrote `pg_control` (`DBState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// Being created, or starting up.
    Starting,
    /// Cleanly shut down as a primary.
    ShutDown,
    /// Cleanly shut down as a standby.
    ShutDownInRecovery,
    /// Shutting down.
    ShuttingDown,
    /// Replaying WAL after a crash.
    InCrashRecovery,
    /// Replaying WAL from an archive or as a standby.
    InArchiveRecovery,
    /// Running as a primary, or crashed while doing so.
    InProduction,
}

impl ClusterState {
    fn from_code(code: u32) -> Result<ClusterState, ControlFileError> {
        Ok(match code {
            0 => ClusterState::Starting,
            1 => ClusterState::ShutDown,
            2 => ClusterState::ShutDownInRecovery,
            3 => ClusterState::ShuttingDown,
            4 => ClusterState::InCrashRecovery,
            5 => ClusterState::InArchiveRecovery,
            6 => ClusterState::InProduction,
            value => return Err(ControlFileError::Invalid { field: "state", value }),
        })
    }
}

impl fmt::Display for ClusterState {
    /// Writes the words of `pg_controldata`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClusterState::Starting => "starting up",
            ClusterState::ShutDown => "shut down",
            ClusterState::ShutDownInRecovery => "shut down in recovery",
            ClusterState::ShuttingDown => "shutting down",
            ClusterState::InCrashRecovery => "in crash recovery",
            ClusterState::InArchiveRecovery => "in archive recovery",
            ClusterState::InProduction => "in production",
        })
    }
}

/// Why bytes are not a control file that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlFileError {
    /// Cut off.
    #[error("read pg_control: only {len} bytes")]
    TooShort {
        /// Bytes there were.
        len: usize,
    },
    /// Written by another version, by a machine of the other byte order, or not a control file.
    #[error("read pg_control: format version {version} is not that of PostgreSQL 13 to 18")]
    UnknownVersion {
        /// The version found.
        version: u32,
    },
    /// Damaged, or read while the server was writing it.
    #[error("read pg_control: CRC is {stored:08X}, its content has {computed:08X}")]
    Crc {
        /// The CRC in the file.
        stored: u32,
        /// The CRC of the bytes before it.
        computed: u32,
    },
    /// A value no server writes.
    #[error("read pg_control: {field} {value} is not possible")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Control files of real clusters, and what `pg_controldata` says of them.
    const GOLDEN: [(&str, &[u8], &str); 7] = [
        (
            "13",
            include_bytes!("../../tests/golden/pg/pg_control.13.bin"),
            include_str!("../../tests/golden/pg/pg_control.13.txt"),
        ),
        (
            "14",
            include_bytes!("../../tests/golden/pg/pg_control.14.bin"),
            include_str!("../../tests/golden/pg/pg_control.14.txt"),
        ),
        (
            "15",
            include_bytes!("../../tests/golden/pg/pg_control.15.bin"),
            include_str!("../../tests/golden/pg/pg_control.15.txt"),
        ),
        (
            "15 standby",
            include_bytes!("../../tests/golden/pg/pg_control.15-standby.bin"),
            include_str!("../../tests/golden/pg/pg_control.15-standby.txt"),
        ),
        (
            "16",
            include_bytes!("../../tests/golden/pg/pg_control.16.bin"),
            include_str!("../../tests/golden/pg/pg_control.16.txt"),
        ),
        (
            "17",
            include_bytes!("../../tests/golden/pg/pg_control.17.bin"),
            include_str!("../../tests/golden/pg/pg_control.17.txt"),
        ),
        (
            "18",
            include_bytes!("../../tests/golden/pg/pg_control.18.bin"),
            include_str!("../../tests/golden/pg/pg_control.18.txt"),
        ),
    ];

    fn line(controldata: &str, title: &str) -> String {
        let line = controldata.lines().find_map(|line| line.strip_prefix(title)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("pg_controldata prints {title}")).trim().to_owned()
    }

    #[test]
    fn agrees_with_pg_controldata() {
        for (name, bytes, controldata) in GOLDEN {
            let file = ControlFile::parse(bytes).unwrap();
            let is =
                |title: &str, value: String| assert_eq!(value, line(controldata, title), "{name}: {title}");
            is("pg_control version number", file.control_version.to_string());
            is("Catalog version number", file.catalog_version.to_string());
            is("Database system identifier", file.system_identifier.to_string());
            is("Database cluster state", file.state.to_string());
            is("Latest checkpoint location", file.checkpoint_lsn.to_string());
            is("Latest checkpoint's REDO location", file.redo_lsn.to_string());
            is("Latest checkpoint's TimeLineID", file.checkpoint_timeline.to_string());
            is("Minimum recovery ending location", file.min_recovery_lsn.unwrap_or_default().to_string());
            is(
                "Min recovery ending loc's timeline",
                file.min_recovery_timeline.map_or(0, TimelineId::as_u32).to_string(),
            );
            is("Database block size", file.block_size.to_string());
            is("Blocks per segment of large relation", file.blocks_per_segment.to_string());
            is("WAL block size", file.wal_block_size.to_string());
            is("Bytes per WAL segment", file.wal_segment_size.bytes().to_string());
            is("Data page checksum version", file.data_checksum_version.unwrap_or(0).to_string());
        }
    }

    #[test]
    fn tablespace_directory() {
        let file = ControlFile::parse(GOLDEN[2].1).unwrap();
        assert_eq!(file.tablespace_directory(PgVersion::new(150018)), "PG_15_202209061");
    }

    #[test]
    fn every_changed_byte_is_found() {
        let (_, good, _) = GOLDEN[6];
        for at in 0..296 {
            let mut bytes = good.to_vec();
            bytes[at] ^= 0x10;
            assert!(ControlFile::parse(&bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn refuses_cut_and_foreign_files() {
        let (_, good, _) = GOLDEN[0];
        for len in [0, 8, 11, 12, 200, 291] {
            assert_eq!(ControlFile::parse(&good[..len]), Err(ControlFileError::TooShort { len }));
        }
        assert!(ControlFile::parse(&good[..292]).is_ok());
        assert_eq!(ControlFile::parse(&[0; 8192]), Err(ControlFileError::UnknownVersion { version: 0 }));
        let mut old = good.to_vec();
        old[8..12].copy_from_slice(&1201_u32.to_le_bytes());
        assert_eq!(ControlFile::parse(&old), Err(ControlFileError::UnknownVersion { version: 1201 }));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), old: bool) {
            let _ = ControlFile::parse(&bytes);
            if bytes.len() >= 296 {
                let (version, crc_offset) = if old { (1300_u32, 288) } else { (1800, 292) };
                bytes[8..12].copy_from_slice(&version.to_le_bytes());
                let crc = crc32c::crc32c(&bytes[..crc_offset]);
                bytes[crc_offset..crc_offset + 4].copy_from_slice(&crc.to_le_bytes());
                let _ = ControlFile::parse(&bytes);
            }
        }
    }
}
