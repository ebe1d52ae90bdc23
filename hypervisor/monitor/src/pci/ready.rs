//! A function between two lives of its VM: awake, reset if it can be, and as the boot prepared it.

use assay_el2::{cpu, lock};
use assay_plan::pci::{self, Address, Prepared, Progress, Reset};
use assay_plan::platform::{CoherentNode, HostPlatform};
use assay_plan::vm_plan::Shortage;

use super::{Config, open};
use crate::console::say;
use crate::deferred;

/// What makes a function ready for a life.
pub(crate) struct Ready {
    config: Config,
    address: Address,
    /// What the boot made of it.
    prepared: Prepared,
    /// Before each life, since memory is proved then that the function may be before; else only after each.
    at_start: bool,
    turn: lock::Mutex<Turn>,
}

struct Turn {
    reset: Reset,
    /// It is ready for the life that begins next.
    is_ready: bool,
}

impl Ready {
    /// For a function that the boot has `prepared`. `None` if there is nothing to do with it between lives.
    pub(super) fn of(mut config: Config, address: Address, prepared: Prepared, at_start: bool) -> Option<Self> {
        let reset = Reset::of(&mut config, address.function);
        let turn = lock::Mutex::new(Turn { reset, is_ready: !at_start });
        (at_start || reset.can_reset()).then_some(Self { config, address, prepared, at_start, turn })
    }

    /// For the function whose BAR a region is, if it is one. No VM has the function.
    pub(crate) fn of_bar(machine: &HostPlatform, node: &CoherentNode, pa_bits: u8) -> Result<Option<Self>, Shortage> {
        let Some(address) = node.pci_bar.map(|bar| bar.function()) else { return Ok(None) };
        let (host, mut config) = open(machine, address.segment, address.function).map_err(|_| Shortage::NoBridge)?;
        let prepared = pci::prepare(host, &mut config, address.function, pa_bits, &machine.kept_in(host));
        Ok(Self::of(config, address, prepared.map_err(|_| Shortage::NoBridge)?, true))
    }

    /// Tells whether it is in the middle of it.
    pub(super) fn is_busy(&self) -> bool {
        !self.turn.lock().reset.is_idle()
    }

    /// A life has ended: its reset begins, if it has one.
    pub(super) fn begin(&self) {
        let mut turn = self.turn.lock();
        turn.is_ready = false;
        if turn.reset.can_reset() {
            turn.reset.begin(&mut { self.config }, &self.prepared, cpu::counter(), deferred::ticks(100));
        }
    }

    /// What was done before a life that did not begin, or of which nothing is known, is done again before the next.
    pub(crate) fn again(&self) {
        let mut turn = self.turn.lock();
        turn.is_ready &= !self.at_start;
    }

    /// Goes on before a life of VM `vm`. `None`: it was ready already.
    pub(crate) fn settle(&self, vm: &str) -> Option<Progress> {
        let mut turn = self.turn.lock();
        if turn.is_ready {
            return None;
        }
        let (mut config, now, tenth) = (self.config, cpu::counter(), deferred::ticks(100));
        if turn.reset.is_idle() && self.at_start {
            turn.reset.begin(&mut config, &self.prepared, now, tenth);
        }
        let progress = turn.reset.go_on(&mut config, &self.prepared, now, tenth);
        turn.is_ready = !matches!(progress, Progress::Wait(_));
        if progress == Progress::Gone {
            say!("error vm={vm} function={} reason=\"it has not come back from its reset\"", self.address);
        }
        Some(progress)
    }
}
