//! HVC and SMC.

use crate::stage::{Stage, Start};
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Exit;
use assay_spec::psci::{self, ret, smc64};
use assay_spec::smccc;

use super::fixture::{CODE, Vm};
use crate::exits::Next;
use crate::inject::Fault;
use crate::life::Stop;
use crate::psci::Power;
use crate::smccc::Workaround;
use crate::vcpus::VcpuSet;
use crate::vgic::Version;

fn vm(vcpus: usize) -> Vm {
    Vm::new(Version::V3, vcpus)
}

fn state(vm: &Vm, vcpu: VcpuId) -> Power {
    vm.devices.lock().power.state(vcpu)
}

#[test]
fn psci_version_is_answered_and_the_guest_goes_on_where_it_is() {
    let mut vm = vm(1);
    assert_eq!(vm.hvc(psci::VERSION, [7; 3]), Next::Resume);
    assert_eq!(vm.general.x[..4], [0x1_0001, 7, 7, 7]);
    assert_eq!(vm.cpu.at.pc, CODE, "ELR_EL2 is past an HVC already");
}

#[test]
fn an_unknown_function_is_not_supported() {
    // Nobody's, a vendor's, a yielding call, OEM's, an Architecture call and a PSCI call that do not exist.
    for function in [0, 0x8600_ff01, 0x0400_0000, 0x8300_0000, 0x8000_1234, 0x8400_001f] {
        let mut vm = vm(1);
        assert_eq!(vm.hvc(function, [0; 3]), Next::Resume);
        assert_eq!(vm.general.x[0], u64::MAX, "{function:#x}");
    }
}

#[test]
fn of_x0_only_the_lower_half_names_the_function() {
    let mut vm = vm(1);
    vm.general.x[0] = 0xdead_beef_0000_0000 | u64::from(psci::VERSION);
    assert_eq!(vm.handle(Exit::Hvc { imm: 0 }), Next::Resume);
    assert_eq!(vm.general.x[0], 0x1_0001);
}

#[test]
fn a_call_with_another_immediate_than_zero_is_nobodys() {
    let mut vm = vm(1);
    vm.general.x[0] = psci::SYSTEM_OFF.into();
    assert_eq!(vm.handle(Exit::Hvc { imm: 1 }), Next::Resume);
    assert_eq!(vm.general.x[0], ret::register(ret::NOT_SUPPORTED));
    vm.general.x[0] = psci::SYSTEM_OFF.into();
    assert_eq!(vm.handle(Exit::Smc { imm: 0xffff }), Next::Advance);
    assert_eq!(vm.general.x[0], ret::register(ret::NOT_SUPPORTED));
}

#[test]
fn an_smc_gets_the_answer_of_an_hvc_and_is_stepped_over() {
    for function in [psci::VERSION, psci::FEATURES, smccc::VERSION, 0xc300_0001] {
        let (mut by_hvc, mut by_smc) = (vm(1), vm(1));
        let args = [psci::CPU_ON.into(), 0, 0];
        assert_eq!(by_hvc.hvc(function, args), Next::Resume);
        assert_eq!(by_smc.smc(function, args), Next::Advance);
        assert_eq!(by_hvc.frame(), by_smc.frame(), "{function:#x}");
    }
}

#[test]
fn no_call_touches_what_smccc_preserves() {
    let all = (0x8400_0000..0x8400_0060).chain(0xc400_0000..0xc400_0060).chain(0x8000_0000..0x8000_0010);
    for function in all.step_by(if cfg!(miri) { 9 } else { 1 }) {
        let mut vm = vm(2);
        vm.cpu.has_entropy = true;
        vm.cpu.random = Some(u64::MAX);
        let before = vm.frame();
        vm.hvc(function, [1, CODE, 0]);
        assert_eq!(vm.general.x[4..], before.general.x[4..], "{function:#x}");
        assert_eq!(vm.cpu.at.pc, before.at.pc, "{function:#x}");
    }
}

#[test]
fn cpu_on_leaves_a_start_for_the_other_vcpu_and_kicks_it() {
    let mut vm = vm(3);
    assert_eq!(vm.hvc(smc64(psci::CPU_ON), [2, CODE + 8, 99]), Next::Resume);
    assert_eq!(vm.general.x[0], 0);
    assert_eq!(vm.cpu.kicked, VcpuSet::one(VcpuId(2)));
    let start = vm.devices.lock().power.take_start(VcpuId(2));
    let expected = Start { entry: CODE + 8, context: 99 };
    assert_eq!(start, Some(expected));
}

#[test]
fn cpu_on_outside_of_ram_is_an_invalid_address_and_kicks_nobody() {
    // A device, between two instructions, one past the end of RAM.
    for entry in [0x0900_0000, CODE + 2, 0x5000_0000] {
        let mut vm = vm(2);
        assert_eq!(vm.hvc(smc64(psci::CPU_ON), [1, entry, 0]), Next::Resume);
        assert_eq!(vm.general.x[0], ret::register(ret::INVALID_ADDRESS));
        assert_eq!(vm.cpu.kicked, VcpuSet::EMPTY);
        assert_eq!(state(&vm, VcpuId(1)), Power::Off);
    }
}

#[test]
fn cpu_off_ends_the_vcpu_while_another_is_on() {
    let mut vm = vm(2);
    vm.hvc(smc64(psci::CPU_ON), [1, CODE, 0]);
    assert_eq!(vm.hvc(psci::CPU_OFF, [0; 3]), Next::Leave(Stage::Off));
    assert_eq!(state(&vm, VcpuId(0)), Power::Off);
}

#[test]
fn the_last_cpu_off_switches_the_vm_off() {
    let mut vm = vm(2);
    assert_eq!(vm.hvc(psci::CPU_OFF, [0; 3]), Next::Stop(Stop::PowerOff));
    assert_eq!(self::vm(2).smc(psci::CPU_OFF, [0; 3]), Next::Stop(Stop::PowerOff));
}

#[test]
fn a_standby_waits_and_goes_on_behind_the_call_with_zero() {
    let mut vm = vm(1);
    let next = Next::Leave(Stage::Suspended(None));
    assert_eq!(vm.hvc(psci::CPU_SUSPEND, [0; 3]), next);
    assert_eq!((vm.general.x[0], vm.cpu.at.pc), (0, CODE));
    assert_eq!(state(&vm, VcpuId(0)), Power::Suspended);
    assert_eq!(vm.smc(psci::CPU_SUSPEND, [0; 3]), next);
    assert_eq!((vm.general.x[0], vm.cpu.at.pc), (0, CODE + 4));
}

#[test]
fn a_power_down_tells_where_the_vcpu_starts_anew() {
    let mut vm = vm(1);
    let args = [psci::POWER_STATE_POWER_DOWN.into(), CODE + 16, 5];
    let start = Start { entry: CODE + 16, context: 5 };
    let next = Next::Leave(Stage::Suspended(Some(start)));
    assert_eq!(vm.hvc(smc64(psci::CPU_SUSPEND), args), next);
    assert_eq!(vm.smc(smc64(psci::CPU_SUSPEND), args), next);
}

#[test]
fn a_suspend_that_is_refused_goes_on_at_once() {
    let mut vm = vm(1);
    assert_eq!(vm.smc(psci::CPU_SUSPEND, [1 << 24, 0, 0]), Next::Advance);
    assert_eq!(vm.general.x[0], ret::register(ret::INVALID_PARAMETERS));
    assert_eq!(state(&vm, VcpuId(0)), Power::On);
}

#[test]
fn system_off_and_system_reset_stop_the_vm() {
    let stop = |function| vm(2).hvc(function, [0; 3]);
    assert_eq!(stop(psci::SYSTEM_OFF), Next::Stop(Stop::PowerOff));
    assert_eq!(stop(psci::SYSTEM_RESET), Next::Stop(Stop::Reset));
    assert_eq!(stop(psci::SYSTEM_RESET2), Next::Stop(Stop::Reset));
    let by_smc = vm(2).smc(psci::SYSTEM_OFF, [0; 3]);
    assert_eq!(by_smc, Next::Stop(Stop::PowerOff));
}

#[test]
fn random_bits_come_from_the_cpu_and_are_not_offered_without() {
    let mut vm = vm(1);
    vm.hvc(smccc::TRNG_RND64, [64, 8, 9]);
    assert_eq!(vm.general.x[..4], [u64::MAX, 64, 8, 9]);
    vm.cpu.has_entropy = true;
    vm.hvc(smccc::TRNG_RND64, [64, 8, 9]);
    assert_eq!(vm.general.x[0], ret::register(smccc::ret::TRNG_NO_ENTROPY), "none just now");
    vm.cpu.random = Some(0x1234_5678_9abc_def0);
    assert_eq!(vm.hvc(smccc::TRNG_RND64, [64, 8, 9]), Next::Resume);
    assert_eq!(vm.general.x[..4], [0, 0, 0, 0x1234_5678_9abc_def0]);
}

#[test]
fn a_workaround_that_the_guest_is_told_to_call_is_done_on_this_cpu() {
    let mut vm = vm(1);
    vm.hvc(smccc::ARCH_FEATURES, [smccc::ARCH_WORKAROUND_1.into(), 0, 0]);
    assert_eq!(vm.general.x[0], 0);
    assert!(vm.cpu.workarounds.is_empty(), "asking does nothing");
    assert_eq!(vm.smc(smccc::ARCH_WORKAROUND_1, [0; 3]), Next::Advance);
    assert_eq!(vm.general.x[0], 0);
    assert_eq!(vm.cpu.workarounds, [Workaround::One]);
    vm.hvc(smccc::ARCH_WORKAROUND_3, [0; 3]);
    assert_eq!(vm.general.x[0], u64::MAX, "firmware has none");
    assert_eq!(vm.cpu.workarounds, [Workaround::One]);
}

#[test]
fn a_vcpu_chooses_workaround_2_for_itself_and_begins_with_it() {
    let mut vm = vm(1);
    assert!(!vm.vcpu.store_bypass);
    vm.hvc(smccc::ARCH_FEATURES, [smccc::ARCH_WORKAROUND_2.into(), 0, 0]);
    assert_eq!(vm.general.x[0], 0);
    assert_eq!(vm.hvc(smccc::ARCH_WORKAROUND_2, [1, 0, 0]), Next::Resume, "as it is");
    let pc = vm.cpu.at.pc;
    assert_eq!(vm.smc(smccc::ARCH_WORKAROUND_2, [0; 3]), Next::Leave(Stage::On));
    assert_eq!((vm.general.x[0], vm.cpu.at.pc, vm.vcpu.store_bypass), (0, pc + 4, true));
    assert_eq!(vm.hvc(smccc::ARCH_WORKAROUND_2, [0; 3]), Next::Resume);
    assert_eq!(vm.hvc(smccc::ARCH_WORKAROUND_2, [1, 0, 0]), Next::Leave(Stage::On));
    assert!(!vm.vcpu.store_bypass);
}

#[test]
fn a_trap_that_nothing_is_known_of_makes_the_instruction_undefined() {
    let mut vm = vm(1);
    let before = vm.frame();
    for exit in [Exit::FpTrap, Exit::Unknown] {
        assert_eq!(vm.handle(exit), Next::Inject(Fault::Undefined));
    }
    assert_eq!(vm.frame(), before, "and the guest is told of where it is");
}

#[test]
fn a_trapped_wait_is_over_at_once() {
    // Dedicated vCPUs wait by themselves; one that traps nevertheless may not hang.
    for event in [false, true] {
        for (wide, bytes) in [(true, 4), (false, 2)] {
            let mut vm = vm(1);
            let pc = vm.cpu.at.pc;
            assert_eq!(vm.handle(Exit::Wfx { event, wide }), Next::Resume);
            assert_eq!(vm.cpu.at.pc, pc + bytes);
        }
    }
}
