//! What the tree says of the machine itself, a line each: the console, the interrupt controller, how CPUs start.

use assay_plan::platform::{Console, Enable, HostGic, HostPlatform};
use assay_spec::smccc::Conduit;

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
    let ways = [
        (count(&|enable| enable == Enable::Psci), conduit),
        (count(&|enable| matches!(enable, Enable::SpinTable { .. })), "spin-table"),
        (count(&|enable| enable == Enable::None), "nothing that is known"),
    ];
    let ways = ways.iter().filter(|(count, _)| *count != 0);
    ways.map(|(count, way)| format!("{count} started by {way}")).collect::<Vec<_>>().join(", ")
}
