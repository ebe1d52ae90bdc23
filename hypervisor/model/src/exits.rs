//! What happens at an exit: the one decision function, for the shortest way and the longest.
//!
//! It changes the guest's registers and the VM's devices, and answers with what is left to do. The hot exits
//! (PSCI_VERSION, an ID register, a read of the interrupt controller) take no more than one lock.

use assay_spec::addr::{Ipa, Region};
use assay_spec::esr::{self, ec};
use assay_spec::exit::{Abort, Access, Exit, SysRegAccess, Width};
use assay_spec::frame::Frame;
use assay_spec::psci::ret;
use spin::Mutex;

use crate::guest_tree::layout;
use crate::inject::Fault;
use crate::psci::{Outcome, Start};
use crate::smccc::{self, Reply, Workaround};
use crate::sysregs::{self, Answer, Sgi};
use crate::vcpus::VcpuSet;
use crate::vgic::{ListRegisters, Read, Version};
use crate::vm::{Devices, Machine, Vcpu};
use crate::watchdog::WatchdogFrame;

/// What a decision needs of the physical CPU that the vCPU runs on.
pub trait Cpu: ListRegisters {
    /// Returns the physical counter.
    fn now(&self) -> u64;
    /// Makes other vCPUs of this VM leave their guest and look again.
    fn kick(&mut self, vcpus: VcpuSet);
    /// Sends a byte of the guest's to the console.
    fn transmit(&mut self, byte: u8);
    /// Notes that the guest's UART has room for input again.
    fn input_room(&mut self);
    /// Tells whether there is a source of random bits.
    fn has_entropy(&self) -> bool;
    /// Returns 64 random bits, unless the source has none just now.
    fn entropy(&mut self) -> Option<u64>;
    /// Has firmware do a workaround on this CPU.
    fn workaround(&mut self, which: Workaround);
    /// Arms the EL2 timer anew: a deadline of this vCPU or of its VM has changed.
    fn deadlines_changed(&mut self, vcpu: &Vcpu, devices: &Devices);
}

/// What is to be done after an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Enter the guest again where it is.
    Resume,
    /// Step over the trapped instruction, then resume.
    Advance,
    /// Make the guest take an exception.
    Inject(Fault),
    /// The vCPU has switched itself off.
    Off,
    /// The vCPU waits for an interrupt; then it goes on, or starts anew.
    Suspend {
        /// Where it starts anew after a power-down request.
        power_down: Option<Start>,
    },
    /// The whole VM stops.
    Stop(Stop),
}

/// Why a VM stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// PSCI SYSTEM_OFF, or its last vCPU switched itself off.
    PowerOff,
    /// PSCI SYSTEM_RESET.
    Reset,
    /// It cannot go on.
    Crash(Crash),
}

/// What a crash was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// A physical SError while it ran.
    SError,
    /// Its exception vectors are nowhere that it can execute: it faults for ever.
    NoVectors,
    /// Its watchdog ran out.
    Watchdog,
    /// It cannot be loaded again.
    Load,
}

impl Crash {
    /// Returns the name in `assay: vm … cause=`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SError => "serror",
            Self::NoVectors => "no-vectors",
            Self::Watchdog => "watchdog",
            Self::Load => "load",
        }
    }
}

/// Handles the exits that take neither a lock nor the hardware, as [`handle`] would: a call that every VM gets
/// the same answer to, and a read of an identification register. Returns whether it was one.
#[inline(always)]
pub fn quick(esr: u64, frame: &mut Frame, machine: &Machine) -> bool {
    /// Op0, Op1, CRn and direction of the syndrome, and what they are in a read of the ID space.
    const ID_FIELDS: u64 = 3 << 20 | 7 << 14 | 0xf << 10 | 1;
    const ID_READ: u64 = 3 << 20 | 1;
    const IMM16: u64 = 0xffff;
    match esr::class(esr) {
        ec::HVC64 if esr & IMM16 == 0 => {
            let answer = smccc::quick(function(frame));
            if let Some(answer) = answer {
                frame.x[0] = answer;
            }
            answer.is_some()
        }
        ec::SYSREG if esr & ID_FIELDS == ID_READ => {
            let (crm, op2, rt) = (esr >> 1 & 0xf, esr >> 17 & 7, esr >> 5);
            let Some(value) = machine.id.feature(crm, op2) else {
                return false;
            };
            frame.set((rt & 0x1f) as u8, value);
            frame.advance();
            true
        }
        _ => false,
    }
}

/// Handles a synchronous exit of `vcpu`.
pub fn handle<C: Cpu>(
    exit: Exit,
    frame: &mut Frame,
    vcpu: &mut Vcpu,
    machine: &Machine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> Next {
    match exit {
        Exit::Hvc { imm: 0 } => call(frame, vcpu, machine, devices, cpu),
        // SMCCC is HVC #0 only (DEN0028 §2.9); Linux never uses another.
        Exit::Hvc { .. } => {
            frame.x[0] = ret::register(ret::NOT_SUPPORTED);
            Next::Resume
        }
        Exit::DataAbort(abort) => data_abort(abort, frame, vcpu, machine, devices, cpu),
        Exit::SysReg(access) => system_register(access, frame, vcpu, machine, devices, cpu),
        // The saved program counter is at the SMC, not past it.
        Exit::Smc { imm } => match if imm == 0 {
            call(frame, vcpu, machine, devices, cpu)
        } else {
            Next::Resume
        } {
            Next::Resume if imm == 0 => Next::Advance,
            Next::Resume => {
                frame.x[0] = ret::register(ret::NOT_SUPPORTED);
                Next::Advance
            }
            Next::Suspend { power_down } => {
                frame.advance();
                Next::Suspend { power_down }
            }
            other => other,
        },
        Exit::InstrAbort(abort) => instruction_abort(&abort),
        Exit::Wfx { .. } => Next::Advance,
        Exit::FpTrap | Exit::Unknown => Next::Inject(Fault::Undefined),
    }
}

/// The function that a call names: w0.
#[inline(always)]
fn function(frame: &Frame) -> u32 {
    (frame.x[0] & 0xffff_ffff) as u32
}

/// An SMCCC call: the answer is in x0 to x3, and the guest goes on.
#[inline]
fn call<C: Cpu>(
    frame: &mut Frame,
    vcpu: &Vcpu,
    machine: &Machine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> Next {
    let fid = function(frame);
    if let Some(answer) = smccc::quick(fid) {
        frame.x[0] = answer;
        return Next::Resume;
    }
    slow_call(fid, frame, vcpu, machine, devices, cpu)
}

#[inline(never)]
fn slow_call<C: Cpu>(
    fid: u32,
    frame: &mut Frame,
    vcpu: &Vcpu,
    machine: &Machine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> Next {
    let args = [frame.x[1], frame.x[2], frame.x[3]];
    let has_source = cpu.has_entropy();
    let mut entropy = || cpu.entropy();
    let source: Option<smccc::Source<'_>> = if has_source { Some(&mut entropy) } else { None };
    match smccc::handle_lockless(fid, args, &machine.workarounds, source) {
        Some(Reply::One(value)) => frame.x[0] = value,
        Some(Reply::Four(values)) => frame.x[..4].copy_from_slice(&values),
        Some(Reply::Workaround(which)) => {
            cpu.workaround(which);
            frame.x[0] = 0;
        }
        None => {
            let mut devices = devices.lock();
            let outcome = devices
                .power
                .call(fid, args, vcpu.index, &|address| machine.is_code(address));
            return power(outcome, frame, &devices, cpu);
        }
    }
    Next::Resume
}

fn power<C: Cpu>(outcome: Outcome, frame: &mut Frame, devices: &Devices, cpu: &mut C) -> Next {
    match outcome {
        Outcome::Return(value) => frame.x[0] = value,
        Outcome::TurnOn { target } => {
            frame.x[0] = 0;
            cpu.kick(VcpuSet::one(target));
        }
        Outcome::OffSelf if devices.power.not_off().is_empty() => {
            return Next::Stop(Stop::PowerOff);
        }
        Outcome::OffSelf => return Next::Off,
        Outcome::Suspend { power_down } => {
            frame.x[0] = 0;
            return Next::Suspend { power_down };
        }
        Outcome::SystemOff => return Next::Stop(Stop::PowerOff),
        Outcome::SystemReset => return Next::Stop(Stop::Reset),
    }
    Next::Resume
}

fn system_register<C: Cpu>(
    access: SysRegAccess,
    frame: &mut Frame,
    vcpu: &mut Vcpu,
    machine: &Machine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> Next {
    let value = frame.get(access.rt);
    match sysregs::answer(access, &machine.id, value) {
        Answer::Read(value) => frame.set(access.rt, value),
        Answer::Ignore => {}
        Answer::Undefined => return Next::Inject(Fault::Undefined),
        Answer::Sgi { kind, value } => {
            let mut devices = devices.lock();
            let kicks = match kind {
                Sgi::Sgi1 => devices.vgic.sgi1r(vcpu.index, value, cpu),
                // With one Security state both others are of Group 0 (IHI 0069H §12.2).
                Sgi::Asgi1 | Sgi::Sgi0 => devices.vgic.sgi0r(vcpu.index, value, cpu),
            };
            drop(devices);
            if !kicks.is_empty() {
                cpu.kick(kicks);
            }
        }
        Answer::PhysTimer(register) => {
            let now = cpu.now();
            if access.read {
                frame.set(access.rt, vcpu.timer.read(register, now));
            } else {
                vcpu.timer.write(register, value, now);
                let mut devices = devices.lock();
                let kicks = vcpu.update_timer(&mut devices, cpu, now);
                cpu.deadlines_changed(vcpu, &devices);
                cpu.kick(kicks);
            }
        }
        // A dedicated vCPU never leaves its CPU: what it does by set and way is its own caches' matter.
        Answer::SetWay => {}
    }
    Next::Advance
}

fn instruction_abort(abort: &Abort) -> Next {
    Next::Inject(Fault::of_fetch(abort))
}

/// A load or store outside of RAM: a device's, or nobody's.
fn data_abort<C: Cpu>(
    abort: Abort,
    frame: &mut Frame,
    vcpu: &mut Vcpu,
    machine: &Machine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> Next {
    // After a Permission, alignment or tag fault HPFAR_EL2 does not tell the address, and on a walk of the guest's
    // tables it tells a descriptor's (DDI0487 HPFAR_EL2).
    let is_known = esr::ipa_is_valid(&abort) && !abort.table_walk;
    let Some(access) = abort.access.filter(|_| is_known) else {
        return Next::Inject(Fault::of_data(&abort));
    };
    if !access.write {
        let loaded = load(abort.ipa, access, frame, vcpu, machine, devices, cpu);
        return if loaded {
            Next::Resume
        } else {
            Next::Inject(Fault::of_data(&abort))
        };
    }
    let Some(device) = find(abort.ipa, machine) else {
        return Next::Inject(Fault::of_data(&abort));
    };
    let value = access.width.truncate(frame.get(access.register));
    let kicks = write(device, access.width, value, vcpu, &mut devices.lock(), cpu);
    if !kicks.is_empty() {
        cpu.kick(kicks);
    }
    Next::Advance
}

/// Handles a load from a device as [`handle`] would, by the syndrome of a data abort; returns whether it was one.
#[inline]
pub fn quick_load<C: Cpu>(
    (esr, far, hpfar): (u64, u64, u64),
    frame: &mut Frame,
    vcpu: &Vcpu,
    machine: &Machine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> bool {
    match esr::device_load(esr, far, hpfar) {
        Some((ipa, access)) => load(ipa, access, frame, vcpu, machine, devices, cpu),
        None => false,
    }
}

/// Loads from a device and steps over the load, or has other vCPUs say what they know and lets the guest try
/// again. Returns whether there is a device.
#[inline(always)]
fn load<C: Cpu>(
    ipa: Ipa,
    access: Access,
    frame: &mut Frame,
    vcpu: &Vcpu,
    machine: &Machine,
    devices: &Mutex<Devices>,
    cpu: &mut C,
) -> bool {
    let Some(device) = find(ipa, machine) else {
        return false;
    };
    let mut devices = devices.lock();
    match read(device, access.width, vcpu, &mut devices, cpu) {
        Read::Value(value) => {
            drop(devices);
            frame.set(access.register, extend(value, access));
            frame.advance();
        }
        Read::Retry(kicks) => {
            drop(devices);
            cpu.kick(kicks);
        }
    }
    true
}

/// A device register: which device, and the offset in its frame.
#[derive(Clone, Copy)]
enum Device {
    Distributor(u64),
    Redistributors(u64),
    Uart(u64),
    Watchdog(WatchdogFrame, u64),
}

#[inline(always)]
fn find(ipa: Ipa, machine: &Machine) -> Option<Device> {
    let within = |region: Region<Ipa>| {
        let offset = ipa.0.wrapping_sub(region.start.0);
        (offset < region.size).then_some(offset)
    };
    if let Some(offset) = within(layout::UART) {
        return Some(Device::Uart(offset));
    }
    let distributor = if machine.gic == Version::V3 {
        layout::GICD_V3
    } else {
        layout::GICD_V2
    };
    if let Some(offset) = within(distributor) {
        return Some(Device::Distributor(offset));
    }
    if machine.gic == Version::V3 {
        let size = machine.vcpus as u64 * layout::GICR_SIZE;
        if let Some(offset) = within(Region {
            start: layout::GICR,
            size,
        }) {
            return Some(Device::Redistributors(offset));
        }
    }
    if !machine.watchdog {
        return None;
    }
    within(layout::WATCHDOG_REFRESH)
        .map(|offset| Device::Watchdog(WatchdogFrame::Refresh, offset))
        .or_else(|| {
            within(layout::WATCHDOG_CONTROL)
                .map(|offset| Device::Watchdog(WatchdogFrame::Control, offset))
        })
}

#[inline(always)]
fn read<C: Cpu>(
    device: Device,
    width: Width,
    vcpu: &Vcpu,
    devices: &mut Devices,
    cpu: &mut C,
) -> Read {
    match device {
        Device::Distributor(offset) => devices.vgic.dist_read(vcpu.index, offset, width, cpu),
        Device::Redistributors(offset) => devices.vgic.redist_read(vcpu.index, offset, width, cpu),
        Device::Uart(offset) => {
            let value = devices.uart.read(offset, width);
            if offset == 0 {
                took_input(vcpu, devices, cpu);
            }
            Read::Value(value)
        }
        Device::Watchdog(frame, offset) => Read::Value(devices.watchdog.read(frame, offset, width)),
    }
}

/// A load from `UARTDR`: the interrupt line may have fallen, and there is room for more input.
#[inline(never)]
fn took_input<C: Cpu>(vcpu: &Vcpu, devices: &mut Devices, cpu: &mut C) {
    let kicks = devices
        .update_uart(vcpu.index)
        .union(devices.vgic.flush(vcpu.index, cpu));
    cpu.kick(kicks);
    cpu.input_room();
}

fn write<C: Cpu>(
    device: Device,
    width: Width,
    value: u64,
    vcpu: &Vcpu,
    devices: &mut Devices,
    cpu: &mut C,
) -> VcpuSet {
    match device {
        Device::Distributor(offset) => devices
            .vgic
            .dist_write(vcpu.index, offset, width, value, cpu),
        Device::Redistributors(offset) => devices
            .vgic
            .redist_write(vcpu.index, offset, width, value, cpu),
        Device::Uart(offset) => {
            let was_full = devices.uart.room() == 0;
            if let Some(byte) = devices.uart.write(offset, width, value) {
                cpu.transmit(byte);
            }
            // The end of a loopback (UARTCR.LBE): what was held back may come.
            if was_full && devices.uart.room() != 0 {
                cpu.input_room();
            }
            devices
                .update_uart(vcpu.index)
                .union(devices.vgic.flush(vcpu.index, cpu))
        }
        Device::Watchdog(frame, offset) => {
            let now = cpu.now().wrapping_sub(devices.virtual_offset);
            devices.watchdog.write(frame, offset, width, value, now);
            // What is due by now is for the EL2 timer to find, which can also end the VM.
            let kicks = devices
                .update_watchdog(vcpu.index)
                .union(devices.vgic.flush(vcpu.index, cpu));
            cpu.deadlines_changed(vcpu, devices);
            kicks
        }
    }
}

/// Returns what a load puts into its register: cut to the access, sign-extended, cut to the register.
#[inline]
fn extend(value: u64, access: Access) -> u64 {
    let value = access.width.truncate(value);
    if !access.sign_extend {
        return value;
    }
    let unused = 64 - 8 * access.width.bytes();
    let extended = ((value << unused) as i64 >> unused) as u64;
    if access.sixty_four {
        extended
    } else {
        extended & 0xffff_ffff
    }
}

#[cfg(test)]
mod tests;
