//! Why a region that is a BAR cannot be found or placed (rule T1).

/// What is wrong with a node's `assay,pci-bar` and `assay,length`, by the tree or by the hardware.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BarFault {
    /// The node also has `reg`.
    AlsoReg,
    /// `assay,length` is missing or 0.
    NoLength,
    /// No host bridge has this segment and bus.
    NoHost,
    /// Two host bridges claim the same: what is behind which, the tree does not say.
    Rivals,
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
