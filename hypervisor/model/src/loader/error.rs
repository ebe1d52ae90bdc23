//! Why a kernel cannot be started, in words for the person who chose it.

use crate::digest::DigestError;
use assay_spec::addr::{Ipa, Pa};
use assay_spec::look::Look;
use thiserror::Error;

/// Why a kernel cannot be identified, placed or loaded (rule V3, and V2 where RAM is short).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum KernelError {
    /// The file has no bytes.
    #[error("the kernel file is empty")]
    Empty,
    /// The file is of no known kind.
    #[error("the kernel is neither an arm64 Image (plain or gzip) nor ELF")]
    Unknown,
    /// A gzip header, trailer or stream is damaged or cut off.
    #[error("the kernel's gzip stream is damaged or cut off")]
    Gzip,
    /// The stream's CRC-32 differs from its trailer.
    #[error("the kernel's gzip stream inflates to something else than its trailer says")]
    GzipSum,
    /// The stream is longer than the `Image` inside says.
    #[error("the kernel's gzip stream inflates to more than image_size in the Image's header says")]
    GzipLong,
    /// A gzip file holds something else than an `Image`.
    #[error("the gzip file holds no arm64 Image")]
    GzipOfOther,
    /// The file is packed by something else than gzip, which is what this inflates.
    #[error("the kernel is packed by {0}")]
    Packed(&'static str),
    /// An EFI zboot image is packed by something else than gzip, or is cut off.
    #[error("the EFI zboot image is not packed by gzip, or is cut off")]
    Zboot,
    /// An `Image` for big-endian CPUs.
    #[error("the Image is big-endian")]
    BigEndian,
    /// An `Image` whose header contradicts itself.
    #[error("the Image header's text_offset or image_size is out of range")]
    ImageHeader,
    /// An ELF file that cannot be parsed, or not for AArch64, or not 64 bit little-endian.
    #[error("not a little-endian 64-bit AArch64 ELF executable")]
    ElfKind,
    /// A loadable segment lies outside RAM or outside the file, or two overlap.
    #[error("the ELF segment at {0} is outside RAM or the file, or overlaps another")]
    ElfSegment(Ipa),
    /// There are no loadable segments, or too many.
    #[error("the ELF file has no loadable segment, or more than 64")]
    ElfSegments,
    /// The entry point lies in no loadable segment.
    #[error("the ELF entry point {0:#x} is in no loadable segment")]
    ElfEntry(u64),
    /// Kernel, ramdisk and device tree do not fit into RAM.
    #[error("{} KiB of RAM are needed for kernel, ramdisk and device tree, {} KiB given", needed.div_ceil(1024), ram >> 10)]
    NoRoom {
        /// The least RAM that would do, in bytes.
        needed: u64,
        /// The RAM given, in bytes.
        ram: u64,
    },
    /// A flat binary goes where there is no memory.
    #[error("load = {0}: the kernel's {1:#x} bytes there are not wholly in the VM's RAM or in one of its flashes")]
    Load(Ipa, u64),
    /// A flat binary goes where the device tree does.
    #[error("load = {0} puts the kernel over the device tree, which tree = \"start\" has at the start of RAM")]
    LoadOverTree(Ipa),
    /// A flat binary's entry is not in it.
    #[error("entry = {0} is not in the kernel's file where it is loaded")]
    Entry(Ipa),
    /// The guest's device tree is larger than the boot protocol's 2 MiB.
    #[error("the guest's device tree is larger than 2 MiB")]
    DeviceTree,
    /// A member differs from the VM tree's digest.
    #[error("{member} differs from its digest: {error}")]
    Digest {
        /// Which it is.
        member: &'static str,
        /// The difference.
        error: DigestError,
    },
    /// The sources given to the loader are not those that were planned for.
    #[error("kernel, ramdisk or device tree changed its size after it was placed")]
    Sources,
    /// A part would be put on a page that failed, or that the operator took out.
    #[error("{what} is loaded to the page at {page}, which has failed or was taken offline")]
    OnHole {
        /// The part.
        what: &'static str,
        /// The page.
        page: Ipa,
    },
    /// The VM's coherent region of this index could not be reached to be cleared. (Who prints it names the region.)
    #[error("the region could not be reached to be cleared")]
    Region(usize),
    /// The VM's coherent region of this index failed its proof at the VM's start: this page of it has shown that.
    #[error("{} at {page}, when the region was proved at the VM's start", shown(*look))]
    Unproved {
        /// The region. (Who prints it names it.)
        region: usize,
        /// What was seen.
        look: Look,
        /// Where.
        page: Pa,
    },
}

fn shown(look: Look) -> &'static str {
    match look {
        Look::Good | Look::Aborted => "an access aborted",
        Look::TagsLost => "tags did not come back",
        Look::DataLost => "data did not come back",
        Look::AtomicsFailed => "an atomic or exclusive access went wrong",
    }
}

impl KernelError {
    /// Says what to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Empty | Self::Gzip | Self::GzipSum | Self::Digest { .. } => "build the bundle again from whole files",
            Self::Unknown => "give an arm64 Image or ELF, or say format = \"raw\" for a flat binary",
            Self::GzipOfOther => "give an arm64 Image in gzip, or an Image, ELF file or flat binary that is not packed",
            Self::Packed(_) => "have the tools make the bundle (they unpack zstd and xz), or unpack it",
            Self::Zboot => {
                "have the tools make the bundle (they unpack zstd and xz), or build it with CONFIG_KERNEL_GZIP"
            }
            Self::BigEndian => "give a little-endian kernel",
            Self::ImageHeader | Self::GzipLong => "give an Image as the kernel's build leaves it",
            Self::ElfKind | Self::ElfSegments => "link a static AArch64 executable",
            Self::ElfSegment(_) | Self::ElfEntry(_) => {
                "link it to addresses inside the VM's RAM, which is from memory-ipa on (0x40000000 if it has none), or raise memory"
            }
            Self::NoRoom { .. } => "raise the VM's memory",
            Self::Load(..) => "correct load, or memory, memory-ipa or the flash's ipa and size",
            Self::LoadOverTree(_) => "load it elsewhere, 2 MiB above the start of RAM for instance",
            Self::Entry(_) => "correct entry, or leave it out: the VM then starts at the file's first byte",
            Self::DeviceTree => "shorten the command line or the list of regions",
            Self::Sources => "report this, with the bundle",
            Self::OnHole { .. } => {
                "have memory give the machine's address of the page, reserve that in the platform tree's /reserved-memory, and restart the machine"
            }
            Self::Region(_) => {
                "check the region's address and length in the platform tree, and that its device is ready"
            }
            Self::Unproved { look: Look::TagsLost, .. } => {
                "delete assay,mte-capable from the node if not every granule has tag storage; else make its device ready, and start the VM again by the monitor"
            }
            Self::Unproved { .. } => {
                "make the region's device ready, and start the VM again by the monitor; or check the region's address and length in the platform tree"
            }
        }
    }
}
