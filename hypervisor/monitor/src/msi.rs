//! Messages of VMs' functions: each that an ITS takes is an LPI of EL2's, which stands for one of the VM's interrupts.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::fmt;

use assay_el2::gic::its::{Closed, Its, ItsError};
use assay_model::layout;
use assay_plan::platform::{self, DeviceId, HostPlatform};
use assay_plan::policy::line::Quoted;
use assay_spec::cpu_id::PcpuId;
use assay_spec::gic::its::LPI_BASE;
use spin::{Mutex, Once};

use crate::console::say;

/// In the order of [`HostPlatform::itss`]; `None` of those that cannot be used.
static CLOSED: Mutex<Vec<Option<Closed>>> = Mutex::new(Vec::new());
/// In the same order; `None` of those that are not used.
static ALL: Once<Vec<Option<&'static Mutex<Its>>>> = Once::new();
/// The LPI that is free next.
static NEXT: Mutex<u32> = Mutex::new(LPI_BASE);

/// Turns all off, whether or not firmware left them on and whether or not a VM will need them.
pub(crate) fn close(machine: &mut HostPlatform) {
    let mut all = CLOSED.lock();
    for node in &mut machine.itss {
        let frames = node.frames.clone();
        let closed = frames.and_then(|frames| Closed::take(frames.control).map_err(|error| error.to_string()));
        all.push(closed.map_err(|why| node.lose(why)).ok());
    }
}

/// Opens those that `devices` are of. One that cannot be opened is of no use any more.
pub(crate) fn open(machine: &mut HostPlatform, devices: &[DeviceId]) {
    let mut all = Vec::new();
    for ((index, node), closed) in machine.itss.iter_mut().enumerate().zip(CLOSED.lock().drain(..)) {
        let highest = devices.iter().filter(|device| device.its == index).map(|device| device.id).max();
        let opened = closed.zip(highest).map(|(closed, highest)| closed.open(highest));
        let its = opened.and_then(|opened| opened.inspect_err(|error| without_messages(node, error)).ok());
        all.push(its.map(|its| &*Box::leak(Box::new(Mutex::new(its)))));
    }
    let _ = ALL.call_once(|| all);
}

/// Notes that an ITS makes no interrupts.
fn without_messages(node: &mut platform::Its, why: &dyn fmt::Display) {
    let reason = format_args!("{why}: devices behind it send no messages");
    say!("warning node={} reason={}", node.path, Quoted(&reason));
    node.is_usable = false;
}

/// Has a VM's interrupts for messages come of this device's, at CPU `cpu`. Returns the first of its LPIs.
pub(crate) fn map(device: DeviceId, cpu: PcpuId) -> Result<u32, ItsError> {
    let its = ALL.get().and_then(|all| all.get(device.its).copied().flatten()).ok_or(ItsError::NoLpis)?;
    let mut next = NEXT.lock();
    let (first, events) = (*next, layout::MSI_BASE.0..layout::MSI_BASE.0 + layout::MSI_COUNT);
    // An ITS may still do what it did not answer to.
    *next = first + layout::MSI_COUNT;
    its.lock().map(device.id, events, first, cpu)?;
    Ok(first)
}
