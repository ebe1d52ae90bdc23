//! Allocation Tags from a program's side: `prctl`, STG and LDG.

use std::arch::asm;
use std::io;

const PR_SET_TAGGED_ADDR_CTRL: i32 = 55;
const PR_TAGGED_ADDR_ENABLE: usize = 1;
const PR_MTE_TCF_SYNC: usize = 1 << 1;
const HWCAP2_MTE: u64 = 1 << 18;
/// Bytes that share a tag.
pub const GRANULE: usize = 16;

/// Whether the kernel offers tags.
#[must_use]
pub fn offered() -> bool {
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_MTE != 0 }
}

/// Has failed tag checks raise a signal at once.
///
/// # Errors
/// `prctl`'s.
pub fn check_synchronously() -> io::Result<()> {
    let mode = PR_TAGGED_ADDR_ENABLE | PR_MTE_TCF_SYNC;
    // SAFETY: changes this thread's mode only.
    let result = unsafe { libc::prctl(PR_SET_TAGGED_ADDR_CTRL, mode, 0usize, 0usize, 0usize) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts `tag` into an address.
#[must_use]
pub fn with_tag(address: usize, tag: usize) -> usize {
    address & !(0xff << 56) | tag << 56
}

/// STG: stores `tag` for the granule at `address`.
pub fn store(address: usize, tag: usize) {
    // SAFETY: changes a tag of a mapping with PROT_MTE.
    unsafe { asm!(".arch_extension memtag", "stg {0}, [{0}]", in(reg) with_tag(address, tag)) };
}

/// LDG: the tag of the granule at `address`.
#[must_use]
pub fn load(address: usize) -> usize {
    let mut tagged = with_tag(address, 0);
    // SAFETY: reads a tag.
    unsafe { asm!(".arch_extension memtag", "ldg {0}, [{0}]", inout(reg) tagged) };
    tagged >> 56 & 0xf
}
