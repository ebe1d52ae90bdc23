//! SMMUs and ITSs that cannot be where the tree has them.

use std::format;
use std::string::String;
use std::vec::Vec;

use assay_model::pci::Function;
use assay_spec::addr::{Pa, Region};

use super::{changed, machine};
use crate::platform::HostPlatform;

/// The board with an SMMU and an ITS before its bridge's functions, which have these `reg`.
fn with(smmu: &str, its: &str) -> HostPlatform {
    let nodes = format!(
        "iommu@9050000 {{
            compatible = \"arm,smmu-v3\"; {smmu} #iommu-cells = <1>; dma-coherent; phandle = <7>; interrupts = <0 74 1>;
        }};
        its@8080000 {{ compatible = \"arm,gic-v3-its\"; {its} phandle = <9>; }};
        pcie@10000000 {{"
    );
    let maps = "bus-range = <0 15>; dma-coherent; iommu-map = <0 7 0 0x10000>; msi-map = <0 9 0 0x10000>;";
    let mut machine = machine(&changed("pcie@10000000 {", &nodes).replace("bus-range = <0 15>;", maps));
    machine.lose_misplaced(&[("Assay's image", Region { start: Pa(0x70_0000_0000), size: 0x10_0000 })]);
    machine
}

const SMMU: &str = "reg = <0 0x9050000 0 0x20000>;";
const ITS: &str = "reg = <0 0x8080000 0 0x20000>;";
const FUNCTION: Function = Function::new(0, 2, 0);

/// What is said, whether a function is behind an SMMU that nobody has, and whether it has a stream and a DeviceID.
fn outcome(smmu: &str, its: &str) -> (Vec<String>, bool, bool, bool) {
    let machine = with(smmu, its);
    let host = &machine.pcie[0];
    let said = machine.oddities().iter().map(|odd| format!("{}: {}", odd.node, odd.reason)).collect();
    let (stream, device_id) = (machine.stream(host, FUNCTION), machine.device_id(host, FUNCTION));
    (said, machine.is_behind_lost(host, FUNCTION), stream.is_some(), device_id.is_some())
}

#[test]
fn smmus_and_itss_that_are_where_nothing_else_is_are_used() {
    assert_eq!(outcome(SMMU, ITS), (Vec::new(), false, true, true));
}

#[test]
fn an_smmu_over_something_else_is_named_and_nothing_behind_it_is_given() {
    for (reg, other) in [
        ("reg = <0 0x40100000 0 0x20000>;", "overlap /memory@40000000;"),
        ("reg = <0 0x8000000 0 0x20000>;", "overlap /interrupt-controller@8000000;"),
        ("reg = <0 0x8ff0000 0 0x20000>;", "overlap /soc/uart@1000;"),
        ("reg = <0x40 0x10000000 0 0x20000>;", "overlap /pcie@10000000;"),
        ("reg = <0x70 0x00000800 0 0x20000>;", "overlap Assay's image;"),
        // All that there is.
        ("reg = <0 0 0xffff 0xffffffff>;", "overlap /its@8080000;"),
        ("reg = <0xffff 0xffff0000 0 0x20000>;", "end beyond 48 bits"),
        ("reg = <0 0x9050000 0>;", "/iommu@9050000: its reg must be whole"),
        ("", "/iommu@9050000: its reg must be there"),
    ] {
        let (said, is_lost, has_stream, _) = outcome(reg, ITS);
        let smmu = said.iter().find(|line| line.starts_with("/iommu@9050000: ")).unwrap();
        assert!(smmu.contains(other) && smmu.contains("may access all memory, and no VM gets one"), "{reg}: {said:?}");
        assert_eq!((is_lost, has_stream), (true, false), "{reg}");
    }
}

#[test]
fn an_its_over_something_else_takes_no_messages() {
    for (reg, other) in [
        // The page that devices write to.
        ("reg = <0 0x3fff0000 0 0x20000>;", "overlap /memory@40000000;"),
        ("reg = <0 0x8090000 0 0x20000>;", "overlap /interrupt-controller@8000000;"),
        ("reg = <0 0x8080000 0 0x1f000>;", "128 KiB"),
        ("reg = <0 0x8080000>;", "/its@8080000: its reg must be whole"),
    ] {
        let (said, is_lost, has_stream, has_messages) = outcome(SMMU, reg);
        assert!(said.len() == 1 && said[0].starts_with("/its@8080000: "), "{said:?}");
        assert!(said[0].contains(other) && said[0].contains("send no messages"), "{said:?}");
        assert_eq!((is_lost, has_stream, has_messages), (false, true, false), "{reg}");
    }
}

#[test]
fn of_two_in_one_place_neither_is_touched() {
    let (said, is_lost, has_stream, has_messages) =
        outcome("reg = <0 0x8090000 0 0x20000>;", "reg = <0 0x8080000 0 0x20000>;");
    assert_eq!((said.len(), is_lost, has_stream, has_messages), (2, true, false, false));
    assert!(said[0].contains("/iommu@9050000: its registers overlap /its@8080000;"), "{said:?}");
    assert!(said[1].contains("/its@8080000: its registers overlap /iommu@9050000;"), "{said:?}");
}
