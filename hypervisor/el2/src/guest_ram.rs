//! A guest's RAM as EL2 fills and clears it: through the identity map, which maps it Normal WB, and while a guest runs
//! does not map it at all.

use core::ops::Range;

use assay_spec::addr::{Pa, Region};

use crate::frames::{Frames, Pool};
use crate::mmu::{Hidden, Whole};
use crate::{cache, cpu, fill};

/// Frames that have become a guest's RAM. EL2 keeps no Rust object in them. Where they are lent, another VM may write them
/// at any time: EL2 relies on nothing that it reads there.
pub struct GuestRam {
    frames: Frames,
    tagged: bool,
    /// Some VM's tables may lead to it.
    granted: bool,
    /// It is in the whole map only.
    hidden: bool,
}

/// Where a guest's RAM is that other VMs are to see too: [`GuestRam::lend`] alone makes it.
#[derive(Clone, Copy, Debug)]
pub struct LentRam(Region<Pa>);

impl LentRam {
    /// Returns where it is.
    pub fn region(&self) -> Region<Pa> {
        self.0
    }
}

/// A part of guest RAM that was asked for does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange;

impl GuestRam {
    /// Makes `frames` guest RAM, for good. Of the tagged pool, which EL2 maps Tagged, Allocation Tags are
    /// cleared along with data.
    pub fn new(frames: Frames) -> Self {
        let tagged = frames.pool() == Pool::Tagged;
        Self { frames, tagged, granted: false, hidden: false }
    }

    /// Returns where it is.
    pub fn region(&self) -> Region<Pa> {
        self.frames.region()
    }

    /// Lets other VMs be granted the memory beside the one whose RAM it is. It is given for good: EL2 goes on clearing and
    /// filling it for that one.
    pub fn lend(&self) -> LentRam {
        LentRam(self.region())
    }

    /// Notes that a VM is granted the memory. Returns whether it is the first.
    pub(crate) fn grant(&mut self) -> bool {
        !core::mem::replace(&mut self.granted, true)
    }

    /// Notes that the narrow map lacks it from now on (`mmu::leave_out`).
    pub fn hide(&mut self) -> Hidden {
        self.hidden = true;
        Hidden(self.region())
    }

    /// Makes it reachable for as long as the result lives.
    fn reach(&self) -> Option<Whole> {
        self.hidden.then(Whole::enter)
    }

    fn part(&self, range: Range<u64>) -> Result<Region<Pa>, OutOfRange> {
        let region = self.region();
        let size = range.end.checked_sub(range.start).ok_or(OutOfRange)?;
        if range.end > region.size {
            return Err(OutOfRange);
        }
        Ok(Region { start: Pa(region.start.0 + range.start), size })
    }

    /// Clears bytes `range`, and their Allocation Tags where the memory is Tagged.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn zero(&mut self, range: Range<u64>) -> Result<(), OutOfRange> {
        let part = self.part(range)?;
        let _reached = self.reach();
        // SAFETY: inside frames that hold no Rust object, mapped read-write, Tagged if `tagged` says so.
        unsafe { fill::zero(part, self.tagged) };
        Ok(())
    }

    /// Stores a word at `offset`, a multiple of 8, in one access: the guest may read it at any time.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn store(&self, offset: u64, word: u64) -> Result<(), OutOfRange> {
        let end = offset.checked_add(8).ok_or(OutOfRange)?;
        let part = self.part(offset..end)?;
        if offset & 7 != 0 {
            return Err(OutOfRange);
        }
        let _reached = self.reach();
        // SAFETY: an aligned word inside frames that hold no Rust object and are mapped read-write.
        unsafe { (part.start.0 as *mut u64).write_volatile(word) };
        Ok(())
    }

    /// Reads a word at `offset`, a multiple of 8, in one access.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn load(&self, offset: u64) -> Result<u64, OutOfRange> {
        let end = offset.checked_add(8).ok_or(OutOfRange)?;
        let part = self.part(offset..end)?;
        if offset & 7 != 0 {
            return Err(OutOfRange);
        }
        let _reached = self.reach();
        // SAFETY: as in `store`.
        Ok(unsafe { (part.start.0 as *const u64).read_volatile() })
    }

    /// Copies `source` to `offset`. With a checksum, it goes on with the CRC-32 (IEEE 802.3) of what is copied.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn copy(&mut self, offset: u64, source: &[u8], checksum: Option<&mut u32>) -> Result<(), OutOfRange> {
        let end = offset.checked_add(source.len() as u64).ok_or(OutOfRange)?;
        let part = self.part(offset..end)?;
        let _reached = self.reach();
        match checksum {
            Some(checksum) if cpu::has_crc32() && part.start.0.is_multiple_of(16) => {
                // SAFETY: as in `zero`; `source` is a Rust object and so not in these frames.
                *checksum = unsafe { fill::copy_with_crc(part.start, source, *checksum) };
            }
            Some(checksum) => {
                // SAFETY: as above.
                unsafe { fill::copy(part.start, source) };
                *checksum = fill::crc32(source, *checksum);
            }
            // SAFETY: as above.
            None => unsafe { fill::copy(part.start, source) },
        }
        if self.tagged {
            // A store never clears a tag. SAFETY: the tagged pool exists with MTE2 only, and is mapped Tagged.
            unsafe { fill::clear_tags(part.start.0, part.end().0) };
        }
        Ok(())
    }

    /// Cleans and invalidates bytes `range` to the Point of Coherency.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn clean_and_invalidate(&self, range: Range<u64>) -> Result<(), OutOfRange> {
        let part = self.part(range)?;
        let _reached = self.reach();
        cache::clean_and_invalidate(part);
        Ok(())
    }

    /// Makes what was written to bytes `range` fit for execution on every CPU.
    ///
    /// # Errors
    /// [`OutOfRange`].
    pub fn make_executable(&self, range: Range<u64>) -> Result<(), OutOfRange> {
        let part = self.part(range)?;
        let _reached = self.reach();
        cache::make_executable(part);
        Ok(())
    }
}
