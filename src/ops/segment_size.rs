//! The segment size of an archived cluster, told from what is stored.
//!
//! Names of segments hold positions in units of the segment size, which no name tells. wal-g takes it from
//! `WALG_PG_WAL_SIZE` alone; here that is where to start, and the backups, which tell both a segment and an address
//! in it, may know better.

use crate::layout::walg::BackupName;
use crate::pg::{Lsn, SegmentName, WalSegmentSize};

use super::backup_list::ListedBackup;

/// The configured size, unless a backup contradicts it and another size fits all backups.
pub(super) fn of_archive(
    configured: WalSegmentSize,
    backups: impl Iterator<Item = (BackupName, Option<Lsn>)> + Clone,
) -> WalSegmentSize {
    let fits = |size: WalSegmentSize| {
        backups.clone().all(|(name, start)| start.is_none_or(|start| lies_in(start, name.segment(), size)))
    };
    if fits(configured) {
        return configured;
    }
    let sizes = (0..=10).filter_map(|power| WalSegmentSize::from_mebibytes(1 << power).ok());
    let found = sizes.into_iter().find(|size| fits(*size));
    if let Some(size) = found {
        tracing::info!("WAL segments of this repository have {size}, not {configured}");
    }
    found.unwrap_or(configured)
}

/// The same, of backups with their documents.
pub(super) fn of_backups(configured: WalSegmentSize, backups: &[ListedBackup]) -> WalSegmentSize {
    let name_and_start = |backup: &ListedBackup| {
        let start = backup.metadata.as_ref().map(|metadata| metadata.start_lsn).filter(|lsn| *lsn != 0);
        (backup.entry.name, start.map(Lsn::new))
    };
    of_archive(configured, backups.iter().map(name_and_start))
}

/// Whether a backup that starts at `start` is named after `segment`: the segment of that byte, or of the byte before
/// (`pg_walfile_name` at a boundary, and backups of a standby).
fn lies_in(start: Lsn, segment: SegmentName, size: WalSegmentSize) -> bool {
    let number = segment.number(size);
    number == Some(start.segment(size)) || number == Some(start.previous_segment(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_know_better_than_the_setting() {
        let backup = |name: &str, start: &str| {
            (name.parse::<BackupName>().unwrap(), Some(start.parse::<Lsn>().unwrap()))
        };
        let mebibytes = |size| WalSegmentSize::from_mebibytes(size).unwrap();
        for (backups, size) in [
            (vec![], 16),
            (vec![backup("base_000000010000000000000002", "0/2000028")], 16),
            (vec![backup("base_000000010000000000000007", "0/700028")], 1),
            (vec![backup("base_000000010000000000000007", "0/1C000028")], 64),
            (vec![backup("base_000000010000000000000001", "0/2000000")], 16),
            (
                vec![
                    backup("base_000000010000000000000007", "0/700028"),
                    backup("base_000000010000000000000002", "0/2000028"),
                ],
                16,
            ),
        ] {
            assert_eq!(of_archive(WalSegmentSize::DEFAULT, backups.into_iter()), mebibytes(size));
        }
    }
}
