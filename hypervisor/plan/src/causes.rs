//! The table of all that can be wrong with a VM, a region or a file: rule, reason and remedy, a line each.
//!
//! What a policy's reason says of a region, the line's other fields complete: they name region and VM.

use core::fmt;

use assay_model::loader::KernelError;
use assay_model::stage2::GeometryError;
use assay_spec::look::Look;

use crate::claims::{PlatformFault, Trouble, VirtioFault};
use crate::guest_tree::GuestTreeError;
use crate::modules::{Missing, ModuleAt};
use crate::pci::{BarFault, DeviceFault};
use crate::platform::NodeFault;
use crate::policy::Rule::{C3, C5, D1, M3, R1, R3, T1, T2, V1, V2, V3};
use crate::policy::{Denied, Fault, NoTags, Reason};
use crate::refusal::{Cause, Say};
use crate::vm_plan::Shortage;

/// Displays causes as their reasons.
macro_rules! display {
    ($($cause:ty),*) => { $(
        impl fmt::Display for $cause {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut result = Ok(());
                self.tell(&mut |_, reason, _| result = f.write_fmt(reason));
                result
            }
        }
    )* };
}
display!(Reason<'_>, Fault<'_>, NodeFault, BarFault, DeviceFault, PlatformFault<'_>, Trouble<'_>, Missing);

/// The rule is the policy's own answer: one reason can be another rule's too.
impl Cause for Denied<'_> {
    fn tell(&self, say: Say<'_>) {
        self.reason.tell(&mut |_, reason, remedy| say(self.rule, reason, remedy));
    }
}

#[rustfmt::skip]
impl Cause for Reason<'_> {
    fn tell(&self, say: Say<'_>) {
        match self {
            Self::Fault(fault) => fault.tell(say),
            Self::ContradictedBy(node) => say(T1, format_args!("the node has assay,mte-capable, and {node} has arm,no-mte for the same memory"), "delete the one that is wrong from the platform tree"),
            Self::Contradiction => say(T1, format_args!("the node has both assay,mte-capable and arm,no-mte"), "delete the one that is wrong from the platform tree"),
            Self::NotMemory => say(T1, format_args!("the region did not behave as memory when it was probed"), "check the region's address and length, and that its device is ready before boot; if it is only once it was reset, claim the region with proof = \"at-start\""),
            Self::TwoOwners(vm) => say(T2, format_args!("VM {vm} claims the region too"), "leave the region in one VM's manifest entry only"),
            Self::SharedIsRam => say(T2, format_args!("only RAM is shared between VMs, and a coherent region has one owner"), "share a region of RAM, or claim the coherent region for one VM"),
            Self::RamWithoutTags(NoTags::Cpu) => say(M3, format_args!("the VM asks for MTE, but not every CPU has it (ID_AA64PFR1_EL1.MTE below 2)"), "set mte = false, or use CPUs with MTE2"),
            Self::RamWithoutTags(NoTags::Node) => say(M3, format_args!("the VM asks for MTE, but the memory node has arm,no-mte"), "set mte = false, or give the VM other RAM"),
            Self::RamWithoutTags(NoTags::Disproved) => say(M3, format_args!("the VM asks for MTE, but tags written to this RAM did not come back"), "set mte = false, or give the VM other RAM"),
            Self::NoFwb => say(C3, format_args!("the CPUs have no FWB, so the guest could make its accesses non-cacheable"), "allow el2-cache-maintenance or non-cacheable, use it as an aperture, or use CPUs with FWB"),
            Self::Unmarked => say(C5, format_args!("the node has no assay,mte-capable"), "add assay,mte-capable to the node if every granule has tag storage; else use it as an aperture, or allow mte-hidden (with mte = false), no-tag-access or non-cacheable"),
            Self::SaidIncapableBy(node) => say(C5, format_args!("{node} has arm,no-mte for the region's memory"), USE_OTHERWISE),
            Self::SaidIncapable => say(C5, format_args!("the node has arm,no-mte"), USE_OTHERWISE),
            Self::Disproved => say(C5, format_args!("the region is marked, but tags written to it did not come back"), USE_OTHERWISE),
            Self::HiddenNeedsFwb => say(C5, format_args!("allow mte-hidden needs FWB, which the CPUs do not have"), "allow non-cacheable, or use it as an aperture"),
            Self::NotForRamWithMte => say(C5, format_args!("a VM with mte = true must not find memory without tags as its RAM, whatever allow says"), "set mte = false, or use it as dax or as an aperture"),
            Self::MteAskedAndHidden => say(R1, format_args!("the VM has mte = true, but allow = \"mte-hidden\" for the region needs mte = false"), "set mte = false, or remove mte-hidden from allow"),
            Self::NoMtePerm => say(R3, format_args!("allow no-tag-access needs MTE_PERM, which the CPUs do not have"), "allow mte-hidden (with mte = false) or non-cacheable instead"),
            Self::MmioAsMemory => say(D1, format_args!("device registers are not memory"), "claim it with use = \"aperture\""),
        }
    }
}

const USE_OTHERWISE: &str =
    "use it as an aperture, or allow mte-hidden (with mte = false), no-tag-access or non-cacheable";

#[rustfmt::skip]
impl Cause for Fault<'_> {
    fn tell(&self, say: Say<'_>) {
        match self {
            Self::NoReg => say(T1, format_args!("the node has no usable reg"), "give the node one reg entry with the region's real length"),
            Self::SeveralRegs => say(T1, format_args!("the node's reg has more than one entry"), "give the node one reg entry with the region's real length"),
            Self::Unaligned => say(T1, format_args!("start or length is not a multiple of 4 KiB"), "round the node's reg or assay,length to 4 KiB, inside the real memory"),
            Self::Beyond(bits) => say(T1, format_args!("the region ends beyond the {bits} bits of physical addresses"), "correct the node's reg, or use CPUs with more address bits"),
            Self::Overlaps(other) => say(T1, format_args!("the region overlaps {other}"), "correct the reg of the node that is wrong"),
            Self::OverlapsRegisters(device) => say(T1, format_args!("the region overlaps the registers of {device}"), "correct the reg of the node that is wrong: what answers there is no memory"),
            Self::OverlapsWindow(bridge) => say(T1, format_args!("the region overlaps a window of the PCI host bridge {bridge}"), "if it is a PCI function's memory, give the node assay,pci-bar and assay,length in place of reg; else correct its reg, or the bridge's ranges"),
            Self::OverlapsTagStorage(other) => say(T1, format_args!("the region overlaps the tag storage {other}"), "correct the node's reg: such memory belongs to no VM"),
            Self::OverlapsReservation(other) => say(T1, format_args!("the region overlaps the firmware's reservation {other}"), "correct the node's reg: such memory belongs to no VM"),
            Self::OverlapsAssay => say(T1, format_args!("the region overlaps Assay itself"), "correct the node's reg, or load Assay elsewhere"),
            Self::PartlyInMemory => say(T1, format_args!("the region is partly inside /memory"), "put the region wholly inside or wholly outside of what /memory describes"),
            Self::Node(fault) => fault.tell(say),
            Self::Bar(fault) => fault.tell(say),
        }
    }
}

#[rustfmt::skip]
impl Cause for NodeFault {
    fn tell(&self, say: Say<'_>) {
        match self {
            Self::TagStorage => say(T1, format_args!("the node is tag storage (arm,mte-tag-storage), and no overlay takes that back"), "declare other memory: what keeps the Allocation Tags of memory belongs to no VM"),
            Self::Parent(fault) => say(T1, format_args!("the region is a child of /reserved-memory: {}", fault.reason()), "correct /reserved-memory: an empty ranges, and the root's #address-cells and #size-cells"),
            Self::Reusable => say(T1, format_args!("the node has reusable, so that an operating system uses the memory meanwhile"), "delete reusable: coherent memory has no-map, and one owner"),
            Self::Pool => say(T1, format_args!("the node is a pool for DMA too (shared-dma-pool or restricted-dma-pool)"), "take the pool out of its compatible: coherent memory has one owner"),
            Self::NoMap => say(T1, format_args!("the node has no no-map, which the binding requires"), "add no-map; to the node: without it, whatever else boots from the tree maps the memory as RAM"),
            Self::MarkWithValue => say(T1, format_args!("the node's assay,mte-capable has a value, and a mark says yes by being there"), "write assay,mte-capable; without a value if every granule has tag storage, else leave it out"),
            Self::UniformWithValue => say(T1, format_args!("the node is unmarked, and the root's (/) assay,uniform-memory has a value, though it says yes by being there"), "write assay,uniform-memory; without a value at the root if all memory has tag storage, else leave it out"),
            Self::Reserved => say(T1, format_args!("firmware reserves the node's memory, and no overlay takes that back"), "declare other memory, or have firmware write the node as assay,coherent-memory, or leave it out"),
        }
    }
}

#[rustfmt::skip]
impl Cause for BarFault {
    fn tell(&self, say: Say<'_>) {
        match self {
            Self::AlsoReg => say(T1, format_args!("the node has both reg and assay,pci-bar"), "delete the one that is wrong from the node"),
            Self::NoLength => say(T1, format_args!("the node's assay,length is missing or 0"), GIVE_LENGTH),
            Self::Longer(size) => say(T1, format_args!("assay,length is more than the BAR's {size:#x} bytes"), GIVE_LENGTH),
            Self::NoHost => say(T1, format_args!("no ECAM host bridge has the PCI function's segment and bus (a warning names one that cannot be read)"), CORRECT_BAR),
            Self::Rivals => say(T1, format_args!("two PCI host bridges of the tree claim to be the function's (a warning names them)"), "correct linux,pci-domain, bus-range, reg or ranges of the one that is wrong"),
            Self::NoEcam => say(T1, format_args!("the reg of the PCI host bridge overlaps memory that is in use"), "correct the reg of the PCI host bridge"),
            Self::NoFunction => say(T1, format_args!("no PCI function answers at that segment and requester ID (what is behind a bridge that firmware did not configure answers nowhere)"), CORRECT_BAR),
            Self::NotEndpoint => say(T1, format_args!("the PCI function is a bridge"), CORRECT_BAR),
            Self::NoBar => say(T1, format_args!("the PCI function has no BAR of this index, or it is the upper half of a 64-bit one"), CORRECT_BAR),
            Self::Io => say(T1, format_args!("the BAR is of I/O space"), CORRECT_BAR),
            Self::BehindBridge => say(T1, format_args!("the PCI function is behind a bridge, and firmware did not place its BARs in the bridge's windows"), "have firmware configure the bridge and place the function, or put it on the root bus"),
            Self::NoRoom => say(T1, format_args!("the host bridge's memory windows have no room for the function's BARs"), "give the host bridge larger windows in `ranges`, or have firmware place the function"),
            Self::Stuck => say(T1, format_args!("a BAR of the PCI function does not keep its address"), "check the function: its BAR must be writable before boot"),
        }
    }
}

const GIVE_LENGTH: &str = "give the node assay,length: the bytes of real memory, at most the BAR's size";
const CORRECT_BAR: &str =
    "correct the node's assay,pci-bar: segment, requester ID (bus << 8 | device << 3 | function), BAR";

#[rustfmt::skip]
impl Cause for DeviceFault {
    fn tell(&self, say: Say<'_>) {
        match self {
            Self::Name => say(V3, format_args!("is no PCI function"), "write `device` as SEGMENT:BB:DD.F in hexadecimal, or as the path of the function's node"),
            Self::Nowhere => say(V3, format_args!("is no PCI function, and no node of firmware's tree"), "write the entry of `devices` as SEGMENT:BB:DD.F in hexadecimal, or as the path of a node, or an alias"),
            Self::NotAperture => say(V3, format_args!("goes with use = \"aperture\" only"), "leave `device` out, or claim the region with use = \"aperture\""),
            Self::Second => say(V3, format_args!("is the second of a region, and a VM gets one so"), "name one of the two in `devices`, or give it to another VM"),
            Self::TooMany => say(V3, format_args!("is one too many: a VM gets 8 devices at most"), "give it to another VM, or leave it out"),
            Self::Twice => say(V3, format_args!("is claimed twice"), "leave the function in one claim only"),
            Self::Bar(fault) => say(V3, format_args!("cannot be used: {fault}"), "correct its name, or the platform, or leave it out"),
            Self::LostSmmu => say(V3, format_args!("is behind an SMMU that could not be taken over (a warning names it and says why)"), "correct the SMMU's node in the platform tree, or leave the function out"),
            Self::NeedsDma(class) => say(V3, format_args!("has class {class:04x}, which works by DMA, and without an SMMU no DMA is let out of a VM"), "leave the function out, or run on a machine with an SMMUv3 before it (on QEMU: -M iommu=smmuv3)"),
            Self::OthersRegion => say(V3, format_args!("has coherent memory that another VM claims: resetting it would take that away"), "give the function to the VM that claims the region, or leave it out"),
            Self::PastSmmu => say(V3, format_args!("is a virtio device that does not offer VIRTIO_F_ACCESS_PLATFORM, and so accesses memory past the SMMU"), "have it offer the feature (on QEMU: iommu_platform=on,disable-legacy=on), or leave it out"),
            Self::SharedInterrupt => say(V3, format_args!("shares its INTx with a function that another VM claims"), "put one of the two functions into another slot, or leave it out"),
            Self::SharedDevice => say(V3, format_args!("is of one device of the root bus, or behind one, with a function that another VM claims, which it can reach past the SMMU"), "give both to one VM, or put one into another slot of the root bus"),
            Self::SharedStream => say(V3, format_args!("is to the SMMU the same as another function that a VM claims"), "leave one of the two out, or correct the host bridge's iommu-map"),
            Self::NoRoom => say(V3, format_args!("has BARs that do not fit below the guest's RAM"), "leave the function out: its registers are too large"),
            Self::Narrow => say(V3, format_args!("has the region in a 32-bit BAR, and the region is above 4 GiB in the guest"), "give the claim an `ipa` below 4 GiB, or the VM less `memory`"),
        }
    }
}

#[rustfmt::skip]
impl Cause for PlatformFault<'_> {
    fn tell(&self, say: Say<'_>) {
        match self {
            Self::Role(role) => say(V3, format_args!("{role}"), "leave it out of `devices`"),
            Self::Disabled => say(V3, format_args!("is disabled, or on a bus that is (`status`)"), "leave it out of `devices`, or enable it in the platform tree or an overlay"),
            Self::Malformed(malformed) => say(V3, format_args!("cannot be read: {malformed}"), "correct the node, or leave the device out of `devices`"),
            Self::Twice(vm) => say(V3, format_args!("is claimed twice, also by VM {vm}"), "leave the device in one VM's `devices` only, once"),
            Self::Beyond(bits) => say(V3, format_args!("has registers beyond {bits} bits of physical addresses"), "correct the node's `reg`, or leave the device out of `devices`"),
            Self::SharesPage(node) => say(V3, format_args!("has registers in a page of 4 KiB with {node}, and stage 2 gives whole pages"), "leave the device out of `devices`; if the other is of no use, disable it in the firmware's tree"),
            Self::InMemory(node) => say(V3, format_args!("has registers in the memory of {node}"), "correct the platform tree"),
            Self::NoRoom => say(V3, format_args!("has registers for which no room is left in the guest: 64 MiB for all"), "leave the device out of `devices`"),
            Self::Interrupt => say(V3, format_args!("has an interrupt that is no SPI of the GIC"), "leave the device out of `devices`"),
            Self::Interrupts => say(V3, format_args!("has more interrupts than a VM has for its devices, which is 32"), "give it to another VM, or leave it out of `devices`"),
            Self::SharedInterrupt(other) => say(V3, format_args!("shares an interrupt with {other}"), "leave one of the two out"),
            Self::Unchecked => say(V3, format_args!("may access memory by itself (DMA), and no SMMUv3 that can be used is before it: it could write to all memory of the machine"), UNCHECKED),
            Self::Stopped => say(V3, format_args!("is behind an SMMUv3 that cannot be used and lets nothing pass, whatever `allow` says"), "leave the device out of `devices`; a warning of the boot says why the SMMU cannot be used"),
            Self::NotCoherent => say(V3, format_args!("accesses memory past the CPUs' caches: its node has no dma-coherent"), "leave the device out of `devices`, or correct the node"),
            Self::Moved => say(V3, format_args!("is on a bus whose dma-ranges change addresses"), "leave the device out of `devices`"),
            Self::SharedStream(other) => say(V3, format_args!("is to the SMMU the same as {other}"), "leave one of the two out, or correct the node's iommus"),
        }
    }
}

const UNCHECKED: &str = "leave the device out of `devices`; if it makes no accesses of its own, say so by assay,no-dma in its node; or trust the VM with all memory of the machine by allow = [\"unchecked-dma\"]";

#[rustfmt::skip]
impl Cause for Trouble<'_> {
    fn tell(&self, say: Say<'_>) {
        match self {
            Self::Unknown { region, known } => say(V3, format_args!("the platform has no coherent region {region}{}", List("; it has ", known)), "correct the claim's `region`, or declare the region in the platform tree or an overlay"),
            Self::Ambiguous { region, paths } => say(V3, format_args!("several coherent regions are named {region}{}", List(": ", paths)), "write the full path in the claim's `region`"),
            Self::CalledMemory { path } => say(V3, format_args!("memory is the name of the VM's RAM, and the coherent region {path} has it too"), "write the full path in the claim's `region`, or rename the node"),
            Self::Device { region: Some(region), device, fault } => say(V3, format_args!("the device {device} of region {region} {fault}"), fault.remedy()),
            Self::Device { region: None, device, fault } => say(V3, format_args!("the device {device} {fault}"), fault.remedy()),
            Self::Platform { device, fault } => say(V3, format_args!("the device {device} {fault}"), fault.remedy()),
            Self::Disturbs { region, vm } => say(V3, format_args!("region {region} is a BAR of a function that is reset before each start of the VM (proof = \"at-start\"), and VM {vm} has another one of it"), "claim all BARs of the function for one VM, or leave `proof` out"),
            Self::SharedTwice { region } => say(V3, format_args!("the VM claims shared region {region} twice"), "leave one of the VM's claims of the region out"),
            Self::SharedSize { region, size, vm, other } => say(V3, format_args!("shared region {region} has {size:#x} bytes here and {other:#x} in VM {vm}"), "give the region the same size in all VMs that share it"),
            Self::TooManySides { region } => say(V3, format_args!("more than 32 VMs share region {region}"), "share the region among at most 32 VMs"),
            Self::TooManyDoorbells { region } => say(V3, format_args!("the doorbell of shared region {region} is the VM's 17th, and there are 16"), "give at most 16 of the VM's shared regions a doorbell"),
            Self::Virtio { device, backend, fault } => fault.tell_of(device, backend, say),
            Self::TooManyServed { functions } => say(V3, format_args!("with the virtio devices that it is the backend of the VM has {functions} PCI functions, and there are 8"), "give some of them another VM as `backend`"),
            Self::RamOverDevices { ipa, size, device } => say(V2, format_args!("memory-ipa = {ipa}: the VM's RAM of {size:#x} bytes overlaps its devices ({} to {})", device.start, device.end()), "give another `memory-ipa`, or leave it out"),
            Self::Identity { ipa, size, there } => say(V2, format_args!("with allow = [\"unchecked-dma\"] the VM's RAM of {size:#x} bytes has to be at {ipa} in the machine, as for the guest, and {there}"), "give as `memory-ipa` a place where the machine has free memory"),
            Self::RamBeyond { ipa, size, bits } => say(V2, format_args!("memory-ipa = {ipa}: the VM's RAM of {size:#x} bytes ends beyond {bits} bits of guest addresses"), "give a lower `memory-ipa`, or leave it out"),
            Self::FlashFile { region, size, file } => say(V3, format_args!("the file of flash {region} has {file:#x} bytes, and the flash {size:#x}"), "give the flash a larger `size`, or another `file`"),
            Self::FlashTwice { region, kernel } => say(V3, format_args!("load = {kernel} puts the kernel over the file of flash {region}"), "leave the flash's `file` out, or `load` the kernel elsewhere"),
            Self::Unaligned { region, ipa, align } => say(V2, format_args!("the ipa {ipa} of region {region} is not a multiple of {align:#x} bytes"), "give `ipa` as such a multiple, or leave it out"),
            Self::Taken { region, ipa, by } => say(V2, format_args!("at the ipa {ipa} of region {region} lies {by}"), "give another `ipa`, or leave it out"),
            Self::NoRoom { region, size, ipa: Some(ipa), bits } => say(V2, format_args!("the {size:#x} bytes of region {region} do not fit at ipa {ipa} below the end of {bits} bits of guest addresses"), "give a lower `ipa`, or leave it out"),
            Self::NoRoom { region, size, ipa: None, bits } => say(V2, format_args!("the {size:#x} bytes of region {region} do not fit below the end of {bits} bits of guest addresses"), "claim less, give the VM less `memory`, or place the claims with `ipa`"),
        }
    }
}

impl VirtioFault<'_> {
    #[rustfmt::skip]
    fn tell_of(self, device: &str, backend: &str, say: Say<'_>) {
        match self {
            Self::NoBackend => say(V3, format_args!("the backend of virtio device {device} is {backend}, and no VM has that name"), "name a VM of the manifest in `backend`"),
            Self::Own => say(V3, format_args!("the backend of virtio device {device} is the VM itself"), "name another VM in `backend`"),
            Self::Circle { device: other, backend: next } => say(V3, format_args!("the backend of virtio device {device} is VM {backend}, which would wait for this VM in turn: the backend of its virtio device {other} is {next}"), "name in `backend` a VM that has no virtio device of the other's, or leave one of the two [[vm.virtio]] out"),
            Self::Twice => say(V3, format_args!("two virtio devices of the VM are named {device}"), "give each virtio device a name of its own"),
            Self::TooMany => say(V3, format_args!("virtio device {device} is the VM's fifth, and there are 4"), "give the VM at most 4 virtio devices"),
            Self::Ram => say(V2, format_args!("VM {backend} is to see all of the VM's RAM for virtio device {device}, and that is not of whole 2 MiB"), "give `memory` and `memory-ipa` as multiples of 2M"),
            Self::Tags => say(V3, format_args!("VM {backend} has MTE and is to see all of the VM's RAM for virtio device {device}, and the VM has none"), "give both VMs mte = true, or the backend mte = false"),
        }
    }
}

/// Names, after these words if there are any.
struct List<'a>(&'a str, &'a [&'a str]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = self.0;
        for name in self.1 {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[rustfmt::skip]
impl Cause for Missing {
    fn tell(&self, say: Say<'_>) {
        match self {
            Self::Member(name) => say(V3, format_args!("{name} is not in the bundle"), "build the bundle again from its manifest"),
            Self::Misplaced(place, why) => say(V3, format_args!("{} {why}", ModuleAt(place)), why.remedy()),
            Self::Address(place) => say(V3, format_args!("{} lies in memory that is in use", ModuleAt(place)), "load it elsewhere, and give its real address and size in `reg`"),
            Self::Blank(place) => say(V3, format_args!("{} is not there: its memory begins with zeros", ModuleAt(place)), "have the boot loader load it to this address, or correct `reg`"),
        }
    }
}

impl Cause for KernelError {
    fn tell(&self, say: Say<'_>) {
        let rule = match self {
            Self::NoRoom { .. } => V2,
            Self::Unproved { look: Look::TagsLost, .. } => C5,
            Self::Region(_) | Self::Unproved { .. } => T1,
            _ => V3,
        };
        say(rule, format_args!("{self}"), (*self).remedy());
    }
}

impl Cause for GuestTreeError {
    fn tell(&self, say: Say<'_>) {
        say(V2, format_args!("{self}"), "change the VM's description");
    }
}

impl Cause for GeometryError {
    fn tell(&self, say: Say<'_>) {
        say(V2, format_args!("{self}"), "give the VM less `memory`");
    }
}

#[rustfmt::skip]
impl Cause for Shortage {
    fn region(&self) -> Option<&str> {
        self.refused_region()
    }

    fn tell(&self, say: Say<'_>) {
        let with_tags = |tagged: &bool| if *tagged { " of memory with tags" } else { "" };
        match self {
            Self::Cpus(wanted, free) => say(V1, format_args!("{wanted} CPUs are wanted and {free} are free"), "give the VM fewer `cpus`, or the machine more (QEMU: -smp)"),
            Self::Cpu(cpu) => say(V1, format_args!("CPU {cpu} is not there, not usable, or another VM's"), "name other CPUs in `cpus`, by their place in /cpus"),
            Self::NoneShared => say(V1, format_args!("no CPU is left that could be shared"), "give the VMs without `sched = \"shared\"` fewer `cpus`, or the machine more (QEMU: -smp)"),
            Self::SharedCpu(cpu) => say(V1, format_args!("CPU {cpu} is not there, not usable, or a VM's own"), "name other CPUs in `cpus`, by their place in /cpus"),
            Self::Vcpus(vcpus) => say(V1, format_args!("{vcpus} vCPUs, and a VM takes 64"), "give the VM at most 64 `cpus`"),
            Self::VcpusOfGicV2(vcpus) => say(V1, format_args!("{vcpus} vCPUs, and a GICv2 takes 8"), "give the VM at most 8 `cpus`"),
            Self::Pmu => say(V1, format_args!("the VM asks for a PMU, and the CPUs have no PMUv3, or the platform tree has none with a PPI"), "set pmu = false, use CPUs with PMUv3, or add a node arm,armv8-pmuv3 with the PPI to the platform tree"),
            Self::Vmids => say(V1, format_args!("there are more VMs than VMIDs"), "start fewer VMs"),
            Self::Ram(bytes, tagged) => say(V2, format_args!("{} MiB{} are wanted and not free in large enough pieces", bytes >> 20, with_tags(tagged)), LESS_RAM),
            Self::RamOf(bytes, tagged, free) => say(V2, format_args!("{} MiB{} are wanted and at most {} MiB are free", bytes >> 20, with_tags(tagged), free >> 20), LESS_RAM),
            Self::RamAt(ipa, bytes, tagged) => say(V2, format_args!("with allow = [\"unchecked-dma\"] {} MiB{} are wanted at {ipa} in the machine, and some of it is in use", bytes >> 20, with_tags(tagged)), "give another `memory-ipa`, farther from Assay's image and the bundle"),
            Self::Shared(region, bytes, tagged) => say(V2, format_args!("{} KiB{} are wanted for shared region {region} and not free in large enough pieces", bytes >> 10, with_tags(tagged)), SMALLER_REGION),
            Self::SharedOf(region, bytes, tagged, free) => say(V2, format_args!("{} KiB{} are wanted for shared region {region} and at most {} KiB are free", bytes >> 10, with_tags(tagged), free >> 10), SMALLER_REGION),
            Self::Tagged(shortage, nodes) => shortage.tell(&mut |_, reason, _| say(M3, format_args!("{reason}; a VM with MTE gets no RAM of {nodes}, which has arm,no-mte"), "set mte = false, make it smaller, or give the machine more RAM with tags")),
            Self::Registers => say(V2, format_args!("there is no memory for the registers of its vCPUs"), "give the VM less `memory` or fewer `cpus`, or the machine more (QEMU: -m)"),
            Self::Heap(bytes) => say(V2, format_args!("EL2 needs {} KiB for the VM itself, and no memory is left for that", bytes.div_ceil(1024)), "give the VMs less `memory`, this one fewer `cpus` or a shorter `cmdline`, or the machine more (QEMU: -m)"),
            Self::Tables(why) => say(V2, format_args!("{why}"), "give the VM less `memory`, or the machine more"),
            Self::InUse(region) => say(V2, format_args!("region {region} lies in memory that is in use"), "correct the platform tree"),
            Self::RegistersInUse(name) => say(V2, format_args!("{name} lies in memory that is in use"), "correct the platform tree: the device's `reg`, or the host bridge's `ranges`, overlap something"),
            Self::Interface(gic) => say(V2, format_args!("{gic}: GICV overlaps memory"), "correct the tree"),
            Self::Device(why) => say(V2, format_args!("{why}"), "report this: a device was refused"),
            Self::Messages(path, why) => say(V2, format_args!("the ITS {path} cannot take messages of the VM's devices: {why}"), "leave the VM's devices out"),
            Self::Dma(path, why) => say(V2, format_args!("the SMMU {path} cannot let the VM's devices access its memory: {why}"), "leave the VM's devices out, or give it lower addresses"),
            Self::NoBridge => say(V2, format_args!("the PCI host bridge is gone"), "report this: it was there before"),
            Self::Vtcr => say(V2, format_args!("its tables do not fit VTCR_EL2"), "report this"),
        }
    }
}

const LESS_RAM: &str = "give the VM less `memory`, or the machine more (QEMU: -m)";
const SMALLER_REGION: &str = "make the region smaller, or the machine's memory larger (QEMU: -m)";
