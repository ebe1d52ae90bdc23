//! Memory tagging as the VM was promised: exposed and whole, or hidden and harmless.
//!
//! The bootarg `mte=expect-exposed` or `mte=expect-hidden` says which; without it the ID register does.
#![no_std]
#![no_main]

mod checks;
mod hidden;
mod unprivileged;

use core::arch::asm;

use guest_kit::machine::machine;
use guest_kit::mmu::{self, Ram};
use guest_kit::{Case, Machine, Outcome, Stop, ensure, ensure_equal, ktap, memory, mmio, println, sysreg, tags};

guest_kit::entry!(main);

const EXPOSED: &[Case] = &[
    ("the_id_register_reports_tags_in_memory", reported),
    ("tags_of_all_ram_are_zero_at_the_start", clear_tags),
    ("a_tag_stored_is_the_tag_loaded", round_trip),
    ("tags_and_data_are_separate", separate),
    ("stzg_and_st2g_do_what_they_say", stores),
    ("block_instructions_agree_with_gmid", blocks),
    ("stzgm_clears_a_block_and_sets_its_tags", block_of_zeroes),
    ("irg_obeys_the_exclusion_mask", random),
    ("tag_registers_read_back", registers),
    ("a_wrong_tag_is_a_synchronous_fault", checks::fault),
    ("a_right_tag_is_none", checks::no_fault),
    ("asynchronous_mode_only_notes_it", checks::asynchronous),
    ("asymmetric_mode_faults_on_reads_only", checks::asymmetric),
    ("tco_turns_checks_off", checks::check_override),
    ("el0_has_a_synchronous_mode_of_its_own", unprivileged::synchronous),
    ("el0_has_an_asynchronous_mode_of_its_own", unprivileged::asynchronous),
    ("el0_has_an_asymmetric_mode_of_its_own", unprivileged::asymmetric),
    ("store_only_checks_no_loads", checks::store_only),
    ("the_fault_address_has_its_tag_where_promised", checks::tagged_far),
    ("no_tag_access_is_not_the_guests_to_use", no_permission),
];
const HIDDEN: &[Case] = &[
    ("no_id_field_reports_tags", hidden::not_reported),
    ("tag_registers_are_undefined", hidden::undefined),
    ("a_tag_stored_is_not_there", hidden::no_tags),
    ("stores_of_data_with_tags_store_the_data", hidden::data_only),
    ("no_tag_check_ever_fails", hidden::no_checks),
];

fn main(machine: &'static Machine) {
    let exposed = match machine.bootarg("mte") {
        Some("expect-exposed") => true,
        Some("expect-hidden") => false,
        _ => level() >= 2,
    };
    mmu::enable(Ram::Tagged);
    ktap::run(if exposed { EXPOSED } else { HIDDEN });
}

/// ID_AA64PFR1_EL1.MTE.
fn level() -> u64 {
    sysreg::read!("id_aa64pfr1_el1") >> 8 & 0xf
}

/// A page of free RAM.
fn scratch() -> Result<u64, Stop> {
    let mut page = 0;
    machine().free_ram(&mut |start, end| {
        if page == 0 && end - start > 0x4_0000 {
            page = start.next_multiple_of(0x1000) + 0x1_0000;
        }
    });
    if page == 0 { Err(Stop::Skip("no free RAM")) } else { Ok(page) }
}

/// Puts `tag` into an address.
fn with_tag(address: u64, tag: u64) -> u64 {
    address & !(0xff << 56) | tag << 56
}

/// STG: stores the tag in `tagged` for the granule at it.
fn store_tag(tagged: u64) {
    // SAFETY: changes tags of free RAM.
    unsafe { asm!(".arch_extension memtag", "stg {0}, [{0}]", "dsb sy", in(reg) tagged) };
}

/// LDG: returns the tag of the granule at `address`.
fn load_tag(address: u64) -> u64 {
    let mut tagged = with_tag(address, 0);
    // SAFETY: reads a tag.
    unsafe { asm!(".arch_extension memtag", "ldg {0}, [{0}]", inout(reg) tagged) };
    tagged >> 56 & 0xf
}

fn needs_tags() -> Outcome {
    ensure!(level() >= 2, "ID_AA64PFR1_EL1.MTE is {}", level());
    Ok(())
}

fn reported() -> Outcome {
    needs_tags()
}

fn clear_tags() -> Outcome {
    needs_tags()?;
    let (mut found, mut bytes) = (None, 0);
    machine().free_ram(&mut |start, end| {
        found = found.or(tags::first_nonzero(start, end));
        bytes += end - start;
    });
    println!("# tags of {} KiB looked at", bytes / 1024);
    ensure!(found.is_none(), "tags at {:#x}", found.unwrap_or(0));
    Ok(())
}

fn round_trip() -> Outcome {
    needs_tags()?;
    let page = scratch()?;
    for granule in 0..256u64 {
        store_tag(with_tag(page + granule * 16, granule % 15 + 1));
    }
    for granule in 0..256u64 {
        let tag = load_tag(page + granule * 16);
        ensure!(tag == granule % 15 + 1, "granule {}: tag {:#x}", granule, tag);
    }
    for granule in 0..256u64 {
        store_tag(page + granule * 16);
    }
    ensure_equal!(load_tag(page), 0, "tag after it was cleared");
    Ok(())
}

fn separate() -> Outcome {
    needs_tags()?;
    let page = scratch()?;
    mmio::write64(page, 0x1234);
    store_tag(with_tag(page, 5));
    ensure_equal!(mmio::read64(with_tag(page, 5)), 0x1234, "data after a tag was stored");
    mmio::write64(with_tag(page, 5), 0x5678);
    ensure_equal!(load_tag(page), 5, "tag after data was stored");
    store_tag(page);
    mmio::write64(page, 0);
    Ok(())
}

fn stores() -> Outcome {
    needs_tags()?;
    let page = scratch()?;
    for word in 0..8 {
        mmio::write64(page + word * 8, !0);
    }
    // SAFETY: free RAM.
    unsafe {
        asm!(".arch_extension memtag", "stzg {0}, [{0}]", "st2g {1}, [{1}]", "dsb sy",
            in(reg) with_tag(page, 3), in(reg) with_tag(page + 16, 9))
    };
    let tags = [0, 16, 32, 48].map(|offset| load_tag(page + offset));
    ensure!(tags == [3, 9, 9, 0], "tags {:?}", tags);
    ensure_equal!(mmio::read64(with_tag(page, 3)), 0, "data after STZG");
    ensure_equal!(mmio::read64(with_tag(page + 16, 9)), !0, "data after ST2G");
    for granule in 0..4 {
        store_tag(page + granule * 16);
        mmio::write64(page + granule * 16, 0);
        mmio::write64(page + granule * 16 + 8, 0);
    }
    Ok(())
}

fn blocks() -> Outcome {
    needs_tags()?;
    let (page, block) = (scratch()?, tags::block());
    tags::store_block(page, 0xfedc_ba98_7654_3210);
    for granule in 0..block / 16 {
        let tag = load_tag(page + granule * 16);
        ensure!(tag == granule & 0xf, "granule {}: tag {:#x}", granule, tag);
    }
    let mask = if block >= 256 { !0 } else { (1 << (block / 4)) - 1 };
    ensure_equal!(tags::load_block(page) & mask, 0xfedc_ba98_7654_3210 & mask, "LDGM");
    // DC GZVA (S1_3_C7_C4_4): zero data and the address's tag.
    mmio::write64(with_tag(page, load_tag(page)), !0);
    // SAFETY: free RAM.
    unsafe { asm!("sys #3, c7, c4, #4, {0}", "dsb sy", in(reg) page) };
    ensure_equal!(load_tag(page + 16), 0, "tag after DC GZVA");
    ensure_equal!(mmio::read64(page), 0, "data after DC GZVA");
    for granule in 0..16 {
        store_tag(page + granule * 16);
    }
    Ok(())
}

/// STZGM: zeroes DCZID_EL0's block and gives it the tag in bits 3:0.
fn block_of_zeroes() -> Outcome {
    needs_tags()?;
    let (page, block) = (scratch()?, 4 << (sysreg::read!("dczid_el0") & 0xf));
    memory::fill(page, page + 2 * block, !0);
    // SAFETY: free RAM.
    unsafe { asm!(".arch_extension memtag", "stzgm {t}, [{a}]", "dsb sy", t = in(reg) 9u64, a = in(reg) page) };
    for granule in 0..block / 16 {
        let at = page + granule * 16;
        ensure_equal!(load_tag(at), 9, "a tag of the block");
        ensure_equal!(mmio::read64(with_tag(at, 9)), 0, "data of the block");
        store_tag(at);
    }
    ensure_equal!(load_tag(page + block), 0, "the tag behind the block");
    ensure_equal!(mmio::read64(page + block), !0, "data behind the block");
    memory::fill(page, page + 2 * block, 0);
    Ok(())
}

/// ID_AA64PFR2_EL1.
fn features2() -> u64 {
    sysreg::read!("s3_0_c0_c4_2")
}

/// MTE_PERM is about stage 2, which the guest has none of.
fn no_permission() -> Outcome {
    ktap::needs_hypervisor()?;
    ensure_equal!(features2() & 0xf, 0, "ID_AA64PFR2_EL1.MTEPERM");
    Ok(())
}

fn random() -> Outcome {
    needs_tags()?;
    // GCR_EL1: RRND = 1, all tags but 6 and 11 excluded.
    let before = sysreg::read!("s3_0_c1_c0_6");
    sysreg::write!("s3_0_c1_c0_6", 1 << 16 | (0xffff & !(1 << 6 | 1 << 11)));
    let mut wrong = None;
    for _ in 0..64 {
        let tagged: u64;
        // SAFETY: makes an address only.
        unsafe { asm!(".arch_extension memtag", "irg {0}, {1}", out(reg) tagged, in(reg) 0u64) };
        if !matches!(tagged >> 56, 6 | 11) {
            wrong = Some(tagged >> 56);
        }
    }
    sysreg::write!("s3_0_c1_c0_6", before);
    ensure!(wrong.is_none(), "IRG makes tag {:#x}", wrong.unwrap_or(0));
    Ok(())
}

fn registers() -> Outcome {
    needs_tags()?;
    sysreg::write!("s3_0_c1_c0_6", 0x1_5a5a);
    let gcr = sysreg::read!("s3_0_c1_c0_6");
    sysreg::write!("s3_0_c1_c0_6", 0);
    ensure_equal!(gcr & 0x1_ffff, 0x1_5a5a, "GCR_EL1");
    sysreg::write!("s3_0_c1_c0_5", 0x1234 << 8 | 7);
    ensure_equal!(sysreg::read!("s3_0_c1_c0_5") & 0xff_ff0f, 0x1234 << 8 | 7, "RGSR_EL1");
    sysreg::write!("s3_0_c5_c6_0", 1);
    let tfsr = sysreg::read!("s3_0_c5_c6_0");
    sysreg::write!("s3_0_c5_c6_0", 0);
    ensure_equal!(tfsr & 3, 1, "TFSR_EL1");
    sysreg::write!("s3_0_c5_c6_1", 1);
    let tfsre0 = sysreg::read!("s3_0_c5_c6_1");
    sysreg::write!("s3_0_c5_c6_1", 0);
    ensure_equal!(tfsre0 & 1, 1, "TFSRE0_EL1");
    Ok(())
}
