//! The gate against good trees, every kind of broken ones, and random damage.

pub(crate) mod dts;

use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::sample::Index;

use super::{Cells, MAX_DEPTH, MAX_NODES, Measure, Tree, TreeError, decode, measure};
use dts::compile;

const SMALL: &str = r#"
/memreserve/ 0x80000000 0x10000;
/memreserve/ 0x100000000 0x1000;
/ {
    #address-cells = <2>; #size-cells = <2>;
    compatible = "acme,board", "acme,family";
    empty;
    soc {
        #address-cells = <1>; #size-cells = <1>;
        uart@1000 { reg = <0x1000 0x100>; phandle = <7>; };
        uart@2000 { reg = <0x2000 0x100 0x3000 0x200>; status = "disabled"; };
        deep { deeper { }; };
    };
    other { number = <0x12345678 0x9abcdef0>; one = <5>; text = "hello"; };
};
"#;

/// Where the header's fields are, in bytes.
const TOTAL_SIZE: usize = 4;
const OFF_STRUCT: usize = 8;
const OFF_STRINGS: usize = 12;
const OFF_RESERVE: usize = 16;
const VERSION: usize = 20;
const SIZE_STRUCT: usize = 36;

fn field(blob: &[u8], at: usize) -> usize {
    u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize
}

fn with_field(at: usize, value: u32) -> Result<(), TreeError> {
    let mut blob = compile(SMALL);
    blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
    Tree::new(&blob).map(|_| ())
}

/// A blob around a structure block of these words; the strings block holds the name "p" at 0.
fn raw(words: &[u32]) -> Vec<u8> {
    let size = u32::try_from(words.len() * 4).unwrap();
    let header = [0xd00dfeed, 40 + 16 + size + 4, 56, 56 + size, 40, 17, 16, 0, 2, size];
    let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    blob.extend([0; 16]);
    blob.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    blob.extend(*b"p\0\0\0");
    blob
}

fn structure(words: &[u32]) -> Result<usize, TreeError> {
    Tree::new(&raw(words)).map(|tree| tree.nodes().count())
}

#[test]
fn nodes_are_found_by_path_name_and_phandle() {
    let blob = compile(SMALL);
    let tree = Tree::new(&blob).unwrap();
    let paths: Vec<String> = tree.nodes().map(|node| node.path()).collect();
    let expected = ["/", "/soc", "/soc/uart@1000", "/soc/uart@2000", "/soc/deep", "/soc/deep/deeper", "/other"];
    assert_eq!(paths, expected);
    for path in expected {
        assert_eq!(tree.find(path).unwrap().path(), path);
    }
    assert_eq!(tree.find("/soc/uart").unwrap().unit_address(), Some("1000"));
    assert_eq!(tree.by_phandle(7).unwrap().path(), "/soc/uart@1000");
    assert!(tree.find("/soc/uart@3000").is_none());
    assert!(tree.find("soc").is_none());
    assert!(tree.find("/soc//deep").is_none());
    assert_eq!(tree.find("/soc/").unwrap().path(), "/soc");
    assert!(tree.find("/deeper").is_none(), "only children, not any node below");
    assert!(tree.by_phandle(8).is_none());
}

#[test]
fn children_and_ancestors_are_in_order() {
    let blob = compile(SMALL);
    let tree = Tree::new(&blob).unwrap();
    let soc = tree.root().child("soc").unwrap();
    let names: Vec<String> = soc.children().map(|node| node.full_name()).collect();
    assert_eq!(names, ["uart@1000", "uart@2000", "deep"]);
    let deeper = tree.find("/soc/deep/deeper").unwrap();
    assert_eq!(deeper.children().count(), 0);
    let up: Vec<String> = deeper.ancestors().map(|node| node.path()).collect();
    assert_eq!(up, ["/soc/deep", "/soc", "/"]);
    assert!(tree.root().parent().is_none());
}

#[test]
fn values_are_decoded_and_wrong_ones_name_the_node() {
    let blob = compile(SMALL);
    let tree = Tree::new(&blob).unwrap();
    let other = tree.find("/other").unwrap();
    assert_eq!(other.u64("number").unwrap(), Some(0x1234_5678_9abc_def0));
    assert_eq!(other.u64("one").unwrap(), Some(5));
    assert_eq!(other.u32("one").unwrap(), Some(5));
    assert_eq!(other.u32("absent").unwrap(), None);
    assert_eq!(other.str("text").unwrap(), Some("hello"));
    assert_eq!(other.cells("number").unwrap().count(), 2);
    let error = other.u32("number").unwrap_err();
    assert_eq!(error.to_string(), "/other: property number: must be one cell");
    assert!(other.str("one").is_err());
    assert!(other.cells("text").is_err());
    let list: Vec<&str> = tree.root().strs("compatible").unwrap().collect();
    assert_eq!(list, ["acme,board", "acme,family"]);
    assert!(tree.root().str("compatible").is_err(), "two strings are not one");
    assert!(tree.root().is_compatible(&["acme,family"]));
    assert!(tree.root().has("empty") && !tree.root().has("full"));
    let names: Vec<&str> = other.properties().map(|(name, _)| name).collect();
    assert_eq!(names, ["number", "one", "text"]);
}

#[test]
fn reg_has_the_cells_of_the_parent() {
    let blob = compile(SMALL);
    let tree = Tree::new(&blob).unwrap();
    let uart = tree.find("/soc/uart@2000").unwrap();
    let entries: Vec<(u64, u64)> = uart.reg().unwrap().collect();
    assert_eq!(entries, [(0x2000, 0x100), (0x3000, 0x200)]);
    assert!(!uart.is_available());
    for (address, size) in [(0, 0), (3, 1), (1, 3), (2, 1), (u32::MAX, u32::MAX)] {
        let error = uart.reg_with(Cells { address, size }).err().unwrap();
        assert_eq!((error.path.as_str(), error.property), ("/soc/uart@2000", "reg"));
    }
}

#[test]
fn the_reservation_block_ends_at_its_mark() {
    let blob = compile(SMALL);
    let tree = Tree::new(&blob).unwrap();
    let entries: Vec<(u64, u64)> = tree.reservations().collect();
    assert_eq!(entries, [(0x8000_0000, 0x1_0000), (0x1_0000_0000, 0x1000)]);
    let mut endless = blob.clone();
    let start = field(&blob, OFF_RESERVE);
    endless[start..].fill(1);
    endless[OFF_STRUCT..OFF_STRUCT + 4].copy_from_slice(&blob[OFF_STRUCT..OFF_STRUCT + 4]);
    let (from, to) = (field(&blob, OFF_STRUCT), blob.len());
    endless[from..to].copy_from_slice(&blob[from..to]);
    endless[OFF_RESERVE..OFF_RESERVE + 4].copy_from_slice(&u32::try_from(to - 4).unwrap().to_be_bytes());
    assert_eq!(Tree::new(&endless).err(), Some(TreeError::Reservations));
}

#[test]
fn a_header_that_lies_is_refused() {
    let blob = compile(SMALL);
    let length = u32::try_from(blob.len()).unwrap();
    assert_eq!(with_field(0, 0xd00dfeee), Err(TreeError::NoMagic));
    assert_eq!(with_field(TOTAL_SIZE, length + 1), Err(TreeError::Truncated));
    assert_eq!(with_field(TOTAL_SIZE, 39), Err(TreeError::Truncated));
    assert_eq!(with_field(TOTAL_SIZE, u32::MAX), Err(TreeError::TooLarge));
    assert_eq!(with_field(VERSION, 16), Err(TreeError::Version));
    assert_eq!(with_field(VERSION + 4, 18), Err(TreeError::Version));
    for at in [OFF_STRUCT, OFF_STRINGS, OFF_RESERVE, SIZE_STRUCT, SIZE_STRUCT - 4] {
        assert!(with_field(at, u32::MAX).is_err(), "field at {at}");
        assert!(with_field(at, length).is_err() || at == SIZE_STRUCT - 4, "field at {at}");
    }
    assert_eq!(with_field(SIZE_STRUCT, 0).err(), Some(TreeError::Structure(0)));
    assert_eq!(Tree::new(&[]).err(), Some(TreeError::NoMagic));
    for end in 0..blob.len() {
        assert!(Tree::new(&blob[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_structure_that_breaks_the_format_is_refused() {
    const BEGIN: u32 = 1;
    const CLOSE: u32 = 2;
    const PROP: u32 = 3;
    const NOP: u32 = 4;
    const END: u32 = 9;
    let a = u32::from_be_bytes(*b"a\0\0\0");
    assert_eq!(structure(&[BEGIN, 0, CLOSE, END]), Ok(1));
    assert_eq!(structure(&[NOP, BEGIN, 0, NOP, PROP, 0, 0, NOP, CLOSE, NOP, END]), Ok(1));
    assert_eq!(structure(&[BEGIN, 0, PROP, 1, 0, 0xff000000, CLOSE, END]), Ok(1));
    let broken: &[(&str, &[u32])] = &[
        ("no root", &[END]),
        ("a named root", &[BEGIN, a, CLOSE, END]),
        ("two roots", &[BEGIN, 0, CLOSE, BEGIN, 0, CLOSE, END]),
        ("a child without a name", &[BEGIN, 0, BEGIN, 0, CLOSE, CLOSE, END]),
        ("an open root", &[BEGIN, 0, END]),
        ("too many ends", &[BEGIN, 0, CLOSE, CLOSE, END]),
        ("no end", &[BEGIN, 0, CLOSE]),
        ("more after the end", &[BEGIN, 0, CLOSE, END, NOP]),
        ("an unknown token", &[BEGIN, 0, 5, CLOSE, END]),
        ("a property after a child", &[BEGIN, 0, BEGIN, a, CLOSE, PROP, 0, 0, CLOSE, END]),
        ("a property outside", &[PROP, 0, 0, BEGIN, 0, CLOSE, END]),
        ("a value beyond the block", &[BEGIN, 0, PROP, 64, 0, CLOSE, END]),
        ("a huge value", &[BEGIN, 0, PROP, u32::MAX, 0, CLOSE, END]),
        ("a name beyond the strings", &[BEGIN, 0, PROP, 0, 2, CLOSE, END]),
        ("a huge name offset", &[BEGIN, 0, PROP, 0, u32::MAX, CLOSE, END]),
        ("an empty property name", &[BEGIN, 0, PROP, 0, 1, CLOSE, END]),
        ("a slash in a name", &[BEGIN, 0, BEGIN, u32::from_be_bytes(*b"a/b\0"), CLOSE, CLOSE, END]),
        ("a control character", &[BEGIN, 0, BEGIN, u32::from_be_bytes(*b"a\nb\0"), CLOSE, CLOSE, END]),
        ("a name without an end", &[BEGIN, 0, BEGIN, 0x61616161, 0x61616161]),
    ];
    for (what, words) in broken {
        assert!(matches!(structure(words), Err(TreeError::Structure(_))), "{what}");
    }
}

#[test]
fn depth_and_number_of_nodes_are_bounded() {
    let a = u32::from_be_bytes(*b"a\0\0\0");
    let nested = |depth: usize| {
        let mut words = Vec::from([1, 0]);
        (0..depth).for_each(|_| words.extend([1, a]));
        words.extend(std::vec![2; depth + 1]);
        words.push(9);
        structure(&words)
    };
    assert_eq!(nested(MAX_DEPTH), Ok(MAX_DEPTH + 1));
    assert_eq!(nested(MAX_DEPTH + 1), Err(TreeError::TooDeep));
    assert_eq!(nested(100_000), Err(TreeError::TooDeep));
    let wide = |children: usize| {
        let mut words = Vec::from([1, 0]);
        (0..children).for_each(|_| words.extend([1, a, 2]));
        words.extend([2, 9]);
        structure(&words)
    };
    assert_eq!(wide(MAX_NODES - 1), Ok(MAX_NODES));
    assert_eq!(wide(MAX_NODES), Err(TreeError::TooManyNodes));
}

#[test]
fn bytes_after_the_total_size_do_not_matter() {
    let mut blob = compile(SMALL);
    blob.extend([0xff; 100]);
    assert_eq!(Tree::new(&blob).unwrap().nodes().count(), 7);
}

/// Reads everything that can be read.
fn read_all(tree: &Tree<'_>) {
    for node in tree.nodes() {
        let _ = (node.path(), node.reg().map(|list| list.count()));
        assert_eq!(node.children().filter(|child| child.parent() != Some(node)).count(), 0);
        for (name, value) in node.properties() {
            // A name may come twice; the first counts.
            assert!(node.property(name).is_some());
            let _ = (decode::u32(value), decode::u64(value), decode::str(value));
            let _ = decode::strs(value).map(Iterator::count);
            let _ = decode::cells(value).map(Iterator::count);
        }
    }
    let _ = tree.reservations().count();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 3000 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_damaged_tree_is_refused_or_read_but_never_trips(
        damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        tokens in proptest::collection::vec((any::<Index>(), 0u32..12), 0..4),
    ) {
        let mut blob = compile(SMALL);
        let words = blob.len() / 4;
        for (at, token) in tokens {
            let at = at.index(words) * 4;
            blob[at..at + 4].copy_from_slice(&token.to_be_bytes());
        }
        for (at, byte) in damage {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        if let Ok(tree) = Tree::new(&blob) {
            read_all(&tree);
        }
    }
}

#[test]
fn padding_does_not_count_and_what_is_read_is_the_same() {
    let small = compile(SMALL);
    let mut padded = small.clone();
    padded.resize(small.len() + 0x1000, 0);
    let total = u32::try_from(padded.len()).unwrap();
    padded[TOTAL_SIZE..TOTAL_SIZE + 4].copy_from_slice(&total.to_be_bytes());
    let paths = |blob: &[u8]| -> Vec<String> { Tree::new(blob).unwrap().nodes().map(|node| node.path()).collect() };
    assert_eq!(paths(&padded), paths(&small));
    let (one, other) = (Tree::new(&padded).unwrap(), Tree::new(&small).unwrap());
    assert!(one.reservations().eq(other.reservations()));
    assert_eq!(measure(&padded), measure(&small));
    let Measure { bytes, nodes, paths } = measure(&small);
    assert!(bytes <= small.len() && nodes == 7 && paths > 7 * 4, "{bytes} {nodes} {paths}");
    assert_eq!(measure(&[]), Measure::default());
}
