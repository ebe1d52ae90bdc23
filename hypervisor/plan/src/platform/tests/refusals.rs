//! What is wrong with bad trees, in words.

use std::string::{String, ToString};

use super::super::PlatformError;
use super::super::early::conduit;
use super::{BOARD, changed, compile, early_console, machine, parse, refused};
use crate::gate::{MAX_BYTES, MAX_SCANNED, TreeError};
use crate::pci::BarFault;
use assay_spec::addr::Pa;

#[test]
fn bytes_that_are_no_tree_are_refused() {
    let error = parse(b"not a device tree at all, but long enough to hold a header").unwrap_err();
    assert_eq!(error, PlatformError::Tree(TreeError::NoMagic));
}

#[test]
fn missing_memory_is_named() {
    refused("device_type = \"memory\"", "device_type = \"nothing\"", &["/memory:", "RAM"]);
}

#[test]
fn memory_in_two_entries_is_refused_by_both_names() {
    let to = "reg = <0 0x7ffff000 0 0x40000000>";
    refused("reg = <0x80 0 0 0x40000000>", to, &["/memory@40000000 and /memory@8000000000", "overlap"]);
}

#[test]
fn memory_that_wraps_is_refused() {
    let to = "reg = <0xffffffff 0xfffff000 0 0x1000>";
    refused("reg = <0x80 0 0 0x40000000>", to, &["/memory@8000000000", "reg", "2^64"]);
}

#[test]
fn cells_that_make_no_sense_are_refused() {
    refused(
        "#address-cells = <2>; #size-cells = <2>;\n    interrupt",
        "#address-cells = <0>; #size-cells = <0>;\n    interrupt",
        &["reg", "#address-cells"],
    );
    refused(
        "#address-cells = <2>; #size-cells = <2>;\n    interrupt",
        "#address-cells = <2 2>; #size-cells = <2>;\n    interrupt",
        &["/", "#address-cells", "one cell"],
    );
    refused(
        "#address-cells = <1>; #size-cells = <0>;",
        "#address-cells = <0>; #size-cells = <0>;",
        &["/cpus/cpu@0", "reg"],
    );
}

#[test]
fn a_reg_of_the_wrong_length_is_refused() {
    refused("reg = <0x80 0 0 0x40000000>", "reg = <0x80 0 0x40000000>", &["/memory@8000000000", "reg", "whole"]);
    refused("reg = <0x40 0 0 0x4000000>", "reg = <0x40 0x4000000>", &["gpu0-memory@4000000000", "reg"]);
}

#[test]
fn lists_that_no_machine_has_are_refused() {
    let many: String = (0..2000).map(|n| std::format!("cpu@{n} {{ reg = <{n}>; device_type = \"cpu\"; }};")).collect();
    refused("cpu-map { };", &many, &["/cpus", "1024"]);
    let long = "reg = <".to_string() + &"0 0 0 0 ".repeat(257) + ">";
    refused("reg = <0x80 0 0 0x40000000>", &long, &["/memory@8000000000", "4 KiB"]);
}

#[test]
fn a_machine_without_cpus_is_refused() {
    refused("cpus {", "processors {", &["/cpus", "no CPU"]);
}

#[test]
fn cpus_need_an_affinity_of_their_own() {
    refused("reg = <0x100>;", "reg = <0>;", &["/cpus/cpu@0 and /cpus/cpu@1", "affinity"]);
    refused("reg = <0x100>;", "reg = <0x80000100>;", &["/cpus/cpu@1", "MPIDR"]);
    refused("reg = <0x100>;", "", &["/cpus/cpu@1", "reg"]);
}

#[test]
fn a_spin_table_needs_its_address() {
    refused("cpu-release-addr = <0 0xd8>;", "", &["/cpus/cpu@1", "cpu-release-addr"]);
    refused("cpu-release-addr = <0 0xd8>;", "cpu-release-addr = <0 0xd9>;", &["multiple of 8"]);
}

#[test]
fn a_missing_gic_or_timer_is_named() {
    refused("arm,gic-v3", "arm,gic-v9", &["interrupt controller", "arm,gic-v3"]);
    refused("arm,armv8-timer", "acme,timer", &["timer", "arm,armv8-timer"]);
}

#[test]
fn a_gic_without_virtualization_says_what_to_do() {
    refused("interrupts = <1 9 4>;", "", &["/interrupt-controller@8000000", "maintenance", "virtualization=on"]);
    let two =
        changed("arm,gic-v3", "arm,cortex-a15-gic").replace(", <0 0x90a0000 0 0x200000>, <0 0x8010000 0 0x10000>", "");
    let text = parse(&compile(&two)).unwrap_err().to_string();
    assert!(text.contains("GICH and GICV"), "{text}");
}

#[test]
fn redistributors_must_be_as_many_as_announced() {
    for to in ["<0>", "<4>", "<0xffffffff>"] {
        let to = std::format!("#redistributor-regions = {to}");
        refused("#redistributor-regions = <2>", &to, &["/interrupt-controller@8000000", "#redistributor-regions"]);
    }
}

#[test]
fn interrupt_numbers_that_the_gic_has_not_are_refused() {
    refused("interrupts = <1 9 4>", "interrupts = <1 16 4>", &["/interrupt-controller@8000000", "interrupts"]);
    refused("interrupts = <0 1 4>", "interrupts = <0 988 4>", &["/soc/uart@1000", "interrupts"]);
    refused("interrupts = <0 1 4>", "interrupts = <7 1 4>", &["/soc/uart@1000", "interrupts"]);
    refused("interrupts = <0 1 4>", "interrupts = <0 1>", &["/soc/uart@1000", "whole specifiers"]);
    refused("<1 13 4 1 14 4 1 11 4 1 10 4>", "<1 13 4 1 14 4>", &["/timer", "EL2 physical timer"]);
    refused("<1 13 4 1 14 4 1 11 4 1 10 4>", "<1 13 4 0 14 4 1 11 4 1 10 4>", &["/timer"]);
    refused("#interrupt-cells = <3>", "#interrupt-cells = <0>", &["#interrupt-cells"]);
}

#[test]
fn interrupt_parents_in_a_circle_end() {
    let circle = changed("interrupt-parent = <1>;", "interrupt-parent = <9>;");
    let circle = circle.replace("psci {", "loop { phandle = <9>; interrupt-parent = <9>; }; psci {");
    let text = parse(&compile(&circle)).unwrap_err().to_string();
    assert!(text.contains("/interrupt-controller@8000000"), "{text}");
}

#[test]
fn a_console_that_no_bus_reaches_is_refused() {
    for to in ["", "ranges = <0 0 0x9000000 0x1fff>;", "ranges = <0x2000 0 0x9000000 0x100000>;"] {
        refused("ranges = <0 0 0x9000000 0x100000>;", to, &["/soc/uart@1000", "ranges"]);
    }
    assert!(early_console(&compile(&changed("ranges = <0 0 0x9000000 0x100000>;", ""))).is_none());
}

#[test]
fn a_tree_that_is_too_large_still_shows_where_to_say_so() {
    let sized = |bytes: usize| {
        let mut blob = compile(BOARD);
        blob.resize(bytes, 0);
        blob[4..8].copy_from_slice(&u32::try_from(bytes).unwrap().to_be_bytes());
        blob
    };
    let large = sized(MAX_BYTES + 8);
    assert_eq!(parse(&large).unwrap_err(), PlatformError::Tree(TreeError::TooLarge));
    assert_eq!(early_console(&large), early_console(&compile(BOARD)));
    assert!(conduit(&large).is_some());
    let larger = sized(MAX_SCANNED + 8);
    assert_eq!((early_console(&larger), conduit(&larger)), (None, None));
}

#[test]
fn a_tree_that_is_too_deep_or_has_long_names_still_shows_where_to_say_so() {
    let (deep, long) = ("a { ".repeat(60) + &"}; ".repeat(60), "n".repeat(3000));
    for (more, error, words) in [
        (deep, TreeError::TooDeep, "15 levels"),
        (std::format!("{long} {{ }};"), TreeError::LongName, "255 characters"),
        (std::format!("other {{ {long} = <1>; }};"), TreeError::LongName, "255 characters"),
    ] {
        let blob = compile(&changed("aliases {", &(more + " aliases {")));
        assert_eq!(parse(&blob).unwrap_err(), PlatformError::Tree(error));
        assert!(error.to_string().contains(words));
        assert_eq!(early_console(&blob), early_console(&compile(BOARD)));
        assert!(conduit(&blob).is_some());
    }
}

#[test]
fn an_initrd_needs_two_ends_in_order() {
    refused("linux,initrd-end = <0 0x48001234>;", "", &["/chosen", "linux,initrd-end"]);
    refused("linux,initrd-start = <0x48000000>;", "", &["/chosen", "linux,initrd-start"]);
    refused("<0 0x48001234>", "<0 0x47ffffff>", &["/chosen", "linux,initrd-end", "below"]);
}

#[test]
fn an_unknown_conduit_is_refused() {
    refused("method = \"smc\"", "method = \"svc\"", &["/psci", "method"]);
    assert_eq!(machine(&changed("\"arm,psci-1.0\", \"arm,psci-0.2\"", "\"arm,psci\"")).psci, None);
}

#[test]
fn a_bar_is_three_cells() {
    for to in ["<0 0x10>", "<0 0x10 6>", "<0 0x10000 2>", "<0 0x10 2 0>"] {
        let to = std::format!("assay,pci-bar = {to}");
        refused("assay,pci-bar = <0 0x10 2>", &to, &["npu0-memory", "assay,pci-bar", "three cells"]);
    }
}

#[test]
fn a_firmware_reservation_that_wraps_is_refused() {
    let to = "<0xffffffff 0xfffff000 0 0x2000>";
    refused("<0 0x60000000 0 0x1000>", to, &["firmware@50000000", "reg", "2^64"]);
}

#[test]
fn a_pci_host_that_cannot_be_read_is_named_and_stops_nobody_if_its_addresses_are_known() {
    for (to, told) in [
        ("bus-range = <0 16>", "property reg: must hold 1 MiB"),
        ("bus-range = <5 4>", "property bus-range"),
        ("bus-range = <0 15>; iommu-map = <0 1 2>", "property iommu-map"),
        ("bus-range = <0 15>; msi-map = <0>", "property msi-map"),
        // The console is no interrupt controller.
        ("bus-range = <0 15>; interrupt-map = <0 0 0 1 2 0 1 4>", "property interrupt-map"),
    ] {
        let source = changed("bus-range = <0 15>", to).replace("uart@1000 {", "uart@1000 { phandle = <2>;");
        let machine = machine(&source);
        assert_eq!(machine.ecam_host(0, 0), Err(BarFault::NoHost), "{to}");
        let odd = machine.oddities();
        let said = odd.iter().any(|odd| odd.node == "/pcie@10000000" && odd.reason.contains(told));
        assert!(said, "{to}: {odd:?}");
        // Its windows are no memory all the same.
        assert!(machine.registers().any(|it| it.is_window && it.region.start == Pa(0x1000_0000)), "{to}");
    }
    refused("0x43000000 0x80 0 0x80 0 0x80 0", "0x43000000 0x80 0 0x80 0 0x80", &["/pcie@10000000", "ranges"]);
}
