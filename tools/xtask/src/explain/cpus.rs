//! CPUs by name, by their registers, or by what a console said of them: the ID registers that decisions depend on.
//!
//! Some presets were read from QEMU's models through its gdb stub (docs/explain.md says how to repeat it). The others have what
//! Arm's Technical Reference Manuals say of the fields that decisions read, and 0 elsewhere.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use assay_harness::Event;
use assay_plan::idregs::HostId;
use assay_plan::policy::CpuBits;

/// The registers with op0 3, op1 0, CRn 0: `[CRm - 1][op2]`.
type Table = [[u64; 8]; 7];

/// The AArch64 ID registers, by CRm and op2.
const REGISTERS: &[(&str, usize, usize)] = &[
    ("ID_AA64PFR0_EL1", 4, 0),
    ("ID_AA64PFR1_EL1", 4, 1),
    ("ID_AA64PFR2_EL1", 4, 2),
    ("ID_AA64ZFR0_EL1", 4, 4),
    ("ID_AA64SMFR0_EL1", 4, 5),
    ("ID_AA64FPFR0_EL1", 4, 7),
    ("ID_AA64DFR0_EL1", 5, 0),
    ("ID_AA64DFR1_EL1", 5, 1),
    ("ID_AA64ISAR0_EL1", 6, 0),
    ("ID_AA64ISAR1_EL1", 6, 1),
    ("ID_AA64ISAR2_EL1", 6, 2),
    ("ID_AA64ISAR3_EL1", 6, 3),
    ("ID_AA64MMFR0_EL1", 7, 0),
    ("ID_AA64MMFR1_EL1", 7, 1),
    ("ID_AA64MMFR2_EL1", 7, 2),
    ("ID_AA64MMFR3_EL1", 7, 3),
    ("ID_AA64MMFR4_EL1", 7, 4),
];

/// What of a name says that the machine ties MTE off.
const NO_MTE: &str = "-nomte";
/// `ID_AA64PFR1_EL1.MTE`.
const MTE: u64 = 0xf << 8;

/// One kind of CPU.
#[derive(Clone)]
struct Preset {
    name: String,
    /// What was read: QEMU's version and options, or the manual.
    source: &'static str,
    pfr1: u64,
    pfr2: u64,
    mmfr0: u64,
    mmfr2: u64,
}

/// `ID_AA64PFR1_EL1`, `ID_AA64PFR2_EL1`, `ID_AA64MMFR0_EL1` and `ID_AA64MMFR2_EL1` of QEMU's models.
#[rustfmt::skip]
const MODELS: &[(&str, &str, [u64; 4])] = &[
    ("max", "QEMU 10.0 max, mte=on", [0x10_0100_0321, 0, 0x2100_0323_1020_1126, 0x1221_0111_1201_1011]),
    ("max-mteperm", "QEMU 11.1 max, mte=on", [0x10_1010_1200_0321, 0x1_0000_0111, 0x2100_0323_1020_1126, 0x1221_0111_1201_1011]),
    ("cortex-a53", "QEMU 10.0 cortex-a53", [0, 0, 0x1122, 0]),
    ("cortex-a72", "QEMU 10.0 cortex-a72", [0, 0, 0x1124, 0]),
    ("cortex-a710", "QEMU 10.0 cortex-a710, mte=on", [0x221, 0, 0x222_0010_1122, 0x1221_0111_1010_1011]),
    ("neoverse-n1", "QEMU 10.0 neoverse-n1", [0x20, 0, 0x10_1125, 0x1011]),
    ("neoverse-n2", "QEMU 10.0 neoverse-n2, mte=on", [0x221, 0, 0x222_0010_1125, 0x1221_0111_1210_1011]),
    ("neoverse-v1", "QEMU 10.0 neoverse-v1", [0x20, 0, 0x10_1125, 0x220_0111_0210_1011]),
];

/// CPUs by the manuals: `MTE`, whether there is `FWB`, and `PARange`. None has MTE_PERM, which came with Armv8.9.
const MANUALS: &[(&str, &str, u64, bool, u64)] = &[
    ("cortex-a76", "TRM 100798", 0, false, PA_40),
    ("cortex-a77", "TRM 101111", 0, false, PA_40),
    ("cortex-a78", "TRM 101430", 0, false, PA_40),
    ("cortex-x1", "TRM 101433", 0, false, PA_40),
    ("cortex-x2", "TRM 101803", 2, true, PA_40),
    ("cortex-x3", "TRM 101593", 3, true, PA_40),
    ("cortex-x4", "TRM 102484", 3, true, PA_40),
    ("neoverse-v2", "TRM 102375", 3, true, PA_48),
    ("neoverse-v3", "TRM 107734", 3, true, PA_48),
    ("neoverse-n3", "TRM 107997", 3, true, PA_48),
];
const PA_40: u64 = 2;
const PA_48: u64 = 5;

/// All presets; of those with MTE also what they are in a machine that ties it off (MTE then reads as 1).
fn presets() -> Vec<Preset> {
    let models = MODELS.iter().map(|&(name, source, [pfr1, pfr2, mmfr0, mmfr2])| {
        let name = name.to_owned();
        Preset { name, source, pfr1, pfr2, mmfr0, mmfr2 }
    });
    let manuals = MANUALS.iter().map(|&(name, source, mte, fwb, pa)| {
        let name = name.to_owned();
        Preset { name, source, pfr1: mte << 8, pfr2: 0, mmfr0: pa, mmfr2: u64::from(fwb) << 40 }
    });
    let mut all = Vec::new();
    for preset in models.chain(manuals) {
        let has_mte = preset.pfr1 & MTE > 1 << 8;
        all.push(preset.clone());
        // MTE_PERM without MTE is what only a model has.
        if has_mte && preset.pfr2 == 0 {
            let name = preset.name.clone() + NO_MTE;
            all.push(Preset { name, pfr1: preset.pfr1 & !MTE | 1 << 8, ..preset });
        }
    }
    all
}

impl Preset {
    fn table(&self) -> Table {
        let mut table = [[0; 8]; 7];
        table[3][1] = self.pfr1;
        table[3][2] = self.pfr2;
        table[6][0] = self.mmfr0;
        table[6][2] = self.mmfr2;
        table
    }
}

/// What all these CPUs have in common, as EL2 finds it. Each is a name, or a file with a console's `assay: cpu` lines;
/// `REGISTER=VALUE` changes the CPU before it, and without one begins a CPU whose other registers are 0.
///
/// # Errors
/// No CPU, or one that is not known.
pub(super) fn common(words: &[String]) -> Result<HostId> {
    let mut cpus: Vec<Table> = Vec::new();
    for word in words.iter().map(|word| word.trim()) {
        match word.split_once('=') {
            Some((register, value)) => {
                if cpus.is_empty() {
                    cpus.push(Table::default());
                }
                let last = cpus.last_mut().context("no CPU")?;
                set(last, register, value).with_context(|| format!("--cpu {word}"))?;
            }
            None => cpus.extend(named(word)?),
        }
    }
    let all = cpus.into_iter().map(HostId::new).reduce(|all, one| all.minimum(&one));
    all.context("--cpu names no CPU")
}

/// The CPU of a name, or those of a file.
fn named(word: &str) -> Result<Vec<Table>> {
    let presets = presets();
    if let Some(preset) = presets.iter().find(|preset| preset.name == word) {
        return Ok(vec![preset.table()]);
    }
    let path = Path::new(word);
    if path.is_file() {
        let bytes = std::fs::read(path).with_context(|| format!("can't read {word}"))?;
        return seen(&String::from_utf8_lossy(&bytes)).with_context(|| word.to_owned());
    }
    let known: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
    bail!("no CPU is named {word}, and it is no file with a console's lines: there are {}", known.join(", "))
}

/// The CPUs that a console told of.
fn seen(log: &str) -> Result<Vec<Table>> {
    let mut cpus = Vec::new();
    for event in log.lines().filter_map(Event::parse).filter(|event| event.kind == "cpu") {
        let mut table = Table::default();
        for (key, value) in event.fields.iter().filter(|(key, _)| key.starts_with("ID_")) {
            set(&mut table, key, value)?;
        }
        cpus.push(table);
    }
    if cpus.is_empty() {
        bail!("there is no line that begins with `assay: cpu`: give the console's whole log");
    }
    Ok(cpus)
}

/// Gives a register its value.
fn set(table: &mut Table, register: &str, value: &str) -> Result<()> {
    let names = || REGISTERS.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
    let found = REGISTERS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(register));
    let (_, crm, op2) = found.with_context(|| format!("{register} is no ID register: there are {}", names()))?;
    let number = value.strip_prefix("0x").map_or_else(|| value.parse(), |digits| u64::from_str_radix(digits, 16));
    table[crm - 1][*op2] = number.ok().with_context(|| format!("{value} is no number of 64 bits, such as 0x221"))?;
    Ok(())
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
    for preset in presets() {
        let host = HostId::new(preset.table());
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
    use super::{bits, common, list, presets, seen};

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
        for name in ["neoverse-v2", "neoverse-v3", "neoverse-n3", "cortex-x2", "cortex-x3", "cortex-x4"] {
            assert_eq!(of(name), (true, true, false), "{name}");
            assert_eq!(of(&format!("{name}-nomte")), (false, true, false), "{name}");
        }
        for name in ["cortex-a76", "cortex-a77", "cortex-a78", "cortex-x1"] {
            assert_eq!(of(name), (false, false, false), "{name}");
            assert_eq!(common(&names(name)).unwrap().pa_range_bits(), 40, "{name}");
        }
        assert_eq!(common(&names("neoverse-v2")).unwrap().pa_range_bits(), 48);
    }

    #[test]
    fn a_cpu_in_a_machine_without_tag_storage_is_the_one_that_qemu_shows_then() {
        let pfr1 = |name| common(&names(name)).unwrap().get(4, 1);
        assert_eq!(pfr1("max-nomte"), 0x10_0100_0121);
        assert_eq!((pfr1("cortex-a710-nomte"), pfr1("neoverse-n2-nomte")), (0x121, 0x121));
        assert!(common(&names("neoverse-n1-nomte")).is_err());
    }

    #[test]
    fn a_register_changes_the_cpu_before_it_or_begins_one() {
        assert_eq!(of("neoverse-n2,ID_AA64PFR1_EL1=0x121"), (false, true, false));
        assert_eq!(of("neoverse-v1,ID_AA64PFR1_EL1=0x221,neoverse-n2"), (true, true, false));
        assert_eq!(of("neoverse-n2,neoverse-v1,id_aa64pfr1_el1=545"), (true, true, false));
        assert_eq!(of("ID_AA64PFR1_EL1=0x200,ID_AA64MMFR2_EL1=0x10000000000"), (true, true, false));
        let host = common(&names("ID_AA64MMFR0_EL1=5")).unwrap();
        assert_eq!(host.pa_range_bits(), 48);
        for (text, words) in [
            ("max,ID_AA64PFR9_EL1=0", "ID_AA64PFR1_EL1"),
            ("max,ID_AA64PFR1_EL1=yes", "yes is no number"),
            ("ID_AA64PFR1_EL1=0x10000000000000000", "64 bits"),
        ] {
            let error = format!("{:#}", common(&names(text)).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_machines_own_lines_say_what_its_cpus_are() {
        let log = "[    0.1] x\r\nassay: cpu count=4 ID_AA64PFR0_EL1=0x1 ID_AA64PFR1_EL1=0x221 ID_AA64PFR2_EL1=0x0 \
                   ID_AA64MMFR0_EL1=0x101125 ID_AA64MMFR2_EL1=0x10000000000\r\n\
                   assay: cpu count=2 ID_AA64MMFR0_EL1=0x101122\r\n";
        let cpus = seen(log).unwrap();
        assert_eq!((cpus.len(), cpus[0][3][1], cpus[1][6][0]), (2, 0x221, 0x10_1122));
        assert!(seen("assay: boot cpus=2\n").unwrap_err().to_string().contains("assay: cpu"));
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
        let presets = presets();
        for (index, preset) in presets.iter().enumerate() {
            assert!(presets.iter().skip(index + 1).all(|other| other.name != preset.name));
            assert!(list.contains(&format!("\n{} ", preset.name)));
        }
    }
}
