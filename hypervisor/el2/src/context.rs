//! A vCPU's context: all of its state that lives in the CPU while it runs there, kept in memory while another
//! vCPU runs.
//!
//! Saved and loaded as a whole, at once, at each switch between vCPUs that share a CPU; a vCPU with a CPU to
//! itself only starts here. What its VM does not have traps, and so is neither kept nor visible to it: pointer
//! authentication keys, memory tagging, SVE, the PMU (which only a vCPU with a CPU to itself has), and everything that
//! `HCRX_EL2` and the fine-grained traps hold back. List Registers are not part of it: the interrupt controller's model
//! takes those back before.

use alloc::vec::Vec;

use assay_spec::frame::Frame;

use crate::float::Area;
use crate::gic::{self, Interface};
use crate::guest_regs::{Optional, Registers};
use crate::switch::Guest;
use crate::sysreg::{dsb_sy, isb};
use crate::traps::{self, Config};

/// One vCPU's state while it is switched out.
pub struct Context {
    optional: Optional,
    frame: Frame,
    registers: Registers,
    interface: Interface,
    float: Area,
}

/// Starts a vCPU with these registers on this CPU, in its state at reset, with `frame`.
pub fn start(optional: Optional, config: &Config, virtual_offset: u64, frame: Frame) -> Guest {
    let guest = traps::load(config, frame);
    // Another vCPU of the VM may have been here, whose caches of instructions may go by virtual address.
    crate::tlb::invalidate_local();
    crate::float::clear(optional.sve);
    gic::reset_virtual();
    crate::timer::set_virtual_offset(virtual_offset);
    if optional.pmu {
        crate::pmu::reset();
    }
    Registers::at_reset().load(optional);
    guest
}

impl Context {
    /// Makes room for the state of `count` vCPUs, or returns `None` if there is no memory for it. Nothing is
    /// allocated later.
    pub fn make(count: usize, optional: Optional) -> Option<Vec<Self>> {
        let areas = Area::take(count, optional.sve)?;
        let context = |float| Self {
            optional,
            frame: Frame::entering(0, 0),
            registers: Registers::at_reset(),
            interface: Interface::default(),
            float,
        };
        Some(areas.into_iter().map(context).collect())
    }

    /// Takes `guest` off this CPU: its trap configuration is still loaded, and its List Registers are empty.
    /// Its virtual timer is off afterwards. What it has written and maintained is complete for all CPUs.
    pub fn save(&mut self, guest: &Guest) {
        assert!(guest.is_here(), "a guest is saved where another is");
        // The guest's own barriers come later, maybe on another CPU, where they wait for nothing of this one's. And
        // asynchronous tag check faults are in TFSR_EL1 and TFSRE0_EL1 only then.
        dsb_sy();
        isb();
        self.frame.clone_from(&guest.frame);
        self.registers.save(self.optional);
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
        self.float.load();
        gic::load_virtual(&self.interface);
        crate::timer::set_virtual_offset(virtual_offset);
        self.registers.load(self.optional);
        Guest::new(self.frame.clone())
    }
}
