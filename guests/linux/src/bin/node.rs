//! `node NUMBER [untagged]`: memory of a NUMA node as a program finds it, with its tags unless told that
//! there are none.

use std::process::ExitCode;

use linux_guests::ktap::{self, Case, Outcome, equal};
use linux_guests::map::{self, Map, PROT_MTE};
use linux_guests::{fault, tags};

const PAGE: usize = 0x1000;
const LENGTH: usize = 8 << 20;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let node = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    let tagged = words.next().as_deref() != Some("untagged");
    let mut cases: Vec<Case<'_>> = vec![
        ("every_page_is_of_the_node", Box::new(move || bound(node))),
        ("what_is_written_is_read", Box::new(move || data(node))),
    ];
    if tagged {
        cases.push(("tags_of_new_pages_are_zero", Box::new(move || zero(node))));
        cases.push(("a_tag_stored_is_the_tag_loaded", Box::new(move || round_trip(node))));
        cases.push(("a_wrong_tag_is_a_segv_mteserr", Box::new(move || check(node))));
    } else {
        cases.push(("tags_are_not_offered", Box::new(refused)));
    }
    ktap::run(cases)
}

fn words(error: std::io::Error) -> String {
    error.to_string()
}

fn on_node(node: usize, protection: i32) -> Result<Map, String> {
    Map::on_node(LENGTH, protection, node).map_err(words)
}

fn pages() -> impl Iterator<Item = usize> {
    (0..LENGTH).step_by(PAGE)
}

fn bound(node: usize) -> Outcome {
    let map = on_node(node, 0)?;
    for page in pages() {
        let found = map.node_of(page).map_err(words)?;
        equal("node", found, i32::try_from(node).unwrap_or(-1))?;
    }
    Ok(())
}

fn data(node: usize) -> Outcome {
    let map = on_node(node, 0)?;
    for offset in (0..LENGTH).step_by(64) {
        equal("a new page", map.read(offset), 0)?;
        map.write(offset, !(offset as u64));
    }
    for offset in (0..LENGTH).step_by(64) {
        equal("what was written", map.read(offset), !(offset as u64))?;
    }
    // Across a page's end, which is no whole word.
    map.write(PAGE - 3, 0x0123_4567_89ab_cdef);
    equal("unaligned", map.read(PAGE - 3), 0x0123_4567_89ab_cdef)
}

fn tagged(node: usize) -> Result<Map, String> {
    if !tags::offered() {
        return Err("the kernel offers no tags (HWCAP2_MTE)".to_owned());
    }
    tags::check_synchronously().map_err(words)?;
    on_node(node, PROT_MTE)
}

fn zero(node: usize) -> Outcome {
    let map = tagged(node)?;
    for page in pages() {
        map.write(page, 0);
        for granule in (0..PAGE).step_by(tags::GRANULE) {
            equal("tag", tags::load(map.address() + page + granule), 0)?;
        }
    }
    Ok(())
}

fn round_trip(node: usize) -> Outcome {
    let map = tagged(node)?;
    let tag = |offset: usize| (offset / PAGE + offset / tags::GRANULE) % 15 + 1;
    for offset in (0..LENGTH).step_by(tags::GRANULE) {
        tags::store(map.address() + offset, tag(offset));
    }
    for offset in (0..LENGTH).step_by(tags::GRANULE) {
        equal("tag", tags::load(map.address() + offset), tag(offset))?;
    }
    Ok(())
}

fn check(node: usize) -> Outcome {
    let map = tagged(node)?;
    let address = map.address();
    map.write(0, 1);
    tags::store(address, 5);
    let right = fault::of(|| map::write(tags::with_tag(address, 5), 2));
    equal("a store with the right tag", right, None)?;
    let found = fault::of(|| map::write(tags::with_tag(address, 6), 3));
    let found = found.ok_or("a store with the wrong tag raises no signal")?;
    equal("signal", found.signal, libc::SIGSEGV)?;
    equal("si_code", found.code, fault::SEGV_MTESERR)?;
    equal("si_addr", found.address, address)?;
    equal("data", map::read(tags::with_tag(address, 5)), 2)
}

/// `mmap` passes over a PROT_MTE that the kernel doesn't know: the offer and the mode say it.
fn refused() -> Outcome {
    equal("HWCAP2_MTE", tags::offered(), false)?;
    match tags::check_synchronously() {
        Ok(()) => Err("prctl takes the mode of tag checks".to_owned()),
        Err(error) => equal("errno", error.raw_os_error(), Some(libc::EINVAL)),
    }
}
