//! Whatever a guest does, there is an answer.

use crate::stage::Stage;
use assay_spec::cpu_id::VcpuId;
use std::vec::Vec;

use assay_spec::addr::Ipa;
use assay_spec::esr;
use assay_spec::lr::LrState;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::agreement::{address, fault_registers, function, syndrome};
use super::fixture::{Vm, config};
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

/// Carries out one exit by the short ways and the long one, as the per-CPU loop does.
fn run(vm: &mut Vm, step: &Step) -> Option<Next> {
    vm.general.x.copy_from_slice(&step.registers);
    vm.cpu.at.pc = step.pc;
    vm.cpu.at.pstate = step.pstate;
    // A counter does not go backwards.
    vm.cpu.now = vm.cpu.now.saturating_add(step.ticks);
    let _ = vm.devices.lock().tick_watchdog(VcpuId(0), vm.cpu.now);
    if step.ends {
        end_interrupts(vm);
    }
    let (esr, far, hpfar) = step.syndrome;
    if vm.fast_path(esr) || vm.device_access(step.syndrome) {
        return None;
    }
    Some(vm.handle(esr::decode(esr, far, hpfar)))
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
            let next = run(&mut vm, &step);
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
