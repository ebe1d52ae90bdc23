//! Functions that VMs claim: names, classes, interrupts, places in the guest.

use std::string::ToString;
use std::vec::Vec;

use assay_spec::addr::{Ipa, Region};
use assay_spec::intid::IntId;

use assay_model::pci::header::{BUS_MASTER, COMMAND, MEMORY_SPACE};

use super::super::{Address, DeviceFault, Found, Function, look, needs_dma, stop_dma};
use super::fake::{Fake, One};
use super::{BarFault, GIB, MIB, at, host};
use crate::gate::tests::dts::{compile, least_machine};
use crate::offers::{self, Offer, Own};
use crate::platform::{self, CoherentNode, Stream};

fn address(device: u8) -> Address {
    Address { segment: 0, function: at(device) }
}

fn ipa(start: u64, size: u64) -> Region<Ipa> {
    Region::new(Ipa(start), size).unwrap()
}

#[test]
fn a_function_is_named_in_hexadecimal_with_or_without_its_segment() {
    let parsed = |text| Address::parse(text).map(|address| address.to_string());
    assert_eq!(parsed("0000:00:02.0").as_deref(), Some("0000:00:02.0"));
    assert_eq!(parsed("1f:1f.7").as_deref(), Some("0000:1f:1f.7"));
    assert_eq!(parsed("10:ff:00.1").as_deref(), Some("0010:ff:00.1"));
    for bad in [
        "",
        "2.0",
        "00:20.0",
        "00:02.8",
        "00:02",
        "100:00.0",
        "10000:00:00.0",
        "+1:02.0",
        "a:b:c:1.0",
        "::.",
        "0:0:02.0x",
    ] {
        assert_eq!(parsed(bad), None, "{bad}");
    }
}

#[test]
fn classes_that_work_by_dma_are_these() {
    for class in [0x0100, 0x0108, 0x0200, 0x0300, 0x0302, 0x0403, 0x0801, 0x0c03, 0x0d80, 0x0e00, 0x0f00] {
        assert!(needs_dma(class), "{class:#x}");
    }
    for class in [0x0000, 0x0500, 0x0580, 0x0700, 0x0800, 0x0802, 0x0b40, 0x1000, 0x1200, 0xff00, 0x00ff] {
        assert!(!needs_dma(class), "{class:#x}");
    }
}

#[test]
fn a_function_is_prepared_unless_it_works_by_dma() {
    let mut host = host();
    host.interrupts = (0..4u32).map(|slot| (slot << 11, 1, IntId::spi(3 + slot))).collect();
    let one = |class| One::endpoint().with(0x08, class, 0).with(0x3c, 0x0100, 0).wide(0, MIB, 0);
    let mut fake = Fake::default()
        .with(at(2), one(0x0500_0000))
        .with(at(7), one(0x1200_0001))
        .with(at(3), one(0x0200_0000).with_command(7));
    let found = look(&host, &mut fake, address(2), (None, None), 48, &[]);
    assert_eq!(found.intx, Some(IntId::spi(5)));
    assert_eq!(found.outcome.unwrap().memory.len(), 1);
    assert_eq!(look(&host, &mut fake, address(7), (None, None), 48, &[]).intx, Some(IntId::spi(6)));
    let found = look(&host, &mut fake, address(3), (None, None), 48, &[]);
    assert_eq!((found.outcome, found.intx), (Err(DeviceFault::NeedsDma(0x0200)), None));
    assert_eq!(fake.word(at(3), 0x04), 7, "what is refused is not touched");
    let stream = Some(Stream { smmu: 0, id: 0x18 });
    let found = look(&host, &mut fake, address(3), (stream, None), 48, &[]);
    assert!(found.outcome.is_ok(), "an SMMU is before it");
    assert_eq!((found.stream, fake.word(at(3), 0x04) & BUS_MASTER), (stream, 0));
    let found = look(&host, &mut fake, address(9), (None, None), 48, &[]);
    assert_eq!(found.outcome, Err(DeviceFault::Bar(BarFault::NoFunction)));
}

#[test]
fn a_pin_without_an_entry_or_behind_a_bridge_has_no_interrupt() {
    let mut host = host();
    host.interrupts = [(0x1000, 1, IntId::spi(5))].to_vec();
    assert_eq!(host.intx(at(2), 1), Some(IntId::spi(5)));
    assert_eq!(host.intx(at(2), 2), None);
    assert_eq!(host.intx(at(2), 0), None);
    assert_eq!(host.intx(at(3), 1), None);
    assert_eq!(host.intx(Function::new(1, 2, 0), 1), None);
}

/// Two regions that are BARs 2 and 4 of 00:02.0.
fn regions() -> Vec<CoherentNode> {
    let source = least_machine(
        r#"
        reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
            own { compatible = "assay,coherent-memory"; assay,pci-bar = <0 0x10 2>; assay,length = <0 0x6000000>; };
            other { compatible = "assay,coherent-memory"; assay,pci-bar = <0 0x10 4>; assay,length = <0 0x1000>; };
        };
        "#,
    );
    platform::parse(&compile(&source)).unwrap().coherent
}

fn offers(found: &Found, regions: &[CoherentNode], own: Own<'_>) -> Result<Vec<Offer>, DeviceFault> {
    let all = offers::all(&[(found, own)], regions);
    all.map(|mut all| all.remove(0)).map_err(|(address, fault)| {
        assert_eq!(address, found.address);
        fault
    })
}

fn found(one: One) -> Found {
    look(&host(), &mut Fake::default().with(at(2), one), address(2), (None, None), 48, &[])
}

#[test]
fn registers_go_below_ram_and_the_region_is_where_it_is() {
    let one = One::endpoint().narrow(0, 0x100, 0).narrow(1, 0x10_0000, 0).wide(2, 128 * MIB, 0).wide(4, 0x1000, 0);
    let (found, regions) = (found(one), regions());
    let prepared = found.outcome.as_ref().unwrap();
    let own = Some((&regions[0], ipa(0x1_8000_0000, 96 * MIB)));
    let offers = offers(&found, &regions, own).unwrap();
    let seen: Vec<_> =
        offers.iter().map(|offer| (offer.name.as_str(), offer.guest.address, offer.guest.size)).collect();
    assert_eq!(
        seen,
        [
            ("0000:00:02.0/bar0", 0x1000_0000, 0x100),
            ("0000:00:02.0/bar1", 0x1010_0000, 0x10_0000),
            // The next power of two; and BAR 4, which is another region, is not there.
            ("0000:00:02.0/bar2", 0x1_8000_0000, 128 * MIB),
        ]
    );
    let (pages, place) = offers[0].registers.unwrap();
    assert_eq!((pages.size, place), (0x1000, ipa(0x1000_0000, 0x1000)));
    assert_eq!(pages.start, prepared.memory[0].region.start);
    assert_eq!(offers[2].registers, None);
}

#[test]
fn a_small_bar_is_at_the_same_place_in_its_page() {
    let (found, regions) = (found(One::endpoint().narrow(0, 0x100, 0x1234_5800)), regions());
    let own = Some((&regions[0], ipa(0x8000_0000, 0x1000)));
    let offers = offers(&found, &regions, own).unwrap();
    assert_eq!(offers[0].guest.address, 0x1000_0800);
    let (pages, place) = offers[0].registers.unwrap();
    assert_eq!((pages, place), (super::region(0x1234_5000, 0x1000), ipa(0x1000_0000, 0x1000)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let regions = regions();
    let large = found(One::endpoint().wide(0, GIB, 0));
    let own = Some((&regions[0], ipa(0x8000_0000, 0x1000)));
    let outcome = offers(&large, &regions, own);
    assert_eq!(outcome.err(), Some(DeviceFault::NoRoom));
    let narrow = found(One::endpoint().narrow(2, 0x800_0000, 0));
    let place = |start| offers(&narrow, &regions, Some((&regions[0], ipa(start, 96 * MIB))));
    assert_eq!(place(0x1_0000_0000).err(), Some(DeviceFault::Narrow));
    assert_eq!(place(0xf800_0000).unwrap()[0].guest.address, 0xf800_0000);
}

#[test]
fn the_bars_of_several_functions_follow_each_other() {
    let regions = regions();
    let first = found(One::endpoint().narrow(0, 0x100, 0).wide(2, 128 * MIB, 0));
    let second = found(One::endpoint().narrow(0, 0x4000, 0));
    let all = offers::all(&[(&first, None), (&second, None)], &regions).unwrap();
    let places = |one: &Vec<Offer>| one.iter().map(|offer| offer.guest.address).collect::<Vec<_>>();
    // BAR 2 of both is a region that is not theirs here.
    assert_eq!((places(&all[0]), places(&all[1])), ([0x1000_0000].to_vec(), [0x1000_4000].to_vec()));
}

#[test]
fn a_function_is_of_the_device_of_the_root_bus_that_leads_to_it() {
    let (below, lowest) = (Function::new(1, 4, 0), Function::new(2, 0, 1));
    let mut fake = Fake::default()
        .with(at(5), One::bridge(1, 0x1000, 0x1010))
        .with(below, One::bridge(2, 0x1000, 0x1010))
        .with(Function::new(2, 0, 0), One::endpoint().with(0x0c, 0x0080_0000, 0))
        .with(lowest, One::endpoint())
        .with(at(6), One::endpoint());
    let mut root = |function| look(&host(), &mut fake, Address { segment: 0, function }, (None, None), 48, &[]).root;
    assert_eq!((root(at(6)), root(lowest)), (6, 5));
}

#[test]
fn no_function_keeps_bus_master_nor_does_a_bridge_or_what_is_behind_it() {
    let behind = Function::new(1, 0, 0);
    let mut config = Fake::default()
        .with(at(1), One::endpoint().with_command(BUS_MASTER | MEMORY_SPACE))
        .with(at(2), One::bridge(1, 0x1000, 0x1010).with_command(BUS_MASTER | MEMORY_SPACE))
        .with(at(3), One::endpoint().with_command(MEMORY_SPACE))
        .with(behind, One::endpoint().with_command(BUS_MASTER));
    assert_eq!(stop_dma(&host(), &mut config), [(behind, true), (at(2), true), (at(1), true)]);
    for (function, left) in [(at(1), MEMORY_SPACE), (at(2), MEMORY_SPACE), (at(3), MEMORY_SPACE), (behind, 0)] {
        assert_eq!(config.word(function, COMMAND), left, "{function}");
    }
    assert_eq!(stop_dma(&host(), &mut config), []);
    // One that cannot be stopped is told of.
    let mut config = Fake::default().with(at(1), One::endpoint().with(COMMAND, BUS_MASTER, 0));
    assert_eq!(stop_dma(&host(), &mut config), [(at(1), false)]);
}
