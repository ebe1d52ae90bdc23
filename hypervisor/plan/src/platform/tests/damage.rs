//! Random damage to good trees: an error or a value, and always an end.

use std::vec::Vec;

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use proptest::sample::Index;

use assay_model::pci::Function;
use assay_spec::addr::{Pa, Region};

use super::{BOARD, compile, early_console, facts, overlay, parse};
use crate::gate::Tree;
use crate::platform::early::{conduit, free_memory, initrd};

const OVERLAY: &str = r#"/ { compatible = "acme,board"; fragment@0 { target-path = "/"; __overlay__ {
    reserved-memory { #address-cells = <2>; #size-cells = <2>; gpu0-memory@4000000000 { reg = <1 2 3 4>; assay,pci-bar = <0 1 2>; }; };
    memory@40000000 { arm,no-mte; };
}; }; };"#;

/// Overwrites bytes and whole words; the words are such as mean something in a tree.
fn damage(blob: &mut [u8], bytes: Vec<(Index, u8)>, words: Vec<(Index, u32)>) {
    let count = blob.len() / 4;
    for (at, word) in words {
        let at = at.index(count) * 4;
        blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
    }
    for (at, byte) in bytes {
        let at = at.index(blob.len());
        blob[at] = byte;
    }
}

/// A tree with what [`BOARD`] has none of: devices with DMA, clocks and moved addresses, an SMMU and an ITS.
fn board() -> Vec<u8> {
    let more = r#"
        iommu@9050000 { compatible = "arm,smmu-v3"; reg = <0 0x9050000 0 0x20000>; #iommu-cells = <1>; phandle = <7>;
            interrupts = <0 74 1>; };
        its@b080000 { compatible = "arm,gic-v3-its"; reg = <0 0xb080000 0 0x20000>; phandle = <9>; };
        clock { #clock-cells = <0>; compatible = "fixed-clock"; clock-frequency = <24000000>; phandle = <11>; };
        bus { #address-cells = <1>; #size-cells = <1>; ranges = <0 0 0xa000000 0x100000>; dma-ranges = <0 0 0 0x1000>;
            dma@1000 { reg = <0x1000 0x1000>; interrupts = <0 9 4>; iommus = <7 5>; clocks = <11>; }; };
        distance-map { compatible = "numa-distance-map-v1"; distance-matrix = <0 0 10 0 1 20>; };
        pcie@10000000 {"#;
    let maps = "bus-range = <0 15>; iommu-map = <0 7 0 0x10000>; msi-map = <0 9 0 0x10000>; \
        interrupt-map-mask = <0x1800 0 0 7>; interrupt-map = <0x800 0 0 1 1 0 3 4>;";
    compile(&BOARD.replace("pcie@10000000 {", more).replace("bus-range = <0 15>;", maps))
}

/// Reads a platform tree, an overlay for it, and all that is derived of both.
fn read(blob: &[u8], dtbo: &[u8]) {
    let Ok(tree) = Tree::new(blob) else { return };
    let Ok(mut machine) = parse(blob) else { return };
    let _ = facts::overlay(&mut machine, &tree, dtbo);
    machine.read_devices(&tree, ["/bus/dma@1000", "/soc/uart@1000"].into_iter());
    machine.lose_misplaced(&[]);
    machine.cut_memory(40);
    for device in &machine.claimed {
        let _ = machine.accesses(device);
    }
    for host in &machine.pcie {
        let function = Function::new(host.buses.1, 2, 0);
        let _ = (machine.kept_in(host), machine.stream(host, function), machine.device_id(host, function));
        let _ = (machine.ecam_host(host.segment, host.buses.1), host.intx(function, 1));
    }
    let _ = (machine.oddities(), machine.not_free().count());
    let image = Region { start: Pa(0x4020_0000), size: 0x12_0000 };
    let _ = (conduit(blob), initrd(blob), free_memory(blob, 0x2000, image, &[]));
}

/// The numbers at which arithmetic ends: each word in turn, alone and with its neighbour.
#[test]
fn no_number_of_a_tree_is_too_much() {
    let (board, dtbo) = (board(), compile(OVERLAY));
    let ends: [&[u32]; 6] =
        [&[0], &[1 << 31], &[u32::MAX], &[u32::MAX, u32::MAX], &[u32::MAX, 0xffff_f000], &[i32::MAX as u32, u32::MAX]];
    let step = if cfg!(miri) { 256 } else { 4 };
    for at in (0..board.len() - 8).step_by(step) {
        for words in ends {
            read(&with(&board, at, words), &dtbo);
        }
    }
    for at in (0..dtbo.len() - 8).step_by(step) {
        for words in ends {
            read(&board, &with(&dtbo, at, words));
        }
    }
}

/// A tree with some words written over.
fn with(blob: &[u8], at: usize, words: &[u32]) -> Vec<u8> {
    let mut blob = blob.to_vec();
    for (word, place) in words.iter().zip(blob[at..].chunks_exact_mut(4)) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    blob
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 1500 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_damaged_platform_tree_never_trips_the_parser(
        bytes in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..5),
        words in proptest::collection::vec((any::<Index>(), 0u32..12), 0..4),
    ) {
        let mut blob = compile(BOARD);
        damage(&mut blob, bytes, words);
        let early = early_console(&blob);
        if let Ok(machine) = parse(&blob) {
            // The two ways to the console must not differ.
            let late = machine.console.filter(|console| console.wired.is_some());
            let late = late.map(|console| (console.wired, console.registers));
            prop_assert_eq!(early.map(|console| (console.wired, console.registers)), late);
        }
    }

    #[test]
    fn a_damaged_overlay_never_trips_the_reader(
        bytes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..5),
        words in proptest::collection::vec((any::<Index>(), 0u32..12), 0..4),
    ) {
        let mut blob = compile(OVERLAY);
        damage(&mut blob, bytes, words);
        let mut machine = parse(&compile(BOARD)).unwrap();
        let _ = overlay(&mut machine, BOARD, &blob);
    }
}
