//! Devices of the platform tree that VMs claim by path.

use std::string::String;
use std::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::{add, board, fwb, trouble, vm, vms, with_devices, world};
use crate::claims::{platform_streams, resolve};
use crate::gate::Tree;
use crate::gate::tests::dts::compile;
use crate::platform::{self, Stream};
use crate::policy::regions::{Occupant, Occupied};
use crate::vm_tree::VmConfig;

/// A UART that is the console, an SMMUv3, a GPIO controller, a DMA engine, an Ethernet behind the SMMU, two transports in
/// one page.
const DEVICES: &str = r#"
    aliases { gpio0 = "/soc/gpio@30000"; };
    chosen { stdout-path = "/soc/serial@10000"; };
    soc {
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges = <0 0 0x20000000 0x1000000>;
        serial@10000 { compatible = "arm,pl011"; reg = <0x10000 0x1000>; interrupts = <0 1 4>; };
        iommu@20000 {
            compatible = "arm,smmu-v3"; reg = <0x20000 0x20000>; #iommu-cells = <1>; dma-coherent; phandle = <5>;
            interrupts = <0 2 1>; interrupt-names = "eventq";
        };
        gpio@50000 { compatible = "arm,pl061"; reg = <0x50000 0x1000>; interrupts = <0 3 4>; status = "disabled"; };
        gpio@30000 { compatible = "arm,pl061"; reg = <0x60000 0x1000>; interrupts = <0 3 4>; };
        dma@70000 { compatible = "acme,dma"; reg = <0x70000 0x1000>; interrupts = <0 4 4>; };
        ethernet@80000 {
            compatible = "acme,ethernet"; reg = <0x80000 0x800>, <0x81000 0x1000>; interrupts = <0 5 4>, <0 6 1>;
            iommus = <5 0x20>, <5 0x21>; dma-coherent; #address-cells = <1>; #size-cells = <1>; ranges;
            mdio@80400 { reg = <0x80400 0x10>; };
        };
        virtio@90000 { compatible = "virtio,mmio"; reg = <0x90000 0x200>; interrupts = <0 7 1>; };
        virtio@90200 { compatible = "virtio,mmio"; reg = <0x90200 0x200>; interrupts = <0 8 1>; };
    };"#;

/// A VM for each list of devices.
fn claiming(lists: &[&[&str]]) -> Vec<VmConfig> {
    let domains: Vec<String> = lists
        .iter()
        .enumerate()
        .map(|(n, list)| {
            let list: Vec<String> = list.iter().map(|name| std::format!("\"{name}\"")).collect();
            vm(&std::format!("vm{n}"), &std::format!("assay,devices = {};", list.join(", ")), &[])
        })
        .collect();
    vms(&domains)
}

/// What is said of the only device of the only VM; empty if it is given.
fn said(devices: &str, name: &str) -> String {
    let (machine, vms) = (with_devices(devices, &[name]), claiming(&[&[name]]));
    let claims = resolve(&world(&machine, &vms, fwb()));
    if claims[0].starts() { String::new() } else { trouble(&claims[0]).0 }
}

#[test]
fn a_device_that_makes_no_accesses_is_given_by_its_path_or_an_alias() {
    for name in ["/soc/gpio@30000", "gpio0"] {
        assert_eq!(said(DEVICES, name), "");
        let machine = with_devices(DEVICES, &[name]);
        let device = machine.device(name).unwrap();
        assert_eq!(device.registers.as_ref().unwrap()[..], [super::pa(0x2006_0000, 0x1000)]);
        assert_eq!(device.wires().map(|wire| (wire.intid.0, wire.is_edge)).collect::<Vec<_>>(), [(35, false)]);
    }
}

#[test]
fn what_el2_drives_and_what_is_no_device_is_refused_by_what_it_is() {
    for (name, reason) in [
        ("/soc/serial@10000", "is the console, which EL2 drives"),
        ("/soc/iommu@20000", "is an SMMU or its like"),
        ("/interrupt-controller@8000000", "is the interrupt controller"),
        ("/timer", "is the machine's own"),
        ("/cpus/cpu@0", "is no device"),
        ("/memory@40000000", "is no device"),
        ("/", "is no device"),
        ("/soc/gpio@50000", "is disabled"),
        ("/soc", "cannot be read: /soc: property reg: must be there"),
        ("/soc/nothing", "is no PCI function, and no node of firmware's tree"),
        ("nothing0", "is no PCI function, and no node of firmware's tree"),
    ] {
        let text = said(DEVICES, name);
        assert!(text.starts_with(&std::format!("the device {name} {reason}")), "{text}");
    }
}

#[test]
fn the_clock_that_guests_clocks_go_by_is_el2s() {
    let rtc = r#"rtc@9010000 { compatible = "arm,pl031"; reg = <0 0x9010000 0 0x1000>; interrupts = <0 2 4>; };"#;
    assert!(said(rtc, "/rtc@9010000").contains("is the clock that the clocks of all VMs go by"));
}

#[test]
fn registers_that_share_a_page_are_refused_with_both_names() {
    let text = said(DEVICES, "/soc/virtio@90000");
    assert!(text.starts_with("the device /soc/virtio@90000 has registers in a page of 4 KiB with /soc/virtio@90200"));
    // Those of a node below are its own; those of the node above are not.
    assert_eq!(said(DEVICES, "/soc/ethernet@80000"), "");
    let below = "/soc/ethernet@80000/mdio@80400";
    let quiet = DEVICES.replace("mdio@80400 {", "mdio@80400 { assay,no-dma;");
    assert!(said(&quiet, below).contains("in a page of 4 KiB with /soc/ethernet@80000, and"));
    let over_ram = r#"odd@40001000 { compatible = "arm,pl061"; reg = <0 0x40001000 0 0x1000>; };"#;
    assert!(said(over_ram, "/odd@40001000").contains("has registers in the memory of /memory@40000000"));
    let far = r#"odd@1000000000000 { compatible = "arm,pl061"; reg = <0x10000 0 0 0x1000>; };"#;
    assert!(said(far, "/odd@1000000000000").contains("has registers beyond 48 bits"));
}

#[test]
fn a_device_that_may_access_memory_unchecked_is_refused() {
    let text = said(DEVICES, "/soc/dma@70000");
    assert!(text.contains("may access memory by itself (DMA), and no SMMUv3 that can be used is before it"), "{text}");
    // An SMMU that reads its tables past the caches is not used; nor is one of another kind.
    let unusable = DEVICES.replace("#iommu-cells = <1>; dma-coherent;", "#iommu-cells = <1>;");
    assert!(said(&unusable, "/soc/ethernet@80000").contains("no SMMUv3 that can be used"));
    let older = DEVICES.replace("arm,smmu-v3", "arm,mmu-500");
    assert!(said(&older, "/soc/ethernet@80000").contains("no SMMUv3 that can be used"));
    // One of two masters that is checked is not enough.
    let half = DEVICES.replace("iommus = <5 0x20>, <5 0x21>", "iommus = <5 0x20>, <77 0x21>");
    assert!(said(&half, "/soc/ethernet@80000").contains("no SMMUv3 that can be used"));
}

/// A VM of 256 MiB at `ipa` with these devices and properties.
fn at(name: &str, ipa: u64, properties: &str) -> String {
    let place = std::format!("assay,memory-ipa = <{:#x} {:#x}>; {properties}", ipa >> 32, ipa & 0xffff_ffff);
    vm(name, &place, &[]).replacen("0x80000>", "0x40000>", 1)
}

const ALLOWED: &str = "assay,allow = \"unchecked-dma\";";

#[test]
fn unchecked_dma_is_given_by_its_name_to_whom_no_smmu_stops() {
    let dma = "/soc/dma@70000";
    let allowed = |name: &str| std::format!("{ALLOWED} assay,devices = \"{name}\";");
    let told = |devices: &str, name: &str| {
        let machine = with_devices(devices, &[name]);
        let vms = vms(&[at("a", 0x6000_0000, &allowed(name))]);
        let claims = resolve(&world(&machine, &vms, fwb()));
        let named: Vec<String> =
            crate::claims::unchecked(&machine, &vms[0]).map(|device| device.path.clone()).collect();
        if claims[0].starts() { Ok(named) } else { Err(trouble(&claims[0]).0) }
    };
    assert_eq!(told(DEVICES, dma), Ok([String::from(dma)].into()));
    // What is checked, or accesses nothing, stays so.
    assert_eq!(told(DEVICES, "/soc/ethernet@80000"), Ok(Vec::new()));
    assert_eq!(told(DEVICES, "gpio0"), Ok(Vec::new()));
    // An SMMU of another kind is as firmware left it; an SMMUv3 that is not used lets nothing pass.
    let older = DEVICES.replace("arm,smmu-v3", "arm,mmu-500");
    assert_eq!(told(&older, "/soc/ethernet@80000"), Ok([String::from("/soc/ethernet@80000")].into()));
    let unusable = DEVICES.replace("#iommu-cells = <1>; dma-coherent;", "#iommu-cells = <1>;");
    let text = told(&unusable, "/soc/ethernet@80000").unwrap_err();
    assert!(
        text.ends_with("is behind an SMMUv3 that cannot be used and lets nothing pass, whatever `allow` says"),
        "{text}"
    );
    let moved = DEVICES.replace("simple-bus\";", "simple-bus\"; dma-ranges = <0 0 0x80000000 0x40000000>;");
    assert!(told(&moved, dma).unwrap_err().contains("dma-ranges change addresses"));
    // It is the VM's own word.
    let machine = with_devices(DEVICES, &[dma]);
    let two = vms(&[at("a", 0x6000_0000, ALLOWED), at("b", 0x4000_0000, &std::format!("assay,devices = \"{dma}\";"))]);
    let claims = resolve(&world(&machine, &two, fwb()));
    assert!(claims[0].starts() && trouble(&claims[1]).0.contains("may access memory by itself (DMA)"));
}

#[test]
fn ram_for_unchecked_dma_is_where_the_machine_has_memory_that_is_nobodys() {
    let machine = super::platform("", "firmware@5f000000 { reg = <0 0x5f000000 0 0x1000>; };");
    let told = |vms: &[VmConfig], occupied: &[Occupied<'_>]| -> Vec<String> {
        let world = crate::claims::World { occupied, ..world(&machine, vms, fwb()) };
        let of = |claims: &crate::claims::VmClaims<'_>| if claims.starts() { String::new() } else { trouble(claims).0 };
        resolve(&world).iter().map(of).collect()
    };
    let one = |ipa: u64| vms(&[at("a", ipa, ALLOWED)]);
    assert_eq!(told(&one(0x6000_0000), &[]), [""]);
    assert_eq!(told(&one(0x7000_0000), &[]), [""]);
    for (ipa, reason) in [
        (0x7000_1000, "has to be at 0x70001000 in the machine, as for the guest, and the machine has no memory there"),
        (0x1_0000_0000, "the machine has no memory there, or not so much"),
        (0x5000_0000, "/reserved-memory/firmware@5f000000 is there"),
    ] {
        let told = told(&one(ipa), &[]);
        assert!(told[0].contains(reason), "{told:?}");
    }
    let image = Region { start: Pa(0x6000_1000), size: 0x1000 };
    let image = [Occupied { name: "Assay's image", occupant: Occupant::Assay, region: image }];
    assert!(told(&one(0x6000_0000), &image)[0].ends_with("Assay's image is there"));
    // Two of them, and one without that only has the same guest addresses.
    let two = vms(&[at("a", 0x6000_0000, ALLOWED), at("b", 0x6800_0000, ALLOWED), at("c", 0x6000_0000, "")]);
    let told = told(&two, &[]);
    assert!(told[0].ends_with("so has that of VM b") && told[1].ends_with("so has that of VM a"), "{told:?}");
    assert_eq!(told[2], "");
}

#[test]
fn all_streams_of_a_device_behind_an_smmu_are_its() {
    let machine = with_devices(DEVICES, &["/soc/ethernet@80000"]);
    let streams = platform_streams(&machine, &claiming(&[&["/soc/ethernet@80000"]]));
    assert_eq!(streams, [Stream { smmu: 0, id: 0x20 }, Stream { smmu: 0, id: 0x21 }]);
    let past_caches = DEVICES.replace("<5 0x21>; dma-coherent;", "<5 0x21>;");
    assert!(said(&past_caches, "/soc/ethernet@80000").contains("its node has no dma-coherent"));
    // What a bus says holds for what is on it, unless that says otherwise.
    let by_bus = past_caches.replace("simple-bus\";", "simple-bus\"; dma-coherent;");
    assert_eq!(said(&by_bus, "/soc/ethernet@80000"), "");
    let not_it = by_bus.replace("<5 0x21>;", "<5 0x21>; dma-noncoherent;");
    assert!(said(&not_it, "/soc/ethernet@80000").contains("its node has no dma-coherent"));
    let moved = DEVICES.replace("simple-bus\";", "simple-bus\"; dma-ranges = <0 0 0x80000000 0x40000000>;");
    assert!(said(&moved, "/soc/ethernet@80000").contains("dma-ranges change addresses"));
    let same = DEVICES.replace("simple-bus\";", "simple-bus\"; dma-ranges = <0 0 0 0xffffffff>;");
    assert_eq!(said(&same, "/soc/ethernet@80000"), "");
}

#[test]
fn a_device_is_one_vms_once() {
    let names = ["/soc/gpio@30000", "gpio0"];
    let machine = with_devices(DEVICES, &names);
    let two = claiming(&[&["/soc/gpio@30000"], &["gpio0"]]);
    let claims = resolve(&world(&machine, &two, fwb()));
    assert!(trouble(&claims[0]).0.ends_with("is claimed twice, also by VM vm1"));
    assert!(trouble(&claims[1]).0.ends_with("is claimed twice, also by VM vm0"));
    let one = claiming(&[&names]);
    let claims = resolve(&world(&machine, &one, fwb()));
    assert_eq!(claims[0].troubles.len(), 2);
}

#[test]
fn interrupts_that_another_has_or_that_are_none_of_the_gics_are_refused() {
    let with = |interrupts: &str| DEVICES.replace("reg = <0x60000 0x1000>; interrupts = <0 3 4>;", interrupts);
    let of = |interrupts: &str| said(&with(&std::format!("reg = <0x60000 0x1000>; {interrupts}")), "gpio0");
    assert_eq!(of(""), "");
    assert!(of("interrupts = <0 1 4>;").ends_with("shares an interrupt with /soc/serial@10000"));
    assert!(of("interrupts = <0 2 4>;").ends_with("shares an interrupt with /soc/iommu@20000"));
    assert!(of("interrupts = <1 3 4>;").ends_with("has an interrupt that is no SPI of the GIC"));
    assert!(of("interrupts = <0 3>;").contains("must be whole specifiers"));
    let pin = "soc {"; // another controller, which is not the GIC
    let other = with("reg = <0x60000 0x1000>; interrupts-extended = <1 0 3 4>, <9 2>;").replacen(
        pin,
        "soc { pins { #interrupt-cells = <1>; phandle = <9>; };",
        1,
    );
    assert!(said(&other, "gpio0").ends_with("has an interrupt that is no SPI of the GIC"));
    // Two VMs whose devices share a wire.
    let shared = with("reg = <0x60000 0x1000>; interrupts = <0 5 4>;");
    let names = ["gpio0", "/soc/ethernet@80000"];
    let machine = with_devices(&shared, &names);
    let apart = claiming(&[&["gpio0"], &["/soc/ethernet@80000"]]);
    let claims = resolve(&world(&machine, &apart, fwb()));
    assert!(trouble(&claims[0]).0.ends_with("shares an interrupt with /soc/ethernet@80000"));
    let together = claiming(&[&names]);
    assert!(resolve(&world(&machine, &together, fwb()))[0].starts());
}

#[test]
fn two_devices_that_are_one_to_the_smmu_are_refused() {
    let twin = r#"twin@a0000 {
        compatible = "acme,ethernet"; reg = <0xa0000 0x1000>; iommus = <5 0x21>; dma-coherent;
    };"#;
    let both = DEVICES.replacen("virtio@90000", &std::format!("{twin} virtio@90000"), 1);
    let names = ["/soc/ethernet@80000", "/soc/twin@a0000"];
    let machine = with_devices(&both, &names);
    let vms = claiming(&[&[names[0]], &[names[1]]]);
    let claims = resolve(&world(&machine, &vms, fwb()));
    assert!(trouble(&claims[0]).0.ends_with("is to the SMMU the same as /soc/twin@a0000"));
    assert!(trouble(&claims[1]).0.ends_with("is to the SMMU the same as /soc/ethernet@80000"));
}

#[test]
fn an_overlay_says_that_a_device_makes_no_accesses() {
    let name = "/soc/dma@70000";
    let source = board(DEVICES, "");
    for (words, is_given) in [("assay,no-dma;", true), ("assay,no-dma = <0>;", false)] {
        let blob = compile(&source);
        let mut machine = platform::parse(&blob).unwrap();
        add(&mut machine, &source, &[(name, words)]);
        machine.read_devices(&Tree::new(&blob).unwrap(), [name].into_iter());
        let vms = claiming(&[&[name]]);
        assert_eq!(resolve(&world(&machine, &vms, fwb()))[0].starts(), is_given, "{words}");
    }
}

#[test]
fn registers_and_interrupts_beyond_a_guests_room_are_refused() {
    let large = r#"large@80000000 { compatible = "arm,pl061"; reg = <0 0x80000000 0 0x4000000>; };
        more@90000000 { compatible = "arm,pl061"; reg = <0 0x90000000 0 0x1000>; };"#;
    let (first, second) = ("/large@80000000", "/more@90000000");
    assert_eq!(said(large, first), "");
    let machine = with_devices(large, &[first, second]);
    let vms = claiming(&[&[first, second]]);
    let claims = resolve(&world(&machine, &vms, fwb()));
    assert!(trouble(&claims[0]).0.starts_with("the device /more@90000000 has registers for which no room is left"));
    let wires: String = (10..43).map(|spi| std::format!("0 {spi} 4 ")).collect();
    let many = std::format!(
        r#"many@80000000 {{ compatible = "arm,pl061"; reg = <0 0x80000000 0 0x1000>; interrupts = <{wires}>; }};"#
    );
    assert!(said(&many, "/many@80000000").contains("more interrupts than a VM has for its devices"));
}
