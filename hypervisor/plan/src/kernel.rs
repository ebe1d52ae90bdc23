//! A guest's kernel: what kind of file it is, and where it goes.
//!
//! [`identify`] looks at the bytes, [`plan()`] chooses addresses by the arm64 boot protocol
//! (`Documentation/arch/arm64/booting.rst`), and
//! `assay_model::loader` clears and fills the guest's RAM by that plan.

mod elf_file;
mod image;
mod place;
#[cfg(test)]
mod tests;

pub use image::ImageHeader;
pub use place::{Memory, plan};

use core::ops::Range;

use assay_model::loader::{KernelError, gzip, inflate};
use assay_spec::addr::Ipa;

/// A kernel file by kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KernelKind {
    /// An arm64 `Image`.
    Image(ImageHeader),
    /// An arm64 `Image` in gzip members, alone or inside an EFI zboot image.
    GzipImage {
        /// The header of the `Image` inside.
        header: ImageHeader,
        /// Where the members lie in the file, in bytes; more may follow them.
        members: Range<usize>,
        /// The most that they may inflate to: what the `Image` says that it takes.
        room: u64,
    },
    /// An ELF file.
    Elf,
    /// A flat binary.
    Raw(Raw),
}

/// What the manifest says about a kernel's format; without a word of it the bytes decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A flat binary.
    Raw(Raw),
}

/// Where a flat binary goes; what is not said is the beginning of RAM, or of the binary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Raw {
    /// Where its first byte goes, in RAM or in a flash.
    pub load: Option<Ipa>,
    /// Where the guest starts.
    pub entry: Option<Ipa>,
    /// Whether the device tree goes to the beginning of RAM.
    pub tree_first: bool,
}

/// Finds out what kind of kernel a file is.
///
/// Allocates (and frees) a decompressor's state when the file is compressed.
///
/// # Errors
///
/// The file is of no kind that can be started.
pub fn identify(bytes: &[u8], format: Option<Format>) -> Result<KernelKind, KernelError> {
    if bytes.is_empty() {
        return Err(KernelError::Empty);
    }
    if let Some(Format::Raw(raw)) = format {
        return Ok(KernelKind::Raw(raw));
    }
    if bytes.starts_with(&gzip::MAGIC) {
        return gzip_image(bytes, 0..bytes.len());
    }
    if bytes.starts_with(b"\x7fELF") {
        return Ok(KernelKind::Elf);
    }
    if let Some(payload) = image::zboot_payload(bytes)? {
        return gzip_image(bytes, payload);
    }
    match ImageHeader::read(bytes) {
        Some(header) => header.check().map(KernelKind::Image),
        None => Err(unknown(bytes)),
    }
}

fn gzip_image(bytes: &[u8], members: Range<usize>) -> Result<KernelKind, KernelError> {
    let file = bytes.get(members.clone()).ok_or(KernelError::Gzip)?;
    let mut head = [0; ImageHeader::SIZE];
    inflate::head(file, &mut head)?;
    let header = ImageHeader::read(&head).ok_or(KernelError::GzipOfOther)?.check()?;
    // Only kernels before 3.17 do not say it: all others are inflated once, where they run.
    let room = if header.image_size == 0 { inflate::length(file)? } else { header.image_size };
    Ok(KernelKind::GzipImage { header, members, room })
}

/// How files begin that a packer wrote, and its name. Bytes of a packer's are no flat binary, whatever they look like.
const PACKERS: &[(&[u8], &str)] = &[
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
    (&[0x1f, 0x8b], "gzip with an unknown method"),
    (b"BZh", "bzip2"),
    (&[0x5d, 0, 0], "lzma"),
    (&[0x89, b'L', b'Z', b'O', 0], "lzop"),
    (&[0x02, 0x21, 0x4c, 0x18], "lz4"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
    (b"PK\x03\x04", "zip"),
];

/// Returns what a file is that is none of the known kinds.
fn unknown(bytes: &[u8]) -> KernelError {
    let packer = PACKERS.iter().find(|(magic, _)| bytes.starts_with(magic));
    packer.map_or(KernelError::Unknown, |(_, name)| KernelError::Packed(name))
}
