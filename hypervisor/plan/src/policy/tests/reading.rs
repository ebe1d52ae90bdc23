//! The written table, read once more: each row's condition in full, without "else", as data.
//!
//! Kept apart from the code it checks: no function of the policy is used but `decide`.

use super::super::{Allow, Attr, Kind, Proof, Rule, Use};
use super::{Input, for_all};

/// The short names of the document.
#[expect(clippy::struct_excessive_bools, reason = "they are the table's columns")]
#[derive(Clone, Copy)]
struct Columns {
    ram: bool,
    coh: bool,
    t1: bool,
    t2: bool,
    /// The mark counts (R4 included) and nothing contradicts it.
    marked: bool,
    /// By the node itself, not only by R4.
    by_node: bool,
    capable_ram: bool,
    h: bool,
    fwb: bool,
    p: bool,
    v: bool,
    use_: Use,
    exec: bool,
    r1: bool,
    r2: bool,
    r3: bool,
    r5: bool,
}

/// What a row gives: attribute and execution, or nothing.
type Result = Option<(Attr, bool)>;

fn columns((facts, cpu, claim): Input) -> Columns {
    let says_yes = facts.marked || (facts.uniform && !facts.no_mte);
    let tags_fail = facts.proof == Proof::FailedTags;
    Columns {
        ram: facts.kind == Kind::Ram,
        coh: facts.kind == Kind::Coherent,
        t1: facts.fault.is_some() || (facts.marked && facts.no_mte) || facts.proof == Proof::FailedMemory,
        t2: facts.other_owner.is_some(),
        marked: says_yes && !tags_fail,
        by_node: facts.marked,
        capable_ram: cpu.mte() && !facts.no_mte && !tags_fail,
        h: cpu.mte(),
        fwb: cpu.fwb(),
        p: cpu.mte_perm(),
        v: claim.vm_mte,
        use_: claim.use_,
        exec: claim.exec,
        r1: claim.allow.has(Allow::MteHidden),
        r2: claim.allow.has(Allow::NonCacheable),
        r3: claim.allow.has(Allow::NoTagAccess),
        r5: claim.allow.has(Allow::El2CacheMaintenance),
    }
}

/// Rows in the table's order; of those whose condition holds, the first counts.
fn first_row(input: Input) -> (Rule, Result) {
    let c = columns(input);
    let d1 = input.0.kind == Kind::Mmio;
    let d2 = input.0.kind == Kind::MmioWriteCombining;
    let memory = c.use_ != Use::Aperture;
    let shared = c.use_.is_shared();
    // Memory between VMs is RAM only, and nobody executes from it.
    let exec = !shared && (c.use_ == Use::Ram || c.exec);
    let wb = Some((Attr::NormalWb, exec));
    let notag = Some((Attr::NormalWbNoTag, exec));
    let nc = Some((Attr::NormalNc, false));
    let device = Some((Attr::DeviceNgnre, false));
    // Section 2.3's "never applies".
    let barred = c.use_ == Use::Ram && c.v;
    let c3 = c.coh && c.marked && !c.fwb && memory;
    let c4_or_c5 = c.coh && (!c.marked || (!c.fwb && !memory));
    let rows: [(bool, Rule, Result); 23] = [
        (c.t1, Rule::T1, None),
        (c.t2, Rule::T2, None),
        (c.coh && shared, Rule::T2, None),
        (c.ram && c.capable_ram, Rule::M1, wb),
        (c.ram && !c.capable_ram && !c.v, Rule::M2, wb),
        (c.ram && !c.capable_ram && c.v, Rule::M3, None),
        (c3 && c.r5, Rule::R5, wb),
        (c3 && c.r2 && !barred, Rule::R2, nc),
        (c3, Rule::C3, None),
        (c.coh && c.marked && c.fwb && c.by_node, Rule::C1, wb),
        (c.coh && c.marked && c.fwb && !c.by_node, Rule::R4, wb),
        // Of the relaxations that are asked for, the first that can be had.
        (c4_or_c5 && c.r1 && !c.v && c.fwb, Rule::R1, wb),
        (c4_or_c5 && c.r3 && !barred && c.p && c.h && c.fwb, Rule::R3, notag),
        (c4_or_c5 && c.r2 && !barred, Rule::R2, nc),
        (c4_or_c5 && c.r1 && c.v, Rule::R1, None),
        (c4_or_c5 && c.r3 && !barred && !c.p, Rule::R3, None),
        (c4_or_c5 && c.use_ == Use::Aperture, Rule::C4, device),
        (c4_or_c5 && c.use_ == Use::Dax, Rule::C5, None),
        (c4_or_c5 && c.use_ == Use::Ram, Rule::C5, None),
        (d1 && !memory, Rule::D1, device),
        (d1 && memory, Rule::D1, None),
        (d2 && !memory, Rule::D2, nc),
        (d2 && memory, Rule::D2, None),
    ];
    let row = rows.into_iter().find(|(holds, _, _)| *holds);
    let (_, rule, result) = row.expect("the table is total");
    (rule, result)
}

#[test]
fn the_policy_is_the_written_table() {
    for_all(|input, answer| {
        let (rule, result) = first_row(input);
        match answer {
            Ok(decision) => {
                let given = (decision.rule, Some((decision.attr, decision.exec)));
                assert_eq!(given, (rule, result), "{input:?}");
            }
            Err(refusal) => assert_eq!((refusal.rule, None), (rule, result), "{input:?}"),
        }
    });
}
