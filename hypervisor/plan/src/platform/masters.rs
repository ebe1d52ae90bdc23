//! SMMUs and ITSs are looked at and turned off whether or not a VM needs them, and they write to memory: one whose registers
//! cannot be where the tree has them is left alone, and said.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::stage2_desc::PA_BITS_MAX;

use super::{HostGic, HostPlatform, Oddity, bus};
use crate::gate::Node;
use crate::ranges::widen;

/// Returns the first of a node's registers, or what is wrong with them.
pub(super) fn registers(node: Node<'_, '_>) -> Result<Region<Pa>, String> {
    let all = bus::registers(node).map_err(|malformed| format!("its {} {}", malformed.property, malformed.wants))?;
    let first = all.first().copied().ok_or("it has no reg")?;
    if first.end().0 > 1 << PA_BITS_MAX {
        return Err(format!("its registers {first:?} end beyond {PA_BITS_MAX} bits of addresses; correct its reg"));
    }
    Ok(first)
}

impl HostPlatform {
    /// Has nobody take over SMMUs and ITSs whose registers are by the tree RAM, an interrupt controller, the console, PCI
    /// configuration space or another SMMU or ITS too, or overlap what is `own`, by its name. Once, after the overlays.
    pub fn lose_misplaced(&mut self, own: &[(&str, Region<Pa>)]) {
        let smmus: Vec<_> = self.smmus.iter().map(|smmu| Some(pages(*smmu.registers.as_ref().ok()?))).collect();
        let itss: Vec<_> = self.itss.iter().map(|its| Some(pages(its.frames.as_ref().ok()?.pages()))).collect();
        let mut taken = self.not_theirs();
        taken.extend(own.iter().map(|(name, region)| (String::from(*name), *region)));
        let paths = self.smmus.iter().map(|smmu| &smmu.path).chain(self.itss.iter().map(|its| &its.path));
        let all: Vec<_> = paths.cloned().zip(smmus.into_iter().chain(itss)).collect();
        let clash = |index: usize| {
            let region = all.get(index)?.1?;
            let mut beside = all.iter().enumerate().filter(|(other, _)| *other != index);
            let beside = beside.find(|(_, (_, other))| other.is_some_and(|other| other.overlaps(&region)));
            let taken = || taken.iter().find(|(_, other)| other.overlaps(&region)).map(|(name, _)| name);
            let other = beside.map(|(_, (path, _))| path).or_else(taken)?;
            Some(format!("its registers overlap {other}; correct the reg that is wrong"))
        };
        let count = self.smmus.len();
        for (index, smmu) in self.smmus.iter_mut().enumerate() {
            clash(index).into_iter().for_each(|why| smmu.lose(why));
        }
        for (index, its) in self.itss.iter_mut().enumerate() {
            clash(count + index).into_iter().for_each(|why| its.lose(why));
        }
    }

    /// Lists what else EL2 drives or a VM may get as RAM.
    fn not_theirs(&self) -> Vec<(String, Region<Pa>)> {
        let gic = match &self.gic.version {
            HostGic::V3 { dist, redists, .. } => core::iter::once(*dist).chain(redists.iter().copied()).collect(),
            HostGic::V2 { dist, cpu, hyp, vcpu } => [*dist, *cpu, *hyp, *vcpu].to_vec(),
        };
        let gic = gic.into_iter().map(|frame: Region<Pa>| (&self.gic.path, frame));
        let memory = self.memory.iter().map(|node| (&node.path, node.region));
        let console = self.console.iter().map(|console| (&console.path, console.registers));
        let ecam = self.pcie.iter().map(|host| (&host.path, host.ecam));
        memory.chain(gic).chain(console).chain(ecam).map(|(path, region)| (path.clone(), region)).collect()
    }

    /// Names SMMUs and ITSs that nobody takes over, and says why and what follows.
    pub(super) fn lost(&self) -> impl Iterator<Item = Oddity<'_>> {
        let smmus = self.smmus.iter().filter_map(|smmu| {
            let why = smmu.registers.as_ref().err()?;
            let reason =
                format!("{why}: devices behind it that firmware started may access all memory, and no VM gets one");
            Some(Oddity { node: &smmu.path, reason: reason.into() })
        });
        let itss = self.itss.iter().filter_map(|its| {
            let why = its.frames.as_ref().err()?;
            let reason = format!(
                "{why}: devices behind it send no messages, and if firmware left it on, it may write to what was firmware's"
            );
            Some(Oddity { node: &its.path, reason: reason.into() })
        });
        smmus.chain(itss)
    }
}

/// What is mapped of registers: whole pages.
fn pages(registers: Region<Pa>) -> Region<Pa> {
    widen(&registers, PAGE_SIZE)
}
