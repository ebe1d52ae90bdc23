//! Single loads and stores to any address, plain or guarded.

use core::arch::{asm, global_asm};

use crate::exception::{self, Caught};

macro_rules! access {
    ($read:ident, $write:ident, $type:ty, $load:literal, $store:literal) => {
        /// Reads by one load instruction.
        pub fn $read(address: u64) -> $type {
            let value: u64;
            // SAFETY: the guest owns its machine; see the crate's words on raw access.
            unsafe { asm!($load, v = out(reg) value, a = in(reg) address) };
            value as $type
        }
        /// Writes by one store instruction.
        pub fn $write(address: u64, value: $type) {
            let value = value as u64;
            // SAFETY: the guest owns its machine; see the crate's words on raw access.
            unsafe { asm!($store, v = in(reg) value, a = in(reg) address) };
        }
    };
}
access!(read8, write8, u8, "ldrb {v:w}, [{a}]", "strb {v:w}, [{a}]");
access!(read16, write16, u16, "ldrh {v:w}, [{a}]", "strh {v:w}, [{a}]");
access!(read32, write32, u32, "ldr {v:w}, [{a}]", "str {v:w}, [{a}]");
access!(read64, write64, u64, "ldr {v:x}, [{a}]", "str {v:x}, [{a}]");

global_asm!(
    r#"
    .section .text.probes, "ax"
kit_ldrb: ldrb w0, [x0]
    ret
kit_ldrh: ldrh w0, [x0]
    ret
kit_ldr32: ldr w0, [x0]
    ret
kit_ldr64: ldr x0, [x0]
    ret
kit_strb: strb w1, [x0]
    dsb sy
    ret
kit_strh: strh w1, [x0]
    dsb sy
    ret
kit_str32: str w1, [x0]
    dsb sy
    ret
kit_str64: str x1, [x0]
    dsb sy
    ret
kit_ldp: ldp x0, x1, [x0]
    ret
"#
);

unsafe extern "C" {
    fn kit_ldrb();
    fn kit_ldrh();
    fn kit_ldr32();
    fn kit_ldr64();
    fn kit_strb();
    fn kit_strh();
    fn kit_str32();
    fn kit_str64();
    fn kit_ldp();
}

/// Loads `bytes` (1, 2, 4; anything else is 8) from `address`; an exception comes back as an error.
pub fn probe_read(address: u64, bytes: u32) -> Result<u64, Caught> {
    let load = match bytes {
        1 => kit_ldrb,
        2 => kit_ldrh,
        4 => kit_ldr32,
        _ => kit_ldr64,
    };
    exception::guarded(load as *const () as u64, address, 0)
}

/// Stores `bytes` (1, 2, 4; anything else is 8) of `value` at `address`; an exception comes back as
/// an error.
pub fn probe_write(address: u64, value: u64, bytes: u32) -> Result<(), Caught> {
    let store = match bytes {
        1 => kit_strb,
        2 => kit_strh,
        4 => kit_str32,
        _ => kit_str64,
    };
    exception::guarded(store as *const () as u64, address, value).map(|_| ())
}

/// Loads a pair of registers from `address`: a load that no syndrome describes (ISV = 0).
pub fn probe_read_pair(address: u64) -> Result<u64, Caught> {
    exception::guarded(kit_ldp as *const () as u64, address, 0)
}
