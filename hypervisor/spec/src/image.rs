//! The 64-byte header of an arm64 Linux `Image` (the kernel's `arm64/booting` document).
//!
//! Reads a guest kernel's header and writes Assay's own. Where an image may be placed is `assay_plan::kernel`'s business.

/// Bytes in the header.
pub const HEADER_SIZE: usize = 64;
/// `ARM\x64`, little endian, at offset 56.
pub const MAGIC: u32 = 0x644d_5241;
/// `text_offset` of kernels before 3.17, whose `image_size` is 0.
pub const LEGACY_TEXT_OFFSET: u64 = 0x8_0000;

/// What the header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageHeader {
    /// The first instruction.
    pub code0: u32,
    /// The second instruction.
    pub code1: u32,
    /// Where the image goes: bytes from a 2 MiB aligned base.
    pub text_offset: u64,
    /// Bytes of memory the image needs from its load address on, BSS included; 0 in kernels before 3.17.
    pub image_size: u64,
    /// Endianness, page size and placement: see the methods.
    pub flags: u64,
}

/// Size of the kernel's pages, as its header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageSize {
    /// Not said.
    Unspecified,
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

impl ImageHeader {
    /// `flags` bit 0: the kernel is big-endian.
    pub const FLAG_BIG_ENDIAN: u64 = 1 << 0;
    /// `flags` bit 3: the 2 MiB aligned base may be anywhere in memory.
    pub const FLAG_ANYWHERE: u64 = 1 << 3;

    /// Reads the header at the start of `bytes`; `None` if there is none (too short, or no magic).
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_SIZE] = bytes.first_chunk()?;
        if u32_at(header, 56)? != MAGIC {
            return None;
        }
        Some(Self {
            code0: u32_at(header, 0)?,
            code1: u32_at(header, 4)?,
            text_offset: u64_at(header, 8)?,
            image_size: u64_at(header, 16)?,
            flags: u64_at(header, 24)?,
        })
    }

    /// Returns the header as bytes. The reserved fields are zero, so there is no PE header.
    pub const fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        let (head, rest) = bytes.split_at_mut(8);
        let (code0, code1) = head.split_at_mut(4);
        code0.copy_from_slice(&self.code0.to_le_bytes());
        code1.copy_from_slice(&self.code1.to_le_bytes());
        let (text_offset, rest) = rest.split_at_mut(8);
        text_offset.copy_from_slice(&self.text_offset.to_le_bytes());
        let (image_size, rest) = rest.split_at_mut(8);
        image_size.copy_from_slice(&self.image_size.to_le_bytes());
        let (flags, rest) = rest.split_at_mut(8);
        flags.copy_from_slice(&self.flags.to_le_bytes());
        let (_reserved, rest) = rest.split_at_mut(24);
        let (magic, _pe_offset) = rest.split_at_mut(4);
        magic.copy_from_slice(&MAGIC.to_le_bytes());
        bytes
    }

    /// Returns `text_offset`, or what it means in a kernel from before `image_size` existed.
    pub const fn load_offset(&self) -> u64 {
        if self.image_size == 0 { LEGACY_TEXT_OFFSET } else { self.text_offset }
    }
    /// Tells whether the kernel is big-endian.
    pub const fn is_big_endian(&self) -> bool {
        self.flags & Self::FLAG_BIG_ENDIAN != 0
    }
    /// Tells whether the base may lie anywhere; otherwise it should be as near to the start of memory as can be.
    pub const fn goes_anywhere(&self) -> bool {
        self.flags & Self::FLAG_ANYWHERE != 0
    }
    /// Returns the kernel's page size.
    pub const fn page_size(&self) -> PageSize {
        match self.flags >> 1 & 3 {
            1 => PageSize::K4,
            2 => PageSize::K16,
            3 => PageSize::K64,
            _ => PageSize::Unspecified,
        }
    }
}

fn u32_at(bytes: &[u8; HEADER_SIZE], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8; HEADER_SIZE], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::{HEADER_SIZE, ImageHeader, LEGACY_TEXT_OFFSET, PageSize};

    /// The first 64 bytes of a 4 KiB page, relocatable kernel: `MZ` add, branch, offset 0, 33 MB, flags 0xa.
    const KERNEL: [u8; HEADER_SIZE] = {
        let mut bytes = [0; HEADER_SIZE];
        let (head, tail) = bytes.split_at_mut(56);
        head.split_at_mut(25).0.copy_from_slice(&[
            0x4d, 0x5a, 0x40, 0xfa, 0xff, 0x3f, 0x42, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf4, 0x01, 0, 0, 0, 0, 0xa,
        ]);
        tail.split_at_mut(4).0.copy_from_slice(b"ARMd");
        bytes
    };

    #[test]
    fn a_kernels_header_is_read_field_by_field() {
        let header = ImageHeader::parse(&KERNEL).unwrap();
        assert_eq!(header.code0, 0xfa40_5a4d);
        assert_eq!((header.text_offset, header.image_size, header.flags), (0, 0x01f4_0000, 0xa));
        assert!(header.goes_anywhere() && !header.is_big_endian());
        assert_eq!(header.page_size(), PageSize::K4);
        assert_eq!(header.load_offset(), 0);
    }

    #[test]
    fn what_was_written_reads_back_the_same() {
        let header = ImageHeader::parse(&KERNEL).unwrap();
        assert_eq!(header.to_bytes(), KERNEL);
    }

    #[test]
    fn a_kernel_without_a_size_is_loaded_at_the_old_offset() {
        let mut old = ImageHeader::parse(&KERNEL).unwrap();
        (old.image_size, old.text_offset) = (0, 0x1234);
        assert_eq!(old.load_offset(), LEGACY_TEXT_OFFSET);
    }

    #[test]
    fn without_the_magic_or_all_64_bytes_there_is_no_header() {
        assert_eq!(ImageHeader::parse(&KERNEL[..63]), None);
        let mut other = KERNEL;
        other[56] = b'X';
        assert_eq!(ImageHeader::parse(&other), None);
        assert_eq!(ImageHeader::parse(&[]), None);
    }
}
