//! From a device's line to the List Register, and back when the guest has dealt with the device.

use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::intid::IntId;
use assay_spec::lr::LrState;
use assay_spec::sysreg::SysReg;

use super::fixture::{STARTED_AT, Vm};
use crate::exits::Next;
use crate::inject::Fault;
use crate::layout;
use crate::vcpus::VcpuSet;
use crate::vgic::Version;
use crate::vm::PHYS_TIMER;

const UART: u64 = layout::UART.start.0;
const IMSC: u64 = 0x038;
const RECEIVED: u64 = 1 << 4 | 1 << 6;
const SENT: u64 = 1 << 5;
const CONTROL: u64 = layout::WATCHDOG_CONTROL.start.0;
const REFRESH: u64 = layout::WATCHDOG_REFRESH.start.0;

/// A VM whose interrupt controller delivers everything.
fn ready(gic: Version, vcpus: usize) -> Vm {
    let mut vm = Vm::new(gic, vcpus);
    vm.enable_interrupts();
    vm
}

/// What the CPU of vCPU 0 does on a kick.
fn flush(vm: &mut Vm) {
    let kicks = vm.devices.lock().vgic.flush_lr(vm.vcpu.index, &mut vm.cpu);
    assert_eq!(kicks, VcpuSet::EMPTY);
}

#[test]
fn a_byte_from_the_console_is_an_interrupt_until_the_guest_has_loaded_it() {
    for gic in [Version::V3, Version::V2] {
        let mut vm = ready(gic, 1);
        vm.store(UART + IMSC, Width::W4, RECEIVED);
        let kicks = vm.devices.lock().receive(b'a');
        assert_eq!(kicks, (true, VcpuSet::one(VcpuId(0))), "its CPU has to look");
        flush(&mut vm);
        assert_eq!(vm.cpu.listed(layout::UART_INTID), LrState::Pending);
        assert_eq!(vm.load(UART, Width::W4), u64::from(b'a'));
        assert_eq!(vm.cpu.listed(layout::UART_INTID), LrState::Invalid);
    }
}

#[test]
fn a_byte_that_the_guest_does_not_want_to_hear_of_kicks_nobody() {
    let vm = ready(Version::V3, 1);
    assert_eq!(vm.devices.lock().receive(b'a'), (true, VcpuSet::EMPTY));
}

#[test]
fn a_byte_sent_is_an_interrupt_at_once_and_clearing_it_ends_that() {
    let mut vm = ready(Version::V3, 1);
    vm.store(UART + IMSC, Width::W4, SENT);
    assert_eq!(vm.cpu.listed(layout::UART_INTID), LrState::Invalid);
    vm.store(UART, Width::W4, 0x41);
    assert_eq!(vm.cpu.listed(layout::UART_INTID), LrState::Pending);
    vm.store(UART + 0x44, Width::W4, SENT);
    assert_eq!(vm.cpu.listed(layout::UART_INTID), LrState::Invalid);
}

#[test]
fn an_interrupt_of_the_uart_goes_to_the_vcpu_that_it_is_routed_to() {
    let mut vm = ready(Version::V3, 2);
    // GICD_IROUTER33.
    vm.store(0x0800_6108, Width::W8, 1);
    vm.store(UART + IMSC, Width::W4, SENT);
    vm.store(UART, Width::W4, 0x41);
    assert_eq!(vm.cpu.listed(layout::UART_INTID), LrState::Invalid);
    assert!(vm.cpu.kicked.contains(VcpuId(1)));
    vm = vm.seen_from(VcpuId(1));
    flush(&mut vm);
    assert_eq!(vm.cpu.listed(layout::UART_INTID), LrState::Pending);
}

#[test]
fn the_watchdogs_first_stage_is_an_interrupt_and_its_second_is_reported() {
    let mut vm = ready(Version::V3, 1);
    vm.store(CONTROL + 8, Width::W4, 100);
    vm.store(CONTROL, Width::W4, 1);
    let tick = |vm: &mut Vm, now| vm.devices.lock().tick_watchdog(VcpuId(0), now);
    assert_eq!(tick(&mut vm, STARTED_AT + 100), (false, VcpuSet::EMPTY));
    let first = tick(&mut vm, STARTED_AT + 101);
    assert_eq!(first, (false, VcpuSet::one(VcpuId(0))));
    flush(&mut vm);
    assert_eq!(vm.cpu.listed(layout::WATCHDOG_INTID), LrState::Pending);
    vm.cpu.now = STARTED_AT + 150;
    vm.store(REFRESH, Width::W4, 0);
    assert_eq!(vm.cpu.listed(layout::WATCHDOG_INTID), LrState::Invalid);
    assert!(!tick(&mut vm, STARTED_AT + 251).0);
    assert!(tick(&mut vm, STARTED_AT + 352).0);
    assert!(!tick(&mut vm, STARTED_AT + 999).0, "once");
}

#[test]
fn a_store_to_the_watchdog_does_not_swallow_its_end() {
    let mut vm = ready(Version::V3, 1);
    vm.store(CONTROL + 8, Width::W4, 100);
    vm.store(CONTROL, Width::W4, 1);
    assert!(!vm.devices.lock().tick_watchdog(VcpuId(0), STARTED_AT + 101).0);
    vm.cpu.now = STARTED_AT + 150;
    // The second stage, moved into the past by a store to WCV, and then looked at by a store to nothing.
    vm.store(CONTROL + 0x10, Width::W8, 3);
    vm.store(CONTROL + 0x20, Width::W4, 0);
    assert_eq!(vm.cpu.armed.last(), Some(&(None, Some(STARTED_AT + 4))), "the timer goes off at once");
    assert!(vm.devices.lock().tick_watchdog(VcpuId(0), STARTED_AT + 150).0);
}

#[test]
fn a_watchdog_that_is_due_beyond_the_counters_range_is_never_due() {
    let mut vm = ready(Version::V3, 1);
    vm.store(CONTROL, Width::W4, 1);
    vm.store(CONTROL + 0x10, Width::W8, u64::MAX - 1);
    assert_eq!(vm.cpu.armed.last(), Some(&(None, None)));
    vm.store(CONTROL + 0x10, Width::W8, u64::MAX - 1 - STARTED_AT);
    assert_eq!(vm.cpu.armed.last(), Some(&(None, Some(u64::MAX))));
}

#[test]
fn an_sgi_to_oneself_is_listed_at_once() {
    let mut vm = ready(Version::V3, 2);
    assert_eq!(vm.msr(SysReg::ICC_SGI1R_EL1, 3 << 24 | 0b01), Next::Advance);
    assert_eq!(vm.cpu.listed(IntId::sgi(3)), LrState::Pending);
    assert_eq!(vm.cpu.kicked, VcpuSet::EMPTY);
}

#[test]
fn an_sgi_to_another_vcpu_kicks_that() {
    let mut vm = ready(Version::V3, 2).seen_from(VcpuId(1));
    vm.enable_interrupts();
    assert_eq!(vm.msr(SysReg::ICC_SGI1R_EL1, 3 << 24 | 0b01), Next::Advance);
    assert_eq!(vm.cpu.listed(IntId::sgi(3)), LrState::Invalid);
    assert_eq!(vm.cpu.kicked, VcpuSet::one(VcpuId(0)));
}

#[test]
fn the_registers_of_the_other_group_reach_only_sgis_of_group_0() {
    for register in [SysReg::ICC_SGI0R_EL1, SysReg::ICC_ASGI1R_EL1] {
        let mut vm = ready(Version::V3, 1);
        assert_eq!(vm.msr(register, 3 << 24 | 1), Next::Advance);
        assert_eq!(vm.cpu.listed(IntId::sgi(3)), LrState::Invalid);
        // GICR_IGROUPR0.
        vm.store(layout::GICR.0 + 0x1_0080, Width::W4, !(1 << 3) & 0xffff_ffff);
        assert_eq!(vm.msr(register, 3 << 24 | 1), Next::Advance);
        assert_eq!(vm.cpu.listed(IntId::sgi(3)), LrState::Pending);
    }
}

#[test]
fn a_gicv2_has_no_registers_to_send_by_but_a_distributor() {
    let mut vm = ready(Version::V2, 2).seen_from(VcpuId(1));
    vm.enable_interrupts();
    vm = vm.seen_from(VcpuId(0));
    let undefined = Next::Inject(Fault::Undefined);
    assert_eq!(vm.msr(SysReg::ICC_SGI1R_EL1, 1), undefined);
    // GICD_SGIR: SGI 3 to the other one, then to oneself.
    vm.store(0x0800_0f00, Width::W4, 2 << 16 | 3);
    assert_eq!(vm.cpu.kicked, VcpuSet::one(VcpuId(1)));
    vm.store(0x0800_0f00, Width::W4, 1 << 16 | 3);
    assert_eq!(vm.cpu.listed(IntId::sgi(3)), LrState::Pending);
}

#[test]
fn the_physical_timers_line_follows_its_registers() {
    let mut vm = ready(Version::V3, 1);
    vm.msr(SysReg::CNTP_CVAL_EL0, STARTED_AT + 10);
    assert_eq!(vm.cpu.armed.last(), Some(&(None, None)), "not enabled");
    assert_eq!(vm.msr(SysReg::CNTP_CTL_EL0, 1), Next::Advance);
    assert_eq!(vm.cpu.armed.last(), Some(&(Some(STARTED_AT + 10), None)));
    assert_eq!(vm.cpu.listed(PHYS_TIMER), LrState::Invalid);
    // What the EL2 timer's handler does.
    vm.cpu.now = STARTED_AT + 10;
    let mut devices = vm.devices.lock();
    let _ = vm.vcpu.update_timer(&mut devices, &mut vm.cpu, STARTED_AT + 10);
    drop(devices);
    assert_eq!(vm.cpu.listed(PHYS_TIMER), LrState::Pending);
    assert_eq!(vm.msr(SysReg::CNTP_CTL_EL0, 0b11), Next::Advance);
    assert_eq!(vm.cpu.listed(PHYS_TIMER), LrState::Invalid, "masked");
}

#[test]
fn a_physical_timer_that_rises_after_the_look_at_its_line_still_has_its_deadline() {
    let mut vm = ready(Version::V3, 1);
    vm.msr(SysReg::CNTP_CVAL_EL0, STARTED_AT + 10);
    vm.msr(SysReg::CNTP_CTL_EL0, 1);
    let mut devices = vm.devices.lock();
    // The line was low at 9. Whoever arms the EL2 timer at 11 must still be told of 10.
    let _ = vm.vcpu.update_timer(&mut devices, &mut vm.cpu, STARTED_AT + 9);
    assert_eq!(vm.vcpu.timer_deadline(), Some(STARTED_AT + 10));
    let _ = vm.vcpu.update_timer(&mut devices, &mut vm.cpu, STARTED_AT + 11);
    assert_eq!(vm.vcpu.timer_deadline(), None, "it is known to be high");
}
