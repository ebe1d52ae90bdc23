//! Where a vCPU is while its VM runs.

/// What a vCPU's next step begins with, and why its guest was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It looks whether it was told to start.
    Off,
    /// It goes on.
    On,
    /// It goes on, once others have had the CPU: it waits for one of them.
    Yielding,
    /// It waits in CPU_SUSPEND for an interrupt. Then it goes on, or starts if it asked for a power-down state.
    Suspended(Option<Start>),
    /// It waits in WFI while it shares its CPU, or in WFIT, until this virtual count at the latest.
    Waiting(Option<u64>),
}

/// Where and with what a vCPU starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// The entry point, an IPA, 4-byte aligned.
    pub entry: u64,
    /// What x0 holds there.
    pub context: u64,
}
