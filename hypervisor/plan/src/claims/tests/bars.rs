//! Regions that are BARs of PCI functions.

use std::string::String;

use super::{AS_RAM, MARKED, fwb, gpu};
use super::{ipa, pa, platform, vm, vms, world};
use crate::claims::{claimed_bars, resolve, to_prove, unclaimed_faults};
use crate::pci::BarFault;
use crate::platform::HostPlatform;
use crate::policy::{Attr, Fault, Reason, Rule};
use crate::vm_tree::VmConfig;

const BAR: &str = "assay,pci-bar = <0 0x10 2>; assay,length = <0 0x4000000>;";

/// A bridge of segment 0.
const BRIDGE: &str = r#"pcie@10000000 {
    compatible = "pci-host-ecam-generic"; device_type = "pci"; #address-cells = <3>; #size-cells = <2>;
    reg = <0x40 0x10000000 0 0x10000000>; ranges = <0x3000000 0x80 0 0x80 0 0 0x40000000>;
};"#;

/// A machine with one BAR called npu.
fn npu(properties: &str) -> HostPlatform {
    let node = std::format!(r#"npu {{ compatible = "assay,coherent-memory"; no-map; {properties} }};"#);
    platform(BRIDGE, &node)
}

fn claims(use_: &str) -> std::vec::Vec<VmConfig> {
    let claim = std::format!(r#"assay,region = "npu"; assay,use = "{use_}";"#);
    vms(&[vm("a", "", &[&claim])])
}

/// The T1 fault of the one BAR, if there is one.
fn fault(machine: &HostPlatform) -> Option<String> {
    let vms = claims("aperture");
    let refusal = resolve(&world(machine, &vms, fwb()))[0].rows[1].outcome.err()?;
    assert_eq!(refusal.rule, Rule::T1);
    match refusal.reason {
        Reason::Fault(fault) => Some(std::format!("{fault:?}")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn before_anybody_has_looked_a_bar_is_decided_on_and_has_no_memory() {
    let (machine, vms) = (npu(&(String::from(MARKED) + BAR)), claims("dax"));
    let world = world(&machine, &vms, fwb());
    let all = resolve(&world);
    let row = &all[0].rows[1];
    assert_eq!(row.outcome.unwrap().attr, Attr::NormalWb);
    assert_eq!(row.granted().unwrap().coherent().unwrap().region(), None);
    assert_eq!(row.ipa, Some(ipa(0x8000_0000, 0x400_0000)));
    assert!(all[0].starts());
    assert_eq!(to_prove(&world), []);
}

#[test]
fn a_bar_that_was_found_is_a_region_like_any_other() {
    let (mut machine, vms) = (npu(&(String::from(MARKED) + BAR)), claims("dax"));
    machine.coherent[0].bar = Some(Ok(pa(0x80_0000_0000, 0x400_0000)));
    let world = world(&machine, &vms, fwb());
    let granted = resolve(&world)[0].rows[1].granted().unwrap();
    let memory = granted.coherent().unwrap().region().unwrap();
    assert_eq!(memory, pa(0x80_0000_0000, 0x400_0000));
    assert_eq!(granted.ipa, ipa(0x8000_0000, 0x400_0000));
    assert_eq!(to_prove(&world)[0].region, memory);
    // It is checked for overlaps like the others.
    machine.coherent[0].bar = Some(Ok(pa(0x7fff_0000, 0x400_0000)));
    let all = resolve(&super::world(&machine, &vms, fwb()));
    let refusal = all[0].rows[1].outcome.unwrap_err();
    assert_eq!(refusal.reason, Reason::Fault(Fault::PartlyInMemory));
}

#[test]
fn what_is_wrong_with_a_bar_is_t1() {
    let mut machine = npu(BAR);
    assert_eq!(fault(&machine), None);
    machine.coherent[0].bar = Some(Err(BarFault::NoFunction));
    assert_eq!(fault(&machine).unwrap(), "Bar(NoFunction)");
    let of = |properties: &str| fault(&npu(properties)).unwrap();
    assert_eq!(of("assay,pci-bar = <0 0x10 2>;"), "Bar(NoLength)");
    assert_eq!(of("assay,pci-bar = <0 0x10 2>; assay,length = <0 0>;"), "Bar(NoLength)");
    assert_eq!(of("assay,pci-bar = <0 0x10 2>; assay,length = <0 0x1800>;"), "Unaligned");
    let both = std::format!("{BAR} reg = <0x50 0 0 0x4000000>;");
    assert_eq!(of(&both), "Bar(AlsoReg)");
    // The tree alone says which segments there are.
    assert_eq!(of("assay,pci-bar = <1 0x10 2>; assay,length = <0 0x4000000>;"), "Bar(NoHost)");
}

#[test]
fn two_nodes_for_one_bar_are_both_wrong() {
    let node = |name: &str| std::format!(r#"{name} {{ compatible = "assay,coherent-memory"; no-map; {BAR} }};"#);
    let machine = platform(BRIDGE, &(node("npu") + &node("tpu")));
    let world = world(&machine, &[], fwb());
    let faults = unclaimed_faults(&world);
    assert_eq!(faults.len(), 2);
    let overlaps = Fault::Overlaps("/reserved-memory/tpu");
    assert_eq!(faults[0].1.reason, Reason::Fault(overlaps));
}

#[test]
fn only_bars_that_are_claimed_are_looked_for_and_each_once() {
    let node = |name: &str, device: u8| {
        std::format!(
            r#"{name} {{ compatible = "assay,coherent-memory"; no-map; assay,pci-bar = <0 {device} 2>;
                assay,length = <0 0x1000>; }};"#
        )
    };
    let machine = platform("", &(gpu("") + &node("npu", 8) + &node("tpu", 16)));
    let claim = r#"assay,region = "tpu"; assay,use = "aperture";"#;
    let vms = vms(&[vm("a", "", &[AS_RAM, claim]), vm("b", "", &[claim])]);
    assert_eq!(claimed_bars(&machine, &vms), [2]);
}

#[test]
fn what_the_tree_has_in_a_bridges_window_is_kept_from_its_bars() {
    let root = String::from(BRIDGE) + "odd@8030000000 { reg = <0x80 0x30000000 0 0x10>; };";
    let reserved = r#"gpu@80 { compatible = "assay,coherent-memory"; reg = <0x80 0 0 0x1000>; no-map; };
        fw@80 { reg = <0x80 0x10000000 0 0x1000>; }; far@90 { reg = <0x90 0 0 0x1000>; };"#;
    let machine = platform(&root, reserved);
    let mut kept = machine.kept_in(&machine.pcie[0]);
    kept.sort_by_key(|region| region.start);
    let expected = [pa(0x80_0000_0000, 0x1000), pa(0x80_1000_0000, 0x1000), pa(0x80_3000_0000, 0x10)];
    assert_eq!(kept, expected);
}
