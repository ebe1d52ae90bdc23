// From the Image header to Rust: exception level, relocation, early map, stack.
//
// Entered by the arm64 Linux boot protocol (Documentation/arch/arm64/booting.rst): x0 = device tree,
// MMU and D-cache off, the image cleaned to the PoC. Position independent until `relocate` is done,
// and by PC-relative addresses only. Everything before the MMU is on uses aligned plain accesses: with
// the MMU off all data accesses are Device-nGnRnE.
//
// Registers: x19 device tree, x20 image base, x21 exception level (bit 8: E2H cannot be cleared).

// UEFI enters at `uefi_entry` instead (`uefi.S`), which ends here too.

.section .head, "ax"
.globl _start
_start:
    ccmp    x18, #0, #0xd, pl       // code0: "MZ" in its low half, which changes flags only
    b       boot_primary            // code1
    .quad   0                       // text_offset
    .quad   __image_size            // image_size, up to the end of the BSS
    .quad   0xa                     // flags: little endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   pe_header - _start

// The image as a PE file (PE/COFF specification; UEFI 2.10 §2.1.1). Each section has the place in the file that it
// has in memory, and nothing is to be relocated by the loader. Who appends a bundle raises what counts the end.
pe_header:
    .ascii  "PE\0\0"
    .short  0xaa64                  // ARM64
    .short  2                       // sections
    .long   0, 0, 0
    .short  pe_sections - pe_optional
    .short  0x206                   // executable, no line numbers, no debugging information
pe_optional:
    .short  0x20b                   // PE32+
    .short  0
    .long   __rodata_start - pe_code  // code
    .long   __pe_data_size          // initialized data
    .long   0
    .long   uefi_entry - _start
    .long   pe_code - _start
    .quad   0                       // image base: anywhere
    .long   0x1000                  // alignment in memory
    .long   0x200                   // alignment in the file
    .long   0, 0, 0, 0
    .long   __image_size
    .long   pe_code - _start        // size of headers
    .long   0
    .short  10                      // EFI application
    .short  0x100                   // NX compatible: nothing is both written and executed
    .quad   0, 0, 0, 0
    .long   0
    .long   6                       // data directories, all empty; some loaders read them
    .quad   0, 0, 0, 0, 0, 0
pe_sections:
    .ascii  ".text\0\0\0"
    .long   __rodata_start - pe_code, pe_code - _start, __rodata_start - pe_code, pe_code - _start
    .long   0, 0, 0
    .long   0x60000020              // code, read, execute
    .ascii  ".data\0\0\0"
    .long   __pe_data_memory, __rodata_start - _start, __pe_data_size, __rodata_start - _start
    .long   0, 0, 0
    .long   0xc0000040              // initialized data, read, write: read-only data holds addresses too

// A page of headers alone: firmware maps them as data, and some loads nothing that lies behind them in it.
.balign 4096
pe_code:

.section .text.boot, "ax"
boot_primary:
    msr     daifset, #0xf
    msr     spsel, #1               // the boot protocol does not say which stack pointer is selected
    mov     x19, x0
    adrp    x20, _start
    bl      boot_level

    // Zero the BSS. The protocol promises that the loaded image is clean to the PoC, and says nothing about
    // what follows it: a dirty line of the loader's must go first, or its eviction would undo the zeroing. What
    // clean lines are fetched meanwhile goes after the relocation.
    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __image_end
    bl      boot_invalidate
    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    bl      boot_relocate
    // The early map: the image and the device tree (at most 2 MiB, anywhere), by 2 MiB blocks.
    mov     x0, x20
    adrp    x22, __image_end
4:  mov     x1, #0x701              // Normal (attribute 0), Inner Shareable, AF, block
    bl      boot_map_block
    add     x0, x0, #0x200000
    and     x0, x0, #~0x1fffff
    cmp     x0, x22
    b.lo    4b
    mov     x0, x19
    mov     x1, #0x701
    bl      boot_map_block
    add     x0, x19, #0x200000
    mov     x1, #0x701
    bl      boot_map_block

    // What was written with the caches off must not be shadowed by stale lines once they are on.
    adrp    x0, __rodata_start
    adrp    x1, __image_end
    bl      boot_invalidate

    adrp    x0, __early_tables_start
    bl      boot_mmu_on

    adrp    x0, __boot_cpu_block
    add     x0, x0, #0xa, lsl #12
    sub     sp, x0, #16
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    mov     x1, x20
    mov     x2, x21
    bl      boot_main
    b       boot_park

// Invalidates the lines of x0 to x1 to the PoC. DMB first: with the MMU off the stores before are to Device
// memory, and only a barrier orders those with DC IVAC (DDI0487 D7.5.9.5). Uses x2 and x3.
boot_invalidate:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4         // DminLine, log2 of words
    mov     x3, #4
    lsl     x2, x3, x2
    sub     x3, x2, #1
    bic     x0, x0, x3
    dmb     sy
1:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

// Sets x21: the exception level, with bit 8 where EL2 insists on E2H = 1 (FEAT_E2H0 not implemented).
boot_level:
    mrs     x21, CurrentEL
    lsr     x21, x21, #2
    cmp     x21, #2
    b.ne    1f
    mov     x0, #(1 << 31)          // HCR_EL2.RW, E2H = 0: nVHE
    msr     hcr_el2, x0
    isb
    mrs     x0, hcr_el2
    tbz     x0, #34, 1f
    orr     x21, x21, #0x100
1:  ret

// Maps the 2 MiB block around x0 with the attributes in x1 into the early tables. Keeps x0, x19 to x30.
// AP[1] (bit 6) is RES1 in the regimes of EL2 and EL3, and must be 0 at EL1, and at EL2 with E2H = 1, for code
// to be executable: what EL0 may write is never executable above it.
.globl boot_map_block
boot_map_block:
    mrs     x2, CurrentEL
    cmp     x2, #(1 << 2)
    b.eq    1f
    cmp     x2, #(2 << 2)
    b.ne    4f
    mrs     x2, hcr_el2
    tbnz    x2, #34, 1f
4:  orr     x1, x1, #(1 << 6)
1:  adrp    x2, __early_tables_start
    mov     x3, #39                 // level 0, then 1
2:  lsr     x4, x0, x3
    and     x4, x4, #0x1ff
    ldr     x5, [x2, x4, lsl #3]
    cbnz    x5, 3f
    adrp    x6, boot_table_cursor   // take the next table of the pool
    add     x6, x6, :lo12:boot_table_cursor
    ldr     x5, [x6]
    add     x5, x5, #0x1000
    cmp     x5, #0x12000
    b.hs    boot_park               // cannot happen: six places need at most 18 tables
    str     x5, [x6]
    adrp    x6, __early_tables_start
    add     x5, x6, x5
    orr     x5, x5, #3
    str     x5, [x2, x4, lsl #3]
3:  and     x2, x5, #0xfffffffff000
    sub     x3, x3, #9
    cmp     x3, #21
    b.ne    2b
    ubfx    x4, x0, #21, #9
    and     x5, x0, #~0x1fffff
    orr     x5, x5, x1
    str     x5, [x2, x4, lsl #3]
    dsb     ishst
    isb
    ret

// Turns the MMU on with the tables at x0, at whichever exception level this is.
boot_mmu_on:
    mov     x1, #0x04ff             // attribute 0 Normal WB, attribute 1 Device-nGnRE
    mrs     x2, id_aa64mmfr0_el1
    and     x2, x2, #0xf            // PARange; more than 48 bits needs formats we do not use
    cmp     x2, #5
    mov     x3, #5
    csel    x2, x2, x3, lo
    ldr     x3, =0x3510             // T0SZ 16, walks Inner/Outer WB and Inner Shareable, 4 KiB
    cmp     x21, #2
    b.eq    2f
    cmp     x21, #3
    b.eq    3f
    // EL1, or EL2 with E2H = 1, whose TCR has EL1's layout.
    orr     x3, x3, #(1 << 23)      // EPD1
    orr     x3, x3, x2, lsl #32
    cmp     x21, #1
    b.ne    1f
    msr     mair_el1, x1
    msr     tcr_el1, x3
    msr     ttbr0_el1, x0
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    mrs     x4, sctlr_el1
    mov     x5, #0x1005             // M, C, I
    orr     x4, x4, x5
    bic     x4, x4, #(1 << 19)      // WXN
    bic     x4, x4, #(1 << 1)       // A
    msr     sctlr_el1, x4
    isb
    ret
1:  msr     mair_el2, x1
    msr     tcr_el2, x3
    b       4f
2:  ldr     x4, =0x80800000         // RES1
    orr     x3, x3, x4
    orr     x3, x3, x2, lsl #16
    msr     mair_el2, x1
    msr     tcr_el2, x3
4:  msr     ttbr0_el2, x0
    isb
    tlbi    alle2
    dsb     nsh
    isb
    ldr     x4, =0x30c5183d         // RES1, I, C, M, SA; A, WXN, EE = 0
    msr     sctlr_el2, x4
    isb
    ret
3:  ldr     x4, =0x80800000
    orr     x3, x3, x4
    orr     x3, x3, x2, lsl #16
    msr     mair_el3, x1
    msr     tcr_el3, x3
    msr     ttbr0_el3, x0
    isb
    tlbi    alle3
    dsb     nsh
    isb
    ldr     x4, =0x30c5183d
    msr     sctlr_el3, x4
    isb
    ret

// A CPU that a spin-table let go: its record is the one with its affinity, in the list at `boot_spin_list`, which is
// clean to the PoC as the records are. Who shares its table with another may come before its record does.
.globl boot_secondary_spin
boot_secondary_spin:
    msr     daifset, #0xf
    mrs     x2, mpidr_el1
    ldr     x3, =0xff00ffffff
    and     x2, x2, x3
    adrp    x1, boot_spin_list
1:  ldr     x0, [x1, :lo12:boot_spin_list]
2:  cbz     x0, 3f
    ldr     x3, [x0, #56]
    cmp     x3, x2
    b.eq    boot_secondary
    ldr     x0, [x0, #64]
    b       2b
3:  wfe
    b       1b

// Writes x1 to the spin-table at x0, which EL2's map need not have: with the MMU off for that long. DC CIVAC first, or
// a dirty line of the loader's would be written back over it. The CPU looks after the event.
.globl boot_release
boot_release:
    mrs     x2, daif
    msr     daifset, #0xf
    mrs     x3, sctlr_el2
    bic     x4, x3, #1              // M
    msr     sctlr_el2, x4
    isb
    dc      civac, x0
    dsb     sy
    str     x1, [x0]
    dsb     sy
    msr     sctlr_el2, x3
    isb
    msr     daif, x2
    sev
    ret

// A CPU that PSCI CPU_ON started: x0 = physical address of its `el2::secondary::Start`, MMU off.
// The block's fields, in order: TTBR0_EL2, TCR_EL2, MAIR_EL2, SCTLR_EL2, stack top, CPU index, least MTE, affinity, next.
.globl boot_secondary
boot_secondary:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x23, x0
    bl      boot_level
    cmp     x21, #2
    b.ne    boot_park
    ldp     x0, x1, [x23]
    ldp     x2, x3, [x23, #16]
    ldp     x4, x5, [x23, #32]
    // A map with Tagged memory is for CPUs with MTE2 alone.
    ldr     x6, [x23, #48]
    mrs     x7, id_aa64pfr1_el1
    ubfx    x7, x7, #8, #4
    cmp     x7, x6
    b.lo    boot_park
    msr     mair_el2, x2
    msr     tcr_el2, x1
    msr     ttbr0_el2, x0
    isb
    tlbi    alle2
    dsb     nsh
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x3
    isb
    mov     sp, x4
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x5
    bl      boot_secondary_main
    // Falls into:
.globl boot_park
boot_park:
    wfi
    b       boot_park

// Relocates the image at x20: adds to each word that .relr.dyn names how far the image has moved, which it remembers, so
// that it can be done again elsewhere. An even entry is the place of a word; an odd one is a bit map of the 63 words
// that follow the last (ELF gABI, "Relative Relocation Table"). Uses x0 to x4, x7 and x8.
.globl boot_relocate
boot_relocate:
    adrp    x0, boot_relocated
    ldr     x4, [x0, :lo12:boot_relocated]
    str     x20, [x0, :lo12:boot_relocated]
    sub     x4, x20, x4
    adrp    x0, __relr_start
    add     x0, x0, :lo12:__relr_start
    adrp    x1, __relr_end
    add     x1, x1, :lo12:__relr_end
1:  cmp     x0, x1
    b.hs    5f
    ldr     x2, [x0], #8
    tbnz    x2, #0, 2f
    add     x3, x20, x2
    ldr     x7, [x3]
    add     x7, x7, x4
    str     x7, [x3], #8
    b       1b
2:  mov     x7, x3
    add     x3, x3, #63 * 8
3:  lsr     x2, x2, #1
    cbz     x2, 1b
    tbz     x2, #0, 4f
    ldr     x8, [x7]
    add     x8, x8, x4
    str     x8, [x7]
4:  add     x7, x7, #8
    b       3b
5:  ret

.section .data.boot, "aw"
.balign 8
boot_relocated:                     // where the image is relocated to: it is linked at 0
    .quad   0

.section .bss.boot, "aw", @nobits
.balign 8
boot_table_cursor:
    .quad   0
