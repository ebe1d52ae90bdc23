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

/// Writes a register that governs EL1, EL0, interrupts or timers. It is checked at compile time that it is one.
macro_rules! write_sysreg {
    ($name:expr, $value:expr) => {{
        const { assert!($crate::sysreg::spares_el2($name)) };
        let value: u64 = $value;
        // SAFETY: whatever the value is, EL2's map, stack and code stay as they are, and with interrupts masked and
        // MDCR_EL2.TDE = 0 EL2 takes no exception of it; a register that is absent is UNDEFINED, which ends in `fatal`.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags));
        }
    }};
}

/// Writes a register that governs EL2 or stage 2. The caller's `unsafe` block states why the value is sound.
macro_rules! write_el2 {
    ($name:literal, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nostack, preserves_flags))
    };
}

/// Tells by its name or encoding whether a register is EL1's or EL0's own, or one of EL2's for interrupts and timers.
pub(crate) const fn spares_el2(name: &str) -> bool {
    const BEGINNINGS: [&str; 10] = [
        "s2_0_",
        "s3_0_",
        "s3_3_",
        "ich_",
        "icc_",
        "cnthp_",
        "cntvoff_el2",
        // VDISR_EL2, ICH_LR<n>_EL2.
        "s3_4_c12_c1_1",
        "s3_4_c12_c12_",
        "s3_4_c12_c13_",
    ];
    let is_lower = is_at(name, name.len() - 4, "_el1") || is_at(name, name.len() - 4, "_el0");
    // PSTATE; error records; profiling and trace buffers, whose addresses may be EL2's; and what is IMPLEMENTATION
    // DEFINED, for the whole core.
    const SPARED_NOT: [&str; 7] = ["_c4_c2_", "_c4_c3_", "_c5_c4_", "_c5_c5_", "_c9_c1", "_c11_", "_c15_"];
    const NAMED_NOT: [&str; 4] = ["actlr_", "pmb", "pms", "trb"];
    let (mut is_other, mut index) = (false, 0);
    while index < SPARED_NOT.len() {
        is_other |= is_at(name, 4, SPARED_NOT[index]);
        index += 1;
    }
    index = 0;
    while index < NAMED_NOT.len() {
        is_other |= is_at(name, 0, NAMED_NOT[index]);
        index += 1;
    }
    let mut known = is_lower;
    let mut index = 0;
    while index < BEGINNINGS.len() {
        known |= is_at(name, 0, BEGINNINGS[index]);
        index += 1;
    }
    // Of the performance monitors, not of profiling.
    known && (!is_other || is_at(name, 0, "pmselr_"))
}

/// Tells whether `part` is in `name` at byte `at`.
const fn is_at(name: &str, at: usize, part: &str) -> bool {
    let (name, part) = (name.as_bytes(), part.as_bytes());
    let mut index = 0;
    while index < part.len() {
        if at + index >= name.len() || name[at + index] != part[index] {
            return false;
        }
        index += 1;
    }
    true
}

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
            fn load(&self) {
                $(write_sysreg!($name, self.$field);)*
            }
        }
    };
}

/// `TLBI` and `IC` by name, without an address.
macro_rules! invalidate {
    ($($kind:ident $what:ident),+) => {
        // SAFETY: neither is ever dirty: the hardware only walks and fetches again.
        unsafe {
            core::arch::asm!($(concat!(stringify!($kind), " ", stringify!($what)),)+ options(nostack, preserves_flags))
        }
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

/// `DMB SY`.
#[inline(always)]
pub(crate) fn dmb_sy() {
    aarch64_cpu::asm::barrier::dmb(aarch64_cpu::asm::barrier::SY);
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

pub(crate) use {bank, invalidate, read_sysreg, write_el2, write_sysreg};
