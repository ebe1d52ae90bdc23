//! What a disk and a network give a stock Debian: natively, as PCI functions of its own behind an SMMU, and as virtio devices
//! whose backend runs in another VM.
//!
//! These are times of the computer that measures, the best of some: QEMU's devices work beside its CPUs, in time of which
//! `-icount` knows nothing. Only exits repeat.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context as _, Result};
use assay_harness::Machine;

use crate::cases::devices::linux as functions;
use crate::cases::linux::{PROMPT, SOON, VM};
use crate::cases::virtio;

/// The disk and what is fetched, MiB.
const SIZE: u32 = 16;
const READS: u32 = 2000;
const TIMES: usize = 3;
const KERNEL: &str = "debian-6.12";
const DISK: &str = "virtio-blk-pci,drive=d0,iommu_platform=on,disable-legacy=on,addr=2.0";
const NET: [&str; 4] = [
    "-netdev",
    "user,id=n0",
    "-device",
    "virtio-net-pci,netdev=n0,romfile=,iommu_platform=on,disable-legacy=on,addr=2.0",
];

/// One thing done: how long it took in seconds, and how often each VM of those that have part in it was left meanwhile.
struct Done {
    seconds: f64,
    exits: Vec<u64>,
}

/// What was done one way: small reads, large reads, a fetch.
type Way = [Done; 3];

/// Measures and prints.
pub(super) fn run() -> Result<()> {
    print(&super::with_folder("io", measure)?);
    Ok(())
}

fn measure(folder: &Path) -> Result<[Way; 3]> {
    let image = folder.join("disk.img");
    std::fs::File::create(&image)?.set_len(u64::from(SIZE) << 20)?;
    let drive = format!("if=none,id=d0,format=raw,file={}", image.display());
    let disk = ["-drive", drive.as_str(), "-device", DISK];
    let with = |start: fn(&str, &[&str]) -> Result<Machine>, names: &[&str]| -> Result<Way> {
        let mut machine = start(KERNEL, &disk)?;
        let [small, large] = reads(&mut machine, VM, names)?;
        let fetched = of_host(&mut start(KERNEL, &NET)?, names)?;
        Ok([small, large, fetched])
    };
    let native = with(functions::native, &[]).context("natively")?;
    let given = with(functions::start, &[VM]).context("as PCI functions")?;
    let mut machine = virtio::served().context("between VMs")?;
    let names = [virtio::CLIENT, virtio::DRIVER];
    let [small, large] = reads(&mut machine, virtio::CLIENT, &names)?;
    virtio::connect(&mut machine)?;
    let fetched = best(&mut machine, &names, virtio::fetch)?;
    Ok([native, given, [small, large, fetched]])
}

/// Reads the disk in pieces of 4 KiB one after the other, and whole.
fn reads(machine: &mut Machine, vm: &str, names: &[&str]) -> Result<[Done; 2]> {
    let read = |what: String| {
        move |machine: &mut Machine| {
            virtio::timed(machine, vm, &format!("dd if=/dev/vda of=/dev/null iflag=direct {what} 2>/dev/null"))
        }
    };
    let small = best(machine, names, read(format!("bs=4096 count={READS}")))?;
    Ok([small, best(machine, names, read("bs=1M".to_owned()))?])
}

/// Fetches from this computer, over QEMU's own network.
fn of_host(machine: &mut Machine, names: &[&str]) -> Result<Done> {
    let content = vec![0x5a; (SIZE as usize) << 20];
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    machine.shell(VM, "ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up; sleep 2", PROMPT, SOON)?;
    let server = std::thread::spawn(move || (0..TIMES).try_for_each(|_| functions::serve(&listener, &content)));
    let fetch = format!("wget -q -O /dev/null http://10.0.2.2:{port}/");
    let done = best(machine, names, |machine| virtio::timed(machine, VM, &fetch))?;
    server.join().map_err(|_| anyhow::anyhow!("the server died"))??;
    Ok(done)
}

/// Does it some times, and gives the shortest, with its exits but for those of a command that does nothing.
fn best(machine: &mut Machine, names: &[&str], what: impl Fn(&mut Machine) -> Result<f64>) -> Result<Done> {
    let nothing = spent(machine, names, |machine| virtio::timed(machine, names.first().unwrap_or(&VM), "true"))?;
    let mut all = Vec::new();
    for _ in 0..TIMES {
        let done = spent(machine, names, &what)?;
        let exits = done.exits.iter().zip(&nothing.exits).map(|(all, nothing)| all.saturating_sub(*nothing)).collect();
        all.push(Done { exits, ..done });
    }
    all.into_iter().min_by(|one, other| one.seconds.total_cmp(&other.seconds)).context("nothing was done")
}

fn spent(machine: &mut Machine, names: &[&str], what: impl Fn(&mut Machine) -> Result<f64>) -> Result<Done> {
    let before = exits(machine, names)?;
    let seconds = what(machine)?;
    let after = exits(machine, names)?;
    Ok(Done { seconds, exits: before.iter().zip(after).map(|(before, after)| after - before).collect() })
}

fn exits(machine: &mut Machine, names: &[&str]) -> Result<Vec<u64>> {
    if names.is_empty() { Ok(Vec::new()) } else { virtio::exits(machine, names) }
}

fn print(ways: &[Way; 3]) {
    println!("{:34} {:>10} {:>16} {:>16}", "", "native", "own function", "between VMs");
    let row = |name: &str, value: &dyn Fn(&Done) -> String, at: usize| {
        println!("{name:34} {:>10} {:>16} {:>16}", value(&ways[0][at]), value(&ways[1][at]), value(&ways[2][at]));
    };
    let of = |count: u32| {
        move |done: &Done| {
            let each = |exits: &u64| format!("{:.1}", *exits as f64 / f64::from(count));
            let text: Vec<_> = done.exits.iter().map(each).collect();
            if text.is_empty() { "-".to_owned() } else { text.join(" + ") }
        }
    };
    let rate = |done: &Done| format!("{:.0}", f64::from(SIZE) / done.seconds);
    row("a read of 4 KiB, us", &|done| format!("{:.0}", done.seconds * 1e6 / f64::from(READS)), 0);
    row("  its exits", &of(READS), 0);
    row("reads of 1 MiB, MiB/s", &rate, 1);
    row("  exits a MiB", &of(SIZE), 1);
    row("a fetch by TCP, MiB/s", &rate, 2);
    row("  exits a MiB", &of(SIZE), 2);
}
