//! Kernels of each kind: identified, placed and loaded; and what pretends to be one.

mod identify;
mod loading;
mod placing;

use super::KernelKind;
use assay_model::loader::{GuestMemory, KernelError, LoadPlan, Loader, Progress, Sources, Sums};
use assay_spec::addr::{Address, Ipa, PAGE_SIZE, Region};
use core::ops::Range;
use std::vec;
use std::vec::Vec;

/// An `Image` of 100003 bytes that asks for 128 KiB, in gzip, as `gzip -9` writes it.
const IMAGE_GZ: &[u8] = include_bytes!("tests/image.gz");
const IMAGE_GZ_SIZE: usize = 100_003;

const RAM: Ipa = Ipa(0x4000_0000);
const MIB: u64 = 1 << 20;

fn ram(size: u64) -> Region<Ipa> {
    Region::new(RAM, size).unwrap()
}

/// An `Image` of `size` bytes: the header, then bytes that differ.
fn image(text_offset: u64, image_size: u64, flags: u64, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size.max(64)).map(body).collect();
    bytes[..8].copy_from_slice(&[0x4d, 0x5a, 0, 0x91, 0, 0, 0, 0x14]);
    bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
    bytes[16..24].copy_from_slice(&image_size.to_le_bytes());
    bytes[24..32].copy_from_slice(&flags.to_le_bytes());
    bytes[32..56].fill(0);
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes[60..64].fill(0);
    bytes
}

/// What byte `at` of the `Image` in [`IMAGE_GZ`] and of [`image`] is, from byte 64 on.
fn body(at: usize) -> u8 {
    u8::try_from(((at % 37) ^ ((at >> 11) * 29)) & 0xff).unwrap()
}

struct Segment {
    vaddr: u64,
    paddr: u64,
    data: Vec<u8>,
    memsz: u64,
}

/// A 64-bit little-endian AArch64 executable without sections.
fn elf(entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    file.resize(16, 0);
    let count = u16::try_from(segments.len()).unwrap();
    file.extend([2u16, 183].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    file.extend([entry, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    let halves = [64, 56, count, 64, 0, 0];
    file.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
    let mut offset = 64 + 56 * segments.len() as u64;
    for segment in segments {
        let size = segment.data.len() as u64;
        file.extend([1u32, 7].iter().flat_map(|word| word.to_le_bytes()));
        let words = [offset, segment.vaddr, segment.paddr, size, segment.memsz, 8];
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        offset += size;
    }
    for segment in segments {
        file.extend(&segment.data);
    }
    file
}

/// A guest's RAM, full of what an earlier owner left; an address outside fails the test.
struct Memory {
    ram: Region<Ipa>,
    bytes: Vec<u8>,
    summed: u64,
}

impl Memory {
    fn new(ram: Region<Ipa>) -> Self {
        let size = usize::try_from(ram.size).unwrap();
        Self { ram, bytes: vec![0xa5; size], summed: 0 }
    }

    fn range(&self, region: Region<Ipa>) -> Range<usize> {
        assert!(self.ram.covers(&region), "{region:?} is outside RAM");
        let start = usize::try_from(region.start.raw() - self.ram.start.raw()).unwrap();
        start..start + usize::try_from(region.size).unwrap()
    }

    fn at(&self, region: Region<Ipa>) -> &[u8] {
        &self.bytes[self.range(region)]
    }
}

impl GuestMemory for Memory {
    fn zero(&mut self, pages: Region<Ipa>) {
        assert!(pages.is_aligned(PAGE_SIZE), "{pages:?} is not whole pages");
        assert!(pages.size <= 2 * MIB);
        let range = self.range(pages);
        self.bytes[range].fill(0);
    }

    fn copy(&mut self, to: Ipa, bytes: &[u8]) {
        if let Some(region) = Region::new(to, bytes.len() as u64) {
            assert!(region.size <= 2 * MIB);
            let range = self.range(region);
            self.bytes[range].copy_from_slice(bytes);
        }
    }

    fn sum(&mut self, bytes: &[u8], crc: u32) -> u32 {
        self.summed += bytes.len() as u64;
        crc32(crc, bytes)
    }
}

const CRC32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Continues a CRC-32, bit-reversed and inverted as the crate holds it.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    let mut digest = CRC32.digest_with_initial((!crc).reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

fn run(loader: &mut Loader, sources: &Sources<'_>, memory: &mut Memory, budget: u64) -> (Progress, usize) {
    for steps in 1..1_000_000 {
        let progress = loader.step(sources, memory, budget);
        if progress != Progress::More {
            return (progress, steps);
        }
    }
    panic!("the loader makes no progress");
}

/// Plans for a guest without flashes.
fn plan(kind: &KernelKind, kernel: &[u8], ram: Region<Ipa>, ramdisk: u64, dtb: u64) -> Result<LoadPlan, KernelError> {
    super::plan(kind, kernel, super::Memory { ram, flashes: &[] }, ramdisk, dtb)
}

fn loader(kernel: &[u8], ramdisk: &[u8], dtb: &[u8], size: u64, sums: Sums) -> Loader {
    let kind = super::identify(kernel, None).unwrap();
    let (ramdisk, dtb) = (ramdisk.len() as u64, dtb.len() as u64);
    let plan = plan(&kind, kernel, ram(size), ramdisk, dtb).unwrap();
    Loader::new(plan, sums)
}
