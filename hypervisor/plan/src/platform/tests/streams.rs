//! What SMMUs and ITSs know functions by.

use std::format;

use assay_model::pci::Function;
use assay_spec::intid::IntId;

use super::{changed, machine, region};
use crate::platform::{DeviceId, Frames, HostPlatform, Stream};

/// Of the bridge's 16 buses the first is known to the SMMU as streams from 0x100 on, the second to one that is off.
fn with_smmu(map: &str) -> HostPlatform {
    let smmus = "iommu@9050000 {
            compatible = \"arm,smmu-v3\"; reg = <0 0x9050000 0 0x20000>; #iommu-cells = <1>; dma-coherent; phandle = <7>;
            interrupts = <0 75 1>, <0 74 1>; interrupt-names = \"priq\", \"eventq\";
        };
        iommu@9080000 { phandle = <8>; compatible = \"arm,smmu-v3\"; reg = <0 0x9080000 0 0x20000>; status = \"disabled\"; };
        pcie@10000000 {";
    let source =
        changed("pcie@10000000 {", smmus).replace("bus-range = <0 15>;", &format!("bus-range = <0 15>; {map}"));
    machine(&source)
}

#[test]
fn functions_have_the_streams_of_the_first_range_that_has_them() {
    let machine = with_smmu("dma-coherent; iommu-map = <0 7 0x100 0x100>, <0x10 7 0x9000 1>, <0x100 8 0 0x100>;");
    let (smmu, host) = (&machine.smmus[0], &machine.pcie[0]);
    assert_eq!(machine.smmus.len(), 1);
    assert_eq!((&smmu.registers, smmu.is_usable), (&Ok(region(0x905_0000, 0x2_0000)), true));
    assert_eq!(smmu.events, Some(IntId(32 + 74)));
    let stream = |bus, device| machine.stream(host, Function::new(bus, device, 0));
    assert_eq!(stream(0, 2), Some(Stream { smmu: 0, id: 0x110 }));
    assert_eq!((stream(1, 0), stream(2, 0)), (None, None));
}

#[test]
fn functions_have_the_device_ids_of_their_its() {
    let its = "its@8080000 { compatible = \"arm,gic-v3-its\"; reg = <0 0x8080000 0 0x20000>; phandle = <9>; };
        pcie@10000000 {";
    let source = changed("pcie@10000000 {", its)
        .replace("bus-range = <0 15>;", "bus-range = <0 15>; msi-map = <0 9 0x400 0x20>;");
    let machine = machine(&source);
    let (its, host) = (&machine.itss[0], &machine.pcie[0]);
    let frames = Frames { control: region(0x808_0000, 0x1_0000), page: region(0x809_0000, 0x1000) };
    assert_eq!(its.frames, Ok(frames));
    assert_eq!(machine.device_id(host, Function::new(0, 2, 0)), Some(DeviceId { its: 0, id: 0x410 }));
    assert_eq!(machine.device_id(host, Function::new(0, 4, 0)), None);
}

#[test]
fn an_its_past_the_caches_takes_no_messages() {
    let its = |own: &str, gic: &str| {
        let its = format!(
            "its@8080000 {{ compatible = \"arm,gic-v3-its\"; reg = <0 0x8080000 0 0x20000>; phandle = <9>; {own} }};
            pcie@10000000 {{"
        );
        let source = changed("pcie@10000000 {", &its)
            .replace("bus-range = <0 15>;", "bus-range = <0 15>; msi-map = <0 9 0x400 0x20>;")
            .replacen("interrupt-controller;", &format!("interrupt-controller; {gic}"), 1);
        let machine = machine(&source);
        let host = &machine.pcie[0];
        (machine.itss[0].is_usable, machine.device_id(host, Function::new(0, 2, 0)).is_some())
    };
    assert_eq!(its("", ""), (true, true));
    assert_eq!(its("dma-noncoherent;", ""), (false, false));
    assert_eq!(its("", "dma-noncoherent;"), (false, false));
}

#[test]
fn a_bridge_past_the_caches_has_no_streams() {
    let machine = with_smmu("iommu-map = <0 7 0x100 0x100>;");
    let mut host = machine.pcie[0].clone();
    assert_eq!(machine.stream(&host, Function::new(0, 2, 0)), None);
    host.is_coherent = true;
    assert!(machine.stream(&host, Function::new(0, 2, 0)).is_some());
}

#[test]
fn bits_that_do_not_count_are_no_part_of_a_stream() {
    let machine = with_smmu("dma-coherent; iommu-map = <0 7 0x20 0x10>; iommu-map-mask = <0x7>;");
    let function = Function::new(3, 1, 5);
    assert_eq!(machine.stream(&machine.pcie[0], function), Some(Stream { smmu: 0, id: 0x25 }));
}
