//! Where BARs go.

use super::super::{Function, prepare};
use super::fake::{Fake, One};
use super::{BarFault, GIB, MIB, at, host, places, region, run, window};
use assay_model::pci::header::COMMAND;

const NARROW: u64 = 0x1000_0000;
const WIDE: u64 = 0x80_0000_0000;

#[test]
fn a_wide_bar_goes_above_and_a_narrow_one_below() {
    let one = One::endpoint().narrow(0, 0x100, 0).wide(2, 128 * MIB, 0);
    let mut fake = Fake::default().with(at(2), one);
    let prepared = run(&mut fake, at(2)).unwrap();
    assert_eq!(places(&prepared), [(0, NARROW, 0x100), (2, WIDE, 128 * MIB)]);
    assert!(prepared.moved);
    assert_eq!(fake.word(at(2), 0x1c), 0x80);
    // A second look finds what the first one left.
    let again = run(&mut fake, at(2)).unwrap();
    assert_eq!((again.memory, again.moved), (prepared.memory, false));
}

#[test]
fn what_firmware_placed_stays() {
    let one = One::endpoint().narrow(0, 0x1000, 0x1234_5000).wide(2, GIB, WIDE + GIB);
    let prepared = run(&mut Fake::default().with(at(2), one), at(2)).unwrap();
    assert_eq!(places(&prepared), [(0, 0x1234_5000, 0x1000), (2, WIDE + GIB, GIB)]);
    assert!(!prepared.moved);
}

#[test]
fn a_place_outside_of_the_windows_or_on_another_bar_is_none() {
    let other = One::endpoint().narrow(0, 0x2000, 0x1234_4000);
    for address in [0x0900_0000, 0x1234_4000, 0x1234_5000, 0x3f00_0000] {
        let one = One::endpoint().narrow(0, 0x1000, address);
        let mut fake = Fake::default().with(at(2), one).with(at(3), other.clone());
        let prepared = run(&mut fake, at(2)).unwrap();
        assert_eq!((places(&prepared), prepared.moved), ([(0, NARROW, 0x1000)].to_vec(), true));
    }
}

#[test]
fn nothing_is_placed_on_what_others_have() {
    let rom = One::endpoint().with(0x30, 0x1010_0001, 0xfff0_0001);
    let mut fake = Fake::default()
        .with(at(1), One::endpoint().narrow(0, 0x10_0000, 0x1000_0000))
        .with(at(2), One::endpoint().narrow(0, 0x1000, 0))
        .with(at(3), rom)
        .with(at(4), One::bridge(1, 0x111, 0x112));
    let prepared = run(&mut fake, at(2)).unwrap();
    assert_eq!(places(&prepared), [(0, 0x1130_0000, 0x1000)]);
}

#[test]
fn bars_of_less_than_a_page_share_no_page() {
    let one = || One::endpoint().narrow(0, 0x10, 0).narrow(1, 0x20, 0);
    let mut fake = Fake::default().with(at(2), one()).with(at(3), one());
    assert_eq!(places(&run(&mut fake, at(2)).unwrap()), [(0, NARROW + 0x1000, 0x10), (1, NARROW, 0x20)]);
    assert_eq!(places(&run(&mut fake, at(3)).unwrap()), [(0, NARROW + 0x3000, 0x10), (1, NARROW + 0x2000, 0x20)]);
    // Firmware put two functions into one page: one of them has to go.
    let mut fake = Fake::default()
        .with(at(2), One::endpoint().narrow(0, 0x10, 0x1234_5000))
        .with(at(3), One::endpoint().narrow(0, 0x10, 0x1234_5800));
    assert_eq!(places(&run(&mut fake, at(2)).unwrap()), [(0, NARROW, 0x10)]);
}

#[test]
fn a_place_is_aligned_to_the_bars_size() {
    let mut fake = Fake::default()
        .with(at(1), One::endpoint().wide(0, 0x1000, WIDE))
        .with(at(2), One::endpoint().wide(0, 16 * GIB, 0));
    assert_eq!(places(&run(&mut fake, at(2)).unwrap()), [(0, WIDE + 16 * GIB, 16 * GIB)]);
}

#[test]
fn memory_that_is_not_prefetchable_stays_out_of_a_prefetchable_window() {
    let mut host = host();
    host.windows = [
        window(0x2000_0000, 0x2000_0000, 0x1000_0000, false, true),
        window(0x3000_0000, 0x3000_0000, 0x1000_0000, false, false),
    ]
    .to_vec();
    let one = One::endpoint().narrow(0, 0x1000, 0).wide(2, MIB, 0);
    let mut fake = Fake::default().with(at(2), one);
    let prepared = prepare(&host, &mut fake, at(2), 48, &[]).unwrap();
    assert_eq!(places(&prepared), [(0, 0x3000_0000, 0x1000), (2, 0x2000_0000, MIB)]);
}

#[test]
fn bus_addresses_need_not_be_the_cpus() {
    let mut host = host();
    host.windows = [window(0x8000_0000, 0x6_0000_0000, 0x4000_0000, false, false)].to_vec();
    let mut fake = Fake::default().with(at(2), One::endpoint().wide(0, MIB, 0));
    let prepared = prepare(&host, &mut fake, at(2), 48, &[]).unwrap();
    assert_eq!(places(&prepared), [(0, 0x6_0000_0000, MIB)]);
    assert_eq!(fake.word(at(2), 0x10), 0x8000_000c);
}

#[test]
fn a_window_beyond_the_cpus_addresses_is_none() {
    let mut fake = Fake::default().with(at(2), One::endpoint().wide(0, MIB, 0));
    let prepared = prepare(&host(), &mut fake, at(2), 39, &[]).unwrap();
    assert_eq!(places(&prepared), [(0, NARROW, MIB)]);
}

#[test]
fn a_narrow_bar_stays_below_4_gib() {
    let mut host = host();
    host.windows = [window(0xffff_0000, 0xffff_0000, GIB, true, false)].to_vec();
    let mut fake = Fake::default()
        .with(at(2), One::endpoint().narrow(0, 0x1_0000, 0))
        .with(at(3), One::endpoint().narrow(0, 0x1000, 0));
    assert_eq!(places(&prepare(&host, &mut fake, at(2), 48, &[]).unwrap()), [(0, 0xffff_0000, 0x1_0000)]);
    assert_eq!(prepare(&host, &mut fake, at(3), 48, &[]), Err(BarFault::NoRoom));
}

#[test]
fn behind_a_bridge_only_what_firmware_placed_in_its_window_answers() {
    let below = Function::new(1, 0, 0);
    let machine = |address, command| {
        Fake::default()
            .with(at(1), One::bridge(1, 0x200, 0x20f).with_command(command))
            .with(below, One::endpoint().narrow(0, MIB.try_into().unwrap(), address))
    };
    let mut good = machine(0x2010_0000, 2);
    assert_eq!(places(&run(&mut good, below).unwrap()), [(0, 0x2010_0000, MIB)]);
    assert_eq!(good.word(below, COMMAND) & 0xffff, 0x0402);
    // Without a place; outside of the window; behind a bridge that is off.
    for mut bad in [machine(0, 2), machine(0x2100_0000, 2), machine(0x2010_0000, 0)] {
        assert_eq!(run(&mut bad, below), Err(BarFault::BehindBridge));
        assert_eq!(bad.word(below, COMMAND) & 7, 0);
    }
    // A bridge without a number leads nowhere.
    let mut unconfigured =
        Fake::default().with(at(1), One::bridge(0, 0x200, 0x20f)).with(below, One::endpoint().wide(0, MIB, 0));
    assert_eq!(run(&mut unconfigured, below), Err(BarFault::NoFunction));
}

#[test]
fn no_bar_is_placed_where_the_tree_has_something_else() {
    let page = 0x1000;
    // A region that begins before the window, registers of a few bytes, memory in the middle, and all of the rest.
    let kept = [
        region(NARROW - page, 2 * page),
        region(NARROW + 2 * page + 0x800, 0x10),
        region(WIDE, 128 * MIB),
        region(WIDE + 256 * MIB, MIB),
    ];
    let one = One::endpoint().narrow(0, 0x1000, 0).narrow(1, 0x1000, 0).wide(2, 128 * MIB, 0);
    let mut fake = Fake::default().with(at(2), one);
    let prepared = prepare(&host(), &mut fake, at(2), 48, &kept).unwrap();
    let expected = [(0, NARROW + page, 0x1000), (1, NARROW + 3 * page, 0x1000), (2, WIDE + 128 * MIB, 128 * MIB)];
    assert_eq!(places(&prepared), expected);
}

#[test]
fn a_place_that_firmware_gave_on_something_else_is_none() {
    let one = One::endpoint().narrow(0, 0x1000, 0x1234_5000);
    let kept = [region(0x1234_5ff0, 0x10)];
    let prepared = prepare(&host(), &mut Fake::default().with(at(2), one), at(2), 48, &kept).unwrap();
    assert_eq!((places(&prepared), prepared.moved), ([(0, NARROW, 0x1000)].to_vec(), true));
}

#[test]
fn what_is_kept_is_found_through_a_window_that_moves_addresses() {
    let mut host = host();
    host.windows = [window(0x2000_0000, 0x1000_0000, 4 * MIB, false, false)].to_vec();
    let one = || Fake::default().with(at(2), One::endpoint().narrow(0, 0x10_0000, 0));
    let beside = [region(0x1000_0000, MIB), region(0x2000_0000, 4 * MIB)];
    let prepared = prepare(&host, &mut one(), at(2), 48, &beside).unwrap();
    assert_eq!(places(&prepared), [(0, 0x1000_0000 + MIB, MIB)]);
    assert_eq!(prepared.memory[0].bar.address, 0x2000_0000 + MIB);
    let everything = [region(0, GIB)];
    assert_eq!(prepare(&host, &mut one(), at(2), 48, &everything), Err(BarFault::NoRoom));
}
