//! A VM tree written for Xen's dom0less, as its users have it: a platform's whole tree with `xen,domain` nodes
//! in `/chosen`, or only these nodes, to be merged into the machine's own tree.
//!
//! Reads what QEMU must be told: how large the machine is to be, and where files go. What the nodes mean is
//! decided by EL2; what cannot be read here is left to its words.

mod merge;
mod node;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use dtoolkit::Node as _;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};

use crate::bundle;
use crate::cache::RAMDISKS;
use crate::manifest::ConsoleStyle;
use crate::overlay;
use crate::qemu::{Gic, Hardware};
use node::{Cells, compatible, find, number, string};

/// Where QEMU's `virt` has its RAM.
const RAM: u64 = 0x4000_0000;
/// RAM for Assay, QEMU's placement of image and tree, and so that VMs' RAM can be aligned to large blocks.
const SLACK: u64 = 256 << 20;
/// RAM sizes are rounded up to this.
const STEP: u64 = 256 << 20;

/// Assay's own boot argument for a console that looks so.
#[must_use]
pub fn console_argument(style: ConsoleStyle) -> String {
    format!("assay.console={}", style.word())
}

/// A dom0less tree.
#[derive(Clone, Debug)]
pub struct Dom0less {
    tree: DeviceTree,
    vms: Vec<Domain>,
}

/// A `xen,domain` node, as far as the tools care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The VM's name: the node's.
    pub name: String,
    /// `cpus`; 0 if it can't be read.
    pub cpus: u32,
    /// `memory` in bytes; 0 if it can't be read.
    pub memory: u64,
    /// `assay,mte`.
    pub mte: bool,
    /// Its kernel and ramdisk, where they have an address.
    pub modules: Vec<Module>,
}

/// A file that must be in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The node's name.
    pub node: String,
    /// Where it is.
    pub address: u64,
    /// Its length in bytes, as the tree says.
    pub size: u64,
}

impl Dom0less {
    /// Reads a file: a blob, or source.
    ///
    /// # Errors
    /// The file can't be read or is no tree, or it has no VM.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_blob(&overlay::read_tree(path)?).with_context(|| path.display().to_string())
    }

    /// Reads source without labels and includes.
    ///
    /// # Errors
    /// It isn't understood, or it has no VM.
    pub fn from_source(source: &str) -> Result<Self> {
        Self::from_blob(&overlay::compile(source)?)
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// It is no device tree, or it has no VM.
    pub fn from_blob(blob: &[u8]) -> Result<Self> {
        let fdt = Fdt::new(blob).map_err(|error| anyhow::anyhow!("no device tree: {error}"))?;
        let tree = merge::without_fragments(DeviceTree::from_fdt(&fdt))?;
        let chosen = tree.root.child("chosen");
        let chosen = chosen.context("the tree has no /chosen, where the VMs would be")?;
        let cells = Cells::default().of(&tree.root).of(chosen);
        let domains = chosen.children().filter(|node| compatible(node, "xen,domain"));
        let vms: Vec<Domain> = domains.map(|node| domain(node, cells)).collect();
        ensure!(!vms.is_empty(), "/chosen has no node with compatible = \"xen,domain\": there is no VM to start");
        Ok(Self { tree, vms })
    }

    /// The VMs, in the tree's order.
    #[must_use]
    pub fn vms(&self) -> &[Domain] {
        &self.vms
    }

    /// Whether the tree describes the machine too.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.tree.root.child("cpus").is_some()
    }

    /// The tree to start with: itself if it is whole, else `machine` with this one's nodes added.
    ///
    /// # Errors
    /// `machine` is no device tree.
    pub fn complete(&self, machine: &[u8]) -> Result<Vec<u8>> {
        if self.is_whole() {
            return Ok(self.tree.to_dtb());
        }
        let fdt = Fdt::new(machine).map_err(|error| anyhow::anyhow!("the machine's own device tree: {error}"))?;
        let mut whole = DeviceTree::from_fdt(&fdt);
        merge::fragment(&mut whole, &self.tree);
        Ok(whole.to_dtb())
    }

    /// The machine to play: the tree's if it describes one, else the smallest that holds the VMs.
    #[must_use]
    pub fn hardware(&self) -> Hardware {
        let fitted = self.fitted();
        if !self.is_whole() {
            return fitted;
        }
        let root = &self.tree.root;
        let is_cpu = |node: &&DeviceTreeNode| string(node, "device_type").as_deref() == Some("cpu");
        let cpus = root.child("cpus").into_iter();
        let cpus = cpus.flat_map(|cpus| cpus.children()).filter(is_cpu);
        let memory: u64 = root
            .children()
            .filter(|node| string(node, "device_type").as_deref() == Some("memory"))
            .flat_map(|node| Cells::default().of(root).entries(node))
            .map(|(_, size)| size)
            .sum();
        Hardware {
            cpus: u32::try_from(cpus.count()).unwrap_or(1).max(1),
            memory: if memory == 0 { fitted.memory } else { memory },
            gic: self.gic().unwrap_or(fitted.gic),
            ..fitted
        }
    }

    /// The interrupt controller of the machine that the tree describes.
    #[must_use]
    pub fn gic(&self) -> Option<Gic> {
        const V2: [&str; 3] = ["arm,cortex-a15-gic", "arm,gic-400", "arm,cortex-a9-gic"];
        find(&self.tree.root, &|node| {
            if compatible(node, "arm,gic-v3") {
                return Some(Gic::V3);
            }
            let v2 = V2.iter().any(|word| compatible(node, word));
            v2.then_some(Gic::V2)
        })
    }

    fn fitted(&self) -> Hardware {
        let modules = || self.vms.iter().flat_map(|vm| &vm.modules);
        let ends = modules().map(|module| module.address.saturating_add(module.size));
        // One that lies nowhere near is a mistake, which EL2 names.
        let beyond = ends.filter_map(|end| end.checked_sub(RAM));
        let highest = beyond.filter(|end| *end < 1 << 36).max().unwrap_or(0);
        let vms = self.vms.iter().map(|vm| vm.memory);
        let all = vms.chain(modules().map(|module| module.size));
        let needed = all.fold(0, u64::saturating_add).max(highest);
        let memory = needed.saturating_add(SLACK);
        let cpus = self.vms.iter().map(|vm| vm.cpus);
        Hardware {
            model: "virt".to_owned(),
            cpu: "max".to_owned(),
            cpus: cpus.fold(0, u32::saturating_add).max(1),
            memory: memory.checked_next_multiple_of(STEP).unwrap_or(memory),
            gic: Gic::V3,
            mte: self.vms.iter().any(|vm| vm.mte),
            icount: false,
            el2: true,
            board: None,
        }
    }

    /// QEMU's arguments for a tree that is in the file `dtb`, with each of `files` put to its address. A file is
    /// a path, or a name known to the set-up or to `guests/`.
    ///
    /// # Errors
    /// A file can't be found, no module of the tree begins at its address, or its node says that it is shorter.
    pub fn arguments(&self, dtb: &Path, files: &[(u64, String)]) -> Result<Vec<String>> {
        self.arguments_from(dtb, files, None)
    }

    /// As [`Dom0less::arguments`], with the programs of `guests/` from the given checkout.
    pub(crate) fn arguments_from(
        &self,
        dtb: &Path,
        files: &[(u64, String)],
        checkout: Option<&Path>,
    ) -> Result<Vec<String>> {
        let mut arguments = vec!["-dtb".to_owned(), dtb.display().to_string()];
        for (address, name) in files {
            let path = file(name, checkout).with_context(|| format!("the module at {address:#x}"))?;
            let length = std::fs::metadata(&path)?.len();
            let loader = self.loader(*address, &path, length)?;
            arguments.extend(["-device".to_owned(), loader]);
        }
        Ok(arguments)
    }

    fn loader(&self, address: u64, file: &Path, length: u64) -> Result<String> {
        let modules: Vec<&Module> = self.vms.iter().flat_map(|vm| &vm.modules).collect();
        let Some(module) = modules.iter().find(|module| module.address == address) else {
            let known: Vec<String> =
                modules.iter().map(|module| format!("{} at {:#x}", module.node, module.address)).collect();
            bail!("no module of the tree begins at {address:#x}: there are {}", known.join(", "));
        };
        ensure!(
            length <= module.size,
            "{} has {length:#x} bytes, and {} says {:#x}: correct its reg",
            file.display(),
            module.node,
            module.size
        );
        // QEMU takes a comma for the end of a value, and two for one.
        let path = file.display().to_string().replace(',', ",,");
        Ok(format!("loader,file={path},addr={address:#x},force-raw=on"))
    }
}

fn file(name: &str, checkout: Option<&Path>) -> Result<PathBuf> {
    let here = Path::new("");
    if RAMDISKS.contains(&name) { bundle::ramdisk_path(name, here) } else { bundle::kernel_path(name, here, checkout) }
}

fn domain(node: &DeviceTreeNode, cells: Cells) -> Domain {
    let cells = cells.of(node);
    let is_file =
        |node: &&DeviceTreeNode| compatible(node, "multiboot,kernel") || compatible(node, "multiboot,ramdisk");
    let module = |node: &DeviceTreeNode| {
        let (address, size) = *cells.entries(node).first()?;
        Some(Module { node: node.name().to_owned(), address, size })
    };
    let cpus = number(node, "cpus").and_then(|cpus| u32::try_from(cpus).ok());
    let memory = number(node, "memory").and_then(|kib| kib.checked_mul(1024));
    Domain {
        name: node.name().to_owned(),
        cpus: cpus.unwrap_or(0),
        memory: memory.unwrap_or(0),
        mte: node.property("assay,mte").is_some(),
        modules: node.children().filter(is_file).filter_map(module).collect(),
    }
}
