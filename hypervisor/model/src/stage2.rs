//! Stage 2 of one VM: the tables that turn its addresses into the machine's.
//!
//! Builds and changes tables of the 4 KiB granule through [`Tables`], which the caller backs with memory
//! and TLB maintenance. It uses 1 GiB and 2 MiB blocks and the contiguous bit (64 KiB, 32 MiB) wherever
//! the alignment of both addresses and the length allow, and concatenated start tables. It does not
//! decide attributes, own memory, or touch a system register.
//!
//! Three promises, each enforced by a test:
//! - A live descriptor is only ever replaced by break-before-make (DDI0487 D8.17.1): invalid, TLB
//!   maintenance, then the new one; a contiguous group is broken whole (D8.7.1). *Enforced by
//!   `no_live_descriptor_is_overwritten_without_break_and_invalidate`.*
//! - A call that fails has changed no mapping. *Enforced by
//!   `a_call_that_fails_changes_no_mapping`.*
//! - Neighbouring mappings never share a leaf, so each page has exactly its own attributes. *Enforced by
//!   `stage_2_agrees_with_a_flat_map`.*
//!
//! Tables are never freed: what unmapping or splitting leaves empty is used again by later mappings, so
//! that a restart needs no memory. While a split or a change of attributes is under way a page is
//! briefly invalid; the vCPUs of the VM must be stopped, or its aborts be held back until the call returns.

use assay_spec::addr::{Address, Ipa, PAGE_SIZE, Pa, Region};
use assay_spec::stage2_desc::{Attributes, PA_BITS_MAX, Vtcr, entry_size, vttbr};
use thiserror::Error;

pub use geometry::{Geometry, GeometryError};

mod change;
mod fill;
mod geometry;
mod walk;

/// What stage 2 needs of the machine. The VMID is the implementor's knowledge.
pub trait Tables {
    /// Returns `pages` (a power of two) zeroed pages, aligned to their total size, or `None`.
    fn alloc(&mut self, pages: usize) -> Option<Pa>;

    /// Loads the descriptor at `entry`.
    fn load(&self, entry: Pa) -> u64;

    /// Stores a descriptor at `entry` in one piece, ordered after all earlier stores (a store-release):
    /// a table must not be reachable before its contents.
    fn store(&mut self, entry: Pa, descriptor: u64);

    /// Drops what TLBs hold of `ipas`: `DSB ISHST`; `TLBI IPAS2E1IS` for one address in each `stride`
    /// bytes (or `TLBI VMALLS12E1IS` for all); `DSB ISH`; `TLBI VMALLE1IS`, since combined entries need
    /// it even where the guest's stage 1 is off; `DSB ISH`; `ISB` (DDI0487 D8.17.6.1). `VTTBR_EL2` must
    /// hold this VM's VMID meanwhile.
    fn invalidate(&mut self, ipas: Region<Ipa>, stride: u64);

    /// Makes earlier stores visible to table walks of all CPUs: `DSB ISHST`; `ISB`.
    fn publish(&mut self);

    /// Tells whether a VM may be given `memory`: nothing of EL2's own is in it. Asked of all memory
    /// before the first leaf that reaches it is stored.
    fn may_map(&self, memory: Region<Pa>) -> bool;
}

/// Why a mapping was not made, removed or changed.
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
    /// Something else is mapped at this address already.
    #[error("guest address {0} is mapped to something else already")]
    Conflict(Ipa),
    /// Nothing is mapped at this address.
    #[error("guest address {0} is not mapped")]
    NotMapped(Ipa),
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

    /// Returns the shape of the tables.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Returns `VTCR_EL2`; `pa_range` is `ID_AA64MMFR0_EL1.PARange`, the minimum of all CPUs.
    pub fn vtcr(&self, pa_range: u8, vmid_16: bool) -> u64 {
        let (t0sz, sl0) = (self.geometry.t0sz(), self.geometry.sl0());
        Vtcr { t0sz, sl0, pa_range, vmid_16 }.encode()
    }

    /// Returns `VTTBR_EL2`.
    pub fn vttbr(&self, vmid: u16) -> u64 {
        vttbr(vmid, self.root)
    }

    /// Maps `ipas` to the memory from `pa` on. What is mapped so already is left as it is.
    ///
    /// # Errors
    /// [`MapError::Unaligned`], [`Beyond`](MapError::Beyond), [`Forbidden`](MapError::Forbidden),
    /// [`Conflict`](MapError::Conflict), [`OutOfTables`](MapError::OutOfTables); then nothing is mapped.
    pub fn map(
        &self,
        ipas: Region<Ipa>,
        pa: Pa,
        attributes: Attributes,
        tables: &mut impl Tables,
    ) -> Result<(), MapError> {
        self.check(ipas)?;
        let memory = Region::new(pa, ipas.size).ok_or(MapError::Beyond)?;
        if !memory.is_aligned(PAGE_SIZE) {
            return Err(MapError::Unaligned);
        }
        if memory.end().raw() > 1 << PA_BITS_MAX {
            return Err(MapError::Beyond);
        }
        if !tables.may_map(memory) {
            return Err(MapError::Forbidden);
        }
        let bits = attributes.encode(self.fwb);
        let prepared = self.prepare(ipas, pa, bits, tables);
        let result = prepared.and_then(|()| self.fill(ipas, pa, bits, tables));
        // Even a failed call may have linked tables, empty ones.
        tables.publish();
        result
    }

    /// Removes what is mapped in `ipas`; holes are no error. No table is freed.
    ///
    /// # Errors
    /// [`MapError::Unaligned`], [`Beyond`](MapError::Beyond), and
    /// [`OutOfTables`](MapError::OutOfTables) where a block must be split; then nothing is unmapped.
    pub fn unmap(&self, ipas: Region<Ipa>, tables: &mut impl Tables) -> Result<(), MapError> {
        self.check(ipas)?;
        self.split_around(ipas, tables)?;
        self.remove(ipas, tables);
        Ok(())
    }

    /// Gives all of `ipas`, which must be mapped, other attributes and the same memory.
    ///
    /// A change of the memory type needs cache maintenance besides, which is the caller's
    /// (DDI0487 B2.11).
    ///
    /// # Errors
    /// [`MapError::Unaligned`], [`Beyond`](MapError::Beyond), [`NotMapped`](MapError::NotMapped), and
    /// [`OutOfTables`](MapError::OutOfTables) where a block must be split; then nothing is changed.
    pub fn protect(&self, ipas: Region<Ipa>, attributes: Attributes, tables: &mut impl Tables) -> Result<(), MapError> {
        self.check(ipas)?;
        self.check_mapped(ipas, tables)?;
        self.split_around(ipas, tables)?;
        self.replace(ipas, attributes.encode(self.fwb), tables);
        tables.publish();
        Ok(())
    }

    /// Returns where the guest address leads and with which attributes, or `None` if it is not mapped.
    /// Any address may be asked for.
    pub fn translate(&self, ipa: Ipa, tables: &impl Tables) -> Option<(Pa, Attributes)> {
        if ipa.raw() >= self.geometry.end() {
            return None;
        }
        let slot = self.slot(ipa, tables);
        if !slot.is_leaf() {
            return None;
        }
        let offset = ipa.raw() & (entry_size(slot.level) - 1);
        let pa = Pa(slot.descriptor.output().raw() | offset);
        Some((pa, slot.descriptor.attributes(self.fwb)?))
    }

    /// Checks what every change has in common.
    fn check(&self, ipas: Region<Ipa>) -> Result<(), MapError> {
        // The fields are public, so this need not have come from the checking constructor.
        let ipas = Region::new(ipas.start, ipas.size).ok_or(MapError::Beyond)?;
        if ipas.end().raw() > self.geometry.end() {
            Err(MapError::Beyond)
        } else if !ipas.is_aligned(PAGE_SIZE) {
            Err(MapError::Unaligned)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
