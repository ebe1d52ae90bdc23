//! Where a vCPU is kept while no CPU runs it.

use alloc::vec::Vec;

use assay_el2::context::Context;
use assay_el2::lock::Relax;
use assay_el2::traps::Config;
use assay_model::lock::{Mutex, SEAT};
use assay_model::schedule::Entity;
use assay_spec::cpu_id::VcpuId;
use spin::Once;

use super::Runner;
use crate::create::Member;
use crate::vm::Vm;

/// A vCPU, wherever it is. The CPU that it is on holds its lock for as long.
pub(super) struct Seat {
    pub(super) runner: Runner,
    /// Its trap configuration, with the identity that it had at its start.
    pub(super) config: Config,
    /// Where its registers are while another vCPU is on its CPU, if it shares CPUs.
    pub(super) context: Option<Context>,
    /// An SError came of filling the VM's memory, coherent memory included: it crashes once it runs.
    pub(super) has_erred: bool,
}

/// The vCPUs that share CPUs, as the scheduler counts them.
static SEATS: Once<Vec<Mutex<Seat, SEAT, Relax>>> = Once::new();

/// Gives each vCPU that shares CPUs its seat, once.
pub(crate) fn seat(members: Vec<Member>) {
    let mut seats = Vec::with_capacity(members.iter().map(|member| member.contexts.len()).sum());
    for member in members {
        for (vcpu, context) in member.contexts.into_iter().enumerate() {
            seats.push(Mutex::new(Seat::new(member.vm, VcpuId(vcpu), Some(context))));
        }
    }
    let _ = SEATS.call_once(|| seats);
}

/// Returns the seat of a vCPU that shares CPUs.
pub(super) fn of(entity: Entity) -> &'static Mutex<Seat, SEAT, Relax> {
    &SEATS.get().map_or(&[] as &[_], Vec::as_slice)[entity.0]
}

impl Seat {
    /// Makes vCPU `vcpu`, which is off.
    pub(super) fn new(vm: &'static Vm, vcpu: VcpuId, context: Option<Context>) -> Self {
        Self { runner: Runner::new(vm, vcpu), config: vm.config, context, has_erred: false }
    }
}
