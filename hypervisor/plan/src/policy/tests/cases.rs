//! What the tests of single rows are written with.

use super::super::{Allow, AllowSet, Attr, Claim, CpuBits, Facts, Kind, Mte, Reason, Rule, Use};
use super::{Answer, cpus};
use crate::refusal::Cause as _;

pub(super) fn no_fwb() -> CpuBits {
    cpus()[0]
}
pub(super) fn no_mte() -> CpuBits {
    cpus()[1]
}
pub(super) fn mte() -> CpuBits {
    cpus()[2]
}
pub(super) fn mte_perm() -> CpuBits {
    cpus()[3]
}

pub(super) const UNMARKED: Facts<'static> = Facts::of(Kind::Coherent);
pub(super) const MARKED: Facts<'static> = Facts { marked: true, ..UNMARKED };
pub(super) const RAM: Facts<'static> = Facts::of(Kind::Ram);

pub(super) fn claim(use_: Use) -> Claim {
    Claim { use_, exec: false, allow: AllowSet::NONE, vm_mte: false }
}

pub(super) fn with_mte(use_: Use) -> Claim {
    Claim { vm_mte: true, ..claim(use_) }
}

pub(super) fn allowing(claim: Claim, allow: &[Allow]) -> Claim {
    let allow = allow.iter().fold(claim.allow, |set, &allow| set.with(allow));
    Claim { allow, ..claim }
}

pub(super) fn assert_refused(answer: Answer, rule: Rule, reason: Reason<'static>) {
    let refusal = answer.expect_err("refused");
    assert_eq!((refusal.rule, refusal.reason), (rule, reason));
    assert!(!refusal.remedy().is_empty());
}

/// Asserts rule, attribute, execution and the VM's MTE.
pub(super) fn assert_gets(answer: Answer, rule: Rule, attr: Attr, exec: bool, mte: Mte) {
    let decision = answer.expect("decided");
    assert_eq!((decision.rule, decision.attr), (rule, attr));
    assert_eq!((decision.exec, decision.mte), (exec, mte));
}
