//! The pages of a VM that have failed, or that the operator wants out of it.

use core::fmt;

use assay_spec::addr::{Address, Ipa, PAGE_SIZE};

use crate::holes::PAGES;

/// Why a page is not to be used any more. Displayed as `event=` has it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Event {
    /// An access of the guest's met an external abort there: the memory has failed, or is not there.
    #[default]
    Poison,
    /// The operator said so.
    Offline,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poison => "poison",
            Self::Offline => "offline",
        })
    }
}

/// A page that is not to be used any more.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FailedPage {
    /// Where it begins.
    pub ipa: Ipa,
    /// Why.
    pub event: Event,
    /// It has left the VM's tables.
    pub has_left: bool,
}

/// What became of a page that was noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    /// It is news.
    New(FailedPage),
    /// It was known.
    Known(FailedPage),
    /// There is no room to remember it: a guest that goes on over failing memory is not told of for ever.
    Full,
}

/// The pages of one VM since the boot, each once.
#[derive(Default)]
pub struct Poison {
    pages: [FailedPage; PAGES],
    count: usize,
}

impl Poison {
    /// Notes the page at `ipa`.
    pub fn note(&mut self, ipa: Ipa, event: Event) -> Noted {
        let page = FailedPage { ipa: ipa.align_down(PAGE_SIZE), event, has_left: false };
        if let Some(known) = self.pages().iter().find(|known| known.ipa == page.ipa) {
            return Noted::Known(*known);
        }
        let Some(free) = self.pages.get_mut(self.count) else { return Noted::Full };
        *free = page;
        self.count += 1;
        Noted::New(page)
    }

    /// Notes that the page at `ipa` has left the VM. Returns whether that is news.
    pub fn left(&mut self, ipa: Ipa) -> bool {
        let page = self.pages.iter_mut().take(self.count).find(|page| page.ipa == ipa && !page.has_left);
        page.map(|page| page.has_left = true).is_some()
    }

    /// Returns the pages, in the order in which they were noted.
    pub fn pages(&self) -> &[FailedPage] {
        &self.pages[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, FailedPage, Noted, PAGES, Poison};
    use assay_spec::addr::Ipa;

    #[test]
    fn each_page_is_news_once_and_there_are_sixteen() {
        let mut poison = Poison::default();
        let first = FailedPage { ipa: Ipa(0x8000_1000), event: Event::Poison, has_left: false };
        assert_eq!(poison.note(Ipa(0x8000_1234), Event::Poison), Noted::New(first));
        // Why it is there stays as it was said first.
        assert_eq!(poison.note(Ipa(0x8000_1ff8), Event::Offline), Noted::Known(first));
        for page in 0..2 * PAGES as u64 {
            let ipa = Ipa(0x9000_0000 + page * 0x1000);
            let new = FailedPage { ipa, event: Event::Offline, has_left: false };
            let expected = if page + 1 < PAGES as u64 { Noted::New(new) } else { Noted::Full };
            assert_eq!(poison.note(ipa, Event::Offline), expected);
        }
        assert_eq!(poison.pages().len(), PAGES);
        assert_eq!((poison.pages()[0].ipa, poison.pages()[1].ipa), (Ipa(0x8000_1000), Ipa(0x9000_0000)));
        assert_eq!(poison.note(Ipa(0x8000_1000), Event::Poison), Noted::Known(first));
    }

    #[test]
    fn a_page_leaves_once() {
        let mut poison = Poison::default();
        let _ = poison.note(Ipa(0x8000_1000), Event::Poison);
        assert!(!poison.left(Ipa(0x8000_2000)) && !poison.left(Ipa(0)));
        assert!(poison.left(Ipa(0x8000_1000)));
        assert!(!poison.left(Ipa(0x8000_1000)));
        assert!(poison.pages()[0].has_left);
    }
}
