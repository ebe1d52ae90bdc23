//! Parts in regions between VMs, as the tools write them, as Xen's users write them, and broken ones.

use assay_spec::addr::Ipa;
use std::string::ToString;

use super::{N, Rule, kernel, one, refusal, vm};
use crate::vm_tree::SharedClaim;

fn share() -> N {
    N::new("shared-0")
        .text("compatible", "xen,domain-shared-memory-v1")
        .text("xen,shm-id", "ring0")
        .cells("assay,size", &[0, 0x10_0000])
}

fn placed(cells: &[u32]) -> N {
    share().without("assay,size").cells("xen,shared-mem", cells)
}

fn claim() -> SharedClaim {
    SharedClaim { region: "ring0".to_string(), size: 0x10_0000, ipa: None, read_only: false, doorbell: false }
}

fn with(share: N) -> N {
    vm("linux").child(kernel()).child(share)
}

#[test]
fn a_claim_as_the_tools_write_it_is_read_whole() {
    let all = share().flag("assay,read-only").flag("assay,doorbell");
    let tree = one(with(all));
    assert_eq!(tree.warnings, []);
    let told = SharedClaim { read_only: true, doorbell: true, ..claim() };
    assert_eq!(tree.vms[0].shared, [told]);
    let tree = one(with(placed(&[1, 0, 0, 0x10_0000])));
    assert_eq!(tree.warnings, []);
    let placed = SharedClaim { ipa: Some(Ipa(0x1_0000_0000)), ..claim() };
    assert_eq!(tree.vms[0].shared, [placed]);
}

#[test]
fn a_claim_written_for_xen_keeps_its_meaning_and_its_host_address_is_named_in_a_warning() {
    let borrower = placed(&[0, 0x7000_0000, 2, 0, 0, 0x1000]).text("role", "borrower");
    let tree = one(with(borrower));
    let wanted = SharedClaim { ipa: Some(Ipa(0x2_0000_0000)), size: 0x1000, ..claim() };
    assert_eq!(tree.vms[0].shared, [wanted]);
    assert_eq!(tree.warnings.len(), 1);
    let property = tree.warnings[0].property.as_deref();
    assert_eq!(property, Some("xen,shared-mem"));
    assert!(tree.warnings[0].reason.contains("host address"));
}

#[test]
fn what_cannot_be_is_refused_with_node_and_property() {
    let text = |name: &str| share().text("xen,shm-id", name);
    let size = |cells: &[u32]| share().cells("assay,size", cells);
    let long = "a".repeat(32);
    for (share, property) in [
        (share().without("xen,shm-id"), "xen,shm-id"),
        (text(""), "xen,shm-id"),
        (text("a b"), "xen,shm-id"),
        (text("0ring"), "xen,shm-id"),
        (text("memory"), "xen,shm-id"),
        (text(&long), "xen,shm-id"),
        (share().without("assay,size"), "assay,size"),
        (size(&[0, 0]), "assay,size"),
        (size(&[0, 0x1001]), "assay,size"),
        (size(&[0, 0, 0x1000]), "assay,size"),
        (placed(&[0, 0x5000_0000, 0, 0]), "xen,shared-mem"),
        (placed(&[0, 0x5000_0000, 0]), "xen,shared-mem"),
        (placed(&[0; 8]), "xen,shared-mem"),
    ] {
        let (rule, reason, remedy) = refusal(with(share));
        assert_eq!(rule, Rule::V3);
        assert!(reason.contains(property) && reason.contains("/chosen/linux/shared-0"), "{property}: {reason}");
        assert!(remedy.contains("[[vm.shared]]"), "{remedy}");
    }
}

#[test]
fn an_unknown_word_is_named_in_a_warning() {
    let tree = one(with(share().flag("assay,exec")));
    assert_eq!(tree.warnings.len(), 1);
    assert_eq!(tree.warnings[0].property.as_deref(), Some("assay,exec"));
    assert_eq!(tree.vms[0].shared, [claim()]);
}
