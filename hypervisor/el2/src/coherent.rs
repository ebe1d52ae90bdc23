//! Coherent accelerator memory: claimed once, touched late, only with the type that its guest gets.
//!
//! It is in no frame and in none of EL2's maps but for the time of one access here. Whether a VM may have it at
//! all, and as what, is the policy's decision; this proves, clears and grants it.

use core::ops::Range;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};

use crate::claim::claim;
use crate::frames::Use;
use crate::mmu::{self, Kind};
use crate::tags::TagProof;
use crate::{cache, cpu, fill, probe, serror, tags};

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

/// What looking at memory as memory has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryProof {
    /// Data stays, addresses do not alias, atomics and exclusives give right results.
    Passed,
    /// A word came back as something else.
    DataLost,
    /// An atomic or an exclusive gave a wrong result, or never succeeded.
    AtomicsFailed,
    /// An access aborted.
    Aborted,
}

/// A region of coherent memory that nothing else of EL2's, and no other claim, is in.
pub struct CoherentMemory {
    region: Region<Pa>,
    /// It is in EL2's map just now, to be cleared.
    mapped: bool,
    granted: bool,
}

/// The memory cannot be mapped by EL2 now: it overlaps something that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreachable;

impl CoherentMemory {
    /// Claims whole pages that are neither the image's nor frames nor anybody's else, for good.
    pub fn claim(region: Region<Pa>) -> Option<Self> {
        let free = region.size != 0 && claim(region, Use::Coherent) && mmu::prepare(region);
        free.then_some(Self { region, mapped: false, granted: false })
    }

    /// Notes that a VM is granted the memory. Returns whether it is the first.
    pub(crate) fn grant(&mut self) -> bool {
        !core::mem::replace(&mut self.granted, true)
    }

    /// Returns where it is.
    pub fn region(&self) -> Region<Pa> {
        self.region
    }

    /// Does `act` while the memory is mapped with `kind`. `act` leaves nothing dirty in the caches, so that a
    /// guest, or the next access, may have another type (DDI0487 B2.11).
    fn with_map<T>(&mut self, kind: Kind, act: impl FnOnce(&mut Self) -> T) -> Result<T, Unreachable> {
        mmu::add(self.region, kind).map_err(|_| Unreachable)?;
        let result = act(self);
        mmu::remove(self.region);
        Ok(result)
    }

    fn page(&self, page: u64) -> Region<Pa> {
        let page = page % (self.region.size / PAGE_SIZE);
        Region { start: Pa(self.region.start.0 + page * PAGE_SIZE), size: PAGE_SIZE }
    }

    /// Looks whether this is memory: `pages` are written all, then read all, then, unless they are Non-cacheable,
    /// tried with atomics, which the architecture promises for Write-Back memory only (DDI0487 B2.2.6); they are
    /// cleared afterwards. An abort is survived, and ends the look.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn prove_memory(
        &mut self,
        as_type: Type,
        pages: impl Iterator<Item = u64> + Clone,
    ) -> Result<MemoryProof, Unreachable> {
        const PATTERN: u64 = 0x5a5a_a5a5_0f0f_f0f0;
        self.with_map(as_type.kind(), |memory| {
            let each = |probe: unsafe extern "C" fn(u64, u64) -> u64, argument: u64| {
                let run = |page: u64| {
                    // SAFETY: a page of memory that we own exclusively, mapped read-write, without Rust
                    // objects; aborts are recovered.
                    unsafe { probe(memory.page(page).start.0, argument) }
                };
                pages.clone().map(run).find(|result| *result != 0).unwrap_or(0)
            };
            let mut result = each(probe::probe_fill, PATTERN);
            if result == 0 {
                result = each(probe::probe_check, PATTERN);
            }
            if result == 0 && as_type != Type::NonCacheable {
                result = each(probe::probe_atomics, u64::from(cpu::has_lse()));
            }
            if result != probe::ABORTED {
                pages.for_each(|page| memory.zero(memory.page(page), false));
            }
            // An abort of a write may come late, and not as an abort.
            let is_late = serror::drain();
            match result {
                0 if !is_late => MemoryProof::Passed,
                2 => MemoryProof::DataLost,
                4 => MemoryProof::AtomicsFailed,
                _ => MemoryProof::Aborted,
            }
        })
    }

    /// Looks whether `pages` keep their tags; needs MTE2. They are cleared afterwards.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn prove_tags(&mut self, mut pages: impl Iterator<Item = u64>) -> Result<TagProof, Unreachable> {
        if !cpu::has_mte2() {
            return Err(Unreachable);
        }
        self.with_map(Kind::Tagged, |memory| {
            let probe = |page: u64| {
                let page = memory.page(page);
                // SAFETY: a page of memory that we own exclusively, without Rust objects, mapped Tagged.
                let proof = unsafe { tags::prove_mapped(page.start.0, page.start.0 / PAGE_SIZE) };
                if proof != TagProof::Aborted {
                    cache::clean_and_invalidate_tags(page);
                }
                proof
            };
            let proof = pages.by_ref().map(probe).find(|proof| *proof != TagProof::Passed).unwrap_or(TagProof::Passed);
            // An abort of a write may come late, and not as an abort.
            if serror::drain() { TagProof::Aborted } else { proof }
        })
    }

    /// Clears bytes `range`, and their tags if the type is Tagged; what is outside is left alone. Keeps the
    /// memory mapped for the next part until [`Self::end_clearing`].
    ///
    /// # Errors
    /// [`Unreachable`], if some page does not answer; also Tagged without MTE2.
    pub fn clear(&mut self, as_type: Type, range: Range<u64>) -> Result<(), Unreachable> {
        let tagged = as_type == Type::Tagged;
        if tagged && !cpu::has_mte2() {
            return Err(Unreachable);
        }
        if !self.mapped {
            mmu::add(self.region, as_type.kind()).map_err(|_| Unreachable)?;
            self.mapped = true;
        }
        let end = range.end.min(self.region.size);
        if range.start < end {
            let start = Pa(self.region.start.0 + range.start);
            let part = Region { start, size: end - range.start };
            if !Self::is_there(part) {
                self.end_clearing();
                return Err(Unreachable);
            }
            self.zero(part, tagged);
        }
        Ok(())
    }

    /// Tells whether every page of a mapped part answers: the proof has seen samples only, and what clears memory
    /// survives no abort.
    fn is_there(part: Region<Pa>) -> bool {
        // SAFETY: our caller has mapped the part, which is of memory that we own exclusively; it is only read, under
        // a guard.
        let result = unsafe { probe::probe_touch(part.start.0, part.end().0) };
        result == 0 && !serror::drain()
    }

    /// Takes the memory out of EL2's map again after it was cleared.
    pub fn end_clearing(&mut self) {
        if core::mem::take(&mut self.mapped) {
            mmu::remove(self.region);
        }
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
