//! The vectors: an exception ends the guarded call around it, an interrupt is taken, the rest is the end.

use core::arch::global_asm;
use core::mem::offset_of;

use crate::this_cpu::PerCpu;
use crate::{irq, println, psci, sysreg};

// What a guarded call keeps on its stack is laid out in `exception`.
global_asm!(
    r#"
    .section .text.vectors, "ax"
    .global kit_vectors
    .balign 0x800
kit_vectors:
    .macro  VECTOR target
    .balign 0x80
    b       \target
    .endm
    .macro  UNEXPECTED number
    .balign 0x80
    mov     x0, #\number
    b       kit_unexpected
    .endm
    UNEXPECTED 0
    UNEXPECTED 1
    UNEXPECTED 2
    UNEXPECTED 3
    VECTOR kit_sync
    VECTOR kit_irq
    UNEXPECTED 6
    VECTOR kit_serror
    UNEXPECTED 8
    UNEXPECTED 9
    UNEXPECTED 10
    UNEXPECTED 11
    UNEXPECTED 12
    UNEXPECTED 13
    UNEXPECTED 14
    UNEXPECTED 15

kit_serror:
    stp     x0, x1, [sp, #-16]!
    mov     x1, #2
    b       10f
kit_sync:
    stp     x0, x1, [sp, #-16]!
    mov     x1, #1
10:
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{recover}]
    cbz     x0, 20f
    mov     sp, x0
    ldr     x3, [sp, #96]
    str     x1, [x3, #0]
    mrs     x4, esr_el1
    mrs     x5, far_el1
    stp     x4, x5, [x3, #8]
    mrs     x4, elr_el1
    mrs     x5, spsr_el1
    stp     x4, x5, [x3, #24]
    ldr     x4, [sp, #104]
    mov     x5, #5
    orr     x4, x4, x5
    msr     spsr_el1, x4
    adr     x4, kit_guarded_end
    msr     elr_el1, x4
    mov     x0, #0
    eret
20:
    ldp     x0, x1, [sp], #16
    mov     x0, #4
    b       kit_unexpected

kit_irq:
    sub     sp, sp, #192
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x29, [sp, #144]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x30, x0, [sp, #160]
    str     x1, [sp, #176]
    bl      {irq}
    ldr     x1, [sp, #176]
    ldp     x30, x0, [sp, #160]
    msr     spsr_el1, x1
    msr     elr_el1, x0
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x29, [sp, #144]
    add     sp, sp, #192
    eret

kit_unexpected:
    b       {unexpected}
"#,
    recover = const offset_of!(PerCpu, recover),
    irq = sym irq::taken,
    unexpected = sym unexpected,
);

extern "C" fn unexpected(vector: u64) -> ! {
    let (esr, elr, far) = (sysreg::read!("esr_el1"), sysreg::read!("elr_el1"), sysreg::read!("far_el1"));
    println!("Bail out! unexpected exception vector={} esr={:#x} elr={:#x} far={:#x}", vector, esr, elr, far);
    psci::system_off();
}
