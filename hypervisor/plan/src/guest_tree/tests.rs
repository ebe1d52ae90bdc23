//! What a guest reads in its tree, by a parser that is not the writer.

mod numa;
mod pci;
mod shared;

use super::{Blob, GuestTree, GuestTreeError, Seeds, build};
use crate::gate::Tree;
use crate::platform::CoherentNode;
use crate::policy::{Attr, Decision, Mte, Notices, Proof, Rule, Use};
use crate::space::{Backing, Mapping, Stays};
use assay_model::holes::PAGES;
use assay_model::layout;
use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::gic::Version;
use assay_spec::stage2_desc::Rights;
use dtoolkit::fdt::Fdt;
use proptest::prelude::*;
use std::string::String;
use std::sync::LazyLock;
use std::vec;
use std::vec::Vec;

static RAM: LazyLock<[Mapping<'static>; 1]> =
    LazyLock::new(|| [mapping("memory", Region { start: layout::RAM, size: 0x2000_0000 }, Use::Ram, Backing::Ram)]);

fn mapping(name: &'static str, ipa: Region<Ipa>, use_: Use, backing: Backing<'static>) -> Mapping<'static> {
    let rights = if let Use::Shared(rights) = use_ { rights } else { Rights::ReadWrite };
    let decision = Decision {
        rule: Rule::C1,
        attr: Attr::NormalWb,
        exec: false,
        rights,
        mte: Mte::Hidden,
        el2_maintenance: false,
        zero_tags: false,
        notices: Notices::default(),
    };
    Mapping { name: name.into(), ipa, use_, decision, proof: Proof::NotRun, backing }
}

/// RAM and more.
fn with(more: impl IntoIterator<Item = Mapping<'static>>) -> Vec<Mapping<'static>> {
    RAM.iter().cloned().chain(more).collect()
}

fn plain() -> GuestTree<'static> {
    GuestTree {
        space: &*RAM,
        vcpus: &[0, 1],
        gic: Version::V3,
        bootargs: "console=ttyAMA0",
        ramdisk: Region::new(Ipa(0x5800_0000), 0x12_3456),
        seeds: Some(Seeds { kaslr: 0x0123_4567_89ab_cdef, rng: Some([7; 32]) }),
        watchdog: false,
        pmu: false,
        rtc: false,
        functions: &[],
        devices: &[],
        virtio: 0,
        distances: None,
        home: 0,
    }
}

fn blob(guest: &GuestTree<'_>) -> Blob {
    build(guest).unwrap()
}

fn cells(blob: &Blob, path: &str, property: &'static str) -> Vec<u32> {
    let tree = Tree::new(blob.bytes()).unwrap();
    let node = tree.find(path).unwrap();
    assert!(node.has(property), "{path} {property}");
    let cells = node.cells(property).unwrap();
    cells.collect()
}

fn text(blob: &Blob, path: &str, property: &'static str) -> Vec<String> {
    let tree = Tree::new(blob.bytes()).unwrap();
    let texts = tree.find(path).unwrap().strs(property).unwrap();
    texts.map(String::from).collect()
}

fn has(blob: &Blob, path: &str, property: &str) -> bool {
    let tree = Tree::new(blob.bytes()).unwrap();
    tree.find(path).is_some_and(|node| node.has(property))
}

#[test]
fn the_chosen_node_says_how_to_start() {
    let blob = blob(&plain());
    assert_eq!(text(&blob, "/chosen", "stdout-path"), ["/pl011@9000000"]);
    assert_eq!(text(&blob, "/chosen", "bootargs"), ["console=ttyAMA0"]);
    assert_eq!(cells(&blob, "/chosen", "linux,initrd-start"), [0, 0x5800_0000]);
    assert_eq!(cells(&blob, "/chosen", "linux,initrd-end"), [0, 0x5812_3456]);
    assert_eq!(cells(&blob, "/chosen", "kaslr-seed"), [0x0123_4567, 0x89ab_cdef]);
    assert_eq!(cells(&blob, "/chosen", "rng-seed"), [0x0707_0707; 8]);
}

#[test]
fn nothing_is_said_of_a_ramdisk_or_seeds_that_are_not_there() {
    let mut blob = blob(&GuestTree { ramdisk: None, seeds: None, ..plain() });
    for property in ["linux,initrd-start", "linux,initrd-end", "kaslr-seed", "rng-seed"] {
        assert!(!has(&blob, "/chosen", property));
    }
    let before = blob.clone();
    blob.reseed(&Seeds { kaslr: 1, rng: Some([1; 32]) });
    assert!(blob == before);
}

#[test]
fn a_little_randomness_is_no_seed_of_a_generator() {
    let seeds = |kaslr, rng| Seeds { kaslr, rng };
    let little = |kaslr| GuestTree { seeds: Some(seeds(kaslr, None)), ..plain() };
    let mut blob = blob(&little(1));
    assert_eq!(cells(&blob, "/chosen", "kaslr-seed"), [0, 1]);
    assert!(!has(&blob, "/chosen", "rng-seed"));
    // What there is later does not change what the tree has.
    blob.reseed(&seeds(2, Some([3; 32])));
    assert!(blob == self::blob(&little(2)));
}

#[test]
fn other_seeds_change_nothing_else() {
    let seeds = Seeds { kaslr: 99, rng: Some([0xf5; 32]) };
    let other = blob(&GuestTree { seeds: Some(seeds), ..plain() });
    let mut renewed = blob(&plain());
    assert!(renewed != other);
    renewed.reseed(&seeds);
    assert!(renewed == other);
}

#[test]
fn pages_are_reserved_in_the_tree_and_nothing_else_changes() {
    let reserved = |blob: &Blob| -> Vec<(u64, u64)> {
        let fdt = Fdt::new(blob.bytes()).unwrap();
        fdt.memory_reservations().map(|entry| (entry.address(), entry.size())).collect()
    };
    let mut blob = blob(&plain());
    let before = blob.clone();
    assert_eq!(reserved(&blob), []);
    let pages: Vec<Ipa> = (0..PAGES as u64).map(|page| Ipa(0x8000_0000 + page * 0x3000)).collect();
    for count in [PAGES, 1, 2] {
        blob.reserve(&pages[..count]);
        let expected: Vec<_> = pages[..count].iter().map(|page| (page.0, 0x1000)).collect();
        assert_eq!(reserved(&blob), expected);
        assert_eq!(cells(&blob, "/chosen", "kaslr-seed"), cells(&before, "/chosen", "kaslr-seed"));
    }
    // Beyond the room there is none.
    blob.reserve(&[pages.clone(), pages].concat());
    assert_eq!(reserved(&blob).len(), PAGES);
    blob.reserve(&[]);
    assert!(blob == before);
}

#[test]
fn a_real_time_clock_is_there_if_the_host_has_one() {
    let with = blob(&GuestTree { rtc: true, ..plain() });
    assert_eq!(text(&with, "/pl031@9010000", "compatible"), ["arm,pl031", "arm,primecell"]);
    assert_eq!(cells(&with, "/pl031@9010000", "reg"), [0, 0x901_0000, 0, 0x1000]);
    assert!(!has(&blob(&plain()), "/pl031@9010000", "reg"));
}

#[test]
fn a_guest_can_tell_that_it_is_in_a_virtual_machine() {
    assert_eq!(text(&blob(&plain()), "/hypervisor", "compatible"), ["assay,hypervisor"]);
}

#[test]
fn each_vcpu_is_a_cpu_started_by_psci() {
    let two = blob(&plain());
    assert_eq!(cells(&two, "/cpus", "#address-cells"), [1]);
    assert_eq!(cells(&two, "/cpus/cpu@1", "reg"), [1]);
    assert_eq!(text(&two, "/cpus/cpu@1", "enable-method"), ["psci"]);
    assert!(!has(&two, "/cpus/cpu@2", "reg"));
    assert_eq!(text(&two, "/psci", "method"), ["hvc"]);
    let wide = blob(&GuestTree { vcpus: &[0, 0x1_0000_0100], ..plain() });
    assert_eq!(cells(&wide, "/cpus/cpu@0", "reg"), [0, 0]);
    assert_eq!(cells(&wide, "/cpus/cpu@100000100", "reg"), [1, 0x100]);
}

#[test]
fn the_interrupt_controller_is_the_one_the_vm_has() {
    let v3 = blob(&plain());
    assert_eq!(text(&v3, "/intc@8000000", "compatible"), ["arm,gic-v3"]);
    let registers = [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x4_0000];
    assert_eq!(cells(&v3, "/intc@8000000", "reg"), registers);
    let timer = [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4];
    assert_eq!(cells(&v3, "/timer", "interrupts"), timer);
    let v2 = blob(&GuestTree { gic: Version::V2, vcpus: &[0, 1, 2], ..plain() });
    assert_eq!(text(&v2, "/intc@8000000", "compatible"), ["arm,cortex-a15-gic"]);
    let registers = [0, 0x0800_0000, 0, 0x1000, 0, 0x0801_0000, 0, 0x2000];
    assert_eq!(cells(&v2, "/intc@8000000", "reg"), registers);
    assert_eq!(cells(&v2, "/timer", "interrupts")[..3], [1, 13, 0x704]);
}

#[test]
fn the_devices_stand_where_virt_has_them() {
    let with = blob(&GuestTree { pmu: true, ..plain() });
    assert_eq!(cells(&with, "/pmu", "interrupts"), [1, 7, 4]);
    assert!(!has(&blob(&plain()), "/pmu", "interrupts"));
    let with = blob(&GuestTree { watchdog: true, ..plain() });
    assert_eq!(cells(&with, "/pl011@9000000", "reg"), [0, 0x0900_0000, 0, 0x1000]);
    assert_eq!(cells(&with, "/pl011@9000000", "interrupts"), [0, 1, 4]);
    let frames = [0, 0x090f_0000, 0, 0x1000, 0, 0x090e_0000, 0, 0x1000];
    assert_eq!(cells(&with, "/watchdog@90f0000", "reg"), frames);
    assert_eq!(cells(&with, "/watchdog@90f0000", "interrupts"), [0, 2, 4]);
    assert!(!has(&blob(&plain()), "/watchdog@90f0000", "reg"));
}

#[test]
fn every_phandle_that_is_used_exists() {
    let blob = blob(&plain());
    let tree = Tree::new(blob.bytes()).unwrap();
    let parent = cells(&blob, "/", "interrupt-parent")[0];
    assert_eq!(tree.by_phandle(parent).unwrap().path(), "/intc@8000000");
    for clock in cells(&blob, "/pl011@9000000", "clocks") {
        assert_eq!(tree.by_phandle(clock).unwrap().path(), "/apb-pclk");
    }
}

const NPU: Region<Ipa> = Region { start: Ipa(0x1_0000_0000), size: 0x1000 };

/// A node of which the tree says nothing but the NUMA node.
const fn node(numa: Option<u32>) -> CoherentNode {
    CoherentNode {
        path: String::new(),
        name: String::new(),
        reg: None,
        reg_count: 0,
        pci_bar: None,
        length: None,
        bar: None,
        mte_capable: true,
        no_mte: false,
        no_map: true,
        fault: None,
        numa,
    }
}

static NODES: [CoherentNode; 3] = [node(None), node(Some(1)), node(Some(2))];

fn region(name: &'static str, ipa: Region<Ipa>, use_: Use, numa: Option<u32>) -> Mapping<'static> {
    let node = NODES.iter().find(|node| node.numa == numa).unwrap();
    mapping(name, ipa, use_, Backing::Coherent { node, device: None })
}

fn dax(numa: u32) -> Mapping<'static> {
    region("gpu1-memory", Region { start: Ipa(0xc000_0000), size: 0x400_0000 }, Use::Dax, Some(numa))
}

/// A region of each use.
fn coherent() -> [Mapping<'static>; 3] {
    let ram = Region { start: Ipa(0x8000_0000), size: 0x400_0000 };
    [region("gpu0-memory", ram, Use::Ram, Some(1)), dax(2), region("npu0-memory", NPU, Use::Aperture, None)]
}

#[test]
fn pages_leave_that_the_vm_alone_uses_as_memory() {
    static NODE: CoherentNode = node(None);
    let memory = |backing| mapping("memory", NPU, Use::Ram, backing);
    let coherent = memory(Backing::Coherent { node: &NODE, device: None });
    assert_eq!(memory(Backing::Ram).stays(), None);
    assert_eq!(coherent.stays(), None);
    let device = Decision { attr: Attr::DeviceNgnre, ..coherent.decision };
    assert_eq!(Mapping { decision: device, ..coherent }.stays(), Some(Stays::Aperture));
    let registers = Region { start: Pa(0), size: 0x1000 };
    for backing in [Backing::StolenTime, Backing::Registers(registers), Backing::Interface(registers)] {
        assert_eq!(memory(backing).stays(), Some(Stays::NoMemory));
    }
}

#[test]
fn a_coherent_region_is_found_as_the_manifest_asks() {
    let blob = blob(&GuestTree { space: &with(coherent()), ..plain() });
    assert_eq!(cells(&blob, "/memory@40000000", "numa-node-id"), [0]);
    assert_eq!(cells(&blob, "/cpus/cpu@0", "numa-node-id"), [0]);
    assert!(!has(&blob, "/memory@40000000", "hotpluggable"));
    assert!(has(&blob, "/memory@80000000", "hotpluggable"));
    assert_eq!(cells(&blob, "/memory@80000000", "numa-node-id"), [1]);
    assert_eq!(text(&blob, "/pmem@c0000000", "compatible"), ["pmem-region"]);
    assert!(has(&blob, "/pmem@c0000000", "volatile"));
    // In no memory node, but its NUMA node is made known by an empty one.
    assert_eq!(cells(&blob, "/memory@c0000000", "reg"), [0, 0xc000_0000, 0, 0]);
    assert_eq!(cells(&blob, "/memory@c0000000", "numa-node-id"), [2]);
    assert!(!has(&blob, "/memory@c0000000", "hotpluggable"));
    let aperture = "/reserved-memory/npu0-memory@100000000";
    assert_eq!(cells(&blob, aperture, "reg"), [1, 0, 0, 0x1000]);
    assert!(has(&blob, aperture, "no-map"));
    assert!(!has(&self::blob(&plain()), "/reserved-memory", "ranges"));
}

#[test]
fn a_dax_region_beside_ram_of_its_numa_node_needs_no_empty_memory_node() {
    let [ram, ..] = coherent();
    let blob = blob(&GuestTree { space: &with([ram, dax(1)]), ..plain() });
    assert!(has(&blob, "/pmem@c0000000", "volatile"));
    assert!(!has(&blob, "/memory@c0000000", "reg"));
}

#[test]
fn what_cannot_be_described_is_an_error() {
    let error = |guest: GuestTree<'_>| build(&guest).err().unwrap();
    assert_eq!(error(GuestTree { space: &[], ..plain() }), GuestTreeError::Empty);
    assert_eq!(error(GuestTree { vcpus: &[], ..plain() }), GuestTreeError::Empty);
    let nine = GuestTree { gic: Version::V2, vcpus: &[0, 1, 2, 3, 4, 5, 6, 7, 8], ..plain() };
    assert_eq!(error(nine), GuestTreeError::TooManyForGicV2(9));
    let twins = GuestTree { vcpus: &[1, 1], ..plain() };
    assert_eq!(error(twins), GuestTreeError::Twice("cpu@1".into()));
    let name = "a name with spaces";
    let named = with([region(name, NPU, Use::Aperture, None)]);
    let odd = GuestTree { space: &named, ..plain() };
    assert_eq!(error(odd), GuestTreeError::Name("a name with spaces@100000000".into()));
}

proptest! {
    #[test]
    fn the_size_depends_on_what_there_is_and_not_on_where(
        start in 1u64..1 << 47, size in 1u64..1 << 47, kaslr: u64, rng: [u8; 32],
        bootargs in "[ -~]{0,80}",
    ) {
        let draft = GuestTree { bootargs: &bootargs, ..plain() };
        let seeds = Seeds { kaslr, rng: Some(rng) };
        let ramdisk = Region::new(Ipa(start), size);
        let guest = GuestTree { ramdisk, seeds: Some(seeds), ..draft };
        let length = blob(&GuestTree { bootargs: &bootargs, ..plain() }).bytes().len();
        let blob = blob(&guest);
        prop_assert_eq!(blob.bytes().len(), length);
        prop_assert_eq!(text(&blob, "/chosen", "bootargs"), vec![bootargs.clone()]);
        let seed = [(kaslr >> 32) & 0xffff_ffff, kaslr & 0xffff_ffff];
        prop_assert_eq!(cells(&blob, "/chosen", "kaslr-seed"), seed.map(|word| u32::try_from(word).unwrap()));
        prop_assert!(build(&guest).unwrap() == blob);
    }
}
