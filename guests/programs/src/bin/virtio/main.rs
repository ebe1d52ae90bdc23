//! Both ends of virtio devices between VMs, without a queue that is ever walked: a driver that breaks the rules, and with the
//! bootarg `back` the backend of all devices of all drivers, which looks whether queues can be where they are said to be.
//!
//! With `io=N` both only say to each other N times that there is something: what an I/O costs beside its data. Each waits by
//! WFI, and the driver reports the time of one.
#![no_std]
#![no_main]

mod back;
mod front;

use guest_kit::{Case, Machine, Outcome, Stop, cpu, ktap, machine::machine, println};

guest_kit::entry!(main);

const FRONT: &[Case] = &[
    ("the_device_waits_for_its_backend_and_is_known", front::known),
    ("a_queue_in_ram_works", front::works),
    ("queues_outside_of_ram_break_the_device_until_its_reset", front::outside),
    ("random_registers_by_all_widths_do_no_harm", front::random),
    ("a_flood_of_notices_passes", front::flood),
    ("resets_in_the_middle_are_done_when_they_return", front::resets),
    ("the_device_works_after_all_that", front::works),
];

fn main(machine: &'static Machine) {
    let times = machine.bootarg("io").and_then(|times| times.parse().ok());
    if let Some(times) = times {
        machine.gic.enable();
        let is_back = machine.has_bootarg("back");
        let pass: fn(u32) -> Outcome = if is_back { back::pass } else { front::pass };
        if let Err(Stop::Fail(what)) = pass(times) {
            println!("Bail out! {}", what.as_str());
        }
    } else if machine.has_bootarg("back") {
        back::serve();
        ktap::run(&[("the_faces_are_whole_after_all_that", back::whole)]);
    } else {
        ktap::run(FRONT);
    }
}

/// Waits by WFI for interrupt `intid`, which was admitted, and calls `serve` before its end.
fn take(intid: u32, serve: impl FnOnce()) {
    let gic = machine().gic;
    loop {
        let acknowledged = gic.acknowledge();
        if gic.intid(acknowledged) == intid {
            serve();
            return gic.end(acknowledged);
        }
        cpu::wfi();
    }
}
