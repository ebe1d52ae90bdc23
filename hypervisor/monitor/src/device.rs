//! Devices of the platform tree that VMs have: what they access while their VM lives.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use assay_el2::smmu::SmmuError;
use assay_el2::stage2::DeviceRegime;
use assay_plan::platform::{self, HostPlatform, Wire};
use assay_plan::vm_plan::{Device as Planned, Shortage};
use assay_spec::intid::IntId;

use crate::console::say;
use crate::smmu;

/// A device that a VM has.
pub(crate) struct Device {
    /// Its node in the platform tree.
    pub(crate) path: String,
    /// Its interrupts, and the guest's.
    pub(crate) lines: Vec<(Wire, IntId)>,
    /// What its accesses are known by, and the tables that they pass.
    streams: Vec<(platform::Stream, smmu::Stream, DeviceRegime)>,
}

impl Device {
    /// Takes over a VM's device, for good. It accesses what `regime` lets it, if SMMUs are before it.
    pub(crate) fn take(
        machine: &HostPlatform,
        planned: &Planned<'_>,
        regime: Option<DeviceRegime>,
    ) -> Result<Self, Shortage> {
        let take = |(id, regime): (platform::Stream, DeviceRegime)| {
            let fail = |error: SmmuError| Shortage::Dma(machine.smmus[id.smmu].path.clone(), error.to_string());
            let smmu = smmu::of(id.smmu).ok_or(Shortage::NoBridge)?;
            let stream = smmu.stream(id.id).map_err(fail)?;
            // It can be walked as it is, or the VM must not start.
            stream.translate(&regime).and_then(|()| stream.abort(&regime)).map_err(fail)?;
            Ok((id, stream, regime))
        };
        let streams = planned.streams.iter().filter_map(|id| Some((*id, regime?)));
        let streams = streams.map(take).collect::<Result<Vec<_>, Shortage>>()?;
        Ok(Self { path: planned.device.path.clone(), lines: planned.lines.clone(), streams })
    }

    /// Lets it access its VM's memory, for a life of VM `vm` that begins.
    pub(crate) fn connect(&self, vm: &str) {
        for (_, stream, regime) in &self.streams {
            self.report(vm, stream.translate(regime));
        }
    }

    /// Ends that: on return it accesses nothing.
    pub(crate) fn disconnect(&self, vm: &str) {
        for (_, stream, regime) in &self.streams {
            self.report(vm, stream.abort(regime));
        }
    }

    fn report(&self, vm: &str, result: Result<(), SmmuError>) {
        if let Err(error) = result {
            say!("error vm={vm} node={} reason=\"the SMMU before it: {error}\"", self.path);
        }
    }

    /// Tells whether one of an SMMU's streams is its.
    pub(crate) fn has_stream(&self, smmu: usize, id: u32) -> bool {
        self.streams.iter().any(|(known, ..)| *known == platform::Stream { smmu, id })
    }
}
