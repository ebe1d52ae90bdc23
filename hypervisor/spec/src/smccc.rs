//! The SMC calling convention: how a function identifier is built, and the Arm Architecture calls (DEN0028).
//!
//! Also the numbers of the TRNG interface (DEN0098), which is called the same way. PSCI has its own module.

/// The instruction by which calls are made (DEN0028 §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// HVC: something at EL2 answers.
    Hvc,
    /// SMC: EL3 firmware answers.
    Smc,
}

/// Function identifier, bit 31: a fast call (DEN0028 §2.5).
pub const FAST: u32 = 1 << 31;
/// Function identifier, bit 30: SMC64 or HVC64.
pub const SMC64: u32 = 1 << 30;

/// `SMCCC_VERSION` (DEN0028 §7.2).
pub const VERSION: u32 = 0x8000_0000;
/// `SMCCC_ARCH_FEATURES` (§7.3).
pub const ARCH_FEATURES: u32 = 0x8000_0001;
/// `SMCCC_ARCH_WORKAROUND_1`: branch predictor, CVE-2017-5715 (§7.5).
pub const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
/// `SMCCC_ARCH_WORKAROUND_2`: speculative store bypass, CVE-2018-3639 (§7.6).
pub const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
/// `SMCCC_ARCH_WORKAROUND_3`: branch history, CVE-2022-23960 (§7.7).
pub const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;

/// `TRNG_VERSION` (DEN0098).
pub const TRNG_VERSION: u32 = 0x8400_0050;
/// `TRNG_FEATURES`.
pub const TRNG_FEATURES: u32 = 0x8400_0051;
/// `TRNG_GET_UUID`.
pub const TRNG_GET_UUID: u32 = 0x8400_0052;
/// `TRNG_RND`, SMC32: at most 96 bits a call.
pub const TRNG_RND32: u32 = 0x8400_0053;
/// `TRNG_RND`, SMC64: at most 192 bits a call.
pub const TRNG_RND64: u32 = 0xc400_0053;

/// `PV_TIME_FEATURES` (DEN0057).
pub const PV_TIME_FEATURES: u32 = 0xc500_0020;
/// `PV_TIME_ST`, stolen time.
pub const PV_TIME_ST: u32 = 0xc500_0021;

/// What `SMCCC_VERSION` returns: major version in bits 30:16, minor in 15:0.
pub const fn version(major: u16, minor: u16) -> u32 {
    ((major & 0x7fff) as u32) << 16 | minor as u32
}
/// SMCCC 1.1: only x0 to x3 carry results, all other registers are preserved.
pub const VERSION_1_1: u32 = version(1, 1);

/// Return codes of Architecture calls (DEN0028 §7), and of the TRNG calls (DEN0098).
pub mod ret {
    /// `SUCCESS`.
    pub const SUCCESS: i32 = 0;
    /// `NOT_SUPPORTED`; also what an unknown function identifier gets (DEN0028).
    pub const NOT_SUPPORTED: i32 = -1;
    /// `SMCCC_ARCH_WORKAROUND_1` and `_3`, from `SMCCC_ARCH_FEATURES`: this CPU is not affected.
    pub const WORKAROUND_NOT_AFFECTED: i32 = 1;
    /// `TRNG_INVALID_PARAMETERS`.
    pub const TRNG_INVALID_PARAMETERS: i32 = -2;
    /// `TRNG_NO_ENTROPY`.
    pub const TRNG_NO_ENTROPY: i32 = -3;
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_never_sets_bit_31_which_would_read_as_an_error() {
        assert_eq!(version(u16::MAX, u16::MAX) >> 31, 0);
        assert_eq!(version(1, 2), 0x1_0002);
    }
}
