use super::{Array, BLOCK, Flash};
use assay_spec::exit::Width;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::vec;
use std::vec::Vec;

const READY: u32 = 0x0080_0080;

/// Two blocks.
struct Words(Vec<u32>);

impl Words {
    fn index(at: u64) -> usize {
        assert!(at.is_multiple_of(4) && at < 2 * BLOCK, "{at:#x}");
        usize::try_from(at / 4).unwrap()
    }
}

impl Array for Words {
    fn load(&self, at: u64) -> u32 {
        self.0[Self::index(at)]
    }
    fn store(&mut self, at: u64, word: u32) {
        self.0[Self::index(at)] = word;
    }
    fn erase(&mut self, block: u64) {
        assert!(block.is_multiple_of(BLOCK));
        let start = Self::index(block);
        self.0[start..start + usize::try_from(BLOCK / 4).unwrap()].fill(u32::MAX);
    }
}

fn flash() -> (Flash, Words) {
    (Flash::default(), Words(vec![0x1234_5678; usize::try_from(BLOCK / 2).unwrap()]))
}

/// Stores these words, and returns what is read at the last one's place.
fn write(flash: &mut Flash, words: &mut Words, stores: &[(u64, u32)]) -> u32 {
    let mut last = 0;
    for (at, word) in stores {
        flash.write(*at, Width::W4, (*word).into(), words);
        last = words.load(*at);
    }
    last
}

#[test]
fn status_is_read_where_it_is_asked_for_and_at_the_start_until_the_array_is() {
    let (mut flash, mut words) = flash();
    assert_eq!(write(&mut flash, &mut words, &[(0x40, 0x0070_0070)]), READY);
    assert_eq!((words.load(0), words.load(4)), (READY, 0x1234_5678));
    assert_eq!(write(&mut flash, &mut words, &[(0, 0x0070_0070)]), READY);
    assert_eq!(words.load(0x40), 0x1234_5678);
    assert_eq!(write(&mut flash, &mut words, &[(0, 0x00ff_00ff)]), 0x1234_5678);
    assert!(words.0.iter().all(|word| *word == 0x1234_5678));
}

#[test]
fn a_block_is_erased_and_words_are_programmed() {
    let (mut flash, mut words) = flash();
    let at = BLOCK + 0x100;
    let erase = [(at, 0x0060_0060), (at, 0x00d0_00d0), (at, 0x0020_0020), (at, 0x00d0_00d0)];
    assert_eq!(write(&mut flash, &mut words, &erase), READY);
    assert_eq!(write(&mut flash, &mut words, &[(0, 0x00ff_00ff), (at, 0x0040_0040), (at, 0xf0f0_1234)]), READY);
    // Bits are not set again.
    assert_eq!(write(&mut flash, &mut words, &[(at, 0x0010_0010), (at, 0x0fff_ffff)]), READY);
    assert_eq!(write(&mut flash, &mut words, &[(at, 0x00ff_00ff)]), 0x00f0_1234);
    assert_eq!((words.load(0), words.load(BLOCK - 4)), (0x1234_5678, 0x1234_5678));
    assert_eq!((words.load(BLOCK), words.load(2 * BLOCK - 4)), (u32::MAX, u32::MAX));
    // Without the confirmation nothing is.
    assert_eq!(write(&mut flash, &mut words, &[(0, 0x0020_0020), (0, 0x00ff_00ff)]), 0x1234_5678);
}

#[test]
fn a_buffer_is_filled_and_confirmed() {
    let (mut flash, mut words) = flash();
    words.erase(0);
    let stores = [(0x80, 0x00e8_00e8), (0x80, 0x0001_0001), (0x80, 1), (0x84, 2), (0, 0x00d0_00d0), (0, 0x00ff_00ff)];
    assert_eq!(write(&mut flash, &mut words, &stores), u32::MAX);
    assert_eq!([words.load(0x80), words.load(0x84), words.load(0x88)], [1, 2, u32::MAX]);
    assert_eq!(flash, Flash::default());
}

#[test]
fn what_is_no_command_of_both_chips_changes_nothing() {
    let (mut flash, mut words) = flash();
    for word in [0x0098_0098, 0x0090_0090, 0x00aa_00aa, 0x40, 0x0040_0000, 0x2020_2020] {
        assert_eq!(write(&mut flash, &mut words, &[(0, word), (0, 0x00d0_00d0)]), 0x1234_5678, "{word:#x}");
    }
    flash.write(0, Width::W4, 0x0020_0020, &mut words);
    flash.write(1, Width::W1, 0xd0, &mut words);
    flash.write(0, Width::W4, 0x00d0_00d0, &mut words);
    assert!(words.0.iter().all(|word| *word == 0x1234_5678));
    assert_eq!(flash, Flash::default());
}

proptest! {
    #[test]
    fn whatever_is_stored_the_array_comes_back(
        stores in proptest::collection::vec((0u64..2 * BLOCK, 0usize..4, 0usize..9, any::<u32>()), 0..60),
    ) {
        const WORDS: [u32; 8] = [
            0x0010_0010, 0x0020_0020, 0x0040_0040, 0x0060_0060, 0x0070_0070, 0x00d0_00d0, 0x00e8_00e8, 0x0003_0003,
        ];
        let (mut flash, mut words) = flash();
        for (at, width, index, other) in stores {
            let width = [Width::W1, Width::W2, Width::W4, Width::W8][width];
            let at = if width == Width::W4 { at & !3 } else { at };
            flash.write(at, width, WORDS.get(index).copied().unwrap_or(other).into(), &mut words);
            prop_assert!(flash.hidden.iter().flatten().all(|(at, _)| words.load(*at) == READY));
        }
        // Ends what was begun, of whichever length.
        flash.write(1, Width::W1, 0, &mut words);
        prop_assert_eq!(flash, Flash::default());
    }
}
