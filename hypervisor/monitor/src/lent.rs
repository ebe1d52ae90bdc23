//! RAM of VMs that their backends see too: taken for whichever of them is made first.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::guest_ram::{GuestRam, LentRam};
use assay_spec::addr::{Ipa, Region};

use crate::ram;

/// The RAM of one VM, and what others are granted of it.
struct Lender {
    vm: String,
    /// Until the VM takes it.
    ram: Vec<(Region<Ipa>, GuestRam)>,
    lent: Vec<LentRam>,
}

/// The VMs that have backends, and whose RAM some VM was given by now.
#[derive(Default)]
pub(crate) struct Lenders(Vec<Lender>);

impl Lenders {
    /// Sees to it that there is RAM for `vm` at `place`. Returns whether there is.
    ///
    /// What was taken for a VM that is refused afterwards stays that VM's.
    pub(crate) fn take(&mut self, vm: &str, place: Region<Ipa>, tagged: bool) -> bool {
        if self.0.iter().any(|lender| lender.vm == vm) {
            return true;
        }
        let Some(frames) = ram::take(place.size, tagged) else {
            return false;
        };
        let mut ram = ram::place(place.start, frames);
        for (place, ram) in &mut ram {
            // Others may look before the VM's first start has cleared it, with the caches or past them. All of it, so it
            // is in range.
            let _ = ram.zero(0..place.size);
            let _ = ram.clean_and_invalidate(0..place.size);
        }
        let lent = ram.iter().map(|(_, ram)| ram.lend()).collect();
        self.0.push(Lender { vm: vm.into(), ram, lent });
        true
    }

    /// Gives the VM its RAM, once.
    pub(crate) fn give(&mut self, vm: &str) -> Vec<(Region<Ipa>, GuestRam)> {
        let lender = self.0.iter_mut().find(|lender| lender.vm == vm);
        lender.map(|lender| core::mem::take(&mut lender.ram)).unwrap_or_default()
    }

    /// Returns the RAM of a VM, piece after piece.
    pub(crate) fn of(&self, vm: &str) -> impl Iterator<Item = &LentRam> {
        let found = self.0.iter().find(|lender| lender.vm == vm);
        found.into_iter().flat_map(|lender| &lender.lent)
    }
}
