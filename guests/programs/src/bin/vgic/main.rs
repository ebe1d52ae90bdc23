//! Drives the interrupt controller it is given, GICv3 or GICv2, as its architecture says it behaves.
#![no_std]
#![no_main]

mod cpus;
mod delivery;
mod order;
mod registers;

use guest_kit::gic::Gic;
use guest_kit::{Case, Machine, cpu, gic, irq, ktap};

guest_kit::entry!(main);

const CASES: &[Case] = &[
    ("identification_names_the_architecture", registers::identification),
    ("every_distributor_offset_answers_reads", registers::distributor_reads),
    ("every_distributor_offset_takes_writes", registers::distributor_writes),
    ("every_second_frame_offset_answers", registers::second_frame),
    ("reserved_distributor_words_are_raz_wi", registers::reserved),
    ("enables_read_back", registers::enables),
    ("registers_beyond_the_last_interrupt_are_raz_wi", registers::beyond),
    ("priorities_keep_five_bits_at_least", registers::priorities),
    ("edge_and_level_read_back", registers::configuration),
    ("an_sgi_to_self_arrives_once", delivery::sgi_self),
    ("each_sgi_arrives_under_its_number", delivery::every_sgi),
    ("a_pended_spi_arrives_once", delivery::spi),
    ("a_disabled_interrupt_waits", delivery::disabled),
    ("a_cleared_pending_interrupt_does_not_arrive", delivery::cleared),
    ("an_interrupt_is_active_while_it_is_handled", delivery::active),
    ("an_active_interrupt_does_not_arrive_again", delivery::set_active),
    ("the_running_priority_is_that_of_the_interrupt", delivery::running_priority),
    ("the_priority_mask_holds_back", delivery::priority_mask),
    ("the_distributor_can_be_turned_off", delivery::distributor_off),
    ("ending_and_deactivating_can_be_split", delivery::split_end),
    ("a_timer_left_high_comes_again", delivery::level_again),
    ("a_high_timer_line_reads_as_pending", delivery::level_pending),
    ("thirty_pending_interrupts_come_in_priority_order", order::by_priority),
    ("interrupts_of_one_priority_all_come", order::one_priority),
    ("a_storm_of_rounds_loses_nothing", order::rounds),
    ("a_higher_priority_preempts", order::preemption),
    ("an_sgi_reaches_every_other_cpu", cpus::to_each),
    ("a_broadcast_sgi_reaches_all_others", cpus::broadcast),
    ("two_cpus_play_ping_pong", cpus::ping_pong),
    ("a_routed_spi_arrives_where_it_is_sent", cpus::routed),
];

fn main(_: &'static Machine) {
    ktap::run(CASES);
}

/// Puts the interrupt controller and this CPU into a known state: all off, nothing pending.
fn fresh() -> Gic {
    let gic = gic::gic();
    cpu::mask_irq();
    irq::clear_handler();
    gic.enable();
    for intid in 0..32 {
        gic.set_priority(intid, 0xa0);
    }
    for intid in 32..gic.lines().min(64) {
        gic.set_priority(intid, 0xa0);
        gic.set_edge(intid, true);
        gic.route(intid, 0);
    }
    irq::forget(0);
    gic
}

/// Takes interrupts for `microseconds`.
fn open(microseconds: u64) {
    cpu::unmask_irq();
    guest_kit::timer::delay(microseconds);
    cpu::mask_irq();
}
