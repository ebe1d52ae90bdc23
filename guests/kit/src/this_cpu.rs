//! The running CPU: what it keeps for itself, and its instructions that wait, order and mask.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::sysreg;

/// How many CPUs a guest can use; a tree with more is used as far as this.
pub const MAX_CPUS: usize = 64;
/// How many interrupts a CPU remembers.
pub const LOG_LENGTH: usize = 128;
/// Bytes of the first CPU's stack.
pub(crate) const BOOT_STACK_BYTES: usize = 0x4000;
const STACK_BYTES: usize = 0x2000;

/// Memory for a stack.
#[repr(C, align(16))]
pub(crate) struct Stack<const N: usize>(UnsafeCell<[u8; N]>);
// SAFETY: only the CPU that it belongs to uses a stack, and only through its stack pointer.
unsafe impl<const N: usize> Sync for Stack<N> {}

pub(crate) static BOOT_STACK: Stack<BOOT_STACK_BYTES> = Stack(UnsafeCell::new([0; BOOT_STACK_BYTES]));
static STACKS: [Stack<STACK_BYTES>; MAX_CPUS] = [const { Stack(UnsafeCell::new([0; STACK_BYTES])) }; MAX_CPUS];

/// What one CPU keeps: `TPIDR_EL1` points to it, and the vectors read it by offset.
///
/// Single loads and stores only: without the MMU memory is Device, where exclusives promise nothing.
#[repr(C)]
pub struct PerCpu {
    /// Stack pointer of the innermost `guarded` call, 0 outside any.
    pub(crate) recover: AtomicU64,
    /// Where the stack begins.
    pub(crate) stack_top: AtomicU64,
    index: AtomicU64,
    pub(crate) work: AtomicU64,
    pub(crate) argument: AtomicU64,
    /// How many interrupts this CPU has taken.
    pub(crate) taken: AtomicU64,
    /// The last interrupts taken, in order.
    pub(crate) log: [AtomicU64; LOG_LENGTH],
    pub(crate) done: AtomicU64,
}

pub(crate) static CPUS: [PerCpu; MAX_CPUS] = [const { PerCpu::new() }; MAX_CPUS];

impl PerCpu {
    const fn new() -> Self {
        Self {
            recover: AtomicU64::new(0),
            stack_top: AtomicU64::new(0),
            index: AtomicU64::new(0),
            work: AtomicU64::new(0),
            argument: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            log: [const { AtomicU64::new(0) }; LOG_LENGTH],
            done: AtomicU64::new(0),
        }
    }

    /// Runs the work that `cpu::start` left.
    pub(crate) fn run(&self) {
        let work = self.work.load(Ordering::Acquire);
        // SAFETY: `start` stored a function of this type before it turned the CPU on.
        let work: fn(u64) = unsafe { core::mem::transmute(work) };
        work(self.argument.load(Ordering::Relaxed));
        self.done.store(1, Ordering::Release);
    }
}

/// Fills in what cannot be constant.
pub(crate) fn prepare() {
    for (index, (cpu, stack)) in CPUS.iter().zip(&STACKS).enumerate() {
        cpu.index.store(index as u64, Ordering::Relaxed);
        cpu.stack_top.store(stack.0.get() as u64 + STACK_BYTES as u64, Ordering::Relaxed);
    }
}

/// Returns what this CPU keeps.
pub(crate) fn this() -> &'static PerCpu {
    let this = sysreg::read!("tpidr_el1") as *const PerCpu;
    // SAFETY: the entry code points TPIDR_EL1 to an element of `CPUS` before any Rust code runs.
    unsafe { &*this }
}

/// Returns this CPU's place in the tree's list of CPUs.
pub fn index() -> usize {
    this().index.load(Ordering::Relaxed) as usize
}

/// Waits for an interrupt.
pub fn wfi() {
    // SAFETY: waits; changes nothing.
    unsafe { asm!("dsb sy", "wfi") };
}

/// Waits for an event.
pub fn wfe() {
    // SAFETY: waits; changes nothing.
    unsafe { asm!("wfe") };
}

/// Orders all memory accesses, to the end of the system.
pub fn dsb() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", "isb") };
}

/// Takes interrupts from here on.
pub fn unmask_irq() {
    // SAFETY: the kit's vectors are installed.
    unsafe { asm!("msr daifclr, #2", "isb") };
}

/// Takes no interrupts from here on.
pub fn mask_irq() {
    // SAFETY: masks only.
    unsafe { asm!("msr daifset, #2", "isb") };
}

/// Takes SErrors from here on.
pub fn unmask_serror() {
    // SAFETY: the kit's vectors are installed.
    unsafe { asm!("msr daifclr, #4", "isb") };
}
