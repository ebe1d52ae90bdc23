//! A VM as the monitor runs it: its parts, and which there are.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use assay_el2::traps::Config;
use assay_el2::{cpu, gic, guest_regs, lock};
use assay_model::console::Shown;
use assay_model::counters::Counters;
use assay_model::exit_trace::ExitTrace;
use assay_model::life::Life;
use assay_model::lock::{CONTENTS, DEVICES, LIFE, Mutex};
use assay_model::pci::GuestFunction;
use assay_model::poison::Poison;
use assay_model::vcpus::VcpuSet;
use assay_model::vm::{Devices, GuestMachine};
use assay_plan::space::Stays;
use assay_spec::addr::{Ipa, Region};
use assay_spec::cpu_id::PcpuId;
use assay_spec::traps::TrapConfig;
use spin::Once;

pub(crate) use assay_model::life::Phase;

use crate::console;
use crate::device::Device;
use crate::load::Contents;
use crate::pci::{Owned, Ready};

pub(crate) mod dma;
pub(crate) mod intx;
mod life;
pub(crate) mod messages;
mod sharing;
pub(crate) mod virtio;

pub(crate) use life::{end_machine_if_idle, tick};
pub(crate) use sharing::Sharing;

/// One VM.
pub(crate) struct Vm {
    pub(crate) name: String,
    /// See [`Self::index`].
    index: AtomicUsize,
    pub(crate) machine: GuestMachine,
    /// What a CPU loads before it runs a vCPU, but for the traps of its kind, `VPIDR_EL2` and `VMPIDR_EL2`.
    pub(crate) config: Config,
    /// What traps on each kind of CPU.
    pub(crate) traps: Vec<TrapConfig>,
    /// Which optional EL1 registers its vCPUs have.
    pub(crate) registers: guest_regs::Optional,
    pub(crate) devices: Mutex<Devices, DEVICES, lock::Relax>,
    pub(crate) contents: Mutex<Contents, CONTENTS, lock::Relax>,
    /// Its PCI functions, in the guest's order.
    pub(crate) functions: Vec<Owned>,
    /// Its devices of the platform tree.
    pub(crate) platform: Vec<Device>,
    /// Functions that nobody has, and whose memory it has proved at each start.
    beside: Vec<Ready>,
    /// The interrupts that its functions and devices are wired to.
    pub(crate) lines: Vec<intx::Line>,
    /// The physical CPU of each vCPU; empty if it shares CPUs.
    pub(crate) cpus: Vec<PcpuId>,
    /// What sharing CPUs takes, if it does.
    pub(crate) sharing: Option<Sharing>,
    /// What was decided of its memory, as it was printed, and its map: lines for the monitor.
    pub(crate) listing: Vec<String>,
    /// The names of its coherent regions, in the order of its space.
    regions: Vec<String>,
    /// What lies where in its space, and the pages that failed.
    places: Vec<Place>,
    pub(crate) poison: lock::Mutex<Poison>,
    /// What each vCPU came to EL2 for.
    pub(crate) counters: Vec<Counters>,
    /// Its last exits, while [`Self::is_traced`].
    pub(crate) trace: lock::Mutex<ExitTrace>,
    is_traced: AtomicBool,
    /// The phase of `life`, to be read without its lock.
    phase: AtomicU8,
    life: Mutex<Life, LIFE, lock::Relax>,
}

static VMS: Once<Vec<&'static Vm>> = Once::new();

/// Sets the list of VMs that start, once.
pub(crate) fn set(vms: Vec<&'static Vm>) {
    for (index, vm) in vms.iter().enumerate() {
        vm.index.store(index, Ordering::Relaxed);
    }
    let vms = VMS.call_once(|| vms);
    vms.iter().for_each(|vm| intx::take_edges(vm));
}

/// Returns all VMs.
pub(crate) fn all() -> &'static [&'static Vm] {
    VMS.get().map_or(&[], Vec::as_slice)
}

/// Returns the VM of this name.
pub(crate) fn named(name: &str) -> Option<&'static Vm> {
    all().iter().copied().find(|vm| vm.name == name)
}

/// The VM that was chosen for the input, plus 1; 0 for none.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Gives the console's input to this VM for as long as it has not ended.
pub(crate) fn listen(vm: &Vm) {
    CHOSEN.store(vm.index().wrapping_add(1), Ordering::Relaxed);
}

/// Returns the VM that the console's input goes to: the chosen one, or while all are shown the first that has not
/// ended.
pub(crate) fn listener() -> Option<&'static Vm> {
    let is_up = |vm: &&'static Vm| vm.phase() != Phase::Stopped;
    let chosen = CHOSEN.load(Ordering::Relaxed).checked_sub(1);
    let chosen = chosen.and_then(|index| all().get(index).copied());
    match console::shown() {
        Shown::One(_) => chosen.filter(is_up),
        Shown::All => chosen.filter(is_up).or_else(|| all().iter().copied().find(is_up)),
    }
}

/// The parts of a VM that is about to exist.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) machine: GuestMachine,
    pub(crate) config: Config,
    pub(crate) traps: Vec<TrapConfig>,
    pub(crate) registers: guest_regs::Optional,
    pub(crate) contents: Contents,
    pub(crate) functions: Vec<Owned>,
    pub(crate) platform: Vec<Device>,
    pub(crate) beside: Vec<Ready>,
    /// The guest's view of them.
    pub(crate) guest_functions: Vec<GuestFunction>,
    pub(crate) life: Life,
    pub(crate) cpus: Vec<PcpuId>,
    pub(crate) sharing: Option<Sharing>,
    pub(crate) listing: Vec<String>,
    pub(crate) regions: Vec<String>,
    pub(crate) places: Vec<Place>,
}

/// A range of a VM's addresses.
pub(crate) struct Place {
    pub(crate) ipa: Region<Ipa>,
    pub(crate) name: String,
    /// Why its pages cannot leave, unless they can.
    pub(crate) stays: Option<Stays>,
}

impl Vm {
    /// Puts a VM together, to be loaded first.
    pub(crate) fn new(parts: Parts) -> Self {
        let mut devices = Devices::new(&parts.machine);
        // Before those that EL2 makes up.
        let _ = devices.functions.splice(0..0, parts.guest_functions);
        Self {
            devices: Mutex::new(devices),
            name: parts.name,
            index: AtomicUsize::new(usize::MAX),
            config: parts.config,
            traps: parts.traps,
            registers: parts.registers,
            contents: Mutex::new(parts.contents),
            lines: intx::lines(&parts.functions, &parts.platform),
            platform: parts.platform,
            functions: parts.functions,
            beside: parts.beside,
            cpus: parts.cpus,
            sharing: parts.sharing,
            listing: parts.listing,
            regions: parts.regions,
            places: parts.places,
            poison: lock::Mutex::new(Poison::default()),
            counters: (0..parts.machine.vcpus).map(|_| Counters::new()).collect(),
            machine: parts.machine,
            trace: lock::Mutex::new(ExitTrace::new()),
            is_traced: AtomicBool::new(false),
            phase: AtomicU8::new(parts.life.phase() as u8),
            life: Mutex::new(parts.life),
        }
    }

    /// Returns its place in [`all`], and in the console's list.
    pub(crate) fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    /// Returns what is at one of its addresses.
    pub(crate) fn place(&self, ipa: Ipa) -> Option<&Place> {
        self.places.iter().find(|place| place.ipa.contains(ipa))
    }

    /// Returns where the VM is in its life.
    pub(crate) fn phase(&self) -> Phase {
        Phase::from_number(self.phase.load(Ordering::Acquire))
    }

    /// Changes the VM's life, and prints what became of it before any CPU can see it.
    fn live<R>(&self, change: impl FnOnce(&mut Life) -> R) -> R {
        let mut life = self.life.lock();
        let result = change(&mut life);
        self.phase.store(life.phase() as u8, Ordering::Release);
        result
    }

    /// Returns how many lives it has begun, how many ended in a crash, and how old this one is in milliseconds.
    pub(crate) fn history(&self) -> (u64, u64, u64) {
        let life = self.life.lock();
        let (lives, crashes) = life.counts();
        (lives, crashes, life.age_ms(cpu::counter()))
    }

    /// Interrupts the CPUs of these vCPUs, but for the running one. A vCPU without CPU gets its turn.
    #[inline]
    pub(crate) fn kick(&self, vcpus: VcpuSet) {
        if !vcpus.is_empty() {
            self.interrupt(vcpus);
        }
    }

    #[inline(never)]
    fn interrupt(&self, vcpus: VcpuSet) {
        if let Some(sharing) = &self.sharing {
            return sharing.wake(vcpus);
        }
        let this = assay_el2::percpu::index();
        for cpu in vcpus.iter().filter_map(|vcpu| self.cpus.get(vcpu.0)) {
            if *cpu != this {
                gic::kick(*cpu);
            }
        }
    }

    /// Interrupts the CPUs of all vCPUs, but for the running one.
    pub(crate) fn kick_all(&self) {
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

    /// Tells whether its exits are recorded.
    pub(crate) fn is_traced(&self) -> bool {
        self.is_traced.load(Ordering::Relaxed)
    }

    /// Begins to record its exits, or ends it. Its vCPUs leave their guest to change over.
    pub(crate) fn set_traced(&self, on: bool) {
        if on {
            self.trace.lock().clear();
        }
        self.is_traced.store(on, Ordering::Relaxed);
        self.kick_all();
    }
}
