//! The policy's tests: each row by name, the whole input space by invariants, and the whole input space
//! once more against the written table read independently.

use assay_spec::stage2_desc::Rights;
use std::vec::Vec;

use crate::pci::BarFault;
use crate::platform::{NodeFault, ParentFault};

use super::{Allow, AllowSet, Claim, CpuBits, Decision, Denied, Facts, Fault, Kind, Proof, Use, decide};

mod bits;
mod cases;
mod invariants;
mod lines;
mod reading;
mod relaxations;
mod rows;

const KINDS: [Kind; 4] = [Kind::Ram, Kind::Coherent, Kind::Mmio, Kind::MmioWriteCombining];
const PROOFS: [Proof; 5] = [Proof::NotRun, Proof::AtStart, Proof::Passed, Proof::FailedTags, Proof::FailedMemory];
const USES: [Use; 5] =
    [Use::Ram, Use::Dax, Use::Aperture, Use::Shared(Rights::ReadWrite), Use::Shared(Rights::ReadOnly)];
const BOTH: [bool; 2] = [false, true];
const FAULTS: &[Fault<'static>] = &[
    Fault::NoReg,
    Fault::SeveralRegs,
    Fault::Unaligned,
    Fault::Beyond(40),
    Fault::Overlaps("other"),
    Fault::OverlapsRegisters("rtc"),
    Fault::OverlapsWindow("pcie"),
    Fault::OverlapsTagStorage("tags"),
    Fault::OverlapsReservation("firmware"),
    Fault::OverlapsAssay,
    Fault::PartlyInMemory,
    Fault::Node(NodeFault::TagStorage),
    Fault::Node(NodeFault::Reserved),
    Fault::Node(NodeFault::Parent(ParentFault::NoRanges)),
    Fault::Node(NodeFault::Parent(ParentFault::Ranges)),
    Fault::Node(NodeFault::Parent(ParentFault::Cells)),
    Fault::Node(NodeFault::Reusable),
    Fault::Node(NodeFault::Pool),
    Fault::Node(NodeFault::NoMap),
    Fault::Node(NodeFault::MarkWithValue),
    Fault::Node(NodeFault::UniformWithValue),
    Fault::Bar(BarFault::Longer(0x1000)),
];

/// One point of the input space.
type Input = (Facts<'static>, CpuBits, Claim);
type Answer = Result<Decision, Denied<'static>>;

/// The CPUs that the architecture has: nothing, FWB, FWB and MTE, all.
fn cpus() -> [CpuBits; 4] {
    [(false, false, false), (false, true, false), (true, true, false), (true, true, true)]
        .map(|(mte, fwb, mte_perm)| CpuBits::new(mte, fwb, mte_perm).unwrap())
}

fn allow_sets() -> impl Iterator<Item = AllowSet> {
    (0..16).map(|bits| {
        let wanted = Allow::ALL.into_iter().enumerate().filter(move |(at, _)| bits >> at & 1 != 0);
        wanted.fold(AllowSet::NONE, |set, (_, allow)| set.with(allow))
    })
}

fn all_facts() -> Vec<Facts<'static>> {
    let mut all = Vec::new();
    for kind in KINDS {
        for bits in 0..8 {
            for proof in PROOFS {
                let facts = Facts {
                    marked: bits & 1 != 0,
                    no_mte: bits & 2 != 0,
                    uniform: bits & 4 != 0,
                    proof,
                    ..Facts::of(kind)
                };
                all.push(facts);
                all.push(Facts { other_owner: Some("other"), ..facts });
                // Which fault it is changes the words only.
                all.extend(FAULTS.iter().step_by(4).map(|fault| Facts { fault: Some(*fault), ..facts }));
            }
        }
    }
    all
}

fn all_claims() -> Vec<Claim> {
    let mut all = Vec::new();
    for use_ in USES {
        for exec in BOTH {
            for vm_mte in BOTH {
                all.extend(allow_sets().map(|allow| Claim { use_, exec, allow, vm_mte }));
            }
        }
    }
    all
}

/// Calls `check` with every input and its answer. (An interpreter of the tests, such as Miri, gets every
/// 997th: the same code, in less than a day.)
fn for_all(mut check: impl FnMut(Input, Answer)) {
    let stride = if cfg!(miri) { 997 } else { 1 };
    let (facts, claims) = (all_facts(), all_claims());
    let mut count = 0_usize;
    for facts in facts {
        for cpu in cpus() {
            for &claim in &claims {
                count += 1;
                if count.is_multiple_of(stride) {
                    check((facts, cpu, claim), decide(&facts, cpu, claim));
                }
            }
        }
    }
    assert_eq!(count, 4 * 8 * PROOFS.len() * (2 + FAULTS.len().div_ceil(4)) * 4 * 320, "the whole input space");
}
