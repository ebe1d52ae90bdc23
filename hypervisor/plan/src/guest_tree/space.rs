//! The nodes of a guest's memory, by one walk over its address space.

use super::nodes::{APERTURE_PHANDLE, at, memory, put_bytes, put_cells, put_numa, put_regions, put_texts, reserve};
use super::{GuestTree, GuestTreeError, add, shared};
use crate::policy::Use;
use crate::space::{Backing, Mapping};
use assay_spec::addr::{Ipa, Region};
use dtoolkit::model::DeviceTreeNode;

/// Adds the nodes of all memory. What is a device's is described with the device.
pub(super) fn add_all(root: &mut DeviceTreeNode, guest: &GuestTree<'_>) -> Result<(), GuestTreeError> {
    let mut shared = shared::Nodes::default();
    for mapping in guest.space {
        match &mapping.backing {
            Backing::Ram => add(root, memory(mapping.ipa, guest.numa(), false))?,
            Backing::Coherent { node, .. } => coherent(root, guest, mapping, node.numa)?,
            Backing::Shared(share) => shared.add(root, mapping, share)?,
            Backing::Flash(flash) if flash.cfi => add(root, flash_node(mapping.ipa))?,
            Backing::Flash(_) => {}
            Backing::Lent(vm) => {
                let mut node = dax(mapping.ipa, None);
                put_texts(&mut node, "label", &[&vm.name]);
                add(root, node)?;
            }
            Backing::Registers(_) | Backing::Interface(_) | Backing::StolenTime => {}
        }
    }
    Ok(())
}

fn coherent(
    root: &mut DeviceTreeNode,
    guest: &GuestTree<'_>,
    mapping: &Mapping<'_>,
    numa: Option<u32>,
) -> Result<(), GuestTreeError> {
    match mapping.use_ {
        Use::Ram => add(root, memory(mapping.ipa, numa, true)),
        Use::Dax => {
            add(root, dax(mapping.ipa, numa))?;
            // Linux knows a NUMA node by its CPUs and memory nodes only (drivers/of/of_numa.c), and kmem
            // takes no memory of another: an empty memory node makes it known.
            let is_ram = |other: &&Mapping<'_>| other.use_ == Use::Ram;
            let mut ram = guest.space.iter().filter(is_ram).filter_map(Mapping::coherent);
            if numa.is_some() && !ram.any(|other| other.numa == numa) {
                add(root, memory(Region { size: 0, ..mapping.ipa }, numa, false))?;
            }
            Ok(())
        }
        // The policy shares no coherent region (T2).
        Use::Aperture | Use::Shared(_) | Use::Flash(_) => {
            let mut node = at(&mapping.name, mapping.ipa);
            put_regions(&mut node, &[mapping.ipa]);
            put_bytes(&mut node, "no-map", &[]);
            if guest.functions.iter().any(|function| function.region == Some(mapping.ipa)) {
                put_cells(&mut node, "phandle", &[APERTURE_PHANDLE]);
            }
            reserve(root, node)
        }
    }
}

/// Two chips of 16 bits side by side, as firmware for QEMU's `virt` has them.
fn flash_node(region: Region<Ipa>) -> DeviceTreeNode {
    let mut node = at("flash", region);
    put_texts(&mut node, "compatible", &["cfi-flash"]);
    put_regions(&mut node, &[region]);
    put_cells(&mut node, "bank-width", &[4]);
    node
}

fn dax(region: Region<Ipa>, numa: Option<u32>) -> DeviceTreeNode {
    let mut node = at("pmem", region);
    put_texts(&mut node, "compatible", &["pmem-region"]);
    put_regions(&mut node, &[region]);
    put_bytes(&mut node, "volatile", &[]);
    put_numa(&mut node, numa);
    node
}
