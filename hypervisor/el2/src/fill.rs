//! Clearing memory that holds no Rust object, copying into it, and the CRC-32 of what is copied.

use core::arch::aarch64::{__crc32b, __crc32d};

use assay_spec::addr::{Pa, Region};

use crate::cpu;
use crate::sysreg::{dsb_ish, read_sysreg};

/// For CPUs without the CRC32 instructions: a table of 1 KiB.
static CRC32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Returns the CRC-32 of `bytes`, going on from `checksum`.
pub fn crc32(bytes: &[u8], checksum: u32) -> u32 {
    if cpu::has_crc32() {
        // SAFETY: FEAT_CRC32 is there.
        return !unsafe { update_crc(!checksum, bytes) };
    }
    // The crate takes the register's contents before reflection and without the final inversion.
    let mut digest = CRC32.digest_with_initial((!checksum).reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

/// Goes on with a CRC-32 that is not inverted.
#[target_feature(enable = "crc")]
fn update_crc(mut crc: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks();
    for word in words {
        crc = __crc32d(crc, u64::from_le_bytes(*word));
    }
    rest.iter().fold(crc, |crc, byte| __crc32b(crc, *byte))
}

/// Clears `part` by blocks (`DC ZVA`, or `DC GZVA` with tags), and the rest by words.
///
/// # Safety
/// `part` must be mapped read-write, Tagged if `tagged`, and hold no Rust object. With `tagged`, it must be a
/// multiple of 16 bytes for the tags of its last granule to be cleared.
pub(crate) unsafe fn zero(part: Region<Pa>, tagged: bool) {
    if !tagged && cpu::has_mops() {
        // SAFETY: our caller's promise; FEAT_MOPS is there.
        unsafe { set_zero(part) };
        dsb_ish();
        return;
    }
    let (mut at, end) = (part.start.0, part.end().0);
    let block = block();
    if block != 0 {
        let first = at.next_multiple_of(block).min(end);
        // SAFETY: our caller's promise, for a part of the part.
        unsafe { zero_bytes(at, first, tagged) };
        at = first;
        let last = end & !(block - 1);
        if at < last {
            // SAFETY: whole blocks inside the part.
            unsafe { zero_blocks(at, last, block, tagged) };
            at = last;
        }
    }
    // SAFETY: our caller's promise, for what is left.
    unsafe { zero_bytes(at, end, tagged) };
    dsb_ish();
}

/// Returns how many bytes `DC ZVA` and `DC GZVA` clear, at most 2048; 0 if they must not be used (`DCZID_EL0.DZP`).
pub(crate) fn block() -> u64 {
    let dczid = read_sysreg!("dczid_el0");
    if dczid >> 4 & 1 == 0 { 4 << (dczid & 0xf) } else { 0 }
}

/// Clears by FEAT_MOPS: the CPU picks the widest way it has.
///
/// # Safety
/// As [`zero`]; the CPU has FEAT_MOPS.
unsafe fn set_zero(part: Region<Pa>) {
    // SAFETY: our caller's promise. The three instructions go together (DDI0487 C6.2 SETP); NZCV is theirs.
    unsafe {
        core::arch::asm!(
            ".arch_extension mops",
            "setp [{at}]!, {n}!, xzr",
            "setm [{at}]!, {n}!, xzr",
            "sete [{at}]!, {n}!, xzr",
            at = inout(reg) part.start.0 => _,
            n = inout(reg) part.size => _,
            options(nostack),
        );
    }
}

/// # Safety
/// As [`zero`], for whole blocks of `block` bytes.
unsafe fn zero_blocks(start: u64, end: u64, block: u64, tagged: bool) {
    // Eight blocks a turn, then one by one.
    macro_rules! clear {
        ($operation:literal) => {
            core::arch::asm!(
                ".arch_extension memtag",
                "2: sub {left}, {end}, {at}",
                "cmp {left}, {block}, lsl #3",
                "b.lo 3f",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                "b 2b",
                "3: cmp {at}, {end}",
                "b.hs 4f",
                concat!($operation, ", {at}"), "add {at}, {at}, {block}",
                "b 3b",
                "4:",
                at = inout(reg) start => _, end = in(reg) end, block = in(reg) block, left = out(reg) _,
                options(nostack),
            )
        };
    }
    if tagged {
        // SAFETY: our caller passes whole blocks of a part that `zero` may clear; `tagged` means MTE2.
        unsafe { clear!("dc gzva") }
    } else {
        // SAFETY: as above.
        unsafe { clear!("dc zva") }
    }
}

/// # Safety
/// As [`zero`].
unsafe fn zero_bytes(start: u64, end: u64, tagged: bool) {
    if start < end {
        // SAFETY: our caller's promise: mapped, and no Rust object.
        unsafe { core::ptr::write_bytes(start as *mut u8, 0, (end - start) as usize) };
        if tagged {
            // SAFETY: as above; `tagged` means MTE2 and a Tagged mapping.
            unsafe { clear_tags(start, end) };
        }
    }
}

/// # Safety
/// `target` for `source.len()` bytes must be mapped read-write and hold no Rust object.
pub(crate) unsafe fn copy(target: Pa, source: &[u8]) {
    // SAFETY: our caller's promise; a slice and memory without Rust objects do not overlap.
    unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), target.0 as *mut u8, source.len()) }
}

/// Copies and computes the CRC-32 in one pass: 18 instructions for 64 bytes.
///
/// # Safety
/// As [`copy`]; the CPU has FEAT_CRC32.
pub(crate) unsafe fn copy_with_crc(target: Pa, source: &[u8], checksum: u32) -> u32 {
    let blocks = source.len() / 64;
    let mut crc = u64::from(!checksum);
    if blocks != 0 {
        // SAFETY: reads `blocks * 64` bytes of `source` and writes as many at `target`: our caller's promise.
        unsafe {
            core::arch::asm!(
                ".arch_extension crc",
                "2: ldp {a}, {b}, [{from}]",
                "ldp {c}, {d}, [{from}, #16]",
                "stp {a}, {b}, [{to}]",
                "crc32x {crc:w}, {crc:w}, {a}",
                "crc32x {crc:w}, {crc:w}, {b}",
                "stp {c}, {d}, [{to}, #16]",
                "crc32x {crc:w}, {crc:w}, {c}",
                "crc32x {crc:w}, {crc:w}, {d}",
                "ldp {a}, {b}, [{from}, #32]",
                "ldp {c}, {d}, [{from}, #48]",
                "stp {a}, {b}, [{to}, #32]",
                "crc32x {crc:w}, {crc:w}, {a}",
                "crc32x {crc:w}, {crc:w}, {b}",
                "stp {c}, {d}, [{to}, #48]",
                "crc32x {crc:w}, {crc:w}, {c}",
                "crc32x {crc:w}, {crc:w}, {d}",
                "add {from}, {from}, #64",
                "add {to}, {to}, #64",
                "subs {n}, {n}, #1",
                "b.ne 2b",
                a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
                from = inout(reg) source.as_ptr() => _, to = inout(reg) target.0 => _,
                crc = inout(reg) crc, n = inout(reg) blocks => _,
                options(nostack),
            );
        }
    }
    let done = blocks * 64;
    let rest = source.get(done..).unwrap_or_default();
    // SAFETY: what is left of the same two ranges.
    unsafe { copy(Pa(target.0 + done as u64), rest) };
    // SAFETY: FEAT_CRC32 is there: our caller's promise.
    !unsafe { update_crc(crc as u32, rest) }
}

/// Zeroes the Allocation Tags of every granule that `start..end` touches.
///
/// # Safety
/// MTE2, and the range mapped Tagged.
pub(crate) unsafe fn clear_tags(start: u64, end: u64) {
    let mut granule = start & !15;
    while granule < end {
        // SAFETY: our caller's promise; the tag comes from bits 59:56 of the address, which are zero.
        unsafe {
            core::arch::asm!(".arch_extension memtag", "stg {0}, [{0}]", in(reg) granule, options(nostack, preserves_flags));
        }
        granule += 16;
    }
}
