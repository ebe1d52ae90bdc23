//! Firmware's memory map (UEFI 2.10 §7.2.3), as the bytes that GetMemoryMap left.

use assay_spec::addr::{Pa, Region};

const PAGE: u64 = 0x1000;
/// EFI_MEMORY_WB: it can be mapped as Normal memory.
const WRITE_BACK: u64 = 1 << 3;
/// EFI_MEMORY_SP: meant for one purpose, and kept from general use.
const SPECIFIC_PURPOSE: u64 = 1 << 18;

/// The map: descriptors of `stride` bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryMap<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The size of a descriptor, which may grow with firmware's version.
    pub stride: usize,
}

impl MemoryMap<'_> {
    /// Returns the first memory from `at` on that is free once boot services have ended, with all that adjoins it.
    pub fn free_from(&self, at: u64) -> Option<Region<Pa>> {
        let start = self.free().filter(|free| free.end().0 > at).map(|free| free.start.0.max(at)).min()?;
        let mut end = start;
        while let Some(more) = self.free().find(|free| free.start.0 <= end && end < free.end().0) {
            end = more.end().0;
        }
        Region::new(Pa(start), end - start)
    }

    /// Shows, range by range, what of `memory` is not free then.
    pub fn kept_in(&self, memory: Region<Pa>) -> impl Iterator<Item = Region<Pa>> {
        let mut at = memory.start.0;
        core::iter::from_fn(move || {
            let end = memory.end().0;
            loop {
                let free = self.free_from(at).filter(|free| free.start.0 < end);
                let until = free.map_or(end, |free| free.start.0);
                let kept = Region::new(Pa(at), until.checked_sub(at)?);
                at = free.map_or(end, |free| free.end().0.min(end));
                if kept.is_some() || at >= end {
                    return kept;
                }
            }
        })
    }

    /// What is free then: types that end with boot services, and conventional memory (§7.2.1, table 7.6).
    fn free(&self) -> impl Iterator<Item = Region<Pa>> {
        self.bytes.chunks_exact(self.stride.max(40)).filter_map(|entry| {
            let word = |at: usize| Some(u64::from_le_bytes(*entry.get(at..)?.first_chunk()?));
            // The type is 32 bits wide, and what follows it is padding.
            let (kind, start, pages, attributes) = (word(0)? & 0xffff_ffff, word(8)?, word(24)?, word(32)?);
            let is_free = matches!(kind, 1..=4 | 7) && attributes & (WRITE_BACK | SPECIFIC_PURPOSE) == WRITE_BACK;
            is_free.then(|| Region::new(Pa(start), pages.checked_mul(PAGE)?))?
        })
    }
}
