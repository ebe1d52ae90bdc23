//! The Interrupt Translation Service (IHI 0069H §5, §12.18 and §12.19), as far as EL2 uses it for itself: messages of
//! devices become LPIs. Tables and queues are Write-Back and Inner Shareable.

use crate::addr::Pa;

/// Where the frame that devices write to is, behind the control frame; a page of it is what they see.
pub const TRANSLATION_FRAME: u64 = 0x1_0000;
/// `GITS_TRANSLATER` in that frame: an EventID is written there.
pub const TRANSLATER: u64 = 0x40;
/// The first LPI.
pub const LPI_BASE: u32 = 8192;
/// Bits of INTIDs here: 8192 LPIs.
pub const INTID_BITS: u32 = 14;
/// Bytes of the LPI configuration table, one for each LPI.
pub const PROPERTIES_BYTES: u64 = (1 << INTID_BITS) - LPI_BASE as u64;
/// Bytes of a CPU's LPI pending table, a bit for each INTID; aligned to 64 KiB.
pub const PENDING_BYTES: u64 = 0x1_0000;
/// An LPI's configuration: enabled, with a priority below all other physical interrupts'; bit 1 is RES1 (§5.1.1).
pub const ENABLED: u8 = 0xa0 | 0b11;
/// What the command queue is aligned to, in bytes (`GITS_CBASER.Physical_Address`, §12.19.2).
pub const QUEUE_ALIGN: u64 = 0x1_0000;

/// `GITS_CTLR.Enabled`, and `Quiescent`: nothing is under way.
pub const CTLR_ENABLED: u32 = 1 << 0;
/// See [`CTLR_ENABLED`].
pub const CTLR_QUIESCENT: u32 = 1 << 31;
/// `GICD_TYPER.LPIS`.
pub const GICD_TYPER_LPIS: u32 = 1 << 17;

/// Inner Shareable, Write-Back with allocation, at the places of `GITS_CBASER` and `GITS_BASER<n>`.
const TABLE_ATTRIBUTES: u64 = 0b111 << 59 | 0b01 << 10;
const VALID: u64 = 1 << 63;

/// What an ITS can do: `GITS_TYPER` (§12.19.13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Typer(pub u64);

impl Typer {
    /// Bytes of an interrupt translation entry.
    pub const fn entry_bytes(self) -> u64 {
        (self.0 >> 4 & 0xf) + 1
    }
    /// Bits of an EventID.
    pub const fn event_bits(self) -> u32 {
        (self.0 >> 8 & 0x1f) as u32 + 1
    }
    /// Bits of a DeviceID.
    pub const fn device_bits(self) -> u32 {
        (self.0 >> 13 & 0x1f) as u32 + 1
    }
    /// Whether a message or a command that means nothing may become an SError of some CPU (`SEIS`).
    pub const fn may_raise_serrors(self) -> bool {
        self.0 >> 18 & 1 == 1
    }
    /// Whether a target is the address of a Redistributor, not a CPU's number.
    pub const fn is_target_address(self) -> bool {
        self.0 >> 19 & 1 == 1
    }
}

/// Returns `RDbase` of a CPU: its Redistributor's address, or its number (`GICR_TYPER.Processor_Number`).
pub const fn target(typer: Typer, redistributor: Pa, number: u16) -> u64 {
    if typer.is_target_address() { redistributor.0 & 0x000f_ffff_ffff_0000 } else { (number as u64) << 16 }
}

/// What a `GITS_BASER<n>` is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// Devices.
    Devices,
    /// Collections.
    Collections,
    /// Virtual CPUs, or nothing.
    Other,
}

/// Tells by what came back of a register whether it took a table for Shareable: one that is not coherent says that nothing
/// is.
pub const fn is_shareable(register: u64) -> bool {
    register >> 10 & 0b11 != 0
}

/// Returns what a `GITS_BASER<n>` is for, and the bytes of an entry.
pub const fn table(baser: u64) -> (Table, u64) {
    let table = match baser >> 56 & 7 {
        1 => Table::Devices,
        4 => Table::Collections,
        _ => Table::Other,
    };
    (table, (baser >> 48 & 0x1f) + 1)
}

/// Returns `GITS_BASER<n>` for a flat table of `pages` pages of 4 KiB, at most 256.
pub const fn baser(at: Pa, pages: u64) -> u64 {
    VALID | TABLE_ATTRIBUTES | at.0 & 0x0000_ffff_ffff_f000 | (pages - 1) & 0xff
}

/// Returns `GITS_CBASER` for a queue of one page.
pub const fn cbaser(at: Pa) -> u64 {
    VALID | TABLE_ATTRIBUTES | at.0 & 0x000f_ffff_ffff_f000
}

/// Returns `GICR_PROPBASER`.
pub const fn propbaser(at: Pa) -> u64 {
    0b111 << 7 | 0b01 << 10 | at.0 & 0x000f_ffff_ffff_f000 | (INTID_BITS - 1) as u64
}

/// Returns `GICR_PENDBASER` of a table that is all zeros.
pub const fn pendbaser(at: Pa) -> u64 {
    1 << 62 | 0b111 << 7 | 0b01 << 10 | at.0 & 0x000f_ffff_ffff_0000
}

/// An entry of the command queue (§5.3).
pub type Command = [u64; 4];
/// Bytes of an entry.
pub const COMMAND_BYTES: u64 = 32;

/// A device gets a table at `at` for EventIDs of `bits` bits (`MAPD`).
pub const fn map_device(device: u32, at: Pa, bits: u32) -> Command {
    [0x08 | (device as u64) << 32, (bits - 1) as u64 & 0x1f, VALID | at.0 & 0x000f_ffff_ffff_ff00, 0]
}

/// A collection goes to a CPU (`MAPC`).
pub const fn map_collection(collection: u16, target: u64) -> Command {
    [0x09, 0, VALID | target | collection as u64, 0]
}

/// An event of a device becomes an LPI of a collection (`MAPTI`).
pub const fn map_event(device: u32, event: u32, lpi: u32, collection: u16) -> Command {
    [0x0a | (device as u64) << 32, event as u64 | (lpi as u64) << 32, collection as u64, 0]
}

/// What is cached of the configuration of a collection's LPIs is read again (`INVALL`).
pub const fn reload_collection(collection: u16) -> Command {
    [0x0d, 0, collection as u64, 0]
}

/// What was done before is in effect at a CPU (`SYNC`).
pub const fn sync(target: u64) -> Command {
    [0x05, 0, target, 0]
}

#[cfg(test)]
mod tests {
    use super::{
        Table, Typer, baser, cbaser, is_shareable, map_collection, map_device, map_event, pendbaser, propbaser,
        reload_collection, sync, table, target,
    };
    use crate::addr::Pa;

    #[test]
    fn what_an_its_can_do_is_in_its_typer() {
        // QEMU's: 12 bytes, 16 bits each, targets by number.
        let typer = Typer(0x0000_001e_0001_efb1);
        assert_eq!((typer.entry_bytes(), typer.event_bits(), typer.device_bits()), (12, 16, 16));
        assert!(!typer.may_raise_serrors() && Typer(1 << 18).may_raise_serrors());
        assert_eq!(target(typer, Pa(0x80a_0000), 3), 3 << 16);
        assert_eq!(target(Typer(1 << 19), Pa(0x80c_0000), 3), 0x80c_0000);
    }

    #[test]
    fn tables_are_write_back_and_inner_shareable() {
        assert_eq!(table(0x0107_0000_0000_0000), (Table::Devices, 8));
        assert_eq!(table(0x0407_0000_0000_0000), (Table::Collections, 8));
        assert_eq!(table(0), (Table::Other, 1));
        assert_eq!(baser(Pa(0x4800_0000), 128), 0xb800_0000_4800_0400 | 127);
        assert!(is_shareable(cbaser(Pa(0))) && is_shareable(propbaser(Pa(0))) && !is_shareable(1 << 63));
        assert_eq!(cbaser(Pa(0x4800_1000)), 0xb800_0000_4800_1400);
        assert_eq!(propbaser(Pa(0x4800_2000)), 0x4800_2000 | 0x780 | 13);
        assert_eq!(pendbaser(Pa(0x4801_0000)), 0x4000_0000_4801_0780);
    }

    #[test]
    fn commands_have_their_fields_in_their_places() {
        assert_eq!(map_device(0x10, Pa(0x4800_3000), 7), [0x10_0000_0008, 6, 0x8000_0000_4800_3000, 0]);
        assert_eq!(map_collection(2, 2 << 16), [9, 0, 0x8000_0000_0002_0002, 0]);
        assert_eq!(map_event(0x10, 64, 8192, 2), [0x10_0000_000a, 0x2000_0000_0040, 2, 0]);
        assert_eq!((reload_collection(2)[0], reload_collection(2)[2]), (0x0d, 2));
        assert_eq!(sync(2 << 16), [5, 0, 2 << 16, 0]);
    }
}
