//! The PCI host bridge that a guest finds, with its functions.
//!
//! (IEEE 1275 PCI Bus Binding; `pci-host-ecam-generic`; Devicetree Specification 0.4 §2.4.3 for `interrupt-map`.)

use alloc::format;
use alloc::vec::Vec;

use assay_spec::intid::IntId;
use dtoolkit::model::DeviceTreeNode;

use super::PciFunction;
use super::nodes::{
    APERTURE_PHANDLE, GIC_PHANDLE, LEVEL_HIGH, SPI, V2M_PHANDLE, at, named, put_cells, put_regions, put_texts, words,
};
use assay_model::layout;
use assay_model::pci::{GuestBar, guest_function};

/// phys.hi of a range: 32-bit memory, 64-bit memory, and prefetchable.
const MEMORY_32: u32 = 0x0200_0000;
const MEMORY_64: u32 = 0x0300_0000;
const PREFETCHABLE: u32 = 0x4000_0000;

pub(super) fn host_bridge(functions: &[PciFunction]) -> DeviceTreeNode {
    let mut node = at("pcie", layout::PCI_CONFIG);
    put_texts(&mut node, "compatible", &["pci-host-ecam-generic"]);
    put_texts(&mut node, "device_type", &["pci"]);
    put_regions(&mut node, &[layout::PCI_CONFIG]);
    put_cells(&mut node, "bus-range", &[0, 0]);
    put_cells(&mut node, "linux,pci-domain", &[0]);
    put_cells(&mut node, "#address-cells", &[3]);
    put_cells(&mut node, "#size-cells", &[2]);
    put_cells(&mut node, "#interrupt-cells", &[1]);
    if functions.iter().all(|function| function.is_coherent) {
        put_cells(&mut node, "dma-coherent", &[]);
    }
    let has_messages = functions.iter().any(|function| function.has_messages);
    if has_messages {
        put_cells(&mut node, "msi-parent", &[V2M_PHANDLE]);
    }
    let registers = layout::PCI_MEMORY;
    let mut ranges = range(MEMORY_32, registers.start.0, registers.size);
    for bar in functions.iter().filter_map(|function| function.window) {
        ranges.extend(range(space(&bar), bar.address, bar.size));
    }
    put_cells(&mut node, "ranges", &ranges);
    let mut map = Vec::new();
    for (index, function) in (0..).zip(functions) {
        let unit = u32::from(guest_function(index).0) << 8;
        if let Some(intid) = function.interrupt {
            map.extend([unit, 0, 0, 1, GIC_PHANDLE]);
            // The GIC's unit address, of which no one asks: it has cells only for the frame below.
            map.extend([0, 0].iter().filter(|_| has_messages));
            map.extend([SPI, intid.0 - IntId::SPI_BASE, LEVEL_HIGH]);
        }
        let mut device = named(format!("device@{:x},0", guest_function(index).device()));
        put_cells(&mut device, "reg", &[unit, 0, 0, 0, 0]);
        if let Some(label) = &function.label {
            put_texts(&mut device, "label", &[label]);
        }
        if function.region.is_some() {
            put_cells(&mut device, "memory-region", &[APERTURE_PHANDLE]);
        }
        node.add_child(device);
    }
    if !map.is_empty() {
        put_cells(&mut node, "interrupt-map-mask", &[0xf800, 0, 0, 7]);
        put_cells(&mut node, "interrupt-map", &map);
    }
    node
}

/// One entry of `ranges`: bus addresses are the guest's own.
fn range(space: u32, start: u64, size: u64) -> Vec<u32> {
    let [upper, lower] = words(start);
    let [size_upper, size_lower] = words(size);
    [space, upper, lower, upper, lower, size_upper, size_lower].to_vec()
}

fn space(bar: &GuestBar) -> u32 {
    let (wide, prefetchable) = bar.bar.memory().unwrap_or_default();
    let width = if wide { MEMORY_64 } else { MEMORY_32 };
    width | if prefetchable { PREFETCHABLE } else { 0 }
}
