//! The host bridge with its PCI functions.

use super::{GuestTree, NPU, blob, cells, coherent, has, plain, text};
use crate::guest_tree::PciFunction;
use assay_model::pci::{Bar, GuestBar, Space};
use assay_spec::intid::IntId;

const BRIDGE: &str = "/pcie@3f000000";

fn with(window: Option<GuestBar>, interrupt: bool) -> crate::guest_tree::Blob {
    let interrupt = interrupt.then_some(IntId(51));
    tree(&[PciFunction { region: Some(NPU), window, interrupt, has_messages: false, is_coherent: false, label: None }])
}

fn tree(functions: &[PciFunction]) -> crate::guest_tree::Blob {
    blob(&GuestTree { space: &super::with(coherent()), functions, ..plain() })
}

const fn bar(wide: bool, prefetchable: bool) -> GuestBar {
    GuestBar {
        bar: Bar { index: 2, space: Space::Memory { wide, prefetchable }, address: 0x80_0000_0000, size: 0x1000 },
        address: NPU.start.0,
        size: NPU.size,
    }
}

#[test]
fn a_function_stands_on_a_host_bridge_of_its_own() {
    let blob = with(None, true);
    assert_eq!(text(&blob, BRIDGE, "compatible"), ["pci-host-ecam-generic"]);
    assert_eq!(cells(&blob, BRIDGE, "reg"), [0, 0x3f00_0000, 0, 0x10_0000]);
    assert_eq!(cells(&blob, BRIDGE, "bus-range"), [0, 0]);
    let registers = [0x0200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000];
    assert_eq!(cells(&blob, BRIDGE, "ranges"), registers);
    assert_eq!(cells(&blob, BRIDGE, "interrupt-map"), [0x800, 0, 0, 1, 1, 0, 19, 4]);
    assert_eq!(cells(&blob, BRIDGE, "interrupt-map-mask"), [0xf800, 0, 0, 7]);
    assert_eq!(cells(&blob, "/chosen", "linux,pci-probe-only"), [1]);
    let device = "/pcie@3f000000/device@1,0";
    assert_eq!(cells(&blob, device, "reg"), [0x800, 0, 0, 0, 0]);
    let aperture = "/reserved-memory/npu0-memory@100000000";
    assert_eq!(cells(&blob, device, "memory-region"), cells(&blob, aperture, "phandle"));
    assert!(!has(&super::blob(&plain()), BRIDGE, "reg"));
    assert!(!has(&super::blob(&plain()), "/chosen", "linux,pci-probe-only"));
}

#[test]
fn the_window_of_an_aperture_is_of_the_kind_that_its_bar_is() {
    for (bar, space) in
        [(bar(false, false), 0x0200_0000), (bar(true, false), 0x0300_0000), (bar(true, true), 0x4300_0000)]
    {
        let blob = with(Some(bar), false);
        let ranges = cells(&blob, BRIDGE, "ranges");
        assert_eq!(ranges[7..], [space, 1, 0, 1, 0, 0, 0x1000]);
        assert!(!has(&blob, BRIDGE, "interrupt-map"));
    }
}

#[test]
fn several_functions_stand_beside_each_other_and_share_a_line() {
    let function = |line| PciFunction {
        region: None,
        window: None,
        interrupt: Some(IntId(line)),
        has_messages: false,
        is_coherent: true,
        label: None,
    };
    let blob = tree(&[function(51), function(52), function(51)]);
    let map = cells(&blob, BRIDGE, "interrupt-map");
    assert_eq!(
        map.as_chunks::<8>().0.iter().map(|one| (one[0], one[6])).collect::<std::vec::Vec<_>>(),
        [(0x800, 19), (0x1000, 20), (0x1800, 19)]
    );
    assert!(has(&blob, BRIDGE, "dma-coherent"));
    assert_eq!(cells(&blob, "/pcie@3f000000/device@3,0", "reg"), [0x1800, 0, 0, 0, 0]);
    assert!(!has(&blob, "/pcie@3f000000/device@1,0", "memory-region"));
    // One that is not coherent makes the bridge one that is not.
    let blob = tree(&[function(51), PciFunction { is_coherent: false, ..function(52) }]);
    assert!(!has(&blob, BRIDGE, "dma-coherent"));
}

#[test]
fn messages_go_to_a_frame_beside_the_interrupt_controller() {
    let interrupt = Some(IntId(51));
    let function =
        PciFunction { region: None, window: None, interrupt, has_messages: true, is_coherent: true, label: None };
    let blob = tree(core::slice::from_ref(&function));
    let frame = "/intc@8000000/v2m@8020000";
    assert_eq!(text(&blob, frame, "compatible"), ["arm,gic-v2m-frame"]);
    assert_eq!(cells(&blob, frame, "reg"), [0, 0x0802_0000, 0, 0x1000]);
    assert_eq!(
        (cells(&blob, frame, "arm,msi-base-spi"), cells(&blob, frame, "arm,msi-num-spis")),
        ([64].into(), [32].into())
    );
    assert_eq!(cells(&blob, BRIDGE, "msi-parent"), cells(&blob, frame, "phandle"));
    assert_eq!(cells(&blob, BRIDGE, "interrupt-map"), [0x800, 0, 0, 1, 1, 0, 0, 0, 19, 4]);
    assert!(has(&blob, "/intc@8000000", "ranges") && has(&blob, frame, "msi-controller"));
    let blob = tree(&[PciFunction { has_messages: false, ..function }]);
    assert!(!has(&blob, BRIDGE, "msi-parent") && !has(&blob, frame, "reg"));
}
