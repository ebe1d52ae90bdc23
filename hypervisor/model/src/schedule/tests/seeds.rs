//! The bounds of the module's description, in machines made of random numbers.

use super::machine::{Doing, Habit, Machine, Random};
use super::{SLICE, Share};
use crate::schedule::{Cap, Entity, LAG_QUANTA, Placement};
use alloc::vec;
use alloc::vec::Vec;

/// The most that a run came to of what the bounds allow.
#[derive(Default, Debug)]
struct Worst {
    lag: f64,
    latency: f64,
}

/// What kinds of VMs a machine is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everything at once.
    Mixed,
    /// Any CPU, no caps.
    Free,
}

fn make(random: &mut Random, cpus: usize, vms: usize, most: usize, kind: Kind) -> Machine {
    let (mut shares, mut habits) = (Vec::new(), Vec::new());
    for _ in 0..vms {
        let count = random.within(1, most as u64) as usize;
        let is_bound = kind == Kind::Mixed && random.chance(40);
        let place = |random: &mut Random| {
            if is_bound && random.chance(80) {
                Placement::On(2 * random.within(0, cpus as u64 - 1) as usize)
            } else {
                Placement::Any
            }
        };
        let vcpus: Vec<Placement> = (0..count).map(|_| place(random)).collect();
        let cap = (kind == Kind::Mixed && random.chance(25)).then(|| {
            let period = random.within(2000, 20_000);
            Cap {
                budget: random.within(200, period * count as u64),
                period,
            }
        });
        let weight = match random.within(0, 3) {
            0 => random.within(1, 10) as u32,
            _ => 100 * random.within(1, 4) as u32,
        };
        shares.push(Share { weight, cap, vcpus });
        let spins = random.within(0, 100);
        for _ in 0..count {
            habits.push(if random.chance(spins) {
                Habit::Spin
            } else {
                Habit::Sleep {
                    busy: random.within(1, 3 * SLICE),
                    rest: random.within(1, 6 * SLICE),
                }
            });
        }
    }
    Machine::new(cpus, &shares, &habits, SLICE, random.next())
}

impl Machine {
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
            let runs = self.cpus[only / 2].run.expect("its CPU is idle");
            let is_bound = self.vcpus[runs].place != Placement::Any;
            assert!(
                is_bound,
                "vCPU {runs} is in the way of {index} at {}",
                self.now
            );
        }
    }

    fn check_accounts(&self) {
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            assert_eq!(self.scheduler.ran(Entity(index), self.now), self.ran(index));
            let open = if vcpu.doing == Doing::Ready {
                self.now - vcpu.since
            } else {
                0
            };
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
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            if self.is_capped(index) {
                continue;
            }
            let open = if vcpu.doing == Doing::Ready {
                self.now - vcpu.since
            } else {
                0
            };
            let cpus = match vcpu.place {
                Placement::Any => self.cpus.len(),
                Placement::On(_) => 1,
            };
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
        Self {
            pairs: vec![None; vms * vms],
        }
    }

    fn note(&mut self, machine: &Machine, worst: &mut Worst) {
        let vms = machine.shares.len();
        let wants = |vm: usize| {
            let is_free = machine.shares[vm]
                .vcpus
                .iter()
                .all(|one| *one == Placement::Any);
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
                let seen = pair.get_or_insert(Apart {
                    low: now,
                    high: now,
                });
                seen.low = seen.low.min(now);
                seen.high = seen.high.max(now);
                let unit = machine.quantum(one) + machine.quantum(other);
                worst.lag = worst.lag.max((seen.high - seen.low) / unit);
            }
        }
    }
}

fn run(machine: &mut Machine, time: u64, worst: &mut Worst) {
    let mut lags = Lags::new(machine.shares.len());
    while machine.now < time && machine.step() {
        machine.check_work();
        lags.note(machine, worst);
    }
    machine.check_accounts();
    machine.check_latency(worst);
}

fn run_seeds(seeds: u64, cpus: u64, kind: Kind) -> Worst {
    let mut worst = Worst::default();
    for seed in 0..seeds {
        let mut random = Random(seed);
        let cpus = random.within(1, cpus) as usize;
        let vms = random.within(1, 6) as usize;
        let mut machine = make(&mut random, cpus, vms, 4, kind);
        let mut mine = Worst::default();
        run(&mut machine, 120 * SLICE, &mut mine);
        assert!(mine.lag <= LAG_QUANTA as f64, "seed {seed}: {mine:?}");
        assert!(mine.latency <= 1.0, "seed {seed}: {mine:?}");
        worst.lag = worst.lag.max(mine.lag);
        worst.latency = worst.latency.max(mine.latency);
    }
    worst
}

#[test]
fn free_vms_keep_the_bounds() {
    let worst = run_seeds(400, 4, Kind::Free);
    std::eprintln!("{worst:?}");
}

#[test]
fn mixed_vms_keep_the_bounds() {
    let worst = run_seeds(600, 6, Kind::Mixed);
    std::eprintln!("{worst:?}");
}
