//! Function-level resets: found, waited for, and what is put back.

use assay_model::pci::header::{BAR0, BUS_MASTER, COMMAND, INTX_DISABLE, MEMORY_SPACE};

use super::super::{ConfigSpace, Function, Progress, Reset};
use super::fake::{Fake, One};
use super::{MIB, at, run};

/// 100 ms.
const TENTH: u64 = 1000;
const CONTROL: u16 = 0x88;
const START: u32 = 1 << 15;
const WAITS: u32 = 1 << 21;

/// A function with a PCI Express capability behind another one.
fn express(capabilities: u32) -> One {
    One::endpoint()
        .with(0x34, 0x50, 0)
        .with(0x50, 0x8005, 0)
        .with(0x80, 0x0002_0010, 0)
        .with(0x84, capabilities, 0)
        .with(CONTROL, 0x2810, 0xffff)
        .wide(0, MIB, 0)
}

/// A machine that resets its function when it is told to, and counts that.
struct Machine {
    fake: Fake,
    resets: usize,
    /// The function is not there.
    is_away: bool,
}

impl ConfigSpace for Machine {
    fn read(&mut self, function: Function, offset: u16) -> u32 {
        if self.is_away { 0xffff_ffff } else { self.fake.read(function, offset) }
    }
    fn write(&mut self, function: Function, offset: u16, value: u32) {
        assert!(!self.is_away, "it is written to in the middle of its reset");
        self.fake.write(function, offset, value);
        if offset == CONTROL && value & START != 0 {
            self.resets += 1;
            for (word, bits) in [(COMMAND, 0), (CONTROL, 0), (BAR0, 0), (BAR0 + 4, 0)] {
                self.fake.write(function, word, bits);
            }
        }
    }
}

#[test]
fn what_can_be_reset_says_so() {
    let of = |one| Reset::of(&mut Fake::default().with(at(2), one), at(2)).can_reset();
    assert!(of(express(1 << 28)));
    assert!(!of(express(0)));
    assert!(!of(express(1 << 28).with_command(0)), "no list");
    let advanced = |word| One::endpoint().with(0x34, 0x60, 0).with(0x60, word, 0);
    assert!(of(advanced(0x0306_0013)));
    assert!(!of(advanced(0x0106_0013)));
    // A list in a circle, and one into the header.
    assert!(!of(One::endpoint().with(0x34, 0x50, 0).with(0x50, 0x5009, 0)));
    assert!(!of(One::endpoint().with(0x34, 0x20, 0).with(0x20, 0x0010, 0)));
    assert!(!of(One::endpoint()));
}

#[test]
fn after_100_ms_bars_and_command_are_as_at_the_boot() {
    let mut fake = Fake::default().with(at(2), express(1 << 28));
    let prepared = run(&mut fake, at(2)).unwrap();
    let place = fake.word(at(2), BAR0 + 4);
    assert_ne!(place, 0);
    let mut reset = Reset::of(&mut fake, at(2));
    let mut machine = Machine { fake, resets: 0, is_away: false };
    assert_eq!(reset.go_on(&mut machine, &prepared, 5, TENTH), Progress::Ready);
    // The guest has left it able to do all, and with other settings.
    machine.write(at(2), COMMAND, MEMORY_SPACE | BUS_MASTER);
    machine.write(at(2), CONTROL, 0x5000);
    reset.begin(&mut machine, &prepared, 10, TENTH);
    assert_eq!((machine.resets, machine.fake.word(at(2), BAR0 + 4)), (1, 0));
    machine.is_away = true;
    assert!(!reset.is_idle());
    assert_eq!(reset.go_on(&mut machine, &prepared, 1009, TENTH), Progress::Wait(1010));
    // It takes its time.
    assert_eq!(reset.go_on(&mut machine, &prepared, 1010, TENTH), Progress::Wait(1110));
    machine.is_away = false;
    assert_eq!(reset.go_on(&mut machine, &prepared, 1110, TENTH), Progress::Ready);
    assert!(reset.is_idle());
    assert_eq!(machine.fake.word(at(2), BAR0 + 4), place);
    assert_eq!(machine.fake.word(at(2), COMMAND) & 0xffff, MEMORY_SPACE | INTX_DISABLE);
    assert_eq!((machine.fake.word(at(2), CONTROL), machine.resets), (0x2810, 1));
}

#[test]
fn accesses_that_are_under_way_are_waited_for_but_not_for_ever() {
    let mut fake = Fake::default().with(at(2), express(1 << 28).with(CONTROL, WAITS, 0));
    let prepared = run(&mut fake, at(2)).unwrap();
    let mut reset = Reset::of(&mut fake, at(2));
    let mut machine = Machine { fake, resets: 0, is_away: false };
    reset.begin(&mut machine, &prepared, 0, TENTH);
    assert_eq!(reset.go_on(&mut machine, &prepared, 999, TENTH), Progress::Wait(1009));
    assert_eq!(machine.resets, 0);
    assert_eq!(reset.go_on(&mut machine, &prepared, 1000, TENTH), Progress::Wait(2000));
    assert_eq!(machine.resets, 1);
}

#[test]
fn one_that_does_not_come_back_is_given_up_after_a_second() {
    let mut fake = Fake::default().with(at(2), express(1 << 28));
    let prepared = run(&mut fake, at(2)).unwrap();
    let mut reset = Reset::of(&mut fake, at(2));
    let mut machine = Machine { fake, resets: 0, is_away: false };
    reset.begin(&mut machine, &prepared, 0, TENTH);
    machine.is_away = true;
    assert_eq!(reset.go_on(&mut machine, &prepared, 9_999, TENTH), Progress::Wait(10_099));
    assert_eq!(reset.go_on(&mut machine, &prepared, 10_099, TENTH), Progress::Gone);
    assert!(reset.is_idle());
    // Nor is one that forgets its BARs.
    let mut fake = Fake::default().with(at(2), express(1 << 28));
    let prepared = run(&mut fake, at(2)).unwrap();
    fake.keeps_nothing = true;
    let mut machine = Machine { fake, resets: 0, is_away: false };
    reset.begin(&mut machine, &prepared, 0, TENTH);
    assert_eq!(reset.go_on(&mut machine, &prepared, TENTH, TENTH), Progress::Gone);
}

/// Where PMCSR is, and its bits: No_Soft_Reset, and a PME that was seen.
const PMCSR: u16 = 0x54;
const KEPT: u32 = 1 << 3;
const SEEN: u32 = 1 << 15;

/// A function without reset, in D3hot, that forgets its BARs when it wakes.
fn asleep() -> Fake {
    let power = One::endpoint().with(0x34, 0x50, 0).with(0x50, 0x0003_0001, 0).with(PMCSR, KEPT | SEEN | 3, 0xffff);
    Fake::default().with(at(2), power.wide(0, MIB, 0))
}

#[test]
fn one_that_sleeps_is_woken_and_waited_for() {
    let mut fake = asleep();
    let prepared = run(&mut fake, at(2)).unwrap();
    let place = fake.word(at(2), BAR0 + 4);
    let mut reset = Reset::of(&mut fake, at(2));
    assert!(!reset.can_reset());
    reset.begin(&mut fake, &prepared, 10, TENTH);
    // D0; what is cleared by a one is not.
    assert_eq!(fake.word(at(2), PMCSR) & 0xffff, KEPT);
    fake.write(at(2), COMMAND, 0);
    fake.write(at(2), BAR0 + 4, 0);
    assert_eq!(reset.go_on(&mut fake, &prepared, 109, TENTH), Progress::Wait(110));
    assert!(!reset.is_idle());
    assert_eq!(reset.go_on(&mut fake, &prepared, 110, TENTH), Progress::Ready);
    assert_eq!(fake.word(at(2), BAR0 + 4), place);
    assert_eq!(fake.word(at(2), COMMAND) & 0xffff, MEMORY_SPACE | INTX_DISABLE);
    // Awake, it takes no time.
    reset.begin(&mut fake, &prepared, 200, TENTH);
    assert!(reset.is_idle());
}

#[test]
fn one_that_sleeps_and_can_be_reset_is_woken_first() {
    let one = express(1 << 28).with(0x50, 0x8001, 0).with(PMCSR, 3, 0xffff);
    let mut fake = Fake::default().with(at(2), one);
    let prepared = run(&mut fake, at(2)).unwrap();
    let mut reset = Reset::of(&mut fake, at(2));
    let mut machine = Machine { fake, resets: 0, is_away: false };
    reset.begin(&mut machine, &prepared, 0, TENTH);
    assert_eq!((machine.resets, machine.fake.word(at(2), PMCSR) & 0xffff), (0, 0));
    assert_eq!(reset.go_on(&mut machine, &prepared, 100, TENTH), Progress::Wait(1100));
    assert_eq!(machine.resets, 1);
    assert_eq!(reset.go_on(&mut machine, &prepared, 1100, TENTH), Progress::Ready);
}

#[test]
fn messages_are_off_between_lives() {
    let one = One::endpoint().with(0x04, 1 << 20, 0).with(0x34, 0x40, 0).with(0x40, 0x8003_5011, 0xc000_0000).with(
        0x50,
        0x0081_0005,
        0x0001_0000,
    );
    let mut fake = Fake::default().with(at(2), one);
    super::super::stop_messages(&mut fake, at(2));
    assert_eq!((fake.word(at(2), 0x40) >> 30, fake.word(at(2), 0x50) >> 16 & 1), (0, 0));
}
