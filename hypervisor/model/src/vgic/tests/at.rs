//! Accesses by offsets in a frame, as data aborts have them.

use crate::vcpus::VcpuSet;
use crate::vgic::{Frames, ListRegisters, Read, Register, Vgic, View};
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;

/// `None` where there is no frame.
impl Vgic {
    fn read_at(&mut self, vcpu: VcpuId, view: View, register: Option<Register>, hw: &mut dyn ListRegisters) -> Read {
        match register {
            Some(register) if register.is_in_lists() => self.read_listed(vcpu, view, register, hw),
            Some(register) => Read::Value(self.read(view, register)),
            None => Read::Value(0),
        }
    }

    fn write_at(
        &mut self,
        vcpu: VcpuId,
        view: View,
        register: Option<Register>,
        store: (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> VcpuSet {
        match register {
            Some(register) if register.is_in_lists() => self.write_listed(vcpu, view, register, store, hw),
            Some(register) => self.write(vcpu, view, register, store, hw),
            None => VcpuSet::EMPTY,
        }
    }

    pub(crate) fn dist_read(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        width: Width,
        hw: &mut dyn ListRegisters,
    ) -> Option<Read> {
        let frames = Frames::new(self.version, self.cpus.len());
        frames.has_dist(offset).then(|| self.read_at(vcpu, View::Dist(vcpu), frames.dist(offset, width), hw))
    }

    pub(crate) fn redist_read(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        width: Width,
        hw: &mut dyn ListRegisters,
    ) -> Option<Read> {
        let frames = Frames::new(self.version, self.cpus.len());
        let of = frames.redist_of(offset)?;
        Some(self.read_at(vcpu, View::Redist(of), frames.redist(offset, width), hw))
    }

    pub(crate) fn dist_write(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        (width, value): (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> Option<VcpuSet> {
        let frames = Frames::new(self.version, self.cpus.len());
        let register = frames.has_dist(offset).then(|| frames.dist(offset, width))?;
        Some(self.write_at(vcpu, View::Dist(vcpu), register, (width, value), hw))
    }

    pub(crate) fn redist_write(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        (width, value): (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> Option<VcpuSet> {
        let frames = Frames::new(self.version, self.cpus.len());
        let (of, register) = (frames.redist_of(offset)?, frames.redist(offset, width));
        Some(self.write_at(vcpu, View::Redist(of), register, (width, value), hw))
    }
}
