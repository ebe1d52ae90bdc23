//! Functions that go with an aperture: how a claim names one, which may be given to a VM, and where its BARs are in
//! the guest.

use core::fmt;

use assay_spec::addr::{Pa, Region};
use assay_spec::intid::IntId;

use super::{BarFault, ConfigSpace, DeviceId, EcamHost, Function, Prepared, Stream, prepare, virtio, walk};
use assay_model::pci::header::{CLASS, ID, INTERRUPT};

/// A function of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The segment (`linux,pci-domain` of the host bridge).
    pub segment: u32,
    /// The function on it.
    pub function: Function,
}

impl Address {
    /// Reads `SEGMENT:BB:DD.F` or `BB:DD.F`, in hexadecimal; without a segment it is 0.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, function) = text.rsplit_once('.')?;
        let (rest, device) = rest.rsplit_once(':')?;
        let (segment, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
        let number = |text: &str, most: u32| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = u32::from_str_radix(text, 16).ok().filter(|_| digits);
            number.filter(|number| *number <= most)
        };
        let byte = |text, most| u8::try_from(number(text, most)?).ok();
        let function = Function::new(byte(bus, 0xff)?, byte(device, 0x1f)?, byte(function, 7)?);
        Some(Self { segment: number(segment, 0xffff)?, function })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{}", self.segment, self.function)
    }
}

/// Why a function is not given to a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceFault {
    /// It is named by neither a PCI address nor the path of a function's node.
    Name,
    /// It is named by neither, nor by the path or alias of another node.
    Nowhere,
    /// The claim is not `use = "aperture"`.
    NotAperture,
    /// The VM claims a second region with a function.
    Second,
    /// The VM claims more functions than a VM gets.
    TooMany,
    /// Another claim names it too.
    Twice,
    /// It cannot be found, or has no place.
    Bar(BarFault),
    /// It accesses memory past the SMMU that stands before it: a virtio device without `VIRTIO_F_ACCESS_PLATFORM`.
    PastSmmu,
    /// It is behind an SMMU that nobody takes over.
    LostSmmu,
    /// By its class code (base class and subclass) it works by DMA.
    NeedsDma(u16),
    /// One of its BARs is a region of coherent memory that another VM claims.
    OthersRegion,
    /// Its INTx is wired to the interrupt of a function that another VM claims.
    SharedInterrupt,
    /// It can reach a function that another VM claims past the SMMU: both are of one device of the root bus, or behind it.
    SharedDevice,
    /// An SMMU knows its accesses by the name of another function that a VM claims.
    SharedStream,
    /// Its BARs do not fit below the guest's RAM.
    NoRoom,
    /// The region's BAR is of 32 bits, and the region is above 4 GiB in the guest.
    Narrow,
}

/// Tells whether functions of this class (base class, subclass) are of use by DMA only.
///
/// Storage, network, display and multimedia controllers, DMA controllers, serial buses (USB, FireWire, Fibre Channel),
/// wireless, intelligent I/O and satellite controllers. Others may want DMA as well: they get none.
pub const fn needs_dma(class: u16) -> bool {
    matches!(class >> 8, 0x01..=0x04 | 0x0c..=0x0f) || class == 0x0801
}

/// What the boot found of a function that a VM claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which one.
    pub address: Address,
    /// Its BARs, or why it is not given.
    pub outcome: Result<Prepared, DeviceFault>,
    /// The interrupt that its INTx is wired to.
    pub intx: Option<IntId>,
    /// What an SMMU knows its accesses by; without one it makes none.
    pub stream: Option<Stream>,
    /// What an ITS knows its messages by; without one, or without [`Self::stream`], it sends none.
    pub messages: Option<DeviceId>,
    /// The device of the root bus that it is of, or behind: what is of one device may reach each other past the SMMU.
    pub root: u8,
}

/// Looks for the function at `address` behind `host` and prepares it beside what is `kept`, unless it works by DMA and has
/// no `stream`.
pub fn look(
    host: &EcamHost,
    config: &mut dyn ConfigSpace,
    address: Address,
    (stream, messages): (Option<Stream>, Option<DeviceId>),
    pa_bits: u8,
    kept: &[Region<Pa>],
) -> Found {
    let function = address.function;
    let class = (config.read(function, CLASS) >> 16) as u16;
    let is_there = config.read(function, ID) & 0xffff != 0xffff;
    let outcome = if is_there && needs_dma(class) && stream.is_none() {
        Err(DeviceFault::NeedsDma(class))
    } else if stream.is_some() && virtio::goes_past_smmu(config, function) {
        Err(DeviceFault::PastSmmu)
    } else {
        prepare(host, config, function, pa_bits, kept).map_err(DeviceFault::Bar)
    };
    let pin = config.read(function, INTERRUPT) >> 8 & 0xff;
    let intx = host.intx(function, pin).filter(|_| outcome.is_ok());
    let messages = messages.filter(|_| stream.is_some());
    Found { address, intx, outcome, stream, messages, root: walk::root(config, host.buses, function) }
}
