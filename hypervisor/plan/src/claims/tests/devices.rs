//! The PCI functions that go with apertures.

use std::string::String;
use std::vec::Vec;

use assay_spec::intid::IntId;

use super::{fwb, gpu, ipa, platform, vm, vms, world};
use crate::claims::{claimed_functions, resolve};
use crate::pci::{Address, BarFault, DeviceFault, Found, Prepared};
use crate::platform::{HostPlatform, Stream};
use crate::space::Backing;
use crate::vm_tree::VmConfig;

const OTHER: &str = r#"other { compatible = "assay,coherent-memory"; reg = <0x60 0 0 0x3000000>; no-map; };"#;
/// A host bridge with a node for 00:02.0, whose INTA is SPI 5.
const BRIDGE: &str = r#"pcie@10000000 {
    compatible = "pci-host-ecam-generic"; #address-cells = <3>; #size-cells = <2>; #interrupt-cells = <1>;
    reg = <0x40 0x10000000 0 0x10000000>; linux,pci-domain = <0>;
    ranges = <0x2000000 0 0x10000000 0 0x10000000 0 0x2eff0000>;
    interrupt-map-mask = <0x1800 0 0 7>;
    interrupt-map = <0x1000 0 0 1 1 0 5 4>, <0x1800 0 0 1 1 0 6 4>;
    gpu@2,0 { reg = <0x1000 0 0 0 0>; };
};"#;

fn machine() -> HostPlatform {
    platform(BRIDGE, &(gpu("") + OTHER))
}

fn claim(region: &str, use_: &str, rest: &str) -> String {
    std::format!(r#"assay,region = "{region}"; assay,use = "{use_}"; {rest}"#)
}

fn device(name: &str) -> String {
    std::format!(r#"assay,device = "{name}";"#)
}

fn one(claims: &[String]) -> Vec<VmConfig> {
    let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
    vms(&[vm("a", "", &claims)])
}

/// The text of each trouble of each VM.
fn troubles(machine: &HostPlatform, vms: &[VmConfig]) -> Vec<Vec<String>> {
    let all = resolve(&world(machine, vms, fwb()));
    let texts = |troubles: &Vec<super::super::Trouble<'_>>| troubles.iter().map(|one| std::format!("{one}")).collect();
    all.iter().map(|vm| texts(&vm.troubles)).collect()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn found(text: &str, outcome: Result<Prepared, DeviceFault>, intx: Option<u32>) -> Found {
    let address = address(text);
    let root = address.function.device();
    Found { address, outcome, intx: intx.map(IntId), stream: None, messages: None, root }
}

fn prepared(text: &str) -> Prepared {
    Prepared { function: address(text).function, memory: Vec::new(), io: Vec::new(), moved: false }
}

#[test]
fn a_function_of_a_segment_that_the_tree_does_not_have_is_refused_before_anybody_looks() {
    let vms = one(&[claim("gpu0-memory", "aperture", &device("0007:00:02.0"))]);
    let said = troubles(&machine(), &vms);
    assert!(said[0][0].contains("cannot be used: no ECAM host bridge has the PCI function's segment"), "{said:?}");
}

#[test]
fn a_function_is_named_by_its_address_or_by_its_node() {
    let machine = machine();
    for name in ["0000:00:02.0", "00:02.0", "/pcie@10000000/gpu@2,0"] {
        let vms = one(&[claim("gpu0-memory", "aperture", &device(name))]);
        assert_eq!(troubles(&machine, &vms), [Vec::<String>::new()]);
        assert_eq!(claimed_functions(&machine, &vms), [address("00:02.0")]);
        let all = resolve(&world(&machine, &vms, fwb()));
        let device = Some(address("00:02.0"));
        assert_eq!(all[0].rows[1].backing, Backing::Coherent { node: &machine.coherent[0], device });
    }
}

#[test]
fn what_is_wrong_with_a_claims_device_is_said() {
    let machine = machine();
    let of = |use_, name: &str| {
        let vms = one(&[claim("gpu0-memory", use_, &device(name))]);
        troubles(&machine, &vms).remove(0).remove(0)
    };
    assert!(of("ram", "00:02.0").contains("use = \"aperture\""));
    assert!(of("aperture", "/pcie@10000000/gpu@3,0").contains("is no PCI function"));
    assert!(of("aperture", "gpu").contains("is no PCI function"));
}

#[test]
fn a_function_goes_to_one_vm_and_one_function_goes_with_a_region() {
    let machine = machine();
    let (first, second) =
        (claim("gpu0-memory", "aperture", &device("00:02.0")), claim("other", "aperture", &device("0000:00:02.0")));
    let both = vms(&[vm("a", "", &[&first]), vm("b", "", &[&second])]);
    for texts in troubles(&machine, &both) {
        assert!(texts[0].contains("claimed twice"), "{texts:?}");
    }
    let third = claim("other", "aperture", &device("00:03.0"));
    let texts = troubles(&machine, &one(&[first, third])).remove(0);
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains("second"), "{texts:?}");
}

#[test]
fn what_the_boot_found_of_a_function_counts() {
    let vms = vms(&[
        vm("a", "", &[&claim("gpu0-memory", "aperture", &device("00:02.0"))]),
        vm("b", "", &[&claim("other", "aperture", &device("00:03.0"))]),
    ]);
    let with = |functions: Vec<Found>| {
        let mut machine = machine();
        machine.functions = functions;
        troubles(&machine, &vms)
    };
    let bad = DeviceFault::Bar(BarFault::NoFunction);
    let texts = with([found("00:02.0", Err(bad), None)].to_vec());
    assert!(texts[0][0].contains("no PCI function answers"), "{texts:?}");
    assert_eq!(texts[1].len(), 0);
    let pair = |first, second| {
        with(
            [found("00:02.0", Ok(prepared("00:02.0")), first), found("00:03.0", Ok(prepared("00:03.0")), second)]
                .to_vec(),
        )
    };
    for texts in pair(Some(37), Some(37)) {
        assert!(texts[0].contains("shares its INTx"), "{texts:?}");
    }
    for (first, second) in [(Some(37), Some(38)), (None, None)] {
        assert!(pair(first, second).iter().all(Vec::is_empty));
    }
}

/// A second bridge of segment 0, of buses 16 to 31 if the first has 16, at `at`.
fn two_bridges(buses: &str) -> HostPlatform {
    let second = BRIDGE.replace("pcie@10000000", "pcie@20000000").replace("0x40 0x10000000", "0x40 0x30000000");
    let window = "0x10000000 0 0x10000000 0 0x2eff0000";
    let second = second.replace(window, "0x10000000 0 0x3f000000 0 0x1000000");
    let second = second.replace("linux,pci-domain", &std::format!("bus-range = <{buses}>; linux,pci-domain"));
    let first = BRIDGE.replace("linux,pci-domain", "bus-range = <0 15>; linux,pci-domain");
    platform(&(first + &second), &gpu(""))
}

#[test]
fn no_vm_gets_a_function_that_two_bridges_claim() {
    let vms = vms(&[vm("a", r#"assay,devices = "00:02.0", "/pcie@20000000/gpu@2,0";"#, &[])]);
    let said = troubles(&two_bridges("0 15"), &vms).remove(0);
    assert!(said[0].contains("00:02.0 is claimed twice"), "{said:?}");
    let vms = super::vms(&[vm("a", r#"assay,devices = "00:02.0";"#, &[])]);
    let said = troubles(&two_bridges("0 15"), &vms).remove(0);
    assert!(
        said[0].contains("cannot be used: two PCI host bridges of the tree claim to be the function's"),
        "{said:?}"
    );
}

#[test]
fn no_vm_gets_a_function_behind_an_smmu_that_nobody_takes_over() {
    let smmu = r#"iommu@9050000 { compatible = "arm,smmu-v3"; reg = <0 0x40000000 0 0x20000>; phandle = <77>; };"#;
    let bridge = BRIDGE.replace("linux,pci-domain", "iommu-map = <0 77 0 0x10000>; linux,pci-domain");
    let mut machine = platform(&(bridge + smmu), "");
    let vms = vms(&[vm("a", r#"assay,devices = "00:02.0";"#, &[])]);
    assert_eq!(troubles(&machine, &vms).remove(0), Vec::<String>::new());
    machine.lose_misplaced(&[]);
    let said = troubles(&machine, &vms).remove(0);
    assert!(said[0].contains("00:02.0 is behind an SMMU that could not be taken over"), "{said:?}");
}

#[test]
fn a_device_of_one_root_bus_is_apart_from_the_same_number_on_another() {
    let list = |name, device: &str| vm(name, &std::format!("assay,devices = \"{device}\";"), &[]);
    let vms = vms(&[list("a", "00:02.0"), list("b", "10:02.0")]);
    let mut machine = two_bridges("16 31");
    assert_eq!(machine.oddities(), []);
    machine.functions = [good("00:02.0", None, Some(0x10)), good("10:02.0", None, Some(0x1010))].to_vec();
    assert!(troubles(&machine, &vms).iter().all(Vec::is_empty));
}

/// Two regions that are BARs of 00:02.0.
const BARS: &str = r#"
    one { compatible = "assay,coherent-memory"; assay,pci-bar = <0 0x10 2>; assay,length = <0 0x1000>; no-map; };
    two { compatible = "assay,coherent-memory"; assay,pci-bar = <0 0x10 4>; assay,length = <0 0x1000>; no-map; };"#;

#[test]
fn a_function_is_not_reset_before_a_start_if_another_vm_has_memory_of_it() {
    let machine = platform(BRIDGE, BARS);
    let said = |proof: &str, second: &str| {
        let (one, two) = (claim("one", "aperture", proof), claim("two", "aperture", ""));
        let vms = if second == "a" {
            vms(&[vm("a", "", &[&one, &two])])
        } else {
            vms(&[vm("a", "", &[&one]), vm("b", "", &[&two])])
        };
        troubles(&machine, &vms).remove(0)
    };
    let at_start = r#"assay,proof = "at-start";"#;
    let texts = said(at_start, "b");
    assert!(texts.len() == 1 && texts[0].contains("VM b has another one of it"), "{texts:?}");
    assert_eq!(said(at_start, "a"), Vec::<String>::new());
    assert_eq!(said("", "b"), Vec::<String>::new());
}

/// VMs with functions of their own, and what is wrong with them.
fn of_lists(lists: &[&str], functions: Vec<Found>) -> Vec<Vec<String>> {
    let list = |(index, names): (usize, &&str)| vm(["a", "b"][index], &std::format!("assay,devices = {names};"), &[]);
    let all: Vec<String> = lists.iter().enumerate().map(list).collect();
    let mut machine = machine();
    machine.functions = functions;
    troubles(&machine, &vms(&all))
}

fn good(text: &str, intx: Option<u32>, stream: Option<u32>) -> Found {
    let stream = stream.map(|id| Stream { smmu: 0, id });
    Found { stream, ..found(text, Ok(prepared(text)), intx) }
}

#[test]
fn a_vm_gets_the_functions_of_its_list() {
    let texts = of_lists(&[r#""00:02.0", "/pcie@10000000/gpu@2,0", "gpu""#], Vec::new()).remove(0);
    assert!(texts[0].contains("the device 00:02.0 is claimed twice"), "{texts:?}");
    assert!(texts[1].contains("gpu@2,0 is claimed twice"), "{texts:?}");
    assert!(texts[2].contains("the device gpu is no PCI function"), "{texts:?}");
    let nine = (2..11).map(|slot| std::format!(r#""00:{slot:02x}.0""#)).collect::<Vec<_>>().join(", ");
    let texts = of_lists(&[&nine], Vec::new()).remove(0);
    assert!(texts[0].contains("00:0a.0 is one too many"), "{texts:?}");
}

#[test]
fn what_can_reach_each_other_past_the_smmu_goes_to_one_vm() {
    let (first, second) = (good("00:02.0", None, Some(0x10)), good("00:02.1", None, Some(0x11)));
    let both = || [first.clone(), second.clone()].to_vec();
    for texts in of_lists(&[r#""00:02.0""#, r#""00:02.1""#], both()) {
        assert!(texts[0].contains("past the SMMU"), "{texts:?}");
    }
    assert_eq!(of_lists(&[r#""00:02.0", "00:02.1""#], both()), [Vec::<String>::new()]);
    // Without DMA they reach nothing.
    let silent = both().into_iter().map(|found| Found { stream: None, ..found }).collect();
    assert!(of_lists(&[r#""00:02.0""#, r#""00:02.1""#], silent).iter().all(Vec::is_empty));
}

#[test]
fn functions_that_an_smmu_cannot_tell_apart_go_to_nobody() {
    let functions = [good("00:02.0", None, Some(7)), good("00:03.0", None, Some(7))].to_vec();
    let texts = of_lists(&[r#""00:02.0", "00:03.0""#], functions).remove(0);
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains("to the SMMU the same"), "{texts:?}");
}

#[test]
fn a_function_whose_memory_another_vm_has_is_refused_and_so_is_what_can_reach_it() {
    let region = r#"bar { compatible = "assay,coherent-memory"; assay,pci-bar = <0 0x10 2>; assay,length = <0 0x1000>; no-map; };"#;
    let of = |devices: &str, functions: Vec<Found>| {
        let mut machine = platform(BRIDGE, region);
        machine.functions = functions;
        let list = std::format!("assay,devices = \"{devices}\";");
        let vms = vms(&[vm("a", "", &[&claim("bar", "aperture", "")]), vm("b", &list, &[])]);
        troubles(&machine, &vms).remove(1)
    };
    let texts = of("00:02.0", Vec::new());
    assert!(texts[0].contains("coherent memory that another VM claims"), "{texts:?}");
    let texts = of("00:02.1", [good("00:02.1", None, Some(0x11))].to_vec());
    assert!(texts[0].contains("past the SMMU"), "{texts:?}");
    assert_eq!(of("00:03.0", [good("00:03.0", None, Some(0x18))].to_vec()), Vec::<String>::new());
}

#[test]
fn functions_of_one_vm_may_share_a_line() {
    let functions = || [good("00:02.0", Some(37), None), good("00:06.0", Some(37), None)].to_vec();
    assert_eq!(of_lists(&[r#""00:02.0", "00:06.0""#], functions()), [Vec::<String>::new()]);
    for texts in of_lists(&[r#""00:02.0""#, r#""00:06.0""#], functions()) {
        assert!(texts[0].contains("shares its INTx"), "{texts:?}");
    }
}

#[test]
fn a_region_with_a_device_is_aligned_as_a_bar() {
    let machine = machine();
    // 48 MiB take 64; the second region goes behind them.
    let vms = one(&[claim("other", "aperture", &device("00:02.0")), claim("gpu0-memory", "aperture", "")]);
    let all = resolve(&world(&machine, &vms, fwb()));
    let places: Vec<_> = all[0].rows.iter().skip(1).map(|row| row.ipa.unwrap()).collect();
    assert_eq!(places, [ipa(0x8000_0000, 0x300_0000), ipa(0x8400_0000, 0x400_0000)]);
    let at = |start: u64| {
        let rest = std::format!("{} assay,ipa = <{:#x} {:#x}>;", device("00:02.0"), start >> 32, start & 0xffff_ffff);
        troubles(&machine, &one(&[claim("other", "aperture", &rest)])).remove(0)
    };
    assert_eq!(at(0x1_0400_0000), Vec::<String>::new());
    assert!(at(0x1_0200_0000)[0].contains("multiple of 0x4000000 bytes"));
}

#[test]
fn before_a_boot_the_tree_tells_which_functions_belong_together() {
    let smmu =
        r#"smmu@9050000 { compatible = "arm,smmu-v3"; reg = <0 0x9050000 0 0x20000>; dma-coherent; phandle = <77>; };"#;
    let map = "dma-coherent; iommu-map-mask = <0xff07>; iommu-map = <0 77 0 0x10000>; linux,pci-domain";
    let behind = platform(&(BRIDGE.replace("linux,pci-domain", map) + smmu), &gpu(""));
    let said = |machine: &HostPlatform, first: &str, second: &str| {
        let vm = |name, function: &str| vm(name, &std::format!(r#"assay,devices = "{function}";"#), &[]);
        troubles(machine, &vms(&[vm("a", first), vm("b", second)])).concat().join("; ")
    };
    assert!(said(&behind, "00:02.0", "00:02.1").contains("past the SMMU"));
    assert!(said(&behind, "00:02.0", "00:03.0").contains("to the SMMU the same"));
    assert_eq!(said(&behind, "00:02.0", "00:03.1"), "");
    // Without DMA no function reaches another one.
    assert_eq!(said(&machine(), "00:02.0", "00:02.1"), "");
}
