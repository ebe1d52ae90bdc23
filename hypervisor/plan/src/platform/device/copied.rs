//! Which properties of a device's node a guest's tree repeats: those that mean something by themselves.
//!
//! What leads to another node of the machine leads nowhere in a guest, and is left out. A binding's own property that holds
//! a phandle looks like a number: of those only the common ones are known.

use alloc::string::String;
use alloc::vec::Vec;

use crate::gate::Node;

/// Written anew, or of no meaning without what is left out.
const LEFT_OUT: &[&str] = &[
    "#address-cells",
    "#size-cells",
    "access-controllers",
    "assigned-clock-parents",
    "assigned-clock-rates",
    "assigned-clocks",
    "clocks",
    "compatible",
    "cooling-device",
    "dma-coherent",
    "dma-names",
    "dma-noncoherent",
    "dma-ranges",
    "dmas",
    "gpio-ranges",
    "gpios",
    "hwlocks",
    "interconnect-names",
    "interconnects",
    "interrupt-affinity",
    "interrupt-map",
    "interrupt-map-mask",
    "interrupt-parent",
    "interrupts",
    "interrupts-extended",
    "io-channel-names",
    "io-channels",
    "iommu-map",
    "iommu-map-mask",
    "iommus",
    "linux,phandle",
    "mbox-names",
    "mboxes",
    "memory-region",
    "memory-region-names",
    "msi-map",
    "msi-map-mask",
    "msi-parent",
    "name",
    "nvmem-cell-names",
    "nvmem-cells",
    "operating-points-v2",
    "phandle",
    "phy",
    "phy-names",
    "phys",
    "power-domain-names",
    "power-domains",
    "pwms",
    "ranges",
    "reg",
    "reset-names",
    "resets",
    "status",
    "thermal-sensors",
];
const STARTS: [&str; 2] = ["assay,", "pinctrl-"];
const ENDS: [&str; 6] = ["-gpio", "-gpios", "-handle", "-parent", "-supply", "-syscon"];
/// The most bytes of all values together.
const MOST: usize = 4096;

/// Lists names and values of what is repeated.
pub(super) fn of(node: Node<'_, '_>) -> Vec<(String, Vec<u8>)> {
    let mut bytes = 0;
    let mut all = [(String::from("compatible"), node.compatible().to_vec())].to_vec();
    for (name, value) in node.properties().filter(|(name, _)| is_copied(name)) {
        bytes += name.len() + value.len();
        if bytes > MOST {
            break;
        }
        all.push((name.into(), value.to_vec()));
    }
    all
}

fn is_copied(name: &str) -> bool {
    let is_left_out = LEFT_OUT.contains(&name)
        || STARTS.iter().any(|start| name.starts_with(start))
        || ENDS.iter().any(|end| name.ends_with(end));
    !is_left_out
}
