//! `explain`: what EL2 would decide about a platform and a manifest, told on the host by the same code.
//!
//! It probes nothing: what the boot would find of memory is an option. Files that are not there are a warning; those that
//! are, are placed in their VM's RAM.

mod cpus;
mod decide;
mod devices;
mod functions;
pub(crate) mod machine;
mod picture;
mod print;
mod proof;
mod reason;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use assay_harness::manifest::{Manifest, Vm};
use assay_harness::{bundle, overlay};
use assay_plan::gate;
use assay_plan::platform::{self, HostPlatform};
use clap::Args;

use crate::failure::unusable;

pub(crate) use decide::{Loaded, Report};
pub(crate) use proof::Given;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The platform's device tree, as a blob or its source: firmware's, or QEMU's (-M …,dumpdtb=FILE)
    #[arg(long, value_name = "FILE.dtb|FILE.dts", required_unless_present = "list_cpus")]
    tree: Option<PathBuf>,
    /// The VMs, and the overlays beside them. Without it only the machine is told: console, GIC, how CPUs start
    #[arg(long, value_name = "FILE", requires = "cpu")]
    manifest: Option<PathBuf>,
    /// The CPUs: a name, a file with the lines of a machine's console that begin with `assay: cpu`, or REGISTER=VALUE
    /// (ID_AA64PFR1_EL1=0x221), which changes the one before it. Of several, what all of them have counts
    #[arg(long, value_name = "NAME[,NAME…]", value_delimiter = ',')]
    cpu: Vec<String>,
    /// What the boot's proof finds: passed, failed-tags or failed-memory, of all regions or of one; of RAM
    /// (`memory=`) passed or failed-tags. Without it everything is taken to pass, and printed not-run
    #[arg(long, value_name = "[REGION=]RESULT", value_delimiter = ',')]
    proof: Vec<Given>,
    /// Print JSON: an array with an object for each row, its keys those of the console's decision line
    #[arg(long)]
    json: bool,
    /// Also draw each VM's memory beside the machine's, as SVG
    #[arg(long, value_name = "FILE", requires = "manifest")]
    svg: Option<PathBuf>,
    /// Also write a page with that picture and the reasons
    #[arg(long, value_name = "FILE", requires = "manifest")]
    html: Option<PathBuf>,
    /// List the CPUs that --cpu knows, with the registers that count
    #[arg(long)]
    list_cpus: bool,
}

/// Runs the command.
///
/// # Errors
/// Unusable input (exit status 2); a VM that would not start (1).
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.list_cpus {
        print!("{}", cpus::list());
        return Ok(());
    }
    if let (Some(tree), None) = (&options.tree, &options.manifest) {
        return machine_alone(tree).map_err(unusable);
    }
    let mut warnings = Vec::new();
    let report = report(options, &mut warnings);
    if let Ok(report) = &report {
        print!("{}", if options.json { format!("{}\n", print::json(report)) } else { print::table(report) });
        warnings.extend_from_slice(&report.warnings);
        for (path, draw) in [(&options.svg, picture::svg as fn(&Report) -> String), (&options.html, picture::html)] {
            if let Some(path) = path {
                fs::write(path, draw(report)).with_context(|| path.display().to_string())?;
            }
        }
    }
    // Also of what is unusable: they may say why.
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    let report = report.map_err(unusable)?;
    let refused = report.refused();
    if !refused.is_empty() {
        bail!("{} would not start: the rows with a refusal say why, and what would change it", refused.join(", "));
    }
    Ok(())
}

/// Tells what firmware's tree says of the machine.
fn machine_alone(tree: &Path) -> Result<()> {
    let named = || format!("platform tree {}", tree.display());
    let mut machine = machine::read(&blob(tree).with_context(named)?).with_context(named)?;
    machine.lose_misplaced(&[]);
    print!("{}", machine::lines(&machine));
    for odd in machine.oddities() {
        eprintln!("warning: {}: {}", odd.node, odd.reason);
    }
    Ok(())
}

/// Decides; what is odd about the files goes to `warnings`, about the machine into the report.
fn report(options: &Options, warnings: &mut Vec<String>) -> Result<Report> {
    let (Some(tree), Some(path)) = (&options.tree, &options.manifest) else {
        bail!("give --tree and --manifest");
    };
    let host = cpus::common(&options.cpu)?;
    let mut manifest = Manifest::read(path)?;
    // As `run` has it. QEMU's side of it is of no interest here.
    let _ = manifest.plug(path.parent().unwrap_or(Path::new("")))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut machine = machine(tree, &manifest, folder, warnings)?;
    machine.cut_memory(host.pa_range_bits());
    warnings.extend(machine.oddities().iter().map(|odd| format!("{}: {}", odd.node, odd.reason)));
    warnings.extend(manifest.warnings());
    let missing = RefCell::new(Vec::new());
    let files = |vm: &Vm| {
        let loaded = || {
            Ok(Loaded {
                kernel: bundle::kernel(vm, folder)?,
                ramdisk: bundle::ramdisk(vm, folder)?.unwrap_or_default(),
                flash: vm.flash.iter().map(|flash| bundle::flash(flash, folder)).collect::<Result<_>>()?,
            })
        };
        let say = |error: anyhow::Error| {
            format!("vm \"{}\": whether its files can be started is not known: {error:#}", vm.name)
        };
        loaded().map_err(|error| missing.borrow_mut().push(say(error))).ok()
    };
    let report = Report::new(&machine, &manifest, &host, &options.proof, &files);
    warnings.append(&mut missing.borrow_mut());
    report
}

/// What is decided about a machine that a test has made, with the VMs' files left out.
#[cfg(test)]
pub(crate) fn decide_for(machine: &HostPlatform, manifest: &Manifest, cpu: &str) -> Result<Report> {
    Report::new(machine, manifest, &cpus::common(&[cpu.to_owned()])?, &[], &|_| None)
}

/// Reads the platform as EL2 does: firmware's tree, then the bundle's overlays in their order.
fn machine(tree: &Path, manifest: &Manifest, folder: &Path, warnings: &mut Vec<String>) -> Result<HostPlatform> {
    let named = || format!("platform tree {}", tree.display());
    let bytes = blob(tree).with_context(named)?;
    let mut machine = platform::parse(&bytes).with_context(named)?;
    let firmware = gate::Tree::new(&bytes).with_context(named)?;
    for file in &manifest.platform {
        let path = folder.join(file);
        let overlay = overlay::read(&path).context("platform")?;
        let applied =
            platform::facts::overlay(&mut machine, &firmware, &overlay).with_context(|| path.display().to_string())?;
        if !applied {
            warnings.push(format!(
                "{} is for another board: its compatible has nothing in common with {}",
                path.display(),
                machine.compatible.join(", ")
            ));
        }
    }
    let claimed = manifest.vm.iter().flat_map(|vm| &vm.devices);
    machine.read_devices(&firmware, claimed.map(String::as_str));
    machine.lose_misplaced(&[]);
    Ok(machine)
}

/// A tree's blob, compiled where it is source.
fn blob(tree: &Path) -> Result<Vec<u8>> {
    if tree.extension().is_some_and(|ending| ending == "dts") {
        return overlay::read_tree(tree);
    }
    Ok(fs::read(tree)?)
}
