//! The ID registers: what they say is what there is.

use core::arch::global_asm;

use guest_kit::code::{self, Encoding};
use guest_kit::machine::machine;
use guest_kit::{Outcome, ensure, ensure_equal, gic, ktap, sysreg};

use crate::is_answer;

pub fn id_registers() -> Outcome {
    // CRm = 1 to 7 is the identification space that reads as zero where nothing is allocated.
    for crm in 1..8 {
        for op2 in 0..8 {
            let name = Encoding(3, 0, 0, crm, op2);
            let (first, second) = (code::read(name), code::read(name));
            ensure!(first.is_ok(), "{:?} is undefined", name);
            ensure!(first == second, "{:?} changes", name);
        }
    }
    let pfr0 = sysreg::read!("id_aa64pfr0_el1");
    // 2 = AArch32 too, which Assay offers at EL0 only.
    let most = if machine().is_native() { 2 } else { 1 };
    ensure!((1..=most).contains(&(pfr0 >> 4 & 0xf)), "ID_AA64PFR0_EL1.EL1: {:#x}", pfr0);
    ensure_equal!(sysreg::read!("mpidr_el1") & 0xff_00ff_ffff, machine().cpus()[0], "MPIDR_EL1");
    ensure!(sysreg::read!("mpidr_el1") >> 31 & 1 == 1, "MPIDR_EL1 bit 31 is RES1");
    let sre_by_id = pfr0 >> 24 & 0xf != 0;
    let v3 = machine().gic.version == gic::Version::V3;
    if !machine().is_native() {
        ensure_equal!(u64::from(sre_by_id), u64::from(v3), "ID_AA64PFR0_EL1.GIC");
    }
    Ok(())
}

const PFR0: Encoding = Encoding(3, 0, 0, 4, 0);

const PFR1: Encoding = Encoding(3, 0, 0, 4, 1);

const PFR2: Encoding = Encoding(3, 0, 0, 4, 2);

const DFR0: Encoding = Encoding(3, 0, 0, 5, 0);

const ISAR1: Encoding = Encoding(3, 0, 0, 6, 1);

const ISAR2: Encoding = Encoding(3, 0, 0, 6, 2);

const MMFR1: Encoding = Encoding(3, 0, 0, 7, 1);

const MMFR2: Encoding = Encoding(3, 0, 0, 7, 2);

const MMFR3: Encoding = Encoding(3, 0, 0, 7, 3);

fn field(register: Encoding, shift: u32) -> u64 {
    code::read(register).unwrap_or(0) >> shift & 0xf
}

/// What Assay offers nobody, or only to a VM that asks: each field with its place.
const NOT_OFFERED: [(&str, Encoding, u32); 15] = [
    ("PFR0.EL2", PFR0, 8),
    ("PFR0.EL3", PFR0, 12),
    ("PFR0.RAS", PFR0, 28),
    ("PFR0.MPAM", PFR0, 40),
    ("PFR0.AMU", PFR0, 44),
    ("PFR1.RAS_frac", PFR1, 12),
    ("PFR1.MPAM_frac", PFR1, 16),
    ("PFR1.SME", PFR1, 24),
    ("PFR1.NMI", PFR1, 36),
    ("PFR1.GCS", PFR1, 44),
    ("DFR0.TraceVer", DFR0, 4),
    ("DFR0.PMSVer", DFR0, 32),
    ("DFR0.TraceBuffer", DFR0, 44),
    ("DFR0.BRBE", DFR0, 52),
    ("MMFR2.NV", MMFR2, 24),
];

pub fn not_offered() -> Outcome {
    ktap::needs_hypervisor()?;
    for (name, register, shift) in NOT_OFFERED {
        ensure!(field(register, shift) == 0, "{} is {}", name, field(register, shift));
    }
    // MTE is hidden whole or not at all.
    if field(PFR1, 8) < 2 {
        ensure_equal!(field(PFR1, 8), 0, "PFR1.MTE");
        ensure_equal!(field(PFR1, 40), 0, "PFR1.MTE_frac");
        ensure_equal!(field(PFR1, 52), 0, "PFR1.MTEX");
        ensure_equal!(code::read(PFR2).unwrap_or(!0) & 0xfff, 0, "PFR2.MTEPERM, MTESTOREONLY, MTEFAR");
    }
    Ok(())
}

/// Registers that are UNDEFINED where an ID field is zero, and that EL2 can make so: feature, its
/// field, the register.
const FEATURES: [(&str, Encoding, u32, Encoding); 16] = [
    ("SVE: ZCR_EL1", PFR0, 32, Encoding(3, 0, 1, 2, 0)),
    ("SME: SMCR_EL1", PFR1, 24, Encoding(3, 0, 1, 2, 6)),
    ("RAS: ERRIDR_EL1", PFR0, 28, Encoding(3, 0, 5, 3, 0)),
    ("AMU: AMCR_EL0", PFR0, 44, Encoding(3, 3, 13, 2, 0)),
    ("MPAM: MPAM1_EL1", PFR0, 40, Encoding(3, 0, 10, 5, 0)),
    ("SPE: PMSCR_EL1", DFR0, 32, Encoding(3, 0, 9, 9, 0)),
    ("TRBE: TRBLIMITR_EL1", DFR0, 44, Encoding(3, 0, 9, 11, 0)),
    ("trace: TRFCR_EL1", DFR0, 40, Encoding(3, 0, 1, 2, 1)),
    ("LOR: LORC_EL1", MMFR1, 16, Encoding(3, 0, 10, 4, 3)),
    ("TCR2_EL1", MMFR3, 0, Encoding(3, 0, 2, 0, 3)),
    ("GCS: GCSCR_EL1", PFR1, 44, Encoding(3, 0, 2, 5, 0)),
    ("CSV2: SCXTNUM_EL1", PFR0, 56, Encoding(3, 0, 13, 0, 7)),
    ("CSV2: SCXTNUM_EL0", PFR0, 56, Encoding(3, 3, 13, 0, 7)),
    ("MTE: GCR_EL1", PFR1, 8, Encoding(3, 0, 1, 0, 6)),
    ("MTE: RGSR_EL1", PFR1, 8, Encoding(3, 0, 1, 0, 5)),
    ("MTE: TFSR_EL1", PFR1, 8, Encoding(3, 0, 5, 6, 0)),
];

pub fn not_reported() -> Outcome {
    for (name, id, shift, register) in FEATURES {
        // MTE's registers, and those of CSV2, come with level 2.
        let least = if name.starts_with("MTE") || name.starts_with("CSV2") { 2 } else { 1 };
        match code::read(register) {
            Ok(value) if field(id, shift) < least => ensure!(false, "{} reads {:#x}", name, value),
            Err(_) if name.starts_with("CSV2") && field(id, shift) >= least => ensure!(false, "{} is UNDEFINED", name),
            Err(caught) => ensure!(is_answer(caught), "{}: esr={:#x}", name, caught.esr),
            Ok(_) => {}
        }
    }
    // PAuth: any of its algorithms, in two registers.
    let pauth = field(ISAR1, 4) | field(ISAR1, 8) | field(ISAR2, 12);
    let key = code::read(Encoding(3, 0, 2, 1, 0));
    ensure!(pauth != 0 || key.is_err(), "PAuth: APIAKeyLo_EL1 reads");
    ensure!(pauth == 0 || key.is_ok(), "PAuth: APIAKeyLo_EL1 is undefined though it is reported");
    // The PMU: usable as reported, or cleanly absent.
    let version = field(DFR0, 8);
    let absent = version == 0 || version == 0xf;
    let control = code::read(Encoding(3, 3, 9, 12, 0));
    ensure!(absent == control.is_err(), "PMU: version {} and PMCR_EL0 {:?}", version, control.is_ok());
    Ok(())
}

// x0 = a number, x1 = where to. Fills 64 bytes by FEAT_MOPS; returns how many are left.
global_asm!(
    r#"
    .arch_extension mops
traps_fill:
    mov     x2, #64
    setp    [x1]!, x2!, x0
    setm    [x1]!, x2!, x0
    sete    [x1]!, x2!, x0
    mov     x0, x2
    ret
"#
);

/// The instructions that copy and set memory are there exactly if they are reported.
pub fn memory_sets() -> Outcome {
    unsafe extern "C" {
        static traps_fill: u8;
    }
    let target = crate::PAGE.0.get().cast::<u64>();
    let reported = field(ISAR2, 16) != 0;
    match guest_kit::exception::guarded(&raw const traps_fill as u64, 0x5a, target as u64) {
        Ok(left) => {
            // SAFETY: the page is the instructions' alone.
            let (last, next) = unsafe { (target.add(7).read_volatile(), target.add(8).read_volatile()) };
            ensure!(reported, "MOPS: done, and not reported");
            ensure!((left, last) == (0, 0x5a5a_5a5a_5a5a_5a5a), "MOPS: {} left, {:#x}", left, last);
            ensure!(next != last, "MOPS: more than was asked for");
        }
        Err(caught) => {
            ensure!(!reported && is_answer(caught), "MOPS: reported {}, esr={:#x}", reported, caught.esr);
        }
    }
    Ok(())
}
