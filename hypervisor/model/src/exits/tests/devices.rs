//! Loads and stores of each device's registers.

use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;

use super::accesses::{loads, stores, syndrome};
use super::fixture::{RT, SIDES, STARTED_AT, Vm};
use crate::doorbell::Ring;
use crate::exits::Next;
use crate::layout;
use crate::rtc::Rtc;
use crate::vcpus::VcpuSet;
use crate::vgic::Version;
use crate::vpl011::RING_BYTES;

const GICD: u64 = 0x0800_0000;
const UART: u64 = layout::UART.start.0;
const REFRESH: u64 = layout::WATCHDOG_REFRESH.start.0;
const CONTROL: u64 = layout::WATCHDOG_CONTROL.start.0;
/// Offsets of the PL011's registers.
const DR: u64 = 0x000;
const FR: u64 = 0x018;
const CR: u64 = 0x030;
const CR_LOOPBACK: u64 = 1 << 7;

fn v3(vcpus: usize) -> Vm {
    Vm::new(Version::V3, vcpus)
}

#[test]
fn the_distributor_tells_which_it_is() {
    for (gic, vcpus, typer) in [(Version::V3, 3, 1 | 9 << 19 | 1 << 25), (Version::V2, 3, 1 | 2 << 5)] {
        let mut vm = Vm::new(gic, vcpus);
        assert_eq!(vm.load(GICD + 4, Width::W4), typer);
    }
}

#[test]
fn what_is_stored_to_the_distributor_is_loaded_again() {
    for gic in [Version::V3, Version::V2] {
        let mut vm = Vm::new(gic, 2);
        vm.store(GICD + 0x104, Width::W4, 0xff00);
        assert_eq!(vm.load(GICD + 0x104, Width::W4), 0xff00);
        vm.store(GICD + 0x184, Width::W4, 0x0f00);
        assert_eq!(vm.load(GICD + 0x104, Width::W4), 0xf000);
    }
}

#[test]
fn each_vcpu_finds_its_own_redistributor_and_may_look_at_the_others() {
    let mut vm = v3(2);
    for _ in 0..2 {
        for vcpu in 0..2 {
            let base = layout::GICR.0 + vcpu * layout::GICR_SIZE;
            let typer = vm.load(base + 8, Width::W8);
            assert_eq!(typer, vcpu << 32 | vcpu << 8 | vcpu << 4, "{vcpu}");
            vm.store(base + 0x1_0400, Width::W4, 0x10 * (vcpu + 1));
            assert_eq!(vm.load(base + 0x1_0400, Width::W4), 0x10 * (vcpu + 1));
        }
        vm = vm.seen_from(VcpuId(1));
    }
}

#[test]
fn a_gicv2_shows_each_vcpu_its_own_private_registers() {
    let mut vm = Vm::new(Version::V2, 2);
    vm.store(GICD + 0x100, Width::W4, 0x100);
    vm = vm.seen_from(VcpuId(1));
    assert_eq!(vm.load(GICD + 0x100, Width::W4), 0);
    assert_eq!(vm.load(GICD + 0x800, Width::W1), 2, "its own number");
}

#[test]
fn a_read_of_what_another_vcpu_knows_kicks_it_and_is_repeated() {
    let mut vm = v3(2);
    vm.enable_interrupts();
    vm.store(GICD + 0x204, Width::W4, 1 << 8);
    vm = vm.seen_from(VcpuId(1));
    let before = vm.frame();
    assert_eq!(vm.access(GICD + 0x204, loads(Width::W4)), Next::Resume);
    assert_eq!(vm.frame(), before, "the guest repeats the load");
    assert_eq!(vm.cpu.kicked, VcpuSet::one(VcpuId(0)));
}

#[test]
fn a_store_that_concerns_another_vcpu_kicks_it() {
    let mut vm = v3(2);
    vm.enable_interrupts();
    vm = vm.seen_from(VcpuId(1));
    vm.store(GICD + 0x204, Width::W4, 1 << 8);
    assert_eq!(vm.cpu.kicked, VcpuSet::one(VcpuId(0)));
}

#[test]
fn what_the_guest_sends_goes_to_the_console_at_any_width() {
    let mut vm = v3(1);
    vm.store(UART + DR, Width::W1, u64::from(b'h'));
    vm.store(UART + DR, Width::W2, u64::from(b'i'));
    vm.store(UART + DR, Width::W4, 0xffff_ff00 | u64::from(b'!'));
    assert_eq!(vm.cpu.sent, b"hi!");
}

#[test]
fn what_the_console_has_received_is_loaded_in_order() {
    let mut vm = v3(1);
    assert_eq!(vm.load(UART + FR, Width::W2) & 1 << 4, 1 << 4, "empty");
    for byte in *b"ok" {
        assert!(vm.devices.lock().receive(byte).0);
    }
    assert_eq!(vm.load(UART + FR, Width::W4) & 1 << 4, 0);
    assert_eq!(vm.load(UART + DR, Width::W4), u64::from(b'o'));
    assert_eq!(vm.load(UART + DR, Width::W1), u64::from(b'k'));
    assert_eq!(vm.cpu.input_room, 0, "there was room all the time");
}

#[test]
fn a_full_uart_takes_input_again_after_a_load() {
    let mut vm = v3(1);
    for _ in 0..RING_BYTES {
        assert!(vm.devices.lock().receive(b'x').0);
    }
    assert!(!vm.devices.lock().receive(b'y').0);
    vm.load(UART + FR, Width::W4);
    assert_eq!(vm.cpu.input_room, 0, "a look at the flags takes nothing");
    vm.load(UART + DR, Width::W4);
    assert_eq!(vm.cpu.input_room, 1);
    vm.load(UART + DR, Width::W4);
    assert_eq!(vm.cpu.input_room, 1, "once is enough");
    assert!(vm.devices.lock().receive(b'y').0);
}

#[test]
fn the_end_of_a_loopback_lets_held_back_input_come() {
    let mut vm = v3(1);
    vm.store(UART + CR, Width::W4, 0x301 | CR_LOOPBACK);
    vm.store(UART + DR, Width::W4, u64::from(b'z'));
    assert!(vm.cpu.sent.is_empty(), "it comes back instead");
    assert!(!vm.devices.lock().receive(b'a').0, "not connected");
    assert_eq!(vm.cpu.input_room, 0);
    vm.store(UART + CR, Width::W4, 0x301);
    assert_eq!(vm.cpu.input_room, 1);
    assert!(vm.devices.lock().receive(b'a').0);
    vm.store(UART + CR, Width::W4, 0x301);
    assert_eq!(vm.cpu.input_room, 1, "there was room before");
}

#[test]
fn the_watchdog_counts_from_the_start_of_the_vm() {
    let mut vm = v3(1);
    vm.cpu.now = STARTED_AT + 500;
    vm.store(CONTROL + 8, Width::W4, 100);
    vm.store(CONTROL, Width::W4, 1);
    assert_eq!(vm.load(CONTROL + 8, Width::W4), 100);
    assert_eq!(vm.load(CONTROL + 0x10, Width::W8), 600, "in virtual time");
    let due = STARTED_AT + 601;
    assert_eq!(vm.cpu.armed.last(), Some(&(None, Some(due))), "in physical time");
}

#[test]
fn a_refresh_of_the_watchdog_puts_its_deadline_off() {
    let mut vm = v3(1);
    vm.store(CONTROL + 8, Width::W4, 100);
    vm.store(CONTROL, Width::W4, 1);
    vm.cpu.now += 50;
    vm.store(REFRESH, Width::W4, 0);
    assert_eq!(vm.cpu.armed.last(), Some(&(None, Some(STARTED_AT + 151))));
    vm.store(CONTROL, Width::W4, 0);
    assert_eq!(vm.cpu.armed.last(), Some(&(None, None)));
}

#[test]
fn the_real_time_clock_tells_the_time_and_cannot_be_set() {
    let mut vm = v3(1);
    vm.machine.rtc = Some(Rtc { seconds: 1000, at: 0, frequency: 10 });
    vm.cpu.now = 50;
    assert_eq!(vm.load(layout::RTC.start.0, Width::W4), 1005);
    // RTCLR.
    vm.store(layout::RTC.start.0 + 8, Width::W4, 1);
    assert_eq!(vm.load(layout::RTC.start.0, Width::W4), 1005);
}

const BELL: u64 = layout::DOORBELLS.0;
const PAGE: u64 = layout::DOORBELL_SIZE;

#[test]
fn a_doorbell_tells_its_number_and_whom_it_reaches() {
    let mut vm = v3(1);
    assert_eq!(vm.load(BELL, Width::W4), 1);
    assert_eq!(vm.load(BELL + PAGE, Width::W4), 0);
    assert_eq!(vm.load(BELL + 4, Width::W4), 0b101);
    vm.cpu.peers = 0;
    assert_eq!(vm.load(BELL + 4, Width::W4), 0);
}

#[test]
fn a_store_to_a_doorbell_rings_without_a_lock_of_the_vm() {
    let mut vm = v3(1);
    vm.general.set(RT, 7);
    let held = vm.devices.lock();
    // With the lock held, a spin lock would never return.
    let taken = crate::exits::between(
        syndrome(BELL + PAGE + 8, stores(Width::W4)),
        &mut vm.general,
        (&vm.vcpu, &vm.machine, &vm.devices),
        &mut vm.cpu,
    );
    drop(held);
    assert_eq!(taken, crate::exits::Accessed::Done);
    let ring = Ring { from: SIDES[1], to: 7 };
    assert_eq!(vm.cpu.rings, [ring]);
}

#[test]
fn who_has_rung_is_read_and_cleared_in_the_doorbell() {
    let mut vm = v3(1);
    assert!(vm.machine.doorbells.rung(0, 2));
    assert_eq!(vm.load(BELL + 12, Width::W4), 4);
    vm.store(BELL + 12, Width::W4, 4);
    assert_eq!(vm.load(BELL + 12, Width::W4), 0);
    assert_eq!(vm.cpu.rings, []);
}

#[test]
fn beyond_the_last_doorbell_there_is_nothing() {
    let mut vm = v3(1);
    for ipa in [BELL - 4, BELL + 2 * PAGE, BELL + 15 * PAGE] {
        for access in [loads(Width::W4), stores(Width::W4)] {
            let next = vm.access(ipa, access);
            assert!(matches!(next, Next::Inject(_)), "{ipa:#x}: {next:?}");
        }
    }
    assert_eq!(vm.cpu.rings, []);
}
