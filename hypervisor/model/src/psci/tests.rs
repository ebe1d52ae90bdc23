use super::{CPU_ON_64, CPU_SUSPEND_64, OFFERED, Outcome, Power, PowerTable, Start, features, mpidr};
use crate::life::Stop;
use crate::stage::Stage;
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;
use assay_spec::psci::{self as id, ret, smc64};
use proptest::prelude::{any, proptest};

const RAM: core::ops::Range<u64> = 0x4000_0000..0x8000_0000;
const ENTRY: u64 = 0x4020_0000;

/// A VM of `vcpus` vCPUs of which vCPU 0 runs.
fn booted(vcpus: usize) -> PowerTable {
    let mut table = PowerTable::new(vcpus);
    table.boot(Start { entry: ENTRY, context: 0x4800_0000 });
    assert!(table.take_start(VcpuId(0)).is_some());
    table
}

fn call(table: &mut PowerTable, fid: u32, args: [u64; 3]) -> Outcome {
    table.call(fid, args, VcpuId(0), &|ipa| RAM.contains(&ipa))
}

fn code(code: i32) -> Outcome {
    Outcome::Return(ret::register(code))
}

fn turn_on(table: &mut PowerTable, vcpu: u64) -> Outcome {
    call(table, CPU_ON_64, [vcpu, ENTRY, 7])
}

#[test]
fn the_version_is_1_1() {
    assert_eq!(call(&mut booted(1), id::VERSION, [0; 3]), Outcome::Return(0x1_0001));
}

#[test]
fn a_vcpu_turned_on_is_pending_until_it_takes_its_start_and_on_from_then() {
    let mut table = booted(2);
    assert_eq!(turn_on(&mut table, 1), Outcome::TurnOn { target: VcpuId(1) });
    assert_eq!(turn_on(&mut table, 1), code(ret::ON_PENDING));
    assert_eq!(call(&mut table, id::AFFINITY_INFO, [1, 0, 0]), Outcome::Return(2));
    assert_eq!(table.take_start(VcpuId(1)), Some(Start { entry: ENTRY, context: 7 }));
    assert_eq!(table.take_start(VcpuId(1)), None);
    assert_eq!(turn_on(&mut table, 1), code(ret::ALREADY_ON));
    assert_eq!(call(&mut table, id::AFFINITY_INFO, [1, 0, 0]), Outcome::Return(0));
}

#[test]
fn turning_on_a_vcpu_that_the_vm_does_not_have_is_invalid_parameters() {
    let mut table = booted(20);
    // vCPU 20, a gap in Aff0, the RES1 bit of an MPIDR, Aff3, and bits that no field owns.
    for target in [0x104, 0x010, 0x8000_0001, 1 << 32, 1 << 24, 1 << 63] {
        assert_eq!(turn_on(&mut table, target), code(ret::INVALID_PARAMETERS), "{target:#x}");
    }
    assert_eq!(turn_on(&mut table, 0x103), Outcome::TurnOn { target: VcpuId(19) });
}

#[test]
fn turning_on_the_caller_itself_is_already_on() {
    assert_eq!(turn_on(&mut booted(1), 0), code(ret::ALREADY_ON));
}

#[test]
fn an_entry_outside_ram_or_between_instructions_is_invalid_address() {
    let mut table = booted(2);
    for entry in [0, RAM.end, ENTRY + 1, ENTRY + 2, u64::MAX] {
        assert_eq!(call(&mut table, CPU_ON_64, [1, entry, 0]), code(ret::INVALID_ADDRESS));
    }
    assert_eq!(table.state(VcpuId(1)), Power::Off);
}

#[test]
fn a_32_bit_call_passes_only_lower_halves() {
    let mut table = booted(2);
    let high = 0xdead_0000_0000_0000;
    let args = [high | 1, high | ENTRY, high | 7];
    assert_eq!(call(&mut table, id::CPU_ON, args), Outcome::TurnOn { target: VcpuId(1) });
    assert_eq!(table.take_start(VcpuId(1)), Some(Start { entry: ENTRY, context: 7 }));
    assert_eq!(call(&mut table, CPU_ON_64, args), code(ret::INVALID_PARAMETERS));
}

#[test]
fn a_vcpu_that_is_off_can_be_turned_on_again() {
    let mut table = booted(2);
    assert_eq!(turn_on(&mut table, 1), Outcome::TurnOn { target: VcpuId(1) });
    assert!(table.take_start(VcpuId(1)).is_some());
    assert_eq!(table.call(id::CPU_OFF, [0; 3], VcpuId(1), &|_| true), Outcome::Leave(Stage::Off));
    assert_eq!(call(&mut table, id::AFFINITY_INFO, [1, 0, 0]), Outcome::Return(1));
    assert_eq!(turn_on(&mut table, 1), Outcome::TurnOn { target: VcpuId(1) });
}

#[test]
fn when_the_last_vcpu_turns_itself_off_none_is_left() {
    let mut table = booted(2);
    assert_eq!(table.not_off(), VcpuSet::one(VcpuId(0)));
    assert_eq!(call(&mut table, id::CPU_OFF, [0; 3]), Outcome::Stop(Stop::PowerOff));
    assert!(table.not_off().is_empty());
}

#[test]
fn standby_returns_and_leaves_the_vcpu_on_for_the_others() {
    let mut table = booted(2);
    assert_eq!(call(&mut table, CPU_SUSPEND_64, [0x1234, 0, 0]), Outcome::Leave(Stage::Suspended(None)));
    assert_eq!(table.state(VcpuId(0)), Power::Suspended);
    let info = table.call(id::AFFINITY_INFO, [0; 3], VcpuId(1), &|_| true);
    assert_eq!(info, Outcome::Return(0));
    assert_eq!(turn_on(&mut table, 0), code(ret::ALREADY_ON));
    table.resume(VcpuId(0));
    assert_eq!(table.state(VcpuId(0)), Power::On);
}

#[test]
fn resuming_a_vcpu_that_is_not_suspended_changes_nothing() {
    let mut table = booted(2);
    table.resume(VcpuId(1));
    table.resume(VcpuId(99));
    assert_eq!(table.state(VcpuId(1)), Power::Off);
}

#[test]
fn a_power_down_suspend_starts_anew_at_its_entry() {
    let start = Start { entry: ENTRY, context: 9 };
    assert_eq!(
        call(&mut booted(1), CPU_SUSPEND_64, [1 << 16, ENTRY, 9]),
        Outcome::Leave(Stage::Suspended(Some(start)))
    );
}

#[test]
fn a_power_down_suspend_with_a_bad_entry_is_invalid_address_and_the_vcpu_stays_on() {
    let mut table = booted(1);
    assert_eq!(call(&mut table, CPU_SUSPEND_64, [1 << 16, 0, 0]), code(ret::INVALID_ADDRESS));
    assert_eq!(table.state(VcpuId(0)), Power::On);
}

#[test]
fn reserved_bits_and_levels_above_the_vcpu_in_power_state_are_invalid_parameters() {
    let mut table = booted(1);
    for bit in 17..32 {
        let answer = call(&mut table, id::CPU_SUSPEND, [1 << bit, ENTRY, 0]);
        assert_eq!(answer, code(ret::INVALID_PARAMETERS), "bit {bit}");
    }
}

#[test]
fn affinity_info_of_a_cluster_is_on_if_any_of_its_vcpus_is() {
    let mut table = booted(20);
    let level_1 = |table: &mut PowerTable, target| call(table, id::AFFINITY_INFO, [target, 1, 0]);
    assert_eq!(level_1(&mut table, 0x005), Outcome::Return(0));
    assert_eq!(level_1(&mut table, 0x100), Outcome::Return(1));
    assert_eq!(turn_on(&mut table, 0x102), Outcome::TurnOn { target: VcpuId(18) });
    assert_eq!(level_1(&mut table, 0x1ff), Outcome::Return(2));
    assert_eq!(level_1(&mut table, 0x200), code(ret::INVALID_PARAMETERS));
    for level in [2, 3] {
        let whole = call(&mut table, id::AFFINITY_INFO, [0x100, level, 0]);
        assert_eq!(whole, Outcome::Return(0), "level {level}");
    }
}

#[test]
fn affinity_info_of_no_such_vcpu_or_level_is_invalid_parameters() {
    let mut table = booted(2);
    for (target, level) in [(2, 0), (0x8000_0000, 0), (0, 4), (0, 0xffff_ffff)] {
        let answer = call(&mut table, id::AFFINITY_INFO, [target, level, 0]);
        assert_eq!(answer, code(ret::INVALID_PARAMETERS), "{target:#x} {level}");
    }
}

#[test]
fn there_is_no_trusted_os_to_migrate() {
    let mut table = booted(1);
    assert_eq!(call(&mut table, id::MIGRATE_INFO_TYPE, [0; 3]), Outcome::Return(2));
    // MIGRATE in both widths, and MIGRATE_INFO_UP_CPU.
    for fid in [0x8400_0005, smc64(0x8400_0005), 0x8400_0007] {
        assert_eq!(call(&mut table, fid, [0; 3]), code(ret::NOT_SUPPORTED));
    }
}

#[test]
fn system_calls_end_or_restart_the_vm() {
    let mut table = booted(1);
    assert_eq!(call(&mut table, id::SYSTEM_OFF, [0; 3]), Outcome::Stop(Stop::PowerOff));
    assert_eq!(call(&mut table, id::SYSTEM_RESET, [0; 3]), Outcome::Stop(Stop::Reset));
    assert_eq!(call(&mut table, id::SYSTEM_RESET2, [0; 3]), Outcome::Stop(Stop::Reset));
    for kind in [1, 0x8000_0000, 0xffff_ffff] {
        let answer = call(&mut table, smc64(id::SYSTEM_RESET2), [kind, 0, 0]);
        assert_eq!(answer, code(ret::INVALID_PARAMETERS), "{kind:#x}");
    }
}

#[test]
fn the_64_bit_form_of_a_call_that_has_none_is_not_supported() {
    let mut table = booted(1);
    for fid in [id::VERSION, id::CPU_OFF, id::SYSTEM_OFF, id::SYSTEM_RESET, id::FEATURES] {
        assert_eq!(call(&mut table, smc64(fid), [0; 3]), code(ret::NOT_SUPPORTED), "{fid:#x}");
    }
    assert_eq!(table.state(VcpuId(0)), Power::On);
}

#[test]
fn features_lists_exactly_what_call_serves_and_smccc_version() {
    for fid in (0..0x20).flat_map(|n| [id::BASE + n, smc64(id::BASE + n)]) {
        // A fresh table each, and arguments that no call takes for a reason to say NOT_SUPPORTED.
        let served = call(&mut booted(1), fid, [id::VERSION.into(), 0, 0]) != code(ret::NOT_SUPPORTED);
        assert_eq!(features(fid.into()) == ret::SUCCESS, served, "{fid:#x}");
        assert_eq!(OFFERED.contains(&fid), served, "{fid:#x}");
    }
    assert_eq!(features(0x8000_0000), ret::SUCCESS);
    assert_eq!(features(0x8000_0001), ret::NOT_SUPPORTED);
    // CPU_SUSPEND: original format (bit 1 clear), no OS-initiated mode (bit 0 clear).
    assert_eq!(features(CPU_SUSPEND_64.into()), 0);
}

#[test]
fn reset_forgets_a_start_that_was_pending() {
    let mut table = booted(2);
    assert_eq!(turn_on(&mut table, 1), Outcome::TurnOn { target: VcpuId(1) });
    table.reset();
    assert_eq!(table.take_start(VcpuId(1)), None);
    assert!(table.not_off().is_empty());
}

#[test]
fn the_mpidr_counts_sixteen_vcpus_a_cluster() {
    assert_eq!(mpidr(VcpuId(0)), 0x8000_0000);
    assert_eq!(mpidr(VcpuId(15)), 0x8000_000f);
    assert_eq!(mpidr(VcpuId(16)), 0x8000_0100);
    assert_eq!(mpidr(VcpuId(63)), 0x8000_030f);
}

#[test]
fn every_vcpu_is_found_by_the_affinity_of_its_own_mpidr() {
    let mut table = booted(64);
    for vcpu in 1..64 {
        assert_eq!(turn_on(&mut table, mpidr(VcpuId(vcpu)) & 0xff_ffff), Outcome::TurnOn { target: VcpuId(vcpu) });
    }
}

#[test]
fn a_table_for_more_vcpus_than_there_can_be_has_64() {
    let mut table = booted(1000);
    assert_eq!(turn_on(&mut table, 0x400), code(ret::INVALID_PARAMETERS));
    assert_eq!(turn_on(&mut table, 0x30f), Outcome::TurnOn { target: VcpuId(63) });
}

proptest! {
    #[test]
    fn any_call_has_an_answer_and_touches_only_its_caller_or_its_target(
        calls in proptest::collection::vec((any::<u32>(), 0_u32..0x20, any::<[u64; 3]>(), 0_u64..70), 1..40),
        wild: bool,
    ) {
        let mut table = booted(34);
        for (noise, function, mut args, caller) in calls {
            let fid = if wild { noise } else { (id::BASE + function) | (noise & id::SMC64_BIT) };
            if !wild {
                // Mostly sensible targets and entries, so that calls get through.
                args[0] &= 0x1_0117;
                args[1] = args[1] & 0x7fff_fffc | 0x4000_0000;
            }
            let caller = usize::try_from(caller).unwrap();
            let before: std::vec::Vec<_> = (0..64).map(|vcpu| table.state(VcpuId(vcpu))).collect();
            let outcome = table.call(fid, args, VcpuId(caller), &|ipa| RAM.contains(&ipa));
            for (vcpu, was) in before.iter().enumerate() {
                let now = table.state(VcpuId(vcpu));
                if now == *was {
                    continue;
                }
                match outcome {
                    Outcome::TurnOn { target } => {
                        assert_eq!((VcpuId(vcpu), *was), (target, Power::Off));
                        assert!(matches!(now, Power::OnPending(start) if start.entry % 4 == 0));
                    }
                    Outcome::Leave(Stage::Off) | Outcome::Stop(Stop::PowerOff) => {
                        assert_eq!((vcpu, now), (caller, Power::Off));
                    }
                    Outcome::Leave(Stage::Suspended(_)) => assert_eq!((vcpu, now), (caller, Power::Suspended)),
                    other => panic!("{other:?} changed vCPU {vcpu}"),
                }
            }
        }
    }
}
