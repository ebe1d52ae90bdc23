//! Devices of the platform tree that VMs have: what they access while their VM lives.

use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::smmu::SmmuError;
use assay_el2::stage2::DeviceRegime;
use assay_plan::platform::{HostPlatform, Wire};
use assay_plan::vm_plan::{Device as Planned, Shortage};
use assay_spec::intid::IntId;

use crate::console::say;
use crate::smmu::{Passage, Stream};

/// A device that a VM has.
pub(crate) struct Device {
    /// Its node in the platform tree.
    pub(crate) path: String,
    /// Its interrupts, and the guest's.
    pub(crate) lines: Vec<(Wire, IntId)>,
    /// What leads its accesses.
    dma: Vec<Passage<Stream>>,
}

impl Device {
    /// Takes over a VM's device, for good. It accesses what `regime` lets it, if SMMUs are before it.
    pub(crate) fn take(
        machine: &HostPlatform,
        planned: &Planned<'_>,
        regime: Option<DeviceRegime>,
    ) -> Result<Self, Shortage> {
        let take = |id| Passage::take(machine, id, regime, |smmu| smmu.stream(id.id));
        let dma = planned.streams.iter().copied().map(take).collect::<Result<_, _>>()?;
        Ok(Self { path: planned.device.path.clone(), lines: planned.lines.clone(), dma })
    }

    /// Lets it access its VM's memory, for a life of VM `vm` that begins.
    pub(crate) fn connect(&self, vm: &str) {
        self.dma.iter().for_each(|passage| self.report(vm, passage.open()));
    }

    /// Ends that: on return it accesses nothing.
    pub(crate) fn disconnect(&self, vm: &str) {
        self.dma.iter().for_each(|passage| self.report(vm, passage.close()));
    }

    fn report(&self, vm: &str, result: Result<(), SmmuError>) {
        if let Err(error) = result {
            say!("error vm={vm} node={} reason=\"the SMMU before it: {error}\"", self.path);
        }
    }

    /// Tells whether one of an SMMU's streams is its.
    pub(crate) fn has_stream(&self, smmu: usize, id: u32) -> bool {
        self.dma.iter().any(|passage| passage.is_of(smmu, id))
    }
}
