//! ELF kernels: `PT_LOAD` segments by physical address, which is the guest's IPA.

use alloc::vec::Vec;
use assay_model::loader::{KernelError, Load, Origin};
use assay_spec::addr::{Address, Ipa, Region};
use elf::ElfBytes;
use elf::abi::{EM_AARCH64, ET_DYN, ET_EXEC, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;

/// More segments than any linker script here has.
const SEGMENTS_MAX: usize = 64;

/// Where an ELF file goes.
pub(super) struct Layout {
    /// What is copied from the file.
    pub(super) loads: Vec<Load>,
    /// From the first segment's beginning to the last one's end.
    pub(super) hull: Region<Ipa>,
    pub(super) entry: Ipa,
}

/// Reads the segments and checks that each lies in RAM and in the file, clear of the others.
pub(super) fn layout(bytes: &[u8], ram: Region<Ipa>) -> Result<Layout, KernelError> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|_| KernelError::ElfKind)?;
    let header = &file.ehdr;
    let is_program = header.e_type == ET_EXEC || header.e_type == ET_DYN;
    if header.class != Class::ELF64 || header.e_machine != EM_AARCH64 || !is_program {
        return Err(KernelError::ElfKind);
    }
    let mut segments = Vec::new();
    for segment in file.segments().ok_or(KernelError::ElfSegments)?.iter() {
        if segment.p_type != PT_LOAD || segment.p_memsz == 0 {
            continue;
        }
        if segments.len() == SEGMENTS_MAX {
            return Err(KernelError::ElfSegments);
        }
        let region = place(&segment, bytes.len(), ram)?;
        let above = segments.partition_point(|(other, _): &(Region<Ipa>, _)| other.start < region.start);
        segments.insert(above, (region, segment));
    }
    let clash = segments.windows(2).find_map(|pair| match pair {
        [(low, _), (high, _)] if low.overlaps(high) => Some(high.start),
        _ => None,
    });
    if let Some(start) = clash {
        return Err(KernelError::ElfSegment(start));
    }
    let (Some((first, _)), Some((last, _))) = (segments.first(), segments.last()) else {
        return Err(KernelError::ElfSegments);
    };
    let hull = Region { start: first.start, size: last.end().raw() - first.start.raw() };
    let entry = entry(&segments, header.e_entry).ok_or(KernelError::ElfEntry(header.e_entry))?;
    let loads = segments.iter().filter_map(|(region, segment)| {
        let to = Region::new(region.start, segment.p_filesz)?;
        let offset = usize::try_from(segment.p_offset).ok()?;
        let origin = Origin::Kernel { offset };
        Some(Load { to, origin })
    });
    Ok(Layout { loads: loads.collect(), hull, entry })
}

fn place(segment: &ProgramHeader, file_size: usize, ram: Region<Ipa>) -> Result<Region<Ipa>, KernelError> {
    let start = Ipa(segment.p_paddr);
    let file_end = segment.p_offset.checked_add(segment.p_filesz);
    let in_file = file_end.is_some_and(|end| end <= file_size as u64);
    Region::new(start, segment.p_memsz)
        .filter(|region| ram.covers(region) && in_file && segment.p_filesz <= segment.p_memsz)
        .ok_or(KernelError::ElfSegment(start))
}

/// Finds the entry's IPA. `e_entry` is a virtual address; some kernels that move themselves give the
/// physical one, so that is tried after it.
fn entry(segments: &[(Region<Ipa>, ProgramHeader)], entry: u64) -> Option<Ipa> {
    let virtually = segments.iter().find_map(|(region, segment)| {
        let offset = entry.checked_sub(segment.p_vaddr)?;
        let ipa = region.start.checked_add(offset)?;
        region.contains(ipa).then_some(ipa)
    });
    let found = virtually.or_else(|| {
        let inside = |(region, _): &(Region<Ipa>, ProgramHeader)| region.contains(Ipa(entry));
        segments.iter().any(inside).then_some(Ipa(entry))
    });
    // An instruction is 4-byte aligned (DDI0487 B1.3): anything else would fault at once.
    found.filter(|ipa| ipa.is_aligned(4))
}
