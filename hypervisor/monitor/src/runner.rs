//! The per-CPU loop: who runs next on this CPU, and one step of it, for ever.
//!
//! A CPU that a vCPU has for itself always runs that one; a CPU of the pool runs whom the scheduler chooses. What a vCPU
//! does is a step that ends ([`Here::step`]): a chunk of loading, or the guest until it is left. What comes next is in
//! its [`Stage`].

use assay_el2::lock::Relax;
use assay_el2::{cpu, gic, mmu, pmu, timer};
use assay_model::counters::Counters;
use assay_model::life::Stop;
use assay_model::lock::{Mutex, SEAT};
use assay_model::schedule::Entity;
use assay_model::stage::Stage;
use assay_model::vm::Vcpu;
use assay_spec::cpu_id::{PcpuId, VcpuId};
use assay_spec::intid::IntId;

use crate::hardware::Hardware;
use crate::interrupts::{self, Event};
use crate::pool::{Pool, Step, Turn};
use crate::vm::{Vm, intx};
use crate::{cpus, deferred, panic, pool};

mod access;
mod clock;
mod exits;
mod filling;
mod here;
mod interrupt;
mod retire;
mod seat;
mod traced;

use here::Here;
use seat::Seat;
pub(crate) use seat::seat;

/// What a CPU does for ever.
pub(crate) fn cpu_loop(cpu: PcpuId) -> ! {
    loop {
        if let Some((vm, vcpu)) = cpus::assigned(cpu) {
            run(&Chooser::Own(&Mutex::new(Seat::new(vm, vcpu, None))), cpu);
        }
        if let Some(pool) = pool::of(cpu) {
            run(&Chooser::Pool(pool), cpu);
        }
        idle(None);
    }
}

/// Who says which vCPU runs next on a CPU.
enum Chooser<'a> {
    /// It is always this one.
    Own(&'a Mutex<Seat, SEAT, Relax>),
    /// The scheduler.
    Pool(&'static Pool),
}

/// The one vCPU of a CPU that it has for itself.
const OWN: Entity = Entity(0);

fn run(chooser: &Chooser<'_>, cpu: PcpuId) -> ! {
    mmu::narrow();
    let mut here: Option<Here<'_>> = None;
    let mut step = Step::Again;
    loop {
        let turn = chooser.next(cpu, core::mem::replace(&mut step, Step::Again), here.as_ref());
        if !turn.stays && here.as_ref().map(|here| here.entity) != turn.run {
            if let Some(here) = &mut here {
                here.leave();
            }
            // Before the next is taken: a CPU holds one at most.
            here = None;
            if let Some(entity) = turn.run {
                here = Some(Here::take(chooser.seat(entity), entity, cpu));
            }
        }
        match &mut here {
            Some(here) if !turn.stays => {
                here.go_on(turn.stolen);
                step = here.step(turn.until);
            }
            Some(here) => {
                here.doze();
                sleep(turn.until, Some(here));
            }
            None => sleep(turn.until, None),
        }
    }
}

impl Chooser<'_> {
    /// Chooses what the CPU does next, after a step that came to `step`. The only vCPU of a CPU is waited for here;
    /// with its registers loaded, what interrupts the wait is left for it to take.
    fn next(&self, cpu: PcpuId, step: Step, here: Option<&Here<'_>>) -> Turn {
        match self {
            Self::Own(_) => {
                if let Step::Block(until) = step {
                    if here.is_some_and(Here::is_loaded) { await_interrupt(until) } else { sleep(until, None) }
                }
                Turn { run: Some(OWN), until: None, stolen: 0, stays: false }
            }
            Self::Pool(pool) => pool.next(cpu, step, here.map(|here| here.entity)),
        }
    }

    fn seat(&self, entity: Entity) -> &Mutex<Seat, SEAT, Relax> {
        match self {
            Self::Own(seat) => seat,
            Self::Pool(_) => seat::of(entity),
        }
    }
}

/// Nobody is to run on this CPU until an interrupt comes, or this physical count. The registers of `here` may be loaded.
fn sleep(until: Option<u64>, here: Option<&mut Here<'_>>) {
    timer::arm(until.into_iter().chain(deferred::deadline()).min());
    idle(here);
}

/// A vCPU stays on this CPU and waits for an interrupt, which it will take itself, or for this physical count.
fn await_interrupt(until: Option<u64>) {
    timer::arm(until.into_iter().chain(deferred::deadline()).min());
    cpu::wait_for_interrupt();
}

/// Waits for an interrupt and deals with it. No guest runs on this CPU.
fn idle(here: Option<&mut Here<'_>>) {
    if panic::is_dying() {
        cpu::park();
    }
    cpu::wait_for_interrupt();
    drain(here);
}

/// The most interrupts that are dealt with before a CPU looks at what else there is: a device may send messages without end.
/// They have the lowest priority, so that all others that are pending are among the first.
const AT_ONCE: usize = 64;

/// Deals with the interrupts that are pending while no guest runs on this CPU: whatever was a guest's is history, unless its
/// registers are still here.
fn drain(mut here: Option<&mut Here<'_>>) {
    for taken in core::iter::from_fn(interrupts::take).take(AT_ONCE) {
        if taken.frequent().is_none() {
            settle(taken.event(), here.as_deref_mut());
        }
    }
    deferred::look();
}

#[inline(never)]
fn settle(event: Event, here: Option<&mut Here<'_>>) {
    match event {
        Event::Maintenance(ack) => gic::deactivate(ack),
        Event::VirtTimer(intid) => match here.filter(|here| here.is_loaded()) {
            // Its line is high, and would come again at once.
            Some(here) => here.hold_timer(intid),
            None => gic::deactivate_intid(intid),
        },
        Event::Pmu(intid) => {
            pmu::stop();
            gic::deactivate_intid(intid);
        }
        Event::Intx(intid) => intx::keep(intid),
        Event::Kick | Event::HypTimer | Event::Done => {}
    }
}

/// One vCPU and what its exits need.
struct Runner {
    vm: &'static Vm,
    vcpu: Vcpu,
    hardware: Hardware,
    stage: Stage,
    /// The VM is to stop, for this reason and by this syndrome.
    ended: Option<(Stop, u64)>,
    /// GICv2: the virtual timer's physical interrupt, kept active while the model has its line high.
    timer_held: Option<IntId>,
    /// The virtual timer's line as the model was told; the model may have it otherwise while a physical interrupt stands
    /// behind it.
    timer_line: bool,
    /// What it came to EL2 for.
    counters: &'static Counters,
    /// Its exits are recorded.
    is_traced: bool,
}

impl Runner {
    /// What runs vCPU `vcpu`, which is off.
    fn new(vm: &'static Vm, vcpu: VcpuId) -> Self {
        Self {
            vm,
            vcpu: Vcpu::new(vcpu),
            hardware: Hardware { vm, until: None },
            stage: Stage::Off,
            ended: None,
            timer_held: None,
            timer_line: false,
            counters: &vm.counters[vcpu.0],
            is_traced: false,
        }
    }
}
