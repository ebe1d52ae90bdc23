//! The PCI functions that VMs claim, as far as the tree knows them: what is before each, and what it reaches.

use std::fmt::Write as _;

use assay_model::pci::guest_function;
use assay_plan::claims::{self, VmClaims};
use assay_plan::pci::Address;
use assay_plan::platform::HostPlatform;
use serde_json::{Map, Value};

/// One function of a VM.
#[derive(Debug)]
pub(crate) struct Function {
    vm: String,
    address: Address,
    /// Where the guest finds it.
    guest: String,
    /// Its host bridge's node.
    host: String,
    /// What an SMMU knows its accesses by: the SMMU's node, and the StreamID.
    stream: Option<(String, u32)>,
    /// The regions that it reaches.
    reaches: Vec<String>,
    /// What INTA is wired to.
    inta: Option<u32>,
    /// BARs that are regions: index, region and place.
    bars: Vec<(u8, String, String)>,
}

/// Lists the functions of a VM, in the guest's order.
pub(super) fn all(machine: &HostPlatform, claims: &VmClaims<'_>) -> Vec<Function> {
    let names = claims.config.functions().filter(|name| claims::function_address(machine, name).is_some());
    (0..).zip(names).filter_map(|(index, name)| function(machine, claims, index, name)).collect()
}

fn function(machine: &HostPlatform, claims: &VmClaims<'_>, index: u8, name: &str) -> Option<Function> {
    let address = claims::function_address(machine, name)?;
    let host = machine.ecam_host(address.segment, address.function.bus()).ok()?;
    let stream = machine.stream(host, address.function);
    // The tables of the VM's devices have all memory that the VM has.
    let reached = claims.rows.iter().filter(|row| row.outcome.is_ok());
    let bars = claims.rows.iter().filter_map(|row| {
        let node = machine.coherent.iter().find(|node| row.nodes.contains(&node.path.as_str()))?;
        let bar =
            node.pci_bar.filter(|bar| (bar.segment, bar.requester_id) == (address.segment, address.function.0))?;
        Some((bar.bar, row.region.to_owned(), row.ipa?.start.to_string()))
    });
    Some(Function {
        vm: claims.config.name.clone(),
        address,
        guest: guest_function(index).to_string(),
        host: host.path.clone(),
        reaches: stream.map_or_else(Vec::new, |_| reached.map(|row| row.region.to_owned()).collect()),
        stream: stream.map(|stream| (machine.smmus[stream.smmu].path.clone(), stream.id)),
        inta: host.intx(address.function, 1).map(|intid| intid.0),
        bars: bars.collect(),
    })
}

impl Function {
    /// Its lines below the table.
    pub(super) fn text(&self) -> String {
        let mut text =
            format!("{}  function {}  at {} in the guest\n    {}\n", self.vm, self.address, self.guest, self.host);
        // Writing to a String cannot fail.
        let _ = match &self.stream {
            Some((smmu, id)) => {
                writeln!(text, "    DMA by stream {id:#x} of {smmu}: it reaches {}", self.reaches.join(", "))
            }
            None => {
                writeln!(text, "    no DMA: no SMMU that can be used is before it, or the bridge has no dma-coherent")
            }
        };
        let _ = match self.inta {
            Some(intid) => writeln!(text, "    INTA is wired to interrupt {intid}"),
            None => writeln!(text, "    INTA is wired to nothing that the tree says"),
        };
        for (bar, region, ipa) in &self.bars {
            let _ = writeln!(text, "    BAR {bar} is {region}, at {ipa} in the guest");
        }
        text += "    other BARs, and whether the function may be given, the boot finds out\n";
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("kind", "function".into());
        put("vm", self.vm.as_str().into());
        put("function", self.address.to_string().into());
        put("guest", self.guest.as_str().into());
        put("node", self.host.as_str().into());
        if let Some((smmu, id)) = &self.stream {
            put("smmu", smmu.as_str().into());
            put("stream", format!("{id:#x}").into());
        }
        if let Some(intid) = self.inta {
            put("inta", intid.to_string().into());
        }
        put("reaches", self.reaches.as_slice().into());
        let bars = self.bars.iter().map(|(bar, region, ipa)| format!("{bar}:{region}@{ipa}").into());
        put("bars", Value::Array(bars.collect()));
        Value::Object(object)
    }
}
