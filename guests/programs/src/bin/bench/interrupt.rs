//! Interrupts with vectors of their own, which save every register as an operating system's do.
//!
//! Their length is part of the figures. Natively, on a GICv3 under `-icount shift=0`, they are 72 for
//! `sgi_self`, 4 for `vtimer_spin` and 5 for `vtimer_wfi`, as in the guest with which the other
//! hypervisors were measured: who changes an instruction here changes the comparison. A `tick` ends when the
//! handler has returned, so it counts the end of the interrupt too.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::gic::Version;
use guest_kit::machine::machine;
use guest_kit::timer::{self, Timer};
use guest_kit::{cpu, sysreg};

/// What the handler leaves: the counter as the vector read it (0 = no interrupt yet), and how many
/// interrupts there were.
#[repr(C)]
struct Seen {
    at: AtomicU64,
    count: AtomicU64,
}
static SEEN: Seen = Seen { at: AtomicU64::new(0), count: AtomicU64::new(0) };
/// An SGI nobody else uses.
pub const SGI: u32 = 4;

// Tables for GICv3 and GICv2, of which only acknowledge and end differ, and for either timer, which is turned off, or
// its level would bring the interrupt back.
global_asm!(
    r#"
    .macro  IRQ name, version, timer
    .section .text.\name, "ax"
    .balign 0x800
    .global \name
\name:
    .rept   5
    .balign 0x80
    b       .
    .endr
    .balign 0x80
    sub     sp, sp, #256
    stp     x0, x1, [sp, #0]
    b       1f
    .balign 0x80
    b       .
    .rept   9
    .balign 0x80
    b       .
    .endr
1:
    stp     x2, x3, [sp, #16]
    mrs     x0, cnt\timer\()ct_el0
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
    mrs     x2, elr_el1
    stp     x30, x2, [sp, #240]
    mrs     x3, spsr_el1
    mov     x1, sp
    bl      3f
    ldp     x30, x2, [sp, #240]
    msr     spsr_el1, x3
    msr     elr_el1, x2
    ldp     x28, x29, [sp, #224]
    ldp     x26, x27, [sp, #208]
    ldp     x24, x25, [sp, #192]
    ldp     x22, x23, [sp, #176]
    ldp     x20, x21, [sp, #160]
    ldp     x18, x19, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp, #0]
    add     sp, sp, #256
    eret

3:
    stp     x29, x30, [sp, #-16]!
    mov     x29, sp
    .if     \version == 3
    mrs     x4, icc_iar1_el1
    .else
    mrs     x8, tpidr_el0
    ldr     w4, [x8, #0xc]
    .endif
    dsb     sy
    and     w5, w4, #0x3ff
    cmp     w5, #1020
    b.hs    4f
    adrp    x6, {at}
    add     x6, x6, :lo12:{at}
    ldr     x7, [x6, #8]
    add     x7, x7, #1
    stp     x0, x7, [x6]
    msr     cnt\timer\()_ctl_el0, xzr
    isb
    .if     \version == 3
    msr     icc_eoir1_el1, x4
    .else
    str     w4, [x8, #0x10]
    .endif
    isb
4:
    ldp     x29, x30, [sp], #16
    ret
    .endm
    IRQ     bench_vectors_v3, 3, v
    IRQ     bench_vectors_v2, 2, v
    IRQ     bench_vectors_physical_v3, 3, p
    IRQ     bench_vectors_physical_v2, 2, p
"#,
    at = sym SEEN,
);

/// Enables the three interrupts; interrupts stay masked.
pub fn prepare() {
    machine().gic.enable_intid(SGI);
    machine().gic.enable_intid(Timer::Virtual.intid());
    machine().gic.enable_intid(Timer::Physical.intid());
    // Only the handler of a GICv2 reads it: the CPU interface.
    sysreg::write!("tpidr_el0", machine().gic.second);
}

/// Runs `measure` with our vectors, then puts the kit's back. `timer` is the one that they turn off.
fn with_vectors(timer: Timer, measure: impl FnOnce() -> Option<u64>) -> Option<u64> {
    unsafe extern "C" {
        fn bench_vectors_v3();
        fn bench_vectors_v2();
        fn bench_vectors_physical_v3();
        fn bench_vectors_physical_v2();
    }
    let ours = match (machine().gic.version, timer) {
        (Version::V3, Timer::Virtual) => bench_vectors_v3 as *const () as u64,
        (Version::V2, Timer::Virtual) => bench_vectors_v2 as *const () as u64,
        (Version::V3, Timer::Physical) => bench_vectors_physical_v3 as *const () as u64,
        (Version::V2, Timer::Physical) => bench_vectors_physical_v2 as *const () as u64,
    };
    let before = sysreg::read!("vbar_el1");
    SEEN.at.store(0, Ordering::Relaxed);
    sysreg::write!("vbar_el1", ours);
    let ticks = measure();
    cpu::mask_irq();
    timer.stop();
    sysreg::write!("vbar_el1", before);
    ticks
}

/// Sends an SGI to this CPU. Returns the ticks until the handler has returned and is seen to have.
pub fn sgi_round() -> Option<u64> {
    with_vectors(Timer::Virtual, || {
        cpu::unmask_irq();
        let (start, mut end): (u64, u64);
        match machine().gic.version {
            // SAFETY: sends an interrupt that our vectors take.
            Version::V3 => unsafe {
                asm!("isb", "mrs {s}, cntvct_el0",
                    "dsb ishst", "mov x2, #{sgi} << 24", "orr x2, x2, #1", "msr icc_sgi1r_el1, x2", "isb",
                    s = out(reg) start, sgi = const SGI, out("x2") _)
            },
            // SAFETY: as above.
            Version::V2 => unsafe {
                asm!("isb", "mrs {s}, cntvct_el0",
                    "dsb ishst", "mov w2, #1 << 16", "orr w2, w2, #{sgi}", "str w2, [{sgir}]", "isb",
                    s = out(reg) start, sgi = const SGI, out("x2") _,
                    sgir = in(reg) machine().gic.distributor + 0xf00)
            },
        }
        // The flag is looked at before the time is taken, so an interrupt in between is counted.
        for _ in 0..1_000_000 {
            let taken = SEEN.at.load(Ordering::Relaxed);
            end = timer::now();
            if taken != 0 {
                return Some(end.wrapping_sub(start));
            }
        }
        None
    })
}

/// Sets a deadline and spins. Returns the ticks from the deadline to the vector.
pub fn spin_round(timer: Timer) -> Option<u64> {
    with_vectors(timer, || {
        let deadline = begin(timer);
        while SEEN.at.load(Ordering::Relaxed) == 0 {
            if timer.now().wrapping_sub(deadline) as i64 > timer::frequency() as i64 {
                return None;
            }
        }
        Some(SEEN.at.load(Ordering::Relaxed).wrapping_sub(deadline))
    })
}

/// The same to the end of the handler.
pub fn tick_round(timer: Timer) -> Option<u64> {
    with_vectors(timer, || {
        let deadline = begin(timer);
        // As in `sgi_round`.
        for _ in 0..1_000_000 {
            let taken = SEEN.at.load(Ordering::Relaxed);
            let end = timer.now();
            if taken != 0 {
                return Some(end.wrapping_sub(deadline));
            }
        }
        None
    })
}

/// Sets a deadline and takes interrupts. Returns it.
fn begin(timer: Timer) -> u64 {
    let deadline = timer.now().wrapping_add(timer::ticks(20));
    timer.set_compare(deadline);
    cpu::unmask_irq();
    timer.set_control(timer::ENABLE);
    deadline
}

/// Sets a deadline and waits for the interrupt. Returns the ticks from the deadline to the vector.
pub fn wfi_round() -> Option<u64> {
    with_vectors(Timer::Virtual, || {
        let deadline = timer::now().wrapping_add(timer::ticks(20));
        Timer::Virtual.set_compare(deadline);
        Timer::Virtual.set_control(timer::ENABLE);
        // Masked, so that an interrupt before WFI is not slept through; it wakes all the same.
        while SEEN.at.load(Ordering::Relaxed) == 0 {
            // SAFETY: our vectors are installed.
            unsafe { asm!("wfi", "msr daifclr, #2", "isb", "msr daifset, #2") };
            if timer::now().wrapping_sub(deadline) as i64 > timer::frequency() as i64 {
                return None;
            }
        }
        Some(SEEN.at.load(Ordering::Relaxed).wrapping_sub(deadline))
    })
}

// Takes the time at which a load's exception reaches the vector of synchronous ones, and steps over the load.
global_asm!(
    r#"
    .section .text.bench_vectors_abort, "ax"
    .balign 0x800
    .global bench_vectors_abort
bench_vectors_abort:
    .rept   4
    .balign 0x80
    b       .
    .endr
    .balign 0x80
    mrs     x21, cntvct_el0
    mrs     x0, elr_el1
    add     x0, x0, #4
    msr     elr_el1, x0
    eret
    .rept   11
    .balign 0x80
    b       .
    .endr
"#
);

/// Loads from `address`, where nothing is. Returns the ticks from the load to the vector.
pub fn abort_round(address: u64) -> u64 {
    unsafe extern "C" {
        fn bench_vectors_abort();
    }
    let before = sysreg::read!("vbar_el1");
    sysreg::write!("vbar_el1", bench_vectors_abort as *const () as u64);
    let (start, end): (u64, u64);
    // SAFETY: the load aborts, and our vector, which changes x0 and x21, steps over it.
    unsafe {
        asm!("isb", "mrs x20, cntvct_el0", "ldr w0, [x0]",
            inout("x0") address => _, out("x20") start, out("x21") end)
    };
    sysreg::write!("vbar_el1", before);
    end.wrapping_sub(start)
}
