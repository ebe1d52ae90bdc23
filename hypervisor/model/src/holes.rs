//! Pages that are to be left alone, and what lies between them.

use assay_spec::addr::{Address, Ipa, PAGE_SIZE, Region};

/// The most pages of a VM that are remembered.
pub const PAGES: usize = 16;

/// Some pages of a VM's memory that nobody is to touch.
#[derive(Clone, Copy, Default, Debug)]
pub struct Holes {
    pages: [Ipa; PAGES],
    count: usize,
}

impl Holes {
    /// Adds the page at `ipa`, once. No more than [`PAGES`] are taken.
    pub fn add(&mut self, ipa: Ipa) {
        let page = ipa.align_down(PAGE_SIZE);
        if self.pages().contains(&page) {
            return;
        }
        if let Some(free) = self.pages.get_mut(self.count) {
            *free = page;
            self.count += 1;
        }
    }

    /// Returns the pages, in the order in which they came.
    pub fn pages(&self) -> &[Ipa] {
        &self.pages[..self.count]
    }

    /// Returns the first page that `range` touches.
    pub fn first_in(&self, range: &Region<Ipa>) -> Option<Ipa> {
        let page = |start: &Ipa| Region { start: *start, size: PAGE_SIZE };
        self.pages().iter().copied().filter(|start| page(start).overlaps(range)).min()
    }

    /// Returns the first part of `range` that touches none; `None` if all of it does, or is empty.
    pub fn first_part(&self, range: Region<Ipa>) -> Option<Region<Ipa>> {
        let (mut start, end) = (range.start.raw(), range.end().raw());
        while start < end {
            let rest = Region { start: Ipa(start), size: end - start };
            match self.first_in(&rest) {
                Some(hole) if hole.raw() <= start => start = hole.raw() + PAGE_SIZE,
                Some(hole) => return Some(Region { size: hole.raw() - start, ..rest }),
                None => return Some(rest),
            }
        }
        None
    }

    /// Calls `each` with all parts of `range` that touch none, in order.
    pub fn parts(&self, range: Region<Ipa>, mut each: impl FnMut(Region<Ipa>)) {
        let (mut rest, end) = (range, range.end().raw());
        while let Some(part) = self.first_part(rest) {
            each(part);
            rest = Region { start: part.end(), size: end - part.end().raw() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::{Holes, PAGES};
    use assay_spec::addr::{Ipa, Region};

    fn holes(pages: &[u64]) -> Holes {
        let mut holes = Holes::default();
        pages.iter().for_each(|page| holes.add(Ipa(*page)));
        holes
    }

    fn parts(holes: &Holes, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut parts = Vec::new();
        holes.parts(Region { start: Ipa(start), size: end - start }, |part| parts.push((part.start.0, part.end().0)));
        parts
    }

    #[test]
    fn a_page_is_in_it_once_by_any_of_its_bytes_and_there_are_sixteen() {
        let mut holes = holes(&[0x5123, 0x5000, 0x3fff, 0x5fff]);
        assert_eq!(holes.pages(), [Ipa(0x5000), Ipa(0x3000)]);
        (0x10..0x40).for_each(|page| holes.add(Ipa(page << 12)));
        assert_eq!(holes.pages().len(), PAGES);
        assert_eq!(holes.first_in(&Region { start: Ipa(0), size: 0x10_0000 }), Some(Ipa(0x3000)));
        assert_eq!(holes.first_in(&Region { start: Ipa(0x3fff), size: 1 }), Some(Ipa(0x3000)));
        assert_eq!(holes.first_in(&Region { start: Ipa(0x4000), size: 0x1000 }), None);
    }

    #[test]
    fn what_lies_between_is_all_but_the_pages() {
        let holes = holes(&[0x5000, 0x3000, 0x4000, 0x9000]);
        assert_eq!(parts(&holes, 0, 0xb000), [(0, 0x3000), (0x6000, 0x9000), (0xa000, 0xb000)]);
        // Ranges need not be of whole pages, nor reach beyond one.
        assert_eq!(parts(&holes, 0x2ff8, 0x3008), [(0x2ff8, 0x3000)]);
        assert_eq!(parts(&holes, 0x5ff8, 0x6008), [(0x6000, 0x6008)]);
        assert_eq!(parts(&holes, 0x3000, 0x6000), []);
        assert_eq!(parts(&holes, 0x3010, 0x3020), []);
        assert_eq!(parts(&holes, 0x7000, 0x7000), []);
        assert_eq!(parts(&Holes::default(), 0x3000, 0x6000), [(0x3000, 0x6000)]);
    }
}
