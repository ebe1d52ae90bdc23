//! The EL1 and EL0 registers of the vCPU that this CPU runs: kept and given back, reset, exceptions, a look for reports.

use assay_spec::addr::Ipa;

use crate::probe;
use crate::sysreg::{bank, dmb_sy, isb, read_sysreg, write_sysreg};

mod debug;

use debug::Debug;
pub(crate) use debug::note_debugger;

/// Which optional registers the vCPU has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Optional {
    /// Pointer authentication keys.
    pub pauth: bool,
    /// MTE registers.
    pub mte: bool,
    /// SVE registers.
    pub sve: bool,
    /// The performance monitors: of a vCPU with a CPU to itself only, and not kept.
    pub pmu: bool,
}

bank! {
    /// What every vCPU has, but for SCTLR_EL1 and TCR_EL1, which have their turn.
    El1 {
        cpacr = "cpacr_el1";
        ttbr0 = "ttbr0_el1";
        ttbr1 = "ttbr1_el1";
        esr = "esr_el1";
        afsr0 = "afsr0_el1";
        afsr1 = "afsr1_el1";
        far = "far_el1";
        mair = "mair_el1";
        amair = "amair_el1";
        vbar = "vbar_el1";
        contextidr = "contextidr_el1";
        tpidr_el0 = "tpidr_el0";
        tpidrro_el0 = "tpidrro_el0";
        tpidr_el1 = "tpidr_el1";
        cntkctl = "cntkctl_el1";
        elr = "elr_el1";
        spsr = "spsr_el1";
        sp_el0 = "sp_el0";
        sp_el1 = "sp_el1";
        par = "par_el1";
        csselr = "csselr_el1";
        cntv_cval = "cntv_cval_el0";
    }
}

bank! {
    /// Pointer authentication keys.
    Keys {
        ia_low = "s3_0_c2_c1_0";
        ia_high = "s3_0_c2_c1_1";
        ib_low = "s3_0_c2_c1_2";
        ib_high = "s3_0_c2_c1_3";
        da_low = "s3_0_c2_c2_0";
        da_high = "s3_0_c2_c2_1";
        db_low = "s3_0_c2_c2_2";
        db_high = "s3_0_c2_c2_3";
        ga_low = "s3_0_c2_c3_0";
        ga_high = "s3_0_c2_c3_1";
    }
}

bank! {
    /// RGSR_EL1, GCR_EL1, TFSR_EL1, TFSRE0_EL1.
    Tagging {
        rgsr = "s3_0_c1_c0_5";
        gcr = "s3_0_c1_c0_6";
        tfsr = "s3_0_c5_c6_0";
        tfsre0 = "s3_0_c5_c6_1";
    }
}

bank! {
    /// ZCR_EL1.
    Vectors {
        zcr = "s3_0_c1_c2_0";
    }
}

bank! {
    /// VDISR_EL2, which is what a guest's DISR_EL1 is with FEAT_RAS and `HCR_EL2.AMO` = 1.
    Deferred {
        vdisr = "s3_4_c12_c1_1";
    }
}

/// `SCTLR_EL1` at reset: MMU and caches off, little endian, RES1 bits set (DDI0487 SCTLR_EL1, RES1 without the
/// features that define them; SPAN set, so that PAN is left alone).
const SCTLR_RESET: u64 = 0x30d0_0800;

/// What a vCPU has in these registers, but for floating point.
#[derive(Clone)]
pub(crate) struct Registers {
    el1: El1,
    sctlr: u64,
    tcr: u64,
    /// `CNTV_CTL_EL0`.
    timer: u64,
    keys: Keys,
    tagging: Tagging,
    vectors: Vectors,
    deferred: Deferred,
    debug: Debug,
}

/// Tells whether this CPU has FEAT_RAS. A guest is not told; DISR_EL1 is there all the same, on each CPU that has it.
fn has_ras() -> bool {
    read_sysreg!("id_aa64pfr0_el1") >> 28 & 0xf != 0
}

impl Registers {
    /// Returns their values at reset.
    pub(crate) fn at_reset() -> Self {
        Self {
            el1: El1::default(),
            sctlr: SCTLR_RESET,
            tcr: 0,
            timer: 0,
            keys: Keys::default(),
            tagging: Tagging::default(),
            vectors: Vectors::default(),
            deferred: Deferred::default(),
            debug: Debug::default(),
        }
    }

    /// Reads this CPU's. The virtual timer is off afterwards.
    pub(crate) fn save(&mut self, optional: Optional) {
        self.el1 = El1::save();
        // Cortex-A77 (erratum 1508412) may not find its way out of a read of PAR_EL1 between loads of Device memory: the
        // barrier before it is `Context::save`'s.
        dmb_sy();
        self.sctlr = read_sysreg!("sctlr_el1");
        self.tcr = read_sysreg!("tcr_el1");
        self.timer = read_sysreg!("cntv_ctl_el0");
        crate::timer::stop_virtual();
        if optional.pauth {
            self.keys = Keys::save();
        }
        if optional.mte {
            self.tagging = Tagging::save();
        }
        if optional.sve {
            self.vectors = Vectors::save();
        }
        if has_ras() {
            self.deferred = Deferred::save();
        }
        self.debug.save();
    }

    /// Writes this CPU's, with nothing left of another vCPU's. Its traps, and the offset of its virtual timer, must
    /// be loaded.
    pub(crate) fn load(&self, optional: Optional) {
        self.el1.load();
        if optional.pauth {
            self.keys.load();
        }
        if optional.mte {
            self.tagging.load();
        }
        if optional.sve {
            self.vectors.load();
        }
        if has_ras() {
            self.deferred.load();
        }
        self.debug.load();
        write_sysreg!("cntv_ctl_el0", self.timer);
        // SCTLR_EL1 before TCR_EL1, and both last: see `traps::write`.
        write_sysreg!("sctlr_el1", self.sctlr);
        isb();
        write_sysreg!("tcr_el1", self.tcr);
        isb();
    }
}

/// Locks the OS Lock, as after a cold reset: of a vCPU that has its CPU to itself it is the guest's.
pub fn lock_debug() {
    debug::lock();
}

/// Returns `VBAR_EL1`.
pub fn vbar() -> u64 {
    read_sysreg!("vbar_el1")
}

/// Returns `SCTLR_EL1`.
pub fn sctlr() -> u64 {
    read_sysreg!("sctlr_el1")
}

/// Translates an address that the vCPU's EL1 may read, by its stage 1.
pub fn translate(va: u64) -> Option<Ipa> {
    // Reads of PAR_EL1 stand between barriers: Cortex-A77's erratum 1508412, as in `save`.
    dmb_sy();
    let kept = read_sysreg!("par_el1");
    // SAFETY: a walk of EL1's tables, of which nothing but PAR_EL1 changes, and that is the vCPU's and given back. The
    // tables may be in memory that does not answer: that abort is recovered.
    let par = unsafe { probe::probe_translate(va) };
    dmb_sy();
    write_sysreg!("par_el1", kept);
    // PAR_EL1.F = 0: PA in bits 51:12 (DDI0487 PAR_EL1).
    (par & 1 == 0).then_some(Ipa(par & 0x000f_ffff_ffff_f000 | va & 0xfff))
}

/// Writes what an exception to EL1 leaves behind: `ESR_EL1`, `ELR_EL1`, `SPSR_EL1`, and `FAR_EL1` if it has one.
pub fn write_exception(esr: u64, elr: u64, spsr: u64, far: Option<u64>) {
    write_sysreg!("esr_el1", esr);
    write_sysreg!("elr_el1", elr);
    write_sysreg!("spsr_el1", spsr);
    if let Some(far) = far {
        write_sysreg!("far_el1", far);
    }
}

/// The EL1 registers that a crash report shows, with their names.
pub fn report() -> [(&'static str, u64); 10] {
    macro_rules! named {
        ($($name:literal)*) => { [$(($name, read_sysreg!($name)),)*] };
    }
    named! {
        "sctlr_el1" "vbar_el1" "esr_el1" "elr_el1" "spsr_el1" "far_el1" "sp_el1" "sp_el0" "ttbr0_el1" "ttbr1_el1"
    }
}
