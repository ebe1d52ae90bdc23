//! What is read from good trees.

use std::string::String;
use std::vec::Vec;

use assay_spec::addr::Pa;
use assay_spec::intid::IntId;

use assay_spec::smccc::Conduit;
use assay_spec::uart::{CADENCE, DW, IMX, LPUART, Layout, MINI_UART, NS16550, PL011, PXA, SBSA, TI, Uart, Wired};

use super::super::{Console, Enable, HostGic, HostPlatform, PciBar, PciWindow};
use super::{BOARD, changed, compile, early_console, machine, region};
use crate::pci::BarFault;

#[test]
fn every_entry_of_every_memory_node_is_ram() {
    let machine = machine(BOARD);
    let memory: Vec<_> = machine.memory.iter().map(|node| (node.region, node.numa, node.no_mte)).collect();
    let expected = [
        (region(0x4000_0000, 0x4000_0000), Some(0), false),
        (region(0x1_0000_0000, 0x1000_0000), Some(0), false),
        (region(0x80_0000_0000, 0x4000_0000), Some(1), true),
    ];
    assert_eq!(memory, expected);
    assert_eq!(machine.memory[1].path, "/memory@40000000");
}

#[test]
fn an_entry_of_size_zero_is_no_ram() {
    let machine = machine(&changed("<1 0 0 0x10000000>", "<1 0 0 0>"));
    assert_eq!(machine.memory.len(), 2);
}

#[test]
fn reservations_are_the_blocks_and_the_static_nodes() {
    let machine = machine(BOARD);
    let reserved: Vec<_> = machine.reserved.iter().map(|one| (one.path.as_str(), one.region, one.no_map)).collect();
    let firmware = "/reserved-memory/firmware@50000000";
    let expected = [
        ("/memreserve/", region(0x4000_0000, 0x1000), false),
        (firmware, region(0x5000_0000, 0x10_0000), true),
        (firmware, region(0x6000_0000, 0x1000), true),
    ];
    assert_eq!(reserved, expected);
}

#[test]
fn ram_that_no_cpu_addresses_is_left_out_and_named() {
    let far = changed("reg = <0x80 0 0 0x40000000>", "reg = <0x80 0 0 0x40000000>, <0xfffff 0xffff0000 0 0x1000>");
    let cut = |source: &str, bits: u8| {
        let mut machine = machine(source);
        machine.cut_memory(bits);
        let said: Vec<_> = machine.oddities().iter().map(|odd| String::from(odd.node)).collect();
        (machine.memory.iter().map(|node| node.region).collect::<Vec<_>>(), said)
    };
    let near = [region(0x4000_0000, 0x4000_0000), region(0x1_0000_0000, 0x1000_0000)];
    let all = [near[0], near[1], region(0x80_0000_0000, 0x4000_0000)];
    assert_eq!(cut(BOARD, 40), (all.to_vec(), Vec::new()));
    let path = || String::from("/memory@8000000000");
    for bits in [40, 48, 52] {
        assert_eq!(cut(&far, bits), (all.to_vec(), [path()].to_vec()));
    }
    assert_eq!(cut(&far, 39), (near.to_vec(), [path(), path()].to_vec()));
    let below = [region(0x4000_0000, 0x4000_0000)];
    assert_eq!(cut(BOARD, 32), (below.to_vec(), ["/memory@40000000", "/memory@8000000000"].map(String::from).to_vec()));
    // Cut in two.
    let half = changed("reg = <0x80 0 0 0x40000000>", "reg = <0x7f 0xc0000000 0 0x80000000>");
    assert_eq!(cut(&half, 39).0[2], region(0x7f_c000_0000, 0x4000_0000));
}

#[test]
fn cpus_keep_their_order_and_the_disabled_ones_are_left_out() {
    let machine = machine(BOARD);
    let cpus: Vec<_> = machine.cpus.iter().map(|cpu| (cpu.mpidr, cpu.enable)).collect();
    let release = Pa(0xd8);
    let expected = [(0, Enable::Psci), (0x100, Enable::SpinTable { release }), (0x1_0300, Enable::None)];
    assert_eq!(cpus, expected);
    // The table is in no memory here; if it were, its page were nobody's.
    let can: Vec<_> = machine.cpus.iter().map(|cpu| machine.can_start(cpu)).collect();
    assert_eq!(can, [true, false, false]);
    let inside = super::machine(&changed("0xd8>", "0x70000ff8>"));
    assert!(inside.can_start(&inside.cpus[1]) && inside.not_free().any(|hole| hole == region(0x7000_0000, 0x1000)));
    let own = [("Assay's image", region(0x6ff0_0000, 0x10_0001))];
    let said = |machine: &HostPlatform, own: &[_]| machine.table_fault(&machine.cpus[1], own).unwrap_or_default();
    assert!(said(&machine, &own).contains("in no memory node"));
    assert!(said(&inside, &own).contains("its cpu-release-addr is in Assay's image: it is left out"));
    assert_eq!((said(&inside, &[]), inside.table_fault(&inside.cpus[0], &own)), (String::new(), None));
    assert_eq!((machine.cpus[0].numa, machine.cpus[1].numa), (Some(0), None));
    assert_eq!(machine.psci, Some(Conduit::Smc));
}

#[test]
fn an_affinity_may_have_two_cells_and_a_method_for_all() {
    let wide = changed(
        r#"#address-cells = <1>; #size-cells = <0>;"#,
        r#"#address-cells = <2>; #size-cells = <0>; enable-method = "psci";"#,
    );
    let wide = wide
        .replace("reg = <0>;", "reg = <1 0>;")
        .replace("reg = <0x100>;", "reg = <0 0x100>;")
        .replace("reg = <0x10300>;", "reg = <0xff 0xffffff>;");
    let machine = machine(&wide);
    let mpidrs: Vec<u64> = machine.cpus.iter().map(|cpu| cpu.mpidr).collect();
    assert_eq!(mpidrs, [0x1_0000_0000, 0x100, 0xff_00ff_ffff]);
    assert_eq!(machine.cpus[2].enable, Enable::Psci);
}

#[test]
fn a_gicv3_has_its_redistributor_ranges_and_no_more() {
    let gic = machine(BOARD).gic;
    let version = HostGic::V3 {
        dist: region(0x800_0000, 0x1_0000),
        redists: Vec::from([region(0x80a_0000, 0x10_0000), region(0x90a_0000, 0x20_0000)]),
        stride: Some(0x4_0000),
    };
    assert_eq!((gic.version, gic.maintenance), (version, IntId(25)));
}

#[test]
fn a_gicv2_has_four_frames() {
    let gic = machine(&changed("arm,gic-v3", "arm,gic-400")).gic;
    assert_eq!(machine(&changed("arm,gic-v3", "qcom,msm-qgic2")).gic, gic);
    let version = HostGic::V2 {
        dist: region(0x800_0000, 0x1_0000),
        cpu: region(0x80a_0000, 0x10_0000),
        hyp: region(0x90a_0000, 0x20_0000),
        vcpu: region(0x801_0000, 0x1_0000),
    };
    assert_eq!(gic.version, version);
}

#[test]
fn timer_interrupts_go_by_place_or_by_name() {
    let timer = machine(BOARD).timer;
    assert_eq!((timer.phys, timer.virt, timer.hyp), (IntId(30), IntId(27), IntId(26)));
    let named = changed(
        "interrupts = <1 13 4 1 14 4 1 11 4 1 10 4>;",
        r#"interrupts = <1 11 4 1 14 4 1 10 4>; interrupt-names = "virt", "phys", "hyp-phys";"#,
    );
    assert_eq!(machine(&named).timer, timer);
    let extended = changed(
        "interrupts = <1 13 4 1 14 4 1 11 4 1 10 4>;",
        "interrupts-extended = <1 1 13 4 1 1 14 4 1 1 11 4 1 1 10 4>;",
    );
    assert_eq!(machine(&extended).timer, timer);
}

#[test]
fn the_console_is_found_by_alias_and_translated_through_its_bus() {
    let console = machine(BOARD).console.unwrap();
    let expected = Console {
        path: String::from("/soc/uart@1000"),
        wired: Some(Wired { uart: &PL011, layout: Layout::WORDS }),
        registers: region(0x900_1000, 0x1000),
        intid: Some(IntId(33)),
    };
    assert_eq!(console, expected);
    let early = early_console(&compile(BOARD)).unwrap();
    let expected = Console { path: String::new(), intid: None, ..expected };
    assert_eq!(early, expected);
}

#[test]
fn a_console_may_be_named_by_path() {
    for path in ["/soc/uart@1000", "/soc/uart@1000:9600", "/soc/uart"] {
        let source = changed("serial0:115200n8", path);
        assert_eq!(machine(&source).console.unwrap().path, "/soc/uart@1000");
        assert_eq!(early_console(&compile(&source)).unwrap().registers.start, Pa(0x900_1000));
    }
}

#[test]
fn a_console_that_is_nowhere_is_none() {
    for (from, to, told) in [
        ("serial0:115200n8", "serial9:9600", Some("is \"serial9\", which is neither the path of a device nor one")),
        ("serial0:115200n8", "/nowhere", Some("stdout-path is \"/nowhere\"")),
        ("stdout-path", "no-path", None),
    ] {
        let source = changed(from, to);
        let machine = machine(&source);
        assert_eq!(machine.console, None, "{to}");
        let odd = machine.oddities();
        let said =
            odd.iter().find(|odd| odd.node == "/chosen").map(|odd| odd.reason.contains(told.unwrap_or_default()));
        assert_eq!(said, told.map(|_| true), "{to}: {odd:?}");
        assert_eq!(early_console(&compile(&source)), None, "{to}");
    }
}

const UART: &str = r#"compatible = "arm,pl011", "arm,primecell";"#;

#[test]
fn a_console_that_nobody_drives_is_kept_from_vms() {
    for to in [
        r#"compatible = "acme,uart";"#,
        r#"compatible = "ns16550a"; reg-io-width = <2>;"#,
        r#"compatible = "ns16550a"; reg-io-width = <4>;"#,
        r#"compatible = "ns16550a"; reg-shift = <5>;"#,
        r#"compatible = "ns16550a"; reg-shift = <0 2>;"#,
        r#"compatible = "ns16550a"; reg-offset = <0x10000>;"#,
        // Its registers do not fit.
        r#"compatible = "ns16550a"; reg-offset = <0xffc>;"#,
    ] {
        let source = changed(UART, to);
        let console = machine(&source).console.unwrap();
        assert_eq!((console.wired, console.registers), (None, region(0x900_1000, 0x1000)), "{to}");
        // Nobody would take its interrupt back.
        assert_eq!(console.intid, None, "{to}");
        assert_eq!(early_console(&compile(&source)), None, "{to}");
    }
    // One of which nothing is known may be wired in any way.
    assert_eq!(machine(&changed(UART, "").replace("<0x1000 0x1000>", "<0x1000>")).console, None);
}

#[test]
fn uarts_are_known_by_their_compatible() {
    let bytes = Layout { width: 1, ..Layout::WORDS };
    let spread = Layout { shift: 2, ..Layout::WORDS };
    let at_0x10 = Layout { offset: 0x10, ..Layout::WORDS };
    let big = Layout { big_endian: true, ..Layout::WORDS };
    let cases: &[(&str, &str, &'static Uart, Layout)] = &[
        ("ns16550a", "", &NS16550, bytes),
        ("ns16550", "reg-shift = <1>; reg-offset = <3>;", &NS16550, Layout { shift: 1, offset: 3, ..bytes }),
        ("snps,dw-apb-uart", "reg-shift = <2>; reg-io-width = <4>;", &DW, spread),
        ("snps,dw-apb-uart", "reg-shift = <2>;", &DW, Layout { shift: 2, ..bytes }),
        // Its status is beyond the region.
        ("snps,dw-apb-uart", "reg-offset = <0xff0>;", &NS16550, Layout { offset: 0xff0, ..bytes }),
        ("marvell,armada-38x-uart", "reg-shift = <2>;", &DW, Layout { shift: 2, ..bytes }),
        ("mrvl,mmp-uart\", \"intel,xscale-uart", "", &PXA, spread),
        ("intel,xscale-uart", "reg-shift = <2>; reg-offset = <3>;", &PXA, Layout { shift: 2, offset: 3, ..bytes }),
        ("ns16550a", "reg-shift = <2>; reg-io-width = <4>; big-endian;", &NS16550, Layout { shift: 2, ..big }),
        ("ti,am654-uart", "", &TI, spread),
        ("mediatek,mt6577-uart", "", &NS16550, spread),
        ("brcm,bcm2835-aux-uart", "", &MINI_UART, spread),
        ("xlnx,xuartps", "", &CADENCE, Layout::WORDS),
        ("fsl,imx8mp-uart\", \"fsl,imx6q-uart", "", &IMX, Layout::WORDS),
        ("fsl,imx8qxp-lpuart\", \"fsl,imx7ulp-lpuart", "", &LPUART, at_0x10),
        ("fsl,ls1028a-lpuart", "", &LPUART, Layout::WORDS),
        ("fsl,ls1021a-lpuart", "", &LPUART, big),
        ("arm,sbsa-uart", "", &SBSA, Layout::WORDS),
    ];
    for (compatible, extra, uart, layout) in cases {
        let source = changed(UART, &std::format!(r#"compatible = "{compatible}"; {extra}"#));
        let wired = Some(Wired { uart, layout: *layout });
        assert_eq!(machine(&source).console.unwrap().wired, wired, "{compatible}");
        assert_eq!(early_console(&compile(&source)).unwrap().wired, wired, "{compatible}");
    }
}

#[test]
fn buses_translate_one_after_the_other() {
    let source = changed(
        "soc {",
        "far { #address-cells = <1>; #size-cells = <1>; ranges = <0x100 0x10 0x7000000 0xffffff00>; soc {",
    )
    .replace("ranges = <0 0 0x9000000 0x100000>", "ranges = <0 0x200 0x100000>")
    .replace("    reserved-memory {", "}; reserved-memory {")
    .replace("/soc/uart", "/far/soc/uart");
    let expected = region(0x10_0700_0000 + 0x1000 + 0x200 - 0x100, 0x1000);
    assert_eq!(machine(&source).console.unwrap().registers, expected);
    assert_eq!(early_console(&compile(&source)).unwrap().registers, expected);
}

#[test]
fn chosen_has_the_bootargs_the_initrd_and_the_seeds() {
    let machine = machine(BOARD);
    assert_eq!(machine.bootargs, "quiet assay.console=prefix");
    assert_eq!(machine.initrd, Some(region(0x4800_0000, 0x1234)));
    assert_eq!(machine.seed, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(machine.kaslr_seed, Some(7));
    assert_eq!(machine.model, "Acme Board");
    assert_eq!(machine.compatible, ["acme,board-2", "acme,board"]);
    assert!(!machine.uniform_memory);
}

#[test]
fn bootargs_without_a_value_are_empty() {
    let source = changed(r#"bootargs = "quiet assay.console=prefix";"#, "bootargs;");
    assert_eq!(machine(&source).bootargs, "");
}

#[test]
fn coherent_memory_is_kept_apart_from_the_reservations() {
    let machine = machine(BOARD);
    let [gpu, npu] = machine.coherent.as_slice() else {
        panic!("{:?}", machine.coherent);
    };
    assert_eq!(gpu.path, "/reserved-memory/gpu0-memory@4000000000");
    assert_eq!((gpu.name.as_str(), gpu.numa), ("gpu0-memory", Some(2)));
    assert_eq!(gpu.reg, Some(region(0x40_0000_0000, 0x400_0000)));
    assert_eq!((gpu.mte_capable, gpu.no_mte, gpu.no_map), (true, false, true));
    assert_eq!((npu.reg, npu.reg_count, npu.length), (None, 0, Some(0x400_0000)));
    let bar = PciBar { segment: 0, requester_id: 0x10, bar: 2 };
    assert_eq!((npu.pci_bar, npu.mte_capable), (Some(bar), false));
}

#[test]
fn a_coherent_region_that_is_no_single_range_is_kept_for_the_policy_to_refuse() {
    for (to, count) in [
        ("reg = <0x40 0 0 0x4000000 0x50 0 0 0x4000000>;", 2),
        ("reg = <0x40 0 0 0>;", 1),
        ("reg = <0xffffffff 0xfffff000 0 0x2000>;", 1),
        ("", 0),
    ] {
        let machine = machine(&changed("reg = <0x40 0 0 0x4000000>;", to));
        assert_eq!((machine.coherent[0].reg, machine.coherent[0].reg_count), (None, count));
        // Refused for every VM as coherent memory, it must not become anybody's RAM either.
        let kept = |start| {
            let mut reserved = machine.reserved.iter();
            reserved.any(|reserved| reserved.region == region(start, 0x400_0000))
        };
        assert_eq!((kept(0x40_0000_0000), kept(0x50_0000_0000)), (count == 2, count == 2));
    }
}

#[test]
fn pci_hosts_have_their_memory_windows() {
    let machine = machine(BOARD);
    let host = &machine.pcie[0];
    assert_eq!((host.segment, host.buses), (0, (0, 15)));
    assert_eq!(host.ecam, region(0x40_1000_0000, 0x100_0000));
    let window = |bus, region, wide| PciWindow { bus, region, wide, prefetchable: wide };
    let expected = [
        window(0x1000_0000, region(0x1000_0000, 0x100_0000), false),
        window(0x80_0000_0000, region(0x80_0000_0000, 0x80_0000_0000), true),
    ];
    assert_eq!(host.windows, expected);
}

#[test]
fn a_pci_host_is_found_by_segment_and_bus_unless_its_configuration_space_is_memory_too() {
    let board = machine(BOARD);
    assert_eq!(board.ecam_host(0, 15), Ok(&board.pcie[0]));
    assert_eq!(board.ecam_host(0, 16), Err(BarFault::NoHost));
    assert_eq!(board.ecam_host(1, 0), Err(BarFault::NoHost));
    for elsewhere in [
        // RAM, and RAM that firmware keeps some of.
        "reg = <0 0x40000000 0 0x1000000>;",
        "reg = <0 0x4f001000 0 0x1000000>;",
    ] {
        let from = "reg = <0x40 0x10000000 0 0x1000000>;";
        let board = machine(&changed(from, elsewhere));
        assert_eq!(board.ecam_host(0, 0), Err(BarFault::NoEcam));
    }
    let from = "firmware@50000000 { reg = <0 0x50000000 0 0x100000>";
    let to = "firmware@4010fff000 { reg = <0x40 0x10fff000 0 0x1000>";
    let board = machine(&changed(from, to));
    assert_eq!(board.ecam_host(0, 0), Err(BarFault::NoEcam));
}

#[test]
fn uniform_memory_is_the_roots_word() {
    assert!(machine(&changed("model =", "assay,uniform-memory; model =")).uniform_memory);
}
