//! T1 and T2 through parsed trees: each refusal names the other party.

use std::string::{String, ToString};

use super::{AS_APERTURE, AS_DAX, AS_RAM, MARKED, fwb, gpu, occupied, only, pa, platform, resolve, vm, vms, world};
use crate::claims::{unclaimed_faults, without_no_map};
use crate::platform::{HostPlatform, NodeFault};
use crate::policy::regions::Occupant;
use crate::policy::{Fault, Proof, Reason, Rule};

/// The fault of the region on this platform, claimed by a VM.
fn reason(machine: &HostPlatform) -> String {
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let refusal = only(&world(machine, &vms, fwb())).unwrap_err();
    assert_eq!(refusal.rule, Rule::T1);
    refusal.reason.to_string()
}

/// The region with `reg` changed, and more nodes beside it.
fn moved(reg: &str, more: &str) -> HostPlatform {
    let node =
        std::format!(r#"gpu0-memory {{ compatible = "assay,coherent-memory"; {reg} no-map; {MARKED} }}; {more}"#);
    platform("", &node)
}

#[test]
fn a_reg_that_is_missing_double_or_unaligned_is_refused() {
    for (reg, words) in [
        ("", "no usable reg"),
        ("reg = <0x40 0 0 0>;", "no usable reg"),
        ("reg = <0x40 0 0 0x1000>, <0x41 0 0 0x1000>;", "more than one"),
        ("reg = <0x40 0x800 0 0x1000>;", "4 KiB"),
        ("reg = <0x40 0 0 0x1800>;", "4 KiB"),
        ("reg = <0x10000 0 0 0x1000>;", "48 bits"),
    ] {
        let text = reason(&moved(reg, ""));
        assert!(text.contains(words), "{reg}: {text}");
    }
}

#[test]
fn a_region_whose_node_has_no_reg_has_no_place_either() {
    let machine = moved("", "");
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    assert_eq!((all[0].rows[1].size, all[0].rows[1].ipa), (None, None));
    assert_eq!(all[0].rows[1].granted(), None);
}

#[test]
fn overlaps_are_refused_and_name_the_other_node() {
    let other = r#"npu@40 { compatible = "assay,coherent-memory"; reg = <0x40 0x1000 0 0x1000>; no-map; };"#;
    let text = reason(&moved("reg = <0x40 0 0 0x2000>;", other));
    assert!(text.contains("/reserved-memory/npu@40"), "{text}");

    let firmware = "fw@40 { reg = <0x40 0x1000 0 0x1000>; no-map; };";
    let text = reason(&moved("reg = <0x40 0 0 0x2000>;", firmware));
    assert!(text.contains("firmware's reservation /reserved-memory/fw@40"), "{text}");

    let tags = r#"tags@40 { compatible = "arm,mte-tag-storage"; reg = <0x40 0x1000 0 0x1000>; reusable; };"#;
    let text = reason(&moved("reg = <0x40 0 0 0x2000>;", tags));
    assert!(text.contains("the tag storage /reserved-memory/tags@40"), "{text}");

    let text = reason(&moved("reg = <0 0x80a0000 0 0x1000>;", ""));
    assert!(text.contains("/interrupt-controller@8000000"), "{text}");
}

#[test]
fn what_the_caller_keeps_is_refused_too() {
    let machine = platform("", &gpu(MARKED));
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let mut world = world(&machine, &vms, fwb());
    let image = [occupied("image", Occupant::Assay, pa(0x40_0000_1000, 0x1000))];
    world.occupied = &image;
    let refusal = only(&world).unwrap_err();
    assert_eq!(refusal.reason, Reason::Fault(Fault::OverlapsAssay));
    let tags = [occupied("tag-storage", Occupant::TagStorage, pa(0x40_0000_1000, 0x1000))];
    world.occupied = &tags;
    let refusal = only(&world).unwrap_err();
    assert_eq!(refusal.reason, Reason::Fault(Fault::OverlapsTagStorage("tag-storage")));
    let beside = [occupied("image", Occupant::Assay, pa(0x40_0400_0000, 0x1000))];
    world.occupied = &beside;
    assert!(only(&world).is_ok());
}

#[test]
fn a_region_wholly_inside_memory_is_carved_out_and_one_partly_inside_is_refused() {
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let inside = moved("reg = <0 0x50000000 0 0x4000000>;", "");
    assert!(only(&world(&inside, &vms, fwb())).is_ok());
    let text = reason(&moved("reg = <0 0x7f000000 0 0x4000000>;", ""));
    assert!(text.contains("partly inside /memory"), "{text}");
}

#[test]
fn a_mark_and_no_mte_contradict_each_other() {
    let machine = platform("", &gpu("assay,mte-capable; arm,no-mte;"));
    assert!(reason(&machine).contains("both"));
}

#[test]
fn no_mte_on_memory_holds_for_what_is_carved_out_of_it() {
    let root = r#"memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; arm,no-mte; };"#;
    let node = |reg| {
        std::format!(
            r#"gpu0-memory {{ compatible = "assay,coherent-memory"; reg = <0 {reg} 0 0x4000000>; no-map; {MARKED} }};"#
        )
    };
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let without = platform(root, &node("0x90000000"));
    let refusal = only(&world(&without, &vms, fwb())).unwrap_err();
    assert_eq!((refusal.rule, refusal.reason), (Rule::T1, Reason::ContradictedBy("/memory@80000000")));
    let with = platform(root, &node("0x50000000"));
    assert!(only(&world(&with, &vms, fwb())).is_ok());
}

#[test]
fn memory_that_is_none_is_refused() {
    let machine = platform("", &gpu(MARKED));
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let mut world = world(&machine, &vms, fwb());
    let failed = |path: &str| {
        assert!(path.starts_with("/reserved-memory/gpu0-memory@") || path.starts_with("/memory@"));
        Proof::FailedMemory
    };
    world.proof = &failed;
    let refusal = only(&world).unwrap_err();
    assert_eq!((refusal.rule, refusal.reason), (Rule::T1, Reason::NotMemory));
}

#[test]
fn two_vms_that_claim_a_region_are_both_refused_and_each_names_the_other() {
    let machine = platform("", &gpu(MARKED));
    let vms = vms(&[vm("first", "", &[AS_RAM]), vm("none", "", &[]), vm("second", "", &[AS_DAX])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    let other = |vm: usize| all[vm].rows[1].outcome.unwrap_err();
    assert_eq!((other(0).rule, other(0).reason), (Rule::T2, Reason::TwoOwners("second")));
    assert_eq!((other(2).rule, other(2).reason), (Rule::T2, Reason::TwoOwners("first")));
    assert!(!all[0].starts() && !all[2].starts());
    assert!(all[1].starts() && all[1].rows.len() == 1);
}

#[test]
fn a_claim_that_names_nothing_does_not_disturb_who_owns_what() {
    let machine = platform("", &gpu(MARKED));
    let unknown = r#"assay,region = "nothing"; assay,use = "ram";"#;
    let vms = vms(&[vm("first", "", &[unknown, AS_RAM]), vm("second", "", &[unknown]), vm("third", "", &[AS_RAM])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    assert_eq!(all[0].rows[1].outcome.unwrap_err().reason, Reason::TwoOwners("third"));
    assert_eq!(all[2].rows[1].outcome.unwrap_err().reason, Reason::TwoOwners("first"));
    assert_eq!((all[0].vm, all[1].vm, all[2].vm), (0, 1, 2));
}

#[test]
fn a_vm_that_claims_a_region_twice_is_refused() {
    let machine = platform("", &gpu(MARKED));
    let path = r#"assay,region = "/reserved-memory/gpu0-memory@4000000000"; assay,use = "aperture";"#;
    let vms = vms(&[vm("a", "", &[AS_RAM, path])]);
    let all = resolve(&world(&machine, &vms, fwb()));
    assert_eq!(all[0].rows.len(), 3);
    for row in &all[0].rows[1..] {
        assert_eq!(row.outcome.unwrap_err().reason, Reason::TwoOwners("a"));
    }
}

#[test]
fn a_wrong_region_that_nobody_claims_is_reported() {
    let other = r#"npu@40 { compatible = "assay,coherent-memory"; reg = <0x40 0x1000 0 0x1000>; };"#;
    let machine = moved("reg = <0x40 0 0 0x2000>;", other);
    let none = vms(&[vm("a", "", &[])]);
    let found = unclaimed_faults(&world(&machine, &none, fwb()));
    assert_eq!(found.len(), 2);
    let fault = Fault::Overlaps("/reserved-memory/npu@40");
    assert_eq!((found[0].0.name.as_str(), found[0].1.reason), ("gpu0-memory", Reason::Fault(fault)));
    let one = vms(&[vm("a", "", &[AS_APERTURE])]);
    let found = unclaimed_faults(&world(&machine, &one, fwb()));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0.name, "npu");
    // Unmarked and of no use is no fault.
    let fine = platform("", &gpu(""));
    assert!(unclaimed_faults(&world(&fine, &none, fwb())).is_empty());
}

#[test]
fn a_region_without_no_map_is_named() {
    let other = r#"npu@41 { compatible = "assay,coherent-memory"; reg = <0x41 0 0 0x1000>; };"#;
    let machine = moved("reg = <0x40 0 0 0x2000>;", other);
    let only = world(&machine, &[], fwb());
    let (node, denied) = unclaimed_faults(&only)[0];
    assert_eq!((node.name.as_str(), denied.reason), ("npu", Reason::Fault(Fault::Node(NodeFault::NoMap))));
    assert_eq!(without_no_map(&only).count(), 0, "it is said once");
    // Where its place is wrong too, both are said.
    let misplaced = moved("reg = <0x40 0 0 0x2000>;", &other.replace("0x1000>", "0x1800>"));
    let both = world(&misplaced, &[], fwb());
    assert_eq!(unclaimed_faults(&both)[0].1.reason, Reason::Fault(Fault::Unaligned));
    let names: std::vec::Vec<_> = without_no_map(&both).map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["npu"]);
}
