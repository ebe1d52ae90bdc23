//! The PCI functions that VMs get something of: looked for, given places, and made to answer at the boot, and let work
//! while their VM lives.

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use assay_el2::gic::its::ItsError;
use assay_el2::pci::Ecam;
use assay_el2::smmu::SmmuError;
use assay_el2::stage2::DeviceRegime;
use assay_model::pci::header::{BUS_MASTER, COMMAND, INTX_DISABLE, MEMORY_SPACE};
use assay_model::pci::{ConfigSpace, Function, GuestFunction, Wired};
use assay_plan::claims;
use assay_plan::pci::{self, Address, BarFault, DeviceFault, Found, Progress};
use assay_plan::platform::{EcamHost, HostPlatform, PciBar};
use assay_plan::vm_plan::{Function as Planned, Shortage};
use assay_plan::vm_tree::VmConfig;
use assay_spec::addr::{Pa, Region};
use assay_spec::cpu_id::PcpuId;
use assay_spec::intid::IntId;

use crate::console::say;
use crate::smmu::{FunctionStream, Passage};
use crate::{msi, smmu};

mod ready;

pub(crate) use ready::Ready;

/// A host bridge's configuration space, as `model` wants it.
#[derive(Clone, Copy)]
struct Config(Ecam);

impl ConfigSpace for Config {
    fn read(&mut self, function: Function, offset: u16) -> u32 {
        self.0.read(function.0, offset)
    }
    fn write(&mut self, function: Function, offset: u16, value: u32) {
        self.0.write(function.0, offset, value);
    }
}

/// Has no PCI function of the machine make accesses of its own, in whatever state firmware left it: before any memory
/// is a VM's.
pub(crate) fn stop_dma(machine: &HostPlatform) {
    for host in &machine.pcie {
        let Some(ecam) = machine.has_ecam(host).then(|| open_host(host)).flatten() else {
            say!(
                "warning node={} reason=\"its configuration space is in memory or in use: functions that firmware left able to write to memory still are\"",
                host.path
            );
            continue;
        };
        for (function, is_off) in pci::stop_dma(host, &mut Config(ecam)) {
            if is_off {
                say!("boot node={} function={:04x}:{function} bus_master=off", host.path, host.segment);
            } else {
                say!(
                    "warning node={} function={:04x}:{function} reason=\"Bus Master stays on: it can write to memory\"",
                    host.path,
                    host.segment
                );
            }
        }
    }
}

fn open_host(host: &EcamHost) -> Option<Ecam> {
    Ecam::open(host.ecam, host.buses.0)
}

/// Finds each BAR that a VM claims as coherent memory, and notes in its node where it is or why it cannot be used.
pub(crate) fn find_bars(machine: &mut HostPlatform, vms: &[VmConfig], pa_bits: u8) {
    for index in claims::claimed_bars(machine, vms) {
        let Some(node) = machine.coherent.get(index) else {
            continue;
        };
        let (Some(bar), Some(length)) = (node.pci_bar, node.size()) else {
            continue;
        };
        let found = find(machine, bar, length, pa_bits);
        if let Ok((region, placed)) = &found {
            say!(
                "boot region={} function={:04x}:{} bar={} pa={} size={:#x} placed={}",
                node.name,
                bar.segment,
                Function(bar.requester_id),
                bar.bar,
                region.start,
                region.size,
                if *placed { "yes" } else { "no" }
            );
        }
        if let Some(node) = machine.coherent.get_mut(index) {
            node.bar = Some(found.map(|(region, _)| region));
        }
    }
}

/// Returns the memory, and whether a BAR of the function was given its place now.
fn find(machine: &HostPlatform, bar: PciBar, length: u64, pa_bits: u8) -> Result<(Region<Pa>, bool), BarFault> {
    let function = Function(bar.requester_id);
    let (host, mut config) = open(machine, bar.segment, function)?;
    let prepared = pci::prepare(host, &mut config, function, pa_bits, &machine.kept_in(host))?;
    Ok((prepared.region(bar.bar, length)?, prepared.moved))
}

/// Opens the configuration space that a function is in.
fn open(machine: &HostPlatform, segment: u32, function: Function) -> Result<(&EcamHost, Config), BarFault> {
    let host = machine.ecam_host(segment, function.bus())?;
    let ecam = open_host(host).ok_or(BarFault::NoEcam)?;
    Ok((host, Config(ecam)))
}

/// Finds each function that a VM claims, and notes what there is of it; opens the SMMUs that these and the claimed devices of
/// the platform tree are behind.
pub(crate) fn find_functions(machine: &mut HostPlatform, vms: &[VmConfig], pa_bits: u8) {
    let claimed = claims::claimed_functions(machine, vms);
    let stream = |machine: &HostPlatform, address: &Address| {
        let host = machine.ecam_host(address.segment, address.function.bus()).ok()?;
        machine.stream(host, address.function)
    };
    let device_id = |machine: &HostPlatform, address: &Address| {
        let host = machine.ecam_host(address.segment, address.function.bus()).ok()?;
        let _ = machine.stream(host, address.function)?;
        machine.device_id(host, address.function)
    };
    let of_devices = claims::platform_streams(machine, vms);
    let streams: Vec<_> = claimed.iter().filter_map(|address| stream(machine, address)).chain(of_devices).collect();
    smmu::open(machine, &streams);
    let devices: Vec<_> = claimed.iter().filter_map(|address| device_id(machine, address)).collect();
    msi::open(machine, &devices);
    for address in claimed {
        let found = match open(machine, address.segment, address.function) {
            Ok((host, mut config)) => {
                let known = (machine.stream(host, address.function), machine.device_id(host, address.function));
                pci::look(host, &mut config, address, known, pa_bits, &machine.kept_in(host))
            }
            Err(fault) => {
                let outcome = Err(DeviceFault::Bar(fault));
                Found { address, outcome, intx: None, stream: None, messages: None, root: 0 }
            }
        };
        machine.functions.push(found);
    }
}

/// A PCI function that a VM has.
pub(crate) struct Owned {
    config: Config,
    pub(crate) address: Address,
    /// The physical interrupt that its INTx is wired to, and the guest's.
    pub(crate) intx: Option<(IntId, IntId)>,
    /// What leads its accesses.
    dma: Option<Passage<FunctionStream>>,
    /// The first of the LPIs that its messages become, if it sends some.
    pub(crate) first_lpi: Option<u32>,
    /// It has not come back from its reset: it does nothing in this life.
    is_gone: AtomicBool,
    /// What is done with it between two lives.
    ready: Option<Ready>,
}

impl Owned {
    /// Takes over a VM's function, for good, and makes the guest's view of it. It accesses what `regime` lets it, if an
    /// SMMU is before it, and its messages come to CPU `cpu`. With `at_start` it is made ready before each life.
    pub(crate) fn take(
        machine: &HostPlatform,
        planned: &Planned<'_>,
        regime: Option<DeviceRegime>,
        cpu: PcpuId,
        at_start: bool,
    ) -> Result<(Self, GuestFunction), Shortage> {
        let address = planned.found.address;
        let Address { segment, function } = address;
        let (_, mut config) = open(machine, segment, function).map_err(|_| Shortage::NoBridge)?;
        let dma = planned
            .found
            .stream
            .map(|id| Passage::take(machine, id, regime, |smmu| smmu.function_stream(id.id, config.0, function.0)));
        let (intx, dma) = (planned.intx(), dma.transpose()?);
        let first_lpi = planned.messages.filter(|_| dma.is_some()).map(|device| {
            let fail = |error: ItsError| Shortage::Messages(machine.itss[device.its].path.clone(), error.to_string());
            msi::map(device, cpu).map_err(fail)
        });
        let first_lpi = first_lpi.transpose()?;
        let wired = Wired { has_interrupt: intx.is_some(), has_dma: dma.is_some(), has_messages: first_lpi.is_some() };
        let view = GuestFunction::new(&mut config, function, &planned.bars(), wired);
        let prepared = planned.found.outcome.clone().ok();
        let ready = prepared.and_then(|prepared| Ready::of(config, address, prepared, at_start));
        let is_gone = AtomicBool::new(false);
        Ok((Self { config, address, intx, dma, first_lpi, is_gone, ready }, view))
    }

    /// Reads a word of its configuration space.
    pub(crate) fn read(&self, offset: u16) -> u32 {
        self.config.0.read(self.address.function.0, offset)
    }

    /// Writes those bits of a word of its configuration space that the second number has.
    pub(crate) fn write(&self, offset: u16, (value, mask): (u32, u32)) {
        let word = self.read(offset) & !mask | value & mask;
        self.config.0.write(self.address.function.0, offset, word);
    }

    /// Writes its Command register; Status, beside it, is left alone. Bus Master is 0 if nothing checks what it accesses.
    pub(crate) fn set_command(&self, command: u32) {
        // One that has not come back might answer where another is.
        let is_gone = self.is_gone.load(Ordering::Relaxed);
        let command = if is_gone { INTX_DISABLE } else { command & 0xffff };
        match &self.dma {
            Some(dma) => dma.stream.write_command(command),
            None => self.config.0.write(self.address.function.0, COMMAND, command & !BUS_MASTER),
        }
    }

    /// Lets it work for a life of VM `vm` that begins.
    pub(crate) fn connect(&self, vm: &str) {
        if self.is_gone.load(Ordering::Relaxed) {
            return;
        }
        let result = self.dma.as_ref().map_or(Ok(()), Passage::open);
        self.report(vm, result);
        self.set_command(MEMORY_SPACE);
    }

    /// Ends its work for a life of VM `vm`: on return it accesses nothing. Its reset begins, if it has one.
    pub(crate) fn disconnect(&self, vm: &str) {
        // In the middle of a reset, a life that is to follow has not begun.
        if self.ready.as_ref().is_some_and(Ready::is_busy) {
            return;
        }
        self.set_command(MEMORY_SPACE | INTX_DISABLE);
        let result = self.dma.as_ref().map_or(Ok(()), Passage::close);
        self.report(vm, result);
        pci::stop_messages(&mut { self.config }, self.address.function);
        self.ready.iter().for_each(Ready::begin);
    }

    /// Goes on with its reset before a life of VM `vm`. Returns when to come again; `None` if it is ready.
    pub(crate) fn settle(&self, vm: &str) -> Option<u64> {
        match self.ready.as_ref()?.settle(vm)? {
            Progress::Wait(until) => return Some(until),
            Progress::Ready => self.is_gone.store(false, Ordering::Relaxed),
            Progress::Gone => self.is_gone.store(true, Ordering::Relaxed),
        }
        None
    }

    /// A life has not begun: what is done before is done again before the next.
    pub(crate) fn again(&self) {
        self.ready.iter().for_each(Ready::again);
    }

    fn report(&self, vm: &str, result: Result<(), SmmuError>) {
        if let Err(error) = result {
            say!("error vm={vm} function={} reason=\"the SMMU before it: {error}\"", self.address);
        }
    }

    /// Tells whether this is the function with a stream of an SMMU.
    pub(crate) fn has_stream(&self, smmu: usize, id: u32) -> bool {
        self.dma.as_ref().is_some_and(|dma| dma.is_of(smmu, id))
    }
}
