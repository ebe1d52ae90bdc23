//! Claims of coherent regions: what the policy is asked about each, and what it answers.

use alloc::vec::Vec;

use super::place::Wanted;
use super::{Row, Trouble, VmClaims, World, devices, ground, naming, ram};
use crate::pci::Address;
use crate::platform::CoherentNode;
use crate::policy::regions::{Claimed, other_owner};
use crate::policy::{self, Attr, Claim, Denied, Facts, Fault, Kind, Proof, ProofAt, Rule};
use crate::space::Backing;
use crate::vm_tree::{CoherentClaim, VmConfig};

/// What is known of all regions, and the claims that are still to be resolved.
pub(super) struct Regions<'w, 'a> {
    world: &'w World<'a>,
    /// What is wrong with the place of each, by its index in the platform's list.
    faults: Vec<Option<Fault<'a>>>,
    /// Who claims what, in the order in which claims are resolved.
    claimed: Vec<Claimed<'a>>,
    next: usize,
}

impl<'w, 'a> Regions<'w, 'a> {
    pub(super) fn of(world: &'w World<'a>) -> Self {
        let of = |vm: &'a VmConfig| {
            let found =
                vm.coherent.iter().filter_map(|claim| naming::find(&world.machine.coherent, &claim.region).ok());
            found.map(move |region| Claimed { vm: &vm.name, region })
        };
        let claimed = world.vms.iter().flat_map(of).collect();
        Self { world, faults: ground::faults(world), claimed, next: 0 }
    }

    /// Adds the rows of a VM, the next in the VMs' order. Returns what places they want.
    pub(super) fn claim(&mut self, claims: &mut VmClaims<'a>) -> Vec<Wanted<'a>> {
        let mut wanted = Vec::new();
        for claim in &claims.config.coherent {
            match self.facts_of(claim) {
                Ok((node, facts)) => {
                    let fault = devices::fault(self.world, claims.config, claim);
                    claims.troubles.extend(fault.map(|fault| Trouble::device(claim, fault)));
                    // Two claims on one region are the policy's business.
                    let disturbed = devices::disturbed(self.world, claims.config, claim, node);
                    let disturbed = disturbed.filter(|_| facts.other_owner.is_none());
                    claims.troubles.extend(disturbed.map(|vm| Trouble::Disturbs { region: &claim.region, vm }));
                    let device = devices::of(self.world.machine, claim);
                    claims.rows.push(self.row(&facts, asked(claim, claims.config), node, device));
                    wanted.push(Wanted {
                        region: &claim.region,
                        size: node.size(),
                        ipa: claim.ipa,
                        is_bar: claim.device.is_some(),
                    });
                }
                Err(trouble) => claims.troubles.push(trouble),
            }
        }
        wanted
    }

    /// Returns what the policy wants to know of the region that the next claim names.
    pub(super) fn facts_of(&mut self, claim: &'a CoherentClaim) -> Result<(&'a CoherentNode, Facts<'a>), Trouble<'a>> {
        let nodes = &self.world.machine.coherent;
        let index = naming::find(nodes, &claim.region)?;
        let other_owner = other_owner(&self.claimed, self.next);
        self.next += 1;
        let facts = self.facts(index);
        // What the boot does not look at is decided on as if it were what the tree says.
        let proof = if claim.proof == ProofAt::Start { Proof::AtStart } else { facts.proof };
        Ok((&nodes[index], Facts { other_owner, proof, ..facts }))
    }

    fn facts(&self, index: usize) -> Facts<'a> {
        let machine = self.world.machine;
        let node = &machine.coherent[index];
        let no_mte_by = machine.denies_tags(node).filter(|_| !node.no_mte);
        Facts {
            marked: node.mte_capable,
            no_mte: node.no_mte || no_mte_by.is_some(),
            no_mte_by,
            uniform: machine.uniform_memory,
            proof: (self.world.proof)(&node.path),
            fault: self.faults[index],
            ..Facts::of(Kind::Coherent)
        }
    }

    fn row(&self, facts: &Facts<'a>, claim: Claim, node: &'a CoherentNode, device: Option<Address>) -> Row<'a> {
        let outcome = policy::decide(facts, ram::bits(self.world), claim);
        // What EL2 does not touch is not proved at the start either.
        let is_touched = outcome.as_ref().is_ok_and(|decision| decision.attr != Attr::DeviceNgnre);
        let proof = if facts.proof == Proof::AtStart && !is_touched { Proof::NotRun } else { facts.proof };
        Row {
            region: naming::label(&self.world.machine.coherent, node),
            nodes: [node.path.as_str()].into(),
            size: node.size(),
            claim,
            ipa: None,
            outcome,
            proof,
            backing: Backing::Coherent { node, device },
        }
    }
}

/// Turns a claim of a VM into the policy's question.
pub(super) fn asked(claim: &CoherentClaim, vm: &VmConfig) -> Claim {
    Claim { use_: claim.use_, exec: claim.exec, allow: claim.allow, vm_mte: vm.mte }
}

/// Returns the regions that nobody claims and nobody could (rule T1): the tree is wrong there, and whoever
/// claims one next is refused.
pub fn unclaimed_faults<'a>(world: &World<'a>) -> Vec<(&'a CoherentNode, Denied<'a>)> {
    let regions = Regions::of(world);
    let unclaimed = |index: &usize| regions.claimed.iter().all(|claim| claim.region != *index);
    let denied = |index: usize| {
        let denied = policy::decide(&regions.facts(index), world.bits, Claim::device(false)).err()?;
        (denied.rule == Rule::T1).then_some((&world.machine.coherent[index], denied))
    };
    (0..world.machine.coherent.len()).filter(unclaimed).filter_map(denied).collect()
}
