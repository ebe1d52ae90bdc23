//! `run`'s options and the manifest that they stand for.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use assay_harness::cache::{Cache, KERNELS};
use assay_harness::manifest::Manifest;
use assay_harness::programs;
use assay_harness::qemu::{Gic, Hardware};
use assay_plan::fields::{Field, vm};
use clap::{Args, ValueEnum};

use super::gdb::Guest;
use super::record::Outputs;
use super::vm_tree::{Module, module};
use crate::board::{Board, Qemu};

/// The options that describe the one VM of a run without manifest.
const ONE_VM: [&str; 8] = ["guest", "kernel", "initrd", "cmdline", "cpus", "memory", "mte", "format"];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The platform to run on
    #[arg(long, value_name = "NAME", default_value = "qemu-virt")]
    platform: String,
    /// Run the VMs of this manifest
    #[arg(long, value_name = "FILE", conflicts_with_all = ONE_VM)]
    manifest: Option<PathBuf>,
    /// Run this guest: debian (the default), debian-6.12, or a program of guests/ such as hello
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    guest: Option<String>,
    /// Run this kernel: an arm64 Image (plain, or packed by gzip, zstd or xz) or ELF file
    #[arg(long, value_name = "FILE")]
    kernel: Option<String>,
    /// The kernel is a flat binary with its entry at its first byte
    #[arg(long, value_name = "FORMAT", requires = "kernel")]
    format: Option<FormatName>,
    /// The guest's ramdisk
    #[arg(long, value_name = "FILE")]
    initrd: Option<String>,
    /// The guest's command line
    #[arg(long, value_name = "STR", allow_hyphen_values = true)]
    cmdline: Option<String>,
    /// The VM's CPUs [default: 2, or 1 for a program of guests/]
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// The VM's memory [default: 512M, or 64M for a program of guests/]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Give the VM memory tagging [default: off]
    #[arg(long)]
    mte: Option<Switch>,
    /// The machine's CPU, by QEMU's name [default: the platform's]
    #[arg(long, value_name = "QEMU-CPU")]
    cpu: Option<String>,
    /// The machine's interrupt controller
    #[arg(long, default_value = "3")]
    gic: GicVersion,
    /// Run the VMs of this dom0less device tree: a platform's whole one, or only its /chosen (docs/dom0less.md)
    #[arg(long, value_name = "FILE", conflicts_with = "manifest", conflicts_with_all = ONE_VM)]
    pub(super) vm_tree: Option<PathBuf>,
    /// Load FILE (a path, or a guest's name such as debian or busybox) to where the tree has a module
    #[arg(long = "module", value_name = "ADDR=FILE", requires = "vm_tree", value_parser = module)]
    pub(super) modules: Vec<Module>,
    /// The QEMU to use (8.2 or newer)
    #[arg(long, value_name = "PATH")]
    pub(crate) qemu: Option<PathBuf>,
    /// Compile the firmware in seconds, larger and slower
    #[arg(long)]
    pub(crate) fast: bool,
    #[command(flatten)]
    pub(super) outputs: Outputs,
    /// Wait for a debugger on port 1234
    #[arg(long)]
    pub(crate) gdb: bool,
    /// With --gdb, also give gdb a guest's symbols: an ELF file, moved by OFFSET where it is linked elsewhere than it runs
    #[arg(long, value_name = "FILE[@OFFSET]", requires = "gdb")]
    pub(super) symbols: Vec<Guest>,
    /// Only build, and print the plain QEMU command line
    #[arg(long)]
    pub(crate) print: bool,
    /// Further arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGS")]
    pub(crate) qemu_arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GicVersion {
    #[value(name = "2")]
    Two,
    #[value(name = "3")]
    Three,
}

impl Options {
    /// The VMs, and the folder that relative paths in them start at.
    ///
    /// # Errors
    /// Something is asked that is unusable.
    pub(crate) fn manifest(&self) -> Result<(Manifest, PathBuf)> {
        if let Some(path) = &self.manifest {
            let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
            return Ok((Manifest::read(path)?, folder));
        }
        let text = toml::to_string(&toml::Table::from_iter([("vm".to_owned(), vec![self.vm()?].into())]))?;
        Ok((Manifest::parse(&text)?, PathBuf::new()))
    }

    /// The platform's QEMU machine.
    ///
    /// # Errors
    /// There is no such platform, or QEMU can't play it.
    pub(crate) fn board(&self) -> Result<Qemu> {
        let board = Board::read(&self.platform)?;
        board.qemu.with_context(|| {
            format!("{} is no machine that QEMU plays: `cargo xtask image` makes its boot files", self.platform)
        })
    }

    /// `fitted`, with what platform and options say about the machine itself.
    ///
    /// # Errors
    /// There is no cache that a board's tree could be in.
    pub(crate) fn hardware(&self, board: Qemu, fitted: Hardware) -> Result<Hardware> {
        let gic = match self.gic {
            GicVersion::Two => Gic::V2,
            GicVersion::Three => Gic::V3,
        };
        let own = board.board(&Cache::locate()?.trees());
        Ok(Hardware { model: board.machine, cpu: self.cpu.clone().unwrap_or(board.cpu), gic, board: own, ..fitted })
    }

    /// The only VM, as a manifest's table.
    fn vm(&self) -> Result<toml::Table> {
        let guest = self.guest.as_deref().unwrap_or("debian");
        let linux = KERNELS.contains(&guest);
        if self.kernel.is_none() && !linux {
            let programs = programs::list()?;
            if !programs.iter().any(|program| program == guest) {
                bail!("no guest is named {guest}: there are {}, {}", KERNELS.join(", "), programs.join(", "));
            }
        }
        let small = self.kernel.is_none() && !linux;
        let known = self.kernel.is_none() && linux;
        let memory = self.memory.as_deref().unwrap_or(if small { "64M" } else { "512M" });
        // The name shows in console lines: a guest's own, `linux` for Debian.
        let name = if small { guest } else { "linux" };
        let cmdline = self.cmdline.as_deref().unwrap_or(if small { "" } else { "console=ttyAMA0" });
        let mut vm = toml::Table::new();
        let mut set = |field: &Field, value: toml::Value| drop(vm.insert(field.name.to_owned(), value));
        set(&vm::NAME, name.into());
        set(&vm::CPUS, self.cpus.unwrap_or(if small { 1 } else { 2 }).into());
        set(&vm::MEMORY, memory.into());
        set(&vm::MTE, (self.mte == Some(Switch::On)).into());
        set(&vm::KERNEL, self.kernel.as_deref().unwrap_or(guest).into());
        set(&vm::CMDLINE, cmdline.into());
        if let Some(initrd) = self.initrd.as_deref().or_else(|| known.then_some("busybox")) {
            set(&vm::INITRD, initrd.into());
        }
        if let Some(FormatName::Raw) = self.format {
            set(&vm::FORMAT, "raw".into());
        }
        Ok(vm)
    }
}
