//! VMs described in the platform tree's own `/chosen`, as for Xen's dom0less, without a bundle.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::{self, Cache};
use assay_harness::dom0less::Dom0less;
use assay_harness::qemu::{self, Gic};
use assay_harness::{Builder, Machine};

use super::linux::{BOOT, PROMPT};
use super::{Case, contract};

const LIMIT: Duration = Duration::from_secs(120);
/// Where the hello program goes, and what its nodes say.
const KERNEL: u64 = 0x5000_0000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("dom0less/a-fragment-boots", || {
            let machine = fragment("", "").start()?;
            hello(machine, &["domU1"])
        }),
        Case::new("dom0less/a-fragment-boots-gic2", || {
            let machine = fragment("", "").gic(Gic::V2).start()?;
            hello(machine, &["domU1"])
        }),
        Case::new("dom0less/a-whole-tree-boots", whole_tree),
        Case::new("dom0less/what-only-xen-knows-is-named", xens_words),
        Case::new("dom0less/modules-may-overlap", overlapping_modules),
        Case::new("dom0less/bad-modules-refuse-their-vm-alone", bad_modules),
        Case::linux("dom0less/two-debians-from-one-kernel", two_debians),
        Case::new("dom0less/run-vm-tree-exits-as-it-should", run_command),
    ]
}

/// Boots what `run --vm-tree` documents: the example trees.
fn example(name: &str) -> Result<PathBuf> {
    Ok(cache::repository()?.join("guests/trees").join(name))
}

/// A `xen,domain` node with the hello program at `kernel`.
fn domain(name: &str, kernel: &str, more: &str) -> String {
    format!(
        "{name} {{ compatible = \"xen,domain\"; #address-cells = <2>; #size-cells = <1>; \
         memory = <0 0x10000>; cpus = <1>; vpl011; {more} \
         module@{kernel} {{ compatible = \"multiboot,kernel\", \"multiboot,module\"; \
         reg = <0 0x{kernel} 0x200000>; bootargs = \"for {name}\"; }}; }};"
    )
}

/// A machine with the VM `domU1`, further properties of its own, and further nodes of `/chosen`.
fn fragment(of_vm: &str, of_chosen: &str) -> Builder {
    let vm = domain("domU1", "50000000", of_vm);
    let source = format!("/dts-v1/; / {{ chosen {{ {vm} {of_chosen} }}; }};");
    let builder = Machine::builder().module(KERNEL, "hello");
    match Dom0less::from_source(&source) {
        Ok(tree) => builder.vm_tree(tree),
        // `start` says that there is no VM; the source is a constant of this file.
        Err(_) => builder,
    }
}

/// Every VM runs the hello program with its own command line, and powers off.
fn hello(mut machine: Machine, names: &[&str]) -> Result<String> {
    for name in names {
        machine.expect(name, &format!("Command line: \"for {name}\""), LIMIT)?;
    }
    machine.finish(LIMIT)?;
    Ok(String::new())
}

/// The machine's own tree with the VMs in it, as a boot loader's user has it.
fn whole_tree() -> Result<String> {
    let vms = [domain("one", "50000000", ""), domain("two", "50000000", "")].concat();
    let part = Dom0less::from_source(&format!("/ {{ chosen {{ {vms} }}; }};"))?;
    let qemu = qemu::find(None, &Cache::locate()?)?;
    let folder = std::env::temp_dir().join(format!("assay-tree-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let own = qemu::own_tree(&qemu, &part.hardware().arguments(), &folder);
    let _ = std::fs::remove_dir_all(&folder);
    let whole = Dom0less::from_blob(&part.complete(&own?)?)?;
    ensure!(whole.is_whole(), "the tree has no CPUs");
    ensure!(whole.hardware().cpus == 2, "{:?}", whole.hardware());
    let machine = Machine::builder().vm_tree(whole).module(KERNEL, "hello").start()?;
    hello(machine, &["one", "two"])
}

fn xens_words() -> Result<String> {
    let machine = fragment(
        "nr_spis = <32>; direct-map; xen,enhanced = \"enabled\"; \
         module@51000000 { compatible = \"multiboot,device-tree\", \"multiboot,module\"; reg = <0 0x51000000 0x1000>; };",
        "xen,xen-bootargs = \"dom0_mem=1G\"; \
         module@52000000 { compatible = \"multiboot,kernel\", \"multiboot,module\"; reg = <0 0x52000000 0 0x1000>; };",
    );
    let mut machine = machine.start()?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    let warned = |node: &str, property: &str| {
        events.iter().any(|event| {
            event.kind == "warning" && event.get("node") == Some(node) && event.get("property") == Some(property)
        })
    };
    for (node, property) in [
        ("/chosen/domU1", "nr_spis"),
        ("/chosen/domU1", "direct-map"),
        ("/chosen/domU1", "xen,enhanced"),
        ("/chosen/domU1/module@51000000", "-"),
        ("/chosen/module@52000000", "-"),
    ] {
        ensure!(warned(node, property), "{node} {property} has no warning:\n{}", machine.log());
    }
    let warnings = events.iter().filter(|event| event.kind == "warning");
    let count = warnings.filter(|event| event.get("node").is_some()).count();
    ensure!(count == 5, "{count} warnings:\n{}", machine.log());
    hello(machine, &["domU1"])
}

/// Trees often give more room than a file has, and two of them then share pages.
fn overlapping_modules() -> Result<String> {
    let other = domain("domU2", "50100800", "");
    let machine = fragment("", &other).module(0x5010_0800, "hello");
    hello(machine.start()?, &["domU1", "domU2"])
}

fn bad_modules() -> Result<String> {
    let bad = [
        ("over-assay", "40200000", "Assay"),
        ("in-a-device", "09000000", "memory node"),
        ("not-loaded", "51000000", "zeros"),
    ];
    let nodes: String = bad.map(|(name, at, _)| domain(name, at, "")).concat();
    let mut machine = fragment("", &nodes).start()?;
    machine.expect("domU1", "Command line: \"for domU1\"", LIMIT)?;
    machine.wait(LIMIT)?;
    let events = machine.events();
    for (name, _, word) in bad {
        let refused = events.iter().find(|event| event.kind == "refused" && event.get("vm") == Some(name));
        let refused = refused.with_context(|| format!("{name} isn't refused: {}", machine.log()))?;
        ensure!(
            refused.get("rule") == Some("V3")
                && refused.get("reason").is_some_and(|text| text.contains(word))
                && refused.get("remedy").is_some_and(|text| !text.is_empty()),
            "{refused}"
        );
    }
    ensure!(events.iter().any(|event| event.is_vm("domU1", "stopped")), "the good VM didn't end: {}", machine.log());
    Ok(String::new())
}

fn two_debians() -> Result<String> {
    let mut machine = Machine::builder()
        .vm_tree(Dom0less::read(&example("debian.dts")?)?)
        .module(KERNEL, "debian")
        .module(0x5400_0000, "busybox")
        .start()?;
    for vm in ["domU1", "domU2"] {
        machine.expect(vm, PROMPT, BOOT)?;
    }
    Ok(String::new())
}

fn run_command() -> Result<String> {
    let tree = example("hello.dts")?.display().to_string();
    let run = |more: &[&str]| contract::xtask(&[&["run", "--vm-tree", &tree], more].concat());
    let output = run(&["--module", "0x50000000=hello"])?;
    let told = contract::told(&output);
    ensure!(output.status.code() == Some(0), "{told}");
    ensure!(told.contains("[domU1] Hello from EL1"), "{told}");
    let output = run(&[])?;
    let told = contract::told(&output);
    ensure!(output.status.code() == Some(1), "without its module: {told}");
    ensure!(told.contains("vm=domU1") && told.contains("rule=V3"), "{told}");
    for words in [
        &["--module", "0x51000000=hello"] as &[&str],
        &["--module", "hello"],
        &["--module", "0x50000000=nowhere.img"],
        &["--module", "0x50000000=debian"],
        &["--cpus", "2"],
    ] {
        let output = run(words)?;
        ensure!(output.status.code() == Some(2) && !output.stderr.is_empty(), "{words:?}: {}", contract::told(&output));
    }
    let output = contract::xtask(&["run", "--vm-tree", "Cargo.toml"])?;
    ensure!(output.status.code() == Some(2), "no tree: {}", contract::told(&output));
    Ok(String::new())
}
