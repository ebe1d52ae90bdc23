//! Reading the tables: from an address to the entry that decides about it.

use assay_spec::addr::{Address, Ipa, Pa, Region};
use assay_spec::stage2_desc::{
    CONTIGUOUS_ENTRIES, Descriptor, ENTRIES, ENTRY_BYTES, LAST_LEVEL, Shape, entry_size, shift,
};

use super::{MapError, Stage2, Tables};

/// The entry at which a walk ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Where the entry is.
    pub(super) entry: Pa,
    /// Its level.
    pub(super) level: u8,
    /// Its index in the table; in concatenated start tables it counts through.
    pub(super) index: u64,
    /// What it holds: never a table.
    pub(super) descriptor: Descriptor,
}

impl Slot {
    /// Tells whether the entry is a block or a page.
    pub(super) fn is_leaf(&self) -> bool {
        self.descriptor.shape(self.level) == Shape::Leaf
    }

    /// Returns the first entry, and how many entries change together with this one: 16 or 1.
    pub(super) fn unit(&self) -> (Pa, u64) {
        if self.is_leaf() && self.descriptor.is_contiguous() {
            let before = self.index % CONTIGUOUS_ENTRIES * ENTRY_BYTES;
            (Pa(self.entry.raw() - before), CONTIGUOUS_ENTRIES)
        } else {
            (self.entry, 1)
        }
    }

    /// Returns the addresses around `ipa` that change together.
    pub(super) fn unit_region(&self, ipa: Ipa) -> Region<Ipa> {
        let size = self.unit().1 * entry_size(self.level);
        Region { start: ipa.align_down(size), size }
    }
}

impl Stage2 {
    /// Walks to the entry that decides about `ipa`, which is below the end of the tables.
    pub(super) fn slot(&self, ipa: Ipa, tables: &impl Tables) -> Slot {
        let mut level = self.geometry.start_level();
        let mut index = ipa.raw() >> shift(level);
        let mut table = self.root;
        loop {
            let entry = entry_at(table, index);
            let descriptor = Descriptor(tables.load(entry));
            // No table descriptor exists at the last level, so that this ends there at the latest.
            let Shape::Table(next) = descriptor.shape(level) else {
                return Slot { entry, level, index, descriptor };
            };
            table = next;
            level += 1;
            index = (ipa.raw() >> shift(level)) % ENTRIES;
        }
    }

    /// Walks as [`slot`](Self::slot) does and makes the tables that are missing down to `level`.
    /// It goes further down where there is a table already, and stops earlier at a block.
    pub(super) fn slot_at(&self, ipa: Ipa, level: u8, tables: &mut impl Tables) -> Result<Slot, MapError> {
        loop {
            let slot = self.slot(ipa, tables);
            if slot.level >= level || slot.is_leaf() {
                return Ok(slot);
            }
            let next = tables.alloc(1).ok_or(MapError::OutOfTables)?;
            tables.store(slot.entry, Descriptor::table(next).0);
        }
    }

    /// Returns how many entries follow in the same table, the entry of `slot` included.
    pub(super) fn entries_left(&self, slot: &Slot) -> u64 {
        if slot.level == self.geometry.start_level() {
            self.geometry.end() / entry_size(slot.level) - slot.index
        } else {
            ENTRIES - slot.index
        }
    }

    /// Checks that all of `ipas` is mapped.
    pub(super) fn check_mapped(&self, ipas: Region<Ipa>, tables: &impl Tables) -> Result<(), MapError> {
        let mut at = ipas.start;
        while at < ipas.end() {
            let slot = self.slot(at, tables);
            if !slot.is_leaf() {
                return Err(MapError::NotMapped(at));
            }
            at = after(at, slot.level);
        }
        Ok(())
    }
}

/// Returns the place of entry `index` of a table.
pub(super) fn entry_at(table: Pa, index: u64) -> Pa {
    Pa(table.raw() + index * ENTRY_BYTES)
}

/// Returns the first address after `at` that another entry of `level` decides about.
pub(super) fn after(at: Ipa, level: u8) -> Ipa {
    Ipa(at.align_down(entry_size(level)).raw() + entry_size(level))
}

const _: () = assert!(LAST_LEVEL == 3);
