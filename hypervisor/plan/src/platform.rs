//! The firmware's device tree, read into one [`HostPlatform`] value.
//!
//! This says what there is and decides nothing: what memory may be used for is `policy`'s matter, and
//! which driver runs is `monitor`'s. Whatever the tree gets wrong is a [`PlatformError`] that names the
//! node. Facts from the bundle's overlays are added by [`facts::overlay`].

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};
use assay_spec::intid::IntId;
use assay_spec::smccc::Conduit;

use crate::gate::{Flag, Malformed, Node, Tree, TreeError};

use crate::pci;

mod bus;
mod chosen;
mod console;
mod cpus;
mod device;
pub mod early;
pub mod facts;
mod fault;
mod gic;
mod interrupts;
mod its;
mod masters;
mod memory;
mod numa;
mod pcie;
mod registers;
mod reserved;
mod smmu;
#[cfg(test)]
mod tests;

pub use crate::pci::{DeviceId, EcamHost, PciWindow, Rival, Stream};
pub use console::{Console, early_console};
pub use cpus::{Cpu, Enable};
pub use device::{Accesses, PlatformDevice};
pub use fault::{NodeFault, Oddity, ParentFault};
pub use gic::{Gic, HostGic, Timer};
pub use interrupts::Wire;
pub use its::{Frames, Its};
pub use memory::{MemoryNode, Reservation};
pub use numa::{Distance, LOCAL};
pub use registers::Registers;
pub use reserved::{CoherentNode, PciBar};
pub use smmu::Smmu;

/// Why a platform tree, or an overlay to it, cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlatformError {
    /// The blob is not a device tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A property's value has not the form that its binding prescribes.
    #[error(transparent)]
    Property(#[from] Malformed),
    /// A node or property that EL2 cannot do without is not there.
    #[error("{path}: {wants}")]
    Missing {
        /// The node, or the one where it was looked for.
        path: String,
        /// What is missing, and what to do.
        wants: &'static str,
    },
    /// Two nodes say what only one of them can.
    #[error("{first} and {second}: {clash}")]
    Clash {
        /// The path of the first node.
        first: String,
        /// The path of the second node.
        second: String,
        /// What they both claim, and what to do.
        clash: &'static str,
    },
}

/// What the firmware's tree says about the machine. All addresses are the CPUs' (after `ranges`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPlatform {
    /// The root's `model`, empty if it has none.
    pub model: String,
    /// The root's `compatible`, the most specific first.
    pub compatible: Vec<String>,
    /// RAM: one for each `reg` entry of each memory node, in tree order; none overlap.
    pub memory: Vec<MemoryNode>,
    /// Memory that firmware keeps: `/memreserve/`, and `/reserved-memory` children with an address that
    /// are not [`HostPlatform::coherent`]. The initrd is not among them, the tree itself not either.
    pub reserved: Vec<Reservation>,
    /// The CPUs in tree order, without those whose `status` is not "okay".
    pub cpus: Vec<Cpu>,
    /// The interrupt controller that the CPUs are wired to.
    pub gic: Gic,
    /// The Generic Timer's interrupts.
    pub timer: Timer,
    /// The private interrupt of the CPUs' performance monitors.
    pub pmu: Option<IntId>,
    /// The registers of a real-time clock (`arm,pl031`).
    pub rtc: Option<Region<Pa>>,
    /// The UART that `/chosen/stdout-path` names.
    pub console: Option<Console>,
    /// What `/chosen/stdout-path` is, if it leads to no UART.
    lost_console: Option<String>,
    /// How PSCI is called, if the tree offers PSCI 0.2 or later.
    pub psci: Option<Conduit>,
    /// `/chosen/bootargs`, empty if there is none.
    pub bootargs: String,
    /// Where the boot loader put the initrd, which for us is the bundle.
    pub initrd: Option<Region<Pa>>,
    /// `/chosen/rng-seed`, empty if there is none.
    pub seed: Vec<u8>,
    /// `/chosen/kaslr-seed`, unless it is missing or 0.
    pub kaslr_seed: Option<u64>,
    /// Memory that the tree calls coherent (`assay,coherent-memory`), in tree order.
    pub coherent: Vec<CoherentNode>,
    /// The root's `assay,uniform-memory`: all coherent memory is interchangeable with RAM.
    pub uniform_memory: bool,
    /// Some root node has it with a value.
    uniform_has_value: bool,
    /// What `/distance-map` says, if there is one.
    pub distances: Vec<Distance>,
    /// PCI host bridges with an ECAM window (`pci-host-ecam-generic`).
    pub pcie: Vec<EcamHost>,
    /// Why others cannot be read.
    lost_pcie: Vec<Malformed>,
    /// What translates and checks the accesses of devices.
    pub smmus: Vec<Smmu>,
    /// What makes interrupts of devices' messages.
    pub itss: Vec<Its>,
    /// PCI functions that VMs claim, as far as somebody has looked for them.
    pub functions: Vec<pci::Found>,
    /// Devices that VMs claim by the paths of their nodes.
    pub claimed: Vec<PlatformDevice>,
    /// The registers of all devices.
    devices: registers::Devices,
    /// What overlays have said of devices.
    said: device::Said,
    /// All that is known of `/reserved-memory`, from which `reserved` and `coherent` are derived.
    facts: reserved::Facts,
    /// What overlays have said in vain.
    in_vain: Vec<(String, &'static str)>,
    /// The nodes that overlays have added.
    added: Vec<String>,
}

/// Reads the platform tree. Allocates; run it once at boot.
///
/// Errors name the node and the property and say what to do.
pub fn parse(dtb: &[u8]) -> Result<HostPlatform, PlatformError> {
    let tree = Tree::new(dtb)?;
    let gic = gic::find(&tree)?;
    let mut machine = HostPlatform::of(gic::parse(gic)?, gic::timer(&tree, gic)?);
    machine.fill(&tree, gic)?;
    Ok(machine)
}

impl HostPlatform {
    /// A machine of which nothing else is known yet.
    fn of(gic: Gic, timer: Timer) -> Self {
        Self {
            model: String::new(),
            compatible: Vec::new(),
            memory: Vec::new(),
            reserved: Vec::new(),
            cpus: Vec::new(),
            gic,
            timer,
            pmu: None,
            rtc: None,
            console: None,
            lost_console: None,
            psci: None,
            bootargs: String::new(),
            initrd: None,
            seed: Vec::new(),
            kaslr_seed: None,
            coherent: Vec::new(),
            uniform_memory: false,
            uniform_has_value: false,
            distances: Vec::new(),
            pcie: Vec::new(),
            lost_pcie: Vec::new(),
            smmus: Vec::new(),
            itss: Vec::new(),
            functions: Vec::new(),
            claimed: Vec::new(),
            said: device::Said::default(),
            devices: registers::Devices::default(),
            facts: reserved::Facts::default(),
            in_vain: Vec::new(),
            added: Vec::new(),
        }
    }

    /// Reads the rest. Field by field into a value that exists: an error then has one thing to drop,
    /// which is half the code of a literal full of `?`.
    fn fill<'t, 'a>(&mut self, tree: &'t Tree<'a>, gic: Node<'t, 'a>) -> Result<(), PlatformError> {
        let root = tree.root();
        self.model.push_str(root.str("model")?.unwrap_or_default());
        self.compatible.extend(root.strs("compatible")?.take(MAX_LIST).map(String::from));
        memory::nodes(tree, &mut self.memory, &mut self.facts)?;
        cpus::all(tree, &mut self.cpus)?;
        self.console = console::chosen(tree, gic)?;
        self.lost_console = console::path(tree).filter(|_| self.console.is_none()).map(String::from);
        self.pmu = gic::pmu(tree, gic);
        // One that cannot be read is as good as none.
        let rtc = tree.nodes().find(|node| node.is_compatible(&["arm,pl031"]) && node.is_available());
        self.rtc = rtc.and_then(|node| bus::registers(node).ok()).and_then(|regions| regions.first().copied());
        self.psci = chosen::conduit(tree)?;
        if let Some(chosen) = tree.find("/chosen") {
            self.bootargs.push_str(chosen::bootargs(chosen)?);
            self.initrd = chosen::initrd(chosen)?;
            self.seed.extend_from_slice(chosen::seed(chosen));
            self.kaslr_seed = chosen::kaslr_seed(chosen)?;
        }
        self.distances = numa::distances(tree);
        self.vouch(root);
        pcie::hosts(tree, gic, (&mut self.pcie, &mut self.lost_pcie))?;
        smmu::all(tree, gic, &mut self.smmus)?;
        its::all(tree, gic, &mut self.itss)?;
        self.devices.all(tree)?;
        memory::reservations(tree, &mut self.facts)?;
        self.facts.parent = reserved::Parent::of_root(root)?;
        if let Some(parent) = tree.find("/reserved-memory") {
            self.facts.parent.absorb(parent)?;
            let cells = parent.child_cells()?;
            for child in parent.children() {
                self.facts.absorb(&child.path(), child, cells)?;
            }
        }
        self.derive();
        Ok(())
    }

    /// Brings `reserved` and `coherent` up to date with the facts of a tree that was read to its end.
    fn derive(&mut self) {
        self.facts.settle();
        self.reserved = self.facts.reserved();
        self.coherent = self.facts.coherent();
        if self.uniform_has_value {
            let rests_on_it = |node: &&mut CoherentNode| !node.mte_capable && !node.no_mte && node.fault.is_none();
            for node in self.coherent.iter_mut().filter(rests_on_it) {
                node.fault = Some(NodeFault::UniformWithValue);
            }
        }
    }

    /// Reads what a root node says of all memory.
    fn vouch(&mut self, root: Node<'_, '_>) {
        match root.flag("assay,uniform-memory") {
            Some(Flag::Set) => self.uniform_memory = true,
            Some(Flag::Valued) => self.uniform_has_value = true,
            None => {}
        }
    }

    /// Lists what is odd in the trees and decides nothing by itself.
    pub fn oddities(&self) -> Vec<Oddity<'_>> {
        let mut all: Vec<_> = self.facts.oddities().collect();
        all.extend(self.in_vain.iter().map(|(node, reason)| Oddity { node, reason: (*reason).into() }));
        all.extend(self.rivals().chain(self.unread()).chain(self.lost()));
        if self.uniform_has_value {
            let reason = "assay,uniform-memory has a value and is not believed: write it without one, or leave it out";
            all.push(Oddity { node: "/", reason: reason.into() });
        }
        all.extend(self.mute());
        all
    }
}

/// The most RAM ranges, CPUs, reserved nodes or host bridges that are read: far more than any machine
/// has, and few enough that a tree cannot use up the heap or the time of a boot.
const MAX_LIST: usize = 1024;

/// Refuses to make a list longer than [`MAX_LIST`].
fn room<T>(list: &[T], path: &str) -> Result<(), PlatformError> {
    if list.len() < MAX_LIST {
        return Ok(());
    }
    let wants = "has more than 1024 entries of a kind; leave out what is not there";
    Err(missing(path, wants))
}

/// Refuses a list in which two entries claim the same thing.
fn distinct<T>(
    list: &[T],
    path: impl Fn(&T) -> &String,
    is_same: impl Fn(&T, &T) -> bool,
    clash: &'static str,
) -> Result<(), PlatformError> {
    // Pair by pair: a sort is several KiB of code, and no machine has many entries.
    for (index, second) in list.iter().enumerate() {
        if let Some(first) = list[..index].iter().find(|first| is_same(first, second)) {
            return Err(PlatformError::Clash { first: path(first).clone(), second: path(second).clone(), clash });
        }
    }
    Ok(())
}

/// Makes the error for something that is not there.
#[cold]
#[inline(never)]
fn missing(path: &str, wants: &'static str) -> PlatformError {
    let path = String::from(path);
    PlatformError::Missing { path, wants }
}
