//! Files that the boot loader put into memory, one by one, at addresses that a VM tree gives.
//!
//! Says whether such an address can be believed: EL2 reads there, and keeps the memory from everybody. Whether
//! the bytes are a kernel is `kernel`'s matter.

use alloc::format;
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
    /// The registers of devices, which some trees have inside of memory nodes.
    pub devices: &'a [Region<Pa>],
    /// Assay's image, with what follows it in memory, and its heap beside it.
    pub assay: &'a [Region<Pa>],
}

/// Why a module cannot be where the VM tree says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misplaced {
    /// Some of it is in no memory node.
    #[error("is not wholly in a memory node of the platform tree")]
    NoMemory,
    /// Some of it is a device.
    #[error("overlaps a device's registers or window, {start} to {end}", start = .0.start, end = .0.end())]
    Device(Region<Pa>),
    /// Some of it is where Assay's image runs.
    #[error("overlaps Assay itself, {start} to {end}: its file, and the BSS, heap and stacks behind it", start = .0.start, end = .0.end())]
    Assay(Region<Pa>),
    /// Some of it is in memory that EL2 does not map.
    #[error("overlaps memory that is reserved with no-map, or coherent, {start} to {end}", start = .0.start, end = .0.end())]
    Barred(Region<Pa>),
}

impl Misplaced {
    /// Says what to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NoMemory | Self::Device(_) => {
                "load it into the machine's RAM, and give its real address and size in `reg`"
            }
            Self::Assay(_) | Self::Barred(_) => "load it elsewhere, and give its real address and size in `reg`",
        }
    }

    /// Says of the bundle at `place` what is wrong and what to do.
    fn of_bundle(self, place: Region<Pa>) -> String {
        let to = match self {
            Self::NoMemory | Self::Device(_) => "into the machine's RAM",
            Self::Assay(_) | Self::Barred(_) => "elsewhere",
        };
        format!(
            "the bundle at {}, {:#x} bytes, {self}; load it {to}, and have the boot loader pass its real place \
             (/chosen: linux,initrd-start and linux,initrd-end)",
            place.start, place.size
        )
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
    on_device(place, ground)?;
    if let Some(assay) = ground.assay.iter().find(|assay| assay.overlaps(&place)) {
        return Err(Misplaced::Assay(*assay));
    }
    let barred = ground.barred.iter().find(|barred| barred.overlaps(&place));
    barred.map_or(Ok(()), |barred| Err(Misplaced::Barred(*barred)))
}

/// Tells whether the bundle can lie at `place`. Of one that is on a device, which is no memory either, the device is the news.
///
/// # Errors
/// It cannot: why, and what to do.
pub fn check_bundle(place: Region<Pa>, ground: &Ground<'_>) -> Result<(), String> {
    let checked = on_device(place, ground).and_then(|()| check(place, ground));
    checked.map_err(|why| why.of_bundle(place))
}

fn on_device(place: Region<Pa>, ground: &Ground<'_>) -> Result<(), Misplaced> {
    let device = ground.devices.iter().find(|device| device.overlaps(&place));
    device.map_or(Ok(()), |device| Err(Misplaced::Device(*device)))
}

/// Tells whether nothing was loaded: a page of zeros, with which neither a kernel nor an archive begins.
pub fn is_blank(bytes: &[u8]) -> bool {
    let page = bytes.get(..0x1000).unwrap_or(bytes);
    page.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::{Ground, Misplaced, check, check_bundle, is_blank};
    use assay_spec::addr::{Pa, Region};
    use std::string::ToString;

    fn region(start: u64, size: u64) -> Region<Pa> {
        Region { start: Pa(start), size }
    }

    fn on<R>(check: impl FnOnce(&Ground<'_>) -> R) -> R {
        let memory = [region(0x5000_0000, 0x1000_0000), region(0x4000_0000, 0x1000_0000)];
        let barred = [region(0x5800_0000, 0x10_0000)];
        let devices = [region(0x900_0000, 0x1000), region(0x5900_0000, 0x18)];
        let assay = [region(0x4020_0000, 0x10_0000), region(0x4040_0000, 0x1000)];
        let ground = Ground { memory: &memory, barred: &barred, devices: &devices, assay: &assay };
        check(&ground)
    }

    fn at(start: u64, size: u64) -> Result<(), Misplaced> {
        on(|ground| check(region(start, size), ground))
    }

    #[test]
    fn a_module_may_lie_in_memory_also_across_nodes_that_touch() {
        assert_eq!(at(0x4000_0000, 0x20_0000), Ok(()));
        assert_eq!(at(0x4fff_f000, 0x2001), Ok(()));
        assert_eq!(at(0x5fff_0000, 0x1_0000), Ok(()));
    }

    #[test]
    fn a_module_beyond_memory_is_refused() {
        for (start, size) in [(0x3fff_ffff, 2), (0x5fff_0000, 0x1_0001), (0xa00_0000, 0x1000), (u64::MAX - 1, 1)] {
            assert_eq!(at(start, size), Err(Misplaced::NoMemory), "{start:#x}");
        }
    }

    #[test]
    fn a_module_over_assay_or_over_barred_memory_is_refused_and_told_where() {
        let image = at(0x402f_ffff, 1).unwrap_err();
        assert_eq!(image, Misplaced::Assay(region(0x4020_0000, 0x10_0000)));
        assert!(image.to_string().contains("40200000"), "{image}");
        assert_eq!(at(0x4040_0fff, 1), Err(Misplaced::Assay(region(0x4040_0000, 0x1000))));
        let barred = at(0x57ff_ffff, 2).unwrap_err();
        assert_eq!(barred, Misplaced::Barred(region(0x5800_0000, 0x10_0000)));
        assert!(!barred.remedy().is_empty());
    }

    #[test]
    fn a_module_over_registers_is_refused_also_where_a_memory_node_covers_them() {
        assert_eq!(at(0x5900_0000, 1), Err(Misplaced::Device(region(0x5900_0000, 0x18))));
        assert_eq!(at(0x900_0000, 1), Err(Misplaced::NoMemory));
        assert_eq!(at(0x5900_0018, 0x1000), Ok(()));
    }

    #[test]
    fn a_bundle_that_cannot_be_where_it_is_said_to_be_is_told_where_and_why() {
        for (start, size, words) in [
            (
                0x1_0000_0000,
                0x9000,
                "is not wholly in a memory node of the platform tree; load it into the machine's RAM",
            ),
            (0x900_0000, 0x9000, "overlaps a device's registers or window, 0x9000000 to 0x9001000"),
            (0x57ff_f000, 0x9000, "overlaps memory that is reserved with no-map"),
            (0x4020_0000, 0x9000, "and the BSS, heap and stacks behind it; load it elsewhere"),
        ] {
            let text = on(|ground| check_bundle(region(start, size), ground)).unwrap_err();
            assert!(text.starts_with(&std::format!("the bundle at {start:#x}, 0x9000 bytes, ")), "{text}");
            assert!(text.contains(words) && text.contains("linux,initrd-start"), "{text}");
        }
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
