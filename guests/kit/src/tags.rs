//! Allocation Tags of memory that is mapped Tagged, by blocks (DDI0487 C6.2 LDGM, STGM).

use core::arch::asm;

use crate::sysreg;

/// The bytes whose tags one LDGM or STGM takes: 4 << GMID_EL1.BS, from 16 to 256.
pub fn block() -> u64 {
    4 << (sysreg::read!("s3_1_c0_c0_4") & 0xf)
}

/// LDGM: the tags of the block at `address`, four bits each, the first granule's lowest.
///
/// A block of fewer than 256 bytes has its tags where they would be in 256 bytes.
pub fn load_block(address: u64) -> u64 {
    let tags: u64;
    // SAFETY: reads tags.
    unsafe { asm!(".arch_extension memtag", "ldgm {t}, [{a}]", t = out(reg) tags, a = in(reg) address) };
    tags
}

/// STGM: gives the block at `address` these tags, as [`load_block`] returns them.
pub fn store_block(address: u64, tags: u64) {
    // SAFETY: changes tags of memory that the caller says is free.
    unsafe { asm!(".arch_extension memtag", "stgm {t}, [{a}]", t = in(reg) tags, a = in(reg) address) };
}

/// The whole blocks in `start..end`.
fn blocks(start: u64, end: u64) -> impl Iterator<Item = u64> {
    let block = block();
    (start.next_multiple_of(block)..end & !(block - 1)).step_by(block as usize)
}

/// Returns the first whole block in `start..end` that has a tag other than zero.
pub fn first_nonzero(start: u64, end: u64) -> Option<u64> {
    blocks(start, end).find(|&address| load_block(address) != 0)
}

/// Gives all whole blocks in `start..end` the tags that a register with `tags` holds.
pub fn fill(start: u64, end: u64, tags: u64) {
    blocks(start, end).for_each(|address| store_block(address, tags));
}
