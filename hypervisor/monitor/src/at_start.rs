//! The proof of a VM's coherent memory at each of its starts.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::coherent::CoherentMemory;
use assay_el2::serror;
use assay_model::loader::{KernelError, Progress};
use assay_model::proof::at_start::{self, Part, Regions, Step};
use assay_model::proof::{Fault, Memory, pattern};
use assay_plan::policy::Proof;
use assay_plan::space::Mapping;
use assay_plan::vm_plan::VmPlan;
use assay_spec::addr::{PAGE_SIZE, Pa};
use assay_spec::look::Look;

use crate::coherent::Grant;
use crate::console::say;
use crate::proof::{Timed, verdict};

/// Which regions of a VM are proved at its start, and how far that is. Nothing is allocated for it later.
pub(crate) struct AtStart {
    vm: String,
    /// The regions' names, in the order of the VM's grants.
    names: Vec<String>,
    proof: at_start::AtStart,
    /// How long each was looked at.
    ticks: Vec<u64>,
}

impl AtStart {
    /// The proof of those of a VM's `grants` that the plan wants proved at the start, if there are some.
    pub(crate) fn new(plan: &VmPlan<'_>, grants: &[Grant]) -> Option<Self> {
        let coherent = plan.space.iter().filter(|mapping| mapping.coherent().is_some());
        let due = |(mapping, grant): (&Mapping<'_>, &Grant)| (mapping.proof == Proof::AtStart).then(|| grant.due());
        let due: Vec<_> = coherent.zip(grants).map(due).collect();
        Some(Self {
            vm: plan.config.name.clone(),
            names: plan.coherent_regions().map(String::from).collect(),
            proof: at_start::AtStart::new(&due)?,
            ticks: due.iter().map(|_| 0).collect(),
        })
    }

    /// Begins anew.
    pub(crate) fn restart(&mut self) {
        self.proof.restart();
        self.ticks.fill(0);
    }

    /// Looks at the next `bytes`. Done: the grants are what they have to be.
    pub(crate) fn step(&mut self, grants: &mut [Grant], bytes: u64) -> Progress {
        let Self { vm, names, proof, ticks } = self;
        let mut regions = Timed { memory: Grants { vm, names, grants }, ticks };
        match proof.step(&mut regions, bytes / PAGE_SIZE) {
            Step::More => Progress::More,
            Step::Proved => Progress::Done,
            Step::Failed(region, Fault { look, page }) => {
                let page = Pa(regions.memory.first_page(region) + page * PAGE_SIZE);
                Progress::Failed(KernelError::Unproved { region, look, page })
            }
        }
    }
}

struct Grants<'a> {
    vm: &'a str,
    names: &'a [String],
    grants: &'a mut [Grant],
}

impl Grants<'_> {
    /// Looks at a page. Of one that is left alone there is nothing to prove.
    fn look(&mut self, region: usize, page: u64, look: impl FnOnce(&mut CoherentMemory) -> Look) -> Look {
        let grant = &mut self.grants[region];
        if grant.has_hole(page) { Look::Good } else { look(&mut grant.memory) }
    }

    fn first_page(&self, region: usize) -> u64 {
        self.grants[region].memory.region().start.0
    }

    /// What is written to a page.
    fn pattern(&self, region: usize, page: u64) -> u64 {
        pattern(self.first_page(region) / PAGE_SIZE + page)
    }
}

impl Memory for Grants<'_> {
    fn write(&mut self, region: usize, page: u64) -> Look {
        let pattern = self.pattern(region, page);
        self.look(region, page, |memory| memory.write(page, pattern))
    }
    fn check(&mut self, region: usize, page: u64) -> Look {
        let pattern = self.pattern(region, page);
        self.look(region, page, |memory| memory.check(page, pattern))
    }
    fn clear(&mut self, region: usize, page: u64) -> Look {
        self.look(region, page, |memory| memory.clear_page(page))
    }
    fn is_late(&mut self, _region: usize) -> bool {
        serror::drain()
    }
}

impl Regions for Timed<'_, Grants<'_>> {
    fn open(&mut self, region: usize, part: Part) -> bool {
        self.memory.grants[region].open(part)
    }
    fn close(&mut self) {
        self.memory.grants.iter_mut().for_each(|grant| grant.memory.close());
    }
    fn tell(&mut self, region: usize, part: Part, pages: u64, fault: Option<Fault>) {
        let (vm, name, part, result) = (self.memory.vm, &self.memory.names[region], part.name(), verdict(fault));
        let ticks = core::mem::take(&mut self.ticks[region]);
        say!("proof vm={vm} region={name} part={part} pages={pages} result={result} ticks={ticks}");
    }
}
