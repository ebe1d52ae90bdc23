//! Nodes that are not as the binding wants them, and overlays that say something in vain: each has its sentence.

use std::format;
use std::string::String;

use super::{AS_RAM, MARKED, add, board, compile, fwb, gpu, overlaid, platform, resolve, t1, trouble, vm, vms, world};
use crate::platform::{self as machine, HostPlatform};
use crate::policy::Rule;
use crate::refusal::Cause as _;

/// T1's words about the region called gpu0-memory; `None` if it is granted.
fn refused(machine: &HostPlatform) -> Option<String> {
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    t1(&world(machine, &vms, fwb()))
}

/// What is odd in a machine: nodes and reasons.
fn odd(machine: &HostPlatform) -> String {
    machine.oddities().iter().map(|odd| format!("{}: {}\n", odd.node, odd.reason)).collect()
}

/// The board with the words of `/reserved-memory` changed.
fn parent(words: &str, child: &str) -> String {
    let now = "#address-cells = <2>; #size-cells = <2>; ranges; reserved-children";
    let board = board("", "reserved-children").replace(now, &format!("{words} reserved-children"));
    board.replace("reserved-children", child)
}

fn parsed(source: &str) -> HostPlatform {
    machine::parse(&compile(source)).unwrap()
}

const CELLS: &str = "#address-cells = <2>; #size-cells = <2>;";

#[test]
fn nothing_is_granted_from_a_reserved_memory_that_linux_ignores() {
    let narrow = r#"gpu0-memory { compatible = "assay,coherent-memory"; reg = <0x80000000 0x1000>; no-map; assay,mte-capable; };"#;
    for (words, child, reason) in [
        (CELLS, gpu(MARKED), "no ranges"),
        (&format!("{CELLS} ranges = <0 0 0 0 1 0>;"), gpu(MARKED), "ranges is not empty"),
        ("#address-cells = <1>; #size-cells = <1>; ranges;", narrow.into(), "not those of the root"),
        ("#size-cells = <2>; ranges;", gpu(MARKED), "not those of the root"),
        ("#address-cells = <2>; ranges;", narrow.replace("<0x80000000", "<0 0x80000000"), "not those of the root"),
    ] {
        let machine = parsed(&parent(words, &child));
        let text = refused(&machine).expect(words);
        assert!(text.contains(reason), "{text}");
        assert!(odd(&machine).starts_with("/reserved-memory: ") && odd(&machine).contains(reason));
    }
    assert_eq!(odd(&parsed(&parent(&format!("{CELLS} ranges;"), &gpu(MARKED)))), "");
    // What is not there is not odd.
    assert_eq!(odd(&parsed(&parent("", ""))), "");
}

#[test]
fn a_reservation_counts_whatever_reserved_memory_looks_like() {
    let machine = parsed(&parent("#address-cells = <1>; #size-cells = <1>;", "fw { reg = <0x50000000 0x1000>; };"));
    assert_eq!(machine.reserved[0].region, super::pa(0x5000_0000, 0x1000));
    assert!(odd(&machine).contains("no ranges"));
}

#[test]
fn an_overlay_can_repair_reserved_memory_or_break_it() {
    let source = parent(CELLS, &gpu(MARKED));
    let mut machine = parsed(&source);
    add(&mut machine, &source, &[("/reserved-memory", "ranges;")]);
    assert_eq!((refused(&machine), odd(&machine)), (None, String::new()));
    let narrow = "#address-cells = <1>; #size-cells = <1>; other@0 { reg = <0 0x1000>; };";
    let broken = overlaid("", &gpu(MARKED), &[("/reserved-memory", narrow)]);
    assert!(refused(&broken).unwrap().contains("not those of the root"));
}

#[test]
fn an_overlay_that_brings_reserved_memory_brings_all_of_it() {
    let source = board("", "").replace("reserved-memory {", "other {");
    let with = |words: &str| {
        let mut machine = parsed(&source);
        let body = format!("reserved-memory {{ {words} {} }};", gpu(MARKED));
        add(&mut machine, &source, &[("/", &body)]);
        refused(&machine)
    };
    assert_eq!(with(&format!("{CELLS} ranges;")), None);
    assert!(with(CELLS).unwrap().contains("no ranges"));
    assert!(with("ranges;").unwrap().contains("not those of the root"));
}

#[test]
fn what_an_operating_system_uses_too_is_refused() {
    for (properties, words) in [
        ("reusable;", "reusable"),
        (r#"compatible = "assay,coherent-memory", "shared-dma-pool";"#, "shared-dma-pool"),
        (r#"compatible = "restricted-dma-pool", "assay,coherent-memory";"#, "restricted-dma-pool"),
    ] {
        let node = |properties: &str| {
            gpu(&format!("{MARKED} {properties}")).replacen(
                r#"compatible = "assay,coherent-memory";"#,
                "",
                usize::from(properties.contains("compatible")),
            )
        };
        let text = refused(&platform("", &node(properties))).expect(properties);
        assert!(text.contains(words), "{text}");
        let text = refused(&overlaid("", &gpu(MARKED), &[("/reserved-memory/gpu0-memory", properties)]));
        assert!(text.expect(properties).contains(words));
    }
}

#[test]
fn no_map_is_required_and_an_overlay_can_add_it() {
    let open = gpu(MARKED).replace("no-map;", "");
    assert!(refused(&platform("", &open)).unwrap().contains("no no-map"));
    assert_eq!(refused(&overlaid("", &open, &[("/reserved-memory/gpu0-memory", "no-map;")])), None);
}

#[test]
fn tag_storage_that_is_disabled_is_named() {
    let tags = r#"tags@40 { compatible = "arm,mte-tag-storage"; reg = <0x50 0 0 0x1000>; status = "disabled"; };"#;
    assert!(odd(&platform("", tags)).starts_with("/reserved-memory/tags@40: tag storage is kept"));
    let on = tags.replace(r#"status = "disabled";"#, "");
    assert_eq!(odd(&platform("", &on)), "");
    let off = overlaid("", &on, &[("/reserved-memory/tags", r#"status = "disabled";"#)]);
    assert!(odd(&off).contains("tag storage is kept"));
}

#[test]
fn a_region_called_memory_is_claimed_by_its_path_only() {
    let machine = platform("", &gpu(MARKED).replace("gpu0-memory@", "memory@"));
    let claimed = |region: &str| vms(&[vm("a", "", &[&format!(r#"assay,region = "{region}"; assay,use = "ram";"#)])]);
    let by_name = claimed("memory");
    let all = resolve(&world(&machine, &by_name, fwb()));
    let (reason, remedy) = trouble(&all[0]);
    assert!(reason.contains("/reserved-memory/memory@4000000000") && remedy.contains("full path"), "{reason}");
    assert_eq!((all[0].troubles[0].rule(), all[0].troubles[0].is_bad_name()), (Rule::V3, true));
    let by_path = claimed("/reserved-memory/memory@4000000000");
    let all = resolve(&world(&machine, &by_path, fwb()));
    assert!(all[0].starts());
    assert_eq!(all[0].rows[1].region, "/reserved-memory/memory@4000000000");
    assert!(odd(&machine).contains("called memory, as RAM is"));
}

#[test]
fn a_fragment_for_a_node_that_is_not_there_is_named() {
    for path in ["/soc", "/reserved-memry", "/memory@0", "/reserved-memory/gpu1-memory"] {
        let machine = overlaid("", &gpu(MARKED), &[(path, "numa-node-id = <1>;")]);
        let text = odd(&machine);
        assert!(text.starts_with(&format!("{path}: the platform has no such node")), "{text}");
    }
    let fine = [
        ("/", "new { };"),
        ("/new", "a;"),
        ("/reserved-memory/gpu0-memory", "numa-node-id = <1>;"),
        ("/memory", "numa-node-id = <1>;"),
    ];
    assert_eq!(odd(&overlaid("", &gpu(MARKED), &fine)), "");
}

#[test]
fn an_overlay_without_a_fragment_says_nothing_and_is_named() {
    let source = board("", "");
    let mut machine = parsed(&source);
    let dtbo = compile(r#"/ { compatible = "acme,board"; reserved-memory { }; __symbols__ { }; };"#);
    let blob = compile(&source);
    let tree = crate::gate::Tree::new(&blob).unwrap();
    assert_eq!(machine::facts::overlay(&mut machine, &tree, &dtbo), Ok(true));
    assert!(odd(&machine).starts_with("/reserved-memory: a node of an overlay that has no __overlay__"));
}

#[test]
fn what_an_overlay_says_of_rams_place_is_not_read_and_named() {
    for (path, body) in [
        ("/memory@40000000", "reg = <0 0x40000000 0 0x1000>;"),
        ("/memory", r#"status = "disabled";"#),
        ("/", r#"memory@40000000 { reg = <0 0 0 0>; };"#),
        ("/", r#"memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; };"#),
        ("/", r#"dram@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; };"#),
    ] {
        let machine = overlaid("", "", &[(path, body)]);
        assert!(odd(&machine).contains("what is RAM the firmware's tree alone says"), "{path} {body}");
        assert_eq!(machine.memory, platform("", "").memory);
        assert!(
            machine
                .registers()
                .all(|registers| !registers.path.contains("80000000") || registers.path.contains("interrupt"))
        );
    }
}
