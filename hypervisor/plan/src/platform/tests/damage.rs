//! Random damage to good trees: an error or a value, and always an end.

use std::vec::Vec;

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use proptest::sample::Index;

use super::{BOARD, compile, early_console, overlay, parse};

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
        let source = r#"/ { compatible = "acme,board"; fragment@0 { target-path = "/"; __overlay__ {
            reserved-memory { #address-cells = <2>; #size-cells = <2>; gpu0-memory@4000000000 { reg = <1 2 3 4>; assay,pci-bar = <0 1 2>; }; };
            memory@40000000 { arm,no-mte; };
        }; }; };"#;
        let mut blob = compile(source);
        damage(&mut blob, bytes, words);
        let mut machine = parse(&compile(BOARD)).unwrap();
        let _ = overlay(&mut machine, BOARD, &blob);
    }
}
