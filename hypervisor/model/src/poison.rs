//! The pages of a VM at which its accesses met external aborts: memory that failed, or is not there.

use assay_spec::addr::{Address, Ipa, PAGE_SIZE};

/// Pages that are remembered.
const PAGES: usize = 16;

/// The pages of one VM since the boot, each once.
#[derive(Default)]
pub struct Poison {
    pages: [Ipa; PAGES],
    count: usize,
}

impl Poison {
    /// Notes an access that met an external abort. Returns its page if it is news, and there is room to remember it: a
    /// guest that goes on over failing memory is not told of for ever.
    pub fn note(&mut self, ipa: Ipa) -> Option<Ipa> {
        let page = ipa.align_down(PAGE_SIZE);
        if self.pages().contains(&page) {
            return None;
        }
        *self.pages.get_mut(self.count)? = page;
        self.count += 1;
        Some(page)
    }

    /// Returns the pages, in the order in which they were met.
    pub fn pages(&self) -> &[Ipa] {
        &self.pages[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::{PAGES, Poison};
    use assay_spec::addr::Ipa;

    #[test]
    fn each_page_is_news_once_and_there_are_sixteen() {
        let mut poison = Poison::default();
        assert_eq!(poison.note(Ipa(0x8000_1234)), Some(Ipa(0x8000_1000)));
        assert_eq!(poison.note(Ipa(0x8000_1ff8)), None);
        for page in 0..2 * PAGES as u64 {
            let ipa = Ipa(0x9000_0000 + page * 0x1000);
            assert_eq!(poison.note(ipa), (page + 1 < PAGES as u64).then_some(ipa));
        }
        assert_eq!(poison.pages().len(), PAGES);
        assert_eq!(poison.pages()[..2], [Ipa(0x8000_1000), Ipa(0x9000_0000)]);
    }
}
