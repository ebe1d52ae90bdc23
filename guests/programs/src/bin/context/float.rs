//! The vector registers. The guests are built for soft-float, so nothing but this uses them.

use core::arch::global_asm;
use core::cell::UnsafeCell;

use guest_kit::{Outcome, cpu, ensure, sysreg};

use crate::has_sve;

// x0 = memory: 32 vectors; with SVE 16 predicates and FFR behind.
global_asm!(
    r#"
    .arch_extension simd
    .arch_extension sve
    .section .text.context, "ax"
    .macro  EACH operation, register, base, count
    .altmacro
    .set    n, 0
    .rept   \count
    ONE     \operation, \register, \base, %n
    .set    n, n + 1
    .endr
    .noaltmacro
    .endm
    .macro  ONE operation, register, base, n
    \operation \register\n, [\base, #\n, mul vl]
    .endm
    .global context_load_sve
context_load_sve:
    addvl   x1, x0, #31
    addvl   x1, x1, #1
    ldr     p0, [x1, #16, mul vl]
    wrffr   p0.b
    EACH    ldr, z, x0, 32
    EACH    ldr, p, x1, 16
    ret
    .global context_store_sve
context_store_sve:
    addvl   x1, x0, #31
    addvl   x1, x1, #1
    EACH    str, z, x0, 32
    EACH    str, p, x1, 16
    rdffr   p0.b
    str     p0, [x1, #16, mul vl]
    ldr     p0, [x1]
    ret
    .global context_vector_bytes
context_vector_bytes:
    rdvl    x0, #1
    ret
    .macro  QUAD operation, n
    \operation q\n, [x0, #(\n * 16)]
    .endm
    .global context_load_simd
context_load_simd:
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    QUAD    ldr, \n
    .endr
    ret
    .global context_store_simd
context_store_simd:
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    QUAD    str, \n
    .endr
    ret
    .arch_extension nosve
    .arch_extension nosimd
"#
);

unsafe extern "C" {
    fn context_load_sve(memory: *const u8);
    fn context_store_sve(memory: *mut u8);
    fn context_vector_bytes() -> usize;
    fn context_load_simd(memory: *const u8);
    fn context_store_simd(memory: *mut u8);
}

/// 32 vectors of 256 bytes, 17 predicates of 32.
const MOST: usize = 32 * 256 + 17 * 32;

#[repr(C, align(16))]
struct Memory(UnsafeCell<[u8; MOST]>);
// SAFETY: each CPU uses its own element only.
unsafe impl Sync for Memory {}
static MEMORY: [Memory; cpu::MAX_CPUS] = [const { Memory(UnsafeCell::new([0; MOST])) }; cpu::MAX_CPUS];

/// Lets this CPU use FP, SIMD and SVE, with vectors as long as they get.
pub fn enable() {
    sysreg::write!("cpacr_el1", 3 << 20 | 3 << 16);
    if has_sve() {
        sysreg::write!("s3_0_c1_c2_0", 0xf);
    }
}

/// Returns how many bytes the registers of this CPU are.
fn bytes() -> usize {
    if !has_sve() {
        return 512;
    }
    // SAFETY: SVE is there and on.
    let vector = unsafe { context_vector_bytes() };
    vector * 32 + vector / 8 * 17
}

fn memory(index: usize) -> &'static mut [u8] {
    let memory = MEMORY[index % cpu::MAX_CPUS].0.get();
    // SAFETY: this CPU's own, and no borrow outlives a function of this module.
    let memory = unsafe { &mut *memory };
    &mut memory[..bytes()]
}

fn store(memory: &mut [u8]) {
    // SAFETY: the memory is as long as the registers are.
    unsafe {
        if has_sve() {
            context_store_sve(memory.as_mut_ptr());
        } else {
            context_store_simd(memory.as_mut_ptr());
        }
    }
}

fn pattern(seed: u64, at: usize) -> u8 {
    let value = (seed ^ at as u64 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // FFR has no holes: ones up to some place (DDI0487 C9.2 WRFFR).
    if has_sve() && at >= bytes() / (32 * 8 + 17) * (32 * 8 + 16) {
        return 0xff;
    }
    (value >> (8 * (at & 7))) as u8
}

/// FPCR and FPSR, of which these bits can be anything.
const FPCR: u64 = 0x0780_0000;
const FPSR: u64 = 0x0800_001f;

/// Looks whether all of them are zero.
pub fn clear() -> Outcome {
    let memory = memory(0);
    store(memory);
    let found = memory.iter().position(|byte| *byte != 0);
    ensure!(found.is_none(), "byte {} is not zero", found.unwrap_or(0));
    let (control, status) = (sysreg::read!("s3_3_c4_c4_0"), sysreg::read!("s3_3_c4_c4_1"));
    ensure!(control == 0 && status == 0, "FPCR {:#x} FPSR {:#x}", control, status);
    Ok(())
}

/// Fills them.
pub fn fill(index: usize, seed: u64) {
    let memory = memory(index);
    for (at, byte) in memory.iter_mut().enumerate() {
        *byte = pattern(seed, at);
    }
    // SAFETY: as in `store`.
    unsafe {
        if has_sve() {
            context_load_sve(memory.as_ptr());
        } else {
            context_load_simd(memory.as_ptr());
        }
    }
    sysreg::write!("s3_3_c4_c4_0", seed << 22 & FPCR);
    sysreg::write!("s3_3_c4_c4_1", (seed | 0x0800_0000) & FPSR);
}

/// Returns which byte does not hold what [`fill`] put there with the same seed.
pub fn differs(index: usize, seed: u64) -> Option<usize> {
    let memory = memory(index);
    memory.fill(0);
    store(memory);
    let wrong = memory.iter().enumerate().position(|(at, byte)| *byte != pattern(seed, at));
    let control = sysreg::read!("s3_3_c4_c4_0") == seed << 22 & FPCR;
    let status = sysreg::read!("s3_3_c4_c4_1") == (seed | 0x0800_0000) & FPSR;
    wrong.or((!control || !status).then_some(MOST))
}
