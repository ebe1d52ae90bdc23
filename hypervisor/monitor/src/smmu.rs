//! The machine's SMMUs: closed before any memory is a VM's, opened for the functions that VMs have; and what they say of
//! accesses that they stopped.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use assay_el2::smmu::{Closed, Smmu, SmmuError};
pub(crate) use assay_el2::smmu::{FunctionStream, Stream};
use assay_el2::stage2::DeviceRegime;
use assay_el2::{gic, percpu};
use assay_plan::platform::{self, HostPlatform};
use assay_plan::policy::line::Quoted;
use assay_plan::vm_plan::Shortage;
use assay_spec::cpu_id::PcpuId;
use assay_spec::intid::IntId;
use assay_spec::smmu::event::Event;
use spin::{Mutex, Once};

use crate::console::say;
use crate::deferred;

/// In the order of [`HostPlatform::smmus`]; `None` of those that cannot be used.
static CLOSED: Mutex<Vec<Option<Closed>>> = Mutex::new(Vec::new());
/// In the same order; `None` of those that are not used.
static ALL: Once<Vec<Option<&'static Smmu>>> = Once::new();
/// The interrupts of their event queues.
static EVENTS: Once<Vec<IntId>> = Once::new();
/// One has come.
static PENDING: AtomicBool = AtomicBool::new(false);

/// Has all accesses of devices behind SMMUs abort, in whatever state firmware left these, and notes which can be used.
pub(crate) fn close(machine: &mut HostPlatform) {
    let mut all = CLOSED.lock();
    for node in &mut machine.smmus {
        let taken =
            node.registers.clone().and_then(|registers| Closed::take(registers).map_err(|error| error.to_string()));
        let smmu = match taken {
            Ok(smmu) => smmu,
            Err(why) => {
                node.lose(why);
                all.push(None);
                continue;
            }
        };
        say!("boot node={} streams=abort", node.path);
        if !node.is_usable {
            without_dma(node, &"its node has no dma-coherent");
        } else if let Err(unfit) = smmu.features() {
            without_dma(node, &unfit);
        }
        all.push(node.is_usable.then_some(smmu));
    }
}

/// Notes that an SMMU lets nothing pass for good.
fn without_dma(node: &mut platform::Smmu, why: &dyn fmt::Display) {
    let reason = format_args!("{why}: devices behind it get no DMA");
    say!("warning node={} reason={}", node.path, Quoted(&reason));
    node.is_usable = false;
}

/// Opens those that `streams` are of: each stream still aborts. One that cannot be opened is of no use any more.
pub(crate) fn open(machine: &mut HostPlatform, streams: &[platform::Stream]) {
    let (mut all, mut events) = (Vec::new(), Vec::new());
    for ((index, node), closed) in machine.smmus.iter_mut().enumerate().zip(CLOSED.lock().drain(..)) {
        let highest = streams.iter().filter(|stream| stream.smmu == index).map(|stream| stream.id).max();
        let opened = closed.zip(highest).map(|(closed, highest)| closed.open(highest));
        let smmu = opened.and_then(|opened| opened.inspect_err(|error| without_dma(node, error)).ok());
        if smmu.is_some() && node.events.is_none() {
            say!(
                "warning node={} reason=\"its event queue has no interrupt: nothing tells of what it stops\"",
                node.path
            );
        }
        events.extend(node.events.filter(|_| smmu.is_some()));
        all.push(smmu.map(|smmu| &*Box::leak(Box::new(smmu))));
    }
    let _ = ALL.call_once(|| all);
    for intid in &events {
        // They are pulses (IHI 0070G.b §3.18), and one that comes before anybody listens is not to be lost.
        gic::enable_spi(*intid, percpu::index(), true);
        gic::disable_spi(*intid);
    }
    let _ = EVENTS.call_once(|| events);
}

/// Returns the one with this index, if it is used.
fn of(index: usize) -> Option<&'static Smmu> {
    ALL.get().and_then(|all| all.get(index).copied().flatten())
}

#[inline(never)]
fn shortage(machine: &HostPlatform, id: platform::Stream, why: &dyn fmt::Display) -> Shortage {
    Shortage::Dma(machine.smmus[id.smmu].path.clone(), why.to_string())
}

/// What lets a device of a VM's access memory: a stream, and the tables that it passes while the VM lives.
pub(crate) struct Passage<S> {
    id: platform::Stream,
    pub(crate) stream: S,
    regime: DeviceRegime,
}

impl<S: AsRef<Stream>> Passage<S> {
    /// Takes stream `id` by `take`, for good. All its accesses abort until [`Self::open`]. A device whose accesses nothing
    /// would lead, for want of an SMMU or of `regime`, is none that a VM starts with.
    pub(crate) fn take(
        machine: &HostPlatform,
        id: platform::Stream,
        regime: Option<DeviceRegime>,
        take: impl FnOnce(&'static Smmu) -> Result<S, SmmuError>,
    ) -> Result<Self, Shortage> {
        let fail = |why: &dyn fmt::Display| shortage(machine, id, why);
        let smmu = of(id.smmu).ok_or_else(|| fail(&"it is not in use"))?;
        let regime = regime.ok_or_else(|| fail(&"the VM's devices have no tables"))?;
        let passage = Self { id, stream: take(smmu).map_err(|error| fail(&error))?, regime };
        // It can be walked as it is, or the VM must not start.
        passage.open().and_then(|()| passage.close()).map_err(|error| fail(&error))?;
        Ok(passage)
    }

    /// Lets the accesses pass.
    pub(crate) fn open(&self) -> Result<(), SmmuError> {
        self.stream.as_ref().translate(&self.regime)
    }

    /// Ends that: on return none is under way.
    pub(crate) fn close(&self) -> Result<(), SmmuError> {
        self.stream.as_ref().abort(&self.regime)
    }

    /// Tells whether it is this stream's.
    pub(crate) fn is_of(&self, smmu: usize, id: u32) -> bool {
        self.id == platform::Stream { smmu, id }
    }
}

/// Has somebody look at the event queues, which may hold something from before anybody took their interrupts.
pub(crate) fn begin() {
    if ALL.get().is_some_and(|all| all.iter().any(Option::is_some)) {
        PENDING.store(true, Ordering::Relaxed);
        deferred::ask(0);
    }
}

/// Has the interrupts of event queues come to CPU `cpu`.
fn route(cpu: PcpuId) {
    for intid in EVENTS.get().into_iter().flatten() {
        gic::enable_spi(*intid, cpu, true);
    }
}

/// Tells whether `intid` is an event queue's.
pub(crate) fn is_events(intid: IntId) -> bool {
    EVENTS.get().is_some_and(|events| events.contains(&intid))
}

/// Tells the same. If so, no more come until [`listen`], and somebody has to look.
pub(crate) fn take(intid: IntId) -> bool {
    let is_it = is_events(intid);
    if is_it {
        EVENTS.get().into_iter().flatten().for_each(|intid| gic::disable_spi(*intid));
        PENDING.store(true, Ordering::Relaxed);
    }
    is_it
}

/// Tells whether there may be events.
pub(crate) fn has_events() -> bool {
    PENDING.load(Ordering::Relaxed)
}

/// Calls `each` with all events: of which SMMU, what, and whether some before it were lost.
pub(crate) fn events(mut each: impl FnMut(usize, &Event, bool)) {
    for (index, smmu) in ALL.get().into_iter().flatten().enumerate() {
        // No more than two queues full, however fast they fill.
        for _ in 0..256 {
            let Some((event, is_after_loss)) = smmu.and_then(Smmu::event) else { break };
            each(index, &event, is_after_loss);
        }
    }
}

/// Lets the interrupts come again.
pub(crate) fn listen() {
    PENDING.store(false, Ordering::Relaxed);
    route(percpu::index());
}
