//! `MRS` and `MSR` by name or encoding, for the registers that `aarch64-cpu` has no type for.
//!
//! The macros are the only place in this crate, besides assembly files, that spells these instructions.

/// Reads a system register. Expands to a plain value: a read that has side effects must not go through here.
macro_rules! read_sysreg {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading this register has no side effect on memory or on the state of this program.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register. The caller's `unsafe` block states why the value is harmless to EL2.
macro_rules! write_sysreg {
    ($name:expr, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nostack, preserves_flags))
    };
}

/// `ISB`: what was written to system registers before is in effect after.
#[inline(always)]
pub(crate) fn isb() {
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
}

/// `DSB SY`.
#[inline(always)]
pub(crate) fn dsb_sy() {
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::SY);
}

/// `DSB ISH`.
#[inline(always)]
pub(crate) fn dsb_ish() {
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::ISH);
}

/// `DSB ISHST`.
#[inline(always)]
pub(crate) fn dsb_ishst() {
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::ISHST);
}

pub(crate) use {read_sysreg, write_sysreg};
