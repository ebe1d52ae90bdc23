//! `model`'s traits over `el2`'s types: a few lines each, and no decision.

use assay_el2::gic;
use assay_el2::guest_ram::GuestRam;
use assay_el2::stage2::TableMemory;
use assay_model::holes::Holes;
use assay_model::loader::GuestMemory;
use assay_model::stage2::{Stage2, Tables, TablesInUse, WithdrawError};
use assay_model::vgic::{ListRegisters, ListSlots};
use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::intid::IntId;
use assay_spec::lr::Lr;

/// The List Registers of the running CPU.
pub(crate) struct Lists;

impl ListSlots for Lists {
    #[inline(always)]
    fn write(&mut self, index: usize, lr: Lr) {
        gic::lr_write(index, lr);
    }
    #[inline]
    fn empty(&self) -> u32 {
        gic::lr_empty()
    }
}

impl ListRegisters for Lists {
    #[inline]
    fn count(&self) -> u32 {
        gic::lr_count()
    }
    fn read(&self, index: usize) -> Lr {
        gic::lr_read(index)
    }
    fn set_maintenance(&mut self, requests: u32) {
        gic::set_maintenance(requests);
    }
    fn deactivate_physical(&mut self, intid: IntId) {
        gic::deactivate_intid(intid);
    }
    fn is_deactivation_separate(&self) -> bool {
        gic::is_deactivation_separate()
    }
    fn is_physical_pending(&self, intid: IntId) -> bool {
        gic::is_pending(intid)
    }
}

/// The same where they are known to be a GICv3's.
pub(crate) struct ListsV3(pub(crate) gic::V3);

impl ListSlots for ListsV3 {
    #[inline(always)]
    fn write(&mut self, index: usize, lr: Lr) {
        self.0.lr_write(index, lr);
    }
    #[inline(always)]
    fn empty(&self) -> u32 {
        self.0.lr_empty()
    }
}

/// One VM's stage-2 tables.
pub(crate) struct TableAdapter(pub(crate) TableMemory);

impl Tables for TableAdapter {
    fn alloc(&mut self, pages: usize) -> Option<Pa> {
        self.0.alloc(pages)
    }
    fn load(&self, entry: Pa) -> u64 {
        self.0.load(entry)
    }
    fn store(&mut self, entry: Pa, descriptor: u64) {
        self.0.store(entry, descriptor);
    }
    fn publish(&mut self) {
        self.0.publish();
    }
    fn may_map(&self, memory: Region<Pa>) -> bool {
        self.0.may_map(memory)
    }
}

impl TablesInUse for TableAdapter {
    fn withdraw(&mut self, page: Pa) -> bool {
        self.0.withdraw(page)
    }
    fn forget(&mut self) {
        self.0.forget();
    }
}

/// Tables that are filled, for a VM or for its devices.
pub(crate) struct Mapped {
    pub(crate) stage2: Stage2,
    pub(crate) tables: TableAdapter,
}

impl Mapped {
    /// Takes a page out of them, between two lives.
    pub(crate) fn withdraw(&mut self, page: Ipa) -> Result<(), WithdrawError> {
        self.stage2.withdraw(page, &mut self.tables)
    }

    /// Returns the bytes that they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.tables.0.bytes()
    }
}

/// One VM's RAM and flashes, by the parts that they were taken in.
pub(crate) struct Ram {
    pub(crate) parts: alloc::vec::Vec<(Region<Ipa>, GuestRam)>,
    /// What nobody touches any more.
    pub(crate) holes: Holes,
}

impl Ram {
    /// Calls `act` with each part that `range` touches, but for holes: the memory, the offset in it, and which bytes of
    /// `range`.
    fn each(&mut self, range: Region<Ipa>, mut act: impl FnMut(&mut GuestRam, u64, core::ops::Range<u64>)) {
        let Self { parts, holes } = self;
        holes.parts(range, |piece| {
            for (place, ram) in parts.iter_mut() {
                let start = place.start.max(piece.start);
                let end = place.end().min(piece.end());
                if start < end {
                    act(ram, start.0 - place.start.0, start.0 - range.start.0..end.0 - range.start.0);
                }
            }
        });
    }

    /// Cleans and invalidates `size` bytes from the `from`th on. Returns whether there was anything.
    pub(crate) fn clean_and_invalidate(&mut self, from: u64, size: u64) -> bool {
        let (mut before, to) = (0u64, from.saturating_add(size));
        for (place, ram) in &self.parts {
            let memory = ram.region();
            let (start, end) = (from.max(before) - before, to.min(before + memory.size).saturating_sub(before));
            if start < end {
                let range = Region { start: Ipa(place.start.0 + start), size: end - start };
                self.holes.parts(range, |piece| {
                    let start = piece.start.0 - place.start.0;
                    let _ = ram.clean_and_invalidate(start..start + piece.size);
                });
            }
            before += memory.size;
        }
        from < before
    }

    /// Reads two words in one access; there is no memory at an address only by a fault of ours.
    pub(crate) fn load(&self, at: Ipa) -> u64 {
        let part = self.parts.iter().find(|(place, _)| place.contains(at));
        part.and_then(|(place, ram)| ram.load(at.0 - place.start.0).ok()).unwrap_or(0)
    }

    /// Writes two words in one access.
    pub(crate) fn store(&mut self, at: Ipa, value: u64) {
        if let Some((place, ram)) = self.parts.iter().find(|(place, _)| place.contains(at)) {
            let _ = ram.store(at.0 - place.start.0, value);
        }
    }

    /// Cleans and invalidates guest addresses `range`.
    pub(crate) fn clean(&mut self, range: Region<Ipa>) {
        self.each(range, |ram, offset, bytes| {
            let _ = ram.clean_and_invalidate(offset..offset + (bytes.end - bytes.start));
        });
    }

    /// Makes what was written at guest addresses `range` fit for execution.
    pub(crate) fn make_executable(&mut self, range: Region<Ipa>) {
        self.each(range, |ram, offset, bytes| {
            let _ = ram.make_executable(offset..offset + (bytes.end - bytes.start));
        });
    }
}

fn part(bytes: &[u8], range: &core::ops::Range<u64>) -> core::ops::Range<usize> {
    let clamp = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
    clamp(range.start)..clamp(range.end)
}

impl GuestMemory for Ram {
    // The loader's plan lies in RAM, so no part is out of range; if it were, nothing is written.
    fn zero(&mut self, pages: Region<Ipa>) {
        self.each(pages, |ram, offset, bytes| {
            let _ = ram.zero(offset..offset + (bytes.end - bytes.start));
        });
    }
    fn copy(&mut self, to: Ipa, bytes: &[u8]) {
        self.each(Region { start: to, size: bytes.len() as u64 }, |ram, offset, range| {
            let _ = ram.copy(offset, bytes.get(part(bytes, &range)).unwrap_or_default(), None);
        });
    }
    fn sum(&mut self, bytes: &[u8], crc: u32) -> u32 {
        assay_el2::crc32(bytes, crc)
    }
    fn copy_and_sum(&mut self, to: Ipa, bytes: &[u8], mut crc: u32) -> u32 {
        self.each(Region { start: to, size: bytes.len() as u64 }, |ram, offset, range| {
            let _ = ram.copy(offset, bytes.get(part(bytes, &range)).unwrap_or_default(), Some(&mut crc));
        });
        crc
    }
}
