//! How a load or store of a device ends.

use assay_spec::exit::Access;
use assay_spec::frame::General;

use super::{Cpu, Locked, Program};
use crate::vcpus::VcpuSet;
use crate::vm::{GuestMachine, Vcpu};

/// What became of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accessed {
    /// The guest goes on.
    Done,
    /// There is no device: nothing was done, and [`handle`](super::handle) tells the fault.
    Nothing,
    /// Another VM has to act first: the vCPU waits, and tries again once it is woken.
    Wait,
}

/// A vCPU, and its VM.
pub(super) type Here<'a, C> = (&'a Vcpu, &'a GuestMachine, &'a Locked<C>);

/// Puts a loaded value into its register: cut to the access, sign-extended, cut to the register.
#[inline(always)]
pub(super) fn finish_load(value: u64, access: Access, general: &mut General, program: &mut impl Program) {
    general.set(access.register(), access.extend(value));
    program.advance();
}

/// What a store stores.
#[inline(always)]
pub(super) fn stored(access: Access, general: &General) -> u64 {
    access.width().truncate(general.get(access.register()))
}

/// Kicks these, and steps over the instruction.
#[inline(always)]
pub(super) fn step_over<C: Cpu>(kicks: VcpuSet, cpu: &mut C) {
    if !kicks.is_empty() {
        cpu.kick(kicks);
    }
    cpu.advance();
}
