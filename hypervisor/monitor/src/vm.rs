//! A VM as the monitor runs it: its parts, its phases, and the machine's end when none is left.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, Ordering};

use assay_el2::traps::Config;
use assay_el2::{gic, guest_regs};
use assay_model::exits::{Crash, Stop};
use assay_model::kernel::KernelError;
use assay_model::policy::line::Quoted;
use assay_model::vcpus::VcpuSet;
use assay_model::vm::{Devices, Machine};
use assay_model::vm_tree::OnCrash;
use spin::{Mutex, Once};

use crate::console::say;
use crate::create;
use crate::load::Contents;
use crate::pool::Sharing;

/// Where a VM is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// vCPU 0's CPU fills its memory.
    Loading,
    /// It runs.
    Running,
    /// Its vCPUs are leaving their guest.
    Stopping,
    /// It has ended.
    Stopped,
}

/// What ends a life and how far that is.
struct Ending {
    /// Why, from the first who asked.
    stop: Option<Stop>,
    /// The vCPUs whose CPUs have let go of the guest.
    parked: VcpuSet,
    /// It has been started before.
    restarted: bool,
}

/// One VM.
pub(crate) struct Vm {
    pub(crate) name: String,
    pub(crate) machine: Machine,
    /// What a CPU loads before it runs a vCPU, but for `VPIDR_EL2` and `VMPIDR_EL2`.
    pub(crate) traps: Config,
    /// Which optional EL1 registers its vCPUs have.
    pub(crate) registers: guest_regs::Optional,
    pub(crate) devices: Mutex<Devices>,
    pub(crate) contents: Mutex<Contents>,
    pub(crate) on_crash: OnCrash,
    /// The physical CPU of each vCPU; empty if it shares CPUs.
    pub(crate) cpus: Vec<usize>,
    /// What sharing CPUs takes, if it does.
    pub(crate) sharing: Option<Sharing>,
    phase: AtomicU8,
    ending: Mutex<Ending>,
}

static VMS: Once<Vec<&'static Vm>> = Once::new();

/// Sets the list of VMs that start, once.
pub(crate) fn set(vms: Vec<&'static Vm>) {
    VMS.call_once(|| vms);
}

/// Returns all VMs.
pub(crate) fn all() -> &'static [&'static Vm] {
    VMS.get().map_or(&[], Vec::as_slice)
}

/// Returns the VM that the console's input goes to: the first that has not ended.
pub(crate) fn listener() -> Option<&'static Vm> {
    all()
        .iter()
        .copied()
        .find(|vm| vm.phase() != Phase::Stopped)
}

/// The parts of a VM that is about to exist.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) machine: Machine,
    pub(crate) traps: Config,
    pub(crate) registers: guest_regs::Optional,
    pub(crate) contents: Contents,
    pub(crate) on_crash: OnCrash,
    pub(crate) cpus: Vec<usize>,
    pub(crate) sharing: Option<Sharing>,
}

impl Vm {
    /// Puts a VM together, to be loaded first.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            devices: Mutex::new(Devices::new(&parts.machine)),
            name: parts.name,
            machine: parts.machine,
            traps: parts.traps,
            registers: parts.registers,
            contents: Mutex::new(parts.contents),
            on_crash: parts.on_crash,
            cpus: parts.cpus,
            sharing: parts.sharing,
            phase: AtomicU8::new(Phase::Loading as u8),
            ending: Mutex::new(Ending {
                stop: None,
                parked: VcpuSet::EMPTY,
                restarted: false,
            }),
        }
    }

    /// Returns where the VM is in its life.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Loading,
            1 => Phase::Running,
            2 => Phase::Stopping,
            _ => Phase::Stopped,
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Interrupts the CPUs of these vCPUs, but for the running one. A vCPU without CPU gets its turn.
    #[inline(never)]
    pub(crate) fn kick(&self, vcpus: VcpuSet) {
        if let Some(sharing) = &self.sharing {
            return sharing.wake(vcpus);
        }
        let this = assay_el2::percpu::index();
        for cpu in vcpus.iter().filter_map(|vcpu| self.cpus.get(vcpu)) {
            if *cpu != this {
                gic::kick(*cpu);
            }
        }
    }

    fn kick_all(&self) {
        self.kick(VcpuSet::first(self.machine.vcpus));
    }

    /// Tells whether the guest's UART can take a byte.
    pub(crate) fn has_input_room(&self) -> bool {
        self.devices.lock().uart.room() != 0
    }

    /// Gives the guest's UART a byte.
    pub(crate) fn receive(&self, byte: u8) {
        let (_, kicks) = self.devices.lock().receive(byte);
        self.kick(kicks);
    }

    /// Another VM, number `from` in the region of doorbell `index`, rings. A VM that does not run hears nothing.
    pub(crate) fn ring(&self, index: usize, from: u8) {
        if self.phase() == Phase::Running && self.machine.doorbells.rung(index, from) {
            let kicks = self.devices.lock().ring(index);
            self.kick(kicks);
        }
    }

    /// Starts the VM's life: its memory is as it must be.
    pub(crate) fn started(&self) {
        let mut ending = self.ending.lock();
        if !core::mem::replace(&mut ending.restarted, true) {
            say!(
                "vm name={} event=started ticks={}",
                self.name,
                assay_el2::cpu::counter()
            );
        }
        ending.parked = VcpuSet::EMPTY;
        drop(ending);
        self.set_phase(Phase::Running);
        self.kick_all();
    }

    /// Asks all vCPUs to leave their guest, for this reason unless there is one already.
    pub(crate) fn stop(&self, stop: Stop) {
        let mut ending = self.ending.lock();
        if ending.stop.is_none() {
            ending.stop = Some(stop);
            drop(ending);
            self.set_phase(Phase::Stopping);
            self.kick_all();
        }
    }

    /// Notes that the running CPU has let go of `vcpu`; the last one ends this life.
    pub(crate) fn parked(&self, vcpu: usize) {
        let mut ending = self.ending.lock();
        ending.parked.insert(vcpu);
        if ending.parked != VcpuSet::first(self.machine.vcpus) {
            return;
        }
        let Some(stop) = ending.stop.take() else {
            return;
        };
        drop(ending);
        self.end(stop);
    }

    /// The VM cannot be loaded. Before its first start that is a refusal, after it the end of a life; either way it
    /// is not tried again.
    pub(crate) fn failed_to_load(&self, error: KernelError) {
        if self.ending.lock().restarted {
            say!("error vm={} reason={}", self.name, Quoted(&error));
            say!(
                "vm name={} event=crashed cause={}",
                self.name,
                Crash::Load.name()
            );
        } else {
            create::refused(&self.name, &create::rule_of(error), &error, error.remedy());
        }
        self.set_phase(Phase::Stopped);
        end_machine_if_idle();
    }

    fn end(&self, stop: Stop) {
        let again = match stop {
            Stop::PowerOff => {
                say!("vm name={} event=stopped cause=off", self.name);
                false
            }
            Stop::Reset => {
                say!("vm name={} event=restarted cause=reset", self.name);
                true
            }
            Stop::Crash(crash) => {
                say!("vm name={} event=crashed cause={}", self.name, crash.name());
                let again = self.on_crash == OnCrash::Restart;
                if again {
                    say!(
                        "vm name={} event=restarted cause={}",
                        self.name,
                        crash.name()
                    );
                }
                again
            }
        };
        if again {
            self.contents.lock().restart();
            self.set_phase(Phase::Loading);
            self.kick_all();
        } else {
            self.set_phase(Phase::Stopped);
            end_machine_if_idle();
        }
    }
}

/// Powers the machine off when no VM runs and none will.
pub(crate) fn end_machine_if_idle() {
    if all().iter().all(|vm| vm.phase() == Phase::Stopped) {
        crate::power_off();
    }
}
