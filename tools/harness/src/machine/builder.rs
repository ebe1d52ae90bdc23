//! What a machine shall be, before it starts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Machine;
use super::feed::Feed;
use super::scratch::Scratch;
use crate::cache::Cache;
use crate::console::Splitter;
use crate::dom0less::{self, Dom0less};
use crate::error::{self, Kind};
use crate::home::Home;
use crate::manifest::{ConsoleStyle, Manifest};
use crate::qemu::{self, Gic, Hardware};
use crate::{bundle, image, process};

/// Describes a machine: the VMs, and where the defaults don't suit, the hardware.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    manifest: Manifest,
    folder: PathBuf,
    problem: Option<String>,
    checkout: Option<PathBuf>,
    image: Option<PathBuf>,
    qemu: Option<PathBuf>,
    cpu: Option<String>,
    cpus: Option<u32>,
    memory: Option<u64>,
    gic: Option<Gic>,
    mte: Option<bool>,
    icount: bool,
    board: Option<Vec<String>>,
    native: Option<PathBuf>,
    bare: Option<String>,
    appended: bool,
    by_firmware: bool,
    bundle: Option<Vec<u8>>,
    tree: Option<Dom0less>,
    modules: Vec<(u64, String)>,
    arguments: Vec<String>,
}

impl Builder {
    /// The VMs of a manifest's file; its relative paths start at its folder.
    #[must_use]
    pub fn manifest(self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        self.set(Manifest::read(path), folder)
    }

    /// The VMs of a manifest's text; its relative paths start at the current folder.
    #[must_use]
    pub fn manifest_text(self, text: &str) -> Self {
        self.set(Manifest::parse(text), PathBuf::new())
    }

    fn set(mut self, manifest: Result<Manifest>, folder: PathBuf) -> Self {
        match manifest {
            Ok(manifest) => (self.manifest, self.folder) = (manifest, folder),
            Err(error) => self.problem = Some(format!("{error:#}")),
        }
        self
    }

    /// The checkout of Assay whose firmware and programs are used, where [`crate::home`]'s own choice doesn't suit.
    #[must_use]
    pub fn checkout(mut self, path: impl Into<PathBuf>) -> Self {
        self.checkout = Some(path.into());
        self
    }

    /// Another firmware image than the one that `cargo xtask build` leaves.
    #[must_use]
    pub fn image(mut self, path: impl Into<PathBuf>) -> Self {
        self.image = Some(path.into());
        self
    }

    /// Another QEMU than the one that the set-up found or fetched.
    #[must_use]
    pub fn qemu(mut self, path: impl Into<PathBuf>) -> Self {
        self.qemu = Some(path.into());
        self
    }

    /// The physical CPU, by QEMU's name; `max` if not said.
    #[must_use]
    pub fn cpu(mut self, name: &str) -> Self {
        self.cpu = Some(name.to_owned());
        self
    }

    /// More or fewer physical CPUs than the VMs ask for.
    #[must_use]
    pub fn physical_cpus(mut self, count: u32) -> Self {
        self.cpus = Some(count);
        self
    }

    /// Another amount of physical memory, in bytes, than fits the VMs.
    #[must_use]
    pub fn physical_memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// The interrupt controller; GICv3 if not said.
    #[must_use]
    pub fn gic(mut self, gic: Gic) -> Self {
        self.gic = Some(gic);
        self
    }

    /// Whether the machine has tag storage; if not said, it has when a VM asks for tagging.
    #[must_use]
    pub fn machine_mte(mut self, on: bool) -> Self {
        self.mte = Some(on);
        self
    }

    /// One instruction a virtual nanosecond, so that times repeat.
    #[must_use]
    pub fn icount(mut self) -> Self {
        self.icount = true;
        self
    }

    /// A board instead of `virt`: all of QEMU's arguments for it. Those of its serial ports that come before the console
    /// are among them (`-serial null`).
    #[doc(hidden)]
    #[must_use]
    pub fn board(mut self, arguments: Vec<String>) -> Self {
        self.board = Some(arguments);
        self
    }

    /// This archive instead of the one that the manifest makes: for tests of what a broken one does.
    #[doc(hidden)]
    #[must_use]
    pub fn bundle(mut self, archive: Vec<u8>) -> Self {
        self.bundle = Some(archive);
        self
    }

    /// Runs this program (an ELF file with an arm64 Image header in it) at EL1 without Assay, as the one
    /// "VM" `native`: what a guest's results are compared with.
    #[doc(hidden)]
    #[must_use]
    pub fn native(mut self, program: impl Into<PathBuf>) -> Self {
        self.native = Some(program.into());
        self
    }

    /// Starts a machine at EL1 without Assay, which [`Builder::arguments`] give everything to run; its
    /// console is this "VM"'s.
    #[doc(hidden)]
    #[must_use]
    pub fn bare(mut self, name: &str) -> Self {
        self.bare = Some(name.to_owned());
        self
    }

    /// Appends the bundle to the firmware instead of passing it as an initrd: one-file boot.
    #[doc(hidden)]
    #[must_use]
    pub fn appended(mut self) -> Self {
        self.appended = true;
        self
    }

    /// Loads neither firmware image nor bundle: [`Builder::arguments`] give the machine's firmware, and what it boots the
    /// manifest's VMs from. Their console style must be `prefix`.
    #[doc(hidden)]
    #[must_use]
    pub fn by_firmware(mut self) -> Self {
        self.by_firmware = true;
        self
    }

    /// The VMs of a dom0less tree, without a bundle.
    #[doc(hidden)]
    #[must_use]
    pub fn vm_tree(mut self, tree: Dom0less) -> Self {
        self.tree = Some(tree);
        self
    }

    /// Loads a file (a path, or a name as in a manifest) to where the dom0less tree has a module.
    #[doc(hidden)]
    #[must_use]
    pub fn module(mut self, address: u64, file: &str) -> Self {
        self.modules.push((address, file.to_owned()));
        self
    }

    /// Further arguments for QEMU.
    #[must_use]
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Writes the bundle and starts QEMU.
    ///
    /// # Errors
    /// The manifest is unusable, or a kernel, the firmware or QEMU is missing: the message says which.
    pub fn start(self) -> error::Result<Machine> {
        let (command, names, scratch) = self.prepare().map_err(|error| Kind::Unusable.error(error))?;
        let feed = Feed::start(command, Splitter::new(&names.iter().map(String::as_str).collect::<Vec<_>>()))?;
        let (read, ends_seen) = (vec![0; names.len()], vec![0; names.len()]);
        Ok(Machine { feed, names, read, events_read: 0, ends_seen, listener: None, scratch })
    }

    /// Writes the bundle; returns QEMU's command line, the names of the VMs, and where their files are.
    fn prepare(mut self) -> Result<(Command, Vec<String>, Scratch)> {
        if let Some(problem) = self.problem {
            bail!(problem);
        }
        let scratch = Scratch::new()?;
        let loaded = match (self.native.take(), self.bare.take()) {
            (Some(program), _) => load_natively(&scratch, &program)?,
            (None, Some(name)) => Loaded { names: vec![name], arguments: Vec::new(), size: 0, el2: false },
            (None, None) => self.load(&scratch)?,
        };
        let fitted = match &self.tree {
            Some(tree) => tree.hardware(),
            None => Hardware::fit(&self.manifest, loaded.size),
        };
        let fitted = Hardware { el2: loaded.el2, icount: self.icount, ..fitted };
        let hardware = Hardware {
            cpu: self.cpu.unwrap_or(fitted.cpu),
            cpus: self.cpus.unwrap_or(fitted.cpus),
            memory: self.memory.unwrap_or(fitted.memory),
            gic: self.gic.unwrap_or(fitted.gic),
            mte: self.mte.unwrap_or(fitted.mte),
            board: self.board.take(),
            ..fitted
        };
        let program = qemu::find(self.qemu.as_deref(), &Cache::locate()?)?;
        let mut command = process::dies_with_us(&program);
        command.args(hardware.arguments()).args(loaded.arguments);
        if let Some(tree) = &self.tree {
            let own = qemu::own_tree(&program, &hardware.arguments(), scratch.path())?;
            let dtb = scratch.write("tree.dtb", &tree.complete(&own)?)?;
            command.args(tree.arguments_from(&dtb, &self.modules, self.checkout.as_deref())?);
        }
        // The same wiring as `-nographic`, without its meaning for Ctrl-C.
        command.args(["-display", "none", "-serial", "mon:stdio"]);
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", scratch.socket().display()));
        command.args(&self.arguments);
        Ok((command, loaded.names, scratch))
    }

    fn load(&mut self, scratch: &Scratch) -> Result<Loaded> {
        if let Some(tree) = &self.tree {
            return Ok(load_tree(tree, &self.firmware()?));
        }
        if self.manifest.vm.is_empty() {
            bail!("the machine has no VM: give it a manifest");
        }
        let names = self.manifest.vm.iter().map(|vm| vm.name.clone()).collect();
        if self.by_firmware {
            return Ok(Loaded { names, arguments: Vec::new(), size: 0, el2: true });
        }
        // Assay's lines and a guest's must not be mixed up.
        self.manifest.console = Some(ConsoleStyle::Prefix);
        let plugged = self.manifest.plug(&self.folder)?;
        let archive = match self.bundle.take() {
            Some(archive) => archive,
            None => bundle::build_from(&self.manifest, &self.folder, self.checkout.as_deref())?,
        };
        let firmware = self.firmware()?;
        let arguments = if self.appended {
            let whole = image::append_bundle(&std::fs::read(&firmware)?, &archive)?;
            vec![("-kernel", scratch.write("whole.img", &whole)?)]
        } else {
            vec![("-kernel", firmware), ("-initrd", scratch.write("bundle.cpio", &archive)?)]
        };
        Ok(Loaded {
            names,
            arguments: arguments
                .iter()
                .flat_map(|(key, path)| [(*key).to_owned(), path.display().to_string()])
                .chain(plugged)
                .collect(),
            size: archive.len() as u64,
            el2: true,
        })
    }

    fn firmware(&self) -> Result<PathBuf> {
        let Some(path) = self.image.clone() else {
            return Home::find(self.checkout.as_deref())?.image();
        };
        if !path.is_file() {
            bail!("{} is not there: it was given as the firmware", path.display());
        }
        Ok(path)
    }
}

struct Loaded {
    names: Vec<String>,
    arguments: Vec<String>,
    size: u64,
    el2: bool,
}

/// The firmware, and the names of the tree's VMs; the tree itself needs the machine first.
fn load_tree(tree: &Dom0less, firmware: &Path) -> Loaded {
    let console = dom0less::console_argument(ConsoleStyle::Prefix);
    let arguments = ["-kernel".to_owned(), firmware.display().to_string(), "-append".to_owned(), console];
    Loaded {
        names: tree.vms().iter().map(|vm| vm.name.clone()).collect(),
        arguments: arguments.into(),
        size: 0,
        el2: true,
    }
}

fn load_natively(scratch: &Scratch, program: &Path) -> Result<Loaded> {
    let file = std::fs::read(program).with_context(|| format!("can't read {}", program.display()))?;
    let flat = image::flatten(&file).with_context(|| program.display().to_string())?;
    let path = scratch.write("native.img", &flat)?;
    let arguments = vec!["-kernel".to_owned(), path.display().to_string()];
    Ok(Loaded { names: vec!["native".to_owned()], arguments, size: flat.len() as u64, el2: false })
}
