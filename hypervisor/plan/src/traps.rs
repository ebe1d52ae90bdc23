//! What EL2 makes trap on one CPU, computed from its features, those that all CPUs have, and the VM's (DDI0487 D24.2).
//!
//! VMs are offered what all CPUs have. What only some have is trapped there, and on the others its bit is RES0 and stays
//! 0. `assay_el2` writes the values and adds the two it
//! alone knows: `MDCR_EL2.HPMN` and the pending-interrupt bits of HCR_EL2.

use assay_spec::hcr::{self, cnthctl, cptr, hcrx, mdcr};
use assay_spec::traps::TrapConfig;

use crate::idregs::{HostId, VmFeatures};

/// Computes the configuration for CPU `here`; `common` is what all CPUs have. `dedicated`: the vCPU has a physical CPU to
/// itself and never leaves it.
pub const fn traps_of(common: &HostId, here: &HostId, features: VmFeatures, dedicated: bool) -> TrapConfig {
    let features = features.limited_to(common);
    TrapConfig {
        hcr: hcr_el2(common, here, features, dedicated),
        // Every other bit of HCRX_EL2 enables or lifts something that no VM is offered.
        hcrx: match (here.hcx(), common.mops()) {
            (true, mops) => Some(if mops { hcrx::MSCEN } else { 0 }),
            (false, _) => None,
        },
        cptr: cptr_el2(here, features),
        mdcr: mdcr_el2(here, features, dedicated),
        // The counter is the guest's to read, the physical timer is emulated.
        cnthctl: cnthctl::EL1PCTEN,
        fgt: here.fgt(),
        fgt_amu: here.amu(),
        mpam: here.mpam(),
    }
}

/// What every VM has in HCR_EL2.
///
/// SWIO because an invalidation by set/way must not undo another VM's writes. PTW so that a guest whose tables
/// lie in Device memory gets an abort rather than speculative reads there. A synchronous external abort on
/// the guest's own access is the guest's to hear, after EL2 has told of it where the CPU has RAS.
const HCR_ALWAYS: u64 = hcr::VM
    | hcr::SWIO
    | hcr::PTW
    | hcr::FMO
    | hcr::IMO
    | hcr::AMO
    | hcr::TID3
    | hcr::TSC
    | hcr::TIDCP
    | hcr::TACR
    | hcr::RW;

/// What a vCPU that may move between CPUs has besides: WFI makes room for others, and its local barriers and
/// maintenance must reach the CPU it ran on before. WFE makes room too: who waits for another vCPU may have its CPU.
const HCR_SHARED: u64 = hcr::TWI | hcr::TWE | hcr::FB | hcr::BSU_IS;

/// Cache maintenance by set/way means the caches of one CPU. With stage 2 forcing Write-Back a guest needs none, and
/// shared CPUs' caches are spared it; without, it goes to the CPU that the vCPU is on, as it stands.
const fn set_way(common: &HostId, dedicated: bool) -> u64 {
    if !dedicated && common.fwb() { hcr::TSW } else { 0 }
}

const fn hcr_el2(common: &HostId, here: &HostId, features: VmFeatures, dedicated: bool) -> u64 {
    HCR_ALWAYS
        | if dedicated { 0 } else { HCR_SHARED }
        | set_way(common, dedicated)
        // It says how the VM's tables are to be read, which all CPUs share.
        | if common.fwb() { hcr::FWB } else { 0 }
        // Errors of memory are seen by EL2 first, which tells whose they are.
        | if here.ras() { hcr::TERR | hcr::TEA } else { 0 }
        | if here.lor() { hcr::TLOR } else { 0 }
        | if features.pauth { hcr::API | hcr::APK } else { 0 }
        // DCT stays 0 in both cases: with DC = 0 it has no use. ATA = 0 alone would leave GMID_EL1 readable.
        | match (here.mte(), features.mte) {
            (true, true) => hcr::ATA,
            (true, false) => hcr::TID5,
            (false, _) => 0,
        }
}

const fn cptr_el2(here: &HostId, features: VmFeatures) -> u64 {
    // TZ and TSM are RES1 where there is no SVE or SME, so setting them is right either way.
    let sve = if features.sve { 0 } else { cptr::TZ };
    let amu = if here.amu() { cptr::TAM } else { 0 };
    cptr::RES1 | cptr::TSM | cptr::TTA | sve | amu
}

/// Self-hosted debug is the guest's (TDE and TDA are 0). E2PB and E2TB are 0: the profiling and trace buffers are
/// EL2's, and their registers trap. The OS Lock of a dedicated CPU is the guest's as well; a shared CPU's is open.
const fn mdcr_el2(here: &HostId, features: VmFeatures, dedicated: bool) -> u64 {
    mdcr::TPMS
        | mdcr::TTRF
        | mdcr::TDRA
        | if dedicated { 0 } else { mdcr::TDOSA }
        | if features.pmu { uncounted(here) } else { mdcr::TPM | mdcr::TPMCR }
}

/// What keeps the guest's counters from counting EL2, as far as the CPU can: before PMUv3p1 and p5 that is the guest's
/// own choice (`PMEVTYPER<n>_EL0.NSH`), which begins with not.
const fn uncounted(here: &HostId) -> u64 {
    let version = here.pmu_version();
    (if version >= 4 { mdcr::HPMD } else { 0 }) | if version >= 6 { mdcr::HCCD } else { 0 }
}

#[cfg(test)]
mod tests;
