//! Instructions made at run time, to run what no assembler would take.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::fmt;

use crate::exception::{self, Caught};

/// How many words the buffer holds.
pub const WORDS: usize = 4096;

#[repr(C, align(4096))]
struct Buffer(UnsafeCell<[u32; WORDS]>);
// SAFETY: only the first CPU makes code.
unsafe impl Sync for Buffer {}
static BUFFER: Buffer = Buffer(UnsafeCell::new([0; WORDS]));

/// `RET`.
pub const RET: u32 = 0xd65f_03c0;

/// A system register or system instruction: op0, op1, CRn, CRm, op2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoding(pub u32, pub u32, pub u32, pub u32, pub u32);

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{}_{}_C{}_C{}_{}", self.0, self.1, self.2, self.3, self.4)
    }
}

impl Encoding {
    fn bits(self) -> u32 {
        self.0 << 19 | self.1 << 16 | self.2 << 12 | self.3 << 8 | self.4 << 5
    }
    /// Returns `MRS x0, register` (DDI0487 C6.2, MRS).
    pub fn read(self) -> u32 {
        0xd520_0000 | self.bits()
    }
    /// Returns `MSR register, x0`, or `SYS` for op0 = 1.
    pub fn write(self) -> u32 {
        0xd500_0000 | self.bits()
    }
}

/// Puts `word` at place `index` of the buffer; what does not fit is dropped.
pub fn put(index: usize, word: u32) {
    if index < WORDS {
        // SAFETY: in bounds, and nobody runs the buffer before `publish`.
        unsafe { BUFFER.0.get().cast::<u32>().add(index).write_volatile(word) };
    }
}

/// Makes the first `words` of the buffer visible to instruction fetch (DDI0487 B2.4.4).
pub fn publish(words: usize) {
    let start = BUFFER.0.get() as u64;
    publish_range(start, start + (words.min(WORDS) * 4) as u64);
}

/// Makes what was written to `start..end`, memory of ours, visible to instruction fetch.
pub fn publish_range(start: u64, end: u64) {
    // 16 bytes is the smallest cache line that the architecture has.
    for address in (start..end).step_by(16) {
        // SAFETY: cleans our own memory.
        unsafe { asm!("dc cvau, {}", in(reg) address) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish") };
    for address in (start..end).step_by(16) {
        // SAFETY: invalidates our own memory.
        unsafe { asm!("ic ivau, {}", in(reg) address) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb") };
}

/// Calls the code at place `index` of the buffer with x0 and x1. Returns x0 or what was caught.
pub fn call(index: usize, first: u64, second: u64) -> Result<u64, Caught> {
    exception::guarded(BUFFER.0.get() as u64 + index as u64 * 4, first, second)
}

/// Runs one instruction with `argument` in x0. Returns x0 or what was caught.
pub fn run(instruction: u32, argument: u64) -> Result<u64, Caught> {
    put(0, instruction);
    put(1, RET);
    publish(2);
    call(0, argument, 0)
}

/// Reads a register by encoding.
pub fn read(register: Encoding) -> Result<u64, Caught> {
    run(register.read(), 0)
}
