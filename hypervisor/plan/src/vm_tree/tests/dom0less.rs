//! VM trees as they are written for Xen's dom0less.

use super::{N, chosen, one, read, refusal, vm};
use crate::vm_tree::{Source, VmTree};
use assay_spec::addr::{Pa, Region};
use std::format;

#[test]
fn a_dom0less_tree_keeps_its_meaning_and_names_what_has_none() {
    let at = |name: &str, kind: &str, start, size| {
        N::new(name).text("compatible", &format!("{kind}\0multiboot,module")).cells("reg", &[0, start, 0, size])
    };
    let dom = vm("domU1")
        .cells("nr_spis", &[1])
        .cells("max_grant_frames", &[1])
        .child(at("module@42000000", "multiboot,kernel", 0x4200_0000, 0xff_0000))
        .child(at("module@4c000000", "multiboot,ramdisk", 0x4c00_0000, 0x100_0000))
        .child(at("module@4e000000", "multiboot,device-tree", 0x4e00_0000, 0x1000));
    let dom0 = at("module@41000000", "multiboot,kernel", 0x4100_0000, 0x1000);
    let tree = read(&chosen(&[dom0, dom]));
    let vm = &tree.vms[0];
    assert_eq!(vm.kernel.source, address(0x4200_0000, 0xff_0000));
    assert_eq!(vm.ramdisk.as_ref().unwrap().source, address(0x4c00_0000, 0x100_0000));
    let expected = [
        ("/chosen/module@41000000", None, "dom0"),
        ("/chosen/domU1", Some("nr_spis"), "SPIs"),
        ("/chosen/domU1", Some("max_grant_frames"), "not supported"),
        ("/chosen/domU1/module@4e000000", None, "passed through"),
    ];
    assert_eq!(tree.warnings.len(), expected.len(), "{:?}", tree.warnings);
    for (warning, (node, property, reason)) in tree.warnings.iter().zip(expected) {
        assert_eq!((warning.node.as_str(), warning.property.as_deref()), (node, property));
        assert!(warning.reason.contains(reason), "{warning:?}");
    }
}

fn address(start: u64, size: u64) -> Source {
    Source::Address(Region::new(Pa(start), size).unwrap())
}

#[test]
fn a_modules_cells_are_those_of_the_nearest_node_above_that_says() {
    let module = |reg: &[u32]| {
        let module = N::new("module@42000000").text("compatible", "multiboot,kernel");
        vm("domU1").child(module.cells("reg", reg))
    };
    let bare = |node: N| node.without("#address-cells").without("#size-cells");
    let place = |tree: VmTree| tree.vms[0].kernel.source.clone();
    let two = [0, 0x4200_0000, 0, 0x1000];
    let expected = address(0x4200_0000, 0x1000);
    assert_eq!(place(one(module(&two))), expected);
    let one_each = module(&[0x4200_0000, 0x1000]);
    let one_each = one_each.cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    assert_eq!(place(one(one_each)), expected);
    let two_and_one = module(&[0, 0x4200_0000, 0x1000]).cells("#size-cells", &[1]);
    assert_eq!(place(one(two_and_one)), expected);
    // The VM's node says nothing: those of /chosen, and where that is silent too, the root's default.
    assert_eq!(place(one(bare(module(&two)))), expected);
    let silent = bare(chosen(&[bare(module(&[0, 0x4200_0000, 0x1000]))]));
    assert_eq!(place(read(&silent)), expected);
    let (_, reason, _) = refusal(module(&[0x4200_0000, 0x1000, 7]));
    assert!(reason.contains("#address-cells"), "{reason}");
    let (_, reason, _) = refusal(module(&[0, 0x4200_0000, 0, 0x4000_0001]));
    assert!(reason.contains("1 GiB at most"), "{reason}");
}
