//! Memory between VMs and its doorbells, from each side: bootarg `role` says which.
//!
//! `role=front` sends messages and `role=back` echoes them; `role=reader` may only read and looks at what `front`
//! has written; `role=storm` rings as fast as it can, and `role=calm` is rung by it; `role=again` resets once and
//! `role=stay` waits for it.
#![no_std]
#![no_main]

mod bell;
mod life;
mod region;
mod ring;
mod storm;
mod walls;

use guest_kit::mmu::{self, Ram};
use guest_kit::{Case, Machine, ktap, println};

guest_kit::entry!(main);

const FRONT: &[Case] = &[
    ("the_tree_has_region_and_doorbell", region::described),
    ("what_nobody_has_written_is_clear", region::clear),
    ("tags_are_clear_or_none", region::tags),
    ("the_doorbells_registers_are_as_described", bell::registers),
    ("messages_come_back_in_order", ring::front),
    ("code_does_not_run_there", walls::execution),
    ("the_reader_saw_it", walls::seen),
];
const BACK: &[Case] = &[
    ("the_tree_has_region_and_doorbell", region::described),
    ("what_nobody_has_written_is_clear", region::clear),
    ("tags_are_clear_or_none", region::tags),
    ("the_doorbells_registers_are_as_described", bell::registers),
    ("messages_come_in_order_and_are_echoed", ring::back),
    ("code_does_not_run_there", walls::execution),
];
const READER: &[Case] = &[
    ("the_tree_has_the_region_read_only", region::described_read_only),
    ("what_nobody_has_written_is_clear", region::clear),
    ("what_the_others_write_is_seen", walls::watch),
    ("stores_abort", walls::stores),
    ("atomics_abort", walls::atomics),
    ("stores_of_tags_abort", walls::tags),
    ("nothing_of_it_was_stored", walls::unchanged),
    ("code_does_not_run_there", walls::execution),
    ("the_others_are_told", walls::tell),
];
const STORM: &[Case] =
    &[("rings_and_wild_stores_go_by", storm::rage), ("the_doorbells_registers_are_as_described", bell::registers)];
const CALM: &[Case] =
    &[("one_who_does_not_answer_is_rung_once", storm::unanswered), ("one_who_answers_is_rung_again", storm::answered)];
const AGAIN: &[Case] = &[
    ("a_restart_clears_nothing_of_the_region", life::kept),
    ("rings_from_before_a_restart_are_forgotten", life::forgotten),
    ("after_a_restart_a_ring_comes", life::rung),
];
const STAY: &[Case] =
    &[("the_others_first_life_is_seen", life::first), ("the_others_second_life_is_rung", life::second)];

fn main(machine: &'static Machine) {
    mmu::enable(if region::has_tags() { Ram::Tagged } else { Ram::WriteBack });
    region::map();
    let role = machine.bootarg("role").unwrap_or("");
    let cases = match role {
        "front" => FRONT,
        "back" => BACK,
        "reader" => READER,
        "storm" => STORM,
        "calm" => CALM,
        "again" => AGAIN,
        "stay" => STAY,
        _ => {
            println!("Bail out! bootargs: role= what?");
            return;
        }
    };
    // The first life of `again` ends here.
    if role == "again" {
        life::before();
    }
    ktap::run(cases);
}
