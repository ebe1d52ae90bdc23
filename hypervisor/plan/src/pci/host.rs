//! Host bridges, as the platform tree describes them.

use alloc::string::String;
use alloc::vec::Vec;

use assay_model::pci::Function;
use assay_spec::addr::{Pa, Region};
use assay_spec::intid::IntId;

use super::IdMap;

/// Bytes of configuration space for each bus (PCI Express Base Specification 4.0 §7.2.2).
pub(crate) const BUS_BYTES: u64 = 0x10_0000;

/// A PCI host bridge whose configuration space is memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EcamHost {
    /// Its node.
    pub path: String,
    /// `linux,pci-domain`, or the number that Linux would give it.
    pub segment: u32,
    /// The configuration space, of which bus `buses.0` is the first MiB.
    pub ecam: Region<Pa>,
    /// The first and the last bus number.
    pub buses: (u8, u8),
    /// The windows through which the CPUs reach the devices' memory.
    pub windows: Vec<PciWindow>,
    /// The functions that have nodes, with the nodes' paths.
    pub functions: Vec<(String, Function)>,
    /// `interrupt-map`, as far as it leads to the GIC: (bits of the unit address, pin, interrupt).
    pub interrupts: Vec<(u32, u32, IntId)>,
    /// `interrupt-map-mask`, of the unit address's first cell and of the pin.
    pub interrupt_mask: (u32, u32),
    /// `iommu-map`: what the SMMUs know the functions by.
    pub streams: IdMap,
    /// `msi-map`: what the ITSs know them by.
    pub msis: IdMap,
    /// `dma-coherent`: what functions access is what the CPUs' caches have.
    pub is_coherent: bool,
    /// Another bridge that claims what only one can have, and what that is: no function is looked for behind either.
    pub rival: Option<Rival>,
}

/// A host bridge that cannot be beside another by what the tree says of both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rival {
    /// Its node.
    pub path: String,
    /// What both claim.
    pub claims: &'static str,
}

impl EcamHost {
    /// Names what this bridge and `other` both claim and only one can have. Several bridges of one segment are fine: each has
    /// buses, configuration space and windows of its own.
    pub(crate) fn rivalry(&self, other: &Self) -> Option<&'static str> {
        let meet = |one: (u8, u8), other: (u8, u8)| one.0 <= other.1 && other.0 <= one.1;
        let mut windows = self.windows.iter();
        if self.segment == other.segment && meet(self.buses, other.buses) {
            Some("buses of one segment (linux,pci-domain, bus-range)")
        } else if self.used_ecam().overlaps(&other.used_ecam()) {
            Some("configuration space (reg)")
        } else if windows.any(|own| other.windows.iter().any(|window| own.region.overlaps(&window.region))) {
            Some("memory windows (ranges)")
        } else {
            None
        }
    }

    /// The configuration space of the bridge's buses: its `reg` may be longer.
    fn used_ecam(&self) -> Region<Pa> {
        Region { size: (u64::from(self.buses.1 - self.buses.0) + 1) * BUS_BYTES, ..self.ecam }
    }

    /// Returns what interrupt pin `pin` (1 is INTA) of a function on the first bus is wired to.
    pub fn intx(&self, function: Function, pin: u32) -> Option<IntId> {
        let (unit, number) = self.interrupt_mask;
        let wanted = (u32::from(function.0) << 8 & unit, pin & number);
        let mut interrupts = self.interrupts.iter();
        let found = interrupts.find(|(at, pin, _)| (at & unit, pin & number) == wanted);
        // Behind a bridge pins are turned by the device number, and the map is not about them.
        found.filter(|_| pin != 0 && function.bus() == self.buses.0).map(|(_, _, intid)| *intid)
    }
}

/// A memory window of a PCI host bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PciWindow {
    /// The window's address on the PCI bus.
    pub bus: u64,
    /// Where the CPUs see it.
    pub region: Region<Pa>,
    /// Whether it is of the 64-bit space; else the 32-bit one.
    pub wide: bool,
    /// Whether prefetchable memory may be placed there.
    pub prefetchable: bool,
}
