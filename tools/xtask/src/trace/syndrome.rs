//! `ESR_EL2` in words (DDI0487 D24.2, ESR_EL2).

use assay_spec::esr;
use assay_spec::exit::{Abort, Exit};
use assay_spec::sysreg::SysReg;

/// Says what a guest did to come to EL2 with this syndrome.
pub(super) fn decoded(syndrome: u64) -> String {
    match esr::decode(syndrome, 0, 0) {
        Exit::Hvc { imm } => format!("HVC #{imm}"),
        Exit::Smc { imm } => format!("SMC #{imm}"),
        Exit::SysReg(access) => instruction(access.register, access.read, access.rt),
        // ISS.TI, of which `Exit` has what EL2 cares about.
        Exit::Wfx { .. } => ["WFI", "WFE", "WFIT", "WFET"][(syndrome & 3) as usize].to_owned(),
        Exit::DataAbort(abort) => format!("{}, {}", access(syndrome, &abort), fault(&abort)),
        Exit::InstrAbort(abort) => format!("instruction fetch, {}", fault(&abort)),
        Exit::FpTrap | Exit::Unknown => esr::class_name(esr::class(syndrome)).to_owned(),
    }
}

/// A trapped instruction, with the register's name where Assay has one for it.
fn instruction(register: SysReg, is_read: bool, rt: u8) -> String {
    let name = register.name().map_or_else(|| format!("{register:?}"), str::to_owned);
    let (op0, ..) = register.fields();
    match (op0, is_read, general(rt)) {
        // What is an instruction and no register has a name of two words.
        (1, false, general) => format!("{}, {general}", name.replacen('_', " ", 1)),
        (_, true, general) => format!("MRS {general}, {name}"),
        (_, false, general) => format!("MSR {name}, {general}"),
    }
}

/// A general register of 64 bits.
fn general(number: u8) -> String {
    if number == 31 { "XZR".to_owned() } else { format!("X{number}") }
}

/// What was done to memory, as far as the syndrome tells.
fn access(syndrome: u64, abort: &Abort) -> String {
    if abort.maintenance {
        return "cache maintenance".to_owned();
    }
    let tag = if abort.tag_access { "tag " } else { "" };
    let verb = if abort.write { "store" } else { "load" };
    let Some(told) = esr::told_access(syndrome) else { return format!("{tag}{verb}") };
    let size = match told.width().bytes() {
        1 => "1 byte".to_owned(),
        count => format!("{count} bytes"),
    };
    let way = if abort.write { "from" } else { "to" };
    format!("{tag}{verb} of {size} {way} {}", general(told.register()))
}

/// The fault status of an abort (ISS.DFSC, ISS.IFSC).
fn fault(abort: &Abort) -> String {
    let status = abort.status & 0x3f;
    let level = status & 3;
    let name = match status {
        0x00..=0x03 => format!("address size fault, level {level}"),
        0x04..=0x07 => format!("translation fault, level {level}"),
        0x08..=0x0b => format!("access flag fault, level {level}"),
        0x0c..=0x0f => format!("permission fault, level {level}"),
        0x10 => "external abort".to_owned(),
        0x11 => "tag check fault".to_owned(),
        0x13 => "external abort on a walk, level -1".to_owned(),
        0x14..=0x17 => format!("external abort on a walk, level {level}"),
        0x18 => "parity or ECC error".to_owned(),
        0x1b => "parity or ECC error on a walk, level -1".to_owned(),
        0x1c..=0x1f => format!("parity or ECC error on a walk, level {level}"),
        0x21 => "alignment fault".to_owned(),
        0x29 => "address size fault, level -1".to_owned(),
        0x2b => "translation fault, level -1".to_owned(),
        0x30 => "TLB conflict".to_owned(),
        0x31 => "unsupported update of a descriptor by hardware".to_owned(),
        0x35 => "unsupported exclusive or atomic access".to_owned(),
        status => format!("fault status {status:#x}"),
    };
    if abort.table_walk { format!("{name}, in a stage-1 walk") } else { name }
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn syndromes_are_told_in_words() {
        for (syndrome, words) in [
            (0x5a00_0000, "HVC #0"),
            (0x5e00_1234, "SMC #4660"),
            (0x0600_0000, "WFI"),
            (0x0600_0001, "WFE"),
            (0x0600_0002, "WFIT"),
            (0x6200_0000 | 3 << 20 | 3 << 10 | 3 << 5 | 12 << 1 | 1, "MRS X3, S3_0_C3_C12_0"),
            (0x6200_0000 | 3 << 20 | 5 << 17 | 31 << 5 | 1, "MRS XZR, MPIDR_EL1"),
            (0x6200_0000 | 2 << 20 | 4 << 17 | 1 << 10 | 2 << 5, "MSR OSLAR_EL1, X2"),
            (0x6200_0000 | 1 << 20 | 2 << 17 | 7 << 10 | 14 << 1, "DC CISW, X0"),
            (0x1e00_0000, "fp"),
            (0x6600_0000, "sve"),
            (0x2400_0000, "pointer-authentication"),
        ] {
            assert_eq!(decoded(syndrome), words, "{syndrome:#x}");
        }
    }

    #[test]
    fn aborts_tell_access_and_fault() {
        for (syndrome, words) in [
            (0x9200_0047, "store, translation fault, level 3"),
            (0x9380_0007 | 5 << 16, "load of 4 bytes to X5, translation fault, level 3"),
            (0x9300_0046 | 31 << 16, "store of 1 byte from XZR, translation fault, level 2"),
            (0x9200_0148, "cache maintenance, access flag fault, level 0"),
            (0x8200_000d, "instruction fetch, permission fault, level 1"),
            (0x9200_0087, "load, translation fault, level 3, in a stage-1 walk"),
            (0x9200_000f | 1 << 41, "tag load, permission fault, level 3"),
            (0x9200_0010, "load, external abort"),
            (0x8200_0016, "instruction fetch, external abort on a walk, level 2"),
            (0x9200_0061, "store, alignment fault"),
            (0x9200_003f, "load, fault status 0x3f"),
        ] {
            assert_eq!(decoded(syndrome), words, "{syndrome:#x}");
        }
    }
}
