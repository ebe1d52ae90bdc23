//! PSCI: function identifiers, return codes and the other numbers of the interface (DEN0022).
//!
//! Numbers only. What a guest's call does is `assay_model`'s business, calls to firmware are `assay_el2`'s.
//! Where a function exists in both calling conventions, the plain name is the SMC32 identifier and
//! [`smc64`] makes the other.

/// Bit 30 of a function identifier: SMC64 arguments (DEN0028 §2.5).
pub const SMC64_BIT: u32 = 1 << 30;

/// Returns the SMC64 form of an SMC32 function identifier.
pub const fn smc64(function: u32) -> u32 {
    function | SMC64_BIT
}

/// First identifier of PSCI's range, of the 32-bit convention.
pub const BASE: u32 = 0x8400_0000;
/// Number of identifiers in PSCI's range, of either convention.
pub const COUNT: u32 = 0x20;

/// `PSCI_VERSION`.
pub const VERSION: u32 = 0x8400_0000;
/// `CPU_SUSPEND` (SMC32 and SMC64).
pub const CPU_SUSPEND: u32 = 0x8400_0001;
/// `CPU_OFF`.
pub const CPU_OFF: u32 = 0x8400_0002;
/// `CPU_ON` (SMC32 and SMC64).
pub const CPU_ON: u32 = 0x8400_0003;
/// `AFFINITY_INFO` (SMC32 and SMC64).
pub const AFFINITY_INFO: u32 = 0x8400_0004;
/// `MIGRATE_INFO_TYPE`.
pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
/// `SYSTEM_OFF`.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// `SYSTEM_RESET`.
pub const SYSTEM_RESET: u32 = 0x8400_0009;
/// `PSCI_FEATURES`.
pub const FEATURES: u32 = 0x8400_000a;
/// `SYSTEM_RESET2` (SMC32 and SMC64).
pub const SYSTEM_RESET2: u32 = 0x8400_0012;

/// What `PSCI_VERSION` returns of PSCI 1.1: in the format of SMCCC's (DEN0022 §5.1.1).
pub const VERSION_1_1: u32 = crate::smccc::version(1, 1);

/// Return codes (DEN0022 §5.2.2): signed 32-bit numbers, 0 or negative.
pub mod ret {
    /// `SUCCESS`.
    pub const SUCCESS: i32 = 0;
    /// `NOT_SUPPORTED`.
    pub const NOT_SUPPORTED: i32 = -1;
    /// `INVALID_PARAMETERS`.
    pub const INVALID_PARAMETERS: i32 = -2;
    /// `ALREADY_ON`.
    pub const ALREADY_ON: i32 = -4;
    /// `ON_PENDING`.
    pub const ON_PENDING: i32 = -5;
    /// `INVALID_ADDRESS`.
    pub const INVALID_ADDRESS: i32 = -9;

    /// Returns the register value of a return code: sign-extended, so that it reads right as W0 and as X0.
    pub const fn register(code: i32) -> u64 {
        (code as i64).cast_unsigned()
    }
}

/// What `AFFINITY_INFO` returns (DEN0022 §5.1.5).
pub mod affinity {
    /// At least one core of the affinity instance is on.
    pub const ON: i32 = 0;
    /// All cores of the affinity instance are off.
    pub const OFF: i32 = 1;
    /// `CPU_ON` was called and the core has not started yet.
    pub const ON_PENDING: i32 = 2;
}

/// What `MIGRATE_INFO_TYPE` returns where there is no Trusted OS that would need it (DEN0022 §5.1.7).
pub const MIGRATE_NOT_REQUIRED: i32 = 2;

/// `power_state` of `CPU_SUSPEND`, original format: bit 16 asks for a power-down state (DEN0022 §5.4.2.1).
pub const POWER_STATE_POWER_DOWN: u32 = 1 << 16;
/// `power_state`, original format: every bit that must be zero (31:26 and 23:17).
pub const POWER_STATE_RESERVED: u32 = 0xfcfe_0000;

/// `reset_type` of `SYSTEM_RESET2`: `SYSTEM_WARM_RESET`.
pub const SYSTEM_WARM_RESET: u32 = 0;

#[cfg(test)]
mod tests {
    use super::{CPU_ON, VERSION_1_1, ret, smc64};

    #[test]
    fn cpu_on_has_the_two_identifiers_of_the_standard() {
        assert_eq!((CPU_ON, smc64(CPU_ON)), (0x8400_0003, 0xc400_0003));
    }

    #[test]
    fn version_1_1_has_its_major_number_in_the_upper_half() {
        assert_eq!(VERSION_1_1, 0x0001_0001);
    }

    #[test]
    fn an_error_is_negative_in_both_register_widths() {
        assert_eq!(ret::register(ret::NOT_SUPPORTED), u64::MAX);
        assert_eq!(ret::register(ret::INVALID_PARAMETERS), 0xffff_ffff_ffff_fffe);
        assert_eq!(ret::register(ret::SUCCESS), 0);
    }
}
