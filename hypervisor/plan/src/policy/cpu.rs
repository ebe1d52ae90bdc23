//! What all CPUs of the machine can do, as far as the policy needs it.

use thiserror::Error;

/// Three CPU features, each the minimum over all CPUs. Only combinations that the architecture has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CpuBits {
    mte: bool,
    fwb: bool,
    mte_perm: bool,
}

/// ID registers that no architected CPU has together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CpuBitsError {
    /// FEAT_MTE2 is of Armv8.5, FEAT_S2FWB mandatory since Armv8.4.
    #[error("the CPUs report MTE2 without FWB, which the architecture excludes: check the CPU model")]
    MteWithoutFwb,
    /// FEAT_MTE_PERM implies FEAT_MTE2.
    #[error("the CPUs report MTE_PERM without MTE2, which the architecture excludes: check the CPU model")]
    MtePermWithoutMte,
}

/// Returns the four-bit field of an ID register that starts at bit `shift`.
const fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xf
}

impl CpuBits {
    /// Makes the bits from H (`mte`: tags in memory), FWB and P (`mte_perm`).
    ///
    /// # Errors
    /// H without FWB, or P without H.
    pub const fn new(mte: bool, fwb: bool, mte_perm: bool) -> Result<Self, CpuBitsError> {
        if mte && !fwb {
            Err(CpuBitsError::MteWithoutFwb)
        } else if mte_perm && !mte {
            Err(CpuBitsError::MtePermWithoutMte)
        } else {
            Ok(Self { mte, fwb, mte_perm })
        }
    }

    /// Reads the bits of one CPU from its ID registers (DDI0487 D24.2): `ID_AA64PFR1_EL1.MTE` ≥ 2,
    /// `ID_AA64PFR2_EL1.MTEPERM` and `ID_AA64MMFR2_EL1.FWB`.
    ///
    /// MTEPERM is looked at only where there is MTE2: there are CPU models that set it without.
    ///
    /// # Errors
    /// MTE2 without FWB.
    pub const fn from_id_registers(
        id_aa64pfr1: u64,
        id_aa64pfr2: u64,
        id_aa64mmfr2: u64,
    ) -> Result<Self, CpuBitsError> {
        let mte = field(id_aa64pfr1, 8) >= 2;
        Self::new(mte, field(id_aa64mmfr2, 40) != 0, mte && field(id_aa64pfr2, 0) != 0)
    }

    /// Returns what both have. The architecture's implications survive this.
    pub const fn min(self, other: Self) -> Self {
        Self { mte: self.mte && other.mte, fwb: self.fwb && other.fwb, mte_perm: self.mte_perm && other.mte_perm }
    }

    /// Returns the bits of a machine whose RAM failed the tag part of the proof: H is 0 from then on.
    pub const fn without_mte(self) -> Self {
        Self { mte: false, fwb: self.fwb, mte_perm: false }
    }

    /// Tells whether a CPU with bits `other` may join CPUs that have these: it must have no less.
    pub const fn admits(self, other: Self) -> bool {
        (!self.mte || other.mte) && (!self.fwb || other.fwb) && (!self.mte_perm || other.mte_perm)
    }

    /// H: tags in memory (FEAT_MTE2).
    pub const fn mte(self) -> bool {
        self.mte
    }
    /// FEAT_S2FWB.
    pub const fn fwb(self) -> bool {
        self.fwb
    }
    /// P: FEAT_MTE_PERM.
    pub const fn mte_perm(self) -> bool {
        self.mte_perm
    }
}
