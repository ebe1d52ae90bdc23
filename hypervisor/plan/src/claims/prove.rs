//! Which regions the boot has to prove, and which parts: only what a VM claims is touched at all.

use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::{World, ram, resolve};
use crate::platform::CoherentNode;
use crate::policy::{Attr, Rule, Use};

/// A region to probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ToProve<'a> {
    /// Its node.
    pub node: &'a CoherentNode,
    /// Where it is.
    pub region: Region<Pa>,
    /// The memory part: somebody claims it as `ram` or `dax`.
    pub memory: bool,
    /// The tag part: the tree says that it has tags, and the CPUs can look.
    pub tags: bool,
    /// The type that the claimant gets by what [`World::proof`] says so far; `None` if it is refused. With it
    /// the memory part is done. Ask again when the tag parts are done: a failure changes the type.
    pub attr: Option<Attr>,
}

/// Lists the regions to prove, each once. A region with a T1 fault is nothing to touch.
pub fn to_prove<'a>(world: &World<'a>) -> Vec<ToProve<'a>> {
    let has_tags = |node: &CoherentNode| {
        (node.mte_capable || world.machine.uniform_memory)
            && !node.no_mte
            && !super::ground::lies_in_memory_without_tags(world.machine, node)
    };
    let mte = ram::bits(world).mte();
    let mut all: Vec<ToProve<'a>> = Vec::new();
    for row in resolve(world).iter().flat_map(|vm| &vm.rows) {
        let is_unusable = matches!(row.outcome, Err(refusal) if refusal.rule == Rule::T1);
        let Some(region) = row.pa.filter(|_| !is_unusable) else {
            continue;
        };
        let attr = row.outcome.ok().map(|decision| decision.attr);
        // An aperture, too, once it is more than Device: EL2 clears it, and must not find out then that nothing
        // is there.
        let memory = row.use_ != Use::Aperture || attr.is_some_and(|attr| attr != Attr::DeviceNgnre);
        match all.iter_mut().find(|known| known.node == row.node) {
            Some(known) => {
                known.memory |= memory;
                known.attr = known.attr.or(attr);
            }
            None => all.push(ToProve { node: row.node, region, memory, tags: mte && has_tags(row.node), attr }),
        }
    }
    all.retain(|region| region.memory || region.tags);
    all
}
