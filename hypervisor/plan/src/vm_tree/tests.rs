//! VM trees as the tools write them, and broken ones.

mod dom0less;

mod shared;

use super::{CoherentClaim, ConsoleStyle, CpuClaim, Module, Source, VmTree, VmTreeError, parse};
use crate::gate::Tree;
use crate::kernel::{Format, Raw};
use crate::policy::{Allow, AllowSet, ProofAt, Rule, Use};
use assay_model::digest::Digest;
use assay_model::life::OnCrash;
use assay_spec::addr::Ipa;
use assay_spec::cpu_id::PcpuId;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use proptest::prelude::*;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

mod sched;

/// A node to be: name, properties, children.
#[derive(Clone)]
struct N(String, Vec<(&'static str, Vec<u8>)>, Vec<N>);

impl N {
    fn new(name: &str) -> Self {
        Self(name.to_string(), Vec::new(), Vec::new())
    }
    fn bytes(mut self, name: &'static str, value: &[u8]) -> Self {
        self.1.retain(|(old, _)| *old != name);
        self.1.push((name, value.to_vec()));
        self
    }
    fn flag(self, name: &'static str) -> Self {
        self.bytes(name, &[])
    }
    fn text(self, name: &'static str, value: &str) -> Self {
        self.bytes(name, format!("{value}\0").as_bytes())
    }
    fn cells(self, name: &'static str, cells: &[u32]) -> Self {
        let value: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &value)
    }
    fn without(mut self, name: &str) -> Self {
        self.1.retain(|(old, _)| *old != name);
        self
    }
    fn child(mut self, child: Self) -> Self {
        self.2.push(child);
        self
    }
    fn build(&self) -> DeviceTreeNode {
        let mut node = DeviceTreeNode::new_unchecked(self.0.clone());
        for (name, value) in &self.1 {
            node.add_property(DeviceTreeProperty::new_unchecked(*name, value.as_slice()));
        }
        for child in &self.2 {
            node.add_child(child.build());
        }
        node
    }
}

fn dtb(chosen: &N) -> Vec<u8> {
    let mut tree = DeviceTree::new();
    tree.root = N::new("").text("compatible", "assay,vm-tree").build();
    tree.root.add_child(chosen.build());
    tree.to_dtb()
}

fn read(chosen: &N) -> VmTree {
    parse(&Tree::new(&dtb(chosen)).unwrap()).unwrap()
}

fn kernel() -> N {
    N::new("kernel")
        .text("compatible", "multiboot,kernel\0multiboot,module")
        .text("assay,member", "kernel-debian")
        .text("bootargs", "console=ttyAMA0")
}

fn vm(name: &str) -> N {
    N::new(name)
        .text("compatible", "xen,domain")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .cells("cpus", &[2])
        .cells("memory", &[0, 0x8_0000])
        .flag("vpl011")
}

fn chosen(vms: &[N]) -> N {
    let chosen = N::new("chosen");
    let chosen = chosen.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
    vms.iter().cloned().fold(chosen, N::child)
}

fn one(vm: N) -> VmTree {
    read(&chosen(&[vm]))
}

/// The rule, reason and remedy of the only VM's refusal.
fn refusal(vm: N) -> (Rule, String, &'static str) {
    let mut tree = one(vm);
    assert!(tree.vms.is_empty());
    assert_eq!(tree.refused.len(), 1);
    let refusal = tree.refused.remove(0);
    assert!(!refusal.remedy.is_empty());
    (refusal.rule, refusal.reason, refusal.remedy)
}

#[test]
fn a_vm_as_the_tools_write_it_is_read_whole() {
    let claim = N::new("coherent-0")
        .text("compatible", "assay,coherent-claim")
        .text("assay,region", "gpu0-memory")
        .text("assay,use", "aperture")
        .text("assay,allow", "mte-hidden\0non-cacheable\0no-tag-access\0el2-cache-maintenance")
        .flag("assay,exec")
        .text("assay,proof", "at-start")
        .cells("assay,ipa", &[1, 0])
        .text("assay,device", "0000:01:00.0");
    let ramdisk = N::new("ramdisk")
        .text("compatible", "multiboot,ramdisk\0multiboot,module")
        .text("assay,member", "initrd-busybox");
    let member = N::new("m0")
        .text("assay,member", "kernel-debian")
        .cells("assay,size", &[0, 0x1f4_0000])
        .cells("assay,crc32", &[0xdead_beef]);
    let linux = vm("linux")
        .cells("assay,cpu-list", &[0, 3])
        .flag("assay,mte")
        .flag("assay,watchdog")
        .flag("assay,pmu")
        .text("assay,on-crash", "restart")
        .cells("assay,max-restarts", &[5])
        .text("assay,allow", "unchecked-dma")
        .child(kernel())
        .child(ramdisk)
        .child(claim);
    let tree = read(&chosen(&[N::new("assay,members").child(member), linux]).text("assay,console", "prefix"));
    assert_eq!(tree.console, Some(ConsoleStyle::Prefix));
    assert_eq!((tree.refused.len(), tree.warnings.len()), (0, 0), "{tree:?}");
    let digest = Digest { size: 0x1f4_0000, crc32: 0xdead_beef };
    assert_eq!(tree.digest("kernel-debian"), Some(digest));
    assert_eq!(tree.digest("kernel"), None);
    let [vm] = tree.vms.as_slice() else {
        panic!("{tree:?}");
    };
    assert_eq!(vm.name, "linux");
    assert_eq!(vm.cpus, CpuClaim::List([PcpuId(0), PcpuId(3)].into()));
    assert_eq!(vm.memory_bytes, 512 << 20);
    assert!(vm.mte && vm.watchdog && vm.pmu && vm.unchecked_dma);
    assert_eq!((vm.memory_ipa, vm.flash.len()), (Ipa(0x4000_0000), 0));
    assert_eq!((vm.on_crash, vm.max_restarts), (OnCrash::Restart, Some(5)));
    let member = |name: &str| Module { source: Source::Member(name.to_string()), format: None };
    assert_eq!(vm.kernel, member("kernel-debian"));
    assert_eq!(vm.ramdisk, Some(member("initrd-busybox")));
    assert_eq!(vm.bootargs, "console=ttyAMA0");
    let claim = CoherentClaim {
        region: "gpu0-memory".to_string(),
        use_: Use::Aperture,
        allow: Allow::ALL.into_iter().fold(AllowSet::NONE, AllowSet::with),
        exec: true,
        proof: ProofAt::Start,
        ipa: Some(Ipa(0x1_0000_0000)),
        device: Some("0000:01:00.0".to_string()),
    };
    assert_eq!(vm.coherent, [claim]);
}

#[test]
fn what_is_not_said_has_a_default() {
    let tree = one(vm("linux").child(kernel().without("bootargs")));
    let vm = &tree.vms[0];
    assert_eq!(vm.cpus, CpuClaim::Count(2));
    assert!(!vm.mte && !vm.watchdog && !vm.unchecked_dma && tree.console.is_none());
    assert_eq!((vm.on_crash, vm.max_restarts), (OnCrash::Stop, None));
    assert_eq!((vm.ramdisk.as_ref(), vm.bootargs.as_str()), (None, ""));
    assert!(vm.coherent.is_empty());
}

#[test]
fn a_raw_kernel_is_raw_only_by_the_manifests_word() {
    let tree = one(vm("hello").child(kernel().text("assay,format", "raw")));
    assert_eq!(tree.vms[0].kernel.format, Some(Format::Raw(Raw::default())));
    let (rule, reason, _) = refusal(vm("hello").child(kernel().text("assay,format", "elf")));
    assert_eq!(rule, Rule::V3);
    assert_eq!(reason, "/chosen/hello/kernel: property assay,format: must be \"raw\"");
}

#[test]
fn a_command_line_that_linux_cuts_is_a_warning() {
    let warnings = |bytes: usize| one(vm("hello").child(kernel().text("bootargs", &"x".repeat(bytes)))).warnings;
    assert_eq!(warnings(2047).len(), 0);
    let long = warnings(2048).remove(0);
    assert_eq!((long.node.as_str(), long.property.as_deref()), ("/chosen/hello/kernel", Some("bootargs")));
    assert!(long.reason.contains("2047"), "{}", long.reason);
}

#[test]
fn what_is_ignored_is_told_of_up_to_a_bound() {
    let junk = (0..1000).fold(vm("hello").child(kernel()), |vm, n| vm.child(N::new(&format!("junk{n}"))));
    let warnings = one(junk).warnings;
    assert_eq!(warnings.len(), 65);
    assert!(warnings[64].reason.contains("not listed"));
}

#[test]
fn a_bad_vm_is_refused_and_the_others_go_on() {
    let tree = read(&chosen(&[
        vm("first").child(kernel()),
        vm("second").without("memory").child(kernel()),
        vm("third").child(kernel()),
    ]));
    let names: Vec<_> = tree.vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["first", "third"]);
    assert_eq!(tree.refused.len(), 1);
    assert_eq!((tree.refused[0].vm.as_str(), tree.refused[0].rule), ("second", Rule::V2));
}

#[test]
fn each_refusal_names_rule_node_and_property() {
    let good = || vm("linux").child(kernel());
    let claim = |word: &'static str| {
        let claim = N::new("coherent-0").text("compatible", "assay,coherent-claim");
        let claim = claim.text("assay,region", "gpu0-memory").text("assay,use", "ram");
        good().child(claim.text(word, "nonsense"))
    };
    let cases = [
        (good().without("cpus"), Rule::V1, "cpus"),
        (good().cells("cpus", &[0]), Rule::V1, "cpus"),
        (good().cells("cpus", &[1, 2]), Rule::V1, "cpus"),
        (good().cells("cpus", &[u32::MAX]), Rule::V1, "cpus"),
        (good().cells("assay,cpu-list", &[1]), Rule::V1, "cpus"),
        (good().cells("assay,cpu-list", &[1, 1]), Rule::V1, "assay,cpu-list"),
        (good().cells("memory", &[0, 0]), Rule::V2, "memory"),
        (good().cells("memory", &[0, 5]), Rule::V2, "memory"),
        (good().cells("memory", &[u32::MAX, u32::MAX]), Rule::V2, "memory"),
        (good().text("assay,on-crash", "explode"), Rule::V3, "assay,on-crash"),
        (vm("linux"), Rule::V3, "multiboot,kernel"),
        (vm("linux").child(kernel().bytes("bootargs", b"open")), Rule::V3, "bootargs"),
        (vm("linux").child(kernel().without("assay,member")), Rule::V3, "reg"),
        (claim("assay,use"), Rule::V3, "assay,use"),
        (claim("assay,proof"), Rule::V3, "assay,proof"),
        (claim("assay,allow"), Rule::V3, "assay,allow"),
        (claim("assay,ipa"), Rule::V3, "assay,ipa"),
    ];
    for (vm, expected, property) in cases {
        let (rule, reason, remedy) = refusal(vm);
        assert_eq!(rule, expected, "{reason}");
        assert!(reason.contains("/chosen/linux") && reason.contains(property), "{reason}");
        assert!(remedy.len() > 10);
    }
    let twice = vm("linux").child(kernel()).child(N(String::from("k2"), kernel().1, Vec::new()));
    let (_, reason, _) = refusal(twice);
    assert_eq!(reason, "/chosen/linux/k2 is a second module of its kind");
}

#[test]
fn the_console_looks_as_tree_or_arguments_say() {
    let said = |property: &str, arguments: &str| read(&chosen(&[]).text("assay,console", property)).console(arguments);
    assert_eq!((said("", ""), said("table", "assay.console=x assay.console console=keys")), (None, None));
    assert_eq!(
        (said("keys", ""), said("", "quiet assay.console=keys")),
        (Some(ConsoleStyle::Keys), Some(ConsoleStyle::Keys))
    );
    // Who wants more gets it, whoever that is.
    assert_eq!(
        (said("prefix", "assay.console=keys"), said("keys", "assay.console=prefix")),
        (Some(ConsoleStyle::Prefix), Some(ConsoleStyle::Prefix))
    );
    assert_eq!(said("", "assay.console=prefix assay.console=keys"), Some(ConsoleStyle::Prefix));
}

#[test]
fn a_name_cannot_look_like_the_end_of_a_console_prefix() {
    let too_long = "x".repeat(33);
    let mut refused = 0;
    for name in ["a]", "a b", "[x", "a\u{1b}", "ä", &too_long] {
        let bytes = dtb(&chosen(&[vm(name).child(kernel())]));
        // What the gate refuses, a control character for instance, does not come this far.
        if let Ok(tree) = Tree::new(&bytes) {
            let tree = parse(&tree).unwrap();
            assert!(tree.vms.is_empty(), "{name:?}");
            assert_eq!(tree.refused[0].rule, Rule::V3);
            refused += 1;
        }
    }
    assert!(refused >= 2, "{refused} names came through the gate");
    for name in ["a", "domU1@0", &"x".repeat(32)] {
        assert_eq!(one(vm(name).child(kernel())).vms[0].name, name);
    }
}

#[test]
fn a_tree_without_chosen_or_with_a_damaged_list_is_none() {
    let bytes = dtb(&N::new("other"));
    let error = parse(&Tree::new(&bytes).unwrap()).unwrap_err();
    assert_eq!(error, VmTreeError::NoChosen);
    let member = N::new("m0").text("assay,member", "kernel").cells("assay,size", &[0, 1]);
    let bytes = dtb(&chosen(&[N::new("assay,members").child(member)]));
    let error = parse(&Tree::new(&bytes).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/chosen/assay,members/m0: property assay,crc32: must be one cell; build the bundle again"
    );
}

#[test]
fn an_empty_tree_has_no_vms() {
    let tree = read(&chosen(&[N::new("not-a-vm")]));
    assert!(tree.vms.is_empty() && tree.refused.is_empty() && tree.warnings.is_empty());
}

proptest! {
    #[test]
    fn damaged_trees_are_read_or_refused_but_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = dtb(&chosen(&[vm("a").child(kernel()), vm("b").cells("assay,cpu-list", &[0, 1]).child(kernel())]));
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(tree) = Tree::new(&bytes)
            && let Ok(read) = parse(&tree)
        {
            for vm in &read.vms {
                prop_assert!(vm.memory_bytes != 0 && vm.memory_bytes % 4096 == 0);
                prop_assert!((1..=32).contains(&vm.name.len()));
            }
        }
    }
}
