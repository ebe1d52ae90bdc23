//! TRNG 1.0, the firmware interface for random numbers (DEN0098), answered from a source of EL2's.
//!
//! What the source is (`RNDRRS`, the host's own TRNG firmware) is the caller's choice and must be good
//! enough to seed a kernel's generator: this adds nothing to it.

use assay_spec::psci::ret::register;
use assay_spec::smccc::{self as id, ret};

use super::Reply;

/// Gives 64 random bits, or `None` if there are none now. Without a source, TRNG is not offered.
pub type Source<'a> = &'a mut dyn FnMut() -> Option<u64>;

/// TRNG_VERSION: 1.0.
const VERSION: u32 = id::version(1, 0);
/// TRNG_GET_UUID: 6f8be83c-fffa-4b82-b554-b23789667373, which is this back end's and nobody else's; as four
/// words whose lowest byte is the UUID's next one (DEN0098 §2.3).
const UUID: [u64; 4] = [0x3ce8_8b6f, 0x824b_faff, 0x37b2_54b5, 0x7373_6689];

/// Tells whether an id lies in TRNG's range, of either convention.
pub const fn is_trng(fid: u32) -> bool {
    fid & !(id::SMC64 | 3) == id::TRNG_VERSION
}

/// Answers a call in TRNG's range; `first` is x1. `source` is where random numbers come from; without one, TRNG is not offered.
#[inline(always)]
pub fn call(fid: u32, first: u64, source: Option<Source<'_>>) -> Reply {
    let Some(source) = source else {
        return error(ret::NOT_SUPPORTED);
    };
    match fid {
        id::TRNG_RND64 => random(first, 64, source),
        id::TRNG_RND32 => random(first & 0xffff_ffff, 32, source),
        _ => about(fid, first),
    }
}

/// Answers what is asked once.
#[cold]
fn about(fid: u32, first: u64) -> Reply {
    match fid {
        id::TRNG_VERSION => Reply::One(VERSION.into()),
        id::TRNG_FEATURES => error(features(first)),
        id::TRNG_GET_UUID => Reply::Four(UUID),
        _ => error(ret::NOT_SUPPORTED),
    }
}

fn features(query: u64) -> i32 {
    match u32::try_from(query & 0xffff_ffff) {
        Ok(id::TRNG_VERSION | id::TRNG_FEATURES | id::TRNG_GET_UUID | id::TRNG_RND32 | id::TRNG_RND64) => ret::SUCCESS,
        _ => ret::NOT_SUPPORTED,
    }
}

/// TRNG_RND (§2.4): `bits` random bits, at most three registers of `width` each; x3 has the lowest, and
/// bits above those asked for are 0. All or nothing: NO_ENTROPY gives none.
#[inline(always)]
fn random(bits: u64, width: u64, source: Source<'_>) -> Reply {
    if bits == 0 || bits > 3 * width {
        return error(ret::TRNG_INVALID_PARAMETERS);
    }
    let mut reply = [0; 4];
    let mut left = bits;
    for register in reply.iter_mut().rev() {
        // At most 64, and never 64 as a shift.
        let here = left.min(width);
        if here == 0 {
            break;
        }
        let Some(random) = source() else {
            return error(ret::TRNG_NO_ENTROPY);
        };
        *register = random & (u64::MAX >> (64 - here));
        left = left.saturating_sub(here);
    }
    Reply::Four(reply)
}

fn error(code: i32) -> Reply {
    Reply::One(register(code))
}
