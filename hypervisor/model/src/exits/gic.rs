//! Loads and stores of the interrupt controller's registers.

use assay_spec::addr::Ipa;
use assay_spec::exit::Access;
use assay_spec::frame::General;

use super::accessed::{finish_load, step_over, stored};
use super::{Cpu, Held, Locked, Program};
use crate::layout;
use crate::vgic::{Read, Register, VCPUS_MAX_V3, View};
use crate::vm::Vcpu;

/// Returns an address as an offset in the Distributor's frame, if it may be in there.
#[inline(always)]
pub fn dist_offset(ipa: Ipa) -> Option<u64> {
    let offset = ipa.0.wrapping_sub(layout::GICD_V3.start.0);
    (offset < layout::GICD_V3.size).then_some(offset)
}

/// Returns an address as an offset from the first Redistributor, if it may be in one.
#[inline(always)]
pub fn redist_offset(ipa: Ipa) -> Option<u64> {
    let offset = ipa.0.wrapping_sub(layout::GICR.0);
    (offset < VCPUS_MAX_V3 as u64 * layout::GICR_SIZE).then_some(offset)
}

/// Loads from a register of the interrupt controller that is not [in lists](Register::is_in_lists), and steps over the load.
#[inline(always)]
pub fn load<C: Cpu>(
    (view, register): (View, Register),
    access: Access,
    general: &mut General,
    devices: Held<'_, C>,
    cpu: &mut C,
) {
    let value = devices.vgic.read(view, register);
    drop(devices);
    finish_load(value, access, general, cpu);
}

/// The same from one that is. Where other vCPUs have to say what they know first, they are kicked, and the guest tries again.
#[inline(always)]
pub fn load_listed<C: Cpu>(
    (view, register): (View, Register),
    access: Access,
    general: &mut General,
    vcpu: &Vcpu,
    devices: &Locked<C>,
    cpu: &mut C,
) {
    let mut devices = devices.lock();
    let read = devices.vgic.read_listed(vcpu.index, view, register, cpu);
    drop(devices);
    match read {
        Read::Value(value) => finish_load(value, access, general, cpu),
        Read::Retry(kicks) => cpu.kick(kicks),
    }
}

/// Stores to a register of the interrupt controller that is not [in lists](Register::is_in_lists), and steps over the store.
#[inline(always)]
pub fn store<C: Cpu>(
    (view, register): (View, Register),
    access: Access,
    general: &General,
    vcpu: &Vcpu,
    mut devices: Held<'_, C>,
    cpu: &mut C,
) {
    let store = (access.width(), stored(access, general));
    let kicks = devices.vgic.write(vcpu.index, view, register, store, cpu);
    drop(devices);
    step_over(kicks, cpu);
}

/// The same to one that is.
#[inline(always)]
pub fn store_listed<C: Cpu>(
    (view, register): (View, Register),
    access: Access,
    general: &General,
    vcpu: &Vcpu,
    devices: &Locked<C>,
    cpu: &mut C,
) {
    let store = (access.width(), stored(access, general));
    let kicks = devices.lock().vgic.write_listed(vcpu.index, view, register, store, cpu);
    step_over(kicks, cpu);
}

/// Loads from what is RAZ.
pub fn load_reserved(access: Access, general: &mut General, program: &mut impl Program) {
    finish_load(0, access, general, program);
}
