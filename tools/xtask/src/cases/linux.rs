//! What a user does with Debian: a shell that is a real terminal, power-off, reboot, panic, a long paste.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Builder, Machine};

use super::Case;
use crate::base64;

/// The ramdisk's prompt.
pub(crate) const PROMPT: &str = "debian:/# ";
/// From the start to the prompt, on a slow machine with two of them at work.
pub(super) const BOOT: Duration = Duration::from_secs(240);
/// For a command that does little.
pub(crate) const SOON: Duration = Duration::from_secs(40);
/// The VM's name.
pub(crate) const VM: &str = "linux";

/// Messages at level "warning" or worse that the same kernels also print without Assay, natively in QEMU.
const NATIVE_WARNINGS: &[&str] = &["cacheinfo: Unable to detect cache hierarchy"];

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::linux("linux/the-shell-is-a-terminal", || shell_session("debian")),
        Case::linux("linux/the-shell-is-a-terminal-6.12", || shell_session("debian-6.12")),
        Case::linux("linux/two-shells-answer-apart", two_shells),
        Case::linux("linux/dmesg-has-no-warning-of-ours", || clean_log("debian")),
        Case::linux("linux/dmesg-has-no-warning-of-ours-6.12", || clean_log("debian-6.12")),
        Case::linux("linux/knows-the-time", time),
        Case::linux("linux/counts-with-the-pmu", || counts("debian")),
        Case::linux("linux/counts-with-the-pmu-6.12", || counts("debian-6.12")),
        Case::linux("linux/poweroff-by-init", poweroff),
        Case::linux("linux/reboots-twenty-times", || reboots(20)),
        Case::linux("linux/reboots-a-hundred-times", || reboots(100)).long(),
        Case::linux("linux/a-panic-comes-back-as-a-restart", panic),
        Case::linux("linux/a-paste-of-64-kib-arrives-whole", paste),
        Case::linux("linux/cpus-go-off-and-on-again", hotplug),
    ]
}

/// One Debian VM.
pub(super) fn debian(kernel: &str, cpus: u32, lines: &str) -> Builder {
    Machine::builder().manifest_text(&format!(
        "[[vm]]\nname = \"{VM}\"\ncpus = {cpus}\nmemory = \"512M\"\nkernel = \"{kernel}\"\ninitrd = \"busybox\"\n{lines}\n"
    ))
}

/// Starts it and waits for its shell.
pub(super) fn to_the_shell(builder: Builder) -> Result<Machine> {
    let mut machine = builder.start()?;
    wait_for_shell(&mut machine, VM, BOOT)?;
    Ok(machine)
}

/// Waits for a VM's shell. From there on the kernel's console has panics only: on a busy computer it warns, and in the middle of
/// what a case reads.
pub(crate) fn wait_for_shell(machine: &mut Machine, vm: &str, limit: Duration) -> Result<()> {
    machine.expect(vm, PROMPT, limit)?;
    let _ = machine.shell(vm, "dmesg -n 1", PROMPT, SOON)?;
    Ok(())
}

/// Powers off without asking init, which takes its time, and checks the end.
pub(super) fn power_off(mut machine: Machine) -> Result<()> {
    machine.send(VM, "poweroff -f\n")?;
    Ok(machine.finish(SOON)?)
}

fn shell_session(kernel: &str) -> Result<String> {
    let mut machine = to_the_shell(debian(kernel, 2, ""))?;
    let cpus = machine.shell(VM, "nproc", PROMPT, SOON)?;
    ensure!(cpus.trim() == "2", "nproc says {cpus:?}");
    // Ctrl-C ends what runs in the foreground, and the shell lives on.
    machine.send(VM, "sleep 1000\n")?;
    machine.expect(VM, "sleep 1000", SOON)?;
    std::thread::sleep(Duration::from_secs(2));
    machine.send(VM, "\x03")?;
    machine.expect(VM, PROMPT, SOON).context("after Ctrl-C")?;
    // Job control: Ctrl-Z stops, kill ends.
    machine.send(VM, "sleep 1000\n")?;
    machine.expect(VM, "sleep 1000", SOON)?;
    std::thread::sleep(Duration::from_secs(2));
    machine.send(VM, "\x1a")?;
    machine.expect(VM, PROMPT, SOON).context("after Ctrl-Z")?;
    let jobs = machine.shell(VM, "jobs", PROMPT, SOON)?;
    ensure!(jobs.contains("Stopped"), "no job control: {jobs:?}");
    machine.shell(VM, "kill -KILL %1", PROMPT, SOON)?;
    // Two backspaces take two letters away.
    let edited = machine.shell(VM, "echo abcX\x7f\x7fd", PROMPT, SOON)?;
    ensure!(edited.contains("abd"), "line editing gave {edited:?}");
    // No control byte leads before the prefix, or to the operator's terminal.
    let forged = "printf 'x\\rassay: forged\\r\\nx\\033[2K\\033[9Dassay: forged\\n\\033]0;assay: forged\\a\\n'";
    machine.shell(VM, forged, PROMPT, SOON)?;
    let log = machine.log();
    let lines = || log.split(|c: char| c.is_control() && c != '\x1b').filter(|line| line.contains("assay: forged"));
    let is_named = |line: &str| line.starts_with(&format!("[{VM}] "));
    ensure!(lines().count() >= 3 && lines().all(is_named), "{:?}", lines().collect::<Vec<_>>());
    power_off(machine)?;
    Ok(String::new())
}

/// Linux finds the performance monitors on all CPUs, and has an interrupt for them.
fn counts(kernel: &str) -> Result<String> {
    let mut machine = to_the_shell(debian(kernel, 2, "pmu = true"))?;
    let found = machine.shell(VM, "dmesg | grep -c 'hw perfevents: enabled with armv8_pmuv3'", PROMPT, SOON)?;
    ensure!(found.trim() == "1", "dmesg has it {found:?} times");
    let cpus = machine.shell(VM, "cat /sys/bus/event_source/devices/armv8_pmuv3*/cpus", PROMPT, SOON)?;
    ensure!(cpus.trim() == "0-1", "it is of CPUs {cpus:?}");
    let interrupt = machine.shell(VM, "grep -c 'arm-pmu' /proc/interrupts", PROMPT, SOON)?;
    ensure!(interrupt.trim() == "1", "{interrupt:?} interrupts");
    power_off(machine)?;
    let mut machine = to_the_shell(debian(kernel, 1, ""))?;
    let none = machine.shell(VM, "ls /sys/bus/event_source/devices | grep -c armv8", PROMPT, SOON)?;
    ensure!(none.trim() == "0", "a VM without one finds {none:?}");
    power_off(machine)?;
    Ok(String::new())
}

/// Each command's output and exit status are its own: two VMs, long lines, what is no command; and a panic ends it.
fn two_shells() -> Result<String> {
    let vm = |name, cpus| {
        format!(
            "[[vm]]\nname = \"{name}\"\ncpus = {cpus}\nmemory = \"256M\"\nkernel = \"debian\"\ninitrd = \"busybox\"\n"
        )
    };
    let mut machine = Machine::builder().manifest_text(&(vm("a", 1) + &vm("b", 2))).start()?;
    for name in ["a", "b"] {
        wait_for_shell(&mut machine, name, BOOT)?;
    }
    let long = format!("echo {}", "long ".repeat(150));
    for _ in 0..2 {
        for (name, cpus) in [("a", "1"), ("b", "2")] {
            for (command, text, status) in [
                ("nproc", cpus, 0),
                ("false", "", 1),
                ("printf 'no end'; (exit 42)", "no end", 42),
                ("stty size | cut -d' ' -f2", "1000", 0),
                (&long, long["echo ".len()..].trim(), 0),
            ] {
                let output = machine.run(name, command, PROMPT, SOON)?;
                ensure!((output.text.as_str(), output.status) == (text, status), "{name}: {command}: {output:?}");
            }
        }
    }
    let wrong = machine.run("a", "if", PROMPT, SOON)?;
    ensure!(wrong.status != 0, "a syntax error: {wrong:?}");
    let start = std::time::Instant::now();
    let error = machine.run("a", "echo c > /proc/sysrq-trigger", PROMPT, BOOT).err().context("no panic")?.to_string();
    ensure!(error.contains("panicked") && start.elapsed() < BOOT / 2, "after {:?}: {error}", start.elapsed());
    let cpus = machine.shell("b", "nproc", PROMPT, SOON)?;
    ensure!(cpus == "2", "nproc says {cpus:?}");
    Ok(String::new())
}

fn clean_log(kernel: &str) -> Result<String> {
    // Virtual time: on a busy host the kernel finds real time's gaps worth a warning.
    let mut machine = to_the_shell(debian(kernel, 2, "").icount())?;
    // `<0>` to `<4>`: emergency to warning.
    let log = machine.shell(VM, "dmesg -r | grep '^<[0-4]>'", PROMPT, SOON)?;
    let ours: Vec<&str> = log
        .lines()
        .filter(|line| line.contains('<') && !NATIVE_WARNINGS.iter().any(|native| line.contains(native)))
        .collect();
    ensure!(ours.is_empty(), "the kernel warns of what it doesn't natively:\n{}", ours.join("\n"));
    power_off(machine)?;
    Ok(String::new())
}

/// The host's clock, through QEMU's and the guest's.
fn time() -> Result<String> {
    let mut machine = to_the_shell(debian("debian", 1, ""))?;
    let said = machine.shell(VM, "date +%s; cat /proc/device-tree/hypervisor/compatible", PROMPT, SOON)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let guests: u64 = said.split_whitespace().find_map(|word| word.parse().ok()).context("no time")?;
    ensure!(now.abs_diff(guests) < 60, "the guest's clock says {guests}, the host's {now}");
    ensure!(said.contains("assay,hypervisor"), "nothing tells of a hypervisor: {said:?}");
    power_off(machine)?;
    Ok(format!("{} s off", now.abs_diff(guests)))
}

fn poweroff() -> Result<String> {
    let mut machine = to_the_shell(debian("debian", 1, ""))?;
    machine.send(VM, "poweroff\n")?;
    machine.finish(Duration::from_secs(60))?;
    Ok(String::new())
}

fn reboots(times: usize) -> Result<String> {
    let mut machine = to_the_shell(debian("debian", 2, ""))?;
    for time in 1..=times {
        machine.send(VM, "reboot -f\n")?;
        machine
            .expect_event("restarted", SOON, |event| event.is_vm(VM, "restarted"))
            .with_context(|| format!("reboot {time}"))?;
        machine.expect(VM, PROMPT, BOOT).with_context(|| format!("after reboot {time}"))?;
    }
    power_off(machine)?;
    Ok(format!("{times} reboots"))
}

fn panic() -> Result<String> {
    let mut machine = to_the_shell(debian("debian", 2, "cmdline = \"console=ttyAMA0 panic=1\""))?;
    machine.send(VM, "echo c > /proc/sysrq-trigger\n")?;
    machine.expect(VM, "Kernel panic", SOON)?;
    machine.expect_event("restarted", SOON, |event| event.is_vm(VM, "restarted"))?;
    machine.expect(VM, PROMPT, BOOT)?;
    power_off(machine)?;
    Ok(String::new())
}

/// Lines that differ and are shorter than a terminal's 4 KiB line buffer.
fn paste() -> Result<String> {
    let mut text = String::new();
    let mut seed = 12345u32;
    while text.len() < 64 * 1024 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = usize::try_from(seed >> 20)?.clamp(1, 4000);
        let letters = (0u8..26).map(|letter| char::from(b'a' + letter)).cycle().skip(usize::try_from(seed % 26)?);
        text.extend(letters.take(length));
        text.push('\n');
    }
    let mut machine = to_the_shell(debian("debian", 2, ""))?;
    // Without echo, so that the way in is tested at full speed.
    machine.send(VM, "stty -echo; echo ready; cat > /tmp/paste; stty echo; echo done\n")?;
    machine.expect(VM, "ready\r\n", SOON)?;
    machine.send(VM, &text)?;
    machine.send(VM, "\x04")?;
    machine.expect(VM, "done\r\n", Duration::from_secs(120))?;
    machine.expect(VM, PROMPT, SOON)?;
    let back = machine.shell(VM, "base64 /tmp/paste", PROMPT, Duration::from_secs(120))?;
    let back = base64::decode(&back)?;
    let differs = back.iter().zip(text.as_bytes()).position(|(back, sent)| back != sent);
    ensure!(
        back.len() == text.len(),
        "{} bytes were pasted, {} arrived, first difference {differs:?}",
        text.len(),
        back.len()
    );
    ensure!(differs.is_none(), "byte {differs:?} differs");
    power_off(machine)?;
    Ok(format!("{} bytes", text.len()))
}

fn hotplug() -> Result<String> {
    let mut machine = to_the_shell(debian("debian", 4, ""))?;
    for (action, count) in [("echo 0", "3"), ("echo 1", "4"), ("echo 0", "3"), ("echo 1", "4")] {
        machine.shell(VM, &format!("{action} > /sys/devices/system/cpu/cpu2/online"), PROMPT, SOON)?;
        let cpus = machine.shell(VM, "nproc", PROMPT, SOON)?;
        ensure!(cpus.lines().any(|line| line.trim() == count), "after {action}: nproc says {cpus:?}, not {count}");
    }
    power_off(machine)?;
    Ok(String::new())
}
