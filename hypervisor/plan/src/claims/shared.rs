//! Memory between VMs: who shares what with whom, and what the policy says to each side.
//!
//! A region is all claims of one name. It is RAM that no VM has as its own; each side is decided on by itself, as
//! for the VM's RAM (rules M1 to M3), and what one side is refused is no fault of the others.

use alloc::vec::Vec;

use assay_model::doorbell::{SIDES_MAX, Side};
use assay_spec::stage2_desc::Rights;

use super::place::Wanted;
use super::{Row, Trouble, VmClaims, World, ram};
use crate::policy::{self, Claim, Rule};
use crate::space::{Backing, Share};
use crate::vm_tree::{SharedClaim, VmConfig};
use assay_model::layout::DOORBELLS_MAX;

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

/// Adds the rows of a VM. Returns what places they want.
pub(super) fn claim<'a>(world: &World<'a>, claims: &mut VmClaims<'a>) -> Vec<Wanted<'a>> {
    let names = regions(world);
    let mut wanted: Vec<Wanted<'a>> = Vec::new();
    let mut doorbells = 0;
    for claim in &claims.config.shared {
        let region = claim.region.as_str();
        if wanted.iter().any(|earlier| earlier.region == region) {
            claims.troubles.push(Trouble::SharedTwice { region });
            continue;
        }
        let members = members(world, region);
        let at = members.iter().position(|member| member.vm == claims.vm);
        let number = names.iter().position(|name| *name == region);
        let Some((at, number)) = at.zip(number) else {
            continue;
        };
        doorbells += usize::from(claim.doorbell);
        claims.troubles.extend(size_differs(claim, &members));
        if at >= SIDES_MAX {
            claims.troubles.push(Trouble::TooManySides { region });
        }
        if claim.doorbell && doorbells > DOORBELLS_MAX {
            claims.troubles.push(Trouble::TooManyDoorbells { region });
        }
        let side = Side { region: number, id: u8::try_from(at).unwrap_or(u8::MAX) };
        claims.rows.push(row(world, claim, claims.config.mte, side, &members));
        wanted.push(Wanted { region, size: Some(claim.size), ipa: claim.ipa, is_bar: false });
    }
    wanted
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

fn row<'a>(world: &World<'a>, claim: &'a SharedClaim, vm_mte: bool, side: Side, members: &[Member<'a>]) -> Row<'a> {
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
    Row {
        region: &claim.region,
        nodes,
        size: Some(claim.size),
        claim: asked,
        ipa: None,
        outcome,
        proof: facts.proof,
        backing: Backing::Shared(Share {
            side,
            tagged: some_mte && has_tags,
            doorbell: claim.doorbell,
            peers: with_bell.map(|(id, member)| (id, member.config.name.as_str())).collect(),
        }),
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
