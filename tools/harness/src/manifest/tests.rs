use super::{Allow, Cpus, Manifest, OnCrash, Schedule, Use};

const WHOLE: &str = r#"
console = "prefix"
[[vm]]
name = "linux"
cpus = 2
memory = "512M"
mte = true
watchdog = true
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
    assert!(vm.mte && vm.watchdog);
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
    assert!(!vm.mte && !vm.watchdog && vm.initrd.is_none() && vm.cmdline.is_empty());
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
    assert!(complaint("[[vm]]\nname = \"a b\"\nmemory = \"64M\"\nkernel = \"k\"").contains("name:"));
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
