//! Every `HVC` and `SMC` of a guest: which function it names and who answers (DEN0028).
//!
//! Nothing is passed on to firmware under a guest's id and arguments. Two of the calls have firmware behind
//! them, by EL2's own decision: the workarounds that the host's CPUs need ([`Reply::Workaround`]), and
//! entropy, which may come from there.
//!
//! SMCCC 1.1: x4 to x30 are preserved, and so are x1 to x3 unless the call returns something in them.

use assay_spec::cpu_id::VcpuId;
use assay_spec::psci::{self as psci_id, ret::register};
use assay_spec::smccc::{self as id, ret};

use crate::layout;
use crate::psci;

#[cfg(test)]
mod tests;
mod trng;

pub use trng::{Source, call as trng, is_trng};

/// What goes back to the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// x0 = this; x1 to x3 unchanged.
    One(u64),
    /// x0 to x3.
    Four([u64; 4]),
    /// Do the host's own workaround on this CPU, then x0 = 0.
    Workaround(Workaround),
    /// From now on the vCPU runs with workaround 2, or without, then x0 = 0.
    StoreBypass {
        /// Loads may pass stores whose address is not yet known.
        allowed: bool,
    },
}

/// A workaround that firmware carries out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workaround {
    /// SMCCC_ARCH_WORKAROUND_1: branch predictor (CVE-2017-5715).
    One,
    /// SMCCC_ARCH_WORKAROUND_3: branch history as well (CVE-2022-23960).
    Three,
}

/// What a guest is told of one workaround.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mitigation {
    /// Nothing is known or can be done: NOT_SUPPORTED.
    #[default]
    Unknown,
    /// The guest is to call it.
    Call,
    /// These CPUs do not need it.
    NotNeeded,
}

/// What the host's CPUs and firmware say of the workarounds; several CPUs: the worst answer of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// `ID_AA64PFR0_EL1.CSV2`.
    pub csv2: u8,
    /// `ID_AA64PFR1_EL1.SSBS` is not 0: the guest has `PSTATE.SSBS` and needs no workaround 2.
    pub ssbs: bool,
    /// Firmware's answers to SMCCC_ARCH_FEATURES for workarounds 1, 2 and 3; -1 where there is no firmware.
    pub firmware: [i32; 3],
}

/// Returns the worst of several CPUs' answers to SMCCC_ARCH_FEATURES for workarounds 1, 2 and 3.
///
/// For 1 and 3: one that firmware does, and so is needed, is worse than one of which nothing is known: calling it helps
/// that CPU and harms no other. For 2, which may leave a CPU open, nothing known is the worst.
pub fn worst(answers: impl Iterator<Item = [i32; 3]>) -> [i32; 3] {
    let call_first = |answer: i32| match answer {
        0 => 0,
        1 => 2,
        _ => 1,
    };
    let known_last = |answer: i32| match answer {
        NOT_REQUIRED | 1 => 2,
        0 => 1,
        _ => 0,
    };
    let worse = |one: [i32; 3], other: [i32; 3]| {
        let pick = |at: usize, rank: &dyn Fn(i32) -> i32| {
            if rank(other[at]) < rank(one[at]) { other[at] } else { one[at] }
        };
        [pick(0, &call_first), pick(1, &known_last), pick(2, &call_first)]
    };
    answers.reduce(worse).unwrap_or([-1; 3])
}

/// The three workarounds as guests see them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Workarounds {
    one: Mitigation,
    two: Mitigation,
    three: Mitigation,
}

impl Workarounds {
    /// Decides what guests are told.
    ///
    /// The state of workaround 2 belongs to the physical CPU: EL2 has it on while it runs itself, and as the vCPU wants it
    /// while that runs.
    pub fn new(host: &HostFacts) -> Self {
        let [one, two, three] = host.firmware;
        let two = if two == NOT_REQUIRED { Mitigation::NotNeeded } else { by_firmware(two) };
        Self {
            one: if host.csv2 >= 1 { Mitigation::NotNeeded } else { by_firmware(one) },
            two: if host.ssbs { Mitigation::Unknown } else { two },
            three: if host.csv2 >= 3 { Mitigation::NotNeeded } else { by_firmware(three) },
        }
    }
}

impl Workarounds {
    /// Returns what firmware has to do when one guest's vCPU follows another's on a CPU, so that the branch
    /// predictor's state of one does not serve the other.
    pub fn between_guests(&self) -> Option<Workaround> {
        if self.three == Mitigation::Call {
            Some(Workaround::Three)
        } else if self.one == Mitigation::Call {
            Some(Workaround::One)
        } else {
            None
        }
    }

    /// Tells whether branch prediction of one guest may serve another on the same CPU, and firmware says nothing of
    /// it: `CSV2` is 0 and neither workaround is offered (DEN0028 §7.5, §7.7).
    pub fn is_branch_prediction_shared(&self) -> bool {
        self.one == Mitigation::Unknown && self.between_guests().is_none()
    }
}

/// SMCCC_RET_NOT_REQUIRED: workaround 2 is not needed.
const NOT_REQUIRED: i32 = -2;

fn by_firmware(answer: i32) -> Mitigation {
    match answer {
        0 => Mitigation::Call,
        1 => Mitigation::NotNeeded,
        _ => Mitigation::Unknown,
    }
}

/// Answers what is the same for every VM at any time: x0, or `None` if [`handle_lockless`] must look.
///
/// This is the short way: PSCI_VERSION, and NOT_SUPPORTED for what is clearly nobody's id.
#[inline]
pub fn fast_path(fid: u32) -> Option<u64> {
    if fid == psci_id::VERSION {
        return Some(psci_id::VERSION_1_1.into());
    }
    // Somebody's: the Arm Architecture calls, fast and 32-bit, PSCI and TRNG (DEN0028 §6).
    if is_psci(fid) || is_trng(fid) || fid >> 16 == id::FAST >> 16 {
        return None;
    }
    Some(register(ret::NOT_SUPPORTED))
}

/// Tells whether an id lies in PSCI's range, of either convention.
const fn is_psci(fid: u32) -> bool {
    fid & !(id::SMC64 | (psci_id::COUNT - 1)) == psci_id::BASE
}

/// Answers a call that needs nothing of the VM's shared state: `fid` from w0, `args` from x1 to x3.
///
/// `None`: it is PSCI's, for [`psci::PowerTable::call`] under the VM's lock. TRNG's are [`trng()`]'s.
pub fn handle_lockless(fid: u32, args: [u64; 3], workarounds: &Workarounds) -> Option<Reply> {
    if let Some(answer) = fast_path(fid) {
        return Some(Reply::One(answer));
    }
    let first = args[0];
    let code = match fid {
        psci_id::FEATURES => psci::features(first),
        _ if is_psci(fid) => return None,
        id::VERSION => return Some(Reply::One(id::VERSION_1_1.into())),
        id::ARCH_FEATURES => arch_features(first, workarounds),
        id::ARCH_WORKAROUND_1 => return Some(workaround(workarounds.one, Workaround::One)),
        id::ARCH_WORKAROUND_2 => match workarounds.two {
            Mitigation::Unknown => ret::NOT_SUPPORTED,
            Mitigation::Call => return Some(Reply::StoreBypass { allowed: first & 0xffff_ffff == 0 }),
            Mitigation::NotNeeded => ret::SUCCESS,
        },
        id::ARCH_WORKAROUND_3 => return Some(workaround(workarounds.three, Workaround::Three)),
        _ => ret::NOT_SUPPORTED,
    };
    Some(Reply::One(register(code)))
}

/// Tells whether [`stolen_time`] may answer a call.
#[inline(always)]
pub const fn may_be_stolen_time(fid: u32) -> bool {
    const { assert!(id::PV_TIME_ST == id::PV_TIME_FEATURES | 1) };
    fid | 1 == id::PV_TIME_ST || fid == id::ARCH_FEATURES
}

/// Answers the calls about stolen time (DEN0057) of vCPU `vcpu`, for a VM that shares CPUs: x0, or `None` if it
/// is another call. Asked first, since to every other VM these do not exist.
pub fn stolen_time(fid: u32, first: u64, vcpu: VcpuId) -> Option<u64> {
    let offered = |query: u64| {
        let query = query & 0xffff_ffff;
        query == id::PV_TIME_FEATURES.into() || query == id::PV_TIME_ST.into()
    };
    Some(match fid {
        id::ARCH_FEATURES if first & 0xffff_ffff == id::PV_TIME_FEATURES.into() => register(ret::SUCCESS),
        id::PV_TIME_FEATURES if offered(first) => register(ret::SUCCESS),
        id::PV_TIME_FEATURES => register(ret::NOT_SUPPORTED),
        id::PV_TIME_ST => {
            stolen_time_at(vcpu).map_or(register(ret::NOT_SUPPORTED), |offset| layout::STOLEN_TIME.start.0 + offset)
        }
        _ => return None,
    })
}

/// Bytes of one vCPU's stolen time structure, and the offset of the time in it, 64 bits of nanoseconds
/// (DEN0057 §3.2). Revision and attributes before it are zero.
const STOLEN_TIME_SIZE: u64 = 64;
/// Offset of the stolen time in a vCPU's structure.
pub const STOLEN_TIME_OFFSET: u64 = 8;

/// Returns where in [`layout::STOLEN_TIME`] a vCPU's structure is.
pub fn stolen_time_at(vcpu: VcpuId) -> Option<u64> {
    let offset = (vcpu.0 as u64).checked_mul(STOLEN_TIME_SIZE)?;
    (offset < layout::STOLEN_TIME.size).then_some(offset)
}

/// SMCCC_ARCH_FEATURES (DEN0028 §7.3): 0 = there, 1 = there but not needed on these CPUs.
fn arch_features(query: u64, workarounds: &Workarounds) -> i32 {
    let mitigation = match u32::try_from(query & 0xffff_ffff) {
        Ok(id::VERSION | id::ARCH_FEATURES) => return ret::SUCCESS,
        Ok(id::ARCH_WORKAROUND_1) => workarounds.one,
        Ok(id::ARCH_WORKAROUND_2) => workarounds.two,
        Ok(id::ARCH_WORKAROUND_3) => workarounds.three,
        _ => Mitigation::Unknown,
    };
    match mitigation {
        Mitigation::Unknown => ret::NOT_SUPPORTED,
        Mitigation::Call => ret::SUCCESS,
        Mitigation::NotNeeded => ret::WORKAROUND_NOT_AFFECTED,
    }
}

/// A workaround's own call: done only where it was offered as needed, without effect where not needed.
fn workaround(mitigation: Mitigation, which: Workaround) -> Reply {
    match mitigation {
        Mitigation::Unknown => Reply::One(register(ret::NOT_SUPPORTED)),
        Mitigation::Call => Reply::Workaround(which),
        Mitigation::NotNeeded => Reply::One(register(ret::SUCCESS)),
    }
}
