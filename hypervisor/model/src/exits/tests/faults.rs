//! Accesses that nothing answers: the guest hears an external abort.

use assay_spec::addr::{Ipa, Va};
use assay_spec::esr::{self, fsc};
use assay_spec::exit::{Abort, Exit, Width};

use super::accesses::{loads, stores, syndrome};
use super::fixture::{DEVICE_VA, Vm};
use crate::exits::Next;
use crate::inject::Fault;
use crate::layout;
use crate::vgic::Version;

const TYPER: u64 = 0x0800_0004;

fn data(ipa: u64, write: bool) -> Next {
    Next::Inject(Fault::DataAbort { va: Va(DEVICE_VA | ipa & 0xffff), write, table_walk: false })
}

/// Expects that neither the load nor the store at `ipa` meets a device.
fn assert_nobody(vm: &mut Vm, ipa: u64) {
    for width in [Width::W1, Width::W4, Width::W8] {
        let before = vm.frame();
        assert_eq!(vm.access(ipa, loads(width)), data(ipa, false), "{ipa:#x}");
        assert_eq!(vm.access(ipa, stores(width)), data(ipa, true), "{ipa:#x}");
        assert!(!vm.device_access(syndrome(ipa, loads(width))), "{ipa:#x}");
        assert_eq!(vm.frame(), before);
    }
}

#[test]
fn outside_of_every_device_there_is_nobody() {
    let mut vm = Vm::new(Version::V3, 2);
    for ipa in [
        0,
        0x07ff_fffc,
        // Behind the Distributor, before and behind the two Redistributors.
        0x0801_0000,
        0x0809_fffc,
        0x080e_0000,
        // Around the UART and the watchdog's frames.
        0x08ff_fffc,
        0x0900_1000,
        0x090d_fffc,
        0x090e_1000,
        0x090f_1000,
        // RAM's neighbours, and the end of what an IPA can be.
        0x3fff_fffc,
        0x5000_0000,
        0x000f_ffff_ffff_fff8,
    ] {
        assert_nobody(&mut vm, ipa);
    }
}

#[test]
fn a_gicv2_has_a_distributor_of_four_kibibytes_and_no_redistributors() {
    let mut vm = Vm::new(Version::V2, 2);
    assert_ne!(vm.load(TYPER, Width::W4), 0);
    for ipa in [0x0800_1000, 0x0801_0000, layout::GICR.0, 0x080b_0000] {
        assert_nobody(&mut vm, ipa);
    }
}

#[test]
fn there_are_as_many_redistributors_as_vcpus() {
    for vcpus in [1, 3, 64] {
        let mut vm = Vm::new(Version::V3, vcpus);
        let end = layout::GICR.0 + vcpus as u64 * layout::GICR_SIZE;
        let typer = vm.load(end - layout::GICR_SIZE + 8, Width::W8);
        assert_eq!(typer >> 4 & 1, 1, "the last one says so");
        assert_nobody(&mut vm, end);
    }
}

#[test]
fn only_a_vm_that_asked_for_a_watchdog_has_its_frames() {
    let mut vm = Vm::with(Version::V3, 1, false);
    assert_nobody(&mut vm, layout::WATCHDOG_REFRESH.start.0);
    assert_nobody(&mut vm, layout::WATCHDOG_CONTROL.start.0);
    assert_nobody(&mut vm, layout::RTC.start.0);
}

/// A load of a register that exists, with a syndrome that is not that of a plain load.
fn told(change: impl Fn(&mut u64)) -> (Next, bool) {
    let mut vm = Vm::new(Version::V3, 1);
    let (mut esr, far, hpfar) = syndrome(TYPER, loads(Width::W4));
    change(&mut esr);
    let before = vm.frame();
    let taken = vm.device_access((esr, far, hpfar));
    let next = vm.handle(esr::decode(esr, far, hpfar));
    assert_eq!(vm.frame(), before);
    (next, taken)
}

#[test]
fn an_access_that_the_syndrome_does_not_describe_gets_an_abort() {
    let pair = |esr: &mut u64| *esr &= !(1 << 24);
    assert_eq!(told(pair), (data(TYPER, false), false));
    let cache_operation = |esr: &mut u64| *esr = *esr & !(1 << 24) | 1 << 8 | esr::WNR;
    assert_eq!(told(cache_operation), (Next::Advance, false), "no access at all");
}

#[test]
fn the_ipa_of_a_fault_that_does_not_report_it_is_not_believed() {
    // HPFAR_EL2 still tells of the Distributor, from an earlier fault.
    // Also a tag check fault, an alignment fault, and an unsupported exclusive.
    for status in [fsc::PERMISSION + 3, fsc::EXTERNAL, 0b01_0001, 0b10_0001, 0b11_0101] {
        let stale = |esr: &mut u64| *esr = *esr & !0x3f | u64::from(status);
        assert_eq!(told(stale), (data(TYPER, false), false), "{status:#x}");
    }
    let tag_access = |esr: &mut u64| *esr |= 1 << 41;
    assert_eq!(told(tag_access), (data(TYPER, false), false));
}

#[test]
fn a_store_with_a_stale_ipa_reaches_no_device() {
    let mut vm = Vm::new(Version::V3, 1);
    let (esr, far, hpfar) = syndrome(layout::UART.start.0, stores(Width::W4));
    let esr = esr & !0x3f | u64::from(fsc::PERMISSION + 3);
    let next = vm.abort((esr, far, hpfar));
    assert_eq!(next, data(layout::UART.start.0, true));
    assert!(vm.cpu.sent.is_empty());
}

#[test]
fn guest_tables_in_a_device_are_an_abort_on_the_walk() {
    let walk = Next::Inject(Fault::DataAbort { va: Va(DEVICE_VA | TYPER & 0xffff), write: false, table_walk: true });
    // As the manual has it, without a description; and with one, which would be of the access and not of the walk.
    let on_walk = |esr: &mut u64| *esr = *esr & !(1 << 24) | 1 << 7;
    assert_eq!(told(on_walk), (walk, false));
    assert_eq!(told(|esr| *esr |= 1 << 7), (walk, false));
}

#[test]
fn maintenance_where_nothing_is_has_no_effect() {
    let mut vm = Vm::new(Version::V3, 1);
    let before = vm.frame();
    // EC 0x24, IL; CM and WnR, level 3 translation fault: DC CIVAC.
    let exit = |esr: u64| esr::decode(0x9200_0000 | esr, 0x1000, 0x8000_0000 >> 8);
    assert_eq!(vm.handle(exit(1 << 8 | 1 << 6 | 7)), Next::Advance);
    assert_eq!(vm.frame(), before, "the caller steps over it");
    assert!(matches!(vm.handle(exit(1 << 6 | 7)), Next::Inject(Fault::DataAbort { write: true, .. })));
    assert!(matches!(vm.handle(exit(1 << 8 | 1 << 7 | 7)), Next::Inject(_)), "its own walk found no table");
    assert!(matches!(vm.handle(exit(1 << 8 | u64::from(fsc::EXTERNAL))), Next::Inject(_)), "not stage 2's doing");
}

#[test]
fn a_fetch_from_nowhere_is_an_instruction_abort() {
    for table_walk in [false, true] {
        let mut vm = Vm::new(Version::V3, 1);
        let before = vm.frame();
        let abort = Abort {
            ipa: Ipa(0x0900_0000),
            va: Va(0x1234),
            write: false,
            maintenance: false,
            table_walk,
            tag_access: false,
            status: fsc::PERMISSION + 3,
            from_el0: false,
        };
        let fault = Fault::InstrAbort { va: Va(0x1234), table_walk };
        assert_eq!(vm.handle(Exit::InstrAbort(abort)), Next::Inject(fault));
        assert_eq!(vm.frame(), before);
    }
}
