//! Flashes: the VM's own RAM in a place of the manifest's choice, by the rules of its RAM (M1 to M3).

use alloc::vec::Vec;

use assay_spec::stage2_desc::Rights;

use super::place::Wanted;
use super::{Row, VmClaims, World, ram};
use crate::policy::{self, Claim};
use crate::space::Backing;
use crate::vm_tree::{FlashAccess, FlashClaim};

/// Adds the rows of a VM. Returns what places they want.
pub(super) fn claim<'a>(world: &World<'a>, claims: &mut VmClaims<'a>) -> Vec<Wanted<'a>> {
    let config = claims.config;
    claims.rows.extend(config.flash.iter().map(|flash| row(world, flash, config.mte)));
    config.flash.iter().map(wanted).collect()
}

fn wanted(flash: &FlashClaim) -> Wanted<'_> {
    Wanted { region: &flash.name, size: Some(flash.size), ipa: Some(flash.ipa), is_bar: false }
}

fn row<'a>(world: &World<'a>, flash: &'a FlashClaim, vm_mte: bool) -> Row<'a> {
    let is_ram = flash.access == FlashAccess::ReadWrite;
    let rights = if is_ram { Rights::ReadWrite } else { Rights::ReadOnly };
    let (facts, nodes) = ram::facts(world, vm_mte);
    let claim = Claim::flash(rights, vm_mte);
    Row {
        region: &flash.name,
        nodes,
        size: Some(flash.size),
        claim,
        ipa: None,
        outcome: policy::decide(&facts, world.bits, claim),
        proof: facts.proof,
        backing: Backing::Flash(flash),
    }
}
