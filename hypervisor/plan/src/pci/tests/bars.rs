//! What BARs ask for, and who answers.

use super::super::{Bar, bar, walk};
use super::fake::{Fake, One};
use super::{BarFault, Function, GIB, MIB, at, places, run};
use assay_model::pci::header::{COMMAND, ROM};
use assay_model::pci::{Space, header::Layout};

fn bars(one: One) -> std::vec::Vec<Bar> {
    bar::all(&mut Fake::default().with(at(2), one), at(2), Layout::Endpoint)
}

fn memory(index: u8, wide: bool, prefetchable: bool, address: u64, size: u64) -> Bar {
    Bar { index, space: Space::Memory { wide, prefetchable }, address, size }
}

#[test]
fn bars_are_sized_and_hold_what_they_held_afterwards() {
    let one =
        One::endpoint().narrow(0, 0x100, 0x1000_0000).io(1, 0x20).wide(2, 8 * GIB, 0x80_0000_0000).with(0x20, 0, 0);
    let mut fake = Fake::default().with(at(2), one.clone());
    let found = bar::all(&mut fake, at(2), Layout::Endpoint);
    assert_eq!(
        found,
        [
            memory(0, false, false, 0x1000_0000, 0x100),
            Bar { index: 1, space: Space::Io, address: 0, size: 0x20 },
            memory(2, true, true, 0x80_0000_0000, 8 * GIB),
        ]
    );
    for (offset, value) in [(0x10, 0x1000_0000), (0x14, 1), (0x18, 0xc), (0x1c, 0x80)] {
        assert_eq!(fake.word(at(2), offset), value);
    }
}

#[test]
fn what_is_no_bar_is_none() {
    // Not there; a 64-bit BAR without a second half; 64 bits without a size.
    assert_eq!(bars(One::endpoint()), []);
    assert_eq!(bars(One::endpoint().with(0x24, 0xc, 0xffff_f000)), []);
    assert_eq!(bars(One::endpoint().with(0x10, 0xc, 0)), []);
    // Bits that can be set, and are not those of a power of two.
    assert_eq!(bars(One::endpoint().with(0x10, 0, 0xff00_ff00)), []);
}

#[test]
fn where_nothing_answers_there_is_no_function() {
    assert_eq!(run(&mut Fake::default(), at(2)), Err(BarFault::NoFunction));
    let mut fake = Fake::default().with(at(2), One::endpoint());
    assert_eq!(run(&mut fake, Function::new(0, 2, 1)), Err(BarFault::NoFunction));
    let mut fake = Fake::default().with(at(2), One::bridge(0, 1, 0));
    assert_eq!(run(&mut fake, at(2)), Err(BarFault::NotEndpoint));
}

#[test]
fn other_functions_than_0_count_only_if_function_0_says_so() {
    let second = Function::new(0, 2, 1);
    let single = Fake::default().with(at(2), One::endpoint()).with(second, One::endpoint().wide(0, MIB, 0));
    let mut multi = Fake::default()
        .with(at(2), One::endpoint().with(0x0c, 0x80_0000, 0))
        .with(second, One::endpoint().wide(0, MIB, 0));
    assert_eq!(run(&mut { single }, second), Err(BarFault::NoFunction));
    assert_eq!(places(&run(&mut multi, second).unwrap()).len(), 1);
}

#[test]
fn bridges_that_lead_in_a_circle_are_walked_once() {
    let mut fake = Fake::default()
        .with(at(1), One::bridge(1, 0x200, 0x20f))
        .with(Function::new(1, 0, 0), One::bridge(2, 0x200, 0x20f))
        .with(Function::new(2, 0, 0), One::bridge(1, 0x200, 0x20f));
    let found = walk::all(&mut fake, (0, 255));
    assert_eq!(found.len(), 3);
    // Nor does a number beyond the host bridge's lead anywhere.
    assert_eq!(walk::all(&mut fake, (0, 1)).len(), 2);
}

#[test]
fn a_region_is_the_beginning_of_a_bar_of_memory() {
    let one = One::endpoint().narrow(0, 0x100, 0).io(1, 0x20).wide(2, 128 * MIB, 0);
    let prepared = run(&mut Fake::default().with(at(2), one), at(2)).unwrap();
    let region = |index, length| prepared.region(index, length);
    assert_eq!(region(2, 96 * MIB).unwrap().size, 96 * MIB);
    assert_eq!(region(2, 128 * MIB).unwrap(), prepared.memory[1].region);
    assert_eq!(region(2, 129 * MIB), Err(BarFault::Longer(128 * MIB)));
    assert_eq!(region(1, 0x20), Err(BarFault::Io));
    for index in [3, 4, 5] {
        assert_eq!(region(index, 0x1000), Err(BarFault::NoBar));
    }
}

#[test]
fn a_function_answers_afterwards_and_does_nothing_else() {
    let one = One::endpoint().wide(2, MIB, 0).with(ROM, 0x2000_0001, 0xfff0_0001).with_command(0x0007);
    let mut fake = Fake::default().with(at(2), one);
    run(&mut fake, at(2)).unwrap();
    assert_eq!(fake.word(at(2), COMMAND), 0x0402);
    assert_eq!(fake.word(at(2), ROM), 0x2000_0000);
}

#[test]
fn a_function_without_a_place_answers_nowhere() {
    let one = One::endpoint().narrow(0, 0x8000_0000, 0).with_command(0x0007);
    let mut fake = Fake::default().with(at(2), one);
    assert_eq!(run(&mut fake, at(2)), Err(BarFault::NoRoom));
    assert_eq!(fake.word(at(2), COMMAND), 0x0400);
    let one = One::endpoint().wide(0, MIB, 0).with_command(0x0007);
    let mut fake = Fake::default().with(at(2), one);
    fake.keeps_nothing = true;
    assert_eq!(run(&mut fake, at(2)), Err(BarFault::Stuck));
    assert_eq!(fake.word(at(2), COMMAND), 0x0400);
}
