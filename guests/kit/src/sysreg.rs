//! System registers, by name or by encoding as the assembler takes it (`"s3_0_c1_c0_6"`).

/// Reads a system register.
#[macro_export]
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: the guest owns its machine.
        unsafe { ::core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value) };
        value
    }};
}

/// Writes a system register and synchronises.
#[macro_export]
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the guest owns its machine.
        unsafe { ::core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value) };
    }};
}

pub use crate::{read_register as read, write_register as write};
