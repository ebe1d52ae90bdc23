//! What a VM gets beyond what it claims: its interrupt controller, the registers of its devices, stolen time.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use assay_model::layout;
use assay_model::pci::GuestBar;
use assay_model::vgic::{VCPUS_MAX_V2, VCPUS_MAX_V3};
use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::gic::Version;
use assay_spec::intid::IntId;
use assay_spec::stage2_desc::Rights;

use super::{Cpus, Device, Shortage};
use crate::claims::{self, World};
use crate::guest_tree::PciFunction;
use crate::offers::{self, Offer};
use crate::pci::{DeviceId, Found};
use crate::platform::{Accesses, HostGic, HostPlatform};
use crate::policy::{self, Claim, Decision, Facts, Kind, Mte, Proof, Use};
use crate::space::{Backing, Mapping};
use crate::vm_tree::{VirtioClaim, VmConfig};

/// A PCI function that a VM is granted, and where its BARs are in the guest.
#[derive(Clone, Debug)]
pub struct Function<'a> {
    /// What the boot found.
    pub found: &'a Found,
    offers: Vec<Offer>,
    /// The region that goes with it.
    region: Option<Region<Ipa>>,
    /// The guest's interrupt.
    line: Option<IntId>,
    /// What an ITS knows its messages by, if it sends the VM some.
    pub messages: Option<DeviceId>,
    is_coherent: bool,
}

impl<'a> Function<'a> {
    /// Lists the functions that a VM gets, in the guest's order: first that of the aperture that has one.
    pub(super) fn all(machine: &'a HostPlatform, vm: &VmConfig, space: &[Mapping<'a>]) -> Vec<Self> {
        let of_mapping = |mapping: &Mapping<'a>| match mapping.backing {
            Backing::Coherent { node, device } => Some((node, device?, mapping.ipa)),
            _ => None,
        };
        let found = claims::found(machine, vm, space.iter().filter_map(of_mapping));
        let offers = offers::all(&found, &machine.coherent).unwrap_or_default();
        let mut lines = Vec::new();
        // Devices have one page for messages, that of one ITS, which all with DMA must be before: to another they could name a
        // device of another VM. A GICv2 has none. Which ITS is before a device of the platform tree is not known.
        let is_v3 = matches!(machine.gic.version, HostGic::V3 { .. });
        let mut with_dma = found.iter().filter(|(found, _)| found.stream.is_some()).map(|(found, _)| found.messages);
        let mut platform = claims::platform_devices(machine, vm).into_iter().map(|device| machine.accesses(device));
        let is_alone = !platform.any(|accesses| matches!(accesses, Accesses::Checked(_)));
        let first = with_dma.next().flatten().filter(|_| is_v3 && is_alone);
        let first = first.filter(|first| with_dma.all(|other| other.is_some_and(|other| other.its == first.its)));
        let functions = found.into_iter().zip(offers).map(|((found, own), offers)| {
            let line = found.intx.map(|intid| {
                let known = lines.iter().position(|line| *line == intid);
                layout::pci_intid(known.unwrap_or_else(|| {
                    lines.push(intid);
                    lines.len() - 1
                }))
            });
            let host = machine.ecam_host(found.address.segment, found.address.function.bus());
            let is_coherent = host.is_ok_and(|host| host.is_coherent);
            let messages = found.messages.filter(|messages| first.is_some_and(|first| first.its == messages.its));
            Self { found, offers, region: own.map(|(_, ipa)| ipa), line, messages, is_coherent }
        });
        functions.collect()
    }

    /// What the guest's tree says of it.
    pub(super) fn node(&self) -> PciFunction {
        let own = self.offers.iter().find(|offer| offer.registers.is_none());
        PciFunction {
            region: self.region,
            window: own.map(|offer| offer.guest),
            interrupt: self.line,
            has_messages: self.messages.is_some(),
            is_coherent: self.is_coherent,
            label: None,
        }
    }

    /// Its BARs as the guest's configuration space has them.
    pub fn bars(&self) -> Vec<GuestBar> {
        self.offers.iter().map(|offer| offer.guest).collect()
    }

    /// The physical interrupt of its INTx, and the guest's.
    pub fn intx(&self) -> Option<(IntId, IntId)> {
        self.found.intx.zip(self.line)
    }
}

/// What the tree of a backend says of its face of a device of `vm`: function `index` of all.
pub(super) fn face(index: usize, vm: &VmConfig, device: &VirtioClaim) -> PciFunction {
    PciFunction {
        region: None,
        window: None,
        interrupt: Some(layout::pci_intid(index)),
        has_messages: false,
        is_coherent: true,
        label: Some(format!("{}/{}", vm.name, device.name)),
    }
}

/// Returns the interrupt controller that a VM gets.
pub(super) fn gic_of(machine: &HostPlatform, vcpus: usize) -> Result<Version, Shortage> {
    match machine.gic.version {
        HostGic::V3 { .. } if vcpus <= VCPUS_MAX_V3 => Ok(Version::V3),
        HostGic::V3 { .. } => Err(Shortage::Vcpus(vcpus)),
        HostGic::V2 { .. } if vcpus <= VCPUS_MAX_V2 => Ok(Version::V2),
        HostGic::V2 { .. } => Err(Shortage::VcpusOfGicV2(vcpus)),
    }
}

/// Adds what the VM gets without asking to its space, whose first mapping is its RAM.
pub(super) fn add<'a>(
    world: &World<'a>,
    space: &mut Vec<Mapping<'a>>,
    (functions, platform): (&[Function<'a>], &[Device<'a>]),
    gic: Version,
    cpus: &Cpus,
) -> Result<(), Shortage> {
    let ram = space[0].decision;
    let mut device = |name, ipa, kind, backing| {
        let claim = Claim::device(ram.mte == Mte::Exposed);
        let decision = policy::decide(&Facts::of(kind), world.bits, claim);
        let decision = decision.map_err(|denied| Shortage::Device(denied.reason.to_string()))?;
        space.push(Mapping { name, ipa, use_: Use::Aperture, decision, proof: Proof::NotRun, backing });
        Ok(())
    };
    for offer in functions.iter().flat_map(|function| &function.offers) {
        if let Some((registers, ipa)) = offer.registers {
            let merges = offer.guest.bar.memory().is_some_and(|(_, merges)| merges);
            let kind = if merges { Kind::MmioWriteCombining } else { Kind::Mmio };
            device(Cow::Owned(offer.name.clone()), ipa, kind, Backing::Registers(registers))?;
        }
    }
    for (name, pages, place, kind) in platform.iter().flat_map(Device::registers) {
        device(Cow::Owned(name), place, kind, Backing::Registers(pages))?;
    }
    if let (Version::V2, HostGic::V2 { vcpu, .. }) = (gic, &world.machine.gic.version) {
        let interface = Region { start: Pa(vcpu.start.0), size: layout::GICC.size };
        let name = Cow::Borrowed(world.machine.gic.path.as_str());
        device(name, layout::GICC, Kind::Mmio, Backing::Interface(interface))?;
    }
    if matches!(cpus, Cpus::Shared(_)) {
        space.push(Mapping {
            name: Cow::Borrowed("stolen-time"),
            ipa: layout::STOLEN_TIME,
            use_: Use::Ram,
            decision: Decision { rights: Rights::ReadOnly, exec: false, ..ram },
            proof: Proof::NotRun,
            backing: Backing::StolenTime,
        });
    }
    Ok(())
}
