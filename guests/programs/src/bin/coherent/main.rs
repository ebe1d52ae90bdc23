//! Coherent memory with the guest's own eyes: where it is, of what type it is, whether it has tags.
//!
//! Bootargs say what the VM was promised: `use=ram`, `dax` or `aperture`; `exec=yes` or `no`; and
//! `expect=wb-tagged`, `wb-untagged`, `wb-notag` (a tag access aborts), `nc`, `device`, `dead` (every access aborts) or `absent`. With
//! `reset` the region is soiled and the VM reset after each look, until a `q` is received.
#![no_std]
#![no_main]

mod device;
mod execution;
mod normal;
mod region;
mod tags;

use guest_kit::mmu::{self, Ram};
use guest_kit::{Case, Machine, ktap, println, psci, timer, uart};

guest_kit::entry!(main);

const PAGE: u64 = 0x1000;
/// How long it waits for a `q` before each reset.
const PATIENCE_US: u64 = 50_000;

const TAGGED: &[Case] = &[
    ("the_tree_has_the_region_as_promised", region::described),
    ("stage_1_maps_it_as_the_test_means_it", region::translated),
    ("the_region_is_clear_at_the_start", region::clear),
    ("tags_of_the_region_are_zero_at_the_start", tags::clear),
    ("every_page_is_its_own", region::distinct),
    ("unaligned_accesses_work", normal::unaligned),
    ("exclusives_work", normal::exclusives),
    ("atomics_work", normal::atomics),
    ("cpus_add_up_with_exclusives", normal::adding),
    ("dc_zva_zeroes", normal::zeroing),
    ("cache_maintenance_keeps_data", normal::maintenance),
    ("a_tag_stored_is_the_tag_loaded", tags::round_trip),
    ("a_wrong_tag_is_a_synchronous_fault", tags::fault),
    ("tags_and_data_are_separate", tags::separate),
    ("code_runs_there_or_not_as_promised", execution::as_promised),
];
const UNTAGGED: &[Case] = &[
    ("the_tree_has_the_region_as_promised", region::described),
    ("stage_1_maps_it_as_the_test_means_it", region::translated),
    ("the_region_is_clear_at_the_start", region::clear),
    ("every_page_is_its_own", region::distinct),
    ("unaligned_accesses_work", normal::unaligned),
    ("exclusives_work", normal::exclusives),
    ("atomics_work", normal::atomics),
    ("cpus_add_up_with_exclusives", normal::adding),
    ("dc_zva_zeroes", normal::zeroing),
    ("cache_maintenance_keeps_data", normal::maintenance),
    ("a_tag_stored_is_not_there", tags::nowhere),
    ("no_tag_check_ever_fails", tags::unchecked),
    ("code_runs_there_or_not_as_promised", execution::as_promised),
];
const NO_TAG_ACCESS: &[Case] = &[
    ("the_tree_has_the_region_as_promised", region::described),
    ("stage_1_maps_it_as_the_test_means_it", region::translated),
    ("the_region_is_clear_at_the_start", region::clear_unchecked),
    ("every_page_is_its_own", region::distinct_unchecked),
    ("a_tag_access_aborts", tags::denied),
    ("ram_keeps_its_tags", tags::ram),
    ("code_runs_there_or_not_as_promised", execution::as_promised_unchecked),
];
/// Atomics and exclusives are not promised on Normal-NC (DDI0487 B2.2.6).
const NON_CACHEABLE: &[Case] = &[
    ("the_tree_has_the_region_as_promised", region::described),
    ("stage_1_maps_it_as_the_test_means_it", region::translated),
    ("the_region_is_clear_at_the_start", region::clear),
    ("every_page_is_its_own", region::distinct),
    ("unaligned_accesses_work", normal::unaligned),
    ("cache_maintenance_keeps_data", normal::maintenance),
    ("a_tag_stored_is_not_there", tags::nowhere),
    ("no_tag_check_ever_fails", tags::unchecked),
    ("code_runs_there_or_not_as_promised", execution::as_promised),
];
/// Nobody clears what is only ever a device.
const DEVICE: &[Case] = &[
    ("the_tree_has_the_region_as_promised", region::described),
    ("stage_1_maps_it_as_the_test_means_it", region::translated),
    ("an_unaligned_first_touch_aborts", device::first_touch),
    ("every_page_is_its_own", region::distinct),
    ("unaligned_accesses_abort", device::unaligned),
    ("a_tag_stored_is_not_there", tags::nowhere),
    ("no_tag_check_ever_fails", tags::unchecked),
    ("code_runs_there_or_not_as_promised", execution::as_promised),
];
/// The tree promises memory, and nothing answers.
const DEAD: &[Case] = &[
    ("the_tree_has_the_region_as_promised", region::described),
    ("every_access_aborts", device::dead),
    ("so_it_does_again", device::dead),
];
const ABSENT: &[Case] = &[("the_tree_has_no_region", region::not_described), ("nothing_is_above_ram", region::nothing)];

fn main(machine: &'static Machine) {
    let expected = machine.bootarg("expect").unwrap_or("");
    let cases = match expected {
        "wb-tagged" => TAGGED,
        "wb-untagged" => UNTAGGED,
        "wb-notag" => NO_TAG_ACCESS,
        "nc" => NON_CACHEABLE,
        "device" => DEVICE,
        "dead" => DEAD,
        "absent" => ABSENT,
        _ => {
            println!("Bail out! bootargs: expect= what?");
            return;
        }
    };
    // MAIR_EL1's Tagged encoding is reserved on a CPU without the instructions.
    let tagged = tags::instructions();
    mmu::enable(if tagged { Ram::Tagged } else { Ram::WriteBack });
    if expected != "absent" {
        region::map(region::Type::best());
    }
    ktap::run(cases);
    if machine.has_bootarg("reset") {
        again(expected);
    }
}

/// Leaves nothing clear and resets, unless told to stop.
fn again(expected: &str) {
    region::soil();
    if expected == "wb-tagged" {
        tags::soil();
    }
    if timer::wait_for(PATIENCE_US, || uart::get() == Some(b'q')) {
        println!("coherent: stopped");
    } else {
        println!("coherent: again");
        uart::drain();
        psci::system_reset();
    }
}
