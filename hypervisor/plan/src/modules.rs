//! Files that the boot loader put into memory, one by one, at addresses that a VM tree gives.
//!
//! Says whether such an address can be believed: EL2 reads there, and keeps the memory from everybody. Whether
//! the bytes are a kernel is `kernel`'s matter.

use alloc::string::String;
use core::fmt;

use assay_spec::addr::{Pa, Region};

/// The memory of a machine, as far as modules are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// What the platform tree calls memory.
    pub memory: &'a [Region<Pa>],
    /// What EL2 may not map as Normal memory: `no-map` reservations and coherent regions.
    pub barred: &'a [Region<Pa>],
    /// Assay's image.
    pub image: Region<Pa>,
}

/// Why a module cannot be where the VM tree says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misplaced {
    /// Some of it is in no memory node.
    #[error("is not wholly in a memory node of the platform tree")]
    NoMemory,
    /// Some of it is where Assay's image runs.
    #[error("overlaps Assay itself, {start} to {end}", start = .0.start, end = .0.end())]
    Assay(Region<Pa>),
    /// Some of it is in memory that EL2 does not map.
    #[error("overlaps memory that is reserved with no-map, or coherent, {start} to {end}", start = .0.start, end = .0.end())]
    Barred(Region<Pa>),
}

impl Misplaced {
    /// Says what to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NoMemory => "load it into the machine's RAM, and give its real address and size in `reg`",
            Self::Assay(_) | Self::Barred(_) => "load it elsewhere, and give its real address and size in `reg`",
        }
    }
}

/// A file that a VM needs cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// Not in the bundle, or there is no bundle.
    Member(String),
    /// It cannot be where the VM tree says.
    Misplaced(Region<Pa>, Misplaced),
    /// The memory where the VM tree says that it is cannot be lent.
    Address(Region<Pa>),
    /// There are only zeros.
    Blank(Region<Pa>),
}

/// What messages call the module at a place.
pub(crate) struct ModuleAt<'a>(pub(crate) &'a Region<Pa>);

impl fmt::Display for ModuleAt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the module at {}, {:#x} bytes,", self.0.start, self.0.size)
    }
}

/// Tells whether a module can lie at `place`.
///
/// # Errors
/// It cannot. Two modules at one place are no error: VMs may start from the same kernel.
pub fn check(place: Region<Pa>, ground: &Ground<'_>) -> Result<(), Misplaced> {
    // A module may lie across memory nodes that touch, and boards have them; the loader did not care.
    let mut at = place.start;
    while at < place.end() {
        let under = ground.memory.iter().find(|memory| memory.contains(at));
        at = under.ok_or(Misplaced::NoMemory)?.end();
    }
    if ground.image.overlaps(&place) {
        return Err(Misplaced::Assay(ground.image));
    }
    let barred = ground.barred.iter().find(|barred| barred.overlaps(&place));
    barred.map_or(Ok(()), |barred| Err(Misplaced::Barred(*barred)))
}

/// Tells whether nothing was loaded: a page of zeros, with which neither a kernel nor an archive begins.
pub fn is_blank(bytes: &[u8]) -> bool {
    let page = bytes.get(..0x1000).unwrap_or(bytes);
    page.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::{Ground, Misplaced, check, is_blank};
    use assay_spec::addr::{Pa, Region};
    use std::string::ToString;

    fn region(start: u64, size: u64) -> Region<Pa> {
        Region { start: Pa(start), size }
    }

    fn at(start: u64, size: u64) -> Result<(), Misplaced> {
        let memory = [region(0x5000_0000, 0x1000_0000), region(0x4000_0000, 0x1000_0000)];
        let barred = [region(0x5800_0000, 0x10_0000)];
        let ground = Ground { memory: &memory, barred: &barred, image: region(0x4020_0000, 0x10_0000) };
        check(region(start, size), &ground)
    }

    #[test]
    fn a_module_may_lie_in_memory_also_across_nodes_that_touch() {
        assert_eq!(at(0x4000_0000, 0x20_0000), Ok(()));
        assert_eq!(at(0x4fff_f000, 0x2001), Ok(()));
        assert_eq!(at(0x5fff_0000, 0x1_0000), Ok(()));
    }

    #[test]
    fn a_module_beyond_memory_is_refused() {
        for (start, size) in [(0x3fff_ffff, 2), (0x5fff_0000, 0x1_0001), (0x900_0000, 0x1000), (u64::MAX - 1, 1)] {
            assert_eq!(at(start, size), Err(Misplaced::NoMemory), "{start:#x}");
        }
    }

    #[test]
    fn a_module_over_assay_or_over_barred_memory_is_refused_and_told_where() {
        let image = at(0x402f_ffff, 1).unwrap_err();
        assert_eq!(image, Misplaced::Assay(region(0x4020_0000, 0x10_0000)));
        assert!(image.to_string().contains("40200000"), "{image}");
        let barred = at(0x57ff_ffff, 2).unwrap_err();
        assert_eq!(barred, Misplaced::Barred(region(0x5800_0000, 0x10_0000)));
        assert!(!barred.remedy().is_empty());
    }

    #[test]
    fn only_a_page_of_zeros_is_no_module() {
        assert!(is_blank(&[0; 0x2000]) && is_blank(&[0; 3]) && is_blank(&[]));
        let mut bytes = [0; 0x2000];
        bytes[0x1000] = 1;
        assert!(is_blank(&bytes));
        bytes[0xfff] = 1;
        assert!(!is_blank(&bytes));
    }
}
