//! The project's commands, as `cargo xtask …`.

#![forbid(unsafe_code)]

mod acpi;
mod base64;
mod bench;
mod board;
mod build;
mod cases;
mod ci;
mod compile;
mod explain;
mod failure;
mod flash;
mod floors;
mod image;
mod manual;
mod preflight;
mod progress;
mod run;
mod schema;
mod setup;
mod size;
mod source;
mod terminal;
mod test;
mod top;
mod trace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use assay_harness::manifest::Manifest;
use clap::{CommandFactory as _, Parser, Subcommand};
use setup::Extra;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Assay's commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot a guest under Assay in QEMU: Debian Linux, unless told otherwise
    Run(Box<run::Options>),
    /// Run the tests: on the host, then guests in QEMU
    Test(test::Options),
    /// Build the firmware and the guests; with a manifest, its bundle too
    Build {
        /// The VMs to put into the bundle
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
        /// Compile in seconds what is larger and slower, to try a change in QEMU
        #[arg(long)]
        fast: bool,
    },
    /// Write what a board boots
    Image(image::Options),
    /// Write a disk image to a card or stick, and read it back
    Flash(flash::Options),
    /// Measure the project's figures
    Bench(bench::Options),
    /// Show on the host what the policy decides about a platform and a manifest
    Explain(explain::Options),
    /// Show what VMs do, of a run with --console-dir
    Top(top::Options),
    /// Write the monitor's record of exits as a file for Perfetto
    Trace(trace::Options),
    /// Write a platform's device tree from its ACPI tables
    TreeFromAcpi(acpi::Options),
    /// Show where bytes and lines are
    Size(size::Options),
    /// Check that modules name each other in one direction only (hypervisor/floors.toml)
    Floors(floors::Options),
    /// Print the manifest's JSON schema
    Schema(schema::Options),
    /// Print completions for a shell
    Completions(manual::Completions),
    /// Print or write man pages
    Man(manual::Man),
    /// Run everything that a change must pass
    Ci,
    /// Fetch what the other commands need (they do it themselves where they can)
    Setup {
        /// Only report what is there and what is missing
        #[arg(long)]
        check: bool,
        /// Also fetch the QEMU of Debian unstable (`test` does so itself)
        #[arg(long)]
        qemu_next: bool,
        /// Also fetch and build the kernel's self-tests of arm64 (`test --long` does so itself)
        #[arg(long)]
        kselftests: bool,
        /// Also fetch the firmware that guests can run: U-Boot and AAVMF (what needs it does so itself)
        #[arg(long)]
        firmware: bool,
        /// Also unpack the device trees of all boards that Debian's kernel knows (what needs them does so itself)
        #[arg(long)]
        trees: bool,
        /// Also fetch the source of Trusted Firmware-A and build it for QEMU's virt (what needs it does so itself)
        #[arg(long)]
        tf_a: bool,
        /// Also fetch Debian's Xen (`bench --peer xen` does so itself)
        #[arg(long)]
        xen: bool,
    },
}

fn main() -> ExitCode {
    end_with_the_reader();
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if failure::is_unheard(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failure::status(&error))
        }
    }
}

/// A reader that has seen enough (`… | head`) ends the command without a panic's words. Nobody heard the rest, so
/// that is no success.
fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload().downcast_ref::<String>();
        if words.is_some_and(|words| words.starts_with("failed printing to stdout") && words.contains("Broken pipe")) {
            std::process::exit(1);
        }
        usual(panic);
    }));
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::Run(options) => run::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Build { manifest, fast } => build_all(manifest.as_deref(), build::Profile::fast(fast)),
        Command::Image(options) => image::run(&options),
        Command::Flash(options) => flash::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Top(options) => top::run(&options),
        Command::Trace(options) => trace::run(&options),
        Command::TreeFromAcpi(options) => acpi::run(&options),
        Command::Size(options) => size::run(options),
        Command::Floors(options) => floors::run(options),
        Command::Schema(options) => schema::run(&options),
        Command::Completions(options) => manual::completions(&options, Arguments::command()),
        Command::Man(options) => manual::man(&options, Arguments::command()),
        Command::Ci => ci::run(),
        Command::Setup { check: true, .. } => setup::check(),
        Command::Setup { check: false, qemu_next, kselftests, firmware, trees, tf_a, xen } => {
            setup::ensure(setup::ALL)?;
            let extras = [
                (qemu_next, Extra::NextQemu),
                (kselftests, Extra::Selftests),
                (firmware, Extra::Firmware),
                (trees, Extra::Trees),
                (tf_a, Extra::TrustedFirmware),
                (xen, Extra::Xen),
            ];
            for (wanted, extra) in extras {
                if wanted {
                    setup::fetch(extra)?;
                }
            }
            Ok(())
        }
    }
}

fn build_all(manifest: Option<&Path>, profile: build::Profile) -> Result<()> {
    setup::ensure(setup::Needs::default())?;
    let parsed = manifest.map(Manifest::read).transpose().map_err(failure::unusable)?;
    let artifacts = build::firmware(profile)?;
    build::guests(&[])?;
    if let (Some(manifest), Some(path)) = (parsed, manifest) {
        setup::ensure(setup::Needs { qemu: false, guests: &setup::guests_of(&manifest) })?;
        run::fetch_firmware(&manifest)?;
        build::warn(&manifest);
        let folder = path.parent().unwrap_or(Path::new(""));
        build::write_bundle(&manifest, folder, &artifacts.bundle).map_err(failure::unusable)?;
        println!("{}", artifacts.bundle.display());
    }
    println!("{}\n{}", artifacts.image.display(), artifacts.elf.display());
    Ok(())
}
