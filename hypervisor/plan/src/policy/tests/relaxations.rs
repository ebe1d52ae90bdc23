//! Every relaxation of the strict default, one test or more each.

use super::super::{Allow, Attr, Facts, Mte, Notice, Proof, Reason, Rule, Use, decide};
use super::USES;
use super::cases::{
    MARKED, UNMARKED, allowing, assert_gets, assert_refused, claim, mte, mte_perm, no_fwb, no_mte, with_mte,
};

#[test]
fn r1_gives_unmarked_memory_as_normal_wb_to_a_vm_without_mte() {
    for (use_, exec) in [(Use::Ram, true), (Use::Dax, false), (Use::Aperture, false)] {
        let answer = decide(&UNMARKED, mte(), allowing(claim(use_), &[Allow::MteHidden]));
        assert_gets(answer, Rule::R1, Attr::NormalWb, exec, Mte::Hidden);
        assert!(!answer.unwrap().zero_tags, "EL2 never maps unmarked memory Tagged");
    }
}

#[test]
fn r1_refuses_a_vm_with_mte_and_names_both_fields() {
    let claim = allowing(with_mte(Use::Dax), &[Allow::MteHidden]);
    let answer = decide(&UNMARKED, mte_perm(), claim);
    assert_refused(answer, Rule::R1, Reason::MteAskedAndHidden);
    let barred = allowing(with_mte(Use::Ram), &[Allow::MteHidden, Allow::NoTagAccess, Allow::NonCacheable]);
    assert_refused(decide(&UNMARKED, mte_perm(), barred), Rule::R1, Reason::MteAskedAndHidden);
    let text = std::format!("{}", answer.unwrap_err().reason);
    assert!(text.contains("mte = true") && text.contains("mte-hidden"), "{text}");
}

#[test]
fn r1_has_no_effect_without_fwb() {
    let ram = allowing(claim(Use::Ram), &[Allow::MteHidden]);
    assert_refused(decide(&UNMARKED, no_fwb(), ram), Rule::C5, Reason::HiddenNeedsFwb);
    let both = allowing(ram, &[Allow::NonCacheable]);
    let answer = decide(&UNMARKED, no_fwb(), both);
    assert_gets(answer, Rule::R2, Attr::NormalNc, false, Mte::Hidden);
}

#[test]
fn r2_gives_non_cacheable_memory_with_a_warning() {
    for use_ in USES.into_iter().filter(|use_| !use_.is_shared()) {
        let answer = decide(&UNMARKED, mte(), allowing(claim(use_), &[Allow::NonCacheable]));
        assert_gets(answer, Rule::R2, Attr::NormalNc, false, Mte::Hidden);
        assert!(answer.unwrap().notices.has(Notice::AtomicsNotPromised));
    }
}

#[test]
fn r2_lifts_c3_too() {
    let claim = allowing(claim(Use::Ram), &[Allow::NonCacheable]);
    let answer = decide(&MARKED, no_fwb(), claim);
    assert_gets(answer, Rule::R2, Attr::NormalNc, false, Mte::Hidden);
}

#[test]
fn r3_gives_write_back_memory_without_tag_access() {
    for (use_, exec) in [(Use::Ram, true), (Use::Dax, false), (Use::Aperture, false)] {
        let claim = allowing(claim(use_), &[Allow::NoTagAccess]);
        let answer = decide(&UNMARKED, mte_perm(), claim);
        assert_gets(answer, Rule::R3, Attr::NormalWbNoTag, exec, Mte::Hidden);
    }
}

#[test]
fn r3_refuses_without_mte_perm() {
    for cpu in [no_fwb(), no_mte(), mte()] {
        let claim = allowing(claim(Use::Dax), &[Allow::NoTagAccess]);
        assert_refused(decide(&UNMARKED, cpu, claim), Rule::R3, Reason::NoMtePerm);
    }
}

#[test]
fn one_claim_serves_two_cpus_by_the_first_relaxation_that_can_be_had() {
    let dax = allowing(with_mte(Use::Dax), &[Allow::MteHidden, Allow::NoTagAccess, Allow::NonCacheable]);
    assert_gets(decide(&UNMARKED, mte_perm(), dax), Rule::R3, Attr::NormalWbNoTag, false, Mte::Exposed);
    assert_gets(decide(&UNMARKED, mte(), dax), Rule::R2, Attr::NormalNc, false, Mte::Exposed);
    let plain = allowing(claim(Use::Dax), &[Allow::MteHidden, Allow::NonCacheable]);
    assert_gets(decide(&UNMARKED, mte(), plain), Rule::R1, Attr::NormalWb, false, Mte::Hidden);
    assert_gets(decide(&UNMARKED, no_fwb(), plain), Rule::R2, Attr::NormalNc, false, Mte::Hidden);
}

#[test]
fn r3_with_dax_and_mte_warns_of_hot_plug() {
    let dax = allowing(with_mte(Use::Dax), &[Allow::NoTagAccess]);
    let answer = decide(&UNMARKED, mte_perm(), dax);
    assert_gets(answer, Rule::R3, Attr::NormalWbNoTag, false, Mte::Exposed);
    assert!(answer.unwrap().notices.has(Notice::HotPlugMakesRam));
    let aperture = allowing(with_mte(Use::Aperture), &[Allow::NoTagAccess]);
    let decision = decide(&UNMARKED, mte_perm(), aperture).unwrap();
    assert!(!decision.notices.has(Notice::HotPlugMakesRam));
}

#[test]
fn r2_and_r3_never_make_ram_of_a_guest_with_mte() {
    for allow in [Allow::NonCacheable, Allow::NoTagAccess] {
        let claim = allowing(with_mte(Use::Ram), &[allow]);
        let answer = decide(&UNMARKED, mte_perm(), claim);
        assert_refused(answer, Rule::C5, Reason::NotForRamWithMte);
    }
    let claim = allowing(with_mte(Use::Ram), &[Allow::NonCacheable]);
    assert_refused(decide(&MARKED, no_fwb(), claim), Rule::C3, Reason::NotForRamWithMte);
}

#[test]
fn r4_counts_all_unmarked_memory_as_marked() {
    let uniform = Facts { uniform: true, ..UNMARKED };
    let answer = decide(&uniform, mte(), with_mte(Use::Ram));
    assert_gets(answer, Rule::R4, Attr::NormalWb, true, Mte::Exposed);
    assert!(answer.unwrap().zero_tags);
    assert_refused(decide(&uniform, no_fwb(), claim(Use::Ram)), Rule::C3, Reason::NoFwb);
}

#[test]
fn r4_yields_to_no_mte_and_to_the_proof() {
    let incapable = Facts { uniform: true, no_mte: true, ..UNMARKED };
    assert_refused(decide(&incapable, mte(), claim(Use::Ram)), Rule::C5, Reason::SaidIncapable);
    let failed = Facts { uniform: true, proof: Proof::FailedTags, ..UNMARKED };
    let answer = decide(&failed, mte(), claim(Use::Ram));
    assert_refused(answer, Rule::C5, Reason::Disproved);
    assert!(answer.unwrap_err().notices.has(Notice::MarkDisproved));
}

#[test]
fn r4_beside_a_mark_leaves_the_rule_to_the_mark() {
    let both = Facts { uniform: true, ..MARKED };
    assert_eq!(decide(&both, mte(), claim(Use::Ram)).unwrap().rule, Rule::C1);
}

#[test]
fn r5_gives_marked_memory_without_fwb_as_write_back_with_maintenance() {
    for (use_, exec) in [(Use::Ram, true), (Use::Dax, false)] {
        let claim = allowing(claim(use_), &[Allow::El2CacheMaintenance, Allow::NonCacheable]);
        let answer = decide(&MARKED, no_fwb(), claim);
        assert_gets(answer, Rule::R5, Attr::NormalWb, exec, Mte::Hidden);
        assert!(answer.unwrap().el2_maintenance);
    }
}

#[test]
fn r5_lifts_c3_only() {
    let ram = allowing(claim(Use::Ram), &[Allow::El2CacheMaintenance]);
    assert_refused(decide(&UNMARKED, no_fwb(), ram), Rule::C5, Reason::Unmarked);
    let aperture = allowing(claim(Use::Aperture), &[Allow::El2CacheMaintenance]);
    let answer = decide(&MARKED, no_fwb(), aperture);
    assert_gets(answer, Rule::C4, Attr::DeviceNgnre, false, Mte::Hidden);
}

#[test]
fn relaxations_are_tried_in_the_order_r1_r3_r2() {
    let all = allowing(claim(Use::Dax), &Allow::ALL);
    assert_eq!(decide(&UNMARKED, mte_perm(), all).unwrap().rule, Rule::R1);
    let two = allowing(claim(Use::Dax), &[Allow::NonCacheable, Allow::NoTagAccess]);
    assert_eq!(decide(&UNMARKED, mte_perm(), two).unwrap().rule, Rule::R3);
}
