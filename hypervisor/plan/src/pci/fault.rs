//! Why a region that is a BAR cannot be found or placed (rule T1).

use core::fmt;

/// What is wrong with a node's `assay,pci-bar` and `assay,length`, by the tree or by the hardware.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BarFault {
    /// The node also has `reg`.
    AlsoReg,
    /// `assay,length` is missing or 0.
    NoLength,
    /// No host bridge has this segment and bus.
    NoHost,
    /// The host bridge's configuration space is, by the tree, where something else is.
    NoEcam,
    /// Nothing answers at this requester ID, or only behind a bridge that firmware did not configure.
    NoFunction,
    /// The function is a bridge.
    NotEndpoint,
    /// The function has no such BAR, or it is the upper half of a 64-bit one.
    NoBar,
    /// The BAR is of I/O space.
    Io,
    /// `assay,length` is more than the BAR's size, in bytes.
    Longer(u64),
    /// The function is behind a bridge, and firmware did not place it within the bridge's windows.
    BehindBridge,
    /// No memory window of the host bridge has room for all BARs of the function.
    NoRoom,
    /// The BAR does not keep the address that was written.
    Stuck,
}

impl fmt::Display for BarFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlsoReg => "the node has both reg and assay,pci-bar",
            Self::NoLength => "the node's assay,length is missing or 0",
            Self::NoHost => "no ECAM host bridge has the PCI function's segment and bus",
            Self::NoEcam => "the reg of the PCI host bridge overlaps memory that is in use",
            Self::NoFunction => {
                "no PCI function answers at that segment and requester ID (what is behind a bridge that \
                 firmware did not configure answers nowhere)"
            }
            Self::NotEndpoint => "the PCI function is a bridge",
            Self::NoBar => "the PCI function has no BAR of this index, or it is the upper half of a 64-bit one",
            Self::Io => "the BAR is of I/O space",
            Self::Longer(size) => {
                return write!(f, "assay,length is more than the BAR's {size:#x} bytes");
            }
            Self::BehindBridge => {
                "the PCI function is behind a bridge, and firmware did not place its BARs in the bridge's windows"
            }
            Self::NoRoom => "the host bridge's memory windows have no room for the function's BARs",
            Self::Stuck => "a BAR of the PCI function does not keep its address",
        })
    }
}

impl BarFault {
    /// Returns what to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::AlsoReg => "delete the one that is wrong from the node",
            Self::NoLength | Self::Longer(_) => {
                "give the node assay,length: the bytes of real memory, at most the BAR's size"
            }
            Self::NoHost | Self::NoFunction | Self::NotEndpoint | Self::NoBar | Self::Io => {
                "correct the node's assay,pci-bar: segment, requester ID (bus << 8 | device << 3 | function), BAR"
            }
            Self::NoEcam => "correct the reg of the PCI host bridge",
            Self::BehindBridge => {
                "have firmware configure the bridge and place the function, or put it on the root bus"
            }
            Self::NoRoom => "give the host bridge larger windows in `ranges`, or have firmware place the function",
            Self::Stuck => "check the function: its BAR must be writable before boot",
        }
    }
}
