//! ELF files as flat arm64 Images, the form in which loaders and QEMU's `-kernel` take them.

use anyhow::{Context as _, Result, ensure};
use object::Endianness;
use object::elf::{EM_AARCH64, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

/// No image of ours is larger: what claims to be is a broken link.
const LIMIT: usize = 1 << 30;

/// The loadable segments as they lie in memory, from the lowest address on. The BSS is not in the
/// image: its header counts it.
///
/// # Errors
/// Not an arm64 ELF file, or what it loads doesn't start with an arm64 Image header.
pub fn flatten(file: &[u8]) -> Result<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(file).ok().context("not an ELF file")?;
    let endian = header.endian().ok().context("not an ELF file")?;
    ensure!(header.e_machine(endian) == EM_AARCH64, "not for arm64");
    let segments = header.program_headers(endian, file).ok().context("no program headers")?;
    let loaded: Vec<_> = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD).collect();
    let base = loaded.iter().map(|segment| segment.p_vaddr(endian)).min().context("no loadable segment")?;
    let mut image = Vec::new();
    for segment in loaded {
        let data = segment.data(endian, file).ok().context("a segment lies outside the file")?;
        let start = usize::try_from(segment.p_vaddr(endian) - base)?;
        let end = start.checked_add(data.len()).filter(|end| *end < LIMIT);
        let end = end.context("a segment lies more than 1 GiB above the first one")?;
        if image.len() < end {
            image.resize(end, 0);
        }
        image[start..end].copy_from_slice(data);
    }
    ensure!(image.get(56..60) == Some(b"ARM\x64".as_slice()), "what it loads has no arm64 Image header");
    Ok(image)
}

/// Where the arm64 Image header says how much memory the image takes, BSS included.
const IMAGE_SIZE: std::ops::Range<usize> = 16..24;
/// An appended bundle starts at a multiple of this beyond the BSS.
const APPENDED_AT: usize = 4096;

/// Firmware and bundle as one file: the bundle lies beyond the BSS, and the header counts it in, so that
/// every loader that honours the header keeps it.
///
/// # Errors
/// `image` has no arm64 Image header, or one that doesn't know its size.
pub fn append_bundle(image: &[u8], bundle: &[u8]) -> Result<Vec<u8>> {
    ensure!(image.get(56..60) == Some(b"ARM\x64".as_slice()), "the firmware has no arm64 Image header");
    let size: [u8; 8] = image.get(IMAGE_SIZE).and_then(|bytes| bytes.try_into().ok()).context("a short header")?;
    let size = usize::try_from(u64::from_le_bytes(size))?;
    ensure!((image.len()..LIMIT).contains(&size), "the header's image_size is {size}, the file has {}", image.len());
    let mut whole = image.to_vec();
    whole.resize(size.next_multiple_of(APPENDED_AT), 0);
    whole.extend_from_slice(bundle);
    let end = (whole.len() as u64).to_le_bytes();
    whole[IMAGE_SIZE].copy_from_slice(&end);
    count_in_pe(&mut whole)?;
    Ok(whole)
}

/// Where the Image header says where the PE header is (offsets in PE files: PE/COFF specification §3).
const PE_HEADER: usize = 60;
/// From the PE header: the size of the image in memory, and that of the second section in memory and in the file.
const PE_IMAGE_SIZE: usize = 24 + 56;
const PE_SECTION: usize = 24 + 160 + 40;

/// Makes the PE header count the file's end in: the last section, which has the same place in file and memory, ends there.
fn count_in_pe(whole: &mut Vec<u8>) -> Result<()> {
    let word = |whole: &[u8], at: usize| -> Option<usize> {
        Some(u32::from_le_bytes(*whole.get(at..)?.first_chunk()?) as usize)
    };
    let header = word(whole, PE_HEADER).unwrap_or(0);
    if whole.get(header..).is_none_or(|bytes| !bytes.starts_with(b"PE\0\0")) {
        return Ok(());
    }
    whole.resize(whole.len().next_multiple_of(512), 0);
    let start = word(whole, header + PE_SECTION + 12).context("a short PE header")?;
    let (end, size) = (u32::try_from(whole.len())?.next_multiple_of(4096), u32::try_from(whole.len() - start)?);
    for (at, value) in [(PE_IMAGE_SIZE, end), (PE_SECTION + 8, size), (PE_SECTION + 16, size)] {
        whole[header + at..header + at + 4].copy_from_slice(&value.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{append_bundle, flatten};

    #[test]
    fn an_appended_bundle_starts_at_the_page_after_the_bss_and_counts_in_the_header() {
        let mut image = head();
        image[16..24].copy_from_slice(&5000u64.to_le_bytes());
        let whole = append_bundle(&image, b"bundle").unwrap();
        assert_eq!(&whole[8192..], b"bundle");
        assert_eq!(whole[16..24], 8198u64.to_le_bytes());
        assert!(whole[64..8192].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn an_appended_bundle_counts_in_the_pe_header_too() {
        let mut image = head();
        image[16..24].copy_from_slice(&0x3000u64.to_le_bytes());
        image[60..64].copy_from_slice(&64u32.to_le_bytes());
        image.resize(0x2000, 0);
        image[64..68].copy_from_slice(b"PE\0\0");
        let word = |image: &[u8], at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        let second = 64 + 24 + 160 + 40;
        image[second + 12..second + 16].copy_from_slice(&0x1000u32.to_le_bytes());
        let whole = append_bundle(&image, &[1; 0x1001]).unwrap();
        assert_eq!(whole[16..24], 0x4001u64.to_le_bytes());
        assert_eq!((whole.len(), word(&whole, 64 + 80)), (0x4200, 0x5000));
        assert_eq!((word(&whole, second + 8), word(&whole, second + 16)), (0x3200, 0x3200));
    }

    #[test]
    fn a_bundle_is_not_appended_to_what_does_not_know_its_size() {
        assert!(append_bundle(&head(), b"bundle").is_err());
        assert!(append_bundle(b"short", b"bundle").is_err());
    }

    /// A 64-bit little-endian ELF file with one segment for each (address, bytes).
    fn elf(machine: u16, segments: &[(u64, &[u8])]) -> Vec<u8> {
        let table = 64;
        let mut data_at = table + 56 * segments.len();
        let mut file = vec![0u8; data_at];
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        file[16..18].copy_from_slice(&2u16.to_le_bytes());
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[20..24].copy_from_slice(&1u32.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[52..54].copy_from_slice(&64u16.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
        for (index, (address, bytes)) in segments.iter().enumerate() {
            let at = table + 56 * index;
            file[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
            file[at + 8..at + 16].copy_from_slice(&(data_at as u64).to_le_bytes());
            file[at + 16..at + 24].copy_from_slice(&address.to_le_bytes());
            file[at + 32..at + 40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            file[at + 40..at + 48].copy_from_slice(&(bytes.len() as u64 + 4096).to_le_bytes());
            data_at += bytes.len();
        }
        segments.iter().for_each(|(_, bytes)| file.extend_from_slice(bytes));
        file
    }

    fn head() -> Vec<u8> {
        let mut head = vec![0; 64];
        head[56..60].copy_from_slice(b"ARM\x64");
        head
    }

    #[test]
    fn segments_land_at_their_distance_from_the_lowest_and_gaps_are_zero() {
        let image = flatten(&elf(183, &[(0x2080, b"data"), (0x2000, &head())])).unwrap();
        assert_eq!(image.len(), 0x84);
        assert_eq!(&image[0x80..], b"data");
        assert!(image[64..0x80].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_no_arm64_image_is_refused() {
        assert!(flatten(b"hello").is_err());
        assert!(flatten(&elf(62, &[(0, &head())])).unwrap_err().to_string().contains("arm64"));
        assert!(flatten(&elf(183, &[(0, b"no header")])).is_err());
        assert!(flatten(&elf(183, &[(0, &head()), (1 << 40, b"far")])).is_err());
    }
}
