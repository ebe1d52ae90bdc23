// Accesses that may abort: an abort goes on at the recovery address (`percpu`), where only SP and x19 to x30 are as they
// were. It overwrites ELR_EL2 and SPSR_EL2, which may be those of a guest that is being handled: the guard keeps them,
// and `switch_recovered` gives them back.
// Those that look at memory return 0, or 1 tags lost, 2 data lost, 3 aborted, 4 atomics failed.

.macro guard recovery
    mrs     x2, tpidr_el2
    mrs     x3, elr_el2
    mrs     x16, spsr_el2
    stp     x3, x16, [x2, #{KEPT}]
    adr     x3, \recovery
    str     x3, [x2, #{RECOVERY}]
.endm

.macro finish result
    str     xzr, [x2, #{RECOVERY}]
    mov     x0, \result
    ret
.endm

.section .text.probe, "ax"
.arch_extension lse
.arch_extension memtag

probe_aborted:
    mov     x0, #3
    ret

// Clears x0 to x1 by blocks of x4 bytes with \block, an even number of them, or with x4 = 0 by 16 bytes and \granule; then
// takes it to the PoC with \op, by lines of x5 bytes.
.macro zero block, op, granule:vararg
    guard   probe_aborted
    mov     x6, x0
    cbz     x4, 2f
1:  dc      \block, x6
    add     x6, x6, x4
    dc      \block, x6
    add     x6, x6, x4
    cmp     x6, x1
    b.lo    1b
    b       3f
2:  stp     xzr, xzr, [x6]
    \granule
    add     x6, x6, #16
    cmp     x6, x1
    b.lo    2b
3:  dsb     ish
4:  dc      \op, x0
    add     x0, x0, x5
    cmp     x0, x1
    b.lo    4b
    dsb     sy
    finish  #0
.endm

// probe_zero(x0 = start, x1 = end, x2 = bytes that DC ZVA clears, x3 = bytes of a cache line), for whole pages.
.globl probe_zero
probe_zero:
    mov     x4, x2
    mov     x5, x3
    zero    zva, civac

// probe_zero_tags: as probe_zero, and the tags.
.globl probe_zero_tags
probe_zero_tags:
    mov     x4, x2
    mov     x5, x3
    zero    gzva, cigdvac, stg x6, [x6]

// Takes the page at x0 to the PoC with \op, a line at a time at most.
.macro to_memory op
    mov     x3, #0
9:  add     x4, x0, x3
    dc      \op, x4
    add     x3, x3, #16
    cmp     x3, #4096
    b.lo    9b
    dsb     sy
.endm

// probe_fill(x0 = page, x1 = pattern), then probe_check: the data of a word depends on its address, so that an alias
// shows when all pages are written before the first is read. What is written goes to memory at once, so that a cache
// does not keep two addresses of one place apart, and what is read comes from there.
.globl probe_fill
probe_fill:
    guard   probe_aborted
    mov     x3, #0
1:  add     x4, x0, x3
    eor     x5, x4, x1
    mvn     x6, x5
    stp     x5, x6, [x4]
    add     x3, x3, #64
    cmp     x3, #4096
    b.lo    1b
    to_memory civac
    finish  #0

.globl probe_check
probe_check:
    guard   probe_aborted
    to_memory civac
    mov     x3, #0
    mov     x7, #0
2:  add     x4, x0, x3
    eor     x5, x4, x1
    mvn     x6, x5
    ldp     x9, x10, [x4]
    cmp     x5, x9
    ccmp    x6, x10, #0, eq
    mov     x8, #2
    csel    x7, x7, x8, eq
    add     x3, x3, #64
    cmp     x3, #4096
    b.lo    2b
    finish  x7

// probe_clear(x0 = start, x1 = end): looks whether a line of each page reads as zeros, another line from page to page.
.globl probe_clear
probe_clear:
    guard   probe_aborted
    mov     x7, #0
1:  ubfx    x3, x0, #12, #6
    add     x3, x0, x3, lsl #6
    ldp     x4, x5, [x3]
    ldp     x6, x8, [x3, #16]
    orr     x4, x4, x5
    orr     x6, x6, x8
    orr     x7, x7, x4
    ldp     x4, x5, [x3, #32]
    orr     x7, x7, x6
    ldp     x6, x8, [x3, #48]
    orr     x4, x4, x5
    orr     x6, x6, x8
    orr     x7, x7, x4
    orr     x7, x7, x6
    add     x0, x0, #4096
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    cmp     x7, #0
    mov     x8, #2
    csel    x7, xzr, x8, eq
    finish  x7

// probe_atomics(x0 = page, x1 = with LSE)
.globl probe_atomics
probe_atomics:
    guard   probe_aborted
    mov     x4, #0x1234
    str     x4, [x0]
    mov     x5, #1000               // exclusives may fail now and then, but not for ever
1:  ldaxr   x6, [x0]
    add     x7, x6, #1
    stlxr   w8, x7, [x0]
    cbz     w8, 2f
    subs    x5, x5, #1
    b.ne    1b
    b       8f
2:  cmp     x6, x4
    b.ne    8f
    add     x4, x4, #1
    cbz     x1, 3f
    mov     x5, #16
    ldaddal x5, x6, [x0]
    cmp     x6, x4
    b.ne    8f
    add     x4, x4, #16
    mov     x6, x4
    mov     x7, #77
    casal   x6, x7, [x0]
    cmp     x6, x4
    b.ne    8f
    mov     x4, x7
3:  dsb     sy
    ldr     x6, [x0]
    cmp     x6, x4
    b.ne    8f
    finish  #0
8:  finish  #4

// The tag of the granule at offset x3 goes to bits 59:56 of x7: neighbours get different ones, and so do groups of 16,
// by the pattern in x1, which turns with each granule.
.macro tag_of_granule
    lsr     x7, x3, #2
    neg     x7, x7
    ror     x7, x1, x7
    eor     x7, x7, x3, lsr #8
    ubfiz   x7, x7, #56, #4
.endm

// probe_fill_tags(x0 = page, x1 = pattern), then probe_check_tags: data and a tag for each of 256 granules, which go to
// memory at once and come from there.
.globl probe_fill_tags
probe_fill_tags:
    guard   probe_aborted
    mov     x3, #0
1:  add     x4, x0, x3
    eor     x5, x4, x1
    mvn     x6, x5
    stp     x5, x6, [x4]
    tag_of_granule
    orr     x7, x4, x7
    stg     x7, [x4]
    add     x3, x3, #16
    cmp     x3, #4096
    b.lo    1b
    dsb     sy
    to_memory cigdvac
    finish  #0

.globl probe_check_tags
probe_check_tags:
    guard   probe_aborted
    to_memory cigdvac
    mov     x3, #0
    mov     x8, #0
3:  add     x4, x0, x3
    mov     x6, x4
    ldg     x6, [x4]
    tag_of_granule
    and     x6, x6, #0xf00000000000000
    cmp     x6, x7
    b.eq    4f
    mov     x8, #1
4:  eor     x5, x4, x1
    mvn     x6, x5
    ldp     x9, x10, [x4]
    cmp     x5, x9
    ccmp    x6, x10, #0, eq
    b.eq    5f
    mov     x8, #2
    b       6f
5:  add     x3, x3, #16
    cmp     x3, #4096
    b.lo    3b
6:  finish  x8

// probe_mark(x0 = page, x1 = word): the word and its complement at the start of a page, in memory.
.globl probe_mark
probe_mark:
    guard   probe_aborted
    mvn     x4, x1
    stp     x1, x4, [x0]
    dc      civac, x0
    dsb     sy
    finish  #0

// Takes the tags of the first 16 granules of the page at x0 to the PoC, and its data.
.macro first_to_memory
    dsb     sy
    mov     x4, x0
9:  dc      cigdvac, x4
    add     x4, x4, #16
    tst     x4, #0xf0
    b.ne    9b
    dsb     sy
.endm

// probe_mark_tags(x0 = page, x1 = word): as probe_mark, and the word as tags, its highest four bits first.
.globl probe_mark_tags
probe_mark_tags:
    guard   probe_aborted
    mvn     x4, x1
    stp     x1, x4, [x0]
    mov     x4, x0
1:  ror     x1, x1, #60
    ubfiz   x5, x1, #56, #4
    orr     x5, x5, x4
    stg     x5, [x4]
    add     x4, x4, #16
    tst     x4, #0xf0
    b.ne    1b
    first_to_memory
    finish  #0

// probe_seen(x0 = page, x1 = three words to fill): what a page has where a mark would be, from memory.
.globl probe_seen
probe_seen:
    guard   probe_aborted
    dc      civac, x0
    dsb     sy
    ldp     x4, x5, [x0]
    dsb     sy
    stp     x4, x5, [x1]
    finish  #0

.globl probe_seen_tags
probe_seen_tags:
    guard   probe_aborted
    first_to_memory
    ldp     x5, x6, [x0]
    stp     x5, x6, [x1]
    mov     x4, x0
    mov     x5, #0
1:  mov     x6, x4
    ldg     x6, [x4]
    ubfx    x6, x6, #56, #4
    orr     x5, x6, x5, lsl #4
    add     x4, x4, #16
    tst     x4, #0xf0
    b.ne    1b
    dsb     sy
    str     x5, [x1, #16]
    finish  #0

// probe_read(x0 = word) and probe_write(x0 = word, w1 = value): one word of a device, all ones if it aborts. The
// barriers keep an abort, which may come late, within the reach of its recovery, and a write complete before what it
// changes is used.
.globl probe_read
probe_read:
    guard   9f
    ldr     w1, [x0]
    dsb     sy
    finish  x1
9:  mov     w0, #-1
    ret

.globl probe_write
probe_write:
    guard   9f
    str     w1, [x0]
    dsb     sy
    finish  #0
9:  ret

// probe_serror(): one that is pending is taken at the ISB (DDI0487 D1.3.6), with or without FEAT_RAS, and also if it
// cannot be synchronised by ESB. The vector returns with SErrors masked.
.globl probe_serror
probe_serror:
    guard   9f
    msr     daifclr, #4
    isb
    msr     daifset, #4
    finish  #0
9:  ret

.arch_extension nomemtag
.arch_extension nolse

probe_untranslated:
    mov     x0, #1
    ret

// probe_translate(x0 = va): PAR_EL1 after AT S1E1R. An external abort on the walk is EL2's.
.globl probe_translate
probe_translate:
    guard   probe_untranslated
    at      s1e1r, x0
    isb
    mrs     x4, par_el1
    dsb     sy
    finish  x4
