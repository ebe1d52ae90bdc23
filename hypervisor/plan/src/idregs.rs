//! The feature ID registers that a guest reads, computed from those of the host (DDI0487 D24.2).
//!
//! EL2 sets `HCR_EL2.TID3`, so a guest sees [`GuestId`] and never the host's values. It is an allow-list: a field
//! that no row of `offer` names reads as zero, which for nearly every field means "not implemented". What a
//! field promises is made true by the trap configuration in [`crate::traps`], which is computed from the same
//! two inputs. Not here: MIDR_EL1 and MPIDR_EL1 (VPIDR_EL2, VMPIDR_EL2), and the cache registers, which pass.

use assay_model::idregs::GuestId;
use assay_model::inject::PstateBits;

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
    /// The performance monitors.
    pub pmu: bool,
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
            pmu: self.pmu && host.pmu_version() != 0,
            gic_v3: self.gic_v3,
        }
    }
}

/// Computes what a VM with `features` reads on a machine whose CPUs have at least `host`.
pub fn guest_id(host: &HostId, features: VmFeatures) -> GuestId {
    GuestId::new(offer::registers(host, features.limited_to(host)))
}

/// Returns which bits of PSTATE the machine has, as far as taking an exception concerns them.
pub const fn pstate_bits(host: &HostId) -> PstateBits {
    PstateBits { pan: host.pan(), ssbs: host.ssbs(), tco: host.mte() }
}

#[cfg(test)]
pub(crate) mod tests;
