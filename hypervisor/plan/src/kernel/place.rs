//! Where kernel, ramdisk and device tree go in a guest's RAM.
//!
//! The arm64 boot protocol (`Documentation/arch/arm64/booting.rst`): an `Image` lies `text_offset` above a
//! 2 MiB boundary; the device tree is at most 2 MiB, 8-byte aligned; the ramdisk lies with the kernel in
//! one window of 32 GiB that begins at a 1 GiB boundary. Ramdisk and tree go to the top of RAM, out of the
//! way of a kernel that grows beyond what its header says. They begin at multiples of 64 KiB, so that a
//! kernel with 64 KiB pages that frees its ramdisk's pages never frees the tree's with them.

use super::{ImageHeader, KernelKind, Raw, elf_file};
use alloc::vec;
use alloc::vec::Vec;
use assay_model::loader::{KernelError, Load, LoadPlan, Origin};
use assay_spec::addr::{Address, BLOCK_1G, BLOCK_2M, Ipa, Region};
use assay_spec::sort;

/// Where ramdisk and device tree begin.
const ALIGN: u64 = 0x1_0000;
/// The boot protocol's window for kernel and ramdisk.
const WINDOW: u64 = 32 * BLOCK_1G;

/// The memory of one guest, as far as its files go into it.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// Its RAM.
    pub ram: Region<Ipa>,
    /// Its flashes, each with the length of its file, which fits.
    pub flashes: &'a [(Region<Ipa>, u64)],
}

impl Memory<'_> {
    fn parts(&self) -> impl Iterator<Item = Region<Ipa>> {
        core::iter::once(self.ram).chain(self.flashes.iter().map(|(place, _)| *place))
    }
}

/// Chooses addresses for one guest.
///
/// `bytes` is the kernel file that `kind` was found in; `ramdisk_size` is 0 without one. The tree's size
/// does not depend on the addresses in it, so that a draft of it gives `dtb_size`.
///
/// # Errors
///
/// RAM is too small, the tree too large, or an ELF segment or a flat binary lies where it cannot.
pub fn plan(
    kind: &KernelKind,
    bytes: &[u8],
    memory: Memory<'_>,
    ramdisk_size: u64,
    dtb_size: u64,
) -> Result<LoadPlan, KernelError> {
    if dtb_size > BLOCK_2M {
        return Err(KernelError::DeviceTree);
    }
    let ram = memory.ram;
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
        KernelKind::Raw(raw) => flat(raw, size, memory, needs)?,
    };
    if !memory.parts().any(|part| part.covers(&kernel)) {
        return Err(needs(kernel.end().raw()));
    }

    let free = Free::of(ram, kernel);
    let no_room = needs(kernel.end().raw());
    let (dtb, top) = match kind {
        KernelKind::Raw(Raw { tree_first: true, .. }) => (free.first(dtb_size)?, free.top),
        _ => {
            let start = free.last(free.top, dtb_size).ok_or(no_room)?;
            (Region { start, size: dtb_size }, start)
        }
    };
    let start = free.last(top, ramdisk_size).ok_or(no_room)?;
    let ramdisk = Region::new(start, ramdisk_size);
    if ramdisk.is_some_and(|ramdisk| ramdisk.overlaps(&dtb)) {
        return Err(no_room);
    }

    loads.extend(ramdisk.map(|to| Load { to, origin: Origin::Ramdisk }));
    loads.push(Load { to: dtb, origin: Origin::DeviceTree });
    let files = memory.flashes.iter().enumerate();
    loads.extend(files.filter_map(|(index, (place, file))| {
        Some(Load { to: Region::new(place.start, *file)?, origin: Origin::Flash(index) })
    }));
    sort::by_key(&mut loads, |load| load.to.start);
    Ok(LoadPlan { memory: memory.parts().collect(), kernel, entry, ramdisk, dtb, loads })
}

/// What is free of RAM beside the kernel.
struct Free {
    ram: Region<Ipa>,
    kernel: Region<Ipa>,
    /// Where the boot protocol's window ends, or RAM does.
    top: Ipa,
}

impl Free {
    fn of(ram: Region<Ipa>, kernel: Region<Ipa>) -> Self {
        let window = kernel.start.align_down(BLOCK_1G).checked_add(WINDOW);
        let window = window.filter(|_| ram.covers(&kernel));
        Self { ram, kernel, top: window.map_or(ram.end(), |window| window.min(ram.end())) }
    }

    /// The highest place below `top` and above the kernel, or below a kernel that leaves no room above it.
    fn last(&self, top: Ipa, size: u64) -> Option<Ipa> {
        let below = |top: Ipa| {
            let start = Ipa(top.raw().checked_sub(size)?).align_down(ALIGN);
            (start >= self.ram.start).then_some(start)
        };
        let is_free = |start: &Ipa| *start >= self.kernel.end() || start.raw() + size <= self.kernel.start.raw();
        below(top).filter(is_free).or_else(|| below(self.kernel.start.min(top)))
    }

    /// The beginning of RAM, for a device tree.
    fn first(&self, size: u64) -> Result<Region<Ipa>, KernelError> {
        let place = Region { start: self.ram.start, size };
        if place.overlaps(&self.kernel) {
            return Err(KernelError::LoadOverTree(self.kernel.start));
        }
        Ok(place)
    }
}

/// A flat binary: the manifest says where it goes.
fn flat(raw: &Raw, size: u64, memory: Memory<'_>, needs: impl Fn(u64) -> KernelError) -> Result<Placed, KernelError> {
    let low = if raw.tree_first { BLOCK_2M } else { 0 };
    let start = raw.load.unwrap_or(Ipa(memory.ram.start.raw().saturating_add(low)));
    let (kernel, first, loads) = single(start, size, size, Origin::Kernel { offset: 0 }, needs)?;
    if raw.load.is_some() && !memory.parts().any(|part| part.covers(&kernel)) {
        return Err(KernelError::Load(start, size));
    }
    let entry = raw.entry.unwrap_or(first);
    if !kernel.contains(entry) {
        return Err(KernelError::Entry(entry));
    }
    Ok((kernel, entry, loads))
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
