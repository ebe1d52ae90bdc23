//! Physical memory that is neither the image's nor anybody else's, handed out as frames.
//!
//! A [`Frames`] is memory in which no Rust object lives: a guest's RAM, its stage-2 tables, a CPU's block.
//! The bookkeeping is `buddy_system_allocator`'s, out of band on the heap.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use assay_spec::addr::{Address, PAGE_SIZE, Pa, Region};
use buddy_system_allocator::FrameAllocator;
use spin::Mutex;

/// All that was ever given to the allocator, free now or not.
static MANAGED: Mutex<Vec<Region<Pa>>> = Mutex::new(Vec::new());

/// Which memory: what may have Allocation Tags is kept apart from what has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    /// Memory that is not known to keep tags. EL2 never maps it Tagged.
    Plain,
    /// Memory that the platform says keeps tags, on CPUs with MTE2. EL2 maps it Tagged.
    Tagged,
}

static FREE: [Mutex<FrameAllocator<33>>; 2] = [const { Mutex::new(FrameAllocator::new()) }; 2];

/// Pages that are free, in both pools: the allocator does not count them.
static FREE_PAGES: AtomicU64 = AtomicU64::new(0);

/// Returns how many bytes of frames are free.
pub fn free_bytes() -> u64 {
    FREE_PAGES.load(Ordering::Relaxed) * PAGE_SIZE
}

impl Pool {
    fn free(self) -> &'static Mutex<FrameAllocator<33>> {
        let [plain, tagged] = &FREE;
        match self {
            Self::Plain => plain,
            Self::Tagged => tagged,
        }
    }
}

/// Frames that belong to the holder: a power of two of pages, naturally aligned.
#[derive(PartialEq, Eq, Debug)]
pub struct Frames {
    region: Region<Pa>,
    pool: Pool,
}

impl Frames {
    /// Takes the one frame at `address`, if it is free.
    pub fn at(address: u64) -> Option<Self> {
        let page = Pa(address).align_down(PAGE_SIZE);
        [Pool::Tagged, Pool::Plain].into_iter().find_map(|pool| take_at(pool, page, PAGE_SIZE))
    }

    /// Returns where they are.
    pub fn region(&self) -> Region<Pa> {
        self.region
    }

    /// Gives back all but the pages of `kept`, which are the caller's for good.
    ///
    /// The allocator keeps no list of what it has handed out, so that a part can come back alone: it is joined with what is free beside
    /// it, and nothing else.
    pub(crate) fn keep(self, kept: Region<Pa>) {
        let pages = (self.region.start.0..self.region.end().0).step_by(PAGE_SIZE as usize);
        for page in pages.filter(|page| !kept.contains(Pa(*page))) {
            give_back(Self { region: Region { start: Pa(page), size: PAGE_SIZE }, pool: self.pool });
        }
    }

    /// Returns which pool they are from.
    pub fn pool(&self) -> Pool {
        self.pool
    }
}

/// Adds free memory: whole pages of `region` only.
///
/// # Safety
/// No object of this program, no other region given here and nothing of firmware's may live in it, now or later.
unsafe fn add(region: Region<Pa>, pool: Pool) {
    let start = region.start.0.div_ceil(PAGE_SIZE) as usize;
    let end = (region.end().0 / PAGE_SIZE) as usize;
    if start < end {
        pool.free().lock().add_frame(start, end);
        let _ = FREE_PAGES.fetch_add((end - start) as u64, Ordering::Relaxed);
    }
}

/// Gives the allocator the machine's free memory, once.
///
/// `free` is what the platform tree calls memory less everything that is reserved, firmware's or the bundle's.
/// Regions that overlap each other, the image or `own`, the heap beside it, are dropped: they would break what every
/// other module relies on.
pub(crate) fn init(free: &[(Region<Pa>, Pool)], own: &[Region<Pa>]) {
    static DONE: spin::Once<()> = spin::Once::new();
    let _ = DONE.call_once(|| {
        for (index, (region, pool)) in free.iter().enumerate() {
            let taken = region.overlaps(&crate::image::region())
                || own.iter().any(|own| own.overlaps(region))
                || KEPT.lock().iter().any(|(kept, _)| kept.overlaps(region));
            if !taken && !free.iter().take(index).any(|(other, _)| other.overlaps(region)) {
                // SAFETY: disjoint from the image and the heap beside it, which hold every Rust object (stacks and
                // statics too), and from the other regions; `call_once` makes this the only call.
                unsafe { add(*region, *pool) };
                MANAGED.lock().push(*region);
            }
        }
    });
}

/// What memory outside the frames was given away for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// Lent as a slice for good: nobody may write it.
    Lent,
    /// Granted to VMs as a device.
    Granted,
    /// Coherent memory with one owner.
    Coherent,
    /// A device's registers, with one owner.
    Registers,
    /// PCI configuration space, which only EL2 touches.
    Configuration,
    /// Tables that the interrupt controller goes on using.
    Interrupts,
    /// The real-time clock's registers, which only EL2 touches.
    Clock,
    /// The registers of an SMMU or an ITS, which access memory by themselves: with one owner.
    Master,
}

static KEPT: Mutex<Vec<(Region<Pa>, Use)>> = Mutex::new(Vec::new());

/// Notes what `region` is used for, for good. False: some of it has another use already, or an owner.
pub(crate) fn keep(region: Region<Pa>, purpose: Use) -> bool {
    let pages =
        Region { start: region.start.align_down(PAGE_SIZE), size: region.size + (region.start.0 & (PAGE_SIZE - 1)) };
    let is_alone = matches!(purpose, Use::Coherent | Use::Registers | Use::Master);
    let mut kept = KEPT.lock();
    let free = !kept.iter().any(|(other, used)| (*used != purpose || is_alone) && other.overlaps(&pages));
    if free {
        kept.push((pages, purpose));
    }
    free
}

/// Takes all free blocks of `bytes` at least, a power of two; smaller ones stay free.
pub fn take_blocks(bytes: u64) -> Vec<Frames> {
    let sizes = (0..33).rev().map(|order| PAGE_SIZE << order).take_while(|size| *size >= bytes);
    let of = |size: u64| core::iter::from_fn(move || take(size));
    sizes.flat_map(of).collect()
}

/// Returns the memory that frames come from, free or not.
pub fn managed() -> Vec<Region<Pa>> {
    MANAGED.lock().clone()
}

/// Tells whether any of `region` is memory that frames come from.
pub fn manages(region: Region<Pa>) -> bool {
    MANAGED.lock().iter().any(|managed| managed.overlaps(&region))
}

/// Keeps what of `region` frames come from out of use, for good. False if some of it is in use already.
pub(crate) fn withhold(region: Region<Pa>) -> bool {
    let pages = Region { start: region.start.align_down(PAGE_SIZE), ..region };
    // Redistributors share a table.
    if KEPT.lock().iter().any(|(kept, used)| *used == Use::Interrupts && kept.covers(&pages)) {
        return true;
    }
    let is_managed = |page: &u64| MANAGED.lock().iter().any(|managed| managed.contains(Pa(*page)));
    let mut pages = (pages.start.0..region.end().0).step_by(PAGE_SIZE as usize).filter(is_managed);
    pages.all(|page| Frames::at(page).is_some()) && keep(region, Use::Interrupts)
}

/// Takes `bytes`, rounded up to a power of two of pages and aligned to their own size, from `pool`; `None` if
/// there is no such block. Their contents are whatever was there.
pub fn take_from(pool: Pool, bytes: u64) -> Option<Frames> {
    let pages = usize::try_from(bytes.div_ceil(PAGE_SIZE)).ok()?.checked_next_power_of_two()?;
    let start = pool.free().lock().alloc(pages)?;
    Some(taken(pool, start, pages))
}

/// Frames that are free no more, from frame number `start` on.
fn taken(pool: Pool, start: usize, pages: usize) -> Frames {
    let _ = FREE_PAGES.fetch_sub(pages as u64, Ordering::Relaxed);
    let region = Region { start: Pa(start as u64 * PAGE_SIZE), size: pages as u64 * PAGE_SIZE };
    Frames { region, pool }
}

/// Takes those `bytes` at `start`, if all are free: a power of two of pages, naturally aligned.
pub fn take_at(pool: Pool, start: Pa, bytes: u64) -> Option<Frames> {
    let frame = usize::try_from(start.0 / PAGE_SIZE).ok()?;
    let pages = usize::try_from(bytes / PAGE_SIZE).ok().filter(|pages| pages.is_power_of_two())?;
    let _ = Region::new(start, bytes).filter(|_| start.is_aligned(bytes))?;
    let start = pool.free().lock().alloc_at(frame, pages)?;
    Some(taken(pool, start, pages))
}

/// Takes from either pool, the plain one first.
pub fn take(bytes: u64) -> Option<Frames> {
    take_from(Pool::Plain, bytes).or_else(|| take_from(Pool::Tagged, bytes))
}

/// Takes from either pool like [`take`], unless some CPU is at it, which may be this one: the books are on the heap.
pub(crate) fn try_take(bytes: u64) -> Option<Frames> {
    let is_free = |pool: Pool| pool.free().try_lock().is_some();
    (is_free(Pool::Plain) && is_free(Pool::Tagged)).then(|| take(bytes))?
}

/// Gives frames back.
pub fn give_back(frames: Frames) {
    let start = (frames.region.start.0 / PAGE_SIZE) as usize;
    let pages = (frames.region.size / PAGE_SIZE) as usize;
    frames.pool.free().lock().dealloc(start, pages);
    let _ = FREE_PAGES.fetch_add(pages as u64, Ordering::Relaxed);
}
