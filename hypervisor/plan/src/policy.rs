//! The policy: which stage-2 attribute may this memory get, or is it refused?
//!
//! One pure and total function, [`decide`], of what the platform tree says of a region ([`Facts`]), what
//! every CPU can do ([`CpuBits`]) and what one VM asks for ([`Claim`]). EL2 calls it for each mapping it
//! makes; host tools call the same code to explain what EL2 would do. It maps nothing and prints nothing.
//!
//! The rules are tried in the order of [`Rule`]'s table and the first match counts. Where that table is
//! silent, this code reads it so:
//!
//! - R4 (`assay,uniform-memory`) is printed as the rule of a decision that rests on it; the attributes
//!   are C1's.
//! - C2 ends no search. It is a notice beside the rule that then decides, as for unmarked memory.
//! - C3 with both R5 and R2 takes R5, which keeps the memory Write-Back.
//! - Of R1, R3 and R2, the first that is asked for and can be had counts. Where none can, the refusal is that of the
//!   first whose own rule refuses (R1 with V = 1, R3 without MTE_PERM); R1 without FWB leaves the strict default's.
//! - `exec` on a Device or Non-cacheable mapping has no effect and gives a notice.
//! - MMIO is claimed as an aperture. As anything else it is refused under D1 or D2.
//! - Memory between VMs is RAM: M1 to M3 decide for each of its VMs by itself, and none of them executes from
//!   it. A coherent region has one owner, so that sharing one is refused under T2.
//! - A flash is the VM's own RAM: M1 to M3 decide, and the VM may execute from it.
//! - A VM that asks for MTE on CPUs without it is refused for its RAM (M3); decisions on its other
//!   regions say `hidden`, since nothing is exposed.
//!
//! The VM-wide side of R1 needs no second pass: V is the VM's own field, the same in each of its claims,
//! so R1 with V = 0 means MTE hidden for all of the VM, and with V = 1 a refusal.

use assay_spec::stage2_desc::{Attributes, Rights};

pub use assay_spec::stage2_desc::MemAttr as Attr;
pub use claim::{Allow, AllowSet, Claim, ProofAt, Use};
pub use cpu::{CpuBits, CpuBitsError};
pub use decision::{Decision, Mte, Notice, Notices, Rule};
pub use facts::{Facts, Fault, Kind, Proof};
pub use refusal::{Denied, NoTags, Reason};

mod claim;
mod cpu;
mod decision;
mod facts;
pub mod line;
mod refusal;
pub mod regions;

/// Decides what one VM gets of one region.
///
/// # Errors
/// A [`Denied`] with the rule, the reason and what would change it. For a coherent region or MMIO the
/// VM does not start; for RAM (M3) this VM gets none of that RAM, and does not start if the rest is too
/// small.
pub fn decide<'a>(facts: &Facts<'a>, cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    if let Some(reason) = unusable(facts) {
        return Err(Denied::new(Rule::T1, reason));
    }
    if let Some(vm) = facts.other_owner {
        return Err(Denied::new(Rule::T2, Reason::TwoOwners(vm)));
    }
    match facts.kind {
        Kind::Ram => ram(facts, cpu, claim),
        Kind::Coherent if claim.use_.is_shared() => Err(Denied::new(Rule::T2, Reason::SharedIsRam)),
        Kind::Coherent => coherent(facts, cpu, claim),
        Kind::Mmio => mmio(Rule::D1, Attr::DeviceNgnre, cpu, claim),
        Kind::MmioWriteCombining => mmio(Rule::D2, Attr::NormalNc, cpu, claim),
    }
}

/// T1: what no VM may have, whatever it asks for.
fn unusable<'a>(facts: &Facts<'a>) -> Option<Reason<'a>> {
    if let Some(fault) = facts.fault {
        Some(Reason::Fault(fault))
    } else if facts.marked && facts.no_mte {
        Some(facts.no_mte_by.map_or(Reason::Contradiction, Reason::ContradictedBy))
    } else if facts.proof == Proof::FailedMemory {
        Some(Reason::NotMemory)
    } else {
        None
    }
}

/// M1 to M3.
fn ram<'a>(facts: &Facts<'a>, cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    let missing = if !cpu.mte() {
        Some(NoTags::Cpu)
    } else if facts.no_mte {
        Some(NoTags::Node)
    } else if facts.proof == Proof::FailedTags {
        Some(NoTags::Disproved)
    } else {
        None
    };
    match missing {
        None => Ok(Decision {
            // A VM without MTE may share it with one that has it.
            zero_tags: claim.vm_mte || claim.use_.is_shared(),
            ..Decision::of(Rule::M1, Attr::NormalWb, cpu, claim)
        }),
        Some(_) if !claim.vm_mte => Ok(Decision::of(Rule::M2, Attr::NormalWb, cpu, claim)),
        Some(cause) => Err(Denied::new(Rule::M3, Reason::RamWithoutTags(cause))),
    }
}

/// C1 to C5 with R4, and R1, R2, R3 and R5 where they are asked for.
fn coherent<'a>(facts: &Facts<'a>, cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    let counts_as_marked = facts.marked || (facts.uniform && !facts.no_mte);
    let disproved = counts_as_marked && facts.proof == Proof::FailedTags;
    let marked = counts_as_marked && !disproved;

    let mut result = if marked && cpu.fwb() {
        let rule = if facts.marked { Rule::C1 } else { Rule::R4 };
        let decision = Decision::of(rule, Attr::NormalWb, cpu, claim);
        Ok(Decision { zero_tags: cpu.mte(), ..decision })
    } else if marked && claim.use_ != Use::Aperture {
        marked_without_fwb(cpu, claim)
    } else {
        unmarked(facts, disproved, cpu, claim)
    };
    if disproved {
        match &mut result {
            Ok(decision) => decision.notices.add(Notice::MarkDisproved),
            Err(refusal) => refusal.notices.add(Notice::MarkDisproved),
        }
    }
    result
}

/// C3, for memory that a guest uses as such.
fn marked_without_fwb<'a>(cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    if claim.allow.has(Allow::El2CacheMaintenance) {
        return Ok(Decision::of(Rule::R5, Attr::NormalWb, cpu, claim));
    }
    if claim.allow.has(Allow::NonCacheable) {
        return non_cacheable(cpu, claim).map_err(|denied| Denied { rule: Rule::C3, ..denied });
    }
    Err(Denied::new(Rule::C3, Reason::NoFwb))
}

/// C4 and C5, and the relaxations that lift them: of those asked for, the first that can be had of R1, R3, R2.
fn unmarked<'a>(facts: &Facts<'a>, disproved: bool, cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    let relaxed = [
        (Allow::MteHidden, mte_hidden as fn(CpuBits, Claim) -> Result<Decision, Denied<'a>>),
        (Allow::NoTagAccess, no_tag_access),
        (Allow::NonCacheable, non_cacheable),
    ];
    // Of what cannot be had, what its own rule refuses is said before what the strict default does.
    let mut denied: Option<Denied<'a>> = None;
    for (_, relax) in relaxed.into_iter().filter(|(allow, _)| claim.allow.has(*allow)) {
        match relax(cpu, claim) {
            Ok(decision) => return Ok(decision),
            Err(next) => denied = denied.filter(|first| first.rule != Rule::C5).or(Some(next)),
        }
    }
    let nothing_asked = if disproved {
        Reason::Disproved
    } else if facts.no_mte {
        facts.no_mte_by.map_or(Reason::SaidIncapable, Reason::SaidIncapableBy)
    } else {
        Reason::Unmarked
    };
    let denied = denied.unwrap_or_else(|| Denied::new(Rule::C5, nothing_asked));
    // What only the strict default denies, an aperture has as Device.
    if claim.use_ == Use::Aperture && denied.rule == Rule::C5 {
        return Ok(Decision::of(Rule::C4, Attr::DeviceNgnre, cpu, claim));
    }
    Err(denied)
}

/// R1.
fn mte_hidden<'a>(cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    if claim.vm_mte {
        return Err(Denied::new(Rule::R1, Reason::MteAskedAndHidden));
    }
    if !cpu.fwb() {
        return Err(Denied::new(Rule::C5, Reason::HiddenNeedsFwb));
    }
    Ok(Decision::of(Rule::R1, Attr::NormalWb, cpu, claim))
}

/// R3. MTE_PERM implies MTE and so FWB: one bit is enough to ask for.
fn no_tag_access<'a>(cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    if claim.is_ram_with_mte() {
        return Err(Denied::new(Rule::C5, Reason::NotForRamWithMte));
    }
    if !cpu.mte_perm() {
        return Err(Denied::new(Rule::R3, Reason::NoMtePerm));
    }
    let mut decision = Decision::of(Rule::R3, Attr::NormalWbNoTag, cpu, claim);
    if claim.use_ == Use::Dax && claim.vm_mte {
        decision.notices.add(Notice::HotPlugMakesRam);
    }
    Ok(decision)
}

/// R2.
fn non_cacheable<'a>(cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    if claim.is_ram_with_mte() {
        return Err(Denied::new(Rule::C5, Reason::NotForRamWithMte));
    }
    let mut decision = Decision::of(Rule::R2, Attr::NormalNc, cpu, claim);
    decision.notices.add(Notice::AtomicsNotPromised);
    Ok(decision)
}

/// D1 and D2.
fn mmio<'a>(rule: Rule, attr: Attr, cpu: CpuBits, claim: Claim) -> Result<Decision, Denied<'a>> {
    if claim.use_ != Use::Aperture {
        return Err(Denied::new(rule, Reason::MmioAsMemory));
    }
    Ok(Decision::of(rule, attr, cpu, claim))
}

impl Decision {
    /// Fills in what follows from the attribute, whatever the rule.
    fn of(rule: Rule, attr: Attr, cpu: CpuBits, claim: Claim) -> Self {
        let mut notices = Notices::default();
        // Instruction fetch from Device memory is a fault or worse, and NC without XN may be fetched
        // speculatively: only Write-Back memory is ever executable.
        // Nor is what another VM may write.
        let may_execute = attr.is_write_back() && !claim.use_.is_shared();
        if claim.exec && !may_execute {
            notices.add(Notice::ExecHasNoEffect);
        }
        Self {
            rule,
            attr,
            exec: may_execute && (matches!(claim.use_, Use::Ram | Use::Flash(_)) || claim.exec),
            rights: match claim.use_ {
                Use::Shared(rights) | Use::Flash(rights) => rights,
                Use::Ram | Use::Dax | Use::Aperture => Rights::ReadWrite,
            },
            mte: if claim.vm_mte && cpu.mte() { Mte::Exposed } else { Mte::Hidden },
            el2_maintenance: attr.is_write_back() && !cpu.fwb(),
            zero_tags: false,
            notices,
        }
    }

    /// Returns what the tables of the VM's devices are to be filled with. They execute nothing; and their accesses are never
    /// Tag Checked, so that memory without tags is memory to them (IHI 0070G.b §3.23).
    pub fn device_attributes(&self) -> Attributes {
        let mem = if self.attr == Attr::NormalWbNoTag { Attr::NormalWb } else { self.attr };
        Attributes { mem, exec: false, ..self.attributes() }
    }

    /// Returns what stage 2 is to be filled with.
    pub fn attributes(&self) -> Attributes {
        Attributes { mem: self.attr, rights: self.rights, exec: self.exec }
    }
}

#[cfg(test)]
mod tests;
