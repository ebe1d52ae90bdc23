//! T1 against the whole tree: whatever has registers where a region is, it is no memory.

use std::format;
use std::string::String;

use super::{AS_RAM, MARKED, mte, overlaid, pa, platform, t1, vm, vms, world};
use crate::claims::to_prove;
use crate::platform::HostPlatform;

/// What QEMU's `virt` has beside GIC and UART, and buses of several levels and cells.
const DEVICES: &str = r#"
    fw-cfg@9020000 { compatible = "qemu,fw-cfg-mmio"; reg = <0 0x9020000 0 0x18>; };
    virtio_mmio@a000000 { compatible = "virtio,mmio"; reg = <0 0xa000000 0 0x200>; };
    pl031@9010000 { compatible = "arm,pl031"; reg = <0 0x9010000 0 0x1000>; };
    intc { #address-cells = <2>; #size-cells = <2>; ranges;
        its@8080000 { compatible = "arm,gic-v3-its"; reg = <0 0x8080000 0 0x20000>; };
    };
    flash@0 { compatible = "cfi-flash"; reg = <0 0 0 0x4000000>, <0 0x4000000 0 0x4000000>; };
    soc { #address-cells = <1>; #size-cells = <1>; ranges = <0 0x20 0 0x100000>, <0x800000 0x21 0 0x100000>;
        timer@1000 { reg = <0x1000 0x1000>; };
        far@8ff000 { reg = <0x8ff000 0x2000>; };
        beyond@200000 { reg = <0x200000 0x1000>; };
        chips { #address-cells = <2>; #size-cells = <1>; ranges = <0 0 0x10000 0x1000>, <1 0 0x20000 0x1000>;
            nor@1,100 { reg = <1 0x100 0x100>; };
            fpga { #address-cells = <1>; #size-cells = <1>; ranges = <0 1 0x800 0x800>;
                led@10 { reg = <0x10 4>; };
            };
        };
        i2c@2000 { reg = <0x2000 0x1000>; #address-cells = <1>; #size-cells = <0>; eeprom@50 { reg = <0x50>; }; };
    };
    mc { #address-cells = <3>; #size-cells = <1>; ranges = <1 0 0 0x30 0 0x10000>;
        port@0 { reg = <1 0 0x1000 0x1000>; };
        none@0 { reg = <2 0 0x1000 0x1000>; };
    };
    off@50000000 { reg = <0x50 0 0 0x1000>; status = "disabled"; };
    bus { #address-cells = <2>; #size-cells = <2>; ranges; status = "disabled";
        uart@51 { reg = <0x51 0 0 0x1000>; };
    };
    pcie@0 { device_type = "pci"; compatible = "acme,pcie"; reg = <0x60 0 0 0x1000>; #address-cells = <3>; #size-cells = <2>;
        ranges = <0x1000000 0 0 0x61 0 0 0x10000>, <0x43000000 0x62 0 0x62 0 1 0>;
    };
    aliases { rtc = "/pl031@9010000"; };
"#;

/// A marked region of a page at an address.
fn region(start: u64) -> String {
    format!(
        r#"gpu0-memory {{ compatible = "assay,coherent-memory"; reg = <{:#x} {:#x} 0 0x1000>; no-map; {MARKED} }};"#,
        start >> 32,
        start & 0xffff_ffff
    )
}

/// T1's words about the region of a machine, and that nothing is proved there; `None` if it is granted.
fn refused(machine: &HostPlatform) -> Option<String> {
    let vms = vms(&[vm("a", "assay,mte;", &[AS_RAM])]);
    let world = world(machine, &vms, mte());
    let words = t1(&world);
    assert_eq!(to_prove(&world).is_empty(), words.is_some());
    words
}

#[test]
fn a_region_over_any_devices_registers_is_refused_and_names_the_device() {
    for (start, device) in [
        (0x902_0000, "/fw-cfg@9020000"),
        (0xa00_0000, "/virtio_mmio@a000000"),
        (0x901_0000, "/pl031@9010000"),
        (0x808_0000, "/intc/its@8080000"),
        (0x809_f000, "/intc/its@8080000"),
        (0x400_0000, "/flash@0"),
        (0x20_0000_1000, "/soc/timer@1000"),
        (0x21_000f_f000, "/soc/far@8ff000"),
        (0x20_0002_0000, "/soc/chips/nor@1,100"),
        (0x30_0000_1000, "/mc/port@0"),
        (0x60_0000_0000, "/pcie@0"),
    ] {
        let text = refused(&platform(DEVICES, &region(start))).expect(device);
        assert!(text.ends_with(&format!("the registers of {device}")), "{start:#x}: {text}");
    }
    let text = refused(&platform(&DEVICES.replace("nor@1,100 {", "x {"), &region(0x20_0002_0000))).unwrap();
    assert!(text.contains("/soc/chips/"), "{text}");
}

#[test]
fn registers_behind_three_buses_are_found_by_their_sum() {
    let only_led = DEVICES.replace("nor@1,100 { reg = <1 0x100 0x100>; };", "");
    let text = refused(&platform(&only_led, &region(0x20_0002_0000))).unwrap();
    assert!(text.ends_with("/soc/chips/fpga/led@10"), "{text}");
}

#[test]
fn what_no_bus_passes_on_or_what_is_disabled_is_in_nobodys_way() {
    // Beside the devices; where a bus would put them, did it pass them on; behind the end of a bus's range.
    for start in
        [0x902_1000, 0x20_0020_0000, 0x20_0000_0000, 0x21_0010_0000, 0x30_0000_0000, 0x50_0000_0000, 0x51_0000_0000]
    {
        assert_eq!(refused(&platform(DEVICES, &region(start))), None, "{start:#x}");
    }
}

#[test]
fn a_region_in_a_pci_window_is_refused_and_shown_the_other_way() {
    for start in [0x61_0000_f000, 0x62_0000_0000, 0x62_ffff_f000] {
        let machine = platform(DEVICES, &region(start));
        let text = refused(&machine).unwrap();
        assert!(text.ends_with("a window of the PCI host bridge /pcie@0"), "{text}");
    }
    assert_eq!(refused(&platform(DEVICES, &region(0x63_0000_0000))), None);
    assert_eq!(refused(&platform(DEVICES, &region(0x61_0001_0000))), None);
}

#[test]
fn a_device_that_an_overlay_enables_counts_and_one_that_it_disables_still_does() {
    let on = r#"status = "okay";"#;
    for (start, path) in [(0x50_0000_0000, "/off@50000000"), (0x50_0000_0000, "/off"), (0x51_0000_0000, "/bus")] {
        let machine = overlaid(DEVICES, &region(start), &[(path, on)]);
        assert!(refused(&machine).is_some_and(|text| text.contains("the registers of /")), "{path}");
    }
    for path in ["/fw-cfg@9020000", "/fw-cfg"] {
        let machine = overlaid(DEVICES, &region(0x902_0000), &[(path, r#"status = "disabled";"#)]);
        assert!(refused(&machine).is_some());
    }
    let moved = overlaid(DEVICES, &region(0x901_0000), &[("rtc", "reg = <0x70 0 0 0x1000>;")]);
    assert!(refused(&moved).is_some());
    let there = overlaid(DEVICES, &region(0x70_0000_0000), &[("rtc", "reg = <0x70 0 0 0x1000>;")]);
    assert!(refused(&there).unwrap().ends_with("/pl031@9010000"));
}

#[test]
fn a_device_that_an_overlay_adds_counts_on_whatever_bus() {
    let device = "led@40 { reg = <0x40000 0x10>; };";
    let on_soc = overlaid(DEVICES, &region(0x20_0004_0000), &[("/soc", device)]);
    assert!(refused(&on_soc).unwrap().ends_with("/soc/led@40"));
    let body = format!("soc {{ {device} }};");
    let from_the_root = overlaid(DEVICES, &region(0x20_0004_0000), &[("/", &body)]);
    assert!(refused(&from_the_root).unwrap().ends_with("/soc/led@40"));
    let own_bus =
        "new { #address-cells = <1>; #size-cells = <1>; ranges = <0 0x70 0 0x10000>; a@0 { reg = <0 0x1000>; }; };";
    assert!(refused(&overlaid("", &region(0x70_0000_0000), &[("/", own_bus)])).unwrap().ends_with("/new/a@0"));
    let off = r#"new { status = "disabled"; #address-cells = <2>; #size-cells = <2>; ranges; a@0 { reg = <0x70 0 0 0x1000>; }; };"#;
    assert_eq!(refused(&overlaid("", &region(0x70_0000_0000), &[("/", off)])), None);
}

#[test]
fn a_region_that_an_overlay_declares_is_no_device_and_meets_those_of_the_firmware() {
    for (path, open, close) in [("/reserved-memory", "", ""), ("/", "reserved-memory {", "};")] {
        let declared = |start| overlaid(DEVICES, "", &[(path, &format!("{open} {} {close}", region(start)))]);
        assert_eq!(refused(&declared(0x70_0000_0000)), None);
        assert!(refused(&declared(0x902_0000)).unwrap().ends_with("/fw-cfg@9020000"));
    }
}

#[test]
fn registers_are_no_ram_whatever_the_memory_nodes_say() {
    let machine = platform("trng@50000000 { reg = <0 0x50000800 0 0x1000>; };", "");
    assert!(machine.not_free().any(|hole| hole == pa(0x5000_0800, 0x1000)));
}
