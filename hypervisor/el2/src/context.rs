//! A vCPU's context: all of its state that lives in the CPU while it runs there, kept in memory while another
//! vCPU runs.
//!
//! Saved and loaded as a whole, at once, at each switch between vCPUs that share a CPU; a vCPU with a CPU to
//! itself never comes here. What its VM does not have traps, and so is neither kept nor visible to it: pointer
//! authentication keys, memory tagging, SVE, the PMU, and everything that `HCRX_EL2` and the fine-grained traps
//! hold back. List Registers are not part of it: the interrupt controller's model takes those back before.

use alloc::vec::Vec;

use assay_spec::frame::Frame;

use crate::gic::{self, Interface};
use crate::guest_regs::{self, Optional};
use crate::switch::Guest;
use crate::sysreg::{dsb_sy, isb, read_sysreg, write_sysreg};
use crate::traps::{self, Config};

mod debug;
mod float;

use debug::Debug;
use float::Area;
pub use float::{all_bytes, note_vector_length, vector_length};

/// A list of registers: saved by reading them, loaded by writing them.
macro_rules! bank {
    ($(#[$doc:meta])* $bank:ident { $($field:ident = $name:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default)]
        struct $bank {
            $($field: u64,)*
        }
        impl $bank {
            fn save() -> Self {
                Self { $($field: read_sysreg!($name),)* }
            }
            /// # Safety
            /// The registers must exist, not trap, and be EL1's or EL0's own.
            unsafe fn load(&self) {
                // SAFETY: our caller's promise.
                unsafe { $(write_sysreg!($name, self.$field);)* }
            }
        }
    };
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

/// One vCPU's state while it is switched out.
pub struct Context {
    optional: Optional,
    frame: Frame,
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
    interface: Interface,
    float: Area,
}

impl Context {
    /// Makes room for the state of `count` vCPUs, or returns `None` if there is no memory for it. Nothing is
    /// allocated later.
    pub fn make(count: usize, optional: Optional) -> Option<Vec<Self>> {
        let areas = Area::take(count, optional.sve)?;
        let context = |float| Self {
            optional,
            frame: Frame::entering(0, 0),
            el1: El1::default(),
            sctlr: 0,
            tcr: 0,
            timer: 0,
            keys: Keys::default(),
            tagging: Tagging::default(),
            vectors: Vectors::default(),
            deferred: Deferred::default(),
            debug: Debug::default(),
            interface: Interface::default(),
            float,
        };
        Some(areas.into_iter().map(context).collect())
    }

    /// Starts a vCPU on this CPU in its state at reset, with `frame`.
    pub fn start(&self, config: &Config, virtual_offset: u64, frame: Frame) -> Guest {
        let guest = traps::load(config, frame);
        // Another vCPU of the VM may have been here, whose caches of instructions may go by virtual address.
        crate::tlb::invalidate_local();
        guest_regs::reset(self.optional);
        Debug::default().load();
        if self.optional.ras {
            // SAFETY: every CPU has FEAT_RAS; only virtual SErrors use the register.
            unsafe { Deferred::default().load() }
        }
        gic::reset_virtual();
        crate::timer::set_virtual_offset(virtual_offset);
        guest
    }

    /// Takes `guest` off this CPU: its trap configuration is still loaded, and its List Registers are empty.
    /// Its virtual timer is off afterwards. What it has written and maintained is complete for all CPUs.
    pub fn save(&mut self, guest: Guest) {
        // The guest's own barriers come later, maybe on another CPU, where they wait for nothing of this one's. And
        // asynchronous tag check faults are in TFSR_EL1 and TFSRE0_EL1 only then.
        dsb_sy();
        isb();
        self.frame = guest.into_frame();
        self.el1 = El1::save();
        self.sctlr = read_sysreg!("sctlr_el1");
        self.tcr = read_sysreg!("tcr_el1");
        self.timer = read_sysreg!("cntv_ctl_el0");
        crate::timer::stop_virtual();
        if self.optional.pauth {
            self.keys = Keys::save();
        }
        if self.optional.mte {
            self.tagging = Tagging::save();
        }
        if self.optional.sve {
            self.vectors = Vectors::save();
        }
        if self.optional.ras {
            self.deferred = Deferred::save();
        }
        self.debug.save();
        self.interface = gic::save_virtual();
        self.float.save();
    }

    /// Puts the vCPU on this CPU. `mixed`: another vCPU of the same VM may have been here since it was last. TLBs know
    /// a VM's translations by VMID and ASID, which two vCPUs of one VM may use differently (DDI0487 D8.16). What
    /// a vCPU invalidated on another CPU meanwhile is gone from here too: `HCR_EL2.FB` makes that so.
    pub fn load(&self, config: &Config, virtual_offset: u64, mixed: bool) -> Guest {
        traps::write(config);
        if mixed {
            crate::tlb::invalidate_local();
        }
        // SAFETY: EL1's and EL0's own registers, which every CPU has.
        unsafe { self.el1.load() }
        if self.optional.pauth {
            // SAFETY: the VM has FEAT_PAuth; EL2 does not use the keys.
            unsafe { self.keys.load() }
        }
        if self.optional.mte {
            // SAFETY: the VM has FEAT_MTE2.
            unsafe { self.tagging.load() }
        }
        if self.optional.sve {
            // SAFETY: the VM has FEAT_SVE, and CPTR_EL2.TZ = 0 is in effect.
            unsafe { self.vectors.load() }
        }
        if self.optional.ras {
            // SAFETY: every CPU has FEAT_RAS; only virtual SErrors use the register.
            unsafe { self.deferred.load() }
        }
        self.debug.load();
        self.float.load();
        gic::load_virtual(&self.interface);
        crate::timer::set_virtual_offset(virtual_offset);
        // SAFETY: the guest's virtual timer, with its own compare value and offset in place.
        unsafe { write_sysreg!("cntv_ctl_el0", self.timer) }
        // SCTLR_EL1 before TCR_EL1, and both last: see `traps::write`.
        // SAFETY: EL1's own register.
        unsafe { write_sysreg!("sctlr_el1", self.sctlr) }
        isb();
        // SAFETY: as above.
        unsafe { write_sysreg!("tcr_el1", self.tcr) }
        isb();
        Guest::new(self.frame.clone())
    }
}
