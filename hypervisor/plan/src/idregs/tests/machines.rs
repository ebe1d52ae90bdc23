//! The feature ID registers of some CPUs, and two VMs, for tests.

use assay_spec::sysreg::SysReg;

use crate::idregs::{HostId, VmFeatures};

/// Nothing that is a choice.
pub(crate) const PLAIN: VmFeatures = VmFeatures { mte: false, sve: false, pauth: false, pmu: false, gic_v3: true };
/// Everything that is a choice.
pub(crate) const FULL: VmFeatures = VmFeatures { mte: true, sve: true, pauth: true, pmu: true, gic_v3: true };

/// Makes a machine from the registers that are not zero.
pub(crate) fn host(registers: &[(SysReg, u64)]) -> HostId {
    let mut table = [[0; 8]; 7];
    for &(register, value) in registers {
        let (_, _, _, crm, op2) = register.fields();
        table[usize::from(crm) - 1][usize::from(op2)] = value;
    }
    HostId::new(table)
}

/// Cortex-A72 with a GICv2: Armv8.0, AArch32 at EL0, 44-bit addresses.
pub(crate) fn cortex_a72() -> HostId {
    host(&[
        (SysReg::ID_PFR0_EL1, 0x0000_0131),
        (SysReg::ID_PFR1_EL1, 0x0001_1011),
        (SysReg::ID_DFR0_EL1, 0x0301_0066),
        (SysReg::ID_MMFR0_EL1, 0x1020_1105),
        (SysReg::ID_MMFR1_EL1, 0x4000_0000),
        (SysReg::ID_MMFR2_EL1, 0x0126_0000),
        (SysReg::ID_MMFR3_EL1, 0x0210_2211),
        (SysReg::ID_ISAR0_EL1, 0x0210_1110),
        (SysReg::ID_ISAR4_EL1, 0x0001_1142),
        (SysReg::ID_ISAR5_EL1, 0x0001_1121),
        (SysReg::MVFR0_EL1, 0x1011_0222),
        (SysReg::ID_AA64PFR0_EL1, 0x0000_2222),
        (SysReg::ID_AA64DFR0_EL1, 0x1030_5106),
        (SysReg::ID_AA64ISAR0_EL1, 0x0001_1120),
        (SysReg::ID_AA64MMFR0_EL1, 0x0000_1124),
    ])
}

/// Neoverse N1 with a GICv3: Armv8.2, no AArch32 at EL1, RAS, 48-bit addresses, no FWB.
pub(crate) fn neoverse_n1() -> HostId {
    host(&[
        (SysReg::ID_AA64PFR0_EL1, 0x1100_0000_1111_1112),
        (SysReg::ID_AA64PFR1_EL1, 0x0020),
        (SysReg::ID_AA64DFR0_EL1, 0x0000_0001_1030_5408),
        (SysReg::ID_AA64ISAR0_EL1, 0x0000_1000_1021_1120),
        (SysReg::ID_AA64ISAR1_EL1, 0x0010_0001),
        (SysReg::ID_AA64MMFR0_EL1, 0x0010_1125),
        (SysReg::ID_AA64MMFR1_EL1, 0x1021_2122),
        (SysReg::ID_AA64MMFR2_EL1, 0x1011),
    ])
}

/// Neoverse N2 with a GICv3 and MTE: Armv9.0, SVE2, PAuth, FWB, FGT, and much that is hidden.
pub(crate) fn neoverse_n2() -> HostId {
    host(&[
        (SysReg::ID_AA64PFR0_EL1, 0x1201_1111_2111_1112),
        (SysReg::ID_AA64PFR1_EL1, 0x0221),
        (SysReg::ID_AA64ZFR0_EL1, 0x0000_1101_0011_0021),
        (SysReg::ID_AA64DFR0_EL1, 0x0000_11f2_1030_5619),
        (SysReg::ID_AA64ISAR0_EL1, 0x1221_1111_1021_2120),
        (SysReg::ID_AA64ISAR1_EL1, 0x0011_1111_0121_1052),
        (SysReg::ID_AA64MMFR0_EL1, 0x0000_0222_0010_1125),
        (SysReg::ID_AA64MMFR1_EL1, 0x1021_2122),
        (SysReg::ID_AA64MMFR2_EL1, 0x1221_0111_1210_1011),
    ])
}
