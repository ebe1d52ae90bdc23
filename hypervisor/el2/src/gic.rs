//! The physical interrupt controller, GICv2 or GICv3: set up wholly here, whatever firmware left.
//!
//! EL2 acknowledges every physical interrupt, drops its priority at once (EOImode 1) and deactivates it
//! itself, unless it is handed to a guest through a List Register with HW = 1.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use assay_spec::addr::{Pa, Region};
use assay_spec::cpu_id::PcpuId;
use assay_spec::intid::IntId;
use assay_spec::lr::Lr;

use crate::mmio::{Mmio, Registers};
use crate::sysreg::{bank, read_sysreg, write_sysreg};

pub mod its;
mod its_error;
mod v2;
mod v3;

/// Where the interrupt controller's register frames are.
#[derive(Clone, Debug)]
pub enum Layout<'a> {
    /// GICv3 or later, by system registers.
    V3 {
        /// Distributor.
        distributor: Region<Pa>,
        /// Redistributor regions.
        redistributors: &'a [Region<Pa>],
    },
    /// GICv2 with virtualisation extensions.
    V2 {
        /// Distributor.
        distributor: Region<Pa>,
        /// CPU interface, at least 8 KiB.
        cpu: Region<Pa>,
        /// Virtual interface control.
        hypervisor: Region<Pa>,
    },
}

/// The interrupt controller cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicError {
    /// A frame lies in the image or is too small.
    BadFrame(Region<Pa>),
    /// No Redistributor has this CPU's affinity.
    NoRedistributor(u64),
    /// Firmware left LPIs on for good, with a table in memory that is in use already.
    LpisOn(Region<Pa>),
}

impl fmt::Display for GicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadFrame(region) => write!(f, "the registers at {region:?} are too small, or in memory"),
            Self::NoRedistributor(affinity) => write!(f, "no Redistributor has the CPU's affinity {affinity:#x}"),
            Self::LpisOn(table) => write!(
                f,
                "firmware left LPIs on, they cannot be turned off, and their table at {table:?} is in memory that Assay uses: add it to /reserved-memory"
            ),
        }
    }
}

/// The SGI by which Assay's CPUs call each other.
pub const KICK: IntId = IntId::sgi(0);

static IS_V3: AtomicBool = AtomicBool::new(true);

#[inline(always)]
fn is_v3() -> bool {
    IS_V3.load(Ordering::Relaxed)
}

/// Sets up the Distributor, once, on the boot CPU; all its interrupts end up disabled.
///
/// # Errors
/// [`GicError::BadFrame`], [`GicError::LpisOn`].
pub fn init(layout: &Layout<'_>) -> Result<(), GicError> {
    match *layout {
        Layout::V3 { distributor, redistributors } => v3::init(distributor, redistributors),
        Layout::V2 { distributor, cpu, hypervisor } => {
            v2::init(distributor, cpu, hypervisor)?;
            IS_V3.store(false, Ordering::Relaxed);
            Ok(())
        }
    }
}

/// Returns where in their frames a GICv2's CPU interface and virtual CPU interface begin, and end. The first frame must
/// be in EL2's map.
pub fn interfaces(cpu: Region<Pa>, virtual_cpu: Region<Pa>) -> (Region<Pa>, Region<Pa>) {
    v2::interfaces(cpu, virtual_cpu)
}

/// The end of what only a bug of ours can bring about: no controller is set up, or there is no such List Register.
#[cold]
#[inline(never)]
fn impossible() -> ! {
    unreachable!("the interrupt controller is asked for what it has not")
}

/// Takes the registers of a frame.
fn frame<T: Registers>(region: Region<Pa>) -> Result<Mmio<T>, GicError> {
    Mmio::new(region).ok_or(GicError::BadFrame(region))
}

/// Defines functions that go to the driver of the controller that there is.
macro_rules! by_version {
    ($($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => { $(
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            if is_v3() { v3::$name($($argument),*) } else { v2::$name($($argument),*) }
        }
    )* };
}

by_version! {
    /// Sets up this CPU's part, with only [`KICK`] and the given private interrupts enabled.
    ///
    /// # Errors
    /// [`GicError::NoRedistributor`].
    pub fn init_cpu(private: &[IntId]) -> Result<(), GicError>;

    /// Returns what this CPU would acknowledge now, if anything (`ICC_HPPIR1_EL1`, `GICC_HPPIR`). Nothing changes by it.
    pub fn highest_pending() -> Option<IntId>;

    /// Deactivates an acknowledged interrupt.
    #[inline]
    pub fn deactivate(ack: Ack);

    /// Enables a shared interrupt and routes it to CPU `cpu`; `edge` by its tree entry.
    pub fn enable_spi(intid: IntId, cpu: PcpuId, edge: bool);

    /// Disables a shared interrupt.
    pub fn disable_spi(intid: IntId);

    /// Interrupts CPU `cpu` with [`KICK`].
    pub fn kick(cpu: PcpuId);

    /// Returns the number of List Registers.
    #[inline]
    pub fn lr_count() -> u32;

    /// Reads List Register `index`.
    pub fn lr_read(index: usize) -> Lr;

    /// Writes List Register `index`.
    #[inline(always)]
    pub fn lr_write(index: usize, lr: Lr);

    /// Returns which List Registers are free (`ICH_ELRSR_EL2`, `GICH_ELRSR`).
    #[inline]
    pub fn lr_empty() -> u32;

    /// Sets which conditions raise the maintenance interrupt: bits of `ICH_HCR_EL2` or `GICH_HCR` besides `En`.
    pub fn set_maintenance(requests: u32);

    /// Returns `ICH_VMCR_EL2` or `GICH_VMCR`: what the guest of this CPU has written to its CPU interface.
    pub fn vmcr() -> u32;

    /// Tells whether an interrupt that was taken, and is active, is pending still: its line is high. Of a shared one of a
    /// GICv3 it always says yes: whoever takes it then looks at the device.
    pub fn is_pending(intid: IntId) -> bool;

    /// Returns the state of this CPU's virtual CPU interface. Its List Registers are the model's to take back.
    pub(crate) fn save_virtual() -> Interface;

    /// Gives this CPU's virtual CPU interface a state that was saved.
    pub(crate) fn load_virtual(interface: &Interface);

    /// Resets the virtual CPU interface of this CPU: no List Register, no active priority, groups disabled.
    pub fn reset_virtual();
}

/// An interrupt that this CPU has acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack(u32);

/// Tells of a number that was acknowledged whether it is an interrupt's.
#[inline(always)]
fn is_real(ack: u32) -> bool {
    ack & 0x3ff < IntId::SPECIAL_BASE || ack >= 0x2000
}

/// Acknowledges the highest-priority pending interrupt, drops its priority and returns it, or `None`. It stays active
/// until it is [`deactivate`]d.
#[inline(always)]
pub fn acknowledge() -> Option<(Ack, IntId)> {
    if let Some(gic) = v3() {
        return gic.acknowledge();
    }
    let ack = Some(v2::acknowledge()).filter(|ack| is_real(*ack))?;
    v2::drop_priority(ack);
    // An SGI's sender is above bit 9.
    Some((Ack(ack), IntId(ack & 0x3ff)))
}

/// Says that the controller is a GICv3, so that it is asked once for several of the functions here.
#[derive(Clone, Copy)]
pub struct V3(());

/// Returns that the controller is a GICv3, if it is.
#[inline(always)]
pub fn v3() -> Option<V3> {
    is_v3().then_some(V3(()))
}

impl V3 {
    /// Does as [`acknowledge`].
    #[inline(always)]
    pub fn acknowledge(self) -> Option<(Ack, IntId)> {
        let ack = Some(v3::acknowledge()).filter(|ack| is_real(*ack))?;
        v3::drop_priority(ack);
        Some((Ack(ack), IntId(ack)))
    }

    /// Does as [`lr_empty`].
    #[inline(always)]
    pub fn lr_empty(self) -> u32 {
        v3::lr_empty()
    }

    /// Does as [`lr_write`], on the spot.
    #[inline(always)]
    pub fn lr_write(self, index: usize, lr: Lr) {
        v3::lr_write_here(index, lr);
    }
}

/// After a [`KICK`]: what its sender wrote before is seen from here on. Nothing else orders the acknowledgement with
/// later loads.
pub fn see_kicker() {
    crate::sysreg::dsb_sy();
}

/// Deactivates an interrupt that was handed to a guest and will not be deactivated by it.
pub fn deactivate_intid(intid: IntId) {
    deactivate(Ack(intid.0));
}

/// Tells whether the guest ends interrupts in two steps (`VEOIM`).
pub fn is_deactivation_separate() -> bool {
    vmcr() & 1 << 9 != 0
}

bank! {
    /// Active priorities that every GICv3 has; `GICH_APR` in the second.
    First { ap0r0 = "ich_ap0r0_el2"; ap1r0 = "ich_ap1r0_el2"; }
}
bank! {
    /// Those from 6 preemption bits on (PREbits 5).
    Second { ap0r1 = "ich_ap0r1_el2"; ap1r1 = "ich_ap1r1_el2"; }
}
bank! {
    /// Those with 7 (PREbits 6).
    Others { ap0r2 = "ich_ap0r2_el2"; ap0r3 = "ich_ap0r3_el2"; ap1r2 = "ich_ap1r2_el2"; ap1r3 = "ich_ap1r3_el2"; }
}

/// The guest's CPU interface besides List Registers: what it has written to it, and which priorities are active.
#[derive(Clone, Copy, Default)]
pub(crate) struct Interface {
    /// `ICH_VMCR_EL2`, `GICH_VMCR`.
    vmcr: u64,
    first: First,
    second: Second,
    others: Others,
}
