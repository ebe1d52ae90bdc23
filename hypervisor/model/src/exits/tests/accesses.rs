//! Loads and stores of a guest's, as data aborts bring them.

use assay_spec::esr;
use assay_spec::exit::{self, Width};

use super::fixture::{DEVICE_VA, RT, Vm};
use crate::exits::{self, Accessed, Next, Program, device, gic, uart};
use crate::layout;
use crate::vgic::{Register, View};

impl Vm {
    pub(super) fn device_access(&mut self, syndrome: (u64, u64, u64)) -> bool {
        self.accessed(syndrome) == Accessed::Done
    }

    pub(super) fn accessed(&mut self, syndrome: (u64, u64, u64)) -> Accessed {
        let Self { general, vcpu, machine, devices, cpu, .. } = self;
        let Some((ipa, access)) = esr::device_access(syndrome) else {
            return Accessed::Nothing;
        };
        let width = access.width();
        let dist = gic::dist_offset(ipa).and_then(|offset| machine.gic.dist(vcpu.index, offset, width));
        let redist = gic::redist_offset(ipa).and_then(|offset| machine.gic.redist(offset, width));
        if let Some((view, register)) = dist.or(redist) {
            self.gic(view, register, access);
        } else if let Some(offset) = uart::offset(ipa).filter(|offset| *offset < layout::UART.size) {
            let held = devices.lock();
            if access.is_store() {
                uart::store(offset, access, general, vcpu, held, cpu);
            } else if uart::is_status(offset) {
                uart::load_status(offset, access, general, held, cpu);
            } else {
                uart::load_input(access, general, vcpu, held, cpu);
            }
        } else if let Some(at) = device::find(ipa, machine) {
            if access.is_store() {
                device::store(at, access, general, (vcpu, machine, devices), cpu);
            } else {
                device::load(at, access, general, (vcpu, machine, devices), cpu);
            }
        } else {
            return exits::between(syndrome, general, (vcpu, machine, devices), cpu);
        }
        Accessed::Done
    }

    fn gic(&mut self, view: View, register: Option<Register>, access: exit::Access) {
        let Self { general, vcpu, devices, cpu, .. } = self;
        match register {
            Some(at) if access.is_store() && at.is_in_lists() => {
                gic::store_listed((view, at), access, general, vcpu, devices, cpu);
            }
            Some(at) if access.is_store() => {
                gic::store((view, at), access, general, vcpu, devices.lock(), cpu);
            }
            Some(at) if at.is_in_lists() => gic::load_listed((view, at), access, general, vcpu, devices, cpu),
            Some(at) => gic::load((view, at), access, general, devices.lock(), cpu),
            None if access.is_store() => cpu.advance(),
            None => gic::load_reserved(access, general, cpu),
        }
    }

    /// Loads from a device by a plain `ldr` and returns what the guest finds in its register.
    pub(super) fn load(&mut self, ipa: u64, width: Width) -> u64 {
        let pc = self.cpu.at.pc;
        assert_eq!(self.access(ipa, loads(width)), Next::Resume, "{ipa:#x}");
        assert_eq!(self.cpu.at.pc, pc + 4, "{ipa:#x}");
        self.general.get(RT)
    }

    /// Stores to a device by a plain `str`.
    pub(super) fn store(&mut self, ipa: u64, width: Width, value: u64) {
        let pc = self.cpu.at.pc;
        self.general.set(RT, value);
        assert_eq!(self.access(ipa, stores(width)), Next::Resume, "{ipa:#x}");
        assert_eq!(self.cpu.at.pc, pc + 4, "{ipa:#x}");
    }

    /// Has the guest access a guest address that stage 2 has nothing at.
    pub(super) fn access(&mut self, ipa: u64, access: Access) -> Next {
        self.abort(syndrome(ipa, access))
    }

    /// Has the guest take a data abort to EL2.
    pub(super) fn abort(&mut self, (esr, far, hpfar): (u64, u64, u64)) -> Next {
        if self.device_access((esr, far, hpfar)) {
            return Next::Resume;
        }
        self.handle(esr::decode(esr, far, hpfar))
    }
}

/// A load or store, as its syndrome tells it.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) write: bool,
    pub(super) width: Width,
    pub(super) register: u8,
    pub(super) sign_extend: bool,
    pub(super) sixty_four: bool,
}

impl Access {
    pub(super) fn decoded(self) -> exit::Access {
        esr::device_access(syndrome(0, self)).expect("the syndrome tells").1
    }
}

/// `ldr` of this width: without sign, into a W register unless it is of eight bytes.
pub(super) fn loads(width: Width) -> Access {
    Access { write: false, width, register: RT, sign_extend: false, sixty_four: width == Width::W8 }
}

/// `str` of this width.
pub(super) fn stores(width: Width) -> Access {
    Access { write: true, ..loads(width) }
}

/// ESR_EL2, FAR_EL2 and HPFAR_EL2 after an access that met a level-3 Translation fault.
pub(super) fn syndrome(ipa: u64, access: Access) -> (u64, u64, u64) {
    let size = match access.width {
        Width::W1 => 0,
        Width::W2 => 1,
        Width::W4 => 2,
        Width::W8 => 3,
    };
    let iss = 1 << 24
        | size << 22
        | u64::from(access.sign_extend) << 21
        | u64::from(access.register) << 16
        | u64::from(access.sixty_four) << 15
        | u64::from(access.write) << 6
        | 0b00_0111; // a translation fault at level 3
    let esr = esr::encode(esr::ec::DABT_LOWER, iss);
    (esr, DEVICE_VA | ipa & 0xffff, ipa >> 12 << 4)
}
