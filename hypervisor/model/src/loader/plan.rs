//! What goes where in a guest's RAM: the values, which `assay_plan::kernel` chooses.

use alloc::vec::Vec;
use core::ops::Range;

use assay_spec::addr::{Ipa, PAGE_SIZE, Region};

use super::KernelError;
use crate::holes::Holes;

/// What a guest's first vCPU finds in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadPlan {
    /// The memory that was planned for: RAM, and flashes.
    pub memory: Vec<Region<Ipa>>,
    /// The kernel with its BSS.
    pub kernel: Region<Ipa>,
    /// The first instruction.
    pub entry: Ipa,
    /// The ramdisk.
    pub ramdisk: Option<Region<Ipa>>,
    /// The device tree, whose address goes into x0.
    pub dtb: Region<Ipa>,
    /// What is written, by rising address; each part lies in one memory, and they do not overlap.
    pub loads: Vec<Load>,
}

impl LoadPlan {
    /// Looks whether something would be put on a page that is to be left alone.
    ///
    /// # Errors
    /// [`KernelError::OnHole`].
    pub fn avoids(&self, holes: &Holes) -> Result<(), KernelError> {
        let hit = |page: &Ipa| Some(KernelError::OnHole { what: self.at(*page)?, page: *page });
        holes.pages().iter().find_map(hit).map_or(Ok(()), Err)
    }

    /// Returns what is put on the page at `page`.
    pub fn at(&self, page: Ipa) -> Option<&'static str> {
        let page = Region { start: page, size: PAGE_SIZE };
        let ramdisk = self.ramdisk.iter().map(|ramdisk| (ramdisk, "the ramdisk"));
        let parts = [(&self.kernel, "the kernel"), (&self.dtb, "the device tree")].into_iter().chain(ramdisk);
        parts.filter(|(part, _)| part.overlaps(&page)).map(|(_, what)| what).next()
    }
}

/// One contiguous write into the guest's RAM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// Where to.
    pub to: Region<Ipa>,
    /// Where from.
    pub origin: Origin,
}

/// Where the bytes of a [`Load`] come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The kernel file, from this byte on.
    Kernel {
        /// The offset in the file, in bytes.
        offset: usize,
    },
    /// What inflates from this part of the kernel file; zeros follow it to the load's end.
    Inflated {
        /// The gzip members, and maybe more behind them, in bytes of the file.
        members: Range<usize>,
    },
    /// The whole file of the flash of this index.
    Flash(usize),
    /// The whole ramdisk.
    Ramdisk,
    /// The whole device tree.
    DeviceTree,
}
