//! What the tree says of the machine itself, a line each: the console, the interrupt controller, how CPUs start.

use assay_plan::platform::{self, Console, Enable, HostGic, HostPlatform, PlatformError};
use assay_plan::uefi::{Handover, MemoryMap};
use assay_spec::smccc::Conduit;

/// Reads a tree. One as the kernel's source has it often leaves to firmware how much RAM there is: it gets a little, at
/// its lowest addresses.
pub(crate) fn read(dtb: &[u8]) -> Result<HostPlatform, PlatformError> {
    platform::parse(dtb).or_else(|error| match with_ram(dtb) {
        Some(tree) => platform::parse(&tree),
        None => Err(error),
    })
}

/// A blob with a memory node of 1 MiB at 0 if it has none, as if firmware's map had said so: no library writes all of the
/// kernel's trees.
fn with_ram(dtb: &[u8]) -> Option<Vec<u8>> {
    /// Conventional memory from 0 on, in pages, Write-Back (UEFI 2.10 §7.2.3).
    const MAP: [u64; 5] = [7, 0, 0, 0x100, 8];
    let bytes: Vec<u8> = MAP.iter().flat_map(|word| word.to_le_bytes()).collect();
    let map = MemoryMap { bytes: &bytes, stride: bytes.len() };
    let mut whole = vec![0; dtb.len() + 0x1000];
    let length = Handover { tree: dtb, map, bundle: None, arguments: None }.write(&mut whole).ok()?;
    whole.truncate(length);
    Some(whole)
}

/// The three lines.
pub(super) fn lines(machine: &HostPlatform) -> String {
    format!("console: {}\ngic: {}\ncpus: {}\n", console(machine.console.as_ref()), gic(machine), cpus(machine))
}

fn console(console: Option<&Console>) -> String {
    let Some(console) = console else {
        return "none: /chosen/stdout-path is not there, or leads to nothing with registers".to_owned();
    };
    let kind = console.wired.map_or("a UART without a driver", |wired| wired.uart.name);
    let input = match console.intid {
        Some(intid) => format!("interrupt {}", intid.0),
        None if console.wired.is_some() => "no interrupt of the GIC's, so no input".to_owned(),
        None => "nothing is shown".to_owned(),
    };
    format!("{}, {kind} at {}, {input}", console.path, console.registers.start)
}

fn gic(machine: &HostPlatform) -> String {
    let version = match machine.gic.version {
        HostGic::V3 { .. } => "GICv3",
        HostGic::V2 { .. } => "GICv2",
    };
    format!("{}, {version}, maintenance interrupt {}", machine.gic.path, machine.gic.maintenance.0)
}

fn cpus(machine: &HostPlatform) -> String {
    let conduit = match machine.psci {
        Some(Conduit::Smc) => "PSCI by SMC",
        Some(Conduit::Hvc) => "PSCI by HVC, which cannot be called from EL2",
        None => "PSCI, which the tree does not have",
    };
    let count = |is: &dyn Fn(Enable) -> bool| machine.cpus.iter().filter(|cpu| is(cpu.enable)).count();
    let tables = count(&|enable| matches!(enable, Enable::SpinTable { .. }));
    let lost = machine.cpus.iter().filter(|cpu| cpu.release().is_some() && !machine.can_start(cpu)).count();
    let ways = [
        (count(&|enable| enable == Enable::Psci), conduit),
        (tables - lost, "spin-table"),
        (lost, "a spin-table that is in no memory node, which is left alone"),
        (count(&|enable| enable == Enable::None), "nothing that is known"),
    ];
    let ways = ways.iter().filter(|(count, _)| *count != 0);
    ways.map(|(count, way)| format!("{count} started by {way}")).collect::<Vec<_>>().join(", ")
}
