//! The tables' structures, as ACPI 6.5 lays them out (§5.2), and those of the documents that it refers to.
//!
//! All numbers are little-endian and unaligned; `zerocopy` reads them. What nobody reads is a `_gap`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

macro_rules! structures {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
        #[repr(C)]
        pub(super) struct $name { $($(#[$of])* pub(super) $field: $type,)* }
    )*};
}

structures! {
    /// The beginning of each table (§5.2.6).
    Header {
        signature: [u8; 4],
        length: U32,
        revision: u8,
        checksum: u8,
        oem: [u8; 6],
        table: [u8; 8],
        _gap: [u8; 12],
    }
    /// FADT, as far as the Arm boot architecture flags (§5.2.9).
    Fadt { _gap: [u8; 129], arm_boot: U16, }
    /// MADT: what is before the entries (§5.2.12).
    Madt { _gap: [u8; 44], }
    /// MADT type 0xb, a CPU's interface (§5.2.12.14).
    Gicc {
        _gap1: [u8; 8],
        uid: U32,
        flags: U32,
        _gap2: [u8; 4],
        pmu: U32,
        _gap3: [u8; 8],
        gicc: U64,
        gicv: U64,
        gich: U64,
        maintenance: U32,
        gicr: U64,
        mpidr: U64,
    }
    /// MADT type 0xc, the Distributor (§5.2.12.15).
    Gicd { _gap1: [u8; 8], base: U64, _gap2: [u8; 4], version: u8, _gap3: [u8; 3], }
    /// MADT type 0xd, a GICv2m frame (§5.2.12.16).
    MsiFrame { _gap: [u8; 8], base: U64, flags: U32, spi_count: U16, spi_base: U16, }
    /// MADT type 0xe, a range of Redistributors (§5.2.12.17).
    Gicr { _gap: [u8; 4], base: U64, length: U32, }
    /// MADT type 0xf, an ITS (§5.2.12.18).
    Its { _gap1: [u8; 4], id: U32, base: U64, _gap2: [u8; 4], }
    /// An interrupt of the GTDT.
    TimerInterrupt { gsiv: U32, flags: U32, }
    /// GTDT (§5.2.25).
    Gtdt { _gap: [u8; 48], secure: TimerInterrupt, phys: TimerInterrupt, virt: TimerInterrupt, hyp: TimerInterrupt, }
    /// GTDT since revision 3.
    Gtdt3 { _gap: [u8; 96], hyp_virt: TimerInterrupt, }
    /// SRAT: what is before the entries (§5.2.16).
    Srat { _gap: [u8; 48], }
    /// SRAT type 1, memory.
    MemoryAffinity {
        _gap1: [u8; 2],
        domain: U32,
        _gap2: [u8; 2],
        base: U64,
        length: U64,
        _gap3: [u8; 4],
        flags: U32,
        _gap4: [u8; 8],
    }
    /// SRAT type 3, a CPU.
    CpuAffinity { _gap1: [u8; 2], domain: U32, uid: U32, flags: U32, _gap2: [u8; 4], }
    /// SLIT (§5.2.17): the matrix is behind it.
    Slit { _gap: [u8; 36], count: U64, }
    /// MCFG (PCI Firmware Specification 3.3 §4.1.2): what is before the entries.
    Mcfg { _gap: [u8; 44], }
    /// An entry of the MCFG. The address is that of bus 0.
    Ecam { base: U64, segment: U16, first: u8, last: u8, _gap: [u8; 4], }
    /// A Generic Address Structure (§5.2.3.2).
    Address { space: u8, width: u8, offset: u8, access: u8, address: U64, }
    /// SPCR (Serial Port Console Redirection Table).
    Spcr {
        _gap1: [u8; 36],
        kind: u8,
        _gap2: [u8; 3],
        base: Address,
        interrupt_kind: u8,
        _irq: u8,
        gsiv: U32,
        _gap3: [u8; 6],
        pci_device: U16,
        pci_vendor: U16,
    }
    /// CEDT type 1, a window of host addresses for CXL memory (CXL 3.1 §9.18.1.3).
    Window { _gap1: [u8; 8], base: U64, size: U64, _gap2: [u8; 8], restrictions: U16, _gap3: [u8; 2], }
    /// IORT (DEN 0049E §3.1).
    Iort { _gap1: [u8; 36], count: U32, offset: U32, }
    /// A node of the IORT.
    IortNode { kind: u8, length: U16, _revision: u8, _id: U32, mappings: U32, mappings_at: U32, }
    /// IORT node type 0, a group of ITSs; the first of its numbers.
    ItsGroup { node: IortNode, count: U32, first: U32, }
    /// IORT node type 2, a PCI root complex.
    RootComplex { node: IortNode, coherent: U32, _gap: [u8; 8], segment: U32, }
    /// IORT node type 4, an SMMUv3.
    Smmu { node: IortNode, base: U64, flags: U32, _gap: [u8; 16], event: U32, pri: U32, gerror: U32, sync: U32, }
    /// An ID mapping of an IORT node.
    Mapping { input: U32, count: U32, output: U32, to: U32, flags: U32, }
}
