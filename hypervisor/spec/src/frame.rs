//! The general registers of an interrupted guest: what the world switch saves and restores.

/// General registers, program counter and PSTATE of a vCPU while it is not running.
///
/// `el2`'s entry code writes and reads this by offset, so the layout is fixed: `x0` first.
/// `SP_EL0` and `SP_EL1` stay in their registers, which EL2 does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where the guest goes on: `ELR_EL2`.
    pub pc: u64,
    /// The guest's PSTATE: `SPSR_EL2`.
    pub pstate: u64,
}

impl Frame {
    /// PSTATE of a vCPU at its reset: EL1h with D, A, I and F masked (PSCI 1.1 §6.4.3).
    pub const PSTATE_RESET: u64 = 0x3c5;

    /// Returns a frame that enters EL1 at `pc` with `x0` in x0 and zero in all other registers.
    pub fn entering(pc: u64, x0: u64) -> Self {
        let mut frame = Self {
            x: [0; 31],
            pc,
            pstate: Self::PSTATE_RESET,
        };
        frame.x[0] = x0;
        frame
    }

    /// Steps over an instruction that was emulated: also leaves the single-step state and BTYPE as its
    /// execution would (DDI0487 D2.12, D8.5: `PSTATE.SS` and `PSTATE.BTYPE` become 0).
    #[inline(always)]
    pub fn advance(&mut self) {
        const SS: u64 = 1 << 21;
        const BTYPE: u64 = 3 << 10;
        self.pc = self.pc.wrapping_add(4);
        // Bits 11:10 mean something else in an AArch32 PSTATE (bit 4).
        self.pstate &= if self.pstate & 1 << 4 == 0 {
            !(SS | BTYPE)
        } else {
            !SS
        };
    }

    /// Returns register `index` as an instruction names it: 31 is XZR.
    pub fn get(&self, index: u8) -> u64 {
        self.x.get(usize::from(index)).copied().unwrap_or(0)
    }

    /// Writes register `index` as an instruction names it: 31 is XZR, the value is dropped.
    pub fn set(&mut self, index: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(index)) {
            *register = value;
        }
    }
}
