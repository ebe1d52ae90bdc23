//! The allow-list: every field that a guest may see as something other than zero, in rows like the manual's.
//!
//! What is not named is not offered, for one of these reasons. It is EL2's or EL3's (VMIDBits, VH, XNX, FWB, EVT,
//! NV, FGT, HCX, TWED, TGran*_2, MTEPERM, SEL2, RME). It is not built: RAS, MPAM, AMU, SPE, TRBE, BRBE, SME,
//! and trace. Or it needs an enable in HCRX_EL2, or a fine-grained trap lifted, that EL2 does not give:
//! LS64, SCTLR2, TCR2, GCS, THE, S1PIE, S1POE, D128, FPMR, NMI, CPA, CMOW.

use assay_model::idregs::{COUNT, index};
use assay_spec::sysreg::SysReg;

use super::VmFeatures;
use super::host::{HostId, is_signed};

/// What a field reads as.
#[derive(Clone, Copy)]
enum Offer {
    /// The host's value.
    Host,
    /// The host's value, and no more than this.
    AtMost(u8),
    /// This, whatever the host has.
    Exactly(u8),
    /// The host's value in a VM with memory tagging.
    Mte,
    /// The host's value in a VM with SVE.
    Sve,
    /// The host's value in a VM with pointer authentication.
    Pauth,
    /// The host's version in a VM with performance monitors, up to PMUv3p8: p9 brings registers that trap.
    Pmu,
    /// 1 in a VM with a GICv3.
    GicV3,
}
use Offer::{AtMost, Exactly, GicV3, Host, Mte, Pauth, Pmu, Sve};

/// A row: a four-bit field by its register and lowest bit.
struct Field {
    register: SysReg,
    shift: u8,
    offer: Offer,
}

macro_rules! fields {
    ($($register:ident { $($name:ident $shift:literal $offer:expr;)* })*) => {
        &[$($(Field { register: SysReg::$register, shift: $shift, offer: $offer },)*)*]
    };
}

const FIELDS: &[Field] = fields! {
    ID_AA64PFR0_EL1 {
        EL0     0  AtMost(2);
        EL1     4  Exactly(1); // HCR_EL2.RW = 1: AArch64 only.
        FP      16 Host;
        AdvSIMD 20 Host;
        GIC     24 GicV3;
        SVE     32 Sve;
        DIT     48 AtMost(1);
        CSV2    56 AtMost(3); // From 2 on SCXTNUM_EL0 and SCXTNUM_EL1 are there, emulated.
        CSV3    60 Host;
    }
    ID_AA64PFR1_EL1 {
        BT        0  AtMost(1);
        SSBS      4  AtMost(2);
        MTE       8  Mte;
        CSV2_frac 32 AtMost(1); // 2 would promise SCXTNUM_ELx with a CSV2 of 1.
        MTE_frac  40 Mte;
        MTEX      52 Mte;
    }
    ID_AA64PFR2_EL1 {
        MTESTOREONLY 4 Mte;
        MTEFAR       8 Mte;
    }
    ID_AA64ZFR0_EL1 {
        SVEver    0  Sve;
        AES       4  Sve;
        EltPerm   12 Sve;
        BitPerm   16 Sve;
        BF16      20 Sve;
        B16B16    24 Sve;
        SHA3      32 Sve;
        SM4       40 Sve;
        I8MM      44 Sve;
        F16MM     48 Sve;
        F32MM     52 Sve;
        F64MM     56 Sve;
    }
    ID_AA64DFR0_EL1 {
        DebugVer   0  AtMost(6); // Armv8.0: later ones bring registers that trap.
        PMUVer     8  Pmu;
        BRPs       12 Host;
        WRPs       20 Host;
        CTX_CMPs   28 Host;
        DoubleLock 36 Host;
    }
    ID_AA64ISAR0_EL1 {
        AES    4  Host;
        SHA1   8  Host;
        SHA2   12 Host;
        CRC32  16 Host;
        Atomic 20 AtMost(3);
        RDM    28 Host;
        SHA3   32 Host;
        SM3    36 Host;
        SM4    40 Host;
        DP     44 Host;
        FHM    48 Host;
        TS     52 Host;
        TLB    56 Host;
        RNDR   60 Host;
    }
    ID_AA64ISAR1_EL1 {
        DPB     0  AtMost(2);
        APA     4  Pauth;
        API     8  Pauth;
        JSCVT   12 Host;
        FCMA    16 Host;
        LRCPC   20 AtMost(3);
        GPA     24 Pauth;
        GPI     28 Pauth;
        FRINTTS 32 Host;
        SB      36 Host;
        SPECRES 40 AtMost(2);
        BF16    44 Host;
        DGH     48 Host;
        I8MM    52 Host;
        XS      56 AtMost(1);
    }
    ID_AA64ISAR2_EL1 {
        WFxT     0  Host;
        RPRES    4  Host;
        GPA3     8  Pauth;
        APA3     12 Pauth;
        MOPS     16 Host;
        BC       20 Host;
        PAC_frac 24 Pauth;
        CLRBHB   28 Host;
        RPRFM    48 Host;
        CSSC     52 Host;
        LUT      56 Host;
    }
    ID_AA64ISAR3_EL1 {
        FAMINMAX 4  Host;
        LSFE     16 Host;
        FPRCVT   28 Host;
    }
    ID_AA64MMFR0_EL1 {
        PARange   0  AtMost(5); // 48 bits: stage 2 has no 52-bit addresses (VTCR_EL2.DS = 0).
        ASIDBits  4  Host;
        BigEnd    8  Host;
        BigEndEL0 16 Host;
        TGran16   20 AtMost(1); // Not 2, which is LPA2.
        TGran64   24 AtMost(0);
        TGran4    28 AtMost(0); // Not 1, which is LPA2.
        ExS       44 Host;
        ECV       60 AtMost(1); // 2 is CNTPOFF_EL2.
    }
    ID_AA64MMFR1_EL1 {
        HAFDBS 0  AtMost(2); // 3 and 4 need TCR2_EL1 or are EL2's.
        HPDS   12 AtMost(2);
        PAN    20 AtMost(3);
        ETS    36 Host;
        AFP    44 Host;
        nTLBPA 48 Host;
        TIDCP1 52 Host;
        ECBHB  60 Host;
    }
    ID_AA64MMFR2_EL1 {
        CnP     0  Host;
        UAO     4  Host;
        LSM     8  Host;
        VARange 16 AtMost(1);
        CCIDX   20 Host; // CCSIDR_EL1 does not trap, so its format must be told as it is.
        ST      28 Host;
        AT      32 Host;
        IDS     36 AtMost(1);
        TTL     48 Host;
        BBM     52 Host;
        E0PD    60 Host;
    }
};

/// AArch32 registers, whole fields as the host has them, where EL0 can be AArch32.
const AARCH32: &[(SysReg, u32)] = &[
    (SysReg::ID_PFR0_EL1, 0x0f0f_ffff),  // not RAS, AMU
    (SysReg::ID_PFR1_EL1, 0x000f_0000),  // GenTimer: the rest is of AArch32 at EL1 and above, or the GIC
    (SysReg::ID_MMFR0_EL1, 0xff0f_ffff), // not AuxReg: ACTLR_EL1 is RAZ/WI
    (SysReg::ID_MMFR1_EL1, 0xffff_ffff),
    (SysReg::ID_MMFR2_EL1, 0xffff_ffff),
    (SysReg::ID_MMFR3_EL1, 0xffff_ffff),
    (SysReg::ID_ISAR0_EL1, 0xffff_ffff),
    (SysReg::ID_ISAR1_EL1, 0xffff_ffff),
    (SysReg::ID_ISAR2_EL1, 0xffff_ffff),
    (SysReg::ID_ISAR3_EL1, 0xffff_ffff),
    (SysReg::ID_ISAR4_EL1, 0xffff_0fff), // not SMC
    (SysReg::ID_ISAR5_EL1, 0xffff_ffff),
    (SysReg::ID_MMFR4_EL1, 0xffff_fff0), // not SpecSEI
    (SysReg::ID_ISAR6_EL1, 0xffff_ffff),
    (SysReg::MVFR0_EL1, 0xffff_ffff),
    (SysReg::MVFR1_EL1, 0xffff_ffff),
    (SysReg::MVFR2_EL1, 0xffff_ffff),
    (SysReg::ID_PFR2_EL1, 0x0000_00ff),  // CSV3, SSBS; not RAS_frac
    (SysReg::ID_MMFR5_EL1, 0x0000_00ff), // ETS, nTLBPA
];

/// Computes the registers. `features` must be limited to what `host` has.
pub(super) fn registers(host: &HostId, features: VmFeatures) -> [u64; COUNT] {
    let mut registers = [0; COUNT];
    for row in FIELDS {
        let value = value(row, host, features);
        if let Some(register) = registers.get_mut(index(row.register)) {
            *register |= u64::from(value & 15) << row.shift;
        }
    }
    if host.aarch32_el0() {
        for &(name, mask) in AARCH32 {
            if let Some(register) = registers.get_mut(index(name)) {
                *register = host.read(name) & u64::from(mask);
            }
        }
        if let Some(register) = registers.get_mut(index(SysReg::ID_DFR0_EL1)) {
            // CopDbg, as ID_AA64DFR0_EL1.DebugVer.
            *register = u64::from(host.field(SysReg::ID_DFR0_EL1, 0).min(6));
        }
    }
    registers
}

fn value(row: &Field, host: &HostId, features: VmFeatures) -> u8 {
    let has = host.field(row.register, u32::from(row.shift));
    let only_if = |offered: bool| if offered { has } else { 0 };
    match row.offer {
        Host => has,
        AtMost(most) => {
            // 0xf of a signed field is less than any limit here.
            let negative = has >= 8 && is_signed(row.register, u32::from(row.shift));
            if negative { has } else { has.min(most) }
        }
        Exactly(value) => value,
        Mte => only_if(features.mte),
        Sve => only_if(features.sve),
        Pauth => only_if(features.pauth),
        Pmu => only_if(features.pmu).min(8),
        GicV3 => u8::from(features.gic_v3),
    }
}
