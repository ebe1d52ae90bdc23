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
//! caller makes that CPU leave its guest (a *kick*); there [`Vgic::flush`] folds the List Registers back
//! into this model and fills them anew. Every [`VcpuSet`] that a function here returns is such a set.
//!
//! One lock guards a VM's `Vgic`. Nothing but [`Vgic::new`] allocates.

mod access;
mod bank;
mod dist;
mod lists;
mod owners;
mod redist;
mod sgi;
mod sources;

use crate::vcpus::VcpuSet;
use alloc::vec::Vec;
pub use assay_spec::gic::Version;
use assay_spec::gic::dist as gicd;
use assay_spec::intid::IntId;
use assay_spec::lr::Lr;
use bank::{Bank, Forward, Shared};

/// The most SPIs a VM can have: INTIDs 32 to 991.
pub const SPIS_MAX: usize = 960;
/// The most vCPUs of a VM with a GICv3.
pub const VCPUS_MAX_V3: usize = 64;
/// The most vCPUs of a VM with a GICv2.
pub const VCPUS_MAX_V2: usize = 8;
/// List Registers that are used at most: an implementation has 1 to 16 of them.
const SLOTS: u32 = 16;
/// In `Cpu::slots`: the guest's deactivation deactivates the physical interrupt.
const LINKED: u16 = 1 << 15;
/// No vCPU, where one is kept in a byte.
const NOBODY: u8 = 0xff;

/// The List Registers of the physical CPU this runs on, and what goes with them.
pub trait ListRegisters {
    /// Returns how many there are, 1 to 16.
    fn count(&self) -> u32;
    /// Reads one.
    fn read(&self, index: usize) -> Lr;
    /// Writes one.
    fn write(&mut self, index: usize, lr: Lr);
    /// Returns `ICH_ELRSR_EL2` or `GICH_ELRSR`: bit n is set if List Register n is free and owes no
    /// maintenance interrupt. Bits from [`count`](Self::count) upwards are zero.
    fn empty(&self) -> u32;
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
    /// The value.
    Value(u64),
    /// The answer is in other vCPUs' List Registers: kick these and let the guest repeat the
    /// instruction. Once they have been flushed, the repetition gets its value.
    Retry(VcpuSet),
}

/// A VM's interrupt controller.
pub struct Vgic {
    version: Version,
    cpus: Vec<Cpu>,
    /// The vCPUs that there are.
    everyone: VcpuSet,
    shared: Vec<Shared>,
    /// Which groups the Distributor forwards: `GICD_CTLR.EnableGrp0` and `EnableGrp1`.
    forward: Forward,
    /// `GICD_TYPER`, the same from creation on.
    typer: u32,
    /// vCPUs whose List Registers no longer hold what they should.
    changed: VcpuSet,
    /// Those of them where something that is listed has to be taken back or looked at.
    stale: VcpuSet,
    /// Whom the current call has to kick.
    kicks: VcpuSet,
    /// vCPUs with a read that waits for others, see [`Read::Retry`].
    asking: VcpuSet,
}

/// What belongs to one vCPU.
struct Cpu {
    /// SGIs and PPIs.
    bank: Bank,
    /// Which List Register holds private interrupt n, where it is listed.
    slot: [u8; 32],
    /// The INTID in each List Register that is occupied, with [`LINKED`] if it has `HW` = 1.
    slots: [u16; SLOTS as usize],
    /// List Registers that were filled and not folded since.
    occupied: u32,
    /// GICv2: who has sent SGI n and waits for it to be listed, a bit a vCPU.
    senders: [u8; 16],
    /// GICv2: who sent SGI n as it was last acknowledged.
    active_sender: [u8; 16],
    /// The maintenance requests in force.
    maintenance: u32,
    /// `GICR_WAKER.ProcessorSleep`.
    asleep: bool,
    /// The register whose read waits, and for whom.
    question: u32,
    unanswered: VcpuSet,
}

/// `Cpu::question` of a vCPU that has none.
const NO_QUESTION: u32 = u32::MAX;

impl Cpu {
    fn new() -> Self {
        Self {
            bank: Bank::private(),
            slot: [0; 32],
            slots: [0; SLOTS as usize],
            occupied: 0,
            senders: [0; 16],
            active_sender: [0; 16],
            maintenance: 0,
            asleep: true,
            question: NO_QUESTION,
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
        let most = if version == Version::V2 { VCPUS_MAX_V2 } else { VCPUS_MAX_V3 };
        let vcpus = vcpus.clamp(1, most);
        let words = spis.min(SPIS_MAX).div_ceil(32);
        let lines = u32::try_from(words).unwrap_or(0);
        let number = u32::try_from(vcpus).unwrap_or(1) - 1;
        let typer = match version {
            Version::V2 => lines | number << gicd::TYPER_CPU_NUMBER_SHIFT,
            // CPUNumber is about PEs without affinity routing: 0. Ten bits of INTID, no LPIs.
            Version::V3 => lines | 9 << gicd::TYPER_IDBITS_SHIFT | gicd::TYPER_NO_1N,
        };
        Self {
            version,
            everyone: VcpuSet::first(vcpus),
            cpus: (0..vcpus).map(|_| Cpu::new()).collect(),
            shared: (0..words).map(|_| Shared::new(first_target(version, vcpus))).collect(),
            forward: Forward::NONE,
            typer,
            changed: VcpuSet::EMPTY,
            stale: VcpuSet::EMPTY,
            kicks: VcpuSet::EMPTY,
            asking: VcpuSet::EMPTY,
        }
    }

    /// Brings the controller to its state at power-on, for a restart of the VM.
    ///
    /// Each vCPU must have been [parked](Self::park) by its own CPU before: what is still in List
    /// Registers is forgotten here.
    pub fn reset(&mut self) {
        self.cpus.iter_mut().for_each(|cpu| *cpu = Cpu::new());
        let target = first_target(self.version, self.cpus.len());
        self.shared.iter_mut().for_each(|shared| *shared = Shared::new(target));
        self.forward = Forward::NONE;
        self.changed = VcpuSet::EMPTY;
        self.stale = VcpuSet::EMPTY;
        self.kicks = VcpuSet::EMPTY;
        self.asking = VcpuSet::EMPTY;
    }

    /// Returns which controller this is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns how many vCPUs it serves.
    pub fn vcpu_count(&self) -> usize {
        self.cpus.len()
    }

    /// Returns how many SPIs it has, a multiple of 32.
    pub fn spi_count(&self) -> usize {
        self.shared.len() * 32
    }

    /// Returns the Distributor's frame in bytes.
    pub fn dist_size(&self) -> u64 {
        match self.version {
            Version::V2 => gicd::FRAME_V2,
            Version::V3 => gicd::FRAME_V3,
        }
    }

    /// Returns all the Redistributors' frames together in bytes; none with GICv2.
    pub fn redist_size(&self) -> u64 {
        match self.version {
            Version::V2 => 0,
            Version::V3 => self.cpus.len() as u64 * assay_spec::gic::redist::STRIDE,
        }
    }

    /// Hands out whom the call that ends has to kick. `vcpu` is the caller, who needs none.
    fn take_kicks(&mut self, vcpu: usize) -> VcpuSet {
        let mut kicks = core::mem::take(&mut self.kicks);
        kicks.remove(vcpu);
        kicks
    }
}

/// Where an SPI goes before the guest has said so: `IROUTER` of zero is vCPU 0, `ITARGETSR` of zero is
/// nobody, but a GICv2 for one CPU has no targets to choose (IHI 0048B §4.3.12).
fn first_target(version: Version, vcpus: usize) -> u8 {
    if version == Version::V3 || vcpus == 1 { 0 } else { NOBODY }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test values are small")]
mod tests;
