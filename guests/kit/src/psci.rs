//! Calls to whoever is below: SMCCC (DEN0028) and PSCI (DEN0022).

use core::arch::asm;

use crate::exception::{self, Caught};
use crate::{machine, this_cpu};

/// PSCI_VERSION.
pub const VERSION: u64 = 0x8400_0000;
/// CPU_SUSPEND, 64-bit.
pub const CPU_SUSPEND: u64 = 0xc400_0001;
/// CPU_OFF.
pub const CPU_OFF: u64 = 0x8400_0002;
/// CPU_ON, 64-bit.
pub const CPU_ON: u64 = 0xc400_0003;
/// AFFINITY_INFO, 64-bit.
pub const AFFINITY_INFO: u64 = 0xc400_0004;
/// MIGRATE_INFO_TYPE.
pub const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u64 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u64 = 0x8400_0009;
/// PSCI_FEATURES.
pub const FEATURES: u64 = 0x8400_000a;
/// SYSTEM_RESET2, 64-bit.
pub const SYSTEM_RESET2: u64 = 0xc400_0012;
/// SMCCC_VERSION.
pub const SMCCC_VERSION: u64 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const SMCCC_ARCH_FEATURES: u64 = 0x8000_0001;

/// The call went well.
pub const SUCCESS: i64 = 0;
/// There is no such function.
pub const NOT_SUPPORTED: i64 = -1;
/// An argument names nothing that is there.
pub const INVALID_PARAMETERS: i64 = -2;
/// The CPU is on.
pub const ALREADY_ON: i64 = -4;
/// The CPU is being turned on.
pub const ON_PENDING: i64 = -5;
/// The entry point is not in memory.
pub const INVALID_ADDRESS: i64 = -9;
/// AFFINITY_INFO: on.
pub const AFFINITY_ON: i64 = 0;
/// AFFINITY_INFO: off.
pub const AFFINITY_OFF: i64 = 1;

macro_rules! conduit {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        pub extern "C" fn $name(function: u64, first: u64, second: u64, third: u64) -> u64 {
            let value;
            // SAFETY: SMCCC lets a call change x0 to x17 and nothing else (DEN0028 §2.5).
            unsafe {
                asm!($instruction,
                    inlateout("x0") function => value,
                    inlateout("x1") first => _, inlateout("x2") second => _, inlateout("x3") third => _,
                    lateout("x4") _, lateout("x5") _, lateout("x6") _, lateout("x7") _, lateout("x8") _,
                    lateout("x9") _, lateout("x10") _, lateout("x11") _, lateout("x12") _,
                    lateout("x13") _, lateout("x14") _, lateout("x15") _, lateout("x16") _,
                    lateout("x17") _)
            };
            value
        }
    };
}
conduit!(
    /// Calls by `HVC #0`. Returns x0.
    hvc, "hvc #0"
);
conduit!(
    /// Calls by `SMC #0`. Returns x0; UNDEFINED where there is no EL3 and SMC is not trapped.
    smc, "smc #0"
);

/// Calls by the conduit that the tree names; the answer is signed.
pub fn call(function: u64, first: u64, second: u64, third: u64) -> i64 {
    let conduit = if machine::machine().psci_smc { smc } else { hvc };
    let value = conduit(function, first, second, third);
    // Answers of 32-bit functions are 32 bits wide.
    if function & 1 << 30 == 0 { i64::from(value as i32) } else { value as i64 }
}

/// Calls by SMC; an exception comes back as an error.
pub fn probe_smc(function: u64, first: u64) -> Result<i64, Caught> {
    extern "C" fn two(function: u64, first: u64) -> u64 {
        smc(function, first, 0, 0)
    }
    let value = exception::guarded(two as *const () as u64, function, first)?;
    Ok(if function & 1 << 30 == 0 { i64::from(value as i32) } else { value as i64 })
}

/// Turns a CPU on at `entry` with `context` in x0.
pub fn cpu_on(mpidr: u64, entry: u64, context: u64) -> i64 {
    call(CPU_ON, mpidr, entry, context)
}

/// Turns this CPU off; returns only if that was refused.
pub fn cpu_off() -> i64 {
    call(CPU_OFF, 0, 0, 0)
}

/// Asks for the state of a CPU, or of a group of them at `level` above 0.
pub fn affinity_info(mpidr: u64, level: u64) -> i64 {
    call(AFFINITY_INFO, mpidr, level, 0)
}

/// Asks whether a function is there: 0 or its flags, or `NOT_SUPPORTED`.
pub fn features(function: u64) -> i64 {
    call(FEATURES, function, 0, 0)
}

/// Powers the machine off.
pub fn system_off() -> ! {
    call(SYSTEM_OFF, 0, 0, 0);
    stay()
}

/// Resets the machine.
pub fn system_reset() -> ! {
    call(SYSTEM_RESET, 0, 0, 0);
    stay()
}

fn stay() -> ! {
    loop {
        this_cpu::wfi();
    }
}
