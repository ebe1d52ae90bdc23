//! Nodes that are no devices for a VM: what EL2 drives, what the machine is made of, and what is given in another way.

use crate::gate::Node;
use crate::platform::{HostPlatform, bus};

/// Buses whose windows are the devices behind them.
const HOSTS: &[&str] = &["pci-host-ecam-generic"];
/// Where the time of all CPUs comes from, and what starts and stops them.
const MACHINE: &[&str] = &[
    "arm,armv7-timer-mem",
    "arm,armv8-timer",
    "arm,psci",
    "arm,psci-0.2",
    "arm,psci-1.0",
    "arm,scmi-smc",
    "linaro,optee-tz",
];
/// Not devices at all.
const TOP: &[&str] = &["aliases", "chosen", "cpus", "firmware", "memory", "psci", "reserved-memory"];

/// Says what the node is, if it is such a one: a sentence's end.
pub(super) fn of(machine: &HostPlatform, node: Node<'_, '_>) -> Option<&'static str> {
    let chain = || core::iter::once(node).chain(node.ancestors());
    let is_pci = |node: &Node<'_, '_>| {
        let kind = node.property("device_type");
        node.is_compatible(HOSTS) || kind.is_some_and(|kind| kind.starts_with(b"pci"))
    };
    let is_top = |node: Node<'_, '_>| {
        node.parent().is_some_and(|parent| parent.parent().is_none()) && TOP.contains(&node.name())
    };
    let is_rtc = || {
        let registers = bus::registers(node).ok();
        machine.rtc.is_some() && registers.and_then(|all| all.first().copied()) == machine.rtc
    };
    if node.parent().is_none() || chain().any(is_top) {
        return Some("is no device");
    }
    if chain().any(|node| node.path() == machine.gic.path) {
        return Some("is the interrupt controller, which EL2 drives");
    }
    if node.has("#iommu-cells") {
        return Some("is an SMMU or its like, by which devices are kept apart");
    }
    if machine.console.as_ref().is_some_and(|console| console.path == node.path()) {
        return Some("is the console, which EL2 drives");
    }
    if is_rtc() {
        return Some("is the clock that the clocks of all VMs go by");
    }
    if chain().any(|node| is_pci(&node)) {
        return Some("is a PCI host bridge or behind one, whose functions are given by their addresses");
    }
    (node.is_compatible(MACHINE)).then_some("is the machine's own: all CPUs depend on it")
}
