//! The registers that EL2 must know by name, in the order of their encodings.

use super::SysReg;

macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident = $op0:literal, $op1:literal, $crn:literal, $crm:literal, $op2:literal;)*) => {
        impl SysReg {
            $($(#[$doc])* pub const $name: Self = Self::new($op0, $op1, $crn, $crm, $op2);)*

            /// Returns Arm's name of a register or instruction that has one here.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

registers! {
    // op0 = 1: instructions.
    /// `DC ISW`: invalidate by set/way.
    DC_ISW = 1, 0, 7, 6, 2;
    /// `DC IGSW`: invalidate Allocation Tags by set/way.
    DC_IGSW = 1, 0, 7, 6, 4;
    /// `DC IGDSW`: invalidate data and Allocation Tags by set/way.
    DC_IGDSW = 1, 0, 7, 6, 6;
    /// `DC CSW`: clean by set/way.
    DC_CSW = 1, 0, 7, 10, 2;
    /// `DC CGSW`: clean Allocation Tags by set/way.
    DC_CGSW = 1, 0, 7, 10, 4;
    /// `DC CGDSW`: clean data and Allocation Tags by set/way.
    DC_CGDSW = 1, 0, 7, 10, 6;
    /// `DC CISW`: clean and invalidate by set/way.
    DC_CISW = 1, 0, 7, 14, 2;
    /// `DC CIGSW`: clean and invalidate Allocation Tags by set/way.
    DC_CIGSW = 1, 0, 7, 14, 4;
    /// `DC CIGDSW`: clean and invalidate data and Allocation Tags by set/way.
    DC_CIGDSW = 1, 0, 7, 14, 6;

    // op0 = 2: debug and trace.
    /// Monitor Debug System Control.
    MDSCR_EL1 = 2, 0, 0, 2, 2;
    /// Monitor Debug ROM Address.
    MDRAR_EL1 = 2, 0, 1, 0, 0;
    /// OS Lock Access.
    OSLAR_EL1 = 2, 0, 1, 0, 4;
    /// OS Lock Status.
    OSLSR_EL1 = 2, 0, 1, 1, 4;
    /// OS Double Lock.
    OSDLR_EL1 = 2, 0, 1, 3, 4;
    /// Debug Power Control.
    DBGPRCR_EL1 = 2, 0, 1, 4, 4;

    // op0 = 3, op1 = 0: identification.
    /// Main ID.
    MIDR_EL1 = 3, 0, 0, 0, 0;
    /// Multiprocessor Affinity.
    MPIDR_EL1 = 3, 0, 0, 0, 5;
    /// AArch32 Processor Feature 0: the first of the feature ID registers.
    ID_PFR0_EL1 = 3, 0, 0, 1, 0;
    /// AArch32 Processor Feature 1.
    ID_PFR1_EL1 = 3, 0, 0, 1, 1;
    /// AArch32 Debug Feature 0.
    ID_DFR0_EL1 = 3, 0, 0, 1, 2;
    /// AArch32 Auxiliary Feature 0.
    ID_AFR0_EL1 = 3, 0, 0, 1, 3;
    /// AArch32 Memory Model Feature 0.
    ID_MMFR0_EL1 = 3, 0, 0, 1, 4;
    /// AArch32 Memory Model Feature 1.
    ID_MMFR1_EL1 = 3, 0, 0, 1, 5;
    /// AArch32 Memory Model Feature 2.
    ID_MMFR2_EL1 = 3, 0, 0, 1, 6;
    /// AArch32 Memory Model Feature 3.
    ID_MMFR3_EL1 = 3, 0, 0, 1, 7;
    /// AArch32 Instruction Set Attribute 0.
    ID_ISAR0_EL1 = 3, 0, 0, 2, 0;
    /// AArch32 Instruction Set Attribute 1.
    ID_ISAR1_EL1 = 3, 0, 0, 2, 1;
    /// AArch32 Instruction Set Attribute 2.
    ID_ISAR2_EL1 = 3, 0, 0, 2, 2;
    /// AArch32 Instruction Set Attribute 3.
    ID_ISAR3_EL1 = 3, 0, 0, 2, 3;
    /// AArch32 Instruction Set Attribute 4.
    ID_ISAR4_EL1 = 3, 0, 0, 2, 4;
    /// AArch32 Instruction Set Attribute 5.
    ID_ISAR5_EL1 = 3, 0, 0, 2, 5;
    /// AArch32 Memory Model Feature 4.
    ID_MMFR4_EL1 = 3, 0, 0, 2, 6;
    /// AArch32 Instruction Set Attribute 6.
    ID_ISAR6_EL1 = 3, 0, 0, 2, 7;
    /// AArch32 Media and VFP Feature 0.
    MVFR0_EL1 = 3, 0, 0, 3, 0;
    /// AArch32 Media and VFP Feature 1.
    MVFR1_EL1 = 3, 0, 0, 3, 1;
    /// AArch32 Media and VFP Feature 2.
    MVFR2_EL1 = 3, 0, 0, 3, 2;
    /// AArch32 Processor Feature 2.
    ID_PFR2_EL1 = 3, 0, 0, 3, 4;
    /// AArch32 Debug Feature 1.
    ID_DFR1_EL1 = 3, 0, 0, 3, 5;
    /// AArch32 Memory Model Feature 5.
    ID_MMFR5_EL1 = 3, 0, 0, 3, 6;
    /// Processor Feature 0.
    ID_AA64PFR0_EL1 = 3, 0, 0, 4, 0;
    /// Processor Feature 1.
    ID_AA64PFR1_EL1 = 3, 0, 0, 4, 1;
    /// Processor Feature 2.
    ID_AA64PFR2_EL1 = 3, 0, 0, 4, 2;
    /// SVE Feature 0.
    ID_AA64ZFR0_EL1 = 3, 0, 0, 4, 4;
    /// SME Feature 0.
    ID_AA64SMFR0_EL1 = 3, 0, 0, 4, 5;
    /// Floating-point Feature 0.
    ID_AA64FPFR0_EL1 = 3, 0, 0, 4, 7;
    /// Debug Feature 0.
    ID_AA64DFR0_EL1 = 3, 0, 0, 5, 0;
    /// Debug Feature 1.
    ID_AA64DFR1_EL1 = 3, 0, 0, 5, 1;
    /// Instruction Set Attribute 0.
    ID_AA64ISAR0_EL1 = 3, 0, 0, 6, 0;
    /// Instruction Set Attribute 1.
    ID_AA64ISAR1_EL1 = 3, 0, 0, 6, 1;
    /// Instruction Set Attribute 2.
    ID_AA64ISAR2_EL1 = 3, 0, 0, 6, 2;
    /// Instruction Set Attribute 3.
    ID_AA64ISAR3_EL1 = 3, 0, 0, 6, 3;
    /// Memory Model Feature 0.
    ID_AA64MMFR0_EL1 = 3, 0, 0, 7, 0;
    /// Memory Model Feature 1.
    ID_AA64MMFR1_EL1 = 3, 0, 0, 7, 1;
    /// Memory Model Feature 2.
    ID_AA64MMFR2_EL1 = 3, 0, 0, 7, 2;
    /// Memory Model Feature 3.
    ID_AA64MMFR3_EL1 = 3, 0, 0, 7, 3;
    /// Memory Model Feature 4.
    ID_AA64MMFR4_EL1 = 3, 0, 0, 7, 4;

    // op0 = 3, op1 = 0: control.
    /// System Control.
    SCTLR_EL1 = 3, 0, 1, 0, 0;
    /// Auxiliary Control.
    ACTLR_EL1 = 3, 0, 1, 0, 1;
    /// Random Allocation Tag Seed.
    RGSR_EL1 = 3, 0, 1, 0, 5;
    /// Tag Control.
    GCR_EL1 = 3, 0, 1, 0, 6;
    /// SVE Control.
    ZCR_EL1 = 3, 0, 1, 2, 0;
    /// Extended Translation Control.
    TCR2_EL1 = 3, 0, 2, 0, 3;
    /// Pointer authentication key A for instructions, low half: the first of ten.
    APIAKEYLO_EL1 = 3, 0, 2, 1, 0;
    /// Error Record ID.
    ERRIDR_EL1 = 3, 0, 5, 3, 0;
    /// Tag Fault Status, EL1.
    TFSR_EL1 = 3, 0, 5, 6, 0;
    /// Tag Fault Status, EL0.
    TFSRE0_EL1 = 3, 0, 5, 6, 1;
    /// Statistical Profiling Control.
    PMSCR_EL1 = 3, 0, 9, 9, 0;
    /// LORegion ID.
    LORID_EL1 = 3, 0, 10, 4, 7;
    /// Interrupt Group 1 Software Generated Interrupt.
    ICC_SGI1R_EL1 = 3, 0, 12, 11, 5;
    /// Alias SGI: the Group 1 of the other Security state.
    ICC_ASGI1R_EL1 = 3, 0, 12, 11, 6;
    /// Interrupt Group 0 Software Generated Interrupt.
    ICC_SGI0R_EL1 = 3, 0, 12, 11, 7;
    /// Interrupt Controller System Register Enable.
    ICC_SRE_EL1 = 3, 0, 12, 12, 5;
    /// Software Context Number, EL1.
    SCXTNUM_EL1 = 3, 0, 13, 0, 7;
    /// Software Context Number, EL0.
    SCXTNUM_EL0 = 3, 3, 13, 0, 7;

    // op0 = 3, op1 = 1 and 3.
    /// Multiple Tag transfer ID: the block size of LDGM and STGM.
    GMID_EL1 = 3, 1, 0, 0, 4;
    /// Performance Monitors Control.
    PMCR_EL0 = 3, 3, 9, 12, 0;
    /// Performance Monitors Cycle Count.
    PMCCNTR_EL0 = 3, 3, 9, 13, 0;
    /// Activity Monitors Control.
    AMCR_EL0 = 3, 3, 13, 2, 0;
    /// Physical Timer, TimerValue.
    CNTP_TVAL_EL0 = 3, 3, 14, 2, 0;
    /// Physical Timer, Control.
    CNTP_CTL_EL0 = 3, 3, 14, 2, 1;
    /// Physical Timer, CompareValue.
    CNTP_CVAL_EL0 = 3, 3, 14, 2, 2;
}
