//! Random sequences of what guests and devices do, on the model and on the reference: what a guest
//! sees must be the same.

use super::fake::{GuestMachine, TIMER};
use super::reference::Gic;
use crate::vgic::Version;
use assay_spec::cpu_id::VcpuId;
use assay_spec::exit::Width;
use assay_spec::gic::dist as gicd;
use assay_spec::gic::redist::{SGI_BASE, STRIDE};

const SEEDS: u64 = 256;
const STEPS: usize = 256;
const SPIS: usize = 64;

/// Marsaglia's xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32 % n
    }
}

struct Pair {
    machine: GuestMachine,
    gic: Gic,
    random: Random,
    vcpus: usize,
    /// Few List Registers: the guest then is one that leaves the active state to acknowledging and
    /// ending, as guests do.
    tight: bool,
}

impl Pair {
    fn new(version: Version, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let vcpus = 1 + random.below(4) as usize;
        let lrs = [2, 3, 4, 16][random.below(4) as usize];
        Self {
            machine: GuestMachine::new(version, vcpus, SPIS, lrs),
            gic: Gic::new(version, vcpus, SPIS),
            random,
            vcpus,
            tight: lrs < 16,
        }
    }

    fn vcpu(&mut self) -> usize {
        self.random.below(self.vcpus as u32) as usize
    }

    /// An INTID, of few, so that they meet.
    fn intid(&mut self) -> u32 {
        [0, 1, 2, 7, 15, 20, TIMER.0, 30, 32, 33, 34, 40, 63, 64, 95][self.random.below(15) as usize]
    }

    /// Writes a bit of one of the registers with a bit an interrupt: by `vcpu`, about `of`'s.
    fn write_bit(&mut self, vcpu: VcpuId, of: usize, base: u64, intid: u32) {
        let value = 1 << (intid % 32);
        let offset = base + u64::from(intid / 32 * 4);
        match (intid, self.gic.version) {
            (0..32, Version::V3) => self.machine.redist(vcpu, of, SGI_BASE + offset, value),
            _ => self.machine.dist(vcpu, offset, value),
        }
    }

    fn read_bit(&mut self, vcpu: VcpuId, of: usize, base: u64, intid: u32) -> bool {
        let word = match intid {
            0..32 => self.machine.read_private(vcpu, of, base),
            _ => self.machine.read_dist(vcpu, base + u64::from(intid / 32 * 4)),
        };
        word >> (intid % 32) & 1 != 0
    }

    fn step(&mut self) {
        let (vcpu, intid) = (self.vcpu(), self.intid());
        // GICv2 has private interrupts banked: one's own are all one can reach.
        let of = if self.gic.version == Version::V2 { vcpu } else { self.vcpu() };
        match self.random.below(22) {
            0..2 => {
                self.write_bit(VcpuId(vcpu), of, gicd::ISENABLER, intid);
                self.gic.irq(VcpuId(of), intid).enabled = true;
            }
            2 => {
                self.write_bit(VcpuId(vcpu), of, gicd::ICENABLER, intid);
                self.gic.irq(VcpuId(of), intid).enabled = false;
            }
            3 => self.write_group(VcpuId(vcpu), of, intid),
            4 => self.write_priority(VcpuId(vcpu), of, intid),
            5 => self.write_pending(VcpuId(vcpu), of, intid),
            6 => self.write_active(VcpuId(vcpu), of, intid),
            7 => self.write_config(VcpuId(vcpu), of, intid),
            8 => self.write_route(VcpuId(vcpu), intid),
            9 => {
                let enable = [3, 3, 3, 1, 2, 0][self.random.below(6) as usize];
                self.machine.dist(VcpuId(vcpu), gicd::CTLR, enable);
                self.gic.enable = enable;
            }
            10 => self.send(vcpu, intid % 16),
            11..13 => self.toggle_line(VcpuId(vcpu), intid),
            13 => {
                let line = !self.machine.cpus[vcpu].line;
                self.gic.irq(VcpuId(vcpu), TIMER.0).line = line;
                self.machine.set_timer(VcpuId(vcpu), line);
                if !line {
                    // Any exit with a look at the List Registers: without one, a timer interrupt that
                    // is listed stays so, as it does on hardware.
                    self.read_bit(VcpuId(vcpu), vcpu, gicd::ISPENDR, TIMER.0);
                }
            }
            14 => self.machine.park(VcpuId(vcpu)),
            15..19 => self.acknowledge(VcpuId(vcpu)),
            19..21 => {
                if let Some((ended, _)) = self.machine.end(VcpuId(vcpu)) {
                    self.gic.end(VcpuId(vcpu), ended);
                }
            }
            _ => self.compare(VcpuId(vcpu), of, intid),
        }
    }

    fn write_group(&mut self, vcpu: VcpuId, of: usize, intid: u32) {
        let group1 = self.random.below(2) != 0;
        self.gic.irq(VcpuId(of), intid).group1 = group1;
        let base = intid / 32 * 32;
        let word = (0..32).fold(0, |word, n| word | u32::from(self.gic.irq(VcpuId(of), base + n).group1) << n);
        match (intid, self.gic.version) {
            (0..32, Version::V3) => self.machine.redist(vcpu, of, SGI_BASE + gicd::IGROUPR, word),
            _ => self.machine.dist(vcpu, gicd::IGROUPR + u64::from(intid / 32 * 4), word),
        }
    }

    fn write_priority(&mut self, vcpu: VcpuId, of: usize, intid: u32) {
        if self.tight && self.gic.irq(VcpuId(of), intid).active {
            return;
        }
        let priority = [0x00, 0x20, 0x47, 0xa0, 0xa8, 0xf0][self.random.below(6) as usize];
        self.gic.irq(VcpuId(of), intid).priority = priority & 0xf8;
        let offset = gicd::IPRIORITYR + u64::from(intid);
        if intid < 32 && self.gic.version == Version::V3 {
            let offset = of as u64 * STRIDE + SGI_BASE + offset;
            let (vgic, cpu) = (&mut self.machine.vgic, &mut self.machine.cpus[vcpu.0]);
            let kicks = vgic.redist_write(vcpu, offset, (Width::W1, priority.into()), cpu).unwrap_or_default();
            self.machine.kick(kicks);
        } else {
            self.machine.dist_write(vcpu, offset, Width::W1, priority.into());
        }
    }

    fn write_pending(&mut self, vcpu: VcpuId, of: usize, intid: u32) {
        let set = self.random.below(2) != 0;
        self.write_bit(vcpu, of, if set { gicd::ISPENDR } else { gicd::ICPENDR }, intid);
        if self.gic.version == Version::V3 || intid >= 16 {
            self.gic.irq(VcpuId(of), intid).latch = set;
        }
    }

    fn write_active(&mut self, vcpu: VcpuId, of: usize, intid: u32) {
        if self.tight {
            return;
        }
        let set = self.random.below(2) != 0;
        // Whoever takes the active state away under a running handler gets what he deserves; and an
        // SPI that is ended elsewhere than on its target is a matter of taste.
        if self.gic.is_running(VcpuId(of), intid) {
            return;
        }
        self.write_bit(vcpu, of, if set { gicd::ISACTIVER } else { gicd::ICACTIVER }, intid);
        let irq = self.gic.irq(VcpuId(of), intid);
        irq.active = set;
        irq.active_on = usize::MAX;
    }

    fn write_config(&mut self, vcpu: VcpuId, of: usize, intid: u32) {
        if intid == TIMER.0 {
            return;
        }
        let edge = self.random.below(2) != 0;
        if intid >= 16 {
            self.gic.irq(VcpuId(of), intid).edge = edge;
        }
        let base = intid / 16 * 16;
        let word = (0..16).fold(0, |word, n| word | u32::from(self.gic.irq(VcpuId(of), base + n).edge) << (2 * n + 1));
        let offset = gicd::ICFGR + u64::from(intid / 16 * 4);
        match (intid, self.gic.version) {
            (0..32, Version::V3) => self.machine.redist(vcpu, of, SGI_BASE + offset, word),
            _ => self.machine.dist(vcpu, offset, word),
        }
    }

    fn write_route(&mut self, vcpu: VcpuId, intid: u32) {
        if intid < 32 {
            return;
        }
        // One more than there are: nobody.
        let target = self.random.below(self.vcpus as u32 + 1) as usize;
        let route = (target < self.vcpus).then_some(target);
        match self.gic.version {
            Version::V3 => {
                let offset = gicd::IROUTER + 8 * u64::from(intid);
                self.machine.dist_write(vcpu, offset, Width::W8, target as u64);
                self.gic.irq(VcpuId(0), intid).route = route;
            }
            Version::V2 => {
                let offset = gicd::ITARGETSR + u64::from(intid);
                let mask = route.map_or(0, |target| 1 << target);
                self.machine.dist_write(vcpu, offset, Width::W1, mask);
                if self.vcpus > 1 {
                    self.gic.irq(VcpuId(0), intid).route = route;
                }
            }
        }
    }

    fn send(&mut self, from: usize, n: u32) {
        let targets = self.random.below(1 << self.vcpus) as u16;
        self.machine.send(from, n, targets);
        for target in (0..self.vcpus).filter(|target| targets & 1 << target != 0) {
            match self.gic.version {
                Version::V2 => self.gic.irq(VcpuId(target), n).senders |= 1 << from,
                Version::V3 => self.gic.irq(VcpuId(target), n).latch = true,
            }
        }
    }

    fn toggle_line(&mut self, vcpu: VcpuId, intid: u32) {
        if intid < 16 || intid == TIMER.0 {
            return;
        }
        let irq = self.gic.irq(vcpu, intid);
        irq.line = !irq.line;
        irq.latch |= irq.line && irq.edge;
        let level = irq.line;
        if self.random.below(2) == 0 {
            self.machine.set_level(vcpu, intid, level);
        } else {
            self.machine.carry_level(vcpu, intid, level);
        }
    }

    fn acknowledge(&mut self, vcpu: VcpuId) {
        let expected = self.gic.best_priority(vcpu);
        let is_quiet = self.machine.vgic.is_quiet(vcpu, &self.machine.cpus[vcpu.0]);
        assert!(!is_quiet || expected.is_none(), "it need not wake up for {expected:?}");
        match self.machine.acknowledge(vcpu) {
            Some((intid, source)) => {
                assert!(self.gic.is_deliverable(vcpu, intid), "{intid} is not to be delivered");
                assert_eq!(Some(self.gic.irq(vcpu, intid).priority), expected, "of {intid}");
                self.gic.acknowledge(vcpu, intid, source);
            }
            None => assert_eq!(expected, None, "nothing to acknowledge"),
        }
    }

    /// Reads an interrupt's state back by `vcpu`.
    fn compare(&mut self, vcpu: VcpuId, of: usize, intid: u32) {
        let irq = self.gic.irq(VcpuId(of), intid).clone();
        for (base, expected) in [
            (gicd::ISENABLER, irq.enabled),
            (gicd::IGROUPR, irq.group1),
            (gicd::ICPENDR, irq.pending()),
            (gicd::ISACTIVER, irq.active),
        ] {
            let read = self.read_bit(vcpu, of, base, intid);
            assert_eq!(read, expected, "register {base:#x}, interrupt {intid} of {of}");
        }
    }
}

fn run(version: Version) {
    for seed in 1..=SEEDS {
        let mut pair = Pair::new(version, seed);
        for step in 0..STEPS {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.step()));
            assert!(result.is_ok(), "{version:?}, seed {seed}, step {step}");
        }
        // All that runs is ended, and all that is left can be taken, until nothing is.
        for vcpu in 0..pair.vcpus {
            while let Some((ended, _)) = pair.machine.end(VcpuId(vcpu)) {
                pair.gic.end(VcpuId(vcpu), ended);
            }
            for intid in 0..32 + SPIS as u32 {
                pair.compare(VcpuId(vcpu), vcpu, intid);
            }
            assert!(!pair.tight || pair.machine.cpus[vcpu].lost == 0, "seed {seed}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn random_sequences_on_a_gicv3_agree_with_the_manual() {
    run(Version::V3);
}

#[test]
#[cfg_attr(miri, ignore = "many steps of safe code")]
fn random_sequences_on_a_gicv2_agree_with_the_manual() {
    run(Version::V2);
}
