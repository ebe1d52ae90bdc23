//! A device's registers, as EL2 reads and writes them.

use core::ops::Deref;

use assay_spec::addr::{Pa, Region};

use crate::{cpu, frames, heap, probe};

/// A layout of registers.
///
/// # Safety
/// It consists of `tock_registers`' types alone, aligned to at most 8 bytes. No access to them makes the device write to
/// memory, but for registers that only the module of the layout can reach, and sets to `DeviceMemory` that stays.
pub(crate) unsafe trait Registers: 'static {}

/// Registers of a device, which stay where they are for good.
pub(crate) struct Mmio<T: Registers + ?Sized>(&'static T);

// SAFETY: Device memory at a fixed address: any CPU may access it, each access is atomic, and what is banked is each
// CPU's own.
unsafe impl<T: Registers + ?Sized> Send for Mmio<T> {}
// SAFETY: as above.
unsafe impl<T: Registers + ?Sized> Sync for Mmio<T> {}

impl<T: Registers> Mmio<T> {
    /// Takes the registers at the beginning of `region`, where the caller has mapped them as Device; `None` if they do
    /// not fit there, or it is the image's or memory that frames come from. A wrong tree can cost an abort, not memory.
    pub(crate) fn new(region: Region<Pa>) -> Option<Self> {
        elements(region, 1)?.first().map(Self)
    }

    /// Tells whether something answers a read of the word at `offset`, of a register that a read does not change and that is
    /// never all ones.
    pub(crate) fn answers(&self, offset: usize) -> bool {
        if !offset.is_multiple_of(4) || offset + 4 > size_of::<T>() {
            return false;
        }
        let word = core::ptr::from_ref(self.0).addr() + offset;
        // SAFETY: an aligned word of the registers, which the caller of `new` mapped as Device and which are no memory that
        // Rust objects or a guest could be in; an abort is recovered.
        unsafe { probe::probe_read(word as u64) != u32::MAX }
    }
}

impl<T> Mmio<[T]>
where
    [T]: Registers,
{
    /// Takes `count` registers, at least one; else like [`Mmio::new`].
    pub(crate) fn array(region: Region<Pa>, count: usize) -> Option<Self> {
        elements(region, count).map(Self)
    }
}

/// The first `count` layouts of registers in `region`, one after the other; used with those of [`Registers`] alone.
fn elements<T>(region: Region<Pa>, count: usize) -> Option<&'static [T]> {
    let bytes = count.checked_mul(size_of::<T>()).filter(|bytes| isize::try_from(*bytes).is_ok())?;
    if count == 0 || !is_usable(region, bytes as u64) {
        return None;
    }
    // SAFETY: aligned, within `region`, not above `isize::MAX` bytes, and no Rust object and no guest is there; registers
    // may change at any time, which the types that `T` consists of allow.
    Some(unsafe { core::slice::from_raw_parts(region.start.0 as *const T, count) })
}

/// Tells whether the first `least` bytes of `region` may be registers.
pub(crate) fn is_usable(region: Region<Pa>, least: u64) -> bool {
    let fits = region.size >= least && region.start.0 != 0 && region.start.0.is_multiple_of(8);
    fits && !heap::is_own(region) && !frames::manages(region)
}

impl<T: Registers + ?Sized> Deref for Mmio<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

/// Waits until registers say that something is done, a tenth of a second at most. Returns whether it is.
pub(crate) fn wait_until(is_done: impl Fn() -> bool) -> bool {
    let begin = cpu::counter();
    let patience = cpu::counter_frequency() / 10;
    while !is_done() {
        if cpu::counter().wrapping_sub(begin) > patience {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}
