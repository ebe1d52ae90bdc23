//! Regions between VMs: whose they are, what each side gets, and what is wrong with them.

use std::format;
use std::string::String;
use std::vec::Vec;

use assay_spec::addr::{Ipa, Region};
use assay_spec::stage2_desc::Rights;

use super::{AS_DAX, MARKED, fwb, gpu, ipa, mte, platform, resolve, trouble, vm, vms, world};
use assay_model::doorbell::Side;

use crate::claims::{Row, VmClaims, World, shared_by_one};
use crate::platform::HostPlatform;
use crate::policy::{Attr, Decision, Mte, NoTags, Proof, Reason, Rule, Use};
use crate::refusal::Cause as _;
use crate::space::{Backing, Share};
use crate::vm_tree::VmConfig;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const NONE: [(u8, &str); 0] = [];

/// A VM's part in a region of 1 MiB.
fn share(region: &str, more: &str) -> String {
    sized(region, "assay,size = <0 0x100000>;", more)
}

fn sized(region: &str, size: &str, more: &str) -> String {
    format!(
        r#"part-of-{region} {{
            compatible = "xen,domain-shared-memory-v1"; xen,shm-id = "{region}"; {size} {more}
        }};"#
    )
}

/// A VM with these properties, claims of coherent regions, and parts.
fn with_claims(name: &str, properties: &str, claims: &[&str], parts: &[String]) -> String {
    // Properties come before children: the first child is the kernel.
    vm(name, properties, claims).replacen("kernel {", &(parts.concat() + "kernel {"), 1)
}

fn sharing(name: &str, properties: &str, parts: &[String]) -> String {
    with_claims(name, properties, &[], parts)
}

fn no_regions() -> HostPlatform {
    platform("", "")
}

/// Resolves on CPUs with MTE and looks at what comes of it.
fn look(vms: &[VmConfig], check: impl FnOnce(&World<'_>, Vec<VmClaims<'_>>)) {
    let machine = no_regions();
    let world = world(&machine, vms, mte());
    check(&world, resolve(&world));
}

/// The rows of a VM's parts.
fn parts<'c, 'a>(claims: &'c VmClaims<'a>) -> Vec<&'c Row<'a>> {
    claims.rows.iter().filter(|row| matches!(row.backing, Backing::Shared(_))).collect()
}

fn only<'c, 'a>(claims: &'c VmClaims<'a>) -> &'c Row<'a> {
    assert_eq!((claims.troubles.len(), parts(claims).len()), (0, 1));
    parts(claims)[0]
}

fn part<'c, 'a>(row: &'c Row<'a>) -> &'c Share<'a> {
    match &row.backing {
        Backing::Shared(share) => share,
        other => panic!("{other:?}"),
    }
}

fn place(row: &Row<'_>) -> (Region<Ipa>, Decision) {
    let mapping = row.granted().unwrap();
    (mapping.ipa, mapping.decision)
}

#[test]
fn each_side_gets_what_it_asks_for_and_none_may_execute() {
    let two = [
        sharing("front", "assay,mte;", &[share("ring0", "")]),
        sharing("back", "", &[share("ring0", "assay,read-only;")]),
    ];
    look(&vms(&two), |_, all| {
        let (front, back) = (only(&all[0]), only(&all[1]));
        let (at, decision) = place(front);
        assert_eq!(at, ipa(2 * GIB, MIB));
        assert_eq!((decision.rule, decision.attr), (Rule::M1, Attr::NormalWb));
        assert_eq!((decision.mte, decision.exec), (Mte::Exposed, false));
        assert_eq!(decision.attributes().rights, Rights::ReadWrite);
        let (at, decision) = place(back);
        assert_eq!(at, ipa(2 * GIB, MIB));
        assert_eq!((decision.rule, decision.mte), (Rule::M1, Mte::Hidden));
        assert_eq!(decision.attributes().rights, Rights::ReadOnly);
        assert_eq!(back.claim.use_, Use::Shared(Rights::ReadOnly));
        assert!(part(front).tagged && part(back).tagged && decision.zero_tags);
        assert!(all.iter().all(VmClaims::starts));
    });
}

#[test]
fn a_region_that_no_side_has_tags_of_may_come_from_any_memory() {
    let two = [sharing("a", "", &[share("ring0", "")]), sharing("b", "", &[share("ring0", "")])];
    look(&vms(&two), |_, all| {
        assert!(all.iter().all(|claims| !part(only(claims)).tagged));
    });
}

#[test]
fn a_side_with_mte_is_refused_where_there_are_no_tags_and_the_other_is_not() {
    let two = [sharing("a", "assay,mte;", &[share("ring0", "")]), sharing("b", "", &[share("ring0", "")])];
    let (vms, machine) = (vms(&two), no_regions());
    let all = resolve(&world(&machine, &vms, fwb()));
    let refusal = only(&all[0]).outcome.unwrap_err();
    assert_eq!(refusal.rule, Rule::M3);
    assert_eq!(refusal.reason, Reason::RamWithoutTags(NoTags::Cpu));
    let (_, decision) = place(only(&all[1]));
    assert_eq!(decision.rule, Rule::M2);
    assert!(!part(only(&all[1])).tagged);
    assert!(!all[0].starts() && all[1].starts());
    let failed = |_: &str| Proof::FailedTags;
    let all = resolve(&World { proof: &failed, ..world(&machine, &vms, mte()) });
    let refusal = only(&all[0]).outcome.unwrap_err();
    assert_eq!(refusal.reason, Reason::RamWithoutTags(NoTags::Disproved));
    assert_eq!(only(&all[1]).proof, Proof::FailedTags);
    assert!(all[1].starts());
}

#[test]
fn regions_and_sides_are_numbered_by_first_claim_whoever_starts() {
    let bell = |region: &str| share(region, "assay,doorbell;");
    let three = [
        sharing("a", "", &[bell("ring0")]),
        sharing("b", "", &[bell("log"), share("ring0", "")]),
        sharing("c", "assay,mte;", &[bell("ring0"), share("log", "")]),
    ];
    let (vms, machine) = (vms(&three), no_regions());
    let all = resolve(&world(&machine, &vms, fwb()));
    let sides = |vm: usize| -> Vec<(&str, Side)> {
        let rows = parts(&all[vm]).into_iter();
        rows.map(|row| (row.region, part(row).side)).collect()
    };
    let side = |region, id| Side { region, id };
    assert_eq!(sides(0), [("ring0", side(0, 0))]);
    assert_eq!(sides(1), [("log", side(1, 0)), ("ring0", side(0, 1))]);
    assert_eq!(sides(2), [("ring0", side(0, 2)), ("log", side(1, 1))]);
    let of = |vm: usize, at: usize| part(parts(&all[vm])[at]);
    let peers = &of(0, 0).peers;
    assert_eq!(*peers, [(2, "c")], "b has no doorbell there");
    assert_eq!(of(1, 0).peers, NONE);
    assert!(of(0, 0).doorbell && !of(1, 1).doorbell);
}

#[test]
fn places_follow_those_of_coherent_regions_or_are_given() {
    let machine = platform("", &gpu(MARKED));
    let given = sized("log", "xen,shared-mem = <1 0 0 0x1000>;", "");
    let three = [share("ring0", ""), given, share("ring1", "")];
    let vms = vms(&[with_claims("a", "", &[AS_DAX], &three)]);
    let all = resolve(&world(&machine, &vms, fwb()));
    assert_eq!(all[0].rows[1].ipa, Some(ipa(2 * GIB, 64 * MIB)));
    let places: Vec<_> = parts(&all[0]).iter().map(|row| row.ipa.unwrap()).collect();
    let after = 2 * GIB + 64 * MIB;
    assert_eq!(places, [ipa(after, MIB), ipa(4 * GIB, 0x1000), ipa(after + 2 * MIB, MIB)]);
}

#[test]
fn a_place_that_is_taken_unaligned_or_too_high_is_named() {
    for (place, words) in [
        ("<0 0x40000000 0 0x1000>", "the VM's RAM"),
        ("<0 0x9000000 0 0x1000>", "the VM's devices"),
        ("<1 0x800 0 0x1000>", "multiple of 0x1000 bytes"),
        ("<0x10000 0 0 0x1000>", "48 bits"),
    ] {
        let part = sized("ring0", &format!("xen,shared-mem = {place};"), "");
        look(&vms(&[sharing("a", "", &[part])]), |_, all| {
            let (text, _) = trouble(&all[0]);
            assert!(text.contains("ring0") && text.contains(words), "{text}");
        });
    }
}

#[test]
fn sides_of_different_sizes_are_all_refused_and_name_each_other() {
    let three = [
        sharing("a", "", &[share("ring0", "")]),
        sharing("b", "", &[sized("ring0", "assay,size = <0 0x2000>;", "")]),
        sharing("c", "", &[share("log", "")]),
    ];
    look(&vms(&three), |_, all| {
        let (text, remedy) = trouble(&all[0]);
        let wanted = "shared region ring0 has 0x100000 bytes here and 0x2000 in VM b";
        assert_eq!(text, wanted);
        assert!(remedy.contains("same size"));
        let (text, _) = trouble(&all[1]);
        assert!(text.contains("0x2000 bytes here and 0x100000 in VM a"));
        assert!(all[2].starts());
    });
}

#[test]
fn a_vm_has_one_part_in_a_region() {
    let again = share("ring0", "").replacen("part-of", "again", 1);
    let twice = [share("ring0", ""), again];
    look(&vms(&[sharing("a", "", &twice)]), |_, all| {
        let (text, _) = trouble(&all[0]);
        assert_eq!(text, "the VM claims shared region ring0 twice");
        assert_eq!(all[0].troubles[0].rule(), Rule::V3);
    });
}

#[test]
fn the_seventeenth_doorbell_of_a_vm_is_one_too_many() {
    let parts: Vec<String> = (0..17).map(|n| share(&format!("r{n}"), "assay,doorbell;")).collect();
    look(&vms(&[sharing("a", "", &parts[..16])]), |_, all| {
        assert!(all[0].starts());
    });
    look(&vms(&[sharing("a", "", &parts)]), |_, all| {
        let (text, _) = trouble(&all[0]);
        assert!(text.contains("r16") && text.contains("17th"), "{text}");
    });
}

#[test]
fn the_thirty_third_side_of_a_region_is_one_too_many_and_the_others_start() {
    let many: Vec<String> = (0..33).map(|n| sharing(&format!("vm{n}"), "", &[share("ring0", "")])).collect();
    look(&vms(&many), |_, all| {
        assert!(all[..32].iter().all(VmClaims::starts));
        assert!(trouble(&all[32]).0.contains("more than 32 VMs"));
    });
}

#[test]
fn a_region_of_one_vm_is_told_apart() {
    let two = [sharing("a", "", &[share("ring0", ""), share("lonely", "")]), sharing("b", "", &[share("ring0", "")])];
    look(&vms(&two), |world, _| {
        assert_eq!(shared_by_one(world), [("lonely", "a")]);
    });
}
