//! Calls to firmware: PSCI through the conduit that the tree names, and no other.

use assay_spec::addr::Pa;
use assay_spec::psci::FEATURES;
use assay_spec::smccc::{self as id, Conduit};
use smccc::psci;
use spin::Once;

/// Why firmware did not do what it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirmwareError {
    /// The tree names no PSCI, or something was asked of it too early.
    NoPsci,
    /// The spin-table is in memory that somebody has.
    NoTable,
    /// PSCI's answer.
    Psci(psci::error::Error),
}

static CONDUIT: Once<Conduit> = Once::new();

/// Sets the conduit that `/psci` names. Without this, no call is ever issued.
pub fn set_conduit(conduit: Conduit) {
    let _ = CONDUIT.call_once(|| conduit);
}

/// Starts the CPU with affinity `mpidr` at `entry` with `context` in x0.
///
/// # Errors
/// [`FirmwareError`].
pub(crate) fn cpu_on(mpidr: u64, entry: Pa, context: u64) -> Result<(), FirmwareError> {
    let result = match CONDUIT.get() {
        Some(Conduit::Smc) => psci::cpu_on::<smccc::Smc>(mpidr, entry.0, context),
        Some(Conduit::Hvc) => psci::cpu_on::<smccc::Hvc>(mpidr, entry.0, context),
        None => return Err(FirmwareError::NoPsci),
    };
    result.map_err(FirmwareError::Psci)
}

/// Powers the machine off; returns only if firmware cannot.
pub fn system_off() {
    let _ = match CONDUIT.get() {
        Some(Conduit::Smc) => psci::system_off::<smccc::Smc>(),
        Some(Conduit::Hvc) => psci::system_off::<smccc::Hvc>(),
        None => Ok(()),
    };
}

/// Has firmware apply SMCCC_ARCH_WORKAROUND_1 or 3 on this CPU (DEN0028 §7.5, §7.7).
pub fn workaround(number: u32) {
    let function = if number == 1 { id::ARCH_WORKAROUND_1 } else { id::ARCH_WORKAROUND_3 };
    if CONDUIT.get() == Some(&Conduit::Smc) {
        let _ = smccc::smc32(function, [0; 7]);
    }
}

/// Has firmware turn SMCCC_ARCH_WORKAROUND_2 on or off on this CPU: no load passes an earlier store whose address is not
/// yet known (DEN0028 §7.6).
pub fn protect_stores(on: bool) {
    if CONDUIT.get() == Some(&Conduit::Smc) {
        let _ = smccc::smc32(id::ARCH_WORKAROUND_2, [on.into(), 0, 0, 0, 0, 0, 0]);
    }
}

/// Returns 192 random bits of firmware's TRNG (DEN0098), if it has one and has them soon.
pub fn random() -> Option<[u64; 3]> {
    /// Firmware gathers entropy while it is asked again.
    const TRIES: usize = 100;
    if !has_smccc_1_1() || smccc::smc32(id::TRNG_VERSION, [0; 7])[0] as i32 <= 0 {
        return None;
    }
    (0..TRIES).find_map(|_| {
        let [status, words @ ..] = smccc::smc64(id::TRNG_RND64, [192, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let [x1, x2, x3, ..] = words;
        (status == 0).then_some([x1, x2, x3])
    })
}

/// Tells whether firmware takes calls of SMCCC 1.1, which SMCCC_VERSION may be asked for only where PSCI_FEATURES
/// says that it is there (DEN0028 §7.2.1).
fn has_smccc_1_1() -> bool {
    let answers = |function: u32| smccc::smc32(FEATURES, [function, 0, 0, 0, 0, 0, 0])[0] as i32 >= 0;
    CONDUIT.get() == Some(&Conduit::Smc) && answers(id::VERSION)
}

/// Asks firmware what it says of SMCCC_ARCH_WORKAROUND_1, 2 and 3; -1 where there is no SMCCC 1.1.
pub fn workarounds() -> [i32; 3] {
    if !has_smccc_1_1() {
        return [-1; 3];
    }
    [id::ARCH_WORKAROUND_1, id::ARCH_WORKAROUND_2, id::ARCH_WORKAROUND_3]
        .map(|function| smccc::smc32(id::ARCH_FEATURES, [function, 0, 0, 0, 0, 0, 0])[0] as i32)
}
