//! Facts from overlays.

use std::string::{String, ToString};

use assay_spec::addr::{Pa, Region};

use super::super::NodeFault;
use super::{BOARD, HostPlatform, PlatformError, compile, machine, overlay};

fn dtbo(fragments: &str) -> std::vec::Vec<u8> {
    compile(&std::format!(r#"/ {{ compatible = "acme,board"; {fragments} }};"#))
}

fn with(fragments: &str) -> HostPlatform {
    let mut machine = machine(BOARD);
    assert_eq!(overlay(&mut machine, BOARD, &dtbo(fragments)), Ok(true));
    machine
}

fn error(fragments: &str) -> PlatformError {
    overlay(&mut machine(BOARD), BOARD, &dtbo(fragments)).unwrap_err()
}

#[test]
fn another_boards_overlay_adds_nothing() {
    let mut changed = machine(BOARD);
    let other = compile(
        r#"/ { compatible = "acme,other"; fragment@0 { target-path = "/"; __overlay__ { assay,uniform-memory; }; }; };"#,
    );
    assert_eq!(overlay(&mut changed, BOARD, &other), Ok(false));
    assert_eq!(changed, machine(BOARD));
}

#[test]
fn an_overlay_for_no_board_is_refused() {
    let blob = compile(r#"/ { fragment@0 { target-path = "/"; __overlay__ { }; }; };"#);
    let error = overlay(&mut machine(BOARD), BOARD, &blob).unwrap_err();
    assert!(error.to_string().contains("compatible"), "{error}");
}

#[test]
fn a_region_is_added() {
    let machine = with(
        r#"fragment@0 { target-path = "/reserved-memory"; __overlay__ {
            slice@60000000 { compatible = "assay,coherent-memory"; reg = <0 0x60000000 0 0x4000000>; no-map; assay,mte-capable; };
        }; };"#,
    );
    let slice = machine.coherent.last().unwrap();
    assert_eq!(slice.path, "/reserved-memory/slice@60000000");
    assert_eq!(slice.reg, Region::new(Pa(0x6000_0000), 0x400_0000));
    assert!(slice.mte_capable && slice.no_map && machine.coherent.len() == 3);
}

#[test]
fn tag_storage_is_a_reservation_that_knows_what_it_holds() {
    let machine = with(
        r#"fragment@0 { target-path = "/reserved-memory"; __overlay__ {
            tags@60000000 { compatible = "arm,mte-tag-storage"; reg = <0 0x60000000 0 0x1000>; reusable; };
            firmware@61000000 { reg = <0 0x61000000 0 0x1000>; };
        }; };"#,
    );
    let mut last = machine.reserved.iter().rev();
    let (firmware, tags) = (last.next().unwrap(), last.next().unwrap());
    assert_eq!(tags.path, "/reserved-memory/tags@60000000");
    assert_eq!((tags.tag_storage, firmware.tag_storage), (true, false));
    assert_eq!(Some(tags.region), Region::new(Pa(0x6000_0000), 0x1000));
}

#[test]
fn tag_storage_that_is_also_called_coherent_is_no_region() {
    let machine = with(
        r#"fragment@0 { target-path = "/reserved-memory"; __overlay__ {
            tags@60000000 {
                compatible = "arm,mte-tag-storage", "assay,coherent-memory";
                reg = <0 0x60000000 0 0x1000>; no-map;
            };
        }; };"#,
    );
    assert_eq!(machine.coherent.last().unwrap().fault, Some(NodeFault::TagStorage));
    assert!(machine.reserved.last().unwrap().tag_storage);
}

#[test]
fn the_later_fact_wins_and_the_others_stay() {
    let machine = with(
        r#"fragment@0 { target-path = "/reserved-memory/gpu0-memory@4000000000"; __overlay__ {
            reg = <0x41 0 0 0x2000000>; arm,no-mte;
        }; };
        fragment@1 { target-path = "/"; __overlay__ { reserved-memory { gpu0-memory@4000000000 { numa-node-id = <5>; }; }; }; };"#,
    );
    let gpu = &machine.coherent[0];
    assert_eq!(gpu.reg, Region::new(Pa(0x41_0000_0000), 0x200_0000));
    assert_eq!((gpu.numa, gpu.mte_capable, gpu.no_mte), (Some(5), true, true));
    assert_eq!(machine.coherent.len(), 2);
}

#[test]
fn a_reservation_that_firmware_disables_can_be_declared_coherent() {
    let machine = with(
        r#"fragment@0 { target-path = "/reserved-memory/off@51000000"; __overlay__ {
            compatible = "assay,coherent-memory"; status = "okay";
        }; };"#,
    );
    let off = machine.coherent.iter().find(|node| node.name == "off").unwrap();
    assert_eq!((off.reg, off.fault), (Region::new(Pa(0x5100_0000), 0x10_0000), None));
    assert!(machine.reserved.iter().all(|one| !one.path.contains("off@")));
}

#[test]
fn an_overlay_may_state_its_own_cells() {
    let machine = with(
        r#"fragment@0 { target-path = "/reserved-memory"; __overlay__ { #address-cells = <1>; #size-cells = <1>;
            slice@60000000 { compatible = "assay,coherent-memory"; reg = <0x60000000 0x4000000>; no-map; };
        }; };"#,
    );
    let slice = machine.coherent.last().unwrap();
    assert_eq!(slice.reg, Region::new(Pa(0x6000_0000), 0x400_0000));
}

#[test]
fn memory_can_be_denied_tags_and_the_root_can_vouch() {
    let machine = with(
        r#"fragment@0 { target-path = "/memory@40000000"; __overlay__ { arm,no-mte; }; };
        fragment@1 { target-path = "/"; __overlay__ { assay,uniform-memory; }; };"#,
    );
    assert!(machine.memory.iter().all(|node| node.no_mte) && machine.uniform_memory);
}

#[test]
fn a_denial_for_memory_that_is_not_there_is_an_error() {
    let error = error(r#"fragment@0 { target-path = "/memory@0"; __overlay__ { arm,no-mte; }; };"#);
    assert!(error.to_string().starts_with("/memory@0: "), "{error}");
}

#[test]
fn a_fragment_with_only_a_label_is_named() {
    let text: String = error(
        r#"fragment@0 { target-path = "/"; __overlay__ { }; };
        fragment@1 { target = <0xffffffff>; __overlay__ { arm,no-mte; }; };
        __fixups__ { memory = "/fragment@1:target:0"; };"#,
    )
    .to_string();
    assert!(text.starts_with("/fragment@1: property target-path"), "{text}");
}

#[test]
fn a_malformed_fact_names_its_place_in_the_overlay() {
    let error = error(r#"fragment@0 { target-path = "/reserved-memory"; __overlay__ { a@0 { reg = <0 0 1>; }; }; };"#);
    assert!(error.to_string().starts_with("/fragment@0/__overlay__/a@0: property reg"), "{error}");
}
