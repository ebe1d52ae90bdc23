//! Power control (DEN0022) and the call convention below it (DEN0028), from every side.
#![no_std]
#![no_main]

mod power;

use guest_kit::exception::Caught;
use guest_kit::machine::machine;
use guest_kit::{Case, Machine, Outcome, Stop, ensure, ensure_equal, gic, ktap, psci};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("the_version_is_1_1_or_later", version),
    ("features_lists_what_is_there", features),
    ("the_call_convention_is_1_1_or_later", convention),
    ("a_call_keeps_x18_and_above_and_x4_to_x17", preserved),
    ("unknown_functions_are_not_supported", unknown),
    ("smc_answers_as_the_conduit_does_or_is_undefined", by_smc),
    ("this_cpu_is_on_and_the_others_are_off", affinity),
    ("affinity_info_refuses_cpus_that_are_not_there", affinity_refused),
    ("cpu_on_of_a_running_cpu_is_already_on", power::already_on),
    ("cpu_on_refuses_cpus_that_are_not_there", power::bad_target),
    ("cpu_on_refuses_entries_outside_memory", power::bad_entry),
    ("every_cpu_turns_on_off_and_on_again", power::on_off_on),
    ("a_cpu_starts_with_its_context_at_el1", power::context),
    ("two_callers_turn_a_cpu_on_once", power::race),
    ("cpu_suspend_returns_on_a_timer", power::suspend),
    ("cpu_suspend_refuses_a_bad_state_or_stands_by", power::suspend_bad),
    ("reset2_refuses_unknown_types", power::reset2),
];

fn main(_: &'static Machine) {
    gic::gic().enable();
    ktap::run(CASES);
}

fn version() -> Outcome {
    let version = psci::call(psci::VERSION, 0, 0, 0);
    ensure!(version >= 0x1_0001, "PSCI_VERSION {:#x}", version);
    Ok(())
}

fn features() -> Outcome {
    const THERE: [u64; 11] = [
        psci::VERSION,
        psci::CPU_SUSPEND,
        psci::CPU_SUSPEND & !(1 << 30),
        psci::CPU_OFF,
        psci::CPU_ON,
        psci::CPU_ON & !(1 << 30),
        psci::AFFINITY_INFO,
        psci::SYSTEM_OFF,
        psci::SYSTEM_RESET,
        psci::FEATURES,
        psci::SMCCC_VERSION,
    ];
    for function in THERE {
        // QEMU's own PSCI does not list SMCCC_VERSION.
        if function == psci::SMCCC_VERSION && machine().is_native() {
            continue;
        }
        let answer = psci::features(function);
        ensure!(answer >= 0, "PSCI_FEATURES({:#x}) = {}", function, answer);
    }
    for function in [0x8400_00ff, 0xc400_1000, 0x8600_0000, 0] {
        ensure_equal!(psci::features(function), psci::NOT_SUPPORTED, "PSCI_FEATURES of nothing");
    }
    Ok(())
}

fn convention() -> Outcome {
    ktap::needs_hypervisor()?;
    let version = psci::call(psci::SMCCC_VERSION, 0, 0, 0);
    ensure!(version >= 0x1_0001, "SMCCC_VERSION {:#x}", version);
    ensure_equal!(psci::call(psci::SMCCC_ARCH_FEATURES, psci::SMCCC_VERSION, 0, 0), 0, "feature of SMCCC_VERSION");
    let answer = psci::call(psci::SMCCC_ARCH_FEATURES, 0x8000_1234, 0, 0);
    ensure_equal!(answer, psci::NOT_SUPPORTED, "feature of nothing");
    // A workaround is there (0), not needed (1) or unknown; never anything else.
    for workaround in [0x8000_8000, 0x8000_7fff, 0x8000_3fff] {
        let answer = psci::call(psci::SMCCC_ARCH_FEATURES, workaround, 0, 0);
        ensure!((-1..=1).contains(&answer), "feature of {:#x}: {}", workaround, answer);
    }
    Ok(())
}

core::arch::global_asm!(
    r#"
    .section .text.psci_preserved, "ax"
    // Calls PSCI_VERSION with known values in x4 to x30 and returns how many changed.
psci_preserved:
    sub     sp, sp, #112
    stp     x19, x20, [sp, #0]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    .irp    n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov     x\n, #(0x5a00 + \n)
    .endr
    mov     w0, #0x84000000
    mov     x1, #0
    mov     x2, #0
    mov     x3, #0
    hvc     #0
    mov     x0, #0
    .irp    n, 4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov     x1, #(0x5a00 + \n)
    cmp     x1, x\n
    cinc    x0, x0, ne
    .endr
    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #112
    ret
"#
);

fn preserved() -> Outcome {
    unsafe extern "C" {
        safe fn psci_preserved() -> u64;
    }
    if machine().psci_smc {
        return Err(Stop::Skip("the conduit is SMC"));
    }
    ensure_equal!(psci_preserved(), 0, "registers that changed");
    Ok(())
}

/// Ids of each owning entity that nobody here serves, fast and yielding, 32 and 64 bits wide.
fn unknown() -> Outcome {
    let ids = (0..64u64).flat_map(|owner| [0x8000_0000 | owner << 24 | 0xfa5, 0xc000_0000 | owner << 24 | 0xffff]);
    let more = [0, 1, 0x7fff_ffff, 0x0400_0000, 0x8400_001f, 0x8400_0300, 0xc400_00ff, 0xffff_ffff, 1 << 32 | 0xffff];
    for id in ids.chain(more) {
        // The calls for standard services take other arguments than PSCI: none is right here.
        let answer = psci::call(id, 0, 0, 0);
        ensure!(answer as i32 == -1, "function {:#x}: {:#x}", id, answer);
    }
    Ok(())
}

fn by_smc() -> Outcome {
    match psci::probe_smc(psci::VERSION, 0) {
        Ok(answer) => {
            ensure_equal!(answer, psci::call(psci::VERSION, 0, 0, 0), "PSCI_VERSION by SMC");
            ensure_equal!(psci::probe_smc(0x8600_fa50, 0).unwrap_or(0), psci::NOT_SUPPORTED, "unknown by SMC");
            let mpidr = machine().cpus()[0];
            ensure_equal!(psci::probe_smc(psci::AFFINITY_INFO, mpidr).unwrap_or(9), 0, "AFFINITY_INFO by SMC");
            Ok(())
        }
        Err(caught) => {
            ensure_equal!(caught.class(), Caught::UNKNOWN, "exception class");
            Ok(())
        }
    }
}

fn affinity() -> Outcome {
    for (index, &mpidr) in machine().cpus().iter().enumerate() {
        let expected = if index == 0 { psci::AFFINITY_ON } else { psci::AFFINITY_OFF };
        ensure_equal!(psci::affinity_info(mpidr, 0), expected, "AFFINITY_INFO");
    }
    Ok(())
}

/// MPIDR values of no CPU here: beyond the last, and with bits that are none of the affinity's.
fn nobody() -> [u64; 4] {
    [0xff, 0xffff_ffff, 0xff_0000_0000, 1 << 24 | machine().cpus()[0]]
}

fn affinity_refused() -> Outcome {
    for mpidr in nobody() {
        let answer = psci::affinity_info(mpidr, 0);
        ensure!(answer == psci::INVALID_PARAMETERS, "AFFINITY_INFO({:#x}) = {}", mpidr, answer);
    }
    // Higher levels need not be supported since PSCI 1.0, but the answer is of the three that may be.
    let answer = psci::affinity_info(machine().cpus()[0], 1);
    ensure!([0, psci::INVALID_PARAMETERS].contains(&answer), "AFFINITY_INFO of level 1: {}", answer);
    // QEMU's own PSCI takes any level.
    if !machine().is_native() {
        let answer = psci::affinity_info(machine().cpus()[0], 99);
        ensure_equal!(answer, psci::INVALID_PARAMETERS, "AFFINITY_INFO of level 99");
    }
    Ok(())
}
