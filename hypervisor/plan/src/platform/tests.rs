//! Platform trees, good and bad: what the `HostPlatform` holds, and what the errors say.

mod boards;
mod bridges;
mod damage;
mod early;
mod masters;
mod overlays;
mod refusals;
mod streams;

use std::string::{String, ToString};

use assay_spec::addr::{Pa, Region};
use assay_spec::intid::IntId;

use super::{HostPlatform, PlatformError, early_console, facts, parse};
use crate::gate::Tree;
use crate::gate::tests::dts::compile;

/// A small machine with one of everything that EL2 reads.
const BOARD: &str = r#"
/memreserve/ 0x40000000 0x1000;
/ {
    #address-cells = <2>; #size-cells = <2>;
    interrupt-parent = <1>;
    model = "Acme Board"; compatible = "acme,board-2", "acme,board";
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>, <1 0 0 0x10000000>; numa-node-id = <0>; };
    memory@8000000000 { device_type = "memory"; reg = <0x80 0 0 0x40000000>; numa-node-id = <1>; arm,no-mte; };
    chosen {
        stdout-path = "serial0:115200n8"; bootargs = "quiet assay.console=prefix";
        linux,initrd-start = <0x48000000>; linux,initrd-end = <0 0x48001234>;
        rng-seed = <0x01020304 0x05060708>; kaslr-seed = <0 7>;
    };
    aliases { serial0 = "/soc/uart@1000"; };
    cpus {
        #address-cells = <1>; #size-cells = <0>;
        cpu@0 { device_type = "cpu"; reg = <0>; enable-method = "psci"; numa-node-id = <0>; };
        cpu@1 { device_type = "cpu"; reg = <0x100>; enable-method = "spin-table"; cpu-release-addr = <0 0xd8>; };
        cpu@2 { device_type = "cpu"; reg = <0x200>; status = "disabled"; };
        cpu@3 { device_type = "cpu"; reg = <0x10300>; status = "okay"; };
        cpu-map { };
    };
    psci { compatible = "arm,psci-1.0", "arm,psci-0.2"; method = "smc"; };
    timer { compatible = "arm,armv8-timer"; interrupts = <1 13 4 1 14 4 1 11 4 1 10 4>; };
    interrupt-controller@8000000 {
        compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller; phandle = <1>;
        #redistributor-regions = <2>; redistributor-stride = <0 0x40000>;
        reg = <0 0x8000000 0 0x10000>, <0 0x80a0000 0 0x100000>, <0 0x90a0000 0 0x200000>, <0 0x8010000 0 0x10000>;
        interrupts = <1 9 4>;
    };
    soc {
        #address-cells = <1>; #size-cells = <1>; ranges = <0 0 0x9000000 0x100000>;
        uart@1000 { compatible = "arm,pl011", "arm,primecell"; reg = <0x1000 0x1000>; interrupts = <0 1 4>; };
    };
    reserved-memory {
        #address-cells = <2>; #size-cells = <2>; ranges;
        firmware@50000000 { reg = <0 0x50000000 0 0x100000>, <0 0x60000000 0 0x1000>; no-map; };
        off@51000000 { reg = <0 0x51000000 0 0x100000>; status = "disabled"; };
        pool { size = <0 0x100000>; };
        gpu0-memory@4000000000 {
            compatible = "assay,coherent-memory"; reg = <0x40 0 0 0x4000000>; no-map;
            assay,mte-capable; numa-node-id = <2>;
        };
        npu0-memory {
            compatible = "assay,coherent-memory"; assay,pci-bar = <0 0x10 2>; assay,length = <0 0x4000000>; no-map;
        };
    };
    pcie@10000000 {
        compatible = "pci-host-ecam-generic"; #address-cells = <3>; #size-cells = <2>;
        reg = <0x40 0x10000000 0 0x1000000>; bus-range = <0 15>; linux,pci-domain = <0>;
        ranges = <0x1000000 0 0 0 0x3eff0000 0 0x10000>, <0x2000000 0 0x10000000 0 0x10000000 0 0x1000000>, <0x43000000 0x80 0 0x80 0 0x80 0>;
    };
};
"#;

/// The board with its text changed; the text must be there.
fn changed(from: &str, to: &str) -> String {
    assert!(BOARD.contains(from), "{from}");
    BOARD.replace(from, to)
}

fn region(start: u64, size: u64) -> Region<Pa> {
    Region::new(Pa(start), size).unwrap()
}

fn machine(source: &str) -> HostPlatform {
    parse(&compile(source)).unwrap()
}

/// Reads an overlay for a machine that was made of `source`.
fn overlay(machine: &mut HostPlatform, source: &str, dtbo: &[u8]) -> Result<bool, PlatformError> {
    let blob = compile(source);
    facts::overlay(machine, &Tree::new(&blob).unwrap(), dtbo)
}

fn error(from: &str, to: &str) -> PlatformError {
    parse(&compile(&changed(from, to))).unwrap_err()
}

/// Asserts that the change is refused in a sentence that has these words.
fn refused(from: &str, to: &str, words: &[&str]) {
    let text = error(from, to).to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
}

#[test]
fn the_performance_monitors_are_those_whose_interrupt_is_private() {
    let with = |node: &str| machine(&changed("    soc {", &std::format!("    {node}\n    soc {{"))).pmu;
    assert_eq!(machine(BOARD).pmu, None);
    assert_eq!(with(r#"pmu { compatible = "arm,armv8-pmuv3"; interrupts = <1 7 4>; };"#), Some(IntId(23)));
    assert_eq!(with(r#"pmu { compatible = "arm,neoverse-n1-pmu"; interrupts = <1 7 4>; };"#), Some(IntId(23)));
    for none in [
        r#"pmu { compatible = "arm,armv8-pmuv3"; interrupts = <0 7 4 0 8 4>; };"#,
        r#"pmu { compatible = "arm,armv8-pmuv3"; };"#,
        r#"pmu { compatible = "acme,soc-pmu"; interrupts = <1 7 4>; };"#,
        r#"pmu { compatible = "arm,armv8-pmuv3"; interrupts = <1 7 4>; status = "disabled"; };"#,
        r#"pmu { compatible = "arm,armv8-pmuv3"; interrupts = <1>; };"#,
    ] {
        assert_eq!(with(none), None, "{none}");
    }
}
