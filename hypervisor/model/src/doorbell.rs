//! The doorbells of a VM: `assay,doorbell`, one for each region that it shares and wants to be told about.
//!
//! A page of registers and an edge-triggered interrupt. A store to `RING` sets a bit in another VM's `RUNG` and, if
//! the bit was clear, makes that VM's interrupt pending; while it is set, further rings come to nothing. So who is
//! rung decides how often: a VM that never answers is interrupted once by each of the others, however fast they
//! ring.
//!
//! Whom a ring reaches, and that VM's interrupt controller, are the caller's. Nothing here takes a lock: a VM that
//! rings at full speed keeps nobody from anything of his own.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use assay_spec::addr::Ipa;
use assay_spec::exit::Width;

use crate::layout;
use crate::speculation::below;

/// The most VMs of a region: each has a bit in the others' doorbells.
pub const SIDES_MAX: usize = 32;

/// Which part a VM has in a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Side {
    /// The region's number, by first claim in the order of the VMs.
    pub region: usize,
    /// The VM's number among those that claim the region, in the same order. It does not depend on who starts.
    pub id: u8,
}

/// Read-only: the VM's own number among those that share the region.
const ID: u64 = 0x00;
/// Read-only: a bit for each of the others that a ring would reach now.
const PEERS: u64 = 0x04;
/// Write-only: the number of the VM to ring.
const RING: u64 = 0x08;
/// Who has rung, a bit each; a 1 that is written clears its bit.
const RUNG: u64 = 0x0c;

/// One doorbell.
struct Doorbell {
    side: Side,
    rung: AtomicU32,
}

/// All doorbells of a VM, in the order of their pages.
#[derive(Default)]
pub struct Doorbells(Vec<Doorbell>);

/// A ring: the number of the VM that is meant, and from whom it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ring {
    /// The region and the number of the VM that rings.
    pub from: Side,
    /// The number of the one that is rung.
    pub to: u8,
}

impl Doorbells {
    /// Makes the doorbells of a VM that has these parts in regions.
    pub fn new(sides: impl IntoIterator<Item = Side>) -> Self {
        let quiet = |side| Doorbell { side, rung: AtomicU32::new(0) };
        Self(sides.into_iter().map(quiet).collect())
    }

    /// Returns the VM's parts, in the order of their pages.
    pub fn sides(&self) -> impl Iterator<Item = Side> {
        self.0.iter().map(|doorbell| doorbell.side)
    }

    /// Forgets all rings, for a restart of the VM.
    pub fn reset(&self) {
        for doorbell in &self.0 {
            doorbell.rung.store(0, Ordering::Release);
        }
    }

    /// Tells which doorbell has a register at this address, and the register's offset.
    pub(crate) fn find(&self, ipa: Ipa) -> Option<(usize, u64)> {
        let offset = ipa.0.checked_sub(layout::DOORBELLS.0)?;
        let index = below(usize::try_from(offset / layout::DOORBELL_SIZE).ok()?, self.0.len())?;
        Some((index, offset % layout::DOORBELL_SIZE))
    }

    /// Reads a register of doorbell `index`; `peers` tells whom a ring would reach, a bit each. Registers are 32 bits
    /// wide: other widths and offsets read as zero.
    pub fn read(&self, index: usize, offset: u64, width: Width, peers: impl FnOnce(Side) -> u32) -> u64 {
        let doorbell = &self.0[index];
        match offset {
            _ if width != Width::W4 => 0,
            ID => doorbell.side.id.into(),
            PEERS => peers(doorbell.side).into(),
            RUNG => doorbell.rung.load(Ordering::Acquire).into(),
            _ => 0,
        }
    }

    /// Writes a register of doorbell `index`. Returns a ring, which the caller has to bring to whom it is for.
    pub fn write(&self, index: usize, offset: u64, width: Width, value: u64) -> Option<Ring> {
        let doorbell = &self.0[index];
        let value = (value & 0xffff_ffff) as u32;
        match offset {
            _ if width != Width::W4 => None,
            RING => {
                let to = u8::try_from(value).ok()?;
                let from = doorbell.side;
                (usize::from(to) < SIDES_MAX && to != from.id).then_some(Ring { from, to })
            }
            RUNG => {
                // What was written to the region before a ring that came to nothing is seen from here on.
                let _ = doorbell.rung.fetch_and(!value, Ordering::AcqRel);
                None
            }
            _ => None,
        }
    }

    /// Notes at doorbell `index` that number `from` has rung. Returns whether the interrupt is to be made pending: not
    /// if it was for an earlier ring that nobody has answered.
    pub fn rung(&self, index: usize, from: u8) -> bool {
        let bit = 1 << from;
        self.0[index].rung.fetch_or(bit, Ordering::AcqRel) & bit == 0
    }
}
