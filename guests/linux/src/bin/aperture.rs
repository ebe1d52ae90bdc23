//! A reserved region of the device tree as a driver's program reaches it: `/dev/mem`, which Linux maps as
//! Device whatever stage 2 allows.

use std::fs::{self, File, OpenOptions};
use std::process::ExitCode;

use linux_guests::fault::{self, BUS_ADRALN};
use linux_guests::ktap::{self, Outcome, equal};
use linux_guests::map::{self, Map, PROT_MTE};

const RESERVED: &str = "/proc/device-tree/reserved-memory";
const LENGTH: usize = 1 << 20;

fn main() -> ExitCode {
    ktap::run(vec![
        ("the_tree_has_one_region_with_no_map", Box::new(|| region().map(|_| ()))),
        ("the_kernel_does_not_use_it_as_ram", Box::new(not_ram)),
        ("what_is_written_is_read", Box::new(data)),
        ("an_unaligned_access_is_a_bus_adraln", Box::new(unaligned)),
        ("tags_are_refused", Box::new(tags)),
    ])
}

/// Start and size.
fn region() -> Result<(u64, u64), String> {
    let nodes = fs::read_dir(RESERVED).map_err(|error| format!("{RESERVED}: {error}"))?;
    let mut found = nodes
        .flatten()
        .filter(|node| node.path().join("no-map").exists())
        .filter_map(|node| fs::read(node.path().join("reg")).ok());
    let (Some(reg), None) = (found.next(), found.next()) else {
        return Err(format!("not one node with no-map in {RESERVED}"));
    };
    let number = |at: usize| {
        let bytes = reg.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    match (reg.len(), number(0), number(8)) {
        (16, Some(start), Some(size)) if size >= LENGTH as u64 => Ok((start, size)),
        _ => Err(format!("reg is {reg:x?}")),
    }
}

fn open() -> Result<(File, u64), String> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/mem");
    Ok((file.map_err(|error| error.to_string())?, region()?.0))
}

fn map() -> Result<Map, String> {
    let (file, start) = open()?;
    Map::file(&file, start, LENGTH, 0).map_err(|error| error.to_string())
}

fn not_ram() -> Outcome {
    let (start, _) = region()?;
    let table = fs::read_to_string("/proc/iomem").map_err(|error| error.to_string())?;
    for line in table.lines().filter(|line| line.contains("System RAM")) {
        let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
        let ends = range.and_then(|(first, last)| {
            Some((u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(last, 16).ok()?))
        });
        if ends.is_some_and(|(first, last)| (first..=last).contains(&start)) {
            return Err(format!("/proc/iomem: {line}"));
        }
    }
    Ok(())
}

fn data() -> Outcome {
    let map = map()?;
    for offset in (0..LENGTH).step_by(8) {
        map.write(offset, !(offset as u64));
    }
    for offset in (0..LENGTH).step_by(8) {
        equal("what was written", map.read(offset), !(offset as u64))?;
    }
    Ok(())
}

fn unaligned() -> Outcome {
    let map = map()?;
    let address = map.address() + 1;
    let found = fault::of(|| {
        let _ = map::read(address);
    });
    let found = found.ok_or("an unaligned load raises no signal")?;
    equal("signal", found.signal, libc::SIGBUS)?;
    equal("si_code", found.code, BUS_ADRALN)
}

fn tags() -> Outcome {
    let (file, start) = open()?;
    match Map::file(&file, start, LENGTH, PROT_MTE) {
        Ok(_) => Err("PROT_MTE can be mapped".to_owned()),
        Err(error) => equal("errno", error.raw_os_error(), Some(libc::EINVAL)),
    }
}
