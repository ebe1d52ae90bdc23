//! A VM's stage 2, filled once.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use assay_el2::guest_ram::GuestRam;
use assay_model::layout;
use assay_model::stage2::{Geometry, Stage2};
use assay_plan::platform::HostGic;
use assay_plan::policy::{self, Claim, Decision, Facts, Kind};
use assay_spec::addr::{Ipa, Pa, Region};
use assay_spec::gic::Version;
use assay_spec::stage2_desc::{Attributes, Rights};

use super::{Environment, Refused, refuse};
use crate::adapter::TableAdapter;
use crate::coherent::Grant;
use crate::shared::Part;

/// Returns the map of a VM's memory as lines for the monitor.
pub(super) fn listing(
    vm: &str,
    parts: &[(Region<Ipa>, GuestRam)],
    coherent: &[Grant],
    shared: &[Part<'_>],
) -> Vec<String> {
    let line = |what: &str, ipa: Region<Ipa>, pa: Pa| {
        format!("memory vm={vm} region={what} ipa={} size={:#x} pa={pa}", ipa.start, ipa.size)
    };
    let ram = parts.iter().map(|(place, ram)| line("memory", *place, ram.region().start));
    let coherent = coherent.iter().map(|grant| line(&grant.name, grant.ipa, grant.memory.region().start));
    let mut lines: Vec<String> = ram.chain(coherent).collect();
    for part in shared {
        let mut ipa = part.ipa.start;
        for piece in part.pieces {
            let memory = piece.region();
            let place = Region { start: ipa, size: memory.size };
            lines.push(line(part.region, place, memory.start));
            ipa = place.end();
        }
    }
    lines
}

/// Fills the VM's stage 2: its RAM, its coherent regions, what it shares with others, where it reads its stolen time,
/// and on a GICv2 host the virtual CPU interface.
#[expect(clippy::too_many_arguments, reason = "each is another part of the map")]
pub(super) fn map(
    environment: &Environment<'_>,
    parts: &mut [(Region<Ipa>, GuestRam)],
    coherent: &mut [Grant],
    shared: &[Part<'_>],
    time: Option<&mut GuestRam>,
    range: Region<Ipa>,
    decision: &Decision,
    gic: Version,
) -> Result<(Stage2, TableAdapter), Option<Refused>> {
    let ends = coherent.iter().map(|grant| grant.ipa.end());
    let ends = ends.chain(shared.iter().map(|part| part.ipa.end()));
    let needed = Geometry::bits_below(ends.fold(range.end(), Ipa::max).0);
    let geometry = Geometry::new(needed, environment.host.pa_range_bits())
        .map_err(|error| refuse("V2", error, "give the VM less `memory`"))?;
    let no_tables = |error| refuse("V2", format!("{error}"), "give the VM less `memory`, or the machine more");
    let mut tables = TableAdapter(assay_el2::stage2::TableMemory::new(geometry.start_level()));
    let stage2 = Stage2::new(geometry, environment.host.fwb(), &mut tables).map_err(no_tables)?;
    for (place, ram) in parts {
        tables.0.grant_ram(ram);
        stage2.map(*place, ram.region().start, decision.attributes(), &mut tables).map_err(no_tables)?;
    }
    for grant in coherent {
        tables.0.grant_coherent(&mut grant.memory);
        stage2
            .map(grant.ipa, grant.memory.region().start, grant.decision.attributes(), &mut tables)
            .map_err(no_tables)?;
    }
    for part in shared {
        let mut at = part.ipa.start;
        for piece in part.pieces {
            let region = piece.region();
            let place = Region { start: at, size: region.size };
            tables.0.grant_shared(piece, part.decision.rights);
            let attributes = part.decision.attributes();
            stage2.map(place, region.start, attributes, &mut tables).map_err(no_tables)?;
            at = place.end();
        }
    }
    if let Some(time) = time {
        tables.0.grant_ram(time);
        let attributes = Attributes { rights: Rights::ReadOnly, exec: false, ..decision.attributes() };
        stage2.map(layout::STOLEN_TIME, time.region().start, attributes, &mut tables).map_err(no_tables)?;
    }
    if let (Version::V2, HostGic::V2 { vcpu, .. }) = (gic, &environment.world.machine.gic.version) {
        let interface = Region { start: Pa(vcpu.start.0), size: layout::GICC.size };
        let device = policy::decide(
            &Facts::of(Kind::Mmio),
            environment.world.bits,
            Claim::device(decision.mte == policy::Mte::Exposed),
        );
        let attributes =
            device.map_err(|refusal| refuse("V2", refusal.reason, "report this: a device was refused"))?.attributes();
        if !tables.0.grant_device(interface) {
            return Err(refuse(
                "V2",
                format!("{}: GICV overlaps memory", environment.world.machine.gic.path),
                "correct the tree",
            ));
        }
        stage2.map(layout::GICC, interface.start, attributes, &mut tables).map_err(no_tables)?;
    }
    Ok((stage2, tables))
}
