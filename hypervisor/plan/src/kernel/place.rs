//! Where kernel, ramdisk and device tree go in a guest's RAM.
//!
//! The arm64 boot protocol (`Documentation/arch/arm64/booting.rst`): an `Image` lies `text_offset` above a
//! 2 MiB boundary; the device tree is at most 2 MiB, 8-byte aligned; the ramdisk lies with the kernel in
//! one window of 32 GiB that begins at a 1 GiB boundary. Ramdisk and tree go to the top of RAM, out of the
//! way of a kernel that grows beyond what its header says. They begin at multiples of 64 KiB, so that a
//! kernel with 64 KiB pages that frees its ramdisk's pages never frees the tree's with them.

use super::{ImageHeader, KernelKind, elf_file};
use alloc::vec;
use alloc::vec::Vec;
use assay_model::loader::{KernelError, Load, LoadPlan, Origin};
use assay_spec::addr::{Address, BLOCK_1G, BLOCK_2M, Ipa, Region};

/// Where ramdisk and device tree begin.
const ALIGN: u64 = 0x1_0000;
/// The boot protocol's window for kernel and ramdisk.
const WINDOW: u64 = 32 * BLOCK_1G;

/// Chooses addresses for one guest.
///
/// `bytes` is the kernel file that `kind` was found in; `ramdisk_size` is 0 without one. The tree's size
/// does not depend on the addresses in it, so that a draft of it gives `dtb_size`.
///
/// # Errors
///
/// RAM is too small, the tree too large, or an ELF segment lies where it cannot.
pub fn plan(
    kind: &KernelKind,
    bytes: &[u8],
    ram: Region<Ipa>,
    ramdisk_size: u64,
    dtb_size: u64,
) -> Result<LoadPlan, KernelError> {
    if dtb_size > BLOCK_2M {
        return Err(KernelError::DeviceTree);
    }
    let size = bytes.len() as u64;
    let needs = |kernel_end: u64| no_room(ram, kernel_end, ramdisk_size, dtb_size);
    let whole = Origin::Kernel { offset: 0 };
    let (kernel, entry, mut loads) = match kind {
        KernelKind::Image(header) => image(header, size, whole, ram, needs)?,
        KernelKind::GzipImage { header, members, room } => {
            let members = members.clone();
            image(header, *room, Origin::Inflated { members }, ram, needs)?
        }
        KernelKind::Elf => {
            let layout = elf_file::layout(bytes, ram)?;
            (layout.hull, layout.entry, layout.loads)
        }
        KernelKind::Raw => single(ram.start, size, size, whole, needs)?,
    };
    if !ram.covers(&kernel) {
        return Err(needs(kernel.end().raw()));
    }

    let window = kernel.start.align_down(BLOCK_1G).checked_add(WINDOW);
    let top = window.map_or(ram.end(), |window| window.min(ram.end()));
    let below = |top: Ipa, size: u64| {
        let start = Ipa(top.raw().checked_sub(size)?).align_down(ALIGN);
        (start >= kernel.end()).then_some(start)
    };
    let dtb = below(top, dtb_size).and_then(|start| Region::new(start, dtb_size));
    let dtb = dtb.ok_or(needs(kernel.end().raw()))?;
    let start = below(dtb.start, ramdisk_size).ok_or(needs(kernel.end().raw()))?;
    let ramdisk = Region::new(start, ramdisk_size);

    loads.extend(ramdisk.map(|to| Load { to, origin: Origin::Ramdisk }));
    loads.push(Load { to: dtb, origin: Origin::DeviceTree });
    Ok(LoadPlan { ram, kernel, entry, ramdisk, dtb, loads })
}

type Placed = (Region<Ipa>, Ipa, Vec<Load>);

fn image(
    header: &ImageHeader,
    size: u64,
    origin: Origin,
    ram: Region<Ipa>,
    needs: impl Fn(u64) -> KernelError,
) -> Result<Placed, KernelError> {
    // As near to the beginning of RAM as it may: a kernel that may not lie anywhere (flag bit 3) cannot
    // use what is below it.
    let base = ram.start.raw().checked_next_multiple_of(BLOCK_2M);
    let start = base.and_then(|base| base.checked_add(header.text_offset));
    let start = start.map(Ipa).ok_or(KernelError::ImageHeader)?;
    single(start, size, size.max(header.image_size), origin, needs)
}

/// One load that is also the entry point, with a BSS behind it.
fn single(
    start: Ipa,
    size: u64,
    with_bss: u64,
    origin: Origin,
    needs: impl Fn(u64) -> KernelError,
) -> Result<Placed, KernelError> {
    let to = Region::new(start, size).ok_or(KernelError::Empty)?;
    let kernel = Region::new(start, with_bss).ok_or(needs(u64::MAX))?;
    Ok((kernel, start, vec![Load { to, origin }]))
}

fn no_room(ram: Region<Ipa>, kernel_end: u64, ramdisk_size: u64, dtb_size: u64) -> KernelError {
    let padded = |size: u64| size.div_ceil(ALIGN).saturating_mul(ALIGN);
    let low = padded(kernel_end.saturating_sub(ram.start.raw()));
    KernelError::NoRoom {
        needed: low.saturating_add(padded(ramdisk_size)).saturating_add(padded(dtb_size)),
        ram: ram.size,
    }
}
