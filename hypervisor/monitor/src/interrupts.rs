//! Physical interrupts that are EL2's own: what each is for, wherever the CPU was when it came.

use alloc::vec::Vec;

use assay_el2::gic::{self, Ack};
use assay_el2::{timer, uart};
use assay_plan::platform::HostPlatform;
use assay_spec::cpu_id::PcpuId;
use assay_spec::gic::its::LPI_BASE;
use assay_spec::intid::IntId;
use spin::Once;

use crate::vm::{intx, messages};
use crate::{deferred, smmu};

/// The interrupts that mean something to Assay.
struct Known {
    virt_timer: IntId,
    hyp_timer: IntId,
    maintenance: IntId,
    uart: Option<IntId>,
    pmu: Option<IntId>,
    private: Vec<IntId>,
}

static KNOWN: Once<Known> = Once::new();

/// What an interrupt was about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Another CPU wants this one to look at its VM.
    Kick,
    /// The guest's virtual timer: still active, for the guest to deactivate.
    VirtTimer(IntId),
    /// The EL2 timer: some deadline has passed.
    HypTimer,
    /// The virtual CPU interface wants its List Registers looked at.
    Maintenance(Ack),
    /// The guest's performance monitors: still active, for the guest to deactivate.
    Pmu(IntId),
    /// A level-triggered interrupt of a VM's device: still active.
    Intx(IntId),
    /// Dealt with.
    Done,
}

/// Says which interrupts are which, from the platform tree.
pub(crate) fn init(machine: &HostPlatform) {
    let (virt_timer, hyp_timer, maintenance) = (machine.timer.virt, machine.timer.hyp, machine.gic.maintenance);
    let (uart, pmu) = (machine.console.as_ref().and_then(|console| console.intid), machine.pmu);
    let private = [virt_timer, hyp_timer, maintenance].into_iter().chain(pmu).collect();
    let _ = KNOWN.call_once(|| Known { virt_timer, hyp_timer, maintenance, uart, pmu, private });
}

/// Has the console's interrupt come to CPU `cpu`, if the console is driven: nobody else would take it back.
pub(crate) fn route_console(cpu: PcpuId) {
    if let Some(intid) = KNOWN.get().and_then(|known| known.uart).filter(|_| uart::is_taken()) {
        gic::enable_spi(intid, cpu, false);
    }
}

/// Returns the private interrupts that each CPU enables.
pub(crate) fn private() -> &'static [IntId] {
    KNOWN.get().map_or(&[], |known| known.private.as_slice())
}

/// Says in a word what an interrupt is for: where `stats` counts it by itself, by the same word.
pub(crate) fn source(intid: IntId) -> &'static str {
    let Some(known) = KNOWN.get() else { return "unknown" };
    let is = |which: Option<IntId>| which == Some(intid);
    match intid {
        _ if intid == known.virt_timer => "timer",
        _ if intid == known.hyp_timer => "deadline",
        _ if intid == known.maintenance => "maintenance",
        gic::KICK => "kick",
        _ if is(known.uart) => "console",
        _ if is(known.pmu) => "pmu",
        _ if intid.0 >= LPI_BASE => "message",
        _ if smmu::is_events(intid) => "smmu",
        _ if intx::owner(intid).is_some() => "device",
        _ => "unknown",
    }
}

/// An interrupt that was acknowledged, and is still to be dealt with.
#[derive(Clone, Copy)]
pub(crate) struct Taken(Ack, IntId);

/// Acknowledges the next pending interrupt, if there is one.
#[inline(always)]
pub(crate) fn take() -> Option<Taken> {
    gic::acknowledge().map(|(ack, intid)| Taken(ack, intid))
}

/// The same of a GICv3.
#[inline(always)]
pub(crate) fn take_v3(gic: gic::V3) -> Option<Taken> {
    gic.acknowledge().map(|(ack, intid)| Taken(ack, intid))
}

impl Taken {
    /// Returns the interrupt if it is the virtual timer's, with which there is nothing to do here.
    #[inline(always)]
    pub(crate) fn virtual_timer(self) -> Option<IntId> {
        KNOWN.get().is_some_and(|known| known.virt_timer == self.1).then_some(self.1)
    }

    /// Deals with it if it is the EL2 timer's or a kick: those are what guests wait for. `None`: nothing was done.
    #[inline(always)]
    pub(crate) fn frequent(self) -> Option<Event> {
        let (known, Self(ack, intid)) = (KNOWN.get()?, self);
        let event = if intid == known.hyp_timer {
            timer::arm(None);
            Event::HypTimer
        } else if intid == gic::KICK {
            gic::see_kicker();
            Event::Kick
        } else {
            return None;
        };
        gic::deactivate(ack);
        Some(event)
    }

    /// Deals with one that is not [`frequent`](Self::frequent), as far as that is EL2's matter alone.
    #[inline(never)]
    pub(crate) fn event(self) -> Event {
        let Self(ack, intid) = self;
        let Some(known) = KNOWN.get() else {
            gic::deactivate(ack);
            return Event::Done;
        };
        if intid == known.virt_timer {
            return Event::VirtTimer(intid);
        }
        if intid == known.maintenance {
            // Level-triggered: deactivated once its cause is gone.
            return Event::Maintenance(ack);
        }
        rarer(known, ack, intid)
    }
}

/// What is neither frequent nor of the virtual CPU interface.
fn rarer(known: &Known, ack: Ack, intid: IntId) -> Event {
    let event = if Some(intid) == known.uart {
        deferred::take_input();
        Event::Done
    } else if intid.0 >= LPI_BASE {
        // LPIs are never active.
        messages::deliver(intid);
        return Event::Done;
    } else if smmu::take(intid) {
        deferred::ask(0);
        Event::Done
    } else if Some(intid) == known.pmu {
        return Event::Pmu(intid);
    } else if let Some((vm, line)) = intx::owner(intid) {
        if !line.is_edge {
            return Event::Intx(intid);
        }
        intx::pulse(vm, line);
        Event::Done
    } else {
        Event::Done
    };
    gic::deactivate(ack);
    event
}
