//! A VM's memory and what goes into it, at each start anew.

use alloc::vec::Vec;

use assay_el2::coherent::Part;
use assay_el2::mmu::{Hidden, Whole};
use assay_model::loader::{FlashFile, KernelError, Loader, Origin, Progress, Sources};
use assay_model::stage2::WithdrawError;
use assay_plan::guest_tree::Blob;
use assay_spec::addr::{Ipa, Region};
use assay_spec::exit::Width;

use crate::adapter::{Mapped, Ram};
use crate::at_start::AtStart;
use crate::coherent::{Clearing, Grant};
use crate::flash::Chip;
use crate::seeds;

/// Everything that filling a VM's memory takes; nothing is allocated for it later.
pub(crate) struct Contents {
    pub(crate) ram: Ram,
    pub(crate) coherent: Vec<Grant>,
    /// Of those that are proved at each start.
    pub(crate) proof: Option<AtStart>,
    pub(crate) loader: Loader,
    pub(crate) kernel: &'static [u8],
    pub(crate) ramdisk: &'static [u8],
    pub(crate) flash: Vec<FlashFile<'static>>,
    /// The flashes that the guest writes by commands.
    pub(crate) chips: Vec<Chip>,
    pub(crate) tree: Blob,
    /// `HCR_EL2.FWB`: the guest's accesses cannot bypass the caches.
    pub(crate) fwb: bool,
    /// Keeps the stage-2 tables.
    pub(crate) tables: Mapped,
    /// Keeps those of its devices, if it has some that make accesses.
    pub(crate) device_tables: Option<Mapped>,
    /// A load has begun before.
    pub(crate) is_used: bool,
    /// One is under way.
    pub(crate) is_loading: bool,
    /// Of that one, the proof is.
    pub(crate) is_proving: bool,
    /// It has filled everything, and caches have been cleaned of so many bytes of RAM.
    pub(crate) cleaned: Option<u64>,
}

/// Bytes that are loaded or cleared between two looks at the interrupts.
const CHUNK: u64 = 0x20_0000;

/// What vCPU 0 has to do next.
pub(crate) enum Work {
    /// Clear this part of a region, with no lock held, and give it back.
    Clear(ToClear),
    /// Coherent memory is proved: all can help to clear it.
    Proved,
    /// A chunk of the rest was done.
    Did(Progress),
}

/// A part of one of the VM's coherent regions.
pub(crate) struct ToClear {
    region: usize,
    part: Part,
}

impl ToClear {
    /// Clears it. Returns whether it is clear.
    pub(crate) fn clear(&mut self) -> bool {
        self.part.clear()
    }

    /// Returns how much it is.
    pub(crate) fn bytes(&self) -> u64 {
        self.part.bytes()
    }
}

impl Contents {
    /// Returns the bytes that its tables take.
    pub(crate) fn table_bytes(&self) -> u64 {
        let of_devices = self.device_tables.as_ref().map_or(0, Mapped::bytes);
        self.tables.bytes() + of_devices
    }

    /// Before a load: leaves the page at `ipa` alone from now on, and takes it out of the tables.
    ///
    /// # Errors
    /// It is still in some: a later start can try again.
    pub(crate) fn retire(&mut self, ipa: Ipa) -> Result<(), WithdrawError> {
        self.ram.holes.add(ipa);
        self.coherent.iter_mut().for_each(|grant| grant.leave_out(ipa));
        let own = self.tables.withdraw(ipa);
        self.device_tables.as_mut().map_or(Ok(()), |tables| tables.withdraw(ipa)).and(own)
    }

    /// After all such pages: has the guest's tree reserve them.
    ///
    /// # Errors
    /// Something would be loaded to one of them.
    pub(crate) fn retired(&mut self) -> Result<(), KernelError> {
        self.tree.reserve(self.ram.holes.pages());
        self.loader.plan().avoids(&self.ram.holes)
    }

    /// Returns what is loaded to the page at `ipa`.
    pub(crate) fn loads_at(&self, ipa: Ipa) -> Option<&'static str> {
        self.loader.plan().at(ipa)
    }

    /// Begins a load unless one is under way; each after the first has new seeds. Returns whether it has begun one that
    /// other vCPUs can help with.
    pub(crate) fn begin(&mut self) -> bool {
        if core::mem::replace(&mut self.is_loading, true) {
            return false;
        }
        self.cleaned = None;
        self.chips.iter_mut().for_each(Chip::reset);
        if core::mem::replace(&mut self.is_used, true) {
            if let Some(seeds) = seeds::next() {
                self.tree.reseed(&seeds);
            }
            self.loader.restart();
        }
        self.proof.iter_mut().for_each(AtStart::restart);
        self.is_proving = self.proof.is_some();
        !self.coherent.is_empty() && !self.is_proving
    }

    /// Takes a store of the guest's to a flash that it may only read.
    pub(crate) fn write_flash(&mut self, ipa: Ipa, width: Width, value: u64) {
        let (ram, fwb) = (&mut self.ram, self.fwb);
        self.chips.iter_mut().for_each(|chip| chip.write(ipa, width, value, ram, fwb));
    }

    /// Keeps the VM's RAM out of the map of CPUs that run guests, but for flashes that EL2 writes.
    pub(crate) fn hide(&mut self) -> Vec<Hidden> {
        let Self { ram, chips, .. } = self;
        let is_plain = |place: &Region<Ipa>| !chips.iter().any(|chip| chip.place().overlaps(place));
        let parts = ram.parts.iter_mut().filter(|(place, _)| is_plain(place));
        parts.map(|(_, ram)| ram.hide()).collect()
    }

    /// Ends a load that is under way, done or not.
    pub(crate) fn end(&mut self) {
        self.is_loading = false;
        self.coherent.iter_mut().for_each(Grant::end);
    }

    /// Returns a part of coherent memory that any vCPU may clear, if there is one; an error says which region cannot be
    /// cleared, and `None` that some are in others' hands only.
    fn next_part(&mut self) -> Result<Option<ToClear>, KernelError> {
        for (region, grant) in self.coherent.iter_mut().enumerate() {
            match grant.next_part(CHUNK) {
                Clearing::Part(part) => return Ok(Some(ToClear { region, part })),
                Clearing::Others | Clearing::Done => {}
                Clearing::Failed => return Err(KernelError::Region(region)),
            }
        }
        Ok(None)
    }

    /// Returns a part to clear for a vCPU that helps.
    pub(crate) fn help(&mut self) -> Option<ToClear> {
        if self.is_loading && !self.is_proving { self.next_part().ok().flatten() } else { None }
    }

    /// Takes a part back, and whether it is clear. The VM may have been stopped meanwhile.
    pub(crate) fn put_back(&mut self, cleared: ToClear, is_clear: bool) {
        let grant = &mut self.coherent[cleared.region];
        grant.put_back(cleared.part, is_clear);
        if !self.is_loading {
            grant.end();
        }
    }

    /// Does vCPU 0's next chunk of work: coherent memory is proved, if it is now, and cleared; then RAM is filled.
    pub(crate) fn step(&mut self) -> Work {
        if let Some(proof) = self.proof.as_mut().filter(|_| self.is_proving) {
            let progress = proof.step(&mut self.coherent, CHUNK);
            self.is_proving = progress != Progress::Done;
            return if self.is_proving { Work::Did(progress) } else { Work::Proved };
        }
        let failed = match self.next_part() {
            Ok(Some(part)) => return Work::Clear(part),
            Ok(None) => None,
            Err(error) => Some(Progress::Failed(error)),
        };
        let progress = failed.unwrap_or_else(|| self.fill());
        // What others still clear is waited for.
        let is_in_parts = progress != Progress::More && self.coherent.iter().any(Grant::is_in_parts);
        Work::Did(if is_in_parts { Progress::More } else { progress })
    }

    fn fill(&mut self) -> Progress {
        let _whole = Whole::enter();
        if let Some(done) = self.cleaned {
            return self.clean(done);
        }
        let (kernel, ramdisk, flash) = (self.kernel, self.ramdisk, &self.flash);
        let sources = Sources { kernel, ramdisk, dtb: self.tree.bytes(), flash };
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
        let flashes = plan.loads.iter().filter(|part| matches!(part.origin, Origin::Flash(_))).map(|part| part.to);
        flashes.for_each(|flash| self.ram.make_executable(flash));
        self.end();
        (entry, tree)
    }
}
