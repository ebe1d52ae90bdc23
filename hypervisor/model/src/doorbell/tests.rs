use super::{Doorbells, Ring};
use crate::doorbell::Side;
use crate::layout;
use assay_spec::addr::Ipa;
use assay_spec::exit::Width;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::vec::Vec;

const SIDE: Side = Side { region: 2, id: 3 };
const RING: u64 = 8;
const RUNG: u64 = 12;

fn one() -> Doorbells {
    Doorbells::new([SIDE])
}

fn read(bells: &Doorbells, offset: u64) -> u64 {
    bells.read(0, offset, Width::W4, |_| 0x8000_0001)
}

#[test]
fn the_registers_are_those_of_the_binding() {
    let bells = one();
    assert_eq!(read(&bells, 0), 3);
    assert_eq!(read(&bells, 4), 0x8000_0001);
    assert_eq!((read(&bells, RING), read(&bells, RUNG)), (0, 0));
    for offset in [1, 16, 0xffc] {
        assert_eq!(read(&bells, offset), 0, "{offset:#x}");
    }
    for width in [Width::W1, Width::W2, Width::W8] {
        assert_eq!(bells.read(0, 0, width, |_| 1), 0, "{width:?}");
        assert_eq!(bells.write(0, RING, width, 1), None, "{width:?}");
    }
}

#[test]
fn a_ring_names_who_rings_and_who_is_rung() {
    let ring = Ring { from: SIDE, to: 31 };
    assert_eq!(one().write(0, RING, Width::W4, 31), Some(ring));
}

#[test]
fn nobody_rings_himself_nor_whom_there_cannot_be() {
    for value in [3, 32, 255, 256, 0xffff_ffff] {
        assert_eq!(one().write(0, RING, Width::W4, value), None, "{value:#x}");
    }
}

#[test]
fn only_the_first_ring_interrupts_until_it_is_answered() {
    let bells = one();
    assert!(bells.rung(0, 5));
    assert!(!bells.rung(0, 5));
    assert!(bells.rung(0, 31), "another's is another matter");
    assert_eq!(read(&bells, RUNG), 1 << 5 | 1 << 31);
    bells.write(0, RUNG, Width::W4, 1 << 5);
    assert_eq!(read(&bells, RUNG), 1 << 31);
    assert!(bells.rung(0, 5));
    assert!(!bells.rung(0, 31));
}

#[test]
fn a_reset_forgets_who_has_rung() {
    let bells = one();
    assert!(bells.rung(0, 0));
    bells.reset();
    assert_eq!(read(&bells, RUNG), 0);
    assert!(bells.rung(0, 0));
}

#[test]
#[should_panic]
fn to_ring_a_doorbell_that_is_not_there_is_our_own_bug() {
    one().rung(1, 0);
}

#[test]
#[should_panic]
fn a_side_beyond_the_last_is_our_own_bug() {
    one().rung(0, 32);
}

#[test]
fn each_doorbell_has_a_page_of_its_own() {
    let sides = (0..16).map(|id| Side { region: 0, id });
    let bells = Doorbells::new(sides);
    for (index, number) in (0..16).zip(0u32..) {
        let page = layout::DOORBELLS.0 + u64::from(number) * layout::DOORBELL_SIZE;
        let at = |offset: u64| bells.find(Ipa(page + offset));
        assert_eq!((at(0), at(0xffc)), (Some((index, 0)), Some((index, 0xffc))));
        assert_eq!(layout::doorbell_intid(index).0, 35 + number);
    }
    assert_eq!(bells.find(Ipa(layout::DOORBELLS.0 - 1)), None);
    assert_eq!(bells.find(Ipa(layout::DOORBELLS.0 + 0x1_0000)), None);
    assert_eq!(bells.find(Ipa(u64::MAX)), None);
}

proptest! {
    /// No ring is lost: after the last one, either an interrupt came since the bit was last cleared, or the bit is
    /// still set from one that came before.
    #[test]
    fn a_ring_is_never_lost(steps: Vec<(bool, u8)>) {
        let bells = one();
        let mut unanswered = 0u32;
        for (rings, who) in steps {
            let who = who % 32;
            let bit = 1u32 << who;
            if rings {
                prop_assert_eq!(bells.rung(0, who), unanswered & bit == 0);
                unanswered |= bit;
            } else {
                bells.write(0, RUNG, Width::W4, bit.into());
                unanswered &= !bit;
            }
            prop_assert_eq!(read(&bells, RUNG), u64::from(unanswered));
        }
    }

    #[test]
    fn no_store_rings_outside_of_the_region(offset in 0u64..0x1000, value in any::<u64>()) {
        if let Some(ring) = one().write(0, offset, Width::W4, value) {
            prop_assert!(offset == RING && ring.from == SIDE && ring.to < 32 && ring.to != 3);
        }
    }
}
