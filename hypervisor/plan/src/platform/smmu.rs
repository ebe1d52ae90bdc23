//! SMMUs of version 3: where they are and how they say that something went wrong. (The `arm,smmu-v3` binding.)

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};
use assay_spec::intid::IntId;

use super::{EcamHost, HostPlatform, PlatformError, Stream, interrupts, masters, room};
use crate::gate::{Node, Tree};
use assay_model::pci::Function;

/// An SMMUv3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Smmu {
    /// Its node.
    pub path: String,
    /// Its registers: pages 0 and 1. Or why nobody takes it over: what is behind it may then access all memory.
    pub registers: Result<Region<Pa>, String>,
    /// It can be used: `dma-coherent` says that it reads tables and queues as the CPUs' caches have them, and as far as
    /// somebody has looked it can do what it must.
    pub is_usable: bool,
    /// The interrupt of its event queue, if it is wired to the GIC.
    pub events: Option<IntId>,
}

/// Reads all that are not disabled. What is wrong with a node concerns those behind it alone.
pub(super) fn all<'t, 'a>(tree: &'t Tree<'a>, gic: Node<'t, 'a>, smmus: &mut Vec<Smmu>) -> Result<(), PlatformError> {
    let wanted = |node: &Node<'_, '_>| node.is_compatible(&["arm,smmu-v3"]) && node.is_available();
    for node in tree.nodes().filter(wanted) {
        let registers = masters::registers(node);
        // Without names the order is the binding's, in which the event queue is first.
        let which = if node.has("interrupt-names") {
            let mut names = node.strs("interrupt-names").into_iter().flatten();
            names.position(|name| matches!(name, "eventq" | "combined"))
        } else {
            Some(0)
        };
        let events = which.and_then(|which| interrupts::nth(node, gic, which).ok().flatten());
        let is_usable = registers.is_ok() && node.has("dma-coherent");
        room(smmus, "/")?;
        smmus.push(Smmu { path: node.path(), registers, is_usable, events });
    }
    Ok(())
}

impl Smmu {
    /// Notes that nobody takes it over, and why.
    pub fn lose(&mut self, why: String) {
        (self.registers, self.is_usable) = (Err(why), false);
    }
}

impl HostPlatform {
    /// Returns what the accesses of a function behind `host` are known by; `None` if they pass no SMMU that can be
    /// used, or not the CPUs' caches: then a guest's view of memory is not the device's (with FWB it cannot be).
    pub fn stream(&self, host: &EcamHost, function: Function) -> Option<Stream> {
        let (path, id) = host.streams.of(function).filter(|_| host.is_coherent)?;
        let smmu = self.smmus.iter().position(|smmu| smmu.path == path && smmu.is_usable)?;
        Some(Stream { smmu, id })
    }

    /// Tells whether a function behind `host` is behind an SMMU that nobody takes over.
    pub fn is_behind_lost(&self, host: &EcamHost, function: Function) -> bool {
        let path = host.streams.of(function).map(|(path, _)| path);
        self.smmus.iter().any(|smmu| smmu.registers.is_err() && path == Some(&*smmu.path))
    }
}
