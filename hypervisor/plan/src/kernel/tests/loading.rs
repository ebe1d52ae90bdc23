//! What RAM holds afterwards.

use super::super::identify;
use super::{IMAGE_GZ, IMAGE_GZ_SIZE, MIB, Memory, Segment, body, crc32, elf, image, loader, plan, ram, run};
use assay_model::digest::{Digest, DigestError};
use assay_model::loader::{FlashFile, KernelError, Loader, Progress, Sources, Sums};
use assay_spec::addr::{Ipa, Region};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const DTB: &[u8] = &[0xd0; 777];

fn digest(file: &[u8]) -> Digest {
    Digest { size: file.len() as u64, crc32: crc32(0, file) }
}

fn sums(kernel: &[u8], ramdisk: &[u8]) -> Sums {
    Sums { kernel: Some(digest(kernel)), ramdisk: Some(digest(ramdisk)) }
}

/// Checks that RAM holds the loads' bytes, and zeros everywhere else.
fn check(loader: &Loader, memory: &Memory, loads: &[&[u8]]) {
    let mut expected = vec![0u8; memory.bytes.len()];
    assert_eq!(loader.plan().loads.len(), loads.len());
    for (load, bytes) in loader.plan().loads.iter().zip(loads) {
        let start = usize::try_from(load.to.start.0 - memory.ram.start.0).unwrap();
        expected[start..start + bytes.len()].copy_from_slice(bytes);
    }
    assert!(memory.bytes == expected, "RAM holds something else");
}

#[test]
fn an_image_is_loaded_and_the_rest_of_ram_is_clear() {
    let kernel = image(0, 0x3_0000, 0, 0x2_0001);
    let ramdisk = vec![9; 70_001];
    let mut loader = loader(&kernel, &ramdisk, DTB, MIB, sums(&kernel, &ramdisk));
    let sources = Sources { kernel: &kernel, ramdisk: &ramdisk, dtb: DTB, flash: &[] };
    let mut memory = Memory::new(ram(MIB));
    assert_eq!(run(&mut loader, &sources, &mut memory, 4096).0, Progress::Done);
    check(&loader, &memory, &[&kernel, &ramdisk, DTB]);
    // Each file is read once, for copy and sum together.
    assert_eq!(memory.summed, (kernel.len() + ramdisk.len()) as u64);
    let image = loader.plan().loads[0].to;
    assert!(memory.at(image) == kernel);
}

#[test]
fn a_compressed_image_is_inflated_in_place() {
    let mut loader = loader(IMAGE_GZ, &[], DTB, MIB, sums(IMAGE_GZ, &[]));
    let sources = Sources { kernel: IMAGE_GZ, ramdisk: &[], dtb: DTB, flash: &[] };
    let mut memory = Memory::new(ram(MIB));
    let (progress, steps) = run(&mut loader, &sources, &mut memory, 100_000);
    assert_eq!(progress, Progress::Done);
    assert!(steps >= 10, "{steps} steps of 100 KB for 1 MiB");
    check(&loader, &memory, &[&inflated(&loader, &memory), DTB]);
    // The digest is the stored file's.
    assert_eq!(memory.summed, (IMAGE_GZ.len() + IMAGE_GZ_SIZE) as u64);
}

/// What [`IMAGE_GZ`] inflates to, whose header is believed.
fn inflated(loader: &Loader, memory: &Memory) -> Vec<u8> {
    let mut expected: Vec<u8> = (0..IMAGE_GZ_SIZE).map(body).collect();
    let header = loader.plan().loads[0].to;
    expected[..64].copy_from_slice(&memory.at(header)[..64]);
    assert_eq!(&expected[56..60], b"ARM\x64");
    expected
}

/// A gzip member of one stored block.
fn member(data: &[u8]) -> Vec<u8> {
    let size = u16::try_from(data.len()).unwrap();
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 1];
    file.extend([size, !size].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(data);
    file.extend([crc32(0, data), u32::from(size)].iter().flat_map(|word| word.to_le_bytes()));
    file
}

#[test]
fn padding_rubbish_and_members_behind_a_stream_are_what_gzip_takes_them_for() {
    let tail = vec![7; 5000];
    let cases: [(Vec<u8>, &[u8]); 5] = [
        (vec![0; 1], &[]),
        (vec![0; 4096], &[]),
        (b"signed by somebody\xff".to_vec(), &[]),
        (member(&tail), &tail),
        ([member(&tail[..100]), member(&[]), member(&tail[100..]), vec![0; 512]].concat(), &tail),
    ];
    for (rest, more) in cases {
        let kernel = [IMAGE_GZ, &rest].concat();
        let mut loader = loader(&kernel, &[], DTB, MIB, sums(&kernel, &[]));
        let sources = Sources { kernel: &kernel, ramdisk: &[], dtb: DTB, flash: &[] };
        for budget in [1 << 20, 1000] {
            let mut memory = Memory::new(ram(MIB));
            loader.restart();
            assert_eq!(run(&mut loader, &sources, &mut memory, budget).0, Progress::Done);
            let image = [&inflated(&loader, &memory), more].concat();
            check(&loader, &memory, &[&image, DTB]);
        }
    }
}

#[test]
fn a_gzip_file_that_is_cut_or_too_long_is_found_where_it_inflates() {
    let end = |kernel: &[u8]| {
        let mut loader = loader(kernel, &[], DTB, MIB, Sums::default());
        let sources = Sources { kernel, ramdisk: &[], dtb: DTB, flash: &[] };
        run(&mut loader, &sources, &mut Memory::new(ram(MIB)), 1 << 20).0
    };
    let whole = IMAGE_GZ.len();
    for cut in [1, 4, 7, 8, 9, 100] {
        assert_eq!(end(&IMAGE_GZ[..whole - cut]), Progress::Failed(KernelError::Gzip), "{cut} bytes are missing");
    }
    let second = [IMAGE_GZ, &member(&[1; 100])[..50]].concat();
    assert_eq!(end(&second), Progress::Failed(KernelError::Gzip));
    let header = [IMAGE_GZ, &member(&[1; 100])[..5]].concat();
    assert_eq!(end(&header), Progress::Failed(KernelError::Gzip));
    // 131072 bytes are what the header asks for.
    let room = 0x2_0000 - IMAGE_GZ_SIZE;
    assert_eq!(end(&[IMAGE_GZ, &member(&vec![1; room])].concat()), Progress::Done);
    let long = [IMAGE_GZ, &member(&vec![1; room + 1])].concat();
    assert_eq!(end(&long), Progress::Failed(KernelError::GzipLong));
}

#[test]
fn elf_segments_are_loaded_with_their_bss_clear() {
    let segment = |paddr, size, memsz| Segment { vaddr: paddr, paddr, data: vec![7; size], memsz };
    let segments = [segment(0x4000_0010, 100, 5000), segment(0x4000_2000, 8192, 8192)];
    let kernel = elf(0x4000_0010, &segments);
    let mut loader = loader(&kernel, &[], DTB, MIB, sums(&kernel, &[]));
    let sources = Sources { kernel: &kernel, ramdisk: &[], dtb: DTB, flash: &[] };
    let mut memory = Memory::new(ram(MIB));
    assert_eq!(run(&mut loader, &sources, &mut memory, 1 << 30), (Progress::Done, 1));
    check(&loader, &memory, &[&[7; 100], &[7; 8192], DTB]);
    assert_eq!(memory.summed, kernel.len() as u64);
}

#[test]
fn a_segment_that_is_the_whole_file_is_summed_by_itself() {
    let segment = |paddr| Segment { vaddr: paddr, paddr, data: vec![7; 100], memsz: 100 };
    let mut kernel = elf(0x4000_1000, &[segment(0x4000_0000), segment(0x4000_1000)]);
    // The first segment: from the file's beginning, as long as the file.
    let size = kernel.len() as u64;
    for (at, value) in [(64 + 8, 0), (64 + 32, size), (64 + 40, size)] {
        kernel[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let mut loader = loader(&kernel, &[], DTB, MIB, sums(&kernel, &[]));
    let sources = Sources { kernel: &kernel, ramdisk: &[], dtb: DTB, flash: &[] };
    let mut memory = Memory::new(ram(MIB));
    let (progress, _) = run(&mut loader, &sources, &mut memory, 1 << 30);
    assert_eq!(progress, Progress::Done);
    check(&loader, &memory, &[&kernel, &[7; 100], DTB]);
    assert_eq!(memory.summed, size);
}

#[test]
fn a_restart_leaves_the_same_memory() {
    let ramdisk = vec![3; 5000];
    let mut loader = loader(IMAGE_GZ, &ramdisk, DTB, MIB, sums(IMAGE_GZ, &ramdisk));
    let sources = Sources { kernel: IMAGE_GZ, ramdisk: &ramdisk, dtb: DTB, flash: &[] };
    let mut first = Memory::new(ram(MIB));
    assert_eq!(run(&mut loader, &sources, &mut first, 1 << 20).0, Progress::Done);
    assert_eq!(loader.step(&sources, &mut first, 1), Progress::Done);
    for interrupted_after in [0, 3, 50] {
        let mut again = Memory::new(ram(MIB));
        loader.restart();
        for _ in 0..interrupted_after {
            let _ = loader.step(&sources, &mut again, 20_000);
        }
        loader.restart();
        assert_eq!(run(&mut loader, &sources, &mut again, 1 << 16).0, Progress::Done);
        assert!(again.bytes == first.bytes, "after {interrupted_after} steps");
    }
}

#[test]
fn a_damaged_member_is_found_and_named() {
    let kernel = image(0, 0x3_0000, 0, 0x2_0000);
    let ramdisk = vec![9; 5000];
    let fail = |kernel: &[u8], ramdisk: &[u8], sums| {
        let mut loader = loader(kernel, ramdisk, DTB, MIB, sums);
        let sources = Sources { kernel, ramdisk, dtb: DTB, flash: &[] };
        let mut memory = Memory::new(ram(MIB));
        let (progress, _) = run(&mut loader, &sources, &mut memory, 50_000);
        assert_eq!(loader.step(&sources, &mut memory, 1), progress);
        match progress {
            Progress::Failed(KernelError::Digest { member, error }) => (member == "the ramdisk", error),
            other => panic!("{other:?}"),
        }
    };
    let mut damaged = kernel.clone();
    damaged[0x1_2345] ^= 1;
    let (is_ramdisk, error) = fail(&damaged, &ramdisk, sums(&kernel, &ramdisk));
    assert!(!is_ramdisk && matches!(error, DigestError::Crc32 { .. }));
    let (is_ramdisk, error) = fail(&kernel, &[9; 5001], sums(&kernel, &ramdisk));
    assert!(is_ramdisk && matches!(error, DigestError::Size { .. }));
    let (is_ramdisk, error) = fail(&kernel, &[8; 5000], sums(&kernel, &ramdisk));
    assert!(is_ramdisk && matches!(error, DigestError::Crc32 { .. }));
    let (is_ramdisk, error) = fail(&kernel[..1000], &ramdisk, sums(&kernel, &ramdisk));
    assert!(!is_ramdisk && matches!(error, DigestError::Size { .. }));
    // A compressed kernel's is found before it is inflated.
    let mut renamed = IMAGE_GZ.to_vec();
    renamed[11] ^= 1;
    let (is_ramdisk, _) = fail(&renamed, &ramdisk, sums(IMAGE_GZ, &ramdisk));
    assert!(!is_ramdisk);
}

#[test]
fn a_stream_that_is_not_what_its_trailer_says_fails() {
    let end = IMAGE_GZ.len();
    // Another sum, a smaller size and a larger one.
    for (at, delta) in [(end - 8, 1), (end - 4, 0xff), (end - 4, 1)] {
        let mut kernel = IMAGE_GZ.to_vec();
        kernel[at] = kernel[at].wrapping_add(delta);
        let mut loader = loader(&kernel, &[], DTB, MIB, Sums::default());
        let sources = Sources { kernel: &kernel, ramdisk: &[], dtb: DTB, flash: &[] };
        let mut memory = Memory::new(ram(MIB));
        let (progress, _) = run(&mut loader, &sources, &mut memory, 1 << 20);
        assert_eq!(progress, Progress::Failed(KernelError::GzipSum));
    }
}

#[test]
fn sources_of_another_size_fail() {
    let kernel = image(0, 0x3_0000, 0, 0x2_0000);
    let mut loader = loader(&kernel, &[1; 100], DTB, MIB, Sums::default());
    for (kernel, ramdisk, dtb) in [
        (&kernel[..100], &[1; 100][..], DTB),
        (&kernel[..], &[1; 99][..], DTB),
        (&kernel[..], &[1; 101][..], DTB),
        (&kernel[..], &[1; 100][..], &DTB[1..]),
    ] {
        loader.restart();
        let sources = Sources { kernel, ramdisk, dtb, flash: &[] };
        let mut memory = Memory::new(ram(MIB));
        let (progress, _) = run(&mut loader, &sources, &mut memory, 1 << 20);
        assert_eq!(progress, Progress::Failed(KernelError::Sources));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_budget_gives_the_same_memory(budget in 1u64..3 * MIB, size in 64usize..9000, ramdisk in 0usize..9000) {
        let kernel = image(0, 0, 0, size);
        let ramdisk = vec![5; ramdisk];
        let mut loader = loader(&kernel, &ramdisk, DTB, MIB, sums(&kernel, &ramdisk));
        let sources = Sources { kernel: &kernel, ramdisk: &ramdisk, dtb: DTB, flash: &[] };
        let mut memory = Memory::new(ram(MIB));
        prop_assert_eq!(run(&mut loader, &sources, &mut memory, budget).0, Progress::Done);
        let loads: [&[u8]; 3] = [&kernel, &ramdisk, DTB];
        let loads: Vec<_> = loads.into_iter().filter(|load| !load.is_empty()).collect();
        check(&loader, &memory, &loads);
    }

    #[test]
    fn damaged_streams_load_inside_ram_or_fail(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut kernel = IMAGE_GZ.to_vec();
        for (at, value) in damage {
            let at = at.index(kernel.len());
            kernel[at] = value;
        }
        let Ok(kind) = identify(&kernel, None) else { return Ok(()) };
        let Ok(plan) = plan(&kind, &kernel, ram(2 * MIB), 0, 777) else { return Ok(()) };
        let mut loader = Loader::new(plan, Sums::default());
        let sources = Sources { kernel: &kernel, ramdisk: &[], dtb: DTB, flash: &[] };
        let (progress, _) = run(&mut loader, &sources, &mut Memory::new(ram(2 * MIB)), 1 << 20);
        prop_assert!(progress != Progress::More);
    }
}

#[test]
fn the_crc_is_that_of_iso_hdlc_in_one_piece_or_two() {
    assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
}

#[test]
fn a_flash_is_filled_from_its_file_and_the_rest_of_it_is_clear() {
    let low = Region::new(Ipa(0), 0x10_0000).unwrap();
    let (kernel, file) = ([7; 0x1801], [9; 5000]);
    let raw = super::super::Raw { load: Some(Ipa(0x1000)), tree_first: true, ..Default::default() };
    let flashes = [(Region { start: Ipa(0), size: 0x4000 }, 0), (Region { start: Ipa(0x8000), size: 0x3000 }, 5000)];
    let memory = super::super::Memory { ram: Region { start: Ipa(0x2_0000), size: 0x2_0000 }, flashes: &flashes };
    let plan = super::super::plan(&super::KernelKind::Raw(raw), &kernel, memory, 0, 777).unwrap();
    let mut loader = Loader::new(plan, sums(&kernel, &[]));
    let mut flash = [FlashFile::default(), FlashFile { bytes: &file, digest: Some(digest(&file)) }];
    let sources = Sources { kernel: &kernel, ramdisk: &[], dtb: DTB, flash: &flash };
    let mut memory = Memory::new(low);
    assert_eq!(run(&mut loader, &sources, &mut memory, 4096).0, Progress::Done);
    let mut expected = vec![0xa5u8; 0x10_0000];
    for (start, size) in [(0, 0x4000), (0x8000, 0x3000), (0x2_0000, 0x2_0000)] {
        expected[start..start + size].fill(0);
    }
    expected[0x1000..0x2801].fill(7);
    expected[0x8000..0x8000 + 5000].fill(9);
    expected[0x2_0000..0x2_0000 + 777].fill(0xd0);
    assert!(memory.bytes == expected, "memory holds something else");
    // Another file of the same length.
    let other = [8; 5000];
    flash[1].bytes = &other;
    let sources = Sources { kernel: &kernel, ramdisk: &[], dtb: DTB, flash: &flash };
    loader.restart();
    let (progress, _) = run(&mut loader, &sources, &mut memory, 4096);
    assert!(matches!(progress, Progress::Failed(KernelError::Digest { member: "a flash's file", .. })), "{progress:?}");
}
