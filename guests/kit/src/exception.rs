//! Calls that survive an exception.

use core::arch::global_asm;
use core::mem::offset_of;

use crate::this_cpu::PerCpu;

/// What an exception left behind (DDI0487 D1.3.6, ESR_EL1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Caught {
    /// 0 = none, 1 = synchronous, 2 = SError.
    kind: u64,
    /// `ESR_EL1`.
    pub esr: u64,
    /// `FAR_EL1`.
    pub far: u64,
    /// `ELR_EL1`.
    pub elr: u64,
    /// `SPSR_EL1`.
    pub spsr: u64,
}

impl Caught {
    /// Exception class: UNDEFINED instruction.
    pub const UNKNOWN: u64 = 0x00;
    /// Exception class: an instruction abort at the same level.
    pub const INSTRUCTION_ABORT: u64 = 0x21;
    /// Exception class: a data abort at the same level.
    pub const DATA_ABORT: u64 = 0x25;
    /// Fault status: synchronous external abort, not on a table walk.
    pub const EXTERNAL: u64 = 0x10;
    /// Fault status: alignment.
    pub const ALIGNMENT: u64 = 0x21;
    /// Fault status: synchronous tag check.
    pub const TAG_CHECK: u64 = 0x11;

    /// Returns the exception class, ESR_EL1.EC.
    pub fn class(&self) -> u64 {
        self.esr >> 26 & 0x3f
    }
    /// Returns the fault status code, ISS[5:0].
    pub fn status(&self) -> u64 {
        self.esr & 0x3f
    }
    /// Tells whether the syndrome is of a write (ISS.WnR).
    pub fn is_write(&self) -> bool {
        self.esr & 1 << 6 != 0
    }
    /// Tells whether it was an SError.
    pub fn is_serror(&self) -> bool {
        self.kind == 2
    }
}

// A guarded call keeps on its stack what the exception must restore:
//   0..96 x19..x30, 96 result pointer, 104 DAIF, 112 the call around it.
global_asm!(
    r#"
    .text
    // x0 = function, x1 and x2 = its arguments, x3 = where to put what is caught (kind 0 before).
    .global kit_guarded
kit_guarded:
    sub     sp, sp, #128
    stp     x19, x20, [sp, #0]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mrs     x9, daif
    stp     x3, x9, [sp, #96]
    mrs     x10, tpidr_el1
    ldr     x11, [x10, #{recover}]
    str     x11, [sp, #112]
    mov     x11, sp
    str     x11, [x10, #{recover}]
    mov     x9, x0
    mov     x0, x1
    mov     x1, x2
    blr     x9
    .global kit_guarded_end
kit_guarded_end:
    mrs     x10, tpidr_el1
    ldr     x11, [sp, #112]
    str     x11, [x10, #{recover}]
    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #128
    ret
"#,
    recover = const offset_of!(PerCpu, recover),
);

/// Calls the code at `function` with two arguments by the procedure call standard.
///
/// Returns x0, or what the exception left behind if there was one; interrupts are not caught.
/// `function` may be any address: to jump to where nothing is, is a way to test it.
pub fn guarded(function: u64, first: u64, second: u64) -> Result<u64, Caught> {
    unsafe extern "C" {
        fn kit_guarded(function: u64, first: u64, second: u64, caught: *mut Caught) -> u64;
    }
    let mut caught = Caught::default();
    // SAFETY: saves and restores what a call must preserve, also when it ends by an exception.
    let value = unsafe { kit_guarded(function, first, second, &mut caught) };
    // SAFETY: `caught` is an initialised local; the vectors wrote it behind the compiler's back.
    let caught = unsafe { core::ptr::read_volatile(&caught) };
    if caught.kind == 0 { Ok(value) } else { Err(caught) }
}
