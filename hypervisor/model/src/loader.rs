//! Clearing and filling a guest's RAM and flashes, in steps between which interrupts can be taken.
//!
//! Everything it needs is there from its creation on: a restart allocates nothing. Whole pages are
//! cleared first, then the loads are written, so that an implementation may clear by the cache line
//! without looking at what lies beside.

mod error;
pub mod gzip;
pub mod inflate;
mod plan;

pub use error::KernelError;
pub use plan::{Load, LoadPlan, Origin};

use alloc::vec::Vec;

use assay_spec::addr::{Address, Ipa, PAGE_SIZE, Region};

use crate::digest::Digest;
use inflate::Inflater;

/// A guest's RAM, as its loader writes it.
///
/// Where the VM has MTE, `zero`, `copy` and `copy_and_sum` also clear the Allocation Tags of what they
/// write. Every address handed in lies in the plan's RAM. A CRC-32 starts from 0.
pub trait GuestMemory {
    /// Clears whole pages.
    fn zero(&mut self, pages: Region<Ipa>);
    /// Writes bytes.
    fn copy(&mut self, to: Ipa, bytes: &[u8]);
    /// Continues a CRC-32 over bytes.
    fn sum(&mut self, bytes: &[u8], crc: u32) -> u32;
    /// Writes bytes and continues a CRC-32 over them: the place for a single pass.
    fn copy_and_sum(&mut self, to: Ipa, bytes: &[u8], crc: u32) -> u32 {
        self.copy(to, bytes);
        self.sum(bytes, crc)
    }
}

/// The files that a plan was made for; the same for each step and restart.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The kernel file.
    pub kernel: &'a [u8],
    /// The ramdisk, empty without one.
    pub ramdisk: &'a [u8],
    /// The guest's device tree.
    pub dtb: &'a [u8],
    /// The flashes' files.
    pub flash: &'a [FlashFile<'a>],
}

/// What a flash is filled with.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlashFile<'a> {
    /// The file, empty without one.
    pub bytes: &'a [u8],
    /// The digest that it must have.
    pub digest: Option<Digest>,
}

impl<'a> Sources<'a> {
    /// Returns the bytes that a load takes or inflates, and maybe more behind them.
    fn of(&self, load: &Load) -> Result<&'a [u8], KernelError> {
        let whole = |file: &'a [u8]| Some(file).filter(|file| file.len() as u64 == load.to.size);
        let bytes = match &load.origin {
            Origin::Kernel { offset } => self.kernel.get(*offset..),
            Origin::Inflated { members } => self.kernel.get(members.clone()),
            Origin::Flash(index) => self.flash.get(*index).and_then(|file| whole(file.bytes)),
            Origin::Ramdisk => whole(self.ramdisk),
            Origin::DeviceTree => whole(self.dtb),
        };
        bytes.ok_or(KernelError::Sources)
    }
}

/// The digests that the files must have, as stored; without one a file is not checked.
#[derive(Clone, Copy, Default)]
pub struct Sums {
    /// The kernel file's.
    pub kernel: Option<Digest>,
    /// The ramdisk's.
    pub ramdisk: Option<Digest>,
}

/// How far a loader is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Call again.
    More,
    /// RAM is as the guest must find it.
    Done,
    /// It cannot be; what RAM holds now must not run.
    Failed(KernelError),
}

/// Loads one guest, as often as it is started.
pub struct Loader {
    plan: LoadPlan,
    sums: Sums,
    /// Whole pages that no load fills; then what to do, in this order: sum, clear, load.
    pages: Vec<Region<Ipa>>,
    inflater: Option<Inflater>,
    at: Work,
    /// Bytes of the current stage that are done, and the CRC-32 of them.
    offset: u64,
    crc: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Sum,
    Zero(usize),
    Load(usize),
    /// Clear what an inflated load has left of its room.
    Rest(usize),
    End(Option<KernelError>),
}

/// The most that is handed to [`GuestMemory`] at once, in bytes.
const CHUNK: u64 = 0x20_0000;

impl Loader {
    /// Makes a loader; all that it will ever allocate is allocated here.
    pub fn new(plan: LoadPlan, sums: Sums) -> Self {
        let inflates = |load: &Load| matches!(load.origin, Origin::Inflated { .. });
        Self {
            pages: plan.memory.iter().flat_map(|memory| unfilled(*memory, &plan.loads)).collect(),
            inflater: plan.loads.iter().any(inflates).then(Inflater::new),
            plan,
            sums,
            at: Work::Sum,
            offset: 0,
            crc: 0,
        }
    }

    /// Returns the plan.
    pub const fn plan(&self) -> &LoadPlan {
        &self.plan
    }

    /// Goes back to the beginning.
    pub fn restart(&mut self) {
        self.enter(Work::Sum);
    }

    /// Does about `budget` bytes of work, at least one piece of it.
    ///
    /// A piece is at most 2 MiB, or 32 KiB inflated. After `Done` or `Failed` the answer stays the same
    /// until [`Self::restart`].
    pub fn step(&mut self, sources: &Sources<'_>, memory: &mut dyn GuestMemory, budget: u64) -> Progress {
        let mut left = budget.max(1);
        while left != 0 {
            let piece = left.min(CHUNK);
            let done = match self.at {
                Work::Sum => self.sum(sources, memory, piece),
                Work::Zero(index) => Ok(self.zero(index, memory, piece)),
                Work::Load(index) => self.load(index, sources, memory, piece),
                Work::Rest(index) => Ok(self.clear_rest(index, memory, piece)),
                Work::End(None) => return Progress::Done,
                Work::End(Some(error)) => return Progress::Failed(error),
            };
            match done {
                Ok(bytes) => left = left.saturating_sub(bytes),
                Err(error) => self.enter(Work::End(Some(error))),
            }
        }
        Progress::More
    }

    fn enter(&mut self, stage: Work) {
        (self.at, self.offset, self.crc) = (stage, 0, 0);
        if let (Work::Load(_), Some(inflater)) = (stage, &mut self.inflater) {
            inflater.restart();
        }
    }

    /// Sums a kernel that is not copied as it is stored; the others are summed as they are copied.
    fn sum(&mut self, sources: &Sources<'_>, memory: &mut dyn GuestMemory, piece: u64) -> Result<u64, KernelError> {
        let is_copied = |digest: &Digest| self.plan.loads.iter().any(|load| is_whole(load, digest));
        let Some(digest) = self.sums.kernel.filter(|digest| !is_copied(digest)) else {
            self.enter(Work::Zero(0));
            return Ok(0);
        };
        let refuse = |error| KernelError::Digest { member: "the kernel", error };
        digest.check_size(sources.kernel).map_err(refuse)?;
        let size = digest.size;
        let bytes = part(sources.kernel, self.offset, piece.min(size - self.offset))?;
        self.crc = memory.sum(bytes, self.crc);
        self.offset += bytes.len() as u64;
        if self.offset == size {
            digest.check_sum(self.crc).map_err(refuse)?;
            self.enter(Work::Zero(0));
        }
        Ok(bytes.len() as u64)
    }

    fn zero(&mut self, index: usize, memory: &mut dyn GuestMemory, piece: u64) -> u64 {
        let Some(pages) = self.pages.get(index) else {
            self.enter(Work::Load(0));
            return 0;
        };
        // A piece is whole pages, and RAM is.
        let size = piece.next_multiple_of(PAGE_SIZE).min(pages.size - self.offset);
        memory.zero(Region { start: Ipa(pages.start.raw() + self.offset), size });
        self.offset += size;
        if self.offset == pages.size {
            self.enter(Work::Zero(index + 1));
        }
        size
    }

    fn load(
        &mut self,
        index: usize,
        sources: &Sources<'_>,
        memory: &mut dyn GuestMemory,
        piece: u64,
    ) -> Result<u64, KernelError> {
        let Some(load) = self.plan.loads.get(index) else {
            self.enter(Work::End(None));
            return Ok(0);
        };
        let source = sources.of(load)?;
        if matches!(load.origin, Origin::Inflated { .. }) {
            return self.inflate(index, source, memory);
        }
        let to = Ipa(load.to.start.raw() + self.offset);
        let size = piece.min(load.to.size - self.offset);
        let bytes = part(source, self.offset, size)?;
        self.offset += size;
        let is_last = self.offset == load.to.size;
        let (member, digest) = match load.origin {
            Origin::Ramdisk => ("the ramdisk", self.sums.ramdisk),
            Origin::Flash(index) => ("a flash's file", sources.flash.get(index).and_then(|file| file.digest)),
            _ => ("the kernel", self.sums.kernel.filter(|digest| is_whole(load, digest))),
        };
        if let Some(digest) = digest {
            self.crc = memory.copy_and_sum(to, bytes, self.crc);
            if is_last {
                let same = digest.check_size(source).and(digest.check_sum(self.crc));
                same.map_err(|error| KernelError::Digest { member, error })?;
            }
        } else {
            memory.copy(to, bytes);
        }
        if is_last {
            self.enter(Work::Load(index + 1));
        }
        Ok(size)
    }

    fn inflate(&mut self, index: usize, file: &[u8], memory: &mut dyn GuestMemory) -> Result<u64, KernelError> {
        let load = &self.plan.loads[index];
        // It was made with the plan that has this load.
        let inflater = self.inflater.get_or_insert_with(Inflater::new);
        let before = inflater.produced();
        let bytes = inflater.next(file)?;
        let size = bytes.len() as u64;
        // Never beyond what the plan made room for.
        if size > load.to.size.saturating_sub(before) {
            return Err(KernelError::GzipLong);
        }
        let to = Ipa(load.to.start.raw() + before);
        self.crc = memory.copy_and_sum(to, bytes, self.crc);
        if inflater.is_member_done() {
            inflater.end_member(file, Some(self.crc))?;
            self.crc = 0;
            if inflater.is_done() {
                self.enter(Work::Rest(index));
                self.offset = before + size;
            }
        }
        Ok(size)
    }

    fn clear_rest(&mut self, index: usize, memory: &mut dyn GuestMemory, piece: u64) -> u64 {
        let to = self.plan.loads[index].to;
        let left = to.size - self.offset;
        if left == 0 {
            self.enter(Work::Load(index + 1));
            return 0;
        }
        let at = to.start.raw() + self.offset;
        let below_page = at.next_multiple_of(PAGE_SIZE) - at;
        let size = if below_page == 0 && left >= PAGE_SIZE {
            let size = Ipa(piece.next_multiple_of(PAGE_SIZE).min(left)).align_down(PAGE_SIZE).raw();
            memory.zero(Region { start: Ipa(at), size });
            size
        } else {
            let zeros = [0; 256];
            let size = (if below_page == 0 { left } else { left.min(below_page) }).min(zeros.len() as u64);
            memory.copy(Ipa(at), part(&zeros, 0, size).unwrap_or_default());
            size
        };
        self.offset += size;
        size
    }
}

/// Tells whether a load copies the whole kernel file, so that its sum can be taken on the way.
fn is_whole(load: &Load, digest: &Digest) -> bool {
    load.origin == Origin::Kernel { offset: 0 } && load.to.size == digest.size
}

fn part(bytes: &[u8], offset: u64, size: u64) -> Result<&[u8], KernelError> {
    let range = usize::try_from(offset).ok().zip(usize::try_from(offset + size).ok());
    range.and_then(|(start, end)| bytes.get(start..end)).ok_or(KernelError::Sources)
}

/// Lists the pages of a memory that the loads, which are sorted, do not fill wholly.
fn unfilled(ram: Region<Ipa>, loads: &[Load]) -> Vec<Region<Ipa>> {
    let mut pages = Vec::with_capacity(loads.len() + 1);
    // Below `filled` all is filled by a load; below `listed` all is filled or listed.
    let (mut filled, mut listed) = (ram.start.raw(), ram.start.raw());
    let loads = loads.iter().map(|load| load.to).filter(|to| ram.covers(to));
    for (gap_end, load_end) in loads.map(|to| (to.start, to.end())).chain([(ram.end(), ram.end())]) {
        let first = Ipa(filled).align_down(PAGE_SIZE).raw().max(listed);
        let end = gap_end.raw().next_multiple_of(PAGE_SIZE);
        if filled != gap_end.raw() && first < end {
            pages.push(Region { start: Ipa(first), size: end - first });
            listed = end;
        }
        filled = load_end.raw();
    }
    pages
}
