//! The PL011 (DDI0183G): registers, FIFOs, interrupts in both directions; and a paste that must
//! arrive whole.
//!
//! With the bootarg `paste=N` it prints `uart: ready`, expects N bytes of the pattern of [`pattern`],
//! takes them by interrupt, and checks each. `slow` makes it read slower than they can be sent.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_kit::machine::machine;
use guest_kit::uart::{self, FR_RXFE, FR_TXFE, FR_TXFF, RT, RX, TX};
use guest_kit::{Case, Machine, Outcome, Stop, cpu, ensure, ensure_equal, gic, irq, ktap, println, timer};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("the_identification_is_that_of_a_pl011", identification),
    ("registers_read_back", registers),
    ("flags_say_idle", idle),
    ("reading_with_nothing_there_does_not_hang", empty),
    ("the_transmit_interrupt_comes_and_can_be_cleared", transmit),
    ("a_masked_transmit_interrupt_stays_silent", masked),
    ("a_paste_arrives_whole", paste),
];

fn main(_: &'static Machine) {
    ktap::run(CASES);
    uart::drain();
}

/// Byte `n` of a paste: printable characters in lines of 64.
fn pattern(n: u64) -> u8 {
    if n % 64 == 63 { b'\n' } else { 33 + ((n * 7 + n / 64) % 90) as u8 }
}

fn identification() -> Outcome {
    let bytes = [0xfe0, 0xfe4, 0xff0, 0xff4, 0xff8, 0xffc].map(uart::read);
    ensure!(bytes == [0x11, 0x10, 0x0d, 0xf0, 0x05, 0xb1], "PeriphID0, 1 and PCellID0 to 3: {:x?}", bytes);
    ensure_equal!(uart::read(0xfe8) & 0xf, 0x4, "PeriphID2, designer");
    Ok(())
}

fn registers() -> Outcome {
    for (name, offset, value) in [("UARTIBRD", 0x24, 0x1234), ("UARTFBRD", 0x28, 0x2a), ("UARTIFLS", uart::IFLS, 0x09)]
    {
        let before = uart::read(offset);
        uart::write(offset, value);
        let after = uart::read(offset);
        uart::write(offset, before);
        ensure!(after == value, "{} reads {:#x}, expected {:#x}", name, after, value);
    }
    ensure_equal!(uart::read(uart::LCR_H), 0x70, "UARTLCR_H");
    ensure_equal!(uart::read(uart::CR) & 0x301, 0x301, "UARTCR");
    uart::write(uart::IMSC, 0x7ff);
    let mask = uart::read(uart::IMSC);
    uart::write(uart::IMSC, 0);
    // The modem lines may not be there.
    ensure_equal!(mask & 0x7f0, 0x7f0, "UARTIMSC");
    Ok(())
}

fn idle() -> Outcome {
    let idle = timer::wait_for(1_000_000, || uart::read(uart::FR) & FR_TXFE != 0);
    ensure!(idle, "the transmit FIFO does not empty");
    ensure_equal!(uart::read(uart::FR) & FR_TXFF, 0, "FR.TXFF");
    Ok(())
}

fn empty() -> Outcome {
    // Whatever a terminal sent meanwhile is not for this case.
    while uart::get().is_some() {}
    let before = uart::read(uart::FR) & FR_RXFE;
    let _ = uart::read(uart::DR);
    let after = uart::read(uart::FR) & FR_RXFE;
    ensure!(before != 0 && after != 0, "FR.RXFE is {} before, {} after", before, after);
    Ok(())
}

/// Sets up the interrupt of the UART with `handler`.
fn prepare(handler: fn(u32)) {
    let gic = gic::gic();
    gic.enable();
    let intid = machine().uart_intid;
    gic.set_edge(intid, false);
    gic.route(intid, 0);
    gic.enable_intid(intid);
    irq::set_handler(handler);
    irq::forget(0);
    uart::write(uart::ICR, 0x7ff);
}

fn close() {
    cpu::mask_irq();
    uart::write(uart::IMSC, 0);
    uart::write(uart::ICR, 0x7ff);
    irq::clear_handler();
}

fn transmit() -> Outcome {
    static STATUS: AtomicU64 = AtomicU64::new(0);
    fn note(_: u32) {
        STATUS.store(u64::from(uart::read(uart::MIS)), Ordering::Release);
        uart::write(uart::ICR, TX);
    }
    prepare(note);
    uart::write(uart::IMSC, TX);
    cpu::unmask_irq();
    for &byte in b"# sent by interrupt\r\n" {
        uart::put(byte);
    }
    let came = irq::wait_for_count(0, 1, 1_000_000);
    timer::delay(5_000);
    let (first, count) = (gic::gic().intid(irq::noted(0, 0)), irq::count(0));
    let raw = uart::read(uart::RIS);
    close();
    ensure!(came, "no interrupt");
    ensure_equal!(first, machine().uart_intid, "INTID taken");
    ensure_equal!(STATUS.load(Ordering::Acquire) & u64::from(TX), u64::from(TX), "UARTMIS.TXMIS");
    ensure!(count < 30, "{} interrupts for 21 bytes", count);
    ensure_equal!(raw & TX, 0, "UARTRIS.TXRIS after it was cleared");
    Ok(())
}

fn masked() -> Outcome {
    fn ignore(_: u32) {}
    prepare(ignore);
    cpu::unmask_irq();
    println!("# sent with the interrupt masked");
    uart::drain();
    timer::delay(5_000);
    let count = irq::count(0);
    close();
    ensure_equal!(count, 0, "interrupts");
    Ok(())
}

static RECEIVED: AtomicU64 = AtomicU64::new(0);
/// 1 + the place of the first byte that differs.
static WRONG: AtomicU64 = AtomicU64::new(0);
static SLOW: AtomicU64 = AtomicU64::new(0);

fn receive(_: u32) {
    uart::write(uart::ICR, RX | RT);
    while let Some(byte) = uart::get() {
        let place = RECEIVED.load(Ordering::Relaxed);
        if byte != pattern(place) && WRONG.load(Ordering::Relaxed) == 0 {
            WRONG.store(place + 1, Ordering::Relaxed);
        }
        RECEIVED.store(place + 1, Ordering::Release);
    }
    timer::delay(SLOW.load(Ordering::Relaxed));
}

fn paste() -> Outcome {
    let Some(wanted) = machine().bootarg("paste").and_then(|number| number.parse::<u64>().ok()) else {
        return Err(Stop::Skip("no paste=N on the command line"));
    };
    SLOW.store(if machine().has_bootarg("slow") { 2_000 } else { 0 }, Ordering::Relaxed);
    prepare(receive);
    uart::write(uart::IMSC, RX | RT);
    println!("uart: ready");
    cpu::unmask_irq();
    // Ten seconds with nothing new is the end.
    let mut seen = 0;
    while timer::wait_for(10_000_000, || RECEIVED.load(Ordering::Acquire) != seen) {
        seen = RECEIVED.load(Ordering::Acquire);
        if seen >= wanted {
            break;
        }
    }
    timer::delay(50_000);
    close();
    let (received, wrong) = (RECEIVED.load(Ordering::Acquire), WRONG.load(Ordering::Relaxed));
    println!("# {} bytes in {} interrupts", received, irq::count(0));
    ensure_equal!(received, wanted, "bytes received");
    ensure!(wrong == 0, "byte {} differs", wrong.wrapping_sub(1));
    Ok(())
}
