//! What the boot has to prove.

use super::{AS_APERTURE, AS_DAX, AS_RAM, MARKED, fwb, gpu, mte, platform, vm, vms, world};
use crate::claims::{resolve, to_prove};
use crate::policy::{Attr, CpuBits, Proof, Rule};

/// (tag part, type of the memory part) of the region, if it is to be proved.
fn parts(root: &str, properties: &str, claims: &[&str], bits: CpuBits) -> Option<(bool, Option<Attr>)> {
    let machine = platform(root, &gpu(properties));
    let vms = vms(&[vm("a", "", claims)]);
    let found = to_prove(&world(&machine, &vms, bits));
    assert!(found.len() <= 1);
    let found = found.first()?;
    assert_eq!(Some(found.region), machine.coherent[0].reg);
    Some((found.tags, found.memory_as(Proof::NotRun)))
}

const WB: Option<Attr> = Some(Attr::NormalWb);

#[test]
fn what_nobody_claims_is_not_touched() {
    assert_eq!(parts("", MARKED, &[], mte()), None);
}

#[test]
fn memory_is_proved_where_a_guest_uses_it_as_such_and_tags_where_they_are_said_to_be() {
    assert_eq!(parts("", MARKED, &[AS_RAM], mte()), Some((true, WB)));
    assert_eq!(parts("", MARKED, &[AS_DAX], fwb()), Some((false, WB)));
    assert_eq!(parts("", MARKED, &[AS_APERTURE], mte()), Some((true, WB)));
    // Without MTE there is no tag part to find out whether anything is there before EL2 clears it.
    assert_eq!(parts("", MARKED, &[AS_APERTURE], fwb()), Some((false, WB)));
    // Device: nothing that EL2 touches.
    assert_eq!(parts("", "", &[AS_APERTURE], fwb()), None);
    // Refused: there is no type to prove it with.
    assert_eq!(parts("", "", &[AS_RAM], mte()), None);
}

#[test]
fn unmarked_memory_is_never_looked_at_for_tags() {
    assert_eq!(parts("", "", &[AS_APERTURE], mte()), None);
    let root = "assay,uniform-memory;";
    assert_eq!(parts(root, "", &[AS_APERTURE], mte()), Some((true, WB)));
    assert_eq!(parts(root, "arm,no-mte;", &[AS_APERTURE], mte()), None);
}

#[test]
fn a_region_with_a_fault_is_not_touched() {
    let contradiction = "assay,mte-capable; arm,no-mte;";
    assert_eq!(parts("", contradiction, &[AS_RAM], mte()), None);
}

#[test]
fn a_region_that_two_claim_is_listed_once() {
    let machine = platform("", &gpu(MARKED));
    let vms = vms(&[vm("a", "", &[AS_APERTURE]), vm("b", "", &[AS_DAX])]);
    let found = to_prove(&world(&machine, &vms, mte()));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].tags, found[0].memory_as(Proof::Passed)), (true, None));
}

#[test]
fn what_is_proved_at_the_start_is_not_touched_at_the_boot() {
    let at_start = |claim: &str| std::format!(r#"{claim} assay,proof = "at-start";"#);
    for claim in [AS_RAM, AS_DAX, AS_APERTURE] {
        assert_eq!(parts("", MARKED, &[&at_start(claim)], mte()), None);
    }
    // Nor if another VM claims it with a proof at the boot, and both are refused.
    let machine = platform("", &gpu(MARKED));
    let vms = vms(&[vm("a", "", &[AS_RAM]), vm("b", "", &[&at_start(AS_DAX)])]);
    assert_eq!(to_prove(&world(&machine, &vms, mte())), []);
}

#[test]
fn a_decision_says_that_its_proof_is_at_the_start() {
    let row = |properties: &str, claim: &str| {
        let machine = platform("", &gpu(properties));
        let vms = vms(&[vm("a", "", &[&std::format!(r#"{claim} assay,proof = "at-start";"#)])]);
        let claims = resolve(&world(&machine, &vms, mte())).remove(0);
        let row = &claims.rows[1];
        (row.proof, row.outcome.map(|decision| (decision.rule, decision.attr)).map_err(|denied| denied.rule))
    };
    assert_eq!(row(MARKED, AS_RAM), (Proof::AtStart, Ok((Rule::C1, Attr::NormalWb))));
    assert_eq!(row("", AS_RAM).1, Err(Rule::C5));
    // Device: nothing that EL2 touches, then or at the boot.
    assert_eq!(row("", AS_APERTURE), (Proof::NotRun, Ok((Rule::C4, Attr::DeviceNgnre))));
}

#[test]
fn after_a_failed_tag_part_the_memory_part_takes_the_type_that_is_left() {
    let machine = platform("", &gpu(MARKED));
    let claim = std::format!(r#"{AS_DAX} assay,allow = "non-cacheable";"#);
    let vms = vms(&[vm("a", "", &[&claim])]);
    let found = to_prove(&world(&machine, &vms, mte()));
    assert_eq!(found[0].memory_as(Proof::Passed), WB);
    assert_eq!(found[0].memory_as(Proof::FailedTags), Some(Attr::NormalNc));
}
