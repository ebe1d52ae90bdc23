//! Why QEMU does not start a machine, in words for somebody who wrote a manifest and no QEMU command line.

/// QEMU's words (10.0, and 8.2 where it differs), and what they come to.
const CAUSES: &[(&str, &str)] = &[
    (
        "exceeds max CPUs",
        "the VMs want more CPUs than the machine can have: give them fewer `cpus`, let them share some \
         (sched = \"shared\"), or take --gic 3, as a GICv2 has 8 at most",
    ),
    (
        "Invalid SMP CPUs",
        "the VMs want more CPUs than the machine can have: give them fewer `cpus`, or let them share some \
         (sched = \"shared\")",
    ),
    ("cannot set up guest memory", "this host has too little memory for the machine: give the VMs less `memory`"),
    ("unable to find CPU model", "QEMU has no CPU of this name: -cpu help lists those that it has"),
    ("Invalid CPU", "the machine can't have this CPU: take one with EL2, such as --cpu max"),
    ("memory exceeds", "the machine's memory does not fit below what its CPUs can address: give the VMs less `memory`"),
    (
        "Address already in use",
        "something listens on the port already, maybe another run: end it, or choose another port",
    ),
    ("Failed to find an available port", "something listens on the port already, maybe another run: end it"),
    ("invalid option", "QEMU has no such option: correct what follows --"),
    ("Property '", "QEMU has no such property: correct --cpu, or what follows --"),
    ("invalid accelerator", "take that accelerator out: EL2 needs emulation (tcg)"),
    ("does not support", "the machine can't be so: correct --cpu, --gic, or what follows --"),
];

/// Says why QEMU ended by what it wrote to its stderr. `mte` are the VMs that have `mte = true`, `cpu` is the CPU.
#[must_use]
pub fn refusal(stderr: &str, mte: &[&str], cpu: &str) -> String {
    // The first line that is QEMU's own; the loader and libraries may write theirs before it.
    let own = stderr.lines().filter_map(|line| line.split_once("qemu-system-aarch64: ")).map(|(_, words)| words);
    let mut own = own.filter(|words| !words.starts_with("warning:") && !words.starts_with("info:"));
    let said = own.next().or_else(|| stderr.lines().next()).unwrap_or("it says nothing").trim();
    let known = CAUSES.iter().find(|(words, _)| stderr.contains(words)).map(|(_, cause)| (*cause).to_owned());
    let cause = if stderr.contains("MTE requested") { Some(no_mte(mte, cpu)) } else { known };
    match cause {
        Some(cause) => format!("QEMU refuses this machine ({said}): {cause}"),
        None => format!("QEMU refuses this machine: {said}"),
    }
}

fn no_mte(vms: &[&str], cpu: &str) -> String {
    let who = match vms {
        [] => "a VM has".to_owned(),
        [one] => format!("vm \"{one}\" has"),
        several => format!("the VMs \"{}\" have", several.join("\", \"")),
    };
    format!(
        "{who} mte = true, and the CPU {cpu} has no MTE: set mte = false, or take a CPU with MTE, such as --cpu max"
    )
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn mte_on_a_cpu_without_it_names_vm_field_and_cpu() {
        let said = "qemu-system-aarch64: MTE requested, but not supported by the guest CPU\n";
        assert_eq!(
            refusal(said, &["linux"], "cortex-a72"),
            "QEMU refuses this machine (MTE requested, but not supported by the guest CPU): vm \"linux\" has mte = true, \
             and the CPU cortex-a72 has no MTE: set mte = false, or take a CPU with MTE, such as --cpu max"
        );
        assert!(refusal(said, &["a", "b"], "x").contains("the VMs \"a\", \"b\" have mte = true"));
    }

    #[test]
    fn what_qemu_10_says_gets_a_sentence() {
        for (said, words) in [
            ("unable to find CPU model 'z80'", "-cpu help"),
            ("Number of SMP CPUs requested (9) exceeds max CPUs supported by machine 'mach-virt' (8)", "--gic 3"),
            ("Invalid SMP CPUs 600. The max CPUs supported by machine 'virt-10.0' is 512", "fewer `cpus`"),
            ("cannot set up guest memory 'mach-virt.ram': Cannot allocate memory", "less `memory`"),
            ("-frob: invalid option", "what follows --"),
            ("can't apply global max-arm-cpu.foo=on: Property 'max-arm-cpu.foo' not found", "--cpu"),
            ("Addressing limited to 32 bits, but memory exceeds it by 1 bytes", "less `memory`"),
            ("-gdb tcp::1234: Failed to find an available port: Address already in use", "end it"),
            ("-accel kvm: invalid accelerator kvm", "tcg"),
        ] {
            let text = refusal(&format!("qemu-system-aarch64: {said}\nmore\n"), &[], "max");
            assert!(text.starts_with(&format!("QEMU refuses this machine ({said}): ")), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn other_words_are_passed_on_and_warnings_are_not_the_reason() {
        let said = "qemu-system-aarch64: warning: old\nqemu-system-aarch64: -drive file=/x: Could not open '/x'\n";
        assert_eq!(refusal(said, &[], "max"), "QEMU refuses this machine: -drive file=/x: Could not open '/x'");
        assert_eq!(refusal("", &[], "max"), "QEMU refuses this machine: it says nothing");
    }
}
