//! UARTs over registers that are a test's.

use std::cell::RefCell;
use std::vec;
use std::vec::Vec;

use super::{CADENCE, DW, IMX, LPUART, Layout, MINI_UART, NS16550, PL011, PXA, Registers, SBSA, TI, Uart, Wired};

/// Registers that keep what is written, with a FIFO of bytes to be received in front of one kind's flag.
struct Fake<'a> {
    values: RefCell<[u32; 256]>,
    writes: RefCell<Vec<(u16, u32)>>,
    reads: RefCell<Vec<u16>>,
    /// What the machine does at a write.
    at_write: &'a dyn Fn(&mut [u32; 256], u16),
}

impl<'a> Fake<'a> {
    fn new(values: &[(u16, u32)], at_write: &'a dyn Fn(&mut [u32; 256], u16)) -> Self {
        let mut all = [0; 256];
        values.iter().for_each(|(register, value)| all[usize::from(*register)] = *value);
        Self { values: RefCell::new(all), writes: RefCell::default(), reads: RefCell::default(), at_write }
    }

    fn written(&self) -> Vec<(u16, u32)> {
        core::mem::take(&mut self.writes.borrow_mut())
    }
}

impl Registers for Fake<'_> {
    fn get(&self, register: u16) -> u32 {
        self.reads.borrow_mut().push(register);
        self.values.borrow()[usize::from(register)]
    }

    fn set(&self, register: u16, value: u32) {
        self.writes.borrow_mut().push((register, value));
        let mut values = self.values.borrow_mut();
        values[usize::from(register)] = value;
        (self.at_write)(&mut values, register);
    }
}

const NOTHING: &dyn Fn(&mut [u32; 256], u16) = &|_, _| {};

/// A register and its value.
type Value = (u16, u32);

/// Each kind with its state of an empty receiver and a full transmitter, and of a byte and of room.
fn kinds() -> [(&'static Uart, Value, Value); 10] {
    [
        (&PL011, (0x18, 0x30), (0x18, 0)),
        (&SBSA, (0x18, 0x30), (0x18, 0)),
        (&NS16550, (5, 0), (5, 0x21)),
        (&DW, (5, 0), (5, 0x21)),
        (&TI, (5, 0), (5, 0x21)),
        (&PXA, (5, 0), (5, 0x21)),
        (&MINI_UART, (5, 0), (5, 0x21)),
        (&CADENCE, (0x2c, 0x12), (0x2c, 0)),
        (&IMX, (0xb4, 0x10), (0xb4, 0)),
        (&LPUART, (4, 0), (4, 1 << 23 | 1 << 21)),
    ]
}

#[test]
fn a_byte_goes_out_only_where_there_is_room() {
    for (uart, full, room) in kinds() {
        let at = Fake::new(&[full], NOTHING);
        assert_eq!(uart.send(b"abc", &at), 0, "{}", uart.name);
        assert_eq!(at.written(), []);
        let fills = move |values: &mut [u32; 256], _| values[usize::from(full.0)] = full.1;
        let at = Fake::new(&[room], &fills);
        assert_eq!(uart.send(b"abc", &at), 1, "{}", uart.name);
        assert_eq!(at.written(), [(uart.transmit, u32::from(b'a'))]);
        assert_eq!(uart.send(b"", &at), 0);
    }
}

#[test]
fn a_byte_comes_in_only_where_there_is_one() {
    for (uart, empty, byte) in kinds() {
        let at = Fake::new(&[empty], NOTHING);
        assert_eq!(uart.receive(&at), None, "{}", uart.name);
        // The i.MX says it elsewhere than that there is room; and the bits above the byte are errors.
        let byte = if *uart == IMX { (0x98, 1) } else { byte };
        let at = Fake::new(&[byte, (uart.receive, 0x8341)], NOTHING);
        assert_eq!(uart.receive(&at), Some(0x41), "{}", uart.name);
    }
}

#[test]
fn a_byte_that_comes_while_the_interrupt_is_acknowledged_is_not_lost() {
    for (uart, empty, byte) in kinds().into_iter().filter(|(uart, ..)| !uart.acknowledge.is_empty()) {
        let acknowledged = uart.acknowledge[0].0;
        let comes = move |values: &mut [u32; 256], register| {
            if register == acknowledged {
                values[usize::from(byte.0)] = byte.1;
            }
        };
        let at = Fake::new(&[empty], &comes);
        assert!(uart.receive(&at).is_some(), "{}", uart.name);
    }
}

#[test]
fn a_timeout_with_an_empty_fifo_is_taken_back_at_its_source() {
    for (uart, register, value) in [(&PL011, 0x44, 0x40), (&SBSA, 0x44, 0x40), (&CADENCE, 0x14, 0x101)] {
        let empty = if *uart == CADENCE { (0x2c, 2) } else { (0x18, 0x10) };
        let at = Fake::new(&[empty], NOTHING);
        assert_eq!(uart.receive(&at), None);
        assert_eq!(at.written(), [(register, value)], "{}", uart.name);
    }
    // A 16550 wants a read of its empty FIFO, and gets none without that interrupt; DesignWare's wants one of its status if
    // LCR was written while it was busy.
    for (uart, iir, fifo, status) in [
        (&NS16550, 0xcc, 1, 0),
        (&NS16550, 0xc1, 0, 0),
        (&NS16550, 0xc7, 0, 0),
        (&DW, 0xcc, 1, 0),
        (&DW, 0xc1, 0, 0),
        (&DW, 0xc7, 0, 1),
    ] {
        let at = Fake::new(&[(2, iir)], NOTHING);
        assert_eq!(uart.receive(&at), None);
        let reads = |of: u16| at.reads.borrow().iter().filter(|register| **register == of).count();
        assert_eq!((reads(0), reads(0x1f)), (fifo, status), "{iir:#x}");
        assert_eq!(at.written(), []);
        // Firmware's is gone before anything is enabled.
        let stays = move |values: &mut [u32; 256], _| values[2] = iir;
        let at = Fake::new(&[(2, iir)], &stays);
        uart.take(&at);
        assert_eq!(at.reads.borrow().iter().filter(|register| **register == 0x1f).count(), status);
    }
    // TI's wants the timeout to count from anew, and no read of the FIFO.
    let at = Fake::new(&[(2, 0xcc), (0x23, 0x85)], NOTHING);
    assert_eq!(TI.receive(&at), None);
    assert_eq!(at.written(), [(0x27, 0xff), (0x26, 0xff), (0x23, 0xc5), (0x23, 0x85), (0x27, 0), (0x26, 0)]);
    assert!(!at.reads.borrow().contains(&0));
    let at = Fake::new(&[(2, 0xc1)], NOTHING);
    assert_eq!((TI.receive(&at), at.written()), (None, vec![]));
    // The LPUART's receiver stands still after an overrun until that is taken back; the settings stay.
    let at = Fake::new(&[(4, 0xd000_0000)], NOTHING);
    assert_eq!(LPUART.receive(&at), None);
    assert_eq!(at.written(), [(4, 0x101f_0000)]);
}

#[test]
fn a_16550_with_a_fifo_takes_sixteen_bytes_when_it_is_empty() {
    let full = |values: &mut [u32; 256], _| values[5] = 0;
    for (uart, iir, sent) in [(&NS16550, 0xc1, 16), (&NS16550, 0x81, 1), (&NS16550, 1, 1), (&MINI_UART, 0xc1, 1)] {
        let at = Fake::new(&[(2, iir), (5, 0x20)], &full);
        assert_eq!(uart.send(&[b'x'; 20], &at), sent, "{} {iir:#x}", uart.name);
    }
}

#[test]
fn taking_one_leaves_the_lines_settings_as_firmware_made_them() {
    let taken = |uart: &Uart, values: &[(u16, u32)]| {
        let at = Fake::new(values, NOTHING);
        uart.take(&at);
        at.written()
    };
    let settings = [(0x18, 0x10), (0x2c, 0x0a), (0x30, 0x4000), (0x34, 0x3c), (0x38, 0x7ff)];
    let expected = [(0x38, 0), (0x2c, 0x7a), (0x34, 0x14), (0x30, 0x4301), (0x44, 0x50), (0x44, 0x40)];
    assert_eq!(taken(&PL011, &settings), expected);
    // The generic UART has neither line nor control register.
    assert_eq!(taken(&SBSA, &[(0x18, 0x10)]), [(0x38, 0), (0x44, 0x50), (0x44, 0x40)]);
    assert_eq!(taken(&NS16550, &[(4, 0x30)]), [(1, 0), (2, 1), (4, 0x2b)]);
    let expected = [(0x0c, 0x3fff), (0x20, 32), (0x1c, 10), (0x00, 0x54), (0x14, 0x101)];
    assert_eq!(taken(&CADENCE, &[(0x2c, 2), (0x00, 0x28)]), expected);
    let expected = [(0x80, 1), (0x88, 0x0784), (0x8c, 0x8000), (0x80, 1), (0x84, 0x4067)];
    assert_eq!(taken(&IMX, &[(0x80, 0x2201), (0x84, 0xc079), (0x88, 0x0fc8), (0x8c, 0x8103)]), expected);
    // Its unit stays on while it is mute.
    assert_eq!(taken(&PXA, &[(4, 0x30)]), [(1, 0x40), (2, 1), (4, 0x2b)]);
    // The watermarks are written while receiver and transmitter are off.
    let expected = [(8, 0x000c_0003), (8, 0x0003), (0x1c, 0), (8, 0x000c_0003), (4, 0x001f_0000)];
    assert_eq!(taken(&LPUART, &[(8, 0x0ffc_c003), (0x1c, 0x0001_0001)]), expected);
}

#[test]
fn listening_is_turned_on_and_off() {
    for (uart, on, off) in [
        (&PL011, vec![(0x38, 0x50)], vec![(0x38, 0)]),
        (&SBSA, vec![(0x38, 0x50)], vec![(0x38, 0)]),
        (&NS16550, vec![(1, 5)], vec![(1, 0)]),
        (&MINI_UART, vec![(1, 5)], vec![(1, 0)]),
        (&DW, vec![(1, 5)], vec![(1, 0)]),
        (&TI, vec![(1, 5)], vec![(1, 0)]),
        (&PXA, vec![(1, 0x55)], vec![(1, 0x40)]),
        (&CADENCE, vec![(8, 0x101)], vec![(0xc, 0x3fff)]),
        (&IMX, vec![(0x8c, 1)], vec![(0x80, 0), (0x88, 4), (0x8c, 0)]),
        (&LPUART, vec![(8, 1 << 21)], vec![(8, 0)]),
    ] {
        let at = Fake::new(&[], NOTHING);
        uart.listen(true, &at);
        assert_eq!(at.written(), on, "{}", uart.name);
        uart.listen(false, &at);
        assert_eq!(at.written(), off, "{}", uart.name);
    }
}

#[test]
fn registers_are_spread_by_the_shift_and_begin_at_the_offset() {
    let layout = Layout { offset: 0x10, shift: 2, width: 4, big_endian: false };
    assert_eq!((layout.place(0), layout.place(5)), (0x10, 0x24));
    assert_eq!(Wired { uart: &NS16550, layout }.bytes(), 0x28);
    // What boards have of them: 0x200 is the Broadcom nodes'.
    assert!(Wired { uart: &PL011, layout: Layout::WORDS }.bytes() <= 0x200);
}
