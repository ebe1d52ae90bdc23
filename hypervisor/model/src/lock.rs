//! Locks that nest in one order, which debug builds check at each of them.
//!
//! A CPU takes a lock only while all that it holds are of lower ranks. The ranks, outermost first, are the constants
//! here; what each guards is in ARCHITECTURE.md. Release builds carry nothing of this.
//!
//! They are not taken in turn: where CPUs are an emulator's threads and more than its cores, who is next in turn may be
//! put aside, and then all wait for it (64 of them on 2 cores took minutes for what takes seconds).

use core::ops::{Deref, DerefMut};

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

/// A lock of rank `RANK`. A CPU that waits does as `R` says.
pub struct Mutex<T, const RANK: u8, R>(spin::mutex::Mutex<T, R>);

/// What a lock guards, while it is held.
pub struct Guard<'a, T, const RANK: u8, R: RelaxStrategy>(spin::mutex::MutexGuard<'a, T, R>);

impl<T, const RANK: u8, R: RelaxStrategy> Mutex<T, RANK, R> {
    /// Makes a lock that nobody holds.
    pub const fn new(value: T) -> Self {
        Self(spin::mutex::Mutex::new(value))
    }

    /// Waits until nobody else holds it.
    ///
    /// # Panics
    /// In debug builds, if this CPU holds a lock of this rank or a higher one: our bug.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T, RANK, R> {
        #[cfg(debug_assertions)]
        order::take(RANK);
        Guard(self.0.lock())
    }

    /// Takes it if nobody holds it.
    ///
    /// # Panics
    /// As [`Self::lock`].
    pub fn try_lock(&self) -> Option<Guard<'_, T, RANK, R>> {
        let guard = self.0.try_lock()?;
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
    use core::sync::atomic::AtomicU32;
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
