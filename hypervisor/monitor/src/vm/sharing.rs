//! What a VM that shares CPUs has besides: its vCPUs in the pool, and the time that was stolen from them.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use assay_el2::cpu;
use assay_el2::guest_ram::GuestRam;
use assay_el2::lock::Relax;
use assay_model::lock::{Mutex, TIME};
use assay_model::schedule::Entity;
use assay_model::smccc;
use assay_model::vcpus::VcpuSet;
use assay_spec::cpu_id::{PcpuId, VcpuId};

use crate::pool;

/// What a VM that shares CPUs has besides.
pub(crate) struct Sharing {
    /// The scheduler's number of vCPU 0; the others follow.
    first: usize,
    /// The vCPU of this VM that was last on each CPU; [`NOBODY`] at first.
    last: Vec<AtomicUsize>,
    /// Where the vCPUs read how much time was stolen from them.
    time: Mutex<GuestRam, TIME, Relax>,
    /// Ticks that were stolen from each before this life.
    before: Vec<AtomicU64>,
}

const NOBODY: usize = usize::MAX;

impl Sharing {
    /// For a VM with `vcpus` vCPUs, numbered from `first` in the pool, on a machine with `cpus` CPUs. Stolen time is
    /// told in `time`.
    pub(crate) fn new(first: usize, vcpus: usize, cpus: usize, time: GuestRam) -> Self {
        Self {
            first,
            last: (0..cpus).map(|_| AtomicUsize::new(NOBODY)).collect(),
            time: Mutex::new(time),
            before: (0..vcpus).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn entity(&self, vcpu: VcpuId) -> Entity {
        Entity(self.first + vcpu.0)
    }

    /// Returns for how many milliseconds of this life vCPU `vcpu` has waited for a CPU.
    pub(crate) fn stolen_ms(&self, vcpu: VcpuId) -> u64 {
        let mut ms = 0;
        if let Some(pool) = pool::get() {
            pool.stolen([self.entity(vcpu)].into_iter(), |stolen| {
                ms = nanoseconds(self.of_this_life(vcpu, stolen)) / 1_000_000
            });
        }
        ms
    }

    /// Returns for how many milliseconds since the boot vCPU `vcpu` had a CPU.
    pub(crate) fn ran_ms(&self, vcpu: VcpuId) -> u64 {
        pool::get().map_or(0, |pool| nanoseconds(pool.ran(self.entity(vcpu))) / 1_000_000)
    }

    /// Makes these vCPUs runnable.
    #[inline(never)]
    pub(crate) fn wake(&self, vcpus: VcpuSet) {
        if let Some(pool) = pool::get() {
            vcpus.iter().for_each(|vcpu| pool.wake(self.entity(vcpu)));
        }
    }

    /// Begins a life: from now on stolen time counts, from zero.
    pub(crate) fn begin(&self) {
        let Some(pool) = pool::get() else { return };
        let mut time = self.time.lock();
        let all = 0..time.region().size;
        // It is the whole of it, so it is in range.
        let _ = time.zero(all);
        let mut before = self.before.iter();
        pool.stolen((0..self.before.len()).map(|vcpu| self.entity(VcpuId(vcpu))), |stolen| {
            if let Some(before) = before.next() {
                before.store(stolen, Ordering::Relaxed);
            }
        });
    }

    /// Tells a vCPU how much time was stolen from it: `stolen` in ticks since the boot.
    pub(crate) fn tell(&self, vcpu: VcpuId, stolen: u64) {
        if let Some(at) = smccc::stolen_time_at(vcpu) {
            let ns = nanoseconds(self.of_this_life(vcpu, stolen));
            // The structure of a vCPU that there is lies in the page.
            let _ = self.time.lock().store(at + smccc::STOLEN_TIME_OFFSET, ns);
        }
    }

    fn of_this_life(&self, vcpu: VcpuId, stolen: u64) -> u64 {
        stolen.saturating_sub(self.before[vcpu.0].load(Ordering::Relaxed))
    }

    /// Notes that `vcpu` runs on CPU `cpu` now. Returns whether it was the last of this VM to do so before.
    pub(crate) fn was_last(&self, vcpu: VcpuId, cpu: PcpuId) -> bool {
        self.last[cpu.0].swap(vcpu.0, Ordering::Relaxed) == vcpu.0
    }
}

/// Returns how many nanoseconds `ticks` are.
fn nanoseconds(ticks: u64) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    let frequency = cpu::counter_frequency().max(1);
    let (seconds, rest) = (ticks / frequency, ticks % frequency);
    // A frequency has 32 bits (DDI0487 CNTFRQ_EL0), so that what is left of a second fits: no division of 128 bits.
    seconds.saturating_mul(SECOND).saturating_add(rest.saturating_mul(SECOND) / frequency)
}
