//! The ramdisk with the self-tests: one more archive behind that of Debian and our programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use assay_harness::cache::Cache;

use crate::cases::coherent::ramdisk;
use crate::cases::ramdisk::{DIRECTORY, Entry, PROGRAM, append};

/// `init SUITE [NODE]`, as the kernel's first process: each program of the suite, between two lines that say which
/// it is and how it ended. Kernel messages would stand amid the results. What is said of NUMA nodes is in `read`.
///
/// `init SUITE later` keeps all that back until another VM has surely said its own: where two share a console, one
/// cuts the other's lines.
const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /sbin /usr/bin /usr/sbin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s
mkdir -p /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
dmesg -n 1
cd /selftests/$1
exec 3>&1
if [ \"$2\" = later ]; then exec >/tmp/results 2>&1; set $1; later=y; fi
pages() { awk '$1 == \"numa_hit\" { print $2 }' /sys/devices/system/node/node$1/numastat; }
[ -z \"$2\" ] || before=$(pages $2)
while read program words; do
  echo \"== $program\"
  if [ -z \"$2\" ]; then ./$program $words; else /assay/bind $2 ./$program $words; fi </dev/null
  echo \"== ended $?\"
done <list
[ -z \"$2\" ] || echo \"== pages $(($(pages $2) - before))\"
if [ -n \"$later\" ]; then sleep 30; cat /tmp/results >&3; fi
echo selftests: over >&3
poweroff -f
";
/// What it says at its end.
pub(super) const OVER: &str = "selftests: over";

/// What of a suite is a test, in this order: a name's start, and the program's arguments. The others are their
/// helpers, or take hours.
const SUITES: &[(&str, &[(&str, &str)])] = &[
    ("mte", &[("check_", "")]),
    ("pauth", &[("pac", "")]),
    (
        "fp",
        &[
            ("fp-ptrace", ""),
            ("sve-ptrace", ""),
            ("sve-probe-vls", ""),
            ("vec-syscfg", ""),
            ("za-ptrace", ""),
            ("zt-ptrace", ""),
            ("fp-stress", "-t 10"),
        ],
    ),
];

/// Builds it for `kernel` and gives its path.
pub(super) fn make(kernel: &str) -> Result<PathBuf> {
    static BUSY: Mutex<()> = Mutex::new(());
    let base = ramdisk::make(kernel)?;
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let path = base.with_file_name(format!("{kernel}-selftests.cpio"));
    append(&base, &tests(&Cache::locate()?.selftests())?, &path)?;
    Ok(path)
}

fn tests(folder: &Path) -> Result<Vec<Entry>> {
    let mut entries =
        vec![("selftests".to_owned(), DIRECTORY, Vec::new()), ("selftests/init".to_owned(), PROGRAM, INIT.into())];
    for (suite, tests) in SUITES {
        entries.push((format!("selftests/{suite}"), DIRECTORY, Vec::new()));
        let programs = programs(&folder.join(suite))?;
        let mut list = String::new();
        for (start, words) in *tests {
            let found = programs.iter().filter(|name| name.starts_with(start));
            let before = list.len();
            list.extend(found.map(|name| format!("{name} {words}\n")));
            ensure!(list.len() > before, "{suite} has no program {start}");
        }
        entries.push((format!("selftests/{suite}/list"), PROGRAM, list.into()));
        for name in programs {
            let data = fs::read(folder.join(suite).join(&name))?;
            entries.push((format!("selftests/{suite}/{name}"), PROGRAM, data));
        }
    }
    Ok(entries)
}

/// The names of what is no object file, sorted.
fn programs(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".o") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
