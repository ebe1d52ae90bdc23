//! Device tree source to blob, for tests: enough of the language to write trees that read well.
//!
//! Nodes, properties of cells, strings and bytes, flags, and `/memreserve/`; no labels, no includes.

use std::string::{String, ToString};
use std::vec::Vec;

use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

/// The source of about the least that is a machine, with `more` in its root.
pub(crate) fn least_machine(more: &str) -> String {
    const OWN: &str = r#"
    #address-cells = <2>; #size-cells = <2>; interrupt-parent = <1>;
    cpus { #address-cells = <1>; #size-cells = <0>; cpu@0 { device_type = "cpu"; reg = <0>; }; };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
    timer { compatible = "arm,armv8-timer"; interrupts = <1 13 4 1 14 4 1 11 4 1 10 4>; };
    interrupt-controller@8000000 {
        compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller; phandle = <1>;
        reg = <0 0x8000000 0 0x10000>, <0 0x80a0000 0 0x100000>; interrupts = <1 9 4>;
    };
"#;
    ["/ {", OWN, more, "};"].concat()
}

/// Compiles a tree; panics on what it does not understand.
pub(crate) fn compile(source: &str) -> Vec<u8> {
    let tokens = tokens(source);
    let mut at = tokens.iter().map(String::as_str).peekable();
    let mut tree = DeviceTree::new();
    while at.next_if_eq(&"/memreserve/").is_some() {
        let start = number(at.next().unwrap());
        let size = number(at.next().unwrap());
        tree.memory_reservations.push(MemoryReservation::new(start, size));
        assert_eq!(at.next(), Some(";"));
    }
    assert_eq!((at.next(), at.next()), (Some("/"), Some("{")));
    tree.root = body("", &mut at);
    assert_eq!(at.next(), None);
    tree.to_dtb()
}

fn tokens(source: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = source.trim_start();
    while !rest.is_empty() {
        let length = match rest.as_bytes()[0] {
            b'"' => rest[1..].find('"').unwrap() + 2,
            b'{' | b'}' | b'<' | b'>' | b'=' | b';' => 1,
            // A comma stands alone between values and inside of names.
            b',' => 1,
            _ => rest.find(|c: char| c.is_whitespace() || "{}<>=;\"".contains(c)).unwrap(),
        };
        let (token, after) = rest.split_at(length);
        all.push(token.to_string());
        rest = after.trim_start();
    }
    all
}

fn body<'a>(name: &str, at: &mut impl Source<'a>) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    loop {
        match at.take() {
            "}" => {
                assert_eq!(at.take(), ";");
                return node;
            }
            name => match at.take() {
                "{" => node.add_child(body(name, at)),
                ";" => node.add_property(DeviceTreeProperty::new_unchecked(name, Vec::<u8>::new())),
                "=" => node.add_property(DeviceTreeProperty::new_unchecked(name, value(at))),
                other => panic!("{name} {other}"),
            },
        }
    }
}

fn value<'a>(at: &mut impl Source<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match at.take() {
            ";" => return bytes,
            "," | "<" | ">" => {}
            text if text.starts_with('"') => {
                bytes.extend(text.trim_matches('"').bytes());
                bytes.push(0);
            }
            cell => bytes.extend(u32::try_from(number(cell)).unwrap().to_be_bytes()),
        }
    }
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

/// Tokens one after the other.
trait Source<'a> {
    fn take(&mut self) -> &'a str;
}

impl<'a, T: Iterator<Item = &'a str>> Source<'a> for T {
    fn take(&mut self) -> &'a str {
        self.next().expect("the source ends early")
    }
}
