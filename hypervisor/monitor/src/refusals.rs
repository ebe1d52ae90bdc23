//! The line that says why a VM does not start, when it is not about a region.

use core::fmt::Display;

use assay_model::loader::KernelError;
use assay_plan::policy::line::Quoted;

use crate::console::say;

/// Prints a refusal that is not about a region.
pub(crate) fn refused(vm: &str, rule: &dyn Display, reason: &dyn Display, remedy: &str) {
    say!("refused vm={vm} region=- rule={rule} reason={} remedy={}", Quoted(reason), Quoted(&remedy));
}

/// Returns the rule that a file which cannot be loaded breaks.
pub(crate) fn rule_of(error: KernelError) -> &'static str {
    if matches!(error, KernelError::NoRoom { .. }) { "V2" } else { "V3" }
}
