//! Making mappings: first the tables and the check, which can fail, then the leaves, which cannot.

use assay_spec::addr::{Address, Ipa, Pa, Region};
use assay_spec::stage2_desc::{CONTIGUOUS_ENTRIES, Descriptor, LAST_LEVEL, Shape, entry_size};

use super::walk::{Slot, after, entry_at};
use super::{MapError, Stage2, Tables};

/// Consecutive entries of one table that could each hold a leaf of the mapping.
struct Run {
    slot: Slot,
    /// How many; 0 if a larger block is there already, which has to agree with the mapping.
    count: u64,
}

impl Stage2 {
    /// Makes every table that mapping `ipas` to `pa` needs, and finds what is in the way.
    pub(super) fn prepare(
        &self,
        ipas: Region<Ipa>,
        pa: Pa,
        bits: u64,
        tables: &mut impl Tables,
    ) -> Result<(), MapError> {
        let mut at = ipas.start;
        while at < ipas.end() {
            let target = target(at, ipas.start, pa);
            let run = self.run(at, target, ipas.end(), tables)?;
            let Slot { level, entry, .. } = run.slot;
            if run.count == 0 {
                agree(run.slot.descriptor, level, at, target, bits)?;
                at = after(at, level);
                continue;
            }
            for step in 0..run.count {
                let descriptor = Descriptor(tables.load(entry_at(entry, step)));
                match descriptor.shape(level) {
                    Shape::Invalid => {}
                    Shape::Leaf => agree(descriptor, level, at, self::target(at, ipas.start, pa), bits)?,
                    // The next run goes down into it.
                    Shape::Table(_) => break,
                }
                at = after(at, level);
            }
        }
        Ok(())
    }

    /// Stores the leaves. After [`prepare`](Self::prepare) it meets only holes and what is mapped so
    /// already, and needs no memory.
    pub(super) fn fill(&self, ipas: Region<Ipa>, pa: Pa, bits: u64, tables: &mut impl Tables) -> Result<(), MapError> {
        let mut at = ipas.start;
        while at < ipas.end() {
            let run = self.run(at, target(at, ipas.start, pa), ipas.end(), tables)?;
            let Slot { level, entry, index, .. } = run.slot;
            if run.count == 0 {
                at = after(at, level);
                continue;
            }
            let mut step = 0;
            while step < run.count {
                let entry = entry_at(entry, step);
                let descriptor = Descriptor(tables.load(entry));
                let mut stored = 1;
                match descriptor.shape(level) {
                    Shape::Table(_) => break,
                    Shape::Leaf => {}
                    Shape::Invalid => {
                        let target = target(at, ipas.start, pa);
                        let leaf = Descriptor::leaf(level, target, bits);
                        let grouped = run.count - step >= CONTIGUOUS_ENTRIES
                            && (index + step).is_multiple_of(CONTIGUOUS_ENTRIES)
                            && groups(level, target)
                            && is_empty_group(entry, tables);
                        if grouped {
                            store_leaves(entry, level, leaf.contiguous(), CONTIGUOUS_ENTRIES, tables);
                            stored = CONTIGUOUS_ENTRIES;
                        } else {
                            tables.store(entry, leaf.0);
                        }
                    }
                }
                step += stored;
                at = Ipa(at.raw() + stored * entry_size(level));
            }
        }
        Ok(())
    }

    /// Finds the entries from `at` on that can hold leaves of a mapping of `at..end` to `target`.
    fn run(&self, at: Ipa, target: Pa, end: Ipa, tables: &mut impl Tables) -> Result<Run, MapError> {
        let wanted = self.best_level(at, target, end.raw() - at.raw());
        let slot = self.slot_at(at, wanted, tables)?;
        if slot.level < wanted {
            return Ok(Run { slot, count: 0 });
        }
        let fitting = (end.raw() - at.raw()) / entry_size(slot.level);
        Ok(Run { count: fitting.min(self.entries_left(&slot)), slot })
    }

    /// Returns the level of the largest leaf that both addresses and the length allow.
    fn best_level(&self, at: Ipa, target: Pa, length: u64) -> u8 {
        // With DS = 0 there are no blocks at level 0 (D8.3.1.2).
        let mut level = self.geometry.start_level().max(1);
        while level < LAST_LEVEL {
            let size = entry_size(level);
            if (at.raw() | target.raw()) & (size - 1) == 0 && length >= size {
                break;
            }
            level += 1;
        }
        level
    }
}

/// Stores `count` leaves that follow each other in memory as they do in the table.
pub(super) fn store_leaves(entry: Pa, level: u8, first: Descriptor, count: u64, tables: &mut impl Tables) {
    for step in 0..count {
        // The output address grows; the attribute bits are not reached by a carry, as the address
        // space ends at 48 bits.
        tables.store(entry_at(entry, step), first.0 + step * entry_size(level));
    }
}

/// Tells whether leaves of `level` from `pa` on may form a contiguous group. At level 1 a group would be
/// 16 GiB, more than a TLB is likely to hold as one.
pub(super) fn groups(level: u8, pa: Pa) -> bool {
    level >= 2 && pa.is_aligned(CONTIGUOUS_ENTRIES * entry_size(level))
}

fn is_empty_group(entry: Pa, tables: &impl Tables) -> bool {
    (1..CONTIGUOUS_ENTRIES).all(|step| tables.load(entry_at(entry, step)) == 0)
}

/// Returns where `at` is to lead, if `start` leads to `pa`.
fn target(at: Ipa, start: Ipa, pa: Pa) -> Pa {
    Pa(pa.raw() + (at.raw() - start.raw()))
}

/// Checks that a live leaf already does to `at` what the mapping would do.
fn agree(descriptor: Descriptor, level: u8, at: Ipa, target: Pa, bits: u64) -> Result<(), MapError> {
    let offset = at.raw() & (entry_size(level) - 1);
    let leads_there = descriptor.output().raw() | offset == target.raw();
    if leads_there && descriptor.attribute_bits() == bits { Ok(()) } else { Err(MapError::Conflict(at)) }
}
