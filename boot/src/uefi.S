// From UEFI firmware to the ordinary entry (UEFI 2.10 §2.3.6): called at EL2 or EL1 on firmware's identity map, by the
// procedure call standard, with x0 = the image's handle and x1 = the system table.

.section .text.boot, "ax"
.globl uefi_entry
uefi_entry:
    stp     x29, x30, [sp, #-32]!
    mov     x29, sp
    str     x20, [sp, #16]
    mov     x5, x0
    mov     x6, x1
    adrp    x20, _start
    bl      boot_relocate
    mov     x0, x5
    mov     x1, x6
    mrs     x2, CurrentEL
    lsr     x2, x2, #2
    bl      uefi_main
    ldr     x20, [sp, #16]
    ldp     x29, x30, [sp], #32
    ret

// Leaves firmware's map for the image at x0, with the device tree at x1. This code, the image and the tree are clean to
// the PoC, so that they are the same without caches.
.globl uefi_leave
uefi_leave:
    msr     daifset, #0xf
    mrs     x2, sctlr_el2
    bic     x2, x2, #1              // M
    bic     x2, x2, #4              // C
    msr     sctlr_el2, x2
    isb
    ic      iallu
    dsb     sy
    isb
    mov     x4, x0
    mov     x0, x1
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    br      x4
