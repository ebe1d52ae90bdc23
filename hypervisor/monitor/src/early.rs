//! RAM that is taken before its VM's turn to be made: of VMs whose backends see it too, for whichever of them is made first;
//! and of those that need it at one place, before anything else is taken.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::guest_ram::{GuestRam, LentRam};
use assay_plan::vm_plan::Shortage;
use assay_plan::vm_tree::VmConfig;
use assay_spec::addr::{Ipa, Region};

use crate::ram;

/// The RAM of one VM, and what others are granted of it.
struct Taken {
    vm: String,
    /// Until the VM takes it.
    ram: Vec<(Region<Ipa>, GuestRam)>,
    lent: Vec<LentRam>,
}

/// All such RAM.
#[derive(Default)]
pub(crate) struct EarlyRam(Vec<Taken>);

impl EarlyRam {
    /// Tells whether a VM's RAM is taken so.
    pub(crate) fn is_for(vm: &VmConfig) -> bool {
        vm.unchecked_dma || !vm.virtio.is_empty()
    }

    /// Sees to it that there is RAM for `vm`.
    ///
    /// What was taken for a VM that is refused afterwards stays that VM's.
    pub(crate) fn take(&mut self, vm: &VmConfig) -> Result<(), Shortage> {
        if self.0.iter().any(|taken| taken.vm == vm.name) {
            return Ok(());
        }
        let place = Region { start: vm.memory_ipa, size: vm.memory_bytes };
        let frames = if vm.unchecked_dma {
            ram::take_at(place, vm.mte).ok_or(Shortage::RamAt(place.start, place.size, vm.mte))?
        } else {
            ram::take(place.size, vm.mte).ok_or(Shortage::Ram(place.size, vm.mte))?
        };
        let mut ram = ram::place(place.start, frames);
        let mut lent = Vec::new();
        for (place, ram) in ram.iter_mut().filter(|_| !vm.virtio.is_empty()) {
            // Others may look before the VM's first start has cleared it, with the caches or past them. All of it, so it
            // is in range.
            let _ = ram.zero(0..place.size);
            let _ = ram.clean_and_invalidate(0..place.size);
            lent.push(ram.lend());
        }
        self.0.push(Taken { vm: vm.name.clone(), ram, lent });
        Ok(())
    }

    /// Gives the VM its RAM, once.
    pub(crate) fn give(&mut self, vm: &str) -> Vec<(Region<Ipa>, GuestRam)> {
        let taken = self.0.iter_mut().find(|taken| taken.vm == vm);
        taken.map(|taken| core::mem::take(&mut taken.ram)).unwrap_or_default()
    }

    /// Returns the RAM of a VM that its backends see, piece after piece.
    pub(crate) fn of(&self, vm: &str) -> impl Iterator<Item = &LentRam> {
        let found = self.0.iter().find(|taken| taken.vm == vm);
        found.into_iter().flat_map(|taken| &taken.lent)
    }
}
