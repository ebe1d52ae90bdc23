//! A VM with one of its vCPUs on a CPU that writes down what was asked of it.

use std::vec;
use std::vec::Vec;

use crate::lock::{DEVICES, Mutex};
use assay_spec::addr::Region;
use assay_spec::cpu_id::VcpuId;
use assay_spec::esr::{self, ec};
use assay_spec::exit::{Exit, SysRegAccess, Width};
use assay_spec::frame::{Frame, General, Return};
use assay_spec::gic::hyp::EMPTY;
use assay_spec::intid::IntId;
use assay_spec::lr::{Lr, LrState};
use assay_spec::sysreg::SysReg;
use proptest::prelude::ProptestConfig;
use spin::relax::Spin;

use super::accesses::loads;
use crate::doorbell::Side;
use crate::doorbell::{Doorbells, Ring};
use crate::exits::{self, Cpu, Next, Program};
use crate::idregs::tests::{gic_v2, gic_v3};
use crate::inject::PstateBits;
use crate::layout;
use crate::smccc::{HostFacts, Workaround, Workarounds};
use crate::stage::Start;
use crate::vcpus::VcpuSet;
use crate::vgic::{Frames, ListRegisters, ListSlots, Version};
use crate::virtio::News;
use crate::vm::{Devices, GuestMachine, Vcpu};

/// Where the guest's code is.
pub(super) const CODE: u64 = 0x4020_0000;
/// Where it has mapped its devices: far from the guest addresses, to tell the two apart.
pub(super) const DEVICE_VA: u64 = 0xffff_8000_0000_0000;
/// The register that [`Vm::load`] loads and [`Vm::store`] stores.
pub(super) const RT: u8 = 5;
/// The physical count at which the VM was started: what `CNTVOFF_EL2` holds.
pub(super) const STARTED_AT: u64 = 1_000_000;

/// The VM's parts in two regions, each with a doorbell.
pub(super) const SIDES: [Side; 2] = [Side { region: 4, id: 1 }, Side { region: 6, id: 0 }];

/// Few cases under Miri, where each takes seconds.
pub(super) fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: if cfg!(miri) { 2 } else { default.cases }, failure_persistence: None, ..default }
}

/// The physical CPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct FakeCpu {
    pub(super) at: Return,
    pub(super) now: u64,
    pub(super) lrs: Vec<Lr>,
    pub(super) maintenance: u32,
    pub(super) kicked: VcpuSet,
    pub(super) sent: Vec<u8>,
    pub(super) input_room: usize,
    /// What there was to be armed at each change: the physical timer, and the watchdog.
    pub(super) armed: Vec<(Option<u64>, Option<u64>)>,
    pub(super) random: Option<u64>,
    pub(super) has_entropy: bool,
    pub(super) workarounds: Vec<Workaround>,
    pub(super) rings: Vec<Ring>,
    /// Whom a ring would reach.
    pub(super) peers: u32,
    /// What was written to the PCI function's Command register.
    pub(super) commands: Vec<(usize, u32)>,
    pub(super) words: Vec<(usize, u16, (u32, u32))>,
    /// What the other VMs of virtio devices were told.
    pub(super) told: Vec<(usize, News)>,
}

impl FakeCpu {
    fn new() -> Self {
        Self {
            at: Frame::entering(CODE, 0).at,
            now: STARTED_AT,
            lrs: vec![EMPTY; 4],
            maintenance: 0,
            kicked: VcpuSet::EMPTY,
            sent: Vec::new(),
            input_room: 0,
            armed: Vec::new(),
            random: None,
            has_entropy: false,
            workarounds: Vec::new(),
            rings: Vec::new(),
            peers: 0b101,
            commands: Vec::new(),
            words: Vec::new(),
            told: Vec::new(),
        }
    }

    /// The state of an interrupt in the List Registers.
    pub(super) fn listed(&self, intid: IntId) -> LrState {
        let listed = self.lrs.iter().find(|lr| lr.intid == intid);
        listed.map_or(LrState::Invalid, |lr| lr.state)
    }
}

impl ListSlots for FakeCpu {
    fn write(&mut self, index: usize, lr: Lr) {
        self.lrs[index] = lr;
    }
    fn empty(&self) -> u32 {
        let empty = |lr: &Lr| lr.state == LrState::Invalid && !lr.eoi_maintenance;
        let numbered = (0..).zip(&self.lrs);
        numbered.fold(0, |bits, (n, lr)| bits | u32::from(empty(lr)) << n)
    }
}

impl ListRegisters for FakeCpu {
    fn count(&self) -> u32 {
        4
    }
    fn read(&self, index: usize) -> Lr {
        self.lrs[index]
    }
    fn set_maintenance(&mut self, requests: u32) {
        self.maintenance = requests;
    }
    fn deactivate_physical(&mut self, intid: IntId) {
        panic!("no physical interrupt was taken, {intid:?} least of all");
    }
    fn is_deactivation_separate(&self) -> bool {
        false
    }
    fn is_physical_pending(&self, _intid: IntId) -> bool {
        false
    }
}

impl Program for FakeCpu {
    fn advance(&mut self) {
        self.at.advance();
    }
    fn advance_either(&mut self, wide: bool) {
        self.at.advance_either(wide);
    }
}

impl Cpu for FakeCpu {
    type Relax = Spin;
    fn now(&self) -> u64 {
        self.now
    }
    fn kick(&mut self, vcpus: VcpuSet) {
        self.kicked = self.kicked.union(vcpus);
    }
    fn transmit(&mut self, byte: u8) {
        self.sent.push(byte);
    }
    fn input_room(&mut self) {
        self.input_room += 1;
    }
    fn has_entropy(&self) -> bool {
        self.has_entropy
    }
    fn entropy(&mut self) -> Option<u64> {
        self.random
    }
    fn workaround(&mut self, which: Workaround) {
        self.workarounds.push(which);
    }
    fn ring(&mut self, ring: Ring) {
        self.rings.push(ring);
    }
    fn peers(&self, _side: Side) -> u32 {
        self.peers
    }
    fn tell(&mut self, number: usize, news: News) {
        self.told.push((number, news));
    }
    fn deadlines_changed(&mut self, vcpu: &Vcpu, watchdog: Option<u64>) {
        let timer = vcpu.timer_deadline();
        self.armed.push((timer, watchdog));
    }
    fn config_read(&mut self, function: usize, offset: u16) -> u32 {
        (0x5a5a + u32::try_from(function).unwrap()) << 16 | u32::from(offset)
    }
    fn config_write(&mut self, function: usize, offset: u16, value: (u32, u32)) {
        self.words.push((function, offset, value));
    }
    fn set_command(&mut self, function: usize, command: u32) {
        self.commands.push((function, command));
    }
}

/// One VM, seen from the CPU of one of its vCPUs.
pub(super) struct Vm {
    pub(super) machine: GuestMachine,
    pub(super) devices: Mutex<Devices, DEVICES, Spin>,
    pub(super) vcpu: Vcpu,
    pub(super) cpu: FakeCpu,
    pub(super) general: General,
}

impl Vm {
    /// A VM with 256 MiB and all its devices, of which vCPU 0 runs and is what this CPU is for.
    pub(super) fn new(gic: Version, vcpus: usize) -> Self {
        Self::with(gic, vcpus, true)
    }

    pub(super) fn with(gic: Version, vcpus: usize, watchdog: bool) -> Self {
        let id = match gic {
            Version::V3 => gic_v3(),
            Version::V2 => gic_v2(),
        };
        let machine = GuestMachine {
            id,
            workarounds: Workarounds::new(&HostFacts { csv2: 0, ssbs: false, firmware: [0, 0, -1] }),
            pstate: PstateBits::default(),
            rtc: None,
            ram: Region { start: layout::RAM, size: 0x1000_0000 },
            flashes: Vec::new(),
            gic: Frames::new(gic, vcpus),
            vcpus,
            watchdog,
            doorbells: Doorbells::new(SIDES),
            pci: false,
            messages: false,
            wires: false,
            virtio: Vec::new(),
            faces: Vec::new(),
            physical_functions: 0,
        };
        let mut devices = Devices::new(&machine);
        devices.virtual_offset = STARTED_AT;
        devices.power.boot(Start { entry: CODE, context: 0 });
        devices.power.take_start(VcpuId(0));
        let mut general = Frame::entering(CODE, 0).general;
        for (register, n) in general.x.iter_mut().zip(0..) {
            *register = 0x1111_0000_0000_0000 | n;
        }
        Self { machine, devices: Mutex::new(devices), vcpu: Vcpu::new(VcpuId(0)), cpu: FakeCpu::new(), general }
    }

    /// The same VM, from the CPU of another vCPU. What this CPU noted is forgotten.
    pub(super) fn seen_from(mut self, vcpu: VcpuId) -> Self {
        self.vcpu = Vcpu::new(vcpu);
        self.cpu = FakeCpu::new();
        self
    }

    /// Its registers, as they would be once the guest is left.
    pub(super) fn frame(&self) -> Frame {
        Frame { general: self.general.clone(), at: self.cpu.at }
    }

    pub(super) fn handle(&mut self, exit: Exit) -> Next {
        exits::handle(exit, &mut self.general, &mut self.vcpu, &self.machine, &self.devices, &mut self.cpu)
    }

    pub(super) fn fast_path(&mut self, esr: u64) -> bool {
        match esr::class(esr) {
            ec::HVC64 if esr & 0xffff == 0 => exits::answer(&mut self.general),
            ec::SYSREG => exits::read_id(esr, &mut self.general, &self.machine, &mut self.cpu),
            _ => false,
        }
    }

    pub(super) fn send_sgi(&mut self, esr: u64) -> bool {
        let Some(value) = exits::sgi(esr, &self.general, &self.machine) else {
            return false;
        };
        let devices = self.devices.lock();
        match devices.vgic.sgi1r_at_once(self.vcpu.index, value, &mut self.cpu) {
            None => self.cpu.advance(),
            Some(unsent) => exits::send_sgi(unsent, &self.vcpu, devices, &mut self.cpu),
        }
        true
    }

    /// `HVC #0` with these in x0 to x3.
    pub(super) fn hvc(&mut self, function: u32, args: [u64; 3]) -> Next {
        self.set_call(function, args);
        self.handle(Exit::Hvc { imm: 0 })
    }

    /// `SMC #0` with these in x0 to x3.
    pub(super) fn smc(&mut self, function: u32, args: [u64; 3]) -> Next {
        self.set_call(function, args);
        self.handle(Exit::Smc { imm: 0 })
    }

    fn set_call(&mut self, function: u32, args: [u64; 3]) {
        self.general.x[0] = function.into();
        self.general.x[1..4].copy_from_slice(&args);
    }

    pub(super) fn mrs(&mut self, register: SysReg) -> Next {
        self.handle(Exit::SysReg(SysRegAccess { register, read: true, rt: RT }))
    }

    pub(super) fn msr(&mut self, register: SysReg, value: u64) -> Next {
        self.general.set(RT, value);
        self.handle(Exit::SysReg(SysRegAccess { register, read: false, rt: RT }))
    }

    /// Makes the interrupt controller deliver everything, in Group 1, SPIs to vCPU 0.
    pub(super) fn enable_interrupts(&mut self) {
        let distributor = layout::GICD_V3.start.0;
        self.store(distributor, Width::W4, 3);
        let private = match self.machine.gic.version {
            Version::V3 => layout::GICR.0 + self.vcpu.index.0 as u64 * layout::GICR_SIZE + 0x1_0000,
            Version::V2 => distributor,
        };
        for (base, word) in [(private, 0), (distributor, 4)] {
            self.store(base + 0x080 + word, Width::W4, 0xffff_ffff);
            self.store(base + 0x100 + word, Width::W4, 0xffff_ffff);
        }
        if self.machine.gic.version == Version::V2 {
            for spi in 0..32 {
                self.store(distributor + 0x820 + spi, Width::W1, 1);
            }
        }
    }

    /// Reads what a guest can read of its devices without changing them.
    pub(super) fn visible(&mut self) -> Vec<u64> {
        let (distributor, uart) = (layout::GICD_V3.start.0, layout::UART.start.0);
        let (refresh, control) = (layout::WATCHDOG_REFRESH, layout::WATCHDOG_CONTROL);
        let bases = [
            (distributor, [0x000, 0x104, 0x204, 0x304]),
            (uart, [0x018, 0x038, 0x03c, 0x040]),
            (control.start.0, [0x000, 0x008, 0x010, 0x014]),
            (refresh.start.0, [0x000, 0xfcc, 0xfcc, 0xfcc]),
        ];
        let mut values = Vec::new();
        for (base, offsets) in bases {
            values.extend(offsets.map(|offset| {
                self.access(base + offset, loads(Width::W4));
                self.general.get(RT)
            }));
        }
        values
    }
}
