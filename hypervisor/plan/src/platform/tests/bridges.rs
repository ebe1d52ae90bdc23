//! Several PCI host bridges.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::{changed, machine};
use crate::pci::BarFault;
use crate::platform::HostPlatform;

/// A bridge of 16 buses with configuration space at 0x40_0000_0000 + `at`.
fn bridge(at: u32, more: &str) -> String {
    format!(
        "pcie@{at:x} {{ compatible = \"pci-host-ecam-generic\"; #address-cells = <3>; #size-cells = <2>; \
         reg = <0x40 {at:#x} 0 0x1000000>; {more} }};"
    )
}

#[test]
fn host_bridges_without_a_segment_get_one_each() {
    let with = |at, more: &str| bridge(at, &format!("bus-range = <0 15>; {more} ranges;"));
    let given = "linux,pci-domain = <1>;";
    let three = [with(0x2000_0000, ""), with(0x3000_0000, given), with(0x4000_0000, "")].concat();
    let source =
        changed("linux,pci-domain = <0>;", "").replace("pcie@10000000 {", &format!("{three} pcie@10000000 {{"));
    let hosts = machine(&source).pcie;
    let segments: Vec<_> = hosts.iter().map(|host| (host.path.as_str(), host.segment)).collect();
    let expected = [("/pcie@20000000", 0), ("/pcie@30000000", 1), ("/pcie@40000000", 2), ("/pcie@10000000", 3)];
    assert_eq!(segments, expected);
}

/// The board's bridge, of buses 0 to 15 of segment 0, with another one beside it.
fn beside(other: &str) -> HostPlatform {
    machine(&changed("pcie@10000000 {", &format!("{other} pcie@10000000 {{")))
}

#[test]
fn one_segment_may_have_several_bridges() {
    let other =
        "linux,pci-domain = <0>; bus-range = <16 31>; ranges = <0x2000000 0 0x10000000 0 0x11000000 0 0x1000000>;";
    let machine = beside(&bridge(0x1100_0000, other));
    let of = |bus| machine.ecam_host(0, bus).map(|host| host.path.as_str());
    assert_eq!((of(15), of(16), of(31)), (Ok("/pcie@10000000"), Ok("/pcie@11000000"), Ok("/pcie@11000000")));
    assert_eq!((of(32), machine.oddities()), (Err(BarFault::NoHost), Vec::new()));
    // What is behind the last bus of a bridge's `reg` may be another's.
    let long = bridge(0x0f00_0000, "linux,pci-domain = <1>; bus-range = <0 15>; ranges;");
    let long = long.replace("0 0x1000000>", "0 0x8000000>");
    assert_eq!(beside(&long).oddities(), []);
}

#[test]
fn bridges_that_claim_the_same_are_named_and_have_no_functions() {
    for (at, more, words) in [
        (
            0x1100_0000,
            "linux,pci-domain = <0>; bus-range = <15 30>; ranges;",
            "buses of one segment (linux,pci-domain, ",
        ),
        (
            0x1100_0000,
            "linux,pci-domain = <0>; bus-range = <0 15>; ranges;",
            "buses of one segment (linux,pci-domain, ",
        ),
        (0x1080_0000, "linux,pci-domain = <1>; bus-range = <0 7>; ranges;", "configuration space (reg)"),
        (
            0x1100_0000,
            "linux,pci-domain = <1>; bus-range = <0 7>; ranges = <0x2000000 0 0 0 0x10fff000 0 0x2000>;",
            "memory windows (ranges)",
        ),
    ] {
        let machine = beside(&bridge(at, more));
        let [second, first] = &machine.pcie[..] else { panic!("{:?}", machine.pcie) };
        for host in [first, second] {
            assert_eq!(machine.ecam_host(host.segment, host.buses.1), Err(BarFault::Rivals));
        }
        let said: Vec<_> = machine.oddities().iter().map(|odd| format!("{}: {}", odd.node, odd.reason)).collect();
        let path = &second.path;
        assert!(said[0].starts_with(&format!("{path}: it and /pcie@10000000 claim the same {words}")), "{said:?}");
        assert!(said[1].starts_with(&format!("/pcie@10000000: it and {path} claim the same {words}")), "{said:?}");
    }
}
