//! The bounds of the module's description, in machines made of random numbers.

use super::machine::{Doing, GuestMachine, Habit, Random};
use super::{SLICE, Share};
use crate::schedule::{Cap, Entity, LAG_QUANTA, Placement};
use alloc::vec;
use alloc::vec::Vec;
use assay_spec::cpu_id::PcpuId;

/// How many machines are made of each kind.
const FREE: u64 = 400;
const MIXED: u64 = 500;

/// The most that a run came to of what the bounds allow.
#[derive(Default, Debug)]
struct Worst {
    lag: f64,
    latency: f64,
    /// How often CPUs were handed what they ran.
    handed: u64,
}

/// What kinds of VMs a machine is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everything at once.
    Mixed,
    /// Any CPU, no caps.
    Free,
}

fn make(random: &mut Random, cpus: usize, vms: usize, most: usize, kind: Kind) -> GuestMachine {
    let (mut shares, mut habits) = (Vec::new(), Vec::new());
    for _ in 0..vms {
        let count = random.index(1, most);
        let is_bound = kind == Kind::Mixed && random.chance(40);
        let place = |random: &mut Random| {
            if is_bound && random.chance(80) {
                Placement::On(PcpuId(2 * random.index(0, cpus - 1)))
            } else {
                Placement::Any
            }
        };
        let vcpus: Vec<Placement> = (0..count).map(|_| place(random)).collect();
        let cap = (kind == Kind::Mixed && random.chance(25)).then(|| {
            let period = random.within(2000, 20_000);
            Cap { budget: random.within(200, period * count as u64), period }
        });
        let weight = match random.within(0, 3) {
            0 => random.number(1, 10),
            _ => 100 * random.number(1, 4),
        };
        shares.push(Share { weight, cap, vcpus });
        let spins = random.within(0, 100);
        for _ in 0..count {
            habits.push(if random.chance(spins) {
                Habit::Spin
            } else {
                Habit::Sleep { busy: random.within(1, 3 * SLICE), rest: random.within(1, 6 * SLICE) }
            });
        }
    }
    GuestMachine::new(cpus, &shares, &habits, SLICE, random.next())
}

impl GuestMachine {
    fn is_capped(&self, vcpu: usize) -> bool {
        self.shares[self.vcpus[vcpu].vm].cap.is_some()
    }

    fn check_work(&self) {
        let has_idle = self.cpus.iter().any(|cpu| cpu.run.is_none());
        if !has_idle {
            return;
        }
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            if vcpu.doing != Doing::Ready || self.is_capped(index) {
                continue;
            }
            let Placement::On(only) = vcpu.place else {
                panic!("vCPU {index} waits at {} while a CPU is idle", self.now);
            };
            let runs = self.cpus[only.0 / 2].run.expect("its CPU is idle");
            let is_bound = self.vcpus[runs].place != Placement::Any;
            assert!(is_bound, "vCPU {runs} is in the way of {index} at {}", self.now);
        }
    }

    fn check_accounts(&self) {
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            assert_eq!(self.scheduler.ran(Entity(index), self.now), self.ran(index));
            let open = if vcpu.doing == Doing::Ready { self.now - vcpu.since } else { 0 };
            let stolen = self.scheduler.stolen(Entity(index), self.now);
            assert_eq!(stolen, vcpu.waited + open, "vCPU {index}");
        }
    }

    /// In ticks for weight 1.
    fn quantum(&self, vm: usize) -> f64 {
        let share = &self.shares[vm];
        (self.slice * share.vcpus.len() as u64) as f64 / f64::from(share.weight)
    }

    /// The latency bound of an uncapped VM's vCPU that waits for `cpus` CPUs.
    fn latency(&self, vm: usize, cpus: usize) -> f64 {
        let others = (0..self.shares.len()).map(|other| {
            let share = &self.shares[other];
            let apart = LAG_QUANTA as f64 / 2.0 * (self.quantum(vm) + self.quantum(other));
            (self.slice * share.vcpus.len() as u64) as f64 + f64::from(share.weight) * apart
        });
        self.slice as f64 + others.sum::<f64>() / cpus as f64
    }

    fn check_latency(&self, worst: &mut Worst) {
        let all_free = self.vcpus.iter().all(|vcpu| vcpu.place == Placement::Any);
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            if self.is_capped(index) {
                continue;
            }
            let open = if vcpu.doing == Doing::Ready { self.now - vcpu.since } else { 0 };
            let cpus = if all_free { self.cpus.len() } else { 1 };
            let part = vcpu.longest.max(open) as f64 / self.latency(vcpu.vm, cpus);
            worst.latency = worst.latency.max(part);
        }
    }
}

/// How far two VMs were apart while both wanted more.
#[derive(Clone, Copy)]
struct Apart {
    low: f64,
    high: f64,
}

struct Lags {
    pairs: Vec<Option<Apart>>,
}

impl Lags {
    fn new(vms: usize) -> Self {
        Self { pairs: vec![None; vms * vms] }
    }

    fn note(&mut self, machine: &GuestMachine, worst: &mut Worst) {
        let vms = machine.shares.len();
        let wants = |vm: usize| {
            let is_free = machine.shares[vm].vcpus.iter().all(|one| *one == Placement::Any);
            let waits = |vcpu: &super::machine::Vcpu| vcpu.vm == vm && vcpu.doing == Doing::Ready;
            is_free && machine.shares[vm].cap.is_none() && machine.vcpus.iter().any(waits)
        };
        let wants: Vec<bool> = (0..vms).map(wants).collect();
        let part = |vm: usize| machine.vm_ran(vm) as f64 / f64::from(machine.shares[vm].weight);
        let parts: Vec<f64> = (0..vms).map(part).collect();
        for one in 0..vms {
            for other in 0..one {
                let pair = &mut self.pairs[one * vms + other];
                if !(wants[one] && wants[other]) {
                    *pair = None;
                    continue;
                }
                let now = parts[one] - parts[other];
                let seen = pair.get_or_insert(Apart { low: now, high: now });
                seen.low = seen.low.min(now);
                seen.high = seen.high.max(now);
                let unit = machine.quantum(one) + machine.quantum(other);
                worst.lag = worst.lag.max((seen.high - seen.low) / unit);
            }
        }
    }
}

fn run(machine: &mut GuestMachine, time: u64, worst: &mut Worst) {
    let mut lags = Lags::new(machine.shares.len());
    while machine.now < time && machine.step() {
        machine.check_work();
        lags.note(machine, worst);
    }
    machine.check_accounts();
    machine.check_latency(worst);
}

/// Runs machines of up to so many CPUs, and asserts the bounds. Returns how near to them they came.
fn run_seeds(seeds: u64, cpus: usize, kind: Kind) -> Worst {
    let mut worst = Worst::default();
    for seed in 0..seeds {
        let mut random = Random(seed);
        let cpus = random.index(1, cpus);
        let vms = random.index(1, 6);
        let mut machine = make(&mut random, cpus, vms, 4, kind);
        let mut mine = Worst::default();
        run(&mut machine, 100 * SLICE, &mut mine);
        assert!(mine.lag <= LAG_QUANTA as f64, "seed {seed}: {mine:?}");
        assert!(mine.latency <= 1.0, "seed {seed}: {mine:?}");
        worst.lag = worst.lag.max(mine.lag);
        worst.latency = worst.latency.max(mine.latency);
        worst.handed += machine.handed;
    }
    worst
}

#[test]
fn free_vms_keep_the_bounds_and_come_near_them() {
    let worst = run_seeds(FREE, 4, Kind::Free);
    // Otherwise the bounds would say little, or the machines be harmless.
    assert!(worst.lag > LAG_QUANTA as f64 / 4.0, "{worst:?}");
    assert!(worst.latency > 0.25, "{worst:?}");
}

#[test]
fn bound_and_capped_vms_keep_the_bounds() {
    let worst = run_seeds(MIXED, 6, Kind::Mixed);
    assert!(worst.handed > MIXED, "CPUs are handed too little to say anything of it: {worst:?}");
}

#[test]
fn a_machine_of_256_cpus_and_1024_vcpus_keeps_work_caps_and_latency() {
    let mut random = Random(7);
    let mut machine = make(&mut random, 256, 256, 4, Kind::Mixed);
    while machine.vcpus.len() < 1000 {
        machine = make(&mut random, 256, 440, 4, Kind::Mixed);
    }
    let mut worst = Worst::default();
    while machine.now < 8 * SLICE && machine.step() {
        machine.check_work();
    }
    machine.check_accounts();
    machine.check_latency(&mut worst);
    assert!(worst.latency <= 1.0, "{worst:?}");
    let ran: u64 = (0..machine.shares.len()).map(|vm| machine.vm_ran(vm)).sum();
    assert!(ran > 256 * 6 * SLICE, "{ran} ticks of work were done");
}

#[test]
fn caps_and_accounts_hold_when_cpus_ask_too_late() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let (cpus, vms) = (random.index(1, 4), random.index(1, 6));
        let mut machine = make(&mut random, cpus, vms, 4, Kind::Mixed);
        machine.late = random.within(1, SLICE / 4);
        while machine.now < 100 * SLICE && machine.step() {}
        machine.check_accounts();
        for (vm, share) in machine.shares.iter().enumerate() {
            let Some(cap) = share.cap else { continue };
            // What was too much in one period was owed in the next: the periods together are not exceeded.
            let periods = machine.now / cap.period + 1;
            let most = cap.budget * periods + machine.late * share.vcpus.len() as u64;
            assert!(machine.vm_ran(vm) <= most, "seed {seed}, VM {vm}");
        }
    }
}

#[test]
fn the_same_happens_every_time() {
    let trace = |seed| {
        let mut machine = make(&mut Random(seed), 4, 5, 4, Kind::Mixed);
        while machine.now < 100 * SLICE && machine.step() {}
        (machine.trace, machine.picks)
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

/// What each VM gets of `cpus` if all of its vCPUs always want to run: by weight, but never more than a CPU
/// for each vCPU.
fn ideal(shares: &[Share], cpus: usize) -> Vec<f64> {
    let mut part = vec![0.0; shares.len()];
    let mut left = cpus as f64;
    let mut open: Vec<usize> = (0..shares.len()).collect();
    loop {
        let weights: f64 = open.iter().map(|vm| f64::from(shares[*vm].weight)).sum();
        let fair = |vm: usize| left * f64::from(shares[vm].weight) / weights;
        let can = |vm: usize| shares[vm].vcpus.len() as f64;
        let (full, rest): (Vec<_>, Vec<_>) = open.iter().partition(|vm| fair(**vm) >= can(**vm));
        if full.is_empty() {
            for vm in rest {
                part[vm] = fair(vm);
            }
            return part;
        }
        for vm in full {
            part[vm] = can(vm);
            left -= can(vm);
        }
        open = rest;
    }
}

#[test]
fn vms_that_never_rest_get_their_ideal_part_to_a_few_slices() {
    for seed in 0..100 {
        let mut random = Random(seed);
        let (cpus, vms) = (random.index(1, 6), random.index(2, 6));
        let mut machine = make(&mut random, cpus, vms, 4, Kind::Free);
        for vcpu in &mut machine.vcpus {
            vcpu.habit = Habit::Spin;
        }
        let ideal = ideal(&machine.shares, cpus);
        // A window that begins somewhere in the middle.
        while machine.now < 30 * SLICE && machine.step() {}
        let (begin, before) = (machine.now, (0..vms).map(|vm| machine.vm_ran(vm)));
        let before: Vec<u64> = before.collect();
        while machine.now < 400 * SLICE && machine.step() {}
        for vm in 0..vms {
            let got = (machine.vm_ran(vm) - before[vm]) as f64;
            let wanted = ideal[vm] * (machine.now - begin) as f64;
            let share = &machine.shares[vm];
            let others = machine.shares.iter();
            // Each other VM may be apart by the sum of both quanta.
            let apart = others.map(|other| {
                let mine = machine.quantum(vm);
                let part = f64::from(other.weight) / total(&machine.shares);
                let theirs = (SLICE * other.vcpus.len() as u64) as f64 / f64::from(other.weight);
                part * LAG_QUANTA as f64 * (mine + theirs) * f64::from(share.weight)
            });
            let most = apart.sum::<f64>();
            assert!((got - wanted).abs() <= most, "seed {seed}, VM {vm}: {got} instead of {wanted}, {most} allowed");
        }
    }
}

fn total(shares: &[Share]) -> f64 {
    shares.iter().map(|share| f64::from(share.weight)).sum()
}
