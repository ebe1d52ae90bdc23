//! CPUs by name: the ID registers that decisions depend on.
//!
//! Read from QEMU's models through its gdb stub; docs/explain.md says how to repeat it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use assay_plan::idregs::HostId;
use assay_plan::policy::CpuBits;

/// One kind of CPU.
struct Preset {
    name: &'static str,
    /// What was read: QEMU's version and options.
    source: &'static str,
    pfr1: u64,
    pfr2: u64,
    mmfr0: u64,
    mmfr2: u64,
}

const fn preset(name: &'static str, source: &'static str, registers: [u64; 4]) -> Preset {
    let [pfr1, pfr2, mmfr0, mmfr2] = registers;
    Preset { name, source, pfr1, pfr2, mmfr0, mmfr2 }
}

/// `ID_AA64PFR1_EL1`, `ID_AA64PFR2_EL1`, `ID_AA64MMFR0_EL1` and `ID_AA64MMFR2_EL1` of each.
#[rustfmt::skip]
const PRESETS: &[Preset] = &[
    preset("max", "QEMU 10.0 max, mte=on", [0x10_0100_0321, 0, 0x2100_0323_1020_1126, 0x1221_0111_1201_1011]),
    preset("max-nomte", "QEMU 10.0 max, mte=off", [0x10_0100_0121, 0, 0x2100_0323_1020_1126, 0x1221_0111_1201_1011]),
    preset("max-mteperm", "QEMU 11.1 max, mte=on", [0x10_1010_1200_0321, 0x1_0000_0111, 0x2100_0323_1020_1126, 0x1221_0111_1201_1011]),
    preset("cortex-a53", "QEMU 10.0 cortex-a53", [0, 0, 0x1122, 0]),
    preset("cortex-a72", "QEMU 10.0 cortex-a72", [0, 0, 0x1124, 0]),
    preset("cortex-a710", "QEMU 10.0 cortex-a710, mte=on", [0x221, 0, 0x222_0010_1122, 0x1221_0111_1010_1011]),
    preset("cortex-a710-nomte", "QEMU 10.0 cortex-a710, mte=off", [0x121, 0, 0x222_0010_1122, 0x1221_0111_1010_1011]),
    preset("neoverse-n1", "QEMU 10.0 neoverse-n1", [0x20, 0, 0x10_1125, 0x1011]),
    preset("neoverse-n2", "QEMU 10.0 neoverse-n2, mte=on", [0x221, 0, 0x222_0010_1125, 0x1221_0111_1210_1011]),
    preset("neoverse-n2-nomte", "QEMU 10.0 neoverse-n2, mte=off", [0x121, 0, 0x222_0010_1125, 0x1221_0111_1210_1011]),
    preset("neoverse-v1", "QEMU 10.0 neoverse-v1", [0x20, 0, 0x10_1125, 0x220_0111_0210_1011]),
];

impl Preset {
    fn host(&self) -> HostId {
        let mut table = [[0; 8]; 7];
        table[3][1] = self.pfr1;
        table[3][2] = self.pfr2;
        table[6][0] = self.mmfr0;
        table[6][2] = self.mmfr2;
        HostId::new(table)
    }
}

/// What all CPUs of these names have in common, as EL2 finds it.
///
/// # Errors
/// No name, or one that is not known.
pub(super) fn common(names: &[String]) -> Result<HostId> {
    let known = || PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>();
    let mut all = None;
    for name in names {
        let preset = PRESETS.iter().find(|preset| preset.name == name.trim());
        let host = preset.with_context(|| format!("no CPU is named {name}: there are {}", known().join(", ")))?.host();
        all = Some(all.map_or_else(|| host.clone(), |so_far: HostId| so_far.minimum(&host)));
    }
    all.context("--cpu names no CPU")
}

/// What the policy reads of the registers.
///
/// # Errors
/// Registers that the architecture excludes together.
pub(super) fn bits(host: &HostId) -> Result<CpuBits> {
    Ok(CpuBits::from_id_registers(host.get(4, 1), host.get(4, 2), host.get(7, 2))?)
}

/// The list for people: names, what the policy reads in them, and the registers.
pub(super) fn list() -> String {
    let yes = |bit: bool| if bit { "yes" } else { "-" };
    let mut text = format!(
        "{:18} {:4} {:4} {:8} {:>7}  {:18} {:18} {:18} {:18} from\n",
        "name",
        "MTE2",
        "FWB",
        "MTE_PERM",
        "PA bits",
        "ID_AA64PFR1_EL1",
        "ID_AA64PFR2_EL1",
        "ID_AA64MMFR0_EL1",
        "ID_AA64MMFR2_EL1"
    );
    for preset in PRESETS {
        let host = preset.host();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:18} {:4} {:4} {:8} {:7}  {:#018x} {:#018x} {:#018x} {:#018x} {}",
            preset.name,
            yes(host.mte()),
            yes(host.fwb()),
            yes(host.mte_perm()),
            host.pa_range_bits(),
            preset.pfr1,
            preset.pfr2,
            preset.mmfr0,
            preset.mmfr2,
            preset.source
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{PRESETS, bits, common, list};

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    /// MTE2, FWB and MTE_PERM of CPUs together.
    fn of(text: &str) -> (bool, bool, bool) {
        let bits = bits(&common(&names(text)).unwrap()).unwrap();
        (bits.mte(), bits.fwb(), bits.mte_perm())
    }

    #[test]
    fn presets_have_the_features_of_their_cpus() {
        assert_eq!(of("max"), (true, true, false));
        assert_eq!(of("max-nomte"), (false, true, false));
        assert_eq!(of("max-mteperm"), (true, true, true));
        assert_eq!(of("cortex-a53"), (false, false, false));
        assert_eq!(of("cortex-a72"), (false, false, false));
        assert_eq!(of("neoverse-n1"), (false, false, false));
        assert_eq!(of("neoverse-v1"), (false, true, false));
        assert_eq!(of("neoverse-n2"), (true, true, false));
        assert_eq!(of("cortex-a710"), (true, true, false));
    }

    #[test]
    fn of_several_cpus_only_what_all_have_counts() {
        assert_eq!(of("max-mteperm,neoverse-n2"), (true, true, false));
        assert_eq!(of("neoverse-n2,neoverse-v1"), (false, true, false));
        assert_eq!(of("neoverse-n2,cortex-a72"), (false, false, false));
        let host = common(&names("neoverse-n2,cortex-a53")).unwrap();
        assert_eq!(host.pa_range_bits(), 40);
    }

    #[test]
    fn an_unknown_cpu_is_an_error_with_the_known_names() {
        let error = common(&names("cortex-m0")).unwrap_err().to_string();
        assert!(error.contains("cortex-m0") && error.contains("neoverse-v1"));
        assert!(common(&[]).is_err());
    }

    #[test]
    fn names_differ_and_the_list_has_them_all() {
        let list = list();
        for (index, preset) in PRESETS.iter().enumerate() {
            assert!(PRESETS.iter().skip(index + 1).all(|other| other.name != preset.name));
            assert!(list.contains(&format!("\n{} ", preset.name)));
        }
    }
}
