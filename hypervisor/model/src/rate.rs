//! How often something is said that a guest can make happen without end.

/// Lets so many pass in a second, and counts those that it holds back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    most: u32,
    /// When the second began.
    begin: u64,
    passed: u32,
    held: u64,
}

impl Rate {
    /// Lets `most` pass in a second.
    pub const fn new(most: u32) -> Self {
        Self { most, begin: 0, passed: 0, held: 0 }
    }

    /// Tells whether one more may pass at the count `now`, of which there are `second` in a second.
    pub const fn allows(&mut self, now: u64, second: u64) -> bool {
        if now.wrapping_sub(self.begin) >= second {
            self.begin = now;
            self.passed = 0;
        }
        let allows = self.passed < self.most;
        if allows {
            self.passed += 1;
        } else {
            self.held += 1;
        }
        allows
    }

    /// Notes some that nobody has seen.
    pub const fn missed(&mut self, count: u64) {
        self.held = self.held.saturating_add(count);
    }

    /// Tells whether some were held back.
    pub const fn holds(&self) -> bool {
        self.held != 0
    }

    /// Returns how many were held back since this was asked last, once the second in which that was is over.
    pub const fn held(&mut self, now: u64, second: u64) -> Option<u64> {
        if self.held == 0 || now.wrapping_sub(self.begin) < second {
            return None;
        }
        let held = self.held;
        self.held = 0;
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn so_many_pass_in_each_second_and_the_others_are_counted() {
        let mut rate = Rate::new(2);
        let passed = [1000, 1001, 1002, 1003, 1099].map(|now| rate.allows(now, 100));
        assert_eq!(passed, [true, true, false, false, false]);
        assert_eq!(rate.held(1099, 100), None);
        assert_eq!(rate.held(1100, 100), Some(3));
        assert_eq!(rate.held(1100, 100), None);
        assert!(rate.allows(1100, 100));
        rate.missed(7);
        assert_eq!(rate.held(1200, 100), Some(7));
    }
}
