//! Events (IHI 0070G.b §7.3), 32 bytes each: what a stream did that was not allowed.

use core::fmt;

use crate::addr::Ipa;

/// Bytes of an entry.
pub const BYTES: u64 = 32;

/// A record of the event queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Why.
    pub kind: Kind,
    /// The StreamID.
    pub stream: u32,
    /// The access, if it was one of memory.
    pub access: Option<Access>,
}

/// An access that was aborted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// The address that the device asked for.
    pub address: Ipa,
    /// Whether it wanted to write.
    pub is_write: bool,
}

/// The event's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(pub u8);

impl fmt::Display for Kind {
    /// Writes its name as in the manual, in small letters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0x01 => "f_uut",
            0x02 => "c_bad_streamid",
            0x03 => "f_ste_fetch",
            0x04 => "c_bad_ste",
            0x05 => "f_bad_ats_treq",
            0x06 => "f_stream_disabled",
            0x07 => "f_transl_forbidden",
            0x08 => "c_bad_substreamid",
            0x0b => "f_walk_eabt",
            0x10 => "f_translation",
            0x11 => "f_addr_size",
            0x12 => "f_access",
            0x13 => "f_permission",
            0x20 => "f_tlb_conflict",
            0x21 => "f_cfg_conflict",
            0x24 => "e_page_request",
            other => return write!(f, "event_{other:#04x}"),
        };
        f.write_str(name)
    }
}

impl Event {
    /// Reads an entry.
    pub const fn of(words: [u64; 4]) -> Self {
        let number = (words[0] & 0xff) as u8;
        let access = match number {
            // Those that carry an address (§7.3.12 to §7.3.16).
            0x0b | 0x10..=0x13 => Some(Access { address: Ipa(words[2]), is_write: words[1] >> 35 & 1 == 0 }),
            _ => None,
        };
        Self { kind: Kind(number), stream: (words[0] >> 32) as u32, access }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::{Access, Event, Kind};
    use crate::addr::Ipa;

    #[test]
    fn a_translation_fault_says_who_wanted_what() {
        let event = Event::of([0x10 << 32 | 0x10, 1 << 39, 0x8_0000_1234, 0x8_0000_1000]);
        let access = Access { address: Ipa(0x8_0000_1234), is_write: true };
        assert_eq!(event, Event { kind: Kind(0x10), stream: 0x10, access: Some(access) });
        assert_eq!(event.kind.to_string(), "f_translation");
        assert!(!Event::of([0x13, 1 << 35, 0, 0]).access.unwrap().is_write);
    }

    #[test]
    fn a_stream_without_entry_made_no_access_that_is_known() {
        let event = Event::of([0x99 << 32 | 0x02, u64::MAX, u64::MAX, 0]);
        assert_eq!((event.stream, event.access), (0x99, None));
        assert_eq!((event.kind.to_string(), Kind(0xff).to_string()), ("c_bad_streamid".into(), "event_0xff".into()));
    }
}
