//! The interrupt controller's programming interface: register offsets, access widths and encodings.
//!
//! GICv3 is IHI 0069H, GICv2 is IHI 0048B. This is what both sides of the hypervisor agree on: `el2`
//! drives the physical controller by these offsets, `model` answers a guest by the same ones.

pub mod dist;
pub mod hyp;
pub mod redist;
pub mod sgi;

/// Which architecture a controller has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// GICv2 with the Virtualization Extensions: at most eight CPUs, SGIs know their sender.
    V2,
    /// GICv3 or GICv4: affinity routing, and one Security state as far as we see.
    V3,
}

/// Bits of a priority that every implementation of the virtual interface has: GICv2 List Registers
/// hold five bits (IHI 0048B §5.3.4), GICv3 has at least five (IHI 0069H §11.4.12, `ICH_VTR_EL2`).
pub const PRIORITY_MASK: u8 = 0xf8;
