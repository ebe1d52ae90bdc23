//! Commands (IHI 0070G.b §4), 16 bytes each. None of them makes the SMMU write to memory.

/// One entry of the command queue.
pub type Command = [u64; 2];

/// Bytes of an entry.
pub const BYTES: u64 = 16;

/// What was cached of the entry of one stream is forgotten (`CMD_CFGI_STE`, with the descriptor that leads to it).
pub const fn forget_stream(stream: u32) -> Command {
    [0x03 | (stream as u64) << 32, 0]
}

/// All that was cached of entries is forgotten (`CMD_CFGI_ALL`).
pub const FORGET_STREAMS: Command = [0x04, 31];

/// All translations of a VMID are forgotten (`CMD_TLBI_S12_VMALL`).
pub const fn forget_vmid(vmid: u16) -> Command {
    [0x28 | (vmid as u64) << 32, 0]
}

/// All translations of EL1 and of VMs are forgotten (`CMD_TLBI_NSNH_ALL`).
pub const FORGET_TRANSLATIONS: Command = [0x30, 0];

/// Consumed once all commands before it are complete (`CMD_SYNC`, without a signal): what they forget is in no use any
/// more, and accesses that used it have ended (§4.7.3).
pub const SYNC: Command = [0x46, 0];
