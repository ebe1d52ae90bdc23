//! Devices of the platform tree: what is said of them below the table, and to programs.

use assay_harness::manifest::Manifest;

use super::super::print;
use super::{BOARD, vm};

/// An Ethernet behind an SMMU, and a UART whose clock nobody knows.
const DEVICES: &str = r#"
    smmu@9050000 { compatible = "arm,smmu-v3"; reg = <0 0x9050000 0 0x20000>; dma-coherent; #iommu-cells = <1>; phandle = <77>; };
    ethernet@a000000 {
        compatible = "acme,ethernet"; reg = <0 0xa000800 0 0x800>; interrupts = <0 5 4>, <0 6 1>; iommus = <77 0x20>; dma-coherent;
    };
    serial@b000000 { compatible = "arm,pl011"; reg = <0 0xb000000 0 0x1000>; clocks = <78>; };
    reserved-memory {
"#;

/// What is said of a VM with these lines on a board with these devices: the table, and JSON.
fn told_of_devices(lines: &str, devices: &str) -> (String, String) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let tree = std::env::temp_dir().join(format!("assay-devices-{}-{number}.dts", std::process::id()));
    std::fs::write(&tree, BOARD.replacen("    reserved-memory {", devices, 1)).unwrap();
    let manifest = Manifest::parse(&vm("linux", lines, "gpu0-memory", "aperture", "")).unwrap();
    let machine = super::super::machine(&tree, &manifest, std::path::Path::new(""), &mut Vec::new());
    std::fs::remove_file(&tree).unwrap();
    let report = super::super::decide_for(&machine.unwrap(), &manifest, "max").unwrap();
    (print::table(&report), print::json(&report))
}

#[test]
fn a_device_that_nothing_checks_is_told_to_reach_all_memory() {
    let unchecked = DEVICES.replace("iommus = <77 0x20>;", "");
    let device = "devices = [\"/ethernet@a000000\"]";
    let (text, json) = told_of_devices(&format!("{device}\nallow = [\"unchecked-dma\"]"), &unchecked);
    assert!(
        text.contains("    DMA by allow = [\"unchecked-dma\"]: it reads and writes all memory of the machine"),
        "{text}"
    );
    assert!(json.contains("\"unchecked-dma\": \"yes\""), "{json}");
    let (text, _) = told_of_devices(device, &unchecked);
    assert!(text.contains("no SMMUv3 that can be used is before it") && !text.contains("unchecked-dma\"]:"), "{text}");
}

#[test]
fn devices_are_told_with_where_the_guest_finds_them_and_what_they_reach() {
    let (text, json) = told_of_devices("devices = [\"/ethernet@a000000\", \"/serial@b000000\"]", DEVICES);
    let (_, text) = text.split_once("linux  device").unwrap();
    let wanted = [
        " /ethernet@a000000",
        "    registers 0xa000800 are at 0xc000800 in the guest, 0x800 bytes",
        "    interrupt 37 is 96 in the guest, level",
        "    interrupt 38 is 97 in the guest, edge",
        "    DMA by stream 0x20 of /smmu@9050000: it reaches memory, gpu0-memory",
        "linux  device /serial@b000000",
        "    registers 0xb000000 are at 0xc001000 in the guest, 0x1000 bytes",
        "    no DMA: it makes no accesses of its own",
        "    note: the rate of a clock is not known, and the guest is told 24 MHz: assay,clock-rates says another",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
    assert!(json.contains("\"/smmu@9050000:0x20\"") && json.contains("\"0xa000800:0xc000800:0x800\""), "{json}");
}
