//! Where things go.

use super::super::{Format, KernelKind, Memory, Raw, identify};
use super::{IMAGE_GZ, MIB, RAM, Segment, elf, image, plan, ram};
use assay_model::holes::Holes;
use assay_model::loader::{KernelError, LoadPlan, Origin};
use assay_spec::addr::{Address, BLOCK_1G, BLOCK_2M, Ipa, Region};
use proptest::prelude::*;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

fn place(kernel: &[u8], size: u64, ramdisk: u64, dtb: u64) -> Result<LoadPlan, KernelError> {
    plan(&identify(kernel, None)?, kernel, ram(size), ramdisk, dtb)
}

/// What must hold of every plan.
fn check(plan: &LoadPlan) {
    let parts = [Some(plan.kernel), plan.ramdisk, Some(plan.dtb)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    for (index, part) in parts.iter().enumerate() {
        assert!(plan.memory[0].covers(part), "{plan:?}");
        assert!(!parts[..index].iter().any(|other| other.overlaps(part)), "{plan:?}");
    }
    for load in &plan.loads {
        assert!(parts.iter().any(|part| part.covers(&load.to)), "{plan:?}");
    }
    for pair in plan.loads.windows(2) {
        assert!(pair[0].to.end() <= pair[1].to.start, "{plan:?}");
    }
    assert!(plan.kernel.contains(plan.entry));
    assert!(plan.dtb.start.is_aligned(8) && plan.dtb.size <= BLOCK_2M);
    if let Some(ramdisk) = plan.ramdisk {
        let window = plan.kernel.start.align_down(BLOCK_1G).raw();
        assert!(ramdisk.end().raw() <= window + 32 * BLOCK_1G);
    }
}

#[test]
fn an_image_lies_low_and_the_rest_high() {
    let file = image(0, 0x20_0000, 0xa, 0x10_0000);
    let plan = place(&file, 256 * MIB, 3 * MIB + 5, 0x1234).unwrap();
    check(&plan);
    assert_eq!(plan.entry, RAM);
    assert_eq!(plan.kernel, ram(0x20_0000));
    assert_eq!(plan.dtb.start, Ipa(0x4fff_0000));
    assert_eq!(plan.ramdisk, Region::new(Ipa(0x4fce_0000), 3 * MIB + 5));
    assert_eq!(plan.loads[0].to.size, 0x10_0000);
    assert_eq!(plan.loads[1].origin, Origin::Ramdisk);
    assert_eq!(plan.loads[2].origin, Origin::DeviceTree);
}

#[test]
fn the_text_offset_counts_from_a_2_mib_boundary() {
    let file = image(0x8_0000, 0x1000, 0, 0x1000);
    let kind = identify(&file, None).unwrap();
    let odd = Region::new(Ipa(0x4010_0000), 64 * MIB).unwrap();
    let plan = plan(&kind, &file, odd, 0, 100).unwrap();
    check(&plan);
    assert_eq!(plan.entry, Ipa(0x4028_0000));
    assert_eq!(plan.ramdisk, None);
}

#[test]
fn a_compressed_image_is_placed_by_what_its_header_says() {
    let plan = place(IMAGE_GZ, 4 * MIB, 0, 100).unwrap();
    check(&plan);
    assert_eq!(plan.kernel.size, 0x2_0000);
    assert_eq!(plan.loads[0].to.size, 0x2_0000);
}

#[test]
fn a_raw_kernel_lies_at_the_beginning_of_ram() {
    let kind = identify(&[0; 100], Some(Format::Raw(Raw::default()))).unwrap();
    assert_eq!(kind, KernelKind::Raw(Raw::default()));
    let plan = plan(&kind, &[0; 100], ram(MIB), 0, 4000).unwrap();
    check(&plan);
    assert_eq!((plan.entry, plan.dtb.start), (RAM, Ipa(0x400f_0000)));
}

/// A flat binary of 0x1000 bytes in 16 MiB of RAM, beside flashes of 64 MiB at 0 and above, the second with a file.
fn firmware(raw: Raw, ramdisk: u64) -> Result<LoadPlan, KernelError> {
    let flash = |start| Region::new(Ipa(start), 64 * MIB).unwrap();
    let flashes = [(flash(0), 0), (flash(0x400_0000), 0x2345)];
    let memory = Memory { ram: ram(16 * MIB), flashes: &flashes };
    super::super::plan(&KernelKind::Raw(raw), &[1; 0x1000], memory, ramdisk, 0x1234)
}

#[test]
fn firmware_goes_into_its_flash_and_the_tree_to_the_start_of_ram() {
    let raw = Raw { load: Some(Ipa(0)), tree_first: true, ..Raw::default() };
    let plan = firmware(raw, 100).unwrap();
    assert_eq!((plan.entry, plan.dtb), (Ipa(0), Region::new(RAM, 0x1234).unwrap()));
    assert_eq!(plan.ramdisk, Region::new(Ipa(0x40ff_0000), 100));
    let loads: Vec<_> = plan.loads.iter().map(|load| (load.to.start.0, load.to.size, load.origin.clone())).collect();
    let expected = [
        (0, 0x1000, Origin::Kernel { offset: 0 }),
        (0x400_0000, 0x2345, Origin::Flash(1)),
        (RAM.0, 0x1234, Origin::DeviceTree),
        (0x40ff_0000, 100, Origin::Ramdisk),
    ];
    assert_eq!(loads, expected);
    assert_eq!(plan.memory.len(), 3);
    // Without a place it goes above the tree, in RAM.
    let plan = firmware(Raw { load: None, ..raw }, 0).unwrap();
    assert_eq!((plan.entry, plan.dtb.start), (Ipa(RAM.0 + BLOCK_2M), RAM));
    // At the end of RAM, the others go below it.
    let plan = firmware(Raw { load: Some(Ipa(0x40ff_f000)), ..Raw::default() }, 100).unwrap();
    assert_eq!((plan.dtb.start, plan.ramdisk.unwrap().start), (Ipa(0x40ff_0000), Ipa(0x40fe_0000)));
}

#[test]
fn a_flat_binary_goes_only_where_memory_is_and_starts_only_in_itself() {
    let at = |load, entry| firmware(Raw { load: Some(Ipa(load)), entry, tree_first: true }, 0);
    for load in [0x3fff_f000, 0x40ff_f001, 0x800_0000, u64::MAX - 0x1fff] {
        let error = at(load, None).unwrap_err();
        assert!(matches!(error, KernelError::Load(..) | KernelError::NoRoom { .. }), "{load:#x}: {error}");
    }
    assert_eq!(at(0x4000_1000, None), Err(KernelError::LoadOverTree(Ipa(0x4000_1000))));
    assert_eq!(at(0x4000_2000, Some(Ipa(0x4000_2ffc))).unwrap().entry, Ipa(0x4000_2ffc));
    assert_eq!(at(0, Some(Ipa(0x1000))), Err(KernelError::Entry(Ipa(0x1000))));
}

#[test]
fn what_lies_on_a_page_that_is_to_be_left_alone_is_named() {
    // A kernel of a page that takes 1 MiB, a ramdisk of 100 bytes, a tree of two pages at the end.
    let plan = place(&image(0, MIB, 0, 0x1000), 4 * MIB, 100, 0x1001).unwrap();
    let (ramdisk, tree) = (plan.ramdisk.unwrap().start.0, plan.dtb.start.0);
    let hit = |page| {
        let mut holes = Holes::default();
        holes.add(Ipa(0x4018_0000));
        holes.add(Ipa(page));
        plan.avoids(&holes)
    };
    let on = |what, page| Err(KernelError::OnHole { what, page: Ipa(page) });
    assert_eq!(hit(RAM.0), on("the kernel", RAM.0));
    // Its BSS too.
    assert_eq!(hit(RAM.0 + MIB - 1), on("the kernel", RAM.0 + MIB - 0x1000));
    assert_eq!(hit(RAM.0 + MIB), Ok(()));
    assert_eq!(hit(ramdisk), on("the ramdisk", ramdisk));
    assert_eq!(hit(ramdisk + 0x1000), Ok(()));
    assert_eq!(hit(tree + 0x1000), on("the device tree", tree + 0x1000));
    let said = hit(tree).unwrap_err().to_string();
    assert_eq!(
        said,
        std::format!("the device tree is loaded to the page at {tree:#x}, which has failed or was taken offline")
    );
}

#[test]
fn too_little_ram_says_how_much_would_do() {
    let file = image(0, 8 * MIB, 0, 0x1000);
    let error = place(&file, 8 * MIB, MIB, 0x1000).unwrap_err();
    let KernelError::NoRoom { needed, ram } = error else {
        panic!("{error}");
    };
    assert_eq!((needed, ram), (8 * MIB + MIB + 0x1_0000, 8 * MIB));
    check(&place(&file, needed, MIB, 0x1000).unwrap());
    let error = place(&file, needed - 0x1_0000, MIB, 0x1000).unwrap_err();
    assert_eq!(error.remedy(), "raise the VM's memory");
    assert_eq!(place(&file, 64 * MIB, 0, BLOCK_2M + 1), Err(KernelError::DeviceTree));
    let huge = place(&file, 64 * MIB, u64::MAX, 0x1000);
    assert!(matches!(huge, Err(KernelError::NoRoom { .. })));
}

#[test]
fn the_ramdisk_stays_in_the_32_gib_window() {
    let file = image(0, 0x1000, 0, 0x1000);
    let plan = place(&file, 64 * BLOCK_1G, MIB, 0x1000).unwrap();
    check(&plan);
    assert!(plan.dtb.end() <= Ipa(RAM.raw() + 32 * BLOCK_1G));
}

fn segment(paddr: u64, size: usize, memsz: u64) -> Segment {
    Segment { vaddr: paddr, paddr, data: vec![7; size], memsz }
}

#[test]
fn elf_segments_go_to_their_physical_addresses() {
    let text = Segment { vaddr: 0xffff_0000_0000_0000, ..segment(0x4008_0000, 100, 100) };
    let bss = segment(0x4010_0000, 0, 0x1000);
    let file = elf(0xffff_0000_0000_0010, &[bss, text]);
    let plan = place(&file, 16 * MIB, 100, 100).unwrap();
    check(&plan);
    assert_eq!(plan.entry, Ipa(0x4008_0010));
    assert_eq!(plan.kernel, Region::new(Ipa(0x4008_0000), 0x8_1000).unwrap());
    assert_eq!(plan.loads.len(), 3);
    let physical = elf(0x4008_0020, &[segment(0x4008_0000, 100, 100)]);
    assert_eq!(place(&physical, 16 * MIB, 0, 100).unwrap().entry, Ipa(0x4008_0020));
}

#[test]
fn bad_elf_files_are_refused_by_name_of_the_segment() {
    let refused = |file: &[u8]| place(file, 16 * MIB, 0, 100).unwrap_err();
    let at = |start| KernelError::ElfSegment(Ipa(start));
    let outside = [segment(0x3fff_ffff, 2, 2)];
    assert_eq!(refused(&elf(0x4000_0000, &outside)), at(0x3fff_ffff));
    let wraps = [segment(u64::MAX, 2, 2)];
    assert_eq!(refused(&elf(0x4000_0000, &wraps)), at(u64::MAX));
    let larger_in_file = [segment(0x4000_0000, 3, 2)];
    assert_eq!(refused(&elf(0x4000_0000, &larger_in_file)), at(0x4000_0000));
    let overlap = [segment(0x4000_0000, 1, 0x1001), segment(0x4000_1000, 1, 1)];
    assert_eq!(refused(&elf(0x4000_0000, &overlap)), at(0x4000_1000));
    let mut cut = elf(0x4000_0000, &[segment(0x4000_0000, 100, 100)]);
    cut.pop();
    assert_eq!(refused(&cut), at(0x4000_0000));
    let one = [segment(0x4000_0000, 100, 100)];
    assert_eq!(refused(&elf(0x4100_0000, &one)), KernelError::ElfEntry(0x4100_0000));
    assert_eq!(refused(&elf(0x4000_0002, &one)), KernelError::ElfEntry(0x4000_0002));
    assert_eq!(refused(&elf(0x4000_0000, &[])), KernelError::ElfSegments);
    let many: Vec<_> = (0..65).map(|at| segment(0x4000_0000 + at, 1, 1)).collect();
    assert_eq!(refused(&elf(0x4000_0000, &many)), KernelError::ElfSegments);
    let mut x86 = elf(0x4000_0000, &one);
    x86[18] = 62;
    assert_eq!(refused(&x86), KernelError::ElfKind);
    assert_eq!(refused(b"\x7fELF"), KernelError::ElfKind);
}

proptest! {
    #[test]
    fn every_plan_keeps_its_parts_apart_and_in_ram(
        text_offset in (0u64..0x4_0000).prop_map(|eighth| eighth * 8),
        image_size in prop_oneof![0u64..64 * MIB, any::<u64>()],
        size in 64usize..4096,
        start in 0u64..1 << 24, pages in 1u64..0x1_0000,
        ramdisk in prop_oneof![Just(0), 1u64..64 * MIB, any::<u64>()],
        dtb in 1u64..BLOCK_2M + 2,
    ) {
        let file = image(text_offset, image_size, 0, size);
        let ram = Region::new(Ipa(start << 12), pages << 12).unwrap();
        if let Ok(kind) = identify(&file, None)
            && let Ok(plan) = plan(&kind, &file, ram, ramdisk, dtb)
        {
            check(&plan);
            prop_assert_eq!(plan.kernel.start.raw() % BLOCK_2M, if image_size == 0 { 0x8_0000 } else { text_offset });
        }
    }

    #[test]
    fn damaged_elf_files_are_placed_in_ram_or_refused(
        damage in prop::collection::vec((0usize..300, any::<u8>()), 1..5),
    ) {
        let mut file = elf(0x4000_0000, &[segment(0x4000_0000, 40, 80), segment(0x4000_1000, 40, 40)]);
        for (at, value) in damage {
            if let Some(byte) = file.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(plan) = place(&file, 16 * MIB, 5000, 5000) {
            check(&plan);
        }
    }
}
