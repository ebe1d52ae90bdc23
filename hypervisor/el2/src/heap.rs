//! EL2's heap: boot and VM creation only. Nothing that a running guest can trigger comes here.
//!
//! Memory of the image for a start; more is added as the machine needs it, and none is ever given back (ADR 0004).

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use assay_spec::addr::{Pa, Region};
use linked_list_allocator::Heap;
use spin::{Mutex, Once};

use crate::{frames, image};

/// The most pieces. Each that is taken from frames is at least as large as all before it.
const PIECES: usize = 24;

/// What a list's header and alignment may cost, of a piece or of an allocation.
const SLACK: usize = 4096;

struct Pieces {
    heaps: [Heap; PIECES],
    used: usize,
}

struct Locked(Mutex<Pieces>);

#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: Locked = Locked(Mutex::new(Pieces { heaps: [const { Heap::empty() }; PIECES], used: 0 }));

impl Pieces {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.heaps.iter_mut().find_map(|heap| heap.allocate_first_fit(layout).ok())
    }

    fn total(&self) -> usize {
        self.heaps.iter().map(Heap::size).sum()
    }
}

// SAFETY: a `Heap` hands out disjoint blocks of its piece, of the layout asked for, pieces are disjoint, and the lock
// serialises it. EL2 runs with interrupts masked, so the lock cannot be taken twice on one CPU.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut found = self.0.lock().allocate(layout);
        // Nothing is to come here: what is made is reserved first. Yet memory is better than a panic.
        if found.is_none() && grow(layout.size().saturating_add(layout.align())) {
            found = self.0.lock().allocate(layout);
        }
        found.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let mut pieces = self.0.lock();
        let mut heaps = pieces.heaps.iter_mut();
        let owner = heaps.find(|heap| (heap.bottom()..heap.top()).contains(&pointer));
        if let Some((heap, pointer)) = owner.zip(NonNull::new(pointer)) {
            // SAFETY: the caller promises that `pointer` came from `alloc` with this layout, and of all pieces it
            // came from the one that it lies in.
            unsafe { heap.deallocate(pointer, layout) }
        }
    }
}

/// Makes sure that `bytes` are free in one piece, in the heap or by taking frames for it. False if there are none.
pub fn reserve(bytes: usize) -> bool {
    let Ok(layout) = Layout::from_size_align(bytes.max(1), 16) else {
        return false;
    };
    let mut pieces = HEAP.0.lock();
    for heap in &mut pieces.heaps {
        if let Ok(found) = heap.allocate_first_fit(layout) {
            // SAFETY: it was allocated just now, with this layout, from this piece.
            unsafe { heap.deallocate(found, layout) }
            return true;
        }
    }
    drop(pieces);
    grow(bytes)
}

static GROWS: AtomicBool = AtomicBool::new(false);

/// Lets the heap take frames: EL2's own map is in use, and all of them are in it.
pub(crate) fn let_grow() {
    GROWS.store(true, Ordering::Relaxed);
}

/// Takes frames for a piece of at least `bytes`.
fn grow(bytes: usize) -> bool {
    let Some(bytes) = bytes.checked_add(SLACK).filter(|_| GROWS.load(Ordering::Relaxed)) else {
        return false;
    };
    let plenty = HEAP.0.lock().total().max(bytes);
    let frames = frames::try_take(plenty as u64).or_else(|| frames::try_take(bytes as u64));
    // SAFETY: frames are mapped read-write and hold no Rust object; they are never given back.
    frames.is_some_and(|frames| unsafe { add(frames.region()) })
}

/// Returns how many bytes of the heap are used and how many are free.
pub fn used_and_free() -> (usize, usize) {
    let pieces = HEAP.0.lock();
    let sum = |of: fn(&Heap) -> usize| pieces.heaps.iter().map(of).sum();
    (sum(Heap::used), sum(Heap::free))
}

/// What was added before there were frames: for the platform's tree, and for the bundle's.
static EARLY: [Once<Region<Pa>>; 2] = [const { Once::new() }; 2];

/// Iterates over the memory outside the image that is the heap's since before there were frames.
pub fn early() -> impl Iterator<Item = Region<Pa>> {
    EARLY.iter().filter_map(|piece| piece.get().copied())
}

/// Tells whether some of `region` is the image's, or the heap's from before there were frames.
pub(crate) fn is_own(region: Region<Pa>) -> bool {
    early().chain([image::region()]).any(|own| own.overlaps(&region))
}

/// Adds memory from before there are frames, twice at most.
///
/// # Safety
/// As for [`add`], and EL2's own map is still to be made.
pub(crate) unsafe fn add_early(piece: Region<Pa>) {
    if let Some(place) = EARLY.iter().find(|place| !place.is_completed()) {
        // SAFETY: as our caller promises.
        let _ = unsafe { add(piece) };
        let _ = place.call_once(|| piece);
    }
}

/// Returns the bytes of the heap beyond the image.
pub fn added_bytes() -> u64 {
    let pieces = HEAP.0.lock();
    pieces.heaps.iter().skip(1).map(|heap| heap.size() as u64).sum()
}

/// Gives the heap the image's memory for it. Called once, before anything allocates.
///
/// # Safety
/// Must be called once, on the boot CPU, with the MMU and caches on (the lock uses exclusives).
pub(crate) unsafe fn init() {
    let size = image::heap_end() - image::heap_start();
    // SAFETY: the linker script sets this range aside for the heap alone, and it is mapped read-write.
    let _ = unsafe { add(Region { start: Pa(image::heap_start()), size }) };
}

/// Adds a piece to the list; false if there are too many.
///
/// # Safety
/// `piece` is mapped read-write for good, and the heap's alone.
unsafe fn add(piece: Region<Pa>) -> bool {
    let mut pieces = HEAP.0.lock();
    let used = pieces.used;
    let Some(heap) = pieces.heaps.get_mut(used) else {
        return false;
    };
    // SAFETY: the caller promises that the memory is the heap's, and this list had none.
    unsafe { heap.init(piece.start.0 as *mut u8, piece.size as usize) };
    pieces.used += 1;
    true
}
