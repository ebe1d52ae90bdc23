//! Whatever a guest does, there is an answer.

use crate::stage::Stage;
use assay_spec::cpu_id::VcpuId;
use core::ops::Range;
use std::vec;
use std::vec::Vec;

use assay_spec::addr::Ipa;
use assay_spec::esr::{self, ec};
use assay_spec::frame::{Frame, General};
use assay_spec::lr::LrState;
use assay_spec::smccc::{ARCH_FEATURES, ARCH_WORKAROUND_1, ARCH_WORKAROUND_2, ARCH_WORKAROUND_3};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::agreement::{address, fault_registers, function, syndrome};
use super::fixture::{CODE, Vm, config};
use crate::exits::Next;
use crate::layout;
use crate::vcpus::VcpuSet;
use crate::vgic::Version;

/// One exit, and what happens before it.
#[derive(Clone, Debug)]
struct Step {
    syndrome: (u64, u64, u64),
    registers: Vec<u64>,
    pc: u64,
    pstate: u64,
    /// How far the clock goes on.
    ticks: u64,
    /// The guest acknowledges and ends what is listed.
    ends: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let registers = (function(), vec(prop_oneof![any::<u64>(), 0..256_u64], 30));
    let fault = prop_oneof![address().prop_map(fault_registers), (any::<u64>(), any::<u64>()),];
    let guest = (registers, any::<u64>(), any::<u64>());
    let ticks = prop_oneof![0..1000_u64, any::<u64>()];
    (syndrome(), fault, guest, ticks, any::<bool>()).prop_map(
        |(esr, (far, hpfar), ((x0, rest), pc, pstate), ticks, ends)| Step {
            syndrome: (esr, far, hpfar),
            registers: core::iter::once(x0).chain(rest).collect(),
            pc,
            pstate,
            ticks,
            ends,
        },
    )
}

/// Lets the guest end what it has in its List Registers, without telling.
fn end_interrupts(vm: &mut Vm) {
    for lr in &mut vm.cpu.lrs {
        lr.state = match lr.state {
            LrState::Pending | LrState::PendingActive => LrState::Active,
            LrState::Active | LrState::Invalid => LrState::Invalid,
        };
    }
}

/// What the lazy registers hold while they are not there.
const POISON: [u64; 9] = [0x5a5a_a5a5_0f0f_f0f0; 9];
/// The lazy registers.
const LAZY: Range<usize> = 20..29;

/// Carries out one exit by the short ways and the long one, as the per-CPU loop does. With `hides` the lazy registers are there
/// only once the exit has named one that it needs, as in the world switch.
fn run(vm: &mut Vm, step: &Step, hides: bool) -> Option<Next> {
    vm.general.x.copy_from_slice(&step.registers);
    let (esr, far, hpfar) = step.syndrome;
    let needs = General::is_lazy(esr::named_register(esr));
    if hides {
        vm.general.x[LAZY].copy_from_slice(&POISON);
    }
    vm.cpu.at.pc = step.pc;
    vm.cpu.at.pstate = step.pstate;
    // A counter does not go backwards.
    vm.cpu.now = vm.cpu.now.saturating_add(step.ticks);
    let _ = vm.devices.lock().tick_watchdog(VcpuId(0), vm.cpu.now);
    if step.ends {
        end_interrupts(vm);
    }
    let is_short = vm.fast_path(esr);
    let is_whole = !is_short && needs;
    if hides && is_whole {
        assert_eq!(vm.general.x[LAZY], POISON, "written before they were there");
        vm.general.x[LAZY].copy_from_slice(&step.registers[LAZY]);
    }
    let is_done = is_short || vm.device_access(step.syndrome) || vm.send_sgi(esr);
    let next = (!is_done).then(|| vm.handle(esr::decode(esr, far, hpfar)));
    if hides && !is_whole {
        assert_eq!(vm.general.x[LAZY], POISON, "what is written there is lost");
        vm.general.x[LAZY].copy_from_slice(&step.registers[LAZY]);
    }
    next
}

/// Has two VMs that are the same do the same, with and without the lazy registers.
fn agree(mut lazy: Vm, mut whole: Vm, steps: &[Step]) {
    for step in steps {
        assert_eq!(run(&mut lazy, step, true), run(&mut whole, step, false), "{step:x?}");
        assert_eq!((lazy.frame(), &lazy.cpu), (whole.frame(), &whole.cpu), "{step:x?}");
    }
    assert_eq!(lazy.visible(), whole.visible());
    for vcpu in (0..3).map(VcpuId) {
        let start = |vm: &Vm| vm.devices.lock().power.take_start(vcpu);
        assert_eq!(start(&lazy), start(&whole), "{steps:x?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn no_call_looks_at_a_register_that_is_not_there() {
    let others = [ARCH_FEATURES, ARCH_WORKAROUND_1, ARCH_WORKAROUND_2, ARCH_WORKAROUND_3];
    let functions = (0..0x60).flat_map(|n| [0x8400_0000 + n, 0xc400_0000 + n]).chain(others);
    for (function, class) in functions.flat_map(|function| [(function, ec::HVC64), (function, ec::SMC64)]) {
        for [x1, x2] in [[1, 0], [1, CODE], [ARCH_FEATURES.into(), 0], [layout::RAM.0, 0]] {
            let mut registers = vec![x1; 31];
            registers[..4].copy_from_slice(&[function.into(), x1, x2, 9]);
            let (pc, pstate) = (CODE, Frame::PSTATE_RESET);
            let syndrome = (esr::encode(class, 0), 0, 0);
            let step = Step { syndrome, registers, pc, pstate, ticks: 1, ends: false };
            let made = || {
                let mut vm = Vm::new(Version::V3, 3);
                (vm.cpu.has_entropy, vm.cpu.random) = (true, Some(5));
                vm
            };
            agree(made(), made(), &[step]);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    #[cfg_attr(miri, ignore = "many steps of safe code")]
    fn no_sequence_of_exits_can_make_it_panic(
        gic in prop_oneof![Just(Version::V2), Just(Version::V3)],
        vcpu in 0..3_usize,
        watchdog in any::<bool>(),
        steps in vec(step(), 1..40),
    ) {
        let mut vm = Vm::with(gic, 3, watchdog).seen_from(VcpuId(vcpu));
        vm.cpu.has_entropy = watchdog;
        for step in steps {
            let next = run(&mut vm, &step, false);
            prop_assert!(vm.cpu.kicked.0 & !VcpuSet::first(3).0 == 0, "kicked a vCPU that is not");
            match next {
                // The exception is taken at the instruction, which has done nothing.
                Some(Next::Inject(_)) => {
                    prop_assert_eq!(vm.cpu.at.pc, step.pc);
                    prop_assert_eq!(&vm.general.x[..], &step.registers[..]);
                }
                Some(Next::Leave(Stage::Suspended(Some(start)))) => {
                    prop_assert!(vm.machine.ram.contains(Ipa(start.entry)));
                }
                _ => {}
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "many steps of safe code")]
    fn no_exit_looks_at_a_register_that_is_not_there(
        gic in prop_oneof![Just(Version::V2), Just(Version::V3)],
        vcpu in 0..3_usize,
        watchdog in any::<bool>(),
        steps in vec(step(), 1..40),
    ) {
        let made = || Vm::with(gic, 3, watchdog).seen_from(VcpuId(vcpu));
        agree(made(), made(), &steps);
    }

    #[test]
    fn a_vcpu_starts_in_ram_and_at_an_instruction(address in prop_oneof![
        any::<u64>(),
        0x3fff_fff0..0x4000_0010_u64,
        0x4fff_fff0..0x5000_0010_u64,
    ]) {
        let vm = Vm::new(Version::V3, 1);
        let expected = (layout::RAM.0..0x5000_0000).contains(&address) && address % 4 == 0;
        prop_assert_eq!(vm.machine.is_code(address), expected);
    }
}
