//! What a load puts into its register: width, sign, and the size of the register.

use assay_spec::exit::Width;

use super::accesses::{Access, loads, stores, syndrome};
use super::fixture::Vm;
use crate::exits::Next;
use crate::layout;
use crate::vgic::Version;

const UART: u64 = layout::UART.start.0;
const ALL_ONES: u64 = u64::MAX;

fn access(width: Width, sign_extend: bool, sixty_four: bool) -> Access {
    Access { sign_extend, sixty_four, ..loads(width) }
}

#[test]
fn a_plain_load_zeroes_what_it_does_not_load() {
    for (width, expected) in [(Width::W1, 0xff), (Width::W2, 0xffff), (Width::W4, 0xffff_ffff), (Width::W8, ALL_ONES)] {
        assert_eq!(loads(width).decoded().extend(ALL_ONES), expected);
    }
}

#[test]
fn a_sign_extending_load_fills_the_register_that_it_names() {
    for (width, value) in [(Width::W1, 0x80), (Width::W2, 0x8000), (Width::W4, 0x8000_0000)] {
        let sign = ALL_ONES << (8 * width.bytes() - 1);
        assert_eq!(access(width, true, true).decoded().extend(value), sign);
        let lower_half = sign & 0xffff_ffff;
        assert_eq!(access(width, true, false).decoded().extend(value), lower_half);
        // The sign bit is that of the width, not of what the device returned beyond it.
        assert_eq!(access(width, true, true).decoded().extend((value - 1) | ALL_ONES << 40), value - 1);
    }
}

#[test]
fn a_sign_extending_load_from_a_device_does_so_too() {
    // GICD_IPRIORITYR of SPI 1, one byte.
    let register = 0x0800_0421;
    let mut vm = Vm::new(Version::V3, 1);
    vm.store(register, Width::W1, 0xf8);
    assert_eq!(vm.load(register, Width::W1), 0xf8);
    vm.access(register, access(Width::W1, true, true));
    assert_eq!(vm.general.get(super::fixture::RT), 0xffff_ffff_ffff_fff8);
    vm.access(register, access(Width::W1, true, false));
    assert_eq!(vm.general.get(super::fixture::RT), 0xffff_fff8);
}

#[test]
fn a_load_into_xzr_reads_the_device_and_changes_no_register() {
    let mut vm = Vm::new(Version::V3, 1);
    vm.devices.lock().receive(b'a');
    vm.devices.lock().receive(b'b');
    let into_xzr = Access { register: 31, ..loads(Width::W4) };
    let before = vm.frame();
    assert_eq!(vm.access(UART, into_xzr), Next::Resume);
    assert!(vm.device_access(syndrome(UART + 0x18, into_xzr)));
    assert_eq!(vm.general.x, before.general.x);
    assert_eq!(vm.cpu.at.pc, before.at.pc + 8);
    assert_eq!(vm.load(UART, Width::W4), u64::from(b'b'), "'a' is gone");
}

#[test]
fn a_store_of_xzr_stores_zero() {
    let mut vm = Vm::new(Version::V3, 1);
    vm.store(UART + 0x38, Width::W4, 0x50);
    let of_xzr = Access { register: 31, ..stores(Width::W4) };
    assert_eq!(vm.access(UART + 0x38, of_xzr), Next::Resume);
    assert_eq!(vm.load(UART + 0x38, Width::W4), 0);
}

#[test]
fn a_store_is_cut_to_its_width() {
    let mut vm = Vm::new(Version::V3, 1);
    vm.store(0x0800_0420, Width::W1, 0xffff_ffff_ffff_ff10);
    assert_eq!(vm.load(0x0800_0420, Width::W4), 0x10);
}
