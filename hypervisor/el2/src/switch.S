// The world switch and EL2's vector table.
//
// While a guest runs, SP_EL2 points at its `Guest`, whose first field is the frame: the vectors store into
// it without needing a scratch register. `Guest::host_sp` is where `switch_enter` left EL2's stack:
//     [sp, #0] frame record    [sp, #16] handler, and its function for synchronous exits    [sp, #32] handler, and for the others
//     [sp, #48] guest
// and above that x19 to x28 of the caller. The functions are called as f(handler, guest, cause); while they
// return 0 the guest is entered again.
// x20 to x28 stay where they are at an exit: the functions give them back as they were (AAPCS64 6.1.1). Once one has not
// returned 0, they are put into the frame. If that was 2, the one for the others is called with cause 0, and may change them.
// ELR_EL2 and SPSR_EL2 stay where they are until the guest is left. Meanwhile only `switch.rs` writes them, never with M[3];
// and an exception that EL2 itself takes, after which they are given back (`switch_recovered`).
// FP, SIMD and SVE registers are never touched here: EL2 is built for soft-float.

.macro save_guest function, cause, guard
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    \guard
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x29, x30, [sp, #232]
.if \cause
    mov     w2, #\cause
.endif
    b       switch_\function
.endm

// An exception that EL2 itself took. SP may be in a guard page, so it is tested before it is used: bit 15 of a good
// SP is set (`percpu`).
.macro el2_exception kind
    sub     sp, sp, #272
    add     sp, sp, x0              // sp' = sp + x0
    sub     x0, sp, x0              // x0' = sp
    tbz     x0, #15, 1f
    sub     x0, sp, x0              // x0
    sub     sp, sp, x0              // sp
    stp     x0, x1, [sp, #0]
    mov     w1, #\kind
    b       switch_el2_exception
1:  mrs     x0, tpidr_el2           // overflow: go on with the block's spare stack, lose x0 and SP
    ldr     x0, [x0, #{SPARE}]
    mov     sp, x0
    stp     xzr, x1, [sp, #-272]!
    mov     w1, #(\kind + 16)
    b       switch_el2_exception
.endm

// What keeps the guest's branch history from the branches that follow (`spec::branch_history`). x0 to x3 are saved.
.macro no_guard
.endm
.macro clear_guard
    hint    #22                     // CLRBHB
    isb
.endm
.macro loop_guard
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #{BRANCHES}]
1:  b       2f
2:  subs    x0, x0, #1
    b.ne    1b
    dsb     nsh
    isb
    ldr     x0, [sp, #0]
.endm
.macro firmware_guard
    mov     w0, #0x3fff             // SMCCC_ARCH_WORKAROUND_3, which changes x0 to x3 alone
    movk    w0, #0x8000, lsl #16
    smc     #0
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
.endm

.macro vectors name, guard
.balign 2048
.globl \name
\name:
    // Current EL with SP_EL0: never used, so all are our bugs. Then current EL with SP_EL2.
.irp kind, 4, 5, 6, 7, 0, 1, 2, 3
.balign 128
    el2_exception \kind
.endr
    // Lower EL, AArch64; then AArch32: EL0 below an AArch64 EL1.
.rept 2
.balign 128
    save_guest synchronous, 0, \guard
.irp cause, 1, 2, 3
.balign 128
    save_guest other, \cause, \guard
.endr
.endr
.balign 128
.endm

.section .text.vectors, "ax"
    vectors switch_vectors, no_guard
    vectors switch_vectors_clear, clear_guard
    vectors switch_vectors_loop, loop_guard
    vectors switch_vectors_firmware, firmware_guard

// switch_enter(x0 = &mut Guest, x1 = handler, x2 = for synchronous exits, x3 = for the others): runs the guest
// until one of them returns neither 0 nor 2.
.globl switch_enter
switch_enter:
    stp     x29, x30, [sp, #-144]!
    stp     x19, x20, [sp, #64]
    stp     x21, x22, [sp, #80]
    stp     x23, x24, [sp, #96]
    stp     x25, x26, [sp, #112]
    stp     x27, x28, [sp, #128]
    stp     x1, x2, [sp, #16]
    stp     x1, x3, [sp, #32]
    str     x0, [sp, #48]
    mov     x3, sp
    str     x3, [x0, #{HOST_SP}]
    ldp     x2, x3, [x0, #{AT}]
    and     x3, x3, #~(1 << 3)      // M[3]: whatever safe code wrote, never to EL2
    msr     elr_el2, x2
    msr     spsr_el2, x3

switch_resume_whole:                // x0 = guest
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldr     x28, [x0, #224]
    b       switch_resume

.macro call_handler function
    mov     x1, sp
    ldr     x29, [sp, #{HOST_SP}]   // our frame record, not the guest's x29
    mov     sp, x29
.ifc \function, synchronous
    ldp     x0, x6, [sp, #16]
.else
    ldp     x0, x6, [sp, #32]
.endif
    blr     x6
    cbnz    w0, switch_complete
    ldr     x0, [sp, #48]
.endm

.macro resume_guest                 // x0 = guest, x20 to x28 = its own
    mov     sp, x0
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x29, x30, [sp, #232]
    ldp     x0, x1, [sp, #0]
    eret
    dsb     nsh                     // nothing past ERET may be executed speculatively (DDI0487 C6.2.117 note)
    isb
.endm

switch_other:                       // sp = guest, w2 = cause
    call_handler other
    resume_guest

switch_synchronous:                 // sp = guest
    call_handler synchronous
switch_resume:                      // x0 = guest, x20 to x28 = its own
    resume_guest

switch_complete:                    // w0 = what the function returned, x20 to x28 as it gave them back
    ldr     x1, [sp, #48]
    stp     x20, x21, [x1, #160]
    stp     x22, x23, [x1, #176]
    stp     x24, x25, [x1, #192]
    stp     x26, x27, [x1, #208]
    str     x28, [x1, #224]
    tbz     w0, #1, switch_leave
    ldp     x0, x6, [sp, #32]
    mov     w2, #0
    blr     x6
    cbnz    w0, switch_leave
    ldr     x0, [sp, #48]
    b       switch_resume_whole

switch_leave:
    ldr     x1, [sp, #48]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x1, #{AT}]
    ldp     x19, x20, [sp, #64]
    ldp     x21, x22, [sp, #80]
    ldp     x23, x24, [sp, #96]
    ldp     x25, x26, [sp, #112]
    ldp     x27, x28, [sp, #128]
    ldp     x29, x30, [sp], #144
    ret

// An exception from EL2, x0 and x1 saved at [sp], w1 = kind. A synchronous one inside a guarded access, or an SError
// that was waited for, goes on at its recovery address, with SErrors masked and nothing in x0 to x17; anything else is
// our bug, and never returns.
switch_el2_exception:
    cbz     w1, 2f
    cmp     w1, #3
    b.ne    1f
2:  mrs     x0, tpidr_el2
    ldr     x0, [x0, #{RECOVERY}]
    cbz     x0, 1f
    mrs     x1, tpidr_el2
    str     xzr, [x1, #{RECOVERY}]
    adr     x2, switch_recovered
    mrs     x3, spsr_el2
    orr     x3, x3, #1 << 8         // A
    msr     elr_el2, x2
    msr     spsr_el2, x3
    add     sp, sp, #272
    eret
    dsb     nsh
    isb
switch_recovered:                   // x0 = recovery address, x1 = block: what the guard has kept is the guest's
    ldp     x2, x3, [x1, #{KEPT}]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    br      x0
1:  stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    str     x30, [sp, #240]
    stp     x2, x3, [sp, #{AT}]
    mov     x0, sp
    mov     x29, xzr
    bl      {fatal}
