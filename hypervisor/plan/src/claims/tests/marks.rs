//! The mark says yes by being there: one with a value is asked about, not guessed at.

use std::format;
use std::string::ToString;

use super::{AS_APERTURE, AS_DAX, AS_RAM, MARKED, fwb, gpu, mte, only, overlaid, platform, vm, vms, world};
use crate::claims::to_prove;
use crate::platform::HostPlatform;
use crate::policy::Rule;

const VALUES: [&str; 6] = ["<0>", "<1>", r#""no""#, r#""""#, r#""yes", "no""#, "<0 0>"];

/// The rule for the region, whatever it is claimed as, and the words.
fn answer(machine: &HostPlatform) -> (Rule, std::string::String) {
    let mut found = None;
    for claim in [AS_RAM, AS_DAX, AS_APERTURE] {
        for bits in [mte(), fwb()] {
            let vms = vms(&[vm("a", "", &[claim])]);
            let world = world(machine, &vms, bits);
            let now = match only(&world) {
                Ok(decision) => (decision.rule, "".to_string()),
                Err(denied) => (denied.rule, denied.reason.to_string()),
            };
            assert!(now.0 != Rule::T1 || to_prove(&world).is_empty());
            assert_eq!(*found.get_or_insert(now.clone()), now);
        }
    }
    found.unwrap()
}

#[test]
fn a_mark_with_a_value_is_refused_and_named() {
    for value in VALUES {
        let mark = format!("assay,mte-capable = {value};");
        for machine in [
            platform("", &gpu(&mark)),
            overlaid("", &gpu(""), &[("/reserved-memory/gpu0-memory", &mark)]),
            overlaid("", &gpu(MARKED), &[("/reserved-memory/gpu0-memory", &mark)]),
            overlaid("", &gpu(&mark), &[("/reserved-memory/gpu0-memory", MARKED)]),
            platform("assay,uniform-memory;", &gpu(&mark)),
        ] {
            let (rule, text) = answer(&machine);
            assert_eq!(rule, Rule::T1);
            assert!(text.contains("assay,mte-capable has a value"), "{text}");
        }
    }
}

#[test]
fn a_word_for_all_memory_with_a_value_is_refused_where_it_would_count() {
    for value in VALUES {
        let word = format!("assay,uniform-memory = {value};");
        for machine in [platform(&word, &gpu("")), overlaid("", &gpu(""), &[("/", &word)])] {
            let (rule, text) = answer(&machine);
            assert_eq!(rule, Rule::T1);
            assert!(text.contains("(/) assay,uniform-memory has a value"), "{text}");
        }
        let marked = platform(&word, &gpu(MARKED));
        assert_eq!(answer(&marked).0, Rule::C1);
        let odd = marked.oddities();
        assert!(odd[0].node == "/" && odd[0].reason.contains("assay,uniform-memory"));
    }
    assert_eq!(answer(&platform("assay,uniform-memory;", &gpu(""))).0, Rule::R4);
    assert_eq!(platform("assay,uniform-memory;", &gpu("")).oddities(), []);
}

#[test]
fn no_mte_with_a_value_still_denies() {
    let (rule, text) = answer(&platform("", &gpu("assay,mte-capable; arm,no-mte = <0>;")));
    assert!(rule == Rule::T1 && text.contains("arm,no-mte"), "{text}");
}
