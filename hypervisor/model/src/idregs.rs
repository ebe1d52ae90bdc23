//! The feature ID registers that a guest reads (DDI0487 D24.2): a table that `assay_plan::idregs` computes.

use assay_spec::sysreg::SysReg;

/// Registers in the feature ID space: CRm 1 to 7, op2 0 to 7.
pub const COUNT: usize = 56;

/// Returns a register's place in the tables; `COUNT` or more if it is not a feature ID register.
#[inline(always)]
pub const fn index(register: SysReg) -> usize {
    register.0.wrapping_sub(SysReg::ID_PFR0_EL1.0) as usize
}

/// The feature ID registers of one VM. All its vCPUs read the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestId {
    registers: [u64; COUNT],
}

impl GuestId {
    /// Takes the registers as they are to be read, in the order of [`index`].
    pub const fn new(registers: [u64; COUNT]) -> Self {
        Self { registers }
    }

    /// Returns the register with op0 3, op1 0, CRn 0 and these fields. Outside CRm 1 to 7 it is zero.
    pub fn get(&self, crm: u16, op2: u16) -> u64 {
        self.read(SysReg::new(3, 0, 0, crm, op2)).unwrap_or(0)
    }

    /// Returns the value of `register` if it is in the feature ID space, allocated or not.
    #[inline(always)]
    pub fn read(&self, register: SysReg) -> Option<u64> {
        self.registers.get(index(register)).copied()
    }

    /// Returns the feature register with op0 3, op1 0, CRn 0 and these fields, for CRm 1 to 7; `None` otherwise.
    #[inline(always)]
    pub fn feature(&self, crm: u64, op2: u64) -> Option<u64> {
        // CRm 0 wraps to beyond the table.
        let index = crm.wrapping_sub(1) << 3 | op2 & 7;
        self.registers.get(usize::try_from(index).unwrap_or(usize::MAX)).copied()
    }

    /// Tells whether the VM has SCXTNUM_EL0 and SCXTNUM_EL1 (FEAT_CSV2_2).
    pub fn has_context_numbers(&self) -> bool {
        self.read(SysReg::ID_AA64PFR0_EL1).unwrap_or(0) >> 56 & 15 >= 2
    }

    /// Tells whether the VM has the GIC's system registers.
    pub fn has_gic_registers(&self) -> bool {
        self.read(SysReg::ID_AA64PFR0_EL1).unwrap_or(0) >> 24 & 15 != 0
    }
}

#[cfg(test)]
pub(crate) mod tests;
