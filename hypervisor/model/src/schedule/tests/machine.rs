//! A machine of CPUs and vCPUs in simulated time, which does what the scheduler says and books on its own what
//! everyone did.

use crate::schedule::{Cap, Entity, Pick, Placement, Scheduler, Share, Wake};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use assay_spec::cpu_id::PcpuId;

/// SplitMix64.
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub(super) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(super) fn index(&mut self, low: usize, high: usize) -> usize {
        usize::try_from(self.within(low as u64, high as u64)).unwrap()
    }

    pub(super) fn number(&mut self, low: u32, high: u32) -> u32 {
        u32::try_from(self.within(low.into(), high.into())).unwrap()
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// What a vCPU does when it has a CPU.
#[derive(Clone, Copy, Debug)]
pub(super) enum Habit {
    /// It computes for ever.
    Spin,
    /// It computes for up to so long, and waits for up to so long.
    Sleep { busy: u64, rest: u64 },
    /// It looks for so long for something that another has, yields, and looks again.
    Yield { busy: u64 },
    /// It computes for so long and then hands on to the next vCPU of its VM.
    Pass { busy: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doing {
    Running(usize),
    Ready,
    Blocked(Option<u64>),
}

pub(super) struct Vcpu {
    pub(super) vm: usize,
    pub(super) place: Placement,
    pub(super) habit: Habit,
    pub(super) doing: Doing,
    pub(super) since: u64,
    pub(super) ran: u64,
    pub(super) waited: u64,
    pub(super) longest: u64,
    burst: u64,
}

pub(super) struct Cpu {
    pub(super) index: usize,
    pub(super) run: Option<usize>,
    epoch: u64,
    booked: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Ask(usize, u64),
    Kick(usize),
    Burst(usize, u64),
    Wake(usize),
    Ready(usize),
}

pub(super) struct GuestMachine {
    pub(super) now: u64,
    pub(super) scheduler: Scheduler,
    pub(super) cpus: Vec<Cpu>,
    pub(super) shares: Vec<Share>,
    pub(super) vcpus: Vec<Vcpu>,
    pub(super) slice: u64,
    /// What each capped VM ran in its period, and which period that is.
    pub(super) spent: Vec<(u64, u64)>,
    /// By how much a CPU asks too late at most.
    pub(super) late: u64,
    /// Of everything that the scheduler said.
    pub(super) trace: u64,
    pub(super) picks: u64,
    /// How often a CPU was handed what it runs.
    pub(super) handed: u64,
    random: Random,
    events: BTreeSet<(u64, u64, Event)>,
    sequence: u64,
}

impl GuestMachine {
    /// CPUs have the indices 0, 2, 4 …, so that a place is never taken for an index.
    pub(super) fn new(cpus: usize, shares: &[Share], habits: &[Habit], slice: u64, seed: u64) -> Self {
        let indices: Vec<PcpuId> = (0..cpus).map(|cpu| PcpuId(cpu * 2)).collect();
        let mut vcpus = Vec::new();
        for (vm, share) in shares.iter().enumerate() {
            for &place in &share.vcpus {
                vcpus.push(Vcpu {
                    vm,
                    place,
                    habit: habits[vcpus.len()],
                    doing: Doing::Blocked(None),
                    since: 0,
                    ran: 0,
                    waited: 0,
                    longest: 0,
                    burst: 0,
                });
            }
        }
        let mut machine = Self {
            now: 0,
            scheduler: Scheduler::new(&indices, shares, slice),
            cpus: indices.iter().map(|&index| Cpu { index: index.0, run: None, epoch: 0, booked: 0 }).collect(),
            shares: shares.to_vec(),
            slice,
            spent: vec![(0, 0); shares.len()],
            late: 0,
            trace: 0,
            picks: 0,
            handed: 0,
            vcpus,
            random: Random(seed),
            events: BTreeSet::new(),
            sequence: 0,
        };
        for cpu in 0..cpus {
            machine.at(0, Event::Kick(cpu));
        }
        for vcpu in 0..machine.vcpus.len() {
            let passes = matches!(machine.vcpus[vcpu].habit, Habit::Pass { .. });
            let is_first = vcpu == 0 || machine.vcpus[vcpu - 1].vm != machine.vcpus[vcpu].vm;
            if !passes || is_first {
                let start = machine.random.within(0, slice);
                machine.at(start, Event::Wake(vcpu));
            }
        }
        machine
    }

    /// Does all that happens at the next point in time. Returns false if nothing ever will.
    pub(super) fn step(&mut self) -> bool {
        let Some(&(time, ..)) = self.events.first() else {
            return false;
        };
        assert!(time >= self.now);
        self.now = time;
        let mut count = 0;
        while let Some(&event) = self.events.first().filter(|event| event.0 == time) {
            self.events.remove(&event);
            self.act(event.2);
            count += 1;
            let most = 100 + 20 * (self.cpus.len() + self.vcpus.len());
            assert!(count < most, "time stands still at {time}");
        }
        true
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence, event));
    }

    fn act(&mut self, event: Event) {
        match event {
            Event::Ask(cpu, epoch) if epoch == self.cpus[cpu].epoch => self.ask(cpu),
            Event::Kick(cpu) => self.ask(cpu),
            Event::Burst(cpu, epoch) if epoch == self.cpus[cpu].epoch => self.rest(cpu),
            Event::Ask(..) | Event::Burst(..) => {}
            Event::Wake(vcpu) => self.wake(vcpu),
            Event::Ready(vcpu) => {
                if self.vcpus[vcpu].doing == Doing::Blocked(Some(self.now)) {
                    self.enter(vcpu, Doing::Ready);
                }
            }
        }
    }

    fn wake(&mut self, vcpu: usize) {
        let wake = self.scheduler.wake(Entity(vcpu), self.now);
        match self.vcpus[vcpu].doing {
            Doing::Blocked(_) => self.enter(vcpu, Doing::Ready),
            Doing::Running(cpu) => assert_eq!(wake, Wake::Ask(PcpuId(self.cpus[cpu].index))),
            Doing::Ready => {}
        }
        match wake {
            Wake::Nothing => {}
            Wake::Ask(target) => self.kick(Some(target)),
            Wake::Run { cpu: PcpuId(index), until, .. } => {
                let cpu = index / 2;
                assert_eq!(self.cpus[cpu].run, None, "it sleeps");
                self.handed += 1;
                self.book(cpu);
                self.follow(cpu, Pick { run: Some(Entity(vcpu)), until, kick: None });
            }
        }
    }

    fn kick(&mut self, target: Option<PcpuId>) {
        if let Some(PcpuId(index)) = target {
            self.trace = self.trace.wrapping_mul(31).wrapping_add(index as u64);
            assert!(index % 2 == 0 && index / 2 < self.cpus.len());
            let late = self.random.within(0, self.late);
            self.at(self.now + late, Event::Kick(index / 2));
        }
    }

    fn enter(&mut self, vcpu: usize, doing: Doing) {
        let vcpu = &mut self.vcpus[vcpu];
        if vcpu.doing == Doing::Ready {
            let waited = self.now - vcpu.since;
            vcpu.waited += waited;
            vcpu.longest = vcpu.longest.max(waited);
        }
        vcpu.doing = doing;
        vcpu.since = self.now;
    }

    /// Books what runs on a CPU.
    fn book(&mut self, cpu: usize) {
        let booked = core::mem::replace(&mut self.cpus[cpu].booked, self.now);
        let Some(index) = self.cpus[cpu].run else {
            return;
        };
        let vcpu = &mut self.vcpus[index];
        let ran = self.now - booked;
        vcpu.ran += ran;
        if vcpu.burst != u64::MAX {
            vcpu.burst = vcpu.burst.saturating_sub(ran);
        }
        let vm = vcpu.vm;
        if let Some(cap) = self.shares[vm].cap {
            self.spend(vm, cap, booked);
        }
    }

    fn spend(&mut self, vm: usize, cap: Cap, from: u64) {
        let mut from = from;
        while from < self.now {
            let period = from / cap.period;
            let to = self.now.min((period + 1) * cap.period);
            if self.spent[vm].1 != period {
                self.spent[vm] = (0, period);
            }
            self.spent[vm].0 += to - from;
            from = to;
            // What was late in the last period, and what is in this one.
            let over = 2 * self.late * self.shares[vm].vcpus.len() as u64;
            assert!(self.spent[vm].0 <= cap.budget + over, "VM {vm} exceeds its cap");
        }
    }

    fn ask(&mut self, cpu: usize) {
        self.book(cpu);
        let pick = self.scheduler.pick(PcpuId(self.cpus[cpu].index), self.now);
        self.follow(cpu, pick);
    }

    /// Does what the scheduler said to a CPU.
    fn follow(&mut self, cpu: usize, pick: Pick) {
        self.picks += 1;
        let said = pick.run.map_or(0, |entity| entity.0 as u64 + 1);
        self.trace = self.trace.wrapping_mul(31).wrapping_add(said);
        let chosen = pick.run.map(|entity| entity.0);
        if let Some(old) = self.cpus[cpu].run.take()
            && Some(old) != chosen
        {
            self.enter(old, Doing::Ready);
        }
        self.cpus[cpu].epoch += 1;
        let epoch = self.cpus[cpu].epoch;
        if let Some(vcpu) = chosen {
            self.run(cpu, vcpu);
            let end = self.now.saturating_add(self.vcpus[vcpu].burst);
            if self.vcpus[vcpu].burst != u64::MAX {
                self.at(end, Event::Burst(cpu, epoch));
            }
        }
        if let Some(until) = pick.until {
            let late = self.random.within(0, self.late);
            self.at(until.max(self.now) + late, Event::Ask(cpu, epoch));
        }
        self.kick(pick.kick);
    }

    fn run(&mut self, cpu: usize, vcpu: usize) {
        match self.vcpus[vcpu].doing {
            Doing::Running(other) => assert_eq!(other, cpu, "vCPU {vcpu} runs twice"),
            Doing::Ready => {}
            Doing::Blocked(until) => {
                assert!(until.is_some_and(|until| until <= self.now), "it sleeps");
            }
        }
        if let Placement::On(only) = self.vcpus[vcpu].place {
            assert_eq!(only, PcpuId(self.cpus[cpu].index), "vCPU {vcpu} is elsewhere");
        }
        if self.vcpus[vcpu].doing != Doing::Running(cpu) {
            self.enter(vcpu, Doing::Running(cpu));
        }
        self.cpus[cpu].run = Some(vcpu);
        if self.vcpus[vcpu].burst == 0 {
            self.vcpus[vcpu].burst = match self.vcpus[vcpu].habit {
                Habit::Spin => u64::MAX,
                Habit::Sleep { busy, .. } => self.random.within(1, busy),
                Habit::Pass { busy } | Habit::Yield { busy } => busy,
            };
        }
    }

    /// The vCPU on a CPU has done its work.
    fn rest(&mut self, cpu: usize) {
        self.book(cpu);
        let Some(vcpu) = self.cpus[cpu].run else {
            return;
        };
        let index = self.cpus[cpu].index;
        if let Habit::Pass { .. } = self.vcpus[vcpu].habit {
            let vm = self.vcpus[vcpu].vm;
            let is_mine = |next: &usize| self.vcpus.get(*next).is_some_and(|next| next.vm == vm);
            let first = self.vcpus.iter().position(|one| one.vm == vm).unwrap();
            let next = Some(vcpu + 1).filter(is_mine).unwrap_or(first);
            let pick = self.scheduler.block(PcpuId(index), self.now, None);
            self.cpus[cpu].run = None;
            self.enter(vcpu, Doing::Blocked(None));
            self.follow(cpu, pick);
            return self.wake(next);
        }
        if let Habit::Yield { .. } = self.vcpus[vcpu].habit {
            self.scheduler.yield_now(PcpuId(index));
            return self.ask(cpu);
        }
        let Habit::Sleep { rest, .. } = self.vcpus[vcpu].habit else {
            return;
        };
        let time = self.now + self.random.within(1, rest);
        self.cpus[cpu].run = None;
        let pick = match self.random.within(0, 3) {
            // Something else wakes it.
            0 => {
                self.enter(vcpu, Doing::Blocked(None));
                self.at(time, Event::Wake(vcpu));
                self.scheduler.block(PcpuId(index), self.now, None)
            }
            // Something woke it when it had just found nothing to do.
            1 => {
                let target = self.scheduler.wake(Entity(vcpu), self.now);
                assert_eq!(target, Wake::Ask(PcpuId(index)));
                self.enter(vcpu, Doing::Ready);
                self.scheduler.block(PcpuId(index), self.now, Some(time))
            }
            // Its timer wakes it, or something a little earlier.
            kind => {
                self.enter(vcpu, Doing::Blocked(Some(time)));
                self.at(time, Event::Ready(vcpu));
                if kind == 2 {
                    let earlier = self.random.within(self.now, time);
                    self.at(earlier, Event::Wake(vcpu));
                }
                self.scheduler.block(PcpuId(index), self.now, Some(time))
            }
        };
        self.follow(cpu, pick);
    }

    /// What the vCPU ran until now.
    pub(super) fn ran(&self, vcpu: usize) -> u64 {
        let open = match self.vcpus[vcpu].doing {
            Doing::Running(cpu) => self.now - self.cpus[cpu].booked,
            _ => 0,
        };
        self.vcpus[vcpu].ran + open
    }

    /// What a VM's vCPUs ran until now.
    pub(super) fn vm_ran(&self, vm: usize) -> u64 {
        let mine = (0..self.vcpus.len()).filter(|vcpu| self.vcpus[*vcpu].vm == vm);
        mine.map(|vcpu| self.ran(vcpu)).sum()
    }
}
