//! A VM's life: its phases, what ends one, and what follows. No clock and no lock: times are handed in.
//!
//! ```text
//! Loading ──loaded──> Running ──end, order──> Stopping ──all parked──> Stopped, Waiting or Loading
//!    └──────────────order──────────────────────┘          Waiting ──due, order──> Loading or Stopped
//! ```
//!
//! An *end* comes from the guest (power off, reset, crash), an *order* from the operator, who wins.

#[cfg(test)]
mod tests;

use crate::backoff::Backoff;
use crate::vcpus::VcpuSet;
use assay_spec::cpu_id::VcpuId;

/// Why a VM stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// PSCI SYSTEM_OFF, or its last vCPU switched itself off.
    PowerOff,
    /// PSCI SYSTEM_RESET.
    Reset,
    /// It cannot go on.
    Crash(Crash),
}

/// What a crash was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// A physical SError while it ran.
    SError,
    /// Its exception vectors are nowhere that it can execute: it faults for ever.
    NoVectors,
    /// Its watchdog ran out.
    Watchdog,
    /// It cannot be loaded again.
    Load,
    /// An FIQ stays pending on its CPU, which is nobody's here: its guest would not get an instruction done.
    Fiq,
}

impl Crash {
    /// Returns the name in `assay: vm … cause=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SError => "serror",
            Self::NoVectors => "no-vectors",
            Self::Watchdog => "watchdog",
            Self::Load => "load",
            Self::Fiq => "fiq",
        }
    }
}

/// What happens after a VM crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnCrash {
    /// It stays stopped.
    Stop,
    /// It is started again.
    Restart,
}

impl OnCrash {
    /// Reads the manifest's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "stop" => Self::Stop,
            "restart" => Self::Restart,
            _ => return None,
        })
    }
}

/// Where a VM is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// vCPU 0's CPU fills its memory.
    Loading,
    /// It runs.
    Running,
    /// Its vCPUs are leaving their guest.
    Stopping,
    /// It has crashed and waits before it is loaded again.
    Waiting,
    /// It has ended.
    Stopped,
}

impl Phase {
    /// Returns the name in `assay: vms … state=`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
        }
    }

    /// Returns the phase of this number, the inverse of `as u8`.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Loading,
            1 => Self::Running,
            2 => Self::Stopping,
            3 => Self::Waiting,
            _ => Self::Stopped,
        }
    }
}

/// What the operator wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// To run, if it does not.
    Start,
    /// To end.
    Stop,
    /// To end and begin anew.
    Restart,
}

/// What became of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obeyed {
    /// The vCPUs are to leave their guest: kick them.
    Stopping,
    /// The VM is to be loaded: kick the CPU that does it.
    Loading,
    /// It was waiting to be started again and is stopped now.
    Stopped,
}

/// What follows a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Nothing; `cause=` of the `stopped` line.
    Stopped(&'static str),
    /// Nothing: it has crashed, and that is its end.
    Crashed,
    /// Nothing: it has crashed after so many restarts in a row.
    GivenUp {
        /// How many those were.
        restarts: u32,
    },
    /// The next life at once; `cause=` of the `restarted` line.
    Restarted(&'static str),
    /// The next life after a wait.
    Waits {
        /// How long, in milliseconds.
        ms: u64,
        /// The how manieth restart in a row it will be.
        restart: u32,
    },
}

/// The end of a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The crash that it was, if it was one.
    pub crash: Option<Crash>,
    /// What follows.
    pub after: After,
}

/// What it means that a VM cannot be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadFailure {
    /// It never ran: a refusal.
    Refused,
    /// It ran before.
    Crashed,
    /// It was being stopped anyway.
    Stopping,
}

/// One VM's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    phase: Phase,
    vcpus: VcpuSet,
    on_crash: OnCrash,
    backoff: Backoff,
    /// Why it ends, from the first vCPU that said so.
    stop: Option<Stop>,
    /// What the operator wants after the end.
    order: Option<Order>,
    /// The vCPUs that have let go of the guest.
    parked: VcpuSet,
    /// The life that begins is told of as `started`, not as the next of a series.
    is_fresh: bool,
    has_run: bool,
    /// When this life began, in ticks.
    born: u64,
    /// While it waits: until when, in ticks, and after what.
    until: u64,
    cause: &'static str,
    /// Ticks in a millisecond.
    per_ms: u64,
    /// Lives begun, and those that ended in a crash.
    lives: u64,
    crashes: u64,
}

impl Life {
    /// A VM of `vcpus` vCPUs that is to be loaded; `frequency` is the counter's, in Hz.
    pub fn new(vcpus: usize, on_crash: OnCrash, most: Option<u32>, frequency: u64) -> Self {
        Self {
            phase: Phase::Loading,
            vcpus: VcpuSet::first(vcpus),
            on_crash,
            backoff: Backoff::new(most),
            stop: None,
            order: None,
            parked: VcpuSet::EMPTY,
            is_fresh: true,
            has_run: false,
            born: 0,
            until: 0,
            cause: "",
            per_ms: (frequency / 1000).max(1),
            lives: 0,
            crashes: 0,
        }
    }

    /// Returns where it is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns how many lives have begun and how many have ended in a crash.
    pub const fn counts(&self) -> (u64, u64) {
        (self.lives, self.crashes)
    }

    /// Returns how long it has run, in milliseconds; 0 if it does not run.
    pub fn age_ms(&self, now: u64) -> u64 {
        if self.phase == Phase::Running { now.saturating_sub(self.born) / self.per_ms } else { 0 }
    }

    /// Its memory is as it must be. `None`: it is to be stopped instead. Otherwise it runs, and the answer tells
    /// whether that is news: a first start, or one that was asked for.
    pub fn loaded(&mut self, now: u64) -> Option<bool> {
        if self.phase != Phase::Loading {
            return None;
        }
        self.phase = Phase::Running;
        self.has_run = true;
        self.born = now;
        self.lives = self.lives.saturating_add(1);
        Some(core::mem::replace(&mut self.is_fresh, false))
    }

    /// It cannot be loaded, and is not tried again.
    pub fn failed_to_load(&mut self) -> LoadFailure {
        if self.phase != Phase::Loading {
            return LoadFailure::Stopping;
        }
        self.phase = Phase::Stopped;
        if !self.has_run {
            return LoadFailure::Refused;
        }
        self.crashes = self.crashes.saturating_add(1);
        LoadFailure::Crashed
    }

    /// A vCPU ends the life. Returns whether the others are to be kicked: nobody was first.
    pub fn end(&mut self, stop: Stop) -> bool {
        let is_first = self.phase == Phase::Running;
        if is_first {
            self.stop = Some(stop);
            self.leave();
        }
        is_first
    }

    fn leave(&mut self) {
        self.phase = Phase::Stopping;
        self.parked = VcpuSet::EMPTY;
    }

    fn load(&mut self) {
        self.phase = Phase::Loading;
    }

    /// The operator's order.
    ///
    /// # Errors
    /// The phase in which it makes no sense.
    pub fn order(&mut self, order: Order) -> Result<Obeyed, Phase> {
        match (self.phase, order) {
            (Phase::Loading | Phase::Running | Phase::Stopping, Order::Stop | Order::Restart) => {
                self.order = Some(order);
                if self.phase != Phase::Stopping {
                    self.leave();
                }
                Ok(Obeyed::Stopping)
            }
            // What ends is to begin again.
            (Phase::Stopping, Order::Start) => {
                self.order = Some(Order::Restart);
                Ok(Obeyed::Stopping)
            }
            (Phase::Waiting | Phase::Stopped, Order::Start | Order::Restart) => {
                self.backoff.forget();
                self.is_fresh = true;
                self.load();
                Ok(Obeyed::Loading)
            }
            (Phase::Waiting, Order::Stop) => {
                self.phase = Phase::Stopped;
                Ok(Obeyed::Stopped)
            }
            (phase @ (Phase::Loading | Phase::Running), Order::Start) | (phase @ Phase::Stopped, Order::Stop) => {
                Err(phase)
            }
        }
    }

    /// A vCPU's CPU has let go of the guest, which it may say again. The last one ends this life.
    pub fn parked(&mut self, vcpu: VcpuId, now: u64) -> Option<Ended> {
        if self.phase != Phase::Stopping {
            return None;
        }
        self.parked.insert(vcpu);
        if self.parked != self.vcpus {
            return None;
        }
        let crash = match self.stop {
            Some(Stop::Crash(crash)) => Some(crash),
            _ => None,
        };
        if crash.is_some() {
            self.crashes = self.crashes.saturating_add(1);
        }
        let after = match (self.order.take(), self.stop.take()) {
            (Some(Order::Stop), _) => After::Stopped("monitor"),
            (Some(Order::Start | Order::Restart), _) => {
                self.backoff.forget();
                After::Restarted("monitor")
            }
            (None, Some(Stop::Crash(crash))) if self.on_crash == OnCrash::Restart => self.after_crash(crash, now),
            (None, Some(Stop::Crash(_))) => After::Crashed,
            (None, Some(Stop::Reset)) => self.after_reset(now),
            (None, Some(Stop::PowerOff) | None) => After::Stopped("off"),
        };
        match after {
            After::Restarted(_) => self.load(),
            After::Waits { .. } => self.phase = Phase::Waiting,
            After::Stopped(_) | After::Crashed | After::GivenUp { .. } => {
                self.phase = Phase::Stopped;
            }
        }
        Some(Ended { crash, after })
    }

    fn lived_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.born) / self.per_ms
    }

    fn after_crash(&mut self, crash: Crash, now: u64) -> After {
        match self.backoff.crashed(self.lived_ms(now)) {
            None => After::GivenUp { restarts: self.backoff.restarts() },
            Some(ms) => self.again(crash.name(), now, ms, self.backoff.restarts()),
        }
    }

    fn after_reset(&mut self, now: u64) -> After {
        let (ms, restart) = self.backoff.reset(self.lived_ms(now));
        self.again("reset", now, ms, restart)
    }

    /// The next life begins after `ms` milliseconds.
    fn again(&mut self, cause: &'static str, now: u64, ms: u64, restart: u32) -> After {
        if ms == 0 {
            return After::Restarted(cause);
        }
        self.until = now.saturating_add(ms.saturating_mul(self.per_ms));
        self.cause = cause;
        After::Waits { ms, restart }
    }

    /// Returns until when it waits, in ticks, if it does.
    pub fn waits_until(&self) -> Option<u64> {
        (self.phase == Phase::Waiting).then_some(self.until)
    }

    /// Ends a wait that is over; returns `cause=` of the `restarted` line.
    pub fn tick(&mut self, now: u64) -> Option<&'static str> {
        let is_due = self.waits_until().is_some_and(|until| now >= until);
        is_due.then(|| {
            self.load();
            self.cause
        })
    }
}
