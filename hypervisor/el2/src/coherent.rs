//! Coherent accelerator memory: claimed once, touched late, only with the type that its guest gets.
//!
//! It is in no frame and in none of EL2's maps but for the time of one access here. Whether a VM may have it at
//! all, and as what, is the policy's decision; this proves, clears and grants it.

use core::arch::global_asm;
use core::mem::offset_of;
use core::ops::Range;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};

use crate::frames::{self, Use};
use crate::mmu::{self, Kind};
use crate::percpu::PerCpu;
use crate::tags::TagProof;
use crate::{cache, cpu, fill, image, serror, tags};

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
        let free = region.is_aligned(PAGE_SIZE)
            && region.size != 0
            && !region.overlaps(&image::region())
            && !frames::manages(region)
            && !mmu::is_own_device(region)
            && frames::keep(region, Use::Coherent)
            && mmu::prepare(region);
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
            let mut result = each(coherent_fill, PATTERN);
            if result == 0 {
                result = each(coherent_check, PATTERN);
            }
            if result == 0 && as_type != Type::NonCacheable {
                result = each(coherent_atomics, u64::from(cpu::has_lse()));
            }
            if result != 3 {
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
        let result = unsafe { coherent_touch(part.start.0, part.end().0) };
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

unsafe extern "C" {
    fn coherent_touch(start: u64, end: u64) -> u64;
    fn coherent_fill(page: u64, pattern: u64) -> u64;
    fn coherent_check(page: u64, pattern: u64) -> u64;
    fn coherent_atomics(page: u64, lse: u64) -> u64;
}

// Each returns 0, or 2 data lost, 3 aborted, 4 atomics failed. The data of a word depends on its address, so that
// an alias shows when all pages are written before the first is read; reading comes from memory.
global_asm!(
    ".section .text.coherent, \"ax\"",
    ".arch_extension lse",
    ".globl coherent_touch",
    "coherent_touch:",
    "    mrs   x2, tpidr_el2",
    "    adr   x3, 9f",
    "    str   x3, [x2, #{RECOVERY}]",
    "1:  ldr   x4, [x0]",
    "    add   x0, x0, #4096",
    "    cmp   x0, x1",
    "    b.lo  1b",
    "    dsb   sy",
    "    str   xzr, [x2, #{RECOVERY}]",
    "    mov   x0, #0",
    "    ret",
    ".globl coherent_fill",
    "coherent_fill:",
    "    mrs   x2, tpidr_el2",
    "    adr   x3, 9f",
    "    str   x3, [x2, #{RECOVERY}]",
    "    mov   x3, #0",
    "1:  add   x4, x0, x3",
    "    eor   x5, x4, x1",
    "    mvn   x6, x5",
    "    stp   x5, x6, [x4]",
    "    add   x3, x3, #64",
    "    cmp   x3, #4096",
    "    b.lo  1b",
    "    dsb   sy",
    "    str   xzr, [x2, #{RECOVERY}]",
    "    mov   x0, #0",
    "    ret",
    ".globl coherent_check",
    "coherent_check:",
    "    mrs   x2, tpidr_el2",
    "    adr   x3, 9f",
    "    str   x3, [x2, #{RECOVERY}]",
    "    mov   x3, #0",
    "1:  add   x4, x0, x3",
    "    dc    civac, x4",
    "    add   x3, x3, #16",
    "    cmp   x3, #4096",
    "    b.lo  1b",
    "    dsb   sy",
    "    mov   x3, #0",
    "    mov   x7, #0",
    "2:  add   x4, x0, x3",
    "    eor   x5, x4, x1",
    "    mvn   x6, x5",
    "    ldp   x9, x10, [x4]",
    "    cmp   x5, x9",
    "    ccmp  x6, x10, #0, eq",
    "    mov   x8, #2",
    "    csel  x7, x7, x8, eq",
    "    add   x3, x3, #64",
    "    cmp   x3, #4096",
    "    b.lo  2b",
    "    str   xzr, [x2, #{RECOVERY}]",
    "    mov   x0, x7",
    "    ret",
    ".globl coherent_atomics",
    "coherent_atomics:",
    "    mrs   x2, tpidr_el2",
    "    adr   x3, 9f",
    "    str   x3, [x2, #{RECOVERY}]",
    "    mov   x4, #0x1234",
    "    str   x4, [x0]",
    "    mov   x5, #1000",                  // exclusives may fail now and then, but not for ever
    "1:  ldaxr x6, [x0]",
    "    add   x7, x6, #1",
    "    stlxr w8, x7, [x0]",
    "    cbz   w8, 2f",
    "    subs  x5, x5, #1",
    "    b.ne  1b",
    "    b     8f",
    "2:  cmp   x6, x4",
    "    b.ne  8f",
    "    add   x4, x4, #1",
    "    cbz   x1, 3f",
    "    mov   x5, #16",
    "    ldaddal x5, x6, [x0]",
    "    cmp   x6, x4",
    "    b.ne  8f",
    "    add   x4, x4, #16",
    "    mov   x6, x4",
    "    mov   x7, #77",
    "    casal x6, x7, [x0]",
    "    cmp   x6, x4",
    "    b.ne  8f",
    "    mov   x4, x7",
    "3:  dsb   sy",
    "    ldr   x6, [x0]",
    "    cmp   x6, x4",
    "    b.ne  8f",
    "    str   xzr, [x2, #{RECOVERY}]",
    "    mov   x0, #0",
    "    ret",
    "8:  str   xzr, [x2, #{RECOVERY}]",
    "    mov   x0, #4",
    "    ret",
    "9:  mov   x0, #3",
    "    ret",
    RECOVERY = const offset_of!(PerCpu, recovery),
);
