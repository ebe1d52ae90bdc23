//! What must hold for every input, each as a sentence of its own. The mission is the first one.

use assay_spec::stage2_desc::Rights;

use super::super::{Allow, Attr, Claim, Facts, Kind, Mte, Notice, Proof, Rule, Use};
use super::for_all;

/// Somebody vouches for tags behind a coherent region, and no proof says otherwise.
fn is_vouched_for(facts: &Facts<'_>) -> bool {
    (facts.marked || facts.uniform) && !facts.no_mte && facts.proof != Proof::FailedTags
}

fn relaxes(claim: Claim, wanted: &[Allow]) -> bool {
    wanted.iter().any(|&allow| claim.allow.has(allow))
}

#[test]
fn coherent_memory_is_normal_wb_only_if_vouched_for_or_relaxed_by_name() {
    for_all(|(facts, _, claim), answer| {
        if facts.kind == Kind::Coherent
            && let Ok(decision) = answer
            && decision.attr == Attr::NormalWb
        {
            let relaxed = claim.allow.has(Allow::MteHidden) && !claim.vm_mte;
            assert!(is_vouched_for(&facts) || relaxed, "{facts:?} {claim:?} {decision:?}");
        }
    });
}

#[test]
fn without_relaxations_coherent_memory_is_normal_only_if_vouched_for_and_with_fwb() {
    for_all(|(facts, cpu, claim), answer| {
        if facts.kind == Kind::Coherent
            && !relaxes(claim, &Allow::ALL)
            && let Ok(decision) = answer
            && decision.attr != Attr::DeviceNgnre
        {
            assert!(decision.attr == Attr::NormalWb && is_vouched_for(&facts) && cpu.fwb());
        }
    });
}

#[test]
fn a_vm_with_mte_reaches_no_untagged_memory_as_normal_wb() {
    for_all(|(facts, cpu, claim), answer| {
        if let Ok(decision) = answer
            && decision.mte == Mte::Exposed
            && decision.attr == Attr::NormalWb
        {
            let ram_has_tags = !facts.no_mte && facts.proof != Proof::FailedTags;
            let tagged = match facts.kind {
                Kind::Ram => ram_has_tags,
                Kind::Coherent => is_vouched_for(&facts),
                Kind::Mmio | Kind::MmioWriteCombining => false,
            };
            assert!(cpu.mte() && claim.vm_mte && tagged, "{facts:?} {claim:?} {decision:?}");
        }
    });
}

#[test]
fn a_vm_with_mte_finds_no_untagged_memory_as_its_ram_of_any_type() {
    for_all(|(facts, _, claim), answer| {
        if let Ok(decision) = answer
            && decision.mte == Mte::Exposed
            && claim.use_ == Use::Ram
        {
            assert_eq!(decision.attr, Attr::NormalWb, "{facts:?} {claim:?}");
            assert!(decision.zero_tags);
        }
    });
}

#[test]
fn nothing_but_ram_is_executable_unless_asked() {
    for_all(|(facts, _, claim), answer| {
        if let Ok(decision) = answer
            && decision.exec
        {
            assert!(claim.use_ == Use::Ram || claim.exec, "{facts:?} {claim:?} {decision:?}");
        }
    });
}

#[test]
fn only_write_back_memory_is_executable() {
    for_all(|(_, _, _), answer| {
        if let Ok(decision) = answer
            && decision.exec
        {
            assert!(matches!(decision.attr, Attr::NormalWb | Attr::NormalWbNoTag));
        }
    });
}

#[test]
fn no_shared_mapping_is_executable() {
    for_all(|(_, _, claim), answer| {
        if let Ok(decision) = answer
            && claim.use_.is_shared()
        {
            assert!(!decision.exec && !decision.attributes().exec);
            assert_eq!(decision.notices.has(Notice::ExecHasNoEffect), claim.exec, "{claim:?}");
        }
    });
}

#[test]
fn a_read_only_side_has_no_write_permission_and_everyone_else_has() {
    for_all(|(_, _, claim), answer| {
        if let Ok(decision) = answer {
            let read_only = claim.use_ == Use::Shared(Rights::ReadOnly);
            let rights = decision.attributes().rights;
            assert_eq!(rights == Rights::ReadOnly, read_only, "{claim:?}");
        }
    });
}

#[test]
fn only_ram_is_shared_and_always_as_write_back() {
    for_all(|(facts, _, claim), answer| {
        if let Ok(decision) = answer
            && claim.use_.is_shared()
        {
            assert_eq!((facts.kind, decision.attr), (Kind::Ram, Attr::NormalWb));
            assert!(!decision.notices.has(Notice::AtomicsNotPromised));
        }
    });
}

#[test]
fn every_side_of_a_shared_region_finds_the_same_type_and_tags_clear_for_all_or_none() {
    for_all(|(facts, cpu, claim), answer| {
        if let Use::Shared(rights) = claim.use_
            && let Ok(decision) = answer
        {
            for rights in [rights, Rights::ReadOnly, Rights::ReadWrite] {
                for vm_mte in [false, true] {
                    let peer = super::decide(&facts, cpu, Claim::shared(rights, vm_mte));
                    if let Ok(peer) = peer {
                        assert_eq!((peer.attr, peer.zero_tags), (decision.attr, decision.zero_tags));
                    }
                }
            }
        }
    });
}

#[test]
fn what_a_guest_uses_as_memory_is_never_device() {
    for_all(|(facts, _, claim), answer| {
        if let Ok(decision) = answer
            && claim.use_ != Use::Aperture
        {
            assert_ne!(decision.attr, Attr::DeviceNgnre, "{facts:?} {claim:?}");
        }
    });
}

#[test]
fn memory_is_non_cacheable_only_by_the_relaxation_of_that_name_and_then_says_so() {
    for_all(|(facts, _, claim), answer| {
        if let Ok(decision) = answer
            && decision.attr == Attr::NormalNc
            && facts.kind != Kind::MmioWriteCombining
        {
            assert!(claim.allow.has(Allow::NonCacheable) && decision.rule == Rule::R2);
            assert!(decision.notices.has(Notice::AtomicsNotPromised));
            assert!(claim.use_ != Use::Ram || !claim.vm_mte);
        }
    });
}

#[test]
fn no_tag_access_is_encoded_only_where_every_cpu_has_mte_perm() {
    for_all(|(_, cpu, claim), answer| {
        if let Ok(decision) = answer
            && decision.attr == Attr::NormalWbNoTag
        {
            assert!(cpu.mte_perm() && claim.allow.has(Allow::NoTagAccess));
        }
    });
}

#[test]
fn device_registers_are_never_cacheable() {
    for_all(|(facts, _, _), answer| {
        if matches!(facts.kind, Kind::Mmio | Kind::MmioWriteCombining)
            && let Ok(decision) = answer
        {
            assert!(!decision.attr.is_write_back() && !decision.exec);
        }
    });
}

#[test]
fn ram_is_normal_wb_or_not_given() {
    for_all(|(facts, _, _), answer| {
        if facts.kind == Kind::Ram
            && let Ok(decision) = answer
        {
            assert_eq!(decision.attr, Attr::NormalWb);
        }
    });
}

#[test]
fn a_region_with_a_fault_a_contradiction_or_two_owners_goes_to_nobody() {
    for_all(|(facts, _, claim), answer| {
        let contradicts = facts.marked && facts.no_mte;
        let is_t1 = facts.fault.is_some() || contradicts || facts.proof == Proof::FailedMemory;
        let rule = answer.err().map(|refusal| refusal.rule);
        assert_eq!(rule == Some(Rule::T1), is_t1, "{facts:?}");
        let coherent_between_vms = facts.kind == Kind::Coherent && claim.use_.is_shared();
        assert_eq!(
            rule == Some(Rule::T2),
            !is_t1 && (facts.other_owner.is_some() || coherent_between_vms),
            "{facts:?}"
        );
    });
}

#[test]
fn mte_is_exposed_exactly_to_a_vm_that_asks_on_cpus_that_have_it() {
    for_all(|(_, cpu, claim), answer| {
        if let Ok(decision) = answer {
            assert_eq!(decision.mte == Mte::Exposed, claim.vm_mte && cpu.mte());
        }
    });
}

#[test]
fn mte_hidden_on_one_region_never_leaves_the_vm_with_mte() {
    for_all(|(_, _, claim), answer| {
        if let Ok(decision) = answer
            && decision.rule == Rule::R1
        {
            assert!(decision.mte == Mte::Hidden && !claim.vm_mte);
        }
    });
}

#[test]
fn tags_are_zeroed_only_where_somebody_vouches_for_them() {
    for_all(|(facts, cpu, claim), answer| {
        if let Ok(decision) = answer
            && decision.zero_tags
        {
            let wants_tags = claim.vm_mte || claim.use_.is_shared();
            let is_tagged_ram = facts.kind == Kind::Ram && !facts.no_mte && wants_tags;
            let is_marked = facts.kind == Kind::Coherent && is_vouched_for(&facts);
            assert!(cpu.mte() && (is_tagged_ram || is_marked));
            assert_ne!(facts.proof, Proof::FailedTags);
        }
    });
}

#[test]
fn write_back_without_fwb_owes_cache_maintenance_and_nothing_else_does() {
    for_all(|(_, cpu, _), answer| {
        if let Ok(decision) = answer {
            let owed = decision.attr.is_write_back() && !cpu.fwb();
            assert_eq!(decision.el2_maintenance, owed);
        }
    });
}

#[test]
fn a_relaxation_changes_nothing_for_memory_that_needs_none() {
    for_all(|(facts, cpu, claim), answer| {
        let strict = Claim { allow: super::AllowSet::NONE, ..claim };
        let needs_none = facts.kind != Kind::Coherent
            || super::decide(&facts, cpu, strict).is_ok_and(|decision| matches!(decision.rule, Rule::C1 | Rule::R4));
        if needs_none {
            assert_eq!(answer, super::decide(&facts, cpu, strict));
        }
    });
}

#[test]
fn a_disproved_mark_is_always_an_error_and_counts_for_nothing() {
    for_all(|(facts, cpu, claim), answer| {
        let usable = facts.fault.is_none() && facts.other_owner.is_none();
        if facts.kind != Kind::Coherent || facts.proof != Proof::FailedTags || !usable {
            return;
        }
        // Nobody asks whether a coherent region has tags that several VMs want.
        if facts.no_mte || claim.use_.is_shared() {
            return;
        }
        let unmarked = Facts { marked: false, uniform: false, ..facts };
        let expected = super::decide(&unmarked, cpu, claim);
        let claimed = facts.marked || facts.uniform;
        match (answer, expected) {
            (Ok(decision), Ok(other)) => {
                assert_eq!((decision.rule, decision.attr), (other.rule, other.attr));
                assert_eq!(decision.notices.has(Notice::MarkDisproved), claimed);
            }
            (Err(refusal), Err(other)) => {
                assert_eq!(refusal.rule, other.rule);
                assert_eq!(refusal.notices.has(Notice::MarkDisproved), claimed);
            }
            (answer, other) => panic!("{answer:?} but {other:?} unmarked"),
        }
    });
}

#[test]
fn every_rule_of_the_table_can_be_reached() {
    let mut seen = std::collections::BTreeSet::new();
    for_all(|_, answer| {
        match answer {
            Ok(decision) => seen.insert(decision.rule),
            Err(refusal) => seen.insert(refusal.rule),
        };
        let notices = answer.map_or_else(|refusal| refusal.notices, |decision| decision.notices);
        seen.extend(notices.iter().filter_map(Notice::rule));
    });
    use Rule::{C1, C2, C3, C4, C5, D1, D2, M1, M2, M3, R1, R2, R3, R4, R5, T1, T2};
    let all = [T1, T2, M1, M2, M3, C1, C2, C3, C4, C5, D1, D2, R1, R2, R3, R4, R5];
    if !cfg!(miri) {
        assert_eq!(seen, all.into_iter().collect());
    }
}
