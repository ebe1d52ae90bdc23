//! Taking one page out of tables that have been in use, between two lives of their VM.
//!
//! The leaf that the page is in goes, with all of its contiguous group, and is forgotten by all who cached it. Then what
//! is left of it is mapped as anything is. No vCPU of the VM runs meanwhile, so nobody misses the neighbours.

use assay_spec::addr::{Address, Ipa, PAGE_SIZE, Pa, Region};
use assay_spec::stage2_desc::{CONTIGUOUS_ENTRIES, Descriptor, ENTRIES, ENTRY_BYTES, LAST_LEVEL, Shape};
use assay_spec::stage2_desc::{entry_size, shift};
use thiserror::Error;

use super::{Stage2, Tables, entry_at};

/// What it takes of the machine to change tables that have been in use.
pub trait TablesInUse: Tables {
    /// Lets no leaf that is stored from now on lead to `page`. False: somebody uses the tables who cannot be told of a
    /// change.
    fn withdraw(&mut self, page: Pa) -> bool;

    /// Makes earlier stores visible to all table walks, and has all that cache translations of these tables forget them.
    fn forget(&mut self);
}

/// Why a page stays where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WithdrawError {
    /// There is no memory for the tables that take the place of a block.
    #[error("there is no memory for the tables that it takes")]
    OutOfTables,
    /// A device uses the tables.
    #[error("the SMMU before one of the VM's devices has not answered, so the device may still reach it")]
    Busy,
}

/// A leaf, or the contiguous group that it is one of.
struct Found {
    level: u8,
    /// Its first entry, and how many it has.
    entry: Pa,
    count: u64,
    /// What it maps, to where, and how.
    ipas: Region<Ipa>,
    target: Pa,
    bits: u64,
}

impl Stage2 {
    /// Takes the page at `page` out of the tables; all others translate as before. Nothing is done where nothing is mapped.
    ///
    /// # Errors
    /// Each [`WithdrawError`]; nothing has changed then.
    pub fn withdraw(&self, page: Ipa, tables: &mut impl TablesInUse) -> Result<(), WithdrawError> {
        let page = page.align_down(PAGE_SIZE);
        let Some(found) = self.find(page, tables) else {
            return Ok(());
        };
        let Found { level, entry, count, ipas, target, bits } = found;
        if !tables.withdraw(Pa(target.raw() + (page.raw() - ipas.start.raw()))) {
            return Err(WithdrawError::Busy);
        }
        // One for each level below: the others are wholly mapped or not at all. Before anything is broken.
        let pages = usize::from(LAST_LEVEL.saturating_sub(level));
        let ready = if pages == 0 { Pa(0) } else { tables.alloc(pages).ok_or(WithdrawError::OutOfTables)? };
        for index in 0..count {
            tables.store(entry_at(entry, index), 0);
        }
        tables.forget();
        let mut tables = Ready { tables, next: ready, end: Pa(ready.raw() + pages as u64 * PAGE_SIZE) };
        for (start, end) in [(ipas.start, page), (Ipa(page.raw() + PAGE_SIZE), ipas.end())] {
            let mut at = start;
            while at < end {
                let to = Pa(target.raw() + (at.raw() - ipas.start.raw()));
                // What was mapped before fits, and its tables are ready: no error can come.
                let done = self.map_largest(at, to, end.raw() - at.raw(), bits, &mut tables);
                at = Ipa(at.raw() + done.map_err(|_| WithdrawError::OutOfTables)?);
            }
        }
        tables.publish();
        Ok(())
    }

    /// Finds the leaf that maps `page`.
    fn find(&self, page: Ipa, tables: &impl Tables) -> Option<Found> {
        if page.raw() >= self.geometry.end() {
            return None;
        }
        let mut level = self.geometry.start_level();
        let mut entry = entry_at(self.root, page.raw() >> shift(level));
        loop {
            let leaf = Descriptor(tables.load(entry));
            match leaf.shape(level) {
                Shape::Invalid => return None,
                Shape::Table(next) => {
                    level += 1;
                    entry = entry_at(next, (page.raw() >> shift(level)) % ENTRIES);
                }
                Shape::Leaf => {
                    let count = if leaf.is_contiguous() { CONTIGUOUS_ENTRIES } else { 1 };
                    // Groups are aligned by their entries as by what they map (D8.7.1).
                    let (size, entry) = (entry_size(level) * count, entry.align_down(count * ENTRY_BYTES));
                    let ipas = Region { start: page.align_down(size), size };
                    let target = leaf.output().align_down(size);
                    return Some(Found { level, entry, count, ipas, target, bits: leaf.attributes() });
                }
            }
        }
    }
}

/// Tables, of which no more are taken than are ready.
struct Ready<'a, T> {
    tables: &'a mut T,
    next: Pa,
    end: Pa,
}

impl<T: Tables> Tables for Ready<'_, T> {
    fn alloc(&mut self, pages: usize) -> Option<Pa> {
        let next = Pa(self.next.raw() + pages as u64 * PAGE_SIZE);
        (next <= self.end).then(|| core::mem::replace(&mut self.next, next))
    }
    fn load(&self, entry: Pa) -> u64 {
        self.tables.load(entry)
    }
    fn store(&mut self, entry: Pa, descriptor: u64) {
        self.tables.store(entry, descriptor);
    }
    fn publish(&mut self) {
        self.tables.publish();
    }
    fn may_map(&self, memory: Region<Pa>) -> bool {
        self.tables.may_map(memory)
    }
}
