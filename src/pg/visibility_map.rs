//! The visibility map of a table: two bits for each of its pages, after an ordinary page header.
//!
//! The lower bit says that every row of the page is visible to everyone, as does a flag in the page itself
//! ([`PageHeader::is_all_visible`]); the upper one that all are frozen. A page of the map gets a new LSN when one of its
//! bits is set, and keeps its LSN when one is cleared. Source: `access/heap/visibilitymap.c`, `visibilitymap_set` and
//! `visibilitymap_clear`; `access/visibilitymapdefs.h`.

use super::Lsn;
use super::page::PageHeader;

/// Bytes of a page of the map (`BLCKSZ` of an ordinary build).
pub const PAGE_BYTES: usize = 8192;
/// The page header's length, aligned (`MAXALIGN(SizeOfPageHeaderData)`).
const HEADER_BYTES: usize = 24;
/// Bits for each page of the table (`BITS_PER_HEAPBLOCK`).
const BITS: u32 = 2;
/// `VISIBILITYMAP_ALL_VISIBLE`.
const ALL_VISIBLE: u8 = 0x01;
/// Pages of the table in one page of the map (`HEAPBLOCKS_PER_PAGE`): four to a byte after the header.
const BLOCKS_PER_PAGE: u32 = 32_672;

/// Some pages of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibilityMap {
    first_page: u32,
    content: Vec<u8>,
}

impl VisibilityMap {
    /// The page of the map that holds the bits of a page of the table.
    pub fn page_of(block: u32) -> u32 {
        block / BLOCKS_PER_PAGE
    }

    /// The pages of a map from `first_page` on; of a last one that is not whole nothing is known.
    pub fn new(first_page: u32, content: Vec<u8>) -> VisibilityMap {
        VisibilityMap { first_page, content }
    }

    /// Whether the bit of the table's page `block` is set, and may have been set after `since`. Pages that the map does
    /// not have are not set.
    pub fn may_have_been_set_since(&self, block: u32, since: Lsn) -> bool {
        let page = VisibilityMap::page_of(block).checked_sub(self.first_page);
        let page = page.and_then(|page| self.content.chunks_exact(PAGE_BYTES).nth(page as usize));
        let Some((page, header)) = page.and_then(|page| Some((page, PageHeader::parse(page)?))) else {
            return false;
        };
        let at = block % BLOCKS_PER_PAGE * BITS;
        let byte = page.get(HEADER_BYTES + at as usize / 8).copied().unwrap_or_default();
        let is_set = byte >> (at % 8) & ALL_VISIBLE != 0;
        is_set && (header.lsn >= since || !header.lsn.is_valid())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The map of a table of 100 pages in PostgreSQL 15, of which VACUUM had marked all and a DELETE unmarked page 1;
    /// `page_header` of pageinspect says that its LSN is 0/15D8BE0.
    fn golden() -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        page[..24].copy_from_slice(&[
            0, 0, 0, 0, 0xE0, 0x8B, 0x5D, 0x01, 0, 0, 0, 0, 0x18, 0, 0, 0x20, 0, 0x20, 4, 0x20, 0, 0, 0, 0,
        ]);
        page[24] = 0x51;
        page[25..49].fill(0x55);
        page
    }

    const LSN: Lsn = Lsn::new(0x15D_8BE0);

    #[test]
    fn bits_that_may_be_new() {
        let map = VisibilityMap::new(0, golden());
        for block in 0..200 {
            let is_set = block < 100 && block != 1;
            assert_eq!(map.may_have_been_set_since(block, LSN), is_set, "{block}");
            assert!(!map.may_have_been_set_since(block, LSN.checked_add(1).unwrap()), "{block}");
        }
        let mut page = golden();
        page[..8].fill(0);
        let without_lsn = VisibilityMap::new(0, page);
        assert!(without_lsn.may_have_been_set_since(2, LSN) && !without_lsn.may_have_been_set_since(1, LSN));
    }

    #[test]
    fn pages_of_a_map() {
        assert_eq!([0, 32_671, 32_672, 131_072].map(VisibilityMap::page_of), [0, 0, 1, 4]);
        let content = [vec![0; PAGE_BYTES], golden(), vec![0x55; 100]].concat();
        let map = VisibilityMap::new(3, content);
        let set = |block| map.may_have_been_set_since(block, LSN);
        assert!(set(4 * 32_672) && !set(4 * 32_672 + 1) && set(4 * 32_672 + 99));
        assert!(!set(3 * 32_672) && !set(0) && !set(5 * 32_672) && !set(u32::MAX));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(content in proptest::collection::vec(any::<u8>(), 0..20_000), first: u32, block: u32) {
            let _ = VisibilityMap::new(first, content).may_have_been_set_since(block, LSN);
        }
    }
}
