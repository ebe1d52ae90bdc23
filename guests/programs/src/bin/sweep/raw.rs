//! What a CPU finds at its very first instruction in the registers that the kit's entry code writes.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::machine::machine;
use guest_kit::{Outcome, cpu, ensure, ktap, psci, timer};

/// The registers in the order in which `sweep_first` stores them, with their values at reset.
const EXPECTED: [(&str, u64); 8] = [
    // The RES1 bits of Armv8.0, SPAN among them.
    ("SCTLR_EL1", 0x30d0_0800),
    ("VBAR_EL1", 0),
    ("TPIDR_EL1", 0),
    ("ESR_EL1", 0),
    ("FAR_EL1", 0),
    ("ELR_EL1", 0),
    ("SPSR_EL1", 0),
    ("SP_EL0", 0),
];

/// Soils them, and calls PSCI. SCTLR_EL1 gets EE = 0, M = 0 and C = 0, so that the code goes on, and other values than
/// at reset in UCI, nTWE, nTWI, UCT, DZE, SA0 and A.
macro_rules! soil {
    () => {
        r#"
        mov     x1, #0xaaaaaaaaaaaaaaaa
        msr     vbar_el1, x1
        msr     tpidr_el1, x1
        msr     esr_el1, x1
        msr     far_el1, x1
        msr     elr_el1, x1
        msr     spsr_el1, x1
        msr     sp_el0, x1
        mrs     x1, sctlr_el1
        mov     x2, #0xc012
        movk    x2, #0x0405, lsl #16
        eor     x1, x1, x2
        msr     sctlr_el1, x1
        isb
        hvc     #0
1:      b       1b
        "#
    };
}

global_asm!(
    r#"
    // x0 = where the registers go.
sweep_first:
    mrs     x1, sctlr_el1
    mrs     x2, vbar_el1
    stp     x1, x2, [x0]
    mrs     x1, tpidr_el1
    mrs     x2, esr_el1
    stp     x1, x2, [x0, #16]
    mrs     x1, far_el1
    mrs     x2, elr_el1
    stp     x1, x2, [x0, #32]
    mrs     x1, spsr_el1
    mrs     x2, sp_el0
    stp     x1, x2, [x0, #48]
    dsb     sy
    mov     w0, #2                  // CPU_OFF
    movk    w0, #0x8400, lsl #16
"#,
    soil!()
);

static FOUND: [AtomicU64; EXPECTED.len()] = [const { AtomicU64::new(0) }; EXPECTED.len()];

/// Turns CPU 1 on where it does nothing but look, soil, and turn itself off.
pub fn first_instructions() -> Outcome {
    unsafe extern "C" {
        static sweep_first: u8;
    }
    ktap::needs_hypervisor()?;
    if cpu::count() < 2 {
        return Err(guest_kit::Stop::Skip("one CPU"));
    }
    FOUND.iter().for_each(|slot| slot.store(!0, Ordering::Relaxed));
    cpu::dsb();
    let other = machine().cpus()[1];
    let answer = psci::cpu_on(other, &raw const sweep_first as u64, FOUND.as_ptr() as u64);
    ensure!(answer == psci::SUCCESS, "CPU_ON: {}", answer);
    let is_off = || psci::affinity_info(other, 0) == psci::AFFINITY_OFF;
    let has_looked = || FOUND.iter().all(|slot| slot.load(Ordering::Acquire) != !0);
    ensure!(timer::wait_for(2_000_000, || has_looked() && is_off()), "CPU 1 has not looked");
    for (slot, (name, expected)) in FOUND.iter().zip(EXPECTED) {
        let found = slot.load(Ordering::Relaxed);
        ensure!(found == expected, "{} is {:#x}", name, found);
    }
    Ok(())
}

/// Soils this CPU's registers and calls a function of PSCI that does not return.
pub fn soil_and_call(function: u64) -> ! {
    // SAFETY: nothing of this program runs after it.
    unsafe { asm!(soil!(), in("x0") function, options(noreturn)) }
}
