//! Which of a VM's vCPUs are on, and the PSCI 1.1 calls that change or ask that (DEN0022).
//!
//! Decides and keeps the books; starting, parking and stopping vCPUs is the caller's, who does what the
//! [`Outcome`] says. Calls that need no books are in [`crate::smccc`], which is where every `HVC` and `SMC`
//! of a guest goes first.
//!
//! Not offered, as the specification allows: MEM_PROTECT, CPU_FREEZE, CPU_DEFAULT_SUSPEND,
//! NODE_HW_STATE, SYSTEM_SUSPEND, OS-initiated suspend and the statistics.

use assay_spec::cpu_id::VcpuId;
use assay_spec::psci::{self as id, affinity as info, ret, smc64};
use assay_spec::smccc;

use crate::life::Stop;
use crate::speculation::below;
use crate::stage::{Stage, Start};
use crate::vcpus::VcpuSet;

#[cfg(test)]
mod tests;

/// vCPUs of a VM at most.
pub const MAX_VCPUS: usize = 64;
/// vCPUs that share Aff1: the most that one `ICC_SGI1R_EL1` TargetList reaches (IHI0069H).
const CLUSTER: u64 = 16;

/// PowerLevel of `power_state` in the original format, bits 25:24: only level 0, the vCPU itself, can be
/// suspended.
const POWER_LEVEL: u32 = 3 << 24;

// The SMC64 forms, as constants because a match needs them.
const CPU_SUSPEND_64: u32 = smc64(id::CPU_SUSPEND);
const CPU_ON_64: u32 = smc64(id::CPU_ON);
const AFFINITY_INFO_64: u32 = smc64(id::AFFINITY_INFO);
const SYSTEM_RESET2_64: u32 = smc64(id::SYSTEM_RESET2);

/// The functions that there are, apart from SMCCC_VERSION.
const OFFERED: [u32; 14] = [
    id::VERSION,
    id::CPU_SUSPEND,
    CPU_SUSPEND_64,
    id::CPU_OFF,
    id::CPU_ON,
    CPU_ON_64,
    id::AFFINITY_INFO,
    AFFINITY_INFO_64,
    id::MIGRATE_INFO_TYPE,
    id::SYSTEM_OFF,
    id::SYSTEM_RESET,
    id::FEATURES,
    id::SYSTEM_RESET2,
    SYSTEM_RESET2_64,
];

/// Power state of one vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Power {
    /// Off.
    #[default]
    Off,
    /// Told to start, not yet started.
    OnPending(Start),
    /// On.
    On,
    /// On, and waiting in CPU_SUSPEND. For the other vCPUs that is the same as on.
    Suspended,
}

/// What a call asks of the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// x0 = this; go on.
    Return(u64),
    /// x0 = 0 (SUCCESS); go on, and make vCPU `target` look for its [`PowerTable::take_start`].
    TurnOn {
        /// The vCPU to wake.
        target: VcpuId,
    },
    /// The calling vCPU leaves its guest: it is off, or waits, after which call [`PowerTable::resume`]. From standby
    /// it goes on with x0 = 0.
    Leave(Stage),
    /// The VM stops.
    Stop(Stop),
}

/// The power states of one VM's vCPUs.
pub struct PowerTable {
    count: usize,
    states: [Power; MAX_VCPUS],
}

impl PowerTable {
    /// Makes the table of a VM with `vcpus` vCPUs, at most [`MAX_VCPUS`], all off.
    pub const fn new(vcpus: usize) -> Self {
        let count = if vcpus < MAX_VCPUS { vcpus } else { MAX_VCPUS };
        Self { count, states: [Power::Off; MAX_VCPUS] }
    }

    /// Returns to the state after [`Self::new`]: all vCPUs off, starts that were pending forgotten.
    pub fn reset(&mut self) {
        self.states = [Power::Off; MAX_VCPUS];
    }

    /// Makes vCPU 0 start: what a boot loader would do, by no call of the guest's. After `reset` only.
    pub fn boot(&mut self, start: Start) {
        self.set(VcpuId(0), Power::OnPending(start));
    }

    /// Returns a vCPU's state; one that the VM does not have is off.
    pub fn state(&self, vcpu: VcpuId) -> Power {
        self.live().get(vcpu.0).copied().unwrap_or_default()
    }

    /// Returns the vCPUs that are on, suspended or about to start.
    pub fn not_off(&self) -> VcpuSet {
        let mut set = VcpuSet::EMPTY;
        for vcpu in (0..self.count).map(VcpuId) {
            if self.state(vcpu) != Power::Off {
                set.insert(vcpu);
            }
        }
        set
    }

    /// Takes what vCPU `vcpu` is to start with, if it was told to start; from then on it is on.
    pub fn take_start(&mut self, vcpu: VcpuId) -> Option<Start> {
        let Power::OnPending(start) = self.state(vcpu) else {
            return None;
        };
        self.set(vcpu, Power::On);
        Some(start)
    }

    /// Notes that a vCPU's CPU_SUSPEND is over.
    pub fn resume(&mut self, vcpu: VcpuId) {
        if self.state(vcpu) == Power::Suspended {
            self.set(vcpu, Power::On);
        }
    }

    /// Decides a call by vCPU `caller`: `fid` from w0, `args` from x1 to x3.
    ///
    /// `is_code` tells whether an IPA lies in the VM's RAM, where a vCPU may start. Of a 32-bit call only
    /// the lower halves of the arguments count: SMC32 passes them in w1 to w3 (DEN0028). An id that is not PSCI's, or not offered,
    /// gets NOT_SUPPORTED.
    pub fn call(&mut self, fid: u32, args: [u64; 3], caller: VcpuId, is_code: &dyn Fn(u64) -> bool) -> Outcome {
        let [a, b, c] = if fid & id::SMC64_BIT == 0 { args.map(|arg| arg & 0xffff_ffff) } else { args };
        match fid {
            id::VERSION => Outcome::Return(id::VERSION_1_1.into()),
            id::CPU_SUSPEND | CPU_SUSPEND_64 => self.cpu_suspend(caller, a, b, c, is_code),
            id::CPU_OFF => self.cpu_off(caller),
            id::CPU_ON | CPU_ON_64 => self.cpu_on(a, b, c, is_code),
            id::AFFINITY_INFO | AFFINITY_INFO_64 => code(self.affinity_info(fid, [a, b])),
            id::MIGRATE_INFO_TYPE => code(id::MIGRATE_NOT_REQUIRED),
            id::SYSTEM_OFF => Outcome::Stop(Stop::PowerOff),
            id::SYSTEM_RESET => Outcome::Stop(Stop::Reset),
            id::SYSTEM_RESET2 | SYSTEM_RESET2_64 => system_reset2(a),
            id::FEATURES => code(features(a)),
            _ => code(ret::NOT_SUPPORTED),
        }
    }

    /// CPU_OFF (§5.1.3). It is DENIED only for a Trusted OS's sake, and there is none: even the last vCPU
    /// may go, and with it the VM, since nobody can call it back.
    fn cpu_off(&mut self, caller: VcpuId) -> Outcome {
        self.set(caller, Power::Off);
        if self.not_off().is_empty() { Outcome::Stop(Stop::PowerOff) } else { Outcome::Leave(Stage::Off) }
    }

    /// CPU_ON (§5.1.4). Errors, in this order: INVALID_PARAMETERS (no such vCPU), ALREADY_ON, ON_PENDING,
    /// INVALID_ADDRESS (not RAM, or not aligned to an instruction).
    fn cpu_on(&mut self, target: u64, entry: u64, context: u64, is_code: &dyn Fn(u64) -> bool) -> Outcome {
        let Some(target) = self.vcpu_of(target) else {
            return code(ret::INVALID_PARAMETERS);
        };
        match self.state(target) {
            Power::On | Power::Suspended => return code(ret::ALREADY_ON),
            Power::OnPending(_) => return code(ret::ON_PENDING),
            Power::Off => {}
        }
        if !is_entry(entry, is_code) {
            return code(ret::INVALID_ADDRESS);
        }
        self.set(target, Power::OnPending(Start { entry, context }));
        Outcome::TurnOn { target }
    }

    /// CPU_SUSPEND (§5.1.2). Every StateID means the same, as there is one way to wait; levels above the
    /// vCPU's are INVALID_PARAMETERS.
    fn cpu_suspend(
        &mut self,
        caller: VcpuId,
        power_state: u64,
        entry: u64,
        context: u64,
        is_code: &dyn Fn(u64) -> bool,
    ) -> Outcome {
        // In the 64-bit call too, power_state is 32 bits wide.
        let power_state = low_half(power_state);
        if power_state & (id::POWER_STATE_RESERVED | POWER_LEVEL) != 0 {
            return code(ret::INVALID_PARAMETERS);
        }
        let power_down = if power_state & id::POWER_STATE_POWER_DOWN == 0 {
            None
        } else if is_entry(entry, is_code) {
            Some(Start { entry, context })
        } else {
            return code(ret::INVALID_ADDRESS);
        };
        self.set(caller, Power::Suspended);
        Outcome::Leave(Stage::Suspended(power_down))
    }

    /// AFFINITY_INFO (§5.1.5): of one vCPU (level 0), or of all that share the affinity fields from `level`
    /// up, where one that is on outweighs one about to start, and that all that are off. `args` as in [`Self::call`].
    #[inline(always)]
    pub fn affinity_info(&self, fid: u32, [target, level]: [u64; 2]) -> i32 {
        let target = if fid & id::SMC64_BIT == 0 { target & 0xffff_ffff } else { target };
        // In the 64-bit call too, the level is 32 bits wide.
        let below = match low_half(level) {
            0 => return self.vcpu_of(target).map_or(ret::INVALID_PARAMETERS, |vcpu| told(self.state(vcpu))),
            1 => 0xff,
            2 => 0xffff,
            3 => 0xff_ffff,
            _ => return ret::INVALID_PARAMETERS,
        };
        let mut answer = ret::INVALID_PARAMETERS;
        for vcpu in (0..self.count).map(VcpuId) {
            if affinity(vcpu) & !below != target & !below {
                continue;
            }
            answer = match (told(self.state(vcpu)), answer) {
                (info::ON, _) => return info::ON,
                (_, info::ON_PENDING) => info::ON_PENDING,
                (told, _) => told,
            };
        }
        answer
    }

    /// Returns the vCPU with these affinity fields; bits outside them must be zero (§5.1.4, `target_cpu`),
    /// so an MPIDR with its RES1 bit 31 left in is refused, as firmware refuses it.
    #[inline(always)]
    fn vcpu_of(&self, target: u64) -> Option<VcpuId> {
        let (low, high) = (target & 0xff, target >> 8);
        if low >= CLUSTER || high >= CLUSTER {
            return None;
        }
        below(usize::try_from(high * CLUSTER + low).ok()?, self.count).map(VcpuId)
    }

    fn live(&self) -> &[Power] {
        self.states.get(..self.count).unwrap_or_default()
    }

    fn set(&mut self, vcpu: VcpuId, state: Power) {
        if let Some(slot) = self.states.get_mut(..self.count).and_then(|live| live.get_mut(vcpu.0)) {
            *slot = state;
        }
    }
}

/// Tells whether an id is AFFINITY_INFO's, of either convention.
pub const fn is_affinity_info(fid: u32) -> bool {
    fid & !id::SMC64_BIT == id::AFFINITY_INFO
}

/// Returns `MPIDR_EL1` of a VM's vCPU: 16 vCPUs share Aff1, so that `ICC_SGI1R_EL1` reaches each; bit 31
/// is RES1.
pub const fn mpidr(vcpu: VcpuId) -> u64 {
    (1 << 31) | affinity(vcpu)
}

/// PSCI_FEATURES of the function id in `query`: 0 if it is offered. For CPU_SUSPEND, 0 also
/// says: original `power_state` format, no OS-initiated mode. SMCCC_VERSION must be asked for this way
/// before a guest may call it (DEN0028 §7.1).
pub fn features(query: u64) -> i32 {
    let query = low_half(query);
    if OFFERED.contains(&query) || query == smccc::VERSION { ret::SUCCESS } else { ret::NOT_SUPPORTED }
}

/// SYSTEM_RESET2. Of the architectural types only SYSTEM_WARM_RESET exists, and it is a reset like
/// the other here; there are no vendor types (bit 31).
fn system_reset2(reset_type: u64) -> Outcome {
    if low_half(reset_type) == id::SYSTEM_WARM_RESET {
        Outcome::Stop(Stop::Reset)
    } else {
        code(ret::INVALID_PARAMETERS)
    }
}

/// Tells whether a vCPU may start at `entry`. EL1 is AArch64 only, so bits 1:0 have no other meaning.
fn is_entry(entry: u64, is_code: &dyn Fn(u64) -> bool) -> bool {
    entry & 3 == 0 && is_code(entry)
}

/// The affinity fields of a vCPU.
pub const fn affinity(vcpu: VcpuId) -> u64 {
    let vcpu = vcpu.0 as u64;
    ((vcpu / CLUSTER) << 8) | (vcpu % CLUSTER)
}

/// What AFFINITY_INFO says of one vCPU.
#[inline(always)]
const fn told(state: Power) -> i32 {
    match state {
        Power::On | Power::Suspended => info::ON,
        Power::OnPending(_) => info::ON_PENDING,
        Power::Off => info::OFF,
    }
}

fn code(code: i32) -> Outcome {
    Outcome::Return(ret::register(code))
}

fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
