//! The CPUs: who there is and how each is started.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::{HostPlatform, PlatformError, distinct, missing, room};
use crate::gate::{Cells, Malformed, Node, Tree};

/// One CPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// Its node.
    pub path: String,
    /// Its affinity, laid out as in MPIDR_EL1 (Aff3 in bits 39:32, Aff2 to Aff0 in bits 23:0).
    pub mpidr: u64,
    /// How it is started.
    pub enable: Enable,
    /// `numa-node-id`.
    pub numa: Option<u32>,
}

/// How a CPU is started (`enable-method`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enable {
    /// By PSCI CPU_ON.
    Psci,
    /// By writing its entry address where it looks for it.
    SpinTable {
        /// Where the 64-bit entry address is written (`cpu-release-addr`).
        release: Pa,
    },
    /// There is no way to start it that we know; the boot CPU may be such a one.
    None,
}

impl Cpu {
    /// Returns where its spin-table looks for an entry address, if it is started by one.
    pub fn release(&self) -> Option<Pa> {
        match self.enable {
            Enable::SpinTable { release } => Some(release),
            _ => None,
        }
    }
}

impl HostPlatform {
    /// Tells whether there is a way to start `cpu`: a spin-table must be in memory, where the tree says so.
    pub fn can_start(&self, cpu: &Cpu) -> bool {
        let is_memory = |release| self.memory.iter().any(|memory| memory.region.contains(release));
        cpu.enable == Enable::Psci && self.psci.is_some() || cpu.release().is_some_and(is_memory)
    }

    /// Says why the page of a CPU's spin-table is not written, if it is not: nobody may have loaded anything there, over the
    /// loop that the CPU is in. `own` is what EL2 is in and keeps, by name.
    pub fn table_fault(&self, cpu: &Cpu, own: &[(&str, Region<Pa>)]) -> Option<String> {
        let page = Region::page_of(cpu.release()?)?;
        if !self.can_start(cpu) {
            return Some(String::from("its cpu-release-addr is in no memory node: it is left out"));
        }
        let (name, _) = own.iter().find(|(_, region)| region.overlaps(&page))?;
        Some(format!("its cpu-release-addr is in {name}: it is left out; load Assay and the bundle elsewhere"))
    }
}

/// The affinity fields of MPIDR_EL1 (DDI 0487 D24.2): Aff3 in 39:32, Aff2 to Aff0 in 23:0.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// Reads the CPUs in tree order, without the disabled ones.
pub(super) fn all(tree: &Tree<'_>, cpus: &mut Vec<Cpu>) -> Result<(), PlatformError> {
    let wants = "no CPU whose status is \"okay\"; Assay needs one";
    let parent = tree.find("/cpus").ok_or_else(|| missing("/cpus", wants))?;
    let cells = Cells { size: 0, ..parent.child_cells()? };
    for node in parent.children() {
        let is_cpu = node.property("device_type") == Some(b"cpu\0") || node.name() == "cpu";
        if is_cpu && node.is_available() {
            room(cpus, "/cpus")?;
            cpus.push(cpu(node, parent, cells)?);
        }
    }
    if cpus.is_empty() {
        return Err(missing("/cpus", wants));
    }
    let clash = "have the same `reg`; give each CPU its own affinity";
    distinct(cpus, |cpu| &cpu.path, |one, other| one.mpidr == other.mpidr, clash)
}

fn cpu(node: Node<'_, '_>, parent: Node<'_, '_>, cells: Cells) -> Result<Cpu, Malformed> {
    let mpidr = node.reg_with(cells)?.next().map(|(mpidr, _)| mpidr);
    let mpidr = mpidr.filter(|mpidr| mpidr & !AFFINITY == 0);
    let wants = "must be the CPU's MPIDR_EL1 affinity, with no other bits";
    Ok(Cpu {
        path: node.path(),
        mpidr: mpidr.ok_or_else(|| node.malformed("reg", wants))?,
        enable: enable(node, parent)?,
        numa: node.u32("numa-node-id")?,
    })
}

/// Reads `enable-method`, which may stand in the CPU's node or in `/cpus` for all.
fn enable(node: Node<'_, '_>, parent: Node<'_, '_>) -> Result<Enable, Malformed> {
    let own = node.str("enable-method")?;
    let method = match own {
        Some(method) => Some(method),
        None => parent.str("enable-method")?,
    };
    match method {
        Some("psci") => Ok(Enable::Psci),
        Some("spin-table") => {
            let release = node.u64("cpu-release-addr")?;
            let wants = "must be there with the spin-table's address, a multiple of 8";
            let release = release.filter(|release| release.is_multiple_of(8));
            let release = release.ok_or_else(|| node.malformed("cpu-release-addr", wants))?;
            Ok(Enable::SpinTable { release: Pa(release) })
        }
        _ => Ok(Enable::None),
    }
}
