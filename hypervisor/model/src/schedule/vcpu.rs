//! One vCPU as the scheduler sees it, and where its time went.

/// The vCPU.
#[derive(Debug)]
pub(super) struct Vcpu {
    /// Its VM.
    pub(super) vm: usize,
    /// Where it waits: 0 if it may run anywhere, or 1 + the place of its CPU in the pool.
    pub(super) domain: usize,
    /// Its VM's vCPUs of the same domain.
    pub(super) group: usize,
    /// What it does.
    pub(super) state: State,
    /// Its virtual time.
    pub(super) time: i128,
    /// Its VM's meter when it was last charged.
    pub(super) mark: i128,
    /// The CPU on which it last ran.
    pub(super) last: Option<usize>,
    /// If it is blocked, when it is runnable again without being woken; `u64::MAX` for never.
    pub(super) due: u64,
    /// Whether it was woken while it ran, after its CPU last asked what to run.
    pub(super) woken: bool,
    since: u64,
    ran: u64,
    stolen: u64,
}

/// What a vCPU does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It runs on the CPU of this place in the pool.
    Running(usize),
    /// It could run, and is in its domain's queue.
    Waiting,
    /// It could run, and the CPU of this place, where it ran last, was told to ask and has it before others have.
    Kept(usize),
    /// It could run, but its VM's budget is used up.
    Throttled,
    /// It has nothing to do.
    Blocked,
}

impl Vcpu {
    /// Makes a vCPU that has nothing to do.
    pub(super) const fn new(vm: usize, domain: usize, group: usize) -> Self {
        Self {
            vm,
            domain,
            group,
            state: State::Blocked,
            time: 0,
            mark: 0,
            last: None,
            due: u64::MAX,
            woken: false,
            since: 0,
            ran: 0,
            stolen: 0,
        }
    }

    /// Changes the state, and books the time in the one before.
    pub(super) fn enter(&mut self, state: State, now: u64) {
        self.ran = self.ran(now);
        self.stolen = self.stolen(now);
        self.state = state;
        self.since = now;
    }

    /// Returns for how many ticks it ran.
    #[inline(always)]
    pub(super) fn ran(&self, now: u64) -> u64 {
        let open = match self.state {
            State::Running(_) => now.saturating_sub(self.since),
            State::Waiting | State::Kept(_) | State::Throttled | State::Blocked => 0,
        };
        self.ran.saturating_add(open)
    }

    /// Returns for how many ticks it could run and did not.
    #[inline(always)]
    pub(super) fn stolen(&self, now: u64) -> u64 {
        let open = match self.state {
            State::Running(_) => 0,
            State::Waiting | State::Kept(_) | State::Throttled => now.saturating_sub(self.since),
            // No CPU has seen to it yet.
            State::Blocked => now.saturating_sub(self.due),
        };
        self.stolen.saturating_add(open)
    }
}
