//! EL2's own map: identity, W^X, devices nGnRE or nGnRnE, guard pages, RAM never executable.
//!
//! The tables are `aarch64-paging`'s, from the heap. All writable RAM is mapped, guests' included: loading,
//! clearing and restarting need it without allocating (ADR 0006). Memory marked `no-map` and coherent
//! accelerator memory are not. While guests run their CPUs are on a second map, without guests' RAM ([`leave_out`]).

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_paging::descriptor::El23Attributes;
use aarch64_paging::idmap::IdMap;
use aarch64_paging::paging::{El2, MemoryRegion};
use assay_spec::addr::{Address, PAGE_SIZE, Pa, Region};
use spin::{Mutex, Once};

use crate::sysreg::{dsb_ish, isb, read_sysreg};
use crate::{heap, image, percpu};

mod narrow;

pub use narrow::{Hidden, Whole, leave_out, narrow};

/// MAIR_EL2: attribute 0 Normal WB, 1 Device-nGnRE, 2 Normal Tagged WB (0xf0, with MTE2), 3 Normal-NC, 4
/// Device-nGnRnE.
const MAIR: u64 = 0x00_44_f0_04_ff;
const MAIR_WITHOUT_MTE: u64 = 0x00_44_ff_04_ff;

/// How EL2 maps a range for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Code: read, execute.
    Text,
    /// Constants: read.
    ReadOnly,
    /// Data and RAM: read, write, Normal WB.
    Data,
    /// RAM with Allocation Tag storage: read, write, Normal Tagged WB.
    Tagged,
    /// Memory reached past the caches: read, write, Normal-NC.
    Uncached,
    /// Device-nGnRE.
    Device,
    /// PCI configuration space, Device-nGnRnE: only the end point acknowledges a write there.
    Configuration,
}

impl Kind {
    fn attributes(self) -> El23Attributes {
        let common = El23Attributes::VALID | El23Attributes::ACCESSED | El23Attributes::USER_RES1;
        let normal = common | El23Attributes::INNER_SHAREABLE;
        match self {
            Self::Text => normal | El23Attributes::READ_ONLY,
            Self::ReadOnly => normal | El23Attributes::READ_ONLY | El23Attributes::XN,
            Self::Data => normal | El23Attributes::XN,
            Self::Tagged => normal | El23Attributes::XN | El23Attributes::ATTRIBUTE_INDEX_2,
            Self::Uncached => normal | El23Attributes::XN | El23Attributes::ATTRIBUTE_INDEX_3,
            Self::Device => common | El23Attributes::XN | El23Attributes::ATTRIBUTE_INDEX_1,
            Self::Configuration => common | El23Attributes::XN | El23Attributes::ATTRIBUTE_INDEX_4,
        }
    }
}

/// A range could not be mapped: it overlaps what is mapped already, or lies beyond 48 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapFailed(pub Region<Pa>);

/// EL2's map, first being filled, then active.
pub struct Map {
    tables: IdMap<El2>,
    /// What is mapped, and how: the tables themselves would take a second mapping without a word.
    ranges: Vec<(Region<Pa>, Kind)>,
    /// How many ranges are mapped now and then, possibly all at once: there is room for them in `ranges`.
    prepared: usize,
}

static ACTIVE: Mutex<Option<Map>> = Mutex::new(None);

/// The boot CPU has MTE2: some of the map is Tagged, which a CPU without must not touch (`secondary`).
static MTE: AtomicBool = AtomicBool::new(false);

/// What `boot_secondary` and [`Map::activate`] load for a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub(crate) ttbr0: u64,
    pub(crate) tcr: u64,
    pub(crate) mair: u64,
    pub(crate) sctlr: u64,
    /// It maps memory as Tagged: a CPU without MTE2 must stay away from it.
    pub(crate) mte: bool,
}

impl Map {
    /// Makes a map that holds the image itself, section by section, without the boot CPU's guard page; and the heap.
    ///
    /// # Errors
    /// [`MapFailed`] if they lie where EL2 cannot map.
    pub fn new() -> Result<Self, MapFailed> {
        let mut map = Self { tables: IdMap::new(0, El2), ranges: Vec::new(), prepared: 0 };
        let block = image::boot_cpu_block();
        map.add(between(image::start(), image::rodata_start()), Kind::Text)?;
        map.add(between(image::rodata_start(), image::data_start()), Kind::ReadOnly)?;
        map.add(between(image::data_start(), block + percpu::GUARD), Kind::Data)?;
        map.add(between(block + percpu::GUARD + PAGE_SIZE, image::end()), Kind::Data)?;
        for heap in heap::early() {
            map.add(heap, Kind::Data)?;
        }
        Ok(map)
    }

    /// Adds a range, widened to whole pages. An empty range is nothing.
    ///
    /// # Errors
    /// [`MapFailed`] if it overlaps what is there as another kind, or does not fit. The same kind is no error.
    pub fn add(&mut self, range: Region<Pa>, kind: Kind) -> Result<(), MapFailed> {
        if range.size == 0 {
            return Ok(());
        }
        let start = range.start.align_down(PAGE_SIZE).0;
        let end = range.end().0.checked_next_multiple_of(PAGE_SIZE).ok_or(MapFailed(range))?;
        let pages = between(start, end);
        if self.ranges.iter().any(|(other, used)| *used != kind && other.overlaps(&pages)) {
            return Err(MapFailed(range));
        }
        if self.ranges.iter().any(|(other, _)| other.covers(&pages)) {
            return Ok(());
        }
        let region = MemoryRegion::new(start as usize, end as usize);
        self.tables.map_range(&region, kind.attributes()).map_err(|_| MapFailed(range))?;
        self.ranges.push((pages, kind));
        Ok(())
    }

    /// Switches this CPU to the map and keeps it for all others and for ever.
    ///
    /// The tables' own pages are in the heap, which [`Map::new`] mapped.
    ///
    /// Once only: the tables stay in use, so that a second map would have to replace them under every CPU.
    pub fn activate(mut self) {
        static DONE: Once<()> = Once::new();
        let mut first = false;
        let _ = DONE.call_once(|| first = true);
        assert!(first, "EL2's map is activated twice");
        self.tables.mark_active();
        MTE.store(crate::cpu::has_mte2(), Ordering::Relaxed);
        let registers = registers(self.tables.root_address().0 as u64);
        *ACTIVE.lock() = Some(self);
        dsb_ish();
        switch_to(&registers);
        heap::let_grow();
    }
}

/// Puts this CPU on a map of which these are the registers.
fn switch_to(registers: &Registers) {
    // SAFETY: both maps hold, at the same addresses, all that this program uses just now: image, heap, stack,
    // and what was added. Old and new map differ in block size, which the TLB must never hold
    // together (DDI0487 D8.17.1), hence MMU off, invalidate, MMU on; nothing touches memory in between,
    // and the code runs from an identity map.
    unsafe {
        core::arch::asm!(
            "mrs {old}, sctlr_el2",
            "bic {old}, {old}, #1",
            "msr sctlr_el2, {old}",
            "isb",
            "msr mair_el2, {mair}",
            "msr tcr_el2, {tcr}",
            "msr ttbr0_el2, {ttbr}",
            "isb",
            "tlbi alle2",
            "dsb nsh",
            "isb",
            "msr sctlr_el2, {sctlr}",
            "isb",
            old = out(reg) _,
            mair = in(reg) registers.mair,
            tcr = in(reg) registers.tcr,
            ttbr = in(reg) registers.ttbr0,
            sctlr = in(reg) registers.sctlr,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds a range to the active map, at the boot. What was prepared keeps its room.
///
/// # Errors
/// [`MapFailed`] as [`Map::add`]; also before [`Map::activate`], and once there is a narrow map, which would lack it.
pub(crate) fn add(range: Region<Pa>, kind: Kind) -> Result<(), MapFailed> {
    if narrow::exists() {
        return Err(MapFailed(range));
    }
    bring(range, kind)?;
    let mut active = ACTIVE.lock();
    active.iter_mut().for_each(|map| map.ranges.reserve(map.prepared));
    Ok(())
}

/// Adds a range that was [`prepare`]d, without allocating.
///
/// # Errors
/// As [`add`].
pub(crate) fn bring(range: Region<Pa>, kind: Kind) -> Result<(), MapFailed> {
    let mut active = ACTIVE.lock();
    let map = active.as_mut().ok_or(MapFailed(range))?;
    map.add(range, kind)?;
    dsb_ish();
    isb();
    Ok(())
}

/// Makes what it takes to [`bring`] a range later without allocating: the tables, with invalid leaves, so that
/// nothing is fetched from there before. False if it overlaps what is mapped, or cannot be.
pub(crate) fn prepare(range: Region<Pa>) -> bool {
    let mut active = ACTIVE.lock();
    let Some(map) = active.as_mut() else {
        return false;
    };
    if map.ranges.iter().any(|(other, _)| other.overlaps(&range)) {
        return false;
    }
    map.prepared += 1;
    map.ranges.reserve(map.prepared);
    let region = MemoryRegion::new(range.start.0 as usize, range.end().0 as usize);
    let invalid = Kind::Data.attributes() - El23Attributes::VALID;
    map.tables.map_range(&region, invalid).is_ok()
}

/// Takes a range that [`bring`] added, whole, out of the active map again.
///
/// The tables stay for the next time: bringing the same range anew allocates nothing.
pub(crate) fn remove(range: Region<Pa>) {
    let mut active = ACTIVE.lock();
    let Some(map) = active.as_mut() else { return };
    let Some(place) = map.ranges.iter().position(|(other, _)| *other == range) else {
        return;
    };
    let _ = map.ranges.swap_remove(place);
    let region = MemoryRegion::new(range.start.0 as usize, range.end().0 as usize);
    // Leaves lie wholly inside the range, which was added as one: nothing has to be split, and to make an entry
    // invalid needs no break before.
    let _ = map.tables.modify_range(&region, &|_, descriptor| {
        if !descriptor.is_table() && descriptor.flags().contains(El23Attributes::VALID) {
            descriptor.modify_flags(El23Attributes::empty(), El23Attributes::VALID)?;
        }
        Ok(())
    });
    dsb_ish();
    isb();
}

/// Returns the register values of the active map.
pub(crate) fn active_registers() -> Option<Registers> {
    let active = ACTIVE.lock();
    active.as_ref().map(|map| registers(map.tables.root_address().0 as u64))
}

fn registers(root: u64) -> Registers {
    let range = read_sysreg!("id_aa64mmfr0_el1") & 0xf;
    let mte = MTE.load(Ordering::Relaxed);
    Registers {
        ttbr0: root,
        mte,
        // T0SZ 16, IRGN0 and ORGN0 WB, SH0 Inner, TG0 4 KiB, PS, RES1 (DDI0487 TCR_EL2, E2H = 0).
        tcr: 0x8080_3510 | range.min(5) << 16,
        mair: if mte { MAIR } else { MAIR_WITHOUT_MTE },
        // RES1, I, C, M, SA, WXN; with MTE2 also ATA, so that tags are reachable, and TCF = 0: no checks.
        sctlr: 0x30c5_183d | 1 << 19 | u64::from(mte) << 43,
    }
}

fn between(start: u64, end: u64) -> Region<Pa> {
    Region { start: Pa(start), size: end.saturating_sub(start) }
}

/// Tells whether any of `range` is in the active map in one of these ways.
pub(crate) fn is_mapped(range: Region<Pa>, how: impl Fn(Kind) -> bool) -> bool {
    let active = ACTIVE.lock();
    active.iter().flat_map(|map| &map.ranges).any(|(other, kind)| how(*kind) && other.overlaps(&range))
}
