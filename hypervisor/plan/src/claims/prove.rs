//! Which regions the boot has to prove, and which parts: only what a VM claims is touched at all.

use alloc::vec::Vec;
use core::ptr;

use assay_spec::addr::{Pa, Region};

use super::{World, coherent, naming, ram};
use crate::platform::CoherentNode;
use crate::policy::{self, Attr, Claim, CpuBits, Facts, Proof, ProofAt, Rule};
use crate::vm_tree::CoherentClaim;

/// A region to probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ToProve<'a> {
    /// Its node.
    pub node: &'a CoherentNode,
    /// Where it is.
    pub region: Region<Pa>,
    /// The tag part: the tree says that it has tags, and the CPUs can look.
    pub tags: bool,
    facts: Facts<'a>,
    bits: CpuBits,
    claim: Claim,
}

impl ToProve<'_> {
    /// The memory part: the type that the claimant gets when the tag part has shown `tags`; `None` if it is refused,
    /// or gets nothing that EL2 touches.
    pub fn memory_as(&self, tags: Proof) -> Option<Attr> {
        let decision = policy::decide(&Facts { proof: tags, ..self.facts }, self.bits, self.claim).ok()?;
        // An aperture, too, once it is more than Device: EL2 clears it, and must not find out then that nothing
        // is there.
        Some(decision.attr).filter(|attr| *attr != Attr::DeviceNgnre)
    }
}

/// Lists the regions to prove at the boot, each once. A region with a T1 fault is nothing to touch, nor is one that a VM has
/// proved at its start.
pub fn to_prove<'a>(world: &World<'a>) -> Vec<ToProve<'a>> {
    let bits = ram::bits(world);
    let mut regions = coherent::Regions::of(world);
    let mut all: Vec<ToProve<'a>> = Vec::new();
    for (vm, claim) in world.vms.iter().flat_map(|vm| vm.coherent.iter().map(move |claim| (vm, claim))) {
        let Ok((node, facts)) = regions.facts_of(claim) else {
            continue;
        };
        let claim = coherent::asked(claim, vm);
        let is_unusable = policy::decide(&facts, bits, claim).is_err_and(|denied| denied.rule == Rule::T1);
        let Some(region) = node.region().filter(|_| !is_unusable) else {
            continue;
        };
        let tags = bits.mte() && (facts.marked || facts.uniform) && !facts.no_mte;
        // Who claims what another claims too is refused: one claim tells the type, or that there is none.
        let found = ToProve { node, region, tags, facts, bits, claim };
        let is_new = !all.iter().any(|known| ptr::eq(known.node, node));
        if is_new && (tags || found.memory_as(facts.proof).is_some()) {
            all.push(found);
        }
    }
    let claims = || world.vms.iter().flat_map(|vm| &vm.coherent);
    let named =
        |claim: &CoherentClaim| world.machine.coherent.get(naming::find(&world.machine.coherent, &claim.region).ok()?);
    let is = |claim, node| named(claim).is_some_and(|named| ptr::eq(named, node));
    let later = |node| claims().any(|claim| claim.proof == ProofAt::Start && is(claim, node));
    all.retain(|found| !later(found.node));
    all
}
