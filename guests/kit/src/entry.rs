//! The first instructions: arm64 Image header, relocation, BSS, stack; and a secondary CPU's start.

use core::arch::global_asm;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::this_cpu::{self, PerCpu};
use crate::{machine, mmu, println, psci, uart};

// The header is that of Linux's Documentation/arch/arm64/booting: flags 0xa = little endian,
// 4 KiB pages, anywhere in memory. SCTLR_EL1 0x30d01800 = the RES1 bits of Armv8.0, I, MMU off.
global_asm!(
    r#"
    .section .head, "ax"
    .global _start
_start:
    b       10f
    .long   0
    .quad   0
    .quad   __image_size
    .quad   0xa
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0
10:
    msr     daifset, #0xf
    mrs     x20, cntpct_el0
    mov     x19, x0
    ldr     w0, 90f
    msr     sctlr_el1, x0
    isb
    // Relocate by the packed table of relative relocations (ELF gABI, SHT_RELR): each word gets what we are away by. An
    // even entry is a word's address; an odd one has a bit for each of the 63 words that follow.
    adr     x1, _start
    mov     x2, #0x40200000
    sub     x2, x1, x2
    adrp    x3, __relr_start
    add     x3, x3, :lo12:__relr_start
    adrp    x4, __relr_end
    add     x4, x4, :lo12:__relr_end
20:
    cmp     x3, x4
    b.hs    30f
    ldr     x5, [x3], #8
    tbnz    x5, #0, 22f
    add     x6, x5, x2
    ldr     x7, [x6]
    add     x7, x7, x2
    str     x7, [x6], #8
    b       20b
22:
    mov     x8, x6
24:
    lsr     x5, x5, #1
    cbz     x5, 28f
    tbz     x5, #0, 26f
    ldr     x7, [x8]
    add     x7, x7, x2
    str     x7, [x8]
26:
    add     x8, x8, #8
    b       24b
28:
    add     x6, x6, #504
    b       20b
30:
    adrp    x3, __bss_start
    add     x3, x3, :lo12:__bss_start
    adrp    x4, __bss_end
    add     x4, x4, :lo12:__bss_end
40:
    cmp     x3, x4
    b.hs    50f
    stp     xzr, xzr, [x3], #16
    b       40b
50:
    adrp    x3, {entered}
    add     x3, x3, :lo12:{entered}
    str     x20, [x3]
    adrp    x3, {boot_stack}
    add     x3, x3, :lo12:{boot_stack}
    add     sp, x3, #{boot_stack_size}
    adrp    x3, {cpus}
    add     x3, x3, :lo12:{cpus}
    msr     tpidr_el1, x3
    adrp    x3, kit_vectors
    add     x3, x3, :lo12:kit_vectors
    msr     vbar_el1, x3
    isb
    mov     x0, x19
    bl      {start}
60:
    wfi
    b       60b
90:
    .long   0x30d01800

    // x0 = the PerCpu of this CPU, given to CPU_ON as context.
    .global kit_secondary
kit_secondary:
    msr     daifset, #0xf
    ldr     w1, 90b
    msr     sctlr_el1, x1
    isb
    ldr     x1, [x0, #{stack_top}]
    mov     sp, x1
    msr     tpidr_el1, x0
    adrp    x1, kit_vectors
    add     x1, x1, :lo12:kit_vectors
    msr     vbar_el1, x1
    isb
    bl      {start_secondary}
70:
    wfi
    b       70b
"#,
    entered = sym ENTERED,
    boot_stack = sym this_cpu::BOOT_STACK,
    boot_stack_size = const this_cpu::BOOT_STACK_BYTES,
    cpus = sym this_cpu::CPUS,
    start = sym start,
    start_secondary = sym start_secondary,
    stack_top = const core::mem::offset_of!(PerCpu, stack_top),
);

/// The physical count at the first instruction but one.
static ENTERED: AtomicU64 = AtomicU64::new(0);

/// Returns the physical count when this guest was entered, since the machine's reset.
pub fn entered_at() -> u64 {
    ENTERED.load(Ordering::Relaxed)
}

unsafe extern "Rust" {
    fn guest_main(machine: &'static machine::Machine);
}

extern "C" fn start(dtb: u64) -> ! {
    this_cpu::prepare();
    let Some(machine) = machine::discover(dtb) else {
        // Where QEMU's virt has its console and Assay its conduit: nothing better is known.
        uart::prepare(machine::UART);
        println!("Bail out! no device tree at {:#x}, nor at the start of RAM", dtb);
        psci::hvc(psci::SYSTEM_OFF, 0, 0, 0);
        stay();
    };
    uart::prepare(machine.uart);
    // SError is taken from here on, interrupts when a test asks.
    this_cpu::unmask_serror();
    // SAFETY: `entry!` defines the function with this signature.
    unsafe { guest_main(machine) };
    psci::system_off();
}

extern "C" fn start_secondary(this: &'static PerCpu) -> ! {
    mmu::join();
    this_cpu::unmask_serror();
    this.run();
    psci::cpu_off();
    stay();
}

fn stay() -> ! {
    loop {
        this_cpu::wfi();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("Bail out! {}", info);
    psci::system_off();
}
