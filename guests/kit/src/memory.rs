//! Loops over much memory, in assembly so that they are quick without optimised vector code.

use core::arch::asm;

/// Returns the address of the first 64 bytes in `start..end`, multiples of 64, that are not all zero.
pub fn first_nonzero(start: u64, end: u64) -> Option<u64> {
    let mut at = start;
    // SAFETY: reads RAM of the guest.
    unsafe {
        asm!(
            "2: cmp {at}, {end}",
            "b.hs 3f",
            "ldp {a}, {b}, [{at}]",
            "ldp {c}, {d}, [{at}, #16]",
            "orr {a}, {a}, {b}",
            "orr {c}, {c}, {d}",
            "ldp {b}, {d}, [{at}, #32]",
            "orr {a}, {a}, {c}",
            "orr {b}, {b}, {d}",
            "ldp {c}, {d}, [{at}, #48]",
            "orr {a}, {a}, {b}",
            "orr {c}, {c}, {d}",
            "orr {a}, {a}, {c}",
            "cbnz {a}, 3f",
            "add {at}, {at}, #64",
            "b 2b",
            "3:",
            at = inout(reg) at, end = in(reg) end,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
        )
    };
    (at < end).then_some(at)
}

/// Fills `start..end`, multiples of 64, with `value`.
pub fn fill(start: u64, end: u64, value: u64) {
    // SAFETY: writes RAM of the guest that the caller says is free.
    unsafe {
        asm!(
            "2: cmp {at}, {end}",
            "b.hs 3f",
            "stp {v}, {v}, [{at}]",
            "stp {v}, {v}, [{at}, #16]",
            "stp {v}, {v}, [{at}, #32]",
            "stp {v}, {v}, [{at}, #48]",
            "add {at}, {at}, #64",
            "b 2b",
            "3:",
            at = inout(reg) start => _, end = in(reg) end, v = in(reg) value,
        )
    };
}
