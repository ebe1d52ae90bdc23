//! What the boot assembly hands over, and the early map until `mmu` replaces it.

use alloc::vec::Vec;
use core::cell::RefCell;

use assay_spec::addr::{BLOCK_2M, Pa, Region};

use crate::claim::claim;
use crate::frames::{self, Pool, Use};
use crate::heap;

unsafe extern "C" {
    /// `entry.S`: maps the 2 MiB block around `address` with the given descriptor bits into the early tables.
    fn boot_map_block(address: u64, attributes: u64);
}

/// Early attributes of devices: MAIR attribute 1, AF, execute-never, block.
const EARLY_DEVICE: u64 = 0x405 | 1 << 54;

/// Early attributes of memory, the image's own: MAIR attribute 0, Inner Shareable, AF, block.
const EARLY_MEMORY: u64 = 0x701;

/// The most bytes of a tree that is shown, though the boot protocol allows 2 MiB: so that a larger one can be refused on its
/// console. The early tables do for it as for 2 MiB, since it crosses one GiB boundary at most.
const LARGEST_TREE: u64 = 8 * BLOCK_2M;

/// The exception level at entry, as far as Assay cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// EL2 with E2H = 0: the only one that Assay runs at.
    El2,
    /// EL2 of a CPU on which E2H cannot be cleared.
    El2HostOnly,
    /// Another exception level: 1 or 3.
    Other(u8),
}

/// Why the device tree that firmware passed cannot even be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TreeFault {
    /// x0 is not a multiple of 8 (arm64 boot protocol), or is zero.
    Misplaced,
    /// There is no FDT magic number there.
    NoMagic,
    /// `totalsize` is beyond what could be a tree by far ([`LARGEST_TREE`]), or cannot be mapped.
    TooLarge,
}

/// What the first instructions found.
pub struct Boot {
    tree: u64,
    base: u64,
    level: u64,
    /// The 2 MiB blocks that the early map has as devices.
    devices: RefCell<Vec<u64>>,
}

impl Boot {
    /// Takes over from the boot assembly, and gives the heap its memory.
    ///
    /// # Safety
    /// To be called once, by the boot CPU, on `entry.S`'s early map with the image relocated and the BSS
    /// cleared; `tree` is x0 at entry, `base` the address of the image, `level` as `boot_level` left it.
    pub unsafe fn new(tree: u64, base: u64, level: u64) -> Self {
        // SAFETY: this is the one call, and our caller promises the rest.
        unsafe { heap::init() };
        if level == 2 {
            // Which CPU this is only the tree can tell; until then it is CPU 0, so that a fault has a handler.
            // SAFETY: as above.
            unsafe { crate::secondary::adopt_boot_cpu() };
        }
        Self { tree, base, level, devices: RefCell::new(Vec::new()) }
    }

    /// Returns the exception level at entry.
    pub fn level(&self) -> Level {
        match self.level {
            2 => Level::El2,
            0x102 => Level::El2HostOnly,
            other => Level::Other((other & 0xff) as u8),
        }
    }

    /// Ends the hand-over: gives the allocator the machine's free memory, as [`frames::init`] says. No slice of
    /// firmware's tree, whose memory may be among it, outlives this.
    pub fn give_memory(self, free: &[(Region<Pa>, Pool)]) {
        frames::init(free, &heap::early().collect::<Vec<_>>());
    }

    /// Returns where the image runs.
    pub fn base(&self) -> Pa {
        Pa(self.base)
    }

    /// Returns firmware's device tree, still where firmware put it.
    ///
    /// # Errors
    /// A [`TreeFault`] if there is none at x0.
    pub fn tree(&self) -> Result<&[u8], TreeFault> {
        if self.tree == 0 || !self.tree.is_multiple_of(8) {
            return Err(TreeFault::Misplaced);
        }
        // SAFETY: `entry.S` mapped the 2 MiB block at x0 and the one after it; the address is aligned.
        let header = unsafe { core::ptr::read_volatile(self.tree as *const [u32; 2]) };
        if u32::from_be(header[0]) != 0xd00d_feed {
            return Err(TreeFault::NoMagic);
        }
        let size = u64::from(u32::from_be(header[1]));
        if size > LARGEST_TREE {
            return Err(TreeFault::TooLarge);
        }
        if size > BLOCK_2M {
            self.map_memory(Region { start: Pa(self.tree), size }).ok_or(TreeFault::TooLarge)?;
        }
        // SAFETY: 2 MiB from x0 are mapped (see above), or just now all that it has; and nothing writes there while the
        // borrow of `self` lasts, as in `view`.
        Ok(unsafe { core::slice::from_raw_parts(self.tree as *const u8, usize::try_from(size).unwrap_or(0)) })
    }

    /// Shows memory that the boot loader filled, on the early map: the bundle, before frames exist.
    ///
    /// `None` if it is not wholly within what 48 bits address, or so large that the early tables might not do.
    pub fn view(&self, region: Region<Pa>) -> Option<&[u8]> {
        self.map_memory(region)?;
        let length = usize::try_from(region.size).ok()?;
        // SAFETY: mapped just now; nothing writes there while the borrow of `self` lasts, since frames, the only
        // way to memory, begin to exist when the hand-over is consumed (`frames::init`).
        Some(unsafe { core::slice::from_raw_parts(region.start.0 as *const u8, length) })
    }

    /// Gives the heap memory beside the image's, twice at most, for what is to be read before frames exist: some of what
    /// [`Self::give_memory`] would give, and will then leave out. False if it cannot be mapped, or is the tree's.
    pub fn add_heap(&mut self, region: Region<Pa>) -> bool {
        let tree = self.tree().map_or(0, <[u8]>::len) as u64;
        let tree = Region { start: Pa(self.tree), size: tree };
        let fits = !tree.overlaps(&region) && self.map_memory(region).is_some();
        if fits {
            // SAFETY: mapped just now, and neither the image's nor the tree's. Nobody has another view, or this were
            // borrowed, and none will have one: `map_memory` shows nothing of the heap.
            unsafe { heap::add_early(region) }
        }
        fits
    }

    /// Maps memory on the early map, if that is possible.
    fn map_memory(&self, region: Region<Pa>) -> Option<()> {
        const MOST: u64 = 1 << 30;
        let bad = region.end().0 > 1 << 48 || region.size > MOST || region.start.0 == 0;
        let blocks = Region { start: Pa(region.start.0 & !(BLOCK_2M - 1)), size: region.size + BLOCK_2M };
        let on_device = self.devices.borrow().iter().any(|block| blocks.contains(Pa(*block)));
        if bad || on_device || heap::is_own(region) {
            return None;
        }
        let mut block = region.start.0 & !(BLOCK_2M - 1);
        while block < region.end().0 {
            // SAFETY: the same attributes as the image's and the tree's own blocks have, so that one which holds
            // them too is written as it is; any other entry was invalid, or a device that this is not.
            unsafe { boot_map_block(block, EARLY_MEMORY) }
            block += BLOCK_2M;
        }
        Some(())
    }

    /// Makes the 2 MiB block in which a device's registers begin reachable on the early map, and no more, unless it is the
    /// image's, the heap's or the tree's. Returns whether it is. To be called before memory is mapped.
    pub fn map_device(&self, registers: Region<Pa>) -> bool {
        let first = registers.start.0 & !(BLOCK_2M - 1);
        let block = Region { start: Pa(first), size: BLOCK_2M };
        // `entry.S` mapped the block at x0 and the one after it, however large the tree is.
        let tree = self.tree().map_or(0, <[u8]>::len) as u64;
        let tree = Region { start: Pa(self.tree & !(BLOCK_2M - 1)), size: tree.max(BLOCK_2M) + BLOCK_2M };
        let taken = heap::is_own(block) || tree.overlaps(&block);
        if !taken {
            // SAFETY: the block holds neither the image nor the tree, the only memory in use so far; the
            // entry was invalid before, so no break-before-make is due.
            unsafe { boot_map_block(first, EARLY_DEVICE) }
            self.devices.borrow_mut().push(first);
        }
        !taken
    }
}

/// Lends memory that the boot loader filled, read-only and for good: the bundle, or modules beside it.
///
/// Maps it in EL2's map if it is not RAM that is mapped already. `None` if it overlaps the image or memory that
/// frames come from, so that nobody ever writes to it, or if it cannot be mapped.
pub fn lend(region: Region<Pa>) -> Option<&'static [u8]> {
    if !claim(region, Use::Lent) {
        return None;
    }
    crate::mmu::add(region, crate::mmu::Kind::ReadOnly).ok()?;
    let length = usize::try_from(region.size).ok()?;
    // SAFETY: mapped (just now, or the call failed), and neither EL2's nor anybody's who could write it: frames
    // exclude it, and `claim` keeps it from being granted to a VM as a device.
    Some(unsafe { core::slice::from_raw_parts(region.start.0 as *const u8, length) })
}
