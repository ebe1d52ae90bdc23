//! The PCI function that goes with a VM's aperture: its registers mapped, and who has it from then on.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use assay_model::pci::GuestFunction;
use assay_model::stage2::Stage2;
use assay_plan::claims::{self, Row, VmClaims};
use assay_plan::guest_tree::PciFunction;
use assay_plan::pci::{self, Found, Offer};
use assay_plan::platform::HostPlatform;
use assay_plan::policy::line::DecisionLine;
use assay_plan::policy::{self, Claim, Decision, Facts, Kind, Proof, Use};
use assay_plan::vm_tree::VmConfig;
use assay_spec::addr::{Ipa, Region};

use super::{Environment, Refused, refuse};
use crate::adapter::TableAdapter;
use crate::console::say;
use crate::pci::Owned;

/// A function that a VM was granted, and where its BARs are in the guest.
pub(super) struct Function<'a> {
    found: &'a Found,
    offers: Vec<Offer>,
    region: Region<Ipa>,
}

/// One BAR's registers, mapped: what it is called, where the guest has them, and as what.
pub(super) struct Mapped<'a> {
    name: &'a str,
    ipa: Region<Ipa>,
    decision: Decision,
}

impl<'a> Function<'a> {
    /// The function of the claim that has one.
    pub(super) fn of(machine: &'a HostPlatform, claims: &VmClaims<'_>) -> Option<Self> {
        let of = |row: &Row<'_>| {
            let (found, region) = claims::found_function(machine, row.device?).zip(row.ipa)?;
            let prepared = found.outcome.as_ref().ok()?;
            let offers = pci::offers(found, prepared, &machine.coherent, row.node, region).ok()?;
            Some(Self { found, offers, region })
        };
        claims.rows.iter().find_map(of)
    }

    /// What the guest's tree says of it.
    pub(super) fn node(&self) -> PciFunction {
        let own = self.offers.iter().find(|offer| offer.registers.is_none());
        PciFunction { region: self.region, window: own.map(|offer| offer.guest), interrupt: self.found.intx.is_some() }
    }

    /// Maps the BARs that are registers, as the policy says.
    pub(super) fn map(
        &self,
        environment: &Environment<'_>,
        mte: bool,
        stage2: &Stage2,
        tables: &mut TableAdapter,
    ) -> Result<Vec<Mapped<'_>>, Option<Refused>> {
        let mut all = Vec::new();
        for offer in &self.offers {
            let Some((registers, ipa)) = offer.registers else {
                continue;
            };
            let prefetchable = offer.guest.bar.memory().is_some_and(|(_, merges)| merges);
            let kind = if prefetchable { Kind::MmioWriteCombining } else { Kind::Mmio };
            let decision = policy::decide(&Facts::of(kind), environment.world.bits, Claim::device(mte));
            let decision =
                decision.map_err(|refusal| refuse("V2", refusal.reason, "report this: a device was refused"))?;
            if !tables.0.grant_function(registers) {
                return Err(refuse(
                    "V2",
                    format!("{} lies in memory that is in use", offer.name),
                    "correct the platform tree: the host bridge's `ranges` overlap something",
                ));
            }
            stage2
                .map(ipa, registers.start, decision.attributes(), tables)
                .map_err(|error| refuse("V2", error, "give the VM less `memory`, or the machine more"))?;
            all.push(Mapped { name: &offer.name, ipa, decision });
        }
        Ok(all)
    }

    /// Takes the function over, for good.
    pub(super) fn take(
        &self,
        machine: &HostPlatform,
    ) -> Result<(Option<Owned>, Option<GuestFunction>), Option<Refused>> {
        let mut owned = Owned::new(machine, self.found)
            .ok_or_else(|| refuse("V2", "the PCI host bridge is gone", "report this: it was there before"))?;
        let bars: Vec<_> = self.offers.iter().map(|offer| offer.guest).collect();
        let view = owned.guest_view(&bars);
        Ok((Some(owned), Some(view)))
    }
}

/// Prints what the VM got of the function's registers, and returns the lines.
pub(super) fn report(config: &VmConfig, registers: &[Mapped<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    for mapped in registers {
        let line = DecisionLine {
            vm: &config.name,
            region: mapped.name,
            use_: Use::Aperture,
            ipa: mapped.ipa,
            decision: mapped.decision,
            proof: Proof::NotRun,
        };
        say!("{line}");
        lines.push(line.to_string());
    }
    lines
}
