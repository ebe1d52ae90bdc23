//! Which regions are PCI functions' BARs that EL2 has to find before anything can be decided about them.

use alloc::vec::Vec;

use super::naming;
use crate::platform::HostPlatform;
use crate::vm_tree::VmConfig;

/// Returns the indices in [`HostPlatform::coherent`] of the BARs that a VM claims, each once. What nobody claims is
/// not touched.
pub fn claimed_bars(machine: &HostPlatform, vms: &[VmConfig]) -> Vec<usize> {
    let nodes = &machine.coherent;
    let mut bars = Vec::new();
    for claim in vms.iter().flat_map(|vm| &vm.coherent) {
        let found = naming::find(nodes, &claim.region).ok();
        let is_bar = |index: &usize| nodes.get(*index).is_some_and(|node| node.pci_bar.is_some());
        if let Some(index) = found.filter(is_bar)
            && !bars.contains(&index)
        {
            bars.push(index);
        }
    }
    bars
}
