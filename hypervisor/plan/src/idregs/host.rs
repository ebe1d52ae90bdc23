//! The feature ID registers of the machine: the minimum over its CPUs, and what EL2 asks of them.

use assay_model::idregs::{COUNT, index};
use assay_spec::sysreg::SysReg;

/// Fields that are signed: 0xf is below 0 (DDI0487 D24.1.3). Register, and the lowest bits of such fields.
const SIGNED: &[(SysReg, &[u32])] = &[
    (SysReg::ID_DFR0_EL1, &[24]),            // PerfMon
    (SysReg::ID_MMFR0_EL1, &[28]),           // InnerShr
    (SysReg::ID_DFR1_EL1, &[0]),             // MTPMU
    (SysReg::ID_AA64PFR0_EL1, &[16, 20]),    // FP, AdvSIMD
    (SysReg::ID_AA64PFR1_EL1, &[40]),        // MTE_frac
    (SysReg::ID_AA64DFR0_EL1, &[8, 36, 48]), // PMUVer, DoubleLock, MTPMU
    (SysReg::ID_AA64MMFR0_EL1, &[24, 28]),   // TGran64, TGran4
    (SysReg::ID_AA64MMFR4_EL1, &[24]),       // E2H0
];

/// Tells whether the field of `register` that starts at bit `shift` is signed.
pub(super) fn is_signed(register: SysReg, shift: u32) -> bool {
    SIGNED.iter().any(|&(signed, shifts)| signed == register && shifts.contains(&shift))
}

/// The feature ID registers of one CPU, or what all CPUs of a machine have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostId {
    registers: [u64; COUNT],
}

impl HostId {
    /// Takes the registers with op0 3, op1 0, CRn 0 as read: `registers[CRm - 1][op2]`.
    pub const fn new(registers: [[u64; 8]; 7]) -> Self {
        let mut flat = [0; COUNT];
        let (mut row, mut rest) = (0, flat.as_mut_slice());
        while row < registers.len() {
            let (head, tail) = rest.split_at_mut(8);
            head.copy_from_slice(&registers[row]);
            (row, rest) = (row + 1, tail);
        }
        Self { registers: flat }
    }

    /// Returns what both CPUs have: the smaller value of each field.
    pub fn minimum(&self, other: &Self) -> Self {
        let mut common = self.clone();
        for (place, (mine, &theirs)) in (0u16..).zip(common.registers.iter_mut().zip(&other.registers)) {
            // CPUs of one machine are mostly equal.
            if *mine != theirs {
                *mine = smaller_fields(SysReg(SysReg::ID_PFR0_EL1.0 + place), *mine, theirs);
            }
        }
        common
    }

    /// Returns the register with op0 3, op1 0, CRn 0 and these fields. Outside CRm 1 to 7 it is zero.
    pub const fn get(&self, crm: u16, op2: u16) -> u64 {
        self.read(SysReg::new(3, 0, 0, crm, op2))
    }

    /// Returns the value of a feature ID register, 0 for any other register.
    pub const fn read(&self, register: SysReg) -> u64 {
        let place = index(register);
        if place < COUNT { self.registers[place] } else { 0 }
    }

    /// Returns the four-bit field of `register` that starts at bit `shift`.
    pub const fn field(&self, register: SysReg, shift: u32) -> u8 {
        (self.read(register) >> shift & 15) as u8
    }
}

/// Asks whether a field has at least some value.
macro_rules! has {
    ($($(#[$doc:meta])* $name:ident: $register:ident $shift:literal >= $least:literal;)*) => {
        /// What EL2 and the policy ask.
        impl HostId {
            $($(#[$doc])* pub const fn $name(&self) -> bool {
                self.field(SysReg::$register, $shift) >= $least
            })*
        }
    };
}

has! {
    /// EL0 can be AArch32.
    aarch32_el0: ID_AA64PFR0_EL1 0 >= 2;
    /// FEAT_RAS.
    ras: ID_AA64PFR0_EL1 28 >= 1;
    /// FEAT_SVE.
    sve: ID_AA64PFR0_EL1 32 >= 1;
    /// FEAT_AMUv1.
    amu: ID_AA64PFR0_EL1 44 >= 1;
    /// FEAT_SSBS.
    ssbs: ID_AA64PFR1_EL1 4 >= 1;
    /// FEAT_MTE2 or later: there are Allocation Tags in memory.
    mte: ID_AA64PFR1_EL1 8 >= 2;
    /// FEAT_SME.
    sme: ID_AA64PFR1_EL1 24 >= 1;
    /// FEAT_CRC32.
    crc32: ID_AA64ISAR0_EL1 16 >= 1;
    /// FEAT_LSE.
    lse: ID_AA64ISAR0_EL1 20 >= 2;
    /// FEAT_RNG: RNDR.
    rng: ID_AA64ISAR0_EL1 60 >= 1;
    /// FEAT_MOPS, whose enable is in HCRX_EL2.
    mops: ID_AA64ISAR2_EL1 16 >= 1;
    /// FEAT_VMID16.
    vmid16: ID_AA64MMFR1_EL1 4 >= 2;
    /// FEAT_LOR.
    lor: ID_AA64MMFR1_EL1 16 >= 1;
    /// FEAT_PAN.
    pan: ID_AA64MMFR1_EL1 20 >= 1;
    /// FEAT_HCX: HCRX_EL2 exists.
    hcx: ID_AA64MMFR1_EL1 40 >= 1;
    /// FEAT_S2FWB.
    fwb: ID_AA64MMFR2_EL1 40 >= 1;
}

impl HostId {
    /// FEAT_MPAM, of any version.
    pub const fn mpam(&self) -> bool {
        self.field(SysReg::ID_AA64PFR0_EL1, 40) != 0 || self.field(SysReg::ID_AA64PFR1_EL1, 16) != 0
    }
    /// The version of FEAT_PMUv3 (`PMUVer`), 0 without.
    pub const fn pmu_version(&self) -> u8 {
        match self.field(SysReg::ID_AA64DFR0_EL1, 8) {
            // A form of performance monitors that is no PMUv3.
            0xf => 0,
            version => version,
        }
    }
    /// FEAT_MTE_PERM: stage 2 can say NoTagAccess. QEMU 11.1 sets the field without MTE2, hence the second look.
    pub const fn mte_perm(&self) -> bool {
        self.mte() && self.field(SysReg::ID_AA64PFR2_EL1, 0) != 0
    }
    /// FEAT_PAuth with any algorithm: APA, API or APA3.
    pub const fn pauth(&self) -> bool {
        self.read(SysReg::ID_AA64ISAR1_EL1) & 0xff0 != 0 || self.field(SysReg::ID_AA64ISAR2_EL1, 12) != 0
    }
    /// FEAT_FGT (1) or FEAT_FGT2 (2): the registers HFGRTR_EL2 and so on exist; 0 without.
    pub const fn fgt(&self) -> u8 {
        self.field(SysReg::ID_AA64MMFR0_EL1, 56)
    }
    /// Number of physical address bits: 32 to 56.
    pub const fn pa_range_bits(&self) -> u8 {
        const BITS: [u8; 8] = [32, 36, 40, 42, 44, 48, 52, 56];
        let range = self.field(SysReg::ID_AA64MMFR0_EL1, 0);
        // The rest is reserved: a later version of the architecture, with no less than the last known one.
        BITS[if range < 8 { range as usize } else { 7 }]
    }
}

fn smaller_fields(register: SysReg, mine: u64, theirs: u64) -> u64 {
    (0..64).step_by(4).fold(0, |value, shift| {
        let (a, b) = (mine >> shift & 15, theirs >> shift & 15);
        // A signed field compares right after its sign bit is flipped.
        let flip = if is_signed(register, shift) { 8 } else { 0 };
        let smaller = if a ^ flip <= b ^ flip { a } else { b };
        value | smaller << shift
    })
}
