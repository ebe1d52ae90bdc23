use super::{Allow, Cpus, Manifest, OnCrash, Schedule, Use};

const WHOLE: &str = r#"
console = "prefix"
[[vm]]
name = "linux"
cpus = 2
memory = "512M"
mte = true
watchdog = true
pmu = true
on-crash = "restart"
max-restarts = 5
kernel = "debian"
initrd = "busybox"
cmdline = "console=ttyAMA0"

[[vm.coherent]]
region = "gpu0-memory"
use = "dax"
allow = ["mte-hidden", "non-cacheable"]
exec = true
ipa = "0x8000000000"
"#;

fn complaint(text: &str) -> String {
    format!("{:#}", Manifest::parse(text).unwrap_err())
}

fn with(line: &str) -> String {
    format!("[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"hello\"\n{line}\n")
}

#[test]
fn every_field_is_read() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    let vm = &manifest.vm[0];
    assert!(manifest.console.is_some());
    assert_eq!((vm.name.as_str(), vm.memory, &vm.cpus), ("linux", 512 << 20, &Cpus::Count(2)));
    assert!(vm.mte && vm.watchdog && vm.pmu);
    assert_eq!((vm.on_crash, vm.max_restarts), (OnCrash::Restart, Some(5)));
    assert_eq!((vm.kernel.as_str(), vm.initrd.as_deref()), ("debian", Some("busybox")));
    let claim = &vm.coherent[0];
    assert_eq!((claim.use_, claim.exec, claim.ipa), (Use::Dax, true, Some(0x80_0000_0000)));
    assert_eq!(claim.allow, [Allow::MteHidden, Allow::NonCacheable]);
}

#[test]
fn a_short_vm_has_the_documented_defaults() {
    let manifest = Manifest::parse(&with("")).unwrap();
    let vm = &manifest.vm[0];
    assert_eq!(vm.cpus, Cpus::Count(1));
    assert_eq!((vm.on_crash, vm.max_restarts), (OnCrash::Stop, None));
    assert!(!vm.mte && !vm.watchdog && !vm.pmu && vm.initrd.is_none() && vm.cmdline.is_empty());
}

#[test]
fn a_budget_may_be_as_long_as_the_period_for_each_vcpu() {
    let line = "sched = \"shared\"\ncpus = 2\nweight = 65535\nbudget = \"4ms\"\nperiod = \"2ms\"";
    let manifest = Manifest::parse(&with(line)).unwrap();
    let vm = &manifest.vm[0];
    assert_eq!(vm.sched, Schedule::Shared);
    assert_eq!((vm.weight, vm.budget, vm.period), (Some(65535), Some(4000), Some(2000)));
}

#[test]
fn an_unknown_field_is_an_error_that_names_it() {
    assert!(complaint(&with("memroy = 1")).contains("memroy"));
    assert!(complaint(&with("sched = \"fifo\"")).contains("fifo"));
    assert!(complaint(&with("budget = \"2 hours\"")).contains("2 hours"));
    assert!(
        complaint(&with("[[vm.coherent]]\nregion = \"r\"\nuse = \"ram\"\nallow = [\"mte-visible\"]"))
            .contains("mte-visible")
    );
}

#[test]
fn a_field_that_is_nearly_one_is_guessed_and_another_is_not() {
    assert!(complaint(&with("memroy = 1")).contains("line 5: no field is named `memroy`: did you mean `memory`?"));
    assert!(complaint(&with("colour = 1")).contains("there are name, cpus, memory"));
}

#[test]
fn a_table_in_place_of_an_array_is_named_with_its_line() {
    assert!(complaint("\n[vm]\nname = \"a\"").contains("line 2: write [[vm]], and not [vm]"));
    assert!(complaint(&with("[vm.coherent]\nregion = \"r\"")).contains("write [[vm.coherent]]"));
    assert!(complaint("vm = [1]").contains("line 1: write [[vm]]"));
}

#[test]
fn a_field_that_must_be_there_is_asked_for() {
    for (text, words) in [
        ("[[vm]]\nname = \"a\"\nkernel = \"k\"", "vm \"a\": no `memory`: it must be a multiple of 4K"),
        ("[[vm]]\nmemory = \"64M\"\nkernel = \"k\"", "vm number 1: no `name`"),
    ] {
        assert!(complaint(text).contains(words), "{}", complaint(text));
    }
}

#[test]
fn what_belongs_to_another_fields_word_is_refused_without_it() {
    for (line, words) in [
        ("max-restarts = 1", "max-restarts belongs to on-crash = \"restart\""),
        ("weight = 5", "weight belongs to sched = \"shared\""),
        (
            "[[vm.coherent]]\nregion = \"r\"\nuse = \"ram\"\nexec = true",
            "exec belongs to use = \"dax\" or \"aperture\"",
        ),
        ("[[vm.coherent]]\nregion = \"r\"\nuse = \"dax\"\ndevice = \"/a\"", "device belongs to use = \"aperture\""),
    ] {
        assert!(complaint(&with(line)).contains(words), "{}", complaint(&with(line)));
    }
    Manifest::parse(&with("[[vm.coherent]]\nregion = \"r\"\nuse = \"ram\"\nexec = false")).unwrap();
}

#[test]
fn numbers_are_read_in_every_base_and_negative_ones_are_refused() {
    assert_eq!(Manifest::parse(&with("cpus = 0x10")).unwrap().vm[0].cpus, Cpus::Count(16));
    for line in ["cpus = -1", "cpus = [-1]", "cpus = 1.5", "sched = \"shared\"\nweight = -1"] {
        assert!(complaint(&with(line)).contains("must be a number"), "{line}");
    }
}

#[test]
fn a_file_that_is_not_utf_8_is_named_with_its_line() {
    let path = std::env::temp_dir().join(format!("assay-manifest-{}", std::process::id()));
    std::fs::write(&path, b"[[vm]]\nname = \"\xff\"\n").unwrap();
    let complaint = format!("{:#}", Manifest::read(&path).unwrap_err());
    std::fs::remove_file(&path).unwrap();
    assert!(complaint.contains("line 2: not UTF-8"), "{complaint}");
}

#[test]
fn impossible_values_are_errors_that_name_the_vm() {
    for line in [
        "cpus = 0",
        "cpus = 65",
        "cpus = []",
        "cpus = [1, 1]",
        "weight = 5",
        "sched = \"shared\"\nweight = 0",
        "sched = \"shared\"\nweight = 65536",
        "sched = \"shared\"\nbudget = \"2ms\"",
        "sched = \"shared\"\nperiod = \"2ms\"",
        "sched = \"shared\"\nbudget = \"2001us\"\nperiod = \"2ms\"",
        "sched = \"shared\"\nbudget = \"50us\"\nperiod = \"2ms\"",
        "sched = \"shared\"\nbudget = \"100us\"\nperiod = \"500us\"",
        "cmdline = \"a\\nb\"",
    ] {
        let complaint = complaint(&with(line));
        assert!(complaint.contains("vm \"a\""), "{line}: {complaint}");
    }
    assert!(
        complaint("[[vm]]\nname = \"a b\"\nmemory = \"64M\"\nkernel = \"k\"")
            .contains("line 2: name = \"a b\": must be 1 to 31")
    );
    assert!(complaint("[[vm]]\nname = \"a\"\nmemory = 4097\nkernel = \"k\"").contains("multiple of 4K"));
}

#[test]
fn two_vms_of_one_name_are_refused() {
    assert!(complaint(&[with(""), with("")].concat()).contains("two VMs"));
}

#[test]
fn a_manifest_without_a_vm_is_refused() {
    assert!(complaint("").contains("at least one"));
}

#[test]
fn a_command_line_that_linux_cuts_is_a_warning_and_one_that_ends_in_no_tree_an_error() {
    let line = |bytes: usize| with(&format!("cmdline = \"{}\"", "x".repeat(bytes)));
    assert_eq!(Manifest::parse(&line(2047)).unwrap().warnings(), [""; 0]);
    let warning = "vm \"a\": cmdline: 2048 bytes, and Linux reads the first 2047";
    assert_eq!(Manifest::parse(&line(2048)).unwrap().warnings(), [warning]);
    assert!(Manifest::parse(&line(1 << 20)).is_ok());
    let complaint = complaint(&line((1 << 20) + 1));
    assert!(complaint.contains("1 MiB") && complaint.contains("\"a\""), "{complaint}");
}
