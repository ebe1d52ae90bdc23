//! A PCI function that a VM has: what is on its host bridge, what its BARs and capabilities are, and that it works.
//!
//! Bootargs say which device it is: `device=edu` (QEMU's teaching device: registers, an interrupt, DMA that goes nowhere),
//! `device=edu-dma` (the same behind an SMMU; `edu-restart` leaves it writing, `edu-hostile` has it write everywhere,
//! `edu-latency` measures a message) or `device=ivshmem` (memory in BAR 2). `at=N/M` is the Nth of the VM's M functions; else there is one. With `alone` no
//! region goes with it. With `wait` it prints `pci: ready` with Bus Master set and goes on after a `q`;
//! with `again` it resets the VM once, leaving the interrupt asserted. `keeps=N` does nothing else than to tell what byte N of
//! BAR 0's registers was, change that, and reset the VM until a `q` comes.
#![no_std]
#![no_main]

mod edu;
mod host;
mod ivshmem;
mod latency;

use guest_kit::{Case, Machine, ktap, mmio, println, timer, uart};

guest_kit::entry!(main);

const EDU: &[Case] = &[
    ("the_tree_has_a_host_bridge_and_its_function", host::described),
    ("the_functions_answer_on_the_bus_and_nothing_else", host::alone),
    ("other_words_read_as_zero", host::quiet),
    ("bars_can_be_sized_and_stay_where_they_are", host::bars),
    ("no_capability_can_signal_messages", host::capabilities),
    ("bus_master_reads_as_written", host::bus_master),
    ("the_device_is_the_one_promised", edu::identified),
    ("its_registers_work", edu::works),
    ("no_interrupt_is_left_of_an_earlier_life", edu::calm),
    ("each_interrupt_comes_once", edu::interrupts),
    ("an_interrupt_that_is_not_cleared_comes_again", edu::level),
    ("a_disabled_interrupt_waits", edu::disabled),
    ("interrupts_follow_the_route", edu::routed),
];
const IVSHMEM: &[Case] = &[
    ("the_tree_has_a_host_bridge_and_its_function", host::described),
    ("the_functions_answer_on_the_bus_and_nothing_else", host::alone),
    ("other_words_read_as_zero", host::quiet),
    ("bars_can_be_sized_and_stay_where_they_are", host::bars),
    ("no_capability_can_signal_messages", host::capabilities),
    ("bus_master_reads_as_written", host::bus_master),
    ("the_device_is_the_one_promised", ivshmem::identified),
    ("bar_2_is_the_aperture", ivshmem::aperture),
];

const DMA: &[Case] = &[
    ("the_functions_answer_on_the_bus_and_nothing_else", host::alone),
    ("bars_can_be_sized_and_stay_where_they_are", host::bars),
    ("bus_master_reads_as_written", host::bus_master),
    ("the_device_is_the_one_promised", edu::identified),
    ("its_registers_work", edu::works),
    ("each_interrupt_comes_once", edu::interrupts),
    ("messages_are_interrupts", edu::messages),
    ("dma_reaches_own_memory", edu::dma_reaches_own_memory),
    ("no_dma_without_bus_master", edu::no_dma_without_bus_master),
    ("dma_reaches_nothing_else", edu::dma_reaches_nothing_else),
    ("dma_reaches_own_memory_still", edu::dma_reaches_own_memory),
];

const REGION: &[Case] = &[
    ("the_device_is_the_one_promised", edu::identified),
    ("dma_reaches_own_memory", edu::dma_reaches_own_memory),
    ("dma_reaches_the_region", edu::dma_reaches_the_region),
    ("messages_are_interrupts", edu::messages),
];
const RESTART: &[Case] = &[
    ("the_device_is_the_one_promised", edu::identified),
    ("page_is_as_it_was_loaded", edu::page_is_as_it_was_loaded),
    ("dma_reaches_no_reserved_page", edu::dma_reaches_no_reserved_page),
];
const LATENCY: &[Case] = &[("msi_to_handler", latency::message)];
const HOSTILE: &[Case] =
    &[("dma_everywhere", edu::dma_everywhere), ("dma_reaches_own_memory", edu::dma_reaches_own_memory)];

fn main(machine: &'static Machine) {
    if let Some((device, count)) = machine.bootarg("at").and_then(|at| at.split_once('/'))
        && let (Ok(device), Ok(count)) = (device.parse(), count.parse())
    {
        host::choose(device, count);
    }
    if let Some(offset) = machine.bootarg("keeps").and_then(|offset| offset.parse().ok()) {
        return kept(offset);
    }
    let is_edu = machine.bootarg("device") == Some("edu");
    ktap::run(match machine.bootarg("device") {
        Some("edu") => EDU,
        Some("edu-dma") => DMA,
        Some("edu-region") => REGION,
        Some("edu-restart") => RESTART,
        Some("edu-hostile") => HOSTILE,
        Some("edu-latency") => LATENCY,
        _ => IVSHMEM,
    });
    if machine.has_bootarg("wait") {
        host::set_bus_master();
        if is_edu {
            edu::start_dma();
        }
        println!("pci: ready");
        timer::wait_for(60_000_000, || uart::get() == Some(b'q'));
    }
    if machine.has_bootarg("again") {
        println!("pci: again");
        // Nobody can note across a reset that it has been: the one who reads the console sends a `q` at the end.
        if !timer::wait_for(2_000_000, || uart::get() == Some(b'q')) {
            edu::leave_asserted();
            guest_kit::psci::system_reset();
        }
    }
    if machine.bootarg("device") == Some("edu-restart") {
        println!("pci: writing");
        if !timer::wait_for(2_000_000, || uart::get() == Some(b'q')) {
            edu::leave_writing();
            guest_kit::psci::system_reset();
        }
    }
    uart::drain();
}

/// What a life finds in a register that an earlier one has written.
fn kept(offset: u64) {
    host::command(host::MEMORY_SPACE, 0);
    let register = host::bar(0) + offset;
    let found = mmio::read32(register);
    mmio::write32(register, 0x5aa5_1234);
    println!("pci: found {:#x}, left {:#x}", found, mmio::read32(register));
    if !timer::wait_for(2_000_000, || uart::get() == Some(b'q')) {
        guest_kit::psci::system_reset();
    }
    uart::drain();
}
