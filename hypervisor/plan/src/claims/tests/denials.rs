//! What denies memory stays, whatever a later tree says: tag storage, reservations, `arm,no-mte`.

use std::format;
use std::string::String;

use super::{AS_RAM, MARKED, gpu, mte, overlaid, pa, platform, resolve, t1, vm, vms, world};
use crate::platform::HostPlatform;

const COHERENT: &str = r#"compatible = "assay,coherent-memory"; assay,mte-capable; no-map; status = "okay";"#;

/// T1's words about the region called gpu0-memory; `None` if it is granted.
fn refused(machine: &HostPlatform) -> Option<String> {
    let vms = vms(&[vm("a", "assay,mte;", &[AS_RAM])]);
    t1(&world(machine, &vms, mte()))
}

/// A child of `/reserved-memory` at 256 GiB with these properties.
fn node(properties: &str) -> String {
    format!("gpu0-memory@4000000000 {{ reg = <0x40 0 0 0x4000000>; {properties} }};")
}

#[test]
fn an_overlay_makes_neither_tag_storage_nor_a_reservation_coherent() {
    let children = |body: &str| format!("reserved-memory {{ gpu0-memory@4000000000 {{ {body} }}; }};");
    for (before, words) in [
        (r#"compatible = "arm,mte-tag-storage";"#, "tag storage"),
        (r#"compatible = "arm,mte-tag-storage"; status = "disabled";"#, "tag storage"),
        (r#"compatible = "acme,tags", "arm,mte-tag-storage"; reusable;"#, "tag storage"),
        ("no-map;", "firmware reserves"),
        (r#"compatible = "shared-dma-pool"; reusable;"#, "firmware reserves"),
    ] {
        let path = "/reserved-memory/gpu0-memory@4000000000";
        for (path, body) in
            [(path, COHERENT.into()), ("/reserved-memory/gpu0-memory", COHERENT.into()), ("/", children(COHERENT))]
        {
            let machine = overlaid("", &node(before), &[(path, &body)]);
            let text = refused(&machine).expect(before);
            assert!(text.contains(words), "{before} {path}: {text}");
            let place = pa(0x40_0000_0000, 0x400_0000);
            assert!(machine.reserved.iter().any(|kept| kept.region == place), "it stays a reservation");
        }
    }
}

#[test]
fn moving_or_disabling_a_denied_node_frees_nothing_for_another() {
    let fw = |compatible: &str| format!("fw@40 {{ {compatible} reg = <0x40 0 0 0x4000000>; no-map; }};");
    let region = gpu(MARKED);
    for compatible in ["", r#"compatible = "arm,mte-tag-storage";"#] {
        for change in
            ["reg = <0x41 0 0 0x1000>;", r#"status = "disabled";"#, r#"compatible = "none"; reg = <0x40 0 0 0>;"#]
        {
            let machine =
                overlaid("", &fw(compatible), &[("/reserved-memory/fw@40", change), ("/reserved-memory", &region)]);
            let text = refused(&machine).expect(change);
            assert!(text.contains("/reserved-memory/fw@40"), "{text}");
        }
    }
}

#[test]
fn disabled_tag_storage_is_tag_storage() {
    let tags = r#"tags@40 { compatible = "arm,mte-tag-storage"; reg = <0x40 0 0 0x1000>; status = "disabled"; };"#;
    let text = refused(&platform("", &(gpu(MARKED) + tags))).unwrap();
    assert!(text.contains("the tag storage /reserved-memory/tags@40"), "{text}");
    let firmware = tags.replace("arm,mte-tag-storage", "acme,firmware");
    assert_eq!(refused(&platform("", &(gpu(MARKED) + &firmware))), None, "a disabled reservation is none");
}

#[test]
fn no_mte_outlives_the_node_that_said_it() {
    let denied = |properties: &str| {
        format!(
            r#"old@40 {{ compatible = "assay,coherent-memory"; reg = <0x40 0 0 0x8000000>; no-map; arm,no-mte; {properties} }};"#
        )
    };
    let region = gpu(MARKED);
    for change in [r#"status = "disabled";"#, "reg = <0x41 0 0 0x1000>;"] {
        let machine = overlaid("", &denied(""), &[("/reserved-memory/old@40", change), ("/reserved-memory", &region)]);
        assert!(refused(&machine).is_some(), "{change}");
        assert_eq!(machine.denies_tags(machine.coherent.last().unwrap()), Some("/reserved-memory/old@40"));
    }
    let off = platform("", &(denied(r#"status = "disabled";"#) + &region));
    assert!(refused(&off).is_some());
    // The mark comes later, on the node itself.
    let marked = overlaid("", &gpu("arm,no-mte;"), &[("/reserved-memory/gpu0-memory", MARKED)]);
    assert!(refused(&marked).is_some());
    let memory = r#"memory@4000000000 { device_type = "memory"; reg = <0x40 0 0 0x4000000>; arm,no-mte; status = "disabled"; };"#;
    assert!(refused(&platform(memory, &region)).is_some());
}

#[test]
fn no_mte_outlives_another_node_for_the_same_bar() {
    let bar = |name: &str, properties: &str| {
        format!(
            r#"{name} {{ compatible = "assay,coherent-memory"; no-map; assay,pci-bar = <0 0x10 2>; assay,length = <0 0x1000>; {properties} }};"#
        )
    };
    let off = bar("old", r#"arm,no-mte; status = "disabled";"#);
    assert!(refused(&platform("", &(off + &bar("gpu0-memory", MARKED)))).is_some());
}

#[test]
fn an_overlay_may_still_correct_and_enable_what_nothing_denied() {
    let shorter = overlaid("", &gpu(MARKED), &[("/reserved-memory/gpu0-memory", "reg = <0x40 0 0 0x2000000>;")]);
    assert_eq!(refused(&shorter), None);
    let off = gpu(r#"status = "disabled"; assay,mte-capable;"#);
    assert_eq!(refused(&overlaid("", &off, &[("/reserved-memory/gpu0-memory", r#"status = "okay";"#)])), None);
    let firmware = node(r#"status = "disabled";"#);
    assert_eq!(refused(&overlaid("", &firmware, &[("/reserved-memory/gpu0-memory", COHERENT)])), None);
}

#[test]
fn a_region_that_an_overlay_disables_is_no_ram_again() {
    let inside =
        r#"gpu0-memory@50000000 { compatible = "assay,coherent-memory"; reg = <0 0x50000000 0 0x1000>; no-map; };"#;
    let machine = overlaid("", inside, &[("/reserved-memory/gpu0-memory", r#"status = "disabled";"#)]);
    assert!(machine.coherent.is_empty() && machine.not_free().any(|hole| hole == pa(0x5000_0000, 0x1000)));
    let vms = vms(&[vm("a", "", &[])]);
    assert!(resolve(&world(&machine, &vms, mte()))[0].starts());
}
