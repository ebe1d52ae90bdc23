//! The PCI functions that VMs get something of: looked for, given places, and made to answer, at the boot only.

use assay_el2::pci::Ecam;
use assay_model::claims;
use assay_model::pci::{self, BarFault, ConfigSpace, Function};
use assay_model::platform::{Machine, PciBar};
use assay_model::vm_tree::VmConfig;
use assay_spec::addr::{Pa, Region};

use crate::console::say;

/// A host bridge's configuration space, as `model` wants it.
struct Config(Ecam);

impl ConfigSpace for Config {
    fn read(&mut self, function: Function, offset: u16) -> u32 {
        self.0.read(function.0, offset)
    }
    fn write(&mut self, function: Function, offset: u16, value: u32) {
        self.0.write(function.0, offset, value);
    }
}

/// Finds each BAR that a VM claims as coherent memory, and notes in its node where it is or why it cannot be used.
pub(crate) fn find_bars(machine: &mut Machine, vms: &[VmConfig], pa_bits: u8) {
    for index in claims::claimed_bars(machine, vms) {
        let Some(node) = machine.coherent.get(index) else {
            continue;
        };
        let (Some(bar), Some(length)) = (node.pci_bar, node.size()) else {
            continue;
        };
        let found = find(machine, bar, length, pa_bits);
        if let Ok((region, placed)) = &found {
            say!(
                "boot region={} function={:04x}:{} bar={} pa={} size={:#x} placed={}",
                node.name,
                bar.segment,
                Function(bar.requester_id),
                bar.bar,
                region.start,
                region.size,
                if *placed { "yes" } else { "no" }
            );
        }
        if let Some(node) = machine.coherent.get_mut(index) {
            node.bar = Some(found.map(|(region, _)| region));
        }
    }
}

/// Returns the memory, and whether a BAR of the function was given its place now.
fn find(
    machine: &Machine,
    bar: PciBar,
    length: u64,
    pa_bits: u8,
) -> Result<(Region<Pa>, bool), BarFault> {
    let function = Function(bar.requester_id);
    let host = machine.ecam_host(bar.segment, function.bus())?;
    let ecam = Ecam::open(host.ecam, host.buses.0).ok_or(BarFault::NoEcam)?;
    let prepared = pci::prepare(host, &mut Config(ecam), function, pa_bits)?;
    Ok((prepared.region(bar.bar, length)?, prepared.moved))
}
