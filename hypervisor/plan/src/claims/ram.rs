//! The decision on a VM's own RAM (rules M1 to M3), and what its proof means for all others.

use alloc::vec::Vec;

use assay_spec::addr::Region;

use super::{Row, World, naming};
use crate::policy::{self, Claim, CpuBits, Facts, Kind, Proof};
use crate::space::Backing;
use crate::vm_tree::VmConfig;

/// Decides on the RAM of one VM.
///
/// A VM with MTE gets RAM of nodes with tags only, so one such node is enough for M1; whether it is large enough
/// is not asked here. A VM without gets RAM of any node, so M1 is said only if all have tags: the two rules
/// give it the same memory.
pub(super) fn row<'a>(world: &World<'a>, vm: &VmConfig) -> Row<'a> {
    let (facts, nodes) = facts(world, vm.mte);
    let claim = Claim::ram(vm.mte);
    Row {
        region: naming::RAM,
        nodes,
        size: Some(vm.memory_bytes),
        claim,
        ipa: Region::new(vm.memory_ipa, vm.memory_bytes),
        // The refusal of RAM without tags is to say which is missing, the CPUs' part or the memory's.
        outcome: policy::decide(&facts, world.bits, claim),
        proof: facts.proof,
        backing: Backing::Ram,
    }
}

/// Collects what the policy wants to know about RAM that must have tags (`mte`) or need not, and the paths of the
/// memory nodes that it may come from, each once.
pub(super) fn facts<'a>(world: &World<'a>, mte: bool) -> (Facts<'a>, Vec<&'a str>) {
    let memory = &world.machine.memory;
    let no_mte = if mte { memory.iter().all(|node| node.no_mte) } else { memory.iter().any(|node| node.no_mte) };
    let mut nodes = Vec::new();
    for node in memory.iter().filter(|node| !(mte && node.no_mte)) {
        if !nodes.contains(&node.path.as_str()) {
            nodes.push(node.path.as_str());
        }
    }
    let facts = Facts { no_mte, proof: proof(world), ..Facts::of(Kind::Ram) };
    (facts, nodes)
}

/// What is known of RAM's tags as a whole: one node that fails is a machine that fails.
fn proof(world: &World<'_>) -> Proof {
    if !world.bits.mte() {
        return Proof::NotRun;
    }
    let capable = world.machine.memory.iter().filter(|node| !node.no_mte);
    let mut all: Option<Proof> = None;
    for found in capable.map(|node| (world.proof)(&node.path)) {
        all = Some(match (all, found) {
            (Some(Proof::FailedTags), _) | (_, Proof::FailedTags | Proof::FailedMemory) => Proof::FailedTags,
            (None | Some(Proof::Passed), Proof::Passed) => Proof::Passed,
            _ => Proof::NotRun,
        });
    }
    all.unwrap_or(Proof::NotRun)
}

/// Returns the CPUs' bits after RAM's proof: if its tags do not come back, the machine has none (H = 0).
pub(super) fn bits(world: &World<'_>) -> CpuBits {
    if proof(world) == Proof::FailedTags { world.bits.without_mte() } else { world.bits }
}
