//! Changing and removing live mappings, always by break-before-make (DDI0487 D8.17.1).

use assay_spec::addr::{Address, Ipa, PAGE_SIZE, Pa, Region};
use assay_spec::stage2_desc::{CONTIGUOUS_ENTRIES, Descriptor, ENTRIES, LAST_LEVEL, entry_size};

use super::fill::{groups, store_leaves};
use super::walk::{Slot, after, entry_at};
use super::{MapError, Stage2, Tables};

/// More splits than one address can need: a 1 GiB block, a 32 MiB group, a 2 MiB block, a 64 KiB group.
const SPLITS_MAX: usize = 6;

impl Stage2 {
    /// Splits leaves until none reaches across an end of `ipas`. This changes no translation, so that
    /// running out of memory half way is harmless.
    pub(super) fn split_around(&self, ipas: Region<Ipa>, tables: &mut impl Tables) -> Result<(), MapError> {
        let mut result = self.split_at(ipas.start, tables);
        if result.is_ok() && ipas.end().raw() < self.geometry.end() {
            result = self.split_at(ipas.end(), tables);
        }
        tables.publish();
        result
    }

    /// Splits leaves until one begins at `border`, or there is none.
    fn split_at(&self, border: Ipa, tables: &mut impl Tables) -> Result<(), MapError> {
        for _ in 0..SPLITS_MAX {
            let slot = self.slot(border, tables);
            if !slot.is_leaf() || slot.unit_region(border).start == border {
                return Ok(());
            }
            if slot.descriptor.is_contiguous() {
                self.ungroup(&slot, border, tables);
            } else {
                self.split_block(&slot, border, tables)?;
            }
        }
        Ok(())
    }

    /// Makes 16 leaves of their own out of a contiguous group.
    fn ungroup(&self, slot: &Slot, ipa: Ipa, tables: &mut impl Tables) {
        let (first, _) = slot.unit();
        let group = slot.unit_region(ipa);
        let memory = Descriptor(tables.load(first)).output();
        let leaf = Descriptor::leaf(slot.level, memory, slot.descriptor.attribute_bits());
        break_unit(first, CONTIGUOUS_ENTRIES, group, slot.level, tables);
        store_leaves(first, slot.level, leaf, CONTIGUOUS_ENTRIES, tables);
    }

    /// Puts a table in the place of a block.
    fn split_block(&self, slot: &Slot, ipa: Ipa, tables: &mut impl Tables) -> Result<(), MapError> {
        let table = tables.alloc(1).ok_or(MapError::OutOfTables)?;
        let level = slot.level + 1;
        let memory = slot.descriptor.output();
        let leaf = Descriptor::leaf(level, memory, slot.descriptor.attribute_bits());
        // A block is aligned to its size, so that all groups in it are possible or none is.
        let leaf = if groups(level, memory) { leaf.contiguous() } else { leaf };
        store_leaves(table, level, leaf, ENTRIES, tables);
        break_unit(slot.entry, 1, slot.unit_region(ipa), slot.level, tables);
        tables.store(slot.entry, Descriptor::table(table).0);
        Ok(())
    }

    /// Invalidates all leaves in `ipas`, across whose ends none reaches, and the TLBs once.
    pub(super) fn remove(&self, ipas: Region<Ipa>, tables: &mut impl Tables) {
        let mut at = ipas.start;
        // What was mapped, and the smallest leaf of it, to spare the TLBs the rest.
        let mut mapped: Option<(Ipa, Ipa)> = None;
        let mut stride = entry_size(0);
        while at < ipas.end() {
            let slot = self.slot(at, tables);
            let next = after(at, slot.level);
            if slot.is_leaf() {
                tables.store(slot.entry, Descriptor::INVALID.0);
                mapped = Some((mapped.map_or(at, |(first, _)| first), next));
                stride = stride.min(entry_size(slot.level));
            }
            at = next;
        }
        if let Some((first, end)) = mapped {
            let size = end.raw() - first.raw();
            tables.invalidate(Region { start: first, size }, stride);
        }
    }

    /// Replaces all leaves in `ipas`, across whose ends none reaches, by leaves with other attributes.
    pub(super) fn replace(&self, ipas: Region<Ipa>, bits: u64, tables: &mut impl Tables) {
        let mut at = ipas.start;
        while at < ipas.end() {
            let slot = self.slot(at, tables);
            if !slot.is_leaf() {
                at = after(at, slot.level);
                continue;
            }
            let unit = slot.unit_region(at);
            if slot.descriptor.attribute_bits() != bits {
                let (first, count) = slot.unit();
                let memory = Descriptor(tables.load(first)).output();
                let leaf = Descriptor::leaf(slot.level, memory, bits);
                let leaf = if count > 1 { leaf.contiguous() } else { leaf };
                break_unit(first, count, unit, slot.level, tables);
                store_leaves(first, slot.level, leaf, count, tables);
            }
            at = unit.end();
        }
    }
}

/// Breaks: invalidates the entries, then what TLBs hold of them.
fn break_unit(first: Pa, count: u64, ipas: Region<Ipa>, level: u8, tables: &mut impl Tables) {
    for step in 0..count {
        tables.store(entry_at(first, step), Descriptor::INVALID.0);
    }
    tables.invalidate(ipas, entry_size(level));
}

const _: () = assert!(PAGE_SIZE == entry_size(LAST_LEVEL));
