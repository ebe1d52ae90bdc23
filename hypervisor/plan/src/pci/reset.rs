//! Making a function ready between two lives of its VM: it is put into D0 (PCI Bus Power Management Interface 1.2 §3.2.4),
//! reset if it can be, and put back to how the boot prepared it. A reset is a function-level one, by the PCI Express
//! capability (PCI Express Base 4.0 §6.6.2, §7.5.3) or by that of Advanced Features for conventional PCI (the ECN of 2006).
//!
//! Nothing here waits: each step says when to come again. The function makes no accesses of its own meanwhile.

use assay_model::pci::header::{COMMAND, ID, INTX_DISABLE, MEMORY_SPACE};

use super::{ConfigSpace, Function, Prepared, bar, capability};

/// The IDs of the capabilities.
const POWER: u32 = 0x01;
const EXPRESS: u32 = 0x10;
const ADVANCED: u32 = 0x13;
/// PMCSR: the power state, 0 is D0; and what is cleared by a one.
const POWER_STATE: u32 = 0b11;
const PME_STATUS: u32 = 1 << 15;

/// How a function is made ready, and how far that has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reset {
    function: Function,
    /// Where PMCSR is.
    power: Option<u16>,
    level: Option<Level>,
    state: State,
}

/// A function-level reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Level {
    /// The word that starts a reset and says whether the function waits for answers.
    word: u16,
    /// Its bit that starts one.
    start: u32,
    /// Its bit that says that the function waits.
    waits: u32,
    /// What else was in its lower half at the boot.
    kept: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Idle,
    /// It was put into D0 then.
    Waking(u64),
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
    /// Looks how a function can be made ready.
    pub fn of(config: &mut dyn ConfigSpace, function: Function) -> Self {
        let power = capability::find(config, function, |word| word & 0xff == POWER).map(|at| at + 4);
        Self { function, power, level: Level::of(config, function), state: State::Idle }
    }

    /// Tells whether the function can be reset.
    pub fn can_reset(&self) -> bool {
        self.level.is_some()
    }

    /// Tells whether none is under way.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Begins at count `now`, of which 100 ms are `tenth`. Until [`Progress::Ready`] nobody else may access the function's
    /// configuration space.
    pub fn begin(&mut self, config: &mut dyn ConfigSpace, prepared: &Prepared, now: u64, tenth: u64) {
        self.state = if self.wake(config) { State::Waking(now) } else { State::Due(now) };
        let _ = self.go_on(config, prepared, now, tenth);
    }

    /// Goes on with one that is under way, and puts the function back to how the boot `prepared` it.
    pub fn go_on(&mut self, config: &mut dyn ConfigSpace, prepared: &Prepared, now: u64, tenth: u64) -> Progress {
        let (function, level) = (self.function, self.level);
        match (self.state, level) {
            (State::Idle, _) => Progress::Ready,
            // From D3hot it takes 10 ms (PCI Bus Power Management Interface 1.2 §5.6.1).
            (State::Waking(since), _) if now.wrapping_sub(since) < tenth / 10 => {
                Progress::Wait(since.wrapping_add(tenth / 10))
            }
            (State::Waking(_), _) => {
                self.state = State::Due(now);
                self.go_on(config, prepared, now, tenth)
            }
            (State::Due(_), None) => self.end(config, prepared),
            (State::Due(since), Some(level)) => {
                // An answer that comes after the reset would be taken for another's (§6.6.2).
                let waits = config.read(function, level.word) & level.waits != 0;
                if waits && now.wrapping_sub(since) < tenth {
                    return Progress::Wait(now.wrapping_add(tenth / 100));
                }
                config.write(function, COMMAND, INTX_DISABLE);
                config.write(function, level.word, level.kept | level.start);
                self.state = State::Started(now);
                Progress::Wait(now.wrapping_add(tenth))
            }
            (State::Started(since), _) if now.wrapping_sub(since) < tenth => Progress::Wait(since.wrapping_add(tenth)),
            (State::Started(since), _) => {
                // "Not yet" (§2.3.2), for a second at most.
                if !self.is_there(config) && now.wrapping_sub(since) < 10 * tenth {
                    return Progress::Wait(now.wrapping_add(tenth / 10));
                }
                self.end(config, prepared)
            }
        }
    }

    /// Puts the function into D0. Returns whether it was not there.
    fn wake(&self, config: &mut dyn ConfigSpace) -> bool {
        let Some(word) = self.power else { return false };
        let status = config.read(self.function, word);
        let is_asleep = status & POWER_STATE != 0;
        if is_asleep {
            config.write(self.function, word, status & 0xffff & !(POWER_STATE | PME_STATUS));
        }
        is_asleep
    }

    /// Tells whether the function answers: vendor 0x0001 is "not yet", 0xffff nobody.
    fn is_there(&self, config: &mut dyn ConfigSpace) -> bool {
        !matches!(config.read(self.function, ID) & 0xffff, 0x0001 | 0xffff)
    }

    fn end(&mut self, config: &mut dyn ConfigSpace, prepared: &Prepared) -> Progress {
        self.state = State::Idle;
        if self.is_there(config) && self.restore(config, prepared) { Progress::Ready } else { Progress::Gone }
    }

    fn restore(&self, config: &mut dyn ConfigSpace, prepared: &Prepared) -> bool {
        if let Some(level) = self.level {
            config.write(self.function, level.word, level.kept);
        }
        config.write(self.function, COMMAND, INTX_DISABLE);
        let keeps = prepared.memory.iter().all(|placed| bar::assign(config, self.function, &placed.bar));
        if keeps {
            config.write(self.function, COMMAND, MEMORY_SPACE | INTX_DISABLE);
        }
        keeps
    }
}

impl Level {
    /// Looks whether a function can be reset.
    fn of(config: &mut dyn ConfigSpace, function: Function) -> Option<Self> {
        if let Some(at) = capability::find(config, function, |word| word & 0xff == EXPRESS)
            && config.read(function, at + 4) >> 28 & 1 == 1
        {
            // Device Status, in the upper half of Device Control, is cleared by ones.
            let kept = config.read(function, at + 8) & 0x7fff;
            return Some(Self { word: at + 8, start: 1 << 15, waits: 1 << 21, kept });
        }
        let at = capability::find(config, function, |word| word & 0xff == ADVANCED)?;
        let can = config.read(function, at) >> 25 & 1 == 1;
        can.then_some(Self { word: at + 4, start: 1, waits: 1 << 8, kept: 0 })
    }
}
