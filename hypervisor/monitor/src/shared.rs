//! Memory between VMs: taken once for all that share it, and the way of a ring from one of them to another.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::mmu::Hidden;
use assay_el2::shared::SharedRam;
use assay_model::doorbell::{Ring, Side};
use spin::Once;

use crate::ram;
use crate::vm::{Phase, Vm};

/// The regions that some VM has been given by now.
#[derive(Default)]
pub(crate) struct Regions {
    taken: Vec<(String, Vec<SharedRam>)>,
}

impl Regions {
    /// Sees to it that there is memory for the region, clear if it is new. Returns whether there is.
    ///
    /// What was taken for a VM that is refused afterwards stays the region's.
    pub(crate) fn take(&mut self, region: &str, size: u64, tagged: bool) -> bool {
        if self.of(region).next().is_some() {
            return true;
        }
        let Some(frames) = ram::take(size, tagged) else {
            return false;
        };
        self.taken.push((region.into(), frames.into_iter().map(SharedRam::new).collect()));
        true
    }

    /// Keeps all of it out of the map of CPUs that run guests.
    pub(crate) fn hide(&self) -> impl Iterator<Item = Hidden> {
        self.taken.iter().flat_map(|(_, pieces)| pieces).map(SharedRam::hide)
    }

    /// Returns the memory of a region, piece after piece.
    pub(crate) fn of(&self, region: &str) -> impl Iterator<Item = &SharedRam> {
        let found = self.taken.iter().find(|(name, _)| name == region);
        found.into_iter().flat_map(|(_, pieces)| pieces)
    }
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
