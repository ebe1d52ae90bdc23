//! System registers by their encoding (DDI0487 D24).

use core::fmt;

mod named;

/// A system register or instruction, named by op0, op1, CRn, CRm and op2 packed as bits
/// `[15:14] [13:11] [10:7] [6:3] [2:0]`.
///
/// The associated constants are the registers that EL2 must know by name, under the names Arm gave them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysReg(pub u16);

impl SysReg {
    /// Makes a register from its five fields, each cut to its width.
    pub const fn new(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> Self {
        Self((op0 & 3) << 14 | (op1 & 7) << 11 | (crn & 15) << 7 | (crm & 15) << 3 | (op2 & 7))
    }
    /// Returns the five fields: op0, op1, CRn, CRm, op2.
    pub const fn fields(self) -> (u16, u16, u16, u16, u16) {
        (self.0 >> 14, self.0 >> 11 & 7, self.0 >> 7 & 15, self.0 >> 3 & 15, self.0 & 7)
    }
}

impl fmt::Debug for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op0, op1, crn, crm, op2) = self.fields();
        write!(f, "S{op0}_{op1}_C{crn}_C{crm}_{op2}")
    }
}

#[cfg(test)]
mod tests {
    use super::SysReg;

    #[test]
    fn fields_survive_packing() {
        for raw in 0..=u16::MAX {
            let (op0, op1, crn, crm, op2) = SysReg(raw).fields();
            assert_eq!(SysReg::new(op0, op1, crn, crm, op2), SysReg(raw));
        }
    }

    #[test]
    fn names_have_the_encodings_of_the_manual() {
        extern crate std;
        for (register, name) in [
            (SysReg::ID_AA64MMFR2_EL1, "S3_0_C0_C7_2"),
            (SysReg::MPIDR_EL1, "S3_0_C0_C0_5"),
            (SysReg::GCR_EL1, "S3_0_C1_C0_6"),
            (SysReg::GMID_EL1, "S3_1_C0_C0_4"),
            (SysReg::CNTP_CVAL_EL0, "S3_3_C14_C2_2"),
            (SysReg::OSLAR_EL1, "S2_0_C1_C0_4"),
            (SysReg::DC_CISW, "S1_0_C7_C14_2"),
            (SysReg::PMCCNTR_EL0, "S3_3_C9_C13_0"),
        ] {
            assert_eq!(std::format!("{register:?}"), name);
        }
        assert_eq!((SysReg::GCR_EL1.name(), SysReg::new(3, 7, 15, 15, 7).name()), (Some("GCR_EL1"), None));
    }
}
