//! Memory between VMs: who shares what with whom, and what the policy says to each side.
//!
//! A region is all claims of one name. It is RAM that no VM has as its own; each side is decided on by itself, as
//! for the VM's RAM (rules M1 to M3), and what one side is refused is no fault of the others.

use alloc::vec::Vec;

use assay_model::doorbell::{SIDES_MAX, Side};
use assay_spec::addr::{Ipa, Region};
use assay_spec::stage2_desc::Rights;

use super::place::Wanted;
use super::{Trouble, World, ram};
use crate::policy::{self, Claim, Decision, Proof, Refusal, Rule};
use crate::vm_tree::{SharedClaim, VmConfig};
use assay_model::layout::DOORBELLS_MAX;

/// One VM's claim of a region, and what became of it.
#[derive(Clone, Debug)]
pub struct SharedRow<'a> {
    /// The region's name.
    pub region: &'a str,
    /// Which part of it this is.
    pub side: Side,
    /// The region's length in bytes.
    pub size: u64,
    /// What the policy was asked.
    pub claim: Claim,
    /// The paths of the memory nodes that it may come from, each once.
    pub nodes: Vec<&'a str>,
    /// Where the guest finds it; `None` if there is no place (a [`Trouble`] says so).
    pub ipa: Option<Region<Ipa>>,
    /// What the policy answered.
    pub outcome: Result<Decision, Refusal<'a>>,
    /// The proof that it was told.
    pub proof: Proof,
    /// Whether the region has to come from memory with tags, since some side may reach them.
    pub tagged: bool,
    /// Whether the VM can ring and be rung.
    pub doorbell: bool,
    /// The other sides with a doorbell: number and VM.
    pub peers: Vec<(u8, &'a str)>,
    wants: Option<Ipa>,
}

impl<'a> SharedRow<'a> {
    /// Returns where and how the region may be mapped, if the claim is granted.
    pub fn granted(&self) -> Option<(Region<Ipa>, Decision)> {
        self.ipa.zip(self.outcome.ok())
    }

    pub(super) fn wanted(&self) -> Wanted<'a> {
        Wanted { region: self.region, size: Some(self.size), ipa: self.wants, is_bar: false }
    }
}

/// One VM's part in a region, with its place among the VMs.
#[derive(Clone, Copy)]
struct Member<'a> {
    vm: usize,
    config: &'a VmConfig,
    claim: &'a SharedClaim,
}

/// Lists all claims of a region, one for each VM, in the order of the VMs.
fn members<'a>(world: &World<'a>, region: &str) -> Vec<Member<'a>> {
    let of = |(vm, config): (usize, &'a VmConfig)| {
        let claim = config.shared.iter().find(|claim| claim.region == region)?;
        Some(Member { vm, config, claim })
    };
    world.vms.iter().enumerate().filter_map(of).collect()
}

/// Lists the regions' names by first claim.
fn regions<'a>(world: &World<'a>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for claim in world.vms.iter().flat_map(|vm| &vm.shared) {
        if !names.contains(&claim.region.as_str()) {
            names.push(claim.region.as_str());
        }
    }
    names
}

/// Resolves one VM's claims; places come later.
pub(super) fn rows<'a>(
    world: &World<'a>,
    vm: usize,
    config: &'a VmConfig,
    troubles: &mut Vec<Trouble<'a>>,
) -> Vec<SharedRow<'a>> {
    let names = regions(world);
    let mut rows: Vec<SharedRow<'a>> = Vec::new();
    let mut doorbells = 0;
    for claim in &config.shared {
        let region = claim.region.as_str();
        if rows.iter().any(|row| row.region == region) {
            troubles.push(Trouble::SharedTwice { region });
            continue;
        }
        let members = members(world, region);
        let at = members.iter().position(|member| member.vm == vm);
        let number = names.iter().position(|name| *name == region);
        let Some((at, number)) = at.zip(number) else {
            continue;
        };
        doorbells += usize::from(claim.doorbell);
        troubles.extend(size_differs(claim, &members));
        if at >= SIDES_MAX {
            troubles.push(Trouble::TooManySides { region });
        }
        if claim.doorbell && doorbells > DOORBELLS_MAX {
            troubles.push(Trouble::TooManyDoorbells { region });
        }
        let side = Side { region: number, id: u8::try_from(at).unwrap_or(u8::MAX) };
        rows.push(row(world, claim, config.mte, side, &members));
    }
    rows
}

fn size_differs<'a>(claim: &'a SharedClaim, members: &[Member<'a>]) -> Option<Trouble<'a>> {
    let other = members.iter().find(|member| member.claim.size != claim.size)?;
    Some(Trouble::SharedSize {
        region: &claim.region,
        size: claim.size,
        vm: &other.config.name,
        other: other.claim.size,
    })
}

fn row<'a>(
    world: &World<'a>,
    claim: &'a SharedClaim,
    vm_mte: bool,
    side: Side,
    members: &[Member<'a>],
) -> SharedRow<'a> {
    let rights = if claim.read_only { Rights::ReadOnly } else { Rights::ReadWrite };
    let asked = Claim::shared(rights, vm_mte);
    // All sides see the same memory: if one of them may use tags, it is memory with tags for everyone.
    let some_mte = members.iter().any(|member| member.config.mte);
    let (facts, nodes) = ram::facts(world, some_mte);
    let outcome = policy::decide(&facts, world.bits, asked);
    let has_tags = outcome.is_ok_and(|decision| decision.rule == Rule::M1);
    let numbered = members.iter().enumerate();
    let numbered = numbered.filter_map(|(at, member)| Some((u8::try_from(at).ok()?, member)));
    let with_bell = numbered.filter(|(id, member)| member.claim.doorbell && *id != side.id);
    SharedRow {
        region: &claim.region,
        side,
        size: claim.size,
        claim: asked,
        nodes,
        ipa: None,
        outcome,
        proof: facts.proof,
        tagged: some_mte && has_tags,
        doorbell: claim.doorbell,
        peers: with_bell.map(|(id, member)| (id, member.config.name.as_str())).collect(),
        wants: claim.ipa,
    }
}

/// Returns the regions that only one VM has part in, and that VM: memory between it and nobody.
pub fn shared_by_one<'a>(world: &World<'a>) -> Vec<(&'a str, &'a str)> {
    let alone = |region: &'a str| match members(world, region).as_slice() {
        [one] => Some((region, one.config.name.as_str())),
        _ => None,
    };
    regions(world).into_iter().filter_map(alone).collect()
}
