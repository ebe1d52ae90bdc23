//! The general registers of an interrupted guest: what the world switch saves and restores.

/// The registers of a vCPU that EL2 has to keep, while the vCPU is not running.
///
/// `el2`'s entry code writes and reads this by offset, so the layout is fixed: `x0` first.
/// `SP_EL0` and `SP_EL1` stay in their registers, which EL2 does not use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Frame {
    /// The general registers.
    pub general: General,
    /// Where the guest goes on.
    pub at: Return,
}

impl Frame {
    /// PSTATE of a vCPU at its reset: EL1h with D, A, I and F masked (PSCI 1.1 §6.4.3).
    pub const PSTATE_RESET: u64 = 0x3c5;

    /// Returns a frame that enters EL1 at `pc` with `x0` in x0 and zero in all other registers.
    pub fn entering(pc: u64, x0: u64) -> Self {
        let mut frame = Self { general: General { x: [0; 31] }, at: Return { pc, pstate: Self::PSTATE_RESET } };
        frame.general.x[0] = x0;
        frame
    }
}

/// General registers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct General {
    /// x0 to x30.
    pub x: [u64; 31],
}

impl General {
    /// Tells whether a register is one of those that are kept here only if need be: x20 to x28, which a function gives
    /// back as they were (AAPCS64 6.1.1).
    #[inline(always)]
    pub const fn is_lazy(register: u8) -> bool {
        register.wrapping_sub(20) < 9
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

/// Where a guest goes on, and in which state. While it handles an exit, EL2 leaves both in their registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Return {
    /// The program counter: `ELR_EL2`.
    pub pc: u64,
    /// PSTATE: `SPSR_EL2`.
    pub pstate: u64,
}

/// `PSTATE.SS`.
const SS: u64 = 1 << 21;

impl Return {
    /// Tells whether it goes on in AArch32, which only EL0 does: `PSTATE.nRW`.
    #[inline(always)]
    pub const fn is_aarch32(&self) -> bool {
        self.pstate & 1 << 4 != 0
    }

    /// Steps over an instruction that was emulated: also leaves the single-step state and BTYPE as its
    /// execution would (DDI0487 D2.12, D8.5: `PSTATE.SS` and `PSTATE.BTYPE` become 0). `PSTATE.M` stays as it is.
    #[inline(always)]
    pub fn advance(&mut self) {
        const BTYPE: u64 = 3 << 10;
        self.pc = self.pc.wrapping_add(4);
        self.pstate &= !SS;
        // Bits 11:10 mean something else in AArch32.
        if !self.is_aarch32() {
            self.pstate &= !BTYPE;
        }
    }

    /// Steps over an instruction that EL0 in AArch32 has too, where it may be of 16 bits, and in an IT block. `wide`:
    /// it is of 32 bits (`ESR_ELx.IL`). `PSTATE.M` stays as it is.
    ///
    /// Apart from [`advance`](Self::advance), whose callers have AArch64's instructions only and no time.
    #[inline(always)]
    pub fn advance_either(&mut self, wide: bool) {
        /// `SPSR_ELx.IT` of an exception from AArch32: `IT[7:2]` in bits 15:10, `IT[1:0]` in 26:25.
        const IT: u64 = 0x3f << 10 | 3 << 25;
        if self.is_aarch32() {
            let it = self.pstate >> 25 & 3 | (self.pstate >> 10 & 0x3f) << 2;
            // ITAdvance (DDI0487, J1.3 of the pseudocode): the block ends with its last instruction.
            let it = if it & 7 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f };
            self.pstate = self.pstate & !IT | (it & 3) << 25 | (it >> 2) << 10;
        }
        let pc = self.pc.wrapping_add(if wide { 4 } else { 2 });
        self.advance();
        self.pc = pc;
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, General, Return, SS};
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use std::vec::Vec;

    const BTYPE: u64 = 3 << 10;
    const AARCH32: u64 = 1 << 4;

    #[test]
    fn the_entry_code_finds_the_fields_where_it_looks() {
        use core::mem::{align_of, offset_of, size_of};
        assert_eq!(offset_of!(Frame, general), 0);
        assert_eq!(offset_of!(General, x), 0);
        assert_eq!(offset_of!(Frame, at) + offset_of!(Return, pc), 31 * 8);
        assert_eq!(offset_of!(Frame, at) + offset_of!(Return, pstate), 32 * 8);
        // A frame lies on the stack, which is 16-byte aligned.
        assert_eq!((size_of::<Frame>(), align_of::<Frame>()), (34 * 8, 16));
    }

    #[test]
    fn a_vcpu_starts_at_el1_with_everything_masked_and_x0_as_told() {
        let frame = Frame::entering(0x4020_0000, 7);
        assert_eq!((frame.at.pc, frame.general.x[0], frame.at.pstate), (0x4020_0000, 7, 0x3c5));
        assert!(frame.general.x[1..].iter().all(|&register| register == 0));
    }

    #[test]
    fn lazy_are_the_registers_that_a_function_gives_back_but_for_those_that_the_vectors_need() {
        let lazy: Vec<u8> = (0..=u8::MAX).filter(|&register| General::is_lazy(register)).collect();
        assert_eq!(lazy, [20, 21, 22, 23, 24, 25, 26, 27, 28]);
    }

    #[test]
    fn register_31_is_zero_and_keeps_nothing() {
        let mut general = Frame::entering(0, 0).general;
        let before = general.clone();
        for beyond in 31..=u8::MAX {
            general.set(beyond, 5);
            assert_eq!(general.get(beyond), 0);
        }
        assert_eq!(general, before);
        general.set(30, 5);
        assert_eq!((general.get(30), general.x[30]), (5, 5));
    }

    #[test]
    fn stepping_over_ends_single_step_and_branch_type() {
        let mut at = Return { pc: 0x1000, pstate: 0 };
        at.pstate = !AARCH32;
        at.advance();
        assert_eq!(at.pc, 0x1004);
        assert_eq!(at.pstate, !(AARCH32 | SS | BTYPE));
    }

    #[test]
    fn stepping_over_in_aarch32_leaves_the_if_then_bits() {
        let mut at = Return { pc: 0x1000, pstate: 0 };
        at.pstate = u64::MAX;
        at.advance();
        assert_eq!(at.pstate, !SS);
    }

    #[test]
    fn stepping_over_a_short_instruction_goes_on_two_bytes_further() {
        let mut at = Return { pc: 0x1000, pstate: 0 };
        at.pstate = AARCH32 | 1 << 5 | SS;
        at.advance_either(false);
        assert_eq!((at.pc, at.pstate), (0x1002, AARCH32 | 1 << 5));
        at.advance_either(true);
        assert_eq!(at.pc, 0x1006);
        // AArch64: as `advance`.
        at.pstate = !AARCH32;
        at.advance_either(true);
        assert_eq!((at.pc, at.pstate), (0x100a, !(AARCH32 | SS | BTYPE)));
    }

    #[test]
    fn stepping_over_in_an_if_then_block_goes_to_its_next_condition() {
        // (IT before, IT after): the condition in 7:4 with its lowest bit taken from the mask below, the last one.
        for (before, after) in [
            (0_u64, 0_u64),
            // ITTE EQ: then, then, else, end.
            (0b0000_0110, 0b0000_1100),
            (0b0000_1100, 0b0001_1000),
            (0b0001_1000, 0),
            // IT AL, one instruction.
            (0b1110_1000, 0),
            // Four instructions: all of the mask is in use.
            (0b0001_0101, 0b0000_1010),
        ] {
            let place = |it: u64| (it & 3) << 25 | (it >> 2) << 10;
            let mut at = Return { pc: 0, pstate: 0 };
            let rest = AARCH32 | 1 << 5 | 1 << 31;
            at.pstate = rest | place(before);
            at.advance_either(false);
            assert_eq!(at.pstate, rest | place(after), "{before:#010b}");
        }
    }

    #[test]
    fn stepping_over_the_last_instruction_of_all_goes_on_at_zero() {
        let mut at = Return { pc: u64::MAX - 3, pstate: 0 };
        at.advance();
        assert_eq!(at.pc, 0);
    }

    proptest! {
        // `el2` writes it back as it is.
        #[test]
        fn stepping_over_never_changes_the_mode(pc in any::<u64>(), pstate in any::<u64>(), wide in any::<bool>()) {
            const M: u64 = 0x1f;
            let mut at = Return { pc, pstate };
            at.advance();
            prop_assert_eq!(at.pstate & M, pstate & M);
            at.advance_either(wide);
            prop_assert_eq!(at.pstate & M, pstate & M);
        }

        #[test]
        fn what_is_set_is_read_and_nothing_else_changes(index in 0..31_u8, value in any::<u64>()) {
            let mut general = Frame::entering(1, 2).general;
            general.set(index, value);
            prop_assert_eq!(general.get(index), value);
            let mut expected = Frame::entering(1, 2).general;
            expected.x[usize::from(index)] = value;
            prop_assert_eq!(general, expected);
        }
    }
}
