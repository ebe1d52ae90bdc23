//! The machine that QEMU plays: model `virt`, sized to hold what a manifest asks for.

use crate::manifest::{Cpus, Manifest, Relaxation, Schedule};

/// RAM beyond the VMs' and the bundle: Assay itself, QEMU's placement of image and tree, and slack so
/// that VMs' RAM can be aligned to large blocks.
const SLACK: u64 = 256 << 20;
/// Where the model's RAM begins.
const RAM: u64 = 0x4000_0000;
/// RAM sizes are rounded up to this.
const STEP: u64 = 256 << 20;

/// The interrupt controller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gic {
    /// GICv2 with its virtualization extensions: at most 8 CPUs.
    V2,
    /// GICv3.
    #[default]
    V3,
}

impl Gic {
    fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Everything about the emulated machine that a caller may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// QEMU's name of the model.
    pub model: String,
    /// QEMU's name of the CPU, options included.
    pub cpu: String,
    /// Physical CPUs.
    pub cpus: u32,
    /// RAM in bytes.
    pub memory: u64,
    /// Interrupt controller.
    pub gic: Gic,
    /// Whether RAM has Allocation Tags.
    pub mte: bool,
    /// One instruction a virtual nanosecond: times become instruction counts.
    pub icount: bool,
    /// Whether the CPUs start at EL2. Without it a guest image runs natively at EL1, for comparison.
    pub el2: bool,
    /// A board that is as it is: all of QEMU's arguments for it, and nothing above counts.
    pub board: Option<Vec<String>>,
}

impl Hardware {
    /// The smallest machine that holds the manifest's VMs beside a bundle of `bundle` bytes. VMs that share
    /// CPUs get as many as the largest of them has vCPUs.
    #[must_use]
    pub fn fit(manifest: &Manifest, bundle: u64) -> Self {
        let mut counted = 0u32;
        let mut shared = 0u32;
        let mut highest = 0u32;
        let mut memory = bundle.saturating_add(SLACK);
        for region in &manifest.shared {
            memory = memory.saturating_add(region.size);
        }
        for vm in &manifest.vm {
            memory =
                vm.flash.iter().fold(memory.saturating_add(vm.memory), |sum, flash| sum.saturating_add(flash.size));
            if vm.sched == Schedule::Shared {
                shared = shared.max(vm.cpus.count());
            } else {
                counted = counted.saturating_add(vm.cpus.count());
            }
            if let Cpus::List(list) = &vm.cpus {
                highest = list.iter().fold(highest, |highest, index| highest.max(index.saturating_add(1)));
            }
        }
        // Such RAM is where the guest finds it in the machine too.
        for vm in manifest.vm.iter().filter(|vm| vm.allow.contains(&Relaxation::UncheckedDma)) {
            let end = vm.memory_ipa.unwrap_or(RAM).saturating_add(vm.memory);
            memory = memory.max(end.saturating_sub(RAM));
        }
        Self {
            model: "virt".to_owned(),
            cpu: "max".to_owned(),
            cpus: counted.saturating_add(shared).max(highest).max(1),
            memory: memory.checked_next_multiple_of(STEP).unwrap_or(memory),
            gic: Gic::V3,
            mte: manifest.vm.iter().any(|vm| vm.mte),
            icount: false,
            el2: true,
            board: None,
        }
    }

    /// QEMU's arguments for it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        if let Some(board) = &self.board {
            return board.clone();
        }
        let el2 = if self.el2 { ",virtualization=on" } else { "" };
        let mte = if self.mte { ",mte=on" } else { "" };
        let mut arguments = vec![
            "-M".to_owned(),
            format!("{}{el2},gic-version={}{mte}", self.model, self.gic.number()),
            "-cpu".to_owned(),
            self.cpu.clone(),
            "-smp".to_owned(),
            self.cpus.to_string(),
            "-m".to_owned(),
            format!("{}M", self.memory >> 20),
            "-nic".to_owned(),
            "none".to_owned(),
        ];
        if self.icount {
            arguments.extend(["-icount".to_owned(), "shift=0,sleep=off".to_owned()]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::{Gic, Hardware};
    use crate::manifest::Manifest;

    fn manifest(cpus: &[&str]) -> Manifest {
        let vms = cpus.iter().enumerate().map(|(index, cpus)| {
            format!("[[vm]]\nname = \"v{index}\"\nmemory = \"512M\"\nkernel = \"k\"\ncpus = {cpus}\n")
        });
        Manifest::parse(&vms.collect::<String>()).unwrap()
    }

    #[test]
    fn the_machine_has_a_cpu_for_each_dedicated_vcpu() {
        assert_eq!(Hardware::fit(&manifest(&["2", "3"]), 0).cpus, 5);
        assert_eq!(Hardware::fit(&manifest(&["1", "[7]"]), 0).cpus, 8);
    }

    #[test]
    fn ram_that_has_its_place_in_the_machine_is_there() {
        let place = "1\nmemory-ipa = \"0x80000000\"";
        assert_eq!(Hardware::fit(&manifest(&[place]), 0).memory, 768 << 20);
        let placed = format!("{place}\nallow = [\"unchecked-dma\"]");
        assert_eq!(Hardware::fit(&manifest(&[&placed]), 0).memory, 1536 << 20);
    }

    #[test]
    fn vms_that_share_cpus_share_them() {
        let shared = "\nsched = \"shared\"";
        let (two, four) = (format!("2{shared}"), format!("4{shared}"));
        assert_eq!(Hardware::fit(&manifest(&[&two, &four, &two]), 0).cpus, 4);
        assert_eq!(Hardware::fit(&manifest(&["3", &two]), 0).cpus, 5);
    }

    #[test]
    fn the_machine_holds_the_vms_the_bundle_and_some_more() {
        let hardware = Hardware::fit(&manifest(&["1", "1"]), 35 << 20);
        assert_eq!(hardware.memory, 1536 << 20);
    }

    #[test]
    fn the_command_line_says_what_was_chosen() {
        let hardware = Hardware {
            model: "virt".into(),
            cpu: "neoverse-n1".into(),
            cpus: 2,
            memory: 1 << 30,
            gic: Gic::V2,
            mte: true,
            icount: true,
            el2: true,
            board: None,
        };
        assert_eq!(
            hardware.arguments().join(" "),
            "-M virt,virtualization=on,gic-version=2,mte=on -cpu neoverse-n1 -smp 2 -m 1024M -nic none \
             -icount shift=0,sleep=off"
        );
        let board = Hardware { board: Some(vec!["-M".into(), "raspi4b".into()]), ..hardware };
        assert_eq!(board.arguments().join(" "), "-M raspi4b");
    }
}
