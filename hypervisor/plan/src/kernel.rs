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
pub use place::plan;

use core::ops::Range;

use assay_model::loader::{KernelError, gzip, inflate};

/// A kernel file by kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KernelKind {
    /// An arm64 `Image`.
    Image(ImageHeader),
    /// An arm64 `Image` in one gzip member, alone or inside an EFI zboot image.
    GzipImage {
        /// The header of the `Image` inside.
        header: ImageHeader,
        /// Where the raw deflate stream and gzip's trailer after it lie in the file, in bytes.
        deflate: Range<usize>,
        /// The length of the `Image` inside, in bytes, as gzip's trailer says.
        inflated: u64,
    },
    /// An ELF file.
    Elf,
    /// A flat binary, entered at its first byte, which lies at the beginning of RAM.
    Raw,
}

/// What the manifest says about a kernel's format; without a word of it the bytes decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A flat binary.
    Raw,
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
    if format == Some(Format::Raw) {
        return Ok(KernelKind::Raw);
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
        None => Err(KernelError::Unknown),
    }
}

fn gzip_image(bytes: &[u8], member: Range<usize>) -> Result<KernelKind, KernelError> {
    let start = member.start;
    let member = bytes.get(member).ok_or(KernelError::Gzip)?;
    let (deflate, inflated) = gzip::bounds(member)?;
    let mut head = [0; ImageHeader::SIZE];
    inflate::head(member.get(deflate.clone()), &mut head)?;
    let header = ImageHeader::read(&head).ok_or(KernelError::GzipOfOther)?;
    Ok(KernelKind::GzipImage { header: header.check()?, deflate: start + deflate.start..start + deflate.end, inflated })
}
