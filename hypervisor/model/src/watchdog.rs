//! The generic watchdog, `arm,sbsa-gwdt`, revision 0 (Arm Base System Architecture, DEN0094, "Generic
//! watchdog"; before that SBSA, DEN0029).
//!
//! Two stages. If the guest does not refresh it within `WOR` counter ticks, WS0 rises, an interrupt to the
//! guest; if it lets as many pass again, WS1 rises, and the VM is restarted or stopped. That, the interrupt
//! and the timer behind it are the caller's: it calls [`Watchdog::tick`] no later than the
//! [`Watchdog::deadline`].
//!
//! `now` is the counter that the guest compares `WCV` with, in ticks. Linux uses `CNTVCT_EL0` for that.

use assay_spec::exit::Width;

#[cfg(test)]
mod tests;

/// Which of the watchdog's two register frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchdogFrame {
    /// The refresh frame: `WRR`.
    Refresh,
    /// The control frame: `WCS`, `WOR`, `WCV`.
    Control,
}

/// What time brought about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchdogEvent {
    /// Nothing new.
    None,
    /// The first stage ran out: the interrupt is raised now.
    Ws0,
    /// The second stage ran out: the guest is to be treated as hung. Reported once.
    Ws1,
}

/// Refresh frame.
const WRR: u64 = 0x000;
/// Control frame.
const WCS: u64 = 0x000;
const WOR: u64 = 0x008;
const WCV_LOW: u64 = 0x010;
const WCV_HIGH: u64 = 0x014;
/// Both frames: `W_IIDR`.
const W_IIDR: u64 = 0xfcc;

/// `WCS`: enable and the two signals.
const EN: u32 = 1;
const WS0: u32 = 1 << 1;
const WS1: u32 = 1 << 2;

/// `W_IIDR`: architecture revision 0 in bits 19:16, with a 32-bit `WOR`. No JEP106 code is ours, so the
/// other fields are 0.
const IIDR: u32 = 0;

/// One VM's watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watchdog {
    /// `WCS`.
    wcs: u32,
    /// `WOR`, in ticks.
    wor: u32,
    /// `WCV`: the stage runs out when the counter is beyond it.
    wcv: u64,
}

impl Watchdog {
    /// Makes a watchdog as after a cold reset: disabled.
    pub const fn new() -> Self {
        Self { wcs: 0, wor: 0, wcv: 0 }
    }

    /// Returns to the state after a cold reset.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Reads the register at byte `offset` of a frame.
    ///
    /// Registers are 32 bits wide; `WCV` may be read as a whole. Other widths and offsets read as zero, as
    /// `WRR` does. The signals are as the last [`Self::tick`] left them.
    pub fn read(&self, frame: WatchdogFrame, offset: u64, width: Width) -> u64 {
        match (frame, offset, width) {
            (_, W_IIDR, Width::W4) => IIDR.into(),
            (WatchdogFrame::Control, WCS, Width::W4) => self.wcs.into(),
            (WatchdogFrame::Control, WOR, Width::W4) => self.wor.into(),
            (WatchdogFrame::Control, WCV_LOW, Width::W4) => self.wcv & 0xffff_ffff,
            (WatchdogFrame::Control, WCV_HIGH, Width::W4) => self.wcv >> 32,
            (WatchdogFrame::Control, WCV_LOW, Width::W8) => self.wcv,
            _ => 0,
        }
    }

    /// Writes the register at byte `offset` of a frame. Other widths and offsets than those that
    /// [`Self::read`] knows are ignored.
    ///
    /// Any write to `WRR`, `WOR` or `WCS` is an explicit refresh: it drops both signals and starts the
    /// first stage anew. Afterwards [`Self::ws0_level`] and [`Self::deadline`] may have changed.
    pub fn write(&mut self, frame: WatchdogFrame, offset: u64, width: Width, value: u64, now: u64) {
        let low = (value & 0xffff_ffff) as u32;
        match (frame, offset, width) {
            (WatchdogFrame::Refresh, WRR, Width::W4) => self.refresh(now),
            (WatchdogFrame::Control, WCS, Width::W4) => {
                self.wcs = low & EN;
                self.refresh(now);
            }
            (WatchdogFrame::Control, WOR, Width::W4) => {
                self.wor = low;
                self.refresh(now);
            }
            (WatchdogFrame::Control, WCV_LOW, Width::W4) => {
                self.wcv = self.wcv >> 32 << 32 | u64::from(low);
            }
            (WatchdogFrame::Control, WCV_HIGH, Width::W4) => {
                self.wcv = u64::from(low) << 32 | self.wcv & 0xffff_ffff;
            }
            (WatchdogFrame::Control, WCV_LOW, Width::W8) => self.wcv = value,
            _ => {}
        }
    }

    /// Lets time pass up to `now` and returns what that brought about, at most one stage a call.
    ///
    /// The second stage starts at `now`, not when the first ran out: however late the call, a guest has
    /// `WOR` ticks to answer the interrupt.
    pub fn tick(&mut self, now: u64) -> WatchdogEvent {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return WatchdogEvent::None;
        }
        if self.wcs & WS0 != 0 {
            self.wcs |= WS1;
            return WatchdogEvent::Ws1;
        }
        self.wcs |= WS0;
        self.load(now);
        WatchdogEvent::Ws0
    }

    /// Returns the counter value at which the next stage runs out, or `None` if the watchdog is disabled,
    /// has run out wholly, or its time lies beyond the counter's range.
    pub fn deadline(&self) -> Option<u64> {
        // The stage runs out when the counter is greater than WCV.
        (self.wcs & (EN | WS1) == EN).then(|| self.wcv.checked_add(1)).flatten()
    }

    /// Returns the level of the WS0 interrupt.
    pub fn ws0_level(&self) -> bool {
        self.wcs & WS0 != 0
    }

    fn refresh(&mut self, now: u64) {
        self.wcs &= EN;
        self.load(now);
    }

    fn load(&mut self, now: u64) {
        self.wcv = now.saturating_add(self.wor.into());
    }
}
