//! What becomes of a data abort: most are loads and stores of devices.
//!
//! Each way ends with its call, so that only what a way needs is saved. A load or store of the interrupt controller or of the
//! UART tries the lock once, and goes another way where it would have to wait: what it knows need not outlast a call then.

use assay_el2::guest_regs;
use assay_el2::switch::{self, Control};
use assay_model::exits::{self, Accessed, Next, Program, device, gic, uart};
use assay_model::layout;
use assay_model::vgic::{Found, Register, View};
use assay_spec::addr::Ipa;
use assay_spec::esr;
use assay_spec::exit::{Access, Exit};
use assay_spec::frame::General;

use super::{Runner, Stage};

impl Runner {
    /// A data abort: most are accesses to the interrupt controller or the UART.
    #[inline(always)]
    pub(super) fn access(&mut self, general: &mut General, esr: u64) -> Control {
        if self.timer_held.is_some() {
            return self.access_sampled(general, esr);
        }
        self.access_now(general, esr)
    }

    /// The same with all registers.
    #[inline(never)]
    pub(super) fn access_whole(&mut self, general: &mut General, esr: u64) -> Control {
        self.access(general, esr)
    }

    /// The guest may have turned off a timer whose line the interrupt controller still has high: it must not find it
    /// pending, nor enable it and be interrupted.
    #[inline(never)]
    fn access_sampled(&mut self, general: &mut General, esr: u64) -> Control {
        self.sample_timer();
        self.access_now(general, esr)
    }

    /// Each way ends with its call, so that only what a way needs is saved.
    #[inline(always)]
    fn access_now(&mut self, general: &mut General, esr: u64) -> Control {
        let (far, hpfar) = switch::fault_address();
        let Some((ipa, access)) = esr::device_access((esr, far, hpfar)) else {
            return self.no_device(general, esr);
        };
        if let Some(offset) = gic::dist_offset(ipa) {
            return if access.is_store() {
                self.store_dist(general, esr, offset)
            } else {
                self.load_dist(general, esr, offset)
            };
        }
        if let Some(offset) = gic::redist_offset(ipa) {
            return if access.is_store() {
                self.store_redist(general, esr, offset)
            } else {
                self.load_redist(general, esr, offset)
            };
        }
        match uart::offset(ipa) {
            Some(offset) if access.is_store() => self.store_uart(general, esr, offset),
            Some(offset) => self.load_uart(general, esr, offset),
            None if layout::is_between(ipa) => self.between(general, esr),
            None if device::is_possible(ipa) => self.device(general, esr, ipa),
            None => self.data_abort(general, esr, far, hpfar),
        }
    }

    #[inline(never)]
    fn load_dist(&mut self, general: &mut General, esr: u64, offset: u64) -> Control {
        let access = Access::from_syndrome(esr);
        match self.vm.machine.gic.dist(self.vcpu.index, offset, access.width()) {
            Some(found) => self.load_gic(general, access, found),
            None => self.no_device(general, esr),
        }
    }

    #[inline(never)]
    fn load_redist(&mut self, general: &mut General, esr: u64, offset: u64) -> Control {
        let access = Access::from_syndrome(esr);
        match self.vm.machine.gic.redist(offset, access.width()) {
            Some(found) => self.load_gic(general, access, found),
            None => self.no_device(general, esr),
        }
    }

    #[inline(never)]
    fn store_dist(&mut self, general: &mut General, esr: u64, offset: u64) -> Control {
        let access = Access::from_syndrome(esr);
        match self.vm.machine.gic.dist(self.vcpu.index, offset, access.width()) {
            Some(found) => self.store_gic(general, access, found),
            None => self.no_device(general, esr),
        }
    }

    #[inline(never)]
    fn store_redist(&mut self, general: &mut General, esr: u64, offset: u64) -> Control {
        let access = Access::from_syndrome(esr);
        match self.vm.machine.gic.redist(offset, access.width()) {
            Some(found) => self.store_gic(general, access, found),
            None => self.no_device(general, esr),
        }
    }

    #[inline(always)]
    fn load_gic(&mut self, general: &mut General, access: Access, (view, register): Found) -> Control {
        let Some(register) = register else {
            return self.load_reserved(general, access);
        };
        if register.is_in_lists() {
            return self.load_listed(general, access, view, register);
        }
        let Some(devices) = self.vm.devices.at_once() else {
            return self.load_gic_later(general, access, view, register);
        };
        gic::load((view, register), access, general, devices, &mut self.hardware);
        Control::Resume
    }

    #[inline(never)]
    fn load_reserved(&mut self, general: &mut General, access: Access) -> Control {
        gic::load_reserved(access, general, &mut self.hardware);
        Control::Resume
    }

    /// The same once the lock is free.
    #[inline(never)]
    fn load_gic_later(&mut self, general: &mut General, access: Access, view: View, register: Register) -> Control {
        gic::load((view, register), access, general, self.vm.devices.lock(), &mut self.hardware);
        Control::Resume
    }

    #[inline(always)]
    fn store_gic(&mut self, general: &General, access: Access, (view, register): Found) -> Control {
        let Some(register) = register else {
            self.hardware.advance();
            return Control::Resume;
        };
        if register.is_in_lists() {
            return self.store_listed(general, access, view, register);
        }
        let Some(devices) = self.vm.devices.at_once() else {
            return self.store_gic_later(general, access, view, register);
        };
        gic::store((view, register), access, general, &self.vcpu, devices, &mut self.hardware);
        Control::Resume
    }

    #[inline(never)]
    fn store_listed(&mut self, general: &General, access: Access, view: View, register: Register) -> Control {
        gic::store_listed((view, register), access, general, &self.vcpu, &self.vm.devices, &mut self.hardware);
        Control::Resume
    }

    #[inline(never)]
    fn store_gic_later(&mut self, general: &General, access: Access, view: View, register: Register) -> Control {
        let devices = self.vm.devices.lock();
        gic::store((view, register), access, general, &self.vcpu, devices, &mut self.hardware);
        Control::Resume
    }

    #[inline(never)]
    fn load_listed(&mut self, general: &mut General, access: Access, view: View, register: Register) -> Control {
        gic::load_listed((view, register), access, general, &self.vcpu, &self.vm.devices, &mut self.hardware);
        Control::Resume
    }

    #[inline(never)]
    fn load_uart(&mut self, general: &mut General, esr: u64, offset: u64) -> Control {
        if offset >= layout::UART.size {
            return self.no_device(general, esr);
        }
        match self.vm.devices.at_once() {
            Some(devices) if uart::is_status(offset) => {
                uart::load_status(offset, Access::from_syndrome(esr), general, devices, &mut self.hardware);
                Control::Resume
            }
            held => {
                drop(held);
                self.load_uart_later(general, Access::from_syndrome(esr), offset)
            }
        }
    }

    /// What is more than to look at its state, once the lock is free.
    #[inline(never)]
    fn load_uart_later(&mut self, general: &mut General, access: Access, offset: u64) -> Control {
        let devices = self.vm.devices.lock();
        if uart::is_status(offset) {
            uart::load_status(offset, access, general, devices, &mut self.hardware);
        } else {
            uart::load_input(access, general, &self.vcpu, devices, &mut self.hardware);
        }
        Control::Resume
    }

    #[inline(never)]
    fn store_uart(&mut self, general: &mut General, esr: u64, offset: u64) -> Control {
        if offset >= layout::UART.size {
            return self.no_device(general, esr);
        }
        let (access, devices) = (Access::from_syndrome(esr), self.vm.devices.lock());
        uart::store(offset, access, general, &self.vcpu, devices, &mut self.hardware);
        Control::Resume
    }

    /// A load or store outside of interrupt controller and UART.
    #[inline(never)]
    fn device(&mut self, general: &mut General, esr: u64, ipa: Ipa) -> Control {
        let (vm, access) = (self.vm, Access::from_syndrome(esr));
        let Some(at) = device::find(ipa, &vm.machine) else {
            return self.no_device(general, esr);
        };
        let here = (&self.vcpu, &vm.machine, &vm.devices);
        if access.is_store() {
            device::store(at, access, general, here, &mut self.hardware);
        } else {
            device::load(at, access, general, here, &mut self.hardware);
        }
        Control::Resume
    }

    /// A data abort that no device has to do with: a fault of the guest's for the most part.
    #[inline(never)]
    fn no_device(&mut self, general: &mut General, esr: u64) -> Control {
        if esr::is_unpermitted_write(esr) && !self.vm.machine.flashes.is_empty() {
            return self.write_flash(general, esr);
        }
        let (far, hpfar) = switch::fault_address();
        self.data_abort(general, esr, far, hpfar)
    }

    /// Lets the guest have a data abort at once, if nothing is to be said of it.
    #[inline(never)]
    fn data_abort(&mut self, general: &mut General, esr: u64, far: u64, hpfar: u64) -> Control {
        let (vm, exit) = (self.vm, Exit::DataAbort(esr::data_abort(esr, far, hpfar)));
        match exits::handle(exit, general, &mut self.vcpu, &vm.machine, &vm.devices, &mut self.hardware) {
            Next::Inject(fault) if esr::external_abort(esr).is_none() => self.take(fault),
            next => self.apply(next, exit, (esr, far)),
        }
    }

    /// A load or store of what is between VMs, if something is there.
    #[inline(never)]
    fn between(&mut self, general: &mut General, esr: u64) -> Control {
        let here = (&self.vcpu, &self.vm.machine, &self.vm.devices);
        let (far, hpfar) = switch::fault_address();
        match exits::between((esr, far, hpfar), general, here, &mut self.hardware) {
            Accessed::Done => Control::Resume,
            Accessed::Wait => self.leave(Stage::Waiting(None)),
            Accessed::Nothing => self.data_abort(general, esr, far, hpfar),
        }
    }

    /// A store that its flashes may not have: a command to one, to which some flashes listen, if there is one. Cache maintenance
    /// has nothing to do there.
    #[inline(never)]
    fn write_flash(&mut self, general: &mut General, esr: u64) -> Control {
        let (far, hpfar) = switch::fault_address();
        let Some(ipa) = guest_regs::translate(far).filter(|ipa| self.vm.machine.is_flash(*ipa)) else {
            // The look may have met an abort of its own: the registers are no longer the guest's.
            return self.data_abort(general, esr, far, hpfar);
        };
        if let Some(store) = esr::told_access(esr) {
            self.vm.contents.lock().write_flash(ipa, store.width(), general.get(store.register()));
        }
        self.hardware.advance();
        Control::Resume
    }
}
