//! Why something is granted, in a few words for each rule. (Why not, the refusals say themselves.)

use assay_plan::policy::Rule;

/// The reason of a decision under `rule`.
pub(super) fn of(rule: Rule) -> &'static str {
    match rule {
        Rule::M1 => "RAM with tag storage",
        Rule::M2 => "RAM, and the VM asks for no MTE",
        Rule::C1 => "marked assay,mte-capable, and the CPUs have FWB",
        Rule::C4 => "not usable as memory, so reachable as a device's only",
        Rule::R1 => "allow mte-hidden: the VM has no MTE",
        Rule::R2 => "allow non-cacheable",
        Rule::R3 => "allow no-tag-access, and the CPUs have MTE_PERM",
        Rule::R4 => "assay,uniform-memory stands for the mark, and the CPUs have FWB",
        Rule::R5 => "allow el2-cache-maintenance: marked, but the CPUs have no FWB",
        Rule::D1 => "registers of a device",
        Rule::D2 => "registers of a device that may be write-combined",
        // These only refuse, or stand beside a decision.
        Rule::T1 | Rule::T2 | Rule::M3 | Rule::C2 | Rule::C3 | Rule::C5 => "",
        Rule::V1 | Rule::V2 | Rule::V3 => "",
    }
}
