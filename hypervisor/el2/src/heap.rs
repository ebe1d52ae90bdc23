//! EL2's heap: boot and VM creation only. Nothing that a running guest can trigger comes here.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use linked_list_allocator::Heap;
use spin::Mutex;

use crate::image;

struct Locked(Mutex<Heap>);

#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: Locked = Locked(Mutex::new(Heap::empty()));

// SAFETY: `Heap` hands out disjoint blocks of its region, of the layout asked for, and the lock serialises
// it. EL2 runs with interrupts masked, so the lock cannot be taken twice on one CPU.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: the caller promises that `pointer` came from `alloc` with this layout.
            unsafe { self.0.lock().deallocate(pointer, layout) }
        }
    }
}

/// Returns how many bytes of the heap are used and how many are free.
pub fn used_and_free() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.used(), heap.free())
}

/// Gives the heap its memory. Called once, before anything allocates.
///
/// # Safety
/// Must be called once, on the boot CPU, with the MMU and caches on (the lock uses exclusives).
pub(crate) unsafe fn init() {
    let size = usize::try_from(image::heap_end() - image::heap_start()).unwrap_or(0);
    // SAFETY: the linker script sets this range aside for the heap alone, and it is mapped read-write.
    unsafe { HEAP.0.lock().init(image::heap_start() as *mut u8, size) }
}
