//! `model`'s view of the CPU that a vCPU runs on: List Registers, clock, other CPUs, console, firmware.

use assay_el2::lock::Relax;
use assay_el2::{cpu, switch, timer};
use assay_model::doorbell::Ring;
use assay_model::doorbell::Side;
use assay_model::exits;
use assay_model::smccc::Workaround;
use assay_model::vcpus::VcpuSet;
use assay_model::vgic::{ListRegisters, ListSlots};
use assay_model::virtio::News;
use assay_model::vm::Vcpu;
use assay_spec::cpu_id::VcpuId;
use assay_spec::intid::IntId;
use assay_spec::lr::Lr;

use crate::adapter::Lists;
use crate::vm::{Vm, virtio};
use crate::{console, deferred, shared};

/// What decisions need of this CPU and of the world around the VM.
pub(crate) struct Hardware {
    pub(crate) vm: &'static Vm,
    /// When the CPU asks the scheduler again, if it is shared.
    pub(crate) until: Option<u64>,
}

impl Hardware {
    /// Arms the EL2 timer for the next of the vCPU's deadlines; the watchdog's is vCPU 0's. Best without a lock: where CPUs are
    /// an emulator's, a timer that is set may end the turn of the one that sets it.
    pub(crate) fn arm(&mut self, vcpu: &Vcpu, watchdog: Option<u64>) {
        let timer = vcpu.timer_deadline();
        let watchdog = watchdog.filter(|_| vcpu.index == VcpuId(0));
        let deadlines = timer.into_iter().chain(watchdog).chain(self.until);
        timer::arm(deadlines.chain(deferred::deadline()).min());
    }
}

impl ListSlots for Hardware {
    #[inline(always)]
    fn write(&mut self, index: usize, lr: Lr) {
        Lists.write(index, lr);
    }
    #[inline]
    fn empty(&self) -> u32 {
        Lists.empty()
    }
}

impl ListRegisters for Hardware {
    #[inline]
    fn count(&self) -> u32 {
        Lists.count()
    }
    fn read(&self, index: usize) -> Lr {
        Lists.read(index)
    }
    fn set_maintenance(&mut self, requests: u32) {
        Lists.set_maintenance(requests);
    }
    fn deactivate_physical(&mut self, intid: IntId) {
        Lists.deactivate_physical(intid);
    }
    fn is_deactivation_separate(&self) -> bool {
        Lists.is_deactivation_separate()
    }
    fn is_physical_pending(&self, intid: IntId) -> bool {
        Lists.is_physical_pending(intid)
    }
}

impl exits::Program for Hardware {
    #[inline(always)]
    fn advance(&mut self) {
        switch::advance();
    }
    fn advance_either(&mut self, wide: bool) {
        let mut at = switch::place();
        at.advance_either(wide);
        switch::go_to(at);
    }
}

impl exits::Cpu for Hardware {
    type Relax = Relax;
    fn now(&self) -> u64 {
        cpu::counter()
    }
    fn kick(&mut self, vcpus: VcpuSet) {
        self.vm.kick(vcpus);
    }
    fn transmit(&mut self, byte: u8) {
        console::guest_byte(self.vm.index(), byte);
    }
    fn input_room(&mut self) {
        console::input_room();
    }
    fn has_entropy(&self) -> bool {
        cpu::has_random()
    }
    fn entropy(&mut self) -> Option<u64> {
        cpu::random()
    }
    fn workaround(&mut self, which: Workaround) {
        assay_el2::firmware::workaround(match which {
            Workaround::One => 1,
            Workaround::Three => 3,
        });
    }
    fn ring(&mut self, ring: Ring) {
        shared::ring(ring);
    }
    fn peers(&self, side: Side) -> u32 {
        shared::peers(side)
    }
    fn tell(&mut self, number: usize, news: News) {
        virtio::tell(number, news);
    }
    fn config_read(&mut self, function: usize, offset: u16) -> u32 {
        let function = self.vm.functions.get(function);
        function.map_or(u32::MAX, |function| function.read(offset))
    }
    fn config_write(&mut self, function: usize, offset: u16, value: (u32, u32)) {
        if let Some(function) = self.vm.functions.get(function) {
            function.write(offset, value);
        }
    }
    fn set_command(&mut self, function: usize, command: u32) {
        if let Some(function) = self.vm.functions.get(function) {
            function.set_command(command);
        }
    }
    fn deadlines_changed(&mut self, vcpu: &Vcpu, watchdog: Option<u64>) {
        self.arm(vcpu, watchdog);
        // The watchdog's deadline is watched by vCPU 0's CPU: let it look.
        if self.vm.machine.watchdog && vcpu.index != VcpuId(0) {
            self.vm.kick(VcpuSet::one(VcpuId(0)));
        }
    }
}
