//! A page that the operator names leaves its VM at the VM's next start.

use anyhow::{Context as _, Result, ensure};
use assay_harness::events::Event;
use assay_harness::{Machine, Report};

use super::{LIMIT, power_off, vm, wait_for_state};
use crate::cases::coherent::facts::MARKED;
use crate::cases::linux::{PROMPT, SOON, VM, debian, to_the_shell, wait_for_shell};
use crate::cases::{Case, last_life};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("offline/pages-of-ram-leave-at-the-next-start", || ram("")),
        Case::new("offline/pages-of-ram-leave-where-cpus-are-shared", || ram("sched = \"shared\"\n")),
        Case::new("offline/pages-of-coherent-memory-leave-with-their-tags", || coherent("at-boot")),
        Case::new("offline/pages-of-coherent-memory-that-is-proved-at-each-start", || coherent("at-start")),
        Case::new("offline/what-is-loaded-there-refuses-the-next-start", refused),
        Case::new("offline/what-cannot-leave-is-said", errors),
        Case::new("offline/a-page-leaves-the-tables-of-devices", devices),
        Case::linux("offline/linux-does-not-use-the-page", linux),
    ]
}

/// Takes pages from a VM that runs the program `offline`, and starts it anew. Returns what its memory is then.
fn next_life(machine: &mut Machine, vm: &str, pages: &[u64], reserved: usize) -> Result<Vec<Event>> {
    machine.open_monitor()?;
    for page in pages {
        // Any byte of it will do.
        let said = machine.monitor(&format!("offline {vm} {:#x}", page + 0x123))?;
        let line = said.first().with_context(|| format!("nothing is said of {page:#x}"))?;
        let is_right = line.get("ipa") == Some(&*format!("{page:#x}")) && line.get("event") == Some("offline");
        ensure!(is_right && line.get("does") == Some("leaves the VM at its next start"), "{line}");
    }
    let noted = noted(&machine.monitor(&format!("memory {vm}"))?, "yes");
    ensure!(pages.iter().all(|page| noted.contains(page)), "{noted:x?} is listed as mapped");
    machine.monitor(&format!("restart {vm}"))?;
    machine.leave_monitor("quit")?;
    // The last life's last line may be shown once more when the monitor is left.
    machine.expect(vm, "1..3", LIMIT)?;
    machine.expect(vm, &format!("offline: reserved={reserved}"), LIMIT)?;
    machine.open_monitor()?;
    let memory = machine.monitor(&format!("memory {vm}"))?;
    ensure!(self::noted(&memory, "yes").is_empty(), "still mapped: {memory:?}");
    ensure!(self::noted(&memory, "no").len() == reserved, "{memory:?}");
    machine.leave_monitor("quit")?;
    let events = machine.events();
    let left = events.iter().filter(|event| event.kind == "memory" && event.get("event") == Some("unmapped"));
    ensure!(left.count() == reserved, "each page leaves once");
    Ok(memory)
}

/// The pages that `memory` lists as mapped or not.
fn noted(memory: &[Event], mapped: &str) -> Vec<u64> {
    let listed = memory.iter().filter(|event| event.get("event") == Some("offline"));
    let page = |event: &Event| u64::from_str_radix(event.get("ipa")?.strip_prefix("0x")?, 16).ok();
    listed.filter(|event| event.get("mapped") == Some(mapped)).filter_map(page).collect()
}

fn report(machine: Machine, vm: &str, lives: usize) -> Result<String> {
    let report = Report::parse(&machine.output(vm));
    let counts = report.check().map_err(|fault| anyhow::anyhow!("{fault}:\n{}", machine.log()))?;
    ensure!(counts.passed == 3 * lives && counts.skipped == 0, "{counts:?}");
    machine.finish(LIMIT)?;
    Ok(format!("{} results", counts.passed))
}

fn ram(lines: &str) -> Result<String> {
    let text = format!(
        "[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"offline\"\n{lines}\
         [[vm]]\nname = \"b\"\nmemory = \"16M\"\nkernel = \"heartbeat\"\ncmdline = \"beat sum every=500\"\n{lines}"
    );
    // Beats are counted by virtual time, not by that of a busy computer.
    let mut machine = Machine::builder().manifest_text(&text).icount().start()?;
    machine.expect("a", "offline: reserved=0", LIMIT)?;
    // In the middle of a block, at one's start and end; then two more in the table that is there; then nothing new.
    let _ = next_life(&mut machine, "a", &[0x4208_1000, 0x4240_0000, 0x427f_f000], 3)?;
    let _ = next_life(&mut machine, "a", &[0x4208_2000, 0x4209_0000], 5)?;
    let memory = next_life(&mut machine, "a", &[], 5)?;
    ensure!(memory.iter().all(|event| event.get("vm") != Some("b")), "{memory:?}");
    machine.send("a", "q")?;
    machine.send("b", "q")?;
    machine.wait(LIMIT)?;
    let output = machine.output("b");
    let last = output.lines().rfind(|line| line.contains("rounds=")).context("the neighbour says nothing")?.to_owned();
    ensure!(last.contains(" wrong=0") && last.contains(" lost=0"), "the neighbour has noticed: {last}");
    report(machine, "a", 4)
}

/// Of a region that is RAM of the VM's, and has tags: EL2 clears neither the page's data nor its tags, and all others'.
fn coherent(proof: &str) -> Result<String> {
    let text = format!(
        "platform = [{:?}]\n[[vm]]\nname = \"a\"\ncpus = 2\nmemory = \"32M\"\nmte = true\nkernel = \"offline\"\n\
         [[vm.coherent]]\nregion = \"gpu0-memory\"\nuse = \"ram\"\nipa = \"0x50000000\"\nproof = \"{proof}\"\n",
        MARKED.file(&format!("offline-{proof}"))?
    );
    let builder = Machine::builder().manifest_text(&text).physical_memory(1 << 30).machine_mte(true);
    let mut machine = builder.start()?;
    machine.expect("a", "offline: reserved=0", LIMIT)?;
    // The first page of a chunk of clearing, one in the middle, two side by side, the region's last.
    let pages = [0x5020_0000, 0x5123_4000, 0x5200_7000, 0x5200_8000, 0x57ff_f000];
    let memory = next_life(&mut machine, "a", &pages, pages.len())?;
    let region = |event: &Event| event.get("event").is_some() && event.get("region") == Some("gpu0-memory");
    ensure!(memory.iter().filter(|event| region(event)).count() == pages.len(), "{memory:?}");
    machine.send("a", "q")?;
    machine.wait(LIMIT)?;
    report(machine, "a", 2)
}

/// The kernel's page: the operator hears of it at once, and the VM is not started.
fn refused() -> Result<String> {
    let text = vm("b", "offline", "") + &vm("a", "heartbeat", "cmdline = \"beat\"");
    let mut machine = Machine::builder().manifest_text(&text).start()?;
    machine.expect("b", "offline: reserved=0", LIMIT)?;
    machine.open_monitor()?;
    let said = machine.monitor("offline b 0x40201000")?;
    let does = said.first().and_then(|event| event.get("does")).unwrap_or_default();
    ensure!(does.contains("is refused: the kernel is loaded there"), "{said:?}");
    for order in ["restart b", "start b"] {
        machine.monitor(order)?;
        let refused = machine.expect_event("the refusal", LIMIT, |event| event.kind == "refused")?;
        let (rule, reason) = (refused.get("rule"), refused.get("reason").unwrap_or_default());
        ensure!(rule == Some("V3") && reason.contains("the kernel is loaded to the page at 0x40201000"), "{refused}");
        ensure!(refused.get("remedy").is_some_and(|remedy| remedy.contains("/reserved-memory")), "{refused}");
        wait_for_state(&mut machine, "b", "stopped")?;
    }
    machine.leave_monitor("quit")?;
    power_off(&mut machine)?;
    Ok(String::new())
}

/// Nothing is noted of what cannot be done.
fn errors() -> Result<String> {
    let share = "[[vm.shared]]\nregion = \"mailbox\"\naccess = \"rw\"\nipa = \"0x60000000\"\n";
    let text = format!(
        "[[shared]]\nname = \"mailbox\"\nsize = \"64K\"\n{}{share}{}{share}",
        vm("a", "heartbeat", "cmdline = \"beat\""),
        vm("b", "offline", "")
    );
    let mut machine = Machine::builder().manifest_text(&text).start()?;
    machine.expect("b", "offline: reserved=0", LIMIT)?;
    machine.open_monitor()?;
    let mut is_refused = |line: &str, word: &str| -> Result<()> {
        let said = machine.monitor(line)?;
        let error = said.first().and_then(|event| event.get("error")).unwrap_or_default();
        ensure!(error.contains(word), "{line}: {said:?}");
        Ok(())
    };
    is_refused("offline nobody 0x40800000", "no VM is named nobody")?;
    is_refused("offline b", "write: offline NAME IPA")?;
    is_refused("offline b 40800000", "write: offline NAME IPA")?;
    is_refused("offline b 0x41000000", "no memory there")?;
    is_refused("offline b 0x9000000", "no memory there")?;
    is_refused("offline b 0xffffffffffffffff", "no memory there")?;
    is_refused("offline b 0x60000000", "memory between VMs")?;
    ensure!(noted(&machine.monitor("memory b")?, "yes").is_empty(), "something was noted");
    for page in 0..16 {
        let said = machine.monitor(&format!("offline b {:#x}", 0x4080_0000 + page * 0x1000))?;
        ensure!(said.first().is_some_and(|event| event.get("does").is_some()), "{said:?}");
    }
    let said = machine.monitor("offline b 0x40900000")?;
    ensure!(said.first().and_then(|event| event.get("error")).is_some_and(|error| error.contains("noted")), "{said:?}");
    // One that is known already is no news, and fits.
    let said = machine.monitor("offline b 0x40801fff")?;
    ensure!(said.first().and_then(|event| event.get("ipa")) == Some("0x40801000"), "{said:?}");
    machine.monitor("restart b")?;
    machine.leave_monitor("quit")?;
    machine.expect("b", "offline: reserved=16", LIMIT)?;
    machine.send("b", "q")?;
    power_off(&mut machine)?;
    Ok(String::new())
}

/// What a function has as its VM's memory lacks the page too, and nothing else.
fn devices() -> Result<String> {
    const PAGE: &str = "0x42345000";
    let text = "[[vm]]\nname = \"look\"\nmemory = \"64M\"\nkernel = \"pci\"\ncmdline = \"device=edu-restart\"\n\
                devices = [\"0000:00:02.0\"]\n";
    let arguments = ["-M", "iommu=smmuv3", "-device", "edu,addr=2.0,dma_mask=0xffffffffffffffff"];
    let mut machine = Machine::builder().manifest_text(text).arguments(arguments).start()?;
    machine.expect("look", "pci: writing", LIMIT)?;
    machine.open_monitor()?;
    machine.monitor(&format!("offline look {PAGE}"))?;
    machine.monitor("restart look")?;
    machine.leave_monitor("quit")?;
    machine.expect("look", "dma_reaches_no_reserved_page", LIMIT).context("the second life")?;
    machine.expect("look", "pci: writing", LIMIT)?;
    let passed = last_life(&mut machine, "look", LIMIT)?;
    let events = machine.events();
    let of = |key: &str, value: &str| {
        events.iter().any(|event| event.get(key) == Some(value) && event.get("ipa") == Some(PAGE))
    };
    ensure!(of("event", "unmapped") && of("access", "write") && of("access", "read"), "{}", machine.log());
    let stray = events.iter().find(|event| event.kind == "dma" && event.get("ipa") != Some(PAGE));
    ensure!(stray.is_none(), "another access was stopped: {stray:?}");
    machine.finish(LIMIT)?;
    Ok(format!("{passed} results"))
}

/// Linux keeps away from the page, and works.
fn linux() -> Result<String> {
    const PAGE: u64 = 0x5000_0000;
    let mut machine = to_the_shell(debian("debian-6.12", 2, ""))?;
    machine.open_monitor()?;
    machine.monitor(&format!("offline {VM} {PAGE:#x}"))?;
    machine.monitor(&format!("restart {VM}"))?;
    machine.leave_monitor("quit")?;
    machine.expect(VM, "Booting Linux", LIMIT).context("the second life")?;
    wait_for_shell(&mut machine, VM, LIMIT * 2).context("its shell")?;
    let iomem = machine.shell(VM, "cat /proc/iomem", PROMPT, SOON)?;
    let place = format!("{PAGE:08x}-{:08x} : reserved", PAGE + 0xfff);
    ensure!(iomem.contains(&place), "no {place:?} in {iomem}");
    // All that is left is written and read.
    let fill =
        "mkdir -p /f; mount -t tmpfs -o size=90% none /f; dd if=/dev/zero of=/f/a bs=1M; md5sum /f/a | cut -c1-32";
    let sum = machine.shell(VM, fill, PROMPT, LIMIT)?;
    let again = machine.shell(VM, "md5sum /f/a | cut -c1-32; rm /f/a", PROMPT, LIMIT)?;
    ensure!(sum.contains(again.trim()) && again.trim().len() == 32, "{sum:?}, then {again:?}");
    crate::cases::linux::power_off(machine)?;
    Ok(String::new())
}
