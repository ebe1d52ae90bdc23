//! Bits of the registers by which EL2 decides what a guest's instructions trap on (DDI0487 D24.2).
//!
//! HCR_EL2, HCRX_EL2, CPTR_EL2, MDCR_EL2, CNTHCTL_EL2 and the two MPAM registers, in the layout of
//! `HCR_EL2.E2H` = 0. Which bits are set, and why, is decided in `assay_plan::traps`.

macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        $($(#[$doc])* pub const $name: u64 = 1 << $bit;)*
    };
}

bits! {
    /// Stage 2 is on.
    VM = 0;
    /// Set/way invalidation also cleans.
    SWIO = 1;
    /// A stage-1 walk through stage-2 Device memory is a stage-2 Permission fault.
    PTW = 2;
    /// Physical FIQs come to EL2, virtual ones are enabled.
    FMO = 3;
    /// Physical IRQs come to EL2, virtual ones are enabled.
    IMO = 4;
    /// Physical SErrors come to EL2, virtual ones are enabled.
    AMO = 5;
    /// A virtual FIQ is pending.
    VF = 6;
    /// A virtual IRQ is pending.
    VI = 7;
    /// A virtual SError is pending.
    VSE = 8;
    /// EL1's TLB and instruction cache maintenance is broadcast in the Inner Shareable domain.
    FB = 9;
    /// Barriers at EL1 and EL0 reach at least the Inner Shareable domain (`BSU` = 0b01).
    BSU_IS = 10;
    /// Stage 1 behaves as off with a cacheable default type.
    DC = 12;
    /// Trap WFI.
    TWI = 13;
    /// Trap WFE.
    TWE = 14;
    /// Trap ID group 1: REVIDR_EL1, AIDR_EL1, SMIDR_EL1.
    TID1 = 16;
    /// Trap ID group 2: CTR_EL0, CCSIDR_EL1, CLIDR_EL1, CSSELR_EL1.
    TID2 = 17;
    /// Trap ID group 3: the feature registers.
    TID3 = 18;
    /// Trap SMC.
    TSC = 19;
    /// Trap IMPLEMENTATION DEFINED registers.
    TIDCP = 20;
    /// Trap ACTLR_EL1.
    TACR = 21;
    /// Trap cache maintenance by set/way.
    TSW = 22;
    /// HVC is UNDEFINED.
    HCD = 29;
    /// EL1 is AArch64.
    RW = 31;
    /// Stage-2 Normal data accesses are non-cacheable.
    CD = 32;
    /// EL2 Host: must be 0 here.
    E2H = 34;
    /// Trap the LORegion registers.
    TLOR = 35;
    /// Trap the RAS error record registers.
    TERR = 36;
    /// Route synchronous external aborts to EL2.
    TEA = 37;
    /// Do not trap the pointer authentication keys.
    APK = 40;
    /// Do not trap pointer authentication instructions.
    API = 41;
    /// Stage-2 MemAttr in the encoding of FEAT_S2FWB.
    FWB = 46;
    /// Allocation Tags are accessible at EL1 and EL0.
    ATA = 56;
    /// With `DC`, the default type is Tagged.
    DCT = 57;
    /// Trap GMID_EL1.
    TID5 = 58;
}

/// Bits of CPTR_EL2.
pub mod cptr {
    bits! {
        /// Trap SVE, and ZCR_EL1.
        TZ = 8;
        /// Trap FP and Advanced SIMD.
        TFP = 10;
        /// Trap SME.
        TSM = 12;
        /// Trap trace system registers.
        TTA = 20;
        /// Trap Activity Monitors registers.
        TAM = 30;
        /// Trap CPACR_EL1.
        TCPAC = 31;
    }
    /// Bits that are always one: 13, 9 and 7:0. `TZ` and `TSM` too are RES1 without SVE and SME.
    pub const RES1: u64 = 1 << 13 | 1 << 9 | 0xff;
}

/// Bits of MDCR_EL2.
pub mod mdcr {
    /// `HPMN`, the number of event counters EL1 has, bits 4:0. Zero is UNPREDICTABLE without FEAT_HPMN0.
    pub const HPMN_MASK: u64 = 0x1f;
    bits! {
        /// Trap PMCR_EL0.
        TPMCR = 5;
        /// Trap the Performance Monitors registers.
        TPM = 6;
        /// Route debug exceptions to EL2.
        TDE = 8;
        /// Trap the debug registers that the other bits leave.
        TDA = 9;
        /// Trap the OS-related debug registers: OSLAR_EL1, OSLSR_EL1, OSDLR_EL1, DBGPRCR_EL1.
        TDOSA = 10;
        /// Trap MDRAR_EL1.
        TDRA = 11;
        /// Trap the Statistical Profiling registers.
        TPMS = 14;
        /// Event counters do not count at EL2 (FEAT_PMUv3p1).
        HPMD = 17;
        /// Trap TRFCR_EL1.
        TTRF = 19;
        /// The cycle counter does not count at EL2 (FEAT_PMUv3p5).
        HCCD = 23;
    }
}

/// Bits of CNTHCTL_EL2.
pub mod cnthctl {
    bits! {
        /// Do not trap the physical counter.
        EL1PCTEN = 0;
        /// Do not trap the physical timer.
        EL1PCEN = 1;
    }
}

/// Bits of HCRX_EL2 (FEAT_HCX). All others enable what no guest is offered.
pub mod hcrx {
    bits! {
        /// Enable the Memory Copy and Memory Set instructions. Their exceptions are EL1's own: MCE2 (bit 10) is 0.
        MSCEN = 11;
        /// Do not trap TCR2_EL1.
        TCR2EN = 14;
        /// Do not trap SCTLR2_EL1.
        SCTLR2EN = 15;
    }
}

/// Bits of MPAM2_EL2, MPAMHCR_EL2 and MPAMIDR_EL1 (DDI0598).
pub mod mpam {
    bits! {
        /// MPAM2_EL2: trap MPAM1_EL1.
        TRAPMPAM1EL1 = 48;
        /// MPAM2_EL2: trap MPAM0_EL1.
        TRAPMPAM0EL1 = 49;
        /// MPAMHCR_EL2: trap MPAMIDR_EL1. Exists where MPAMIDR_EL1.HAS_HCR (bit 17) is 1.
        TRAP_MPAMIDR_EL1 = 31;
        /// MPAMIDR_EL1: MPAMHCR_EL2 exists.
        HAS_HCR = 17;
        /// MPAM2_EL2: trap MPAMIDR_EL1, where MPAMIDR_EL1.HAS_TIDR is 1.
        TIDR = 58;
        /// MPAMIDR_EL1: MPAM2_EL2.TIDR exists.
        HAS_TIDR = 58;
    }

    /// Returns MPAM2_EL2, and MPAMHCR_EL2 where there is one, of a CPU whose MPAMIDR_EL1 is `id`: everything runs in the
    /// default partition, no guest can change that, and all of MPAM traps.
    pub const fn hidden(id: u64) -> (u64, Option<u64>) {
        let tidr = if id & HAS_TIDR != 0 { TIDR } else { 0 };
        let hcr = if id & HAS_HCR != 0 { Some(TRAP_MPAMIDR_EL1) } else { None };
        (TRAPMPAM0EL1 | TRAPMPAM1EL1 | tidr, hcr)
    }
}

#[cfg(test)]
mod tests {
    use super::mpam::{HAS_HCR, HAS_TIDR, hidden};

    #[test]
    fn all_of_mpam_traps_as_far_as_the_cpu_can() {
        assert_eq!(hidden(0), (3 << 48, None));
        assert_eq!(hidden(HAS_HCR), (3 << 48, Some(1 << 31)));
        assert_eq!(hidden(HAS_TIDR), (3 << 48 | 1 << 58, None));
        assert_eq!(hidden(u64::MAX), (3 << 48 | 1 << 58, Some(1 << 31)));
    }
}
