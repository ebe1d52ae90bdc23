//! Loads and stores of the configuration space of a VM's PCI function.

use assay_spec::exit::Width;

use super::fixture::Vm;
use crate::exits::Next;
use crate::inject::Fault;
use crate::layout;
use crate::pci::{Bar, ConfigSpace, Function, GuestBar, GuestFunction, Space, Wired, guest_function};
use crate::vgic::Version;

const CONFIG: u64 = layout::PCI_CONFIG.start.0;
/// Where the registers of the first and of the second function begin.
const FUNCTION: u64 = CONFIG + ((guest_function(0).0 as u64) << 12);
const SECOND: u64 = CONFIG + ((guest_function(1).0 as u64) << 12);

/// A function without capabilities.
struct Plain;

impl ConfigSpace for Plain {
    fn read(&mut self, _: Function, _: u16) -> u32 {
        0
    }
    fn write(&mut self, _: Function, _: u16, _: u32) {}
}

/// A VM with two functions that have 64 KiB of registers; the second has DMA.
fn with_function() -> Vm {
    let mut vm = Vm::new(Version::V3, 2);
    let bar = GuestBar {
        bar: Bar { index: 0, space: Space::Memory { wide: false, prefetchable: false }, address: 0, size: 0x1_0000 },
        address: 0x1000_0000,
        size: 0x1_0000,
    };
    let function = |has_dma| {
        GuestFunction::new(
            &mut Plain,
            Function::new(0, 2, 0),
            &[bar],
            Wired { has_interrupt: true, has_dma, has_messages: false },
        )
    };
    vm.machine.pci = true;
    vm.devices.lock().functions = [function(false), function(true)].into();
    vm
}

#[test]
fn parts_of_a_word_are_loaded_by_any_width_that_fits() {
    let mut vm = with_function();
    // The fixture's function answers with 0x5a5a_0000 and the offset.
    assert_eq!(vm.load(FUNCTION + 8, Width::W4), 0x5a5a_0008);
    assert_eq!(vm.load(FUNCTION + 8, Width::W2), 0x0008);
    assert_eq!(vm.load(FUNCTION + 10, Width::W2), 0x5a5a);
    assert_eq!(vm.load(FUNCTION + 11, Width::W1), 0x5a);
    // Across words there is nothing.
    assert_eq!(vm.load(FUNCTION + 8, Width::W8), u64::MAX);
    assert_eq!(vm.load(FUNCTION + 10, Width::W4), 0xffff_ffff);
    assert_eq!(vm.load(FUNCTION + 11, Width::W2), 0xffff);
}

#[test]
fn where_no_function_is_loads_are_all_ones_and_stores_nothing() {
    let mut vm = with_function();
    for place in [CONFIG, FUNCTION - 4, FUNCTION + 0x1000, SECOND + 0x8000, CONFIG + 0xf_fffc] {
        assert_eq!(vm.load(place, Width::W4), 0xffff_ffff, "{place:#x}");
        vm.store(place, Width::W4, 0);
    }
    assert_eq!(vm.cpu.commands, []);
}

#[test]
fn a_store_to_command_reaches_the_function_without_bus_master() {
    let mut vm = with_function();
    vm.store(FUNCTION + 4, Width::W2, 0x0406);
    assert_eq!(vm.load(FUNCTION + 4, Width::W2), 0x0406);
    vm.store(FUNCTION + 5, Width::W1, 0x00);
    assert_eq!(vm.load(FUNCTION + 4, Width::W2), 0x0006);
    assert_eq!(vm.cpu.commands, [(0, 0x402), (0, 0x002)]);
    vm.store(FUNCTION + 0x10, Width::W4, 0xffff_ffff);
    assert_eq!(vm.load(FUNCTION + 0x10, Width::W4), 0xffff_0000);
    assert_eq!(vm.cpu.commands.len(), 2);
    let mut devices = vm.devices.lock();
    devices.reset();
    let function = &devices.functions[0];
    assert_eq!(function.read(0x10, |_| 0), 0x1000_0000);
}

#[test]
fn a_function_with_dma_has_the_bus_master_that_the_guest_set() {
    let mut vm = with_function();
    assert_eq!(vm.load(SECOND + 8, Width::W4), 0x5a5b_0008);
    vm.store(SECOND + 4, Width::W2, 0x0406);
    vm.store(SECOND + 4, Width::W2, 0x0002);
    assert_eq!(vm.cpu.commands, [(1, 0x406), (1, 0x002)]);
}

#[test]
fn a_vm_without_a_function_has_nothing_there() {
    let mut vm = Vm::new(Version::V3, 1);
    let next = vm.access(CONFIG, super::accesses::loads(Width::W4));
    assert!(matches!(next, Next::Inject(Fault::DataAbort { .. })), "{next:?}");
}
