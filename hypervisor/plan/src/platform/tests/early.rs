//! What is read before there is a heap.

use assay_spec::addr::{Pa, Region};
use assay_spec::smccc::Conduit;

use super::{BOARD, changed, compile, region};
use crate::platform::early::{conduit, free_memory, initrd};

#[test]
fn the_conduit_is_found_also_in_a_tree_that_will_be_refused() {
    let blob = compile(BOARD);
    assert_eq!(conduit(&blob), Some(Conduit::Smc));
    let psci = "psci { compatible = \"arm,psci-1.0\", \"arm,psci-0.2\"; method = \"smc\"; };";
    let with = |new: &str| conduit(&compile(&changed(psci, new)));
    assert_eq!(with("psci { method = \"hvc\"; compatible = \"arm,psci-1.0\"; };"), Some(Conduit::Hvc));
    assert_eq!(with("psci { status = \"disabled\"; method = \"smc\"; compatible = \"arm,psci-1.0\"; };"), None);
    assert_eq!(with("psci { method = \"smc\"; compatible = \"arm,psci\"; };"), None);
    assert_eq!(with("psci { method = \"sms\"; compatible = \"arm,psci-1.0\"; };"), None);
    // Cut off behind it: no tree any more.
    let mut broken = blob;
    let at = broken.windows(10).position(|name| name == b"firmware@5").unwrap();
    broken[at] = b'/';
    assert!(super::parse(&broken).is_err());
    assert_eq!(conduit(&broken), Some(Conduit::Smc));
    assert_eq!(conduit(&[]), None);
}

#[test]
fn the_initrd_is_found() {
    assert_eq!(initrd(&compile(BOARD)), Some(region(0x4800_0000, 0x1234)));
    assert_eq!(initrd(&compile(&changed("linux,initrd-start = <0x48000000>;", ""))), None);
    assert_eq!(
        initrd(&compile(&changed("linux,initrd-end = <0 0x48001234>", "linux,initrd-end = <0x48000000>"))),
        None
    );
}

#[test]
fn free_memory_is_behind_the_image_and_over_nothing() {
    let blob = compile(BOARD);
    let find = |bytes, image, taken: &[Region<Pa>]| free_memory(&blob, bytes, image, taken);
    let image = region(0x4020_0000, 0x12_0000);
    assert_eq!(find(0x10_0001, image, &[]), Some(region(0x4032_0000, 0x10_1000)));
    // The tree lies behind the image, and the initrd behind the tree.
    let taken = [region(0x4032_0800, 0x2000), region(0x4040_0000, 0x123)];
    assert_eq!(find(0x10_0000, image, &taken), Some(region(0x4040_1000, 0x10_0000)));
    assert_eq!(find(0x1000, image, &taken), Some(region(0x4032_3000, 0x1000)));
    // Reservations, whatever their status.
    let image = region(0x4ff0_0000, 0x10_0000);
    assert_eq!(find(0x100_0000, image, &[]), Some(region(0x5110_0000, 0x100_0000)));
    // Nothing behind the image: elsewhere, but for `/memreserve/` and the image.
    assert_eq!(find(0x1000, region(0x7fff_0000, 0x1_0000), &[]), Some(region(0x4000_1000, 0x1000)));
    // The largest piece, and no larger one.
    assert_eq!(find(0x4000_0000, image, &[]), Some(region(0x80_0000_0000, 0x4000_0000)));
    assert_eq!(find(0x4000_1000, image, &[]), None);
}

#[test]
fn modules_of_vms_are_not_free() {
    let vm = "chosen { vm { #address-cells = <1>; #size-cells = <1>; kernel { reg = <0x40320000 0x1000>; }; };";
    let blob = compile(&changed("chosen {", vm));
    let image = region(0x4020_0000, 0x12_0000);
    assert_eq!(free_memory(&blob, 0x1000, image, &[]), Some(region(0x4032_1000, 0x1000)));
}

#[test]
fn pages_of_spin_tables_are_not_free() {
    let blob = compile(&changed("cpu-release-addr = <0 0xd8>", "cpu-release-addr = <0 0x40320ff8>"));
    let image = region(0x4020_0000, 0x12_0000);
    assert_eq!(free_memory(&blob, 0x1000, image, &[]), Some(region(0x4032_1000, 0x1000)));
}
