//! The nodes of a region between VMs: the memory, and the doorbell that goes with it.
//!
//! The memory has two names: ours, and that of Linux's `reserved-memory/xen,shared-memory.txt`, whose words mean the
//! same. The doorbell is described in `docs/bindings/assay,doorbell.yaml`.

use super::nodes::{at, put_bytes, put_cells, put_edge_spi, put_regions, put_texts, reserve};
use super::{GuestTreeError, add};
use crate::space::{Mapping, Share};
use alloc::vec::Vec;
use assay_model::layout;
use assay_spec::addr::{Ipa, Region};
use assay_spec::stage2_desc::Rights;
use dtoolkit::model::DeviceTreeNode;

/// The first region's phandle; the others' follow.
const PHANDLES: u32 = 0x100;

/// The nodes of all regions, as they are added: phandles, the doorbells' pages and their interrupts follow each other.
#[derive(Default)]
pub(super) struct Nodes {
    regions: u32,
    doorbells: usize,
}

impl Nodes {
    pub(super) fn add(
        &mut self,
        root: &mut DeviceTreeNode,
        mapping: &Mapping<'_>,
        share: &Share<'_>,
    ) -> Result<(), GuestTreeError> {
        let phandle = PHANDLES + self.regions;
        self.regions += 1;
        reserve(root, memory(mapping, phandle))?;
        if share.doorbell {
            add(root, doorbell(self.doorbells, phandle, share))?;
            self.doorbells += 1;
        }
        Ok(())
    }
}

fn memory(mapping: &Mapping<'_>, phandle: u32) -> DeviceTreeNode {
    let mut node = at(&mapping.name, mapping.ipa);
    let compatible = ["assay,shared-memory", "xen,shared-memory-v1"];
    put_texts(&mut node, "compatible", &compatible);
    put_regions(&mut node, &[mapping.ipa]);
    put_bytes(&mut node, "no-map", &[]);
    put_texts(&mut node, "xen,id", &[&mapping.name]);
    if mapping.decision.rights == Rights::ReadOnly {
        put_bytes(&mut node, "assay,read-only", &[]);
    }
    put_cells(&mut node, "phandle", &[phandle]);
    node
}

fn doorbell(index: usize, memory: u32, share: &Share<'_>) -> DeviceTreeNode {
    let registers =
        Region { start: Ipa(layout::DOORBELLS.0 + index as u64 * layout::DOORBELL_SIZE), size: layout::DOORBELL_SIZE };
    let mut node = at("doorbell", registers);
    put_texts(&mut node, "compatible", &["assay,doorbell"]);
    put_regions(&mut node, &[registers]);
    put_edge_spi(&mut node, layout::doorbell_intid(index));
    put_cells(&mut node, "memory-region", &[memory]);
    put_cells(&mut node, "assay,id", &[share.side.id.into()]);
    let peers = &share.peers;
    if !peers.is_empty() {
        let ids: Vec<u32> = peers.iter().map(|(id, _)| u32::from(*id)).collect();
        let names: Vec<&str> = peers.iter().map(|(_, name)| *name).collect();
        put_cells(&mut node, "assay,peers", &ids);
        put_texts(&mut node, "assay,peer-names", &names);
    }
    node
}
