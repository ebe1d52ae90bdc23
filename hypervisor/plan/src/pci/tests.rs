//! Finding, sizing and placing, on a machine that is made up.

mod bars;
mod devices;
mod fake;
mod guest;
mod placing;
mod reset;

use std::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::{BarFault, Function, IdMap, Prepared, prepare};
use crate::platform::{EcamHost, PciWindow};
use fake::Fake;

const MIB: u64 = 0x10_0000;
const GIB: u64 = 0x4000_0000;

/// The host bridge of QEMU's `virt`: 752 MiB below 4 GiB at the CPUs' own addresses, 512 GiB above.
fn host() -> EcamHost {
    EcamHost {
        path: "/pcie@10000000".into(),
        segment: 0,
        ecam: region(0x40_1000_0000, 256 * MIB),
        buses: (0, 255),
        windows: [
            window(0x1000_0000, 0x1000_0000, 0x2eff_0000, false, false),
            window(0x80_0000_0000, 0x80_0000_0000, 512 * GIB, true, false),
        ]
        .to_vec(),
        functions: Vec::new(),
        interrupts: Vec::new(),
        interrupt_mask: (0x1800, 7),
        streams: IdMap::default(),
        msis: IdMap::default(),
        is_coherent: true,
        rival: None,
    }
}

fn region(start: u64, size: u64) -> Region<Pa> {
    Region::new(Pa(start), size).unwrap()
}

fn window(bus: u64, start: u64, size: u64, wide: bool, prefetchable: bool) -> PciWindow {
    PciWindow { bus, region: region(start, size), wide, prefetchable }
}

/// Device `device` on bus 0.
fn at(device: u8) -> Function {
    Function::new(0, device, 0)
}

fn run(fake: &mut Fake, function: Function) -> Result<Prepared, BarFault> {
    prepare(&host(), fake, function, 48, &[])
}

/// Index, start and size of each BAR of memory.
fn places(prepared: &Prepared) -> Vec<(u8, u64, u64)> {
    let one = |placed: &super::Placed| (placed.bar.index, placed.region.start.0, placed.region.size);
    prepared.memory.iter().map(one).collect()
}
