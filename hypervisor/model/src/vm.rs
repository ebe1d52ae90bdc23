//! One VM while it runs: what never changes, what its vCPUs share, and what each has for itself.

use alloc::sync::Arc;
use alloc::vec::Vec;

use assay_spec::addr::{Address, Ipa, Region};
use assay_spec::cpu_id::VcpuId;
use assay_spec::intid::IntId;

use crate::doorbell::Doorbells;
use crate::idregs::GuestId;
use crate::inject::PstateBits;
use crate::layout;
use crate::pci::{Bar, ConfigSpace, Function, GuestBar, GuestFunction, Space, Wired};
use crate::psci::PowerTable;
use crate::ptimer::PhysTimer;
use crate::rtc::Rtc;
use crate::smccc::Workarounds;
use crate::vcpus::VcpuSet;
use crate::vgic::{Frames, ListRegisters, Vgic};
use crate::virtio::{self, Link};
use crate::vpl011::Vpl011;
use crate::watchdog::{Watchdog, WatchdogEvent};

/// What is the same for as long as the VM exists, but for the doorbells' bits: usable without a lock.
pub struct GuestMachine {
    /// The identification registers that it reads.
    pub id: GuestId,
    /// What it is told of the SMCCC workarounds.
    pub workarounds: Workarounds,
    /// What an exception does to its PSTATE.
    pub pstate: PstateBits,
    /// Its RAM, one range of guest addresses.
    pub ram: Region<Ipa>,
    /// Its flashes.
    pub flashes: Vec<Region<Ipa>>,
    /// The frames of its interrupt controller.
    pub gic: Frames,
    /// How many vCPUs it has.
    pub vcpus: usize,
    /// Whether it has the SBSA watchdog.
    pub watchdog: bool,
    /// Its real-time clock, if the host has one.
    pub rtc: Option<Rtc>,
    /// Its doorbells.
    pub doorbells: Doorbells,
    /// Whether it has a PCI host bridge with functions.
    pub pci: bool,
    /// Whether devices send it messages.
    pub messages: bool,
    /// Whether devices of the platform tree interrupt it.
    pub wires: bool,
    /// Its virtio devices whose backends are other VMs.
    pub virtio: Vec<Arc<Link>>,
    /// The devices that it is the backend of: each a PCI function behind those of the machine.
    pub faces: Vec<Arc<Link>>,
    /// How many functions of the machine it has.
    pub physical_functions: usize,
}

impl GuestMachine {
    /// Returns when the VM's watchdog is due, as [`Devices::watchdog_deadline`] does, if it has one.
    pub fn watchdog_deadline(&self, devices: &Devices) -> Option<u64> {
        if self.watchdog { devices.watchdog_deadline() } else { None }
    }

    /// Returns how many SPIs it has: 32 for what is emulated and INTx, 32 for messages, 32 for the platform's devices, up to the
    /// last that something needs.
    fn spis(&self) -> usize {
        match (self.wires, self.messages) {
            (true, _) => 96,
            (false, true) => 64,
            (false, false) => 32,
        }
    }

    /// Tells whether a flash is at this guest address.
    pub fn is_flash(&self, ipa: Ipa) -> bool {
        self.flashes.iter().any(|flash| flash.contains(ipa))
    }

    /// Returns which of its faces a PCI function is, if it is one.
    pub fn face(&self, function: usize) -> Option<usize> {
        function.checked_sub(self.physical_functions).filter(|face| *face < self.faces.len())
    }

    /// Returns the functions that its faces are, at power-on.
    pub fn face_functions(&self) -> impl Iterator<Item = GuestFunction> {
        (0..self.faces.len()).map(|face| {
            let address = layout::FACES.start.0 + face as u64 * layout::FACE_SIZE;
            let space = Space::Memory { wide: false, prefetchable: false };
            let bar = Bar { index: 0, space, address, size: layout::FACE_SIZE };
            let wired = Wired { has_interrupt: true, ..Wired::default() };
            GuestFunction::new(&mut FaceConfig, Function(0), &[GuestBar { bar, address, size: bar.size }], wired)
        })
    }

    /// Tells whether a vCPU may start at this guest address.
    pub fn is_code(&self, address: u64) -> bool {
        let mut memory = core::iter::once(&self.ram).chain(&self.flashes);
        memory.any(|memory| memory.contains(Ipa(address))) && Ipa(address).is_aligned(4)
    }
}

/// The configuration space of a face while it is quiet. It has no capabilities.
struct FaceConfig;

impl ConfigSpace for FaceConfig {
    fn read(&mut self, _function: Function, offset: u16) -> u32 {
        virtio::config_word(offset, false)
    }
    fn write(&mut self, _function: Function, _offset: u16, _value: u32) {}
}

/// What a VM's vCPUs share, under its lock.
pub struct Devices {
    /// The interrupt controller.
    pub vgic: Vgic,
    /// The console.
    pub uart: Vpl011,
    /// Which vCPUs are on.
    pub power: PowerTable,
    /// The watchdog, which counts virtual time.
    pub watchdog: Watchdog,
    /// Its PCI functions: 00:01.0, 00:02.0, and so on.
    pub functions: Vec<GuestFunction>,
    /// What is subtracted from the physical count for the virtual one (`CNTVOFF_EL2`): the VM's start.
    pub virtual_offset: u64,
}

impl Devices {
    /// Makes the devices of a VM at power-on; all they will ever allocate is allocated here.
    pub fn new(machine: &GuestMachine) -> Self {
        Self {
            vgic: Vgic::new(machine.gic.version, machine.vcpus, machine.spis()),
            uart: Vpl011::new(),
            power: PowerTable::new(machine.vcpus),
            watchdog: Watchdog::new(),
            functions: machine.face_functions().collect(),
            virtual_offset: 0,
        }
    }

    /// Brings the devices back to power-on. Every vCPU has been parked by its own CPU before.
    pub fn reset(&mut self) {
        self.vgic.reset();
        self.uart.reset();
        self.power.reset();
        self.watchdog.reset();
        self.functions.iter_mut().for_each(GuestFunction::reset);
    }

    /// Takes one byte from the physical console; `false` if there is no room for it.
    pub fn receive(&mut self, byte: u8) -> (bool, VcpuSet) {
        let taken = self.uart.receive(byte);
        (taken, self.update_uart(VcpuId(0)))
    }

    /// Carries the UART's interrupt line to the interrupt controller; returns the vCPUs to kick.
    pub fn update_uart(&mut self, vcpu: VcpuId) -> VcpuSet {
        self.vgic.set_level(vcpu, layout::UART_INTID, self.uart.level())
    }

    /// Carries the watchdog's first signal to the interrupt controller; returns the vCPUs to kick.
    pub fn update_watchdog(&mut self, vcpu: VcpuId) -> VcpuSet {
        self.vgic.set_level(vcpu, layout::WATCHDOG_INTID, self.watchdog.ws0_level())
    }

    /// Makes the interrupt of doorbell `index` pending; returns the vCPUs to kick.
    pub fn ring(&mut self, index: usize) -> VcpuSet {
        self.vgic.pulse(VcpuId(0), layout::doorbell_intid(index))
    }

    /// Carries the line of its virtio device `index` to the interrupt controller; returns the vCPUs to kick.
    pub fn update_virtio(&mut self, machine: &GuestMachine, index: usize) -> VcpuSet {
        let level = machine.virtio.get(index).is_some_and(|link| link.front_level());
        self.vgic.set_level(VcpuId(0), layout::virtio_intid(index), level)
    }

    /// Carries the line of its face `index` to the interrupt controller; returns the vCPUs to kick.
    pub fn update_face(&mut self, machine: &GuestMachine, index: usize) -> VcpuSet {
        let function = machine.physical_functions + index;
        let is_enabled = self.functions.get(function).is_some_and(GuestFunction::has_intx_enabled);
        let level = is_enabled && machine.faces.get(index).is_some_and(|link| link.back_level());
        self.vgic.set_level(VcpuId(0), layout::pci_intid(function), level)
    }

    /// A device sends message `index` (modulo 32); returns the vCPUs to kick.
    pub fn message(&mut self, index: u32) -> VcpuSet {
        self.vgic.pulse(VcpuId(0), IntId(layout::MSI_BASE.0 + index % layout::MSI_COUNT))
    }

    /// Returns when the watchdog is due, as a physical count, or `None` if the counter never gets there.
    pub fn watchdog_deadline(&self) -> Option<u64> {
        self.watchdog.deadline().and_then(|deadline| deadline.checked_add(self.virtual_offset))
    }

    /// Lets the watchdog look at the clock, `now` a physical count; returns whether it ran out for good, which it
    /// says once, and the vCPUs to kick.
    pub fn tick_watchdog(&mut self, vcpu: VcpuId, now: u64) -> (bool, VcpuSet) {
        let event = self.watchdog.tick(now.wrapping_sub(self.virtual_offset));
        (event == WatchdogEvent::Ws1, self.update_watchdog(vcpu))
    }
}

/// What one vCPU has for itself; only its own CPU touches it.
pub struct Vcpu {
    /// Its index in the VM.
    pub index: VcpuId,
    /// The emulated EL1 physical timer.
    pub timer: PhysTimer,
    /// The guest has turned workaround 2 off: loads of its may pass stores whose address is not yet known.
    pub store_bypass: bool,
    /// The level of its line, as the interrupt controller was last told.
    timer_line: bool,
}

/// The interrupt of the emulated EL1 physical timer.
pub const PHYS_TIMER: IntId = layout::TIMER_INTIDS[1];
/// The interrupt of the virtual timer.
pub const VIRT_TIMER: IntId = layout::TIMER_INTIDS[2];

impl Vcpu {
    /// Makes vCPU `index` at power-on.
    pub const fn new(index: VcpuId) -> Self {
        Self { index, timer: PhysTimer::new(), store_bypass: false, timer_line: false }
    }

    /// Carries the physical timer's line to the interrupt controller; returns the vCPUs to kick.
    pub fn update_timer(&mut self, devices: &mut Devices, hw: &mut impl ListRegisters, now: u64) -> VcpuSet {
        let level = self.timer.level(now);
        if core::mem::replace(&mut self.timer_line, level) == level {
            return devices.vgic.flush_lr(self.index, hw);
        }
        devices.vgic.carry_level(self.index, PHYS_TIMER, level, hw)
    }

    /// Tells whether the physical timer's line is not as the interrupt controller was told.
    #[inline(always)]
    pub fn has_timer_moved(&self, now: u64) -> bool {
        self.timer.level(now) != self.timer_line
    }

    /// Turns the physical timer off, whose line is low from then on; returns the vCPUs to kick.
    pub fn stop_timer(&mut self, devices: &mut Devices) -> VcpuSet {
        self.timer = PhysTimer::new();
        self.timer_line = false;
        devices.vgic.set_level(self.index, PHYS_TIMER, false)
    }

    /// Returns when the physical timer's line is to be carried again, as a count that may be in the past: the line may
    /// have risen since the interrupt controller was told.
    pub fn timer_deadline(&self) -> Option<u64> {
        self.timer.deadline().filter(|_| !self.timer_line)
    }
}

#[cfg(test)]
mod tests;
