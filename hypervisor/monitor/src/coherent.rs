//! Coherent memory on its way to VMs: claimed, proved, cleared, granted.

use alloc::vec::Vec;

use assay_el2::coherent::{CoherentMemory, MemoryProof, Type};
use assay_el2::cpu;
use assay_el2::tags::TagProof;
use assay_plan::claims::{self, ToProve, World};
use assay_plan::platform::CoherentNode;
use assay_plan::policy::{Attr, Decision, Proof};
use assay_spec::addr::PAGE_SIZE;

use crate::console::say;
use crate::proof::{self, Sampled};

/// Pages looked at in each region, evenly spread with the ends. The contract allows 4096; what is looked for,
/// missing storage or too little of it, shows in far fewer, and boot time is the guests'.
const PAGES: u64 = 256;

/// One region that some VM claims, and what looking at it has shown.
struct Held<'a> {
    region: ToProve<'a>,
    memory: Option<CoherentMemory>,
    proof: Proof,
}

/// All claimed regions.
pub(crate) struct Pool<'a> {
    held: Vec<Held<'a>>,
}

/// A region that a VM has got.
pub(crate) struct Grant {
    pub(crate) memory: CoherentMemory,
    decision: Decision,
    /// Bytes that are clear, of this life.
    cleared: u64,
}

impl<'a> Pool<'a> {
    /// Claims what VMs ask for and proves it: first the tags, then the memory, each with the type that its guest will
    /// get by what its tags have shown.
    pub(crate) fn prove(world: &World<'a>) -> Self {
        let mut held = claims::to_prove(world).into_iter().map(Held::prove_tags).collect::<Vec<_>>();
        held.iter_mut().for_each(Held::prove_memory);
        Self { held }
    }

    /// Returns what is known of the region at `path`.
    pub(crate) fn proof(&self, path: &str) -> Proof {
        let found = self.held.iter().find(|held| held.region.node.path == path);
        found.map_or(Proof::NotRun, |held| held.proof)
    }

    /// Takes the region of a mapping, once.
    pub(crate) fn take(&mut self, node: &CoherentNode, decision: Decision) -> Option<Grant> {
        let held = self.held.iter_mut().find(|held| held.region.node == node);
        let memory = match held {
            Some(held) => held.memory.take(),
            // Nothing had to be proved: an aperture without tags.
            None => CoherentMemory::claim(node.region()?),
        };
        Some(Grant { memory: memory?, decision, cleared: 0 })
    }
}

impl<'a> Held<'a> {
    fn prove_tags(region: ToProve<'a>) -> Self {
        let mut memory = CoherentMemory::claim(region.region);
        let proof = match &mut memory {
            Some(memory) if region.tags => reported(&region, "tags", |pages| match memory.prove_tags(pages) {
                Ok(TagProof::Passed) => Proof::Passed,
                Ok(TagProof::TagsLost) => Proof::FailedTags,
                _ => Proof::FailedMemory,
            }),
            _ => Proof::NotRun,
        };
        Self { region, memory, proof }
    }

    fn prove_memory(&mut self) {
        let as_type = self.region.memory_as(self.proof).and_then(touched_as);
        let Some((memory, as_type)) = self.memory.as_mut().zip(as_type) else {
            return;
        };
        let found = reported(&self.region, "memory", |pages| match memory.prove_memory(as_type, pages) {
            Ok(MemoryProof::Passed) => Proof::Passed,
            _ => Proof::FailedMemory,
        });
        // The tag part's result, if there was one, stays the verdict unless this is no memory at all.
        if found != Proof::Passed || self.proof == Proof::NotRun {
            self.proof = found;
        }
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
}
