//! Accesses that may abort, under a guard: each goes on at its recovery address (`percpu`) then.

use core::arch::global_asm;
use core::mem::offset_of;

use assay_spec::look::Look;

use crate::percpu::PerCpu;

global_asm!(
    include_str!("probe.S"),
    RECOVERY = const offset_of!(PerCpu, recovery),
    KEPT = const offset_of!(PerCpu, kept),
);

/// What a look at memory that returned `result` has shown.
pub(crate) fn look(result: u64) -> Look {
    match result {
        0 => Look::Good,
        1 => Look::TagsLost,
        2 => Look::DataLost,
        4 => Look::AtomicsFailed,
        _ => Look::Aborted,
    }
}

unsafe extern "C" {
    /// Clears whole pages, by blocks of so many bytes that [`fill::block`](crate::fill::block) tells, and cleans and
    /// invalidates them to the PoC by lines of so many bytes.
    pub(crate) fn probe_zero(start: u64, end: u64, block: u64, line: u64) -> u64;
    /// Does so with pages that are mapped Tagged, and clears their tags.
    pub(crate) fn probe_zero_tags(start: u64, end: u64, block: u64, line: u64) -> u64;
    /// Writes a page with data that depends on its address.
    pub(crate) fn probe_fill(page: u64, pattern: u64) -> u64;
    /// Looks whether the page has that data.
    pub(crate) fn probe_check(page: u64, pattern: u64) -> u64;
    /// Tries exclusives on a page, and atomics with `lse`.
    pub(crate) fn probe_atomics(page: u64, lse: u64) -> u64;
    /// Looks whether a line of every page of a range is zero.
    pub(crate) fn probe_clear(start: u64, end: u64) -> u64;
    /// Writes a page with data that depends on its address, and with tags.
    pub(crate) fn probe_fill_tags(page: u64, pattern: u64) -> u64;
    /// Looks whether the page has that data, and those tags.
    pub(crate) fn probe_check_tags(page: u64, pattern: u64) -> u64;
    /// Marks a page.
    pub(crate) fn probe_mark(page: u64, word: u64) -> u64;
    /// Marks a page, in its tags too.
    pub(crate) fn probe_mark_tags(page: u64, word: u64) -> u64;
    /// Reads two words where a page's mark would be.
    pub(crate) fn probe_seen(page: u64, seen: *mut [u64; 3]) -> u64;
    /// Reads them, and the mark in the tags as the third.
    pub(crate) fn probe_seen_tags(page: u64, seen: *mut [u64; 3]) -> u64;
    /// Reads a word of a device.
    pub(crate) fn probe_read(address: u64) -> u32;
    /// Writes a word of a device.
    pub(crate) fn probe_write(address: u64, value: u32);
    /// Translates an address by stage 1 of EL1: PAR_EL1, or 1 (`F`) if the walk was aborted.
    pub(crate) fn probe_translate(va: u64) -> u64;
    /// Takes a pending SError.
    pub(crate) fn probe_serror();
}
