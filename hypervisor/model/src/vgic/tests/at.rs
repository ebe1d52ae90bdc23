//! Accesses by offsets in a frame, as data aborts have them.

use crate::vcpus::VcpuSet;
use crate::vgic::{Found, Frames, ListRegisters, Read, Vgic};
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;

/// `None` where there is no frame.
impl Vgic {
    fn frames(&self) -> Frames {
        Frames::new(self.version, self.cpus.len())
    }

    fn read_at(&mut self, vcpu: VcpuId, (view, register): Found, hw: &mut dyn ListRegisters) -> Read {
        match register {
            Some(register) if register.is_in_lists() => self.read_listed(vcpu, view, register, hw),
            Some(register) => Read::Value(self.read(view, register)),
            None => Read::Value(0),
        }
    }

    fn write_at(
        &mut self,
        vcpu: VcpuId,
        (view, register): Found,
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
        self.frames().dist(vcpu, offset, width).map(|found| self.read_at(vcpu, found, hw))
    }

    pub(crate) fn redist_read(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        width: Width,
        hw: &mut dyn ListRegisters,
    ) -> Option<Read> {
        self.frames().redist(offset, width).map(|found| self.read_at(vcpu, found, hw))
    }

    pub(crate) fn dist_write(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        store: (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> Option<VcpuSet> {
        self.frames().dist(vcpu, offset, store.0).map(|found| self.write_at(vcpu, found, store, hw))
    }

    pub(crate) fn redist_write(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        store: (Width, u64),
        hw: &mut dyn ListRegisters,
    ) -> Option<VcpuSet> {
        self.frames().redist(offset, store.0).map(|found| self.write_at(vcpu, found, store, hw))
    }
}
