//! Ranks become bytes, which [`packer::ranks`](super::super::packer::ranks) describes.
//!
//! Source: bzip2 1.0.8 `decompress.c`.

/// Ranks below this, which are most of them, are moved one by one.
const LOW: usize = 16;

/// The last bytes of the rotations of one block after the other, in the order of the rotations. Memory: 0.1 MB times the
/// level.
pub(super) struct LastBytes {
    pub bytes: Vec<u8>,
    /// How often each byte occurs.
    pub counts: [usize; 256],
    /// The bytes that occur, latest first.
    order: [u8; 256],
    /// So many bytes fit into the block.
    most: usize,
    /// The length of the current run of rank 0, and what the digit 1 adds to it next.
    run: usize,
    worth: usize,
}

impl LastBytes {
    pub fn new() -> Self {
        LastBytes { bytes: Vec::new(), counts: [0; 256], order: [0; 256], most: 0, run: 0, worth: 1 }
    }

    /// Begins a block of up to `most` bytes.
    pub fn begin(&mut self, occurring: &[u8], most: usize) {
        self.bytes.clear();
        self.bytes.reserve_exact(most);
        self.counts = [0; 256];
        for (place, byte) in self.order.iter_mut().zip(occurring) {
            *place = *byte;
        }
        (self.most, self.run, self.worth) = (most, 0, 1);
    }

    /// Takes a symbol that is not the end; `None` if the block is too large.
    pub fn put(&mut self, symbol: u16) -> Option<()> {
        if symbol < 2 {
            self.run += self.worth << symbol;
            self.worth *= 2;
            return (self.run <= self.most).then_some(());
        }
        self.put_run()?;
        self.move_to_front(usize::from(symbol - 1))?;
        self.run = 1;
        self.put_run()
    }

    /// Ends the last run; `None` if the block is too large.
    pub fn put_run(&mut self) -> Option<()> {
        let [byte, ..] = self.order;
        let end = Some(self.bytes.len() + self.run).filter(|end| *end <= self.most)?;
        self.bytes.resize(end, byte);
        *self.counts.get_mut(usize::from(byte))? += self.run;
        (self.run, self.worth) = (0, 1);
        Some(())
    }

    fn move_to_front(&mut self, rank: usize) -> Option<()> {
        let moved = self.order.get_mut(..=rank)?;
        if rank < LOW {
            let mut last = *moved.last()?;
            for place in moved {
                std::mem::swap(place, &mut last);
            }
        } else {
            moved.rotate_right(1);
        }
        Some(())
    }
}
