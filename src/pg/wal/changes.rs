//! What a record changes in the main forks of relations.
//!
//! The same is decided as by PostgreSQL's own summarizer (`postmaster/walsummarizer.c` of 17, functions
//! `SummarizeWAL`, `SummarizeDbaseRecord`, `SummarizeSmgrRecord`, `SummarizeXactRecord`, `SummarizeXlogRecord`). The
//! structures read here are the same in 13 to 18, but for those of databases:
//!
//! | record | info | main data | source |
//! |---|---|---|---|
//! | relation created | 0x10 | relation (12), fork (4) | `catalog/storage_xlog.h` |
//! | relation truncated | 0x20 | blocks (4), relation (12), flags (4) | there |
//! | database copied | 0x00 | database (4), tablespace (4), … | `commands/dbcommands_xlog.h` |
//! | database made by WAL, from 15 on | 0x10 | database (4), tablespace (4) | there |
//! | database dropped | 0x20, before 15 0x10 | database (4), count (4), tablespaces (4 each) | there |
//! | commit, abort | 0x00, 0x20; prepared 0x30, 0x40 | see [`dropped_relations`] | `access/xact.h` |
//!
//! Unlike the summarizer this one refuses a record that says it changes files in a way unknown here.

use super::WalError;
use super::fields::Fields;
use super::record::{Record, RecordHeader};
use crate::pg::{BlockMap, DatabasePlace, Lsn, RelationPlace};

// `access/rmgrlist.h`.
const MANAGER_XLOG: u8 = 0;
const MANAGER_TRANSACTION: u8 = 1;
const MANAGER_STORAGE: u8 = 2;
const MANAGER_DATABASE: u8 = 4;

/// `XLR_SPECIAL_REL_UPDATE`: the record changes files beyond the blocks it names.
const CHANGES_FILES: u8 = 0x01;

const MAIN_FORK: u8 = 0;

// `catalog/pg_control.h`.
const XLOG_CHECKPOINT_SHUTDOWN: u8 = 0x00;
const XLOG_SWITCH: u8 = 0x40;
const XLOG_PARAMETER_CHANGE: u8 = 0x60;
const XLOG_END_OF_RECOVERY: u8 = 0x90;
const XLOG_OVERWRITE_CONTRECORD: u8 = 0xD0;
const XLOG_CHECKPOINT_REDO: u8 = 0xE0;

/// `WAL_LEVEL_MINIMAL`, `access/xlog.h`.
const WAL_LEVEL_MINIMAL: u32 = 0;

const SMGR_CREATE: u8 = 0x10;
const SMGR_TRUNCATE: u8 = 0x20;
const SMGR_TRUNCATE_HEAP: u32 = 0x0001;

const XACT_OPERATION_MASK: u8 = 0x70;
const XACT_COMMIT: u8 = 0x00;
const XACT_ABORT: u8 = 0x20;
const XACT_COMMIT_PREPARED: u8 = 0x30;
const XACT_ABORT_PREPARED: u8 = 0x40;
const XACT_HAS_INFO: u8 = 0x80;
const XINFO_HAS_DATABASE: u32 = 1 << 0;
const XINFO_HAS_SUBTRANSACTIONS: u32 = 1 << 1;
const XINFO_HAS_RELATIONS: u32 = 1 << 2;

/// Whether the rest of the segment after this record is empty: `pg_switch_wal` and `archive_timeout`.
pub(super) fn ends_segment(header: &RecordHeader) -> bool {
    header.manager == MANAGER_XLOG && header.kind() == XLOG_SWITCH
}

/// Whether more than the blocks it names matters of such a record. Only then its main data has to be kept.
pub(super) fn needs_main_data(header: &RecordHeader) -> bool {
    match header.manager {
        MANAGER_XLOG => matches!(
            header.kind(),
            XLOG_CHECKPOINT_SHUTDOWN
                | XLOG_PARAMETER_CHANGE
                | XLOG_END_OF_RECOVERY
                | XLOG_OVERWRITE_CONTRECORD
                | XLOG_CHECKPOINT_REDO
        ),
        // The flag for changed files is not set on these before 14.
        MANAGER_TRANSACTION => header.info & XACT_HAS_INFO != 0 && ends_transaction(header),
        MANAGER_STORAGE | MANAGER_DATABASE => true,
        _ => false,
    }
}

/// The start of the unfinished record that this record says was dropped after a crash (`xl_overwrite_contrecord`,
/// `access/xlog_internal.h`); `None` for other records.
pub(super) fn overwritten(header: &RecordHeader, main_data: &[u8]) -> Option<Lsn> {
    let says_so = header.manager == MANAGER_XLOG && header.kind() == XLOG_OVERWRITE_CONTRECORD;
    if says_so { Fields(main_data).u64().map(Lsn::new) } else { None }
}

/// Adds to `map` what the record changed; returns its main data, empty unless [`needs_main_data`].
pub(super) fn add_changes<'a>(record: &Record<'a>, map: &mut BlockMap) -> Result<&'a [u8], WalError> {
    let &Record { lsn, pg_major, header, .. } = record;
    let main_data = record.blocks(|reference| {
        if reference.fork == MAIN_FORK {
            let (tablespace, database, filenode) = reference.relation;
            if let Some(relation) = RelationPlace::of_numbers(tablespace, database, filenode) {
                map.mark(relation, reference.block);
            }
        }
    })?;
    let short = || WalError::Record { lsn, problem: "its main data is too short" };
    let mut data = Fields(main_data);
    let understood = match header.manager {
        MANAGER_XLOG => {
            if let Some(level) = wal_level(&header, pg_major, data)
                && level.ok_or_else(short)? == WAL_LEVEL_MINIMAL
            {
                return Err(WalError::MinimalLevel { lsn });
            }
            header.info & CHANGES_FILES == 0
        }
        MANAGER_STORAGE => storage(&header, &mut data, map).ok_or_else(short)?,
        MANAGER_DATABASE => databases(&header, pg_major, &mut data, map).ok_or_else(short)?,
        MANAGER_TRANSACTION if ends_transaction(&header) => {
            dropped_relations(&header, &mut data, map).ok_or_else(short)?;
            true
        }
        _ => header.info & CHANGES_FILES == 0,
    };
    if !understood {
        return Err(WalError::UnknownChange { lsn, manager: header.manager, info: header.info });
    }
    Ok(main_data)
}

/// The `wal_level` that the record tells, if records of its kind do; the inner `None` when it is too short for it.
///
/// A change of the level is always told by a parameter change; from 17 on by the others too. Below `replica` pages are
/// changed without WAL. (`XLogReportParameters`, `access/transam/xlog.c`; `xl_parameter_change` and
/// `xl_end_of_recovery`, `access/xlog_internal.h`; `CheckPoint`, `catalog/pg_control.h`.)
fn wal_level(header: &RecordHeader, pg_major: u32, mut data: Fields) -> Option<Option<u32>> {
    let offset = match header.kind() {
        XLOG_PARAMETER_CHANGE => 20,
        XLOG_CHECKPOINT_SHUTDOWN if pg_major >= 17 => 20,
        XLOG_END_OF_RECOVERY if pg_major >= 17 => 16,
        XLOG_CHECKPOINT_REDO if pg_major >= 17 => 0,
        _ => return None,
    };
    Some(data.bytes(offset).and_then(|_| data.u32()))
}

/// A relation made or truncated. As below: `None` when the record is too short, false when it is of no known kind.
fn storage(header: &RecordHeader, data: &mut Fields, map: &mut BlockMap) -> Option<bool> {
    match header.kind() {
        SMGR_CREATE => {
            let relation = relation(data)?;
            if data.u32()? == u32::from(MAIN_FORK) {
                cut(map, relation, 0);
            }
        }
        SMGR_TRUNCATE => {
            let blocks = data.u32()?;
            let relation = relation(data)?;
            if data.u32()? & SMGR_TRUNCATE_HEAP != 0 {
                cut(map, relation, blocks);
            }
        }
        _ => return Some(false),
    }
    Some(true)
}

/// A database made or dropped. One made by WAL needs no more than its blocks, but PostgreSQL counts it too.
fn databases(header: &RecordHeader, pg_major: u32, data: &mut Fields, map: &mut BlockMap) -> Option<bool> {
    enum Kind {
        Made,
        Dropped,
    }
    let kind = match (header.kind(), pg_major >= 15) {
        (0x00, _) | (0x10, true) => Kind::Made,
        (0x10, false) | (0x20, true) => Kind::Dropped,
        _ => return Some(false),
    };
    let database = data.u32()?;
    let places = match kind {
        Kind::Made => 1,
        Kind::Dropped => data.u32()?,
    };
    for _ in 0..places {
        if let Some(place) = DatabasePlace::of_numbers(data.u32()?, database) {
            map.replace(place);
        }
    }
    Some(true)
}

fn ends_transaction(header: &RecordHeader) -> bool {
    let operation = header.info & XACT_OPERATION_MASK;
    matches!(operation, XACT_COMMIT | XACT_ABORT | XACT_COMMIT_PREPARED | XACT_ABORT_PREPARED)
}

/// The relations that a transaction dropped by its commit, or made in vain, being aborted.
///
/// After the time (8) come, if `info` says so, flags (4) and the parts that the flags announce, in this order:
/// database and its tablespace (4 each); subtransactions: count (4), numbers (4 each); relations: count (4), relations
/// (12 each). What follows is not read (`ParseCommitRecord`, `access/rmgrdesc/xactdesc.c`).
fn dropped_relations(header: &RecordHeader, data: &mut Fields, map: &mut BlockMap) -> Option<()> {
    if header.info & XACT_HAS_INFO == 0 {
        return Some(());
    }
    let _time = data.u64()?;
    let flags = data.u32()?;
    if flags & XINFO_HAS_DATABASE != 0 {
        let _database_and_tablespace = data.u64()?;
    }
    if flags & XINFO_HAS_SUBTRANSACTIONS != 0 {
        let count = usize::try_from(data.u32()?).ok()?;
        data.bytes(count.checked_mul(4)?)?;
    }
    if flags & XINFO_HAS_RELATIONS != 0 {
        for _ in 0..data.u32()? {
            let relation = relation(data)?;
            cut(map, relation, 0);
        }
    }
    Some(())
}

/// A relation by its numbers (`RelFileLocator`), if it is one that the map knows.
fn relation(data: &mut Fields) -> Option<Option<RelationPlace>> {
    Some(RelationPlace::of_numbers(data.u32()?, data.u32()?, data.u32()?))
}

fn cut(map: &mut BlockMap, relation: Option<RelationPlace>, blocks: u32) {
    if let Some(relation) = relation {
        map.cut(relation, blocks);
    }
}
