//! One CPU's block: its control words, a guard page and its stack, found through `TPIDR_EL2`.
//!
//! A block is at 24 KiB in a 64 KiB that is aligned to its size, of which the rest is for others:
//!
//! | there | in the block | size | what |
//! |---|---|---|---|
//! | 24 KiB | 0 | 4 KiB | [`PerCpu`], then a spare stack for reporting an overflow |
//! | 28 KiB | 4 KiB | 4 KiB | guard page, never mapped |
//! | 32 KiB | 8 KiB | 16 KiB, the boot CPU's 32 KiB | stack; bit 15 of every address is set, which the vectors test |

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sysreg::{read_sysreg, write_el2};
use assay_spec::cpu_id::PcpuId;

/// Size and alignment in bytes of what a block lies in.
pub(crate) const AROUND: u64 = 0x1_0000;
/// Where the block begins there.
pub(crate) const PLACE: u64 = 0x6000;
/// Size in bytes of the block of a CPU that did not boot the machine.
pub(crate) const BLOCK_SIZE: u64 = 0x6000;
/// Offset of the guard page in the block.
pub(crate) const GUARD: u64 = 0x1000;

/// The control words at the start of a block. `switch.S` knows the layout.
#[repr(C)]
pub struct PerCpu {
    /// Where a synchronous exception or an SError in EL2 goes on, or 0: for accesses that may abort, as in `tags`, and
    /// for `serror`.
    pub(crate) recovery: AtomicU64,
    /// `ELR_EL2` and `SPSR_EL2` as they were before such an access, which are given back if it aborts.
    pub(crate) kept: [AtomicU64; 2],
    /// Top of the spare stack.
    pub(crate) spare_stack: u64,
    /// How many branches overwrite a guest's history, where the vectors do that.
    pub(crate) branches: AtomicU64,
    /// Index of this CPU in the platform tree's order.
    index: u64,
    /// The ranks of the locks that this CPU holds, in debug builds.
    held: AtomicU32,
}

/// A report of an overflow took 1.7 KiB of the spare stack.
const _: () = assert!(size_of::<PerCpu>() as u64 + 3 * 1024 <= GUARD, "the spare stack is too small");

/// Makes `block` this CPU's.
///
/// # Safety
/// `block` must be the address of a block, of [`BLOCK_SIZE`] at least, that is mapped but for its guard page, belongs to this
/// CPU alone and for ever, and holds nothing yet but its stack.
pub(crate) unsafe fn install(block: u64, index: u64) {
    let control = PerCpu {
        recovery: AtomicU64::new(0),
        kept: [const { AtomicU64::new(0) }; 2],
        spare_stack: block + GUARD,
        branches: AtomicU64::new(0),
        index,
        held: AtomicU32::new(0),
    };
    // SAFETY: our caller's promise: the start of the block is mapped, aligned and unused.
    unsafe { (block as *mut PerCpu).write(control) };
    // SAFETY: TPIDR_EL2 is this program's own; it has no effect on hardware.
    unsafe { write_el2!("tpidr_el2", block) };
}

/// Returns the running CPU's control words.
#[inline]
fn control() -> &'static PerCpu {
    let block = read_sysreg!("tpidr_el2") as *const PerCpu;
    // SAFETY: `install` ran on this CPU before anything that asks, and its block is its own for ever. What changes
    // afterwards is atomic.
    unsafe { &*block }
}

/// Returns this CPU's index in the platform tree's order.
#[inline]
pub fn index() -> PcpuId {
    PcpuId(control().index as usize)
}

/// Returns where the running CPU keeps the ranks of the locks that it holds, for debug builds.
pub fn held_locks() -> &'static AtomicU32 {
    &control().held
}

/// Says how many branches overwrite a guest's history on the running CPU.
pub(crate) fn set_branches(branches: u64) {
    control().branches.store(branches, Ordering::Relaxed);
}
