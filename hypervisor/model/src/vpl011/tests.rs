use super::{CR_LBE, FIFO_BYTES, RING_BYTES, Vpl011, int, offset};
use assay_spec::exit::Width;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use std::collections::VecDeque;
use std::vec::Vec;

const FEN: u64 = 1 << 4;
const RXFE: u64 = 1 << 4;
const RXFF: u64 = 1 << 6;

fn read(uart: &mut Vpl011, offset: u64) -> u64 {
    uart.read(offset, Width::W4)
}

fn write(uart: &mut Vpl011, offset: u64, value: u64) -> Option<u8> {
    uart.write(offset, Width::W4, value)
}

/// A UART as Linux has it while a terminal is open: FIFOs on, both receive interrupts unmasked.
fn open() -> Vpl011 {
    let mut uart = Vpl011::new();
    write(&mut uart, offset::LCR_H, FEN | 0x60);
    write(&mut uart, offset::CR, 0x301);
    write(&mut uart, offset::IMSC, u64::from(int::RX | int::RT));
    uart
}

fn receive_all(uart: &mut Vpl011, count: usize) {
    for n in 0..count {
        assert!(uart.receive(n.to_le_bytes()[0]));
    }
}

#[test]
fn after_reset_the_registers_read_as_the_manual_says() {
    let mut uart = Vpl011::new();
    assert_eq!(read(&mut uart, offset::CR), 0x300);
    assert_eq!(read(&mut uart, offset::IFLS), 0x12);
    for offset in [offset::DR, offset::RSR_ECR, offset::LCR_H, offset::IMSC, offset::RIS, offset::MIS] {
        assert_eq!(read(&mut uart, offset), 0, "{offset:#x}");
    }
    // Both FIFOs empty, not busy, and a terminal at the other end.
    assert_eq!(read(&mut uart, offset::FR), 0x97);
}

#[test]
fn it_identifies_itself_as_a_pl011_r1p5_to_the_amba_bus() {
    let mut uart = Vpl011::new();
    let byte = |uart: &mut Vpl011, n: u64| read(uart, 0xfe0 + 4 * n) << (8 * (n % 4));
    let periph = (0..4).fold(0, |id, n| id | byte(&mut uart, n));
    let cell = (4..8).fold(0, |id, n| id | byte(&mut uart, n));
    assert_eq!(periph, 0x0034_1011);
    assert_eq!(cell, 0xb105_f00d);
}

#[test]
fn a_byte_written_to_the_data_register_is_to_be_sent_at_once() {
    let mut uart = Vpl011::new();
    assert_eq!(uart.write(offset::DR, Width::W1, 0x41), Some(0x41));
    assert_eq!(uart.write(offset::DR, Width::W2, 0xff42), Some(0x42));
    assert_eq!(uart.write(offset::DR, Width::W4, 0x43), Some(0x43));
    assert_eq!(read(&mut uart, offset::FR) & 0xa8, 0x80, "never full, never busy");
}

#[test]
fn the_transmit_interrupt_rises_with_a_byte_sent_and_not_when_it_is_unmasked() {
    let mut uart = open();
    write(&mut uart, offset::IMSC, u64::from(int::TX));
    assert!(!uart.level());
    write(&mut uart, offset::DR, 0x41);
    assert!(uart.level());
    assert_eq!(read(&mut uart, offset::MIS), u64::from(int::TX));
    write(&mut uart, offset::ICR, u64::from(int::TX));
    assert!(!uart.level());
    write(&mut uart, offset::DR, 0x42);
    assert!(uart.level());
}

#[test]
fn a_masked_interrupt_shows_in_ris_but_not_in_mis_nor_on_the_line() {
    let mut uart = Vpl011::new();
    write(&mut uart, offset::DR, 0x41);
    assert_eq!(read(&mut uart, offset::RIS), u64::from(int::TX));
    assert_eq!(read(&mut uart, offset::MIS), 0);
    assert!(!uart.level());
}

#[test]
fn a_single_byte_received_raises_the_line_until_it_is_read() {
    let mut uart = open();
    assert!(uart.receive(b'x'));
    assert!(uart.level());
    assert_eq!(read(&mut uart, offset::RIS), u64::from(int::RT));
    assert_eq!(read(&mut uart, offset::FR) & RXFE, 0);
    assert_eq!(read(&mut uart, offset::DR), u64::from(b'x'));
    assert!(!uart.level());
    assert_eq!(read(&mut uart, offset::FR) & RXFE, RXFE);
}

#[test]
fn the_receive_interrupt_follows_the_trigger_level_chosen() {
    for (select, level) in [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28), (5, 16), (7, 16)] {
        let mut uart = open();
        write(&mut uart, offset::IFLS, select << 3);
        receive_all(&mut uart, level - 1);
        assert_eq!(read(&mut uart, offset::RIS) & u64::from(int::RX), 0, "{select}");
        receive_all(&mut uart, 1);
        assert_ne!(read(&mut uart, offset::RIS) & u64::from(int::RX), 0, "{select}");
        read(&mut uart, offset::DR);
        assert_eq!(read(&mut uart, offset::RIS), u64::from(int::RT), "{select}");
    }
}

#[test]
fn with_fifos_off_one_byte_fills_the_holding_register() {
    let mut uart = Vpl011::new();
    receive_all(&mut uart, 1);
    assert_eq!(read(&mut uart, offset::RIS), u64::from(int::RX | int::RT));
    assert_eq!(read(&mut uart, offset::FR) & RXFF, RXFF);
}

#[test]
fn the_fifo_reads_as_full_at_32_bytes_while_the_ring_takes_more() {
    let mut uart = open();
    receive_all(&mut uart, FIFO_BYTES - 1);
    assert_eq!(read(&mut uart, offset::FR) & RXFF, 0);
    receive_all(&mut uart, RING_BYTES - FIFO_BYTES + 1);
    assert_eq!(read(&mut uart, offset::FR) & RXFF, RXFF);
    assert_eq!(uart.room(), 0);
    assert!(!uart.receive(0));
    read(&mut uart, offset::DR);
    assert_eq!(uart.room(), 1);
    assert!(uart.receive(0));
}

#[test]
fn an_interrupt_cleared_by_hand_stays_low_until_something_changes() {
    let mut uart = open();
    receive_all(&mut uart, 40);
    write(&mut uart, offset::ICR, 0x7ff);
    assert!(!uart.level());
    // What the ring moves up is news, though nothing came in on the wire.
    read(&mut uart, offset::DR);
    assert!(uart.level());
}

#[test]
fn draining_the_way_linux_opens_the_port_leaves_no_interrupt_behind_and_none_lost() {
    let mut uart = Vpl011::new();
    receive_all(&mut uart, 3);
    write(&mut uart, offset::ICR, u64::from(int::RX | int::RT));
    while read(&mut uart, offset::FR) & RXFE == 0 {
        read(&mut uart, offset::DR);
    }
    write(&mut uart, offset::LCR_H, FEN);
    write(&mut uart, offset::IMSC, u64::from(int::RX | int::RT));
    assert!(!uart.level());
    assert!(uart.receive(b'x'));
    assert!(uart.level());
}

#[test]
fn in_loopback_what_is_sent_is_received_and_the_terminal_is_held_back() {
    let mut uart = open();
    write(&mut uart, offset::CR, u64::from(CR_LBE) | 0x301);
    assert_eq!(write(&mut uart, offset::DR, 0x41), None);
    assert_eq!(uart.room(), 0);
    assert!(!uart.receive(b'x'));
    assert_eq!(read(&mut uart, offset::DR), 0x41);
    assert_eq!(read(&mut uart, offset::FR) & RXFE, RXFE);
}

#[test]
fn a_loopback_that_overruns_the_ring_says_so_in_the_overrun_interrupt() {
    let mut uart = open();
    write(&mut uart, offset::CR, CR_LBE.into());
    for _ in 0..RING_BYTES {
        write(&mut uart, offset::DR, 0x41);
    }
    assert_eq!(read(&mut uart, offset::RIS) & u64::from(int::OE), 0);
    write(&mut uart, offset::DR, 0x41);
    assert_ne!(read(&mut uart, offset::RIS) & u64::from(int::OE), 0);
}

#[test]
fn a_64_kib_paste_arrives_whole_and_in_order_through_a_reader_of_any_pace() {
    let paste: Vec<u8> = (0..65536_u32).map(|n| ((n * 7) >> 3).to_le_bytes()[0]).collect();
    for reads in [1, 16, 33, 256] {
        let mut uart = open();
        let mut terminal = paste.iter();
        let mut held = None;
        let mut got: Vec<u8> = Vec::new();
        while got.len() < paste.len() {
            while let Some(byte) = held.take().or_else(|| terminal.next().copied()) {
                if !uart.receive(byte) {
                    held = Some(byte);
                    break;
                }
            }
            assert!(uart.level(), "the guest must hear of what waits");
            for _ in 0..reads {
                if read(&mut uart, offset::FR) & RXFE == 0 {
                    got.extend(read(&mut uart, offset::DR).to_le_bytes().first());
                }
            }
        }
        assert!(got == paste);
    }
}

#[test]
fn reserved_bits_do_not_stick_and_the_others_do() {
    let mut uart = Vpl011::new();
    for (offset, kept) in [
        (offset::ILPR, 0xff),
        (offset::IBRD, 0xffff),
        (offset::FBRD, 0x3f),
        (offset::LCR_H, 0xff),
        (offset::CR, 0xff87),
        (offset::IFLS, 0x3f),
        (offset::IMSC, 0x7ff),
        (offset::DMACR, 0x7),
    ] {
        write(&mut uart, offset, u64::MAX);
        assert_eq!(read(&mut uart, offset), kept, "{offset:#x}");
    }
}

#[test]
fn reset_drops_what_was_received_and_every_setting() {
    let mut uart = open();
    receive_all(&mut uart, 100);
    write(&mut uart, offset::DR, 0x41);
    uart.reset();
    assert!(!uart.level());
    assert_eq!(uart.room(), RING_BYTES);
    assert_eq!(read(&mut uart, offset::FR), 0x97);
    assert_eq!(read(&mut uart, offset::LCR_H), 0);
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::W1), Just(Width::W2), Just(Width::W4), Just(Width::W8)]
}

#[derive(Clone, Debug)]
enum Step {
    Receive(u8),
    Take,
    Send(u8),
    Clear(u64),
    Unmask(u64),
    Trigger(u64),
    Fifo(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<u8>().prop_map(Step::Receive),
        7 => Just(Step::Take),
        1 => any::<u8>().prop_map(Step::Send),
        1 => (0_u64..0x800).prop_map(Step::Clear),
        1 => (0_u64..0x800).prop_map(Step::Unmask),
        1 => (0_u64..0x40).prop_map(Step::Trigger),
        1 => any::<bool>().prop_map(Step::Fifo),
    ]
}

/// A PL011 told from its interrupts' definitions, over an unbounded queue.
#[derive(Default)]
struct Reference {
    queue: VecDeque<u8>,
    fifo: bool,
    sixteenths: usize,
    raised: [bool; 3],
    unmasked: u64,
}

impl Reference {
    fn visible(&self) -> usize {
        self.queue.len().min(if self.fifo { 32 } else { 1 })
    }
    fn moved(&mut self) {
        let full_enough = if self.fifo { 16 * self.visible() >= 32 * self.sixteenths } else { true };
        self.raised[0] = self.visible() > 0 && full_enough;
        self.raised[2] = self.visible() > 0;
    }
    fn ris(&self) -> u64 {
        (0..3).filter(|&n| self.raised[n]).map(|n| 1 << (4 + n)).sum()
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_reference_model(steps in proptest::collection::vec(step(), 1..400)) {
        let mut uart = Vpl011::new();
        let mut reference = Reference { sixteenths: 8, ..Reference::default() };
        for step in steps {
            match step {
                Step::Receive(byte) => {
                    assert!(uart.receive(byte));
                    reference.queue.push_back(byte);
                    reference.moved();
                }
                Step::Take => {
                    let expected = reference.queue.pop_front();
                    assert_eq!(read(&mut uart, offset::DR), u64::from(expected.unwrap_or(0)));
                    if expected.is_some() {
                        reference.moved();
                    }
                }
                Step::Send(byte) => {
                    assert_eq!(write(&mut uart, offset::DR, byte.into()), Some(byte));
                    reference.raised[1] = true;
                }
                Step::Clear(bits) => {
                    write(&mut uart, offset::ICR, bits);
                    for n in 0..3 {
                        reference.raised[n] &= bits >> (4 + n) & 1 == 0;
                    }
                }
                Step::Unmask(bits) => {
                    write(&mut uart, offset::IMSC, bits);
                    reference.unmasked = bits;
                }
                Step::Trigger(bits) => {
                    write(&mut uart, offset::IFLS, bits);
                    let sixteenths = [2, 4, 8, 12, 14];
                    reference.sixteenths = *sixteenths.get(usize::try_from(bits >> 3).unwrap()).unwrap_or(&8);
                    reference.moved();
                }
                Step::Fifo(on) => {
                    write(&mut uart, offset::LCR_H, if on { FEN } else { 0 });
                    reference.fifo = on;
                    reference.moved();
                }
            }
            assert_eq!(read(&mut uart, offset::RIS), reference.ris());
            assert_eq!(read(&mut uart, offset::MIS), reference.ris() & reference.unmasked);
            assert_eq!(uart.level(), reference.ris() & reference.unmasked != 0);
            let flags = read(&mut uart, offset::FR);
            assert_eq!(flags & RXFE != 0, reference.visible() == 0);
            assert_eq!(flags & RXFF != 0, reference.visible() == if reference.fifo { 32 } else { 1 });
        }
    }

    #[test]
    fn any_access_has_a_defined_answer_of_its_width(
        accesses in proptest::collection::vec(
            (prop_oneof![0_u64..0x60, 0xfd0_u64..0x1010, any::<u64>()], width(), any::<u64>(), any::<u8>()),
            1..100),
    ) {
        let mut uart = Vpl011::new();
        for (offset, width, value, byte) in accesses {
            uart.write(offset, width, value);
            uart.receive(byte);
            let answer = uart.read(offset, width);
            assert_eq!(answer, width.truncate(answer));
            assert!(uart.room() <= RING_BYTES);
        }
    }
}
