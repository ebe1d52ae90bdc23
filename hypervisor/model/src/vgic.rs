//! The guest's interrupt controller: a GICv3 or a GICv2, by one model.
//!
//! It holds the Distributor's and the Redistributors' state, answers the guest's accesses to their
//! registers, and decides what each vCPU's List Registers hold. It is not the CPU interface, which the
//! hardware gives the guest directly, and it touches no hardware itself: List Registers are reached
//! through [`ListRegisters`], which belongs to the physical CPU that the vCPU runs on.
//!
//! **Who owns an interrupt's state.** While an interrupt is *listed* (in a List Register), the guest
//! acknowledges and ends it without EL2's knowledge, and the List Register is the truth. Only its own
//! physical CPU can read it. So whatever concerns a listed interrupt marks its owner *stale*, and the
//! caller makes that CPU leave its guest (a *kick*); there [`Vgic::flush_lr`] folds the List Registers back
//! into this model and fills them anew. Every [`VcpuSet`] that a function here returns is such a set.
//!
//! **Indices.** A `vcpu` is one that the controller has, and is run by the caller's CPU wherever List Registers are
//! handed in: anything else is a bug of ours, and panics.
//!
//! One lock guards a VM's `Vgic`. Nothing but [`Vgic::new`] allocates.

mod access;
mod bank;
mod fast_path;
mod fold;
mod lists;
mod notes;
mod questions;
mod registers;
mod sgi;
mod sources;

use crate::vcpus::VcpuSet;
pub use access::{Found, Frames, Register, View};
use alloc::vec::Vec;
use assay_spec::cpu_id::VcpuId;
pub use assay_spec::gic::Version;
use assay_spec::gic::dist as gicd;
use assay_spec::intid::IntId;
use assay_spec::lr::Lr;
use bank::{Bank, Forward};
use notes::IrqRef;
pub use sgi::Unsent;

/// The most SPIs a VM can have: INTIDs 32 to 991.
pub const SPIS_MAX: usize = 960;
/// The most vCPUs of a VM with a GICv3.
pub const VCPUS_MAX_V3: usize = 64;
/// The most vCPUs of a VM with a GICv2.
pub const VCPUS_MAX_V2: usize = 8;
/// List Registers that are used at most: an implementation has 1 to 16 of them.
const SLOTS: u32 = 16;
/// No vCPU, where one is kept in a byte.
const NOBODY: u8 = 0xff;

/// A vCPU, where one is kept in a byte.
const fn byte(index: usize) -> u8 {
    (index as u64 & 0xff) as u8
}

/// Brings a number of vCPUs into what a controller can have.
fn possible_vcpus(version: Version, vcpus: usize) -> usize {
    vcpus.clamp(1, if version == Version::V2 { VCPUS_MAX_V2 } else { VCPUS_MAX_V3 })
}

/// What it takes to list an interrupt where it was before.
pub trait ListSlots {
    /// Writes a List Register.
    fn write(&mut self, index: usize, lr: Lr);
    /// Returns `ICH_ELRSR_EL2` or `GICH_ELRSR`: bit n is set if List Register n is free and owes no
    /// maintenance interrupt. Bits from [`ListRegisters::count`] upwards are zero.
    fn empty(&self) -> u32;
}

/// The List Registers of the physical CPU this runs on, and what goes with them.
pub trait ListRegisters: ListSlots {
    /// Returns how many there are, 1 to 16.
    fn count(&self) -> u32;
    /// Reads one.
    fn read(&self, index: usize) -> Lr;
    /// Replaces the maintenance requests in `ICH_HCR_EL2` or `GICH_HCR`: a combination of
    /// [`HCR_UIE`](assay_spec::gic::hyp::HCR_UIE) and [`HCR_NPIE`](assay_spec::gic::hyp::HCR_NPIE).
    fn set_maintenance(&mut self, requests: u32);
    /// Deactivates a physical interrupt that EL2 acknowledged and kept active for the guest.
    fn deactivate_physical(&mut self, intid: IntId);
    /// Tells whether the guest ends and deactivates in two steps: `ICH_VMCR_EL2.VEOIM`, bit 9 of
    /// `GICH_VMCR`.
    fn is_deactivation_separate(&self) -> bool;
    /// Tells whether a physical interrupt is pending, which for an active level-triggered one means
    /// that its line is still high.
    fn is_physical_pending(&self, intid: IntId) -> bool;
}

/// What a guest's read comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// The value; what is beyond the width of the access does not count.
    Value(u64),
    /// The answer is in other vCPUs' List Registers: kick these and let the guest repeat the
    /// instruction. Once they have been flushed, the repetition gets its value.
    Retry(VcpuSet),
}

/// A VM's interrupt controller.
pub struct Vgic {
    version: Version,
    cpus: Vec<Cpu>,
    /// Each vCPU's SGIs and PPIs, in the order of the vCPUs, then the SPIs.
    banks: Vec<Bank>,
    /// The vCPUs that there are.
    everyone: VcpuSet,
    /// Which groups the Distributor forwards: `GICD_CTLR.EnableGrp0` and `EnableGrp1`.
    forward: Forward,
    /// `GICD_TYPER`: the same from creation on.
    typer: u32,
    /// vCPUs whose List Registers no longer hold what they should.
    changed: VcpuSet,
    /// Those of them where something that is listed has to be taken back or looked at.
    stale: VcpuSet,
    /// vCPUs with more to list than fits, and maintenance requests in force.
    crowded: VcpuSet,
    /// Whom the current call has to kick.
    kicks: VcpuSet,
    /// vCPUs with a read that waits for others, see [`Read::Retry`].
    asking: VcpuSet,
    /// Those of `changed` that have nothing new but the interrupt [`Cpu::lone`].
    lone: VcpuSet,
}

/// What belongs to one vCPU, apart from its bank.
struct Cpu {
    /// The INTID in each List Register that is occupied.
    slots: [u16; SLOTS as usize],
    /// List Registers that were filled and not folded since.
    occupied: u32,
    /// The interrupt that is new to it, if it is one alone.
    lone: IrqRef,
    /// `GICR_WAKER.ProcessorSleep`.
    asleep: bool,
    /// The register whose read waits, and for whom it does.
    question: Option<(View, u32)>,
    unanswered: VcpuSet,
}

impl Cpu {
    const fn new() -> Self {
        Self {
            slots: [0; SLOTS as usize],
            occupied: 0,
            lone: IrqRef { bank: 0, n: 0 },
            asleep: true,
            question: None,
            unanswered: VcpuSet::EMPTY,
        }
    }
}

impl Vgic {
    /// Makes the controller of a VM with `vcpus` vCPUs and at least `spis` SPIs.
    ///
    /// `vcpus` is brought into 1 to 64 (GICv2: 1 to 8), `spis` is rounded up to a multiple of 32 and
    /// kept to [`SPIS_MAX`]. vCPU i has the affinity (i / 16).(i % 16), as its MPIDR has.
    pub fn new(version: Version, vcpus: usize, spis: usize) -> Self {
        let vcpus = possible_vcpus(version, vcpus);
        let words = spis.min(SPIS_MAX).div_ceil(32);
        let lines = (words as u64 & 0x1f) as u32;
        let typer = match version {
            Version::V2 => lines | u32::from(byte(vcpus - 1)) << gicd::TYPER_CPU_NUMBER_SHIFT,
            // CPUNumber is about PEs without affinity routing: 0. Ten bits of INTID, no LPIs.
            Version::V3 => lines | 9 << gicd::TYPER_IDBITS_SHIFT | gicd::TYPER_NO_1N,
        };
        Self {
            version,
            cpus: (0..vcpus).map(|_| Cpu::new()).collect(),
            banks: (0..vcpus + words).map(|index| Bank::new(version, index, vcpus)).collect(),
            everyone: VcpuSet::first(vcpus),
            forward: Forward::NONE,
            typer,
            changed: VcpuSet::EMPTY,
            stale: VcpuSet::EMPTY,
            lone: VcpuSet::EMPTY,
            crowded: VcpuSet::EMPTY,
            kicks: VcpuSet::EMPTY,
            asking: VcpuSet::EMPTY,
        }
    }

    /// Brings the controller to its state at power-on, for a restart of the VM.
    ///
    /// Each vCPU must have been [parked](Self::park) by its own CPU before: what is still in List
    /// Registers is forgotten here.
    pub fn reset(&mut self) {
        let (version, vcpus) = (self.version, self.cpus.len());
        self.cpus.iter_mut().for_each(|cpu| *cpu = Cpu::new());
        self.banks.iter_mut().enumerate().for_each(|(index, bank)| *bank = Bank::new(version, index, vcpus));
        self.forward = Forward::NONE;
        self.changed = VcpuSet::EMPTY;
        self.stale = VcpuSet::EMPTY;
        self.lone = VcpuSet::EMPTY;
        self.crowded = VcpuSet::EMPTY;
        self.kicks = VcpuSet::EMPTY;
        self.asking = VcpuSet::EMPTY;
    }

    /// Hands out whom the call that ends has to kick. `vcpu` is the caller, who needs none.
    fn take_kicks(&mut self, vcpu: VcpuId) -> VcpuSet {
        let mut kicks = core::mem::take(&mut self.kicks);
        kicks.remove(vcpu);
        kicks
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test values are small")]
mod tests;
