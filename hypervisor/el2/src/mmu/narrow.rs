//! The map of CPUs that run guests: EL2's map without guests' RAM, so that neither a stray access of EL2's nor its
//! speculation reaches what a guest holds. Who fills or clears such memory is on the whole map for that time.

use core::marker::PhantomData;

use aarch64_paging::idmap::IdMap;
use aarch64_paging::paging::El2;
use alloc::vec::Vec;
use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::idmap::{beside, tables};
use assay_spec::sort;
use spin::Once;

use super::{ACTIVE, Kind, Map, MapFailed, Registers, between, registers, switch_to};
use crate::heap;
use crate::sysreg::{dsb_ish, read_sysreg};

/// Both maps, once there are two.
struct Maps {
    whole: Registers,
    narrow: Registers,
}

static MAPS: Once<Maps> = Once::new();

/// Memory that EL2 reaches by the whole map only: what has it sees to that.
#[derive(Debug)]
pub struct Hidden(pub(crate) Region<Pa>);

/// Makes the narrow map, once: all that is mapped now but for `hidden`. From then on nothing is added to EL2's map.
///
/// # Errors
/// [`MapFailed`] before [`Map::activate`], the second time, and if the heap has no room for the tables.
pub fn leave_out(hidden: &[Hidden]) -> Result<(), MapFailed> {
    let nothing = MapFailed(between(0, 0));
    let active = ACTIVE.lock();
    let whole = active.as_ref().filter(|_| !exists()).ok_or(nothing)?;
    let mut holes: Vec<_> = hidden.iter().map(|Hidden(region)| *region).collect();
    sort::by_key(&mut holes, |hole| hole.start);
    let pieces = |(range, kind): &(Region<Pa>, Kind)| {
        let kind = *kind;
        beside(*range, holes.iter().copied()).map(move |piece| (piece, kind))
    };
    let mut pieces: Vec<_> = whole.ranges.iter().flat_map(pieces).collect();
    sort::by_key(&mut pieces, |(piece, _)| piece.start);
    // Before the tables have their room.
    let ranges = Vec::with_capacity(pieces.len());
    // One more, since each begins with a page.
    let bytes = (tables(pieces.iter().map(|(piece, _)| *piece)) + 1) * PAGE_SIZE;
    if !heap::reserve(bytes as usize) {
        return Err(nothing);
    }
    let mut narrow = Map { tables: IdMap::new(0, El2), ranges, prepared: 0 };
    for (piece, kind) in pieces {
        narrow.add(piece, kind)?;
    }
    narrow.tables.mark_active();
    let root = |map: &Map| registers(map.tables.root_address().0 as u64);
    let maps = Maps { whole: root(whole), narrow: root(&narrow) };
    // For good: CPUs use its tables.
    core::mem::forget(narrow);
    dsb_ish();
    let _ = MAPS.call_once(|| maps);
    Ok(())
}

/// Tells whether there is a narrow map.
pub(super) fn exists() -> bool {
    MAPS.is_completed()
}

/// Puts this CPU on the narrow map, if there is one: before it runs guests.
pub fn narrow() {
    if let Some(maps) = MAPS.get() {
        switch_to(&maps.narrow);
    }
}

/// While it lives this CPU is on the whole map. Whatever needs it enters it itself; who knows that much is to come
/// enters it first.
pub struct Whole {
    /// What to go back to.
    narrow: Option<&'static Registers>,
    /// Of this CPU: not `Send`.
    here: PhantomData<*const ()>,
}

impl Whole {
    /// Puts this CPU on the whole map, unless it is.
    pub fn enter() -> Self {
        let is_narrow = |maps: &&Maps| read_sysreg!("ttbr0_el2") == maps.narrow.ttbr0;
        let maps = MAPS.get().filter(is_narrow);
        maps.into_iter().for_each(|maps| switch_to(&maps.whole));
        Self { narrow: maps.map(|maps| &maps.narrow), here: PhantomData }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.narrow.into_iter().for_each(switch_to);
    }
}
