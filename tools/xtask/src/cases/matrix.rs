//! Debian on every kind of machine: kernels, vCPUs, interrupt controllers, tagging, CPUs.
//!
//! Every pair of values meets in one of 24 boots; the whole product takes `--long`.

use anyhow::{Result, ensure};
use assay_harness::qemu::Gic;

use super::Case;
use super::linux::{PROMPT, SOON, VM, debian, power_off, to_the_shell};

const CPUS: [&str; 6] = ["max", "cortex-a53", "cortex-a72", "neoverse-n1", "neoverse-n2", "cortex-a710"];
const VCPUS: [u32; 4] = [1, 2, 4, 8];
const KERNELS: [&str; 2] = ["debian", "debian-6.12"];

/// One boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Boot {
    kernel: &'static str,
    vcpus: u32,
    gic: Gic,
    mte: bool,
    cpu: &'static str,
}

/// Whether QEMU's model of this CPU has MTE.
fn has_mte(cpu: &str) -> bool {
    matches!(cpu, "max" | "neoverse-n2" | "cortex-a710")
}

/// Each CPU with each number of vCPUs, and the two-valued choices spread so that all pairs meet.
fn pairwise() -> Vec<Boot> {
    let mut boots = Vec::new();
    for (c, cpu) in CPUS.into_iter().enumerate() {
        for (v, vcpus) in VCPUS.into_iter().enumerate() {
            // Three independent parities of the two bits of `v`, turned from CPU to CPU.
            let turn = c / 3 + c % 3;
            let kernel = KERNELS[(v + turn) % 2];
            let gic = if (v / 2 + turn / 2 + c) % 2 == 0 { Gic::V3 } else { Gic::V2 };
            let mte = has_mte(cpu) && (v + v / 2 + c / 4) % 2 == 0;
            boots.push(Boot { kernel, vcpus, gic, mte, cpu });
        }
    }
    boots
}

fn product() -> Vec<Boot> {
    let mut boots = Vec::new();
    for cpu in CPUS {
        for kernel in KERNELS {
            for vcpus in VCPUS {
                for gic in [Gic::V2, Gic::V3] {
                    let choices: &[bool] = if has_mte(cpu) { &[false, true] } else { &[false] };
                    boots.extend(choices.iter().map(|mte| Boot { kernel, vcpus, gic, mte: *mte, cpu }));
                }
            }
        }
    }
    boots
}

pub(super) fn cases() -> Vec<Case> {
    let short = pairwise();
    let rest: Vec<Boot> = product().into_iter().filter(|boot| !short.contains(boot)).collect();
    let case = |boot: Boot| {
        let gic = if boot.gic == Gic::V2 { 2 } else { 3 };
        let mte = if boot.mte { "-mte" } else { "" };
        Case::linux(format!("matrix/{}-{}-{}vcpu-gic{gic}{mte}", boot.cpu, boot.kernel, boot.vcpus), move || run(boot))
    };
    short.into_iter().map(case).chain(rest.into_iter().map(|boot| case(boot).long())).collect()
}

fn run(boot: Boot) -> Result<String> {
    let builder = debian(boot.kernel, boot.vcpus, &format!("mte = {}", boot.mte));
    // A machine with tag storage and a VM that doesn't ask for it must hide it.
    let builder = builder.cpu(boot.cpu).gic(boot.gic).machine_mte(has_mte(boot.cpu));
    let mut machine = to_the_shell(builder)?;
    let cpus = machine.shell(VM, "nproc", PROMPT, SOON)?;
    ensure!(cpus.trim() == boot.vcpus.to_string(), "nproc says {cpus:?}, not {}", boot.vcpus);
    let release = machine.shell(VM, "uname -r", PROMPT, SOON)?;
    let wanted = if boot.kernel == "debian" { "6.1." } else { "6.12." };
    ensure!(release.trim().starts_with(wanted), "uname says {release:?}, not {wanted}…");
    let tagging = machine.shell(VM, "grep -cw mte /proc/cpuinfo", PROMPT, SOON)?;
    let wanted = if boot.mte { boot.vcpus } else { 0 };
    ensure!(tagging.trim() == wanted.to_string(), "{tagging:?} CPUs have mte, not {wanted}");
    power_off(machine)?;
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::{Boot, CPUS, Gic, KERNELS, VCPUS, has_mte, pairwise, product};

    /// The five choices of a boot as text.
    fn choices(boot: &Boot) -> [String; 5] {
        let Boot { kernel, vcpus, gic, mte, cpu } = boot;
        [kernel.to_string(), format!("{vcpus} vcpus"), format!("{gic:?}"), format!("mte {mte}"), cpu.to_string()]
    }

    fn meets(boots: &[Boot], one: &str, other: &str) -> bool {
        boots
            .iter()
            .map(choices)
            .any(|boot| boot.iter().any(|value| value == one) && boot.iter().any(|value| value == other))
    }

    #[test]
    fn every_pair_that_can_be_meets_in_one_of_24_boots() {
        let (short, all) = (pairwise(), product());
        assert_eq!(short.len(), 24);
        let mut missing = Vec::new();
        for boot in all.iter().map(choices) {
            for (index, one) in boot.iter().enumerate() {
                missing.extend(
                    boot[..index]
                        .iter()
                        .filter(|other| !meets(&short, one, other))
                        .map(|other| format!("{one} with {other}")),
                );
            }
        }
        missing.sort();
        missing.dedup();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn no_boot_asks_a_cpu_for_tags_that_it_lacks() {
        assert!(product().iter().chain(&pairwise()).all(|boot| !boot.mte || has_mte(boot.cpu)));
        let (with, without) = (3, CPUS.len() - 3);
        assert_eq!(product().len(), KERNELS.len() * VCPUS.len() * [Gic::V2, Gic::V3].len() * (2 * with + without));
    }
}
