//! What one VM asks for: the use of a region, execution, MTE, and relaxations of the strict default.

use core::fmt;

use assay_spec::stage2_desc::Rights;

/// How the guest sees a region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Use {
    /// RAM: its own, or a memory node of its own.
    Ram,
    /// A `pmem-region`.
    Dax,
    /// Reserved, for a driver.
    Aperture,
    /// Reserved, and other VMs see the same memory; how this one may access it.
    Shared(Rights),
    /// Its own RAM in the place of a flash; how it may access it.
    Flash(Rights),
}

impl Use {
    /// Tells whether other VMs see the same memory.
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Reads the word that a claim of a coherent region has. Memory between VMs is claimed in another way.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ram" => Some(Self::Ram),
            "dax" => Some(Self::Dax),
            "aperture" => Some(Self::Aperture),
            _ => None,
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ram => "ram",
            Self::Dax => "dax",
            Self::Aperture => "aperture",
            Self::Shared(_) => "shared",
            Self::Flash(_) => "flash",
        })
    }
}

/// When a region is proved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ProofAt {
    /// At the boot.
    #[default]
    Boot,
    /// At each start of the VM.
    Start,
}

impl ProofAt {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Boot, Self::Start];

    /// Returns the word that the manifest and the VM tree use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boot => "at-boot",
            Self::Start => "at-start",
        }
    }

    /// Reads that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|at| at.name() == name)
    }
}

/// A relaxation of the strict default, for one VM and one region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Allow {
    /// R1 `mte-hidden`: Write-Back, since the VM has no MTE.
    MteHidden,
    /// R2 `non-cacheable`: Normal-NC, without a promise for atomics and exclusives.
    NonCacheable,
    /// R3 `no-tag-access`: Write-Back, tag accesses abort.
    NoTagAccess,
    /// R5 `el2-cache-maintenance`: Write-Back without FWB, with maintenance by address.
    El2CacheMaintenance,
}

impl Allow {
    /// All relaxations, for messages and tests.
    pub const ALL: [Self; 4] = [Self::MteHidden, Self::NonCacheable, Self::NoTagAccess, Self::El2CacheMaintenance];

    /// Returns the word that the manifest and the VM tree use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MteHidden => "mte-hidden",
            Self::NonCacheable => "non-cacheable",
            Self::NoTagAccess => "no-tag-access",
            Self::El2CacheMaintenance => "el2-cache-maintenance",
        }
    }

    /// Reads that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|allow| allow.name() == name)
    }
}

/// A set of relaxations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct AllowSet(u8);

impl AllowSet {
    /// The strict default.
    pub const NONE: Self = Self(0);

    /// Returns the set with `allow` in it.
    pub const fn with(self, allow: Allow) -> Self {
        Self(self.0 | 1 << allow as u8)
    }
    /// Tells whether `allow` is in the set.
    pub const fn has(self, allow: Allow) -> bool {
        self.0 & 1 << allow as u8 != 0
    }
}

/// What one VM asks for one region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// How the guest is to see it.
    pub use_: Use,
    /// Execution from a `dax` or `aperture` mapping. RAM and flash are executable without, shared memory never.
    pub exec: bool,
    /// Relaxations asked for.
    pub allow: AllowSet,
    /// V: the VM asks for MTE. The same in all claims of a VM.
    pub vm_mte: bool,
}

impl Claim {
    /// The claim of a VM on its own RAM.
    pub const fn ram(vm_mte: bool) -> Self {
        Self { use_: Use::Ram, exec: false, allow: AllowSet::NONE, vm_mte }
    }
    /// The claim of a VM on memory that it shares with others.
    pub const fn shared(rights: Rights, vm_mte: bool) -> Self {
        Self { use_: Use::Shared(rights), exec: false, allow: AllowSet::NONE, vm_mte }
    }
    /// The claim of a VM on RAM in the place of a flash.
    pub const fn flash(rights: Rights, vm_mte: bool) -> Self {
        Self { use_: Use::Flash(rights), exec: false, allow: AllowSet::NONE, vm_mte }
    }
    /// The claim of a VM on a device's registers.
    pub const fn device(vm_mte: bool) -> Self {
        Self { use_: Use::Aperture, exec: false, allow: AllowSet::NONE, vm_mte }
    }
    /// Tells whether the guest would find the memory as RAM while it has MTE: then it will use tags.
    pub(super) fn is_ram_with_mte(self) -> bool {
        self.use_ == Use::Ram && self.vm_mte
    }
}
