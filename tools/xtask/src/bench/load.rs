//! What EL2 executes while Debian does a load of sleeps, pipes and processes on two vCPUs, that have a CPU each or share two.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_harness::Machine;

use super::plugin::Plugin;
use crate::cases::linux::{PROMPT, VM, wait_for_shell};

const LIMIT: Duration = Duration::from_secs(400);
/// What is beside the load, as the boot, is in both runs.
const TIMES: [u64; 2] = [1, 3];
/// 500 sleeps of a millisecond, 2000 blocks of 4 KiB through a pipe in each of two, and 200 processes, at once. In one line, and
/// ended by the last of all.
const LOAD: &str = "for n in $(seq N); do (for i in $(seq 500); do usleep 1000; done) & \
    (for i in 1 2; do dd if=/dev/zero bs=4k count=2000 2>/dev/null | cat >/dev/null & done; wait) & \
    (for i in $(seq 200); do /bin/busybox true; done) & wait; done";

/// Returns the instructions of EL2 for one load, on CPUs of its own and on shared ones. They do not repeat to the digit: two CPUs
/// race.
pub(super) fn measure() -> Result<[u64; 2]> {
    super::with_folder("load", |folder| {
        let one = |sched: &str| {
            let [few, many] = TIMES.map(|times| run(folder, sched, times).with_context(|| format!("{sched} CPUs")));
            Ok::<_, anyhow::Error>(many?.saturating_sub(few?) / (TIMES[1] - TIMES[0]))
        };
        Ok([one("dedicated")?, one("shared")?])
    })
}

fn run(folder: &Path, sched: &str, times: u64) -> Result<u64> {
    let plugin = Plugin::build(folder)?.whole();
    let manifest = format!(
        "[[vm]]\nname = \"{VM}\"\ncpus = 2\nmemory = \"256M\"\nkernel = \"debian\"\ninitrd = \"busybox\"\n\
         cmdline = \"console=ttyAMA0 quiet nokaslr\"\nsched = \"{sched}\"\n"
    );
    let builder = Machine::builder().manifest_text(&manifest).physical_cpus(2).icount();
    let mut machine = builder.arguments(plugin.arguments()).start()?;
    wait_for_shell(&mut machine, VM, LIMIT)?;
    machine.shell(VM, &LOAD.replace('N', &times.to_string()), PROMPT, LIMIT)?;
    machine.send(VM, "poweroff -f\n")?;
    machine.wait(LIMIT)?;
    plugin.read()
}
