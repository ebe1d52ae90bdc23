//! The nodes of a region between VMs: the memory, and the doorbell that goes with it.
//!
//! The memory has two names: ours, and that of Linux's `reserved-memory/xen,shared-memory.txt`, whose words mean the
//! same. The doorbell is described in `docs/bindings/assay,doorbell.yaml`.

use super::nodes::{at, put_bytes, put_cells, put_edge_spi, put_regions, put_texts, reserve};
use super::{GuestTreeError, Shared, add};
use alloc::vec::Vec;
use assay_model::layout;
use assay_spec::addr::{Ipa, Region};
use dtoolkit::model::DeviceTreeNode;

/// The first region's phandle; the others' follow.
const PHANDLES: u32 = 0x100;

/// Adds the nodes of all regions. The doorbells' pages and interrupts are handed out in their order.
pub(super) fn add_all(root: &mut DeviceTreeNode, shared: &[Shared<'_>]) -> Result<(), GuestTreeError> {
    let mut doorbells = 0;
    for (one, phandle) in shared.iter().zip(PHANDLES..) {
        reserve(root, memory(one, phandle))?;
        if let Some((id, peers)) = one.doorbell {
            add(root, doorbell(doorbells, phandle, id, peers))?;
            doorbells += 1;
        }
    }
    Ok(())
}

fn memory(one: &Shared<'_>, phandle: u32) -> DeviceTreeNode {
    let mut node = at(one.name, one.region);
    let compatible = ["assay,shared-memory", "xen,shared-memory-v1"];
    put_texts(&mut node, "compatible", &compatible);
    put_regions(&mut node, &[one.region]);
    put_bytes(&mut node, "no-map", &[]);
    put_texts(&mut node, "xen,id", &[one.name]);
    if one.read_only {
        put_bytes(&mut node, "assay,read-only", &[]);
    }
    put_cells(&mut node, "phandle", &[phandle]);
    node
}

fn doorbell(index: usize, memory: u32, id: u8, peers: &[(u8, &str)]) -> DeviceTreeNode {
    let registers =
        Region { start: Ipa(layout::DOORBELLS.0 + index as u64 * layout::DOORBELL_SIZE), size: layout::DOORBELL_SIZE };
    let mut node = at("doorbell", registers);
    put_texts(&mut node, "compatible", &["assay,doorbell"]);
    put_regions(&mut node, &[registers]);
    put_edge_spi(&mut node, layout::doorbell_intid(index));
    put_cells(&mut node, "memory-region", &[memory]);
    put_cells(&mut node, "assay,id", &[id.into()]);
    if !peers.is_empty() {
        let ids: Vec<u32> = peers.iter().map(|(id, _)| u32::from(*id)).collect();
        let names: Vec<&str> = peers.iter().map(|(_, name)| *name).collect();
        put_cells(&mut node, "assay,peers", &ids);
        put_texts(&mut node, "assay,peer-names", &names);
    }
    node
}
