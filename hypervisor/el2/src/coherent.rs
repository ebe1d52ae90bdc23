//! Coherent accelerator memory: claimed once, touched late, only with the type that its guest gets.
//!
//! It is in no frame and in none of EL2's maps but for the time of one access here. Whether a VM may have it at
//! all, and as what, is the policy's decision; this proves, clears and grants it.

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::look::{Look, Seen};

use crate::claim::claim;
use crate::frames::Use;
use crate::mmu::{self, Kind, Whole};
use crate::sysreg::isb;
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
    /// Bytes from the start that parts were taken of, or that are left out.
    taken: u64,
    /// Parts that are taken and not put back: the map stays while there are any.
    out: usize,
}

/// Some pages of coherent memory that one CPU clears. Nobody else has them, and they stay in EL2's map.
pub struct Part {
    pages: Region<Pa>,
    tagged: bool,
}

/// The memory cannot be mapped by EL2 now: it overlaps something that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreachable;

impl CoherentMemory {
    /// Claims whole pages that are neither the image's nor frames nor anybody's else, for good.
    pub fn claim(region: Region<Pa>) -> Option<Self> {
        let free = region.size != 0 && claim(region, Use::Coherent) && mmu::prepare(region);
        free.then_some(Self { region, mapped: None, granted: false, taken: 0, out: 0 })
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
            mmu::bring(self.region, as_type.kind()).map_err(|_| Unreachable)?;
            self.mapped = Some(as_type);
        }
        Ok(())
    }

    /// Takes the memory out of EL2's map again, unless parts of it are out. Nothing of it is dirty in the caches, so
    /// that a guest, or the next access, may have another type (DDI0487 B2.11). The next part is the first one.
    pub fn close(&mut self) {
        if self.out != 0 {
            return;
        }
        self.taken = 0;
        if self.mapped.take().is_some() {
            mmu::remove(self.region);
        }
    }

    /// Returns how many bytes from the start were taken, or left out.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Leaves the next `bytes` out, whole pages: no part has them, until [`Self::close`].
    pub fn skip(&mut self, bytes: u64) {
        let left = self.region.size - self.taken;
        self.taken += (bytes & !(PAGE_SIZE - 1)).min(left);
    }

    /// Takes the next part, of at most `bytes`, whole pages, to be cleared by the running CPU; `None` after the last.
    ///
    /// # Errors
    /// [`Unreachable`] as [`Self::open`].
    pub fn take_part(&mut self, as_type: Type, bytes: u64) -> Result<Option<Part>, Unreachable> {
        let start = self.taken;
        if start >= self.region.size {
            return Ok(None);
        }
        self.open(as_type)?;
        let size = (bytes & !(PAGE_SIZE - 1)).clamp(PAGE_SIZE, self.region.size - start);
        self.taken += size;
        self.out += 1;
        let pages = Region { start: Pa(self.region.start.0 + start), size };
        Ok(Some(Part { pages, tagged: self.mapped == Some(Type::Tagged) }))
    }

    /// Takes back a part of this memory.
    ///
    /// # Panics
    /// If it is of another memory: our bug, by which that one's map would go while the part is in use.
    pub fn put_back(&mut self, part: Part) {
        assert!(self.region.covers(&part.pages) && self.out != 0, "a part comes back to another memory");
        self.out -= 1;
    }

    /// Tells whether parts are out.
    pub fn is_in_parts(&self) -> bool {
        self.out != 0
    }

    /// Reads what a page of memory that is open has where a mark would be ([`crate::tags::mark`]), tags if Tagged; `None`
    /// if that aborts. Nothing is written.
    pub fn seen(&mut self, page: u64) -> Option<Seen> {
        let as_type = self.whole()?;
        let probe = if as_type == Type::Tagged { probe::probe_seen_tags } else { probe::probe_seen };
        let _reached = reach();
        let mut seen = [0; 3];
        // SAFETY: a page of memory that we own exclusively, mapped, and Tagged for what reads tags; it is only read, and
        // aborts are recovered. The words are ours.
        let look = probe::look(unsafe { probe(self.page(page).start.0, &raw mut seen) });
        let [one, two, tags] = seen;
        let tags = (as_type == Type::Tagged).then_some(tags);
        (look == Look::Good).then_some(Seen { data: [one, two], tags })
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

    /// Clears a page of memory that is open, and its tags if Tagged.
    pub fn clear_page(&mut self, page: u64) -> Look {
        match self.whole() {
            Some(as_type) => Part { pages: self.page(page), tagged: as_type == Type::Tagged }.zero(),
            None => Look::Aborted,
        }
    }

    fn probe(&mut self, page: u64, argument: u64, [plain, tagged]: [unsafe extern "C" fn(u64, u64) -> u64; 2]) -> Look {
        let probe = match self.whole() {
            Some(Type::Tagged) => tagged,
            Some(Type::WriteBack | Type::NonCacheable) => plain,
            None => return Look::Aborted,
        };
        let _reached = reach();
        // SAFETY: a page of memory that we own exclusively, mapped read-write, and Tagged for what touches tags; it
        // holds no Rust objects. Aborts are recovered.
        probe::look(unsafe { probe(self.page(page).start.0, argument) })
    }

    /// Returns with which type the memory is open, if no part of it is another CPU's just now.
    fn whole(&self) -> Option<Type> {
        self.mapped.filter(|_| self.out == 0)
    }

    fn page(&self, page: u64) -> Region<Pa> {
        let page = page % (self.region.size / PAGE_SIZE);
        Region { start: Pa(self.region.start.0 + page * PAGE_SIZE), size: PAGE_SIZE }
    }
}

/// Has this CPU see what is in the map, also what another CPU has brought there.
fn reach() -> Whole {
    let whole = Whole::enter();
    isb();
    whole
}

impl Part {
    /// Returns how many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.pages.size
    }

    /// Clears the part, with its tags if the type is Tagged, and looks whether it is clear. Returns whether all of it
    /// answered and kept nothing.
    pub fn clear(&mut self) -> bool {
        let is_good = self.zero() == Look::Good && self.is_clear();
        // Also after an abort: what was written before it may be reported later, and not to whom runs here then.
        !serror::drain() && is_good
    }

    /// Looks at a line of every page.
    fn is_clear(&self) -> bool {
        let _reached = reach();
        // SAFETY: a part is mapped for as long as it is out, and is of memory that we own exclusively; it is only
        // read, and aborts are recovered.
        let look = probe::look(unsafe { probe::probe_clear(self.pages.start.0, self.pages.end().0) });
        look == Look::Good
    }

    /// Zeroes all, and leaves nothing of it in the caches.
    fn zero(&mut self) -> Look {
        let probe = if self.tagged { probe::probe_zero_tags } else { probe::probe_zero };
        let _reached = reach();
        // SAFETY: a part is whole pages, mapped read-write (Tagged, which needs MTE2, if `tagged`) for as long as it is
        // out, is of memory that we own exclusively and in no other part, and holds no Rust objects. Aborts are recovered.
        probe::look(unsafe { probe(self.pages.start.0, self.pages.end().0, fill::block(), cache::data_line()) })
    }
}
