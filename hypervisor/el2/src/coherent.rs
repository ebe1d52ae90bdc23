//! Coherent accelerator memory: claimed once, touched late, only with the type that its guest gets.
//!
//! It is in no frame and in none of EL2's maps but for the time of one access here. Whether a VM may have it at
//! all, and as what, is the policy's decision; this proves, clears and grants it.

use core::ops::Range;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::look::Look;

use crate::claim::claim;
use crate::frames::Use;
use crate::mmu::{self, Kind};
use crate::{cache, cpu, fill, probe, serror};

/// With which type EL2 touches the memory: the one that the guest gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Normal Write-Back, without tags.
    WriteBack,
    /// Normal Tagged Write-Back: only memory that the platform says has tag storage.
    Tagged,
    /// Normal Non-cacheable.
    NonCacheable,
}

impl Type {
    fn kind(self) -> Kind {
        match self {
            Self::WriteBack => Kind::Data,
            Self::Tagged => Kind::Tagged,
            Self::NonCacheable => Kind::Uncached,
        }
    }
}

/// A region of coherent memory that nothing else of EL2's, and no other claim, is in.
pub struct CoherentMemory {
    region: Region<Pa>,
    /// It is in EL2's map just now, with this type.
    mapped: Option<Type>,
    granted: bool,
}

/// The memory cannot be mapped by EL2 now: it overlaps something that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreachable;

impl CoherentMemory {
    /// Claims whole pages that are neither the image's nor frames nor anybody's else, for good.
    pub fn claim(region: Region<Pa>) -> Option<Self> {
        let free = region.size != 0 && claim(region, Use::Coherent) && mmu::prepare(region);
        free.then_some(Self { region, mapped: None, granted: false })
    }

    /// Notes that a VM is granted the memory. Returns whether it is the first.
    pub(crate) fn grant(&mut self) -> bool {
        !core::mem::replace(&mut self.granted, true)
    }

    /// Returns where it is.
    pub fn region(&self) -> Region<Pa> {
        self.region
    }

    /// Brings the memory into EL2's map, to be proved.
    ///
    /// # Errors
    /// [`Unreachable`]; also Tagged without MTE2.
    pub fn open(&mut self, as_type: Type) -> Result<(), Unreachable> {
        if as_type == Type::Tagged && !cpu::has_mte2() {
            return Err(Unreachable);
        }
        if self.mapped.is_none() {
            mmu::add(self.region, as_type.kind()).map_err(|_| Unreachable)?;
            self.mapped = Some(as_type);
        }
        Ok(())
    }

    /// Takes the memory out of EL2's map again. Nothing of it is dirty in the caches, so that a guest, or the next
    /// access, may have another type (DDI0487 B2.11).
    pub fn close(&mut self) {
        if self.mapped.take().is_some() {
            mmu::remove(self.region);
        }
    }

    /// Writes a page of memory that is open with data that depends on its address, and tags by `pattern` if Tagged.
    pub fn write(&mut self, page: u64, pattern: u64) -> Look {
        self.probe(page, pattern, [probe::probe_fill, probe::probe_fill_tags])
    }

    /// Looks whether a page still holds what [`Self::write`] wrote; then tries it with exclusives and atomics, which
    /// the architecture promises for Write-Back memory only (DDI0487 B2.2.6).
    pub fn check(&mut self, page: u64, pattern: u64) -> Look {
        let look = self.probe(page, pattern, [probe::probe_check, probe::probe_check_tags]);
        if look != Look::Good || self.mapped != Some(Type::WriteBack) {
            return look;
        }
        self.probe(page, u64::from(cpu::has_lse()), [probe::probe_atomics, probe::probe_atomics])
    }

    /// Clears a page of memory that is open, and its tags if Tagged. It must have answered.
    pub fn clear_page(&mut self, page: u64) {
        if let Some(as_type) = self.mapped {
            self.zero(self.page(page), as_type == Type::Tagged);
        }
    }

    fn probe(&mut self, page: u64, argument: u64, [plain, tagged]: [unsafe extern "C" fn(u64, u64) -> u64; 2]) -> Look {
        let probe = match self.mapped {
            Some(Type::Tagged) => tagged,
            Some(Type::WriteBack | Type::NonCacheable) => plain,
            None => return Look::Aborted,
        };
        // SAFETY: a page of memory that we own exclusively, mapped read-write, and Tagged for what touches tags; it
        // holds no Rust objects. Aborts are recovered.
        probe::look(unsafe { probe(self.page(page).start.0, argument) })
    }

    fn page(&self, page: u64) -> Region<Pa> {
        let page = page % (self.region.size / PAGE_SIZE);
        Region { start: Pa(self.region.start.0 + page * PAGE_SIZE), size: PAGE_SIZE }
    }

    /// Clears bytes `range`, whole pages, and their tags if the type is Tagged, and looks whether they are clear; what
    /// is outside is left alone. Keeps the memory open for the next part until [`Self::close`].
    ///
    /// # Errors
    /// [`Unreachable`], if some page does not answer or keeps something; as [`Self::open`].
    pub fn clear(&mut self, as_type: Type, range: Range<u64>) -> Result<(), Unreachable> {
        self.open(as_type)?;
        let end = range.end.min(self.region.size);
        if range.start >= end {
            return Ok(());
        }
        if !range.start.is_multiple_of(PAGE_SIZE) || !end.is_multiple_of(PAGE_SIZE) {
            return Err(Unreachable);
        }
        let part = Region { start: Pa(self.region.start.0 + range.start), size: end - range.start };
        // The proof has seen samples only, and what clears memory survives no abort.
        let is_there = Self::look_at(part, probe::probe_touch);
        if is_there {
            self.zero(part, as_type == Type::Tagged);
        }
        if !is_there || !Self::look_at(part, probe::probe_clear) {
            self.close();
            return Err(Unreachable);
        }
        Ok(())
    }

    /// Looks at every page of a part that is mapped.
    fn look_at(part: Region<Pa>, probe: unsafe extern "C" fn(u64, u64) -> u64) -> bool {
        // SAFETY: our caller has mapped the part, which is of memory that we own exclusively; it is only read, under
        // a guard.
        let result = unsafe { probe(part.start.0, part.end().0) };
        result == 0 && !serror::drain()
    }

    /// Zeroes a part that lies in the region and is mapped, and leaves nothing of it in the caches.
    fn zero(&self, part: Region<Pa>, tagged: bool) {
        // SAFETY: our callers pass parts of memory that we own exclusively and that they have mapped read-write
        // (Tagged if `tagged`); it holds no Rust objects.
        unsafe { fill::zero(part, tagged) };
        if tagged {
            cache::clean_and_invalidate_tags(part);
        } else {
            cache::clean_and_invalidate(part);
        }
    }
}
