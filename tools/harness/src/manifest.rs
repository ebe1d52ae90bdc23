//! The manifest: what a person writes to say which VMs run. `docs/manifest.md` explains every field.
//!
//! Checks what can be known without the machine; whether memory and regions are there is decided at boot.

mod duration;
mod plug;
mod read;
mod shared;
mod size;
mod virtio;
mod words;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use assay_plan::fields::Table;
use read::Reader;
use serde::Deserialize;
use toml::de::DeTable;

pub use assay_plan::policy::{Allow, ProofAt, Use};
pub use shared::{Access, Shared, Sharing};
pub use virtio::Virtio;

/// A whole manifest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// `"prefix"` makes every VM's line carry its name, also if there is only one VM.
    pub console: Option<ConsoleStyle>,
    /// Overlays with facts about the platform, relative to the manifest: `.dtbo`, or `.dtso` as source.
    pub platform: Vec<String>,
    /// Regions of RAM that several VMs see.
    pub shared: Vec<Shared>,
    /// The VMs, in order.
    pub vm: Vec<Vm>,
}

/// How guests' lines and the monitor's answers look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleStyle {
    /// `[NAME] ` before every line, and keys for scripts in the monitor's answers.
    Prefix,
    /// Keys for scripts in the monitor's answers.
    Keys,
}

impl ConsoleStyle {
    /// Returns the word for it, in trees and in boot arguments.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Keys => "keys",
        }
    }
}

/// One VM.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Vm {
    /// Unique; at most 31 letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// How many CPUs, or which.
    pub cpus: Cpus,
    /// `"dedicated"`, the default, or `"shared"`.
    pub sched: Schedule,
    /// The weight among the VMs with shared CPUs, 1 to 65535.
    pub weight: Option<u32>,
    /// How long the vCPUs run in each period at most, all together, in microseconds.
    pub budget: Option<u32>,
    /// The period in microseconds.
    pub period: Option<u32>,
    /// RAM, such as `"512M"`.
    pub memory: u64,
    /// Where the guest sees its RAM; 0x40000000 if absent.
    pub memory_ipa: Option<u64>,
    /// Whether the guest gets memory tagging.
    pub mte: bool,
    /// Whether the guest gets an SBSA watchdog.
    pub watchdog: bool,
    /// Whether the guest gets performance monitors.
    pub pmu: bool,
    /// What happens after a crash.
    pub on_crash: OnCrash,
    /// With `on-crash = "restart"`: after so many restarts in a row a crash is the end.
    pub max_restarts: Option<u32>,
    /// A guest known to the set-up, a program of `guests/`, or a path relative to the manifest.
    pub kernel: String,
    /// `"raw"` for a kernel with its entry at its first byte; the other formats are recognised.
    pub format: Option<Format>,
    /// Where a raw kernel goes.
    pub load: Option<u64>,
    /// Where a VM with a raw kernel starts.
    pub entry: Option<u64>,
    /// Where a VM with a raw kernel finds its device tree.
    pub tree: Option<TreePlace>,
    /// A ramdisk known to the set-up, or a path relative to the manifest.
    pub initrd: Option<String>,
    /// The kernel's command line.
    pub cmdline: String,
    /// Coherent accelerator memory.
    pub coherent: Vec<Coherent>,
    /// PCI functions, beside those of [`Vm::coherent`].
    pub devices: Vec<String>,
    /// Relaxations for its devices: `"unchecked-dma"`.
    pub allow: Vec<Relaxation>,
    /// A disk image, a path relative to the manifest, which QEMU gives the machine.
    pub disk: Option<String>,
    /// A network that QEMU gives the machine.
    pub net: Option<Net>,
    /// Memory in the place of flashes.
    pub flash: Vec<Flash>,
    /// Its parts in regions that several VMs see.
    pub shared: Vec<Sharing>,
    /// Its virtio devices whose backends are other VMs.
    pub virtio: Vec<Virtio>,
}

/// Which physical CPUs a VM gets.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "`cpus` is a number of CPUs or a list of indices into /cpus")]
pub enum Cpus {
    /// So many, any.
    Count(u32),
    /// These: indices into `/cpus`, in its order.
    List(Vec<u32>),
}

impl Cpus {
    /// How many vCPUs that makes.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self {
            Self::Count(count) => *count,
            Self::List(list) => u32::try_from(list.len()).unwrap_or(u32::MAX),
        }
    }
}

/// How a VM's vCPUs get physical CPUs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// One CPU each.
    Dedicated,
    /// Time-sliced.
    Shared,
}

/// A relaxation for all devices of a VM.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Relaxation {
    /// Devices of the platform tree may have DMA that nothing checks.
    UncheckedDma,
}

/// A network of QEMU's.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Net {
    /// Its own, which reaches what this computer reaches.
    User,
}

/// What happens to a VM that crashed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OnCrash {
    /// It stays stopped.
    Stop,
    /// It starts afresh.
    Restart,
}

/// Kernel formats that can't be recognised by their first bytes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Entry at byte 0 of the VM's RAM.
    Raw,
}

/// Where a guest's device tree goes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TreePlace {
    /// To RAM's first byte.
    Start,
    /// To the end of RAM.
    End,
}

/// How a guest may write to a flash.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum FlashAccess {
    /// Not at all.
    #[serde(rename = "ro")]
    ReadOnly,
    /// As to RAM.
    #[serde(rename = "rw")]
    ReadWrite,
    /// By a flash's commands.
    #[serde(rename = "commands")]
    Commands,
}

/// Memory that is filled from a file, in the place of a flash.
#[derive(Clone, Debug, Deserialize)]
pub struct Flash {
    /// Unique in the VM.
    pub name: String,
    /// Where the guest sees it.
    pub ipa: u64,
    /// Its length, such as `"64M"`.
    pub size: u64,
    /// What it is filled with, a path relative to the manifest.
    pub file: Option<String>,
    /// How the guest may write there.
    pub access: FlashAccess,
    /// Whether the guest's tree describes it.
    pub cfi: bool,
}

/// A claim on a coherent-memory region of the platform tree.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Coherent {
    /// The region's node name without unit address, or its full path.
    pub region: String,
    /// What the guest does with it.
    #[serde(rename = "use", deserialize_with = "words::use_")]
    pub use_: Use,
    /// Relaxations of the memory policy, by name.
    #[serde(deserialize_with = "words::allow")]
    pub allow: Vec<Allow>,
    /// Whether the guest may execute from it (`dax` and `aperture`).
    pub exec: bool,
    /// When it is proved.
    #[serde(deserialize_with = "words::proof")]
    pub proof: ProofAt,
    /// Where the guest sees it; chosen if absent.
    pub ipa: Option<u64>,
    /// The device that goes with an aperture: a node's path or a PCI function.
    pub device: Option<String>,
}

/// The most bytes of all command lines: EL2 reads a VM tree of 2 MiB, and a guest's tree has 2 MiB too.
const CMDLINES_MAX: usize = 1 << 20;

impl Manifest {
    /// Reads and checks a manifest's text.
    ///
    /// # Errors
    /// The text is not TOML, has an unknown field or a value that can't be: the message names line and VM.
    pub fn parse(text: &str) -> Result<Self> {
        let given = DeTable::parse(text)?;
        let top = Table::at("").context("no fields")?;
        ensure!(given.get_ref().contains_key("vm"), "no [[vm]]: a manifest needs at least one");
        let read = Reader(text).table(top, given.get_ref())?;
        let manifest = Self::deserialize(read)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads and checks a manifest's file.
    ///
    /// # Errors
    /// As [`Manifest::parse`], or the file can't be read.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("can't read the manifest {}", path.display()))?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
            anyhow!("line {line}: not UTF-8, as TOML must be")
        });
        text.and_then(Self::parse).with_context(|| format!("manifest {}", path.display()))
    }

    /// Checks what no field shows by itself.
    fn check(&self) -> Result<()> {
        ensure!(!self.vm.is_empty(), "no [[vm]]: a manifest needs at least one");
        let mut names = BTreeSet::new();
        for vm in &self.vm {
            vm.check().with_context(|| format!("vm \"{}\"", vm.name))?;
            ensure!(names.insert(&vm.name), "two VMs are named \"{}\": rename one", vm.name);
        }
        let longest = self.vm.iter().max_by_key(|vm| vm.cmdline.len());
        ensure!(
            self.vm.iter().map(|vm| vm.cmdline.len()).sum::<usize>() <= CMDLINES_MAX,
            "the VMs' command lines have more than 1 MiB together: shorten cmdline, \"{}\" has the longest",
            longest.map_or("", |vm| &vm.name)
        );
        self.check_shared()?;
        self.check_virtio()
    }
}

impl Vm {
    fn check(&self) -> Result<()> {
        ensure!(!self.cmdline.contains(['\0', '\n']), "cmdline: it can't hold NUL or a line break");
        for claim in &self.coherent {
            ensure!(
                !claim.region.is_empty() && !claim.region.contains('\0'),
                "coherent region \"{}\": region: name a node",
                claim.region
            );
        }
        let mut regions = BTreeSet::new();
        for flash in &self.flash {
            ensure!(
                flash.access != FlashAccess::Commands || flash.size.is_multiple_of(0x4_0000),
                "flash \"{}\": size must be a multiple of 256K with access = \"commands\"",
                flash.name
            );
            ensure!(regions.insert(&flash.name), "two flashes are named \"{}\": rename one", flash.name);
        }
        match (self.budget, self.period) {
            (None, None) => Ok(()),
            (Some(_), None) => bail!("budget needs a period, such as period = \"10ms\""),
            (None, Some(_)) => bail!("period needs a budget, such as budget = \"2ms\""),
            (Some(budget), Some(period)) => {
                let most = u64::from(period) * u64::from(self.cpus.count());
                ensure!(u64::from(budget) <= most, "budget: give at most the period for each vCPU, \"{most}us\"");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
