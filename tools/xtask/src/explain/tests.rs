//! From a tree and a manifest to rows.

use anyhow::Result;
use assay_harness::manifest::Manifest;
use assay_harness::overlay;
use assay_plan::platform::{self, HostPlatform};

use super::{Report, cpus, print};

mod devices;
mod picture;

/// Two CPUs, 1 GiB of RAM, a marked and an unmarked region, and one that is wrong.
const BOARD: &str = r#"/dts-v1/;
/ {
    #address-cells = <2>; #size-cells = <2>; interrupt-parent = <1>; compatible = "acme,board";
    cpus {
        #address-cells = <1>; #size-cells = <0>;
        cpu@0 { device_type = "cpu"; reg = <0>; };
        cpu@1 { device_type = "cpu"; reg = <1>; };
    };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
    timer { compatible = "arm,armv8-timer"; interrupts = <1 13 4 1 14 4 1 11 4 1 10 4>; };
    interrupt-controller@8000000 {
        compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller; phandle = <1>;
        reg = <0 0x8000000 0 0x10000>, <0 0x80a0000 0 0x100000>; interrupts = <1 9 4>;
    };
    reserved-memory {
        #address-cells = <2>; #size-cells = <2>; ranges;
        gpu0-memory@4000000000 {
            compatible = "assay,coherent-memory"; reg = <0x40 0 0 0x4000000>; no-map; assay,mte-capable;
        };
        cxl@5000000000 { compatible = "assay,coherent-memory"; reg = <0x50 0 0 0x4000000>; no-map; };
        odd@6000000000 { compatible = "assay,coherent-memory"; reg = <0x60 0x10 0 0x4000000>; };
    };
};
"#;

fn board() -> HostPlatform {
    platform::parse(&overlay::compile(BOARD).unwrap()).unwrap()
}

fn explain(manifest: &str, cpu: &str, proof: &[&str]) -> Result<Report> {
    let manifest = Manifest::parse(manifest)?;
    let given: Result<Vec<_>> = proof.iter().map(|text| text.parse()).collect();
    Report::new(&board(), &manifest, &cpus::common(&[cpu.to_owned()])?, &given?, &|_| None)
}

/// A VM with one claim.
fn vm(name: &str, rest: &str, region: &str, use_: &str, claim: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nmemory = \"256M\"\nkernel = \"nowhere/Image\"\n{rest}\n\
         [[vm.coherent]]\nregion = \"{region}\"\nuse = \"{use_}\"\n{claim}\n"
    )
}

/// The console lines of all rows.
fn lines(report: &Report) -> Vec<String> {
    report.rows.iter().map(|row| row.line.to_string()).collect()
}

#[test]
fn rows_are_the_lines_of_the_console() {
    let manifest = vm("linux", "mte = true", "gpu0-memory", "ram", "");
    let report = explain(&manifest, "max", &[]).unwrap();
    assert_eq!(
        lines(&report),
        [
            "assay: decision vm=linux region=memory use=ram ipa=0x40000000 size=0x10000000 attr=normal-wb \
             exec=yes mte=exposed rule=M1 proof=not-run",
            "assay: decision vm=linux region=gpu0-memory use=ram ipa=0x80000000 size=0x4000000 \
             attr=normal-wb exec=yes mte=exposed rule=C1 proof=not-run",
        ]
    );
    assert_eq!(report.rows[1].node, "/reserved-memory/gpu0-memory@4000000000");
    assert_eq!(report.refused(), [""; 0]);
    // 64 MiB, by the VM's one vCPU; RAM's clearing is not told.
    assert!(report.rows[1].cost.as_deref().unwrap().contains(" 5866688 instructions in all, by 1 vCPUs"));
    assert_eq!(report.rows[0].cost, None);
}

#[test]
fn a_refusal_has_rule_reason_and_remedy_and_the_others_start() {
    let manifest = vm("bad", "", "cxl", "dax", "") + &vm("good", "", "gpu0-memory", "aperture", "");
    let report = explain(&manifest, "max", &[]).unwrap();
    assert_eq!(report.refused(), ["bad"]);
    let refused = &report.rows[1].line;
    assert_eq!(refused.kind, "refused");
    assert_eq!(refused.get("region"), Some("cxl"));
    assert_eq!(refused.get("rule"), Some("C5"));
    assert!(refused.get("remedy").unwrap().contains("assay,mte-capable"));
    let json: serde_json::Value = serde_json::from_str(&print::json(&report)).unwrap();
    assert_eq!(json[1]["reason"], "the node has no assay,mte-capable");
    assert_eq!(json[1]["kind"], "refused");
    assert_eq!(json[3]["attr"], "normal-wb");
    assert_eq!(json[3]["ipa"], "0x80000000");
    assert_eq!(json[3]["node"], "/reserved-memory/gpu0-memory@4000000000");
    assert_eq!(json.as_array().map(Vec::len), Some(4));
}

#[test]
fn the_cpus_decide_with() {
    let manifest = vm("linux", "", "gpu0-memory", "ram", "");
    let report = explain(&manifest, "neoverse-n1", &[]).unwrap();
    assert_eq!(report.rows[1].line.get("rule"), Some("C3"));
    let manifest = vm("linux", "mte = true", "cxl", "dax", "allow = [\"no-tag-access\"]");
    let report = explain(&manifest, "max", &[]).unwrap();
    assert_eq!(report.refused(), ["linux"]);
    let report = explain(&manifest, "max-mteperm", &[]).unwrap();
    assert_eq!(report.rows[1].line.get("attr"), Some("normal-wb-notag"));
    assert_eq!(report.rows[1].notices.len(), 1);
}

#[test]
fn a_given_proof_decides_with_of_all_regions_or_of_one() {
    let manifest = vm("linux", "", "gpu0-memory", "dax", "");
    let rule = |proof: &[&str]| {
        let report = explain(&manifest, "max", proof).unwrap();
        let get = |row: usize, key| report.rows[row].line.get(key).map(str::to_owned);
        (get(0, "proof"), get(1, "rule"))
    };
    let is = |ram: &str, rule: &str| (Some(ram.to_owned()), Some(rule.to_owned()));
    assert_eq!(rule(&["passed"]), is("passed", "C1"));
    assert_eq!(rule(&["failed-tags"]), is("passed", "C5"));
    assert_eq!(rule(&["failed-memory"]), is("passed", "T1"));
    assert_eq!(rule(&["gpu0-memory=failed-tags"]), is("not-run", "C5"));
    assert_eq!(rule(&["failed-tags", "gpu0-memory=passed"]), is("passed", "C1"));
    assert_eq!(rule(&["cxl=failed-memory"]), is("not-run", "C1"));
    assert_eq!(rule(&["memory=failed-tags"]), is("failed-tags", "C1"));
}

#[test]
fn ram_without_tags_refuses_a_vm_that_asks_for_mte() {
    let manifest = vm("linux", "mte = true", "gpu0-memory", "ram", "");
    let report = explain(&manifest, "max", &["memory=failed-tags"]).unwrap();
    assert_eq!(report.rows[0].line.get("rule"), Some("M3"));
    assert_eq!(report.rows[1].line.get("mte"), Some("hidden"));
    assert_eq!(report.refused(), ["linux"]);
}

#[test]
fn what_names_nothing_is_unusable_input() {
    let error = |manifest: &str, cpu, proof: &[&str]| format!("{:#}", explain(manifest, cpu, proof).unwrap_err());
    let text = error(&vm("linux", "", "gpu1", "ram", ""), "max", &[]);
    assert!(text.contains("linux") && text.contains("gpu1") && text.contains("gpu0-memory"));
    let fine = vm("linux", "", "gpu0-memory", "ram", "");
    assert!(error(&fine, "z80", &[]).contains("z80"));
    assert!(error(&fine, "max", &["gpu1=passed"]).contains("gpu1"));
    assert!(error(&fine, "max", &["maybe"]).contains("maybe"));
    assert!(error(&fine, "max", &["memory=failed-memory"]).contains("memory part"));
}

#[test]
fn a_vm_for_which_there_are_no_cpus_or_no_memory_is_refused() {
    let plain = |name: &str, rest: &str| format!("[[vm]]\nname = \"{name}\"\nkernel = \"k\"\n{rest}\n");
    let manifest = plain("a", "memory = \"64M\"\ncpus = [1]")
        + &plain("b", "memory = \"64M\"\ncpus = 2")
        + &plain("c", "memory = \"2G\"")
        + &plain("d", "memory = \"64M\"")
        + &plain("e", "memory = \"64M\"\ncpus = [1]");
    let report = explain(&manifest, "max", &[]).unwrap();
    assert_eq!(report.refused(), ["b", "c", "e"]);
    let refused = report.rows.iter().filter(|row| row.is_refused());
    let rules: Vec<_> = refused.map(|row| (row.vm(), row.line.get("rule"))).collect();
    assert_eq!(rules, [("b", Some("V1")), ("c", Some("V2")), ("e", Some("V1"))]);
}

#[test]
fn vms_that_share_cpus_get_what_is_left_of_them() {
    let vm = |name: &str, rest: &str| format!("[[vm]]\nname = \"{name}\"\nkernel = \"k\"\nmemory = \"64M\"\n{rest}\n");
    let shared = "sched = \"shared\"\n";
    let manifest = vm("a", &format!("{shared}cpus = 5"))
        + &vm("b", &format!("{shared}cpus = [1]\nbudget = \"1ms\"\nperiod = \"2ms\""))
        + &vm("c", "cpus = [1]")
        + &vm("d", "cpus = 1")
        + &vm("e", &format!("{shared}cpus = [1, 2]"));
    let report = explain(&manifest, "max", &[]).unwrap();
    // CPU 0 is d's own, CPU 1 nobody's, and there is no CPU 2.
    assert_eq!(report.refused(), ["c", "e"]);
    let alone = vm("a", shared) + &vm("b", "cpus = 2");
    assert_eq!(explain(&alone, "max", &[]).unwrap().refused(), ["a"]);
}

#[test]
fn faults_that_nobody_claims_are_warnings() {
    let report = explain(&vm("linux", "", "gpu0-memory", "ram", ""), "max", &[]).unwrap();
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("odd@6000000000") && report.warnings[0].contains("T1"));
    assert!(report.warnings[1].contains("no-map"));
}

#[test]
fn a_bar_is_decided_on_and_its_place_is_said_to_be_unknown() {
    let tree = BOARD.replace(
        "cxl@5000000000 {",
        "npu { compatible = \"assay,coherent-memory\"; assay,pci-bar = <0 16 2>; assay,length = <0 0x200000>; \
         no-map; assay,mte-capable; };\ncxl@5000000000 {",
    );
    let bridge = "pcie@10000000 { compatible = \"pci-host-ecam-generic\"; device_type = \"pci\"; \
         #address-cells = <3>; #size-cells = <2>; reg = <0x41 0 0 0x10000000>; \
         ranges = <0x3000000 0x80 0 0x80 0 0 0x40000000>; };\ntimer {";
    let tree = tree.replace("timer {", bridge);
    let machine = platform::parse(&overlay::compile(&tree).unwrap()).unwrap();
    let manifest = Manifest::parse(&vm("linux", "", "npu", "dax", "")).unwrap();
    let host = cpus::common(&["max".to_owned()]).unwrap();
    let report = Report::new(&machine, &manifest, &host, &[], &|_| None).unwrap();
    assert_eq!(report.refused(), [""; 0]);
    let line = &report.rows[1].line;
    assert_eq!(line.get("rule"), Some("C1"));
    assert_eq!(line.get("ipa"), Some("0x80000000"));
    assert_eq!(line.get("size"), Some("0x200000"));
    let told = report.warnings.iter().filter(|text| text.contains("/reserved-memory/npu"));
    assert_eq!(told.count(), 1, "{:?}", report.warnings);
}

#[test]
fn the_table_has_a_line_for_each_row_and_says_what_would_change_a_refusal() {
    let manifest = vm("linux", "", "cxl", "dax", "");
    let text = print::table(&explain(&manifest, "max", &[]).unwrap());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("VM     REGION  USE"));
    assert!(lines[1].starts_with("linux  memory  ram"));
    assert_eq!(lines[2], "    /memory@40000000");
    let refused = lines.iter().position(|line| line.contains("refused")).unwrap();
    assert_eq!(lines[refused + 1], "    /reserved-memory/cxl@5000000000");
    assert_eq!(lines[refused + 2], "    the node has no assay,mte-capable");
    assert!(lines[refused + 3].starts_with("    to change that: "));
}

#[test]
fn memory_between_vms_has_a_row_for_each_side() {
    let plain =
        |name: &str, rest: &str| format!("[[vm]]\nname = \"{name}\"\nkernel = \"k\"\nmemory = \"64M\"\n{rest}\n");
    let part = |access: &str| format!("[[vm.shared]]\nregion = \"ring0\"\naccess = \"{access}\"\ndoorbell = true");
    let manifest = "[[shared]]\nname = \"ring0\"\nsize = \"1M\"\n".to_owned()
        + &plain("front", &format!("mte = true\n{}", part("rw")))
        + &plain("back", &part("ro"));
    let report = explain(&manifest, "max", &[]).unwrap();
    let lines = lines(&report);
    assert_eq!(
        [&lines[1], &lines[3]],
        [
            "assay: decision vm=front region=ring0 use=shared ipa=0x80000000 size=0x100000 attr=normal-wb exec=no \
             mte=exposed rule=M1 proof=not-run access=rw",
            "assay: decision vm=back region=ring0 use=shared ipa=0x80000000 size=0x100000 attr=normal-wb exec=no \
             mte=hidden rule=M1 proof=not-run access=ro",
        ]
    );
    assert_eq!(report.rows[1].node, "/memory@40000000");
    assert_eq!(report.refused(), [""; 0]);
    let report = explain(&manifest, "cortex-a53", &[]).unwrap();
    assert_eq!(report.refused(), ["front"]);
    assert_eq!(report.rows[1].line.get("rule"), Some("M3"));
    assert_eq!(report.rows[3].line.get("rule"), Some("M2"));
}

#[test]
fn a_region_between_vms_takes_memory_once_and_a_vm_without_it_does_not_start() {
    let part = "[[vm.shared]]\nregion = \"big\"\naccess = \"rw\"\n";
    let vm =
        |name: &str, memory: &str| format!("[[vm]]\nname = \"{name}\"\nkernel = \"k\"\nmemory = \"{memory}\"\n{part}");
    let of = |size: &str, memory: &str| {
        let manifest = format!("[[shared]]\nname = \"big\"\nsize = \"{size}\"\n") + &vm("a", memory) + &vm("b", memory);
        explain(&manifest, "max", &[]).unwrap()
    };
    assert_eq!(of("512M", "256M").refused(), [""; 0]);
    assert_eq!(of("513M", "256M").refused(), ["b"]);
    let report = of("2G", "64M");
    assert_eq!(report.refused(), ["a", "b"]);
    let refused = report.rows.iter().find(|row| row.is_refused()).unwrap();
    assert_eq!(refused.line.get("rule"), Some("V2"));
    assert!(refused.reason.contains("shared region big"), "{}", refused.reason);
}

#[test]
fn the_machine_alone_is_three_lines() {
    let tree = |uart: &str, method: &str| {
        format!(
            r#"/ {{ #address-cells = <2>; #size-cells = <2>; interrupt-parent = <1>;
            chosen {{ stdout-path = "/uart@9000000"; }};
            memory@40000000 {{ device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; }}; cpus {{ #address-cells = <1>; #size-cells = <0>; cpu@0 {{ device_type = "cpu"; reg = <0>; {method} }}; cpu@1 {{ device_type = "cpu"; reg = <1>; }}; }};
            psci {{ compatible = "arm,psci-1.0"; method = "smc"; }};
            timer {{ compatible = "arm,armv8-timer"; interrupts = <1 13 4 1 14 4 1 11 4 1 10 4>; }};
            gic@8000000 {{ phandle = <1>; compatible = "arm,gic-400"; #interrupt-cells = <3>; reg = <0 0x8000000 0 0x1000>, <0 0x8010000 0 0x2000>, <0 0x8030000 0 0x1000>, <0 0x8040000 0 0x2000>; interrupts = <1 9 4>; }};
            uart@9000000 {{ compatible = "{uart}"; reg = <0 0x9000000 0 0x1000>; interrupts = <0 1 4>; }}; }};"#
        )
    };
    let told = |source: &str| super::machine::lines(&platform::parse(&overlay::compile(source).unwrap()).unwrap());
    assert_eq!(
        told(&tree("cdns,uart-r1p12", "enable-method = \"psci\";")),
        "console: /uart@9000000, Cadence UART at 0x9000000, interrupt 33\n\
         gic: /gic@8000000, GICv2, maintenance interrupt 25\n\
         cpus: 1 started by PSCI by SMC, 1 started by nothing that is known\n"
    );
    let spin = told(&tree("acme,uart", "enable-method = \"spin-table\"; cpu-release-addr = <0 0x400000d8>;"));
    assert!(
        spin.contains("console: /uart@9000000, a UART without a driver at 0x9000000, nothing is shown\n"),
        "{spin}"
    );
    assert!(spin.contains("cpus: 1 started by spin-table, 1 started by nothing"), "{spin}");
    let lost = told(&tree("acme,uart", "enable-method = \"spin-table\"; cpu-release-addr = <0 0xd8>;"));
    assert!(lost.contains("cpus: 1 started by a spin-table that is in no memory node, "), "{lost}");
    let mute = told(&tree("acme,uart", "").replace("stdout-path", "no-path"));
    assert!(mute.contains("console: none: /chosen/stdout-path is not there"), "{mute}");
}

/// The rows of a manifest of `platforms/grace-class`, as `VM REGION SIZE RULE`.
fn grace(manifest: &str, cpu: &str) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platforms/grace-class");
    let manifest = Manifest::read(&folder.join(manifest)).unwrap();
    let mut warnings = Vec::new();
    let machine = super::machine(&folder.join("grace-class.dts"), &manifest, &folder, &mut warnings).unwrap();
    assert_eq!((machine.cpus.len(), machine.oddities().len(), &warnings[..]), (72, 0, &[][..]));
    assert_eq!((machine.distance(0, 1), machine.distance(2, 1)), (40, 60));
    let report = super::decide_for(&machine, &manifest, cpu).unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let of = |line: &assay_harness::Event, key| line.get(key).unwrap_or("-").to_owned();
    let rows =
        report.rows.iter().map(|row| ["vm", "region", "size", "attr", "rule"].map(|key| of(&row.line, key)).join(" "));
    rows.collect()
}

#[test]
fn a_grace_class_machine_gives_480_gib_of_coherent_memory_with_tags() {
    assert_eq!(
        grace("tagged.toml", "neoverse-v2"),
        [
            "linux memory 0x1000000000 normal-wb M1",
            "linux egm0-memory 0x1800000000 normal-wb C1",
            "linux gpu0-memory 0x3000000000 normal-wb C1",
            "linux gpu1-memory 0x3000000000 normal-wb C1",
        ]
    );
    // With the CPUs' MTE tied off nobody gets what the VM asks for.
    assert!(grace("tagged.toml", "neoverse-v2-nomte")[0].ends_with(" - - M3"));
}

#[test]
fn without_the_vendors_word_a_grace_class_machine_gives_it_to_drivers_or_by_a_relaxation() {
    for cpu in ["neoverse-v2", "neoverse-v2-nomte"] {
        let rows = grace("untagged.toml", cpu);
        assert_eq!(rows[1], "driver gpu0-memory 0x3000000000 device-ngnre C4");
        assert_eq!(rows[3], "memory gpu1-memory 0x3000000000 normal-wb R1");
    }
}

/// A host bridge behind an SMMU, of which function 00:02.0 has a region in BAR 2.
const BRIDGE: &str = r#"
    smmu@9050000 { compatible = "arm,smmu-v3"; reg = <0 0x9050000 0 0x20000>; dma-coherent; phandle = <77>; };
    pcie@10000000 {
        compatible = "pci-host-ecam-generic"; #address-cells = <3>; #size-cells = <2>; #interrupt-cells = <1>;
        reg = <0x40 0x10000000 0 0x10000000>; dma-coherent; linux,pci-domain = <0>; device_type = "pci";
        ranges = <0x2000000 0 0x10000000 0 0x10000000 0 0x2eff0000>;
        interrupt-map-mask = <0x1800 0 0 7>;
        interrupt-map = <0x1000 0 0 1 1 0 5 4>;
        iommu-map = <0 77 0 0x18>;
    };
    reserved-memory {
        npu-memory { compatible = "assay,coherent-memory"; assay,pci-bar = <0 0x10 2>; assay,length = <0 0x4000000>; no-map; };
"#;

#[test]
fn functions_are_told_with_what_is_before_them_and_what_they_reach() {
    let source = BOARD.replacen("    reserved-memory {", BRIDGE, 1);
    let machine = platform::parse(&overlay::compile(&source).unwrap()).unwrap();
    let manifest = vm("linux", "devices = [\"00:03.0\"]", "npu-memory", "aperture", "device = \"00:02.0\"");
    let manifest = Manifest::parse(&manifest).unwrap();
    let report = super::decide_for(&machine, &manifest, "max").unwrap();
    let text = print::table(&report);
    let (_, text) = text.split_once("linux  function").unwrap();
    let wanted = [
        " 0000:00:02.0  at 00:01.0 in the guest",
        "    /pcie@10000000",
        "    DMA by stream 0x10 of /smmu@9050000: it reaches memory, npu-memory",
        "    INTA is wired to interrupt 37",
        "    BAR 2 is npu-memory, at 0x80000000 in the guest",
        "    other BARs, and whether the function may be given, the boot finds out",
        "linux  function 0000:00:03.0  at 00:02.0 in the guest",
        "    /pcie@10000000",
        "    no DMA: no SMMU that can be used is before it, or the bridge has no dma-coherent",
        "    INTA is wired to nothing that the tree says",
    ];
    assert_eq!(text.lines().take(wanted.len()).collect::<Vec<_>>(), wanted);
    let json = print::json(&report);
    assert!(json.contains("\"kind\": \"function\"") && json.contains("\"2:npu-memory@0x80000000\""), "{json}");
}

#[test]
fn behind_a_bridge_that_is_not_coherent_there_is_no_dma() {
    let bridge = BRIDGE.replacen("0x10000000>; dma-coherent;", "0x10000000>;", 1);
    assert_ne!(bridge, BRIDGE);
    let source = BOARD.replacen("    reserved-memory {", &bridge, 1);
    let machine = platform::parse(&overlay::compile(&source).unwrap()).unwrap();
    let manifest = vm("linux", "", "npu-memory", "aperture", "device = \"00:02.0\"");
    let report = super::decide_for(&machine, &Manifest::parse(&manifest).unwrap(), "max").unwrap();
    let text = print::table(&report);
    assert!(
        text.contains("no DMA: no SMMU that can be used is before it, or the bridge has no dma-coherent"),
        "{text}"
    );
}
