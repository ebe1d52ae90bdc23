//! Loading what decides which of a guest's instructions come to EL2, and which stage 2 it runs under.

use assay_spec::frame::Frame;
use assay_spec::hcr;
use assay_spec::traps::TrapConfig;

use crate::stage2::Regime;
use crate::switch::Guest;
use crate::sysreg::{isb, read_sysreg, write_el2, write_sysreg};
use crate::tlb;

/// The registers that make this CPU run one vCPU of one VM.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What comes to EL2. What keeps the guest below EL2 is set whatever this says.
    pub traps: TrapConfig,
    /// `ZCR_EL2`, where the guest has SVE.
    pub zcr: Option<u64>,
    /// Stage 2.
    pub stage2: Regime,
    /// `VPIDR_EL2`: the guest's MIDR_EL1.
    pub vpidr: u64,
    /// `VMPIDR_EL2`: the guest's MPIDR_EL1.
    pub vmpidr: u64,
}

/// What every guest runs under: stage 2 on, physical interrupts to EL2, AArch64 at EL1, and no IMPLEMENTATION DEFINED
/// registers: some of them are the CPU's coherency.
const REQUIRED: u64 = hcr::VM | hcr::FMO | hcr::IMO | hcr::AMO | hcr::RW | hcr::TSC | hcr::TIDCP | hcr::TACR;
/// What no guest runs under: EL2 as a host, EL2 as its own EL1 (TGE), stage 1 overridden, and nested
/// virtualisation (NV, NV1, AT, NV2), whose NV2 would have EL1 access memory through EL2's own map.
const FORBIDDEN: u64 =
    hcr::E2H | 1 << 27 | hcr::DC | 1 << 42 | 1 << 43 | 1 << 44 | 1 << 45 | hcr::VF | hcr::VI | hcr::VSE;

/// Loads `config` into this CPU, and drops what its TLBs hold of the VMID: it may be of an earlier life.
///
/// Returns the vCPU, which starts with `frame`. There is no way to get one without stage 2 set up on its CPU:
/// this is one, [`Context::load`](crate::context::Context::load) the other.
pub fn load(config: &Config, frame: Frame) -> Guest {
    write(config);
    tlb::invalidate_vm();
    Guest::new(frame)
}

/// Loads `config` into this CPU. Stage 1 of EL1 is on and walks nothing afterwards, until the caller has loaded
/// the vCPU's SCTLR_EL1 and then TCR_EL1 ([`tlb::stop_walks`]).
#[expect(clippy::multiple_unsafe_ops_per_block, reason = "a list of registers, with one claim about all of them")]
pub(crate) fn write(config: &Config) {
    let traps = &config.traps;
    let _ = tlb::stop_walks();
    let counters = match traps.mdcr & hcr::mdcr::TPMCR {
        0 => crate::pmu::counters(),
        _ => read_sysreg!("mdcr_el2") & hcr::mdcr::HPMN_MASK,
    };
    let mpam = traps.mpam.then(|| hcr::mpam::hidden(read_sysreg!("s3_0_c10_c4_4")));
    if mpam.is_some() {
        // MPAM0_EL1 and MPAM1_EL1, which firmware may have left in another partition.
        write_sysreg!("s3_0_c10_c5_1", 0);
        write_sysreg!("s3_0_c10_c5_0", 0);
    }
    // SAFETY: these registers govern EL1 and EL0 only. The bits that keep a guest inside its stage 2 are forced
    // here, and the tables behind VTTBR_EL2 hold what `stage2::TableMemory::store` let through.
    unsafe {
        write_el2!("hcr_el2", (traps.hcr | REQUIRED) & !FORBIDDEN);
        if let Some(hcrx) = traps.hcrx {
            write_el2!("s3_4_c1_c2_2", hcrx);
        }
        if traps.fgt >= 1 {
            // HFGRTR, HFGWTR, HFGITR, HDFGRTR, HDFGWTR.
            write_el2!("s3_4_c1_c1_4", 0u64);
            write_el2!("s3_4_c1_c1_5", 0u64);
            write_el2!("s3_4_c1_c1_6", 0u64);
            write_el2!("s3_4_c3_c1_4", 0u64);
            write_el2!("s3_4_c3_c1_5", 0u64);
            if traps.fgt_amu {
                write_el2!("s3_4_c3_c1_6", 0u64);
            }
        }
        if traps.fgt >= 2 {
            // HDFGRTR2, HDFGWTR2, HFGRTR2, HFGWTR2, HFGITR2.
            write_el2!("s3_4_c3_c1_0", 0u64);
            write_el2!("s3_4_c3_c1_1", 0u64);
            write_el2!("s3_4_c3_c1_2", 0u64);
            write_el2!("s3_4_c3_c1_3", 0u64);
            write_el2!("s3_4_c3_c1_7", 0u64);
        }
        if let Some((mpam2, mpamhcr)) = mpam {
            write_el2!("s3_4_c10_c5_0", mpam2);
            if let Some(mpamhcr) = mpamhcr {
                write_el2!("s3_4_c10_c4_0", mpamhcr);
            }
        }
        write_el2!("cptr_el2", traps.cptr);
        write_el2!("mdcr_el2", traps.mdcr & !hcr::mdcr::TDE | counters);
        write_el2!("hstr_el2", 0u64);
        write_el2!("cnthctl_el2", traps.cnthctl);
        write_el2!("vtcr_el2", config.stage2.vtcr);
        write_el2!("vttbr_el2", config.stage2.vttbr);
        write_el2!("vpidr_el2", config.vpidr);
        write_el2!("vmpidr_el2", config.vmpidr);
    }
    isb();
    if let Some(zcr) = config.zcr {
        // SAFETY: CPTR_EL2.TZ = 0 is in effect, so this does not trap; the vector length is the guest's.
        unsafe { write_el2!("s3_4_c1_c2_0", zcr) }
        isb();
    }
}
