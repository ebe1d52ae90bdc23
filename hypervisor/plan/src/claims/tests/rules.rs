//! The decision table from trees to decisions: marks, relaxations, facts from overlays.

use std::format;

use super::{AS_APERTURE, AS_DAX, AS_RAM, MARKED, fwb, gpu, mte, old, only, overlaid, perm, platform, vm, vms, world};
use crate::claims::ram::row as ram;
use crate::policy::{Attr, CpuBits, Mte, NoTags, Proof, Reason, Rule};

/// Rule, attribute and execution of one claim, or the refusing rule.
fn decided(region: &str, domain: &str, claim: &str, bits: CpuBits) -> Result<(Rule, Attr, bool), Rule> {
    let machine = platform("", &gpu(region));
    let vms = vms(&[vm("a", domain, &[claim])]);
    let world = world(&machine, &vms, bits);
    match only(&world) {
        Ok(decision) => Ok((decision.rule, decision.attr, decision.exec)),
        Err(refusal) => Err(refusal.rule),
    }
}

#[test]
fn a_marked_region_is_write_back_and_ram_alone_is_executable_unasked() {
    let wb = Attr::NormalWb;
    assert_eq!(decided(MARKED, "", AS_RAM, mte()), Ok((Rule::C1, wb, true)));
    assert_eq!(decided(MARKED, "", AS_DAX, mte()), Ok((Rule::C1, wb, false)));
    let exec = format!("{AS_DAX} assay,exec;");
    assert_eq!(decided(MARKED, "", &exec, mte()), Ok((Rule::C1, wb, true)));
    let aperture = decided(MARKED, "assay,mte;", AS_APERTURE, mte());
    assert_eq!(aperture, Ok((Rule::C1, wb, false)));
}

#[test]
fn an_unmarked_region_is_device_memory_or_refused() {
    let device = (Rule::C4, Attr::DeviceNgnre, false);
    assert_eq!(decided("", "", AS_APERTURE, mte()), Ok(device));
    assert_eq!(decided("", "", AS_RAM, mte()), Err(Rule::C5));
    assert_eq!(decided("", "", AS_DAX, old()), Err(Rule::C5));
}

#[test]
fn without_fwb_a_marked_region_is_refused_unless_el2_maintains_it() {
    assert_eq!(decided(MARKED, "", AS_RAM, old()), Err(Rule::C3));
    let maintained = format!(r#"{AS_RAM} assay,allow = "el2-cache-maintenance";"#);
    let wb = (Rule::R5, Attr::NormalWb, true);
    assert_eq!(decided(MARKED, "", &maintained, old()), Ok(wb));
}

#[test]
fn relaxations_of_the_manifest_reach_the_policy() {
    let allow = |words: &str| format!("{AS_DAX} assay,allow = {words};");
    let hidden = allow(r#""mte-hidden""#);
    assert_eq!(decided("", "", &hidden, fwb()), Ok((Rule::R1, Attr::NormalWb, false)));
    assert_eq!(decided("", "assay,mte;", &hidden, mte()), Err(Rule::R1));
    let no_tags = allow(r#""no-tag-access""#);
    let result = decided("", "assay,mte;", &no_tags, perm());
    assert_eq!(result, Ok((Rule::R3, Attr::NormalWbNoTag, false)));
    assert_eq!(decided("", "", &no_tags, mte()), Err(Rule::R3));
    let nc = allow(r#""non-cacheable""#);
    assert_eq!(decided("", "", &nc, old()), Ok((Rule::R2, Attr::NormalNc, false)));
    let both = allow(r#""non-cacheable", "mte-hidden""#);
    assert_eq!(decided("", "", &both, fwb()), Ok((Rule::R1, Attr::NormalWb, false)));
}

#[test]
fn uniform_memory_stands_for_the_mark_but_not_against_no_mte() {
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let uniform = platform("assay,uniform-memory;", &gpu(""));
    assert_eq!(only(&world(&uniform, &vms, fwb())).unwrap().rule, Rule::R4);
    let incapable = platform("assay,uniform-memory;", &gpu("arm,no-mte;"));
    let refusal = only(&world(&incapable, &vms, fwb())).unwrap_err();
    assert_eq!((refusal.rule, refusal.reason), (Rule::C5, Reason::SaidIncapable));
}

#[test]
fn a_disproved_mark_counts_as_none() {
    let machine = platform("", &gpu(MARKED));
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    let mut world = world(&machine, &vms, mte());
    let lie = |path: &str| {
        if path.contains("gpu0") { Proof::FailedTags } else { Proof::Passed }
    };
    world.proof = &lie;
    let refusal = only(&world).unwrap_err();
    assert_eq!((refusal.rule, refusal.reason), (Rule::C5, Reason::Disproved));
    assert_eq!(refusal.notices.iter().count(), 1);
}

#[test]
fn an_overlay_marks_what_firmware_left_unmarked() {
    let vms = vms(&[vm("a", "", &[AS_RAM])]);
    assert!(only(&world(&platform("", &gpu("")), &vms, fwb())).is_err());
    let mark = "gpu0-memory@4000000000 { assay,mte-capable; };";
    let machine = overlaid("", &gpu(""), &[("/reserved-memory", mark)]);
    assert_eq!(only(&world(&machine, &vms, fwb())).unwrap().rule, Rule::C1);
}

const NO_TAGS: &str = r#"memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 0x40000000>; arm,no-mte; };"#;

#[test]
fn ram_follows_m1_to_m3() {
    let machine = platform("", "");
    let plain = vms(&[vm("a", "", &[])]);
    let wants = vms(&[vm("a", "assay,mte;", &[])]);
    let row = ram(&world(&machine, &plain, mte()), &plain[0]);
    assert_eq!((row.outcome.unwrap().rule, row.outcome.unwrap().mte), (Rule::M1, Mte::Hidden));
    assert_eq!(row.ipa.map(|ipa| (ipa.start.0, ipa.size)), Some((0x4000_0000, 0x2000_0000)));
    let row = ram(&world(&machine, &wants, mte()), &wants[0]);
    assert_eq!((row.outcome.unwrap().rule, row.outcome.unwrap().mte), (Rule::M1, Mte::Exposed));
    let row = ram(&world(&machine, &plain, fwb()), &plain[0]);
    assert_eq!(row.outcome.unwrap().rule, Rule::M2);
    let refusal = ram(&world(&machine, &wants, fwb()), &wants[0]).outcome.unwrap_err();
    assert_eq!((refusal.rule, refusal.reason), (Rule::M3, Reason::RamWithoutTags(NoTags::Cpu)));
}

#[test]
fn of_mixed_ram_a_vm_with_mte_gets_the_nodes_with_tags_and_another_any() {
    let machine = platform(NO_TAGS, "");
    let plain = vms(&[vm("a", "", &[])]);
    let wants = vms(&[vm("a", "assay,mte;", &[])]);
    let row = ram(&world(&machine, &wants, mte()), &wants[0]);
    assert_eq!(row.outcome.unwrap().rule, Rule::M1);
    assert_eq!(row.nodes, ["/memory@40000000"]);
    let row = ram(&world(&machine, &plain, mte()), &plain[0]);
    assert_eq!(row.outcome.unwrap().rule, Rule::M2);
    assert_eq!(row.nodes.len(), 2);
}

#[test]
fn ram_whose_tags_do_not_come_back_takes_mte_from_the_whole_machine() {
    let machine = platform(NO_TAGS, &gpu(MARKED));
    let wants = vms(&[vm("a", "assay,mte;", &[AS_RAM])]);
    let mut world = world(&machine, &wants, mte());
    let broken = |path: &str| match path {
        "/memory@40000000" => Proof::FailedTags,
        // Not asked for: it has no tags to prove.
        "/memory@80000000" => Proof::Passed,
        _ => Proof::NotRun,
    };
    world.proof = &broken;
    let refusal = ram(&world, &wants[0]).outcome.unwrap_err();
    assert_eq!(refusal.reason, Reason::RamWithoutTags(NoTags::Disproved));
    let decision = only(&world).unwrap();
    assert_eq!((decision.mte, decision.zero_tags), (Mte::Hidden, false));
}

#[test]
fn rams_proof_is_printed_only_where_there_was_something_to_prove() {
    let machine = platform(NO_TAGS, "");
    let plain = vms(&[vm("a", "", &[])]);
    let passed = |_: &str| Proof::Passed;
    for (bits, proof) in [(mte(), Proof::Passed), (fwb(), Proof::NotRun)] {
        let mut world = world(&machine, &plain, bits);
        world.proof = &passed;
        assert_eq!(ram(&world, &plain[0]).proof, proof);
    }
}
