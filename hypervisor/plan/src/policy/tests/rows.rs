//! Every row of the strict default, one test each.

use std::string::ToString;

use crate::refusal::Cause as _;
use assay_spec::stage2_desc::Rights;

use super::super::{Attr, Claim, Facts, Fault, Kind, Mte, NoTags, Notice, Proof, Reason, Rule, Use, decide};
use super::cases::{MARKED, RAM, UNMARKED, assert_gets, assert_refused, claim, mte, no_fwb, no_mte, with_mte};
use super::{FAULTS, USES, cpus};

#[test]
fn t1_refuses_a_region_both_marked_and_no_mte() {
    let facts = Facts { no_mte: true, ..MARKED };
    for use_ in USES {
        assert_refused(decide(&facts, mte(), claim(use_)), Rule::T1, Reason::Contradiction);
    }
}

#[test]
fn t1_refuses_every_fault_of_place() {
    for &fault in FAULTS {
        let facts = Facts { fault: Some(fault), ..MARKED };
        assert_refused(decide(&facts, mte(), claim(Use::Dax)), Rule::T1, Reason::Fault(fault));
    }
}

#[test]
fn t1_refuses_what_failed_the_memory_part_of_the_proof() {
    let facts = Facts { proof: Proof::FailedMemory, ..MARKED };
    assert_refused(decide(&facts, mte(), claim(Use::Ram)), Rule::T1, Reason::NotMemory);
}

#[test]
fn t2_refuses_a_region_of_two_vms_and_names_the_other() {
    let facts = Facts { other_owner: Some("zephyr"), ..MARKED };
    let answer = decide(&facts, mte(), claim(Use::Ram));
    assert_refused(answer, Rule::T2, Reason::TwoOwners("zephyr"));
    let faulty = Facts { fault: Some(Fault::Unaligned), ..facts };
    let answer = decide(&faulty, mte(), claim(Use::Ram));
    assert_refused(answer, Rule::T1, Reason::Fault(Fault::Unaligned));
}

#[test]
fn m1_gives_a_vm_with_mte_ram_with_zeroed_tags() {
    let answer = decide(&RAM, mte(), Claim::ram(true));
    assert_gets(answer, Rule::M1, Attr::NormalWb, true, Mte::Exposed);
    assert!(answer.unwrap().zero_tags);
    assert!(!Claim::ram(true).exec, "RAM needs no asking");
}

#[test]
fn m1_hides_mte_from_a_vm_that_does_not_ask() {
    let answer = decide(&RAM, mte(), Claim::ram(false));
    assert_gets(answer, Rule::M1, Attr::NormalWb, true, Mte::Hidden);
    assert!(!answer.unwrap().zero_tags);
}

#[test]
fn m2_gives_ram_without_tags_to_a_vm_without_mte() {
    for cpu in [no_fwb(), no_mte()] {
        let answer = decide(&RAM, cpu, Claim::ram(false));
        assert_gets(answer, Rule::M2, Attr::NormalWb, true, Mte::Hidden);
        assert_eq!(answer.unwrap().el2_maintenance, !cpu.fwb());
    }
    let node = Facts { no_mte: true, ..RAM };
    let answer = decide(&node, mte(), Claim::ram(false));
    assert_gets(answer, Rule::M2, Attr::NormalWb, true, Mte::Hidden);
    let failed = Facts { proof: Proof::FailedTags, ..RAM };
    let answer = decide(&failed, mte(), Claim::ram(false));
    assert_gets(answer, Rule::M2, Attr::NormalWb, true, Mte::Hidden);
}

#[test]
fn m3_gives_no_ram_without_tags_to_a_vm_with_mte_and_says_whose_fault_it_is() {
    let refused = |facts: &Facts<'static>, cpu, cause| {
        let answer = decide(facts, cpu, Claim::ram(true));
        assert_refused(answer, Rule::M3, Reason::RamWithoutTags(cause));
    };
    refused(&RAM, no_mte(), NoTags::Cpu);
    refused(&Facts { no_mte: true, ..RAM }, mte(), NoTags::Node);
    refused(&Facts { proof: Proof::FailedTags, ..RAM }, mte(), NoTags::Disproved);
}

#[test]
fn c2_goes_on_as_unmarked_and_says_that_the_mark_is_wrong() {
    let facts = Facts { proof: Proof::FailedTags, ..MARKED };
    let answer = decide(&facts, mte(), claim(Use::Ram));
    assert_refused(answer, Rule::C5, Reason::Disproved);
    assert!(answer.unwrap_err().notices.has(Notice::MarkDisproved));
    let answer = decide(&facts, mte(), claim(Use::Aperture));
    assert_gets(answer, Rule::C4, Attr::DeviceNgnre, false, Mte::Hidden);
    assert!(answer.unwrap().notices.has(Notice::MarkDisproved));
    assert!(Notice::MarkDisproved.is_error());
}

#[test]
fn c3_refuses_marked_memory_without_fwb() {
    for use_ in [Use::Ram, Use::Dax] {
        assert_refused(decide(&MARKED, no_fwb(), claim(use_)), Rule::C3, Reason::NoFwb);
    }
}

#[test]
fn c1_gives_marked_memory_as_normal_wb() {
    for (use_, exec) in [(Use::Ram, true), (Use::Dax, false), (Use::Aperture, false)] {
        let answer = decide(&MARKED, mte(), with_mte(use_));
        assert_gets(answer, Rule::C1, Attr::NormalWb, exec, Mte::Exposed);
        assert!(answer.unwrap().zero_tags);
        // The answer depends on the tree, not on whether this CPU has MTE.
        let answer = decide(&MARKED, no_mte(), claim(use_));
        assert_gets(answer, Rule::C1, Attr::NormalWb, exec, Mte::Hidden);
        assert!(!answer.unwrap().zero_tags);
    }
}

#[test]
fn c1_makes_dax_and_aperture_executable_when_asked() {
    for use_ in [Use::Dax, Use::Aperture] {
        let claim = Claim { exec: true, ..claim(use_) };
        assert_gets(decide(&MARKED, mte(), claim), Rule::C1, Attr::NormalWb, true, Mte::Hidden);
    }
}

#[test]
fn c1_zeroes_tags_even_for_a_vm_without_mte() {
    assert!(decide(&MARKED, mte(), claim(Use::Ram)).unwrap().zero_tags);
}

#[test]
fn c4_gives_an_unmarked_aperture_as_device() {
    let answer = decide(&UNMARKED, mte(), with_mte(Use::Aperture));
    assert_gets(answer, Rule::C4, Attr::DeviceNgnre, false, Mte::Exposed);
}

#[test]
fn c4_gives_a_marked_aperture_without_fwb_as_device() {
    let answer = decide(&MARKED, no_fwb(), claim(Use::Aperture));
    assert_gets(answer, Rule::C4, Attr::DeviceNgnre, false, Mte::Hidden);
}

#[test]
fn c4_is_never_executable_and_says_so() {
    let claim = Claim { exec: true, ..claim(Use::Aperture) };
    let answer = decide(&UNMARKED, mte(), claim);
    assert_gets(answer, Rule::C4, Attr::DeviceNgnre, false, Mte::Hidden);
    assert!(answer.unwrap().notices.has(Notice::ExecHasNoEffect));
}

#[test]
fn c5_refuses_unmarked_memory_and_names_the_property() {
    for use_ in [Use::Ram, Use::Dax] {
        for cpu in cpus() {
            let answer = decide(&UNMARKED, cpu, claim(use_));
            assert_refused(answer, Rule::C5, Reason::Unmarked);
            assert!(answer.unwrap_err().remedy().contains("assay,mte-capable"));
        }
    }
    let incapable = Facts { no_mte: true, ..UNMARKED };
    assert_refused(decide(&incapable, mte(), claim(Use::Ram)), Rule::C5, Reason::SaidIncapable);
}

#[test]
fn d1_gives_device_registers_as_device() {
    let answer = decide(&Facts::of(Kind::Mmio), mte(), Claim::device(true));
    assert_gets(answer, Rule::D1, Attr::DeviceNgnre, false, Mte::Exposed);
    assert_eq!(answer.unwrap().notices.iter().count(), 0);
}

#[test]
fn d2_gives_write_combining_registers_as_non_cacheable() {
    let answer = decide(&Facts::of(Kind::MmioWriteCombining), no_fwb(), Claim::device(false));
    assert_gets(answer, Rule::D2, Attr::NormalNc, false, Mte::Hidden);
}

#[test]
fn d1_and_d2_refuse_registers_as_memory() {
    for (kind, rule) in [(Kind::Mmio, Rule::D1), (Kind::MmioWriteCombining, Rule::D2)] {
        for use_ in [Use::Ram, Use::Dax] {
            let answer = decide(&Facts::of(kind), mte(), claim(use_));
            assert_refused(answer, rule, Reason::MmioAsMemory);
        }
    }
}

#[test]
fn m1_to_m3_decide_for_each_side_of_memory_between_vms() {
    for rights in [Rights::ReadWrite, Rights::ReadOnly] {
        let with = |vm_mte| Claim::shared(rights, vm_mte);
        let answer = decide(&RAM, mte(), with(true));
        assert_gets(answer, Rule::M1, Attr::NormalWb, false, Mte::Exposed);
        let answer = decide(&RAM, mte(), with(false));
        assert_gets(answer, Rule::M1, Attr::NormalWb, false, Mte::Hidden);
        assert!(answer.unwrap().zero_tags, "the other side may have MTE");
        let answer = decide(&RAM, no_mte(), with(false));
        assert_gets(answer, Rule::M2, Attr::NormalWb, false, Mte::Hidden);
        assert!(!answer.unwrap().zero_tags);
        let cause = Reason::RamWithoutTags(NoTags::Cpu);
        assert_refused(decide(&RAM, no_mte(), with(true)), Rule::M3, cause);
    }
}

#[test]
fn t2_refuses_coherent_memory_between_vms() {
    for facts in [MARKED, UNMARKED] {
        let answer = decide(&facts, mte(), Claim::shared(Rights::ReadWrite, true));
        assert_refused(answer, Rule::T2, Reason::SharedIsRam);
    }
}

#[test]
fn another_nodes_no_mte_is_that_nodes_word_in_t1_and_c5() {
    let around = Some("/memory@40000000");
    let marked = Facts { no_mte: true, no_mte_by: around, ..MARKED };
    let reason = Reason::ContradictedBy("/memory@40000000");
    assert_refused(decide(&marked, mte(), claim(Use::Dax)), Rule::T1, reason);
    assert!(reason.to_string().contains("/memory@40000000 has arm,no-mte"), "{reason}");
    let unmarked = Facts { no_mte: true, no_mte_by: around, ..UNMARKED };
    let reason = Reason::SaidIncapableBy("/memory@40000000");
    assert_refused(decide(&unmarked, mte(), claim(Use::Dax)), Rule::C5, reason);
    assert!(reason.to_string().starts_with("/memory@40000000 has arm,no-mte"), "{reason}");
}
