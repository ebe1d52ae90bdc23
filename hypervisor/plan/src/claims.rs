//! From the VMs' claims of coherent and of shared memory to decisions: names looked up, places checked, the policy
//! asked.
//!
//! One pure function of the platform, the VM tree, the CPUs and the boot's proof. EL2 maps what it returns
//! and `explain` prints it, so the two cannot differ. It maps, probes and prints nothing.

use alloc::vec::Vec;

use assay_spec::addr::{Ipa, Pa, Region};

use crate::pci::Address;
use crate::platform::{CoherentNode, HostPlatform};
use crate::policy::regions::{Claimed, Occupied, other_owner};
use crate::policy::{self, Claim, CpuBits, Decision, Facts, Kind, Proof, Refusal, Rule, Use};
use crate::vm_tree::VmConfig;

mod bars;
mod devices;
mod ground;
mod naming;
mod place;
mod prove;
mod ram;
mod shared;
#[cfg(test)]
mod tests;
mod trouble;
mod words;

pub use bars::claimed_bars;
pub use devices::{claimed_functions, found_function};
pub use prove::{ToProve, to_prove};
pub use ram::{RamRow, ram};
pub use shared::{SharedRow, shared_by_one};
pub use trouble::{Holder, Trouble};

/// All that decisions depend on.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The platform, overlays included.
    pub machine: &'a HostPlatform,
    /// The VMs that can be tried.
    pub vms: &'a [VmConfig],
    /// What every CPU can do, as the ID registers have it: what RAM's proof takes away is taken away here.
    pub bits: CpuBits,
    /// Bits of a physical address, the minimum of all CPUs.
    pub pa_bits: u8,
    /// Memory that is in no reservation of the platform's and yet nobody's: Assay's image, the bundle.
    pub occupied: &'a [Occupied<'a>],
    /// What the boot's proof found, by the path of a coherent or a memory node.
    pub proof: &'a dyn Fn(&str) -> Proof,
}

/// One claim of a region that exists, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The region's node.
    pub node: &'a CoherentNode,
    /// The region's name as it is printed: its path where two nodes have one name.
    pub region: &'a str,
    /// Where it is; `None` if its node does not say (then it is refused), or if it is a BAR that nobody has looked
    /// for: on the host.
    pub pa: Option<Region<Pa>>,
    /// What the policy was asked.
    pub claim: Claim,
    /// As what the guest finds it.
    pub use_: Use,
    /// Where the guest finds it; `None` if its length is not known, or if there is no place (a [`Trouble`] says so).
    pub ipa: Option<Region<Ipa>>,
    /// What the policy answered.
    pub outcome: Result<Decision, Refusal<'a>>,
    /// The proof that it was told.
    pub proof: Proof,
    /// The PCI function that goes with it.
    pub device: Option<Address>,
}

/// What may be mapped: a claim that the policy grants and that has a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The memory.
    pub pa: Region<Pa>,
    /// Where the guest finds it; as long as `pa`.
    pub ipa: Region<Ipa>,
    /// How.
    pub decision: Decision,
}

impl Row<'_> {
    /// Returns what may be mapped, if the claim is granted.
    pub fn granted(&self) -> Option<Grant> {
        let (pa, ipa) = self.pa.zip(self.ipa)?;
        let decision = self.outcome.ok()?;
        Some(Grant { pa, ipa, decision })
    }
}

/// The claims of one VM.
#[derive(Debug)]
pub struct VmClaims<'a> {
    /// The VM's index in [`World::vms`].
    pub vm: usize,
    /// The claims of regions that exist, in the manifest's order.
    pub rows: Vec<Row<'a>>,
    /// The regions that it shares with other VMs, in the manifest's order.
    pub shared: Vec<SharedRow<'a>>,
    /// What is wrong with claims beside the policy's answer.
    pub troubles: Vec<Trouble<'a>>,
}

impl VmClaims<'_> {
    /// Tells whether the VM gets all that it claims. If not, it does not start.
    pub fn starts(&self) -> bool {
        // What nobody has looked for counts as found: at EL2 that is nothing that is claimed.
        let is_had = |row: &Row<'_>| row.outcome.is_ok() && row.ipa.is_some();
        self.troubles.is_empty()
            && self.rows.iter().all(is_had)
            && self.shared.iter().all(|row| row.granted().is_some())
    }
}

/// Resolves the claims of all VMs; one element for each, in their order.
pub fn resolve<'a>(world: &World<'a>) -> Vec<VmClaims<'a>> {
    let nodes = &world.machine.coherent;
    let faults = ground::faults(world);
    let claimed = claimed(world);
    let mut next = 0;
    let mut all = Vec::new();
    for (vm, config) in world.vms.iter().enumerate() {
        let mut rows = Vec::new();
        let mut troubles = Vec::new();
        let mut wanted = Vec::new();
        let mut asked = Vec::new();
        for claim in &config.coherent {
            let index = match naming::find(nodes, &claim.region) {
                Ok(index) => index,
                Err(trouble) => {
                    troubles.push(trouble);
                    continue;
                }
            };
            let owner = other_owner(&claimed, next);
            next += 1;
            let Some(node) = nodes.get(index) else {
                continue;
            };
            let device = devices::fault(world, config, claim);
            troubles.extend(device.map(|fault| Trouble::device(claim, fault)));
            let mut facts = facts(world, node, faults.get(index).copied().flatten());
            facts.other_owner = owner;
            rows.push(Row {
                device: devices::of(world.machine, claim),
                ..row(world, node, facts, words::claim(claim, config.mte))
            });
            asked.push(claim);
            wanted.push(place::Wanted {
                region: &claim.region,
                size: node.size(),
                ipa: claim.ipa,
                is_bar: claim.device.is_some(),
            });
        }
        let mut shared = shared::rows(world, vm, config, &mut troubles);
        wanted.extend(shared.iter().map(SharedRow::wanted));
        let places = place::all(config, world.pa_bits, &wanted);
        let ipas = rows.iter_mut().map(|row| &mut row.ipa);
        let ipas = ipas.chain(shared.iter_mut().map(|row| &mut row.ipa));
        for (found, place) in ipas.zip(places) {
            match place {
                Ok(ipa) => *found = ipa,
                Err(trouble) => troubles.push(trouble),
            }
        }
        for (row, claim) in rows.iter().zip(&asked) {
            let misfit = devices::misfit(world.machine, row);
            troubles.extend(misfit.map(|fault| Trouble::device(claim, fault)));
        }
        all.push(VmClaims { vm, rows, shared, troubles });
    }
    all
}

/// Lists who claims what, in the order in which claims are resolved.
fn claimed<'a>(world: &World<'a>) -> Vec<Claimed<'a>> {
    let of = |vm: &'a VmConfig| {
        let found = vm.coherent.iter().filter_map(|claim| naming::find(&world.machine.coherent, &claim.region).ok());
        found.map(move |region| Claimed { vm: &vm.name, region })
    };
    world.vms.iter().flat_map(of).collect()
}

/// Collects what the policy wants to know about a region.
fn facts<'a>(world: &World<'a>, node: &CoherentNode, fault: Option<policy::Fault<'a>>) -> Facts<'a> {
    Facts {
        marked: node.mte_capable,
        no_mte: node.no_mte || ground::lies_in_memory_without_tags(world.machine, node),
        uniform: world.machine.uniform_memory,
        proof: (world.proof)(&node.path),
        fault,
        ..Facts::of(Kind::Coherent)
    }
}

fn row<'a>(world: &World<'a>, node: &'a CoherentNode, facts: Facts<'a>, claim: Claim) -> Row<'a> {
    Row {
        node,
        region: naming::label(&world.machine.coherent, node),
        pa: node.region(),
        claim,
        use_: claim.use_,
        ipa: None,
        outcome: policy::decide(&facts, ram::bits(world), claim),
        proof: facts.proof,
        device: None,
    }
}

/// Returns the regions that nobody claims and nobody could (rule T1): the tree is wrong there, and whoever
/// claims one next is refused.
pub fn unclaimed_faults<'a>(world: &World<'a>) -> Vec<(&'a CoherentNode, Refusal<'a>)> {
    let claimed = claimed(world);
    let faults = ground::faults(world);
    let refusal = |(index, node): (usize, &'a CoherentNode)| {
        if claimed.iter().any(|claim| claim.region == index) {
            return None;
        }
        let facts = facts(world, node, faults.get(index).copied().flatten());
        let answer = policy::decide(&facts, world.bits, Claim::device(false));
        let refusal = answer.err()?;
        (refusal.rule == Rule::T1).then_some((node, refusal))
    };
    let nodes = world.machine.coherent.iter().enumerate();
    nodes.filter_map(refusal).collect()
}

/// Returns the regions without `no-map`. Assay never maps them as RAM; whatever else boots from the same tree
/// may, and may speculate into memory whose device is not ready.
pub fn without_no_map(machine: &HostPlatform) -> impl Iterator<Item = &CoherentNode> {
    machine.coherent.iter().filter(|node| !node.no_map)
}
