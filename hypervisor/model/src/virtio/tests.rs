//! What a driver and a backend find in the registers that they share.

use assay_spec::addr::{Ipa, Region};
use assay_spec::exit::Width;

use super::{Answer, Kind, Link, News};

const STATUS: u64 = 0x70;
const EVENTS: u64 = 0x0c;
const CONTROL: u64 = 0x14;
const VERSION_1: u64 = 1 << 32;

fn link() -> Link {
    Link::new(3, Kind::Block, Region { start: Ipa(0x4000_0000), size: 0x1000_0000 })
}

fn load(link: &Link, offset: u64) -> u64 {
    match link.front_read(offset, Width::W4) {
        Answer::Done(value, _) => value,
        Answer::Wait(_) => panic!("{offset:#x} waits"),
    }
}

fn store(link: &Link, offset: u64, value: u64) -> News {
    match link.front_write(offset, Width::W4, value) {
        Answer::Done(_, news) => news,
        Answer::Wait(_) => panic!("{offset:#x} waits"),
    }
}

fn back(link: &Link, offset: u64) -> u64 {
    link.back_read(offset, Width::W4).0
}

fn set_back(link: &Link, offset: u64, value: u64) -> News {
    link.back_write(offset, Width::W4, value)
}

/// A backend with two features and one queue of 256, and configuration space.
fn serve(link: &Link) {
    set_back(link, 0x30, 0b101);
    set_back(link, 0x34, VERSION_1 >> 32);
    set_back(link, 0x200, 256);
    set_back(link, 0x100, 0x0807_0605);
    assert_eq!(set_back(link, CONTROL, 1), News { front: true, wake: true, back: true });
}

/// What Linux's driver does (`drivers/virtio/virtio.c`, `virtio_mmio.c`).
fn drive(link: &Link) -> News {
    store(link, STATUS, 0);
    store(link, STATUS, 3);
    store(link, 0x24, 1);
    store(link, 0x20, VERSION_1 >> 32);
    store(link, 0x24, 0);
    store(link, 0x20, 0b100);
    store(link, STATUS, 0xb);
    assert_eq!(load(link, STATUS), 0xb, "FEATURES_OK stays");
    store(link, 0x30, 0);
    store(link, 0x38, 128);
    for (area, offset) in [0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4].into_iter().zip(1..) {
        store(link, area, 0x1000 * offset);
    }
    store(link, 0x44, 1);
    store(link, STATUS, 0xf)
}

fn live() -> Link {
    let link = link();
    serve(&link);
    assert!(drive(&link).back);
    link
}

#[test]
fn a_driver_waits_for_a_backend_and_then_learns_what_the_device_is() {
    let link = link();
    assert_eq!((load(&link, 0), load(&link, 4)), (0x7472_6976, 2));
    assert!(matches!(link.front_read(8, Width::W4), Answer::Wait(_)));
    serve(&link);
    assert_eq!(load(&link, 8), 2);
    assert_eq!((load(&link, 0xb0), load(&link, 0xbc)), (0xffff_ffff, 0xffff_ffff), "no shared memory");
}

#[test]
fn features_come_in_halves_and_are_taken_only_if_the_device_has_them() {
    let link = link();
    serve(&link);
    for (half, value) in [(0, 0b101), (1, 1), (2, 0)] {
        store(&link, 0x14, half);
        assert_eq!(load(&link, 0x10), value);
    }
    // One that the device lacks, or without VERSION_1.
    for (low, high) in [(0b10, 1), (0b100, 0)] {
        store(&link, STATUS, 0);
        store(&link, 0x24, 0);
        store(&link, 0x20, low);
        store(&link, 0x24, 1);
        store(&link, 0x20, high);
        store(&link, STATUS, 0xb);
        assert_eq!(load(&link, STATUS), 3);
    }
}

#[test]
fn the_backend_finds_the_queue_as_the_driver_has_set_it_up() {
    let link = live();
    assert_eq!(back(&link, EVENTS), 0x100, "it is ready");
    assert_eq!(back(&link, EVENTS), 0, "a load takes them");
    assert_eq!([0x200, 0x204, 0x208].map(|at| back(&link, at)), [256, 128, 1]);
    assert_eq!(
        [0x210, 0x214, 0x218, 0x21c, 0x220, 0x224].map(|at| back(&link, at)),
        [1, 2, 3, 4, 5, 6].map(|n| n * 0x1000)
    );
    assert_eq!((back(&link, 0x38), back(&link, 0x3c)), (0b100, 1));
    assert_eq!(
        (back(&link, 0x20), back(&link, 0x24), back(&link, 0x28), back(&link, 0x2c)),
        (0x4000_0000, 0, 0x1000_0000, 0)
    );
    assert_eq!([0, 4, 8, 0x1c].map(|at| back(&link, at)), [0x7679_7361, 1, 2, 4]);
}

#[test]
fn kicks_and_interrupts_go_across_and_are_levels() {
    let link = live();
    back(&link, EVENTS);
    assert!(!link.back_level());
    assert!(store(&link, 0x50, 0).back && store(&link, 0x50, 2).back && link.back_level());
    assert_eq!(back(&link, EVENTS), 0b101);
    assert!(!link.back_level() && !link.front_level());
    assert!(set_back(&link, 0x18, 0xff).front && link.front_level());
    assert_eq!(load(&link, 0x60), 3);
    assert!(store(&link, 0x64, 1).front && link.front_level());
    store(&link, 0x64, 2);
    assert!(!link.front_level());
}

#[test]
fn a_reset_waits_until_the_backend_has_let_go_and_keeps_what_the_backend_set() {
    let link = live();
    let Answer::Wait(news) = link.front_write(STATUS, Width::W4, 0) else { panic!("it is done at once") };
    assert!(news.back);
    assert_eq!((back(&link, 0x208), back(&link, 0x200), load(&link, STATUS)), (0, 256, 0));
    assert_eq!(back(&link, EVENTS), 0x200);
    assert!(matches!(link.front_write(STATUS, Width::W4, 0), Answer::Wait(News { back: false, .. })));
    assert!(matches!(link.front_read(8, Width::W4), Answer::Wait(_)), "nor may the next life begin");
    assert!(set_back(&link, CONTROL, 2).wake);
    store(&link, STATUS, 0);
    assert!(drive(&link).back, "and it can be used again");
}

#[test]
fn a_driver_that_takes_bits_of_status_back_does_not_make_its_backend_forgotten() {
    let link = live();
    store(&link, STATUS, 3);
    assert_eq!(load(&link, STATUS), 0xf);
    assert!(matches!(link.front_write(STATUS, Width::W4, 0x100), Answer::Wait(_)));
    assert!(matches!(link.front_write(STATUS, Width::W4, 0), Answer::Wait(_)));
}

#[test]
fn a_driver_that_never_used_the_device_resets_it_at_once() {
    let link = link();
    store(&link, STATUS, 0);
    serve(&link);
    store(&link, STATUS, 3);
    store(&link, STATUS, 0);
    assert!(!link.back_level());
}

#[test]
fn without_its_backend_a_device_in_use_wants_a_reset_which_is_then_done_at_once() {
    let link = live();
    assert_eq!(link.end_back(), News { front: true, wake: true, back: true });
    assert_eq!((load(&link, STATUS), load(&link, 0x60)), (0x4f, 2));
    assert!(!store(&link, 0x50, 0).back, "nobody hears it");
    store(&link, STATUS, 0);
    assert_eq!(load(&link, STATUS), 0);
    assert!(matches!(link.front_read(8, Width::W4), Answer::Wait(_)));
}

#[test]
fn a_new_backend_does_not_go_on_with_the_old_ones_queues() {
    let link = live();
    set_back(&link, CONTROL, 1);
    assert_eq!(load(&link, STATUS), 0x4f);
    assert!(!store(&link, 0x50, 0).back);
    // A driver's store cannot take the bit away.
    store(&link, STATUS, 0xf);
    assert_eq!(load(&link, STATUS), 0x4f);
}

#[test]
fn a_driver_that_breaks_the_rules_is_told_to_reset() {
    let link = live();
    assert!(set_back(&link, CONTROL, 3).front);
    assert_eq!((load(&link, STATUS), load(&link, 0x60)), (0x4f, 2));
    back(&link, EVENTS);
    store(&link, 0x50, 0);
    assert_eq!(back(&link, EVENTS), 0, "what it does meanwhile is not heard");
}

#[test]
fn the_end_of_a_drivers_life_is_a_reset() {
    let link = live();
    assert!(link.end_front().back);
    assert_eq!((load(&link, STATUS), back(&link, EVENTS)), (0, 0x200));
    assert_eq!(back(&link, CONTROL), 3, "served, and not yet let go");
}

#[test]
fn configuration_is_read_by_any_width_and_has_a_generation() {
    let link = link();
    serve(&link);
    let read = |offset, width| match link.front_read(offset, width) {
        Answer::Done(value, _) => value,
        Answer::Wait(_) => panic!("it waits"),
    };
    assert_eq!((read(0x100, Width::W4), read(0x101, Width::W1), read(0x102, Width::W2)), (0x0807_0605, 6, 0x0807));
    assert_eq!((read(0x1fe, Width::W8), read(0xff8, Width::W8)), (0, 0), "beyond its end");
    let before = load(&link, 0xfc);
    set_back(&link, 0x104, 9);
    assert_ne!(load(&link, 0xfc), before);
    assert_eq!(read(0x100, Width::W8), 0x9_0807_0605);
}

#[test]
fn no_access_leads_out_of_the_registers() {
    let link = live();
    for width in [Width::W1, Width::W2, Width::W4, Width::W8] {
        for offset in 0..0x1000 {
            for value in [0, 1, 3, u64::MAX] {
                let _ = link.front_write(offset, width, value);
                let _ = link.front_read(offset, width);
                let _ = link.back_write(offset, width, value);
                let _ = link.back_read(offset, width);
            }
        }
    }
}

#[test]
fn queues_that_are_not_there_have_size_zero_and_ignore_stores() {
    let link = link();
    serve(&link);
    for queue in [1, 4, u64::from(u32::MAX)] {
        store(&link, 0x30, queue);
        assert_eq!(load(&link, 0x34), 0, "{queue}");
        store(&link, 0x44, 1);
    }
    assert_eq!(
        (back(&link, 0x248), back(&link, 0x288)),
        (1, 0),
        "the device has none of these, but the second has a place"
    );
}
