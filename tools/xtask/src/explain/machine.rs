//! What the tree says of the machine itself, a line each: the console, the interrupt controller, how CPUs start.

use assay_plan::gate;
use assay_plan::platform::{self, Console, Enable, HostGic, HostPlatform, PlatformError};
use assay_spec::smccc::Conduit;

/// Reads a tree. One as the kernel's source has it often leaves to firmware how much RAM there is: it gets a little, at
/// its lowest addresses.
pub(crate) fn read(dtb: &[u8]) -> Result<HostPlatform, PlatformError> {
    platform::parse(dtb).or_else(|error| match with_ram(dtb) {
        Some(tree) => platform::parse(&tree),
        None => Err(error),
    })
}

/// A blob with a memory node as the root's last child, byte by byte: no library reads all of the kernel's trees.
/// (Devicetree Specification 0.4 §5.)
fn with_ram(dtb: &[u8]) -> Option<Vec<u8>> {
    let cells = gate::Tree::new(dtb).ok()?.root().child_cells().ok()?;
    let block = |offset: usize, size: usize| {
        let word = |at: usize| Some(u32::from_be_bytes(*dtb.get(at..)?.first_chunk()?) as usize);
        dtb.get(word(offset)?..)?.get(..word(size)?)
    };
    let (structure, strings) = (block(8, 36)?, block(12, 32)?);
    let mut reg = vec![0; (cells.address + cells.size) as usize];
    *reg.last_mut()? = 0x10_0000;
    let count = |count: usize| u32::try_from(count).ok();
    let name = |at: usize| count(strings.len() + at);
    let text = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
    // A node `memory` with `device_type = "memory"` and its `reg`; behind it the ends of the root and of the block.
    let mut words = vec![1, text(b"memo"), text(b"ry\0\0"), 3, 7, name(0)?, text(b"memo"), text(b"ry\0\0")];
    words.extend([3, count(reg.len())? * 4, name(12)?]);
    words.extend(reg);
    words.extend([2, 2, 9]);
    let structure = structure.strip_suffix(&[0, 0, 0, 2, 0, 0, 0, 9])?;
    let structure = [structure, &words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>()].concat();
    let strings = [strings, b"device_type\0reg\0"].concat();
    let start = dtb.len().next_multiple_of(4);
    let sizes = [structure.len(), strings.len()];
    let mut whole = dtb.to_vec();
    whole.resize(start, 0);
    whole.extend(structure.into_iter().chain(strings));
    let header = [(4, start + sizes[0] + sizes[1]), (8, start), (12, start + sizes[0]), (32, sizes[1]), (36, sizes[0])];
    for (at, value) in header {
        whole[at..at + 4].copy_from_slice(&count(value)?.to_be_bytes());
    }
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
