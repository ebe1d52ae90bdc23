//! What keeps a guest's branch history from EL2's indirect branches (Spectre-BHB, CVE-2022-23960): by Arm's table of affected
//! CPUs ("Spectre-BHB", Arm security centre) and the CPU's own word.

/// What is done at each exit from a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mitigation {
    /// Nothing: the CPU keeps contexts apart, or nothing is known to help.
    None,
    /// `CLRBHB` (FEAT_CLRBHB).
    Clear,
    /// So many branches.
    Loop(u64),
    /// SMCCC_ARCH_WORKAROUND_3.
    Firmware,
}

/// What a CPU says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuFacts {
    /// `MIDR_EL1`.
    pub midr: u64,
    /// `ID_AA64PFR0_EL1.CSV2`.
    pub csv2: u8,
    /// `ID_AA64MMFR1_EL1.ECBHB`.
    pub ecbhb: u8,
    /// `ID_AA64ISAR2_EL1.CLRBHB`.
    pub clrbhb: u8,
    /// What firmware answers to SMCCC_ARCH_FEATURES for workaround 3: 0 where this CPU needs it.
    pub workaround_3: i32,
}

/// Arm's parts by `MIDR_EL1.PartNum`, and how many branches overwrite their history.
const LOOPS: [(u64, u64); 18] = [
    (0xd07, 8),   // Cortex-A57
    (0xd08, 8),   // Cortex-A72
    (0xd0b, 24),  // Cortex-A76
    (0xd0e, 24),  // Cortex-A76AE
    (0xd0d, 24),  // Cortex-A77
    (0xd0c, 24),  // Neoverse N1
    (0xd41, 32),  // Cortex-A78
    (0xd42, 32),  // Cortex-A78AE
    (0xd4b, 32),  // Cortex-A78C
    (0xd44, 32),  // Cortex-X1
    (0xd47, 32),  // Cortex-A710
    (0xd48, 32),  // Cortex-X2
    (0xd49, 32),  // Neoverse N2
    (0xd40, 32),  // Neoverse V1
    (0xd4d, 38),  // Cortex-A715
    (0xd81, 38),  // Cortex-A720
    (0xd4e, 132), // Cortex-X3
    (0xd4f, 132), // Neoverse V2
];
/// `MIDR_EL1.Implementer` of Arm.
const ARM: u64 = 0x41;

impl CpuFacts {
    /// Decides what this CPU does at each exit.
    pub fn mitigation(&self) -> Mitigation {
        /// FEAT_CSV2_3: history is tagged by context.
        const CSV2_3: u8 = 3;
        if self.csv2 >= CSV2_3 || self.ecbhb != 0 {
            return Mitigation::None;
        }
        if self.clrbhb != 0 {
            return Mitigation::Clear;
        }
        let is_arms = self.midr >> 24 & 0xff == ARM;
        let part = self.midr >> 4 & 0xfff;
        if let Some((_, branches)) = LOOPS.iter().find(|(known, _)| is_arms && *known == part) {
            return Mitigation::Loop(*branches);
        }
        if self.workaround_3 == 0 { Mitigation::Firmware } else { Mitigation::None }
    }
}

#[cfg(test)]
mod tests {
    use super::{CpuFacts, Mitigation};

    const N1: CpuFacts = CpuFacts { midr: 0x414f_d0c1, csv2: 1, ecbhb: 0, clrbhb: 0, workaround_3: -1 };

    #[test]
    fn the_cpus_word_comes_before_the_table_and_that_before_firmware() {
        assert_eq!(N1.mitigation(), Mitigation::Loop(24));
        assert_eq!(CpuFacts { workaround_3: 0, ..N1 }.mitigation(), Mitigation::Loop(24));
        assert_eq!(CpuFacts { clrbhb: 1, ..N1 }.mitigation(), Mitigation::Clear);
        assert_eq!(CpuFacts { csv2: 3, ..N1 }.mitigation(), Mitigation::None);
        assert_eq!(CpuFacts { ecbhb: 1, clrbhb: 1, ..N1 }.mitigation(), Mitigation::None);
    }

    #[test]
    fn who_is_in_no_table_asks_firmware() {
        // Cortex-A75; Cortex-A55, which has none; another implementer's part of the same number.
        let a75 = CpuFacts { midr: 0x413f_d0a1, workaround_3: 0, ..N1 };
        assert_eq!(a75.mitigation(), Mitigation::Firmware);
        assert_eq!(CpuFacts { midr: 0x412f_d050, workaround_3: 1, ..N1 }.mitigation(), Mitigation::None);
        assert_eq!(CpuFacts { midr: 0x514f_d0c1, ..N1 }.mitigation(), Mitigation::None);
    }
}
