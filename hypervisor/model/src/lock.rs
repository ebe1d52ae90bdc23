//! Locks that nest in one order, which debug builds check at each of them.
//!
//! A CPU takes a lock only while all that it holds are of lower ranks. The ranks, outermost first, are the constants
//! here; what each guards is in ARCHITECTURE.md. Release builds carry nothing of this.
//!
//! They are fair, though not taken in turn: who has looked 16 384 times in vain asks for the lock, and gets it before all
//! who come later. In turn from the first look on, all would wait for a CPU that is put aside while it is next, as those of an
//! emulator are that has more of them than cores (64 of them on 2 cores took minutes for what takes seconds).

use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use spin::relax::RelaxStrategy;

/// A vCPU, held by the CPU that it is on.
pub const SEAT: u8 = 0;
/// A VM's RAM and tables.
pub const CONTENTS: u8 = 1;
/// A VM's devices.
pub const DEVICES: u8 = 2;
/// The table that the operator's monitor prints.
pub const TABLE: u8 = 3;
/// A VM's phase.
pub const LIFE: u8 = 4;
/// The page of stolen time.
pub const TIME: u8 = 5;
/// The scheduler.
pub const SCHEDULER: u8 = 6;
/// The console.
pub const CONSOLE: u8 = 7;
/// The registers of a virtio device between VMs.
pub const VIRTIO: u8 = 8;

/// How often a CPU looks at a lock that others have before it asks for it: with YIELD and ISB at each, some hundred µs of
/// most CPUs, and longer than anybody holds one.
const PATIENCE: u32 = 1 << 14;

/// A lock of rank `RANK`. A CPU that waits does as `R` says.
pub struct Mutex<T, const RANK: u8, R> {
    lock: spin::mutex::SpinMutex<T, R>,
    /// A CPU has asked for it: nobody else tries to take it until that one has.
    asked: AtomicBool,
}

/// What a lock guards, while it is held.
pub struct Guard<'a, T, const RANK: u8, R: RelaxStrategy>(spin::mutex::SpinMutexGuard<'a, T, R>);

impl<T, const RANK: u8, R: RelaxStrategy> Mutex<T, RANK, R> {
    /// Makes a lock that nobody holds.
    pub const fn new(value: T) -> Self {
        Self { lock: spin::mutex::SpinMutex::new(value), asked: AtomicBool::new(false) }
    }

    /// Waits until nobody else holds it; after 16 384 looks, before all who come later.
    ///
    /// # Panics
    /// In debug builds, if this CPU holds a lock of this rank or a higher one: our bug.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T, RANK, R> {
        #[cfg(debug_assertions)]
        order::take(RANK);
        Guard(self.look().unwrap_or_else(|| self.wait()))
    }

    /// Takes it if that is done at once: nobody holds it, or has asked for it. For a function that saves no registers where it
    /// does not wait, and goes on with another where it would.
    ///
    /// # Panics
    /// As [`Self::lock`].
    #[inline(always)]
    pub fn at_once(&self) -> Option<Guard<'_, T, RANK, R>> {
        let guard = self.look()?;
        #[cfg(debug_assertions)]
        order::take(RANK);
        Some(Guard(guard))
    }

    /// Looks at it once. It may fail for no reason.
    #[inline(always)]
    fn look(&self) -> Option<spin::mutex::SpinMutexGuard<'_, T, R>> {
        if self.asked.load(Ordering::Relaxed) { None } else { self.lock.try_lock_weak() }
    }

    /// Waits. Who asks keeps the others from trying, so it has the lock after those that were about to take it. Of several that
    /// have lost patience, one after the other asks; who has had the lock has to lose it anew.
    #[cold]
    #[inline(never)]
    fn wait(&self) -> spin::mutex::SpinMutexGuard<'_, T, R> {
        let (mut looks, mut asks) = (0, false);
        loop {
            if asks || !self.asked.load(Ordering::Relaxed) {
                // Looked at first, so that the line stays shared while another holds it.
                let free = if self.lock.is_locked() { None } else { self.lock.try_lock_weak() };
                if let Some(guard) = free {
                    if asks {
                        self.asked.store(false, Ordering::Relaxed);
                    }
                    return guard;
                }
            }
            R::relax();
            looks += 1;
            if looks >= PATIENCE && !asks {
                asks = !self.asked.swap(true, Ordering::Relaxed);
            }
        }
    }

    /// Takes it if nobody holds it, whoever has asked for it: to try is not to wait.
    ///
    /// # Panics
    /// As [`Self::lock`].
    pub fn try_lock(&self) -> Option<Guard<'_, T, RANK, R>> {
        let guard = self.lock.try_lock()?;
        #[cfg(debug_assertions)]
        order::take(RANK);
        Some(Guard(guard))
    }
}

impl<T, const RANK: u8, R: RelaxStrategy> Deref for Guard<'_, T, RANK, R> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T, const RANK: u8, R: RelaxStrategy> DerefMut for Guard<'_, T, RANK, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(debug_assertions)]
impl<T, const RANK: u8, R: RelaxStrategy> Drop for Guard<'_, T, RANK, R> {
    fn drop(&mut self) {
        order::leave(RANK);
    }
}

/// Checks the order from here on, in debug builds: `held` gives the ranks that the running CPU holds, a bit each.
pub fn watch(held: fn() -> &'static core::sync::atomic::AtomicU32) {
    #[cfg(debug_assertions)]
    let _ = order::HELD.call_once(|| held);
    #[cfg(not(debug_assertions))]
    let _ = held;
}

#[cfg(debug_assertions)]
mod order {
    use core::sync::atomic::{AtomicU32, Ordering};

    pub(super) static HELD: spin::Once<fn() -> &'static AtomicU32> = spin::Once::new();

    pub(super) fn take(rank: u8) {
        if let Some(held) = HELD.get() {
            let before = held().fetch_or(1 << rank, Ordering::Relaxed);
            assert!(before >> rank == 0, "a lock of rank {rank} is taken under {before:#b}");
        }
    }

    pub(super) fn leave(rank: u8) {
        if let Some(held) = HELD.get() {
            let _ = held().fetch_and(!(1 << rank), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};
    use std::boxed::Box;

    use spin::relax::Spin;

    use super::{CONSOLE, DEVICES, Mutex, watch};

    /// Each thread of the tests is a CPU.
    fn held() -> &'static AtomicU32 {
        std::thread_local!(static HELD: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(0))));
        HELD.with(|held| *held)
    }

    static OUTER: Mutex<u8, DEVICES, Spin> = Mutex::new(1);
    static INNER: Mutex<u8, CONSOLE, Spin> = Mutex::new(2);

    #[test]
    fn locks_nest_inwards_and_again_once_they_are_let_go() {
        watch(held);
        for _ in 0..2 {
            let mut outer = OUTER.lock();
            *outer = outer.wrapping_add(*INNER.lock());
        }
        let inner = INNER.lock();
        drop(inner);
        drop(OUTER.lock());
    }

    #[test]
    fn who_waits_for_long_comes_before_who_comes_later() {
        static LOCK: Mutex<u32, CONSOLE, Spin> = Mutex::new(0);
        let held = LOCK.lock();
        let waiter = std::thread::spawn(|| *LOCK.lock() += 1);
        while !LOCK.asked.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        drop(held);
        let guard = LOCK.lock();
        assert_eq!(*guard, 1, "the lock was taken again past one who had asked for it");
        drop(guard);
        waiter.join().unwrap();
        assert!(!LOCK.asked.load(Ordering::Relaxed));
    }

    #[test]
    fn at_once_it_is_had_by_nobody_else_and_again_once_it_is_let_go() {
        static LOCK: Mutex<u32, CONSOLE, Spin> = Mutex::new(0);
        watch(held);
        for round in 0..2 {
            let Some(mut guard) = core::iter::repeat_with(|| LOCK.at_once()).take(1000).flatten().next() else {
                panic!("nobody holds it");
            };
            assert_eq!(*guard, round);
            *guard += 1;
            assert!(LOCK.at_once().is_none());
        }
        assert_eq!(held().load(Ordering::Relaxed), 0, "the order of locks is left as it was");
    }

    #[test]
    fn many_who_take_it_again_and_again_exclude_each_other_and_all_get_it() {
        const ROUNDS: u32 = if cfg!(miri) { 50 } else { 20_000 };
        static LOCK: Mutex<u32, CONSOLE, Spin> = Mutex::new(0);
        let take = || (0..ROUNDS).for_each(|_| *LOCK.lock() += 1);
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(take))));
        assert_eq!(*LOCK.lock(), 4 * ROUNDS);
    }

    #[test]
    #[should_panic(expected = "a lock of rank 2 is taken under 0b10000000")]
    fn an_outer_lock_is_not_taken_under_an_inner_one() {
        static OTHER: Mutex<u8, DEVICES, Spin> = Mutex::new(0);
        watch(held);
        let inner: Mutex<u8, CONSOLE, Spin> = Mutex::new(0);
        let _inner = inner.try_lock().unwrap();
        assert!(inner.try_lock().is_none());
        let _ = OTHER.lock();
    }
}
