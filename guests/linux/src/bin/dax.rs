//! `dax [make | block | kmem]`: a `pmem-region` as a program reaches it. Without an argument it becomes a devdax and
//! is used as one, by a kernel with MTE; `make` is the first half; `block` is for kernels that have only the block device; `kmem` gives the devdax to the
//! kernel as memory of its node, all of it movable.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use linux_guests::fault;
use linux_guests::ktap::{self, Case, Outcome, equal};
use linux_guests::map::{self, Map, PROT_MTE};

const ND: &str = "/sys/bus/nd";
const DAX: &str = "/sys/bus/dax";
const DEVICE: &str = "/dev/dax0.0";
const BLOCK: &str = "/dev/pmem0";
/// devdax maps in units of its alignment.
const LENGTH: usize = 4 << 20;
const UUID: &str = "6f1bd2ea-3a3c-4b53-8d5e-0d1f7f5e3c11";

fn main() -> ExitCode {
    let cases: Vec<Case<'_>> = match std::env::args().nth(1).as_deref() {
        Some("block") => {
            vec![("the_region_is_a_block_device", Box::new(block_size)), ("blocks_written_are_read", Box::new(blocks))]
        }
        Some("make") => vec![("the_region_becomes_a_devdax", Box::new(create))],
        Some("kmem") => {
            vec![("kmem_takes_the_devdax", Box::new(hot_plug)), ("its_blocks_come_online_as_movable", Box::new(online))]
        }
        _ => vec![
            ("the_region_becomes_a_devdax", Box::new(create)),
            ("one_mapping_sees_what_another_wrote", Box::new(shared)),
            ("unaligned_and_atomic_accesses_work", Box::new(normal)),
            ("tags_are_refused", Box::new(tags)),
        ],
    };
    ktap::run(cases)
}

fn words(error: std::io::Error) -> String {
    error.to_string()
}

/// Writes to an attribute of sysfs.
fn put(folder: &str, name: &str, value: &str) -> Outcome {
    let path = Path::new(folder).join(name);
    fs::write(&path, value).map_err(|error| format!("{value} > {}: {error}", path.display()))
}

/// Waits for a file that the kernel makes in its own time.
fn appears(path: &str) -> Outcome {
    let end = Instant::now() + Duration::from_secs(10);
    while !Path::new(path).exists() {
        if Instant::now() > end {
            return Err(format!("{path} does not appear"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn create() -> Outcome {
    let seed = format!("{ND}/devices/dax0.0");
    appears(&format!("{ND}/drivers/nd_pmem/namespace0.0"))?;
    // The region's driver makes its seed after its namespaces, and Linux registers both asynchronously.
    appears(&format!("{seed}/align"))?;
    put(ND, "drivers/nd_pmem/unbind", "namespace0.0")?;
    put(&seed, "align", "2097152")?;
    put(&seed, "uuid", UUID)?;
    put(&seed, "mode", "pmem")?;
    put(&seed, "namespace", "namespace0.0")?;
    put(ND, "drivers/dax_pmem/bind", "dax0.0")?;
    appears(DEVICE)
}

fn open(path: &str) -> Result<File, String> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map_err(|error| format!("{path}: {error}"))
}

fn devdax() -> Result<Map, String> {
    Map::file(&open(DEVICE)?, 0, LENGTH, 0).map_err(words)
}

fn shared() -> Outcome {
    let one = devdax()?;
    for offset in (0..LENGTH).step_by(8) {
        one.write(offset, !(offset as u64));
    }
    drop(one);
    let other = devdax()?;
    for offset in (0..LENGTH).step_by(8) {
        equal("what was written", other.read(offset), !(offset as u64))?;
    }
    Ok(())
}

fn normal() -> Outcome {
    let map = devdax()?;
    let address = map.address();
    let found = fault::of(|| map::write(address + 0xffd, 0x0123_4567_89ab_cdef));
    equal("an unaligned store", found, None)?;
    equal("unaligned", map.read(0xffd), 0x0123_4567_89ab_cdef)?;
    map.write(0, 40);
    let before: u64;
    // SAFETY: the mapping's first word. LDXR and STXR until it succeeds.
    unsafe {
        std::arch::asm!("2: ldaxr {b}, [{a}]", "add {n}, {b}, #1", "stlxr {s:w}, {n}, [{a}]", "cbnz {s:w}, 2b",
            a = in(reg) address, b = out(reg) before, n = out(reg) _, s = out(reg) _)
    };
    equal("LDXR", before, 40)?;
    // SAFETY: as above; every CPU with FWB has FEAT_LSE.
    unsafe { std::arch::asm!(".arch_extension lse", "stadd {v}, [{a}]", v = in(reg) 1u64, a = in(reg) address) };
    equal("after STADD", map.read(0), 42)?;
    // SAFETY: zeroes a block of the mapping.
    unsafe { std::arch::asm!("dc zva, {a}", a = in(reg) address) };
    equal("after DC ZVA", map.read(0), 0)
}

fn tags() -> Outcome {
    match Map::file(&open(DEVICE)?, 0, LENGTH, PROT_MTE) {
        Ok(_) => Err("PROT_MTE can be mapped".to_owned()),
        Err(error) => equal("errno", error.raw_os_error(), Some(libc::EINVAL)),
    }
}

fn hot_plug() -> Outcome {
    put(DAX, "drivers/device_dax/unbind", "dax0.0")?;
    put(DAX, "drivers/kmem/new_id", "dax0.0")?;
    appears(&format!("{DAX}/drivers/kmem/dax0.0"))
}

fn online() -> Outcome {
    let mut blocks = 0;
    let folder = "/sys/devices/system/memory";
    for block in fs::read_dir(folder).map_err(words)?.flatten() {
        let state = block.path().join("state");
        if fs::read_to_string(&state).is_ok_and(|state| state.trim() == "offline") {
            put(&block.path().to_string_lossy(), "state", "online_movable")?;
            blocks += 1;
        }
    }
    if blocks == 0 {
        return Err("no block of memory was offline".to_owned());
    }
    let zones = fs::read_to_string("/proc/zoneinfo").map_err(words)?;
    let movable = zones.split("Node ").find(|zone| zone.starts_with("1, zone  Movable"));
    let managed = movable.and_then(|zone| zone.split("managed").nth(1));
    let managed = managed.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    println!("# {blocks} blocks, {} pages managed", managed.unwrap_or(0));
    equal("node 1 has movable memory", managed.is_some_and(|pages| pages > 0), true)
}

fn block_size() -> Outcome {
    appears(BLOCK)?;
    let size = fs::read_to_string("/sys/block/pmem0/size").map_err(words)?;
    println!("# {} sectors", size.trim());
    equal("it has a size", size.trim() == "0", false)
}

fn blocks() -> Outcome {
    let bytes: Vec<u8> = (0..LENGTH).map(|at| (at * 7 + at / 512) as u8).collect();
    let file = open(BLOCK)?;
    file.write_all_at(&bytes, 1 << 20).map_err(words)?;
    file.sync_all().map_err(words)?;
    // So that what is read comes from the region and not from the page cache.
    put("/proc/sys/vm", "drop_caches", "3")?;
    let mut read = vec![0; LENGTH];
    file.read_exact_at(&mut read, 1 << 20).map_err(words)?;
    equal("the same bytes", read == bytes, true)
}
