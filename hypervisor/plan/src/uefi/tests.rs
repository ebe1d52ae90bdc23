//! What UEFI adds to a tree, and where it looks for files.

use std::string::{String, ToString};
use std::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::{Arguments, Handover, HandoverError, MemoryMap, beside};
use crate::gate::Tree;
use crate::gate::tests::dts::compile;

const RESERVED: u32 = 0;
const LOADER_DATA: u32 = 2;
const BOOT_DATA: u32 = 4;
const RUNTIME_CODE: u32 = 5;
const CONVENTIONAL: u32 = 7;
const ACPI_NVS: u32 = 10;
const WB: u64 = 0xf;
const STRIDE: usize = 48;

fn map(all: &[(u32, u64, u64, u64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(kind, start, pages, attributes) in all {
        // What pads the type is anything.
        for word in [u64::from(kind) | 0xabcd << 32, start, 0, pages, attributes, 0] {
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}

fn region(start: u64, size: u64) -> Region<Pa> {
    Region { start: Pa(start), size }
}

/// Out of order, with two that adjoin, and one that two types cover.
fn board() -> Vec<u8> {
    map(&[
        (CONVENTIONAL, 0x4010_0000, 0x100, WB),
        (RUNTIME_CODE, 0x4020_0000, 0x10, WB | 1 << 63),
        (BOOT_DATA, 0x4000_0000, 0x100, WB),
        (CONVENTIONAL, 0x4021_0000, 0x10, 1),
        (LOADER_DATA, 0x4022_0000, 0xe0, WB),
        (ACPI_NVS, 0x4030_0000, 0x10, WB),
        (CONVENTIONAL, 0x4040_0000, 0x100, WB | 1 << 18),
        (CONVENTIONAL, 0x8000_0000, 0x100, WB),
    ])
}

#[test]
fn what_is_free_after_boot_services_is_told_range_by_range() {
    let bytes = board();
    let map = MemoryMap { bytes: &bytes, stride: STRIDE };
    assert_eq!(map.free_from(0), Some(region(0x4000_0000, 0x20_0000)));
    assert_eq!(map.free_from(0x4010_0000), Some(region(0x4010_0000, 0x10_0000)));
    assert_eq!(map.free_from(0x4020_0000), Some(region(0x4022_0000, 0xe_0000)));
    assert_eq!(map.free_from(0x8010_0000), None);
    assert_eq!(MemoryMap { bytes: &bytes, stride: 0 }.free_from(u64::MAX), None);
}

#[test]
fn what_is_kept_is_all_else_in_memory_that_the_map_knows_or_does_not() {
    let bytes = board();
    let map = MemoryMap { bytes: &bytes, stride: STRIDE };
    let kept: Vec<_> = map.kept_in(region(0x4000_0000, 0x80_0000)).collect();
    assert_eq!(kept, [region(0x4020_0000, 0x2_0000), region(0x4030_0000, 0x50_0000)]);
    assert_eq!(map.kept_in(region(0x4000_0000, 0x1000)).count(), 0);
    let kept: Vec<_> = map.kept_in(region(0x1000, 0x1000)).collect();
    assert_eq!(kept, [region(0x1000, 0x1000)]);
    let kept: Vec<_> = map.kept_in(region(0x7fff_f000, 0x2000)).collect();
    assert_eq!(kept, [region(0x7fff_f000, 0x1000)]);
}

const TREE: &str = "/memreserve/ 0x48000000 0x1000;
/ {
    #address-cells = <2>; #size-cells = <2>; model = \"board\";
    chosen { stdout-path = \"/serial@9000000\"; linux,initrd-end = <0 9>; linux,initrd-start = <0 1>; };
    memory@40000000 { device_type = \"memory\"; reg = <0 0x40000000 0 0x800000>; };
    soc { chosen { linux,initrd-start = <7>; }; };
};";

fn write(source: &str, map: &[u8], bundle: Option<Region<Pa>>) -> Result<Vec<u8>, HandoverError> {
    let tree = compile(source);
    let mut out = std::vec![0xee; 0x2000];
    let length = Handover { tree: &tree, map: MemoryMap { bytes: map, stride: STRIDE }, bundle, arguments: None }
        .write(&mut out)?;
    assert!(out[length..].iter().all(|&byte| byte == 0xee));
    out.truncate(length);
    Ok(out)
}

fn chosen(blob: &[u8]) -> (Option<u64>, Option<u64>) {
    let tree = Tree::new(blob).unwrap();
    let chosen = tree.find("/chosen").unwrap();
    let mut ends = 0;
    crate::gate::scan(blob, &mut |_, name, _| ends += usize::from(name == "linux,initrd-end"));
    assert_eq!(ends, 1);
    (chosen.u64("linux,initrd-start").unwrap(), chosen.u64("linux,initrd-end").unwrap())
}

#[test]
fn the_copy_reserves_what_is_kept_and_says_where_the_bundle_is() {
    let blob = write(TREE, &board(), Some(region(0x4011_0000, 0x123))).unwrap();
    let tree = Tree::new(&blob).unwrap();
    let reserved: Vec<_> = tree.reservations().collect();
    assert_eq!(reserved, [(0x4800_0000, 0x1000), (0x4020_0000, 0x2_0000), (0x4030_0000, 0x50_0000)]);
    assert_eq!(chosen(&blob), (Some(0x4011_0000), Some(0x4011_0123)));
    // The rest is as it was, and nodes of that name elsewhere are not touched.
    assert_eq!(tree.find("/chosen").unwrap().str("stdout-path").unwrap(), Some("/serial@9000000"));
    assert_eq!(tree.find("/soc/chosen").unwrap().u32("linux,initrd-start").unwrap(), Some(7));
    assert_eq!(tree.root().str("model").unwrap(), Some("board"));
    assert_eq!(tree.nodes().count(), 5);
}

#[test]
fn without_a_bundle_of_its_own_the_tree_keeps_what_it_says() {
    assert_eq!(chosen(&write(TREE, &board(), None).unwrap()), (Some(1), Some(9)));
}

#[test]
fn a_tree_without_chosen_or_memory_gets_them() {
    let bare = "/ { #address-cells = <2>; #size-cells = <1>; memory@0 { device_type = \"memory\"; reg = <0 0 0>; }; };";
    let blob = write(bare, &board(), Some(region(0x8000_0000, 0x10))).unwrap();
    let tree = Tree::new(&blob).unwrap();
    assert_eq!(chosen(&blob), (Some(0x8000_0000), Some(0x8000_0010)));
    let memory: Vec<_> = tree.nodes().filter(|node| node.str("device_type").unwrap() == Some("memory")).collect();
    let memory: Vec<(String, Vec<_>)> =
        memory.iter().map(|node| (node.path(), node.reg().unwrap().collect())).collect();
    let node = |start: u64, size: u64| (std::format!("/memory@{start:016x}"), [(start, size)].to_vec());
    assert_eq!(memory[1..], [node(0x4000_0000, 0x20_0000), node(0x4022_0000, 0xe_0000), node(0x8000_0000, 0x10_0000)]);
    assert_eq!(tree.reservations().count(), 0);
}

#[test]
fn what_cannot_be_written_is_said() {
    assert_eq!(write("/ { #address-cells = <3>; };", &board(), None), Err(HandoverError::Cells));
    assert_eq!(write("/ { #address-cells = <1>; };", &map(&[(7, 1 << 32, 1, WB)]), None), Err(HandoverError::Cells));
    let many: Vec<_> = (0..600).map(|n| (CONVENTIONAL, 0x4000_0000 + n * 0x2000, 1, WB)).collect();
    assert_eq!(write(TREE, &map(&many), None), Err(HandoverError::NoRoom));
    assert!(write(TREE, &map(&[(RESERVED, 0x4000_0000, 0x800, WB)]), None).is_ok());
    let map = MemoryMap { bytes: &[], stride: STRIDE };
    let error = Handover { tree: b"none", map, bundle: None, arguments: None }.write(&mut [0; 64]).unwrap_err();
    assert!(error.to_string().contains("magic"), "{error}");
}

#[test]
fn load_options_take_the_place_of_bootargs() {
    let units = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    for source in
        [TREE, "/ { #address-cells = <2>; #size-cells = <2>; chosen { bootargs = \"of the tree\"; }; };", "/ { };"]
    {
        for text in ["abc", "abcd", "quiet assay.console=prefix"] {
            let (tree, options) = (compile(source), units(text));
            let mut out = std::vec![0; 0x2000];
            let map = board();
            let map = MemoryMap { bytes: &map, stride: STRIDE };
            let handover = Handover { tree: &tree, map, bundle: None, arguments: Arguments::of(&options) };
            let length = handover.write(&mut out).unwrap();
            let tree = Tree::new(&out[..length]).unwrap();
            assert_eq!(tree.find("/chosen").unwrap().str("bootargs").unwrap(), Some(text), "{source}");
        }
    }
    let kept = write(
        "/ { #address-cells = <2>; #size-cells = <2>; chosen { bootargs = \"of the tree\"; }; };",
        &board(),
        None,
    );
    let kept = kept.unwrap();
    assert_eq!(Tree::new(&kept).unwrap().find("/chosen").unwrap().str("bootargs").unwrap(), Some("of the tree"));
}

fn file(path: &str) -> Vec<u8> {
    let units: Vec<u8> = path.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let length = u16::try_from(units.len() + 4).unwrap().to_le_bytes();
    [&[4, 4, length[0], length[1]], units.as_slice()].concat()
}

const END: [u8; 4] = [0x7f, 0xff, 4, 0];

fn found(path: &[u8]) -> Option<String> {
    let mut out = [0; 64];
    let path = beside(path, "bundle.cpio", &mut out)?;
    assert_eq!(path.last(), Some(&0));
    Some(String::from_utf16(&path[..path.len() - 1]).unwrap())
}

#[test]
fn files_are_looked_for_beside_the_image() {
    let path = |nodes: &[&[u8]]| found(&[&nodes.concat(), &END[..]].concat());
    assert_eq!(path(&[&file(r"\EFI\BOOT\BOOTAA64.EFI")]).unwrap(), r"\EFI\BOOT\bundle.cpio");
    assert_eq!(path(&[&file(r"\EFI"), &file(r"assay.img")]).unwrap(), r"\EFI\bundle.cpio");
    assert_eq!(path(&[&file("assay.img")]).unwrap(), r"\bundle.cpio");
    assert_eq!(path(&[&[1, 1, 6, 0, 9, 9], &file(r"\a\b")]).unwrap(), r"\a\bundle.cpio");
    // Loaded from memory, or a path that breaks off.
    assert_eq!(found(&[]).unwrap(), r"\bundle.cpio");
    assert_eq!(found(&[4, 4, 99, 0, 1]), None);
    assert_eq!(found(&[4, 4, 1, 0, 1]), None);
    assert_eq!(path(&[&file(&"long".repeat(20))]), None);
}
