//! Messages of VMs' functions: each that an ITS takes is an LPI of EL2's, which stands for one of the VM's interrupts.

use alloc::boxed::Box;
use alloc::vec::Vec;

use assay_el2::gic::its::{Its, ItsError};
use assay_model::layout;
use assay_plan::platform::{DeviceId, HostPlatform};
use assay_spec::cpu_id::PcpuId;
use assay_spec::gic::its::LPI_BASE;
use spin::{Mutex, Once};

use crate::console::say;

/// In the order of [`HostPlatform::itss`]; `None` of those that are not used.
static ALL: Once<Vec<Option<&'static Mutex<Its>>>> = Once::new();
/// The LPI that is free next.
static NEXT: Mutex<u32> = Mutex::new(LPI_BASE);

/// Opens those that `devices` are of. One that cannot be opened is of no use any more.
pub(crate) fn open(machine: &mut HostPlatform, devices: &[DeviceId]) {
    let mut all = Vec::new();
    for (index, node) in machine.itss.iter_mut().enumerate() {
        let highest = devices.iter().filter(|device| device.its == index).map(|device| device.id).max();
        let opened = highest.map(|highest| Its::open(node.control, highest));
        all.push(match opened {
            Some(Ok(its)) => Some(&*Box::leak(Box::new(Mutex::new(its)))),
            Some(Err(error)) => {
                say!("warning node={} reason=\"{error}: devices behind it send no messages\"", node.path);
                node.is_usable = false;
                None
            }
            None => None,
        });
    }
    let _ = ALL.call_once(|| all);
}

/// Has a VM's interrupts for messages come of this device's, at CPU `cpu`. Returns the first of its LPIs.
pub(crate) fn map(device: DeviceId, cpu: PcpuId) -> Result<u32, ItsError> {
    let its = ALL.get().and_then(|all| all.get(device.its).copied().flatten()).ok_or(ItsError::NoLpis)?;
    let mut next = NEXT.lock();
    let (first, events) = (*next, layout::MSI_BASE.0..layout::MSI_BASE.0 + layout::MSI_COUNT);
    its.lock().map(device.id, events, first, cpu)?;
    *next = first + layout::MSI_COUNT;
    Ok(first)
}
