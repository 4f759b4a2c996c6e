//! Files of which several backups of a chain hold something: a whole file and the increments over it.
//!
//! The tars of all backups are extracted at once, and still the file has to become what applying one backup after the
//! other, the oldest first, would make of it:
//!
//! - its size is the one that the newest increment says, or up to the end of the last page that it has;
//! - each page comes from the newest backup that holds it;
//! - but not from one that is older than an increment which says a size that ends before the page: the relation was
//!   truncated, and when it grew again, its new pages began as zeros.
//!
//! So each holder *claims* its pages before it writes them, newest backup first. What it claims is what no newer one has
//! claimed and what lies below the smallest size that a newer one said; every page is written once. A claim needs
//! only the header of an increment. It is made in turn, the writing itself is not: that happens beside that of others.
//!
//! A holder that comes before its turn waits. That the wait ends is owed to the order in which tars are started, see
//! [`Plan::tars`](super::plan::Plan::tars); a restore that fails or is cancelled ends all waits by
//! [`SharedFiles::give_up`].

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use roaring::RoaringBitmap;

use crate::layout::walg::increment::{IncrementHeader, PAGE_BYTES};

/// The shared files of a restore. Each takes a few words, and while it is being restored a bit for each page.
#[derive(Debug, Default)]
pub(super) struct SharedFiles {
    state: Mutex<State>,
    /// Notified when any file's turn passes on. Few wait at once: those that extract tars.
    passed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    given_up: bool,
    files: Vec<SharedFile>,
}

#[derive(Debug)]
struct SharedFile {
    /// Whose turn it is.
    turn: u32,
    /// `None` while the holder whose turn it is has taken them.
    gaps: Option<Gaps>,
}

/// One backup's place among those that hold a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    file: usize,
    /// 0 for the newest backup that holds the file.
    turn: u32,
}

impl Holder {
    /// The place of the next older backup.
    pub fn older(self) -> Holder {
        Holder { turn: self.turn + 1, ..self }
    }
}

/// Why a holder's turn does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTurn {
    /// The restore ends without the file.
    #[error("interrupted")]
    GivenUp,
    /// It has been: the backup has the file twice.
    #[error("another member of the backup's tars has the same name")]
    Repeated,
}

impl SharedFiles {
    /// Adds a file; the place of its newest holder.
    pub fn add(&mut self) -> Holder {
        let files = &mut self.state.get_mut().unwrap_or_else(PoisonError::into_inner).files;
        files.push(SharedFile { turn: 0, gaps: Some(Gaps::default()) });
        Holder { file: files.len() - 1, turn: 0 }
    }

    /// Waits until all newer holders of the file have claimed what they have. The turn has to be used, or the restore
    /// given up.
    pub fn wait(&self, holder: Holder) -> Result<Turn<'_>, NoTurn> {
        let early = |state: &mut State| {
            !state.given_up && state.files.get(holder.file).is_some_and(|file| file.turn < holder.turn)
        };
        let mut state = self.passed.wait_while(self.lock(), early).unwrap_or_else(PoisonError::into_inner);
        if state.given_up {
            return Err(NoTurn::GivenUp);
        }
        let file = state.files.get_mut(holder.file).filter(|file| file.turn == holder.turn);
        let gaps = file.and_then(|file| file.gaps.take()).ok_or(NoTurn::Repeated)?;
        Ok(Turn { files: self, holder, gaps })
    }

    /// Ends all waits, those to come included.
    pub fn give_up(&self) {
        self.lock().given_up = true;
        self.passed.notify_all();
    }

    fn pass(&self, holder: Holder, gaps: Option<Gaps>) {
        if let Some(file) = self.lock().files.get_mut(holder.file) {
            *file = SharedFile { turn: holder.turn + 1, gaps };
        }
        self.passed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of one holder.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    files: &'a SharedFiles,
    holder: Holder,
    gaps: Gaps,
}

impl Turn<'_> {
    /// Whether nobody else has touched the file: it is to be created.
    pub fn is_first(&self) -> bool {
        self.holder.turn == 0
    }

    /// Claims what counts of an increment, and lets the next older holder go on. The file must have its final size
    /// by now. Returns the blocks to write.
    pub fn claim(mut self, increment: &IncrementHeader) -> RoaringBitmap {
        let claimed = self.gaps.claim(increment);
        self.files.pass(self.holder, Some(self.gaps));
        claimed
    }

    /// Claims all that is left: this holder has the file whole, so it is the oldest.
    pub fn claim_rest(self) -> Gaps {
        self.files.pass(self.holder, None);
        self.gaps
    }
}

/// What the backups so far leave to the older ones, of one file.
#[derive(Debug)]
pub(super) struct Gaps {
    claimed: RoaringBitmap,
    /// From here on nothing older counts: the smallest size so far.
    limit_bytes: u64,
}

impl Default for Gaps {
    fn default() -> Gaps {
        Gaps { claimed: RoaringBitmap::new(), limit_bytes: u64::MAX }
    }
}

impl Gaps {
    fn claim(&mut self, increment: &IncrementHeader) -> RoaringBitmap {
        let counts = |block: &u32| offset_of(*block) < self.limit_bytes;
        let mut claimed: RoaringBitmap = increment.blocks().iter().copied().take_while(counts).collect();
        claimed -= &self.claimed;
        self.claimed |= &claimed;
        self.limit_bytes = self.limit_bytes.min(increment.file_bytes());
        claimed
    }

    /// Which of the `length` bytes at `offset`, the start of a page, fall into the gaps.
    pub fn within(&self, offset: u64, length: usize) -> Vec<Range<usize>> {
        let below_limit = usize::try_from(self.limit_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(below_limit);
        let mut runs: Vec<Range<usize>> = Vec::new();
        for start in (0..length).step_by(PAGE_BYTES) {
            let block = u32::try_from((offset + start as u64) / PAGE_BYTES as u64);
            if block.is_ok_and(|block| self.claimed.contains(block)) {
                continue;
            }
            let end = length.min(start + PAGE_BYTES);
            match runs.last_mut() {
                Some(run) if run.end == start => run.end = end,
                _ => runs.push(start..end),
            }
        }
        runs
    }
}

/// Where a block begins in its file, in bytes.
pub(super) fn offset_of(block: u32) -> u64 {
    u64::from(block) * PAGE_BYTES as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn increment(pages: u64, blocks: &[u32]) -> IncrementHeader {
        IncrementHeader::new(pages * PAGE_BYTES as u64, blocks.to_vec()).unwrap()
    }

    fn claim(files: &SharedFiles, holder: Holder, pages: u64, blocks: &[u32]) -> Vec<u32> {
        files.wait(holder).unwrap().claim(&increment(pages, blocks)).iter().collect()
    }

    #[test]
    fn each_page_is_claimed_once_and_none_beyond_a_truncation() {
        let mut files = SharedFiles::default();
        let newest = files.add();
        assert_eq!(claim(&files, newest, 8, &[1, 6]), [1, 6]);
        // It was shorter here, and grew later: of all that is older only four pages count.
        assert_eq!(claim(&files, newest.older(), 4, &[0, 1]), [0]);
        assert_eq!(claim(&files, newest.older().older(), 8, &[2, 5, 6, 7]), [2]);
        let gaps = files.wait(newest.older().older().older()).unwrap().claim_rest();
        let page = PAGE_BYTES;
        assert_eq!(gaps.within(0, 8 * page), [Range { start: 3 * page, end: 4 * page }]);
        assert_eq!(gaps.within(3 * page as u64, 10), [Range { start: 0, end: 10 }]);
        assert_eq!(gaps.within(4 * page as u64, page), []);
    }

    /// As wal-g writes it of a file that grew while it was backed up.
    fn claim_of_grown(files: &SharedFiles, holder: Holder, pages: u64, blocks: &[u32]) -> Vec<u32> {
        let mut bytes = Vec::new();
        increment(u64::from(u32::MAX), blocks).write(&mut bytes).unwrap();
        bytes[4..12].copy_from_slice(&(pages * PAGE_BYTES as u64).to_le_bytes());
        let header = IncrementHeader::read(&bytes[..]).unwrap();
        files.wait(holder).unwrap().claim(&header).iter().collect()
    }

    #[test]
    fn pages_beyond_the_size_are_those_of_their_backup() {
        let mut files = SharedFiles::default();
        let newest = files.add();
        // Its own count, whatever it says of the size; of older ones nothing beyond the size does.
        assert_eq!(claim_of_grown(&files, newest, 4, &[1, 4, 6]), [1, 4, 6]);
        let older = newest.older();
        assert_eq!(claim_of_grown(&files, older, 2, &[1, 2, 3, 4, 5]), [2, 3]);
        let gaps = files.wait(older.older()).unwrap().claim_rest();
        let page = PAGE_BYTES;
        assert_eq!(gaps.within(0, 8 * page), [Range { start: 0, end: page }]);
    }

    #[test]
    fn gaps_come_as_runs() {
        let mut files = SharedFiles::default();
        let newest = files.add();
        claim(&files, newest, 100, &[2, 5]);
        let gaps = files.wait(newest.older()).unwrap().claim_rest();
        let page = PAGE_BYTES;
        let runs = [0..2 * page, 3 * page..5 * page, 6 * page..7 * page + 1];
        assert_eq!(gaps.within(0, 7 * page + 1), runs);
        assert_eq!(gaps.within(6 * page as u64, 3 * page), [Range { start: 0, end: 3 * page }]);
    }

    #[test]
    fn an_older_holder_waits_for_the_newer_one() {
        let mut files = SharedFiles::default();
        let newest = files.add();
        let files = Arc::new(files);
        let older = std::thread::spawn({
            let files = Arc::clone(&files);
            move || claim(&files, newest.older(), 2, &[0, 1])
        });
        std::thread::sleep(Duration::from_millis(20));
        assert!(!older.is_finished());
        assert_eq!(claim(&files, newest, 2, &[1]), [1]);
        assert_eq!(older.join().unwrap(), [0]);
    }

    #[test]
    fn giving_up_ends_every_wait() {
        let mut files = SharedFiles::default();
        let holders: Vec<Holder> = (0..4).map(|_| files.add().older()).collect();
        let files = Arc::new(files);
        let waiters: Vec<_> = holders
            .iter()
            .map(|holder| {
                let (files, holder) = (Arc::clone(&files), *holder);
                std::thread::spawn(move || files.wait(holder).map(drop))
            })
            .collect();
        files.give_up();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(NoTurn::GivenUp));
        }
        assert_eq!(files.wait(holders[0]).map(drop), Err(NoTurn::GivenUp));
    }

    #[test]
    fn a_turn_comes_once() {
        let mut files = SharedFiles::default();
        let newest = files.add();
        let turn = files.wait(newest).unwrap();
        assert_eq!(files.wait(newest).map(drop), Err(NoTurn::Repeated));
        turn.claim(&increment(1, &[]));
        assert_eq!(files.wait(newest).map(drop), Err(NoTurn::Repeated));
        files.wait(newest.older()).unwrap().claim_rest();
        assert_eq!(files.wait(newest.older()).map(drop), Err(NoTurn::Repeated));
    }
}
