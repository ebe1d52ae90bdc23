//! The 64-byte header of an arm64 `Image`, and the EFI zboot image that may wrap one.
//!
//! `Documentation/arch/arm64/booting.rst`, "Call the kernel image"; all its fields are little-endian.

use super::KernelError;
use assay_spec::addr::BLOCK_2M;
use core::ops::Range;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The first 64 bytes of an `Image`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    code: [U32; 2],
    text_offset: U64,
    image_size: U64,
    flags: U64,
    reserved: [U64; 3],
    magic: [u8; 4],
    pe_offset: U32,
}

/// What an `Image` says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImageHeader {
    /// How far above a 2 MiB boundary it wants to lie, in bytes.
    pub text_offset: u64,
    /// What it occupies with its BSS, in bytes; 0 for kernels before Linux 3.17.
    pub image_size: u64,
    /// Bit 0: big-endian; bits 1 and 2: page size; bit 3: may lie anywhere in memory.
    pub flags: u64,
}

/// Where kernels lay that do not say so (before Linux 3.17).
const OLD_TEXT_OFFSET: u64 = 0x8_0000;
/// The largest kernel that is believed, in bytes.
const SIZE_MAX: u64 = 1 << 40;

impl ImageHeader {
    /// The header's length in bytes.
    pub const SIZE: usize = size_of::<RawHeader>();

    /// Reads a header; `None` if the magic `ARM\x64` is missing.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = RawHeader::ref_from_prefix(bytes).ok()?;
        if raw.magic != *b"ARM\x64" {
            return None;
        }
        let old = raw.image_size.get() == 0;
        Some(Self {
            text_offset: if old { OLD_TEXT_OFFSET } else { raw.text_offset.get() },
            image_size: raw.image_size.get(),
            flags: raw.flags.get(),
        })
    }

    /// Refuses what cannot be started.
    pub(super) fn check(self) -> Result<Self, KernelError> {
        if self.flags & 1 != 0 {
            return Err(KernelError::BigEndian);
        }
        // The offset is from a 2 MiB boundary, so that a larger one makes no sense.
        if self.text_offset >= BLOCK_2M || self.text_offset & 7 != 0 || self.image_size > SIZE_MAX {
            return Err(KernelError::ImageHeader);
        }
        Ok(self)
    }
}

/// The head of an EFI zboot image (Linux `drivers/firmware/efi/libstub/zboot-header.S`).
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ZbootHeader {
    mz: [u8; 4],
    magic: [u8; 4],
    payload_offset: U32,
    payload_size: U32,
    reserved: [U32; 2],
    compression: [u8; 32],
}

/// Finds the compressed kernel in an EFI zboot image; `None` if the file is not one.
pub(super) fn zboot_payload(bytes: &[u8]) -> Result<Option<Range<usize>>, KernelError> {
    let Ok((header, _)) = ZbootHeader::ref_from_prefix(bytes) else {
        return Ok(None);
    };
    if !header.mz.starts_with(b"MZ") || header.magic != *b"zimg" {
        return Ok(None);
    }
    let start = header.payload_offset.get() as usize;
    let end = start.checked_add(header.payload_size.get() as usize);
    let range = end.map(|end| start..end).ok_or(KernelError::Zboot)?;
    let is_gzip = bytes.get(range.clone()).is_some_and(|payload| payload.starts_with(&super::gzip::MAGIC));
    if !header.compression.starts_with(b"gzip\0") || !is_gzip {
        return Err(KernelError::Zboot);
    }
    Ok(Some(range))
}
