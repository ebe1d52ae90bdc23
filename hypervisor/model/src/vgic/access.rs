//! The registers that have a bit or a few for each interrupt, alike in Distributor and Redistributor.

use super::bank::{bit, bits};
use super::lists::resample;
use super::owners::Place;
use super::{ListRegisters, NO_QUESTION, NOBODY, Read, Version, Vgic};
use crate::vcpus::VcpuSet;
use assay_spec::exit::Width;
use assay_spec::gic::PRIORITY_MASK;
use assay_spec::gic::row::Register;

impl Vgic {
    /// Reads a register with one bit for each interrupt of a bank. `question` tells this read from
    /// those of other registers, see [`Read::Retry`].
    pub(super) fn read_bits<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        place: Place,
        register: Register,
        question: u32,
        hw: &mut H,
    ) -> Read {
        let of_state =
            matches!(register, Register::Ispendr | Register::Icpendr | Register::Isactiver | Register::Icactiver);
        if of_state && let Some(others) = self.inspect(vcpu, place, question, hw) {
            return Read::Retry(others);
        }
        let Some(bank) = self.bank(place) else {
            return Read::Value(0);
        };
        Read::Value(u64::from(match register {
            Register::Igroupr => bank.group,
            Register::Isenabler | Register::Icenabler => bank.enabled,
            Register::Ispendr | Register::Icpendr => bank.pending(),
            Register::Isactiver | Register::Icactiver => bank.active,
            _ => 0,
        }))
    }

    /// Writes a register with one bit for each interrupt of a bank.
    pub(super) fn write_bits<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        place: Place,
        register: Register,
        value: u32,
        hw: &mut H,
    ) {
        // What is in our own List Registers we can have back at once; for others' there are orders.
        let takes_back = matches!(register, Register::Icpendr | Register::Isactiver | Register::Icactiver);
        if takes_back && self.is_listed_by(vcpu, place, value) {
            self.fold_all(vcpu, hw);
            self.changed.insert(vcpu);
        }
        // GICv2: the pending state of SGIs is read-only here (IHI 0048B §4.3.7); SPENDSGIR sets it.
        let settable = match place {
            Place::Private(_) if self.version == Version::V2 => value & !0xffff,
            _ => value,
        };
        if register == Register::Isactiver {
            self.adopt(vcpu, place, value);
        }
        let Some(bank) = self.bank_mut(place) else {
            return;
        };
        let concerned = match register {
            Register::Igroupr => value ^ core::mem::replace(&mut bank.group, value),
            Register::Isenabler => {
                let new = value & !bank.enabled;
                bank.enabled |= value;
                new
            }
            Register::Icenabler => {
                let old = value & bank.enabled;
                bank.enabled &= !value;
                old
            }
            Register::Ispendr => {
                bank.latch |= settable;
                settable
            }
            Register::Icpendr => {
                bank.latch &= !settable;
                bank.withdraw |= settable & bank.listed;
                settable & bank.listed
            }
            Register::Isactiver => {
                bank.active |= value & !bank.listed;
                bank.activate |= value & bank.listed;
                bank.deactivate &= !value;
                value
            }
            Register::Icactiver => {
                // A physical interrupt behind it is for its own CPU to deactivate.
                let ordered = value & (bank.listed | bank.active & bank.held);
                bank.active &= !(value & !ordered);
                bank.activate &= !value;
                bank.deactivate |= ordered;
                value
            }
            _ => 0,
        };
        self.note(place, concerned);
    }

    /// Reads bytes of `IPRIORITYR` from interrupt `n` of a bank on.
    pub(super) fn read_priorities(&self, place: Place, n: u32, width: Width) -> u64 {
        let Some(bank) = self.bank(place) else {
            return 0;
        };
        let mut value = 0;
        for i in 0..bytes_of(width) {
            value |= u64::from(bank.priority(n | i)) << (8 * i);
        }
        value
    }

    /// Writes bytes of `IPRIORITYR` from interrupt `n` of a bank on.
    pub(super) fn write_priorities(&mut self, place: Place, n: u32, width: Width, value: u64) {
        let Some(bank) = self.bank_mut(place) else {
            return;
        };
        let mut concerned = 0;
        for i in 0..bytes_of(width) {
            let priority = (value >> (8 * i) & 0xff) as u8 & PRIORITY_MASK;
            let old = core::mem::replace(&mut bank.priority[((n | i) & 31) as usize], priority);
            if old != priority {
                concerned |= bit(n | i);
            }
        }
        self.note(place, concerned);
    }

    /// Reads `ICFGR` of half a bank: two bits an interrupt, the upper one set if edge-triggered.
    pub(super) fn read_config(&self, place: Place, half: u32) -> u32 {
        let edge = self.bank(place).map_or(0, |bank| bank.edge >> (16 * (half & 1)) & 0xffff);
        bits(edge).fold(0, |value, n| value | 2 << (2 * n))
    }

    /// Writes `ICFGR` of half a bank. SGIs are edge-triggered whatever is written.
    pub(super) fn write_config(&mut self, place: Place, half: u32, value: u32) {
        let half = half & 1;
        if half == 0 && matches!(place, Place::Private(_)) {
            return;
        }
        let Some(bank) = self.bank_mut(place) else {
            return;
        };
        let edge = (0..16).fold(0, |edge, n| edge | (value >> (2 * n + 1) & 1) << n);
        let new = bank.edge & !(0xffff << (16 * half)) | edge << (16 * half);
        let concerned = new ^ core::mem::replace(&mut bank.edge, new);
        self.note(place, concerned);
    }

    /// Makes this model know the state of a bank, as far as the caller's own List Registers go. If
    /// others list some of it, returns them, unless they have just told what they knew.
    ///
    /// The state that the others tell is older than the end of the read, and not older than its
    /// beginning, which is all that a read of another CPU's doings can have.
    ///
    /// Enforced by `a_read_of_what_another_vcpu_has_listed_waits_for_that_vcpu`.
    pub(super) fn inspect<H: ListRegisters>(
        &mut self,
        vcpu: usize,
        place: Place,
        question: u32,
        hw: &mut H,
    ) -> Option<VcpuSet> {
        if self.is_listed_by(vcpu, place, u32::MAX) {
            self.fold_all(vcpu, hw);
            self.changed.insert(vcpu);
        }
        if let Place::Private(of) = place
            && of == vcpu
            && let Some(bank) = self.bank_mut(place)
        {
            resample(bank, u32::MAX, hw);
            return None;
        }
        let others = self.listers(place);
        let cpu = self.cpus.get_mut(vcpu)?;
        if cpu.question == question && cpu.unanswered.is_empty() || others.is_empty() {
            cpu.question = NO_QUESTION;
            self.asking.remove(vcpu);
            return None;
        }
        if cpu.question != question {
            cpu.question = question;
            cpu.unanswered = others;
        }
        let unanswered = cpu.unanswered;
        self.asking.insert(vcpu);
        self.changed = self.changed.union(unanswered);
        self.stale = self.stale.union(unanswered);
        Some(unanswered)
    }

    /// `vcpu` has folded all it had: those who waited for that need not wait for it any more.
    pub(super) fn answer(&mut self, vcpu: usize) {
        if self.asking.is_empty() {
            return;
        }
        for cpu in &mut self.cpus {
            cpu.unanswered.remove(vcpu);
        }
    }

    /// Tells whether `vcpu` lists any of `concerned`.
    pub(super) fn is_listed_by(&self, vcpu: usize, place: Place, concerned: u32) -> bool {
        match place {
            Place::Private(of) => of == vcpu && self.bank(place).is_some_and(|bank| bank.listed & concerned != 0),
            Place::Shared(word) => self
                .shared
                .get(word)
                .is_some_and(|shared| bits(shared.bank.listed & concerned).any(|n| shared.owner(n) == vcpu)),
        }
    }

    /// Who lists any interrupt of a bank.
    fn listers(&self, place: Place) -> VcpuSet {
        let mut vcpus = VcpuSet::EMPTY;
        match place {
            Place::Private(of) => {
                if self.bank(place).is_some_and(|bank| bank.listed != 0) {
                    vcpus.insert(of);
                }
            }
            Place::Shared(word) => {
                if let Some(shared) = self.shared.get(word) {
                    bits(shared.bank.listed).for_each(|n| vcpus.insert(shared.owner(n)));
                }
            }
        }
        vcpus
    }

    /// An SPI that a guest makes active by writing belongs to its target, as if that had taken it; or
    /// to the writer, if it has none.
    fn adopt(&mut self, vcpu: usize, place: Place, concerned: u32) {
        let Place::Shared(word) = place else { return };
        let Some(shared) = self.shared.get_mut(word) else {
            return;
        };
        for n in bits(concerned & !shared.bank.active & !shared.bank.listed) {
            let target = shared.target[(n & 31) as usize];
            shared.owner[(n & 31) as usize] =
                if target == NOBODY { u8::try_from(vcpu).unwrap_or(NOBODY) } else { target };
        }
    }
}

/// The bytes of an access, as a number to shift with.
pub(super) const fn bytes_of(width: Width) -> u32 {
    (width.bytes() & 0xf) as u32
}
