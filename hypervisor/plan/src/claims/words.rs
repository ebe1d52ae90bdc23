//! The VM tree's words for the policy: the same choices, without what the policy does not need.

use crate::policy::{Allow, AllowSet, Claim, Use};
use crate::vm_tree::{self, CoherentClaim};

/// Turns a claim of a VM (`vm_mte`: which asks for MTE) into the policy's question.
pub(super) fn claim(claim: &CoherentClaim, vm_mte: bool) -> Claim {
    let allow = claim.allow.iter().copied().map(allow);
    Claim {
        use_: match claim.use_ {
            vm_tree::Use::Ram => Use::Ram,
            vm_tree::Use::Dax => Use::Dax,
            vm_tree::Use::Aperture => Use::Aperture,
        },
        exec: claim.exec,
        allow: allow.fold(AllowSet::NONE, AllowSet::with),
        vm_mte,
    }
}

const fn allow(word: vm_tree::Allow) -> Allow {
    match word {
        vm_tree::Allow::MteHidden => Allow::MteHidden,
        vm_tree::Allow::NonCacheable => Allow::NonCacheable,
        vm_tree::Allow::NoTagAccess => Allow::NoTagAccess,
        vm_tree::Allow::El2CacheMaintenance => Allow::El2CacheMaintenance,
    }
}
