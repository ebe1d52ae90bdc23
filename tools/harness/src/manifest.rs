//! The manifest: what a person writes to say which VMs run. `docs/manifest.md` explains every field.
//!
//! Checks what can be known without the machine; whether memory and regions are there is decided at boot.

mod duration;
mod shared;
mod size;
mod words;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

pub use assay_plan::policy::{Allow, Use};
pub use shared::{Access, Shared, Sharing};
pub use size::{format_size, parse_size};

/// A whole manifest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// `"prefix"` makes every VM's line carry its name, also if there is only one VM.
    #[serde(default)]
    pub console: Option<ConsoleStyle>,
    /// Overlays with facts about the platform, relative to the manifest: `.dtbo`, or `.dtso` as source.
    #[serde(default)]
    pub platform: Vec<String>,
    /// Regions of RAM that several VMs see.
    #[serde(default)]
    pub shared: Vec<Shared>,
    /// The VMs, in order.
    #[serde(default)]
    pub vm: Vec<Vm>,
}

/// How guests' lines look.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleStyle {
    /// `[NAME] ` before every line.
    Prefix,
}

/// One VM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vm {
    /// Unique; at most 31 letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// How many CPUs, or which.
    #[serde(default)]
    pub cpus: Cpus,
    /// `"dedicated"`, the default, or `"shared"`.
    #[serde(default)]
    pub sched: Schedule,
    /// The weight among the VMs with shared CPUs, 1 to 65535.
    #[serde(default)]
    pub weight: Option<u32>,
    /// How long the vCPUs run in each period at most, all together, in microseconds.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub budget: Option<u32>,
    /// The period in microseconds.
    #[serde(default, deserialize_with = "duration::deserialize")]
    pub period: Option<u32>,
    /// RAM, such as `"512M"`.
    #[serde(deserialize_with = "size::deserialize")]
    pub memory: u64,
    /// Whether the guest gets memory tagging.
    #[serde(default)]
    pub mte: bool,
    /// Whether the guest gets an SBSA watchdog.
    #[serde(default)]
    pub watchdog: bool,
    /// What happens after a crash.
    #[serde(default)]
    pub on_crash: OnCrash,
    /// With `on-crash = "restart"`: after so many restarts in a row a crash is the end.
    #[serde(default)]
    pub max_restarts: Option<u32>,
    /// A guest known to the set-up, a program of `guests/`, or a path relative to the manifest.
    pub kernel: String,
    /// `"raw"` for a kernel with its entry at its first byte; the other formats are recognised.
    #[serde(default)]
    pub format: Option<Format>,
    /// A ramdisk known to the set-up, or a path relative to the manifest.
    #[serde(default)]
    pub initrd: Option<String>,
    /// The kernel's command line.
    #[serde(default)]
    pub cmdline: String,
    /// Coherent accelerator memory.
    #[serde(default)]
    pub coherent: Vec<Coherent>,
    /// Its parts in regions that several VMs see.
    #[serde(default)]
    pub shared: Vec<Sharing>,
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

impl Default for Cpus {
    fn default() -> Self {
        Self::Count(1)
    }
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
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// One CPU each.
    #[default]
    Dedicated,
    /// Time-sliced.
    Shared,
}

/// What happens to a VM that crashed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OnCrash {
    /// It stays stopped.
    #[default]
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

/// A claim on a coherent-memory region of the platform tree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Coherent {
    /// The region's node name without unit address, or its full path.
    pub region: String,
    /// What the guest does with it.
    #[serde(rename = "use", with = "words::UseWord")]
    pub use_: Use,
    /// Relaxations of the memory policy, by name.
    #[serde(default, deserialize_with = "words::allow")]
    pub allow: Vec<Allow>,
    /// Whether the guest may execute from it (`dax` and `aperture`).
    #[serde(default)]
    pub exec: bool,
    /// Where the guest sees it; chosen if absent.
    #[serde(default, deserialize_with = "size::deserialize_address")]
    pub ipa: Option<u64>,
    /// The device that goes with an aperture: a node's path or a PCI function.
    #[serde(default)]
    pub device: Option<String>,
}

impl Manifest {
    /// Reads and checks a manifest's text.
    ///
    /// # Errors
    /// The text is not TOML, has an unknown field or a value that can't be: the message names the VM.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads and checks a manifest's file.
    ///
    /// # Errors
    /// As [`Manifest::parse`], or the file can't be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("can't read the manifest {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("manifest {}", path.display()))
    }

    /// What [`Manifest::parse`] checks beyond the syntax, for manifests that a program made.
    ///
    /// # Errors
    /// A value that can't be.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.vm.is_empty(), "no [[vm]]: a manifest needs at least one");
        let mut names = BTreeSet::new();
        for vm in &self.vm {
            vm.check().with_context(|| format!("vm \"{}\"", vm.name))?;
            ensure!(names.insert(&vm.name), "two VMs are named \"{}\": rename one", vm.name);
        }
        self.check_shared()
    }
}

impl Vm {
    fn check(&self) -> Result<()> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        ensure!(
            (1..=31).contains(&self.name.len()) && self.name.chars().all(good),
            "name: give 1 to 31 letters, digits, `.`, `_` or `-`"
        );
        match &self.cpus {
            Cpus::Count(count) => ensure!((1..=64).contains(count), "cpus = {count}: give 1 to 64"),
            Cpus::List(list) => {
                let unique: BTreeSet<_> = list.iter().collect();
                ensure!((1..=64).contains(&list.len()), "cpus: list 1 to 64 CPUs");
                ensure!(unique.len() == list.len(), "cpus: a CPU is listed twice");
            }
        }
        ensure!(
            self.memory > 0 && self.memory.is_multiple_of(4096),
            "memory: give a multiple of 4K, not {}",
            self.memory
        );
        self.check_sched()?;
        ensure!(!self.cmdline.contains(['\0', '\n']), "cmdline: it can't hold NUL or a line break");
        ensure!(
            self.max_restarts.is_none() || self.on_crash == OnCrash::Restart,
            "max-restarts belongs to on-crash = \"restart\""
        );
        for claim in &self.coherent {
            claim.check().with_context(|| format!("coherent region \"{}\"", claim.region))?;
        }
        Ok(())
    }

    fn check_sched(&self) -> Result<()> {
        if self.sched == Schedule::Dedicated {
            let given = [("weight", self.weight), ("budget", self.budget), ("period", self.period)];
            for (field, value) in given {
                ensure!(value.is_none(), "{field} belongs to sched = \"shared\"");
            }
        }
        if let Some(weight) = self.weight {
            ensure!((1..=65535).contains(&weight), "weight = {weight}: give 1 to 65535");
        }
        match (self.budget, self.period) {
            (None, None) => {}
            (Some(_), None) => bail!("budget needs a period, such as period = \"10ms\""),
            (None, Some(_)) => bail!("period needs a budget, such as budget = \"2ms\""),
            (Some(budget), Some(period)) => {
                ensure!((1000..=10_000_000).contains(&period), "period: give \"1ms\" to \"10s\"");
                let most = u64::from(period) * u64::from(self.cpus.count());
                ensure!(
                    budget >= 100 && u64::from(budget) <= most,
                    "budget: give at least \"100us\" and at most the period for each vCPU, \"{most}us\""
                );
            }
        }
        Ok(())
    }
}

impl Coherent {
    fn check(&self) -> Result<()> {
        ensure!(!self.region.is_empty() && !self.region.contains('\0'), "region: name a node");
        ensure!(!(self.exec && self.use_ == Use::Ram), "exec belongs to dax and aperture: ram is executable anyway");
        ensure!(self.device.is_none() || self.use_ == Use::Aperture, "device belongs to use = \"aperture\"");
        ensure!(self.ipa.is_none_or(|ipa| ipa.is_multiple_of(4096)), "ipa: give a multiple of 4K");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
