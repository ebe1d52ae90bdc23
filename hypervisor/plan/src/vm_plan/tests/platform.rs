//! Devices of the platform tree in a plan: what is mapped, what interrupts, what SMMUs let pass, and the guest's tree.

use std::string::String;
use std::vec::Vec;

use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::intid::IntId;

use super::{domain, plan_on};
use crate::claims::tests::{vms, with_devices};
use crate::gate::Tree;
use crate::guest_tree::{self, GuestTree};
use crate::platform::{Stream, Wire};
use crate::policy::Rule;
use crate::space::Backing;
use crate::vm_plan::VmPlan;

const ETHERNET: &str = "/soc/ethernet@80000";
const SERIAL: &str = "/soc/serial@90000";
const TREE: &str = r#"
    soc {
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges = <0 0 0x20000000 0x1000000>;
        iommu@20000 {
            compatible = "arm,smmu-v3"; reg = <0x20000 0x20000>; #iommu-cells = <1>; dma-coherent; phandle = <5>;
        };
        ethernet@80000 {
            compatible = "acme,ethernet-2", "acme,ethernet"; iommus = <5 0x20>; dma-coherent; assay,write-combine;
            reg = <0x80800 0x100>, <0x84000 0x3000>, <0x80c00 0x800>; reg-names = "control", "buffer", "more";
            interrupts = <0 5 4>, <0 6 1>; interrupt-names = "done", "error";
            phy-handle = <9>; phy-mode = "rgmii"; pinctrl-0 = <8>; resets = <7 1>; local-mac-address = <0x02000000 1>;
            clocks = <6>, <7 3>, <7 4>; clock-names = "tx", "rx", "bus"; assigned-clocks = <7 9>, <7 3>; assigned-clock-rates = <1 125000000>;
            mdio { phy { phandle = <9>; }; };
        };
        serial@90000 { compatible = "arm,pl011"; reg = <0x90000 0x1000>; interrupts = <0 7 4>; clocks = <6>; dma-coherent; };
    };
    fast { compatible = "fixed-clock"; #clock-cells = <0>; clock-frequency = <50000000>; phandle = <6>; };
    controller { #clock-cells = <1>; phandle = <7>; };"#;

const fn ipa(start: u64, size: u64) -> Region<Ipa> {
    Region { start: Ipa(start), size }
}

/// Plans one VM with these devices.
fn plan(devices: &str, check: impl FnOnce(&VmPlan<'_>)) {
    let machine = with_devices(TREE, &[ETHERNET, SERIAL]);
    let vms = vms(&[domain("a", "cpus = <1>", &std::format!("assay,devices = {devices};"))]);
    plan_on(&machine, 1, &vms, |plans| check(plans[0].as_ref().ok().unwrap()));
}

fn both() -> String {
    std::format!("\"{ETHERNET}\", \"{SERIAL}\"")
}

/// What is mapped of registers: name, where, guest's place, rule.
fn registers<'a>(plan: &'a VmPlan<'_>) -> Vec<(&'a str, u64, Region<Ipa>, Rule)> {
    let of = |mapping: &'a crate::space::Mapping<'_>| match mapping.backing {
        Backing::Registers(Region { start: Pa(start), size }) => {
            assert_eq!(size, mapping.ipa.size);
            assert!(!mapping.decision.exec);
            Some((&*mapping.name, start, mapping.ipa, mapping.decision.rule))
        }
        _ => None,
    };
    plan.space.iter().filter_map(of).collect()
}

#[test]
fn registers_are_mapped_by_whole_pages_each_once_with_the_rule_of_their_kind() {
    plan(&both(), |plan| {
        let expected = [
            ("/soc/ethernet@80000/reg0", 0x2008_0000, ipa(0xc00_0000, 0x2000), Rule::D2),
            ("/soc/ethernet@80000/reg1", 0x2008_4000, ipa(0xc00_2000, 0x3000), Rule::D2),
            (SERIAL, 0x2009_0000, ipa(0xc00_5000, 0x1000), Rule::D1),
        ];
        assert_eq!(registers(plan), expected);
        let places = [ipa(0xc00_0800, 0x100), ipa(0xc00_2000, 0x3000), ipa(0xc00_0c00, 0x800)];
        assert_eq!(plan.devices[0].guest_registers(), places);
    });
}

#[test]
fn interrupts_are_numbered_in_the_devices_order_and_streams_are_all_there() {
    plan(&both(), |plan| {
        let wire = |intid, is_edge| Wire { intid: IntId(intid), is_edge };
        let [ethernet, serial] = &plan.devices[..] else { panic!() };
        assert_eq!(ethernet.lines, [(wire(37, false), IntId(96)), (wire(38, true), IntId(97))]);
        assert_eq!(serial.lines, [(wire(39, false), IntId(98))]);
        assert_eq!((&ethernet.streams[..], &serial.streams[..]), (&[Stream { smmu: 0, id: 0x20 }][..], &[][..]));
        assert!(plan.has_dma() && plan.machine.wires && !plan.machine.pci);
    });
    plan(&std::format!("\"{SERIAL}\""), |plan| assert!(!plan.has_dma() && plan.machine.wires));
}

#[test]
fn the_guests_tree_has_what_means_something_there_and_nothing_else() {
    plan(&both(), |plan| {
        let devices: Vec<_> = plan.devices.iter().map(super::super::Device::node).collect();
        let guest = GuestTree {
            virtio: 0,
            space: &plan.space,
            vcpus: &[0],
            gic: plan.machine.gic.version,
            bootargs: "",
            ramdisk: None,
            seeds: None,
            watchdog: false,
            pmu: false,
            rtc: false,
            functions: &[],
            devices: &devices,
            distances: None,
            home: 0,
        };
        let blob = guest_tree::build(&guest).unwrap();
        let tree = Tree::new(blob.bytes()).unwrap();
        let node = tree.find("/ethernet@c000800").unwrap();
        let mut names: Vec<&str> = node.properties().map(|(name, _)| name).collect();
        names.sort_unstable();
        let wanted = [
            "clock-names",
            "clocks",
            "compatible",
            "dma-coherent",
            "interrupt-names",
            "interrupts",
            "local-mac-address",
            "phy-mode",
            "reg",
            "reg-names",
        ];
        assert_eq!(names, wanted);
        assert!(node.is_compatible(&["acme,ethernet"]));
        let cells = |name| node.cells(name).unwrap().collect::<Vec<_>>();
        assert_eq!(cells("interrupts"), [0, 64, 4, 0, 65, 1]);
        assert_eq!(cells("reg"), [0, 0xc00_0800, 0, 0x100, 0, 0xc00_2000, 0, 0x3000, 0, 0xc00_0c00, 0, 0x800]);
        // The fixed one's rate, the one that somebody is to set, and of the third nobody says anything.
        let rate = |phandle| tree.by_phandle(phandle).unwrap().u32("clock-frequency").unwrap().unwrap();
        assert_eq!(cells("clocks").into_iter().map(rate).collect::<Vec<_>>(), [50_000_000, 125_000_000, 24_000_000]);
        let serial = tree.find("/serial@c005000").unwrap();
        assert_eq!(serial.cells("clocks").unwrap().map(rate).collect::<Vec<_>>(), [50_000_000]);
        assert!(!serial.has("dma-coherent"), "it makes no accesses");
    });
}
