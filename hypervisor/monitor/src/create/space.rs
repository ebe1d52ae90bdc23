//! The memory behind a VM's address space: taken, then granted and mapped, by one walk over the plan's list.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use assay_el2::frames;
use assay_el2::guest_ram::GuestRam;
use assay_el2::stage2::{DeviceRegime, Memory, Regime, TableMemory};
use assay_model::layout;
use assay_model::stage2::Stage2;
use assay_plan::idregs::HostId;
use assay_plan::space::{Backing, Mapping};
use assay_plan::vm_plan::{Shortage, VmPlan};
use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::stage2_desc::{Attributes, MemAttr, Rights};

use crate::adapter::{Mapped, TableAdapter};
use crate::coherent::{Grant, Pool};
use crate::console::say;
use crate::early::EarlyRam;
use crate::ram;
use crate::shared::Regions;

/// What was taken for a VM.
pub(super) struct Holdings {
    /// Of RAM, then of the flashes.
    pub(super) ram: Vec<(Region<Ipa>, GuestRam)>,
    /// In the order of the mappings.
    pub(super) coherent: Vec<Grant>,
    pub(super) stolen_time: Option<GuestRam>,
    /// What the VM's devices may access, and how; nothing if they access nothing.
    for_devices: Vec<(Region<Ipa>, Pa, Attributes)>,
    /// What was decided of the VM's memory, as it was printed, and its map: lines for the monitor.
    pub(super) listing: Vec<String>,
}

impl Holdings {
    /// Takes what lies behind every mapping; RAM last of what can be refused for want of something, since what is taken
    /// stays taken.
    pub(super) fn take(
        plan: &VmPlan<'_>,
        pool: &mut Pool<'_>,
        shared: &mut Regions,
        early: &mut EarlyRam,
    ) -> Result<Self, Shortage> {
        let mut taken = Self {
            ram: Vec::new(),
            coherent: Vec::new(),
            stolen_time: None,
            for_devices: Vec::new(),
            listing: Vec::new(),
        };
        for Mapping { name, ipa, decision, backing, .. } in &plan.space {
            match backing {
                Backing::Coherent { node, .. } => {
                    let grant = pool.take(node, *ipa, *decision);
                    taken.coherent.push(grant.ok_or_else(|| Shortage::InUse(name.to_string()))?);
                }
                Backing::Shared(share) if !shared.take(name, ipa.size, share.tagged) => {
                    return Err(Shortage::Shared(name.to_string(), ipa.size, share.tagged));
                }
                Backing::Lent(vm) => early.take(vm)?,
                Backing::Shared(_)
                | Backing::Ram
                | Backing::Flash(_)
                | Backing::StolenTime
                | Backing::Registers(_)
                | Backing::Interface(_) => {}
            }
        }
        let (bytes, tagged) = (plan.config.own_bytes(), plan.config.mte);
        let is_early = EarlyRam::is_for(plan.config);
        if is_early {
            early.take(plan.config)?;
            taken.ram.extend(early.give(&plan.config.name));
        }
        let is_taken = |mapping: &Mapping<'_>| is_early && matches!(mapping.backing, Backing::Ram);
        let filled = plan.space.iter().filter(|mapping| mapping.is_filled() && !is_taken(mapping));
        for ipa in filled.map(|mapping| mapping.ipa).chain(plan.space.iter().filter_map(Mapping::head)) {
            taken.ram.extend(ram::place(ipa.start, ram::take(ipa.size, tagged).ok_or(Shortage::Ram(bytes, tagged))?));
        }
        let tells_time = |mapping: &&Mapping<'_>| matches!(mapping.backing, Backing::StolenTime);
        for Mapping { ipa, .. } in plan.space.iter().filter(tells_time) {
            // The guest may look at the tags of all memory that it reads.
            let frames =
                if tagged { frames::take_from(frames::Pool::Tagged, ipa.size) } else { frames::take(ipa.size) };
            let mut time = GuestRam::new(frames.ok_or(Shortage::Registers)?);
            // All of it, so it is in range.
            let _ = time.zero(0..ipa.size);
            taken.stolen_time = Some(time);
        }
        Ok(taken)
    }

    /// Grants and maps everything, and prints what the VM got.
    pub(super) fn map(
        &mut self,
        plan: &VmPlan<'_>,
        host: &HostId,
        (shared, early): (&Regions, &EarlyRam),
    ) -> Result<(Mapped, Regime), Shortage> {
        let mut tables = TableAdapter(TableMemory::new(plan.geometry.start_level()));
        let no_tables = |error| Shortage::Tables(format!("{error}"));
        let stage2 = Stage2::new(plan.geometry, host.fwb(), &mut tables).map_err(no_tables)?;
        let mut map = Vec::new();
        let mut coherent = self.coherent.iter_mut();
        for mapping in &plan.space {
            let pieces: Vec<Memory<'_>> = match &mapping.backing {
                Backing::Ram | Backing::Flash(_) => {
                    let parts = self.ram.iter_mut().filter(|(place, _)| mapping.ipa.covers(place));
                    parts.map(|(_, ram)| Memory::Ram(ram)).collect()
                }
                Backing::Coherent { .. } => {
                    coherent.next().into_iter().map(|grant| Memory::Coherent(&mut grant.memory)).collect()
                }
                Backing::Shared(_) => {
                    let rights = mapping.decision.rights;
                    shared.of(&mapping.name).map(|piece| Memory::Shared(piece, rights)).collect()
                }
                Backing::Lent(vm) => {
                    let head = self.ram.iter_mut().filter(|(place, _)| mapping.ipa.covers(place));
                    let head = head.map(|(_, ram)| Memory::Ram(ram));
                    head.chain(early.of(&vm.name).map(Memory::Lent)).collect()
                }
                Backing::StolenTime => self.stolen_time.iter_mut().map(Memory::Told).collect(),
                Backing::Registers(registers) => [Memory::Registers(*registers)].into(),
                Backing::Interface(registers) => [Memory::Interface(*registers)].into(),
            };
            let mut at = mapping.ipa.start;
            for piece in pieces {
                let memory = tables.0.grant(piece).ok_or_else(|| in_use(mapping))?;
                let place = Region { start: at, size: memory.size };
                stage2.map(place, memory.start, mapping.decision.attributes(), &mut tables).map_err(no_tables)?;
                map.extend(line(plan, mapping, place, memory.start));
                if plan.has_dma() && is_memory(mapping) {
                    self.for_devices.push((place, memory.start, mapping.decision.device_attributes()));
                }
                at = place.end();
            }
        }
        let vtcr = stage2.vtcr((host.get(7, 0) & 0xf) as u8, host.vmid16());
        let regime = tables.0.put_in_use(plan.vmid, vtcr).ok_or(Shortage::Vtcr)?;
        for line in plan.decisions() {
            say!("{line}");
            self.listing.push(line.to_string());
        }
        self.listing.extend(map);
        Ok((Mapped { stage2, tables }, regime))
    }

    /// Makes the tables of the VM's devices, beside the VM's own, which are mapped: the same memory at the same guest
    /// addresses. Entries are as without `HCR_EL2.FWB`, which every SMMU reads alike (IHI 0070G.b §13.6). `None` if
    /// no device accesses anything.
    pub(super) fn map_devices(
        &self,
        plan: &VmPlan<'_>,
        host: &HostId,
        own: &Mapped,
    ) -> Result<Option<(Mapped, DeviceRegime)>, Shortage> {
        if !plan.has_dma() {
            return Ok(None);
        }
        let geometry = plan.geometry.with_one_table(host.pa_range_bits());
        let mut tables = TableAdapter(own.tables.0.for_devices(geometry.start_level()));
        let no_tables = |error| Shortage::Tables(format!("{error}"));
        let stage2 = Stage2::new(geometry, false, &mut tables).map_err(no_tables)?;
        for (place, pa, attributes) in &self.for_devices {
            stage2.map(*place, *pa, *attributes, &mut tables).map_err(no_tables)?;
        }
        if let Some(page) = plan.message_page() {
            // Their messages go to the ITS, which takes them for those of the device that wrote them, and drops what it was
            // not told of.
            let page = tables.0.grant(Memory::Interface(page)).ok_or_else(|| Shortage::Interface("an ITS".into()))?;
            let device = Attributes { mem: MemAttr::DeviceNgnre, rights: Rights::ReadWrite, exec: false };
            stage2.map(layout::V2M, page.start, device, &mut tables).map_err(no_tables)?;
        }
        let vtcr = stage2.vtcr((host.get(7, 0) & 0xf) as u8, host.vmid16());
        let regime = tables.0.put_in_use_by_devices(plan.vmid, vtcr).ok_or(Shortage::Vtcr)?;
        Ok(Some((Mapped { stage2, tables }, regime)))
    }
}

/// Tells whether it is memory, not registers nor what EL2 writes for the guest.
fn is_memory(mapping: &Mapping<'_>) -> bool {
    mapping.is_filled() || matches!(mapping.backing, Backing::Coherent { .. } | Backing::Shared(_))
}

/// The map's line of a piece of memory. Registers are no memory.
fn line(plan: &VmPlan<'_>, mapping: &Mapping<'_>, ipa: Region<Ipa>, pa: Pa) -> Option<String> {
    let (vm, region) = (&plan.config.name, &mapping.name);
    is_memory(mapping).then(|| format!("memory vm={vm} region={region} ipa={} size={:#x} pa={pa}", ipa.start, ipa.size))
}

fn in_use(mapping: &Mapping<'_>) -> Shortage {
    let name = mapping.name.to_string();
    match mapping.backing {
        Backing::Interface(_) => Shortage::Interface(name),
        Backing::Registers(_) => Shortage::RegistersInUse(name),
        _ => Shortage::InUse(name),
    }
}
