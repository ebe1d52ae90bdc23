//! The interrupt controller and the Generic Timer's interrupts.

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};
use assay_spec::intid::IntId;

use super::{PlatformError, bus, interrupts, missing};
use crate::gate::{Node, Tree};

/// The interrupt controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gic {
    /// Its node.
    pub path: String,
    /// Its register frames.
    pub version: HostGic,
    /// The maintenance interrupt of its virtual CPU interface.
    pub maintenance: IntId,
}

/// Which GIC architecture, and where its frames are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostGic {
    /// GICv3 or GICv4 (IHI 0069).
    V3 {
        /// The Distributor.
        dist: Region<Pa>,
        /// The ranges that hold the Redistributors, in tree order; at least one.
        redists: Vec<Region<Pa>>,
        /// `redistributor-stride` in bytes, if it is not what GICR_TYPER implies.
        stride: Option<u64>,
    },
    /// GICv2 with the virtualization extensions (IHI 0048).
    V2 {
        /// The Distributor.
        dist: Region<Pa>,
        /// The CPU interface (GICC).
        cpu: Region<Pa>,
        /// The virtual interface control registers (GICH).
        hyp: Region<Pa>,
        /// The virtual CPU interface (GICV).
        vcpu: Region<Pa>,
    },
}

/// The Generic Timer's private interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    /// The Non-secure EL1 physical timer.
    pub phys: IntId,
    /// The EL1 virtual timer.
    pub virt: IntId,
    /// The Non-secure EL2 physical timer.
    pub hyp: IntId,
}

const V3: &[&str] = &["arm,gic-v3"];
/// Those of Linux's driver that can have the virtualisation extensions.
const V2: &[&str] = &["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic", "qcom,msm-qgic2"];
const TIMER: &[&str] = &["arm,armv8-timer"];

/// Finds the first GIC in the tree that is not disabled.
pub(super) fn find<'t, 'a>(tree: &'t Tree<'a>) -> Result<Node<'t, 'a>, PlatformError> {
    let gic = |node: &Node<'_, '_>| (node.is_compatible(V3) || node.is_compatible(V2)) && node.is_available();
    let wants = "no interrupt controller that is a GICv2 (arm,gic-400, arm,cortex-a15-gic) or a GICv3 (arm,gic-v3); Assay needs one";
    tree.nodes().find(gic).ok_or_else(|| missing("/", wants))
}

/// Reads the GIC's frames and its maintenance interrupt.
pub(super) fn parse(node: Node<'_, '_>) -> Result<Gic, PlatformError> {
    let regions = bus::registers(node)?;
    let version = if node.is_compatible(V3) {
        let count = node.u32("#redistributor-regions")?.unwrap_or(1);
        let redists = regions.get(1..).and_then(|rest| rest.get(..count as usize));
        match (regions.first(), redists) {
            (Some(&dist), Some(redists)) if !redists.is_empty() => {
                HostGic::V3 { dist, redists: redists.to_vec(), stride: node.u64("redistributor-stride")? }
            }
            _ => {
                let wants = "must hold the Distributor and then #redistributor-regions Redistributor ranges";
                return Err(node.malformed("reg", wants).into());
            }
        }
    } else {
        match regions.as_slice() {
            &[dist, cpu, hyp, vcpu, ..] => HostGic::V2 { dist, cpu, hyp, vcpu },
            _ => {
                let wants = "must hold GICD, GICC, GICH and GICV: without the last two there is no virtualization (on QEMU: virtualization=on)";
                return Err(node.malformed("reg", wants).into());
            }
        }
    };
    let maintenance = interrupts::nth(node, node, 0)?;
    let wants = "no `interrupts`, which must be the maintenance interrupt (on QEMU: virtualization=on)";
    Ok(Gic { path: node.path(), version, maintenance: maintenance.ok_or_else(|| missing(&node.path(), wants))? })
}

/// Reads the timer's interrupts: by `interrupt-names` if there are any, else in the binding's order
/// (Secure physical, Non-secure physical, virtual, hypervisor physical).
pub(super) fn timer<'t, 'a>(tree: &'t Tree<'a>, gic: Node<'t, 'a>) -> Result<Timer, PlatformError> {
    let timer = |node: &Node<'_, '_>| node.is_compatible(TIMER) && node.is_available();
    let node = tree.nodes().find(timer);
    let node = node.ok_or_else(|| missing("/", "no timer (arm,armv8-timer); Assay needs one"))?;
    let names = node.strs("interrupt-names")?;
    let named = node.has("interrupt-names");
    let interrupt = |name: &str, place: usize| -> Result<IntId, PlatformError> {
        let which = if named { names.clone().position(|one| one == name) } else { Some(place) };
        let found = match which {
            Some(which) => interrupts::nth(node, gic, which)?,
            None => None,
        };
        let wants = "must hold the GIC's interrupts of the EL1 physical, the virtual and the EL2 physical timer";
        let found = found.filter(|intid| intid.is_private());
        found.ok_or_else(|| node.malformed("interrupts", wants).into())
    };
    Ok(Timer { phys: interrupt("phys", 1)?, virt: interrupt("virt", 2)?, hyp: interrupt("hyp-phys", 3)? })
}

/// Reads the interrupt of the CPUs' performance monitors. One that is no PPI, or cannot be read, is as good as none.
pub(super) fn pmu<'t, 'a>(tree: &'t Tree<'a>, gic: Node<'t, 'a>) -> Option<IntId> {
    // Of the binding, `arm,armv8-pmuv3` or Arm's name for one CPU's is last in the list. Looked at as it is: this is a
    // part of each boot, and passes all nodes.
    let pmu = |node: &Node<'_, '_>| {
        let list = node.compatible();
        let is_pmu = list.ends_with(b"arm,armv8-pmuv3\0") || list.ends_with(b"-pmu\0") && list.starts_with(b"arm,");
        is_pmu && node.is_available()
    };
    let found = tree.nodes().filter(pmu).find_map(|node| interrupts::nth(node, gic, 0).ok()?);
    found.filter(|intid| intid.is_private())
}
