//! A guest's real-time clock: a PL031 (Arm DDI 0224) that it can read and not set.
//!
//! It says the host's time. There is no alarm, and no interrupt.

/// What a VM's clock goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rtc {
    /// Seconds since 1970 at this physical count.
    pub seconds: u32,
    /// The physical count.
    pub at: u64,
    /// Counts in a second, not 0.
    pub frequency: u64,
}

/// RTCDR: the time.
const DATA: u64 = 0x00;
/// RTCCR: the clock runs.
const CONTROL: u64 = 0x0c;
/// RTCPeriphID0 to RTCPCellID3, a byte in each word.
const ID: u64 = 0xfe0;
const IDS: [u8; 8] = [0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

impl Rtc {
    /// What a load at `offset` gives when the physical counter reads `now`. Writes change nothing.
    pub fn read(&self, offset: u64, now: u64) -> u64 {
        match offset {
            // 32 bits, which turn over in 2106.
            DATA => u64::from(self.seconds).wrapping_add(now.wrapping_sub(self.at) / self.frequency) & 0xffff_ffff,
            CONTROL => 1,
            ID.. if offset.is_multiple_of(4) => IDS.get(((offset - ID) / 4) as usize).copied().unwrap_or(0).into(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rtc;

    const RTC: Rtc = Rtc { seconds: 1_000_000, at: 500, frequency: 100 };

    #[test]
    fn the_time_goes_on_with_the_counter() {
        assert_eq!(RTC.read(0, 500), 1_000_000);
        assert_eq!(RTC.read(0, 599), 1_000_000);
        assert_eq!(RTC.read(0, 600), 1_000_001);
        let late = Rtc { seconds: u32::MAX, ..RTC };
        assert_eq!(late.read(0, 600), 0, "it turns over");
    }

    #[test]
    fn it_is_a_pl031_that_runs() {
        let id = (0..4).rev().fold(0, |id, byte| id << 8 | RTC.read(0xfe0 + 4 * byte, 0));
        assert_eq!(id & 0xf_ffff, 0x41031);
        let cell = (0..4).rev().fold(0, |id, byte| id << 8 | RTC.read(0xff0 + 4 * byte, 0));
        assert_eq!(cell, 0xb105_f00d);
        assert_eq!(RTC.read(0x0c, 0), 1);
        for offset in [0x04, 0x08, 0x10, 0x14, 0x18, 0xfe2] {
            assert_eq!(RTC.read(offset, 12345), 0, "{offset:#x}");
        }
    }
}
