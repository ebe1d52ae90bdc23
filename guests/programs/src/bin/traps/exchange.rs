//! Instructions that trap take their general register from the guest and give it back there, whichever it is, and touch no
//! other.

use core::arch::global_asm;

use guest_kit::machine::machine;
use guest_kit::{Outcome, cpu, ensure, gic, mmio, sysreg};

/// x0 to x30 before and after, and the stack pointer.
#[repr(C, align(16))]
struct Registers([u64; 32]);

/// Bytes of one routine.
const ROUTINE: usize = 512;
/// The registers that are tried: x30 has the address.
const COUNT: usize = 30;

// Each is a table of routines of `ROUTINE` bytes, one for each register: f(&mut Registers) loads x0 to x30, executes the
// instruction with that register, and stores them. They lie at SP meanwhile.
global_asm!(
    r#"
    .macro  EXCHANGE name, instruction, operand
    .section .text.\name, "ax"
    .balign 512
    .global \name
\name:
    .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
    .balign 512
    stp     x19, x20, [sp, #-96]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mov     x1, sp
    str     x1, [x0, #248]
    mov     sp, x0
    .irp    m, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28
    LOAD    \m
    .endr
    ldr     x30, [sp, #240]
    \instruction\n, \operand
    .irp    m, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28
    STORE   \m
    .endr
    str     x30, [sp, #240]
    ldr     x1, [sp, #248]
    mov     sp, x1
    ldp     x29, x30, [sp, #80]
    ldp     x27, x28, [sp, #64]
    ldp     x25, x26, [sp, #48]
    ldp     x23, x24, [sp, #32]
    ldp     x21, x22, [sp, #16]
    ldp     x19, x20, [sp], #96
    ret
    .endr
    .endm
    .altmacro
    .macro  LOAD m
    PAIR    ldp, \m, %(\m + 1)
    .endm
    .macro  STORE m
    PAIR    stp, \m, %(\m + 1)
    .endm
    .macro  PAIR what, m, next
    \what   x\m, x\next, [sp, #(8 * \m)]
    .endm
    EXCHANGE traps_exchange_id, <mrs x>, id_aa64pfr0_el1
    EXCHANGE traps_exchange_load, <ldr w>, [x30]
    EXCHANGE traps_exchange_store, <str w>, [x30]
    .noaltmacro
"#
);

unsafe extern "C" {
    static traps_exchange_id: u8;
    static traps_exchange_load: u8;
    static traps_exchange_store: u8;
}

/// Executes the instruction of a table with register `index`; x30 is `address`. Returns the registers before and after.
fn exchange(table: *const u8, index: usize, address: u64) -> ([u64; 31], [u64; 31]) {
    let mut registers = Registers(core::array::from_fn(|n| 0x0101_0101_0101_0101 * (n as u64 + 1)));
    registers.0[30] = address;
    let before = registers.0;
    // SAFETY: the table has a routine for each of `COUNT` registers, which keeps to the AAPCS64 but for SP, that it gives
    // back: nothing uses the stack meanwhile, as interrupts are masked.
    let routine: extern "C" fn(&mut Registers) =
        unsafe { core::mem::transmute(table.wrapping_add(index * ROUTINE).cast::<()>()) };
    routine(&mut registers);
    (core::array::from_fn(|n| before[n]), core::array::from_fn(|n| registers.0[n]))
}

/// Tries a table's instruction with each register, which becomes `expected`, or stays as it is.
fn each(table: *const u8, address: u64, expected: Option<u64>, check: impl Fn(u64) -> bool) -> Outcome {
    cpu::mask_irq();
    for index in 0..COUNT {
        let (mut before, after) = exchange(table, index, address);
        ensure!(check(before[index]), "x{} was not what was stored", index);
        before[index] = expected.unwrap_or(before[index]);
        for (n, (before, after)) in before.iter().zip(after).enumerate() {
            ensure!(*before == after, "by way of x{}, x{} became {:#x}, not {:#x}", index, n, after, before);
        }
    }
    Ok(())
}

pub fn every_register() -> Outcome {
    let distributor = machine().gic.distributor;
    let priorities = distributor + gic::IPRIORITYR + 60;
    let kept = mmio::read32(priorities);
    each(&raw const traps_exchange_id, 0, Some(sysreg::read!("id_aa64pfr0_el1")), |_| true)?;
    each(&raw const traps_exchange_load, distributor + 8, Some(mmio::read32(distributor + 8).into()), |_| true)?;
    // The priorities have five bits.
    let is_stored = |value: u64| u64::from(mmio::read32(priorities)) == value & 0xf8f8_f8f8;
    let stored = each(&raw const traps_exchange_store, priorities, None, is_stored);
    mmio::write32(priorities, kept);
    stored
}
