//! Coherent memory on its way to VMs: claimed, proved, cleared, granted.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::coherent::{CoherentMemory, MemoryProof, Type};
use assay_el2::cpu;
use assay_el2::tags::TagProof;
use assay_plan::claims::{self, Row, ToProve, World};
use assay_plan::guest_tree::{self, View};
use assay_plan::policy::{Attr, Decision, Proof, Use};
use assay_spec::addr::{Ipa, PAGE_SIZE, Region};

use crate::console::say;
use crate::proof::{self, Sampled};

/// Pages looked at in each region, evenly spread with the ends. The contract allows 4096; what is looked for,
/// missing storage or too little of it, shows in far fewer, and boot time is the guests'.
const PAGES: u64 = 256;

/// One region that some VM claims, and what looking at it has shown.
struct Held {
    path: String,
    memory: Option<CoherentMemory>,
    proof: Proof,
}

/// All claimed regions.
pub(crate) struct Pool {
    held: Vec<Held>,
}

/// What the proof found, by the path of the node.
pub(crate) struct Verdicts(Vec<(String, Proof)>);

impl Verdicts {
    /// Returns what is known of the region at `path`.
    pub(crate) fn of(&self, path: &str) -> Proof {
        let found = self.0.iter().find(|(known, _)| known == path);
        found.map_or(Proof::NotRun, |(_, proof)| *proof)
    }
}

/// A region that a VM has got.
pub(crate) struct Grant {
    pub(crate) memory: CoherentMemory,
    pub(crate) name: String,
    pub(crate) ipa: Region<Ipa>,
    pub(crate) decision: Decision,
    pub(crate) use_: Use,
    pub(crate) numa: Option<u32>,
    /// Bytes that are clear, of this life.
    cleared: u64,
}

impl Pool {
    /// Claims what VMs ask for and proves the tag parts.
    pub(crate) fn prove_tags(world: &World<'_>) -> Self {
        let mut held = Vec::new();
        for region in claims::to_prove(world) {
            let mut memory = CoherentMemory::claim(region.region);
            let mut proof = Proof::NotRun;
            if let Some(memory) = memory.as_mut().filter(|_| region.tags) {
                proof = reported(&region, "tags", |pages| match memory.prove_tags(pages) {
                    Ok(TagProof::Passed) => Proof::Passed,
                    Ok(TagProof::TagsLost) => Proof::FailedTags,
                    _ => Proof::FailedMemory,
                });
            }
            let path = region.node.path.clone();
            held.push(Held { path, memory, proof });
        }
        Self { held }
    }

    /// Proves the memory parts, each with the type that its guest will get by what the tag parts have shown.
    pub(crate) fn prove_memory(&mut self, world: &World<'_>) {
        for region in claims::to_prove(world).iter().filter(|region| region.memory) {
            let held = self.held.iter_mut().find(|held| held.path == region.node.path);
            let Some((held, as_type)) = held.zip(region.attr.and_then(touched_as)) else {
                continue;
            };
            let Some(memory) = held.memory.as_mut() else {
                continue;
            };
            let found = reported(region, "memory", |pages| match memory.prove_memory(as_type, pages) {
                Ok(MemoryProof::Passed) => Proof::Passed,
                _ => Proof::FailedMemory,
            });
            // The tag part's result, if there was one, stays the verdict unless this is no memory at all.
            if found != Proof::Passed || held.proof == Proof::NotRun {
                held.proof = found;
            }
        }
    }

    /// Returns what is known of every region by now.
    pub(crate) fn verdicts(&self) -> Verdicts {
        Verdicts(self.held.iter().map(|held| (held.path.clone(), held.proof)).collect())
    }

    /// Takes the region of a granted row, once.
    pub(crate) fn take(&mut self, row: &Row<'_>) -> Option<Grant> {
        let granted = row.granted()?;
        let held = self.held.iter_mut().find(|held| held.path == row.node.path);
        let memory = match held {
            Some(held) => held.memory.take(),
            // Nothing had to be proved: an aperture without tags.
            None => CoherentMemory::claim(granted.pa),
        };
        Some(Grant {
            memory: memory?,
            name: row.region.into(),
            ipa: granted.ipa,
            decision: granted.decision,
            use_: row.use_,
            numa: row.node.numa,
            cleared: 0,
        })
    }
}

/// With which type EL2 touches what a guest gets as `attr`; `None`: not at all.
fn touched_as(attr: Attr) -> Option<Type> {
    match attr {
        Attr::NormalWb | Attr::NormalWbNoTag => Some(Type::WriteBack),
        Attr::NormalNc => Some(Type::NonCacheable),
        Attr::DeviceNgnre => None,
    }
}

/// Looks at evenly spread pages of a region, and prints the result and what it cost.
fn reported(region: &ToProve<'_>, part: &str, look: impl FnOnce(Sampled) -> Proof) -> Proof {
    let count = (region.region.size / PAGE_SIZE).min(PAGES);
    let before = cpu::counter();
    let proof = look(proof::sampled(region.region.size / PAGE_SIZE, PAGES));
    let ticks = cpu::counter().wrapping_sub(before);
    say!("proof region={} part={part} pages={count} result={proof} ticks={ticks}", region.node.name);
    proof
}

/// How far clearing a region is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clearing {
    /// Again, please.
    More,
    /// All is clear.
    Done,
    /// It cannot be reached: what it holds must not get to the guest.
    Failed,
}

impl Grant {
    /// Clears the next `bytes` of the region, with its tags where it has any. An aperture that is Device is never
    /// touched.
    pub(crate) fn clear_step(&mut self, bytes: u64) -> Clearing {
        let size = self.memory.region().size;
        let Some(as_type) = touched_as(self.decision.attr) else {
            return Clearing::Done;
        };
        let as_type = if self.decision.zero_tags { Type::Tagged } else { as_type };
        if self.cleared >= size {
            return Clearing::Done;
        }
        let range = self.cleared..self.cleared.saturating_add(bytes);
        if self.memory.clear(as_type, range).is_err() {
            return Clearing::Failed;
        }
        self.cleared = self.cleared.saturating_add(bytes);
        if self.cleared < size {
            return Clearing::More;
        }
        self.memory.end_clearing();
        Clearing::Done
    }

    /// Begins a new life: everything is to be cleared again. That also takes what the guest has left in the
    /// caches out of them, where its own maintenance does not count (R5).
    pub(crate) fn restart(&mut self) {
        self.cleared = 0;
    }

    /// Stops clearing where it is.
    pub(crate) fn abandon(&mut self) {
        self.memory.end_clearing();
    }

    /// Returns the node that the guest's tree has for it.
    pub(crate) fn node(&self) -> guest_tree::Coherent<'_> {
        guest_tree::Coherent {
            name: &self.name,
            region: self.ipa,
            view: match self.use_ {
                Use::Ram => View::Ram,
                Use::Dax => View::Dax,
                // The policy shares no coherent region (T2).
                Use::Aperture | Use::Shared(_) => View::Aperture,
            },
            numa: self.numa,
        }
    }
}
