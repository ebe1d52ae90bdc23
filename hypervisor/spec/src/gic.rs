//! The interrupt controller's programming interface: register offsets, access widths and encodings.
//!
//! GICv3 is IHI 0069H, GICv2 is IHI 0048B. This is what both sides of the hypervisor agree on: `el2`
//! drives the physical controller by these offsets, `model` answers a guest by the same ones.

pub mod dist;
pub mod hyp;
pub mod its;
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

/// Tells by `GICC_IIDR` at both ends of a 64 KiB page whether it shows one page of a GICv2's CPU interface over and over:
/// both are there (ArchitectureID 2), and of the same designer. A read that aborted is all ones.
pub fn is_repeated(first: u32, last: u32) -> bool {
    first >> 16 & 0xf == 2 && (first ^ last) & 0xf_0fff == 0
}

/// Bits of a priority that every implementation of the virtual interface has: GICv2 List Registers
/// hold five bits (IHI 0048B §5.3.4), GICv3 has at least five (IHI 0069H §11.4.12, `ICH_VTR_EL2`).
pub const PRIORITY_MASK: u8 = 0xf8;

#[cfg(test)]
mod tests {
    use super::is_repeated;

    #[test]
    fn a_page_is_repeated_where_both_ends_show_the_same_interface() {
        assert!(is_repeated(0x0202_143b, 0x0202_143b));
        // Revisions may differ, architecture and designer not.
        assert!(is_repeated(0x0202_143b, 0x0202_243b));
        for last in [0, u32::MAX, 0x0201_143b, 0x0202_143c] {
            assert!(!is_repeated(0x0202_143b, last), "{last:#x}");
        }
        for same in [0, u32::MAX, 0x0201_143b] {
            assert!(!is_repeated(same, same), "{same:#x}");
        }
    }
}
