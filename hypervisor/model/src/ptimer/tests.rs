use super::{PhysTimer, Register};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

fn armed(cval: u64) -> PhysTimer {
    let mut timer = PhysTimer::new();
    timer.write(Register::Cval, cval, 0);
    timer.write(Register::Ctl, 1, 0);
    timer
}

#[test]
fn after_reset_it_is_disabled_and_low() {
    let timer = PhysTimer::new();
    assert_eq!(timer.read(Register::Ctl, u64::MAX), 0);
    assert!(!timer.level(u64::MAX));
    assert_eq!(timer.deadline(), None);
}

#[test]
fn the_line_rises_when_the_counter_reaches_the_compare_value() {
    let timer = armed(100);
    assert!(!timer.level(99));
    assert!(timer.level(100));
    assert_eq!(timer.read(Register::Ctl, 99), 0b001);
    assert_eq!(timer.read(Register::Ctl, 100), 0b101);
}

#[test]
fn the_line_falls_when_the_compare_value_moves_into_the_future() {
    let mut timer = armed(100);
    assert!(timer.level(200));
    timer.write(Register::Cval, 300, 200);
    assert!(!timer.level(200));
    assert_eq!(timer.deadline(), Some(300));
}

#[test]
fn imask_holds_the_line_low_but_istatus_still_shows() {
    let mut timer = armed(100);
    timer.write(Register::Ctl, 0b11, 0);
    assert!(!timer.level(100));
    assert_eq!(timer.read(Register::Ctl, 100), 0b111);
    assert_eq!(timer.deadline(), None);
}

#[test]
fn istatus_and_reserved_bits_cannot_be_written() {
    let mut timer = armed(100);
    timer.write(Register::Ctl, u64::MAX, 0);
    assert_eq!(timer.read(Register::Ctl, 0), 0b011);
}

#[test]
fn tval_is_a_signed_32_bit_distance_from_now() {
    let mut timer = armed(0);
    timer.write(Register::Tval, 50, 1000);
    assert_eq!(timer.read(Register::Cval, 1000), 1050);
    assert_eq!(timer.read(Register::Tval, 1020), 30);
    assert_eq!(timer.read(Register::Tval, 1051), 0xffff_ffff);
    timer.write(Register::Tval, 0xffff_ffff, 1000);
    assert_eq!(timer.read(Register::Cval, 1000), 999);
    timer.write(Register::Tval, 0xdead_beef_0000_0001, 1000);
    assert_eq!(timer.read(Register::Cval, 1000), 1001);
}

#[test]
fn a_negative_tval_at_counter_zero_wraps_to_the_far_future() {
    let mut timer = armed(0);
    timer.write(Register::Tval, 0x8000_0000, 0);
    assert_eq!(timer.read(Register::Cval, 0), 0xffff_ffff_8000_0000);
    assert!(!timer.level(u64::MAX >> 1));
}

#[test]
fn the_deadline_stays_when_it_has_passed() {
    let timer = armed(100);
    assert!(!timer.level(99) && timer.level(100));
    assert_eq!(timer.deadline(), Some(100));
}

fn register() -> impl Strategy<Value = Register> {
    prop_oneof![Just(Register::Ctl), Just(Register::Cval), Just(Register::Tval)]
}

proptest! {
    /// The reference keeps its numbers in 128 bits, where nothing wraps, and takes them apart itself.
    #[test]
    fn it_agrees_with_a_reference_in_wide_arithmetic(
        writes in proptest::collection::vec((register(), any::<u64>(), any::<u64>()), 1..8),
        now: u64,
    ) {
        let mut timer = PhysTimer::new();
        let (mut enable, mut imask, mut cval) = (false, false, 0_i128);
        for (register, value, at) in writes {
            timer.write(register, value, at);
            match register {
                Register::Ctl => (enable, imask) = (value % 2 == 1, value / 2 % 2 == 1),
                Register::Cval => cval = i128::from(value),
                Register::Tval => {
                    let low = i128::from(value % (1 << 32));
                    let distance = if low < 1 << 31 { low } else { low - (1 << 32) };
                    cval = (i128::from(at) + distance).rem_euclid(1 << 64);
                }
            }
        }
        let expired = enable && i128::from(now) >= cval;
        assert_eq!(timer.level(now), expired && !imask);
        assert_eq!(timer.read(Register::Ctl, now) & 4 != 0, expired);
        assert_eq!(i128::from(timer.read(Register::Cval, now)), cval);
        let tval = (cval - i128::from(now)).rem_euclid(1 << 32);
        assert_eq!(i128::from(timer.read(Register::Tval, now)), tval);
        assert_eq!(timer.deadline().map(i128::from), (enable && !imask).then_some(cval));
    }
}
