//! Flashes, and RAM where the manifest wants it.

use std::format;
use std::string::String;
use std::vec::Vec;

use assay_spec::addr::Ipa;
use assay_spec::stage2_desc::Rights;

use super::{fwb, ipa, mte, old, platform, resolve, trouble, vm, vms, world};
use crate::policy::{Mte, Rule, Use};
use crate::space::Backing;
use crate::vm_tree::{FlashAccess, VmConfig};

const MIB: u64 = 1 << 20;

fn flash(name: &str, start: u64, size: u64, more: &str) -> String {
    let cells = |value: u64| format!("<{:#x} {:#x}>", value >> 32, value & 0xffff_ffff);
    format!(
        r#"flash-{name} {{ compatible = "assay,flash"; assay,region = "{name}"; assay,ipa = {}; assay,size = {}; {more} }};"#,
        cells(start),
        cells(size)
    )
}

fn with(properties: &str, claims: &[&str], flashes: &[String]) -> Vec<VmConfig> {
    // Properties come before children: the first child is the kernel.
    vms(&[vm("a", properties, claims).replacen("kernel {", &(flashes.concat() + "kernel {"), 1)])
}

#[test]
fn a_flash_is_ram_by_the_rules_of_ram_where_the_manifest_wants_it() {
    let vms = with(
        "assay,mte;",
        &[],
        &[
            flash("code", 0, 64 * MIB, ""),
            flash("vars", 64 * MIB, 64 * MIB, r#"assay,access = "rw"; assay,cfi; assay,member = "vars";"#),
        ],
    );
    let machine = platform("", "");
    let all = resolve(&world(&machine, &vms, mte()));
    assert!(all[0].starts());
    let [_, code, vars] = all[0].rows.as_slice() else { panic!("three rows") };
    assert_eq!((code.ipa, vars.ipa), (Some(ipa(0, 64 * MIB)), Some(ipa(64 * MIB, 64 * MIB))));
    let (read, write) = (code.outcome.unwrap(), vars.outcome.unwrap());
    assert_eq!((read.rights, write.rights), (Rights::ReadOnly, Rights::ReadWrite));
    assert!(read.exec && write.exec && read.zero_tags && read.mte == Mte::Exposed && read.rule == Rule::M1);
    assert_eq!(code.claim.use_, Use::Flash(Rights::ReadOnly));
    let Backing::Flash(claim) = vars.backing else { panic!("a flash") };
    assert!(claim.cfi && claim.file.is_some() && claim.access == FlashAccess::ReadWrite);
    // Without tags, a VM with MTE gets neither.
    let all = resolve(&world(&machine, &vms, old()));
    assert!(all[0].rows.iter().all(|row| row.outcome.is_err_and(|denied| denied.rule == Rule::M3)));
}

#[test]
fn a_flash_over_anything_is_refused_by_its_name() {
    let aperture = r#"assay,region = "r"; assay,use = "aperture"; assay,device = "0000:00:02.0";"#;
    let cases: [(u64, &[&str], &str); 6] = [
        (0x4000_0000, &[], "at the ipa 0x40000000 of region top lies the VM's RAM"),
        (0x5fff_f000, &[], "at the ipa 0x5fff_f000 of region top lies the VM's RAM"),
        (0x7ff_f000, &[], "lies the VM's devices (0x8000000 to 0x10000000)"),
        (0xfff_f000, &[], "lies the VM's devices (0x8000000 to 0x10000000)"),
        (0x3000_0000, &[aperture], "lies the VM's devices (0x10000000 to 0x40000000)"),
        (0xf000, &[], "at the ipa 0xf000 of region top lies region low"),
    ];
    let machine = platform("", "");
    for (start, claims, words) in cases {
        let vms = with("", claims, &[flash("low", 0, 0x1_0000, ""), flash("top", start, 0x2000, "")]);
        let all = resolve(&world(&machine, &vms, fwb()));
        let text = all[0].troubles.iter().map(|trouble| format!("{trouble}")).find(|text| text.contains("top"));
        let text = text.unwrap_or_default();
        assert!(text.contains("region top") && text.contains(&words.replace('_', "")), "{text}");
    }
    // Without a device, nothing is there.
    let vms = with("", &[], &[flash("top", 0x3000_0000, 0x1000_0000, "")]);
    assert!(resolve(&world(&machine, &vms, fwb()))[0].starts());
}

#[test]
fn ram_lies_where_the_manifest_wants_it_and_regions_above_one_gib() {
    let machine = platform("", "");
    let vms = with("assay,memory-ipa = <0 0x10000000>;", &[], &[]);
    let all = resolve(&world(&machine, &vms, fwb()));
    assert!(all[0].starts());
    assert_eq!((all[0].rows[0].ipa, vms[0].memory_ipa), (Some(ipa(0x1000_0000, 512 * MIB)), Ipa(0x1000_0000)));
    for (place, words) in [
        (
            "<0 0x0>",
            "memory-ipa = 0x0: the VM's RAM of 0x20000000 bytes overlaps its devices (0x8000000 to 0x10000000)",
        ),
        ("<0 0xffff000>", "memory-ipa = 0xffff000: the VM's RAM of 0x20000000 bytes overlaps its devices"),
        ("<0xffff 0xf0000000>", "memory-ipa = 0xfffff0000000: the VM's RAM of 0x20000000 bytes ends beyond 48 bits"),
        ("<0xffffffff 0xfffff000>", "ends beyond 48 bits"),
    ] {
        let vms = with(&format!("assay,memory-ipa = {place};"), &[], &[]);
        let all = resolve(&world(&machine, &vms, fwb()));
        assert!(!all[0].starts());
        let (text, remedy) = trouble(&all[0]);
        assert!(text.contains(words) && remedy.contains("memory-ipa"), "{text}");
    }
}
