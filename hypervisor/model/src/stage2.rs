//! Stage 2 of one VM: the tables that turn its addresses into the machine's.
//!
//! Fills tables of the 4 KiB granule through [`Tables`], which the caller backs with memory. It uses 1 GiB and 2 MiB
//! blocks and the contiguous bit (64 KiB, 32 MiB) wherever the alignment of both addresses and the length allow, and
//! concatenated start tables. It does not decide attributes, own memory, or touch a system register.
//!
//! A VM's tables are filled once, before its first vCPU runs. From then on pages only leave them, between two lives
//! ([`Stage2::withdraw`]). Two promises:
//! - An entry is only ever stored where there was none and no TLB knows of one, so it is broken before it is made
//!   (DDI0487 D8.17.1). *Enforced by `stage_2_agrees_with_a_flat_map` and `only_the_page_leaves`, on a machine that
//!   objects to anything else.*
//! - Neighbouring mappings never share a leaf, so each page has exactly its own attributes. *Enforced by the same.*

use assay_spec::addr::{Address, Ipa, PAGE_SIZE, Pa, Region};
use assay_spec::stage2_desc::{Attributes, Vtcr};
use assay_spec::stage2_desc::{
    CONTIGUOUS_ENTRIES, Descriptor, ENTRIES, ENTRY_BYTES, LAST_LEVEL, PA_BITS_MAX, Shape, entry_size, shift,
};
use thiserror::Error;

pub use geometry::{Geometry, GeometryError};
pub use withdraw::{TablesInUse, WithdrawError};

mod geometry;
#[cfg(test)]
mod tests;
mod withdraw;

/// What stage 2 needs of the machine.
pub trait Tables {
    /// Returns `pages` (a power of two) zeroed pages, aligned to their total size, or `None`.
    fn alloc(&mut self, pages: usize) -> Option<Pa>;

    /// Loads the descriptor at `entry`.
    fn load(&self, entry: Pa) -> u64;

    /// Stores a descriptor at `entry` in one piece, ordered after all earlier stores (a store-release):
    /// a table must not be reachable before its contents.
    fn store(&mut self, entry: Pa, descriptor: u64);

    /// Makes earlier stores visible to table walks of all CPUs: `DSB ISHST`; `ISB`.
    fn publish(&mut self);

    /// Tells whether a VM may be given `memory`: nothing of EL2's own is in it. Asked of all memory
    /// before the first leaf that reaches it is stored.
    fn may_map(&self, memory: Region<Pa>) -> bool;
}

/// Why a mapping was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MapError {
    /// An address or a length is no multiple of 4 KiB.
    #[error("an address or length is not a multiple of 4 KiB")]
    Unaligned,
    /// The guest's or the machine's addresses end before the range does.
    #[error("the range ends beyond the address space of the guest or the machine")]
    Beyond,
    /// The memory is not one that a VM may get.
    #[error("the memory belongs to the hypervisor")]
    Forbidden,
    /// Something is mapped at this address already.
    #[error("guest address {0} is mapped already")]
    Conflict(Ipa),
    /// There is no memory for a table.
    #[error("no memory for a stage-2 table")]
    OutOfTables,
}

/// The stage-2 tables of one VM.
#[derive(Debug)]
pub struct Stage2 {
    root: Pa,
    geometry: Geometry,
    fwb: bool,
}

impl Stage2 {
    /// Makes empty tables. `fwb` is the value that `HCR_EL2.FWB` has while this VM runs.
    ///
    /// # Errors
    /// [`MapError::OutOfTables`].
    pub fn new(geometry: Geometry, fwb: bool, tables: &mut impl Tables) -> Result<Self, MapError> {
        let root = tables.alloc(geometry.root_pages()).ok_or(MapError::OutOfTables)?;
        tables.publish();
        Ok(Self { root, geometry, fwb })
    }

    /// Returns `VTCR_EL2`; `pa_range` is `ID_AA64MMFR0_EL1.PARange`, the minimum of all CPUs.
    pub fn vtcr(&self, pa_range: u8, vmid_16: bool) -> u64 {
        let (t0sz, sl0) = (self.geometry.t0sz(), self.geometry.sl0());
        Vtcr { t0sz, sl0, pa_range, vmid_16 }.encode()
    }

    /// Maps `ipas`, where nothing is mapped yet, to the memory from `pa` on.
    ///
    /// # Errors
    /// Each [`MapError`]. Part of the range may be mapped then: the VM must not start.
    pub fn map(
        &self,
        ipas: Region<Ipa>,
        pa: Pa,
        attributes: Attributes,
        tables: &mut impl Tables,
    ) -> Result<(), MapError> {
        // The fields are public, so this need not have come from the checking constructor.
        let ipas = Region::new(ipas.start, ipas.size).ok_or(MapError::Beyond)?;
        let memory = Region::new(pa, ipas.size).ok_or(MapError::Beyond)?;
        if ipas.end().raw() > self.geometry.end() || memory.end().raw() > 1 << PA_BITS_MAX {
            return Err(MapError::Beyond);
        }
        if !ipas.is_aligned(PAGE_SIZE) || !memory.is_aligned(PAGE_SIZE) {
            return Err(MapError::Unaligned);
        }
        if !tables.may_map(memory) {
            return Err(MapError::Forbidden);
        }
        let bits = attributes.encode(self.fwb);
        let mut done = 0;
        while done < ipas.size {
            let (at, target) = (Ipa(ipas.start.raw() + done), Pa(pa.raw() + done));
            done += self.map_largest(at, target, ipas.size - done, bits, tables)?;
        }
        tables.publish();
        Ok(())
    }

    /// Maps `at` to `target` by the largest leaf, or contiguous group of leaves, that both addresses and the length
    /// allow. Returns its bytes.
    fn map_largest(
        &self,
        at: Ipa,
        target: Pa,
        length: u64,
        bits: u64,
        tables: &mut impl Tables,
    ) -> Result<u64, MapError> {
        let fits = |size: u64| (at.raw() | target.raw()) & (size - 1) == 0 && length >= size;
        // With DS = 0 there are no blocks at level 0 (D8.3.1.2).
        let first = self.geometry.start_level().max(1);
        let level = (first..LAST_LEVEL).find(|level| fits(entry_size(*level))).unwrap_or(LAST_LEVEL);
        let size = entry_size(level);
        // At level 1 a group would be 16 GiB, more than a TLB is likely to hold as one (groups: D8.7.1).
        let grouped = level >= 2 && fits(CONTIGUOUS_ENTRIES * size);
        let count = if grouped { CONTIGUOUS_ENTRIES } else { 1 };
        let entry = self.entry(at, level, tables)?;
        for step in 0..count {
            let entry = Pa(entry.raw() + step * ENTRY_BYTES);
            let leaf = Descriptor::leaf(level, Pa(target.raw() + step * size), bits);
            let leaf = if grouped { leaf.contiguous() } else { leaf };
            if tables.load(entry) != 0 {
                return Err(MapError::Conflict(Ipa(at.raw() + step * size)));
            }
            tables.store(entry, leaf.0);
        }
        Ok(count * size)
    }

    /// Returns the entry of `level` that decides about `ipa`, and makes the tables that are missing on the way.
    fn entry(&self, ipa: Ipa, wanted: u8, tables: &mut impl Tables) -> Result<Pa, MapError> {
        let mut level = self.geometry.start_level();
        // In concatenated start tables the index counts through.
        let mut entry = entry_at(self.root, ipa.raw() >> shift(level));
        while level < wanted {
            let next = match Descriptor(tables.load(entry)).shape(level) {
                Shape::Table(next) => next,
                Shape::Leaf => return Err(MapError::Conflict(ipa)),
                Shape::Invalid => {
                    let next = tables.alloc(1).ok_or(MapError::OutOfTables)?;
                    tables.store(entry, Descriptor::table(next).0);
                    next
                }
            };
            level += 1;
            entry = entry_at(next, (ipa.raw() >> shift(level)) % ENTRIES);
        }
        Ok(entry)
    }
}

fn entry_at(table: Pa, index: u64) -> Pa {
    Pa(table.raw() + index * ENTRY_BYTES)
}
