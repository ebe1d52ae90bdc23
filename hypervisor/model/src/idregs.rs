//! The feature ID registers that a guest reads, computed from those of the host (DDI0487 D24.2).
//!
//! EL2 sets `HCR_EL2.TID3`, so a guest sees [`GuestId`] and never the host's values. It is an allow-list: a field
//! that no row of `offer` names reads as zero, which for nearly every field means "not implemented". What a
//! field promises is made true by the trap configuration in [`crate::sysregs`], which is computed from the same
//! two inputs. Not here: MIDR_EL1 and MPIDR_EL1 (VPIDR_EL2, VMPIDR_EL2), and the cache registers, which pass.

use assay_spec::sysreg::SysReg;

mod host;
mod offer;

pub use host::HostId;

/// What one VM is offered, of the features that are a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VmFeatures {
    /// Memory tagging, with everything that belongs to it.
    pub mte: bool,
    /// Scalable vectors.
    pub sve: bool,
    /// Pointer authentication.
    pub pauth: bool,
    /// The VM's interrupt controller is a GICv3, with system registers; otherwise it is a GICv2.
    pub gic_v3: bool,
}

impl VmFeatures {
    /// Returns these features without those that `host` lacks.
    pub const fn limited_to(self, host: &HostId) -> Self {
        Self {
            mte: self.mte && host.mte(),
            sve: self.sve && host.sve(),
            pauth: self.pauth && host.pauth(),
            gic_v3: self.gic_v3,
        }
    }
}

/// The feature ID registers of one VM. All its vCPUs read the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestId {
    registers: [u64; host::COUNT],
}

impl GuestId {
    /// Computes what a VM with `features` reads on a machine whose CPUs have at least `host`.
    pub fn new(host: &HostId, features: VmFeatures) -> Self {
        Self { registers: offer::registers(host, features.limited_to(host)) }
    }

    /// Returns the register with op0 3, op1 0, CRn 0 and these fields. Outside CRm 1 to 7 it is zero.
    pub fn get(&self, crm: u16, op2: u16) -> u64 {
        self.read(SysReg::new(3, 0, 0, crm, op2)).unwrap_or(0)
    }

    /// Returns the value of `register` if it is in the feature ID space, allocated or not.
    #[inline(always)]
    pub fn read(&self, register: SysReg) -> Option<u64> {
        self.registers.get(host::index(register)).copied()
    }

    /// Returns the feature register with op0 3, op1 0, CRn 0 and these fields, for CRm 1 to 7; `None` otherwise.
    #[inline(always)]
    pub fn feature(&self, crm: u64, op2: u64) -> Option<u64> {
        // CRm 0 wraps to beyond the table.
        let index = crm.wrapping_sub(1) << 3 | op2 & 7;
        self.registers.get(usize::try_from(index).unwrap_or(usize::MAX)).copied()
    }

    /// Tells whether the VM has the GIC's system registers.
    pub fn has_gic_registers(&self) -> bool {
        self.read(SysReg::ID_AA64PFR0_EL1).unwrap_or(0) >> 24 & 15 != 0
    }
}

#[cfg(test)]
pub(crate) mod tests;
