//! Kernels of other architectures, by how their files begin.

use assay_plan::refusal::Refusal;

/// The refusal of a kernel, in words for a kernel of another architecture if the file is one.
pub(crate) fn told(refused: Refusal, kernel: &[u8]) -> Refusal {
    let Some(other) =
        other(kernel).filter(|_| refused.reason.contains("arm64 Image") || refused.reason.contains("ELF"))
    else {
        return refused;
    };
    let reason = format!("the kernel is {other}, and the VM's CPUs are of arm64");
    Refusal { reason, remedy: "give a kernel that was built for arm64", ..refused }
}

/// What a file is for, if not for AArch64.
fn other(kernel: &[u8]) -> Option<&'static str> {
    let is_at = |at: usize, magic: &[u8]| kernel.get(at..).is_some_and(|bytes| bytes.starts_with(magic));
    // Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
    if is_at(0x202, b"HdrS") {
        return Some("an x86 bzImage");
    }
    // Documentation/arch/riscv/boot-image-header.rst.
    if is_at(0x38, b"RSC\x05") {
        return Some("a RISC-V Image");
    }
    // arch/arm/boot/compressed/head.S: the zImage's magic.
    if is_at(0x24, &0x016f_2818u32.to_le_bytes()) {
        return Some("a zImage of 32-bit Arm");
    }
    if is_at(0, b"\x7fELF") {
        return machine(kernel).and_then(of_elf);
    }
    is_at(0, b"MZ").then(|| pe(kernel)).flatten()
}

/// `e_machine`, in the byte order that the file has.
fn machine(elf: &[u8]) -> Option<u16> {
    let half = elf.get(18..)?.first_chunk().copied()?;
    Some(if elf.get(5) == Some(&2) { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) })
}

fn of_elf(machine: u16) -> Option<&'static str> {
    Some(match machine {
        3 => "an ELF file for 32-bit x86",
        20 | 21 => "an ELF file for PowerPC",
        22 => "an ELF file for S/390",
        40 => "an ELF file for 32-bit Arm",
        62 => "an ELF file for x86-64",
        243 => "an ELF file for RISC-V",
        258 => "an ELF file for LoongArch",
        _ => return None,
    })
}

/// What an EFI program is for (PE/COFF, "Machine Types").
fn pe(file: &[u8]) -> Option<&'static str> {
    let at = u32::from_le_bytes(*file.get(0x3c..)?.first_chunk()?) as usize;
    let header = file.get(at..)?.strip_prefix(b"PE\0\0")?;
    Some(match u16::from_le_bytes(*header.first_chunk()?) {
        0x8664 => "an EFI program for x86-64",
        0x14c => "an EFI program for 32-bit x86",
        0x1c0 | 0x1c2 | 0x1c4 => "an EFI program for 32-bit Arm",
        0x5032 | 0x5064 => "an EFI program for RISC-V",
        0x6232 | 0x6264 => "an EFI program for LoongArch",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{other, told};
    use assay_model::loader::KernelError;
    use assay_plan::kernel;
    use assay_plan::refusal::Refusal;

    fn file(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; 0x400];
        for (at, bytes) in parts {
            file[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        file
    }

    #[test]
    fn kernels_of_other_architectures_are_known_by_how_they_begin() {
        let efi =
            |machine: u16| file(&[(0, b"MZ"), (0x3c, &[0x80]), (0x80, b"PE\0\0"), (0x84, &machine.to_le_bytes())]);
        let elf = |machine: u8| file(&[(0, b"\x7fELF\x02\x01\x01"), (18, &[machine])]);
        for (file, words) in [
            (file(&[(0, b"MZ"), (0x202, b"HdrS")]), "an x86 bzImage"),
            (file(&[(0, b"MZ"), (0x38, b"RSC\x05")]), "a RISC-V Image"),
            (file(&[(0x24, &[0x18, 0x28, 0x6f, 0x01])]), "a zImage of 32-bit Arm"),
            (elf(62), "an ELF file for x86-64"),
            (elf(243), "an ELF file for RISC-V"),
            (file(&[(0, b"\x7fELF\x02\x02\x01"), (18, &[0, 21])]), "an ELF file for PowerPC"),
            (efi(0x8664), "an EFI program for x86-64"),
            (efi(0x6264), "an EFI program for LoongArch"),
        ] {
            let error = kernel::identify(&file, None).and_then(|kind| {
                let ram = assay_spec::addr::Region { start: assay_model::layout::RAM, size: 64 << 20 };
                kernel::plan(&kind, &file, kernel::Memory { ram, flashes: &[] }, 0, 1)
            });
            let refused = told(Refusal::of("a", &error.unwrap_err()), &file);
            assert!(refused.reason.contains(words), "{words}: {}", refused.reason);
            assert!(!refused.remedy.contains("raw"), "{}", refused.remedy);
        }
    }

    #[test]
    fn what_is_for_arm64_or_unknown_keeps_its_words() {
        let arm64 = file(&[(0, b"MZ"), (0x3c, &[0x40]), (0x40, b"PE\0\0\x64\xaa"), (0x38, b"ARM\x64")]);
        for file in [arm64, file(&[]), file(&[(0, b"\x7fELF\x02\x01\x01"), (18, &[183])]), b"MZ".to_vec(), Vec::new()] {
            assert_eq!(other(&file), None);
            let refused = Refusal::of("a", &KernelError::Unknown);
            assert_eq!(told(refused.clone(), &file), refused);
        }
        // A kernel that is too large is no other's, whatever a byte in it says.
        let refused = Refusal::of("a", &KernelError::NoRoom { needed: 2, ram: 1 });
        assert_eq!(told(refused.clone(), &file(&[(0x202, b"HdrS")])), refused);
    }
}
