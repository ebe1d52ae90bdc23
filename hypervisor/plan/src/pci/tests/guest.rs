//! A guest's view of its function.

use std::vec::Vec;

use super::at;
use super::fake::{Fake, One};
use assay_model::pci::{Bar, GuestBar, GuestFunction, Space, Wired};

const WIDE: GuestBar = GuestBar {
    bar: Bar {
        index: 2,
        space: Space::Memory { wide: true, prefetchable: true },
        address: 0x80_0000_0000,
        size: 0x800_0000,
    },
    address: 0x1_8000_0000,
    size: 0x800_0000,
};
const NARROW: GuestBar = GuestBar {
    bar: Bar { index: 0, space: Space::Memory { wide: false, prefetchable: false }, address: 0x2000_0000, size: 0x100 },
    address: 0x1000_0000,
    size: 0x100,
};

/// MSI-X, Vendor-Specific of 20 bytes, MSI, Vendor-Specific of 8, and PCI Express.
fn device() -> Fake {
    let one = One::endpoint()
        .with(0x08, 0x00ff_0010, 0)
        .with(0x34, 0x40, 0)
        .with(0x3c, 0x0000_0100, 0)
        .with(0x40, 0x0001_5011, 0)
        .with(0x50, 0x0014_6809, 0)
        .with(0x54, 0x1111_1111, 0)
        .with(0x60, 0x2222_2222, 0)
        .with(0x64, 0x3333_3333, 0)
        .with(0x68, 0x0080_7805, 0)
        .with(0x78, 0x0008_8009, 0)
        .with(0x7c, 0x4444_4444, 0)
        .with(0x80, 0x0002_0010, 0);
    Fake::default().with(at(2), one)
}

fn view() -> GuestFunction {
    GuestFunction::new(&mut device(), at(2), &[NARROW, WIDE], Wired { has_interrupt: true, ..Wired::default() })
}

fn read(view: &GuestFunction, offset: u16) -> u32 {
    use super::super::ConfigSpace as _;
    view.read(offset, |offset| device().read(at(2), offset))
}

#[test]
fn identification_is_the_devices_own() {
    let view = view();
    assert_eq!(read(&view, 0x00), 0x1110_1af4);
    assert_eq!(read(&view, 0x08), 0x00ff_0010);
    assert_eq!(read(&view, 0x0c), 0);
    assert_eq!(read(&view, 0x3c), 0x0100);
}

#[test]
fn only_vendor_specific_capabilities_are_linked() {
    let view = view();
    assert_eq!(read(&view, 0x04), 1 << 20);
    assert_eq!(read(&view, 0x34), 0x50);
    assert_eq!(read(&view, 0x50), 0x0014_7809);
    assert_eq!(read(&view, 0x54), 0x1111_1111);
    assert_eq!(read(&view, 0x60), 0x2222_2222);
    assert_eq!(read(&view, 0x78), 0x0008_0009);
    assert_eq!(read(&view, 0x7c), 0x4444_4444);
    for hidden in [0x40, 0x44, 0x64, 0x68, 0x6c, 0x80, 0x84] {
        assert_eq!(read(&view, hidden), 0, "{hidden:#x}");
    }
}

#[test]
fn a_list_in_a_circle_is_walked_once_and_one_into_the_header_not_at_all() {
    let circle = One::endpoint().with(0x34, 0x40, 0).with(0x40, 0x0008_5009, 0).with(0x50, 0x0008_4009, 0);
    let mut fake = Fake::default().with(at(2), circle);
    let view = GuestFunction::new(&mut fake, at(2), &[], Wired::default());
    assert_eq!((read(&view, 0x34), view.read(0x50, |_| 0x0008_4009)), (0x40, 0x0008_0009));
    let header = One::endpoint().with(0x34, 0x10, 0);
    let mut fake = Fake::default().with(at(2), header);
    let view = GuestFunction::new(&mut fake, at(2), &[], Wired::default());
    assert_eq!((read(&view, 0x34), read(&view, 0x04)), (0, 0));
    assert_eq!(read(&view, 0x3c), 0, "no interrupt, no pin");
}

#[test]
fn bars_are_sized_and_never_move() {
    let mut view = view();
    let all = |view: &GuestFunction| -> Vec<u32> { (0..6).map(|index| read(view, 0x10 + 4 * index)).collect() };
    let fixed = [0x1000_0000, 0, 0x8000_000c, 1, 0, 0];
    assert_eq!(all(&view), fixed);
    for offset in (0x10..0x28).step_by(4) {
        assert!(!view.write(offset, u32::MAX, u32::MAX));
    }
    assert_eq!(all(&view), [0xffff_ff00, 0, 0xf800_000c, u32::MAX, 0, 0]);
    for offset in (0x10..0x28).step_by(4) {
        view.write(offset, 0x7654_3210, u32::MAX);
    }
    assert_eq!(all(&view), fixed);
    // A byte of ones is no question about the size, and a reset forgets one.
    view.write(0x10, 0xff, 0xff);
    assert_eq!(all(&view), fixed);
    view.write(0x10, u32::MAX, u32::MAX);
    view.reset();
    assert_eq!(all(&view), fixed);
}

#[test]
fn the_function_never_gets_bus_master_nor_io_and_always_answers() {
    let mut view = view();
    for value in 0..0x800 {
        assert!(view.write(0x04, value, u32::MAX));
        assert_eq!(read(&view, 0x04) & 0xffff, value & 0x546, "reads as written");
        assert_eq!(view.physical_command(), 2 | value & 0x400);
    }
    // The upper half, Status, changes nothing.
    view.write(0x04, 0xffff_0000, 0xffff_0000);
    assert_eq!(read(&view, 0x04) & 0xffff, 0x546);
    view.reset();
    assert_eq!((read(&view, 0x04) & 0xffff, view.physical_command()), (0, 2));
}

#[test]
fn the_interrupt_line_is_softwares_and_the_pin_is_not() {
    let mut view = view();
    view.write(0x3c, 0xffff_ffff, 0xff);
    assert_eq!(read(&view, 0x3c), 0x01ff);
    view.write(0x3c, 0x22, u32::MAX);
    assert_eq!(read(&view, 0x3c), 0x0122);
}

#[test]
fn every_offset_has_an_answer_and_no_write_reaches_what_is_not_the_guests() {
    let mut view = view();
    for offset in (0..0x1000).step_by(4) {
        view.write(offset, 0x0bad_0bad, u32::MAX);
        let value = read(&view, offset);
        assert!(offset < 0x100 || value == 0, "{offset:#x}");
    }
    assert_eq!(read(&view, 0x50), 0x0014_7809);
}

#[test]
fn messages_are_the_guests_to_set_up_where_an_its_takes_them() {
    let wired = Wired { has_messages: true, ..Wired::default() };
    let view = GuestFunction::new(&mut device(), at(2), &[], wired);
    let mut at = read(&view, 0x34);
    let mut seen = Vec::new();
    while at != 0 {
        let word = read(&view, u16::try_from(at).unwrap());
        seen.push((at, word & 0xff));
        at = word >> 8 & 0xff;
    }
    assert_eq!(seen, [(0x40, 0x11), (0x50, 0x09), (0x68, 0x05), (0x78, 0x09)]);
    // Message Control of both; address and data of MSI, not MSI-X's table offset.
    assert_eq!((view.through(0x40), view.through(0x44), view.through(0x50)), (0xffff_0000, 0, 0));
    assert_eq!((view.through(0x68), view.through(0x6c)), (0xffff_0000, u32::MAX));
    assert_eq!(view.through(0x04) | view.through(0x10) | view.through(0x80) | view.through(0x168), 0);
    assert_eq!(self::view().through(0x68), 0);
}
