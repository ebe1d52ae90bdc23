//! What the platform says of a region: the tree's properties, the geometry check and the boot's proof.

use core::fmt;

use crate::pci::BarFault;
use crate::platform::NodeFault;

/// What a region is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Described by `/memory`.
    Ram,
    /// `assay,coherent-memory`: cacheable access by the CPUs is coherent.
    Coherent,
    /// Registers of a device.
    Mmio,
    /// A prefetchable BAR, or a node with `assay,write-combine`.
    MmioWriteCombining,
}

/// What the boot's probe of a region found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Proof {
    /// The region was not probed.
    #[default]
    NotRun,
    /// The region is probed at each start of its VM instead, which fails if that does.
    AtStart,
    /// All parts that apply to the region passed.
    Passed,
    /// Data are kept, Allocation Tags are not.
    FailedTags,
    /// It does not behave as memory.
    FailedMemory,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRun => "not-run",
            Self::AtStart => "at-start",
            Self::Passed => "passed",
            Self::FailedTags => "failed-tags",
            Self::FailedMemory => "failed-memory",
        })
    }
}

/// Why a region's place makes it unusable (rule T1); found by [`regions`](super::regions).
/// The names are those of the other party.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault<'a> {
    /// The node has no `reg`.
    NoReg,
    /// The node has more than one `reg` entry.
    SeveralRegs,
    /// Start or length is not a multiple of 4 KiB.
    Unaligned,
    /// The end is beyond the physical address space of this many bits.
    Beyond(u8),
    /// It overlaps another region.
    Overlaps(&'a str),
    /// It overlaps the registers of a device.
    OverlapsRegisters(&'a str),
    /// It lies in a window of a PCI host bridge, and is no BAR.
    OverlapsWindow(&'a str),
    /// It overlaps memory that holds Allocation Tags.
    OverlapsTagStorage(&'a str),
    /// It overlaps what firmware reserved.
    OverlapsReservation(&'a str),
    /// It overlaps Assay or its bundle.
    OverlapsAssay,
    /// It is partly inside `/memory`. (Wholly inside, it is carved out of RAM.)
    PartlyInMemory,
    /// What its node says cannot be.
    Node(NodeFault),
    /// It is a PCI function's BAR that cannot be used.
    Bar(BarFault),
}

/// All that is known of a region apart from who claims it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// What the region is.
    pub kind: Kind,
    /// `assay,mte-capable`: Allocation Tag storage exists for every granule. Read for coherent regions.
    pub marked: bool,
    /// `arm,no-mte`: wins over every positive word.
    pub no_mte: bool,
    /// The other node that says so, if the region's own does not.
    pub no_mte_by: Option<&'a str>,
    /// `assay,uniform-memory` at the root (R4).
    pub uniform: bool,
    /// The boot's proof.
    pub proof: Proof,
    /// What is wrong with the region's place.
    pub fault: Option<Fault<'a>>,
    /// Another VM that claims the region.
    pub other_owner: Option<&'a str>,
}

impl Facts<'_> {
    /// A region of a kind of which nothing more is known: unmarked, not probed, nothing wrong.
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind,
            marked: false,
            no_mte: false,
            no_mte_by: None,
            uniform: false,
            proof: Proof::NotRun,
            fault: None,
            other_owner: None,
        }
    }
}
