//! Stage 1, identity, in blocks of 1 GiB: RAM is what the caller says, the rest is Device.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::{machine, sysreg};

/// How RAM is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ram {
    /// Normal, write-back.
    WriteBack = 1,
    /// Normal, write-back, Tagged.
    Tagged = 2,
    /// Normal, non-cacheable.
    NonCacheable = 3,
    /// Device-nGnRE, executable nonetheless so that the program can go on.
    Device = 0,
}

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);
// SAFETY: written by one CPU at a time, before the MMU is on or between two uses of it.
unsafe impl Sync for Table {}
static LEVEL1: Table = Table(UnsafeCell::new([0; 512]));
/// SCTLR_EL1 for CPUs that start later, 0 = leave the MMU off.
static SCTLR: AtomicU64 = AtomicU64::new(0);

const VALID_BLOCK: u64 = 0b01;
const ACCESS_FLAG: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
const EXECUTE_NEVER: u64 = 1 << 53 | 1 << 54;
const GIB: u64 = 1 << 30;
/// Attr0 Device-nGnRE, Attr1 WB, Attr2 WB Tagged, Attr3 NC (DDI0487 MAIR_EL1).
const MAIR: u64 = 0x44f0_ff04;
/// SCTLR_EL1: M, C, I and the RES1 bits of Armv8.0.
const SCTLR_ON: u64 = 0x30d0_1805;
/// TCR_EL1: TBI0, the top byte of an address is not translated: room for the tag.
const TCR_TBI: u64 = 1 << 37;
/// SCTLR_EL1: ATA, tag accesses at EL1 are allowed; TCF = 1, a failed check is a synchronous fault.
const SCTLR_TAGS: u64 = 1 << 43 | 1 << 40;

/// Turns the MMU on, or changes how RAM is mapped if it is on. Up to 512 GiB of address are mapped.
pub fn enable(ram: Ram) {
    for gib in 0..512u64 {
        let base = gib * GIB;
        let is_ram = machine::machine().ram().iter().any(|&(start, size)| start < base + GIB && base < start + size);
        let attributes = match (is_ram, ram) {
            (true, Ram::Device) => 0,
            (true, ram) => (ram as u64) << 2 | INNER_SHAREABLE,
            (false, _) => EXECUTE_NEVER,
        };
        store(gib as usize, base | attributes | ACCESS_FLAG | VALID_BLOCK);
    }
    let sctlr = SCTLR_ON | if ram == Ram::Tagged { SCTLR_TAGS } else { 0 };
    SCTLR.store(sctlr, Ordering::Release);
    join();
}

/// Turns this CPU's MMU off; CPUs that start later leave it off.
pub fn disable() {
    SCTLR.store(0, Ordering::Release);
    sysreg::write!("sctlr_el1", SCTLR_ON & !5);
    invalidate();
}

/// Makes what is mapped at `gib` GiB whatever `descriptor` says, until [`enable`] is called again.
pub fn set_descriptor(gib: usize, descriptor: u64) {
    if gib < 512 {
        store(gib, descriptor);
        invalidate();
    }
}

fn store(gib: usize, descriptor: u64) {
    // SAFETY: callers stay below 512; the table is ours, see `Table`.
    unsafe { LEVEL1.0.get().cast::<u64>().add(gib).write_volatile(descriptor) };
}

/// Turns this CPU's MMU on as [`enable`] did, or does nothing if it did not.
pub(crate) fn join() {
    let sctlr = SCTLR.load(Ordering::Acquire);
    if sctlr == 0 {
        return;
    }
    // T0SZ = 25: 39 bits from level 1; walks WB, Inner Shareable; no TTBR1; IPS up to 48 bits.
    let size = sysreg::read!("id_aa64mmfr0_el1") & 0xf;
    let tags = if sctlr & SCTLR_TAGS != 0 { TCR_TBI } else { 0 };
    let tcr = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | size.min(5) << 32 | tags;
    sysreg::write!("mair_el1", MAIR);
    sysreg::write!("tcr_el1", tcr);
    sysreg::write!("ttbr0_el1", LEVEL1.0.get() as u64);
    invalidate();
    sysreg::write!("sctlr_el1", sctlr);
    invalidate();
}

fn invalidate() {
    // SAFETY: the map is identity before and after.
    unsafe { core::arch::asm!("dsb ish", "tlbi vmalle1", "dsb ish", "isb") };
}
