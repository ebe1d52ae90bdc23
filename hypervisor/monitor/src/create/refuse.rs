//! Refusals that are not about what the policy says of a region.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Display;

use assay_plan::claims::SharedRow;
use assay_plan::vm_tree::VmConfig;

/// Why a VM does not start, when it is not about a region.
pub(super) struct Refused {
    pub(super) rule: &'static str,
    pub(super) reason: String,
    pub(super) remedy: &'static str,
}

/// Makes a refusal.
pub(super) fn refuse(rule: &'static str, reason: impl Display, remedy: &'static str) -> Option<Refused> {
    Some(Refused { rule, reason: reason.to_string(), remedy })
}

pub(super) fn no_memory(config: &VmConfig) -> Option<Refused> {
    let what = if config.mte { " of memory with tags" } else { "" };
    refuse(
        "V2",
        format!("{} MiB{what} are wanted and not free in large enough pieces", config.memory_bytes >> 20),
        "give the VM less `memory`, or the machine more (QEMU: -m)",
    )
}

pub(super) fn no_shared_memory(row: &SharedRow<'_>) -> Option<Refused> {
    let what = if row.tagged { " of memory with tags" } else { "" };
    refuse(
        "V2",
        format!(
            "{} KiB{what} are wanted for shared region {} and not free in large enough pieces",
            row.size >> 10,
            row.region
        ),
        "make the region smaller, or the machine's memory larger (QEMU: -m)",
    )
}
