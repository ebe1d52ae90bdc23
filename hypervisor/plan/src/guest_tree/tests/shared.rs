//! Regions between VMs, and their doorbells.

use assay_spec::addr::{Ipa, Region};

use super::{blob, cells, coherent, has, mapping, plain, text, with};
use crate::gate::Tree;
use crate::guest_tree::{GuestTree, GuestTreeError, build};
use crate::policy::Use;
use crate::space::{Backing, Mapping, Share};
use assay_model::doorbell::Side;
use assay_spec::stage2_desc::Rights;

type Peers<'a> = &'a [(u8, &'static str)];

fn share(name: &'static str, ipa: Region<Ipa>, rights: Rights, doorbell: Option<(u8, Peers<'_>)>) -> Mapping<'static> {
    let (id, peers) = doorbell.unwrap_or_default();
    let share =
        Share { side: Side { region: 0, id }, tagged: false, doorbell: doorbell.is_some(), peers: peers.to_vec() };
    mapping(name, ipa, Use::Shared(rights), Backing::Shared(share))
}

const RING: Region<Ipa> = Region { start: Ipa(0x2_0000_0000), size: 0x10_0000 };

fn ring(name: &'static str) -> Mapping<'static> {
    share(name, RING, Rights::ReadWrite, Some((1, &[(0, "front"), (2, "back")])))
}

fn log() -> Mapping<'static> {
    share("log", Region { start: Ipa(0x2_0020_0000), size: 0x1000 }, Rights::ReadOnly, None)
}

fn late() -> Mapping<'static> {
    share("late", Region { start: Ipa(0x2_0040_0000), size: 0x1000 }, Rights::ReadWrite, Some((0, &[])))
}

#[test]
fn a_region_is_reserved_and_says_who_may_do_what() {
    let blob = blob(&GuestTree { space: &with(coherent().into_iter().chain([ring("ring0"), log()])), ..plain() });
    let ring = "/reserved-memory/ring0@200000000";
    let names = ["assay,shared-memory", "xen,shared-memory-v1"];
    assert_eq!(text(&blob, ring, "compatible"), names);
    assert_eq!(cells(&blob, ring, "reg"), [2, 0, 0, 0x10_0000]);
    assert_eq!(text(&blob, ring, "xen,id"), ["ring0"]);
    assert!(has(&blob, ring, "no-map") && !has(&blob, ring, "assay,read-only"));
    let log = "/reserved-memory/log@200200000";
    assert!(has(&blob, log, "no-map") && has(&blob, log, "assay,read-only"));
    let aperture = "/reserved-memory/npu0-memory@100000000";
    assert!(has(&blob, aperture, "no-map"), "beside an aperture");
    assert!(has(&blob, "/doorbell@b000000", "reg"));
    assert!(!has(&blob, "/doorbell@b001000", "reg"), "the log has none");
}

#[test]
fn a_doorbell_names_its_region_its_interrupt_and_the_others() {
    let blob = blob(&GuestTree { space: &with([ring("ring0"), log(), late()]), ..plain() });
    let (first, second) = ("/doorbell@b000000", "/doorbell@b001000");
    assert_eq!(text(&blob, first, "compatible"), ["assay,doorbell"]);
    assert_eq!(cells(&blob, first, "reg"), [0, 0x0b00_0000, 0, 0x1000]);
    // SPI 3 and 4, edge.
    assert_eq!(cells(&blob, first, "interrupts"), [0, 3, 1]);
    assert_eq!(cells(&blob, second, "interrupts"), [0, 4, 1]);
    assert_eq!(cells(&blob, first, "assay,id"), [1]);
    assert_eq!(cells(&blob, first, "assay,peers"), [0, 2]);
    assert_eq!(text(&blob, first, "assay,peer-names"), ["front", "back"]);
    assert!(!has(&blob, second, "assay,peers"));
    let tree = Tree::new(blob.bytes()).unwrap();
    for (bell, region) in [(first, "ring0@200000000"), (second, "late@200400000")] {
        let phandle = cells(&blob, bell, "memory-region")[0];
        assert_eq!(tree.by_phandle(phandle).unwrap().full_name(), region);
    }
}

#[test]
fn a_name_that_cannot_be_a_nodes_is_an_error() {
    let error = build(&GuestTree { space: &with([ring("a ring")]), ..plain() });
    let error = error.err().unwrap();
    assert_eq!(error, GuestTreeError::Name("a ring@200000000".into()));
}
