//! A VM's memory and what goes into it, at each start anew.

use alloc::vec::Vec;

use assay_model::loader::{KernelError, Loader, Progress, Sources};
use assay_plan::guest_tree::Blob;
use assay_spec::addr::Ipa;

use crate::adapter::{Ram, TableAdapter};
use crate::coherent::{Clearing, Grant};
use crate::seeds;

/// Everything that filling a VM's memory takes; nothing is allocated for it later.
pub(crate) struct Contents {
    pub(crate) ram: Ram,
    pub(crate) coherent: Vec<Grant>,
    pub(crate) loader: Loader,
    pub(crate) kernel: &'static [u8],
    pub(crate) ramdisk: &'static [u8],
    pub(crate) tree: Blob,
    /// `HCR_EL2.FWB`: the guest's accesses cannot bypass the caches.
    pub(crate) fwb: bool,
    /// Keeps the stage-2 tables.
    pub(crate) tables: TableAdapter,
    /// A load has begun before.
    pub(crate) is_used: bool,
    /// One is under way.
    pub(crate) is_loading: bool,
    /// It has filled everything, and caches have been cleaned of so many bytes of RAM.
    pub(crate) cleaned: Option<u64>,
}

/// Bytes that are loaded or cleared between two looks at the interrupts.
const CHUNK: u64 = 0x20_0000;

impl Contents {
    /// Goes to the beginning of a load; each after the first has new seeds.
    fn begin(&mut self) {
        self.is_loading = true;
        self.cleaned = None;
        if core::mem::replace(&mut self.is_used, true) {
            if let Some(seeds) = seeds::next() {
                self.tree.reseed(&seeds);
            }
            self.loader.restart();
        }
        self.coherent.iter_mut().for_each(Grant::restart);
    }

    /// Ends a load that is under way, done or not: the next step begins another.
    pub(crate) fn abandon(&mut self) {
        self.is_loading = false;
        self.coherent.iter_mut().for_each(Grant::abandon);
    }

    /// Does one chunk of work: coherent memory is cleared first, then RAM is filled.
    pub(crate) fn step(&mut self) -> Progress {
        if !self.is_loading {
            self.begin();
        }
        if let Some(done) = self.cleaned {
            return self.clean(done);
        }
        for (index, grant) in self.coherent.iter_mut().enumerate() {
            match grant.clear_step(CHUNK) {
                Clearing::Done => {}
                Clearing::More => return Progress::More,
                Clearing::Failed => return Progress::Failed(KernelError::Region(index)),
            }
        }
        let sources = Sources { kernel: self.kernel, ramdisk: self.ramdisk, dtb: self.tree.bytes() };
        match self.loader.step(&sources, &mut self.ram, CHUNK) {
            Progress::Done if !self.fwb => self.clean(0),
            progress => progress,
        }
    }

    /// Without FWB a guest's accesses may bypass the caches: they must agree with memory. `done` bytes of RAM do.
    fn clean(&mut self, done: u64) -> Progress {
        let to = done.saturating_add(CHUNK);
        if self.ram.clean_and_invalidate(done, CHUNK) {
            self.cleaned = Some(to);
            Progress::More
        } else {
            Progress::Done
        }
    }

    /// After the last chunk: makes the kernel fit for execution. Returns entry point and device tree.
    pub(crate) fn finish(&mut self) -> (Ipa, Ipa) {
        let plan = self.loader.plan();
        let (kernel, entry, tree) = (plan.kernel, plan.entry, plan.dtb.start);
        self.ram.make_executable(kernel);
        self.is_loading = false;
        (entry, tree)
    }
}
