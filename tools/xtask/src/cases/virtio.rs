//! Virtio devices between VMs: a stock Debian has a disk, a network and a console whose backends run in another.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_harness::{Machine, Report, cache};
use assay_model::counters::{INTERRUPTS, NAMED};

use super::Case;
use super::linux::{BOOT, PROMPT, SOON, wait_for_shell};
use super::ramdisk::{Entry, PROGRAM, with_modules};
use crate::build;
use crate::setup::modules;

/// For a transfer of some MiB.
const TRANSFER: Duration = Duration::from_secs(120);
/// Reads of a disk, few and many.
const READS: [u64; 2] = [500, 3500];
const TARGET: &str = "aarch64-unknown-linux-musl";

/// Gives `uio_pci_generic` the faces, and makes a devdax of each client's RAM, whose notes go into this VM's own RAM.
const PREPARE: &str = "#!/bin/sh
/assay/load || exit 1
echo 1234 a55a > /sys/bus/pci/drivers/uio_pci_generic/new_id
nd=/sys/bus/nd
for region in 0 1 2 3; do
    [ -e $nd/devices/region$region ] || continue
    for made in drivers/nd_pmem/namespace$region.0 devices/dax$region.0/align; do
        for _ in $(seq 100); do [ -e $nd/$made ] && break; usleep 100000; done
    done
    echo namespace$region.0 > $nd/drivers/nd_pmem/unbind
    cd $nd/devices/dax$region.0 || exit 1
    echo 2097152 > align
    cat /proc/sys/kernel/random/uuid > uuid
    echo ram > mode
    echo namespace$region.0 > namespace
    echo dax$region.0 > $nd/drivers/dax_pmem/bind
    for _ in $(seq 100); do [ -e /dev/dax$region.0 ] && break; usleep 100000; done
done
ls /dev/dax* /dev/uio* | tr '\\n' ' '
echo prepared
";

/// A macvtap on one end of a cable; the other end is this VM's own.
const CABLE: &str = "#!/bin/sh
ip link add v0 type veth
ifconfig v0 up
ifconfig veth0 10.0.9.1 up
ip link add link v0 name mt0 type macvtap
ifconfig mt0 up
";

/// Starts the backend of device NUMBER, and says what it says: `serve NUMBER KIND ARGUMENT...`.
const SERVE: &str = "#!/bin/sh
number=$1
shift
eval \"exec /assay/backend 0000:00:0$number.0 /dev/dax0.0 $*\" 2>/log$number &
echo $! >/pid$number
for _ in $(seq 100); do [ -s /log$number ] && break; usleep 100000; done
cat /log$number
";

/// The VM with the backend, and the one with the devices.
pub(crate) const DRIVER: &str = "driver";
pub(crate) const CLIENT: &str = "client";
/// Sends the disk to whoever connects.
const SEND: &str = "(nc -l -p 80 -e cat /disk >/dev/null 2>&1 &)";

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("virtio/two-hostile-clients-disturb-neither-neighbour-nor-backend", hostile),
        Case::linux("virtio/debian-has-disk-network-and-console-of-another-vm", all),
    ]
}

/// Builds the backend, and gives its path.
fn backend() -> Result<PathBuf> {
    let target = build::target()?;
    let mut command = build::cargo();
    command.args(["build", "--quiet", "--release", "-p", "assay-backend", "--target", TARGET, "--target-dir"]);
    let status = command.arg(&target).current_dir(cache::repository()?).status().context("can't run cargo")?;
    ensure!(status.success(), "the backend doesn't build");
    Ok(target.join(TARGET).join("release/assay-backend"))
}

fn vm(name: &str, initrd: &str, lines: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nmemory = \"256M\"\nkernel = \"debian-6.12\"\ninitrd = {initrd:?}\n\
         cmdline = \"console=ttyAMA0 quiet\"\n{lines}"
    )
}

/// A machine with a driver VM and one client, both at their prompts, the driver's faces and the RAM prepared.
fn start(devices: &str) -> Result<Machine> {
    let back = with_modules("virtio-back", "debian-6.12", &modules::BACKEND, || -> Result<Vec<Entry>> {
        Ok(vec![
            ("assay/backend".to_owned(), PROGRAM, fs::read(backend()?)?),
            ("assay/prepare".to_owned(), PROGRAM, PREPARE.into()),
            ("assay/cable".to_owned(), PROGRAM, CABLE.into()),
            ("assay/serve".to_owned(), PROGRAM, SERVE.into()),
        ])
    })?;
    let front = with_modules("virtio-front", "debian-6.12", &modules::FRONT, || Ok(Vec::new()))?;
    let (back, front) = (back.display().to_string(), front.display().to_string());
    let text = vm(DRIVER, &back, "") + &vm(CLIENT, &front, devices);
    let mut machine = Machine::builder().manifest_text(&text).physical_memory(1 << 30).start()?;
    for name in [DRIVER, CLIENT] {
        wait_for_shell(&mut machine, name, BOOT)?;
    }
    let told = machine.shell("driver", "/assay/prepare", PROMPT, TRANSFER)?;
    ensure!(told.trim_end().ends_with("prepared"), "the driver VM is not prepared: {told}");
    Ok(machine)
}

fn device(name: &str, kind: &str) -> String {
    format!("[[vm.virtio]]\nname = \"{name}\"\ntype = \"{kind}\"\nbackend = \"driver\"\n")
}

/// A client with disk, network and console, a driver VM that serves them, and the client's drivers loaded.
pub(crate) fn served() -> Result<Machine> {
    let mut machine = start(&(device("disk0", "block") + &device("net0", "net") + &device("console0", "console")))?;
    let events = machine.events();
    let is_said = |kind: &str| {
        let of_client = |event: &&assay_harness::Event| event.kind == kind && event.get("region") == Some("client");
        events.iter().filter(of_client).any(|event| event.get("vm") == Some("driver"))
    };
    ensure!(
        is_said("warning") && is_said("decision"),
        "the boot does not say what the driver VM sees:\n{}",
        machine.log()
    );
    let told = driver(
        &mut machine,
        "dd if=/dev/urandom of=/disk bs=1M count=16 2>/dev/null; /assay/cable; mkfifo /in; echo ok",
    )?;
    ensure!(told.ends_with("ok"), "{told}");
    // Its probe waits for backends, and goes on with them.
    machine.send("client", "/assay/load\n")?;
    for serve in [
        "/assay/serve 1 block /disk",
        "/assay/serve 2 net /dev/tap$(cat /sys/class/net/mt0/ifindex) $(cat /sys/class/net/mt0/address)",
        // What runs in the background has no input but what it is given.
        "(sleep 100000 >/in &); /assay/serve 3 'console </in >/out'",
    ] {
        let told = driver(&mut machine, serve)?;
        ensure!(told.contains("serving"), "{serve}: {told}");
    }
    machine.expect("client", "loaded", TRANSFER)?;
    Ok(machine)
}

fn all() -> Result<String> {
    let mut machine = served()?;
    let notes = [disk(&mut machine)?, exits_of_a_read(&mut machine)?, net(&mut machine)?];
    console(&mut machine)?;
    again(&mut machine)?;
    for name in [CLIENT, DRIVER] {
        machine.send(name, "poweroff -f\n")?;
    }
    machine.finish(SOON)?;
    Ok(notes.join("; "))
}

/// Two clients of one backend break the rules in all ways. Beside them a VM sums without a slip, and the backend serves both to
/// the end.
fn hostile() -> Result<String> {
    let vm = |name: &str, lines: &str| format!("[[vm]]\nname = \"{name}\"\nmemory = \"16M\"\n{lines}");
    let client = |name: &str, seed: u32, kind: &str| {
        let lines = format!("kernel = \"virtio\"\ncmdline = \"seed={seed}\"\n");
        vm(name, &lines) + &device("dev0", kind).replace("\"driver\"", "\"back\"")
    };
    let text = vm("a", "kernel = \"heartbeat\"\ncmdline = \"beat sum every=500\"\n")
        + &vm("back", "kernel = \"virtio\"\ncmdline = \"back\"\n")
        + &client("one", 1, "net")
        + &client("two", 2, "block");
    let mut machine = Machine::builder().manifest_text(&text).start()?;
    // Either may be the first.
    let is_end = |event: &assay_harness::Event| ["one", "two"].iter().any(|name| event.is_vm(name, "stopped"));
    for _ in 0..2 {
        let ended = machine.expect_event("a client's end", TRANSFER, is_end);
        let _ = ended.with_context(|| ["one", "two", "back"].map(|name| machine.output(name)).join("\n"))?;
    }
    for name in ["one", "two"] {
        let report = Report::parse(&machine.output(name));
        let _ = report.check().map_err(anyhow::Error::msg).context(name)?;
    }
    for name in ["a", "back"] {
        machine.send(name, "q")?;
    }
    machine.wait(TRANSFER)?;
    let output = machine.output("a");
    let last = output.lines().rfind(|line| line.contains("rounds=")).context("the neighbour says nothing")?;
    ensure!(last.contains(" wrong=0") && last.contains(" lost=0"), "the neighbour was disturbed: {last}");
    let output = machine.output("back");
    let _ = Report::parse(&output).check().map_err(anyhow::Error::msg).context("back")?;
    let told = output.lines().find(|line| line.contains("notices=")).context("the backend says nothing")?;
    ensure!(output.contains("virtio: serving 2") && !told.contains("broken=0"), "{told}");
    Ok(format!("{last}; {told}"))
}

fn driver(machine: &mut Machine, command: &str) -> Result<String> {
    Ok(machine.shell(DRIVER, command, PROMPT, TRANSFER)?.trim().to_owned())
}

fn client(machine: &mut Machine, command: &str) -> Result<String> {
    Ok(machine.shell(CLIENT, command, PROMPT, TRANSFER)?.trim().to_owned())
}

/// Both VMs see the same bytes.
fn same(machine: &mut Machine) -> Result<()> {
    let there = driver(machine, "sha256sum </disk")?;
    let here = client(machine, "echo 3 >/proc/sys/vm/drop_caches; sha256sum </dev/vda")?;
    ensure!(there == here && there.len() >= 64, "the disk is {there}, and the client reads {here}");
    Ok(())
}

fn disk(machine: &mut Machine) -> Result<String> {
    let sectors = client(machine, "cat /sys/block/vda/size")?;
    ensure!(sectors == "32768", "{sectors} sectors");
    same(machine)?;
    client(machine, "dd if=/dev/urandom of=/dev/vda bs=1M count=16 conv=fsync 2>/dev/null")?;
    same(machine)?;
    let beyond = client(machine, "dd if=/dev/zero of=/dev/vda bs=1M seek=16 count=1 2>&1 | grep -c -i 'no space'")?;
    ensure!(beyond == "1", "a write beyond the end: {beyond}");
    Ok("16 MiB written".to_owned())
}

/// Returns all exits of these VMs until now.
pub(crate) fn exits(machine: &mut Machine, vms: &[&str]) -> Result<Vec<u64>> {
    machine.open_monitor()?;
    let told: Vec<_> = vms.iter().map(|name| machine.monitor(&format!("stats {name}"))).collect();
    machine.leave_monitor("quit")?;
    let names = NAMED.iter().map(|(_, name)| *name).chain(["other"]).chain(INTERRUPTS.iter().map(|(_, name)| *name));
    let names: Vec<&str> = names.collect();
    let of = |event: &assay_harness::Event, name: &str| event.get(name)?.parse::<u64>().ok();
    let sum = |events: Vec<assay_harness::Event>| {
        events.iter().flat_map(|event| names.iter().filter_map(move |name| of(event, name))).sum()
    };
    told.into_iter().map(|events| Ok(sum(events?))).collect()
}

/// The exits that a read of 4 KiB costs each VM: those of many reads less those of few, which have the rest in common.
fn exits_of_a_read(machine: &mut Machine) -> Result<String> {
    client(machine, "echo 0 >/sys/block/vda/queue/read_ahead_kb")?;
    let mut spent = Vec::new();
    for count in READS {
        let before = exits(machine, &[CLIENT, DRIVER])?;
        let read = "echo 3 >/proc/sys/vm/drop_caches; a=$(awk '{ print $1 }' /sys/block/vda/stat); dd if=/dev/vda of=/dev/null bs=4096";
        let read = format!("{read} count={count} 2>/dev/null; expr $(awk '{{ print $1 }}' /sys/block/vda/stat) - $a");
        let ios: u64 = client(machine, &read)?.parse().context("reads of the disk")?;
        ensure!((count..count + 50).contains(&ios), "{ios} reads of the disk are {count}");
        let after = exits(machine, &[CLIENT, DRIVER])?;
        spent.push([after[0] - before[0], after[1] - before[1]]);
    }
    client(machine, "echo 128 >/sys/block/vda/queue/read_ahead_kb")?;
    let each = |vm: usize| spent[1][vm].saturating_sub(spent[0][vm]) as f64 / (READS[1] - READS[0]) as f64;
    Ok(format!("a read of 4 KiB: {:.1} exits of the client, {:.1} of the driver VM", each(0), each(1)))
}

/// Connects the client and the driver VM by the network.
pub(crate) fn connect(machine: &mut Machine) -> Result<()> {
    let up = "ifconfig eth0 10.0.9.2 up; ping -c 3 10.0.9.1 | grep -c 'bytes from'";
    let pings = client(machine, up)?;
    ensure!(pings == "3", "{pings} of 3 pings are answered");
    Ok(())
}

/// The client fetches the disk over the network. Returns the seconds that it took.
pub(crate) fn fetch(machine: &mut Machine) -> Result<f64> {
    driver(machine, SEND)?;
    timed(machine, CLIENT, "nc 10.0.9.1 80 </dev/null >/dev/null")
}

/// Has a VM do what takes some time. Returns its seconds.
pub(crate) fn timed(machine: &mut Machine, vm: &str, command: &str) -> Result<f64> {
    let told = machine.shell(vm, &format!("cat /proc/uptime; {command}; cat /proc/uptime"), PROMPT, TRANSFER)?;
    let read = |line: &str| line.split_whitespace().next()?.parse::<f64>().ok();
    let times: Vec<f64> = told.lines().filter_map(read).collect();
    let [before, after] = times[..] else { anyhow::bail!("{command}: {told}") };
    Ok(after - before)
}

fn net(machine: &mut Machine) -> Result<String> {
    connect(machine)?;
    driver(machine, SEND)?;
    let there = driver(machine, "sha256sum </disk")?;
    let here = client(machine, "nc 10.0.9.1 80 </dev/null | sha256sum")?;
    ensure!(there == here, "the disk is {there}, and the client fetches {here}");
    Ok("16 MiB fetched".to_owned())
}

fn console(machine: &mut Machine) -> Result<()> {
    client(machine, "echo here is the client >/dev/hvc0")?;
    let there = driver(machine, "sleep 1; cat /out")?;
    ensure!(there.contains("here is the client"), "{there}");
    machine.send("client", "head -n 1 /dev/hvc0\n")?;
    driver(machine, "sleep 1; echo a word from the driver >/in")?;
    machine.expect("client", "a word from the driver", TRANSFER)?;
    let _ = machine.expect("client", PROMPT, SOON)?;
    Ok(())
}

/// The client starts anew, and then the backend, which the client's driver is told.
fn again(machine: &mut Machine) -> Result<()> {
    machine.send("client", "reboot -f\n")?;
    // A prompt may stand there from before.
    for words in ["reboot: Restarting system", PROMPT] {
        machine.expect("client", words, BOOT).context("after the reboot")?;
    }
    client(machine, "/assay/load")?;
    same(machine).context("after the client's reboot")?;
    driver(machine, "kill -KILL $(cat /pid1); sleep 1; /assay/serve 1 block /disk")?;
    let anew = "cd /sys/bus/platform/drivers/virtio-mmio; echo a000000.virtio_mmio >unbind; echo a000000.virtio_mmio >bind; cd /";
    client(machine, anew)?;
    same(machine).context("with another backend")
}
