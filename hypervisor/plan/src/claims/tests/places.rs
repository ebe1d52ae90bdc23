//! Where a guest finds its regions.

use std::format;
use std::string::String;
use std::vec::Vec;

use assay_spec::addr::{Ipa, Region};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::{MARKED, fwb, ipa, platform, resolve, trouble, vm, vms, world};
use crate::platform::HostPlatform;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Regions `r0`, `r1` and so on of these sizes, far apart.
fn regions(sizes: &[u64]) -> HostPlatform {
    let nodes: String = (0x40..)
        .zip(sizes)
        .enumerate()
        .map(|(n, (high, size))| {
            format!(
                r#"r{n} {{ compatible = "assay,coherent-memory"; reg = <{high:#x} 0 {:#x} {:#x}>; no-map; {MARKED} }};"#,
                size >> 32,
                size & 0xffff_ffff
            )
        })
        .collect();
    platform("", &nodes)
}

/// The places of claims on `r0`, `r1` and so on, `None` for those that have none; and the sentence about it.
fn places(sizes: &[u64], ipas: &[Option<u64>], pa_bits: u8) -> (Vec<Option<Region<Ipa>>>, String) {
    let machine = regions(sizes);
    let claims: Vec<String> = ipas
        .iter()
        .enumerate()
        .map(|(n, ipa)| {
            let ipa = ipa.map(|ipa| format!("assay,ipa = <{:#x} {:#x}>;", ipa >> 32, ipa & 0xffff_ffff));
            format!(r#"assay,region = "r{n}"; assay,use = "dax"; {}"#, ipa.unwrap_or_default())
        })
        .collect();
    let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
    let vms = vms(&[vm("a", "", &claims)]);
    let mut world = world(&machine, &vms, fwb());
    world.pa_bits = pa_bits;
    let all = resolve(&world);
    let found = all[0].rows.iter().skip(1).map(|row| row.ipa).collect();
    let text = if all[0].troubles.is_empty() { String::new() } else { trouble(&all[0]).0 };
    (found, text)
}

#[test]
fn the_first_region_is_at_the_first_gib_boundary_above_ram() {
    // RAM is 512 MiB from 1 GiB on.
    let (found, text) = places(&[64 * MIB], &[None], 48);
    assert_eq!((found, text), ([Some(ipa(2 * GIB, 64 * MIB))].to_vec(), String::new()));
}

#[test]
fn regions_follow_each_other_in_the_manifests_order_aligned_to_their_size() {
    let sizes = [64 * MIB, 3 * MIB, 2 * GIB, 0x1000];
    let (found, _) = places(&sizes, &[None; 4], 48);
    let expected =
        [ipa(2 * GIB, 64 * MIB), ipa(2 * GIB + 64 * MIB, 3 * MIB), ipa(3 * GIB, 2 * GIB), ipa(5 * GIB, 0x1000)];
    assert_eq!(found, expected.map(Some));
}

#[test]
fn a_given_ipa_is_taken_and_the_others_go_around_it() {
    let sizes = [64 * MIB, 64 * MIB];
    let (found, _) = places(&sizes, &[None, Some(2 * GIB)], 48);
    let expected = [ipa(2 * GIB + 64 * MIB, 64 * MIB), ipa(2 * GIB, 64 * MIB)];
    assert_eq!(found, expected.map(Some));
}

#[test]
fn an_ipa_inside_ram_or_the_devices_or_another_region_is_refused_and_says_which() {
    let (found, text) = places(&[MIB], &[Some(0x5000_0000)], 48);
    assert_eq!(found, [None]);
    assert_eq!(text, "at the ipa 0x50000000 of region r0 lies the VM's RAM");
    let (_, text) = places(&[MIB], &[Some(0xff0_0000)], 48);
    assert!(text.ends_with("lies the VM's devices (0x8000000 to 0x10000000)"), "{text}");
    let (_, text) = places(&[2 * MIB, MIB], &[Some(4 * GIB), Some(4 * GIB + MIB)], 48);
    assert_eq!(text, "at the ipa 0x100100000 of region r1 lies region r0");
}

#[test]
fn an_ipa_that_is_not_page_aligned_is_refused() {
    let (found, text) = places(&[MIB], &[Some(4 * GIB + 0x800)], 48);
    assert_eq!(found, [None]);
    assert_eq!(text, "the ipa 0x100000800 of region r0 is not a multiple of 0x1000 bytes");
}

#[test]
fn a_region_may_end_at_the_last_guest_address_and_not_beyond() {
    let end = 1 << 40;
    let (found, _) = places(&[MIB], &[Some(end - MIB)], 40);
    assert_eq!(found, [Some(ipa(end - MIB, MIB))]);
    let (found, text) = places(&[MIB], &[Some(end - MIB + 0x1000)], 40);
    assert_eq!(found, [None]);
    assert_eq!(
        text,
        "the 0x100000 bytes of region r0 do not fit at ipa 0xfffff01000 below the end of 40 bits of guest \
         addresses"
    );
    let (found, _) = places(&[MIB], &[Some(u64::MAX - 0xfff)], 48);
    assert_eq!(found, [None]);
}

#[test]
fn without_room_above_ram_the_vm_is_refused() {
    // 4 GiB of guest addresses, of which 2 are left above RAM.
    let (found, text) = places(&[2 * GIB, 2 * GIB], &[None; 2], 32);
    assert_eq!(found[1], None);
    // The regions lie beyond 32 bits too, which the policy says; here it is about the place.
    assert!(text.contains("of region r1 do not fit below the end of 32 bits"), "{text}");
}

#[test]
fn guest_addresses_end_at_48_bits_whatever_the_cpus_have() {
    let (found, text) = places(&[MIB], &[Some(1 << 48)], 52);
    assert_eq!(found, [None]);
    assert!(text.contains("48 bits"));
}

proptest! {
    #[test]
    fn places_never_overlap_and_keep_the_rules(
        sizes in proptest::collection::vec(1u64..0x4_0000, 1..6),
        ipas in proptest::collection::vec(proptest::option::of(0u64..0x80_0000), 6),
    ) {
        let sizes: Vec<u64> = sizes.into_iter().map(|pages| pages * 0x1000).collect();
        let ipas: Vec<Option<u64>> =
            ipas.into_iter().take(sizes.len()).map(|pages| Some(pages? * 0x1000)).collect();
        let machine = regions(&sizes);
        let claims: Vec<String> = ipas.iter().enumerate().map(|(n, ipa)| {
            let ipa = ipa.map_or(String::new(), |ipa| format!("assay,ipa = <{:#x} {:#x}>;", ipa >> 32, ipa & 0xffff_ffff));
            format!(r#"assay,region = "r{n}"; assay,use = "dax"; {ipa}"#)
        }).collect();
        let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
        let vms = vms(&[vm("a", "", &claims)]);
        let all = resolve(&world(&machine, &vms, fwb()));
        let rows = &all[0].rows[1..];
        let ram = ipa(GIB, 512 * MIB);
        for (n, row) in rows.iter().enumerate() {
            let Some(place) = row.ipa else {
                prop_assert!(ipas[n].is_some(), "only what has an address can be in the way here");
                continue;
            };
            prop_assert_eq!(place.size, sizes[n]);
            prop_assert!(!place.overlaps(&assay_model::layout::DEVICES) && !place.overlaps(&ram));
            match ipas[n] {
                Some(given) => prop_assert_eq!(place.start.0, given),
                None => prop_assert!(place.start.0 >= 2 * GIB && place.start.0.is_multiple_of(2 * MIB)),
            }
            for other in rows.iter().skip(n + 1).filter_map(|row| row.ipa) {
                prop_assert!(!place.overlaps(&other));
            }
        }
        let missing = rows.iter().filter(|row| row.ipa.is_none()).count();
        prop_assert_eq!(missing, all[0].troubles.len());
    }
}
