//! Debian's own drivers behind the SMMU, as they come: a disk that keeps what is written to it, and a network.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use assay_harness::Machine;
use assay_harness::cache::Cache;
use sha2::{Digest as _, Sha256};

use super::{SMMU, TRANSFER};
use crate::build;
use crate::cases::Case;
use crate::cases::linux::{BOOT, PROMPT, SOON, VM, power_off, wait_for_shell};
use crate::cases::ramdisk::with_modules;
use crate::setup::{guests, modules};

/// A disk: QEMU's device, and how Linux calls it.
const DISKS: &[(&str, &str, &str)] = &[
    ("nvme", "nvme,drive=d0,serial=assay,addr=2.0", "/dev/nvme0n1"),
    ("virtio-blk", "virtio-blk-pci,drive=d0,iommu_platform=on,disable-legacy=on,addr=2.0", "/dev/vda"),
];
/// A network.
const NETS: &[(&str, &str)] = &[
    ("virtio-net", "virtio-net-pci,netdev=n0,romfile=,iommu_platform=on,disable-legacy=on,addr=2.0"),
    ("e1000e", "e1000e,netdev=n0,romfile=,addr=2.0"),
    ("igb", "igb,netdev=n0,romfile=,addr=2.0"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![Case::linux("devices/debian-from-a-disk-with-a-network-by-two-lines", two_lines)];
    for kernel in ["debian", "debian-6.12"] {
        for (name, device, node) in DISKS {
            let run = move || disk(kernel, name, device, node);
            cases.push(Case::linux(format!("devices/{kernel}-keeps-files-on-{name}"), run));
        }
        for (name, device) in NETS {
            let run = move || net(kernel, device);
            cases.push(Case::linux(format!("devices/{kernel}-fetches-by-{name}"), run));
        }
    }
    cases
}

/// What starts from the disk: a shell on the console.
const INIT: &str = "#!/bin/busybox sh\n/bin/busybox --install -s\nexport PATH=/bin:/sbin\n\
     echo \"the root is $(awk '$2 == \"/\" { print $1, $3 }' /proc/mounts | tail -1)\"\n\
     export PS1='debian:/# '\nexec /bin/busybox sh </dev/console >/dev/console 2>&1\n";

/// A root file system and a network by two lines of the manifest: what is written there stays.
fn two_lines() -> Result<String> {
    let folder = build::target()?.join("assay/root");
    let _ = fs::remove_dir_all(&folder);
    for place in ["bin", "sbin", "dev", "proc", "sys"] {
        fs::create_dir_all(folder.join(place))?;
    }
    let busybox = guests::busybox_of(&Cache::locate()?.ramdisk("busybox"))?;
    for (name, content) in [("bin/busybox", busybox.as_slice()), ("sbin/init", INIT.as_bytes())] {
        fs::write(folder.join(name), content)?;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755))?;
    }
    let image = folder.with_extension("img");
    fs::File::create(&image)?.set_len(32 << 20)?;
    let made = Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&folder).arg(&image).status();
    ensure!(made.context("can't run mke2fs")?.success(), "mke2fs fails");
    let text = format!(
        "[[vm]]\nname = \"{VM}\"\ncpus = 2\nmemory = \"512M\"\nkernel = \"debian-6.12\"\ninitrd = \"busybox-disk\"\n\
         cmdline = \"console=ttyAMA0 quiet\"\ndisk = {image:?}\nnet = \"user\"\n"
    );
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || serve(&listener, b"a word from outside\n"));
    let mut machine = Machine::builder().manifest_text(&text).start()?;
    machine.expect(VM, "the root is /dev/nvme0n1 ext4", BOOT)?;
    wait_for_shell(&mut machine, VM, SOON)?;
    let fetch = format!("wget -q -O /fetched http://10.0.2.2:{port}/ && cat /fetched && sync");
    let fetched = machine.shell(VM, &fetch, PROMPT, TRANSFER)?;
    ensure!(fetched.contains("a word from outside"), "fetching: {fetched}");
    server.join().map_err(|_| anyhow::anyhow!("the server died"))??;
    machine.send(VM, "mount -o remount,ro /; reboot -f\n")?;
    machine.expect(VM, "the root is /dev/nvme0n1 ext4", BOOT)?;
    wait_for_shell(&mut machine, VM, SOON)?;
    let kept = machine.shell(VM, "cat /fetched", PROMPT, SOON)?;
    ensure!(kept.contains("a word from outside"), "it is not kept: {kept}");
    nothing_stopped(&machine)?;
    power_off(machine)?;
    Ok(String::new())
}

/// Debian with function 00:02.0, its modules loaded.
pub(crate) fn start(kernel: &str, arguments: &[&str]) -> Result<Machine> {
    let text = format!(
        "[[vm]]\nname = \"{VM}\"\ncpus = 2\nmemory = \"512M\"\nkernel = \"{kernel}\"\ninitrd = {:?}\n\
         cmdline = \"console=ttyAMA0\"\ndevices = [\"0000:00:02.0\"]\n",
        with_modules("devices", kernel, &modules::DEVICES, || Ok(Vec::new()))?
    );
    let arguments = SMMU.iter().chain(arguments).copied();
    let mut machine = Machine::builder().manifest_text(&text).physical_memory(1 << 30).arguments(arguments).start()?;
    load(&mut machine)?;
    Ok(machine)
}

/// The same at EL1 without Assay and without an SMMU.
pub(crate) fn native(kernel: &str, arguments: &[&str]) -> Result<Machine> {
    let image = Cache::locate()?.kernel(kernel).display().to_string();
    let initrd = with_modules("devices", kernel, &modules::DEVICES, || Ok(Vec::new()))?.display().to_string();
    let linux = ["-kernel", &image, "-initrd", &initrd, "-append", "console=ttyAMA0"];
    let builder = Machine::builder().bare(VM).physical_cpus(2).physical_memory(512 << 20);
    let mut machine = builder.arguments(linux.into_iter().chain(arguments.iter().copied())).start()?;
    load(&mut machine)?;
    Ok(machine)
}

fn load(machine: &mut Machine) -> Result<()> {
    wait_for_shell(machine, VM, BOOT)?;
    let loaded = machine.shell(VM, "/assay/load 2>&1", PROMPT, TRANSFER)?;
    ensure!(loaded.contains("loaded") && !loaded.contains("bad"), "modules: {loaded}");
    Ok(())
}

/// The device's interrupts are messages, and came.
fn has_messages(machine: &mut Machine) -> Result<()> {
    let lines = machine.shell(VM, "grep MSI /proc/interrupts", PROMPT, SOON)?;
    let count = |line: &str| line.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    ensure!(lines.lines().any(|line| count(line) > 0), "no interrupt by a message: {lines}");
    Ok(())
}

/// No access of the device was stopped.
fn nothing_stopped(machine: &Machine) -> Result<()> {
    let stopped = machine.events().into_iter().find(|event| event.kind == "dma");
    stopped.map_or(Ok(()), |event| anyhow::bail!("an access was stopped: {event}"))
}

/// Writes a file system with a file, starts again, and reads it.
fn disk(kernel: &str, name: &str, device: &str, node: &str) -> Result<String> {
    let image = build::target()?.join(format!("assay/disk-{kernel}-{name}.img"));
    let file = fs::File::create(&image).with_context(|| format!("can't write {}", image.display()))?;
    file.set_len(64 << 20)?;
    drop(file);
    let drive = format!("if=none,id=d0,format=raw,file={}", image.display());
    let mut machine = start(kernel, &["-drive", &drive, "-device", device])?;
    let write = format!(
        "mke2fs -q {node} && mkdir -p /m && mount -t ext4 {node} /m && dd if=/dev/urandom of=/m/file bs=1M count=16 \
         2>/dev/null && sha256sum /m/file && umount /m && echo written"
    );
    let written = machine.shell(VM, &write, PROMPT, TRANSFER)?;
    ensure!(written.contains("written"), "writing: {written}");
    let sum = written.split_whitespace().find(|word| word.len() == 64).context("no sum")?.to_owned();
    machine.send(VM, "reboot -f\n")?;
    load(&mut machine)?;
    let read = format!("mkdir -p /m && mount -t ext4 {node} /m && sha256sum /m/file && umount /m");
    let read = machine.shell(VM, &read, PROMPT, TRANSFER)?;
    ensure!(read.contains(&sum), "the file was {sum}, and in the next life: {read}");
    has_messages(&mut machine)?;
    nothing_stopped(&machine)?;
    power_off(machine)?;
    fs::remove_file(&image)?;
    Ok("16 MiB".into())
}

/// Fetches a file from this computer by HTTP, over QEMU's own network.
fn net(kernel: &str, device: &str) -> Result<String> {
    let content: Vec<u8> = (0..8u32 << 20).map(|index| (index.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let mut machine = start(kernel, &["-netdev", "user,id=n0", "-device", device])?;
    let sent = content.clone();
    let server = std::thread::spawn(move || serve(&listener, &sent));
    let fetch = format!(
        "ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up && sleep 2 && wget -q -O /file http://10.0.2.2:{port}/file && \
         sha256sum /file"
    );
    let fetched = machine.shell(VM, &fetch, PROMPT, TRANSFER)?;
    let sum: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(fetched.contains(&sum), "what was sent is {sum}, and what came: {fetched}");
    server.join().map_err(|_| anyhow::anyhow!("the server died"))??;
    has_messages(&mut machine)?;
    nothing_stopped(&machine)?;
    power_off(machine)?;
    Ok("8 MiB".into())
}

/// Answers one request with `content`.
pub(crate) fn serve(listener: &TcpListener, content: &[u8]) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut request = [0; 1024];
    let _ = stream.read(&mut request)?;
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", content.len())?;
    Ok(stream.write_all(content)?)
}
