//! Coherent memory on its way to VMs: claimed, proved, cleared, granted.

use alloc::vec::Vec;
use core::ptr;

use assay_el2::coherent::{self, CoherentMemory, Type, Unreachable};
use assay_model::holes::Holes;
use assay_model::proof::at_start::{Due, Part};
use assay_plan::claims::{self, ToProve, World};
use assay_plan::platform::CoherentNode;
use assay_plan::policy::{Attr, Decision, Proof};
use assay_spec::addr::{Ipa, PAGE_SIZE, Region};

use crate::proof;

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
    /// Where its guest finds it, and the pages there that nobody touches any more.
    ipa: Region<Ipa>,
    holes: Holes,
    /// Some of it could not be cleared.
    has_failed: bool,
}

impl<'a> Pool<'a> {
    /// Claims what VMs ask for and proves it: that it is not RAM, before anything is written to it; then the tags, then the
    /// memory, each with the type that its guest will get by what its tags have shown.
    pub(crate) fn prove(world: &World<'a>) -> Self {
        let claim = |region: ToProve<'a>| {
            let memory = CoherentMemory::claim(region.region);
            Held { region, memory, proof: Proof::NotRun }
        };
        let mut pool = Self { held: claims::to_prove(world).into_iter().map(claim).collect() };
        let tagged = |held: &Held<'_>| (held.region.tags && held.proof == Proof::NotRun).then_some(Type::Tagged);
        let plain = |held: &Held<'_>| held.region.memory_as(held.proof).and_then(touched_as);
        pool.with_open(|held| tagged(held).or_else(|| plain(held)), proof::seek_ram);
        pool.with_open(tagged, |regions| proof::coherent(regions, "tags").into_iter().map(Some).collect());
        pool.with_open(plain, |regions| proof::coherent(regions, "memory").into_iter().map(Some).collect());
        pool
    }

    /// Looks at all regions that EL2 touches with some type, together: what one overwrites of another's shows too.
    fn with_open(
        &mut self,
        as_type: impl Fn(&Held<'_>) -> Option<Type>,
        look: impl FnOnce(Vec<(&str, &mut CoherentMemory)>) -> Vec<Option<Proof>>,
    ) {
        let (mut regions, mut verdicts) = (Vec::new(), Vec::new());
        for held in &mut self.held {
            let wanted = as_type(held);
            let Some((memory, as_type)) = held.memory.as_mut().zip(wanted) else { continue };
            match memory.open(as_type) {
                Ok(()) => {
                    regions.push((held.region.node.name.as_str(), memory));
                    verdicts.push(&mut held.proof);
                }
                Err(Unreachable) => held.proof = Proof::FailedMemory,
            }
        }
        for (verdict, found) in verdicts.into_iter().zip(look(regions)) {
            // The tag part's result stays unless this is no memory at all.
            if let Some(found) = found.filter(|found| *found != Proof::Passed || *verdict == Proof::NotRun) {
                *verdict = found;
            }
        }
        self.held.iter_mut().filter_map(|held| held.memory.as_mut()).for_each(CoherentMemory::close);
    }

    /// Returns what is known of the region at `path`.
    pub(crate) fn proof(&self, path: &str) -> Proof {
        let found = self.held.iter().find(|held| held.region.node.path == path);
        found.map_or(Proof::NotRun, |held| held.proof)
    }

    /// Takes the region of a mapping, once.
    pub(crate) fn take(&mut self, node: &CoherentNode, ipa: Region<Ipa>, decision: Decision) -> Option<Grant> {
        let held = self.held.iter_mut().find(|held| ptr::eq(held.region.node, node));
        let memory = match held {
            Some(held) => held.memory.take(),
            // Nothing had to be proved: an aperture without tags.
            None => CoherentMemory::claim(node.region()?),
        };
        Some(Grant { memory: memory?, decision, ipa, holes: Holes::default(), has_failed: false })
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

/// What there is to do for a region before a life.
pub(crate) enum Clearing {
    /// This part is to be cleared, and given back.
    Part(coherent::Part),
    /// Others still clear parts of it.
    Others,
    /// All is clear.
    Done,
    /// It cannot be reached: what it holds must not get to the guest.
    Failed,
}

impl Grant {
    /// What is due of it in a proof at a start.
    pub(crate) fn due(&self) -> Due {
        let (tags, memory) = (self.decision.zero_tags, touched_as(self.decision.attr).is_some());
        Due { pages: self.memory.region().size / PAGE_SIZE, tags, memory }
    }

    /// Brings it into EL2's map for a part of that proof. Returns whether it can be reached.
    pub(crate) fn open(&mut self, part: Part) -> bool {
        let as_type = match part {
            Part::Tags => Some(Type::Tagged),
            Part::Memory => touched_as(self.decision.attr),
        };
        as_type.is_some_and(|as_type| self.memory.open(as_type).is_ok())
    }

    /// Hands out the next part of the region, of `bytes`, to be cleared with its tags where it has any. An aperture
    /// that is Device is never touched.
    pub(crate) fn next_part(&mut self, bytes: u64) -> Clearing {
        let Some(as_type) = touched_as(self.decision.attr) else {
            return Clearing::Done;
        };
        let as_type = if self.decision.zero_tags { Type::Tagged } else { as_type };
        let next = if self.has_failed { Ok(None) } else { self.take_part(as_type, bytes) };
        match next {
            Ok(Some(part)) => return Clearing::Part(part),
            Ok(None) => {}
            Err(Unreachable) => self.has_failed = true,
        }
        match (self.memory.is_in_parts(), self.has_failed) {
            (true, _) => Clearing::Others,
            (false, true) => Clearing::Failed,
            (false, false) => Clearing::Done,
        }
    }

    /// Takes the next part of it, up to a page that is to be left alone.
    fn take_part(&mut self, as_type: Type, bytes: u64) -> Result<Option<coherent::Part>, Unreachable> {
        let taken = self.memory.taken();
        let rest = Region { start: Ipa(self.ipa.start.0 + taken), size: self.ipa.size - taken };
        let Some(part) = self.holes.first_part(rest) else {
            self.memory.skip(rest.size);
            return Ok(None);
        };
        self.memory.skip(part.start.0 - rest.start.0);
        self.memory.take_part(as_type, bytes.min(part.size))
    }

    /// Leaves the page at `ipa` alone from now on, if it is of this region.
    pub(crate) fn leave_out(&mut self, ipa: Ipa) {
        if self.ipa.contains(ipa) {
            self.holes.add(ipa);
        }
    }

    /// Tells whether page number `page` is left alone.
    pub(crate) fn has_hole(&self, page: u64) -> bool {
        self.holes.pages().contains(&Ipa(self.ipa.start.0 + page * PAGE_SIZE))
    }

    /// Takes a part back, and whether it is clear.
    pub(crate) fn put_back(&mut self, part: coherent::Part, is_clear: bool) {
        self.memory.put_back(part);
        self.has_failed |= !is_clear;
    }

    /// Tells whether somebody clears a part of it.
    pub(crate) fn is_in_parts(&self) -> bool {
        self.memory.is_in_parts()
    }

    /// Ends clearing, done or not; with parts out, say it again once they are back. The next life clears all anew: that
    /// also takes what the guest has left in the caches out of them, where its own maintenance does not count (R5).
    pub(crate) fn end(&mut self) {
        self.memory.close();
        self.has_failed &= self.memory.is_in_parts();
    }
}
