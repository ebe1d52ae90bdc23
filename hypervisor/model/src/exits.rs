//! What happens at an exit: the one decision function, for the shortest way and the longest.
//!
//! It changes the guest's registers and the VM's devices, and answers with what is left to do. The hot exits
//! (PSCI_VERSION, an ID register, a read of the interrupt controller) take no more than one lock.

use crate::lock::{DEVICES, Guard, Mutex};
use assay_spec::esr;
use assay_spec::exit::{Exit, SysRegAccess};
use assay_spec::frame::{General, Return};
use assay_spec::psci::ret;
use assay_spec::sysreg::SysReg;
use spin::relax::RelaxStrategy;

use crate::doorbell::Ring;
use crate::doorbell::Side;
use crate::inject::Fault;
use crate::life::Stop;
use crate::psci::{self, Outcome};
use crate::smccc::{self, Reply, Workaround};
use crate::stage::Stage;
use crate::sysregs::{self, Answer, Sgi};
use crate::vcpus::VcpuSet;
use crate::vgic::{ListRegisters, Unsent};
use crate::virtio::News;
use crate::vm::{Devices, GuestMachine, Vcpu};

mod accessed;
mod between;
pub mod device;
pub mod gic;
mod shared;
pub mod uart;

pub use accessed::Accessed;
pub use between::between;
pub use shared::{Shared, may_be_shared, shared};

/// Where the guest is in its program, which stays in the CPU's registers while an exit is handled.
pub trait Program {
    /// Does as [`Return::advance`].
    fn advance(&mut self);
    /// Does as [`Return::advance_either`].
    fn advance_either(&mut self, wide: bool);
}

impl Program for Return {
    fn advance(&mut self) {
        self.advance();
    }
    fn advance_either(&mut self, wide: bool) {
        self.advance_either(wide);
    }
}

/// What a decision needs of the physical CPU that the vCPU runs on.
pub trait Cpu: ListRegisters + Program {
    /// What it does between two looks at a lock that another CPU has.
    type Relax: RelaxStrategy;
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
    /// Brings a ring to the VM that it is for, if there is one that runs. No lock of this VM's is held.
    fn ring(&mut self, ring: Ring);
    /// Tells which of the others that share a region a ring would reach now, a bit each.
    fn peers(&self, side: Side) -> u32;
    /// Tells the other VM of device `number` what it is to know. No lock of this VM's is held.
    fn tell(&mut self, number: usize, news: News);
    /// Arms the EL2 timer anew: a deadline of this vCPU has changed, or that of its VM's watchdog, which is now `watchdog`.
    fn deadlines_changed(&mut self, vcpu: &Vcpu, watchdog: Option<u64>);
    /// Reads a word of the configuration space of the VM's PCI function.
    fn config_read(&mut self, function: usize, offset: u16) -> u32;
    /// Writes the Command register of the VM's PCI function.
    fn set_command(&mut self, function: usize, command: u32);
    /// Writes those bits of a word of its configuration space that the second number has.
    fn config_write(&mut self, function: usize, offset: u16, value: (u32, u32));
}

/// What a VM's vCPUs share, as a CPU waits for it.
pub type Locked<C> = Mutex<Devices, DEVICES, <C as Cpu>::Relax>;
/// The same while this CPU holds it.
pub type Held<'a, C> = Guard<'a, Devices, DEVICES, <C as Cpu>::Relax>;

/// What is to be done after an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Enter the guest again where it is.
    Resume,
    /// Step over the trapped instruction, then resume.
    Advance,
    /// Make the guest take an exception.
    Inject(Fault),
    /// Leave the guest: the vCPU is off, or waits.
    Leave(Stage),
    /// The whole VM stops.
    Stop(Stop),
}

/// Handles a read of an identification register into one that is never lazy, as [`handle`] would, by a system register's
/// syndrome. Returns whether it was one.
#[inline(always)]
pub fn read_id(esr: u64, general: &mut General, machine: &GuestMachine, program: &mut impl Program) -> bool {
    /// Op0, Op1, CRn and direction of the syndrome, and what they are in a read of the ID space.
    const ID_FIELDS: u64 = 3 << 20 | 7 << 14 | 0xf << 10 | 1;
    const ID_READ: u64 = 3 << 20 | 1;
    if esr & ID_FIELDS != ID_READ {
        return false;
    }
    let (crm, op2, rt) = (esr >> 1 & 0xf, esr >> 17 & 7, esr::register_access(esr).rt);
    match machine.id.feature(crm, op2) {
        Some(value) if !General::is_lazy(rt) => {
            general.set(rt, value);
            program.advance();
            true
        }
        _ => false,
    }
}

/// Handles a synchronous exit of `vcpu`. Inlined, so that a caller who knows the kind of exit has no more than that.
#[inline(always)]
pub fn handle<C: Cpu>(
    exit: Exit,
    general: &mut General,
    vcpu: &mut Vcpu,
    machine: &GuestMachine,
    devices: &Locked<C>,
    cpu: &mut C,
) -> Next {
    match exit {
        Exit::Hvc { imm: 0 } => call(general, vcpu, machine, devices, cpu),
        // SMCCC is HVC #0 only (DEN0028 §2.9); Linux never uses another.
        Exit::Hvc { .. } => {
            general.x[0] = ret::register(ret::NOT_SUPPORTED);
            Next::Resume
        }
        // Where there is no memory there is nothing to maintain.
        Exit::DataAbort(abort) if abort.maintenance && !abort.table_walk && esr::ipa_is_valid(&abort) => Next::Advance,
        // Those that are a device's are `access`'s.
        Exit::DataAbort(abort) => Next::Inject(Fault::of_data(&abort)),
        Exit::SysReg(access) => system_register(access, general, vcpu, machine, devices, cpu),
        // The saved program counter is at the SMC, not past it.
        Exit::Smc { imm } => match if imm == 0 { call(general, vcpu, machine, devices, cpu) } else { Next::Resume } {
            Next::Resume if imm == 0 => Next::Advance,
            Next::Resume => {
                general.x[0] = ret::register(ret::NOT_SUPPORTED);
                Next::Advance
            }
            Next::Leave(stage) => {
                cpu.advance();
                Next::Leave(stage)
            }
            other => other,
        },
        Exit::InstrAbort(abort) => Next::Inject(Fault::of_fetch(&abort)),
        Exit::Wfx { wide, .. } => {
            cpu.advance_either(wide);
            Next::Resume
        }
        Exit::FpTrap | Exit::Unknown => Next::Inject(Fault::Undefined),
    }
}

/// The function that a call names: w0.
#[inline(always)]
fn function(general: &General) -> u32 {
    (general.x[0] & 0xffff_ffff) as u32
}

/// An SMCCC call: the answer is in x0 to x3, and the guest goes on.
#[inline]
fn call<C: Cpu>(
    general: &mut General,
    vcpu: &mut Vcpu,
    machine: &GuestMachine,
    devices: &Locked<C>,
    cpu: &mut C,
) -> Next {
    if answer(general) || ask(general, devices, cpu) {
        return Next::Resume;
    }
    slow_call(function(general), general, vcpu, machine, devices, cpu)
}

/// Handles a call that every VM gets the same answer to. Returns whether it was one.
#[inline(always)]
pub fn answer(general: &mut General) -> bool {
    let answer = smccc::fast_path(function(general));
    if let Some(answer) = answer {
        general.x[0] = answer;
    }
    answer.is_some()
}

/// Handles another call that only asks, and changes nothing but x0 to x3: TRNG's and AFFINITY_INFO. Returns whether it was one,
/// and the lock for the latter free.
#[inline(always)]
pub fn ask<C: Cpu>(general: &mut General, devices: &Locked<C>, cpu: &mut C) -> bool {
    let fid = function(general);
    if psci::is_affinity_info(fid) {
        let Some(devices) = devices.at_once() else {
            return false;
        };
        let answer = devices.power.affinity_info(fid, [general.x[1], general.x[2]]);
        general.x[0] = ret::register(answer);
    } else if smccc::is_trng(fid) {
        let has_source = cpu.has_entropy();
        let mut entropy = || cpu.entropy();
        match smccc::trng(fid, general.x[1], if has_source { Some(&mut entropy) } else { None }) {
            Reply::Four(values) => general.x[..4].copy_from_slice(&values),
            Reply::One(value) => general.x[0] = value,
            Reply::Workaround(_) | Reply::StoreBypass { .. } => {}
        }
    } else {
        return false;
    }
    true
}

#[inline(never)]
fn slow_call<C: Cpu>(
    fid: u32,
    general: &mut General,
    vcpu: &mut Vcpu,
    machine: &GuestMachine,
    devices: &Locked<C>,
    cpu: &mut C,
) -> Next {
    let args = [general.x[1], general.x[2], general.x[3]];
    match smccc::handle_lockless(fid, args, &machine.workarounds) {
        Some(Reply::One(value)) => general.x[0] = value,
        Some(Reply::Four(values)) => general.x[..4].copy_from_slice(&values),
        Some(Reply::Workaround(which)) => {
            cpu.workaround(which);
            general.x[0] = 0;
        }
        Some(Reply::StoreBypass { allowed }) => {
            general.x[0] = 0;
            if core::mem::replace(&mut vcpu.store_bypass, allowed) != allowed {
                // It is entered in another way from now on.
                return Next::Leave(Stage::On);
            }
        }
        None => {
            let mut devices = devices.lock();
            let outcome = devices.power.call(fid, args, vcpu.index, &|address| machine.is_code(address));
            drop(devices);
            return power(outcome, general, cpu);
        }
    }
    Next::Resume
}

fn power<C: Cpu>(outcome: Outcome, general: &mut General, cpu: &mut C) -> Next {
    match outcome {
        Outcome::Return(value) => general.x[0] = value,
        Outcome::TurnOn { target } => {
            general.x[0] = 0;
            cpu.kick(VcpuSet::one(target));
        }
        Outcome::Leave(stage) => {
            general.x[0] = 0;
            return Next::Leave(stage);
        }
        Outcome::Stop(stop) => return Next::Stop(stop),
    }
    Next::Resume
}

/// Returns what is written to the system register that a running system writes most, `ICC_SGI1R_EL1`, by which the guest
/// interrupts another vCPU; if it is that. [`send_sgi`] does what [`handle`] would.
#[inline(always)]
pub fn sgi(esr: u64, general: &General, machine: &GuestMachine) -> Option<u64> {
    let is_sgi = esr::is_write_of(esr, SysReg::ICC_SGI1R_EL1) && machine.id.has_gic_registers();
    is_sgi.then(|| general.get(esr::register_access(esr).rt))
}

/// Sends the SGI that a write of `ICC_SGI1R_EL1` asks for, as far as [`sgi1r_at_once`](crate::vgic::Vgic::sgi1r_at_once) has not,
/// and steps over it.
#[inline(always)]
pub fn send_sgi<C: Cpu>(unsent: Unsent, vcpu: &Vcpu, mut devices: Held<'_, C>, cpu: &mut C) {
    let kicks = devices.vgic.send_unsent(vcpu.index, unsent, cpu);
    drop(devices);
    accessed::step_over(kicks, cpu);
}

#[inline(always)]
fn send<C: Cpu>(value: u64, vcpu: &Vcpu, mut devices: Held<'_, C>, cpu: &mut C) {
    let kicks = devices.vgic.sgi1r(vcpu.index, value, cpu);
    drop(devices);
    if !kicks.is_empty() {
        cpu.kick(kicks);
    }
}

/// Sends an SGI the long way.
#[inline(never)]
fn send_other<C: Cpu>(kind: Sgi, value: u64, vcpu: &Vcpu, devices: &Locked<C>, cpu: &mut C) {
    match kind {
        Sgi::Sgi1 => send(value, vcpu, devices.lock(), cpu),
        // With one Security state both others are of Group 0 (IHI 0069H §12.2).
        Sgi::Asgi1 | Sgi::Sgi0 => {
            let kicks = devices.lock().vgic.sgi0r(vcpu.index, value, cpu);
            cpu.kick(kicks);
        }
    }
}

#[inline]
fn system_register<C: Cpu>(
    access: SysRegAccess,
    general: &mut General,
    vcpu: &mut Vcpu,
    machine: &GuestMachine,
    devices: &Locked<C>,
    cpu: &mut C,
) -> Next {
    let value = general.get(access.rt);
    match sysregs::answer(access, &machine.id, value) {
        Answer::Read(value) => general.set(access.rt, value),
        Answer::Ignore => {}
        Answer::Undefined => return Next::Inject(Fault::Undefined),
        Answer::Sgi { kind, value } => send_other(kind, value, vcpu, devices, cpu),
        Answer::PhysTimer(register) => {
            let now = cpu.now();
            if access.read {
                general.set(access.rt, vcpu.timer.read(register, now));
            } else {
                vcpu.timer.write(register, value, now);
                let mut devices = devices.lock();
                let kicks = vcpu.update_timer(&mut devices, cpu, now);
                let watchdog = machine.watchdog_deadline(&devices);
                drop(devices);
                cpu.deadlines_changed(vcpu, watchdog);
                cpu.kick(kicks);
            }
        }
        Answer::SetWay => {}
    }
    Next::Advance
}

#[cfg(test)]
mod tests;
