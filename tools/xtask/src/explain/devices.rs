//! The devices of the platform tree that VMs claim by path: where the guest finds them, and what they reach.

use std::fmt::Write as _;

use assay_plan::claims::VmClaims;
use assay_plan::policy::line::UNCHECKED;
use assay_plan::vm_plan::{Device as Planned, VmPlan};
use serde_json::{Map, Value};

/// One device of a VM.
#[derive(Debug)]
pub(crate) struct Device {
    vm: String,
    /// Its node.
    node: String,
    /// Registers: where, where in the guest, how many bytes.
    registers: Vec<(String, String, u64)>,
    /// Interrupts: the machine's, the guest's, and whether it is an edge.
    interrupts: Vec<(u32, u32, bool)>,
    /// What SMMUs know its accesses by: the SMMU's node, and the StreamID.
    streams: Vec<(String, u32)>,
    /// Nothing checks its accesses.
    is_unchecked: bool,
    /// The regions that it reaches.
    reaches: Vec<String>,
    /// It has a clock whose rate nobody says.
    has_unknown_clock: bool,
}

/// Lists the devices of a VM, in the manifest's order.
pub(super) fn all(plan: &VmPlan<'_>, claims: &VmClaims<'_>) -> Vec<Device> {
    plan.devices.iter().map(|device| one(plan, claims, device)).collect()
}

fn one(plan: &VmPlan<'_>, claims: &VmClaims<'_>, planned: &Planned<'_>) -> Device {
    let registers = planned.device.registers.iter().flatten().zip(planned.guest_registers());
    let reached = claims.rows.iter().map(|row| row.region.to_owned());
    Device {
        vm: plan.config.name.clone(),
        node: planned.device.path.clone(),
        registers: registers.map(|(pa, ipa)| (pa.start.to_string(), ipa.start.to_string(), ipa.size)).collect(),
        interrupts: planned.lines.iter().map(|(wire, guest)| (wire.intid.0, guest.0, wire.is_edge)).collect(),
        reaches: if planned.streams.is_empty() { Vec::new() } else { reached.collect() },
        is_unchecked: planned.is_unchecked,
        streams: planned.streams.iter().map(|stream| (plan.smmu(*stream).to_owned(), stream.id)).collect(),
        has_unknown_clock: planned.device.clocks.contains(&0),
    }
}

impl Device {
    /// Its lines below the table.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}  device {}\n", self.vm, self.node);
        // Writing to a String cannot fail.
        for (pa, ipa, size) in &self.registers {
            let _ = writeln!(text, "    registers {pa} are at {ipa} in the guest, {size:#x} bytes");
        }
        for (physical, guest, is_edge) in &self.interrupts {
            let kind = if *is_edge { "edge" } else { "level" };
            let _ = writeln!(text, "    interrupt {physical} is {guest} in the guest, {kind}");
        }
        for (smmu, id) in &self.streams {
            let _ = writeln!(text, "    DMA by stream {id:#x} of {smmu}: it reaches {}", self.reaches.join(", "));
        }
        if self.is_unchecked {
            let _ = writeln!(text, "    DMA by allow = [\"unchecked-dma\"]: it {UNCHECKED}");
        } else if self.streams.is_empty() {
            text += "    no DMA: it makes no accesses of its own\n";
        }
        if self.has_unknown_clock {
            text += "    note: the rate of a clock is not known, and the guest is told 24 MHz: assay,clock-rates says another\n";
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("kind", "device".into());
        put("vm", self.vm.as_str().into());
        put("node", self.node.as_str().into());
        let registers = self.registers.iter().map(|(pa, ipa, size)| format!("{pa}:{ipa}:{size:#x}").into());
        put("registers", Value::Array(registers.collect()));
        let interrupts = self.interrupts.iter().map(|(physical, guest, _)| format!("{physical}:{guest}").into());
        put("interrupts", Value::Array(interrupts.collect()));
        let streams = self.streams.iter().map(|(smmu, id)| format!("{smmu}:{id:#x}").into());
        put("streams", Value::Array(streams.collect()));
        put("unchecked-dma", if self.is_unchecked { "yes" } else { "no" }.into());
        put("reaches", self.reaches.as_slice().into());
        Value::Object(object)
    }
}
