//! Tables of QEMU's `virt`, which has a tree too, and made ones; damaged ones.

use std::fs;
use std::path::PathBuf;

use acpi_tables::Aml;
use acpi_tables::aml::{Device, Name, Package, Path, Uuid};
use acpi_tables::cedt::{CEDT, CxlFixedMemory, InterleaveArithmetic, InterleaveGranularity, InterleaveWays};
use acpi_tables::sdt::Sdt;
use acpi_tables::srat::{MemoryAffinity, SRAT};
use assay_harness::manifest::Manifest;
use assay_plan::platform::{self, Console, HostGic, HostPlatform};

use super::memory::{Range, iomem};
use super::tables::Tables;
use super::{Written, write};
use crate::explain;

const OEM: [u8; 6] = *b"ACME  ";
const TABLE: [u8; 8] = *b"BOARD   ";
/// What Linux says of the RAM of a machine whose tables don't.
const IOMEM: &str = "00000000-00000fff : Reserved\n40000000-7fffffff : System RAM\n  40210000-41ffffff : Kernel code\n";
const GPU: u64 = 0x4000_0000_0000;
const GIB: u64 = 1 << 30;

/// Tables and tree of QEMU 10.0.2 under Debian's AAVMF: tools/xtask/tests/acpi/README.md has the command lines.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/acpi").join(name)
}

fn files(name: &str, without: &[&str]) -> Vec<Vec<u8>> {
    let all = fs::read_dir(fixture(name)).unwrap().map(|entry| entry.unwrap());
    let wanted = all.filter(|entry| !without.contains(&entry.file_name().to_str().unwrap()));
    wanted.map(|entry| fs::read(entry.path()).unwrap()).collect()
}

fn machine(written: &Written) -> HostPlatform {
    platform::parse(&written.tree.to_dtb()).unwrap()
}

fn qemu(name: &str) -> HostPlatform {
    platform::parse(&fs::read(fixture(name).join("qemu.dtb")).unwrap()).unwrap()
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// A table with a header of its own.
fn table(signature: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = Sdt::new(signature, 36, 2, OEM, TABLE, 1);
    for &byte in body {
        table.append(byte);
    }
    table.update_checksum();
    table.as_slice().to_vec()
}

/// What EL2 takes from a tree, but for the paths of nodes.
fn facts(machine: &HostPlatform) -> String {
    let cpus: Vec<_> = machine.cpus.iter().map(|cpu| (cpu.mpidr, cpu.enable, cpu.numa)).collect();
    let mut memory: Vec<_> = machine.memory.iter().map(|node| (node.region, node.numa)).collect();
    memory.sort_unstable_by_key(|(region, _)| region.start);
    // A GICv2's frames are longer in QEMU's tree than in Arm's document.
    let gic = match &machine.gic.version {
        HostGic::V2 { dist, cpu, hyp, vcpu } => format!("{:?}", [dist.start, cpu.start, hyp.start, vcpu.start]),
        v3 => format!("{v3:?}"),
    };
    let console = |console: &Console| (console.wired, console.registers, console.intid);
    let pcie: Vec<_> = machine.pcie.iter().map(|host| (host.segment, host.ecam, host.buses)).collect();
    format!(
        "{cpus:#?} {memory:#?} {gic} {:?} {:?} {:?} {:?} {:?} {pcie:?}",
        machine.gic.maintenance,
        machine.timer,
        machine.pmu,
        machine.psci,
        machine.console.as_ref().map(console)
    )
}

#[test]
fn the_tree_by_tables_says_what_the_tree_of_the_same_machine_says() {
    for (name, has_srat) in [("plain", false), ("numa", true), ("gicv2", false)] {
        let ram = iomem(IOMEM);
        let tables = Tables::read(&fixture(name)).unwrap();
        let written = write(&tables, (!has_srat).then_some(ram.as_slice())).unwrap();
        assert_eq!(facts(&machine(&written)), facts(&qemu(name)), "{name}");
        assert_eq!(written.tree.find_node("/reserved-memory"), None);
        assert!(written.notes.iter().any(|note| note.contains("interrupt-map")), "{:?}", written.notes);
        // What is written as source is the same tree.
        let again = assay_harness::overlay::compile(&written.tree.to_string()).unwrap();
        assert_eq!(facts(&platform::parse(&again).unwrap()), facts(&qemu(name)));
    }
}

#[test]
fn distances_smmu_and_its_are_those_of_the_tables() {
    let written = write(&Tables::read(&fixture("numa")).unwrap(), None).unwrap();
    let source = written.tree.to_string();
    for line in [
        "distance-matrix = <0x00 0x00 0x0a 0x00 0x01 0x14 0x00 0x02 0x1e 0x01 0x00 0x14 ",
        "compatible = \"arm,smmu-v3\";",
        "iommu-map = <0x00 0x200 0x00 0x100>;",
        "msi-map = <0x00 0x100 0x00 0x100 0x100 0x100 0x100 0xff00>;",
        "compatible = \"bochs,bxpc\";",
    ] {
        assert!(source.contains(line), "{line} is not in {source}");
    }
}

type Properties<'a> = [(&'static str, &'a dyn Aml)];

/// The `_DSD` of an accelerator.
fn dsd(properties: &Properties<'_>) -> Vec<u8> {
    let names: Vec<&'static str> = properties.iter().map(|(name, _)| *name).collect();
    let pairs: Vec<Package<'_>> =
        names.iter().zip(properties).map(|(name, (_, value))| Package::new(vec![name, *value])).collect();
    let list = Package::new(pairs.iter().map(|pair| pair as &dyn Aml).collect());
    let uuid = Uuid::new("daffd814-6eba-4d8c-8a91-bc9bbf4aa301");
    let both = Package::new(vec![&uuid, &list]);
    let name = Name::new(Path::new("_DSD"), &both);
    table(*b"SSDT", &bytes(&Device::new(Path::new("GPU0"), vec![&name])))
}

/// The tables of the machine with three domains, with two accelerators' memory of 96 GiB besides.
fn two_accelerators() -> Vec<Vec<u8>> {
    let mut tables = files("numa", &[]);
    for (index, start) in [(1_u64, GPU * 2), (0, GPU)] {
        let domain = 16 + index * 8;
        tables.push(dsd(&[
            ("nvidia,gpu-mem-base-pa", &start),
            ("nvidia,gpu-mem-pxm-start", &domain),
            ("nvidia,gpu-mem-pxm-count", &8_u64),
            ("nvidia,gpu-mem-size", &(96 * GIB)),
        ]));
    }
    tables
}

#[test]
fn properties_of_devices_become_coherent_memory_that_nobody_marks() {
    let written = write(&Tables::new(two_accelerators()), None).unwrap();
    let machine = machine(&written);
    let found: Vec<_> = machine
        .coherent
        .iter()
        .map(|node| (node.name.as_str(), node.reg.map(|region| (region.start.0, region.size)), node.numa))
        .collect();
    let gpu = |name, start, domain| (name, Some((start, 96 * GIB)), Some(domain));
    assert_eq!(found, [gpu("gpu0-memory", GPU, 16), gpu("gpu1-memory", GPU * 2, 24)]);
    assert!(machine.coherent.iter().all(|node| !node.mte_capable && node.fault.is_none()));
    assert!(written.notes.iter().any(|note| note.contains("assay,mte-capable")));
}

#[test]
fn what_is_written_goes_through_explain() {
    let machine = machine(&write(&Tables::new(two_accelerators()), None).unwrap());
    let manifest = |use_| {
        format!(
            "[[vm]]\nname = \"a\"\nmemory = \"512M\"\nkernel = \"nowhere\"\n\
             [[vm.coherent]]\nregion = \"gpu1-memory\"\nuse = \"{use_}\"\n"
        )
    };
    let rows = |use_| {
        let manifest = Manifest::parse(&manifest(use_)).unwrap();
        let report = explain::decide_for(&machine, &manifest, "neoverse-v2").unwrap();
        report.rows.iter().map(|row| row.line.get("rule").unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows("aperture"), ["M1", "C4"]);
    // Without the operator's mark it is nobody's RAM.
    assert!(rows("ram").contains(&"C5".to_owned()));
}

#[test]
fn a_property_that_is_missing_zero_or_computed_is_said_and_no_node() {
    let cases: [(&str, &Properties<'_>); 3] = [
        ("missing", &[("nvidia,gpu-mem-base-pa", &GPU)]),
        ("size is 0x0", &[("nvidia,gpu-mem-base-pa", &GPU), ("nvidia,gpu-mem-size", &0_u64)]),
        ("not a constant", &[("nvidia,gpu-mem-base-pa", &GPU), ("nvidia,gpu-mem-size", &"a string")]),
    ];
    for (word, properties) in cases {
        let mut tables = files("numa", &[]);
        tables.push(dsd(properties));
        let written = write(&Tables::new(tables), None).unwrap();
        assert!(machine(&written).coherent.is_empty());
        assert!(written.notes.iter().any(|note| note.contains(word)), "{word}: {:?}", written.notes);
    }
}

/// An SRAT with memory of these domains, and a CEDT with two windows.
fn cxl() -> Vec<Vec<u8>> {
    let mut tables = files("numa", &["SRAT", "SLIT"]);
    let mut srat = SRAT::new(OEM, TABLE, 1);
    srat.add_memory_affinity(MemoryAffinity::new(0, 0x4000_0000, GIB).enabled());
    srat.add_memory_affinity(MemoryAffinity::new(1, 0x100_0000_0000, 16 * GIB).enabled());
    srat.add_memory_affinity(MemoryAffinity::new(1, 0x300_0000_0000, 16 * GIB).enabled().hotpluggable());
    tables.push(bytes(&srat));
    let mut cedt = CEDT::new(OEM, TABLE, 1);
    for start in [0x100_0000_0000, 0x200_0000_0000] {
        let mut window = CxlFixedMemory::new(
            start,
            64 * GIB,
            InterleaveArithmetic::Modulo,
            InterleaveGranularity::Granularity256b,
            InterleaveWays::Ways1,
            0,
        );
        window.add_target([0; 4]);
        cedt.add_fixed_memory(window.volatile());
    }
    tables.push(bytes(&cedt));
    tables
}

#[test]
fn memory_in_a_window_for_cxl_is_as_long_as_srat_says_and_no_ram() {
    let written = write(&Tables::new(cxl()), None).unwrap();
    let machine = machine(&written);
    assert_eq!(machine.memory.len(), 1);
    // The window that SRAT knows nothing of is a disabled node, so it is not among these.
    assert_eq!(machine.coherent.len(), 1);
    let region = machine.coherent[0].reg.unwrap();
    assert_eq!((region.start.0, region.size, machine.coherent[0].numa), (0x100_0000_0000, 16 * GIB, Some(1)));
    let node = written.tree.find_node("/reserved-memory/cxl1-memory@20000000000");
    assert!(node.is_some(), "{}", written.tree);
    for word in ["0x30000000000", "0x20000000000"] {
        assert!(written.notes.iter().any(|note| note.contains(word)), "{word}: {:?}", written.notes);
    }
}

#[test]
fn linux_lines_of_ram_are_split_by_domain() {
    let lines = "40000000-8fffffff : System RAM\n100000000-1000fffff : System RAM\n 1-2 : System RAM\nx : System RAM\n";
    let written = write(&Tables::read(&fixture("numa")).unwrap(), Some(&iomem(lines))).unwrap();
    let memory: Vec<_> =
        machine(&written).memory.iter().map(|node| (node.region.start.0, node.region.size, node.numa)).collect();
    assert_eq!(
        memory,
        [(0x4000_0000, GIB, Some(0)), (0x8000_0000, 0x1000_0000, Some(1)), (0x1_0000_0000, 0x10_0000, None)]
    );
    // Without root all addresses are 0.
    assert_eq!(iomem("00000000-00000000 : System RAM\n"), [] as [Range; 0]);
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let error = |tables: Vec<Vec<u8>>| write(&Tables::new(tables), None).err().map(|error| format!("{error:#}"));
    for (without, word) in [("APIC", "no APIC"), ("GTDT", "no GTDT"), ("FACP", "no FACP"), ("SRAT", "--iomem")] {
        let text = error(files("numa", &[without])).unwrap();
        assert!(text.contains(word), "{text}");
    }
    // An entry of the MADT that has no length, and one that is cut off.
    let apic = fs::read(fixture("numa/APIC")).unwrap();
    let gicc_of = |length: u8| {
        let mut tables = files("numa", &["APIC"]);
        tables.push(table(*b"APIC", &[&[0; 8], &[0xb, length][..], &[0; 6]].concat()));
        error(tables).unwrap()
    };
    for (length, word) in [(0, "wrong length"), (1, "wrong length"), (8, "cut off"), (0xff, "wrong length")] {
        assert!(gicc_of(length).contains(word), "{length}: {}", gicc_of(length));
    }
    let folder = std::env::temp_dir().join(format!("assay-acpi-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut damaged = apic.clone();
    damaged[60] ^= 1;
    for (bytes, word) in
        [(damaged, "checksum"), (apic[..100].to_vec(), "copy it whole"), (Vec::new(), "no ACPI tables")]
    {
        fs::write(folder.join("apic.dat"), bytes).unwrap();
        let text = format!("{:#}", Tables::read(&folder).err().unwrap());
        assert!(text.contains(word), "{text}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn no_byte_of_a_table_makes_a_panic() {
    let whole = files("numa", &["DSDT", "qemu.dtb"]);
    for (which, table) in whole.iter().enumerate() {
        for (at, (value, run)) in (36..table.len()).flat_map(|at| [(0, 1), (0xff, 8)].map(|change| (at, change))) {
            let mut tables = whole.clone();
            let end = table.len().min(at + run);
            tables[which][at..end].fill(value);
            let sum = tables[which].iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte));
            tables[which][9] = tables[which][9].wrapping_sub(sum);
            // A tree or an error: both are an answer, and EL2's parser has one for the tree.
            if let Ok(written) = write(&Tables::new(tables), None) {
                let _ = platform::parse(&written.tree.to_dtb());
            }
        }
    }
}
