//! Measures the figures that the project compares itself by, in nanoseconds of the counter.
//!
//! Run with `-icount shift=0,sleep=off -smp 1` a nanosecond is an instruction and the figures repeat
//! to the digit. Each is the least of 200 rounds (`stage2_first_touch`: the most of all 2 MiB
//! stretches), less what reading the counter twice costs: natively it is the instructions of the
//! operation itself, argument set-up included. `BENCH name value ns` lines carry the figures. With more than one
//! CPU it measures what takes two, and nothing else.
#![no_std]
#![no_main]

mod interrupt;
mod pair;

use core::arch::asm;

use guest_kit::gic::{self, Version};
use guest_kit::machine::machine;
use guest_kit::timer::Timer;
use guest_kit::{Case, Machine, Outcome, Stop, cpu, ensure, ktap, mmio, print, println, psci, timer};

guest_kit::entry!(main);

const ROUNDS: usize = 200;
/// TRNG_RND, 64-bit (DEN0098 §2.4).
const TRNG_RND64: u64 = 0xc400_0053;
const CASES: &[Case] = &[
    ("reset_to_guest_entry", reset_to_guest_entry),
    ("hvc_psci_version", hvc_psci_version),
    ("hvc_unknown", hvc_unknown),
    ("smc_psci_version", smc_psci_version),
    ("psci_affinity_info", psci_affinity_info),
    ("trng_rnd64", trng_rnd64),
    ("mmio_gicd_ctlr_read", mmio_gicd_ctlr_read),
    ("mmio_gicd_typer_read", mmio_gicd_typer_read),
    ("mmio_gicd_iidr_read", mmio_gicd_iidr_read),
    ("mmio_gicd_pidr2_read", mmio_gicd_pidr2_read),
    ("mmio_gicd_isenabler_read", mmio_gicd_isenabler_read),
    ("mmio_gicd_isenabler_write", mmio_gicd_isenabler_write),
    ("mmio_gicd_ipriorityr_write", mmio_gicd_ipriorityr_write),
    ("mmio_gicr_typer_read", mmio_gicr_typer_read),
    ("mmio_gicr_typer_read_32", mmio_gicr_typer_read_32),
    ("mmio_uart_status_read", mmio_uart_status_read),
    ("mmio_uart_mask_write", mmio_uart_mask_write),
    ("console_character", console_character),
    ("trap_id_register_read", trap_id_register_read),
    ("abort_injected", abort_injected),
    ("sgi_self", sgi_self),
    ("sgi_to_nobody", sgi_to_nobody),
    ("vtimer_spin", vtimer_spin),
    ("vtimer_wfi", vtimer_wfi),
    ("vtimer_tick", vtimer_tick),
    ("ptimer_spin", ptimer_spin),
    ("ptimer_tick", ptimer_tick),
    ("stage2_first_touch", stage2_first_touch),
];

fn main(machine: &'static Machine) {
    machine.gic.enable();
    if cpu::count() > 1 {
        ktap::run(&[("ipi", pair::ipi)]);
        return;
    }
    interrupt::prepare();
    ktap::run(CASES);
}

/// Runs instructions between two reads of the counter; the least difference of all rounds, in ticks.
/// x0 to x17 may change, and x0 to x3 are `$argument` before.
/// `before` runs at the beginning of each round and is not measured.
macro_rules! least {
    ($argument:expr $(, $instruction:literal)*) => { least!(before (); $argument $(, $instruction)*) };
    (before $before:expr; $argument:expr $(, $instruction:literal)*) => {{
        let mut least = u64::MAX;
        for _ in 0..ROUNDS {
            $before;
            let (start, end): (u64, u64);
            // SAFETY: calls and reads that change nothing but x0 to x17.
            unsafe {
                asm!(
                    "isb",
                    "mrs x20, cntvct_el0",
                    $($instruction,)*
                    "mrs x21, cntvct_el0",
                    out("x20") start, out("x21") end,
                    inout("x0") $argument => _, out("x1") _, out("x2") _, out("x3") _, out("x4") _,
                    out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _,
                    out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
                    out("x16") _, out("x17") _,
                )
            };
            least = least.min(end.wrapping_sub(start));
        }
        least
    }};
}

/// What two reads of the counter with nothing between them differ by.
fn overhead() -> u64 {
    least!(0u64)
}

fn report(name: &str, ticks: u64) -> Outcome {
    println!("BENCH {} {} ns", name, timer::nanoseconds(ticks.saturating_sub(overhead())));
    Ok(())
}

fn hvc_psci_version() -> Outcome {
    ensure!(!machine().psci_smc, "the conduit is SMC");
    let ticks = least!(0u64, "mov w0, #0x84000000", "mov x1, #0", "mov x2, #0", "mov x3, #0", "hvc #0");
    report("hvc_psci_version", ticks)
}

fn hvc_unknown() -> Outcome {
    ensure!(!machine().psci_smc, "the conduit is SMC");
    let ticks = least!(0u64, "mov w0, #0x86000000", "mov x1, #0", "mov x2, #0", "mov x3, #0", "hvc #0");
    report("hvc_unknown", ticks)
}

/// The other conduit. Natively, without EL3, there is none.
fn smc_psci_version() -> Outcome {
    not_natively()?;
    let ticks = least!(0u64, "mov w0, #0x84000000", "mov x1, #0", "mov x2, #0", "mov x3, #0", "smc #0");
    report("smc_psci_version", ticks)
}

/// Of the CPU itself.
fn psci_affinity_info() -> Outcome {
    ensure!(!machine().psci_smc, "the conduit is SMC");
    let ticks =
        least!(0u64, "mov w0, #4", "movk w0, #0xc400, lsl #16", "mov x1, #0", "mov x2, #0", "mov x3, #0", "hvc #0");
    report("psci_affinity_info", ticks)
}

/// 64 random bits (DEN0098).
fn trng_rnd64() -> Outcome {
    not_natively()?;
    ensure!(psci::call(TRNG_RND64, 64, 0, 0) == psci::SUCCESS, "no random bits");
    let ticks =
        least!(0u64, "mov w0, #0x53", "movk w0, #0xc400, lsl #16", "mov x1, #64", "mov x2, #0", "mov x3, #0", "hvc #0");
    report("trng_rnd64", ticks)
}

fn not_natively() -> Outcome {
    if machine().is_native() { Err(Stop::Skip("there is nobody to call")) } else { Ok(()) }
}

fn mmio_gicd_ctlr_read() -> Outcome {
    report("mmio_gicd_ctlr_read", least!(machine().gic.distributor, "mov x1, x0", "add x1, x1, #0", "ldr w2, [x1]"))
}

fn mmio_gicd_typer_read() -> Outcome {
    report("mmio_gicd_typer_read", least!(machine().gic.distributor, "mov x1, x0", "add x1, x1, #4", "ldr w2, [x1]"))
}

fn mmio_gicd_iidr_read() -> Outcome {
    report("mmio_gicd_iidr_read", least!(machine().gic.distributor, "mov x1, x0", "add x1, x1, #8", "ldr w2, [x1]"))
}

/// The last page of the frame.
fn mmio_gicd_pidr2_read() -> Outcome {
    let page = match machine().gic.version {
        Version::V3 => 0xf000,
        Version::V2 => 0,
    };
    let ticks = least!(machine().gic.distributor + page, "mov x1, x0", "add x1, x1, #0xfe8", "ldr w2, [x1]");
    report("mmio_gicd_pidr2_read", ticks)
}

/// The enable bits of the first SPIs: `GICD_ISENABLER1`.
fn mmio_gicd_isenabler_read() -> Outcome {
    let ticks = least!(machine().gic.distributor, "mov x1, x0", "add x1, x1, #0x104", "ldr w2, [x1]");
    report("mmio_gicd_isenabler_read", ticks)
}

/// Enables an SPI that is disabled and not pending.
fn mmio_gicd_isenabler_write() -> Outcome {
    const SPI: u64 = 63;
    let registers = machine().gic.distributor;
    let disable = || mmio::write32(registers + gic::ICENABLER + SPI / 32 * 4, 1 << (SPI % 32));
    let ticks = least!(before disable(); registers,
        "mov x1, x0", "add x1, x1, #0x104", "mov w2, #0x80000000", "str w2, [x1]");
    disable();
    report("mmio_gicd_isenabler_write", ticks)
}

/// The priorities of four SPIs that are disabled.
fn mmio_gicd_ipriorityr_write() -> Outcome {
    let ticks = least!(
        machine().gic.distributor + gic::IPRIORITYR + 60,
        "mov x1, x0",
        "add x1, x1, #0",
        "mov w2, #0x80000000",
        "str w2, [x1]"
    );
    report("mmio_gicd_ipriorityr_write", ticks)
}

/// All 64 bits.
fn mmio_gicr_typer_read() -> Outcome {
    let ticks = least!(redistributor()?, "mov x1, x0", "add x1, x1, #8", "ldr x2, [x1]");
    report("mmio_gicr_typer_read", ticks)
}

/// The lower 32 bits.
fn mmio_gicr_typer_read_32() -> Outcome {
    let ticks = least!(redistributor()?, "mov x1, x0", "add x1, x1, #8", "ldr w2, [x1]");
    report("mmio_gicr_typer_read_32", ticks)
}

fn redistributor() -> Result<u64, Stop> {
    match machine().gic.version {
        Version::V3 => Ok(machine().gic.redistributor()),
        Version::V2 => Err(Stop::Skip("a GICv2 has no Redistributor")),
    }
}

fn mmio_uart_status_read() -> Outcome {
    let ticks = least!(machine().uart, "mov x1, x0", "add x1, x1, #0x18", "ldr w2, [x1]");
    report("mmio_uart_status_read", ticks)
}

/// The interrupt mask, with what it has.
fn mmio_uart_mask_write() -> Outcome {
    let ticks = least!(machine().uart, "mov x1, x0", "add x1, x1, #0x38", "mov w2, #0", "str w2, [x1]");
    report("mmio_uart_mask_write", ticks)
}

/// One of the many characters of a line, without the look at the flags that drivers have before.
fn console_character() -> Outcome {
    print!("# ");
    let ticks = least!(machine().uart, "mov w1, #0x2e", "str w1, [x0]");
    println!();
    report("console_character", ticks)
}

fn trap_id_register_read() -> Outcome {
    report("trap_id_register_read", least!(0u64, "mrs x0, id_aa64pfr0_el1"))
}

/// A load where nothing is, to the vector.
fn abort_injected() -> Outcome {
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        least = least.min(interrupt::abort_round(machine().ram_end()));
    }
    report("abort_injected", least)
}

/// The least of all rounds of a measurement that may get no interrupt.
fn least_of(round: fn() -> Option<u64>) -> Result<u64, Stop> {
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        let ticks = round();
        ensure!(ticks.is_some(), "no interrupt within a second");
        least = least.min(ticks.unwrap_or(0));
    }
    Ok(least)
}

fn sgi_self() -> Outcome {
    report("sgi_self", least_of(interrupt::sgi_round)?)
}

/// An SGI to a CPU that there is not.
fn sgi_to_nobody() -> Outcome {
    let ticks = match machine().gic.version {
        Version::V3 => {
            least!(0u64, "mov x1, #0x8000", "movk x1, #0x0400, lsl #16", "msr icc_sgi1r_el1, x1", "isb")
        }
        Version::V2 => {
            least!(
                machine().gic.distributor + gic::SGIR,
                "mov w1, #4",
                "movk w1, #0x80, lsl #16",
                "str w1, [x0]",
                "isb"
            )
        }
    };
    report("sgi_to_nobody", ticks)
}

fn vtimer_spin() -> Outcome {
    report("vtimer_spin", least_of(|| interrupt::spin_round(Timer::Virtual))?)
}

fn vtimer_tick() -> Outcome {
    report("vtimer_tick", least_of(|| interrupt::tick_round(Timer::Virtual))?)
}

fn ptimer_spin() -> Outcome {
    report("ptimer_spin", least_of(|| interrupt::spin_round(Timer::Physical))?)
}

fn ptimer_tick() -> Outcome {
    report("ptimer_tick", least_of(|| interrupt::tick_round(Timer::Physical))?)
}

fn vtimer_wfi() -> Outcome {
    report("vtimer_wfi", least_of(interrupt::wfi_round)?)
}

/// The physical count at entry: it began at the machine's reset.
fn reset_to_guest_entry() -> Outcome {
    let ticks = guest_kit::entry::entered_at();
    ensure!(ticks > 0, "the counter had not begun");
    println!("BENCH reset_to_guest_entry {} ns", timer::nanoseconds(ticks));
    Ok(())
}

/// The first load from a stretch of RAM that nothing has touched, less the second.
fn stage2_first_touch() -> Outcome {
    const STRETCH: u64 = 2 << 20;
    let (_, image_end) = machine().image();
    let tree = machine().tree_address;
    let first = image_end.next_multiple_of(STRETCH) + STRETCH;
    let (mut most, mut stretches) = (0, 0);
    for address in (first..machine().ram_end()).step_by(STRETCH as usize) {
        if address / STRETCH == tree / STRETCH {
            continue;
        }
        let (cold, warm) = (load(address), load(address));
        most = most.max(cold.saturating_sub(warm));
        stretches += 1;
    }
    ensure!(stretches > 0, "no RAM beyond the program");
    println!("# {} stretches of 2 MiB", stretches);
    println!("BENCH stage2_first_touch {} ns", timer::nanoseconds(most));
    Ok(())
}

fn load(address: u64) -> u64 {
    let (start, end): (u64, u64);
    // SAFETY: reads RAM.
    unsafe {
        asm!("isb", "mrs {s}, cntvct_el0", "ldr {v}, [{a}]", "mrs {e}, cntvct_el0",
            s = out(reg) start, e = out(reg) end, a = in(reg) address, v = out(reg) _)
    };
    end.wrapping_sub(start)
}
