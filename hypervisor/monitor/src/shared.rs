//! Memory between VMs: taken once for all that share it, and the way of a ring from one of them to another.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::shared::SharedRam;
use assay_model::doorbell::{Ring, Side};
use assay_plan::claims::{SharedRow, VmClaims};
use assay_plan::guest_tree;
use assay_plan::policy::Decision;
use assay_spec::addr::{Ipa, Region};
use assay_spec::stage2_desc::Rights;
use spin::Once;

use crate::ram;
use crate::vm::{Phase, Vm};

/// The regions that some VM has been given by now.
#[derive(Default)]
pub(crate) struct Regions {
    taken: Vec<(String, Vec<SharedRam>)>,
}

/// One VM's part in a region: where, how, and the memory, whose pieces follow each other.
pub(crate) struct Part<'a> {
    pub(crate) region: &'a str,
    pub(crate) ipa: Region<Ipa>,
    pub(crate) decision: Decision,
    pub(crate) pieces: &'a [SharedRam],
}

impl Regions {
    /// Sees to it that there is memory for the region, clear if it is new.
    ///
    /// Returns whether there is. What was taken for a VM that is refused afterwards stays the region's.
    pub(crate) fn take(&mut self, row: &SharedRow<'_>) -> bool {
        if self.taken.iter().any(|(name, _)| name == row.region) {
            return true;
        }
        let Some(frames) = ram::take(row.size, row.tagged) else {
            return false;
        };
        let pieces = frames.into_iter().map(SharedRam::new).collect();
        self.taken.push((row.region.into(), pieces));
        true
    }

    /// Returns the VM's parts in regions that were taken before.
    pub(crate) fn parts(&self, claims: &VmClaims<'_>) -> Vec<Part<'_>> {
        let part = |row: &SharedRow<'_>| {
            let (ipa, decision) = row.granted()?;
            let (region, pieces) = self.taken.iter().find(|(name, _)| name == row.region)?;
            Some(Part { region, ipa, decision, pieces })
        };
        claims.shared.iter().filter_map(part).collect()
    }
}

/// Returns what the guest's tree says of the regions.
pub(crate) fn nodes<'a>(claims: &'a VmClaims<'_>) -> Vec<guest_tree::Shared<'a>> {
    let node = |row: &'a SharedRow<'_>| {
        let (region, decision) = row.granted()?;
        Some(guest_tree::Shared {
            name: row.region,
            region,
            read_only: decision.rights == Rights::ReadOnly,
            doorbell: row.doorbell.then_some((row.side.id, row.peers.as_slice())),
        })
    };
    claims.shared.iter().filter_map(node).collect()
}

/// Returns the VM's parts that have a doorbell, in the order of their pages.
pub(crate) fn sides(claims: &VmClaims<'_>) -> impl Iterator<Item = Side> {
    let rows = claims.shared.iter().filter(|row| row.doorbell);
    rows.map(|row| row.side)
}

/// A VM that can be rung, and which of its doorbells that is.
type Bell = (&'static Vm, usize);

/// By region, then by the VM's number in it.
static BELLS: Once<Vec<Vec<Option<Bell>>>> = Once::new();

/// Connects the doorbells of all VMs, once.
pub(crate) fn connect(vms: &[&'static Vm]) {
    let mut bells: Vec<Vec<Option<Bell>>> = Vec::new();
    for vm in vms {
        for (index, side) in vm.machine.doorbells.sides().enumerate() {
            let id = usize::from(side.id);
            if bells.len() <= side.region {
                bells.resize(side.region + 1, Vec::new());
            }
            if let Some(region) = bells.get_mut(side.region) {
                if region.len() <= id {
                    region.resize(id + 1, None);
                }
                if let Some(bell) = region.get_mut(id) {
                    *bell = Some((vm, index));
                }
            }
        }
    }
    let _ = BELLS.call_once(|| bells);
}

fn bells(region: usize) -> &'static [Option<Bell>] {
    let all = BELLS.get().map_or(&[] as &[_], Vec::as_slice);
    all.get(region).map_or(&[], Vec::as_slice)
}

/// Brings a ring to whom it is for. The caller holds no VM's lock.
pub(crate) fn ring(ring: Ring) {
    let bell = bells(ring.from.region).get(usize::from(ring.to));
    if let Some(Some((vm, index))) = bell {
        vm.ring(*index, ring.from.id);
    }
}

/// Tells whom a ring from `side` would reach now, a bit each.
pub(crate) fn peers(side: Side) -> u32 {
    let mut reached = 0;
    for (id, bell) in bells(side.region).iter().enumerate().take(32) {
        let runs = bell.is_some_and(|(vm, _)| vm.phase() == Phase::Running);
        if runs && id != usize::from(side.id) {
            reached |= 1 << id;
        }
    }
    reached
}
