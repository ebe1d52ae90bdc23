//! Resetting a function between two lives of its VM: a function-level reset, by the PCI Express capability (PCI Express
//! Base 4.0 §6.6.2, §7.5.3) or by that of Advanced Features for conventional PCI (the ECN of 2006).
//!
//! Nothing here waits: each step says when to come again. The function makes no accesses of its own meanwhile.

use assay_model::pci::header::{COMMAND, ID, INTX_DISABLE, MEMORY_SPACE};

use super::{ConfigSpace, Function, Prepared, bar, capability};

/// The IDs of the two capabilities.
const EXPRESS: u32 = 0x10;
const ADVANCED: u32 = 0x13;

/// How a function is reset, and how far that has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reset {
    function: Function,
    /// The word that starts a reset and says whether the function waits for answers.
    word: u16,
    /// Its bit that starts one.
    start: u32,
    /// Its bit that says that the function waits.
    waits: u32,
    /// What else was in its lower half at the boot.
    kept: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    /// A reset is due since then.
    Due(u64),
    /// It was started then.
    Started(u64),
}

/// What has become of a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// None is under way: the function is as the boot left it.
    Ready,
    /// To be looked at again at this count.
    Wait(u64),
    /// The function does not come back as it was.
    Gone,
}

impl Reset {
    /// Looks whether a function can be reset.
    pub fn of(config: &mut dyn ConfigSpace, function: Function) -> Option<Self> {
        let new = |word, start, waits, kept| Self { function, word, start, waits, kept, state: State::Idle };
        if let Some(at) = capability::find(config, function, |word| word & 0xff == EXPRESS)
            && config.read(function, at + 4) >> 28 & 1 == 1
        {
            // Device Status, in the upper half of Device Control, is cleared by ones.
            let kept = config.read(function, at + 8) & 0x7fff;
            return Some(new(at + 8, 1 << 15, 1 << 21, kept));
        }
        let at = capability::find(config, function, |word| word & 0xff == ADVANCED)?;
        let can = config.read(function, at) >> 25 & 1 == 1;
        can.then(|| new(at + 4, 1, 1 << 8, 0))
    }

    /// Tells whether none is under way.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Begins one at count `now`, of which 100 ms are `tenth`. Until [`Progress::Ready`] nobody else may access the
    /// function's configuration space.
    pub fn begin(&mut self, config: &mut dyn ConfigSpace, prepared: &Prepared, now: u64, tenth: u64) {
        self.state = State::Due(now);
        let _ = self.go_on(config, prepared, now, tenth);
    }

    /// Goes on with one that is under way, and puts the function back to how the boot `prepared` it.
    pub fn go_on(&mut self, config: &mut dyn ConfigSpace, prepared: &Prepared, now: u64, tenth: u64) -> Progress {
        match self.state {
            State::Idle => Progress::Ready,
            State::Due(since) => {
                // An answer that comes after the reset would be taken for another's (§6.6.2).
                let waits = config.read(self.function, self.word) & self.waits != 0;
                if waits && now.wrapping_sub(since) < tenth {
                    return Progress::Wait(now.wrapping_add(tenth / 100));
                }
                config.write(self.function, COMMAND, INTX_DISABLE);
                config.write(self.function, self.word, self.kept | self.start);
                self.state = State::Started(now);
                Progress::Wait(now.wrapping_add(tenth))
            }
            State::Started(since) if now.wrapping_sub(since) < tenth => Progress::Wait(since.wrapping_add(tenth)),
            State::Started(since) => {
                // Vendor 0x0001 is "not yet" (§2.3.2), 0xffff nobody.
                let vendor = config.read(self.function, ID) & 0xffff;
                let is_there = !matches!(vendor, 0x0001 | 0xffff);
                if !is_there && now.wrapping_sub(since) < 10 * tenth {
                    return Progress::Wait(now.wrapping_add(tenth / 10));
                }
                self.state = State::Idle;
                if is_there && self.restore(config, prepared) { Progress::Ready } else { Progress::Gone }
            }
        }
    }

    fn restore(&self, config: &mut dyn ConfigSpace, prepared: &Prepared) -> bool {
        config.write(self.function, self.word, self.kept);
        config.write(self.function, COMMAND, INTX_DISABLE);
        let keeps = prepared.memory.iter().all(|placed| bar::assign(config, self.function, &placed.bar));
        if keeps {
            config.write(self.function, COMMAND, MEMORY_SPACE | INTX_DISABLE);
        }
        keeps
    }
}
