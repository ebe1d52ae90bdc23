//! The picture of what is decided.

use super::super::picture;
use super::{explain, vm};

#[test]
fn the_picture_has_both_addresses_attribute_and_rule_of_each_range() {
    let svg = picture::svg(&explain(&vm("linux", "mte = true", "gpu0-memory", "ram", ""), "max", &[]).unwrap());
    for part in [
        ">linux</text>",
        ">gpu0-memory, as ram, 64M</text>",
        ">normal-wb, executable, MTE exposed, rule C1</text>",
        ">0x80000000</text>",
        ">0x83ffffff</text>",
        // The region is where its node says; RAM is anywhere.
        ">/reserved-memory/gpu0-memory@4000000000</text>",
        ">0x4000000000</text>",
        ">in it; the boot says where</text>",
    ] {
        assert!(svg.contains(part), "{part} in {svg}");
    }
    assert!(!svg.contains("refused"), "{svg}");
}

#[test]
fn what_is_refused_is_drawn_as_not_given_and_the_page_says_why() {
    let report = explain(&vm("a", "mte = true", "gpu0-memory", "ram", ""), "neoverse-n1", &[]).unwrap();
    let svg = picture::svg(&report);
    assert!(svg.contains(">refused by C3</text>") && svg.contains(">not given</text>"), "{svg}");
    let html = picture::html(&report);
    assert!(html.contains("<td>C3</td>") && html.contains("To change that: set mte = false"), "{html}");
    assert!(html.contains(&svg));
}

#[test]
fn a_refusal_without_a_region_is_a_line_below_its_vm() {
    let report = explain(&vm("a", "cpus = 64", "gpu0-memory", "ram", ""), "max", &[]).unwrap();
    let svg = picture::svg(&report);
    assert!(svg.contains(">refused by V1: "), "{svg}");
}
