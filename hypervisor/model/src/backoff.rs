//! How long a VM that crashes or resets again and again waits before it is started again.
//!
//! The first crash after a life of [`CALM_MS`] costs no wait; each one after it, twice the wait before, from
//! [`FIRST_MS`] up to [`MOST_MS`]. Resets cost no wait until [`RESETS`] of them in a row have ended a life shorter than
//! [`SHORT_MS`]; from then on each waits for [`FIRST_MS`].

/// The first wait, in milliseconds.
pub const FIRST_MS: u64 = 100;
/// The longest wait, in milliseconds.
pub const MOST_MS: u64 = 30_000;
/// A life of so many milliseconds begins the count anew.
pub const CALM_MS: u64 = 60_000;

/// A life of less than so many milliseconds is a short one.
pub const SHORT_MS: u64 = 1000;
/// So many resets after short lives are done at once.
pub const RESETS: u32 = 32;

/// The crashes of one VM, without a long life between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    restarts: u32,
    most: Option<u32>,
    /// Resets after short lives, without a longer one between them.
    resets: u32,
}

impl Backoff {
    /// For a VM that is restarted at most `most` times in a row, or as often as it takes.
    pub const fn new(most: Option<u32>) -> Self {
        Self { restarts: 0, most, resets: 0 }
    }

    /// Notes a crash after a life of `lived_ms`; returns how long to wait, or `None` if it is not to be started again.
    pub fn crashed(&mut self, lived_ms: u64) -> Option<u64> {
        if lived_ms >= CALM_MS {
            self.restarts = 0;
        }
        if self.most.is_some_and(|most| self.restarts >= most) {
            return None;
        }
        let wait = match self.restarts {
            0 => 0,
            // No more than 9 doublings matter.
            again => (FIRST_MS << (again - 1).min(9)).min(MOST_MS),
        };
        self.restarts = self.restarts.saturating_add(1);
        Some(wait)
    }

    /// Notes a reset after a life of `lived_ms`; returns how long to wait, and how many short lives in a row there were.
    pub fn reset(&mut self, lived_ms: u64) -> (u64, u32) {
        self.resets = if lived_ms < SHORT_MS { self.resets.saturating_add(1) } else { 0 };
        (if self.resets > RESETS { FIRST_MS } else { 0 }, self.resets)
    }

    /// Returns how many restarts in a row there were.
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Forgets the crashes: somebody has looked at the VM.
    pub fn forget(&mut self) {
        (self.restarts, self.resets) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, CALM_MS, FIRST_MS, MOST_MS, RESETS, SHORT_MS};
    use std::vec::Vec;

    #[test]
    fn the_first_restart_is_at_once_and_waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(None);
        let waits: Vec<_> = (0..12).filter_map(|_| backoff.crashed(10)).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        assert_eq!(backoff.restarts(), 12);
    }

    #[test]
    fn resets_wait_once_many_short_lives_are_in_a_row() {
        let mut backoff = Backoff::new(Some(0));
        for n in 1..=RESETS {
            assert_eq!(backoff.reset(SHORT_MS - 1), (0, n));
        }
        assert_eq!(backoff.reset(0), (FIRST_MS, RESETS + 1));
        assert_eq!(backoff.reset(SHORT_MS), (0, 0), "a longer life begins anew");
        assert_eq!(backoff.reset(0), (0, 1));
    }

    #[test]
    fn a_long_life_begins_anew() {
        let mut backoff = Backoff::new(None);
        for _ in 0..5 {
            backoff.crashed(CALM_MS - 1);
        }
        assert_eq!(backoff.crashed(CALM_MS), Some(0));
        assert_eq!(backoff.crashed(CALM_MS - 1), Some(100));
        backoff.forget();
        assert_eq!(backoff.crashed(0), Some(0));
    }

    #[test]
    fn after_so_many_restarts_in_a_row_there_is_none() {
        let mut backoff = Backoff::new(Some(2));
        assert_eq!([backoff.crashed(0), backoff.crashed(0), backoff.crashed(0)], [Some(0), Some(100), None]);
        assert_eq!(backoff.crashed(CALM_MS), Some(0));
        assert_eq!(Backoff::new(Some(0)).crashed(CALM_MS), None);
    }

    #[test]
    fn a_vm_that_crashes_for_ever_waits_the_longest_for_ever() {
        let mut backoff = Backoff { restarts: u32::MAX - 1, ..Backoff::new(None) };
        for _ in 0..4 {
            assert_eq!(backoff.crashed(0), Some(MOST_MS));
        }
    }
}
