//! Clearing and filling a guest's RAM, in steps between which interrupts can be taken.
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
    at: Stage,
    /// Bytes of the current stage that are done, and the CRC-32 of them.
    offset: u64,
    crc: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sum,
    Zero(usize),
    Load(usize),
    End(Option<KernelError>),
}

/// The most that is handed to [`GuestMemory`] at once, in bytes.
const CHUNK: u64 = 0x20_0000;

impl Loader {
    /// Makes a loader; all that it will ever allocate is allocated here.
    pub fn new(plan: LoadPlan, sums: Sums) -> Self {
        let inflates = |load: &Load| matches!(load.origin, Origin::Inflated { .. });
        Self {
            pages: unfilled(plan.ram, &plan.loads),
            inflater: plan.loads.iter().any(inflates).then(Inflater::new),
            plan,
            sums,
            at: Stage::Sum,
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
        self.enter(Stage::Sum);
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
                Stage::Sum => self.sum(sources, memory, piece),
                Stage::Zero(index) => Ok(self.zero(index, memory, piece)),
                Stage::Load(index) => self.load(index, sources, memory, piece),
                Stage::End(None) => return Progress::Done,
                Stage::End(Some(error)) => return Progress::Failed(error),
            };
            match done {
                Ok(bytes) => left = left.saturating_sub(bytes),
                Err(error) => self.enter(Stage::End(Some(error))),
            }
        }
        match self.at {
            Stage::End(None) => Progress::Done,
            Stage::End(Some(error)) => Progress::Failed(error),
            _ => Progress::More,
        }
    }

    fn enter(&mut self, stage: Stage) {
        (self.at, self.offset, self.crc) = (stage, 0, 0);
        if let (Stage::Load(_), Some(inflater)) = (stage, &mut self.inflater) {
            inflater.restart();
        }
    }

    /// Sums a kernel that is not copied as it is stored; the others are summed as they are copied.
    fn sum(&mut self, sources: &Sources<'_>, memory: &mut dyn GuestMemory, piece: u64) -> Result<u64, KernelError> {
        let is_copied = |digest: &Digest| self.plan.loads.iter().any(|load| is_whole(load, digest));
        let Some(digest) = self.sums.kernel.filter(|digest| !is_copied(digest)) else {
            self.enter(Stage::Zero(0));
            return Ok(0);
        };
        let refuse = |error| KernelError::Digest { ramdisk: false, error };
        digest.check_size(sources.kernel).map_err(refuse)?;
        let size = digest.size;
        let bytes = part(sources.kernel, self.offset, piece.min(size - self.offset))?;
        self.crc = memory.sum(bytes, self.crc);
        self.offset += bytes.len() as u64;
        if self.offset == size {
            digest.check_sum(self.crc).map_err(refuse)?;
            self.enter(Stage::Zero(0));
        }
        Ok(bytes.len() as u64)
    }

    fn zero(&mut self, index: usize, memory: &mut dyn GuestMemory, piece: u64) -> u64 {
        let Some(pages) = self.pages.get(index) else {
            self.enter(Stage::Load(0));
            return 0;
        };
        // A piece is whole pages, and RAM is.
        let size = piece.next_multiple_of(PAGE_SIZE);
        let size = size.min(pages.size - self.offset);
        memory.zero(Region { start: Ipa(pages.start.raw() + self.offset), size });
        self.offset += size;
        if self.offset == pages.size {
            self.enter(Stage::Zero(index + 1));
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
            self.enter(Stage::End(None));
            return Ok(0);
        };
        let to = Ipa(load.to.start.raw() + self.offset);
        let size = piece.min(load.to.size - self.offset);
        let (file, from, digest) = match &load.origin {
            Origin::Inflated { deflate } => {
                let deflate = sources.kernel.get(deflate.clone());
                return self.inflate(index, deflate.ok_or(KernelError::Sources)?, memory);
            }
            Origin::Kernel { offset } => {
                let whole = |digest: &Digest| is_whole(load, digest);
                (sources.kernel, *offset as u64, self.sums.kernel.filter(whole))
            }
            Origin::Ramdisk => (sources.ramdisk, 0, self.sums.ramdisk),
            Origin::DeviceTree => (sources.dtb, 0, None),
        };
        if !matches!(load.origin, Origin::Kernel { .. }) && file.len() as u64 != load.to.size {
            return Err(KernelError::Sources);
        }
        let bytes = part(file, from.saturating_add(self.offset), size)?;
        if let Some(digest) = digest {
            self.crc = memory.copy_and_sum(to, bytes, self.crc);
            if self.offset + size == load.to.size {
                let ramdisk = load.origin == Origin::Ramdisk;
                let sum = digest.check_sum(self.crc);
                let whole = digest.check_size(file).and(sum);
                whole.map_err(|error| KernelError::Digest { ramdisk, error })?;
            }
        } else {
            memory.copy(to, bytes);
        }
        self.offset += size;
        if self.offset == load.to.size {
            self.enter(Stage::Load(index + 1));
        }
        Ok(size)
    }

    fn inflate(&mut self, index: usize, deflate: &[u8], memory: &mut dyn GuestMemory) -> Result<u64, KernelError> {
        let (Some(load), Some(inflater)) = (self.plan.loads.get(index), &mut self.inflater) else {
            return Err(KernelError::Sources);
        };
        let before = inflater.produced();
        let bytes = inflater.next(deflate)?;
        let size = bytes.len() as u64;
        // Never beyond what the trailer promised and the plan made room for.
        if size > load.to.size.saturating_sub(before) {
            return Err(KernelError::GzipSum);
        }
        let to = Ipa(load.to.start.raw() + before);
        self.crc = memory.copy_and_sum(to, bytes, self.crc);
        if inflater.is_done() {
            let whole = before + size == load.to.size;
            let (crc, _) = gzip::trailer(deflate).ok_or(KernelError::Gzip)?;
            if !whole || crc != self.crc {
                return Err(KernelError::GzipSum);
            }
            self.enter(Stage::Load(index + 1));
        }
        Ok(size)
    }
}

/// Tells whether a load copies the whole kernel file, so that its sum can be taken on the way.
fn is_whole(load: &Load, digest: &Digest) -> bool {
    load.origin == Origin::Kernel { offset: 0 } && load.to.size == digest.size
}

fn part(bytes: &[u8], offset: u64, size: u64) -> Result<&[u8], KernelError> {
    let range = || {
        let offset = usize::try_from(offset).ok()?;
        Some(offset..offset.checked_add(usize::try_from(size).ok()?)?)
    };
    let bytes = range().and_then(|range| bytes.get(range));
    bytes.ok_or(KernelError::Sources)
}

/// Lists the pages of RAM that the loads, which are sorted, do not fill wholly.
fn unfilled(ram: Region<Ipa>, loads: &[Load]) -> Vec<Region<Ipa>> {
    let mut pages = Vec::with_capacity(loads.len() + 1);
    // All below it is filled by a load or listed already.
    let mut covered = ram.start.raw();
    let mut gap = |from: u64, to: u64, covered: &mut u64| {
        if from == to {
            return;
        }
        let first = Ipa(from).align_down(PAGE_SIZE).raw().max(*covered);
        let end = to.checked_next_multiple_of(PAGE_SIZE);
        let end = end.unwrap_or(u64::MAX).min(ram.end().raw());
        if first < end {
            pages.push(Region { start: Ipa(first), size: end - first });
            *covered = end;
        }
    };
    let mut filled = ram.start.raw();
    for load in loads {
        gap(filled, load.to.start.raw(), &mut covered);
        filled = load.to.end().raw();
    }
    gap(filled, ram.end().raw(), &mut covered);
    pages
}
