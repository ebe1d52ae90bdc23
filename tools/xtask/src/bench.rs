//! `bench`: the project's figures, in QEMU with one instruction a nanosecond. Reported whatever they are:
//! a missed target shows in the table and fails nothing.

mod boot;
mod exits;
mod io;
mod load;
mod peer;
mod plot;
mod plugin;
mod programs;
mod scaling;
mod table;
mod virtio;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{build, setup, size};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show what has changed since a run that wrote this file by --json
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Also what the exits cost under another hypervisor in the same QEMU
    #[arg(long, value_name = "NAME")]
    peer: Option<peer::Peer>,
    /// Only the small guests' figures, without Linux
    #[arg(long)]
    no_linux: bool,
    /// Instead: what 1, 2, 4, 8 and 16 VMs cost (with Linux half an hour)
    #[arg(long, conflicts_with_all = ["json", "against", "peer"])]
    scaling: bool,
    /// Instead: a disk and a network of Debian, natively, as PCI functions and between VMs, in times of this computer
    #[arg(long, conflicts_with_all = ["json", "against", "peer", "scaling", "no_linux"])]
    io: bool,
    /// Draw that into this SVG file
    #[arg(long, value_name = "FILE", requires = "scaling")]
    plot: Option<PathBuf>,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    value: f64,
    unit: String,
}

type Figures = BTreeMap<String, Figure>;

/// Runs the command.
///
/// # Errors
/// Something can't be built or doesn't run; never a figure.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(setup::Needs { qemu: true, guests: if options.no_linux { &[] } else { &["debian", "busybox"] } })?;
    let artifacts = build::firmware(build::Profile::Release)?;
    if options.io {
        setup::ensure(setup::Needs { qemu: true, guests: &["debian-6.12", "busybox"] })?;
        return io::run();
    }
    if options.scaling {
        build::guests(&["scale"])?;
        return scaling::run(!options.no_linux, options.plot.as_deref());
    }
    let before = options.against.as_deref().map(table::read_json).transpose()?;
    build::guests(&["bench", "hello", "pci", "virtio"])?;
    let (mut figures, mut native) = programs::measure()?;
    figures.extend(virtio::measure().context("an I/O between two VMs")?);
    let peer = options.peer.map(|peer| Ok::<_, anyhow::Error>((peer.name(), peer.measure()?))).transpose()?;
    let image = size::image(&artifacts.elf, &artifacts.image)?;
    let mut put = |name: &str, value: f64, unit: &str| {
        figures.insert(name.to_owned(), Figure { value, unit: unit.to_owned() });
    };
    put("image_bytes", whole(image.loaded)?, "bytes");
    put("image_bss_bytes", whole(image.bss)?, "bytes");
    if !options.no_linux {
        let linux = boot::measure().context("the Linux boot")?;
        put("linux_boot_to_init", linux.under_assay, "ns");
        native.insert("linux_boot_to_init".to_owned(), Figure { value: linux.native, unit: "ns".to_owned() });
        put("linux_boot_ratio", linux.under_assay / linux.native, "ratio");
        for (name, cost) in ["linux_boot", "linux_boot_2_cpus"].iter().zip(&linux.costs) {
            put(&format!("{name}_el2_insns"), whole(cost.insns)?, "insns");
            put(&format!("{name}_el2_entries"), whole(cost.entries)?, "exits");
        }
        let load = load::measure().context("a load on two CPUs")?;
        for (name, insns) in ["linux_load_el2_insns", "shared_linux_load_el2_insns"].into_iter().zip(load) {
            put(name, whole(insns)?, "insns");
        }
    }
    let mut beside = vec![("native", &native)];
    beside.extend(peer.as_ref().map(|(name, figures)| (*name, figures)));
    table::print(&figures, &beside, before.as_ref());
    if let Some(path) = &options.json {
        table::write_json(&figures, path)?;
    }
    Ok(())
}

/// Measures with a folder that goes afterwards.
fn with_folder<T>(name: &str, measure: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = std::env::temp_dir().join(format!("assay-bench-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&folder);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn whole(value: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(value)?))
}
