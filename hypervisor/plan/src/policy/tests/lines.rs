//! The words of the console contract.

use crate::refusal::Cause as _;
use std::format;
use std::string::ToString;
use std::vec::Vec;

use assay_spec::addr::{Ipa, Region};
use assay_spec::stage2_desc::Rights;

use super::super::line::{DecisionLine, RefusedLine};
use super::super::{
    Allow, AllowSet, Attr, Claim, Decision, Denied, Facts, Fault, Kind, Mte, Proof, Reason, Rule, Use, decide,
};
use super::{FAULTS, PROOFS, USES, cpus, for_all};

#[test]
fn names_are_those_of_the_contract() {
    let attrs = [Attr::NormalWb, Attr::NormalWbNoTag, Attr::NormalNc, Attr::DeviceNgnre];
    let names = ["normal-wb", "normal-wb-notag", "normal-nc", "device-ngnre"];
    assert_eq!(attrs.map(|attr| attr.to_string()), names);
    let names = ["not-run", "at-start", "passed", "failed-tags", "failed-memory"];
    assert_eq!(PROOFS.map(|proof| proof.to_string()), names);
    assert_eq!(USES.map(|use_| use_.to_string()), ["ram", "dax", "aperture", "shared", "shared"]);
    assert_eq!([Mte::Exposed, Mte::Hidden].map(|mte| mte.to_string()), ["exposed", "hidden"]);
}

#[test]
fn every_rule_is_displayed_as_it_is_called() {
    for_all(|_, answer| {
        let rule = answer.map_or_else(|refusal| refusal.rule, |decision| decision.rule);
        assert_eq!(rule.to_string(), format!("{rule:?}"));
    });
    let vm_rules = [Rule::C2, Rule::V1, Rule::V2, Rule::V3];
    assert_eq!(vm_rules.map(|rule| rule.to_string()), ["C2", "V1", "V2", "V3"]);
}

#[test]
fn words_of_the_manifest_are_read_as_they_are_written() {
    for use_ in USES {
        let read = Use::from_name(&use_.to_string());
        assert_eq!(read, Some(use_).filter(|use_| !use_.is_shared()));
    }
    let names = ["mte-hidden", "non-cacheable", "no-tag-access", "el2-cache-maintenance"];
    assert_eq!(Allow::ALL.map(Allow::name), names);
    for allow in Allow::ALL {
        assert_eq!(Allow::from_name(allow.name()), Some(allow));
        let others = Allow::ALL.into_iter().filter(|&other| AllowSet::NONE.with(allow).has(other));
        assert_eq!(others.collect::<Vec<_>>(), [allow]);
    }
    assert_eq!((Use::from_name("RAM"), Allow::from_name("")), (None, None));
}

#[test]
fn a_decision_line_has_the_keys_of_the_contract_in_order() {
    let facts = Facts { marked: true, proof: Proof::Passed, ..Facts::of(Kind::Coherent) };
    let decision = decide(&facts, cpus()[2], Claim::ram(true)).unwrap();
    let line = DecisionLine {
        vm: "linux",
        region: "gpu0-memory",
        use_: Use::Ram,
        ipa: Region::new(Ipa(0x8000_0000), 0x400_0000).unwrap(),
        decision,
        proof: facts.proof,
    };
    assert_eq!(
        line.to_string(),
        "decision vm=linux region=gpu0-memory use=ram ipa=0x80000000 size=0x4000000 \
         attr=normal-wb exec=yes mte=exposed rule=C1 proof=passed"
    );
}

#[test]
fn a_decision_on_shared_memory_also_says_the_access() {
    for (rights, word) in [(Rights::ReadOnly, "ro"), (Rights::ReadWrite, "rw")] {
        let claim = Claim::shared(rights, false);
        let line = DecisionLine {
            vm: "linux",
            region: "ring0",
            use_: claim.use_,
            ipa: Region::new(Ipa(0x8000_0000), 0x10_0000).unwrap(),
            decision: decide(&Facts::of(Kind::Ram), cpus()[2], claim).unwrap(),
            proof: Proof::NotRun,
        };
        let text = format!(
            "decision vm=linux region=ring0 use=shared ipa=0x80000000 size=0x100000 attr=normal-wb \
             exec=no mte=hidden rule=M1 proof=not-run access={word}"
        );
        assert_eq!(line.to_string(), text);
    }
}

#[test]
fn a_refused_line_quotes_and_escapes_its_texts() {
    let reason = Reason::TwoOwners("a\"b\\c\nd");
    let line = RefusedLine {
        vm: "linux",
        region: Some("gpu0-memory"),
        rule: Rule::T2,
        reason: &reason,
        remedy: reason.remedy(),
    };
    assert_eq!(
        line.to_string(),
        "refused vm=linux region=gpu0-memory rule=T2 \
         reason=\"VM a\\\"b\\\\c\\u{a}d claims the region too\" \
         remedy=\"leave the region in one VM's manifest entry only\""
    );
    let line = RefusedLine { region: None, rule: Rule::V1, reason: &"no CPU", remedy: "-", ..line };
    let text = "refused vm=linux region=- rule=V1 reason=\"no CPU\" remedy=\"-\"";
    assert_eq!(line.to_string(), text);
}

#[test]
fn every_refusal_has_a_reason_of_its_own_and_a_remedy() {
    let mut reasons = std::collections::BTreeMap::new();
    let mut hear = |answer: Result<Decision, Denied<'static>>| {
        if let Err(refusal) = answer {
            let known = reasons.entry(refusal.reason.to_string()).or_insert(refusal.reason);
            assert_eq!(*known, refusal.reason, "one text, one reason");
            assert!(refusal.remedy().len() > 10);
        }
    };
    for_all(|_, answer| hear(answer));
    let claim = Claim::device(false);
    for &fault in FAULTS {
        hear(decide(&Facts { fault: Some(fault), ..Facts::of(Kind::Coherent) }, cpus()[0], claim));
    }
    // The faults of place, and the others of `Reason`, RAM's three causes apart.
    assert!(cfg!(miri) || reasons.len() == FAULTS.len() + 16, "{reasons:?}");
    assert!(FAULTS.contains(&Fault::OverlapsAssay));
}
